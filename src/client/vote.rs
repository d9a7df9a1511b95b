//! When an answer is believed: a kernel of replicas gave it, at heights not below one seen before. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::directory::Timestamp;
use crate::limits;
use crate::replica::report::Answer;

/// What a kernel of replicas said alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Agreed<T> {
    /// The greatest height that a kernel claims to have given this answer at or above: a correct replica did.
    pub height: u64,
    /// Likewise.
    pub agreed_time: Timestamp,
    pub body: T,
}

/// Answers to one question, gathered until a kernel of them is equal.
///
/// A replica may be asked several times while the directory moves on, so several of its answers count, each for its own
/// body only: every one that a correct replica gave was true after the question was asked.
pub struct Votes<T> {
    committee: Committee,
    floor: u64,
    bodies: Vec<(T, Voters)>,
    /// Replicas that answered at all, and the greatest height among answers refused for being too old.
    answered: ReplicaSet,
    too_old: Option<u64>,
}

/// Who gave an answer, at which height and agreed time at the latest.
type Voters = BTreeMap<ReplicaId, (u64, Timestamp)>;

impl<T: PartialEq> Votes<T> {
    /// Answers below `floor` will not count.
    pub fn new(committee: Committee, floor: u64) -> Self {
        Self { committee, floor, bodies: Vec::new(), answered: ReplicaSet::EMPTY, too_old: None }
    }

    pub fn cast(&mut self, from: ReplicaId, answer: Answer<T>) {
        self.answered.insert(from);
        if answer.height < self.floor {
            self.too_old = self.too_old.max(Some(answer.height));
            return;
        }
        let claim = (answer.height, answer.agreed_time);
        match self.bodies.iter_mut().find(|(body, _)| *body == answer.body) {
            Some((_, voters)) => {
                let last = voters.entry(from).or_insert(claim);
                *last = (*last).max(claim);
            }
            None => {
                self.forget_oldest_of(from);
                self.bodies.push((answer.body, BTreeMap::from([(from, claim)])));
            }
        }
    }

    /// The answer to believe, once a kernel gave it.
    pub fn agreed(&self) -> Option<Agreed<T>>
    where
        T: Clone,
    {
        self.latest(|voters| self.committee.is_kernel(voters))
    }

    /// The answer to believe, once a quorum gave it: then its height and time lie between those that correct replicas
    /// claim, while liars in a bare kernel can still make them look older.
    pub fn settled(&self) -> Option<Agreed<T>>
    where
        T: Clone,
    {
        self.latest(|voters| self.committee.is_quorum(voters))
    }

    /// Of the answers that enough replicas gave, the one at the greatest height.
    fn latest(&self, enough: impl Fn(ReplicaSet) -> bool) -> Option<Agreed<T>>
    where
        T: Clone,
    {
        let believed = self.bodies.iter().filter(|(_, voters)| enough(voters.keys().copied().collect()));
        let dated = believed.map(|(body, voters)| {
            let heights = voters.iter().map(|(&id, &(height, _))| (height, id)).collect();
            let times = voters.iter().map(|(&id, &(_, time))| (time, id)).collect();
            (reached(&self.committee, heights), reached(&self.committee, times), body)
        });
        let (height, agreed_time, body) = dated.max_by_key(|&(height, time, _)| (height, time))?;
        Some(Agreed { height, agreed_time, body: body.clone() })
    }

    /// Why there is none, in figures that hold whatever single replicas claim.
    pub fn why_not(&self) -> String {
        let replicas = self.committee.len();
        let need = self.committee.kernel_in_words();
        let mut why =
            format!("{} of {replicas} replicas answered, and no {need} of them said the same", self.answered.len());
        if let Some(height) = self.too_old {
            why +=
                &format!("; answers up to height {height} were left out, since height {} was seen before", self.floor);
        }
        why
    }

    /// Bounds what one replica can make us keep.
    fn forget_oldest_of(&mut self, id: ReplicaId) {
        if self.bodies.iter().filter(|(_, voters)| voters.contains_key(&id)).count() < limits::MAX_ANSWERS_PER_REPLICA {
            return;
        }
        if let Some((_, voters)) = self.bodies.iter_mut().find(|(_, voters)| voters.contains_key(&id)) {
            voters.remove(&id);
        }
        self.bodies.retain(|(_, voters)| !voters.is_empty());
    }
}

/// The greatest value that a kernel of the claimants reach. One liar more or less never lifts it above what some
/// correct replica claims.
fn reached<V: Ord + Copy>(committee: &Committee, mut claims: Vec<(V, ReplicaId)>) -> V {
    claims.sort_unstable();
    let mut set = ReplicaSet::EMPTY;
    let value = claims.iter().rev().find(|&&(_, id)| {
        set.insert(id);
        committee.is_kernel(set)
    });
    value.expect("the claimants are a kernel").0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(floor: u64) -> Votes<&'static str> {
        Votes::new(Committee::new(4).unwrap(), floor)
    }

    fn answer(height: u64, body: &'static str) -> Answer<&'static str> {
        Answer { height, agreed_time: Timestamp(height * 10), body }
    }

    #[test]
    fn fewer_than_a_kernel_are_never_believed() {
        let mut votes = votes(0);
        for height in 0..100 {
            votes.cast(ReplicaId(0), answer(height, "lie"));
            assert_eq!(votes.agreed(), None);
        }
        votes.cast(ReplicaId(1), answer(3, "truth"));
        assert_eq!(votes.agreed(), None);
    }

    #[test]
    fn no_liar_lifts_the_height_above_a_correct_replica() {
        let mut votes = votes(0);
        votes.cast(ReplicaId(0), answer(u64::MAX / 10, "same"));
        votes.cast(ReplicaId(1), answer(7, "same"));
        assert_eq!(votes.agreed(), Some(Agreed { height: 7, agreed_time: Timestamp(70), body: "same" }));
    }

    #[test]
    fn no_liar_in_a_quorum_lowers_the_height_below_every_correct_replica() {
        let mut votes = votes(0);
        votes.cast(ReplicaId(0), answer(0, "same"));
        votes.cast(ReplicaId(1), answer(7, "same"));
        assert_eq!(votes.settled(), None);
        votes.cast(ReplicaId(2), answer(8, "same"));
        assert_eq!(votes.settled().unwrap().height, 7);
    }

    #[test]
    fn the_height_is_the_greatest_that_a_kernel_reaches() {
        let mut votes = votes(0);
        for (id, height) in [(0, 3), (1, 9), (2, 8)] {
            votes.cast(ReplicaId(id), answer(height, "same"));
        }
        assert_eq!(votes.agreed().unwrap().height, 8);
    }

    #[test]
    fn answers_below_a_height_seen_do_not_count() {
        let mut votes = votes(10);
        votes.cast(ReplicaId(0), answer(9, "old"));
        votes.cast(ReplicaId(1), answer(9, "old"));
        votes.cast(ReplicaId(2), answer(10, "old"));
        assert_eq!(votes.agreed(), None);
        assert!(votes.why_not().contains("height 10 was seen before"), "{}", votes.why_not());
        votes.cast(ReplicaId(0), answer(10, "old"));
        assert!(votes.agreed().is_some());
    }

    #[test]
    fn answers_given_at_different_moments_still_meet() {
        let mut votes = votes(0);
        votes.cast(ReplicaId(0), answer(1, "before"));
        votes.cast(ReplicaId(0), answer(2, "after"));
        votes.cast(ReplicaId(1), answer(1, "before"));
        assert_eq!(votes.agreed().unwrap().body, "before");
    }

    #[test]
    fn one_replica_cannot_fill_the_memory() {
        let mut votes = Votes::new(Committee::new(4).unwrap(), 0);
        for height in 0..1000u64 {
            votes.cast(ReplicaId(2), Answer { height, agreed_time: Timestamp(0), body: height });
        }
        assert_eq!(votes.bodies.len(), limits::MAX_ANSWERS_PER_REPLICA);
    }
}
