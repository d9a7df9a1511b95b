//! Reading back what is on the disk, past what remembers it.
//!
//! RocksDB serves blocks from its cache as they were when it last read them, and the operating system does the same with
//! pages of files: bytes that went wrong since are not seen. So before a walk the system is advised to forget the
//! files, and before each step RocksDB is made to forget its blocks, indexes among them; what the step reads is not put
//! back. Whoever reads a block in between takes it from the disk too. Every block's checksum is verified, and every
//! value's.
//!
//! Reading writes nothing, but for the time of the first reading of a new file, which most file systems note once
//! (`relatime`; `noatime` has none).
//!
//! Rows that are not in a sorted file yet are in memory and in the log. The log is judged when the database is opened
//! ([`super::RocksStore::open`]), and a compaction verifies what it reads: what it finds damaged fails the next write.

use std::fs;

use rustix::fs::{Advice, fadvise};

use super::reader::{RocksReader, database_error, read_options};
use crate::limits::STORE_BLOCK_CACHE;
use crate::store::StoreError;
use crate::store::schema::{META, ROWS};

/// What is walked: blocks of the order are verified whenever they are read, and others have them.
const FAMILIES: [&str; 2] = [META, ROWS];

/// How far a walk over all records and rows has come.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Walk {
    family: usize,
    /// The least key that was not read.
    next: Vec<u8>,
}

impl Walk {
    /// Reads `limit` more values, or what is left of the walk; begins again after its end, and after an error.
    pub fn step(&mut self, reader: &RocksReader, limit: usize) -> Result<(), StoreError> {
        let at = std::mem::take(self);
        if at.family == 0 && at.next.is_empty() {
            reader.forget_files()?;
        }
        reader.forget_blocks();
        let (mut family, mut next, mut left) = (at.family, at.next, limit);
        while family < FAMILIES.len() {
            (next, left) = reader.walk(FAMILIES[family], next, left)?;
            if left == 0 {
                *self = Self { family, next };
                break;
            }
            family += 1;
        }
        Ok(())
    }
}

impl RocksReader {
    /// Reads at most `limit` values from `start` on. Gives the least key that was not read, and what is left of the
    /// limit: if anything is, the family is at its end.
    fn walk(&self, family: &str, start: Vec<u8>, limit: usize) -> Result<(Vec<u8>, usize), StoreError> {
        let mut options = read_options();
        options.fill_cache(false);
        let mut found = self.database.raw_iterator_cf_opt(self.family(family), options);
        found.seek(&start);
        let (mut next, mut left) = (Vec::new(), limit);
        while left > 0
            && let Some((key, stored)) = found.item()
        {
            self.unseal(family, key, stored)?;
            left -= 1;
            if left == 0 {
                next = [key, &[0]].concat();
            }
            found.next();
        }
        found.status().map_err(|error| database_error(&self.path, &error))?;
        Ok((next, left))
    }

    /// RocksDB reads each block from its file again.
    fn forget_blocks(&self) {
        let mut cache = self.cache.clone();
        // What it holds beyond its capacity and nobody uses goes at once.
        cache.set_capacity(0);
        cache.set_capacity(STORE_BLOCK_CACHE);
    }

    /// The operating system reads the files from the disk again. This is advice: pages that were not written yet stay.
    fn forget_files(&self) -> Result<(), StoreError> {
        let files = self.database.live_files().map_err(|error| database_error(&self.path, &error))?;
        for file in files.iter().filter(|file| FAMILIES.contains(&file.column_family_name.as_str())) {
            // Files come and go meanwhile.
            if let Ok(open) = fs::File::open(self.database.path().join(file.name.trim_start_matches('/'))) {
                let _ = fadvise(&open, 0, None, Advice::DontNeed);
            }
        }
        Ok(())
    }
}
