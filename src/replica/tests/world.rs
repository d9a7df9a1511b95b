//! A cluster of whole replicas in one process: virtual time, seeded delays, disks that lose what was not synced. The shell
//! around each replica does what `node::core` does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use super::fixture::{Fixture, START, fixture, registry_fixture};
use crate::committee::ReplicaId;
use crate::directory::Timestamp;
use crate::directory::zone::NodeRef;
use crate::limits::NONCES_AHEAD;
use crate::order::{BlockRef, OrderPublic, VerifyEach};
use crate::replica::message::PeerMessage;
use crate::replica::recovery::{self, RecoverError, Recovery};
use crate::replica::{Effect, FarBehind, NotVotedFor, Parts, Replica, door, sync};
use crate::rows::{Table, TableRows};
use crate::store::memory::MemoryStore;
use crate::store::serve::{self, StateServer};
use crate::store::view::View;
use crate::store::{Batch, Durability, Read, Store, StoredBlock};

/// Milliseconds between two looks at what is missing.
const TICK: u64 = 250;
/// Milliseconds without a message after which the cluster counts as quiet.
const SILENCE: u64 = 4 * TICK;

enum Event {
    Deliver { from: ReplicaId, to: ReplicaId, lives: (u32, u32), message: PeerMessage },
    Tick { replica: ReplicaId, life: u32 },
    Submit { replica: ReplicaId, operation: Vec<u8> },
    Crash { replica: ReplicaId, restart_after: Option<u64> },
    Restart { replica: ReplicaId },
}

struct Node {
    store: MemoryStore,
    replica: Option<Replica>,
    pending: Batch,
    life: u32,
    /// The copy that others take.
    server: Option<(u64, StateServer<MemoryStore>)>,
}

pub struct World {
    pub seed: u64,
    fixture: &'static Fixture,
    public: Arc<OrderPublic>,
    /// A replica that everything from and to comes so much later.
    laggard: Option<(ReplicaId, u64)>,
    /// A replica whose clock is so many milliseconds fast.
    pub fast: Option<(ReplicaId, u64)>,
    /// Messages sent, and batches written.
    pub activity: (u64, u64),
    rng: ChaCha20Rng,
    now: u64,
    last_message: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sent: u64,
    nodes: Vec<Node>,
    /// What each serial showed, at whoever published it first.
    shown: BTreeMap<u32, Vec<u8>>,
    pub faults: Vec<(ReplicaId, String)>,
    /// Versions of primaries that replicas gave up.
    pub not_voted_for: Vec<(ReplicaId, NotVotedFor)>,
    /// Blocks as they are sent, for those who read everything at once.
    pub spied: Vec<(ReplicaId, Vec<u8>)>,
    /// What a corrupt replica makes of what it sends.
    pub corrupt: Option<Corrupt>,
    pub far_behind: FarBehind,
    /// How often a replica joined at a signed head.
    pub joined: usize,
    /// How often one that started had something to show before it had read all.
    pub shown_early: usize,
    /// How often whoever copies the state is still to be cut, after each time one step more than before.
    pub copies_to_cut: usize,
    copy_steps: usize,
    steps_until_cut: usize,
}

/// May alter a message of a replica, or swallow it.
pub type Corrupt = Box<dyn FnMut(ReplicaId, &mut PeerMessage) -> bool>;

impl World {
    pub fn new(seed: u64, running: &[u8]) -> Self {
        Self::with_depth(seed, running, fixture().public.depth)
    }

    /// Where a leader orders nothing more than `depth` rounds below it.
    pub fn with_depth(seed: u64, running: &[u8], depth: u64) -> Self {
        Self::of(fixture(), seed, running, depth)
    }

    /// Where the zone comes from its registry's primary.
    pub fn of_registry(seed: u64, running: &[u8]) -> Self {
        let fixture = registry_fixture();
        Self::of(fixture, seed, running, fixture.public.depth)
    }

    fn of(fixture: &'static Fixture, seed: u64, running: &[u8], depth: u64) -> Self {
        let Fixture { genesis, public, .. } = fixture;
        let store = || MemoryStore::create(public.network, &genesis.to_bytes());
        let node = |_| Node { store: store(), replica: None, pending: Batch::default(), life: 0, server: None };
        let mut world = Self {
            seed,
            fixture,
            public: Arc::new(OrderPublic { depth, ..OrderPublic::clone(public) }),
            laggard: None,
            fast: None,
            activity: (0, 0),
            rng: ChaCha20Rng::seed_from_u64(seed),
            now: START,
            last_message: START,
            queue: BTreeMap::new(),
            sent: 0,
            nodes: genesis.committee.ids().map(node).collect(),
            shown: BTreeMap::new(),
            faults: Vec::new(),
            not_voted_for: Vec::new(),
            spied: Vec::new(),
            corrupt: None,
            far_behind: FarBehind::default(),
            joined: 0,
            shown_early: 0,
            copies_to_cut: 0,
            copy_steps: 0,
            steps_until_cut: 1,
        };
        for &id in running {
            world.restart(ReplicaId(id));
        }
        world
    }

    pub fn replica(&self, id: u8) -> &Replica {
        self.nodes[usize::from(id)].replica.as_ref().unwrap()
    }

    pub fn is_running(&self, id: u8) -> bool {
        self.nodes[usize::from(id)].replica.is_some()
    }

    pub fn replica_mut(&mut self, id: u8) -> &mut Replica {
        self.nodes[usize::from(id)].replica.as_mut().unwrap()
    }

    /// What `id` would answer to a request for blocks.
    pub fn answer(&self, id: u8, refs: &[BlockRef], above: u64) -> Vec<Vec<u8>> {
        let message = self.replica(id).answer_fetch(refs, above, &self.nodes[usize::from(id)].store).unwrap();
        let PeerMessage::Blocks(blocks) = message else { panic!("an answer to a fetch is blocks") };
        blocks
    }

    /// The blocks of a round on the disk of `id`.
    pub fn stored(&self, id: u8, round: u64) -> Vec<StoredBlock> {
        self.nodes[usize::from(id)].store.blocks_in(round..round + 1).unwrap()
    }

    /// `to` receives a message as if `from` had sent it.
    pub fn receive(&mut self, to: u8, from: u8, message: PeerMessage) {
        self.input(ReplicaId(to), |replica| replica.receive(ReplicaId(from), message));
    }

    /// From now on, everything from and to `replica` comes `later` milliseconds later.
    pub fn delay(&mut self, replica: u8, later: u64) {
        self.laggard = Some((ReplicaId(replica), later));
    }

    /// The stored rows of a table.
    pub fn rows(&self, id: u8, table: Table, prefix: &[u8]) -> TableRows {
        self.nodes[usize::from(id)].store.scan(table, prefix).unwrap()
    }

    /// Lets `time` pass.
    pub fn run_for(&mut self, time: u64) {
        let until = self.now + time;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            self.step();
        }
        self.now = until;
    }

    /// All clocks go on by so much, while nobody does anything.
    pub fn skip(&mut self, time: u64) {
        self.now += time;
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue.into_iter().map(|((at, number), event)| ((at + time, number), event)).collect();
    }

    /// What every clock says.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Ends a replica, of which all that it had in memory is kept.
    pub fn remove(&mut self, id: u8) -> Replica {
        let removed = self.nodes[usize::from(id)].replica.take().expect("it runs");
        self.cut(ReplicaId(id), None);
        removed
    }

    /// Starts a replica that did not run.
    pub fn start(&mut self, id: u8) {
        self.restart(ReplicaId(id));
    }

    /// Runs until `reached`, which has to come.
    pub fn run_until(&mut self, reached: impl Fn(&Self) -> bool) {
        let deadline = self.now + 60_000;
        while !reached(self) {
            assert!(self.now < deadline, "seed {}: {}", self.seed, self.describe());
            self.step();
        }
    }

    fn running(&self) -> impl Iterator<Item = (ReplicaId, &Replica)> {
        (0..).map(ReplicaId).zip(&self.nodes).filter_map(|(id, node)| Some((id, node.replica.as_ref()?)))
    }

    pub fn submit(&mut self, after: u64, replica: u8, operation: &[u8]) {
        let replica = ReplicaId(replica);
        self.schedule(after, Event::Submit { replica, operation: operation.to_vec() });
    }

    pub fn crash(&mut self, after: u64, replica: u8, restart_after: Option<u64>) {
        self.schedule(after, Event::Crash { replica: ReplicaId(replica), restart_after });
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.sent += 1;
        self.queue.insert((self.now + after, self.sent), event);
    }

    /// Runs until nobody says anything any more and nothing is scheduled but looking after things.
    pub fn run_until_quiet(&mut self) {
        let deadline = self.now + 120_000;
        loop {
            let busy = self.queue.values().any(|event| !matches!(event, Event::Tick { .. }));
            if !busy && self.now > self.last_message + SILENCE {
                return;
            }
            assert!(self.now < deadline, "seed {}: never quiet: {}", self.seed, self.describe());
            self.step();
        }
    }

    fn describe(&self) -> String {
        let each = self.running().map(|(id, replica)| {
            let machine = replica.machine();
            let progress = machine.progress();
            let pending = machine.scheduler().pending();
            format!(
                "{id}: round {} {progress:?} pending {pending} pool {} outbox {} unfinished {}",
                replica.round(),
                replica.pool.len(),
                replica.outbox.len(),
                replica.order.unfinished()
            )
        });
        each.collect::<Vec<_>>().join("; ")
    }

    /// The next event.
    pub fn step(&mut self) {
        let ((at, _), event) = self.queue.pop_first().unwrap();
        self.now = at;
        match event {
            Event::Deliver { from, to, lives, message } => {
                if lives == (self.nodes[from.index()].life, self.nodes[to.index()].life) {
                    let message = PeerMessage::decode(&message.encode().unwrap()).unwrap();
                    self.input(to, |replica| replica.receive(from, message));
                }
            }
            Event::Tick { replica, life } => {
                if self.nodes[replica.index()].life == life {
                    self.input(replica, Replica::retry);
                    self.schedule(TICK, Event::Tick { replica, life });
                }
            }
            Event::Submit { replica, operation } => {
                self.input(replica, |replica| {
                    let directory = replica.snapshot().directory;
                    let submission = door::check(&operation, replica.public.network, &directory)
                        .or_else(|_| door::check_envelope(&operation))
                        .unwrap();
                    replica.submit(&submission).unwrap();
                    Vec::new()
                });
            }
            Event::Crash { replica, restart_after } => self.cut(replica, restart_after),
            Event::Restart { replica } => self.restart(replica),
        }
    }

    /// One input, then the look whether a round is due.
    pub fn input(&mut self, id: ReplicaId, take: impl FnOnce(&mut Replica) -> Vec<Effect>) {
        let Some(replica) = &mut self.nodes[id.index()].replica else { return };
        let effects = take(replica);
        self.perform(id, effects);
        let fast = self.fast.filter(|(fast, _)| *fast == id).map_or(0, |(_, by)| by);
        let now = Timestamp(self.now + fast);
        while let Some(replica) = &mut self.nodes[id.index()].replica {
            let effects = replica.advance(now);
            if effects.is_empty() {
                break;
            }
            self.perform(id, effects);
        }
        // Sometimes what waits stays unwritten for a while.
        if self.random(2) == 0 {
            let node = &mut self.nodes[id.index()];
            node.store.commit(std::mem::take(&mut node.pending), Durability::Lazy).unwrap();
        }
    }

    fn perform(&mut self, id: ReplicaId, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            let node = &mut self.nodes[id.index()];
            match effect {
                Effect::Write(batch) => {
                    self.activity.1 += 1;
                    node.pending.append(batch);
                }
                Effect::Persist { batch, round } => {
                    self.activity.1 += 1;
                    node.pending.append(batch);
                    node.store.commit(std::mem::take(&mut node.pending), Durability::Sync).unwrap();
                    queue.extend(node.replica.as_mut().unwrap().persisted(round));
                }
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Broadcast(message) => {
                    if let PeerMessage::Block(bytes) = &message {
                        self.spied.push((id, bytes.clone()));
                    }
                    for to in self.fixture.public.committee.ids().filter(|&to| to != id) {
                        self.send(id, to, message.clone());
                    }
                }
                Effect::Serve { to, refs, above } => {
                    node.store.commit(std::mem::take(&mut node.pending), Durability::Lazy).unwrap();
                    let answer = node.replica.as_ref().unwrap().answer_fetch(&refs, above, &node.store).unwrap();
                    self.send(id, to, answer);
                }
                Effect::Expose { zones } => {
                    if zones {
                        self.show(id);
                    }
                }
                Effect::Fault { culprit, what } => self.faults.push((culprit, what)),
                Effect::NotVotedFor(error) => self.not_voted_for.push((id, error)),
                Effect::Sync { height } => {
                    node.store.commit(std::mem::take(&mut node.pending), Durability::Sync).unwrap();
                    queue.extend(node.replica.as_mut().unwrap().durable(height));
                }
                Effect::KeepCopy { height } => {
                    node.store.commit(std::mem::take(&mut node.pending), Durability::Lazy).unwrap();
                    node.store.keep_copy(height).unwrap();
                }
                Effect::ReleaseCopies { below } => node.store.release_copies(below).unwrap(),
                Effect::ServeState { to, height, part } => {
                    if node.server.as_ref().is_none_or(|(open, _)| *open != height) {
                        let copy = node.store.copy(height).unwrap();
                        node.server = copy.map(|copy| (height, StateServer::new(copy).unwrap()));
                    }
                    let server = node.server.as_ref().map(|(_, server)| server);
                    let answer = sync::answer(server, height, part).unwrap();
                    self.send(id, to, answer);
                }
                Effect::BeginStaging => {
                    node.store.begin_staging().unwrap();
                    if self.copy_step(id) {
                        return;
                    }
                }
                Effect::Stage(batch) => {
                    node.store.stage(batch).unwrap();
                    if self.copy_step(id) {
                        return;
                    }
                }
                Effect::Adopt => {
                    if self.copy_step(id) {
                        return;
                    }
                    let node = &mut self.nodes[id.index()];
                    assert!(sync::is_whole(&node.store).unwrap());
                    node.store.adopt_staged().unwrap();
                    node.pending = Batch::default();
                    self.joined += 1;
                    return self.take_over(id);
                }
                Effect::Diverged { ours, theirs } => {
                    panic!("seed {}: {id} diverged: {ours:?}, {theirs:?}", self.seed);
                }
            }
        }
    }

    /// A step of a copy; whether the replica is cut after it.
    fn copy_step(&mut self, id: ReplicaId) -> bool {
        self.copy_steps += 1;
        let cut = self.copies_to_cut > 0 && self.copy_steps == self.steps_until_cut;
        if cut {
            self.copies_to_cut -= 1;
            self.copy_steps = 0;
            self.steps_until_cut = self.steps_until_cut % 2 + 1;
            self.cut(id, Some(100));
        }
        cut
    }

    /// A power cut of one replica: what was not synced may be lost.
    fn cut(&mut self, id: ReplicaId, restart_after: Option<u64>) {
        let keep = self.rng.next_u64() as usize;
        let node = &mut self.nodes[id.index()];
        node.replica = None;
        node.pending = Batch::default();
        node.server = None;
        node.life += 1;
        let lazy = node.store.not_durable();
        node.store.power_cut(keep % (lazy + 1));
        if let Some(after) = restart_after {
            self.schedule(after, Event::Restart { replica: id });
        }
    }

    /// What recovery makes of the disk of `id`, which does not run, after `change`; what it showed before.
    pub fn recover_after(
        &mut self,
        id: u8,
        change: impl FnOnce(&mut MemoryStore),
    ) -> (Result<Recovery, RecoverError>, Vec<View>) {
        let store = &mut self.nodes[usize::from(id)].store;
        change(store);
        let mut shown = Vec::new();
        let mut show = |view| shown.push(view);
        let recovered = recovery::recover(ReplicaId(id), &self.fixture.genesis, &self.public, store, &mut show);
        (recovered, shown)
    }

    /// `id`, which does not run, gets an empty disk.
    pub fn lose_disk(&mut self, id: u8) {
        let Fixture { genesis, public, .. } = self.fixture;
        let node = &mut self.nodes[usize::from(id)];
        node.store = MemoryStore::create_after_loss(public.network, &genesis.to_bytes());
    }

    /// All rows of a replica's store, in the order of the tables and keys.
    pub fn state_rows(&self, id: u8) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let store = &self.nodes[usize::from(id)].store;
        serve::for_each_row(store, |table, key, value| rows.push((table, key.to_vec(), value.to_vec()))).unwrap();
        rows
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, mut message: PeerMessage) {
        if self.corrupt.as_mut().is_some_and(|corrupt| !corrupt(from, &mut message)) {
            return;
        }
        let lives = (self.nodes[from.index()].life, self.nodes[to.index()].life);
        if self.nodes[to.index()].replica.is_none() {
            return;
        }
        self.last_message = self.now;
        self.activity.0 += 1;
        let lag = self.laggard.filter(|(laggard, _)| [from, to].contains(laggard)).map_or(0, |(_, lag)| lag);
        let delay = 1 + self.random(10) + lag;
        self.schedule(delay, Event::Deliver { from, to, lives, message });
    }

    /// Every replica shows the same bytes under the same serial.
    fn show(&mut self, id: ReplicaId) {
        let replica = self.nodes[id.index()].replica.as_ref().unwrap();
        for zone in replica.view().zones.values() {
            let bytes: Vec<u8> = zone.nodes().flat_map(NodeRef::as_bytes).copied().collect();
            let serial = zone.serial().unwrap();
            let first = self.shown.entry(serial).or_insert_with(|| bytes.clone());
            assert!(*first == bytes, "seed {}: serial {serial} differs at {id}", self.seed);
        }
    }

    /// A replica from what the disk has.
    fn boot(&mut self, id: ReplicaId) {
        let fixture = self.fixture;
        let node = &mut self.nodes[id.index()];
        let mut early = None;
        let mut show = |view| early = Some(view);
        let Recovery { machine, order, own_last, forgot, boot, heads, staged } =
            recovery::recover(id, &fixture.genesis, &self.public, &mut node.store, &mut show).unwrap();
        let (replica, effects) = Replica::start(Parts {
            me: id,
            public: Arc::clone(&self.public),
            identity: fixture.identity(id),
            coin: fixture.coin(id),
            sealing: fixture.sealing(id),
            recovered: order,
            machine,
            signer: fixture.signer(id, boot),
            heads,
            head_keys: fixture.heads(id),
            staged,
            far_behind: self.far_behind,
            own_last,
            forgot,
            nonces_ahead: NONCES_AHEAD,
            verifier: Arc::new(VerifyEach),
            rng: ChaCha20Rng::seed_from_u64(self.rng.next_u64()),
        });
        if let Some(mut early) = early {
            let whole = replica.view();
            early.zones.retain(|_, zone| zone.serial().is_some());
            assert!(early.starting && !whole.starting);
            assert!((early.height, early.agreed_time, early.zones) == (whole.height, whole.agreed_time, whole.zones));
            self.shown_early += 1;
        }
        node.replica = Some(replica);
        self.perform(id, effects);
    }

    fn restart(&mut self, id: ReplicaId) {
        self.boot(id);
        let node = &mut self.nodes[id.index()];
        node.life += 1;
        let life = node.life;
        for peer in self.fixture.public.committee.ids().filter(|&peer| peer != id) {
            self.input(id, |replica| replica.connected(peer));
            self.input(peer, |replica| replica.connected(id));
        }
        let first = 1 + self.random(TICK);
        self.schedule(first, Event::Tick { replica: id, life });
    }

    /// The replica of the copied state goes on in the same process: no link breaks, and nobody greets it.
    fn take_over(&mut self, id: ReplicaId) {
        let before = self.nodes[id.index()].replica.take().expect("it copied the state");
        self.boot(id);
        self.input(id, |replica| replica.inherit(before));
        for peer in self.fixture.public.committee.ids().filter(|&peer| peer != id) {
            self.input(id, |replica| replica.connected(peer));
        }
    }

    /// All who run show the same, made the same of every operation, and have nothing left to do.
    pub fn assert_agreement(&self) {
        let (_, first) = self.running().next().unwrap();
        let facts = |replica: &Replica| {
            let snapshot = replica.snapshot();
            let outcomes: Vec<_> =
                snapshot.outcomes.digests().iter().map(|digest| snapshot.outcomes.get(digest).cloned()).collect();
            (snapshot.progress.position, outcomes, snapshot.serials.clone(), snapshot.certificates.count())
        };
        for (id, replica) in self.running() {
            assert_eq!(facts(replica), facts(first), "seed {}: {id}", self.seed);
            assert!(
                replica.pool.is_empty()
                    && replica.outbox.is_empty()
                    && replica.machine().scheduler().pending() == 0
                    && (replica.snapshot().unopened, replica.snapshot().held) == (0, 0),
                "seed {}: {}",
                self.seed,
                self.describe()
            );
            let heads = (replica.head(), first.head());
            assert!(heads.0.is_some() && heads.0 == heads.1, "seed {}: {id}: {heads:?}", self.seed);
            let zones = |replica: &Replica| replica.view().zones;
            assert!(zones(replica) == zones(first), "seed {}: {id}", self.seed);
        }
    }

    /// How many operations were accepted, and how many executed.
    pub fn outcomes(&self, id: u8) -> (usize, usize) {
        let snapshot = self.replica(id).snapshot();
        let digests = snapshot.outcomes.digests();
        let accepted = digests.iter().filter(|digest| snapshot.outcomes.get(digest).unwrap().result.is_ok());
        (accepted.count(), digests.len())
    }
}
