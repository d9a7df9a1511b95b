//! Drawn graphs that divide the votes, shown to several replicas in as many orders: they must commit the same.
//!
//! All that an asynchronous scheduler can do to the decision rule comes to this: which blocks each block has in its
//! past, and in which order whoever looks on gets them. Blocks lead to a quorum of the round before and no more, so
//! that much stays open. A corrupt author makes twins all the time. The scheduler knows the coins beforehand, as no
//! real one does: safety does not rest on their secrecy.

use rand_core::RngCore;

use super::checks::Failure;
use super::world::Entry;
use super::*;
use crate::crypto::coin::CoinShare;

const ROUNDS: u64 = 22;
const GRAPHS: u64 = 6;
const REPLICAS: u64 = 5;

struct Graph {
    keys: Keys,
    seed: u64,
    rng: ChaCha20Rng,
    /// Any: coins are drawn.
    shares: Vec<CoinShare>,
    rounds: Vec<Vec<Arc<VerifiedBlock>>>,
}

/// Draws graphs from `seed`; panics if the replicas that see one of them do not agree.
pub fn run(seed: u64) {
    for i in 0..GRAPHS {
        let graph = Graph::draw(GRAPHS * seed + i);
        let logs: Vec<Vec<Entry>> = (0..REPLICAS).map(|replica| graph.show(replica)).collect();
        let longest = logs.iter().max_by_key(|log| log.len()).expect("somebody looks on");
        let is_prefix = |log: &Vec<Entry>| log[..] == longest[..log.len()];
        if !logs.iter().all(is_prefix) {
            let detail = format!("seed {seed}: two replicas that see graph {i} commit differently");
            Failure::raise("agreement", detail);
        }
    }
}

impl Graph {
    fn draw(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let keys = Keys::new(4, WaveLength::Five, 10_000);
        let twins = r((rng.next_u64() % 4) as u8);
        let shares = keys.coin(r(0)).shares(&keys.public.coin_name(1));
        let mut graph = Self { keys, seed, rng, shares, rounds: vec![Vec::new()] };
        for round in 1..=ROUNDS {
            let mut blocks = Vec::new();
            for author in (0..4).map(r) {
                for _ in 0..if author == twins { 2 } else { 1 } {
                    let left_out = graph.left_out(round, author);
                    blocks.push(graph.block(round, author, left_out));
                }
            }
            graph.rounds.push(blocks);
        }
        graph
    }

    fn block(&mut self, round: u64, author: ReplicaId, left_out: ReplicaId) -> Arc<VerifiedBlock> {
        let mut parents: Vec<BlockRef> = Vec::new();
        for parent in (0..4).map(r).filter(|parent| *parent != left_out) {
            let slot: Vec<BlockRef> = self.at(round - 1).filter(|block| block.author == parent).collect();
            // Most lead to the first twin, so that the other is seen by few and late.
            let chosen = usize::from(self.rng.next_u64().is_multiple_of(8)) % slot.len().max(1);
            parents.extend(slot.get(chosen));
        }
        let header = Header {
            epoch: 0,
            round,
            author,
            parents,
            coin: self.keys.public.share_name(round).map_or_else(Vec::new, |_| self.shares.clone()),
            timestamp: Timestamp(self.rng.next_u64() >> 32),
            gap: false,
        };
        Arc::new(VerifiedBlock::sign(&self.keys.public, header, b"", &self.keys.identities[author.index()]))
    }

    fn find(&self, name: &BlockRef) -> Option<&Arc<VerifiedBlock>> {
        self.rounds[name.round as usize].iter().find(|block| block.reference() == *name)
    }

    fn at(&self, round: u64) -> impl Iterator<Item = BlockRef> {
        self.rounds[round as usize].iter().map(|block| block.reference())
    }

    fn coin(seed: u64, round: u64) -> CoinValue {
        CoinValue(hash("coin of a graph", &[&seed.to_be_bytes(), &round.to_be_bytes()]).0)
    }

    /// Whom a block of `round` by `author` does not lead to.
    ///
    /// Every five rounds a leader's block is kept from the others, or from all but one, and the leader's next block
    /// from all: so it spreads from its author alone. Then one replica still does not hear of it and the others do;
    /// then some hear of just the quorum that did. So there are votes for the block and against it, and certificates in
    /// some histories only.
    fn left_out(&mut self, round: u64, author: ReplicaId) -> ReplicaId {
        let wave = round.saturating_sub(2) / 5;
        let drawn = hash("wave", &[&self.seed.to_be_bytes(), &wave.to_be_bytes()]).0;
        let leader = self.keys.public.leaders(&Self::coin(self.seed, 5 * wave + 1))[usize::from(drawn[0] % 2)];
        let (deaf, insider) = (r(drawn[1] % 4), r(drawn[2] % 4));
        let dice = self.rng.next_u64();
        let planned = match round.saturating_sub(2) % 5 {
            0 if author != insider || drawn[3] < 128 => Some(leader),
            1 => Some(leader),
            2 if author == deaf => Some(leader),
            3 if dice.is_multiple_of(3) => Some(deaf),
            _ => None,
        };
        let anybody = r((dice >> 8) as u8 % 4);
        let chosen = planned.filter(|_| !(dice >> 16).is_multiple_of(16)).unwrap_or(anybody);
        // Nobody leaves out its own.
        if chosen == author { r((author.0 + 1 + (dice >> 24) as u8 % 3) % 4) } else { chosen }
    }

    /// What a replica commits that gets the blocks in an order of its own: some links are slow, or it comes back when
    /// all has happened and gets the latest first.
    fn show(&self, replica: u64) -> Vec<Entry> {
        let mut rng =
            ChaCha20Rng::seed_from_u64(hash("order", &[&self.seed.to_be_bytes(), &[replica as u8]]).0[0].into());
        let slow: Vec<u64> = (0..4).map(|_| rng.next_u64() % 3).collect();
        // From links that are a little uneven to whole chains that come rounds later.
        let spread = [4, 8, 20][rng.next_u64() as usize % 3];
        let comes_back = replica.is_multiple_of(3);
        let late = |block: &VerifiedBlock, dice: u64| match comes_back {
            true => ROUNDS - block.round(),
            false => 4 * block.round() + slow[block.author().index()] * (dice % spread),
        };
        let mut blocks: Vec<(u64, u64, &Arc<VerifiedBlock>)> = Vec::new();
        for block in self.rounds.iter().flatten() {
            let dice = rng.next_u64() >> 8;
            blocks.push((late(block, dice), dice, block));
        }
        blocks.sort_by_key(|(at, dice, _)| (*at, *dice));
        let mut order = self.keys.fresh(r(0));
        let seed = self.seed;
        order.coins.drawn = Some(Box::new(move |round| Self::coin(seed, round)));
        let mut log = Vec::new();
        for (.., block) in blocks {
            let mut due = vec![block];
            while let Some(block) = due.pop() {
                for effect in order.receive(block.author(), Arc::clone(block)) {
                    match effect {
                        Effect::Commit(commit) => log.push(Entry::of(&commit)),
                        // Who gets a block gets its past.
                        Effect::Fetch { refs, .. } => due.extend(refs.iter().filter_map(|name| self.find(name))),
                        _ => {}
                    }
                }
            }
        }
        log
    }
}
