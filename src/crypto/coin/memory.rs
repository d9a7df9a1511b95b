//! What one process that runs many replicas need compute once: making shares and checking them are functions of key, coin and
//! bytes, whoever asks. A simulator hands this in; nobody else does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{CoinName, CoinShare, VerifiedShares};
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::digest::{Digest, hash};

/// Results that are kept; beyond, all are forgotten.
const MAX_RESULTS: usize = 1 << 16;

/// Shares of one key that were made or checked.
#[derive(Clone, Default)]
pub struct CoinMemory(Arc<Results>);

#[derive(Default)]
struct Results {
    made: Mutex<BTreeMap<(ReplicaId, Digest), Vec<CoinShare>>>,
    checked: Mutex<BTreeMap<Digest, Option<VerifiedShares>>>,
}

/// All memories are alike: they change no result.
impl PartialEq for CoinMemory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CoinMemory {}

impl fmt::Debug for CoinMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CoinMemory")
    }
}

impl CoinMemory {
    pub(super) fn made(
        &self,
        owner: ReplicaId,
        name: &CoinName,
        make: impl FnOnce() -> Vec<CoinShare>,
    ) -> Vec<CoinShare> {
        recall(&self.0.made, (owner, name.0), make)
    }

    pub(super) fn checked(
        &self,
        author: ReplicaId,
        name: &CoinName,
        shares: &[CoinShare],
        check: impl FnOnce() -> Option<VerifiedShares>,
    ) -> Option<VerifiedShares> {
        let key = hash("torrens coin memory", &[&name.0.0, &[author.0], &codec::encode(&shares)]);
        recall(&self.0.checked, key, check)
    }
}

fn recall<K: Ord, V: Clone>(results: &Mutex<BTreeMap<K, V>>, key: K, compute: impl FnOnce() -> V) -> V {
    let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(&key) {
        return known.clone();
    }
    // Not under the lock: others go on meanwhile.
    let value = compute();
    let mut results = lock();
    if results.len() >= MAX_RESULTS {
        results.clear();
    }
    results.insert(key, value.clone());
    value
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
        for secret in secrets {
            let (owner, plain) = (secret.index(), secret.shares(&name));
            let secret = secret.remembering(&memory);
            for _ in 0..2 {
                assert_eq!(secret.shares(&name), plain);
                assert!(remembering.verify(owner, &name, &plain).is_some());
                assert!(remembering.verify(owner, &other, &plain).is_none());
                assert!(remembering.verify(crate::committee::ReplicaId(owner.0 ^ 1), &name, &plain).is_none());
            }
        }
    }
}
