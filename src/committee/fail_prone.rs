//! Families of sets that may fail together, named by classes of replicas.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{CommitteeError, Formula, ReplicaId, ReplicaSet};
use crate::limits::{MAX_FAIL_PRONE_SETS, MAX_FAIL_PRONE_UNIONS};

/// What may fail together: a set of one of the terms. A term's sets are unions of a set of each of its parts ("any one site
/// *and* any one operating system"). Subsets of what may fail may fail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailProne(pub Vec<Vec<Part>>);

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Part {
    /// Any so many replicas.
    Replicas(u8),
    /// Any so many of the classes, each as a whole.
    Classes { count: u8, classes: Vec<ReplicaSet> },
}

impl FailProne {
    /// f, if the family is "any f replicas".
    pub fn as_threshold(&self) -> Option<usize> {
        match self.0.as_slice() {
            [term] => match term.as_slice() {
                [Part::Replicas(count)] => Some(usize::from(*count)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The sets that are in no other, ascending.
    pub fn maximal_sets(&self, everybody: ReplicaSet) -> Result<Vec<ReplicaSet>, CommitteeError> {
        let mut sets = BTreeSet::new();
        for term in &self.0 {
            sets.extend(unions(term, everybody)?);
        }
        let maximal = maximal(&sets);
        if maximal.iter().all(|set| set.is_empty()) {
            return Err(CommitteeError::NothingFails);
        }
        if maximal.len() > MAX_FAIL_PRONE_SETS {
            return Err(CommitteeError::TooMany { limit: MAX_FAIL_PRONE_SETS, what: "sets that may fail together" });
        }
        Ok(maximal)
    }

    /// A formula that is true of the sets that are in none of the family, with few leaves: from the terms, or else from
    /// the `maximal` sets, one member outside each. `None` if there is no such set.
    pub fn kernels(&self, everybody: ReplicaSet, maximal: &[ReplicaSet]) -> Option<Formula> {
        let all_of = |inputs: Vec<Formula>| Formula::gate(inputs.len(), inputs);
        let outside = maximal.iter().map(|&set| Formula::threshold(1, everybody.difference(set).iter()));
        let of_sets = all_of(outside.collect::<Option<_>>()?)?;
        let terms = self.0.iter().map(|term| {
            let mut parts: Vec<&Part> = term.iter().collect();
            parts.sort_by_key(|part| part.choices(everybody));
            outside_of_all(&parts, everybody)
        });
        let of_terms = terms.collect::<Option<Vec<_>>>().and_then(all_of);
        let leaves = |formula: &Formula| formula.leaves().len();
        Some(of_terms.filter(|formula| leaves(formula) <= leaves(&of_sets)).unwrap_or(of_sets))
    }
}

impl Part {
    /// How many maximal sets there are, at most.
    fn choices(&self, everybody: ReplicaSet) -> usize {
        let (of, count) = match self {
            Self::Replicas(count) => (everybody.len(), *count),
            Self::Classes { count, classes } => (classes.len(), *count),
        };
        let count = usize::from(count).min(of);
        (0..count).try_fold(1usize, |product, at| Some(product.checked_mul(of - at)? / (at + 1))).unwrap_or(usize::MAX)
    }

    /// Its sets, with all replicas of as many classes as may fail.
    fn sets(&self, everybody: ReplicaSet) -> Result<Vec<ReplicaSet>, CommitteeError> {
        let singles: Vec<ReplicaSet>;
        let (count, classes) = match self {
            Self::Replicas(count) => {
                singles = everybody.iter().map(|id| [id].into_iter().collect()).collect();
                (*count, &singles)
            }
            Self::Classes { count, classes } => (*count, classes),
        };
        for class in classes {
            if class.is_empty() {
                return Err(CommitteeError::EmptyClass);
            }
            if let Some(stranger) = class.difference(everybody).iter().next() {
                return Err(CommitteeError::Stranger(stranger, everybody.len() - 1));
            }
        }
        if self.choices(everybody) > MAX_FAIL_PRONE_UNIONS {
            return Err(too_many_unions());
        }
        let mut sets = vec![(0, ReplicaSet::EMPTY)];
        for _ in 0..usize::from(count).min(classes.len()) {
            let further = |(from, set): (usize, ReplicaSet)| {
                (from..classes.len()).map(move |at| (at + 1, set.union(classes[at])))
            };
            sets = sets.into_iter().flat_map(further).collect();
        }
        Ok(sets.into_iter().map(|(_, set)| set).collect())
    }

    /// True of the sets that have a member outside of all its sets, among `left` only. `None` if there is none.
    fn outside(&self, left: ReplicaSet) -> Option<Formula> {
        match self {
            Self::Replicas(count) => Formula::threshold(usize::from(*count) + 1, left.iter()),
            Self::Classes { count, classes } if are_disjoint(classes) => {
                let members =
                    classes.iter().filter_map(|&class| Formula::threshold(1, class.intersection(left).iter()));
                let several = Formula::gate(usize::from(*count) + 1, members.collect());
                let classified = classes.iter().fold(ReplicaSet::EMPTY, |all, &class| all.union(class));
                let safe = left.difference(classified).iter().map(Formula::Replica);
                Formula::gate(1, several.into_iter().chain(safe).collect())
            }
            Self::Classes { .. } => {
                let sets = self.sets(left.union(self.members())).ok()?;
                let outside = sets.iter().map(|&set| Formula::threshold(1, left.difference(set).iter()));
                let inputs: Vec<Formula> = outside.collect::<Option<_>>()?;
                Formula::gate(inputs.len(), inputs)
            }
        }
    }

    fn members(&self) -> ReplicaSet {
        match self {
            Self::Replicas(_) => ReplicaSet::EMPTY,
            Self::Classes { classes, .. } => classes.iter().fold(ReplicaSet::EMPTY, |all, &class| all.union(class)),
        }
    }
}

/// True of the sets that are in no union of a set of each part, among `left` only: whichever set of the first part is taken
/// away, what is left is in no union of the others'.
fn outside_of_all(parts: &[&Part], left: ReplicaSet) -> Option<Formula> {
    let (first, rest) = parts.split_first()?;
    if rest.is_empty() {
        return first.outside(left);
    }
    let sets = first.sets(left.union(first.members())).ok()?;
    let inputs: Vec<Formula> =
        sets.into_iter().map(|set| outside_of_all(rest, left.difference(set))).collect::<Option<_>>()?;
    Formula::gate(inputs.len(), inputs)
}

fn unions(term: &[Part], everybody: ReplicaSet) -> Result<BTreeSet<ReplicaSet>, CommitteeError> {
    let mut unions = BTreeSet::from([ReplicaSet::EMPTY]);
    for part in term {
        let sets = part.sets(everybody)?;
        if unions.len().saturating_mul(sets.len()) > MAX_FAIL_PRONE_UNIONS {
            return Err(too_many_unions());
        }
        unions = unions.iter().flat_map(|union| sets.iter().map(|set| union.union(*set))).collect();
    }
    Ok(unions)
}

fn too_many_unions() -> CommitteeError {
    CommitteeError::TooMany { limit: MAX_FAIL_PRONE_UNIONS, what: "ways in which replicas may fail together" }
}

fn are_disjoint(classes: &[ReplicaSet]) -> bool {
    let members = classes.iter().fold(ReplicaSet::EMPTY, |all, &class| all.union(class));
    classes.iter().map(|class| class.len()).sum::<usize>() == members.len()
}

/// Those of the sets that are in no other, ascending.
pub(super) fn maximal<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> Vec<ReplicaSet> {
    let mut largest_first: Vec<ReplicaSet> = sets.into_iter().copied().collect();
    largest_first.sort_by_key(|set| (std::cmp::Reverse(set.len()), *set));
    let mut maximal: Vec<ReplicaSet> = Vec::new();
    for set in largest_first {
        if !maximal.iter().any(|&larger| set.is_subset(larger)) {
            maximal.push(set);
        }
    }
    maximal.sort_unstable();
    maximal
}

/// Used by tests and messages: the ids of a class.
impl From<&[u8]> for ReplicaSet {
    fn from(ids: &[u8]) -> Self {
        ids.iter().copied().map(ReplicaId).collect()
    }
}
