//! Links to peers: we send.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand_core::OsRng;
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::backoff::Backoff;
use super::frame::{Frame, write_message};
use super::link::{LinkError, exchange_hello, handshake_error, next_frame, write_all};
use super::mesh::{Peer, PeerEvent, Shared};
use super::tls;
use crate::committee::ReplicaId;
use crate::limits::{HANDSHAKE_TIMEOUT_MS, PING_INTERVAL_MS, RECONNECT_LAST_MS, WRITE_BATCH};

pub struct Dialer {
    pub peer: ReplicaId,
    pub address: String,
    pub connector: TlsConnector,
    pub shared: Arc<Shared>,
}

impl Dialer {
    /// Reaches the peer, sends what is queued for it, and starts again when the link breaks, until the node is gone.
    pub async fn run(self) {
        let state = &self.shared.peers[&self.peer];
        let mut backoff = Backoff::new();
        let mut failures = 0u64;
        loop {
            let connecting = timeout(Duration::from_millis(HANDSHAKE_TIMEOUT_MS), self.connect());
            match connecting.await.unwrap_or(Err(LinkError::Slow)) {
                Ok(link) => {
                    failures = 0;
                    let since = Instant::now();
                    let error = self.hold(link, state).await;
                    if matches!(error, LinkError::NodeGone) {
                        return;
                    }
                    tracing::info!("{}: lost the link to {}: {error}", self.shared.me, self.peer);
                    // A peer that accepts only to close again is not dialled ever faster.
                    if since.elapsed() > Duration::from_millis(RECONNECT_LAST_MS) {
                        backoff = Backoff::new();
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures.is_power_of_two() {
                        let (me, peer, address) = (self.shared.me, self.peer, &self.address);
                        tracing::info!("{me}: no link to {peer} at {address}: {error} (attempt {failures})");
                    }
                }
            }
            sleep(backoff.next(&mut OsRng)).await;
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, LinkError> {
        let socket = TcpStream::connect(&self.address).await.map_err(LinkError::Tls)?;
        socket.set_nodelay(true).map_err(LinkError::Tls)?;
        let link = self.connector.connect(tls::server_name(), socket).await;
        let mut link = link.map_err(|error| handshake_error(error, LinkError::WrongKey))?;
        exchange_hello(&mut link, self.shared.hello).await?;
        Ok(link)
    }

    /// Uses a link until it breaks, and says why it did.
    async fn hold(&self, link: TlsStream<TcpStream>, state: &Peer) -> LinkError {
        state.counts.connects.add(1);
        self.shared.connected().insert(self.peer);
        if !(self.shared.events)(PeerEvent::Connected(self.peer)) {
            return LinkError::NodeGone;
        }
        let (reader, writer) = split(link);
        let result = tokio::select! {
            ended = listen(reader) => ended,
            ended = send_queued(writer, state) => ended,
        };
        self.shared.connected().remove(self.peer);
        if !(self.shared.events)(PeerEvent::Disconnected(self.peer)) {
            return LinkError::NodeGone;
        }
        let Err(error) = result;
        error
    }
}

/// Hears the pongs: the sign that the other side still reads.
async fn listen(mut link: impl AsyncRead + Unpin) -> Result<Infallible, LinkError> {
    loop {
        match next_frame(&mut link).await? {
            Frame::Pong => {}
            _ => return Err(LinkError::Unexpected),
        }
    }
}

async fn send_queued(mut link: impl AsyncWrite + Unpin, state: &Peer) -> Result<Infallible, LinkError> {
    let mut next_ping = Instant::now();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        bytes.shrink_to(2 * WRITE_BATCH);
        let mut messages = 0;
        if let Ok(message) = timeout_at(next_ping, state.outbox.pop()).await {
            if message.due > Instant::now() {
                sleep_until(message.due).await;
            }
            write_message(&mut bytes, &message.bytes);
            messages = 1;
            while bytes.len() < WRITE_BATCH
                && let Some(message) = state.outbox.try_pop_due(Instant::now())
            {
                write_message(&mut bytes, &message.bytes);
                messages += 1;
            }
        }
        if Instant::now() >= next_ping {
            Frame::Ping.write(&mut bytes);
            next_ping = Instant::now() + Duration::from_millis(PING_INTERVAL_MS);
        }
        write_all(&mut link, &bytes).await?;
        state.counts.sent.add(messages);
    }
}
