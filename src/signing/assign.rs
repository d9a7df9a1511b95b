//! Who signs: at the end of each commit, what is open is assigned and what is overdue assigned anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::nonces::{NonceRef, Taken};
use super::scheduler::{Event, Fault, FaultKind, Scheduler};
use super::task::{Assignment, Attempt, KeyId, State, TaskId};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::hash;
use crate::crypto::frost::{CheckedCommitment, FrostPublic};
use crate::limits::{MAX_DEADLINE_DOUBLINGS, SHARE_DEADLINE_ROUNDS};

const DRAW_DOMAIN: &str = "torrens v1 draw of signers";

/// Deadline of a certificate task that needs more shares for no fault of those who have not answered yet.
pub(super) const AT_ONCE: u64 = 0;

/// What the end of a commit brings.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Step {
    pub assignments: Vec<Assignment>,
    pub events: Vec<Event>,
}

/// The facts that a step draws on.
struct Lot<'a> {
    round: u64,
    coin: &'a [u8; 32],
    alive: ReplicaSet,
}

impl Scheduler {
    /// Ends a commit. `round` is the committed leader's and grows; `coin` was unknown before that leader was fixed; `alive`
    /// are the replicas lately seen in the order.
    pub fn step(&mut self, round: u64, coin: &[u8; 32], alive: ReplicaSet) -> Step {
        let lot = Lot { round, coin, alive };
        let mut step = Step::default();
        self.call_in_overdue(&lot, &mut step);
        for id in std::mem::take(&mut self.to_demote).iter() {
            self.demote(id, round);
        }
        self.assign_rsa(&lot, &mut step);
        let assigned = self.assign_frost(&lot, &mut step);
        self.probe(&lot, &assigned, &mut step);
        step
    }

    /// Whoever has not answered by the deadline is demoted.
    fn call_in_overdue(&mut self, lot: &Lot, step: &mut Step) {
        while let Some(&(deadline, id)) = self.book.deadlines.first() {
            if deadline > lot.round {
                break;
            }
            self.dirty.tasks.insert(id);
            let missing: ReplicaSet = match &self.book.tasks[&id].state {
                State::Frost(state) => {
                    let current = state.current.expect("a deadline is the current attempt's");
                    state.live[&current].missing().collect()
                }
                State::Rsa(_) if deadline == AT_ONCE => ReplicaSet::EMPTY,
                State::Rsa(state) => state.missing(),
            };
            self.to_demote = self.to_demote.union(missing);
            self.book.give_up_current(id);
            self.ask_everybody_else(id, deadline, step);
        }
    }

    /// A certificate task whose first signers did not do: all shares count, so all replicas are asked.
    fn ask_everybody_else(&mut self, id: TaskId, deadline: u64, step: &mut Step) {
        let task = self.book.tasks.get_mut(&id).expect("deadlines are of tasks that exist");
        let State::Rsa(state) = &mut task.state else { return };
        self.book.deadlines.remove(&(deadline, id));
        state.deadline = None;
        let number = task.attempts_made;
        for other in self.committee.ids().filter(|other| !state.asked.contains_key(other)).collect::<Vec<_>>() {
            state.asked.insert(other, number);
            self.book.owed.entry(other).or_default().insert((id, number));
        }
        task.attempts_made = number.saturating_add(1);
        step.assignments.push(self.assignment(id, number));
    }

    /// Takes a replica off the preferred signers, and assigns anew in this step whatever waits for it.
    fn demote(&mut self, id: ReplicaId, round: u64) {
        self.book.standing(id).demote(round);
        self.dirty.cursors = true;
        let owed: Vec<_> = self.book.owed[&id].iter().copied().collect();
        for (task, attempt) in owed {
            if self.book.frost(task).is_some_and(|state| state.current == Some(attempt)) {
                self.book.give_up_current(task);
                self.dirty.tasks.insert(task);
            }
        }
    }

    fn assign_rsa(&mut self, lot: &Lot, step: &mut Step) {
        while let Some(id) = self.book.waiting_rsa.pop_first() {
            let mut asked = ReplicaSet::EMPTY;
            for candidate in self.preference(lot, id, 0) {
                if !self.committee.can_sign(asked) {
                    asked.insert(candidate);
                }
            }
            let deadline = lot.round.saturating_add(SHARE_DEADLINE_ROUNDS);
            let task = self.book.tasks.get_mut(&id).expect("waiting tasks exist");
            let State::Rsa(state) = &mut task.state else { unreachable!("a queue of certificate tasks") };
            state.deadline = Some(deadline);
            let number = task.attempts_made;
            task.attempts_made = number.saturating_add(1);
            for signer in asked.iter() {
                state.asked.insert(signer, number);
                self.book.owed.entry(signer).or_default().insert((id, number));
            }
            self.book.deadlines.insert((deadline, id));
            self.dirty.tasks.insert(id);
            step.assignments.push(self.assignment(id, number));
        }
    }

    /// Assigns waiting zone tasks, oldest first, while enough signers have nonces. Gives those assigned.
    fn assign_frost(&mut self, lot: &Lot, step: &mut Step) -> Vec<TaskId> {
        let mut assigned = Vec::new();
        while let Some(&id) = self.book.waiting.first() {
            let number = self.book.tasks[&id].attempts_made;
            let Some(signers) = self.draw(lot, id, number, None, step) else { break };
            let distance = SHARE_DEADLINE_ROUNDS << number.min(MAX_DEADLINE_DOUBLINGS);
            let deadline = Some(lot.round.saturating_add(distance));
            let attempt = Attempt { signers, shares: BTreeMap::new(), deadline, probe_of: None };
            let number = self.book.insert_attempt(id, attempt);
            self.dirty.tasks.insert(id);
            step.assignments.push(self.assignment(id, number));
            assigned.push(id);
        }
        assigned
    }

    /// Gives demoted replicas whose time has come a chance to serve: a further attempt at a task assigned just now.
    fn probe(&mut self, lot: &Lot, assigned: &[TaskId], step: &mut Step) {
        let due: Vec<ReplicaId> = self
            .book
            .demoted()
            .iter()
            .filter(|&id| self.book.standings[&id].is_probe_due(lot.round) && lot.alive.contains(id))
            .collect();
        for (&id, probed) in assigned.iter().cycle().zip(due) {
            let number = self.book.tasks[&id].attempts_made;
            let Some(signers) = self.draw(lot, id, number, Some(probed), step) else { continue };
            let attempt = Attempt { signers, shares: BTreeMap::new(), deadline: None, probe_of: Some(probed) };
            let number = self.book.insert_attempt(id, attempt);
            self.dirty.tasks.insert(id);
            self.dirty.cursors = true;
            if let Some((old, attempt)) = self.book.standing(probed).start_probe(lot.round, id, number) {
                self.book.release_probe(old, attempt);
                self.dirty.tasks.insert(old);
            }
            step.assignments.push(self.assignment(id, number));
        }
    }

    /// Signers of one attempt with a nonce of each, the preferred ones first and `included` in any case; none if
    /// too few have nonces.
    fn draw(
        &mut self,
        lot: &Lot,
        task: TaskId,
        attempt: u32,
        included: Option<ReplicaId>,
        step: &mut Step,
    ) -> Option<BTreeMap<ReplicaId, (NonceRef, CheckedCommitment)>> {
        let with_nonces = self.book.pools.iter().filter(|(_, pool)| pool.unused() > 0).map(|(&id, _)| id);
        if !self.committee.can_sign(with_nonces.collect()) {
            return None;
        }
        let KeyId::Zone(zone) = &self.book.tasks[&task].key else { unreachable!("nonces are for zone tasks") };
        let key = Arc::clone(&self.keys[zone]);
        let order = self.preference(lot, task, attempt).into_iter().filter(|&id| Some(id) != included);
        let mut chosen = BTreeMap::new();
        for id in included.into_iter().chain(order) {
            if let Some(checked) = self.peek_checked(id, lot.round, &key, step) {
                chosen.insert(id, checked);
            } else if Some(id) == included {
                return None;
            }
            if self.committee.can_sign(chosen.keys().copied().collect()) {
                return Some(chosen.into_iter().map(|(id, checked)| (id, (self.take(id).nonce, checked))).collect());
            }
        }
        None
    }

    /// The next commitment of a replica as points. One that is no commitment is used up, and its author to blame: it
    /// must not reach a package, where correct signers could not answer it.
    fn peek_checked(
        &mut self,
        id: ReplicaId,
        round: u64,
        key: &FrostPublic,
        step: &mut Step,
    ) -> Option<CheckedCommitment> {
        let (commitment, ordered_in) = self.book.pools[&id].peek()?;
        if let Ok(checked) = key.check(commitment) {
            return Some(checked);
        }
        self.take(id);
        self.demote(id, round);
        let bytes = [commitment.hiding, commitment.binding].concat();
        let kind = FaultKind::BadCommitment;
        step.events.push(Event::Fault(Fault { culprit: id, kind, round: ordered_in, answer_to: None, bytes }));
        None
    }

    fn take(&mut self, id: ReplicaId) -> Taken {
        let taken = self.book.pools.get_mut(&id).and_then(|pool| pool.take()).expect("seen by peek");
        if taken.used_up {
            self.dirty.batches.insert((id, taken.nonce.index));
        }
        self.dirty.cursors = true;
        taken
    }

    /// All replicas: first those alive and in good standing, then the demoted, then those not seen lately; within each
    /// group as the coin draws.
    fn preference(&self, lot: &Lot, task: TaskId, attempt: u32) -> Vec<ReplicaId> {
        let demoted = self.book.demoted();
        let mut order: Vec<ReplicaId> = self.committee.ids().collect();
        shuffle(&mut order, lot.coin, task, attempt);
        order.sort_by_key(|&id| (!lot.alive.contains(id), demoted.contains(id)));
        order
    }
}

/// Fisher–Yates, by a hash of the coin. The bias of `word % k` is below 2⁻⁵⁷.
fn shuffle(ids: &mut [ReplicaId], coin: &[u8; 32], task: TaskId, attempt: u32) {
    let mut words = (0u32..).flat_map(|counter| {
        let parts: [&[u8]; 4] = [coin, &task.0.to_be_bytes(), &attempt.to_be_bytes(), &counter.to_be_bytes()];
        let digest = hash(DRAW_DOMAIN, &parts).0;
        let word = |at: usize| u64::from_be_bytes(digest[at..at + 8].try_into().expect("8 bytes"));
        [word(0), word(8), word(16), word(24)]
    });
    for last in (1..ids.len()).rev() {
        let word = words.next().expect("endless");
        ids.swap(last, (word % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_is_frozen() {
        let mut ids: Vec<_> = (0..7).map(ReplicaId).collect();
        shuffle(&mut ids, &[7; 32], TaskId(3), 1);
        assert_eq!(ids.iter().map(|id| id.0).collect::<Vec<_>>(), [5, 4, 3, 1, 2, 0, 6]);
    }

    #[test]
    fn the_draw_favours_nobody() {
        let mut first = [0u32; 4];
        for task in 0..4000 {
            let mut ids: Vec<_> = (0..4).map(ReplicaId).collect();
            shuffle(&mut ids, &[1; 32], TaskId(task), 0);
            first[ids[0].index()] += 1;
        }
        assert!(first.iter().all(|&count| (850..1150).contains(&count)), "{first:?}");
    }
}
