//! One replica of the recovery benchmark: a whole [`Replica`] with its RocksDB store on a thread of its own. Links are
//! channels; everything else is as in `node::core`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::cli::operation::local_time;
use crate::committee::ReplicaId;
use crate::config::{ReplicaConfig, SecretBundle};
use crate::crypto::digest::Digest;
use crate::limits::{CORE_BATCH, CORE_INPUTS, RETRY_INTERVAL};
use crate::node::run::{Conduct, recover};
use crate::replica::door::Submission;
use crate::replica::genesis::Genesis;
use crate::replica::message::PeerMessage;
use crate::replica::sync::{self, SyncProgress};
use crate::replica::{Effect, Replica};
use crate::rows::Row;
use crate::store::rocks::{RocksReader, RocksStore};
use crate::store::serve::{StateServer, tree_of};
use crate::store::tree::StateTree;
use crate::store::view::View;
use crate::store::{Batch, Durability, Read, Store};

pub enum Input {
    Message(ReplicaId, PeerMessage),
    Connected(ReplicaId),
    Submit(Box<Submission>),
    /// From now on, compute the root over the rows after each commit, apart from the replica's own.
    Compare,
    Stop,
}

/// Who runs, and how to reach it.
pub type Links = Arc<RwLock<BTreeMap<ReplicaId, SyncSender<Input>>>>;

/// What the driver sees of a node.
#[derive(Default)]
pub struct Shown {
    pub position: AtomicU64,
    /// Rows under its newest signed head.
    pub rows: AtomicU64,
    pub joined: AtomicBool,
    /// What its readers see, as in `node::core`.
    pub view: ArcSwap<View>,
    /// When it knew what to copy, had all of it, and had joined; and what it copied.
    pub join: Mutex<Option<([Instant; 3], SyncProgress)>>,
    pub roots: Mutex<BTreeMap<u64, Digest>>,
}

pub struct Node {
    me: ReplicaId,
    replica: Replica,
    store: RocksStore,
    pending: Batch,
    links: Links,
    shown: Arc<Shown>,
    server: Option<(u64, StateServer<RocksReader>)>,
    checker: Option<StateTree>,
    restart: Restart,
    copied: Option<SyncProgress>,
    /// When the manifest of what is copied came.
    listed: Option<Instant>,
}

type Restart = Box<dyn Fn(&mut RocksStore) -> anyhow::Result<(Replica, Vec<Effect>)> + Send>;

/// Starts the replica of `home` on a thread.
pub fn start(
    home: &std::path::Path,
    links: &Links,
    shown: &Arc<Shown>,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let config = ReplicaConfig::read(&home.join("replica.toml"))?;
    let secrets = SecretBundle::read(&home.join("secrets.key"))?;
    let mut store = RocksStore::open_any(&config.data)?;
    let genesis = Arc::new(Genesis::from_bytes(&store.genesis()?)?);
    let me = config.id;
    let restart: Restart =
        Box::new(move |store| recover(&config, &secrets, Conduct::default(), &genesis, store, &mut |_| {}));
    let (inputs, received) = sync_channel(CORE_INPUTS);
    let (replica, effects) = restart(&mut store)?;
    let (links, shown) = (Arc::clone(links), Arc::clone(shown));
    let pending = Batch::default();
    let (server, checker, copied, listed) = (None, None, None, None);
    shown.view.store(Arc::new(replica.view()));
    let mut node = Node { me, replica, store, pending, links, shown, server, checker, restart, copied, listed };
    let thread = std::thread::Builder::new().name(format!("replica-{}", me.0)).spawn(move || {
        node.connect(inputs);
        node.perform(effects)?;
        node.run(&received)
    })?;
    Ok(thread)
}

impl Node {
    /// Everybody hears of us, and we of everybody.
    fn connect(&mut self, inputs: SyncSender<Input>) {
        let mut links = self.links.write().expect("no panic while the lock is held");
        for (peer, link) in links.iter() {
            let _ = link.try_send(Input::Connected(self.me));
            let _ = inputs.try_send(Input::Connected(*peer));
        }
        links.insert(self.me, inputs);
    }

    fn run(mut self, inputs: &Receiver<Input>) -> anyhow::Result<()> {
        let mut last_retry = Instant::now();
        loop {
            let first = match inputs.recv_timeout(RETRY_INTERVAL) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            for input in first.into_iter().chain(inputs.try_iter().take(CORE_BATCH)) {
                if !self.take(input)? {
                    self.store.commit(std::mem::take(&mut self.pending), Durability::Sync)?;
                    return Ok(());
                }
            }
            if last_retry.elapsed() >= RETRY_INTERVAL {
                last_retry = Instant::now();
                let effects = self.replica.retry();
                self.perform(effects)?;
            }
            loop {
                let effects = self.replica.advance(local_time());
                if effects.is_empty() {
                    break;
                }
                self.perform(effects)?;
            }
            self.flush()?;
            let progress = self.replica.machine().progress();
            self.shown.position.store(progress.position, Ordering::Relaxed);
            let rows = self.replica.head().map_or(0, |signed| signed.head.rows);
            self.shown.rows.store(rows, Ordering::Relaxed);
            self.copied = self.replica.sync_progress().or(self.copied);
            if self.copied.is_some_and(|copied| copied.total > 0) {
                self.listed.get_or_insert_with(Instant::now);
            }
        }
    }

    fn take(&mut self, input: Input) -> anyhow::Result<bool> {
        let effects = match input {
            Input::Message(from, message) => self.replica.receive(from, message),
            Input::Connected(peer) => self.replica.connected(peer),
            Input::Submit(submission) => {
                self.replica.submit(&submission).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
                Vec::new()
            }
            Input::Compare => {
                self.flush()?;
                self.checker = Some(tree_of(&self.store)?);
                Vec::new()
            }
            Input::Stop => return Ok(false),
        };
        self.perform(effects)?;
        Ok(true)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> anyhow::Result<()> {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Write(batch) => {
                    self.check(&batch.rows);
                    self.pending.append(batch);
                }
                Effect::Persist { batch, round } => {
                    self.pending.append(batch);
                    self.store.commit(std::mem::take(&mut self.pending), Durability::Sync)?;
                    queue.extend(self.replica.persisted(round));
                }
                Effect::Sync { height } => {
                    self.store.commit(std::mem::take(&mut self.pending), Durability::Sync)?;
                    queue.extend(self.replica.durable(height));
                }
                Effect::Send { to, message } => self.send(to, message)?,
                Effect::Broadcast(message) => {
                    let peers: Vec<ReplicaId> = self.links.read().expect("as above").keys().copied().collect();
                    for peer in peers.into_iter().filter(|peer| *peer != self.me) {
                        self.send(peer, message.clone())?;
                    }
                }
                Effect::Serve { to, refs, above } => {
                    self.flush()?;
                    let answer = self.replica.answer_fetch(&refs, above, &self.store)?;
                    self.send(to, answer)?;
                }
                Effect::Expose { zones } => {
                    if zones {
                        self.shown.view.store(Arc::new(self.replica.view()));
                    }
                }
                Effect::Fault { culprit, what } => anyhow::bail!("{culprit} is said to be at fault: {what}"),
                Effect::NotVotedFor(error) => anyhow::bail!("no zone comes from a primary: {error}"),
                Effect::KeepCopy { height } => {
                    self.flush()?;
                    self.store.keep_copy(height)?;
                }
                Effect::ReleaseCopies { below } => {
                    let in_use = self.server.as_ref().map_or(u64::MAX, |(height, _)| *height);
                    self.store.release_copies(below.min(in_use))?;
                }
                Effect::ServeState { to, height, part } => {
                    if self.server.as_ref().is_none_or(|(open, _)| *open < height) {
                        let copy = self.store.copy(height)?;
                        self.server =
                            copy.map(|copy| Ok::<_, anyhow::Error>((height, StateServer::new(copy)?))).transpose()?;
                    }
                    let server = self.server.as_ref().filter(|(open, _)| *open == height).map(|(_, server)| server);
                    let answer = sync::answer(server, height, part)?;
                    self.send(to, answer)?;
                }
                Effect::BeginStaging => self.store.begin_staging()?,
                Effect::Stage(batch) => self.store.stage(batch)?,
                Effect::Adopt => queue = VecDeque::from(self.adopt()?),
                Effect::Diverged { ours, theirs } => anyhow::bail!("diverged: {ours:?}, signed was {theirs:?}"),
            }
        }
        Ok(())
    }

    fn adopt(&mut self) -> anyhow::Result<Vec<Effect>> {
        let whole = Instant::now();
        self.pending = Batch::default();
        self.store.adopt_staged()?;
        let (replica, mut effects) = (self.restart)(&mut self.store)?;
        self.replica = replica;
        let peers: Vec<ReplicaId> = self.links.read().expect("as above").keys().copied().collect();
        for peer in peers.into_iter().filter(|peer| *peer != self.me) {
            effects.extend(self.replica.connected(peer));
        }
        self.shown.view.store(Arc::new(self.replica.view()));
        let times = [self.listed.unwrap_or(whole), whole, Instant::now()];
        *self.shown.join.lock().expect("as above") = self.copied.map(|copied| (times, copied));
        self.shown.joined.store(true, Ordering::Relaxed);
        Ok(effects)
    }

    /// A link takes what fits; what does not is asked for again.
    fn send(&self, to: ReplicaId, message: PeerMessage) -> anyhow::Result<()> {
        let message = PeerMessage::decode(&message.encode()?)?;
        if let Some(link) = self.links.read().expect("as above").get(&to) {
            let _ = link.try_send(Input::Message(self.me, message));
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.pending.is_empty() {
            self.store.commit(std::mem::take(&mut self.pending), Durability::Lazy)?;
        }
        Ok(())
    }

    /// The root after the commit that wrote these rows.
    fn check(&mut self, rows: &[Row]) {
        let Some(tree) = self.checker.as_mut().filter(|_| !rows.is_empty()) else { return };
        rows.iter().for_each(|row| tree.apply(row));
        let height = crate::replica::machine::Progress::in_rows(rows).map(|progress| progress.height);
        if let Some(height) = height {
            self.shown.roots.lock().expect("as above").insert(height, tree.root());
        }
    }
}

/// Time to wait for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(600);
