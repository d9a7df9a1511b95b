//! Tests of the order: blocks and their bytes, the decision rule on drawn graphs, whole clusters in a seeded simulator,
//! adversaries.

mod adversary;
mod blocks;
mod checks;
mod collusion;
mod corrupt;
mod disk;
mod endurance;
mod fair;
mod graphs;
#[cfg(feature = "mutants")]
pub mod mutants;
mod network;
mod races;
mod scenarios;
mod simulation;
mod structures;
mod swarm;
mod world;

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::committee::Committee;
use crate::crypto::coin::{self, CoinSecret};
use crate::crypto::digest::hash;

/// A committee with its keys.
pub(super) struct Keys {
    pub public: Arc<OrderPublic>,
    pub identities: Vec<Arc<SecretKey>>,
    coins: Vec<CoinSecret>,
}

impl Keys {
    pub fn new(n: usize, wave: WaveLength, depth: u64) -> Self {
        Self::of(Committee::new(n).unwrap(), wave, depth)
    }

    pub fn of(committee: Committee, wave: WaveLength, depth: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let identities: Vec<_> = committee.ids().map(|_| Arc::new(SecretKey::generate(&mut rng))).collect();
        let (coin, coins) = coin::deal(&committee, &mut rng);
        let keys = identities.iter().map(|key| key.public()).collect();
        let public = OrderPublic::new(committee, hash("test network", &[]), 0, keys, coin).unwrap();
        Self { public: Arc::new(OrderPublic { wave, depth, ..public }), identities, coins }
    }

    pub fn identity(&self, id: ReplicaId) -> Arc<SecretKey> {
        Arc::clone(&self.identities[id.index()])
    }

    pub fn coin(&self, id: ReplicaId) -> CoinSecret {
        CoinSecret::from_bytes(&self.coins[id.index()].to_bytes()[..]).unwrap()
    }

    /// A replica without a past, allowed to propose.
    pub fn fresh(&self, id: ReplicaId) -> Order {
        let (mut order, _) =
            Order::new(Arc::clone(&self.public), id, self.identity(id), self.coin(id), Recovered::empty());
        order.start(startup::Outcome::GoOn { last: 0 });
        order
    }

    /// A block by `author` with these parents, its coin share included.
    pub fn block(&self, round: u64, author: ReplicaId, parents: &[BlockRef], payload: &[u8]) -> Arc<VerifiedBlock> {
        let mut parents = parents.to_vec();
        parents.sort_unstable();
        let header = Header {
            epoch: self.public.epoch,
            round,
            author,
            gap: round > 1 && !parents.iter().any(|parent| parent.author == author),
            parents,
            coin: self.public.share_name(round).map_or_else(Vec::new, |name| self.coins[author.index()].shares(&name)),
            timestamp: Timestamp(1000 * round + u64::from(author.0)),
        };
        Arc::new(VerifiedBlock::sign(&self.public, header, payload, &self.identities[author.index()]))
    }
}

/// A block for tests that need one to pass on.
pub(crate) fn some_block(round: u64, author: ReplicaId) -> (Arc<OrderPublic>, Arc<VerifiedBlock>) {
    let keys = Keys::new(4, WaveLength::Four, 60);
    let parents: Vec<BlockRef> = keys
        .public
        .committee
        .ids()
        .map(|author| BlockRef { round: round - 1, author, digest: hash("parent", &[]) })
        .collect();
    (Arc::clone(&keys.public), keys.block(round, author, &parents, b""))
}

pub(super) fn r(id: u8) -> ReplicaId {
    ReplicaId(id)
}
