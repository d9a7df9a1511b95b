//! The Twins family of scenarios, each by its number.
//!
//! Bano, Sonnino, Chursin, Perelman, Li, Ching, Malkhi, *Twins: BFT Systems Made Robust* (OPODIS 2021): Byzantine behaviour
//! is imitated by two honest copies of one replica, and safety is looked for by going through all partitions of the
//! processes in each of a few rounds, and all leaders. Here: four replicas and a twin of the first; three rounds, each with
//! one of the 52 partitions of five processes; the coins of rounds 1, 2 and 3, each drawing one of four leaders; both
//! wave lengths; the three rounds either those of the leaders or those in which they are voted for: 35,995,648 scenarios.
//!
//! Only the order runs ([`crate::order::Order`], as the replicas have it), with the coins' values handed in. There is
//! no time: messages arrive in the order in which they were sent. A block of one of the three rounds does not get
//! across that round's partition, whoever passes it on, before nothing else is under way; then the partition of the
//! lowest round heals. That is the asynchronous model: what is on its way may take as long as it takes.
//!
//! In the end everything has arrived, and: of the logs of two correct replicas one begins with the other; no slot is
//! ordered twice; nobody but the twin was accused; and what correct replicas said in the three rounds is ordered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::keys::{Keyring, Network, Zones};
use super::run::{in_threads, panic_message};
use super::stream::Stream;
use crate::committee::{Committee, ReplicaId};
use crate::crypto::coin::CoinValue;
use crate::crypto::digest::hash;
use crate::directory::Timestamp;
use crate::limits::FETCH_ANSWER;
use crate::order::startup::Outcome;
use crate::order::{BlockRef, Effect, Order, OrderPublic, Recovered, VerifiedBlock, WaveLength};

const REPLICAS: usize = 4;
const PROCESSES: usize = REPLICAS + 1;
/// The replica that has a twin: process 4 is the other one.
const TWIN: ReplicaId = ReplicaId(0);
/// Rounds with partitions, and rounds whose leaders are gone through.
const ROUNDS: usize = 3;
const PARTITIONS: u64 = 52;
/// The first partitioned round: that of the first leader, or that of its votes.
const FIRST_ROUNDS: [u64; 2] = [1, 3];
const WAVES: [WaveLength; 2] = [WaveLength::Five, WaveLength::Four];
/// Rounds that are begun before everything has arrived, from the first partitioned one on: the leaders' waves end in them.
const APART: u64 = 8;
/// Rounds that are begun after that: enough for four leaders in turn.
const TOGETHER: u64 = 12;

/// How many scenarios there are.
pub const SCENARIOS: u64 = PARTITIONS.pow(ROUNDS as u32)
    * (REPLICAS as u64).pow(ROUNDS as u32)
    * FIRST_ROUNDS.len() as u64
    * WAVES.len() as u64;

/// One scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    wave: WaveLength,
    first_round: u64,
    /// The leaders of rounds 1, 2 and 3.
    leaders: [ReplicaId; ROUNDS],
    /// By round: which side each process is on.
    partitions: [[u8; PROCESSES]; ROUNDS],
}

impl Scenario {
    /// The scenario with this number, modulo [`SCENARIOS`].
    pub fn new(number: u64) -> Self {
        let mut rest = number;
        let mut digit = |base: u64| {
            let digit = rest % base;
            rest /= base;
            digit as usize
        };
        let all = partitions();
        Self {
            partitions: std::array::from_fn(|_| all[digit(PARTITIONS)]),
            leaders: std::array::from_fn(|_| ReplicaId(digit(REPLICAS as u64) as u8)),
            first_round: FIRST_ROUNDS[digit(FIRST_ROUNDS.len() as u64)],
            wave: WAVES[digit(WAVES.len() as u64)],
        }
    }

    /// Whether a block of this round is kept from getting across.
    fn parts(&self, round: u64, from: usize, to: usize) -> bool {
        let sides = round.checked_sub(self.first_round).and_then(|at| self.partitions.get(at as usize));
        sides.is_some_and(|sides| sides[from] != sides[to])
    }
}

/// All ways to part the processes: each list says the side of each, and every new side has the next number.
fn partitions() -> Vec<[u8; PROCESSES]> {
    let mut found = vec![[0; PROCESSES]];
    for process in 1..PROCESSES {
        found = found
            .into_iter()
            .flat_map(|sides| {
                let next = 1 + *sides[..process].iter().max().expect("the first has a side");
                (0..=next).map(move |side| {
                    let mut sides = sides;
                    sides[process] = side;
                    sides
                })
            })
            .collect();
    }
    found
}

/// What came of one scenario.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Outcomes {
    pub scenarios: u64,
    /// Of a correct replica.
    pub commits: u64,
    pub blocks: u64,
    /// In how many scenarios the twins contradicted each other and were accused.
    pub equivocations: u64,
    /// Number of the scenario, and what did not hold in it.
    pub failed: Vec<(u64, String)>,
}

impl Outcomes {
    pub fn add(&mut self, other: Self) {
        self.scenarios += other.scenarios;
        self.commits += other.commits;
        self.blocks += other.blocks;
        self.equivocations += other.equivocations;
        self.failed.extend(other.failed);
    }
}

/// Runs the scenario with this number and checks what came of it. A panic in it is a failure.
pub fn run(number: u64, keyring: &Keyring) -> Outcomes {
    let network = keyring.network(&Committee::new(REPLICAS).expect("four are a committee"), Zones::default());
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut family = Family::new(Scenario::new(number), &network);
        family.run();
        family.judge()
    }));
    let judged = ended.unwrap_or_else(|panic| Err(panic_message(panic.as_ref())));
    let mut outcomes = judged.unwrap_or_else(|what| Outcomes { failed: vec![(number, what)], ..Outcomes::default() });
    outcomes.scenarios = 1;
    outcomes
}

/// Which scenarios.
#[derive(Clone, Copy, Debug)]
pub enum Numbers {
    /// In turn.
    From(u64),
    Drawn {
        seed: u64,
    },
}

impl Numbers {
    fn at(self, place: u64) -> u64 {
        match self {
            Self::From(first) => (first + place) % SCENARIOS,
            Self::Drawn { seed } => Stream::new(seed, "twins", place).below(SCENARIOS),
        }
    }
}

/// Runs these scenarios on `threads` threads, until `enough` says so of what came of them and of how many were given out,
/// or one has failed.
pub fn run_many(
    numbers: Numbers,
    threads: usize,
    keyring: &Keyring,
    enough: &(dyn Fn(&Outcomes, u64) -> bool + Sync),
) -> Outcomes {
    let enough = |outcomes: &Outcomes, given| enough(outcomes, given) || !outcomes.failed.is_empty();
    in_threads(threads, &enough, |place| run(numbers.at(place), keyring), Outcomes::add)
}

struct Process {
    id: ReplicaId,
    order: Order,
    log: Vec<BlockRef>,
    commits: u64,
    accused: BTreeSet<ReplicaId>,
    /// Rounds that it spoke in.
    spoke: BTreeSet<u64>,
}

enum Message {
    Block(Arc<VerifiedBlock>),
    Fetch { refs: Vec<BlockRef>, above: u64 },
    Fetched,
}

struct Family {
    scenario: Scenario,
    processes: Vec<Process>,
    /// From, to, what; the oldest first.
    queue: VecDeque<(usize, usize, Message)>,
    /// What does not get across, by round.
    held: BTreeMap<u64, Vec<(usize, usize, Message)>>,
    /// No later rounds are begun.
    last_round: u64,
}

impl Family {
    fn new(scenario: Scenario, network: &Network) -> Self {
        let public = Arc::new(OrderPublic { wave: scenario.wave, leaders_per_round: 1, ..network.order(false) });
        let process = |number: usize| {
            let id = ReplicaId((number % REPLICAS) as u8);
            let identity = Arc::new(network.identity(id, false));
            let coin = network.coin(id, false);
            let (mut order, _) = Order::new(Arc::clone(&public), id, identity, coin, Recovered::empty());
            order.take_coins_from(coins(scenario.leaders, &public));
            order.start(Outcome::GoOn { last: 0 });
            Process { id, order, log: Vec::new(), commits: 0, accused: BTreeSet::new(), spoke: BTreeSet::new() }
        };
        let processes = (0..PROCESSES).map(process).collect();
        let last_round = scenario.first_round + APART;
        Self { scenario, processes, queue: VecDeque::new(), held: BTreeMap::new(), last_round }
    }

    fn run(&mut self) {
        self.settle();
        self.last_round += TOGETHER;
        self.settle();
    }

    /// Goes on until everything has arrived; some of it was asked of somebody who did not have it yet.
    fn settle(&mut self) {
        for _ in 0..PROCESSES {
            (0..PROCESSES).for_each(|process| self.propose(process));
            while self.step() {}
            for process in 0..PROCESSES {
                let effects = self.processes[process].order.retry();
                self.perform(process, effects);
            }
        }
        while self.step() {}
    }

    /// Delivers one message; if none is under way, the partition of the lowest round heals. False if all has arrived.
    fn step(&mut self) -> bool {
        if self.queue.is_empty() {
            let Some((_, held)) = self.held.pop_first() else { return false };
            self.queue.extend(held);
        }
        let Some((from, to, message)) = self.queue.pop_front() else { return false };
        let sender = self.processes[from].id;
        let order = &mut self.processes[to].order;
        let effects = match message {
            Message::Block(block) => order.receive(sender, block),
            Message::Fetched => order.fetched(sender),
            Message::Fetch { refs, above } => {
                let (blocks, _) = order.serve(&refs, above, FETCH_ANSWER);
                for block in blocks {
                    self.send(to, from, Message::Block(block));
                }
                self.send(to, from, Message::Fetched);
                Vec::new()
            }
        };
        self.perform(to, effects);
        self.propose(to);
        true
    }

    /// Makes the blocks that can be made.
    fn propose(&mut self, number: usize) {
        loop {
            let order = &mut self.processes[number].order;
            let Some(round) = order.next_round().filter(|&round| round <= self.last_round) else { return };
            // Twins would say the same if nothing told them apart.
            let now = Timestamp(1000 * round + number as u64);
            let made = order.propose(now, &[number as u8]);
            let durable = made.map(|_| order.persisted(round)).unwrap_or_default();
            self.perform(number, durable);
        }
    }

    fn perform(&mut self, number: usize, effects: Vec<Effect>) {
        let id = self.processes[number].id;
        for effect in effects {
            match effect {
                Effect::Broadcast(block) => {
                    self.processes[number].spoke.insert(block.round());
                    let others = (0..PROCESSES).filter(|&to| self.processes[to].id != id);
                    for to in others.collect::<Vec<_>>() {
                        self.send(number, to, Message::Block(Arc::clone(&block)));
                    }
                }
                Effect::Send { to, block } => {
                    for to in self.having(to) {
                        self.send(number, to, Message::Block(Arc::clone(&block)));
                    }
                }
                Effect::Fetch { from, refs, above } => {
                    for from in self.having(from) {
                        self.send(number, from, Message::Fetch { refs: refs.clone(), above });
                    }
                }
                Effect::Commit(commit) => {
                    let process = &mut self.processes[number];
                    process.commits += 1;
                    process.log.extend(commit.blocks.iter().map(|block| block.reference()));
                }
                Effect::Fault(fault) => drop(self.processes[number].accused.insert(fault.culprit())),
                Effect::Store(_) | Effect::Persist(_) | Effect::Keep(_) => {}
            }
        }
    }

    /// The processes of one replica.
    fn having(&self, id: ReplicaId) -> Vec<usize> {
        (0..PROCESSES).filter(|&process| self.processes[process].id == id).collect()
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let parted = match &message {
            Message::Block(block) => Some(block.round()).filter(|&round| self.scenario.parts(round, from, to)),
            Message::Fetch { .. } | Message::Fetched => None,
        };
        match parted {
            Some(round) => self.held.entry(round).or_default().push((from, to, message)),
            None => self.queue.push_back((from, to, message)),
        }
    }

    fn judge(&self) -> Result<Outcomes, String> {
        let correct = &self.processes[1..REPLICAS];
        let first = correct.iter().max_by_key(|process| process.log.len()).expect("three are correct");
        let mut slots = BTreeSet::new();
        for process in correct {
            slots.clear();
            if let Some(twice) = process.log.iter().find(|block| !slots.insert((block.round, block.author))) {
                return Err(format!("{} orders the slot of {twice:?} twice", process.id));
            }
        }
        // Who lacks a twin that others hold, in the last rounds, may have decided less; what is decided is the same.
        for other in correct {
            if let Some(at) = (0..other.log.len()).find(|&at| first.log[at] != other.log[at]) {
                let (this, that) = (first.log[at], other.log[at]);
                return Err(format!("{} and {} differ at place {at}: {this:?}, {that:?}", first.id, other.id));
            }
        }
        let rounds = self.scenario.first_round..self.scenario.first_round + ROUNDS as u64;
        // Who jumped over a round has no block of it.
        let spoken =
            |process: &Process| process.spoke.range(rounds.clone()).map(|&round| (round, process.id)).collect();
        let spoken: Vec<(u64, ReplicaId)> = correct.iter().flat_map(|process| -> Vec<_> { spoken(process) }).collect();
        let slots: BTreeSet<_> = first.log.iter().map(|block| (block.round, block.author)).collect();
        if let Some((round, author)) = spoken.iter().find(|slot| !slots.contains(slot)) {
            return Err(format!("the block of {author} of round {round} is not ordered"));
        }
        let accused: BTreeSet<ReplicaId> = correct.iter().flat_map(|process| process.accused.iter().copied()).collect();
        if let Some(innocent) = accused.iter().find(|&&id| id != TWIN) {
            return Err(format!("{innocent} is accused, which is correct"));
        }
        Ok(Outcomes {
            scenarios: 1,
            commits: first.commits,
            blocks: first.log.len() as u64,
            equivocations: u64::from(!accused.is_empty()),
            failed: Vec::new(),
        })
    }
}

/// Coins that draw these leaders in rounds 1, 2 and 3, and everybody in turn later.
fn coins(leaders: [ReplicaId; ROUNDS], public: &OrderPublic) -> Box<dyn Fn(u64) -> CoinValue + Send> {
    let values = (0u64..).map(|number| CoinValue(hash("torrens twins coin", &[&number.to_be_bytes()]).0));
    let mut drawing: BTreeMap<ReplicaId, CoinValue> = BTreeMap::new();
    for value in values {
        drawing.entry(public.leaders(&value)[0]).or_insert(value);
        if drawing.len() == REPLICAS {
            break;
        }
    }
    Box::new(move |round| {
        let chosen = round.checked_sub(1).and_then(|at| leaders.get(at as usize).copied());
        drawing[&chosen.unwrap_or(ReplicaId((round % REPLICAS as u64) as u8))]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Primes;

    #[test]
    fn five_processes_have_fifty_two_partitions_and_every_scenario_a_number() {
        let all: BTreeSet<_> = partitions().into_iter().collect();
        assert_eq!(all.len() as u64, PARTITIONS);
        assert_eq!(SCENARIOS, 35_995_648);
        assert_eq!(Scenario::new(SCENARIOS), Scenario::new(0));
        assert_ne!(Scenario::new(SCENARIOS - 1), Scenario::new(0));
    }

    #[test]
    fn of_each_scenario_comes_the_same_again_and_in_many_the_twins_are_found_out() {
        let keyring = Keyring::new(Primes::Fixture);
        let mut all = Outcomes::default();
        for place in 0..60 {
            let number = Numbers::Drawn { seed: 0 }.at(place);
            let outcomes = run(number, &keyring);
            assert_eq!(outcomes, run(number, &keyring));
            all.add(outcomes);
        }
        assert_eq!(all.failed, []);
        assert!(all.equivocations > 10 && all.commits > 60 * 3, "{all:?}");
    }
}
