//! The core thread: inputs to effects, effects to disk, links and readers, in their order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use super::clock;
use crate::committee::ReplicaId;
use crate::limits::{CORE_BATCH, FLUSH_INTERVAL, RETRY_INTERVAL};
use crate::order::BlockRef;
use crate::peer::{MeshHandle, PeerEvent};
use crate::replica::door::Submission;
use crate::replica::machine::Snapshot;
use crate::replica::message::PeerMessage;
use crate::replica::report::DoorRefusal;
use crate::replica::{Effect, Replica};
use crate::store::rocks::RocksStore;
use crate::store::view::View;
use crate::store::{Batch, Durability, Store, StoreError};

/// What reaches the core.
pub enum Input {
    Peer(PeerEvent),
    Submit(Submission, oneshot::Sender<Result<(), DoorRefusal>>),
    Stop,
}

/// What the readers share with the core.
pub struct Published {
    pub view: Arc<ArcSwap<View>>,
    pub exposed: watch::Sender<Arc<Snapshot>>,
}

pub struct Core {
    pub replica: Replica,
    pub store: RocksStore,
    pub mesh: MeshHandle,
    pub published: Arc<Published>,
    /// Writes that may wait for the next sync or the end of the batch.
    pub pending: Batch,
    /// Faults of each replica so far.
    pub faults: BTreeMap<ReplicaId, u64>,
}

impl Core {
    /// Runs until [`Input::Stop`], or until the store fails: then what is on the disk is unknown, and only a new start
    /// can find out.
    pub fn run(mut self, inputs: &Receiver<Input>) -> Result<(), StoreError> {
        let (mut last_retry, mut last_flush) = (Instant::now(), Instant::now());
        loop {
            let first = match inputs.recv_timeout(RETRY_INTERVAL) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            };
            for input in first.into_iter().chain(inputs.try_iter().take(CORE_BATCH)) {
                if !self.take(input)? {
                    return self.close();
                }
            }
            if last_retry.elapsed() >= RETRY_INTERVAL {
                last_retry = Instant::now();
                let effects = self.replica.retry();
                self.perform(effects)?;
            }
            self.advance()?;
            if last_flush.elapsed() >= FLUSH_INTERVAL {
                last_flush = Instant::now();
                self.flush()?;
            }
        }
    }

    /// Makes the blocks that are due: one completes the quorum for the next, if the others were faster. Ends, since each
    /// round needs blocks of others.
    fn advance(&mut self) -> Result<(), StoreError> {
        loop {
            let effects = self.replica.advance(clock::now());
            if effects.is_empty() {
                return Ok(());
            }
            self.perform(effects)?;
        }
    }

    /// Whether to go on.
    fn take(&mut self, input: Input) -> Result<bool, StoreError> {
        let effects = match input {
            Input::Peer(PeerEvent::Message { from, message, slot }) => {
                let effects = self.replica.receive(from, message);
                drop(slot);
                effects
            }
            Input::Peer(PeerEvent::Connected(peer)) => {
                tracing::info!(%peer, "link up");
                self.replica.connected(peer)
            }
            Input::Peer(PeerEvent::Disconnected(peer)) => {
                tracing::info!(%peer, "link down");
                Vec::new()
            }
            Input::Submit(submission, reply) => {
                // Nobody may wait for the reply any more.
                let _ = reply.send(self.replica.submit(&submission));
                Vec::new()
            }
            Input::Stop => return Ok(false),
        };
        self.perform(effects)?;
        Ok(true)
    }

    pub fn perform(&mut self, effects: Vec<Effect>) -> Result<(), StoreError> {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Write(batch) => self.pending.append(batch),
                Effect::Persist { batch, round } => {
                    self.pending.append(batch);
                    self.store.commit(std::mem::take(&mut self.pending), Durability::Sync)?;
                    queue.extend(self.replica.persisted(round));
                }
                Effect::Send { to, message } => self.send(to, &message),
                Effect::Broadcast(message) => {
                    if let Err(error) = self.mesh.broadcast(&message) {
                        tracing::error!(%error, "own message is over its limits");
                    }
                }
                Effect::Serve { to, refs, above } => self.serve(to, &refs, above)?,
                Effect::Expose { zones } => {
                    self.flush()?;
                    self.expose(zones);
                }
                Effect::Fault { culprit, what } => self.report(culprit, &what),
            }
        }
        Ok(())
    }

    /// Logs the first fault of a replica, the second, the fourth, and so on: nobody can fill the log of another.
    fn report(&mut self, culprit: ReplicaId, what: &str) {
        let count = self.faults.entry(culprit).or_default();
        *count += 1;
        if count.is_power_of_two() {
            tracing::warn!(%culprit, what, count = *count, "fault");
        }
    }

    fn send(&self, to: ReplicaId, message: &PeerMessage) {
        if let Err(error) = self.mesh.send(to, message) {
            tracing::error!(%to, %error, "own message is over its limits");
        }
    }

    /// Writes what waits, without waiting for the disk.
    fn flush(&mut self) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.store.commit(std::mem::take(&mut self.pending), Durability::Lazy)
    }

    /// The last write of a stop that was asked for: nothing is left that a power cut could take, and the store's mark says
    /// so. Whatever is missing at the next start was damaged.
    fn close(&mut self) -> Result<(), StoreError> {
        self.store.commit(std::mem::take(&mut self.pending), Durability::Sync)
    }

    /// Shows readers the new state. What it says is in the store by now: some readers look there too.
    fn expose(&self, zones: bool) {
        if zones {
            self.published.view.store(Arc::new(self.replica.view()));
        }
        self.published.exposed.send_replace(Arc::new(self.replica.snapshot()));
    }

    /// Answers a request for blocks.
    fn serve(&mut self, to: ReplicaId, refs: &[BlockRef], above: u64) -> Result<(), StoreError> {
        self.flush()?;
        let answer = self.replica.answer_fetch(refs, above, &self.store)?;
        self.send(to, &answer);
        Ok(())
    }
}
