//! Shares and values of coins that were computed before ([`crate::crypto::memory`]).

use super::{CoinName, CoinShare, CoinValue, VerifiedShares};
use crate::codec;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::{Digest, hash};
use crate::crypto::memory::Memory;

/// Shares of one key that were made or checked, and what they gave.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct CoinMemory {
    made: Memory<(ReplicaId, Digest), Vec<CoinShare>>,
    checked: Memory<Digest, Option<VerifiedShares>>,
    values: Memory<(Digest, ReplicaSet), Option<CoinValue>>,
}

impl CoinMemory {
    pub(super) fn made(
        &self,
        owner: ReplicaId,
        name: &CoinName,
        make: impl FnOnce() -> Vec<CoinShare>,
    ) -> Vec<CoinShare> {
        self.made.recall((owner, name.0), make)
    }

    /// Whether these are the shares that `owner`'s secret gave: they need no check.
    pub(super) fn has_made(&self, owner: ReplicaId, name: &CoinName, shares: &[CoinShare]) -> bool {
        self.made.get(&(owner, name.0)).is_some_and(|made| made == shares)
    }

    pub(super) fn checked(
        &self,
        author: ReplicaId,
        name: &CoinName,
        shares: &[CoinShare],
        check: impl FnOnce() -> Option<VerifiedShares>,
    ) -> Option<VerifiedShares> {
        let key = hash("torrens coin memory", &[&name.0.0, &[author.0], &codec::encode(&shares)]);
        self.checked.recall(key, check)
    }

    /// The value that valid shares of exactly `authors` give.
    pub(super) fn value(
        &self,
        name: &CoinName,
        authors: ReplicaSet,
        combine: impl FnOnce() -> Option<CoinValue>,
    ) -> Option<CoinValue> {
        self.values.recall((name.0, authors), combine)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use crate::committee::Committee;
    use crate::crypto::coin::{CoinMemory, CoinName, deal};
    use crate::crypto::digest::Digest;

    #[test]
    fn what_is_remembered_is_what_would_be_computed_and_bad_shares_stay_bad() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(7);
        let (public, secrets) = deal(&Committee::new(4).unwrap(), &mut rng);
        let memory = CoinMemory::default();
        let remembering = public.clone().remembering(&memory);
        let (name, other) = (CoinName::new(&Digest::ZERO, 0, 1), CoinName::new(&Digest::ZERO, 0, 2));
        let mut verified = Vec::new();
        for secret in secrets {
            let (owner, plain) = (secret.index(), secret.shares(&name));
            let secret = secret.remembering(&memory);
            for _ in 0..2 {
                assert_eq!(secret.shares(&name), plain);
                assert!(remembering.verify(owner, &name, &plain).is_some());
                assert!(remembering.verify(owner, &other, &plain).is_none());
                assert!(remembering.verify(crate::committee::ReplicaId(owner.0 ^ 1), &name, &plain).is_none());
            }
            verified.extend(remembering.verify(owner, &name, &plain));
        }
        for quorum in [&verified[..3], &verified[1..], &verified[..]] {
            for _ in 0..2 {
                assert_eq!(remembering.combine(&name, quorum), public.combine(&name, quorum));
                assert_eq!(remembering.combine(&other, quorum), None);
                assert_eq!(remembering.combine(&name, &quorum[..2]), None);
            }
        }
    }
}
