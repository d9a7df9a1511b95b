//! Fair order: races for a name, run ten thousand times.
//!
//! A correct replica, the victim, shows a block with an open registration. A competitor that sees it wants the same name
//! and sends a block of its own at that very moment. It wins if its block is executed first. A corrupt competitor may make,
//! time, hold back, twin and back-date its blocks as it likes; it keeps slots of earlier rounds free for that. An honest
//! one at the same distance over the same links happens to make its ordinary block at the same moment, and has the
//! victim's block itself only when it cannot go on without it: nobody can refute a corrupt one that claims as much. Of
//! seven replicas two are corrupt: the competitor's accomplice is told of everything at once, keeps its own slots free in
//! the same way, and fills them with blocks that lead to the rival one and not to the victim's. It is compared with two
//! honest ones that are as near to each other.
//!
//! *Test*: for each attack the share of races won is compared with the honest competitor's share over the same seeds,
//! by the one-sided test for two proportions, z = (p − q) / sqrt(2 m (1 − m) / N) with m = (p + q)/2. An attack that
//! gains nothing is above [`BOUND`] once in two thousand times.

use std::collections::BTreeMap;

use rand_core::RngCore;

use super::*;

/// The 0.9995 quantile of the normal distribution.
const BOUND: f64 = 3.29;
const DELAY: u64 = 1000;
/// Round of the victim's block with the registration, at least.
const RACE: u64 = 5;

/// What the competitor does when it sees the registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// Nothing: an ordinary block, made at that moment.
    Honest,
    /// A block in a slot that many rounds before the victim's, which was kept free, and the slots above it filled.
    BackDate(u64),
    /// The block of the victim's round, held back for half a delay more.
    HoldBack,
    /// A twin of the block of the victim's round, which was sent already.
    Twin,
    /// The block of the victim's round with as few parents as it may have, all long known to everybody.
    OldReferences,
    /// As [`Self::BackDate`], and every block after that has as few parents as it may have, and among them as few as
    /// possible that lead to the victim's block: a leader's history then lacks the witnesses that the victim's came early.
    LeaveOut(u64),
    /// Likewise, and each block is made two rounds late, when there is most to choose from.
    LeaveOutLate(u64),
    /// The block of the round before the victim's, shown when the coin makes it a leader, or never.
    WaitForCoin,
    /// No attack: both make their blocks of one round in the ordinary way.
    Even,
}

/// How far the competitor is from the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distance {
    /// As everybody: half a delay to one and a half.
    Usual,
    /// A tenth of that, both ways.
    Near,
    /// Everybody's links take from nothing to three delays.
    Wild,
}

enum Event {
    Block { from: ReplicaId, to: ReplicaId, block: Arc<VerifiedBlock> },
    Fetch { from: ReplicaId, to: ReplicaId, refs: Vec<BlockRef>, above: u64 },
    Wake,
}

struct Race<'a> {
    keys: &'a Keys,
    seed: u64,
    attack: Attack,
    distance: Distance,
    now: u64,
    made: u64,
    queue: BTreeMap<(u64, u64), Event>,
    orders: Vec<Order>,
    shares: Vec<crate::crypto::coin::CoinShare>,
    victim: ReplicaId,
    competitor: ReplicaId,
    /// Near to the competitor, and corrupt if it is.
    accomplices: Vec<ReplicaId>,
    /// The victim's block.
    registration: Option<BlockRef>,
    /// When the competitor saw it.
    seen: Option<u64>,
    /// The competitor has sent its rival block.
    rival: bool,
    /// The highest own blocks of the competitor and its accomplices.
    own: BTreeMap<ReplicaId, BlockRef>,
    /// What the corrupt sent.
    shown: Vec<Arc<VerifiedBlock>>,
    /// The victim's block, while an honest competitor or accomplice does not have it yet.
    late: BTreeMap<ReplicaId, Arc<VerifiedBlock>>,
    result: Vec<u8>,
}

impl<'a> Race<'a> {
    fn new(keys: &'a Keys, seed: u64, attack: Attack, distance: Distance) -> Self {
        let n = keys.public.committee.len() as u64;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let victim = rng.next_u64() % n;
        let competitor = (victim + 1 + rng.next_u64() % (n - 1)) % n;
        let corrupt = if attack == Attack::Even { 1 } else { (n - 1) / 3 };
        let others = (1..n).map(|step| (competitor + step) % n).filter(|&other| other != victim);
        let accomplices = others.take(corrupt as usize - 1).map(|id| r(id as u8)).collect();
        let orders = keys.public.committee.ids().map(|id| {
            let mut order = keys.fresh(id);
            order.coins.drawn =
                Some(Box::new(move |round| CoinValue(hash("race", &[&seed.to_be_bytes(), &round.to_be_bytes()]).0)));
            order
        });
        Self {
            orders: orders.collect(),
            shares: keys.coin(r(0)).shares(&keys.public.coin_name(1)),
            keys,
            seed,
            attack,
            distance,
            now: 0,
            made: 0,
            queue: BTreeMap::new(),
            victim: r(victim as u8),
            competitor: r(competitor as u8),
            accomplices,
            registration: None,
            seen: None,
            rival: false,
            own: BTreeMap::new(),
            late: BTreeMap::new(),
            shown: Vec::new(),
            result: Vec::new(),
        }
    }

    /// Whether the competitor won.
    fn run(mut self) -> bool {
        for id in self.keys.public.committee.ids() {
            self.propose(id);
        }
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            match event {
                Event::Block { from, to, block } => self.deliver(from, to, block),
                Event::Fetch { from, to, refs, above } => {
                    let (mut blocks, _) = self.orders[to.index()].serve(&refs, above, usize::MAX);
                    blocks.extend(self.shown.iter().filter(|twin| refs.contains(&twin.reference())).cloned());
                    for block in blocks {
                        self.send(to, from, block, 0);
                    }
                }
                Event::Wake => self.attack(),
            }
            if !self.result.is_empty() {
                return self.result[0] == b'X';
            }
            assert!(self.orders[0].quorum_round() < RACE + 60, "seed {}: nobody won", self.seed);
        }
        panic!("seed {}: rounds stopped", self.seed);
    }

    /// One delay for each link and block, the same whatever the attack.
    fn delay(&self, from: ReplicaId, to: ReplicaId, block: &VerifiedBlock) -> u64 {
        let name = [from.0, to.0, block.author().0];
        let drawn = hash("delay", &[&self.seed.to_be_bytes(), &name, &block.round().to_be_bytes()]);
        let drawn = u64::from_be_bytes(drawn.0[..8].try_into().unwrap());
        let near = [from, to].contains(&self.competitor);
        match self.distance {
            _ if self.competes(from) && self.competes(to) => 1,
            Distance::Near if near => DELAY / 20 + drawn % (DELAY / 10),
            Distance::Wild => drawn % (3 * DELAY),
            _ => DELAY / 2 + drawn % DELAY,
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.made += 1;
        self.queue.insert((time, self.made), event);
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, block: Arc<VerifiedBlock>, later: u64) {
        let time = self.now + later + self.delay(from, to, &block);
        self.at(time, Event::Block { from, to, block });
    }

    fn broadcast(&mut self, from: ReplicaId, block: &Arc<VerifiedBlock>) {
        for to in self.keys.public.committee.ids().filter(|&to| to != from) {
            self.send(from, to, Arc::clone(block), 0);
        }
    }

    fn deliver(&mut self, from: ReplicaId, to: ReplicaId, block: Arc<VerifiedBlock>) {
        if self.competes(to) && self.registration == Some(block.reference()) {
            if self.seen.is_none() {
                self.seen = Some(self.now);
                self.at(self.now, Event::Wake);
            }
            if self.attack == Attack::Honest {
                self.late.insert(to, block);
                return;
            }
        }
        let mut effects = self.orders[to.index()].receive(from, block);
        let needed = |effect: &Effect| matches!(effect, Effect::Fetch { refs, .. } if refs.iter().any(|name| Some(*name) == self.registration));
        if effects.iter().any(needed)
            && let Some(late) = self.late.remove(&to)
        {
            effects.extend(self.orders[to.index()].receive(self.victim, late));
        }
        self.perform(to, effects);
        self.propose(to);
    }

    fn perform(&mut self, id: ReplicaId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Broadcast(block) => self.broadcast(id, &block),
                Effect::Fetch { from, refs, above } => {
                    self.at(self.now + DELAY, Event::Fetch { from: id, to: from, refs, above });
                }
                Effect::Commit(commit) if !self.competes(id) && self.result.is_empty() => {
                    let names = commit.blocks.iter().filter_map(|block| block.payload().last().copied());
                    self.result.extend(names.filter(|name| [b'V', b'X'].contains(name)));
                }
                _ => {}
            }
        }
    }

    /// Makes the ordinary blocks that are due.
    fn propose(&mut self, id: ReplicaId) {
        while let Some(round) = self.orders[id.index()].next_round() {
            let mut payload = b"-".to_vec();
            if id == self.victim && self.registration.is_none() && round >= RACE {
                payload = b"V".to_vec();
            }
            if self.competes(id) && !self.competes_in(id, round, &mut payload) {
                return;
            }
            let time = Timestamp(self.now);
            let Some(Effect::Persist(block)) = self.orders[id.index()].propose(time, &payload) else { return };
            if payload == b"V" {
                self.registration = Some(block.reference());
            }
            if self.competes(id) {
                self.own.insert(id, block.reference());
            }
            let effects = self.orders[id.index()].persisted(round);
            self.perform(id, effects);
        }
    }

    fn competes(&self, id: ReplicaId) -> bool {
        id == self.competitor || self.accomplices.contains(&id)
    }

    /// Whether the competitor or an accomplice makes the ordinary block of `round` now.
    fn competes_in(&mut self, id: ReplicaId, round: u64, payload: &mut Vec<u8>) -> bool {
        let kept_free = match self.attack {
            Attack::Honest | Attack::HoldBack | Attack::OldReferences => RACE,
            Attack::BackDate(rounds) | Attack::LeaveOut(rounds) | Attack::LeaveOutLate(rounds) => RACE - rounds,
            Attack::WaitForCoin => RACE - 1,
            Attack::Twin | Attack::Even => RACE + 1,
        };
        if self.attack == Attack::Even {
            if round >= RACE && !std::mem::replace(&mut self.rival, true) {
                *payload = b"X".to_vec();
            }
            return true;
        }
        if round < kept_free || self.attack == Attack::Honest && id != self.competitor {
            return true;
        }
        if self.attack == Attack::Honest && self.seen.is_some() {
            if !std::mem::replace(&mut self.rival, true) {
                *payload = b"X".to_vec();
            }
            return true;
        }
        false
    }

    /// The competitor acts: at the moment it sees the registration, and at each wake-up after that.
    fn attack(&mut self) {
        match self.attack {
            Attack::Honest | Attack::Even => return self.propose(self.competitor),
            Attack::HoldBack if self.now < self.seen.unwrap() + DELAY / 2 => {}
            Attack::WaitForCoin if !self.rival && !self.leads() => {}
            _ => self.fill(),
        }
        if self.orders[self.victim.index()].quorum_round() < RACE + 20 {
            self.at(self.now + DELAY / 10, Event::Wake);
        }
    }

    /// Whether the coin of the round before the race is known and makes the competitor its first leader.
    fn leads(&self) -> bool {
        let coin = self.orders[self.competitor.index()].coins.get(RACE - 1);
        coin.is_some_and(|coin| self.keys.public.leaders(coin)[0] == self.competitor)
    }

    /// Fills the free slots, the first with the rival registration, without the victim's block as a parent.
    fn fill(&mut self) {
        let competitor = self.competitor;
        if self.attack == Attack::Twin && !self.rival {
            let round = self.own.get(&competitor).map_or(1, |own| own.round);
            match self.own_at(round - 1) {
                Some(own) => self.own.insert(competitor, own),
                None => self.own.remove(&competitor),
            };
            self.make(competitor, round);
        }
        for id in [competitor].into_iter().chain(self.accomplices.clone()) {
            loop {
                let round = self.own.get(&id).map_or(1, |own| own.round + 1);
                let late = if matches!(self.attack, Attack::LeaveOutLate(_)) { 2 } else { 0 };
                if round + late > self.orders[id.index()].quorum_round() + 1 || !self.make(id, round) {
                    break;
                }
            }
        }
    }

    fn own_at(&self, round: u64) -> Option<BlockRef> {
        let dag = &self.orders[self.competitor.index()].dag;
        dag.twins(round, self.competitor).next().map(|block| dag.reference(block))
    }

    fn leads_to_registration(&self, id: ReplicaId, block: &BlockRef) -> bool {
        let dag = &self.orders[id.index()].dag;
        let found = self.registration.and_then(|name| dag.find(&name));
        let past = || dag.past(dag.find(block), |block| block.round >= RACE);
        found.is_some_and(|registration| past().contains(&registration))
    }

    /// A block of a corrupt replica for `round`; `false` if there is no quorum of parents yet that leaves the victim's out.
    fn make(&mut self, id: ReplicaId, round: u64) -> bool {
        let dag = &self.orders[id.index()].dag;
        let others = dag.authors(round - 1).iter().filter(|&author| author != id);
        let first = others.filter_map(|author| dag.twins(round - 1, author).last()).map(|block| dag.reference(block));
        let mut parents: Vec<BlockRef> = first.filter(|parent| Some(*parent) != self.registration).collect();
        parents.extend(self.own.get(&id));
        let before = |parents: &[BlockRef]| parents.iter().filter(|p| p.round + 1 == round).map(|p| p.author).collect();
        let quorum = |parents: &[BlockRef]| self.keys.public.committee.is_quorum(before(parents));
        if !quorum(&parents) {
            return false;
        }
        if matches!(self.attack, Attack::LeaveOut(_) | Attack::LeaveOutLate(_)) {
            parents.sort_by_key(|parent| !self.leads_to_registration(id, parent));
        }
        let few = matches!(self.attack, Attack::OldReferences | Attack::LeaveOut(_) | Attack::LeaveOutLate(_));
        while few && quorum(&parents[1..]) {
            parents.remove(0);
        }
        parents.sort_unstable();
        let payload: &[u8] = if self.rival || id != self.competitor { b"-" } else { b"X" };
        self.rival |= id == self.competitor;
        let header = Header {
            epoch: 0,
            round,
            author: id,
            gap: round > 1 && !parents.iter().any(|parent| parent.author == id),
            parents,
            coin: self.keys.public.share_name(round).map_or_else(Vec::new, |_| self.shares.clone()),
            timestamp: Timestamp(self.now),
        };
        let identity = &self.keys.identities[id.index()];
        let block = Arc::new(VerifiedBlock::sign(&self.keys.public, header, payload, identity));
        self.own.insert(id, block.reference());
        self.broadcast(id, &block);
        self.shown.push(Arc::clone(&block));
        for told in [self.competitor].into_iter().chain(self.accomplices.clone()) {
            let effects = self.orders[told.index()].receive(id, Arc::clone(&block));
            self.perform(told, effects);
        }
        true
    }
}

/// Races won of `count`.
fn won(keys: &Keys, attack: Attack, distance: Distance, count: u64) -> u64 {
    (0..count).filter(|&seed| Race::new(keys, seed, attack, distance).run()).count() as u64
}

fn z(won: u64, honest: u64, count: u64) -> f64 {
    let (p, q, n) = (won as f64 / count as f64, honest as f64 / count as f64, count as f64);
    let m = (p + q) / 2.0;
    if m == 0.0 || m == 1.0 { 0.0 } else { (p - q) / (2.0 * m * (1.0 - m) / n).sqrt() }
}

const ATTACKS: [Attack; 10] = [
    Attack::BackDate(1),
    Attack::BackDate(2),
    Attack::BackDate(3),
    Attack::LeaveOut(1),
    Attack::LeaveOut(2),
    Attack::LeaveOutLate(2),
    Attack::HoldBack,
    Attack::Twin,
    Attack::OldReferences,
    Attack::WaitForCoin,
];

/// The first attack that gains something, over `count` races for each, at one distance. That a rival ten times nearer than
/// everybody gains by dating back is the limit that [`super::super::sequence`] names.
pub fn unfair(n: usize, distance: Distance, count: u64) -> Option<String> {
    let keys = Keys::new(n, WaveLength::Five, 10_000);
    let percent = |won: u64| 100.0 * won as f64 / count as f64;
    let honest = won(&keys, Attack::Honest, distance, count);
    report(format!("n = {n}, {distance:?}: honest competitors win {:.1} %", percent(honest)));
    for attack in ATTACKS {
        let wins = won(&keys, attack, distance, count);
        let z = z(wins, honest, count);
        let line = format!("n = {n}, {distance:?}: {attack:?} wins {:.1} %, z = {z:.2}", percent(wins));
        let known = distance == Distance::Near
            && matches!(attack, Attack::BackDate(_) | Attack::LeaveOut(_) | Attack::LeaveOutLate(_));
        if z > BOUND && !known {
            return Some(line);
        }
        report(line);
    }
    None
}

/// The hunt for planted bugs prints a table of its own.
fn report(line: String) {
    if !cfg!(feature = "mutants") {
        println!("{line}");
    }
}

/// Whether the number of a replica decides between two equals.
pub fn favours_a_number(count: u64) -> Option<String> {
    let keys = Keys::new(4, WaveLength::Five, 10_000);
    let higher = |seed: &u64| {
        let race = Race::new(&keys, *seed, Attack::Even, Distance::Usual);
        let higher = race.competitor > race.victim;
        race.run() == higher
    };
    let even = (0..count).filter(higher).count() as u64;
    let biased = (2.0 * even as f64 - count as f64).abs() > BOUND * (count as f64).sqrt();
    biased.then(|| format!("the higher number wins {even} of {count} races against an equal"))
}

/// `TORRENS_RACES` sets how many. Without it the tests here run ten thousand races in all.
fn races(usual: u64) -> u64 {
    std::env::var("TORRENS_RACES").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

#[test]
fn between_equals_no_replica_number_is_favoured() {
    assert_eq!(favours_a_number(races(400)), None);
}

#[test]
fn no_attack_wins_more_races_than_an_honest_competitor() {
    assert_eq!(unfair(4, Distance::Usual, races(350)), None);
}

#[test]
fn no_attack_wins_more_races_where_delays_are_wild() {
    assert_eq!(unfair(4, Distance::Wild, races(350)), None);
}

#[test]
fn no_attack_but_back_dating_wins_more_races_for_one_that_is_ten_times_nearer() {
    assert_eq!(unfair(4, Distance::Near, races(300)), None);
}

#[test]
fn two_that_collude_win_no_more_races_than_two_honest_ones_as_near_to_each_other() {
    assert_eq!(unfair(7, Distance::Usual, races(200)), None);
}
