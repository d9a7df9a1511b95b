//! The thread that lets others copy the state: it reads kept copies, off the core.
//!
//! The first request for a copy reads all of it for an index; after [`STATE_IDLE`] without a request index and files are
//! let go. While a copy is asked for, the core does not release it, but for no longer than [`STATE_HELD`].
//!
//! Each peer has a short queue of its own, and the queues are served in turn: whoever asks without end waits for itself.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::committee::ReplicaId;
use crate::limits::{STATE_HELD, STATE_IDLE, STATE_REQUESTS_PER_PEER};
use crate::peer::MeshHandle;
use crate::replica::message::{PeerMessage, StatePart};
use crate::replica::sync;
use crate::store::StoreError;
use crate::store::rocks::{RocksReader, open_copy};
use crate::store::serve::StateServer;

/// What a peer wants of the state at a height.
type Wanted = (u64, StatePart);

/// The core's end.
pub struct StateService {
    requests: Arc<Requests>,
    /// Height of the copy in use; [`u64::MAX`] if there is none.
    in_use: Arc<AtomicU64>,
}

impl StateService {
    /// Serves the copies in the data directory `home`, until this is dropped.
    pub fn start(home: PathBuf, mesh: MeshHandle) -> std::io::Result<Self> {
        let requests = Arc::new(Requests::default());
        let in_use = Arc::new(AtomicU64::new(u64::MAX));
        let server = Server { home, mesh, in_use: Arc::clone(&in_use), open: None };
        let received = Arc::clone(&requests);
        std::thread::Builder::new().name("state".into()).spawn(move || server.run(&received))?;
        Ok(Self { requests, in_use })
    }

    /// Answers a request soon; one too many is let go, and whoever asked asks again.
    pub fn serve(&self, to: ReplicaId, height: u64, part: StatePart) {
        self.requests.change(|waiting| waiting.push(to, (height, part)));
    }

    /// Copies below this height may go, of those below `below`.
    pub fn releasable(&self, below: u64) -> u64 {
        below.min(self.in_use.load(Ordering::Relaxed))
    }
}

impl Drop for StateService {
    fn drop(&mut self) {
        self.requests.change(|waiting| waiting.closed = true);
    }
}

/// What waits for the thread that answers.
#[derive(Default)]
struct Requests {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

enum Next {
    Answer(ReplicaId, Wanted),
    /// Nobody asked for [`STATE_IDLE`].
    Idle,
    Closed,
}

impl Requests {
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    fn next(&self) -> Next {
        let nothing = |waiting: &mut Waiting| !waiting.closed && waiting.of_peer.is_empty();
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(waiting, STATE_IDLE, nothing);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return Next::Closed;
        }
        waiting.pop().map_or(Next::Idle, |(to, wanted)| Next::Answer(to, wanted))
    }
}

/// Requests by who asked, none of them empty.
#[derive(Default)]
struct Waiting {
    of_peer: BTreeMap<ReplicaId, VecDeque<Wanted>>,
    /// Who was answered last.
    last: Option<ReplicaId>,
    closed: bool,
}

impl Waiting {
    fn push(&mut self, from: ReplicaId, wanted: Wanted) {
        let queue = self.of_peer.entry(from).or_default();
        if queue.len() < STATE_REQUESTS_PER_PEER {
            queue.push_back(wanted);
        }
    }

    /// The oldest request of the peer whose turn it is.
    fn pop(&mut self) -> Option<(ReplicaId, Wanted)> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.of_peer.range((after, Bound::Unbounded)).next().or_else(|| self.of_peer.first_key_value());
        let peer = *next?.0;
        self.last = Some(peer);
        let queue = self.of_peer.get_mut(&peer)?;
        let wanted = queue.pop_front()?;
        if queue.is_empty() {
            self.of_peer.remove(&peer);
        }
        Some((peer, wanted))
    }
}

struct Server {
    home: PathBuf,
    mesh: MeshHandle,
    in_use: Arc<AtomicU64>,
    open: Option<Open>,
}

struct Open {
    height: u64,
    since: Instant,
    server: StateServer<RocksReader>,
}

impl Server {
    fn run(mut self, requests: &Requests) {
        loop {
            match requests.next() {
                Next::Answer(to, wanted) => self.answer(to, wanted),
                Next::Idle => self.close(),
                Next::Closed => return,
            }
        }
    }

    fn close(&mut self) {
        self.open = None;
        self.in_use.store(u64::MAX, Ordering::Relaxed);
    }

    fn answer(&mut self, to: ReplicaId, (height, part): Wanted) {
        if self.open.as_ref().is_some_and(|open| open.since.elapsed() > STATE_HELD) {
            self.in_use.store(u64::MAX, Ordering::Relaxed);
        }
        let answer = self.open(height).and_then(|()| {
            let server = self.open.as_ref().filter(|open| open.height == height).map(|open| &open.server);
            sync::answer(server, height, part)
        });
        let answer = answer.unwrap_or_else(|error| {
            tracing::error!(height, %error, "a copy of the state cannot be served");
            self.close();
            PeerMessage::StateRefusal { height }
        });
        if let Err(error) = self.mesh.send(to, &answer) {
            tracing::error!(%to, %error, "own message is over its limits");
        }
    }

    /// Opens the copy of this height, if there is one and it is not older than the one that is open.
    fn open(&mut self, height: u64) -> Result<(), StoreError> {
        if self.open.as_ref().is_some_and(|open| open.height >= height) {
            return Ok(());
        }
        self.in_use.store(height, Ordering::Relaxed);
        let Some(copy) = open_copy(&self.home, height)? else {
            let open = self.open.as_ref().map_or(u64::MAX, |open| open.height);
            self.in_use.store(open, Ordering::Relaxed);
            return Ok(());
        };
        tracing::info!(height, "a replica copies the state");
        self.open = Some(Open { height, since: Instant::now(), server: StateServer::new(copy)? });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_asks_without_end_delays_nobody_but_itself() {
        let (greedy, modest) = (ReplicaId(1), ReplicaId(3));
        let mut waiting = Waiting::default();
        for height in 0..1000 {
            waiting.push(greedy, (height, StatePart::Manifest));
        }
        waiting.push(modest, (7, StatePart::Manifest));
        let served: Vec<(ReplicaId, u64)> =
            std::iter::from_fn(|| waiting.pop().map(|(peer, (height, _))| (peer, height))).collect();
        assert_eq!(served[..3], [(greedy, 0), (modest, 7), (greedy, 1)]);
        assert_eq!(served.len(), STATE_REQUESTS_PER_PEER + 1);
        assert!(waiting.of_peer.is_empty());
    }
}
