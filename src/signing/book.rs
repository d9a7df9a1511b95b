//! The scheduler's state: tasks, pools, standings, and the indices that keep every step in proportion to what changed.

use std::collections::{BTreeMap, BTreeSet};

use super::nonces::Pools;
use super::standing::Standing;
use super::task::{Attempt, FrostState, State, Task, TaskId};
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::limits::MAX_LIVE_ATTEMPTS;

/// Everything that follows from the order alone. `tasks`, `pools` and `standings` are stored; the rest is derived.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Book {
    pub next_task: u64,
    pub tasks: BTreeMap<TaskId, Task>,
    pub pools: Pools,
    pub standings: BTreeMap<ReplicaId, Standing>,
    /// Zone tasks without a current attempt.
    pub waiting: BTreeSet<TaskId>,
    /// Certificate tasks that nobody has been asked for yet.
    pub waiting_rsa: BTreeSet<TaskId>,
    /// Round from which a task's current attempt is overdue.
    pub deadlines: BTreeSet<(u64, TaskId)>,
    /// Shares that were asked for and have not come, by signer.
    pub owed: BTreeMap<ReplicaId, BTreeSet<(TaskId, u32)>>,
    /// Signed tasks that are kept for a probe.
    pub done: BTreeSet<TaskId>,
}

/// Which rows differ from what was last taken.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Dirty {
    pub tasks: BTreeSet<TaskId>,
    pub batches: BTreeSet<(ReplicaId, u64)>,
    pub cursors: bool,
}

impl Book {
    pub fn new(committee: &Committee) -> Self {
        Self {
            next_task: 0,
            tasks: BTreeMap::new(),
            pools: committee.ids().map(|id| (id, Default::default())).collect(),
            standings: committee.ids().map(|id| (id, Default::default())).collect(),
            waiting: BTreeSet::new(),
            waiting_rsa: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            owed: committee.ids().map(|id| (id, Default::default())).collect(),
            done: BTreeSet::new(),
        }
    }

    pub fn frost(&mut self, id: TaskId) -> Option<&mut FrostState> {
        match &mut self.tasks.get_mut(&id)?.state {
            State::Frost(state) => Some(state),
            State::Rsa(_) => None,
        }
    }

    pub fn standing(&mut self, id: ReplicaId) -> &mut Standing {
        self.standings.get_mut(&id).expect("every replica of the committee has one")
    }

    /// Adds an attempt to a task, with its number. An attempt with a deadline becomes the current one.
    pub fn insert_attempt(&mut self, id: TaskId, attempt: Attempt) -> u32 {
        let task = self.tasks.get_mut(&id).expect("only open tasks are assigned");
        let number = task.attempts_made;
        task.attempts_made = number.checked_add(1).expect("each attempt takes a round: not 2³² of them");
        for signer in attempt.missing() {
            self.owed.entry(signer).or_default().insert((id, number));
        }
        let state = self.frost(id).expect("only zone tasks have attempts");
        let deadline = attempt.deadline;
        state.live.insert(number, attempt);
        if let Some(deadline) = deadline {
            state.current = Some(number);
            self.deadlines.insert((deadline, id));
            self.waiting.remove(&id);
        }
        self.drop_oldest(id);
        number
    }

    /// Keeps the number of attempts of one task bounded.
    fn drop_oldest(&mut self, id: TaskId) {
        let Some(state) = self.frost(id) else { return };
        if state.live.len() > MAX_LIVE_ATTEMPTS {
            let current = state.current;
            let oldest = state.live.keys().copied().find(|&number| Some(number) != current);
            self.remove_attempt(id, oldest.expect("more than one attempt is live"));
        }
    }

    /// Nobody waits for the current attempt any longer, though its shares still count when they come: the task is to be
    /// assigned anew.
    pub fn give_up_current(&mut self, id: TaskId) {
        let Some(state) = self.frost(id) else { return };
        let Some(number) = state.current.take() else { return };
        let attempt = state.live.get_mut(&number).expect("the current attempt is live");
        let deadline = attempt.deadline.take().expect("the current attempt has a deadline");
        self.deadlines.remove(&(deadline, id));
        self.waiting.insert(id);
    }

    /// Forgets an attempt that can never complete.
    pub fn remove_attempt(&mut self, id: TaskId, number: u32) {
        if self.frost(id).is_some_and(|state| state.current == Some(number)) {
            self.give_up_current(id);
        }
        let Some(attempt) = self.frost(id).and_then(|state| state.live.remove(&number)) else { return };
        for signer in attempt.signers.keys() {
            self.settle(*signer, id, number);
        }
    }

    /// The signer owes this share no longer.
    pub fn settle(&mut self, signer: ReplicaId, id: TaskId, attempt: u32) {
        if let Some(owed) = self.owed.get_mut(&signer) {
            owed.remove(&(id, attempt));
        }
    }

    /// The signature of a zone task is known: forgets all but the probes still unanswered.
    pub fn finish_frost(&mut self, id: TaskId) {
        self.give_up_current(id);
        self.waiting.remove(&id);
        let Some(state) = self.frost(id) else { return };
        state.done = true;
        let numbers: Vec<u32> = state.live.keys().copied().collect();
        self.done.insert(id);
        for number in numbers {
            if !self.is_probe_open(id, number) {
                self.remove_attempt(id, number);
            }
        }
        self.forget_if_done(id);
    }

    fn is_probe_open(&mut self, id: TaskId, number: u32) -> bool {
        let Some(attempt) = self.frost(id).and_then(|state| state.live.get(&number)) else { return false };
        let Some(probed) = attempt.probe_of else { return false };
        attempt.owes(probed) && self.standing(probed).probe == Some((id, number))
    }

    /// Ends a probe: a signed task was kept for its sake only.
    pub fn release_probe(&mut self, id: TaskId, number: u32) {
        if self.done.contains(&id) {
            self.remove_attempt(id, number);
            self.forget_if_done(id);
        }
    }

    fn forget_if_done(&mut self, id: TaskId) {
        if self.done.contains(&id) && self.frost(id).is_some_and(|state| state.live.is_empty()) {
            self.done.remove(&id);
            self.tasks.remove(&id);
        }
    }

    /// The signature of a certificate task is known.
    pub fn finish_rsa(&mut self, id: TaskId) {
        let Some(Task { state: State::Rsa(state), .. }) = self.tasks.remove(&id) else { return };
        for (signer, attempt) in state.asked {
            self.settle(signer, id, attempt);
        }
        if let Some(deadline) = state.deadline {
            self.deadlines.remove(&(deadline, id));
        }
    }

    /// Replicas that are demoted at present.
    pub fn demoted(&self) -> ReplicaSet {
        self.standings.iter().filter(|(_, standing)| standing.demoted).map(|(&id, _)| id).collect()
    }
}
