//! A cluster in one process: virtual time, seeded delays, disks that lose what was not synced, corrupt replicas.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use super::super::startup::{Answer, Question, Startup};
use super::disk::{Disk, Write};
use super::fair::Choices;
use super::network::{Network, Schedule};
use super::*;
use crate::crypto::digest::Digest;
use crate::rows::Table;

/// Virtual time of one usual message delay.
pub const DELAY: u64 = 1000;

#[derive(Clone)]
pub enum Message {
    Block(Arc<VerifiedBlock>),
    Fetch {
        refs: Vec<BlockRef>,
        above: u64,
    },
    Blocks(Vec<Arc<VerifiedBlock>>),
    Question(Question),
    Answer(Answer),
    /// As they came, from a corrupt replica: to be checked like anything from a link.
    Bytes(Vec<u8>),
}

pub enum Event {
    Deliver { from: ReplicaId, to: ReplicaId, message: Message },
    Synced { replica: ReplicaId, life: u32, round: u64, writes: usize },
    Tick { replica: ReplicaId, life: u32 },
    Submit { replica: ReplicaId, operation: Vec<u8> },
    Crash { replica: ReplicaId, restart_after: Option<u64> },
    LoseDisk { replica: ReplicaId, restart_after: u64 },
    Restart { replica: ReplicaId },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    Correct,
    /// Twins: one block to one half, another to the other half.
    Equivocate,
    /// Each block to one other replica only, and no answers to fetches.
    Withhold,
    /// Coin shares by another key, in every block.
    FalseShares,
    /// Never runs.
    Dead,
    /// As [`Self::Withhold`], and floods everybody with blocks of future rounds whose parents nobody made.
    Flood,
    /// Blocks in the names of others, with signatures that are not theirs.
    Forge,
    /// Blocks of others, as they made them in another epoch.
    Replay,
    /// Blocks that break a rule: without their author's previous block, without a quorum of parents, with twins as parents.
    Malformed,
    /// Any time but the right one.
    LieAboutTime,
    /// Twins with drawn parents, each to whom the dice say.
    Fork,
    /// Blocks are made in time and shown many at a time, much later.
    BackDate,
}

/// One commit as a replica executed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub height: u64,
    pub leader: BlockRef,
    pub agreed_time: Timestamp,
    pub alive: ReplicaSet,
    pub blocks: Vec<BlockRef>,
    pub operations: Vec<Vec<u8>>,
}

impl Entry {
    pub fn of(commit: &Commit) -> Self {
        let payloads = commit.blocks.iter().map(|block| block.payload()).filter(|payload| !payload.is_empty());
        Self {
            height: commit.height,
            leader: commit.leader,
            agreed_time: commit.agreed_time,
            alive: commit.alive,
            blocks: commit.blocks.iter().map(|block| block.reference()).collect(),
            operations: payloads
                .flat_map(|payload| crate::codec::decode::<Vec<Vec<u8>>>(payload, usize::MAX).unwrap_or_default())
                .collect(),
        }
    }
}

struct Replica {
    order: Option<Order>,
    startup: Option<Startup>,
    behaviour: Behaviour,
    disk: Disk,
    pool: VecDeque<Vec<u8>>,
    life: u32,
    pub log: Vec<Entry>,
}

pub struct World {
    pub keys: Keys,
    pub seed: u64,
    pub network: Network,
    rng: ChaCha20Rng,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sent: u64,
    replicas: Vec<Replica>,
    /// What correct replicas sent for a slot.
    spoken: BTreeMap<(u64, ReplicaId), BlockRef>,
    /// Every block that was sent, and the last own one of each replica.
    seen: BTreeMap<BlockRef, Arc<VerifiedBlock>>,
    last: BTreeMap<ReplicaId, Arc<VerifiedBlock>>,
    /// The first commit at each height, by whichever correct replica.
    pub history: Vec<Entry>,
    /// Slots of the history.
    slots: BTreeSet<(u64, ReplicaId)>,
    /// Equivocations reported, with the reporter and its life.
    reported: BTreeSet<(ReplicaId, u32, ReplicaId, u64)>,
    /// Choices that were left to the coin.
    pub choices: Choices,
    /// Whether to look at coin shares: it costs five verifications a block.
    pub check_coins: bool,
    /// Who lost its disk, until its first block after that is ordered.
    without_disk: Option<ReplicaId>,
    pub faults: Vec<(ReplicaId, Fault)>,
    pub rounds_made: u64,
}

impl World {
    pub fn new(seed: u64, keys: Keys, schedule: Schedule, behaviours: &[(u8, Behaviour)]) -> Self {
        let replicas = keys.public.committee.ids().map(|id| {
            let behaviour = behaviours.iter().find(|(who, _)| *who == id.0).map_or(Behaviour::Correct, |(_, how)| *how);
            Replica {
                order: None,
                startup: None,
                behaviour,
                disk: Disk::default(),
                pool: VecDeque::new(),
                life: 0,
                log: Vec::new(),
            }
        });
        let replicas = replicas.collect();
        let mut world = Self {
            keys,
            seed,
            network: Network::new(schedule),
            rng: ChaCha20Rng::seed_from_u64(seed),
            now: 0,
            queue: BTreeMap::new(),
            sent: 0,
            replicas,
            spoken: BTreeMap::new(),
            seen: BTreeMap::new(),
            last: BTreeMap::new(),
            history: Vec::new(),
            slots: BTreeSet::new(),
            reported: BTreeSet::new(),
            choices: Choices::default(),
            check_coins: false,
            without_disk: None,
            faults: Vec::new(),
            rounds_made: 0,
        };
        for id in world.keys.public.committee.ids() {
            if world.replicas[id.index()].behaviour != Behaviour::Dead {
                world.restart(id);
            }
        }
        world
    }

    pub fn submit(&mut self, at: u64, replica: u8, operation: &[u8]) {
        self.schedule_at(at, Event::Submit { replica: r(replica), operation: operation.to_vec() });
    }

    pub fn crash(&mut self, at: u64, replica: u8, restart_after: Option<u64>) {
        self.schedule_at(at, Event::Crash { replica: r(replica), restart_after });
    }

    pub fn lose_disk(&mut self, at: u64, replica: u8, restart_after: u64) {
        self.schedule_at(at, Event::LoseDisk { replica: r(replica), restart_after });
    }

    /// The blocks on a replica's disk.
    pub fn stored_blocks(&self, replica: u8) -> Vec<Arc<VerifiedBlock>> {
        let (blocks, ..) = self.replicas[usize::from(replica)].disk.read();
        let reload = |(name, bytes)| Arc::new(VerifiedBlock::reload(&self.keys.public, &name, bytes).unwrap());
        blocks.into_iter().map(reload).collect()
    }

    pub fn log(&self, replica: u8) -> &[Entry] {
        &self.replicas[usize::from(replica)].log
    }

    pub fn order(&self, replica: u8) -> &Order {
        self.replicas[usize::from(replica)].order.as_ref().unwrap()
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    pub fn is_quiet(&self) -> bool {
        let running = self.correct().filter_map(|replica| replica.order.as_ref());
        running.into_iter().all(|order| !order.unfinished())
    }

    pub fn behaviour(&self, replica: ReplicaId) -> Behaviour {
        self.replicas[replica.index()].behaviour
    }

    /// A block that somebody sent.
    pub fn sent(&self, reference: &BlockRef) -> Option<&Arc<VerifiedBlock>> {
        self.seen.get(reference)
    }

    /// The blocks of a slot that somebody sent.
    pub fn sent_at(&self, round: u64, author: ReplicaId) -> Vec<BlockRef> {
        let all =
            BlockRef { round, author, digest: Digest([0; 32]) }..=BlockRef { round, author, digest: Digest([255; 32]) };
        self.seen.range(all).map(|(name, _)| *name).collect()
    }

    /// Keeps a block that somebody sends.
    pub fn note_sent(&mut self, block: Arc<VerifiedBlock>) -> Arc<VerifiedBlock> {
        self.seen.insert(block.reference(), Arc::clone(&block));
        block
    }

    /// The last own block that a replica sent.
    pub fn last_of(&self, replica: ReplicaId) -> Option<Arc<VerifiedBlock>> {
        self.last.get(&replica).cloned()
    }

    /// Whether the slot of a block was not executed yet; it is now.
    pub fn take_slot(&mut self, block: &BlockRef) -> bool {
        if self.sent(block).is_some_and(|block| block.header().gap && Some(block.author()) == self.without_disk) {
            self.without_disk = None;
        }
        self.slots.insert((block.round, block.author))
    }

    pub fn is_executed(&self, block: &BlockRef) -> bool {
        self.slots.contains(&(block.round, block.author))
    }

    /// Whether this is the reporter's first report of this slot since it started.
    pub fn note_report(&mut self, reporter: ReplicaId, author: ReplicaId, round: u64) -> bool {
        let life = self.replicas[reporter.index()].life;
        self.reported.insert((reporter, life, author, round))
    }

    /// What each correct replica executed, whether it runs or not.
    pub fn logs(&self) -> impl Iterator<Item = &[Entry]> {
        self.correct().map(|replica| replica.log.as_slice())
    }

    pub fn running_correct(&self) -> impl Iterator<Item = (u8, &[Entry])> {
        let running = self.correct().filter(|replica| replica.order.is_some());
        running.map(|replica| (replica.order.as_ref().unwrap().own.id().0, replica.log.as_slice()))
    }

    /// The blocks of `author` that `replica` keeps while their parents are missing.
    pub fn kept_of(&self, replica: ReplicaId, author: ReplicaId) -> usize {
        self.replicas[replica.index()].order.as_ref().map_or(0, |order| order.suspended.len_of(author))
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    pub fn schedule_at(&mut self, at: u64, event: Event) {
        self.sent += 1;
        self.queue.insert((at, self.sent), event);
    }

    /// Takes the events of which `which` holds, with their times.
    pub fn take_events(&mut self, which: impl Fn(&Event) -> bool) -> Vec<(u64, Event)> {
        self.queue.extract_if(.., |_, event| which(event)).map(|((at, _), event)| (at, event)).collect()
    }

    /// The order of a replica that runs.
    pub fn running(&self, replica: ReplicaId) -> Option<&Order> {
        self.replicas[replica.index()].order.as_ref()
    }

    fn schedule_in(&mut self, delay: u64, event: Event) {
        self.schedule_at(self.now + delay, event);
    }

    /// Runs until nothing happens any more or `until`.
    pub fn run(&mut self, until: u64) {
        while let Some((&(at, _), _)) = self.queue.first_key_value()
            && at <= until
        {
            let (_, event) = self.queue.pop_first().unwrap();
            self.now = at;
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Synced { replica, life, round, writes } => {
                let state = &mut self.replicas[replica.index()];
                if state.life == life
                    && let Some(order) = &mut state.order
                {
                    state.disk.sync(writes);
                    let effects = order.persisted(round);
                    self.perform(replica, effects);
                }
            }
            Event::Tick { replica, life } => {
                let state = &mut self.replicas[replica.index()];
                if state.life == life
                    && let Some(order) = &mut state.order
                {
                    let effects = if order.is_waiting() { order.retry() } else { Vec::new() };
                    self.perform(replica, effects);
                    self.ask(replica);
                    self.schedule_in(20 * DELAY, Event::Tick { replica, life });
                }
            }
            Event::Submit { replica, operation } => {
                self.replicas[replica.index()].pool.push_back(operation);
                self.propose(replica);
            }
            Event::Crash { replica, restart_after } => {
                let state = &mut self.replicas[replica.index()];
                state.order = None;
                state.startup = None;
                state.life += 1;
                let unsynced = state.disk.unsynced() as u64;
                let kept = self.random(unsynced + 1) as usize;
                self.replicas[replica.index()].disk.cut(kept);
                self.hold_back(replica);
                if let Some(after) = restart_after {
                    self.schedule_in(after, Event::Restart { replica });
                }
            }
            // Lost disks count within f until the first block after the loss is ordered.
            Event::LoseDisk { replica, restart_after } => {
                if self.without_disk.is_some() {
                    return;
                }
                self.without_disk = Some(replica);
                self.step(Event::Crash { replica, restart_after: Some(restart_after) });
                self.replicas[replica.index()].disk = Disk::empty();
            }
            Event::Restart { replica } => self.restart(replica),
        }
    }

    fn restart(&mut self, replica: ReplicaId) {
        let (blocks, rows, record) = self.replicas[replica.index()].disk.read();
        let public = Arc::clone(&self.keys.public);
        let cursor = rows.get(&(Table::Meta, CURSOR_KEY.to_vec()));
        let settled = rows.iter().filter(|((table, _), _)| *table == Table::Emitted);
        let settled = settled.map(|((_, key), value)| (key.clone(), value.clone())).collect();
        let accused = rows.iter().filter(|((table, key), _)| *table == Table::Evidence && key[0] == 0);
        let accused = accused.map(|((_, key), value)| (key.clone(), value.clone())).collect();
        let recovered = Recovered::from_rows(public.depth, cursor.map(Vec::as_slice), &settled).unwrap();
        let mut recovered = recovered.with_accusations(&accused).unwrap();
        for (reference, bytes) in blocks {
            if recovered.wants(&reference) {
                recovered.offer(VerifiedBlock::reload(&public, &reference, bytes).unwrap());
            }
        }
        let height = recovered.cursor.height;
        let coin = match self.replicas[replica.index()].behaviour {
            Behaviour::FalseShares => coin::deal(&public.committee, &mut self.rng).1.swap_remove(replica.index()),
            _ => self.keys.coin(replica),
        };
        let (mut order, effects) = Order::new(public, replica, self.keys.identity(replica), coin, recovered);
        let mut nonce = [0; 32];
        self.rng.fill_bytes(&mut nonce);
        let startup = order.begin_start(record, nonce);
        let state = &mut self.replicas[replica.index()];
        state.log.truncate(height as usize);
        state.order = Some(order);
        state.startup = Some(startup);
        state.life += 1;
        let life = state.life;
        self.perform(replica, effects);
        self.ask(replica);
        for peer in self.keys.public.committee.ids().filter(|&peer| peer != replica) {
            for (here, there) in [(replica, peer), (peer, replica)] {
                if let Some(order) = &mut self.replicas[here.index()].order {
                    let effects = order.connected(there);
                    self.perform(here, effects);
                }
            }
        }
        let first = 1 + self.random(20 * DELAY);
        self.schedule_in(first, Event::Tick { replica, life });
    }

    fn ask(&mut self, replica: ReplicaId) {
        let Some(startup) = &self.replicas[replica.index()].startup else { return };
        let (question, unanswered) = (startup.question(), startup.unanswered());
        for peer in unanswered.iter() {
            self.send(replica, peer, Message::Question(question));
        }
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        let delay = self.delay(from, to, &message);
        self.schedule_in(delay, Event::Deliver { from, to, message });
    }

    fn deliver(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        let behaviour = self.replicas[to.index()].behaviour;
        let Some(order) = &mut self.replicas[to.index()].order else { return };
        match message {
            Message::Block(block) => {
                let effects = order.receive(from, block);
                self.perform(to, effects);
            }
            Message::Bytes(bytes) => {
                if let Ok(block) = VerifiedBlock::verify(&self.keys.public, bytes) {
                    let block = self.note_sent(Arc::new(block));
                    let effects = self.replicas[to.index()].order.as_mut().unwrap().receive(from, block);
                    self.perform(to, effects);
                }
            }
            Message::Blocks(blocks) => {
                for block in blocks {
                    let effects = self.replicas[to.index()].order.as_mut().unwrap().receive(from, block);
                    self.perform(to, effects);
                }
                let effects = self.replicas[to.index()].order.as_mut().unwrap().fetched(from);
                self.perform(to, effects);
            }
            Message::Fetch { refs, above } if ![Behaviour::Withhold, Behaviour::Flood].contains(&behaviour) => {
                let blocks = self.serve(to, &refs, above);
                self.send(to, from, Message::Blocks(blocks));
            }
            Message::Fetch { .. } => {}
            Message::Question(question) => {
                let answer = order.answer_start(question);
                self.send(to, from, Message::Answer(answer));
            }
            Message::Answer(answer) => {
                if let Some(startup) = &mut self.replicas[to.index()].startup
                    && startup.receive(&answer).is_ok()
                    && let Some(outcome) = startup.outcome()
                {
                    self.replicas[to.index()].order.as_mut().unwrap().start(outcome);
                    self.propose(to);
                }
            }
        }
    }

    fn serve(&self, server: ReplicaId, refs: &[BlockRef], above: u64) -> Vec<Arc<VerifiedBlock>> {
        const LIMIT: usize = 20_000;
        let state = &self.replicas[server.index()];
        let order = state.order.as_ref().unwrap();
        let from_disk = |wanted: &dyn Fn(&BlockRef) -> bool| {
            let (blocks, ..) = state.disk.read();
            let found = blocks.into_iter().filter(|(reference, _)| wanted(reference));
            let public = &self.keys.public;
            found
                .map(|(name, bytes)| Arc::new(VerifiedBlock::reload(public, &name, bytes).unwrap()))
                .collect::<Vec<_>>()
        };
        if refs.is_empty() && above < order.memory_floor() {
            return from_disk(&|reference| (above + 1..above + 30).contains(&reference.round));
        }
        let (mut blocks, on_disk) = order.serve(refs, above, LIMIT);
        if state.behaviour == Behaviour::Fork {
            blocks.extend(refs.iter().filter_map(|name| self.sent(name)).cloned());
        }
        if !on_disk.is_empty() {
            let chain =
                |name: &BlockRef, of: &BlockRef| name.author == of.author && (above..of.round).contains(&name.round);
            blocks.extend(from_disk(&|name| on_disk.contains(name) || on_disk.iter().any(|of| chain(name, of))));
        }
        blocks
    }

    fn perform(&mut self, replica: ReplicaId, effects: Vec<Effect>) {
        for effect in effects {
            let state = &mut self.replicas[replica.index()];
            match effect {
                Effect::Store(block) => {
                    state.disk.write(Write::Block(block.reference(), block.bytes().to_vec()));
                }
                Effect::Persist(block) => {
                    let (writes, life, round) = (state.disk.write_own(&block), state.life, block.round());
                    let delay = self.random(DELAY / 4);
                    self.schedule_in(delay, Event::Synced { replica, life, round, writes });
                }
                Effect::Broadcast(block) => self.broadcast(replica, &block),
                Effect::Send { to, block } => {
                    self.speak(replica, &block);
                    self.send(replica, to, Message::Block(block));
                }
                Effect::Fetch { from, refs, above } => self.send(replica, from, Message::Fetch { refs, above }),
                Effect::Commit(commit) => {
                    assert_eq!(commit.height, state.log.len() as u64 + 1, "seed {}", self.seed);
                    let entry = Entry::of(&commit);
                    state.log.push(entry.clone());
                    state.disk.write(Write::Rows(commit.rows));
                    if state.behaviour == Behaviour::Correct {
                        self.check_commit(replica, entry);
                    }
                }
                Effect::Fault(fault) => {
                    if state.behaviour == Behaviour::Correct {
                        self.check_fault(replica, &fault);
                    }
                    self.faults.push((replica, fault));
                }
                Effect::Keep(rows) => state.disk.write(Write::Rows(rows)),
            }
        }
        self.check_bounds(replica);
        self.propose(replica);
    }

    /// A replica shows an own block to somebody.
    fn speak(&mut self, replica: ReplicaId, block: &Arc<VerifiedBlock>) {
        if self.behaviour(replica) == Behaviour::Correct {
            let spoken = self.spoken.insert((block.round(), replica), block.reference());
            let same = spoken.is_none_or(|spoken| spoken == block.reference());
            self.require("no equivocation", same, || format!("replica {replica} contradicts itself: {block:?}"));
            self.check_share(block);
        }
        self.note_sent(Arc::clone(block));
        self.last.insert(replica, Arc::clone(block));
    }

    fn broadcast(&mut self, replica: ReplicaId, block: &Arc<VerifiedBlock>) {
        let behaviour = self.replicas[replica.index()].behaviour;
        let twin = match behaviour {
            Behaviour::Equivocate => {
                let header = Header { timestamp: Timestamp(1), ..block.header().clone() };
                Some(Arc::new(VerifiedBlock::sign(&self.keys.public, header, b"", &self.keys.identity(replica))))
            }
            _ => None,
        };
        self.speak(replica, block);
        if self.behaviour(replica) == Behaviour::BackDate {
            let delay = self.network.shown_every - self.now % self.network.shown_every;
            for peer in self.keys.public.committee.ids().filter(|&peer| peer != replica) {
                let message = Message::Block(Arc::clone(block));
                self.schedule_in(delay, Event::Deliver { from: replica, to: peer, message });
            }
            return;
        }
        if let Some(messages) = self.tamper(replica, block) {
            for (peer, message) in messages {
                self.send(replica, peer, message);
            }
            return;
        }
        let chosen = self.random(self.replicas.len() as u64) as u8;
        for peer in self.keys.public.committee.ids().filter(|&peer| peer != replica) {
            match &twin {
                Some(twin) if peer.0 % 2 == 0 => self.send(replica, peer, Message::Block(Arc::clone(twin))),
                None if behaviour == Behaviour::Withhold && peer != r(chosen) => {}
                _ => self.send(replica, peer, Message::Block(Arc::clone(block))),
            }
        }
    }

    fn propose(&mut self, replica: ReplicaId) {
        let now = Timestamp(self.now);
        let state = &mut self.replicas[replica.index()];
        let Some(order) = &mut state.order else { return };
        if order.next_round().is_none() || (state.pool.is_empty() && !order.unfinished()) {
            return;
        }
        let operations: Vec<Vec<u8>> = state.pool.drain(..).collect();
        let payload = if operations.is_empty() { Vec::new() } else { crate::codec::encode(&operations) };
        let effects: Vec<Effect> = order.propose(now, &payload).into_iter().collect();
        self.rounds_made += 1;
        self.perform(replica, effects);
    }

    fn correct(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.behaviour == Behaviour::Correct)
    }
}
