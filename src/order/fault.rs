//! What peers do that no correct replica does.

use std::sync::Arc;

use super::block::{BlockRef, VerifiedBlock};
use crate::committee::ReplicaId;

/// A peer's misdeed, with the evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The coin share in a block is not its author's: anybody can check, the block is signed.
    CoinShare { block: Arc<VerifiedBlock> },
    /// Two signed blocks for one round. Given once for each author and round.
    Equivocation { author: ReplicaId, round: u64, blocks: [Arc<VerifiedBlock>; 2] },
    /// Twins of this slot are both certified: more replicas are corrupt than the committee stands. The order has stopped.
    TrustBroken { author: ReplicaId, round: u64, blocks: Vec<BlockRef> },
}

impl Fault {
    pub fn culprit(&self) -> ReplicaId {
        match self {
            Self::CoinShare { block } => block.author(),
            Self::Equivocation { author, .. } | Self::TrustBroken { author, .. } => *author,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equivocation { round, blocks: [one, other], .. } => {
                write!(f, "two blocks for round {round}: {:?} and {:?}", one.reference(), other.reference())
            }
            Self::CoinShare { block } => write!(f, "a coin share that is not its own in {:?}", block.reference()),
            Self::TrustBroken { round, .. } => {
                write!(f, "certified twins in round {round}: more replicas are corrupt than allowed, the order stops")
            }
        }
    }
}
