//! A replica's disk: what it wrote, in order, and how far that is synced.

use std::collections::BTreeMap;

use super::*;
use crate::rows::Table;

#[derive(Clone)]
pub enum Write {
    Block(BlockRef, Vec<u8>),
    Record(u64),
    Rows(Vec<Row>),
}

#[derive(Default)]
pub struct Disk {
    writes: Vec<Write>,
    synced: usize,
    /// Even the record that the ceremony wrote is gone.
    lost: bool,
}

pub type Blocks = BTreeMap<BlockRef, Vec<u8>>;
pub type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

impl Disk {
    /// A new disk in the place of one that was lost.
    pub fn empty() -> Self {
        Self { lost: true, ..Self::default() }
    }

    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Writes the own block and the own record; returns what is to be synced.
    pub fn write_own(&mut self, block: &VerifiedBlock) -> usize {
        self.write(Write::Block(block.reference(), block.bytes().to_vec()));
        self.write(Write::Record(block.round()));
        self.writes.len()
    }

    pub fn sync(&mut self, writes: usize) {
        self.synced = self.synced.max(writes);
    }

    /// How many writes a power cut may lose.
    pub fn unsynced(&self) -> usize {
        self.writes.len() - self.synced
    }

    /// A power cut: of what is not synced only the first `kept` writes remain.
    pub fn cut(&mut self, kept: usize) {
        self.writes.truncate(self.synced + kept);
    }

    /// Blocks, rows, and the own record, if it is there.
    pub fn read(&self) -> (Blocks, Rows, Option<u64>) {
        let (mut blocks, mut rows, mut record) = (Blocks::new(), Rows::new(), (!self.lost).then_some(0));
        for write in self.writes.iter().cloned() {
            match write {
                Write::Block(reference, bytes) => drop(blocks.insert(reference, bytes)),
                Write::Record(round) => record = Some(round),
                Write::Rows(changed) => {
                    for Row { table, key, value } in changed {
                        match value {
                            Some(value) => rows.insert((table, key), value),
                            None => rows.remove(&(table, key)),
                        };
                    }
                }
            }
        }
        (blocks, rows, record)
    }
}
