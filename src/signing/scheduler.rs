//! Signing tasks as a replicated state machine: the same inputs give the same signatures, bytes and rows everywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::book::{Book, Dirty};
use super::nonces::{NonceBatch, Pool, Refill};
use super::task::{Assignment, FrostState, KeyId, Role, RsaState, State, Task, TaskId};
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::frost::FrostPublic;
use crate::directory::name::Name;

/// The certificate key's scheme, as far as scheduling needs it.
pub trait RsaCombiner: Send + Sync {
    /// The signature of `message`, checked, from the shares of a kernel or more; or else whose shares are proved bad.
    /// A culprit is named only if its share fails its proof; every share handed in stays good or bad for good.
    fn combine(&self, message: &[u8], shares: &BTreeMap<ReplicaId, Vec<u8>>) -> Result<Vec<u8>, Vec<ReplicaId>>;
}

/// What the order brought about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Signed { task: TaskId, signature: Vec<u8> },
    Fault(Fault),
}

/// A replica's misdeed, and where to find it: the block of `culprit` in `round` carries `bytes` under its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub culprit: ReplicaId,
    pub kind: FaultKind,
    pub round: u64,
    /// The task and attempt that the share answers; none for faults of nonce batches.
    pub answer_to: Option<(TaskId, u32)>,
    /// The share, or the commitment.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// A share that was asked for and is not the answer.
    BadShare,
    /// A commitment that is not two points in canonical form, neither of them of small order.
    BadCommitment,
    /// A commitment twice in a pool.
    RepeatedCommitment,
    /// More commitments in one batch than allowed.
    OversizeBatch,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no key is known for {0:?}")]
pub struct UnknownKey(pub KeyId);

/// The replicated state of all signing.
///
/// For each commit, in this order: [`Self::on_nonces`] and [`Self::on_shares`] for each block, [`Self::open`] for what
/// the commit made due, and [`Self::step`] once; then [`Self::take_rows`].
#[derive(Clone)]
pub struct Scheduler {
    pub(super) committee: Committee,
    pub(super) keys: BTreeMap<Name, Arc<FrostPublic>>,
    pub(super) authority: Option<Arc<dyn RsaCombiner>>,
    pub(super) book: Book,
    pub(super) dirty: Dirty,
    /// Demotions of this commit, carried out by `step`: empty between commits.
    pub(super) to_demote: ReplicaSet,
}

impl Scheduler {
    pub fn new(
        committee: Committee,
        keys: BTreeMap<Name, FrostPublic>,
        authority: Option<Arc<dyn RsaCombiner>>,
    ) -> Self {
        Self {
            book: Book::new(&committee),
            committee,
            keys: keys.into_iter().map(|(zone, key)| (zone, Arc::new(key))).collect(),
            authority,
            dirty: Dirty::default(),
            to_demote: ReplicaSet::EMPTY,
        }
    }

    /// Opens a task: `message` is what the signature will be of, whatever happens afterwards.
    pub fn open(&mut self, key: KeyId, message: Vec<u8>) -> Result<TaskId, UnknownKey> {
        let state = match &key {
            KeyId::Zone(zone) if self.keys.contains_key(zone) => State::Frost(FrostState::default()),
            KeyId::Authority if self.authority.is_some() => State::Rsa(RsaState::default()),
            _ => return Err(UnknownKey(key)),
        };
        let id = TaskId(self.book.next_task);
        self.book.next_task += 1;
        match state {
            State::Frost(_) => self.book.waiting.insert(id),
            State::Rsa(_) => self.book.waiting_rsa.insert(id),
        };
        self.book.tasks.insert(id, Task { key, message: message.into(), attempts_made: 0, state });
        self.dirty.tasks.insert(id);
        self.dirty.cursors = true;
        Ok(id)
    }

    /// An ordered batch of commitments, from the block of `author` in `round`.
    pub fn on_nonces(&mut self, author: ReplicaId, round: u64, batch: NonceBatch) -> Vec<Event> {
        let Some(pool) = self.book.pools.get_mut(&author) else { return Vec::new() };
        let before: Vec<u64> = pool.stored().collect();
        let index = batch.index;
        let first = batch.commitments.first().copied();
        let outcome = pool.refill(round, batch);
        let fault = |kind| {
            let bytes = first.map(|it| [it.hiding, it.binding].concat()).unwrap_or_default();
            vec![Event::Fault(Fault { culprit: author, kind, round, answer_to: None, bytes })]
        };
        match outcome {
            Refill::Ignored => return Vec::new(),
            Refill::Oversize => return fault(FaultKind::OversizeBatch),
            Refill::Repeated => return fault(FaultKind::RepeatedCommitment),
            Refill::Accepted => {}
            Refill::NewBoot => {
                self.dirty.batches.extend(before.into_iter().map(|index| (author, index)));
                self.void_attempts_of(author);
            }
        }
        self.dirty.batches.insert((author, index));
        self.dirty.cursors = true;
        Vec::new()
    }

    /// The nonces of the author's earlier process are gone: packages that wait for them will never complete. Restarting
    /// is no fault, but a signer that does it with work in hand is put behind the others until it has served again.
    fn void_attempts_of(&mut self, author: ReplicaId) {
        let owed: Vec<_> = self.book.owed[&author].iter().copied().collect();
        for (task, attempt) in owed {
            if self.book.frost(task).is_some() {
                self.book.remove_attempt(task, attempt);
                self.book.release_probe(task, attempt);
                self.dirty.tasks.insert(task);
                self.to_demote.insert(author);
            }
        }
    }

    /// Tasks without a signature yet. Rounds are due while there are any.
    pub fn pending(&self) -> usize {
        self.book.tasks.len() - self.book.done.len()
    }

    /// Commitments of `author` that are ordered and not yet assigned.
    pub fn unused_nonces(&self, author: ReplicaId) -> usize {
        self.book.pools.get(&author).map_or(0, Pool::unused)
    }

    /// The highest boot number ordered from `author`: its next process takes a higher one, or is not heard.
    pub fn boot_of(&self, author: ReplicaId) -> Option<u64> {
        self.book.pools.get(&author)?.boot
    }

    /// Batches of `author`'s present boot below this number are ordered or lost.
    pub fn next_index_of(&self, author: ReplicaId) -> u64 {
        self.book.pools.get(&author).map_or(0, |pool| pool.next_index)
    }

    /// Replicas that signers are drawn from only if there are not enough others.
    pub fn demoted(&self) -> ReplicaSet {
        self.book.demoted()
    }

    /// Shares of `author` that nobody asked for.
    pub fn unassigned_shares(&self, author: ReplicaId) -> u64 {
        self.book.standings.get(&author).map_or(0, |standing| standing.unassigned)
    }

    /// Whether `id` has been asked for this share, and it has not come.
    pub fn owes(&self, id: ReplicaId, task: TaskId, attempt: u32) -> bool {
        self.book.owed.get(&id).is_some_and(|owed| owed.contains(&(task, attempt)))
    }

    /// What `me` has been asked for and has not answered in the order: to be answered after a restart. The nonces of zone
    /// packages died with the process; certificate shares can be made again.
    pub fn open_assignments_of(&self, me: ReplicaId) -> Vec<Assignment> {
        let Some(owed) = self.book.owed.get(&me) else { return Vec::new() };
        owed.iter().map(|&(task, attempt)| self.assignment(task, attempt)).collect()
    }

    /// The assignment with this number, which is live.
    pub(super) fn assignment(&self, id: TaskId, number: u32) -> Assignment {
        let task = &self.book.tasks[&id];
        let role = match &task.state {
            State::Frost(state) => Role::Frost(state.live[&number].signers.clone()),
            State::Rsa(state) => {
                Role::Rsa(state.asked.iter().filter(|(_, attempt)| **attempt == number).map(|(&id, _)| id).collect())
            }
        };
        let (key, message) = (task.key.clone(), Arc::clone(&task.message));
        Assignment { task: id, attempt: number, key, message, role }
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("book", &self.book).finish_non_exhaustive()
    }
}
