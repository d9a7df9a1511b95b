//! All links of one replica.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::accept::Acceptor;
use super::counters::{Count, LinkCounters, MeshCounters, PeerCounts};
use super::dial::Dialer;
use super::frame::{Hello, VERSION};
use super::outbox::{Class, Outbox};
use super::tls::{self, Pinned};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::{PublicKey, SecretKey};
use crate::limits::{INBOUND_BYTES, INBOUND_MESSAGES};
use crate::replica::message::{MessageError, PeerMessage};

pub struct MeshConfig {
    pub me: ReplicaId,
    /// The key that shows who we are: for links only, not the one that signs blocks.
    pub link_key: SecretKey,
    pub listen: SocketAddr,
    /// All other replicas.
    pub peers: Vec<PeerAddress>,
    /// Digest of the genesis.
    pub network: Digest,
    /// Artificial delay of everything sent, one way: for tests of distance. Zero otherwise.
    pub link_delay: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    pub id: ReplicaId,
    /// `host:port`; a host name is looked up at each attempt.
    pub address: String,
    pub link_key: PublicKey,
}

/// What the node hears from its links.
#[derive(Debug)]
pub enum PeerEvent {
    /// `slot` is the message's share of its sender's budget: keep it until the message is dealt with, then drop it.
    Message {
        from: ReplicaId,
        message: PeerMessage,
        slot: Slot,
    },
    /// Messages can be sent to this peer. What was sent before may be lost.
    Connected(ReplicaId),
    Disconnected(ReplicaId),
}

/// Where the events of the links go, in the order of each link; `false` once nobody takes them any more. Besides what
/// [`Slot`]s bound there are only links that come up and go down. It may wait, and then all links do.
pub type Sink = Arc<dyn Fn(PeerEvent) -> bool + Send + Sync>;

/// Room for one received message, given back when dropped. A peer without room is not read from.
pub struct Slot {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    #[error("cannot listen for peers on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("no thread for the links: {0}")]
    Thread(io::Error),
    #[error("{0} is among its own peers")]
    Myself(ReplicaId),
    #[error("{0} is among the peers twice")]
    Twice(ReplicaId),
    #[error("the link key of {0} is no usable Ed25519 key, or another replica's as well")]
    Key(ReplicaId),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    #[error("{0} is no peer")]
    NoPeer(ReplicaId),
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Makes the links of one replica.
pub struct Mesh;

/// The links of one replica. They end when the last handle is dropped.
#[derive(Clone)]
pub struct MeshHandle {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    address: SocketAddr,
    /// The links' thread, if they have one, ends when this is gone.
    _thread: Option<Arc<oneshot::Sender<()>>>,
}

/// What the tasks of all links have in common.
pub(super) struct Shared {
    pub me: ReplicaId,
    pub hello: Hello,
    pub peers: BTreeMap<ReplicaId, Peer>,
    pub events: Sink,
    pub refused: Count,
    connected: Mutex<ReplicaSet>,
    link_delay: Duration,
}

/// What is kept about one peer, whether it is there or not.
#[derive(Default)]
pub(super) struct Peer {
    pub outbox: Outbox,
    pub budget: Budget,
    pub counts: PeerCounts,
}

/// What one peer may have sent that the node has not yet dealt with, over all its links.
pub(super) struct Budget {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Mesh {
    /// Listens, and dials every peer until it is reached, for as long as the handle lives.
    pub async fn start(config: MeshConfig, events: Sink) -> Result<MeshHandle, MeshError> {
        let address = config.listen;
        let listen_error = |error| MeshError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(listen_error)?;
        Self::start_on(listener, config, events)
    }

    /// The same on a thread of its own. What else the process does neither delays the links nor is delayed by strangers who
    /// knock; and a block costs one change of thread on its way in and one on its way out, with nothing to steal.
    pub async fn start_thread(config: MeshConfig, events: Sink) -> Result<MeshHandle, MeshError> {
        let (made, handle) = oneshot::channel();
        let (alive, ended) = oneshot::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(made.send(Err(MeshError::Thread(error)))),
            };
            runtime.block_on(async {
                // Whoever asked may be gone: then so is `alive`.
                let _ = made.send(Self::start(config, events).await);
                let _ = ended.await;
            });
        };
        thread::Builder::new().name("links".into()).spawn(run).map_err(MeshError::Thread)?;
        let handle = handle.await.expect("the thread answers before it ends")?;
        Ok(MeshHandle { _thread: Some(Arc::new(alive)), ..handle })
    }

    /// Like [`Self::start`], on a socket that listens already; `config.listen` is not used.
    pub fn start_on(listener: TcpListener, config: MeshConfig, events: Sink) -> Result<MeshHandle, MeshError> {
        check(&config)?;
        let address = listener.local_addr().map_err(|error| MeshError::Listen { address: config.listen, error })?;
        let shared = Arc::new(Shared {
            me: config.me,
            hello: Hello { version: VERSION, network: config.network },
            peers: config.peers.iter().map(|peer| (peer.id, Peer::default())).collect(),
            events,
            refused: Count::default(),
            connected: Mutex::default(),
            link_delay: config.link_delay,
        });
        let mut tasks = JoinSet::new();
        let members = Arc::new(Pinned::new(config.peers.iter().map(|peer| (peer.id, peer.link_key))));
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&config.link_key, members.clone())));
        tasks.spawn(Acceptor { listener, acceptor, members, shared: shared.clone() }.run());
        for peer in config.peers {
            let pinned = Pinned::new([(peer.id, peer.link_key)]);
            let connector = TlsConnector::from(Arc::new(tls::client_config(&config.link_key, pinned)));
            tasks.spawn(Dialer { peer: peer.id, address: peer.address, connector, shared: shared.clone() }.run());
        }
        Ok(MeshHandle { shared, tasks: Arc::new(Mutex::new(tasks)), address, _thread: None })
    }
}

fn check(config: &MeshConfig) -> Result<(), MeshError> {
    let mut keys = vec![config.link_key.public()];
    let mut ids = ReplicaSet::EMPTY;
    for peer in &config.peers {
        if peer.id == config.me {
            return Err(MeshError::Myself(peer.id));
        }
        if !ids.insert(peer.id) {
            return Err(MeshError::Twice(peer.id));
        }
        if keys.contains(&peer.link_key) || !peer.link_key.is_usable() {
            return Err(MeshError::Key(peer.id));
        }
        keys.push(peer.link_key);
    }
    Ok(())
}

impl MeshHandle {
    /// Queues a message. Never waits: when the peer's queue is full, something older in it is dropped.
    pub fn send(&self, to: ReplicaId, message: &PeerMessage) -> Result<(), SendError> {
        let peer = self.shared.peers.get(&to).ok_or(SendError::NoPeer(to))?;
        let bytes = message.encode()?;
        peer.outbox.push(Class::of(message), bytes.into(), self.shared.due());
        Ok(())
    }

    /// Queues a message for every peer.
    pub fn broadcast(&self, message: &PeerMessage) -> Result<(), SendError> {
        let bytes: Arc<[u8]> = message.encode()?.into();
        let due = self.shared.due();
        for peer in self.shared.peers.values() {
            peer.outbox.push(Class::of(message), bytes.clone(), due);
        }
        Ok(())
    }

    /// The peers that can be sent to now.
    pub fn connected(&self) -> ReplicaSet {
        *self.shared.connected()
    }

    /// Where peers reach us.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn counters(&self) -> MeshCounters {
        let peers = self.shared.peers.iter().map(|(&id, peer)| (id, peer.counters())).collect();
        MeshCounters { peers, refused: self.shared.refused.read() }
    }

    /// Closes all links and the listening socket.
    pub async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().expect("no panic while the tasks are locked"));
        tasks.shutdown().await;
    }
}

impl Shared {
    /// The set of peers that can be sent to.
    pub fn connected(&self) -> MutexGuard<'_, ReplicaSet> {
        self.connected.lock().expect("no panic while the set is locked")
    }

    fn due(&self) -> Instant {
        Instant::now() + self.link_delay
    }
}

impl Peer {
    fn counters(&self) -> LinkCounters {
        let (queued_bytes, queued_messages, dropped) = self.outbox.measure();
        LinkCounters {
            queued_bytes,
            queued_messages,
            dropped,
            sent: self.counts.sent.read(),
            received: self.counts.received.read(),
            connects: self.counts.connects.read(),
            violations: self.counts.violations.read(),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { messages: Arc::new(Semaphore::new(INBOUND_MESSAGES)), bytes: Arc::new(Semaphore::new(INBOUND_BYTES)) }
    }
}

impl Budget {
    /// Room for a message of `length` bytes, once there is some.
    pub async fn slot(&self, length: usize) -> Slot {
        let bytes = u32::try_from(length).expect("frames are shorter than 4 GiB");
        let never_closed = "the budget's semaphores are never closed";
        Slot {
            _message: self.messages.clone().acquire_owned().await.expect(never_closed),
            _bytes: self.bytes.clone().acquire_many_owned(bytes).await.expect(never_closed),
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
