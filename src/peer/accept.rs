//! Links from peers: we receive.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::frame::Frame;
use super::link::{LinkError, exchange_hello, handshake_error, next_frame, write_all};
use super::mesh::{PeerEvent, Shared};
use super::tls::Pinned;
use crate::committee::ReplicaId;
use crate::limits::{HANDSHAKE_TIMEOUT_MS, MAX_QUICK_PINGS, PENDING_HANDSHAKES, PING_INTERVAL_MS};
use crate::replica::message::PeerMessage;

pub struct Acceptor {
    pub listener: TcpListener,
    pub acceptor: TlsAcceptor,
    pub members: Arc<Pinned>,
    pub shared: Arc<Shared>,
}

type Link = TlsStream<TcpStream>;

impl Acceptor {
    pub async fn run(self) {
        let mut handshakes = JoinSet::new();
        let mut pending: VecDeque<AbortHandle> = VecDeque::new();
        let mut links = JoinSet::new();
        let mut link_of: BTreeMap<ReplicaId, AbortHandle> = BTreeMap::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        pending.retain(|handshake| !handshake.is_finished());
                        if pending.len() >= PENDING_HANDSHAKES {
                            pending.pop_front().expect("not empty").abort();
                            self.shared.refused.add(1);
                        }
                        pending.push_back(handshakes.spawn(self.handshake(socket)));
                    }
                    Err(error) => {
                        tracing::warn!("cannot accept a peer's connection: {error}");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(done) = handshakes.join_next() => if let Ok(Some((peer, link))) = done {
                    // The newest link counts: a peer that restarts may leave an old one half open.
                    let task = links.spawn(receive(peer, link, self.shared.clone()));
                    if let Some(older) = link_of.insert(peer, task) {
                        older.abort();
                    }
                },
                Some(_) = links.join_next() => {}
            }
        }
    }

    /// The link on `socket`, if a member with our version and network is at its other end.
    fn handshake(&self, socket: TcpStream) -> impl Future<Output = Option<(ReplicaId, Link)>> + Send + 'static {
        let (acceptor, members, shared) = (self.acceptor.clone(), self.members.clone(), self.shared.clone());
        async move {
            let from = socket.peer_addr().map_or_else(|_| "somewhere".into(), |address| address.to_string());
            let link = async {
                socket.set_nodelay(true).map_err(LinkError::Tls)?;
                let link = acceptor.accept(socket).await;
                let mut link = link.map_err(|error| handshake_error(error, LinkError::Stranger))?;
                let peer = members.member(link.get_ref().1.peer_certificates()).ok_or(LinkError::Stranger)?;
                exchange_hello(&mut link, shared.hello).await?;
                Ok((peer, link))
            };
            match timeout(Duration::from_millis(HANDSHAKE_TIMEOUT_MS), link).await.unwrap_or(Err(LinkError::Slow)) {
                Ok(made) => Some(made),
                Err(error) => {
                    if shared.refused.add_one_is_news() {
                        let count = shared.refused.read();
                        tracing::warn!("{}: refused a connection from {from}: {error} ({count} so far)", shared.me);
                    }
                    None
                }
            }
        }
    }
}

/// Receives from `peer`, whose key is pinned and who is therefore one of `shared.peers`.
async fn receive(peer: ReplicaId, mut link: Link, shared: Arc<Shared>) {
    let Err(error) = receive_all(peer, &mut link, &shared).await;
    let counts = &shared.peers[&peer].counts;
    if error.is_violation() && counts.violations.add_one_is_news() {
        tracing::warn!("{}: closed the link from {peer}: {error}", shared.me);
    } else {
        tracing::debug!("{}: the link from {peer} ended: {error}", shared.me);
    }
}

async fn receive_all(peer: ReplicaId, link: &mut Link, shared: &Shared) -> Result<Infallible, LinkError> {
    let state = &shared.peers[&peer];
    let (mut quick_pings, mut last_ping) = (0, Instant::now());
    loop {
        match next_frame(link).await? {
            Frame::Message(bytes) => {
                let slot = state.budget.slot(bytes.len()).await;
                let message = PeerMessage::decode(&bytes)?;
                drop(bytes);
                state.counts.received.add(1);
                let event = PeerEvent::Message { from: peer, message, slot };
                if !(shared.events)(event) {
                    return Err(LinkError::NodeGone);
                }
            }
            Frame::Ping => {
                let quick = last_ping.elapsed() < Duration::from_millis(PING_INTERVAL_MS / 2);
                quick_pings = if quick { quick_pings + 1 } else { 0 };
                last_ping = Instant::now();
                if quick_pings > MAX_QUICK_PINGS {
                    return Err(LinkError::Pings);
                }
                let mut pong = Vec::new();
                Frame::Pong.write(&mut pong);
                write_all(link, &pong).await?;
            }
            Frame::Hello(_) | Frame::Pong => return Err(LinkError::Unexpected),
        }
    }
}
