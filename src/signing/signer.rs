//! The secret side: this replica's shares of the keys and its unused nonces. Not replicated, never stored.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rand_core::CryptoRngCore;

use super::nonces::{NonceBatch, NonceRef};
use super::scheduler::Scheduler;
use super::task::{Assignment, KeyId, Role, Share, ShareEntry};
use crate::committee::ReplicaId;
use crate::crypto::frost::{self, Commitments, FrostSecret, Nonce};
use crate::directory::name::Name;
use crate::limits::{MAX_NONCE_BATCH, MAX_UNUSED_NONCES};

/// This replica's share of the certificate key.
pub trait RsaSigner: Send {
    /// The share of the signature of `message`, with its proof; none if it fails its own check, which only a fault of
    /// the machine can bring about.
    fn sign_share(&self, message: &[u8], rng: &mut dyn CryptoRngCore) -> Option<Vec<u8>>;
}

/// Answers assignments. Holds the nonces of one process: make a new one, with a higher boot number, at each start.
pub struct Signer {
    me: ReplicaId,
    boot: u64,
    zones: BTreeMap<Name, FrostSecret>,
    authority: Option<Box<dyn RsaSigner>>,
    nonces: BTreeMap<(u64, u32), Nonce>,
    next_index: u64,
    #[cfg(feature = "misbehave")]
    misbehaves: bool,
}

impl Signer {
    pub fn new(
        me: ReplicaId,
        boot: u64,
        zones: BTreeMap<Name, FrostSecret>,
        authority: Option<Box<dyn RsaSigner>>,
    ) -> Self {
        Self {
            me,
            boot,
            zones,
            authority,
            nonces: BTreeMap::new(),
            next_index: 0,
            #[cfg(feature = "misbehave")]
            misbehaves: false,
        }
    }

    /// A liar for tests: its shares are of other messages, so none of them holds.
    #[cfg(feature = "misbehave")]
    pub fn misbehaving(self) -> Self {
        Self { misbehaves: true, ..self }
    }

    /// A batch for the next block, if no more than half of `target` nonces of ours are ordered and unused, or on their way.
    /// Commitments in the order that an earlier process made do not count: after a start the first batch is due at once,
    /// and until it is ordered we are asked for nonces that are dead.
    pub fn refill(&mut self, scheduler: &Scheduler, target: usize, rng: &mut impl CryptoRngCore) -> Option<NonceBatch> {
        let target = target.min(MAX_UNUSED_NONCES);
        self.outlive(scheduler.boot_of(self.me));
        let (mut unused, mut next_index) = (0, 0);
        if scheduler.boot_of(self.me) == Some(self.boot) {
            (unused, next_index) = (scheduler.unused_nonces(self.me), scheduler.next_index_of(self.me));
        }
        let on_their_way = self.nonces.range((next_index, 0)..).count();
        let ready = unused + on_their_way;
        // Batches may be lost with their blocks: if the order has none of ours left, those on their way are not relied on.
        let wanted = if unused == 0 && on_their_way < 2 * target { target } else { target.saturating_sub(ready) };
        if wanted == 0 || wanted * 2 < target {
            return None;
        }
        let batch = self.make_batch(wanted, rng);
        (!batch.commitments.is_empty()).then_some(batch)
    }

    /// Fresh nonces, and the commitments to put in a block; at most as many as a batch holds. Those of a batch that is
    /// never ordered are dropped in the end.
    pub fn make_batch(&mut self, count: usize, rng: &mut impl CryptoRngCore) -> NonceBatch {
        let mut batch = NonceBatch { boot: self.boot, index: self.next_index, commitments: Vec::new() };
        let Some(hedge) = self.zones.values().next() else { return batch };
        self.next_index += 1;
        for offset in 0..count.min(MAX_NONCE_BATCH) {
            let (nonce, commitment) = frost::commit(hedge, rng);
            self.nonces.insert((batch.index, offset as u32), nonce);
            batch.commitments.push(commitment);
        }
        while self.nonces.len() > 2 * MAX_UNUSED_NONCES {
            self.nonces.pop_first();
        }
        batch
    }

    /// The nonces of `batch` get a part of small order each, as no correct replica's have.
    #[cfg(test)]
    pub fn mix_orders(&mut self, batch: &mut NonceBatch, rng: &mut impl CryptoRngCore) {
        for (offset, commitment) in batch.commitments.iter_mut().enumerate() {
            let small = rng.next_u32() as usize;
            let key = (batch.index, offset as u32);
            let nonce = self.nonces.remove(&key).expect("of this batch").of_mixed_order(small % 8, small / 8 % 8);
            *commitment = nonce.commitment();
            self.nonces.insert(key, nonce);
        }
    }

    /// Takes a boot number above the last one that the order knows of this replica. After a lost disk the own count starts
    /// again below it, and batches with a lower one are ignored for good.
    fn outlive(&mut self, known: Option<u64>) {
        if let Some(known) = known.filter(|&known| known > self.boot) {
            self.boot = known + 1;
            self.nonces.clear();
            self.next_index = 0;
        }
    }

    /// Our answer; none if we are not asked, or the nonce is spent or died with an earlier process.
    pub fn sign(&mut self, assignment: &Assignment, rng: &mut impl CryptoRngCore) -> Option<ShareEntry> {
        let message = self.message(assignment);
        let share = match (&assignment.role, &assignment.key) {
            (Role::Frost(signers), KeyId::Zone(zone)) => {
                let (nonce, _) = signers.get(&self.me)?;
                // Taken first: whatever happens next, it is not used again.
                let nonce = self.take(*nonce)?;
                let commitments: Commitments = signers.iter().map(|(&id, (_, checked))| (id, *checked)).collect();
                let secret = self.zones.get(zone)?;
                Share::Frost(frost::sign(secret, nonce, &commitments, &message).ok()?)
            }
            (Role::Rsa(asked), KeyId::Authority) if asked.contains(self.me) => {
                Share::Rsa(self.authority.as_ref()?.sign_share(&message, rng)?)
            }
            _ => return None,
        };
        Some(ShareEntry { task: assignment.task, attempt: assignment.attempt, share })
    }

    /// What to sign: a position's bytes, as the state has them.
    fn message(&self, assignment: &Assignment) -> Arc<[u8]> {
        #[cfg(feature = "misbehave")]
        if self.misbehaves {
            return [&assignment.message[..], b" and what was never ordered"].concat().into();
        }
        Arc::clone(&assignment.message)
    }

    fn take(&mut self, nonce: NonceRef) -> Option<Nonce> {
        if nonce.boot != self.boot {
            return None;
        }
        self.nonces.remove(&(nonce.index, nonce.offset))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, boot {}, {} nonces [redacted])", self.me, self.boot, self.nonces.len())
    }
}
