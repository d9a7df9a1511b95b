//! What a replica writes down of the order, and what it starts from again.
//!
//! The cursor (height, last leader, agreed time) and the rows of ordered slots are written with each commit, in one
//! batch with what the state machine made of it. Blocks are written when they enter the graph, before any own block that
//! has them as parents. Starting again is a replay: the same blocks go in, and the commits above the cursor come out, the
//! same ones again, because decisions and order are functions of the blocks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::block::{BlockRef, VerifiedBlock};
use super::decide::Slot;
use super::evidence::Evidence;
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::limits::KEPT_ROUNDS;
use crate::mutants::{Mutant, planted};
use crate::rows::{Row, Table, TableRows};

/// Key of the cursor in [`Table::Meta`].
pub const CURSOR_KEY: &[u8] = b"order";

/// How far the order was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub height: u64,
    /// Place of the last committed leader; round 0 before the first.
    pub round: u64,
    pub index: u8,
    pub agreed_time: Timestamp,
}

impl Cursor {
    /// The first slot that is not known to be settled.
    pub fn next(&self) -> Slot {
        if self.round == 0 {
            Slot { round: 1, index: 0 }
        } else {
            Slot { round: self.round, index: usize::from(self.index) + 1 }
        }
    }

    pub fn floor(&self, depth: u64) -> u64 {
        self.round.saturating_sub(depth)
    }

    pub fn row(&self) -> Row {
        Row::put(Table::Meta, CURSOR_KEY, codec::encode(self))
    }
}

pub(super) fn emitted_row(height: u64, reference: &BlockRef) -> Row {
    let value = codec::encode(&(height, reference.digest));
    Row::put(Table::Emitted, emitted_key(reference.round, reference.author), value)
}

/// A twin of an ordered block, passed over for good: replicas that start again have to pass it over in the same commit.
pub(super) fn passed_over_row(reference: &BlockRef) -> Row {
    Row::put(Table::Emitted, passed_over_key(reference), Vec::new())
}

/// Deletes the rows of a slot whose settled blocks are `settled`.
pub(super) fn dropped_rows(round: u64, author: ReplicaId, settled: &[BlockRef]) -> Vec<Row> {
    // In one order on all replicas, whatever the order in which twins came.
    let twins: BTreeSet<&BlockRef> = settled.iter().filter(|_| settled.len() > 1).collect();
    let mut rows = vec![Row::delete(Table::Emitted, emitted_key(round, author))];
    rows.extend(twins.into_iter().map(|twin| Row::delete(Table::Emitted, passed_over_key(twin))));
    rows
}

fn passed_over_key(reference: &BlockRef) -> Vec<u8> {
    [emitted_key(reference.round, reference.author).as_slice(), &reference.digest.0].concat()
}

fn emitted_key(round: u64, author: ReplicaId) -> Vec<u8> {
    [round.to_be_bytes().as_slice(), &[author.0]].concat()
}

/// The name of the settled block, ordered or passed over, that a row of [`Table::Emitted`] stands for.
pub fn settled_block(key: &[u8], value: &[u8]) -> Option<BlockRef> {
    let (round, rest) = key.split_at_checked(8)?;
    let (&author, twin) = rest.split_first()?;
    let digest =
        if twin.is_empty() { codec::decode::<(u64, Digest)>(value, 64).ok()?.1 } else { Digest(twin.try_into().ok()?) };
    Some(BlockRef { round: u64::from_be_bytes(round.try_into().ok()?), author: ReplicaId(author), digest })
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecoveryError {
    #[error("the stored cursor of the order is damaged")]
    Cursor,
    #[error("stored evidence is damaged")]
    Evidence,
    #[error("a stored row of ordered slots is damaged (key {})", data_encoding::HEXLOWER.encode(.0))]
    Emitted(Vec<u8>),
    #[error("the ordered block {0:?} is not stored, and the time of the next commit follows from it")]
    Missing(BlockRef),
}

/// What the disk gives back. Make it from the rows, then offer it the stored blocks.
#[derive(Default, Debug)]
pub struct Recovered {
    pub(super) cursor: Cursor,
    pub(super) depth: u64,
    pub(super) settled: BTreeSet<BlockRef>,
    pub(super) blocks: BTreeMap<BlockRef, VerifiedBlock>,
    pub(super) evidence: Evidence,
}

impl Recovered {
    /// Nothing was ever ordered here.
    pub fn empty() -> Self {
        Self::default()
    }

    /// From the value of [`CURSOR_KEY`] in [`Table::Meta`] and all rows of [`Table::Emitted`]. `depth` is that of
    /// [`super::OrderPublic`].
    pub fn from_rows(depth: u64, cursor: Option<&[u8]>, emitted: &TableRows) -> Result<Self, RecoveryError> {
        let cursor: Cursor = match cursor {
            Some(bytes) => codec::decode(bytes, 64).map_err(|_| RecoveryError::Cursor)?,
            None => Cursor::default(),
        };
        let slots = emitted.iter().map(|(key, value)| {
            let slot = settled_block(key, value).filter(|slot| slot.round <= cursor.round);
            slot.ok_or_else(|| RecoveryError::Emitted(key.clone()))
        });
        let mut settled: BTreeSet<BlockRef> = slots.collect::<Result<_, _>>()?;
        settled.retain(|_| !planted(Mutant::EmittedForgotten));
        Ok(Self { cursor, depth, settled, ..Self::default() })
    }

    /// Takes what was said of whom: all rows of [`Table::Evidence`] under
    /// [`ACCUSATIONS`](super::evidence::ACCUSATIONS).
    pub fn with_accusations(self, accusations: &TableRows) -> Result<Self, RecoveryError> {
        let forgotten = planted(Mutant::EvidenceForgotten);
        let nothing = TableRows::new();
        let accusations = if forgotten { &nothing } else { accusations };
        let evidence = Evidence::load(accusations, self.floor()).ok_or(RecoveryError::Evidence)?;
        Ok(Self { evidence, ..self })
    }

    /// Blocks of this round and below are not needed.
    pub fn floor(&self) -> u64 {
        self.cursor.floor(self.depth)
    }

    /// Whether a stored block of this name is needed: it is not ordered yet, or lately.
    pub fn wants(&self, reference: &BlockRef) -> bool {
        let ordered_long_ago = reference.round + KEPT_ROUNDS < self.cursor.round && self.settled.contains(reference);
        reference.round > self.floor() && !ordered_long_ago
    }

    /// Refuses to start without the blocks that the next commits' agreed time is read off: parents of the next leader.
    pub fn check(&self) -> Result<(), RecoveryError> {
        let needed = |block: &&BlockRef| block.round + 1 >= self.cursor.round && block.round > self.floor();
        let missing = self.settled.iter().filter(needed).find(|block| !self.blocks.contains_key(block));
        missing.map_or(Ok(()), |block| Err(RecoveryError::Missing(*block)))
    }

    /// Takes a stored block; one that is not wanted is let go.
    pub fn offer(&mut self, block: VerifiedBlock) {
        let reference = block.reference();
        if self.wants(&reference) {
            self.blocks.insert(reference, block);
        }
    }
}
