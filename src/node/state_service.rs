//! The thread that lets others copy the state: it reads kept copies, off the core.
//!
//! The first request for a copy reads all of it for an index; after [`STATE_IDLE`] without a request index and files are
//! let go. While a copy is asked for, the core does not release it, but for no longer than [`STATE_HELD`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

use crate::committee::ReplicaId;
use crate::limits::{STATE_HELD, STATE_IDLE, STATE_REQUESTS};
use crate::peer::MeshHandle;
use crate::replica::message::{PeerMessage, StatePart};
use crate::replica::sync;
use crate::store::StoreError;
use crate::store::rocks::{RocksReader, open_copy};
use crate::store::serve::StateServer;

struct Request {
    to: ReplicaId,
    height: u64,
    part: StatePart,
}

/// The core's end.
pub struct StateService {
    requests: SyncSender<Request>,
    /// Height of the copy in use; [`u64::MAX`] if there is none.
    in_use: Arc<AtomicU64>,
}

impl StateService {
    /// Serves the copies in the data directory `home`, until this is dropped.
    pub fn start(home: PathBuf, mesh: MeshHandle) -> std::io::Result<Self> {
        let (requests, received) = sync_channel(STATE_REQUESTS);
        let in_use = Arc::new(AtomicU64::new(u64::MAX));
        let server = Server { home, mesh, in_use: Arc::clone(&in_use), open: None };
        std::thread::Builder::new().name("state".into()).spawn(move || server.run(&received))?;
        Ok(Self { requests, in_use })
    }

    /// Answers a request soon; one too many is let go, and whoever asked asks again.
    pub fn serve(&self, to: ReplicaId, height: u64, part: StatePart) {
        let _ = self.requests.try_send(Request { to, height, part });
    }

    /// Copies below this height may go, of those below `below`.
    pub fn releasable(&self, below: u64) -> u64 {
        below.min(self.in_use.load(Ordering::Relaxed))
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
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            match requests.recv_timeout(STATE_IDLE) {
                Ok(request) => self.answer(&request),
                Err(RecvTimeoutError::Timeout) => self.close(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn close(&mut self) {
        self.open = None;
        self.in_use.store(u64::MAX, Ordering::Relaxed);
    }

    fn answer(&mut self, request: &Request) {
        if self.open.as_ref().is_some_and(|open| open.since.elapsed() > STATE_HELD) {
            self.in_use.store(u64::MAX, Ordering::Relaxed);
        }
        let Request { to, height, part } = *request;
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
