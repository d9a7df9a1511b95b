//! The order of the blocks inside one committed leader's history, and the time they are executed at. Pure functions of
//! that history: no block outside it, and nothing about when anything arrived here, is looked at.
//!
//! Fair order: who sees a registration and covets it must not get a rival one ordered first by making, timing or dating
//! blocks as it likes. Let V be the registration's block, of round r, and X the rival's, and let correct replicas get V
//! before X. (1) Whoever has V has a quorum of blocks of round r − 1 and makes its block of round r at once, if it has not:
//! that one does not lead to X. So no correct replica leads to X with a block below round r + 1, where V is a parent, too;
//! whatever round X bears, in a history that holds these blocks it arrives no earlier than V. (2) A leader whose history is
//! ordered whole was timely ([`super::dag`]): a correct replica led to it with its block of the next round, so X is no such
//! leader of a round below r. A late leader orders what arrived two rounds before its own or earlier, nothing else: neither
//! itself nor what only its author's friends had. (3) Between equals the coin decides. What is left nobody can tell from a
//! slow link: to claim not to have V yet, and to be one of f who vouch for each other.
//!
//! What this does not exclude: "at once" is after the write to disk of the block before, and X may come in that moment
//! (the races' world writes in no time, so they do not measure it); and a leader's author picks which n − f blocks of the
//! round before it leads to, so with luck it finds f + 1 correct ones of which some lack V (raced, and no gain is seen). A
//! late leader could pick with hindsight: that is why it orders nothing that arrived in its own round or the one before,
//! since each block that it leads to leads itself to a quorum of those.
//!
//! Known limit: a rival so near to everybody that X comes *before* V can gain a round by dating X one round back, for a
//! slow replica may still need it for its block of round r, of which V can be no parent. The races of `tests/races.rs`
//! measure both.
//!
//! *Arrival round* of a block B: the lowest round ρ such that the authors of those blocks in the history that have B in
//! their past and a round of at most ρ form a kernel. At least one correct replica had B when it made its block of round ρ
//! or below, so an author gains nothing by giving a late block an early round. What has none counts as of the leader's
//! round if the leader orders its whole history; what a late leader does not order waits for a later one. A block's
//! past arrived no later than itself, so what is ordered is closed under causes, whichever leaders were late. Blocks
//! are ordered by arrival round. Among equals causes come before effects, and blocks whose causes are all out are taken
//! by the author's place in a permutation drawn from the leader's coin, which nobody knew when the blocks were made.

use std::collections::{BTreeMap, BTreeSet};

use super::dag::{Dag, Handle};
use super::decide::Extent;
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::coin::CoinValue;
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::mutants::{Mutant, planted};

/// What a leader orders of `history`, in the order of execution. `history` is the leader's past without what earlier
/// leaders settled.
pub(super) fn order(
    dag: &Dag,
    committee: &Committee,
    (leader, extent): (Handle, Extent),
    coin: &CoinValue,
    history: BTreeSet<Handle>,
) -> Vec<Handle> {
    let mut rank = vec![0; committee.len()];
    for (place, author) in coin.permutation("torrens v1 order in a commit", committee).into_iter().enumerate() {
        rank[author.index()] = if planted(Mutant::FixedAuthorPriority) { author.index() } else { place };
    }
    let ordered = |arrival: Option<u64>| match extent {
        Extent::Whole => Some(arrival.unwrap_or(leader.round)),
        Extent::Arrived => arrival.filter(|round| round + 2 <= leader.round),
    };
    let mut groups: BTreeMap<u64, Vec<Handle>> = BTreeMap::new();
    for (block, arrival) in arrival_rounds(dag, committee, &history) {
        let Some(arrival) = ordered(arrival) else { continue };
        let round = if planted(Mutant::OrderByOwnRound) { block.round } else { arrival };
        groups.entry(round).or_default().push(block);
    }
    groups.into_values().flat_map(|group| causes_first(dag, group, &rank)).collect()
}

fn arrival_rounds(dag: &Dag, committee: &Committee, history: &BTreeSet<Handle>) -> BTreeMap<Handle, Option<u64>> {
    // For each block and author, the lowest round at which the author has a block with it in its past.
    let never = vec![u64::MAX; committee.len()];
    let mut seen: BTreeMap<Handle, Vec<u64>> = history.iter().map(|&block| (block, never.clone())).collect();
    let mut arrival = BTreeMap::new();
    // From the top down, so that a block's own row is complete when it is handed to its parents.
    for &block in history.iter().rev() {
        let mut row = seen.remove(&block).expect("every block of the history has a row");
        arrival.insert(block, kernel_round(committee, &row));
        row[block.author.index()] = row[block.author.index()].min(block.round);
        for parent in dag.body(block).into_iter().flat_map(|body| &body.parents) {
            if let Some(parent_row) = seen.get_mut(parent) {
                for (lowest, round) in parent_row.iter_mut().zip(&row) {
                    *lowest = (*lowest).min(*round);
                }
            }
        }
    }
    arrival
}

/// The lowest round by which the authors form a kernel.
fn kernel_round(committee: &Committee, rounds: &[u64]) -> Option<u64> {
    let seen = rounds.iter().zip(0u8..).filter(|(round, _)| **round != u64::MAX);
    lowest_of_a_kernel(committee, seen.map(|(&round, author)| (round, ReplicaId(author))).collect())
}

/// The least value such that the authors with values up to it form a kernel.
pub(super) fn lowest_of_a_kernel<T: Ord + Copy>(committee: &Committee, mut values: Vec<(T, ReplicaId)>) -> Option<T> {
    values.sort_unstable();
    let mut authors = ReplicaSet::EMPTY;
    values.into_iter().find_map(|(value, author)| {
        authors.insert(author);
        committee.is_kernel(authors).then_some(value)
    })
}

/// The blocks of `group` so that parents come before children; among ready ones the author's rank decides.
fn causes_first(dag: &Dag, group: Vec<Handle>, rank: &[usize]) -> Vec<Handle> {
    let mut waiting: BTreeMap<Handle, usize> = group.iter().map(|&block| (block, 0)).collect();
    let mut children: BTreeMap<Handle, Vec<Handle>> = BTreeMap::new();
    for &block in &group {
        for &parent in dag.body(block).into_iter().flat_map(|body| &body.parents) {
            if waiting.contains_key(&parent) {
                children.entry(parent).or_default().push(block);
                *waiting.get_mut(&block).expect("of this group") += 1;
            }
        }
    }
    // Twins of one slot have equal rank and round: their digests decide, never the order in which they came.
    let digest = |block| if planted(Mutant::TwinsByArrival) { Digest([0; 32]) } else { dag.reference(block).digest };
    let key = |block: Handle| (rank[block.author.index()], block.round, digest(block), block);
    let mut ready: BTreeSet<_> = group.iter().filter(|block| waiting[block] == 0).map(|&block| key(block)).collect();
    let mut ordered = Vec::with_capacity(group.len());
    while let Some((.., block)) = ready.pop_first() {
        ordered.push(block);
        for child in children.remove(&block).unwrap_or_default() {
            let parents = waiting.get_mut(&child).expect("of this group");
            *parents -= 1;
            if *parents == 0 {
                ready.insert(key(child));
            }
        }
    }
    ordered
}

/// The time that a leader's commit is executed at, from its parents of the round before: the smallest t such that the
/// authors who stamped at most t form a kernel. One of them is correct, so t is not before every correct clock; the
/// parents are a quorum, so it holds a kernel of correct authors and t is not after all of theirs. Never less than `last`.
pub(super) fn agreed_time(dag: &Dag, committee: &Committee, leader: Handle, last: Timestamp) -> Timestamp {
    let parents = dag.body(leader).into_iter().flat_map(|body| &body.parents);
    let stamps: Vec<(Timestamp, ReplicaId)> = parents
        .filter(|parent| parent.round + 1 == leader.round)
        .filter_map(|parent| Some((dag.body(*parent)?.timestamp, parent.author)))
        .collect();
    let all = || stamps.iter().map(|(stamp, _)| *stamp);
    if planted(Mutant::TimeIsMaximum) {
        return all().max().map_or(last, |time| time.max(last));
    }
    if planted(Mutant::TimeIsMean) {
        let mean = all().map(|stamp| stamp.0 / stamps.len() as u64).sum();
        return last.max(Timestamp(mean));
    }
    let monotone = |time: Timestamp| if planted(Mutant::TimeNotMonotone) { time } else { time.max(last) };
    lowest_of_a_kernel(committee, stamps).map_or(last, monotone)
}
