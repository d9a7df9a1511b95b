//! The order alone in virtual time: real blocks, coin and rule; messages take their time, everything else takes none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::codec;
use crate::committee::{Committee, ReplicaId};
use crate::crypto::coin;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::limits::MAX_BLOCKS_ANSWER;
use crate::order::startup::Outcome;
use crate::order::{BlockRef, Commit, Effect, Order, OrderPublic, Recovered, VerifiedBlock, WaveLength};

/// Virtual time of the mean message delay.
pub const DELAY: u64 = 100_000;

/// How long messages take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Links {
    /// From half a delay to one and a half.
    Uniform,
    /// Half the usual round trip between the regions, up to a tenth more; virtual time is in microseconds.
    FiveRegions,
}

/// Usual round trips in milliseconds between Virginia, California, Stockholm, Tokyo, Sydney.
const ROUND_TRIPS_MS: [[u64; 5]; 5] = [
    [1, 62, 112, 148, 198],
    [62, 1, 172, 108, 138],
    [112, 172, 1, 246, 274],
    [148, 108, 246, 1, 104],
    [198, 138, 274, 104, 1],
];

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheduler {
    Fair,
    /// The last replicas never run.
    Crashed,
    /// What the last replicas send takes five times as long.
    Slow,
    /// The block of whoever would lead if leaders took turns comes thirty delays late.
    AgainstTurns,
}

/// What became of the operations that came in.
#[derive(Default)]
pub struct Ordered {
    submitted: u64,
    /// From coming in to being ordered, at the same replica, in order of size once [`Self::and`] was called.
    latencies: Vec<u64>,
    /// From the round of an operation's block to the highest round when it was ordered, over all operations.
    rounds: u64,
}

impl Ordered {
    /// Of both runs.
    pub fn and(mut self, other: Self) -> Self {
        self.submitted += other.submitted;
        self.rounds += other.rounds;
        self.latencies.extend(other.latencies);
        self.latencies.sort_unstable();
        self
    }

    pub fn mean(&self) -> Option<f64> {
        let sum: u64 = self.latencies.iter().sum();
        (!self.latencies.is_empty()).then(|| sum as f64 / self.latencies.len() as f64)
    }

    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).map(|&latency| latency as f64)
    }

    pub fn rounds_to_commit(&self) -> Option<f64> {
        (!self.latencies.is_empty()).then(|| self.rounds as f64 / self.latencies.len() as f64)
    }

    pub fn delivered_percent(&self) -> f64 {
        100.0 * self.latencies.len() as f64 / self.submitted.max(1) as f64
    }
}

enum Message {
    Block(Arc<VerifiedBlock>),
    Fetch { refs: Vec<BlockRef>, above: u64 },
    Blocks(Vec<Arc<VerifiedBlock>>),
}

enum Event {
    Deliver { from: ReplicaId, to: ReplicaId, message: Message },
    Submit(ReplicaId),
}

struct Node {
    order: Order,
    /// When the operations came in that are in no block yet.
    waiting: Vec<u64>,
}

/// One run.
pub struct Model {
    links: Links,
    scheduler: Scheduler,
    /// Replicas from this one on have crashed, or are slow.
    affected_from: usize,
    rng: ChaCha20Rng,
    now: u64,
    /// By time, then in the order they were made.
    queue: BTreeMap<(u64, u64), Event>,
    made: u64,
    /// `None` if it never runs.
    nodes: Vec<Option<Node>>,
    ordered: Ordered,
}

impl Model {
    pub fn new(
        committee: &Committee,
        wave: WaveLength,
        leaders: usize,
        links: Links,
        scheduler: Scheduler,
        affected: usize,
        mut rng: ChaCha20Rng,
    ) -> Self {
        let identities: Vec<_> = committee.ids().map(|_| Arc::new(SecretKey::generate(&mut rng))).collect();
        let (coin, shares) = coin::deal(committee, &mut rng);
        let publics = identities.iter().map(|key| key.public()).collect();
        let public = OrderPublic::new(committee.clone(), Digest([0x64; 32]), 0, publics, coin);
        let public = public.expect("a key for each replica");
        let public = Arc::new(OrderPublic { wave, leaders_per_round: leaders, ..public });
        let affected_from = committee.len() - affected;
        let node = |(id, share): (ReplicaId, _)| {
            let identity = Arc::clone(&identities[id.index()]);
            let (mut order, _) = Order::new(Arc::clone(&public), id, identity, share, Recovered::empty());
            order.start(Outcome::GoOn { last: 0 });
            let runs = scheduler != Scheduler::Crashed || id.index() < affected_from;
            runs.then_some(Node { order, waiting: Vec::new() })
        };
        let nodes = committee.ids().zip(shares).map(node).collect();
        let (queue, ordered) = (BTreeMap::new(), Ordered::default());
        Self { links, scheduler, affected_from, rng, now: 0, queue, made: 0, nodes, ordered }
    }

    /// Operations come in for `length` delays; then it goes on until nothing happens any more.
    pub fn run(mut self, length: u64) -> Ordered {
        let end = length * DELAY;
        let running: Vec<ReplicaId> =
            (0u8..).zip(&self.nodes).filter(|(_, node)| node.is_some()).map(|(id, _)| ReplicaId(id)).collect();
        for id in running {
            let first = self.random(10 * DELAY);
            self.schedule(first, Event::Submit(id));
        }
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            match event {
                Event::Submit(id) if at < end => self.submit(id),
                Event::Submit(_) => {}
                Event::Deliver { from, to, message } => self.deliver(from, to, message),
            }
        }
        self.ordered
    }

    fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.made += 1;
        self.queue.insert((self.now + after, self.made), event);
    }

    fn submit(&mut self, id: ReplicaId) {
        let now = self.now;
        self.ordered.submitted += 1;
        self.node(id).waiting.push(now);
        self.perform(id, Vec::new());
        let next = 5 * DELAY + self.random(10 * DELAY);
        self.schedule(next, Event::Submit(id));
    }

    fn node(&mut self, id: ReplicaId) -> &mut Node {
        self.nodes[id.index()].as_mut().expect("nothing is sent to one that never runs")
    }

    fn deliver(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        let effects = match message {
            Message::Block(block) => self.node(to).order.receive(from, block),
            Message::Blocks(blocks) => {
                let order = &mut self.node(to).order;
                let mut effects: Vec<Effect> =
                    blocks.into_iter().flat_map(|block| order.receive(from, block)).collect();
                effects.extend(order.fetched(from));
                effects
            }
            Message::Fetch { refs, above } => {
                let (blocks, _) = self.node(to).order.serve(&refs, above, MAX_BLOCKS_ANSWER);
                return self.send(to, from, Message::Blocks(blocks));
            }
        };
        self.perform(to, effects);
    }

    /// Does what the order asks for, then makes the blocks that are due.
    fn perform(&mut self, id: ReplicaId, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        loop {
            while let Some(effect) = queue.pop_front() {
                match effect {
                    Effect::Persist(block) => queue.extend(self.node(id).order.persisted(block.round())),
                    Effect::Broadcast(block) => {
                        for peer in (0..self.nodes.len() as u8).map(ReplicaId).filter(|&peer| peer != id) {
                            self.send(id, peer, Message::Block(Arc::clone(&block)));
                        }
                    }
                    Effect::Send { to, block } => self.send(id, to, Message::Block(block)),
                    Effect::Fetch { from, refs, above } => self.send(id, from, Message::Fetch { refs, above }),
                    Effect::Commit(commit) => self.committed(id, &commit),
                    Effect::Store(_) | Effect::Keep(_) => {}
                    Effect::Fault(fault) => unreachable!("all are correct: {fault}"),
                }
            }
            let now = Timestamp(self.now);
            let node = self.node(id);
            if node.order.next_round().is_none() || (node.waiting.is_empty() && !node.order.unfinished()) {
                return;
            }
            let payload =
                if node.waiting.is_empty() { Vec::new() } else { codec::encode(&std::mem::take(&mut node.waiting)) };
            queue.extend(node.order.propose(now, &payload));
        }
    }

    fn committed(&mut self, id: ReplicaId, commit: &Commit) {
        let now = self.now;
        let top = self.node(id).order.quorum_round();
        for block in commit.blocks.iter().filter(|block| block.author() == id && !block.payload().is_empty()) {
            let submitted: Vec<u64> = codec::decode(block.payload(), usize::MAX).expect("as it was encoded");
            self.ordered.rounds += submitted.len() as u64 * (top - block.round());
            self.ordered.latencies.extend(submitted.iter().map(|&at| now - at));
        }
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        if self.nodes[to.index()].is_some() {
            let delay = self.delay(from, to, &message);
            self.schedule(delay, Event::Deliver { from, to, message });
        }
    }

    fn delay(&mut self, from: ReplicaId, to: ReplicaId, message: &Message) -> u64 {
        let usual = match self.links {
            Links::Uniform => DELAY / 2 + self.random(DELAY),
            Links::FiveRegions => {
                let one_way_us = 500 * ROUND_TRIPS_MS[from.index() % 5][to.index() % 5];
                one_way_us + self.random(one_way_us / 10)
            }
        };
        let leads = |block: &VerifiedBlock| block.round() % self.nodes.len() as u64 == u64::from(block.author().0);
        match (self.scheduler, message) {
            (Scheduler::Slow, _) if from.index() >= self.affected_from => 5 * usual,
            (Scheduler::AgainstTurns, Message::Block(block)) if leads(block) => usual + 30 * DELAY,
            _ => usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    fn ordered(scheduler: Scheduler, seed: u64) -> Ordered {
        let committee = Committee::new(4).unwrap();
        let rng = ChaCha20Rng::seed_from_u64(seed);
        let model = Model::new(&committee, WaveLength::Five, 2, Links::Uniform, scheduler, 1, rng);
        Ordered::default().and(model.run(60))
    }

    #[test]
    fn everything_is_delivered_under_every_scheduler_in_few_delays() {
        for (scheduler, delays) in [
            (Scheduler::Fair, 7.0),
            (Scheduler::Crashed, 9.0),
            (Scheduler::Slow, 20.0),
            (Scheduler::AgainstTurns, 60.0),
        ] {
            let ordered = ordered(scheduler, 1);
            assert!(ordered.submitted > 10);
            assert_eq!(ordered.delivered_percent(), 100.0, "{scheduler:?}");
            assert!(ordered.mean().unwrap() < delays * DELAY as f64, "{scheduler:?}: {:?}", ordered.mean());
        }
    }

    #[test]
    fn one_seed_is_one_run() {
        assert_eq!(ordered(Scheduler::Fair, 3).latencies, ordered(Scheduler::Fair, 3).latencies);
    }
}
