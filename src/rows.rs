//! What the state machine writes down: rows of tables, as values.
//!
//! The functional core never touches a disk. After each commit it hands over the rows that changed; the shell writes
//! them in one batch together with the height they belong to, and gives all of them back when the process starts.

use serde::{Deserialize, Serialize};

/// A table of rows. The number is the first part of the stored schema: never reuse one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Table {
    /// Singletons, by short ASCII key.
    Meta = 0,
    /// Name of the title → title.
    Title = 1,
    /// (name of the title, sequence as u64 big-endian) → history entry.
    History = 2,
    /// Digest of the operation → outcome.
    Outcome = 3,
    /// Task number as u64 big-endian → signing task.
    Task = 4,
    /// (author, batch number) → batch of nonce commitments.
    Nonces = 5,
    /// (zone, name, type) → RRset with its signature, as published.
    Signed = 6,
    /// Position of the operation that asked for it → certificate.
    Certificate = 7,
    /// (round, author) → height at which the block of that slot was emitted.
    Emitted = 8,
    /// (zone, index in the version's plan as u32 big-endian) → RRSIG RDATA of a version that is being signed.
    Version = 9,
    /// Ticket as u64 big-endian → envelope that is ordered and not executed.
    Sealed = 10,
    /// Height as u64 big-endian → commit that waits until what is sealed is opened.
    Backlog = 11,
    /// Misdeeds that this replica saw, with proofs: see `order::evidence`. No part of the agreed state.
    Evidence = 12,
    /// (zone, serial as u32 big-endian) → what the version of this serial changed: see `directory::differences`.
    Difference = 13,
}

impl Table {
    /// The tables of the agreed state, by number: equal on all replicas at equal heights.
    pub const STATE: [Self; 13] = [
        Self::Meta,
        Self::Title,
        Self::History,
        Self::Outcome,
        Self::Task,
        Self::Nonces,
        Self::Signed,
        Self::Certificate,
        Self::Emitted,
        Self::Version,
        Self::Sealed,
        Self::Backlog,
        Self::Difference,
    ];

    pub fn is_state(self) -> bool {
        Self::STATE.contains(&self)
    }

    /// The table of the state with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::STATE.into_iter().find(|table| *table as u8 == number)
    }
}

// Whoever adds a table to the state adds it to the list, in the order of the numbers.
const _: () = {
    let mut at = 1;
    while at < Table::STATE.len() {
        assert!((Table::STATE[at - 1] as u8) < Table::STATE[at] as u8);
        at += 1;
    }
};

/// One change: a row written, or deleted if there is no value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    pub table: Table,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

impl Row {
    pub fn put(table: Table, key: impl Into<Vec<u8>>, value: Vec<u8>) -> Self {
        Self { table, key: key.into(), value: Some(value) }
    }

    pub fn delete(table: Table, key: impl Into<Vec<u8>>) -> Self {
        Self { table, key: key.into(), value: None }
    }
}

/// The rows of one table as they are read back at the start: keys and values in key order.
pub type TableRows = Vec<(Vec<u8>, Vec<u8>)>;
