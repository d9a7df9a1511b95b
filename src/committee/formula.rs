//! Monotone formulas of threshold gates: the form in which a structure is shared out (`crypto::lsss`).

use super::{ReplicaId, ReplicaSet};

/// A monotone formula over the replicas. A set satisfies it if it is true when the replicas of the set are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Formula {
    Replica(ReplicaId),
    /// True if at least `needed` of `inputs` are: OR with 1, AND with all. 1 ≤ needed ≤ inputs.
    Gate {
        needed: usize,
        inputs: Vec<Formula>,
    },
}

impl Formula {
    /// A gate that needs `needed` of `inputs`; `None` if no set or every set would satisfy it. One of one is that one.
    pub fn gate(needed: usize, mut inputs: Vec<Self>) -> Option<Self> {
        if needed == 0 || needed > inputs.len() {
            return None;
        }
        if inputs.len() == 1 {
            return inputs.pop();
        }
        Some(Self::Gate { needed, inputs })
    }

    /// Any `needed` of `replicas`.
    pub fn threshold(needed: usize, replicas: impl IntoIterator<Item = ReplicaId>) -> Option<Self> {
        Self::gate(needed, replicas.into_iter().map(Self::Replica).collect())
    }

    pub fn is_satisfied(&self, set: ReplicaSet) -> bool {
        match self {
            Self::Replica(id) => set.contains(*id),
            Self::Gate { needed, inputs } => inputs.iter().filter(|input| input.is_satisfied(set)).count() >= *needed,
        }
    }

    /// True of a set if and only if `self` is false of its complement: each gate needs one more than could be missing.
    #[must_use]
    pub fn dual(&self) -> Self {
        match self {
            Self::Replica(id) => Self::Replica(*id),
            Self::Gate { needed, inputs } => {
                let inputs: Vec<Self> = inputs.iter().map(Self::dual).collect();
                Self::Gate { needed: inputs.len() - needed + 1, inputs }
            }
        }
    }

    /// The replicas that the formula names, in its order, each as often as it is named.
    pub fn leaves(&self) -> Vec<ReplicaId> {
        match self {
            Self::Replica(id) => vec![*id],
            Self::Gate { inputs, .. } => inputs.iter().flat_map(Self::leaves).collect(),
        }
    }
}
