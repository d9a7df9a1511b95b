//! The core thread: inputs to effects, effects to disk, links and readers, in their order.
//!
//! A state that was copied is read back and checked on a thread of its own; meanwhile the core goes on answering peers
//! from the one it has. Readers are never shown a state that is older than one they saw, nor one that nobody signed after
//! the replica's own was lost: then they are told that nothing is known ([`View::withheld`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use super::clock;
use super::pace::Pace;
use super::state_service::StateService;
use crate::committee::ReplicaId;
use crate::directory::master::ZoneFile;
use crate::limits::{
    BLOCK_BYTES_TICKS, CORE_BATCH, FLUSH_INTERVAL, MIN_BLOCKS_KEPT_ROUNDS, RETRY_INTERVAL, STORE_BLOCKS,
};
use crate::order::BlockRef;
use crate::peer::{MeshHandle, PeerEvent};
use crate::replica::door::Submission;
use crate::replica::heads::Head;
use crate::replica::machine::Snapshot;
use crate::replica::message::PeerMessage;
use crate::replica::recovery::RecoverError;
use crate::replica::report::DoorRefusal;
use crate::replica::{Effect, NotVotedFor, Replica};
use crate::store::rocks::{RocksReader, RocksStore, Successor};
use crate::store::view::View;
use crate::store::{Batch, Durability, Store, StoreError};

/// What the log says of damage.
pub const DAMAGED: &str = "the stored state is damaged, and is copied from the others. Check the disk";

/// What reaches the core.
pub enum Input {
    Peer(PeerEvent),
    Submit(Submission, oneshot::Sender<Result<(), DoorRefusal>>),
    /// A zone as its primary serves it.
    Transferred(Box<ZoneFile>, oneshot::Sender<Result<(), NotVotedFor>>),
    /// Stored rows are not what was written.
    Damaged(StoreError),
    Stop,
}

/// What the readers share with the core.
pub struct Published {
    pub view: Arc<ArcSwap<View>>,
    pub exposed: watch::Sender<Arc<Snapshot>>,
    pub reader: Arc<ArcSwap<RocksReader>>,
}

/// Makes the replica from what its store has, and shows readers what they may see of it as soon as it is read.
pub type Restart = Arc<dyn Fn(&mut RocksStore, &mut dyn FnMut(View)) -> anyhow::Result<Started> + Send + Sync>;

/// A replica, and what it wants done first.
pub type Started = (Replica, Vec<Effect>);

/// A replica that is ready to take over, with its store.
type Prepared = (RocksStore, Replica, Vec<Effect>);

/// Why the core ended unasked.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("the replica stops: its store failed: {0}")]
    Store(#[from] StoreError),
    #[error(
        "the replica stops: its state is not the cluster's. At height {} its root is {}, and the others signed {}. \
         Keep a copy of the data directory, report it, and start this replica once with --lost-disk",
        ours.height, ours.root, theirs.root
    )]
    Diverged { ours: Box<Head>, theirs: Box<Head> },
    #[error("the replica stops: it cannot start from the state it copied: {0:#}")]
    Restart(anyhow::Error),
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
    pub state: StateService,
    pub restart: Restart,
    /// The state that was copied is being read back.
    pub adopting: Option<Receiver<anyhow::Result<Prepared>>>,
    pub ticks: u64,
    pub pace: Pace,
}

impl Core {
    /// Runs until [`Input::Stop`], or until the store fails: then what is on the disk is unknown, and only a new start
    /// can find out. If it fails because what it holds is damaged, that is known.
    pub fn run(mut self, effects: Vec<Effect>, inputs: &Receiver<Input>) -> Result<(), CoreError> {
        let (mut last_retry, mut last_flush) = (Instant::now(), Instant::now());
        let mut turn = self.perform(effects).map(|()| true);
        loop {
            match turn {
                Ok(true) => {}
                Ok(false) => return Ok(self.close()?),
                Err(CoreError::Store(error @ StoreError::Corrupt { .. })) => self.begin_again(&error)?,
                Err(error) => return Err(error),
            }
            turn = self.turn(inputs, &mut last_retry, &mut last_flush);
        }
    }

    /// Waits for inputs, and does what is due; whether to go on.
    fn turn(
        &mut self,
        inputs: &Receiver<Input>,
        last_retry: &mut Instant,
        last_flush: &mut Instant,
    ) -> Result<bool, CoreError> {
        let first = match inputs.recv_timeout(self.must_wait().unwrap_or(RETRY_INTERVAL)) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        };
        for input in first.into_iter().chain(inputs.try_iter().take(CORE_BATCH)) {
            if !self.take(input)? {
                return Ok(false);
            }
        }
        if last_retry.elapsed() >= RETRY_INTERVAL {
            *last_retry = Instant::now();
            let effects = self.replica.retry();
            self.perform(effects)?;
            self.look_at_blocks()?;
        }
        self.take_over()?;
        self.advance()?;
        if self.published.view.load().withheld && !self.replica.is_unproven() {
            self.expose(true);
        }
        if last_flush.elapsed() >= FLUSH_INTERVAL {
            *last_flush = Instant::now();
            self.flush()?;
        }
        Ok(true)
    }

    fn must_wait(&self) -> Option<Duration> {
        self.pace.wait(self.replica.unordered_bytes(), Instant::now())
    }

    /// Makes the blocks that are due: one completes the quorum for the next, if the others were faster. Ends, since each
    /// round needs blocks of others.
    fn advance(&mut self) -> Result<(), CoreError> {
        while self.must_wait().is_none() {
            let effects = self.replica.advance(clock::now());
            if effects.is_empty() {
                break;
            }
            self.pace.block_made(Instant::now());
            self.perform(effects)?;
        }
        Ok(())
    }

    /// Whether to go on.
    fn take(&mut self, input: Input) -> Result<bool, CoreError> {
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
            Input::Transferred(file, reply) => {
                let _ = reply.send(self.replica.transferred(*file));
                Vec::new()
            }
            Input::Damaged(error) => self.repair(&error)?,
            Input::Stop => return Ok(false),
        };
        self.perform(effects)?;
        Ok(true)
    }

    pub fn perform(&mut self, effects: Vec<Effect>) -> Result<(), CoreError> {
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
                Effect::NotVotedFor(error) => tracing::warn!("not voted for any more: {error}"),
                Effect::Sync { height } => {
                    self.store.commit(std::mem::take(&mut self.pending), Durability::Sync)?;
                    queue.extend(self.replica.durable(height));
                }
                Effect::KeepCopy { height } => {
                    self.flush()?;
                    self.store.keep_copy(height)?;
                }
                Effect::ReleaseCopies { below } => self.store.release_copies(self.state.releasable(below))?,
                Effect::ServeState { to, height, part } => self.state.serve(to, height, part),
                Effect::BeginStaging => {
                    tracing::info!("far behind: copying the state at a signed head");
                    self.store.begin_staging()?;
                }
                Effect::Stage(batch) => self.store.stage(batch)?,
                Effect::Adopt => self.adopt()?,
                Effect::Diverged { ours, theirs } => {
                    // Nothing of it may be served any longer.
                    self.published.view.store(Arc::new(View::withheld()));
                    return self.stop_diverged(ours, theirs);
                }
            }
        }
        Ok(())
    }

    /// Stops for good, unless the state was being given up for one that the cluster signed.
    fn stop_diverged(&mut self, ours: Head, theirs: Head) -> Result<(), CoreError> {
        let diverged = CoreError::Diverged { ours: Box::new(ours), theirs: Box::new(theirs) };
        if let Some(adopting) = self.adopting.take()
            && let Ok(Ok(prepared)) = adopting.recv()
        {
            tracing::error!(%diverged, "but for the copy that takes its place now");
            return self.go_on_with(prepared);
        }
        if let Err(error) = self.close() {
            tracing::error!(%error, "the next start will not know that this replica diverged");
        }
        Err(diverged)
    }

    /// Has the state that was copied read back and checked once more. What it takes the place of is served until then.
    fn adopt(&mut self) -> Result<(), CoreError> {
        let successor = self.store.detach_staged()?;
        let (done, prepared) = sync_channel(1);
        let restart = Arc::clone(&self.restart);
        let prepare = move || {
            // Nobody waits for it if the core has ended.
            let _ = done.send(prepare(successor, &restart));
        };
        std::thread::Builder::new()
            .name("adopt".into())
            .spawn(prepare)
            .map_err(|error| CoreError::Restart(error.into()))?;
        self.adopting = Some(prepared);
        Ok(())
    }

    /// Goes on as the replica that was made from the copied state, once it is ready.
    fn take_over(&mut self) -> Result<(), CoreError> {
        let Some(adopting) = &self.adopting else { return Ok(()) };
        let prepared = match adopting.try_recv() {
            Ok(prepared) => prepared,
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => Err(anyhow::anyhow!("the thread that read it panicked: see the log")),
        };
        self.adopting = None;
        match prepared {
            Ok(prepared) => self.go_on_with(prepared),
            Err(error) if error.downcast_ref().is_some_and(RecoverError::is_damage) => {
                tracing::error!(%error, "the copied state is not what was written: its disk may be failing. Copying again");
                let effects = self.replica.copy_again();
                self.perform(effects)
            }
            Err(error) => Err(CoreError::Restart(error)),
        }
    }

    fn go_on_with(&mut self, (store, replica, effects): Prepared) -> Result<(), CoreError> {
        self.pending = Batch::default();
        let before = std::mem::replace(&mut self.store, store);
        self.store.release_copies(u64::MAX)?;
        self.published.reader.store(Arc::new(self.store.reader()));
        let retire = move || {
            if let Err(error) = before.retire() {
                tracing::error!(%error, "the store before the copied one cannot be removed; the next start removes it");
            }
        };
        std::thread::Builder::new()
            .name("retire".into())
            .spawn(retire)
            .map_err(|error| CoreError::Restart(error.into()))?;
        self.go_on_as(replica, effects)?;
        let progress = self.replica.machine().progress();
        tracing::info!(height = progress.height, position = progress.position, "joined at a signed head");
        Ok(())
    }

    /// Stored rows are not what was written: the state is copied from the others. What this replica has in memory was
    /// executed or checked, and goes on being shown.
    fn repair(&mut self, error: &StoreError) -> Result<Vec<Effect>, CoreError> {
        // A reader of the store before this one may come late with it.
        let is_ours = matches!(error, StoreError::Corrupt { path, .. } if path == self.store.path());
        if !is_ours || self.adopting.is_some() || self.replica.sync_progress().is_some() {
            return Ok(Vec::new());
        }
        if let Some(effects) = self.replica.repair() {
            tracing::error!(%error, "{DAMAGED}");
            return Ok(effects);
        }
        // So early that no head was signed yet.
        self.begin_again(error)?;
        Ok(Vec::new())
    }

    /// The store is damaged and takes no further batch, as when a compaction comes upon wrong bytes; or nobody has signed a
    /// state that could take the place of its own. The replica goes on without any, and readers with what they were shown.
    fn begin_again(&mut self, error: &StoreError) -> Result<(), CoreError> {
        tracing::error!(%error, "{DAMAGED}");
        self.pending = Batch::default();
        if let Some(adopting) = self.adopting.take()
            && let Ok(Ok(prepared)) = adopting.recv()
        {
            return self.go_on_with(prepared);
        }
        self.store.give_up_state()?;
        let (replica, effects) = (self.restart)(&mut self.store, &mut |_| {}).map_err(CoreError::Restart)?;
        self.published.reader.store(Arc::new(self.store.reader()));
        self.go_on_as(replica, effects)
    }

    fn go_on_as(&mut self, replica: Replica, mut effects: Vec<Effect>) -> Result<(), CoreError> {
        let before = std::mem::replace(&mut self.replica, replica);
        effects.extend(self.replica.inherit(before));
        for peer in self.mesh.connected().iter() {
            effects.extend(self.replica.connected(peer));
        }
        self.perform(effects)?;
        self.expose(true);
        Ok(())
    }

    /// Large blocks are kept for fewer rounds.
    fn look_at_blocks(&mut self) -> Result<(), CoreError> {
        self.ticks += 1;
        if self.ticks.is_multiple_of(BLOCK_BYTES_TICKS) && self.store.block_bytes()? > STORE_BLOCKS {
            let effects = self.replica.prune(MIN_BLOCKS_KEPT_ROUNDS);
            self.perform(effects)?;
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

    /// Shows readers the new state, unless they saw a later one. What it says is in the store by now: some readers look
    /// there too.
    fn expose(&self, zones: bool) {
        let snapshot = self.replica.snapshot();
        if snapshot.progress.height < self.published.exposed.borrow().progress.height {
            return;
        }
        if zones {
            self.published.view.store(Arc::new(self.replica.view()));
        }
        self.published.exposed.send_replace(Arc::new(snapshot));
    }

    /// Answers a request for blocks.
    fn serve(&mut self, to: ReplicaId, refs: &[BlockRef], above: u64) -> Result<(), StoreError> {
        self.flush()?;
        match self.replica.answer_fetch(refs, above, &self.store) {
            Ok(answer) => self.send(to, &answer),
            // Others have these blocks too.
            Err(error @ StoreError::Corrupt { .. }) => tracing::error!(%error, "a damaged block is not served"),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Reads the copied state back, and puts it in the place of the one before if it is what was checked on its way in.
fn prepare(mut successor: Successor, restart: &Restart) -> anyhow::Result<Prepared> {
    let (replica, effects) = restart(successor.store(), &mut |_| {})?;
    Ok((successor.succeed()?, replica, effects))
}
