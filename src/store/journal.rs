//! The mark beside RocksDB's log: how far it is known to be durable.
//!
//! RocksDB's log cannot tell a write that a power cut tore from one that was damaged later: both end the log early,
//! and the batches behind are silently gone. So after every durable commit its sequence number is noted in a small file
//! of two slots, written in turn. When the database is opened and ends below the mark, durable batches were lost, and
//! it is refused.
//!
//! The mark itself is not synced: it costs one `pwrite`, not a second wait for the disk. It may therefore lag behind
//! after a power cut, but is never ahead of what is durable, so that it never accuses a sound database.
//!
//! ```text
//! slot at 0 and at 512:  sequence number, u64 big-endian ‖ first 8 bytes of its hash
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::crypto::digest;

/// A disk sector, so that a torn write spoils one slot at most.
const SLOT_DISTANCE: u64 = 512;
const SLOT: usize = 16;

pub struct Mark {
    file: File,
    /// The slot to be written next: never the one that holds the highest number.
    next_slot: u64,
}

impl Mark {
    /// A new mark, durable at once.
    pub fn create(path: &Path, sequence: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let mut mark = Self { file, next_slot: 0 };
        mark.note(sequence)?;
        mark.note(sequence)?;
        mark.file.sync_all()?;
        Ok(mark)
    }

    /// The mark and the sequence number up to which everything was durable; `None` if no slot is sound.
    pub fn open(path: &Path) -> io::Result<Option<(Self, u64)>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let slots = [read_slot(&file, 0)?, read_slot(&file, 1)?];
        let Some(highest) = slots.into_iter().flatten().max() else { return Ok(None) };
        let next_slot = if slots[0] == Some(highest) { 1 } else { 0 };
        Ok(Some((Self { file, next_slot }, highest)))
    }

    /// Notes that everything up to `sequence` is durable.
    pub fn note(&mut self, sequence: u64) -> io::Result<()> {
        self.file.write_all_at(&slot(sequence), self.next_slot * SLOT_DISTANCE)?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }
}

fn slot(sequence: u64) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
    let hash = digest::hash("torrens v1 durable mark", &[&bytes[..8]]);
    bytes[8..].copy_from_slice(&hash.0[..8]);
    bytes
}

fn read_slot(file: &File, index: u64) -> io::Result<Option<u64>> {
    let mut bytes = [0; SLOT];
    match file.read_exact_at(&mut bytes, index * SLOT_DISTANCE) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let sequence = u64::from_be_bytes(bytes[..8].try_into().expect("8 of 16"));
    Ok((slot(sequence) == bytes).then_some(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Option<u64> {
        Mark::open(path).unwrap().map(|(_, sequence)| sequence)
    }

    #[test]
    fn the_highest_noted_number_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let mut mark = Mark::create(&path, 3).unwrap();
        for sequence in 4..9 {
            mark.note(sequence).unwrap();
            assert_eq!(read(&path), Some(sequence));
        }
        let (mut again, _) = Mark::open(&path).unwrap().unwrap();
        again.note(9).unwrap();
        assert_eq!(read(&path), Some(9));
    }

    #[test]
    fn one_spoiled_slot_leaves_the_other_and_two_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let mark = Mark::create(&path, 3).unwrap();
        mark.file.write_all_at(&[1], 5).unwrap();
        assert_eq!(read(&path), Some(3));
        mark.file.write_all_at(&[1], SLOT_DISTANCE + 5).unwrap();
        assert_eq!(read(&path), None);
        mark.file.set_len(4).unwrap();
        assert_eq!(read(&path), None);
    }
}
