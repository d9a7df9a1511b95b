//! Commits that wait, whole and in their order, until what is sealed in them is opened.
//!
//! A commit's openings and tickets are dealt with when it is ordered; everything else in it waits here. What waits is
//! bounded for each author: a block that goes beyond is left out, all but its tickets, at every replica alike. Its
//! operations count as not ordered and are proposed again by who holds them. A commit without contents takes the place
//! of one without contents before it, so that commits alone do not add up either.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::super::primary::{Part, Vote};
use super::Ticket;
use crate::codec;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::coin::CoinValue;
use crate::directory::Timestamp;
use crate::limits::{BACKLOG_BLOCK_OVERHEAD, MAX_BACKLOG_BYTES, MAX_REPLICAS};
use crate::rows::{Row, Table, TableRows};
use crate::signing::{NonceBatch, ShareEntry};

/// What is executed of a commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    pub height: u64,
    pub round: u64,
    pub agreed_time: Timestamp,
    pub coin: CoinValue,
    pub alive: ReplicaSet,
    pub blocks: Vec<HeldBlock>,
}

/// What is executed of a block, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldBlock {
    pub author: ReplicaId,
    pub round: u64,
    pub nonces: Option<NonceBatch>,
    pub shares: Vec<ShareEntry>,
    pub sealed: Vec<Ticket>,
    #[serde(with = "crate::codec::bytes")]
    pub operations: Vec<Vec<u8>>,
    pub votes: Vec<Vote>,
    pub parts: Vec<Part>,
}

impl HeldBlock {
    fn is_bare(&self) -> bool {
        let Self { nonces, shares, sealed, operations, votes, parts, .. } = self;
        let is_empty = nonces.is_none() && shares.is_empty() && sealed.is_empty() && operations.is_empty();
        is_empty && votes.is_empty() && parts.is_empty()
    }

    /// Bytes of what the author put in, tickets aside: these have a bound of their own.
    fn size(&self) -> usize {
        let contents = (&self.nonces, &self.shares, &self.operations, &self.votes, &self.parts);
        codec::encode(&contents).len() + BACKLOG_BLOCK_OVERHEAD
    }

    fn leave_out(&mut self) {
        self.nonces = None;
        self.shares.clear();
        self.operations.clear();
        self.votes.clear();
        self.parts.clear();
    }
}

impl Held {
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.blocks.iter().flat_map(|block| block.sealed.iter().copied())
    }

    /// The row of a commit that no longer waits.
    pub fn deletion(&self) -> Row {
        Row::delete(Table::Backlog, self.height.to_be_bytes())
    }
}

/// Bytes of the row of one commit: what each author may have in here, twice for what tickets take.
const MAX_ROW: usize = 2 * MAX_REPLICAS * MAX_BACKLOG_BYTES;

#[derive(Default)]
pub struct Backlog {
    held: VecDeque<Held>,
    /// What each author's blocks in here take.
    bytes: BTreeMap<ReplicaId, usize>,
}

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Bytes that wait, of all authors.
    pub fn bytes(&self) -> usize {
        self.bytes.values().sum()
    }

    /// Puts a commit behind all others.
    pub fn push(&mut self, mut commit: Held, rows: &mut Vec<Row>) {
        for block in &mut commit.blocks {
            if self.bytes_of(block.author) + block.size() > MAX_BACKLOG_BYTES {
                block.leave_out();
            }
            if !block.is_bare() {
                *self.bytes.entry(block.author).or_default() += block.size();
            }
        }
        commit.blocks.retain(|block| !block.is_bare());
        if commit.blocks.is_empty()
            && let Some(last) = self.held.pop_back_if(|last| last.blocks.is_empty())
        {
            rows.push(last.deletion());
        }
        rows.push(Row::put(Table::Backlog, commit.height.to_be_bytes(), codec::encode(&commit)));
        self.held.push_back(commit);
    }

    /// Takes the first commit out, to be executed, if it is `ready`.
    pub fn pop_if(&mut self, ready: impl Fn(&Held) -> bool) -> Option<Held> {
        let commit = self.held.pop_front_if(|commit| ready(commit))?;
        for block in &commit.blocks {
            let left = self.bytes_of(block.author).saturating_sub(block.size());
            self.bytes.insert(block.author, left);
        }
        Some(commit)
    }

    fn bytes_of(&self, author: ReplicaId) -> usize {
        self.bytes.get(&author).copied().unwrap_or(0)
    }

    /// None if the rows are not those of such a state.
    pub fn load(rows: &TableRows) -> Option<Self> {
        let mut backlog = Self::default();
        for (key, value) in rows {
            let commit: Held = codec::decode(value, MAX_ROW).ok()?;
            (key.as_slice() == commit.height.to_be_bytes()).then_some(())?;
            for block in &commit.blocks {
                *backlog.bytes.entry(block.author).or_default() += block.size();
            }
            backlog.held.push_back(commit);
        }
        Some(backlog)
    }
}
