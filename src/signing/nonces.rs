//! Pools of nonce commitments, one for each replica: filled by ordered batches, emptied in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::committee::ReplicaId;
use crate::crypto::frost::NonceCommitment;
use crate::limits::{MAX_NONCE_BATCH, MAX_UNUSED_NONCES};
use crate::mutants::{Mutant, planted};

/// A replica's commitments to nonces, as they ride in its block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NonceBatch {
    /// Grows with each start of the author's process. A new one voids all commitments of earlier ones: their nonces died
    /// with the process that made them.
    pub boot: u64,
    /// Number of the batch within this boot. Only a higher one than before counts; a batch may be missing, since a
    /// block may be left out of the order for good.
    pub index: u64,
    pub commitments: Vec<NonceCommitment>,
}

/// Where a nonce stands in its author's batches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct NonceRef {
    pub boot: u64,
    pub index: u64,
    pub offset: u32,
}

/// What came of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refill {
    Accepted,
    /// Accepted, and the author's process is another one than before: all it owed is void.
    NewBoot,
    /// Seen before, of an earlier process, empty, or not needed. A correct author's batch may become that.
    Ignored,
    /// More than a batch may hold.
    Oversize,
    /// A commitment of the live pool, or twice the same in one batch.
    Repeated,
}

/// The commitments of one author that nobody has used yet.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Pool {
    /// Number of the author's process; none before its first batch.
    pub boot: Option<u64>,
    /// Batches below this number no longer count.
    pub next_index: u64,
    /// Commitments of the first batch that are used already.
    pub cursor: u32,
    /// Batches with unused commitments, as they were stored when they came.
    pub batches: VecDeque<(u64, StoredBatch)>,
    unused: BTreeSet<NonceCommitment>,
}

/// A batch as its row holds it: written once, deleted when used up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct StoredBatch {
    /// Round of the block that carried it, to name the block as evidence.
    pub round: u64,
    pub commitments: Vec<NonceCommitment>,
}

/// The next unused commitment of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    pub nonce: NonceRef,
    /// The batch has no commitment left: its row can go.
    pub used_up: bool,
}

impl Pool {
    pub fn unused(&self) -> usize {
        self.unused.len()
    }

    pub fn refill(&mut self, round: u64, batch: NonceBatch) -> Refill {
        if batch.commitments.len() > MAX_NONCE_BATCH {
            return Refill::Oversize;
        }
        let same_boot = self.boot == Some(batch.boot);
        let is_old = self.boot > Some(batch.boot) || (same_boot && batch.index < self.next_index);
        let Some(next_index) = batch.index.checked_add(1).filter(|_| !is_old && !batch.commitments.is_empty()) else {
            return Refill::Ignored;
        };
        let fresh: BTreeSet<_> = batch.commitments.iter().copied().collect();
        if fresh.len() < batch.commitments.len() || (same_boot && !fresh.is_disjoint(&self.unused)) {
            return Refill::Repeated;
        }
        if !same_boot {
            *self = Self { boot: Some(batch.boot), ..Self::default() };
        }
        self.next_index = next_index;
        let mut commitments = batch.commitments;
        commitments.truncate(MAX_UNUSED_NONCES.saturating_sub(self.unused()));
        if !commitments.is_empty() {
            self.push(batch.index, StoredBatch { round, commitments });
        }
        if same_boot { Refill::Accepted } else { Refill::NewBoot }
    }

    /// Puts a batch at the end: of those accepted, or read back at the start with `cursor` set.
    pub fn push(&mut self, index: u64, batch: StoredBatch) {
        let used = if self.batches.is_empty() { self.cursor as usize } else { 0 };
        self.unused.extend(batch.commitments.iter().skip(used));
        self.batches.push_back((index, batch));
    }

    /// The next unused commitment, and the round of the block that carried it.
    pub fn peek(&self) -> Option<(NonceCommitment, u64)> {
        let (_, batch) = self.batches.front()?;
        Some((batch.commitments[self.cursor as usize], batch.round))
    }

    pub fn take(&mut self) -> Option<Taken> {
        let (index, batch) = self.batches.front()?;
        let commitment = batch.commitments[self.cursor as usize];
        let boot = self.boot.expect("a batch sets it");
        let mut taken = Taken { nonce: NonceRef { boot, index: *index, offset: self.cursor }, used_up: false };
        self.unused.remove(&commitment);
        self.cursor += if planted(Mutant::NonceTwice) { 0 } else { 1 };
        if self.cursor as usize == batch.commitments.len() {
            taken.used_up = true;
            self.batches.pop_front();
            self.cursor = 0;
        }
        Some(taken)
    }

    /// Indices of the batches that have rows.
    pub fn stored(&self) -> impl Iterator<Item = u64> {
        self.batches.iter().map(|(index, _)| *index)
    }
}

/// All pools by author.
pub(super) type Pools = BTreeMap<ReplicaId, Pool>;
