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
//! - *Copies*: a replica that is far behind is given the rows as they were at the height of a signed head. The store keeps
//!   them beside its own ([`Store::keep_copy`]), over restarts, until they are released.
//! - *Staging*: what such a replica is given gathers in a store of its own ([`Store::stage`]) and never touches the one
//!   that is served. When it is whole it takes the place of the old one in one step ([`Store::adopt_staged`]), and own
//!   record and boot number move along: what this replica once said stays said.
//!
//! After any error of [`Store::commit`] nobody knows what is on the disk, so the store takes no further batch: the
//! replica stops and starts again from what it reads back.

mod journal;
pub mod memory;
pub mod rocks;
mod schema;
pub mod serve;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod view;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::limits::ROWS_AT_A_TIME;
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
    /// Records of this replica alone.
    pub local: BTreeMap<Local, Vec<u8>>,
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
        self.local.extend(later.local);
        self.prune_blocks_below = later.prune_blocks_below.max(self.prune_blocks_below);
    }

    fn durability(&self, asked: Durability) -> Durability {
        if self.own.is_some() || self.boot.is_some() { Durability::Sync } else { asked }
    }
}

/// A record that is no part of the state, because when and whether a replica has it depends on what reached it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Local {
    /// The newest signed head.
    Head,
    /// The newest signed head whose state is there to be copied; in a staged store, the one it becomes.
    Checkpoint,
    /// The newest head that was due, signed or not.
    Due,
    /// [`tree::StateTree::sum`] of all rows.
    Sum,
    /// [`tree::StateTree::published_sum`].
    Published,
    /// There, if the disk before this one was lost: an own record of round 0 then says nothing, and the state began anew.
    Lost,
    /// There, if the state was given up because it was damaged, and began anew.
    GivenUp,
    /// There, if the state is not the cluster's: what both signed.
    Diverged,
}

impl Local {
    fn key(self) -> &'static [u8] {
        match self {
            Self::Head => b"head",
            Self::Checkpoint => b"checkpoint",
            Self::Due => b"due",
            Self::Sum => b"sum",
            Self::Published => b"published",
            Self::Lost => b"lost",
            Self::GivenUp => b"given-up",
            Self::Diverged => b"diverged",
        }
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
        "{path}: no database here. If this replica's disk was lost, start it once with --lost-disk: a replica that \
         forgot what it said is not a new one. If it never ran, the dealing ceremony creates the database"
    )]
    Missing { path: PathBuf },
    #[error("{path}: holds a database already; a second ceremony would destroy it. Choose an empty directory")]
    Exists { path: PathBuf },
    #[error(
        "{path}: another process runs on this data directory. Stop it first, or start this one on its own directory"
    )]
    Locked { path: PathBuf },
    #[error(
        "{path}: the database is damaged: {what}. Nothing of it is served. Keep a copy, check the disk, and start this \
         replica once with --lost-disk"
    )]
    Corrupt { path: PathBuf, what: String },
    #[error("{path}: the database belongs to network {found}, not to {expected}: check the data directory's path")]
    WrongNetwork { path: PathBuf, found: Digest, expected: Digest },
    #[error(
        "{path}: the database has schema version {found}, this program writes version {expected}: run the release that \
         wrote it"
    )]
    WrongSchema { path: PathBuf, found: u32, expected: u32 },
    #[error("own round {given} does not follow own round {last}: to speak twice in a round is to equivocate")]
    OwnRound { last: u64, given: u64 },
    #[error("boot number {given} does not follow boot number {last}")]
    Boot { last: u64, given: u64 },
    #[error("{path}: nothing is staged")]
    NothingStaged { path: PathBuf },
    #[error("an earlier write failed, so what is on the disk is unknown: restart the replica")]
    Failed,
    #[error("{path}: {what}")]
    Io { path: PathBuf, what: String },
}

/// Is shown the key and the value of a row, and says whether it wants to see more.
pub type See<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// What anybody may read, at any time.
pub trait Read {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` rows of `table` whose keys start with `prefix`, in key order, from the first key after `after`.
    fn page(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<TableRows, StoreError>;

    /// All rows of `table` whose keys start with `prefix`, in key order. For tables whose size the caller knows.
    fn scan(&self, table: Table, prefix: &[u8]) -> Result<TableRows, StoreError> {
        self.page(table, prefix, None, usize::MAX)
    }

    /// Shows all rows of `table` whose keys start with `prefix`, in key order, until `see` has seen enough.
    fn for_each_row(&self, table: Table, prefix: &[u8], see: &mut See<'_>) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.page(table, prefix, after.as_deref(), ROWS_AT_A_TIME)?;
            let seen = page.iter().try_for_each(|(key, value)| see(key, value));
            let Some((last, _)) = page.into_iter().next_back().filter(|_| seen.is_continue()) else { return Ok(()) };
            after = Some(last);
        }
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

    fn local(&self, local: Local) -> Result<Option<Vec<u8>>, StoreError>;

    /// The lowest round from `round` on with a block.
    fn next_round(&self, round: u64) -> Result<Option<u64>, StoreError>;

    /// What the ceremony wrote: the configuration that all replicas agree on.
    fn genesis(&self) -> Result<Vec<u8>, StoreError>;
}

/// What the one writer may do besides.
pub trait Store: Read {
    /// A store that only holds rows.
    type Copy: Read;

    fn commit(&mut self, batch: Batch, durability: Durability) -> Result<(), StoreError>;

    /// Counts one more start, durably, and gives its number, from 1.
    fn next_boot(&mut self) -> Result<u64, StoreError> {
        let boot = self.boot()? + 1;
        self.commit(Batch { boot: Some(boot), ..Batch::default() }, Durability::Sync)?;
        Ok(boot)
    }

    /// Keeps the rows as they are after the last batch, under `height`. Makes everything committed durable.
    fn keep_copy(&mut self, height: u64) -> Result<(), StoreError>;

    /// Lets go of the copies below `height`.
    fn release_copies(&mut self, height: u64) -> Result<(), StoreError>;

    /// The copy kept under `height`, if there is one.
    fn copy(&self, height: u64) -> Result<Option<Self::Copy>, StoreError>;

    /// Begins an empty staged store; an earlier one is forgotten.
    fn begin_staging(&mut self) -> Result<(), StoreError>;

    /// Adds rows, blocks and local records to the staged store, lazily.
    fn stage(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// The staged store, if one was begun: also one that an earlier process left behind.
    fn staged(&self) -> Option<&dyn Read>;

    /// Puts the staged store, made durable, in the place of this one, with this one's own record and boot number, and
    /// what says that the record was lost.
    fn adopt_staged(&mut self) -> Result<(), StoreError>;

    /// Gives up state and blocks, which are damaged: what is left is own record and boot number, and that it was given up.
    fn give_up_state(&mut self) -> Result<(), StoreError> {
        self.begin_staging()?;
        let local = [(Local::GivenUp, Vec::new())].into();
        self.stage(Batch { local, ..Batch::default() })?;
        self.adopt_staged()
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
