//! How long messages take: fair networks, and schedulers that see every message.

use std::collections::{BTreeMap, BTreeSet};

use super::stream::Stream;
use crate::committee::ReplicaId;
use crate::crypto::coin::CoinShare;
use crate::order::{OrderPublic, VerifiedBlock};

/// Microseconds.
pub type Micros = u64;
pub const MS: Micros = 1000;

/// Who decides when messages arrive. Nobody may hold one for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scheduler {
    /// A few milliseconds, all alike.
    Lan,
    /// Each pair of replicas has its own distance.
    Wan,
    /// Mostly short, sometimes a hundred times as long.
    HeavyTail,
    /// The blocks of a round that are sent first come last.
    SlowestFirst,
    /// Everything from and to one replica takes very long.
    Starving,
    /// Blocks of whoever would lead, if leaders took turns, come late.
    AgainstTurns,
    /// The coin of each round is computed as soon as anybody could; blocks of its leaders then come late.
    CoinAware,
}

impl Scheduler {
    pub const ALL: [Self; 7] = [
        Self::Lan,
        Self::Wan,
        Self::HeavyTail,
        Self::SlowestFirst,
        Self::Starving,
        Self::AgainstTurns,
        Self::CoinAware,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::HeavyTail => "heavy-tail",
            Self::SlowestFirst => "slowest-first",
            Self::Starving => "starving",
            Self::AgainstTurns => "against-turns",
            Self::CoinAware => "coin-aware",
        }
    }

    /// Whether it matters to this one which block a message holds.
    pub fn reads_blocks(self) -> bool {
        matches!(self, Self::SlowestFirst | Self::AgainstTurns | Self::CoinAware)
    }
}

/// The scheduler at work.
pub struct Delays {
    pub scheduler: Scheduler,
    rng: Stream,
    /// Of [`Scheduler::Wan`].
    distances: Vec<Vec<Micros>>,
    /// Of [`Scheduler::Starving`].
    victim: ReplicaId,
    /// Authors whose block of a round was sent already.
    sent: BTreeMap<u64, BTreeSet<ReplicaId>>,
    coins: CoinWatch,
}

impl Delays {
    pub fn new(scheduler: Scheduler, n: usize, mut rng: Stream) -> Self {
        let distances = (0..n).map(|_| (0..n).map(|_| rng.between(5, 120) * MS).collect()).collect();
        let victim = ReplicaId(rng.below(n as u64) as u8);
        Self { scheduler, rng, distances, victim, sent: BTreeMap::new(), coins: CoinWatch::default() }
    }

    /// How long a message takes that is sent now; `block` is the block in it.
    pub fn draw(
        &mut self,
        public: &OrderPublic,
        from: ReplicaId,
        to: ReplicaId,
        block: Option<&VerifiedBlock>,
    ) -> Micros {
        let usual = self.rng.between(10, 30) * MS;
        match (self.scheduler, block) {
            (Scheduler::Lan, _) => self.rng.between(8, 16) * MS,
            (Scheduler::Wan, _) => {
                let distance = self.distances[from.index()][to.index()];
                distance + self.rng.below(distance / 5)
            }
            (Scheduler::HeavyTail, _) if self.rng.chance(1, 64) => usual * 60,
            (Scheduler::HeavyTail, _) if self.rng.chance(1, 8) => usual * 8,
            (Scheduler::SlowestFirst, Some(block)) => {
                let before = self.rank(block) as u64;
                let all = public.committee.len() as u64;
                usual * (all - before.min(all - 1)) * 2
            }
            (Scheduler::Starving, _) if [from, to].contains(&self.victim) => usual * 20,
            (Scheduler::AgainstTurns, Some(block)) if leads_by_turns(public, block) => usual * 20,
            (Scheduler::CoinAware, Some(block)) => {
                self.coins.see(public, block);
                if self.coins.leads(block) { usual * 20 } else { usual }
            }
            _ => usual,
        }
    }

    /// From now on the network is fair.
    pub fn heal(&mut self) {
        self.scheduler = Scheduler::Lan;
    }

    /// How many authors were faster in this block's round.
    fn rank(&mut self, block: &VerifiedBlock) -> usize {
        let round = block.round();
        self.sent = self.sent.split_off(&round.saturating_sub(64));
        let authors = self.sent.entry(round).or_default();
        authors.insert(block.author());
        authors.len() - 1
    }
}

fn leads_by_turns(public: &OrderPublic, block: &VerifiedBlock) -> bool {
    block.round() % public.committee.len() as u64 == u64::from(block.author().0)
}

/// What can be known of the coins by whoever sees all blocks.
#[derive(Default)]
struct CoinWatch {
    shares: BTreeMap<u64, BTreeMap<ReplicaId, Vec<CoinShare>>>,
    leaders: BTreeMap<u64, Vec<ReplicaId>>,
}

impl CoinWatch {
    fn see(&mut self, public: &OrderPublic, block: &VerifiedBlock) {
        let own = &block.header().coin;
        if own.is_empty() {
            return;
        }
        let round = block.round();
        let floor = round.saturating_sub(64);
        self.shares = self.shares.split_off(&floor);
        self.leaders = self.leaders.split_off(&floor);
        if self.leaders.contains_key(&round) {
            return;
        }
        let shares = self.shares.entry(round).or_default();
        shares.insert(block.author(), own.clone());
        let name = public.share_name(round).expect("blocks with shares have coins");
        let all: Vec<_> = shares.iter().map(|(&author, shares)| (author, shares.as_slice())).collect();
        if !public.committee.is_quorum(shares.keys().copied().collect()) {
            return;
        }
        let each = || all.iter().filter_map(|(author, shares)| public.coin.verify(*author, &name, shares)).collect();
        let verified = public.coin.verify_all(&name, &all).unwrap_or_else(each);
        if let Some(coin) = public.coin.combine(&name, &verified) {
            self.leaders.insert(round, public.leaders(&coin));
        }
    }

    /// Whether the author leads the last round whose coin is known.
    fn leads(&self, block: &VerifiedBlock) -> bool {
        self.leaders.last_key_value().is_some_and(|(_, leaders)| leaders.contains(&block.author()))
    }
}
