//! Who the replicas are, and which sets of them count.
//!
//! Quorums are predicates, never numbers (Cachin, *Distributing Trust on the Internet*, §4): `is_quorum(set)` holds if
//! the set is the complement of a set that may fail; `is_kernel(set)` if it holds at least one correct replica. With
//! n = 3f + 1 these are n − f and f + 1; general failure structures come through the same two doors.

mod formula;

use std::fmt;

pub use formula::Formula;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_REPLICAS;

/// Index of a replica, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u8);

impl ReplicaId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica-{}", self.0)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// A set of replicas.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplicaSet(u64);

impl ReplicaSet {
    pub const EMPTY: Self = Self(0);

    pub fn insert(&mut self, id: ReplicaId) -> bool {
        let before = self.0;
        self.0 |= 1 << id.0;
        self.0 != before
    }

    pub fn remove(&mut self, id: ReplicaId) {
        self.0 &= !(1 << id.0);
    }

    pub fn contains(self, id: ReplicaId) -> bool {
        self.0 >> id.0 & 1 == 1
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = ReplicaId> {
        (0..MAX_REPLICAS as u8).map(ReplicaId).filter(move |&id| self.contains(id))
    }
}

impl FromIterator<ReplicaId> for ReplicaSet {
    fn from_iter<I: IntoIterator<Item = ReplicaId>>(ids: I) -> Self {
        let mut set = Self::EMPTY;
        for id in ids {
            set.insert(id);
        }
        set
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The replicas and the sets of them that may fail together: any `f` of `n`, with n ≥ 3f + 1.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Committee {
    replicas: u8,
    faults: u8,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommitteeError {
    #[error(
        "{0} replicas: at least 4 are needed to stand one fault (n = 3f + 1), and at most {MAX_REPLICAS} are possible"
    )]
    Size(usize),
}

impl Committee {
    /// `n` replicas, of which as many may fail as n ≥ 3f + 1 allows. n = 4, 7, 10… use every replica.
    pub fn new(n: usize) -> Result<Self, CommitteeError> {
        if !(4..=MAX_REPLICAS).contains(&n) {
            return Err(CommitteeError::Size(n));
        }
        Ok(Self { replicas: n as u8, faults: ((n - 1) / 3) as u8 })
    }

    pub fn len(&self) -> usize {
        usize::from(self.replicas)
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// Replicas that may fail together.
    pub fn faults(&self) -> usize {
        usize::from(self.faults)
    }

    pub fn ids(&self) -> impl Iterator<Item = ReplicaId> + Clone + use<> {
        (0..self.replicas).map(ReplicaId)
    }

    pub fn contains(&self, id: ReplicaId) -> bool {
        id.0 < self.replicas
    }

    /// The complement may fail: waiting for such a set never blocks, and any two of them share a correct replica.
    pub fn is_quorum(&self, set: ReplicaSet) -> bool {
        set.len() >= self.quorum_threshold()
    }

    /// At least one member is correct.
    pub fn is_kernel(&self, set: ReplicaSet) -> bool {
        set.len() >= self.kernel_threshold()
    }

    /// True of the quorums.
    pub fn quorum_formula(&self) -> Formula {
        Formula::threshold(self.quorum_threshold(), self.ids()).expect("1 ≤ n − f ≤ n")
    }

    /// True of the kernels.
    pub fn kernel_formula(&self) -> Formula {
        Formula::threshold(self.kernel_threshold(), self.ids()).expect("1 ≤ f + 1 ≤ n")
    }

    /// Shares that reconstruct a secret held by quorums. For dealing keys only; protocols ask [`Self::is_quorum`].
    pub fn quorum_threshold(&self) -> usize {
        self.len() - self.faults()
    }

    /// Shares that reconstruct a secret held by kernels. For dealing keys only; protocols ask [`Self::is_kernel`].
    pub fn kernel_threshold(&self) -> usize {
        self.faults() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u8]) -> ReplicaSet {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn any_two_quorums_share_a_kernel() {
        for n in 4..=13usize {
            let committee = Committee::new(n).unwrap();
            let overlap = 2 * committee.quorum_threshold() - n;
            assert!(overlap >= committee.kernel_threshold(), "n = {n}");
        }
    }

    #[test]
    fn four_replicas_stand_one_fault() {
        let committee = Committee::new(4).unwrap();
        assert!(committee.is_quorum(set(&[0, 1, 3])));
        assert!(!committee.is_quorum(set(&[0, 3])));
        assert!(committee.is_kernel(set(&[0, 3])));
        assert!(!committee.is_kernel(set(&[2])));
    }

    #[test]
    fn fewer_than_four_replicas_are_refused() {
        assert_eq!(Committee::new(3), Err(CommitteeError::Size(3)));
    }
}
