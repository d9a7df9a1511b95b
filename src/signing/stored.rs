//! The scheduler's state as rows, and back.
//!
//! A task is one row, written when it is opened, assigned or answered and deleted when it is signed. A batch of
//! commitments is one row, written once and deleted when used up; how far it is used is a cursor in the one small row
//! that also holds the standings. Indices are derived when the rows are read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::book::{Book, Dirty};
use super::nonces::{NonceRef, StoredBatch};
use super::scheduler::Scheduler;
use super::standing::Standing;
use super::task::{Attempt, FrostState, KeyId, OrderedShare, RsaState, State, Task, TaskId};
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::frost::{FrostShare, NonceCommitment};
use crate::rows::{Row, Table, TableRows};

/// Key of the singleton in [`Table::Meta`].
pub const META_KEY: &[u8] = b"signing";

/// The rows are not what [`Scheduler::take_rows`] gave.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the stored state of signing is corrupt: {0}")]
pub struct CorruptRows(&'static str);

#[derive(Serialize, Deserialize)]
struct StoredTask {
    key: KeyId,
    #[serde(with = "crate::codec::bytes")]
    message: Vec<u8>,
    attempts_made: u32,
    state: StoredState,
}

#[derive(Serialize, Deserialize)]
enum StoredState {
    Frost { current: Option<u32>, done: bool, live: BTreeMap<u32, StoredAttempt> },
    Rsa(RsaState),
}

#[derive(Serialize, Deserialize)]
struct StoredAttempt {
    signers: BTreeMap<ReplicaId, (NonceRef, NonceCommitment)>,
    shares: BTreeMap<ReplicaId, OrderedShare<FrostShare>>,
    deadline: Option<u64>,
    probe_of: Option<ReplicaId>,
}

#[derive(Serialize, Deserialize)]
struct StoredCursors {
    next_task: u64,
    pools: BTreeMap<ReplicaId, PoolCursor>,
    standings: BTreeMap<ReplicaId, Standing>,
}

#[derive(Serialize, Deserialize)]
struct PoolCursor {
    boot: Option<u64>,
    next_index: u64,
    cursor: u32,
}

impl Scheduler {
    /// Rows that changed since they were last taken, in order of key.
    pub fn take_rows(&mut self) -> Vec<Row> {
        let dirty = std::mem::take(&mut self.dirty);
        self.rows_of(&dirty)
    }

    fn rows_of(&self, dirty: &Dirty) -> Vec<Row> {
        let mut rows = Vec::new();
        if dirty.cursors {
            rows.push(Row::put(Table::Meta, META_KEY, codec::encode(&self.cursors())));
        }
        for id in &dirty.tasks {
            let value = self.book.tasks.get(id).map(|task| codec::encode(&StoredTask::of(task)));
            rows.push(Row { table: Table::Task, key: id.0.to_be_bytes().to_vec(), value });
        }
        for (author, index) in &dirty.batches {
            let batch = self.book.pools[author].batches.iter().find(|(stored, _)| stored == index);
            let value = batch.map(|(_, batch)| codec::encode(batch));
            rows.push(Row { table: Table::Nonces, key: batch_key(*author, *index), value });
        }
        rows
    }

    fn cursors(&self) -> StoredCursors {
        let pools =
            self.book.pools.iter().map(|(&id, pool)| {
                (id, PoolCursor { boot: pool.boot, next_index: pool.next_index, cursor: pool.cursor })
            });
        StoredCursors { next_task: self.book.next_task, pools: pools.collect(), standings: self.book.standings.clone() }
    }

    /// Reads the state back into a new scheduler: `meta` is the row [`META_KEY`], if it was ever written.
    pub fn load(&mut self, meta: Option<&[u8]>, tasks: &TableRows, nonces: &TableRows) -> Result<(), CorruptRows> {
        let mut book = Book::new(&self.committee);
        if let Some(meta) = meta {
            let cursors: StoredCursors = decode(meta)?;
            let is_known = |id: &ReplicaId| self.committee.contains(*id);
            if !cursors.pools.keys().all(is_known) || !cursors.standings.keys().all(is_known) {
                return Err(CorruptRows("a replica that is not in the committee"));
            }
            book.next_task = cursors.next_task;
            book.standings.extend(cursors.standings);
            for (id, stored) in cursors.pools {
                let pool = book.pools.entry(id).or_default();
                (pool.boot, pool.next_index, pool.cursor) = (stored.boot, stored.next_index, stored.cursor);
            }
        }
        for (key, value) in nonces {
            load_batch(&mut book, key, value)?;
        }
        for (key, value) in tasks {
            let id = TaskId(u64::from_be_bytes(key.as_slice().try_into().map_err(|_| CorruptRows("key of a task"))?));
            let task = decode::<StoredTask>(value)?.check()?;
            self.check_task(&task)?;
            book.index(id, &task);
            book.tasks.insert(id, task);
        }
        self.book = book;
        self.dirty = Dirty::default();
        Ok(())
    }

    fn check_task(&self, task: &Task) -> Result<(), CorruptRows> {
        let known = match (&task.key, &task.state) {
            (KeyId::Zone(zone), State::Frost(_)) => self.keys.contains_key(zone),
            (KeyId::Authority, State::Rsa(_)) => self.authority.is_some(),
            _ => false,
        };
        if known { Ok(()) } else { Err(CorruptRows("a task of a key that is not there")) }
    }
}

fn load_batch(book: &mut Book, key: &[u8], value: &[u8]) -> Result<(), CorruptRows> {
    let bad_key = CorruptRows("key of a batch of commitments");
    let Some((author, index)) = key.split_first() else { return Err(bad_key) };
    let (Some(pool), Ok(index)) = (book.pools.get_mut(&ReplicaId(*author)), index.try_into()) else {
        return Err(bad_key);
    };
    let batch: StoredBatch = decode(value)?;
    let used = if pool.batches.is_empty() { pool.cursor as usize } else { 0 };
    if pool.boot.is_none() || used >= batch.commitments.len() {
        return Err(CorruptRows("a batch of commitments that is used up"));
    }
    pool.push(u64::from_be_bytes(index), batch);
    Ok(())
}

fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CorruptRows> {
    codec::decode(bytes, usize::MAX).map_err(|_| CorruptRows("not the encoding of a row"))
}

fn batch_key(author: ReplicaId, index: u64) -> Vec<u8> {
    let mut key = vec![author.0];
    key.extend_from_slice(&index.to_be_bytes());
    key
}

impl Book {
    /// Puts a task that was read back into the indices.
    fn index(&mut self, id: TaskId, task: &Task) {
        match &task.state {
            State::Frost(state) => {
                for (&number, attempt) in &state.live {
                    for signer in attempt.missing() {
                        self.owed.entry(signer).or_default().insert((id, number));
                    }
                    if let Some(deadline) = attempt.deadline {
                        self.deadlines.insert((deadline, id));
                    }
                }
                if state.done {
                    self.done.insert(id);
                } else if state.current.is_none() {
                    self.waiting.insert(id);
                }
            }
            State::Rsa(state) => {
                if state.asked.is_empty() {
                    self.waiting_rsa.insert(id);
                }
                for signer in state.missing().iter() {
                    self.owed.entry(signer).or_default().insert((id, state.asked[&signer]));
                }
                if let Some(deadline) = state.deadline {
                    self.deadlines.insert((deadline, id));
                }
            }
        }
    }
}

impl StoredTask {
    fn of(task: &Task) -> Self {
        let state = match &task.state {
            State::Frost(state) => StoredState::Frost {
                current: state.current,
                done: state.done,
                live: state.live.iter().map(|(&number, attempt)| (number, StoredAttempt::of(attempt))).collect(),
            },
            State::Rsa(state) => StoredState::Rsa(state.clone()),
        };
        Self { key: task.key.clone(), message: task.message.to_vec(), attempts_made: task.attempts_made, state }
    }

    fn check(self) -> Result<Task, CorruptRows> {
        let state = match self.state {
            StoredState::Frost { current, done, live } => {
                let live = live.into_iter().map(|(number, attempt)| Ok((number, attempt.check()?)));
                let state = FrostState { current, done, live: live.collect::<Result<_, _>>()? };
                if !state.is_consistent(self.attempts_made) {
                    return Err(CorruptRows("attempts that contradict each other"));
                }
                State::Frost(state)
            }
            StoredState::Rsa(state) => State::Rsa(state),
        };
        Ok(Task { key: self.key, message: Arc::from(self.message), attempts_made: self.attempts_made, state })
    }
}

impl FrostState {
    /// Exactly the current attempt has a deadline, and no attempt is numbered beyond those made.
    fn is_consistent(&self, attempts_made: u32) -> bool {
        let with_deadline = self.live.iter().filter(|(_, attempt)| attempt.deadline.is_some());
        let current: Vec<u32> = with_deadline.map(|(&number, _)| number).collect();
        current == Vec::from_iter(self.current) && self.live.keys().all(|&number| number < attempts_made)
    }
}

impl StoredAttempt {
    fn of(attempt: &Attempt) -> Self {
        let signers = attempt.signers.iter().map(|(&id, (nonce, checked))| (id, (*nonce, checked.bytes())));
        Self {
            signers: signers.collect(),
            shares: attempt.shares.clone(),
            deadline: attempt.deadline,
            probe_of: attempt.probe_of,
        }
    }

    fn check(self) -> Result<Attempt, CorruptRows> {
        let signers = self.signers.into_iter().map(|(id, (nonce, commitment))| {
            let checked = commitment.check().map_err(|_| CorruptRows("a commitment that is no point"))?;
            Ok((id, (nonce, checked)))
        });
        Ok(Attempt {
            signers: signers.collect::<Result<_, _>>()?,
            shares: self.shares,
            deadline: self.deadline,
            probe_of: self.probe_of,
        })
    }
}
