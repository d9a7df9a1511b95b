//! One universe: processes, links and clients on one heap of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::adversary::{Kind, Mind};
use super::check::{Checks, Sight, Violation};
use super::client::{self, Client};
use super::delays::{Delays, MS, Micros};
use super::keys::Network;
use super::links::Links;
use super::plan::{DiskFault, Incident, Plan};
use super::process::{CheckOnce, Input, Process, Sync};
use super::stream::Stream;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::Digest;
use crate::order::{OrderPublic, VerifiedBlock, Verifier};
use crate::replica::message::PeerMessage;
use crate::replica::recovery::{self, Recovery};
use crate::replica::{Effect, FarBehind, Parts, Replica, door, sync};
use crate::store::memory::MemoryStore;
use crate::store::serve::StateServer;
use crate::store::{Batch, Durability, Store};

/// Between two looks at what is missing.
const TICK: Micros = 250 * MS;
/// Without a message for so long the cluster counts as silent.
const SILENCE: Micros = 4 * TICK;
/// After the network healed everything submitted has to be executed within this time, and within so many commits.
const PATIENCE: Micros = 120_000 * MS;
const COMMITS: u64 = 400;
/// Copies of a disk that may fail later.
const MAX_COPIES: usize = 16;

enum Event {
    Deliver {
        from: usize,
        to: usize,
        epoch: u32,
        bytes: Arc<[u8]>,
    },
    /// What a liar kept back goes out.
    Emit {
        from: usize,
        life: u32,
        to: ReplicaId,
        bytes: Arc<[u8]>,
    },
    Tick {
        process: usize,
        life: u32,
    },
    Synced {
        process: usize,
        life: u32,
    },
    GoesOn {
        process: usize,
        life: u32,
    },
    FastDisk {
        process: usize,
    },
    Restart {
        process: usize,
    },
    LinkUp {
        a: usize,
        b: usize,
    },
    Incident(Incident),
    Client(usize),
    Heal,
    Look,
}

impl Event {
    fn tag(&self) -> u8 {
        match self {
            Self::Deliver { .. } => 0,
            Self::Emit { .. } => 1,
            Self::Tick { .. } => 2,
            Self::Synced { .. } => 3,
            Self::GoesOn { .. } => 4,
            Self::FastDisk { .. } => 5,
            Self::Restart { .. } => 6,
            Self::LinkUp { .. } => 7,
            Self::Incident(_) => 8,
            Self::Client(_) => 9,
            Self::Heal => 10,
            Self::Look => 11,
        }
    }
}

pub struct World {
    plan: Plan,
    network: Arc<Network>,
    public: Arc<OrderPublic>,
    verifier: Arc<CheckOnce>,
    pub now: Micros,
    queue: BTreeMap<(Micros, u64), Event>,
    scheduled: u64,
    processes: Vec<Process>,
    links: Links,
    delays: Delays,
    clients: Vec<Client>,
    checks: Checks,
    network_rng: Stream,
    faults_rng: Stream,
    healed: bool,
    /// Highest height when the network healed.
    healed_height: u64,
    last_message: Micros,
    violation: Option<Violation>,
    trace: blake3::Hasher,
    pub steps: u64,
    /// How often each kind of incident, and each situation worth counting, came about.
    pub counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn new(plan: Plan, network: Arc<Network>) -> Self {
        let parameters = OrderPublic {
            wave: plan.wave,
            leaders_per_round: plan.leaders_per_round,
            depth: plan.depth,
            ..network.public.clone()
        };
        let seed = plan.seed;
        let clients = (0..plan.clients).map(|index| Client::new(&plan, &network, index)).collect();
        let mut world = Self {
            public: Arc::new(parameters),
            verifier: Arc::default(),
            now: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            processes: Vec::new(),
            links: Links::new(plan.reorders),
            delays: Delays::new(plan.scheduler, plan.n, Stream::new(seed, "delays", 0)),
            clients,
            checks: Checks::new(&plan),
            network_rng: Stream::new(seed, "network", 0),
            faults_rng: Stream::new(seed, "faults", 0),
            healed: false,
            healed_height: 0,
            last_message: 0,
            violation: None,
            trace: blake3::Hasher::new(),
            steps: 0,
            counts: BTreeMap::new(),
            plan,
            network,
        };
        world.create_processes();
        world.schedule_plan();
        world
    }

    fn create_processes(&mut self) {
        let mut ids: Vec<ReplicaId> = self.public.committee.ids().collect();
        let twins = self.plan.corrupt.iter().filter(|(_, strategy)| matches!(strategy.kind, Kind::Twins));
        ids.extend(twins.map(|(id, _)| *id));
        for (slot, id) in ids.into_iter().enumerate() {
            let store = MemoryStore::create(self.public.network, &self.network.genesis.to_bytes());
            let mut process = Process::new(id, store, Stream::new(self.plan.seed, "entropy", slot as u64));
            if let Some(strategy) = self.plan.corrupt.get(&id)
                && let Kind::Layer(make) = strategy.kind
            {
                let mut rng = Stream::new(self.plan.seed, "adversary", slot as u64);
                let conduct = make(&mut rng);
                let (public, verifier) = (Arc::clone(&self.public), Arc::clone(&self.verifier));
                process.adversary = Some((conduct, Mind::new(id, public, &self.network, verifier, rng)));
            }
            self.processes.push(process);
        }
    }

    fn schedule_plan(&mut self) {
        for process in 0..self.processes.len() {
            let absent = |id| self.plan.corrupt.get(&id).is_some_and(|strategy| matches!(strategy.kind, Kind::Absent));
            if !absent(self.processes[process].id) {
                let at = self.faults_rng.below(30 * MS);
                self.schedule(at, Event::Restart { process });
            }
        }
        for (at, incident) in std::mem::take(&mut self.plan.incidents) {
            self.schedule(at, Event::Incident(incident));
        }
        for client in 0..self.clients.len() {
            self.schedule(client as Micros, Event::Client(client));
        }
        self.schedule(self.plan.heal_at, Event::Heal);
        self.schedule(TICK, Event::Look);
    }

    fn schedule(&mut self, after: Micros, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + after, self.scheduled), event);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Runs to the end, or to the first violation.
    pub fn run(&mut self) -> Option<Violation> {
        while self.violation.is_none() && self.steps < self.plan.max_steps {
            if self.is_over() {
                self.look_back();
                break;
            }
            self.step();
        }
        self.violation.take()
    }

    /// A digest of every event so far.
    pub fn trace(&self) -> Digest {
        Digest(*self.trace.finalize().as_bytes())
    }

    pub fn height(&self) -> u64 {
        self.correct().map(|(_, replica)| replica.machine().progress().height).max().unwrap_or(0)
    }

    pub fn rounds(&self) -> u64 {
        self.correct().map(|(_, replica)| replica.round()).max().unwrap_or(0)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Correct replicas that run.
    fn correct(&self) -> impl Iterator<Item = (usize, &Replica)> {
        let running = self.processes.iter().enumerate().filter_map(|(at, process)| Some((at, process.core.as_ref()?)));
        running.filter(|(at, _)| self.is_correct(*at))
    }

    fn is_correct(&self, process: usize) -> bool {
        self.plan.is_correct(self.processes[process].id)
    }

    fn violate(&mut self, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation { checker, what });
    }

    fn check(&mut self, sight: &Sight<'_>) {
        if let Err(violation) = self.checks.see(sight) {
            self.violation.get_or_insert(violation);
        }
    }

    /// Whether all is done that was asked for; and said, if nobody keeps the rounds going.
    fn is_over(&self) -> bool {
        if !self.healed || !self.clients.iter().all(Client::is_done) {
            return false;
        }
        let quiet = self.plan.corrupt.values().all(|strategy| strategy.is_quiet());
        !quiet || self.now > self.last_message + SILENCE
    }

    fn step(&mut self) {
        let Some(((at, number), event)) = self.queue.pop_first() else {
            return self.violate("simulator", "nothing is scheduled any more".into());
        };
        self.now = at;
        self.steps += 1;
        self.trace.update(&at.to_be_bytes()).update(&number.to_be_bytes()).update(&[event.tag()]);
        match event {
            Event::Deliver { from, to, epoch, bytes } => self.deliver(from, to, epoch, bytes),
            Event::Emit { from, life, to, bytes } => {
                if self.processes[from].life == life {
                    self.transmit(from, to, bytes);
                }
            }
            Event::Tick { process, life } => self.tick(process, life),
            Event::Synced { process, life } => self.synced(process, life),
            Event::GoesOn { process, life } => {
                if self.processes[process].life == life {
                    self.drain(process);
                }
            }
            Event::FastDisk { process } => self.processes[process].sync_takes = 0,
            Event::Restart { process } => self.restart(process),
            Event::LinkUp { a, b } => self.link_up(a, b),
            Event::Incident(incident) => self.incident(incident),
            Event::Client(client) => self.client(client),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    // --- messages ---

    fn deliver(&mut self, from: usize, to: usize, epoch: u32, bytes: Arc<[u8]>) {
        if !self.links.is_up(from, to) || self.links.epoch(from, to) != epoch {
            return;
        }
        self.trace.update(&bytes);
        let from = self.processes[from].id;
        self.input(to, Input::Message { from, bytes });
    }

    /// Puts bytes on the links to `to`: to both of twins.
    fn transmit(&mut self, from: usize, to: ReplicaId, bytes: Arc<[u8]>) {
        let block = match bytes.first() {
            Some(0) => self.verifier.verify(&self.public, &bytes[1..]).ok(),
            _ => None,
        };
        for process in 0..self.processes.len() {
            if self.processes[process].id != to || !self.links.is_up(from, process) {
                continue;
            }
            self.last_message = self.now;
            let copies = if self.network_rng.chance(self.plan.duplicates, 1000) { 2 } else { 1 };
            for _ in 0..copies {
                let delay = self.delays.draw(&self.public, self.processes[from].id, to, block.as_deref());
                let at = self.links.arrival(from, process, self.now + delay);
                let epoch = self.links.epoch(from, process);
                let event = Event::Deliver { from, to: process, epoch, bytes: Arc::clone(&bytes) };
                self.schedule(at - self.now, event);
            }
        }
    }

    /// The core of `from` wants this sent.
    fn send(&mut self, from: usize, to: ReplicaId, message: PeerMessage) {
        if self.processes[from].adversary.is_some() {
            return self.lie(from, |conduct, mind| conduct.send(mind, to, message));
        }
        match message.encode() {
            Ok(bytes) => self.transmit(from, to, bytes.into()),
            Err(error) => self.violate("bounds", format!("an own message is over its limits: {error}")),
        }
    }

    /// Lets the liar at `process` act, and sends what it says.
    fn lie<R>(&mut self, process: usize, act: impl FnOnce(&mut dyn super::adversary::Conduct, &mut Mind) -> R) -> R {
        let state = &mut self.processes[process];
        let life = state.life;
        let (conduct, mind) = state.adversary.as_mut().expect("asked of liars only");
        mind.now = self.now;
        let result = act(conduct.as_mut(), mind);
        for (delay, to, bytes) in mind.take_out() {
            if delay == 0 {
                self.transmit(process, to, bytes);
            } else {
                self.schedule(delay, Event::Emit { from: process, life, to, bytes });
            }
        }
        result
    }

    // --- the shell around a replica ---

    fn input(&mut self, process: usize, input: Input) {
        let state = &mut self.processes[process];
        if state.core.is_none() {
            return;
        }
        if state.is_busy(self.now) {
            state.inbox.push_back(input);
            return;
        }
        self.take(process, input);
        self.advance(process);
    }

    fn take(&mut self, process: usize, input: Input) {
        let effects = match input {
            Input::Message { from, bytes } => {
                // A link breaks on what is no message.
                let Ok(message) = PeerMessage::decode(&bytes) else { return };
                if self.processes[process].adversary.is_some() {
                    let heard = self.lie(process, |conduct, mind| {
                        mind.note(&message);
                        conduct.hear(mind, from, &message)
                    });
                    if !heard {
                        return;
                    }
                }
                self.core(process).receive(from, message)
            }
            Input::Connected(peer) => self.core(process).connected(peer),
            Input::Retry => self.core(process).retry(),
            Input::Submit(bytes) => {
                let network = self.public.network;
                let core = self.core(process);
                let checked = door::check(&bytes, network, &core.snapshot().directory);
                if let Ok(submission) = checked.or_else(|_| door::check_envelope(&bytes)) {
                    // A full pool is no fault: the client asks again.
                    let _ = core.submit(&submission);
                }
                Vec::new()
            }
        };
        self.processes[process].todo.extend(effects);
        self.work(process);
    }

    fn core(&mut self, process: usize) -> &mut Replica {
        self.processes[process].core.as_mut().expect("asked while it runs")
    }

    /// Makes the blocks that are due.
    fn advance(&mut self, process: usize) {
        loop {
            let state = &self.processes[process];
            if state.core.is_none() || state.is_busy(self.now) {
                return;
            }
            let clock = state.clock(self.now);
            let effects = self.core(process).advance(clock);
            if effects.is_empty() {
                break;
            }
            self.processes[process].todo.extend(effects);
            self.work(process);
        }
        // Sometimes what waits stays unwritten for a while.
        if self.faults_rng.chance(1, 2) {
            self.processes[process].flush();
        }
    }

    /// Does what is to be done, up to the next sync that takes time.
    fn work(&mut self, process: usize) {
        while let Some(effect) = self.processes[process].todo.pop_front() {
            if self.burns_down(process) {
                return;
            }
            match effect {
                Effect::Write(batch) => {
                    if self.is_correct(process) && !batch.rows.is_empty() {
                        let by = self.processes[process].id;
                        self.check(&Sight::Wrote { by, rows: &batch.rows });
                    }
                    self.processes[process].pending.append(batch);
                }
                Effect::Persist { batch, round } => {
                    let state = &mut self.processes[process];
                    state.pending.append(batch);
                    let batch = std::mem::take(&mut state.pending);
                    state.sync = Some(Sync { batch, round });
                    let (takes, life) = (state.sync_takes, state.life);
                    if takes > 0 {
                        return self.schedule(takes, Event::Synced { process, life });
                    }
                    self.persisted(process);
                }
                Effect::Send { to, message } => self.send(process, to, message),
                Effect::Broadcast(message) => self.broadcast(process, &message),
                Effect::Serve { to, refs, above } => {
                    self.processes[process].flush();
                    let state = &self.processes[process];
                    let replica = state.core.as_ref().expect("it runs");
                    match replica.answer_fetch(&refs, above, &state.store) {
                        Ok(answer) => self.send(process, to, answer),
                        Err(_) => return self.replace_disk(process),
                    }
                }
                Effect::Expose { zones: _ } => self.expose(process),
                Effect::Sync { height } => {
                    let state = &mut self.processes[process];
                    let batch = std::mem::take(&mut state.pending);
                    state.store.commit(batch, Durability::Sync).expect("the model takes every batch");
                    let effects = self.core(process).durable(height);
                    self.processes[process].todo.extend(effects);
                }
                Effect::KeepCopy { height } => {
                    self.processes[process].flush();
                    self.processes[process].store.keep_copy(height).expect("the model keeps every copy");
                }
                Effect::ReleaseCopies { below } => {
                    self.processes[process].store.release_copies(below).expect("the model lets go of every copy");
                }
                Effect::ServeState { to, height, part } => {
                    let copy = self.processes[process]
                        .store
                        .copy(height)
                        .and_then(|copy| copy.map(StateServer::new).transpose());
                    match copy.and_then(|server| sync::answer(server.as_ref(), height, part)) {
                        Ok(answer) => self.send(process, to, answer),
                        Err(_) => return self.replace_disk(process),
                    }
                }
                Effect::BeginStaging => {
                    self.processes[process].store.begin_staging().expect("the model always has room");
                }
                Effect::Stage(batch) => {
                    self.processes[process].store.stage(batch).expect("staging was begun");
                }
                Effect::Adopt => {
                    self.count("joined at a signed head");
                    let state = &mut self.processes[process];
                    state.store.adopt_staged().expect("all was staged");
                    state.pending = Batch::default();
                    state.todo.clear();
                    state.core = None;
                    return self.restart(process);
                }
                Effect::Diverged { ours, theirs } => {
                    assert!(!self.is_correct(process), "the state of a correct replica differs: {ours:?}, {theirs:?}");
                }
                Effect::Fault { culprit, what } => {
                    self.count("fault reported");
                    if self.is_correct(process) {
                        let by = self.processes[process].id;
                        self.check(&Sight::Blamed { by, culprit, what: &what });
                    }
                }
            }
        }
    }

    /// Whether the crash that was decided on comes now.
    fn burns_down(&mut self, process: usize) -> bool {
        match &mut self.processes[process].fuse {
            Some((0, back_after)) => {
                let back_after = *back_after;
                self.crash(process, back_after);
                true
            }
            Some((left, _)) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn broadcast(&mut self, process: usize, message: &PeerMessage) {
        let me = self.processes[process].id;
        if let PeerMessage::Block(bytes) = message {
            let Ok(block) = self.verifier.verify(&self.public, bytes) else {
                return self.violate("speech", format!("{me} broadcasts what is no valid block"));
            };
            if self.is_correct(process) {
                self.spoke(process, &block);
            }
            if self.processes[process].adversary.is_some() {
                return self.lie(process, |conduct, mind| {
                    mind.note(message);
                    conduct.block(mind, &block);
                });
            }
        }
        for to in self.public.committee.clone().ids().filter(|&to| to != me) {
            // Each copy is a boundary at which the process may die.
            if self.burns_down(process) {
                return;
            }
            self.send(process, to, message.clone());
        }
    }

    fn spoke(&mut self, process: usize, block: &Arc<VerifiedBlock>) {
        use crate::store::Read;
        let state = &self.processes[process];
        let (by, durable) = (state.id, state.store.own_last().map_or(0, |own| own.round));
        self.check(&Sight::Spoke { by, block, durable });
    }

    /// The sync that `work` began is done.
    fn persisted(&mut self, process: usize) {
        let state = &mut self.processes[process];
        let Some(Sync { batch, round }) = state.sync.take() else { return };
        state.commit(batch, true);
        let effects = self.core(process).persisted(round);
        self.processes[process].todo.extend(effects);
    }

    fn synced(&mut self, process: usize, life: u32) {
        if self.processes[process].life != life {
            return;
        }
        self.persisted(process);
        self.work(process);
        self.drain(process);
    }

    /// Takes what came meanwhile, as one batch.
    fn drain(&mut self, process: usize) {
        while self.processes[process].core.is_some()
            && !self.processes[process].is_busy(self.now)
            && let Some(input) = self.processes[process].inbox.pop_front()
        {
            self.take(process, input);
        }
        self.advance(process);
    }

    fn expose(&mut self, process: usize) {
        self.processes[process].flush();
        if self.is_correct(process) {
            let state = &self.processes[process];
            let (by, core) = (state.id, state.core.as_ref().expect("it runs"));
            let (snapshot, view) = (core.snapshot(), core.view());
            self.check(&Sight::Exposed { by, snapshot: &snapshot, view: &view });
        }
    }

    fn tick(&mut self, process: usize, life: u32) {
        if self.processes[process].life != life {
            return;
        }
        if self.processes[process].adversary.is_some() {
            let error = self.lie(process, |conduct, mind| {
                conduct.tick(mind);
                conduct.clock_error(mind)
            });
            if let Some(error) = error {
                self.processes[process].clock_error = error;
            }
        }
        self.input(process, Input::Retry);
        let state = &mut self.processes[process];
        if state.life == life {
            if self.plan.forgetful == Some(state.id) && state.copies.len() < MAX_COPIES {
                state.copies.push((self.now, state.store.durable_copy()));
            }
            self.schedule(TICK, Event::Tick { process, life });
        }
    }

    // --- starts and ends ---

    fn restart(&mut self, process: usize) {
        if self.processes[process].core.is_some() {
            return;
        }
        let (network, public) = (Arc::clone(&self.network), Arc::clone(&self.public));
        let state = &mut self.processes[process];
        let id = state.id;
        let recovered = recovery::recover(id, &network.genesis, &public, &mut state.store);
        let Ok(Recovery { machine, order, own_last, boot, heads, staged }) = recovered else {
            return self.replace_disk(process);
        };
        let (replica, effects) = Replica::start(Parts {
            me: id,
            public: Arc::clone(&public),
            identity: network.identity(id),
            coin: network.coin(id),
            sealing: network.sealing(id),
            recovered: order,
            machine,
            heads,
            head_keys: network.head_keys(id),
            staged,
            far_behind: FarBehind::default(),
            signer: network.signer(id, boot),
            own_last: own_last.filter(|_| !state.own_record_lost),
            nonces_ahead: self.plan.nonces_ahead,
            verifier: Arc::<CheckOnce>::clone(&self.verifier),
            rng: state.entropy.generator(),
        });
        state.core = Some(replica);
        state.life += 1;
        let life = state.life;
        state.todo.extend(effects);
        if self.is_correct(process) {
            self.check(&Sight::Started { by: id, remembers: true });
        }
        self.work(process);
        self.advance(process);
        for peer in 0..self.processes.len() {
            if self.processes[peer].id != id {
                let after = self.network_rng.between(1, 50) * MS;
                self.schedule(after, Event::LinkUp { a: process, b: peer });
            }
        }
        let first = 1 + self.faults_rng.below(TICK);
        self.schedule(first, Event::Tick { process, life });
    }

    fn crash(&mut self, process: usize, back_after: Micros) {
        if self.processes[process].core.is_none() {
            return;
        }
        self.count("process ended");
        let mut luck = self.faults_rng.clone();
        self.processes[process].crash(&mut luck);
        self.faults_rng = luck;
        for peer in 0..self.processes.len() {
            if self.links.is_up(process, peer) {
                self.links.down(process, peer);
            }
        }
        self.schedule(back_after, Event::Restart { process });
    }

    /// What is on the disk is wrong: the replica comes back with an empty one, and knows that it forgot.
    fn replace_disk(&mut self, process: usize) {
        if self.plan.forgetful != Some(self.processes[process].id) {
            return self.violate("simulator", format!("the disk of process {process} is damaged, and nobody did it"));
        }
        self.count("disk replaced");
        if self.processes[process].core.is_some() {
            self.crash(process, 20 * MS);
        } else {
            self.schedule(20 * MS, Event::Restart { process });
        }
        let store = MemoryStore::create(self.public.network, &self.network.genesis.to_bytes());
        let state = &mut self.processes[process];
        state.store = store;
        state.own_record_lost = true;
        state.copies.clear();
    }

    fn link_up(&mut self, a: usize, b: usize) {
        let both = self.processes[a].core.is_some() && self.processes[b].core.is_some();
        if !both || self.links.is_up(a, b) {
            return;
        }
        self.links.up(a, b);
        let (id_a, id_b) = (self.processes[a].id, self.processes[b].id);
        self.input(a, Input::Connected(id_b));
        self.input(b, Input::Connected(id_a));
    }

    // --- incidents ---

    fn incident(&mut self, incident: Incident) {
        self.count(incident.kind());
        match incident {
            Incident::Crash { process, effects, back_after } => {
                self.processes[process].fuse = Some((effects, back_after));
            }
            Incident::PowerCut { back_after } => {
                for process in 0..self.processes.len() {
                    let after = back_after + self.faults_rng.below(100 * MS);
                    self.crash(process, after);
                }
            }
            Incident::Disk { process, fault, back_after } => self.disk_fault(process, fault, back_after),
            Incident::SlowDisk { process, sync, lasts } => {
                self.processes[process].sync_takes = sync;
                self.schedule(lasts, Event::FastDisk { process });
            }
            Incident::Pause { process, lasts } => {
                let until = self.now + lasts;
                let state = &mut self.processes[process];
                if state.core.is_some() {
                    state.stands_still_until = until.max(state.stands_still_until);
                    let life = state.life;
                    self.schedule(lasts, Event::GoesOn { process, life });
                }
            }
            Incident::ClockJump { process, by } => self.processes[process].clock_error = by,
            Incident::Reset { between: (a, b), back_after } => self.cut(a, b, back_after),
            Incident::Partition { side, lasts } => {
                for a in 0..self.processes.len() {
                    for b in 0..a {
                        if side.contains(&a) != side.contains(&b) {
                            self.cut(a, b, lasts);
                        }
                    }
                }
            }
            Incident::Hold { from, to, lasts } => {
                for &a in &from {
                    for &b in to.iter().filter(|&&b| b != a) {
                        self.links.hold(a, b, self.now + lasts);
                    }
                }
            }
        }
    }

    fn cut(&mut self, a: usize, b: usize, back_after: Micros) {
        if self.links.is_up(a, b) {
            self.links.down(a, b);
            self.schedule(back_after, Event::LinkUp { a, b });
        }
    }

    fn disk_fault(&mut self, process: usize, fault: DiskFault, back_after: Micros) {
        self.crash(process, back_after);
        match fault {
            DiskFault::Lost => {
                self.processes[process].store =
                    MemoryStore::create(self.public.network, &self.network.genesis.to_bytes());
                self.processes[process].own_record_lost = true;
                self.processes[process].copies.clear();
            }
            DiskFault::SetBack(age) => {
                let before = self.now.saturating_sub(age);
                let state = &mut self.processes[process];
                let copies = std::mem::take(&mut state.copies);
                if let Some((_, copy)) = copies.into_iter().rev().find(|(at, _)| *at <= before) {
                    state.store = copy;
                    let by = state.id;
                    self.check(&Sight::Started { by, remembers: false });
                }
            }
            DiskFault::Damaged => {
                let which = self.faults_rng.below(1 << 20);
                self.processes[process].store.damage(which as usize);
            }
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.healed_height = self.height();
        self.delays.heal();
        self.links.release_all();
        for process in 0..self.processes.len() {
            let state = &mut self.processes[process];
            state.fuse = None;
            state.sync_takes = 0;
            state.clock_error = if state.adversary.is_some() { state.clock_error } else { 0 };
            for peer in 0..process {
                let after = self.network_rng.between(1, 20) * MS;
                self.schedule(after, Event::LinkUp { a: process, b: peer });
            }
        }
        for client in &mut self.clients {
            client.hurry(self.now);
        }
    }

    // --- clients and looks ---

    fn client(&mut self, index: usize) {
        self.schedule(client::POLL, Event::Client(index));
        if let Some(digest) = self.clients[index].waits_for()
            && let Some(accepted) = self.outcome(&digest)
        {
            self.clients[index].answered(self.now, accepted);
        }
        let network = Arc::clone(&self.network);
        let Some((bytes, to, submitted)) = self.clients[index].act(self.now, &network) else { return };
        if let Some(submitted) = submitted {
            self.check(&Sight::Submitted(&submitted));
        }
        for process in 0..self.processes.len() {
            if to.contains(self.processes[process].id) {
                self.input(process, Input::Submit(Arc::clone(&bytes)));
            }
        }
    }

    /// The outcome that a kernel shows; after the network healed, that all correct replicas show.
    fn outcome(&self, digest: &Digest) -> Option<bool> {
        let mut accepted = None;
        let mut shown = ReplicaSet::EMPTY;
        for (process, replica) in self.correct() {
            if let Some(outcome) = replica.snapshot().outcomes.get(digest) {
                shown.insert(self.processes[process].id);
                accepted = Some(outcome.result.is_ok());
            }
        }
        let all = || self.public.committee.ids().filter(|&id| self.plan.is_correct(id)).collect::<ReplicaSet>();
        let enough = if self.healed { shown == all() } else { self.public.committee.is_kernel(shown) };
        accepted.filter(|_| enough)
    }

    /// Looks at what everybody holds, and whether things go on.
    fn look(&mut self) {
        self.schedule(TICK, Event::Look);
        let held: Vec<_> = self.correct().map(|(at, replica)| (self.processes[at].id, replica.usage())).collect();
        for (by, usage) in held {
            self.check(&Sight::Holds { by, usage: &usage });
        }
        if self.healed && !self.clients.iter().all(Client::is_done) {
            let commits = self.height() - self.healed_height.min(self.height());
            if self.now > self.plan.heal_at + PATIENCE {
                self.violate(
                    "validity",
                    format!(
                        "not everything is executed {} s after the network healed: {}",
                        PATIENCE / (1000 * MS),
                        self.describe()
                    ),
                );
            } else if commits > COMMITS * self.clients.len() as u64 * (1 + self.plan.acts as u64) {
                self.violate(
                    "validity",
                    format!(
                        "not everything is executed {commits} commits after the network healed: {}",
                        self.describe()
                    ),
                );
            }
        } else if self.healed && self.now > self.plan.heal_at + 2 * PATIENCE {
            self.violate("quiescence", format!("rounds go on for ever: {}", self.describe()));
        }
    }

    /// What everybody shows in the end.
    fn look_back(&mut self) {
        let shown: Vec<_> = self
            .correct()
            .filter(|(_, replica)| replica.machine().scheduler().pending() == 0)
            .map(|(at, replica)| (self.processes[at].id, replica.snapshot(), replica.view()))
            .collect();
        for (by, snapshot, view) in &shown {
            self.check(&Sight::Final { by: *by, snapshot, view });
        }
    }

    fn describe(&self) -> String {
        let each = self.processes.iter().enumerate().map(|(at, process)| {
            let who = if self.is_correct(at) { "" } else { " (corrupt)" };
            let Some(replica) = &process.core else { return format!("{}{who}: not running", process.id) };
            let machine = replica.machine();
            let (progress, pending) = (machine.progress(), machine.scheduler().pending());
            let (height, position) = (progress.height, progress.position);
            format!(
                "{}{who}: round {}, height {height}, position {position}, {pending} to sign, {:?}",
                process.id,
                replica.round(),
                replica.usage()
            )
        });
        each.collect::<Vec<_>>().join("; ")
    }
}
