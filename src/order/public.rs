//! What every replica of one epoch knows and agrees on.

use serde::{Deserialize, Serialize};

use crate::committee::{Committee, ReplicaId};
use crate::crypto::coin::{CoinName, CoinPublic, CoinValue};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::{FrequentKey, PublicKey};
use crate::limits::{MAX_LEADERS_PER_ROUND, ORDER_DEPTH, PARENTS_PER_REPLICA};
use crate::mutants::{Mutant, planted};

/// Rounds from a wave's leader to the blocks that carry shares of its coin: the same for both wave lengths.
const SHARE_OFFSET: u64 = 4;

/// [`SHARE_OFFSET`], but for a planted bug.
pub(super) fn share_offset() -> u64 {
    if planted(Mutant::CoinReleasedEarly) { SHARE_OFFSET - 1 } else { SHARE_OFFSET }
}

/// How many rounds a wave has. A wave starts in every round r; its leaders are blocks of round r.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum WaveLength {
    /// Votes in round r + 2, certificates in r + 3, coin shares one round later. For thresholds: the liveness of other
    /// structures is argued for the other length ([`crate::committee::check`]).
    Four,
    /// Votes in round r + 3, certificates together with the coin shares in r + 4 (Mahi-Mahi's published layout). The
    /// default: between five regions its mean is 0.7 to 0.9 of the other's and its p99 0.5 to 0.75; on equal links there is
    /// no difference, since both wait for the coin (`torrens bench delays`).
    #[default]
    Five,
}

impl WaveLength {
    /// Rounds from a leader to the blocks that vote for it.
    pub fn vote_offset(self) -> u64 {
        match self {
            Self::Four => 2,
            Self::Five => 3,
        }
    }

    /// Rounds from a leader to the blocks that may be certificates for it.
    pub fn decision_offset(self) -> u64 {
        self.vote_offset() + 1
    }

    /// Rounds from a leader to the first that can be its anchor.
    pub fn anchor_offset(self) -> u64 {
        self.decision_offset() + 1
    }
}

/// The parameters of one epoch, equal on all replicas.
#[derive(Clone, Debug)]
pub struct OrderPublic {
    pub committee: Committee,
    pub network: Digest,
    pub epoch: u64,
    /// Keys that sign blocks, by replica.
    pub identities: Vec<FrequentKey>,
    pub coin: CoinPublic,
    pub wave: WaveLength,
    pub leaders_per_round: usize,
    /// Rounds below a leader that it may still emit; [`ORDER_DEPTH`] outside tests.
    pub depth: u64,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OrderPublicError {
    #[error("{found} identity keys for {expected} replicas")]
    Identities { found: usize, expected: usize },
    #[error("the coin key is dealt to another committee")]
    Coin,
}

impl OrderPublic {
    /// With the default wave length, two leaders a round, and the default depth.
    pub fn new(
        committee: Committee,
        network: Digest,
        epoch: u64,
        identities: Vec<PublicKey>,
        coin: CoinPublic,
    ) -> Result<Self, OrderPublicError> {
        if identities.len() != committee.len() {
            return Err(OrderPublicError::Identities { found: identities.len(), expected: committee.len() });
        }
        if *coin.committee() != committee {
            return Err(OrderPublicError::Coin);
        }
        let (wave, identities) = (WaveLength::default(), identities.into_iter().map(FrequentKey::from).collect());
        Ok(Self { committee, network, epoch, identities, coin, wave, leaders_per_round: 2, depth: ORDER_DEPTH })
    }

    /// Parents of one block, at most.
    pub fn max_parents(&self) -> usize {
        PARENTS_PER_REPLICA * self.committee.len()
    }

    /// The name of the coin that draws the leaders of `leader_round`.
    pub fn coin_name(&self, leader_round: u64) -> CoinName {
        let round = if planted(Mutant::CoinWithoutRound) { 0 } else { leader_round };
        CoinName::new(&self.network, self.epoch, round)
    }

    /// Whether blocks of `round` carry a coin share: the first rounds have no wave to carry one for.
    pub(super) fn carries_share(round: u64) -> bool {
        round > share_offset()
    }

    /// How many shares of a coin a block of `author` at `round` carries.
    pub(super) fn shares_at(&self, round: u64, author: ReplicaId) -> usize {
        if Self::carries_share(round) { self.coin.shares_of(author) } else { 0 }
    }

    /// The coin that a block of `round` carries a share of, if it carries one.
    pub fn share_name(&self, round: u64) -> Option<CoinName> {
        Self::carries_share(round).then(|| self.coin_name(round - share_offset()))
    }

    /// The leaders of a round, in the order of their slots, drawn by its coin.
    pub fn leaders(&self, coin: &CoinValue) -> Vec<ReplicaId> {
        let mut leaders = coin.permutation("torrens v1 leaders", &self.committee);
        leaders.truncate(self.leaders_per_round.clamp(1, MAX_LEADERS_PER_ROUND));
        leaders
    }
}
