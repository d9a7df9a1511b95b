//! Who the replicas are, and which sets of them count.
//!
//! Quorums are predicates, never numbers (Cachin, *Distributing Trust on the Internet*, DSN 2001, §4): `is_quorum(set)`
//! holds if all but a set that may fail are in it; `is_kernel(set)` if it holds at least one correct replica, whichever
//! set failed. With n = 3f + 1 these are n − f and f + 1. What may fail together is any f replicas, any whose weights
//! add up to no more than so much, or a family of sets named by classes ([`FailProne`]).
//!
//! A committee is made only if no three sets that may fail cover everybody (Q3, without which there is no agreement),
//! and if its keys can be shared; whoever writes one down also checks that the order makes progress on it ([`check`]).
//! A signing key is shared by number alone, any t of n, where t is one more than the largest set that may fail. That is
//! sound, since no such set has t shares; and it is live, since those that are left when one fails have at least t: n −
//! (t − 1) ≥ t.

pub mod check;
mod fail_prone;
mod formula;
mod text;

use std::fmt;
use std::sync::Arc;

pub use fail_prone::{FailProne, Part};
pub use formula::Formula;
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_REPLICAS, MAX_SHARES_PER_REPLICA, MAX_SHARING_ROWS, MAX_WEIGHT};
use crate::mutants::{Mutant, planted};

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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
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

    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn is_subset(self, of: Self) -> bool {
        self.0 & !of.0 == 0
    }

    /// The first `count` replicas.
    pub fn first(count: usize) -> Self {
        (0..count as u8).map(ReplicaId).collect()
    }

    pub fn iter(self) -> impl Iterator<Item = ReplicaId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let lowest = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (lowest < u64::BITS).then_some(ReplicaId(lowest as u8))
        })
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

/// The replicas and the sets of them that may fail together. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Encoded", into = "Encoded")]
pub struct Committee {
    replicas: u8,
    structure: Structure,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Structure {
    /// Any `faults` replicas.
    Threshold {
        faults: u8,
    },
    /// Any replicas whose weights add up to at most `faults`.
    Weights {
        weights: Arc<[u8]>,
        faults: u16,
    },
    General(Arc<General>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct General {
    written: FailProne,
    /// The maximal sets, ascending.
    maximal: Vec<ReplicaSet>,
    kernels: Formula,
}

/// A committee as bytes: what it was made from.
#[derive(Serialize, Deserialize)]
enum Encoded {
    Threshold { replicas: u8, faults: u8 },
    Weights { weights: Vec<u8>, faults: u16 },
    General { replicas: u8, fail_prone: FailProne },
}

impl From<Committee> for Encoded {
    fn from(committee: Committee) -> Self {
        let replicas = committee.replicas;
        match committee.structure {
            Structure::Threshold { faults } => Self::Threshold { replicas, faults },
            Structure::Weights { weights, faults } => Self::Weights { weights: weights.to_vec(), faults },
            Structure::General(general) => Self::General { replicas, fail_prone: general.written.clone() },
        }
    }
}

impl TryFrom<Encoded> for Committee {
    type Error = CommitteeError;

    fn try_from(encoded: Encoded) -> Result<Self, CommitteeError> {
        match encoded {
            Encoded::Threshold { replicas, faults } => Self::threshold(replicas.into(), faults.into()),
            Encoded::Weights { weights, faults } => Self::weighted(&weights, faults),
            Encoded::General { replicas, fail_prone } => Self::general(replicas.into(), fail_prone),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommitteeError {
    #[error(
        "{0} replicas: at least 4 are needed to stand one fault (n = 3f + 1), and at most {MAX_REPLICAS} are possible"
    )]
    Size(usize),
    #[error("nothing may fail: let at least one replica, else there is no need for several")]
    NothingFails,
    #[error(
        "three sets that may fail together cover every replica (Q3 of Cachin, §4.1, is violated): {0:?}, {1:?} and \
         {2:?}. Add replicas, or let less fail at a time"
    )]
    NotQ3(ReplicaSet, ReplicaSet, ReplicaSet),
    #[error("weights of {total} in all stand less than a third of it failing: {faults} is too much (3f < total)")]
    WeightOfFaults { total: u32, faults: u16 },
    #[error("a weight is from 1 to {MAX_WEIGHT}: {0} is not")]
    Weight(u8),
    #[error("{0} is named as a replica that may fail, of replicas 0 to {1}")]
    Stranger(ReplicaId, usize),
    #[error("a class without replicas")]
    EmptyClass,
    #[error("more than {limit} {what}: name fewer or larger classes")]
    TooMany { limit: usize, what: &'static str },
    #[error(
        "the order may stop for good: when {failed:?} are corrupt, a network that holds back messages at will can keep every \
         leader from being committed ({argument}). Add a replica to a class, or let less fail at a time",
        argument = "no correct replica's block is sure to be in the history of all votes; see the liveness condition of the order"
    )]
    NoCore { failed: ReplicaSet },
    #[error(
        "whether the order makes progress on this structure was not decided in {0} steps: use fewer or larger classes, \
         weights, or a threshold"
    )]
    Undecided(u64),
    #[error(
        "{largest:?} may fail together, so signing keys need {needed} shares, but only {left} replicas are left when they do: \
         add replicas outside that set"
    )]
    Signing { largest: ReplicaSet, needed: usize, left: usize },
}

impl Committee {
    /// `n` replicas, of which as many may fail as n ≥ 3f + 1 allows. n = 4, 7, 10… use every replica.
    pub fn new(n: usize) -> Result<Self, CommitteeError> {
        Self::threshold(n, n.saturating_sub(1) / 3)
    }

    /// `n` replicas, of which any `f` may fail together.
    pub fn threshold(n: usize, f: usize) -> Result<Self, CommitteeError> {
        let replicas = size(n)?;
        if f == 0 {
            return Err(CommitteeError::NothingFails);
        }
        if n <= 3 * f {
            let part = |at: usize| (at * f..((at + 1) * f).min(n)).map(|id| ReplicaId(id as u8)).collect();
            return Err(CommitteeError::NotQ3(part(0), part(1), part(2)));
        }
        Ok(Self { replicas, structure: Structure::Threshold { faults: f as u8 } })
    }

    /// A replica for each of `weights`; any may fail together whose weights add up to at most `faults`.
    pub fn weighted(weights: &[u8], faults: u16) -> Result<Self, CommitteeError> {
        let replicas = size(weights.len())?;
        if let Some(&weight) = weights.iter().find(|&&weight| !(1..=MAX_WEIGHT).contains(&usize::from(weight))) {
            return Err(CommitteeError::Weight(weight));
        }
        if weights.iter().all(|&weight| u16::from(weight) > faults) {
            return Err(CommitteeError::NothingFails);
        }
        let total: u32 = weights.iter().map(|&weight| u32::from(weight)).sum();
        if total <= 3 * u32::from(faults) {
            return Err(check::three_bins(weights, faults)
                .map_or(CommitteeError::WeightOfFaults { total, faults }, |[a, b, c]| CommitteeError::NotQ3(a, b, c)));
        }
        if total as usize > MAX_SHARING_ROWS {
            return Err(CommitteeError::TooMany { limit: MAX_SHARING_ROWS, what: "units of weight" });
        }
        Self { replicas, structure: Structure::Weights { weights: weights.into(), faults } }.that_signs()
    }

    /// `n` replicas and the family of sets of them that may fail together.
    pub fn general(n: usize, fail_prone: FailProne) -> Result<Self, CommitteeError> {
        let replicas = size(n)?;
        if let Some(f) = fail_prone.as_threshold() {
            return Self::threshold(n, f);
        }
        let everybody = ReplicaSet::first(n);
        let maximal = fail_prone.maximal_sets(everybody)?;
        check::q3(everybody, &maximal)?;
        let kernels = fail_prone.kernels(everybody, &maximal).ok_or(CommitteeError::NothingFails)?;
        let leaves = kernels.leaves();
        if leaves.len() > MAX_SHARING_ROWS {
            return Err(CommitteeError::TooMany { limit: MAX_SHARING_ROWS, what: "shares of each key" });
        }
        if everybody.iter().any(|id| leaves.iter().filter(|&&leaf| leaf == id).count() > MAX_SHARES_PER_REPLICA) {
            return Err(CommitteeError::TooMany {
                limit: MAX_SHARES_PER_REPLICA,
                what: "shares of one key at one replica",
            });
        }
        let general = General { written: fail_prone, maximal, kernels };
        Self { replicas, structure: Structure::General(Arc::new(general)) }.that_signs()
    }

    /// Refuses a structure on which the order may stop for good. A search for some seconds at most, made where a structure
    /// is written down: once keys are dealt, it has passed.
    pub fn check_progress(&self) -> Result<(), CommitteeError> {
        match &self.structure {
            Structure::General(general) => check::core(self.everybody(), &general.maximal),
            Structure::Threshold { .. } | Structure::Weights { .. } => Ok(()),
        }
    }

    /// The committee, if signing keys shared by number are live on it.
    fn that_signs(self) -> Result<Self, CommitteeError> {
        let largest = self.largest_fail_prone();
        let (needed, left) = (largest.len() + 1, self.len() - largest.len());
        if left < needed {
            return Err(CommitteeError::Signing { largest, needed, left });
        }
        Ok(self)
    }

    pub fn len(&self) -> usize {
        usize::from(self.replicas)
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// How many replicas may fail together, at most.
    pub fn faults(&self) -> usize {
        self.largest_fail_prone().len()
    }

    pub fn ids(&self) -> impl Iterator<Item = ReplicaId> + Clone + use<> {
        (0..self.replicas).map(ReplicaId)
    }

    pub fn everybody(&self) -> ReplicaSet {
        ReplicaSet::first(self.len())
    }

    pub fn contains(&self, id: ReplicaId) -> bool {
        id.0 < self.replicas
    }

    /// The complement may fail: waiting for such a set never blocks, and any two of them share a correct replica.
    pub fn is_quorum(&self, set: ReplicaSet) -> bool {
        match &self.structure {
            Structure::Threshold { faults } => {
                set.len() + usize::from(*faults) + usize::from(planted(Mutant::QuorumOffByOne)) >= self.len()
            }
            _ => !self.is_kernel(self.everybody().difference(set)),
        }
    }

    /// At least one member is correct.
    pub fn is_kernel(&self, set: ReplicaSet) -> bool {
        match &self.structure {
            Structure::Threshold { faults } => {
                set.len() + usize::from(planted(Mutant::KernelOffByOne)) > usize::from(*faults)
            }
            Structure::Weights { weights, faults } => {
                let weight = |id: ReplicaId| weights.get(id.index()).map_or(0, |&weight| u32::from(weight));
                set.iter().map(weight).sum::<u32>() > u32::from(*faults)
            }
            Structure::General(general) => !general.maximal.iter().any(|&failed| set.is_subset(failed)),
        }
    }

    /// True of the quorums.
    pub fn quorum_formula(&self) -> Formula {
        self.kernel_formula().dual()
    }

    /// True of the kernels.
    pub fn kernel_formula(&self) -> Formula {
        match &self.structure {
            Structure::Threshold { faults } => {
                Formula::threshold(usize::from(*faults) + 1, self.ids()).expect("1 ≤ f + 1 ≤ n")
            }
            Structure::Weights { weights, faults } => {
                let units = self.ids().flat_map(|id| (0..weights[id.index()]).map(move |_| id));
                Formula::threshold(usize::from(*faults) + 1, units).expect("the faults weigh less than all")
            }
            Structure::General(general) => general.kernels.clone(),
        }
    }

    /// Whether any `f` may fail, and nothing else: then keys are shared by number alone.
    pub fn is_threshold(&self) -> bool {
        matches!(self.structure, Structure::Threshold { .. })
    }

    /// The maximal sets that may fail together, unless they go by number or weight.
    pub fn fail_prone_sets(&self) -> Option<&[ReplicaSet]> {
        match &self.structure {
            Structure::General(general) => Some(&general.maximal),
            Structure::Threshold { .. } | Structure::Weights { .. } => None,
        }
    }

    /// How many must say the same to be believed: for messages to people.
    pub fn kernel_in_words(&self) -> String {
        if self.is_threshold() {
            self.kernel_threshold().to_string()
        } else {
            "set with a correct replica in it".into()
        }
    }

    /// Shares that make a signature, whose key is shared by number alone: one more than may fail together.
    pub fn signing_threshold(&self) -> usize {
        self.faults() + 1
    }

    /// Whether the members hold enough shares for a signature.
    pub fn can_sign(&self, set: ReplicaSet) -> bool {
        set.len() >= self.signing_threshold()
    }

    /// A set of the most replicas that may fail together.
    fn largest_fail_prone(&self) -> ReplicaSet {
        match &self.structure {
            Structure::Threshold { faults } => ReplicaSet::first((*faults).into()),
            Structure::Weights { weights, faults } => {
                let mut lightest: Vec<ReplicaId> = self.ids().collect();
                lightest.sort_by_key(|id| weights[id.index()]);
                let mut left = u32::from(*faults);
                let fits = |id: &ReplicaId| {
                    let rest = left.checked_sub(weights[id.index()].into());
                    left = rest.unwrap_or(left);
                    rest.is_some()
                };
                lightest.into_iter().take_while(fits).collect()
            }
            Structure::General(general) => {
                general.maximal.iter().copied().max_by_key(|set| set.len()).unwrap_or_default()
            }
        }
    }

    /// Shares that reconstruct a secret held by quorums, with a threshold. For dealing keys only; protocols ask
    /// [`Self::is_quorum`].
    pub fn quorum_threshold(&self) -> usize {
        self.len() - self.faults()
    }

    /// Shares that reconstruct a secret held by kernels, with a threshold. For dealing keys only; protocols ask
    /// [`Self::is_kernel`].
    pub fn kernel_threshold(&self) -> usize {
        self.faults() + 1
    }
}

fn size(n: usize) -> Result<u8, CommitteeError> {
    if !(4..=MAX_REPLICAS).contains(&n) {
        return Err(CommitteeError::Size(n));
    }
    Ok(n as u8)
}

/// What may fail together, as it is written in a cluster file.
impl fmt::Display for Committee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.structure {
            Structure::Threshold { faults } => write!(f, "any {faults} of {} replicas", self.replicas),
            Structure::Weights { weights, faults } => {
                write!(
                    f,
                    "replicas that weigh up to {faults} of {}",
                    weights.iter().map(|&w| u32::from(w)).sum::<u32>()
                )
            }
            Structure::General(general) => general.written.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
