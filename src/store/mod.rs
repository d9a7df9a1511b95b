//! What is durable, and what readers see of it.
//!
//! A replica has one writer, the thread that drives its core, and any number of readers. The writer hands over a
//! [`Batch`] at a time; a batch is written whole or not at all. Durability is a prefix: batches become durable in the
//! order in which they were committed, so that a [`Durability::Sync`] commit makes everything before it durable too.
//!
//! What the replica relies on:
//!
//! - *Persist, then send*: the batch with the replica's own block ([`Batch::own`]) is durable when [`Store::commit`]
//!   returns, whatever durability was asked for. Blocks of others and rows of state may be written lazily, because
//!   they can be pulled or computed again.
//! - The rows of one commit are written together with the height they belong to, in one batch.
//! - Every value carries a checksum that binds it to its key; wrong bytes are reported, never returned
//!   ([`StoreError::Corrupt`]). Durable batches that are missing when the store is opened are reported as well.
//! - A lost disk is not a first start: [`rocks::RocksStore::open`] refuses a missing database.
//!
//! After any error of [`Store::commit`] nobody knows what is on the disk, so the store takes no further batch: the
//! replica stops and starts again from what it reads back.

mod journal;
pub mod memory;
pub mod rocks;
mod schema;
#[cfg(test)]
mod tests;
pub mod view;

use std::ops::Range;
use std::path::PathBuf;

use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::rows::{Row, Table, TableRows};

/// When a batch is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When `commit` returns: it stands a power cut, and so does everything committed before.
    Sync,
    /// With the next `Sync` batch. It stands the death of the process, since the operating system has the bytes.
    Lazy,
}

/// Changes that are written together or not at all. Rows come first, in order, then blocks, then pruning.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Batch {
    pub rows: Vec<Row>,
    pub blocks: Vec<(u64, ReplicaId, Digest, Vec<u8>)>,
    /// The replica's own last block, if this batch holds it. Makes the batch `Sync`.
    pub own: Option<OwnRecord>,
    /// A new boot number. Makes the batch `Sync`.
    pub boot: Option<u64>,
    /// Blocks of lower rounds are deleted. Best in steps of hundreds of rounds: each leaves a tombstone behind for a
    /// while, which readers of blocks must pass.
    pub prune_blocks_below: Option<u64>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what is to be written after this, as one batch. A later own record, boot number or prune wins.
    pub fn append(&mut self, later: Self) {
        self.rows.extend(later.rows);
        self.blocks.extend(later.blocks);
        self.own = later.own.or(self.own);
        self.boot = later.boot.or(self.boot);
        self.prune_blocks_below = later.prune_blocks_below.max(self.prune_blocks_below);
    }

    fn durability(&self, asked: Durability) -> Durability {
        if self.own.is_some() || self.boot.is_some() { Durability::Sync } else { asked }
    }
}

/// What the replica itself last said: it never speaks again in this round or a lower one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct OwnRecord {
    /// Round of its last block; 0 if there is none.
    pub round: u64,
}

/// A block as it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredBlock {
    pub round: u64,
    pub author: ReplicaId,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    #[error(
        "{path}: no database here. If this replica's disk was lost, it must rejoin as such: a replica that forgot what \
         it said is not a new one. If it never ran, the dealing ceremony creates the database"
    )]
    Missing { path: PathBuf },
    #[error("{path}: holds a database already; a second ceremony would destroy it. Choose an empty directory")]
    Exists { path: PathBuf },
    #[error(
        "{path}: another process runs on this data directory. Stop it first, or start this one on its own directory"
    )]
    Locked { path: PathBuf },
    #[error(
        "{path}: the database is damaged: {what}. Nothing of it is served. Keep a copy, check the disk, and let this \
         replica rejoin as one that lost its disk"
    )]
    Corrupt { path: PathBuf, what: String },
    #[error("{path}: the database belongs to network {found}, not to {expected}: check the data directory's path")]
    WrongNetwork { path: PathBuf, found: Digest, expected: Digest },
    #[error("{path}: the database has schema version {found}, this program writes version {expected}")]
    WrongSchema { path: PathBuf, found: u32, expected: u32 },
    #[error("own round {given} does not follow own round {last}: to speak twice in a round is to equivocate")]
    OwnRound { last: u64, given: u64 },
    #[error("boot number {given} does not follow boot number {last}")]
    Boot { last: u64, given: u64 },
    #[error("an earlier write failed, so what is on the disk is unknown: restart the replica")]
    Failed,
    #[error("{path}: {what}")]
    Io { path: PathBuf, what: String },
}

/// What anybody may read, at any time.
pub trait Read {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` rows of `table` whose keys start with `prefix`, in key order, from the first key after `after`.
    fn page(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<TableRows, StoreError>;

    /// All rows of `table` whose keys start with `prefix`, in key order. For tables whose size the caller knows.
    fn scan(&self, table: Table, prefix: &[u8]) -> Result<TableRows, StoreError> {
        self.page(table, prefix, None, usize::MAX)
    }

    fn block(&self, round: u64, author: ReplicaId, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;

    /// The blocks of some rounds, by round, author and digest. Whoever reads many rounds takes a few at a time.
    fn blocks_in(&self, rounds: Range<u64>) -> Result<Vec<StoredBlock>, StoreError>;

    /// All blocks from `round` on.
    fn blocks_from(&self, round: u64) -> Result<Vec<StoredBlock>, StoreError> {
        self.blocks_in(round..u64::MAX)
    }

    fn own_last(&self) -> Result<OwnRecord, StoreError>;

    /// Number of starts so far.
    fn boot(&self) -> Result<u64, StoreError>;

    /// What the ceremony wrote: the configuration that all replicas agree on.
    fn genesis(&self) -> Result<Vec<u8>, StoreError>;
}

/// What the one writer may do besides.
pub trait Store: Read {
    fn commit(&mut self, batch: Batch, durability: Durability) -> Result<(), StoreError>;

    /// Counts one more start, durably, and gives its number, from 1.
    fn next_boot(&mut self) -> Result<u64, StoreError> {
        let boot = self.boot()? + 1;
        self.commit(Batch { boot: Some(boot), ..Batch::default() }, Durability::Sync)?;
        Ok(boot)
    }
}

/// What this replica last said and how often it started: neither ever goes back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counters {
    own: OwnRecord,
    boot: u64,
}

impl Counters {
    /// The counters after `batch`, if it moves them forward only.
    fn after(self, batch: &Batch) -> Result<Self, StoreError> {
        let mut next = self;
        if let Some(own) = batch.own {
            if own <= self.own {
                return Err(StoreError::OwnRound { last: self.own.round, given: own.round });
            }
            next.own = own;
        }
        if let Some(boot) = batch.boot {
            if boot <= self.boot {
                return Err(StoreError::Boot { last: self.boot, given: boot });
            }
            next.boot = boot;
        }
        Ok(next)
    }
}
