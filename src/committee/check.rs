//! Whether a structure carries the order: Q3 for its safety, a common core for its liveness.
//!
//! **Q3** (Cachin, §4.1): no three sets that may fail cover everybody. It is what the commit rule's safety rests on: two
//! quorums share a member outside any set that may fail.
//!
//! **Core.** The order's liveness argument (module `order`) counts, with thresholds, how many blocks of round r are sure
//! to be in the history of every vote. Counting does not carry over to sets (Amores-Sesar, Cachin, Villacis and Zanolini,
//! arXiv 2505.17891, show how it goes wrong with asymmetric trust), so the argument is made again here and its condition
//! is decided for each structure.
//!
//! Let F be corrupt, a maximal set, and C the others. When anybody can know the coin of round r, a quorum released
//! shares of it, so a correct replica holds blocks of a quorum of round r + 3, thus its past those of quorums of rounds
//! r + 2 and r + 1. Let U ⊆ C be the correct authors of round r + 2 whose blocks are fixed by then: U ∪ F holds a
//! quorum. The leader's author is drawn; let L ∈ C be it. Every vote for L's slot, fixed or made later by a scheduler
//! who knows the coin, is a block of round r + 3 and has a quorum of parents in round r + 2; it meets U in a block with
//! L in its past unless a quorum is inside F, what is not fixed, and the blocks in U without L in their past. That is:
//!
//! - L is *sure* if the u ∈ U with L in their past form a kernel. Then every vote has L's block in its history and, since
//!   L is correct and has one block, supports it; it is committed directly.
//! - u has L in its past unless all its correct parents of round r + 1 lack L: these are C without some set G_u that may
//!   fail, at the least. A correct block of round r + 1 lacks a set F_t that may fail, at the most.
//!
//! The condition: *for every F, every U, and every choice of G_u and F_t, some L ∈ C is sure.* Each wave then commits a
//! leader with probability at least 1/n for each slot, against a scheduler who adapts to everything but the coin. Fewer
//! corrupt replicas, larger U and larger quorums only help, so maximal F and minimal U suffice, and G_u, F_t maximal.
//!
//! The scheduler wins if it can spoil all L at once: for each L choose a set W ⊆ U, minimal with U ∖ W in some set that may
//! fail (within C), such that all correct parents of members of W lack L. Write A_u for the L with u ∈ W. Then A_u must be
//! within F_t for each t ∉ G_u; and since two quorums share a correct member, A_u ∪ A_v must be within one set that may
//! fail for all u, v. The search first distributes the L under this last rule, which hardly ever can be done, and then
//! tries the G_u. It is exact, and bounded by [`MAX_CORE_STEPS`]; above the bound the structure is refused as
//! undecided.
//!
//! It is not needed where a distribution of weight over C gives less than half of it to each set that may fail. Proof,
//! already for the stronger demand that the t with L form a kernel: else for each L there is a G_L with L ∈ F_t for all
//! t ∉ G_L; draw t and L from the distribution; always t ∈ G_L or L ∈ F_t, each less likely than half. So thresholds and
//! weights with 3f < total need no search: what may fail weighs at most f, and C at least total − f > 2f.
//!
//! Q3 alone does not suffice for the stronger demand: take for C the seven points of the Fano plane, one more replica
//! that may fail, and the complements of the lines. The condition above holds there. With wave length four there is a
//! round less and only the stronger demand would do; it fails for 4 sites × 4 operating systems. Structures run with
//! wave length five.

use super::fail_prone::maximal;
use super::{CommitteeError, ReplicaId, ReplicaSet};
use crate::limits::{MAX_CORE_STEPS, MAX_REPLICAS};

/// Refuses three sets that cover everybody.
pub fn q3(everybody: ReplicaSet, maximal: &[ReplicaSet]) -> Result<(), CommitteeError> {
    for (at, &first) in maximal.iter().enumerate() {
        for (second_at, &second) in maximal.iter().enumerate().skip(at) {
            let left = everybody.difference(first.union(second));
            if let Some(&third) = maximal[second_at..].iter().find(|&&third| left.is_subset(third)) {
                return Err(CommitteeError::NotQ3(first, second, third));
            }
        }
    }
    Ok(())
}

/// Three sets of weight up to `faults` that cover everybody, if putting the heaviest first finds them.
pub(super) fn three_bins(weights: &[u8], faults: u16) -> Option<[ReplicaSet; 3]> {
    let mut heaviest: Vec<usize> = (0..weights.len()).collect();
    heaviest.sort_by_key(|&at| std::cmp::Reverse(weights[at]));
    let (mut bins, mut full) = ([ReplicaSet::EMPTY; 3], [0u32; 3]);
    for at in heaviest {
        let weight = u32::from(weights[at]);
        let bin = (0..3).find(|&bin| full[bin] + weight <= u32::from(faults))?;
        full[bin] += weight;
        bins[bin].insert(ReplicaId(at as u8));
    }
    Some(bins)
}

/// Refuses a structure that satisfies Q3 but lets a scheduler spoil every leader.
pub fn core(everybody: ReplicaSet, sets: &[ReplicaSet]) -> Result<(), CommitteeError> {
    let mut steps = 0;
    let table = FailProneTable::new(everybody, sets);
    for &failed in sets {
        let correct = everybody.difference(failed);
        let within = maximal(&sets.iter().map(|set| set.intersection(correct)).collect::<Vec<_>>());
        if within.iter().all(|set| 2 * set.len() < correct.len()) {
            continue;
        }
        let leaders: Vec<ReplicaId> = correct.iter().collect();
        for &late in &within {
            let fixed = correct.difference(late);
            let spoilers: Vec<ReplicaSet> = within.iter().map(|&set| fixed.difference(set)).collect();
            let mut search = Search {
                table: &table,
                within: &within,
                correct: &leaders,
                members: &fixed.iter().collect::<Vec<_>>(),
                spoilers: minimal(&spoilers),
                lost: [ReplicaSet::EMPTY; MAX_REPLICAS],
                lacking: [ReplicaSet::EMPTY; MAX_REPLICAS],
                steps: &mut steps,
            };
            if search.spoil(&leaders)? {
                return Err(CommitteeError::NoCore { failed });
            }
        }
    }
    Ok(())
}

/// Answers at once which sets may fail, where there are few enough to list them.
struct FailProneTable<'a> {
    sets: &'a [ReplicaSet],
    /// By the set as a number; empty if there are too many.
    listed: Vec<bool>,
}

impl<'a> FailProneTable<'a> {
    fn new(everybody: ReplicaSet, sets: &'a [ReplicaSet]) -> Self {
        const LARGEST: usize = 16;
        let mut listed = Vec::new();
        if everybody.len() <= LARGEST {
            listed = (0..1u64 << everybody.len()).map(|bits| any_holds(sets, ReplicaSet(bits))).collect();
        }
        Self { sets, listed }
    }

    fn holds(&self, set: ReplicaSet) -> bool {
        self.listed.get(set.0 as usize).copied().unwrap_or_else(|| any_holds(self.sets, set))
    }
}

fn any_holds(sets: &[ReplicaSet], set: ReplicaSet) -> bool {
    sets.iter().any(|&larger| set.is_subset(larger))
}

/// The search for a scheduler's choices that spoil every leader, for one F and one U.
struct Search<'a> {
    table: &'a FailProneTable<'a>,
    /// Maximal sets that may fail, within C.
    within: &'a [ReplicaSet],
    correct: &'a [ReplicaId],
    /// U.
    members: &'a [ReplicaId],
    /// The choices for W.
    spoilers: Vec<ReplicaSet>,
    /// A_u, by u.
    lost: [ReplicaSet; MAX_REPLICAS],
    /// What each t must lack.
    lacking: [ReplicaSet; MAX_REPLICAS],
    steps: &'a mut u64,
}

impl Search<'_> {
    fn may_fail(&self, set: ReplicaSet) -> bool {
        self.table.holds(set)
    }

    fn step(&mut self) -> Result<(), CommitteeError> {
        *self.steps += 1;
        if *self.steps > MAX_CORE_STEPS { Err(CommitteeError::Undecided(MAX_CORE_STEPS)) } else { Ok(()) }
    }

    fn lost(&self, member: ReplicaId) -> ReplicaSet {
        self.lost[member.index()]
    }

    /// Chooses a W for each of `leaders`.
    fn spoil(&mut self, leaders: &[ReplicaId]) -> Result<bool, CommitteeError> {
        self.step()?;
        let Some((&leader, rest)) = leaders.split_first() else {
            let members = self.members.iter().copied().filter(|&member| !self.lost(member).is_empty());
            let members: Vec<ReplicaId> = members.collect();
            self.lacking = [ReplicaSet::EMPTY; MAX_REPLICAS];
            return self.hide(&members);
        };
        for at in 0..self.spoilers.len() {
            let spoiler = self.spoilers[at];
            spoiler.iter().for_each(|member| _ = self.lost[member.index()].insert(leader));
            let fits =
                |member| self.members.iter().all(|&other| self.may_fail(self.lost(member).union(self.lost(other))));
            if spoiler.iter().all(fits) && self.spoil(rest)? {
                return Ok(true);
            }
            spoiler.iter().for_each(|member| self.lost[member.index()].remove(leader));
        }
        Ok(false)
    }

    /// Chooses G_u for each of `members`, so that their other parents can lack all they must.
    fn hide(&mut self, members: &[ReplicaId]) -> Result<bool, CommitteeError> {
        self.step()?;
        let Some((&member, rest)) = members.split_first() else { return Ok(true) };
        for &left_out in self.within {
            let before = self.lacking;
            for &parent in self.correct.iter().filter(|&&parent| !left_out.contains(parent)) {
                let lacks = &mut self.lacking[parent.index()];
                *lacks = lacks.union(self.lost[member.index()]);
            }
            let fits = self.correct.iter().all(|&parent| self.may_fail(self.lacking[parent.index()]));
            if fits && self.hide(rest)? {
                return Ok(true);
            }
            self.lacking = before;
        }
        Ok(false)
    }
}

/// Those of the sets that have no other inside.
fn minimal(sets: &[ReplicaSet]) -> Vec<ReplicaSet> {
    let all = ReplicaSet::first(MAX_REPLICAS);
    let complements: Vec<ReplicaSet> = sets.iter().map(|&set| all.difference(set)).collect();
    maximal(&complements).into_iter().map(|set| all.difference(set)).collect()
}
