//! All rows under a prefix, read ahead: while whoever asked looks at some, a thread reads the next ones.
//!
//! It sees the database as it was when it began. What it reads does not drive other blocks out of the cache.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::thread;

use rocksdb::{DBRawIterator, ReadOptions};

use super::reader::{RocksReader, database_error, io_error, read_options};
use crate::limits::{PAGE_AHEAD, PAGES_AHEAD, READ_AHEAD};
use crate::rows::Table;
use crate::store::schema::{self, ROWS};
use crate::store::{See, StoreError};

struct Rows<'r> {
    reader: &'r RocksReader,
    iterator: DBRawIterator<'r>,
}

/// Rows in one piece of memory: key ‖ value of each.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    /// Of key and value.
    lengths: Vec<(usize, usize)>,
}

impl RocksReader {
    pub(super) fn read_ahead(&self, table: Table, prefix: &[u8], see: &mut See<'_>) -> Result<(), StoreError> {
        let mut rows = Rows::new(self, table, prefix);
        if rows.page()?.show(see).is_break() {
            return Ok(());
        }
        if !rows.iterator.valid() {
            return rows.check();
        }
        thread::scope(|scope| {
            let (sender, pages) = sync_channel(PAGES_AHEAD);
            let read_on = move || {
                while rows.iterator.valid() {
                    let page = rows.page();
                    let failed = page.is_err();
                    // Whoever looks may have seen enough.
                    if sender.send(page).is_err() || failed {
                        return;
                    }
                }
                if let Err(error) = rows.check() {
                    let _ = sender.send(Err(error));
                }
            };
            let spawned = thread::Builder::new().name("read-ahead".into()).spawn_scoped(scope, read_on);
            spawned.map_err(|error| io_error(&self.path, &error))?;
            for page in pages {
                if page?.show(see).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

impl<'r> Rows<'r> {
    fn new(reader: &'r RocksReader, table: Table, prefix: &[u8]) -> Self {
        let prefix = schema::row_key(table, prefix);
        let mut options: ReadOptions = read_options();
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD);
        if let Some(end) = schema::after_prefix(&prefix) {
            options.set_iterate_upper_bound(end);
        }
        let mut iterator = reader.database.raw_iterator_cf_opt(reader.family(ROWS), options);
        iterator.seek(&prefix);
        Self { reader, iterator }
    }

    /// The next rows; none if none is left.
    fn page(&mut self) -> Result<Page, StoreError> {
        let mut page = Page::default();
        while page.bytes.len() < PAGE_AHEAD
            && let Some((key, stored)) = self.iterator.item()
        {
            let value = self.reader.unseal(ROWS, key, stored)?;
            let key = &key[1..];
            page.bytes.extend_from_slice(key);
            page.bytes.extend_from_slice(value);
            page.lengths.push((key.len(), value.len()));
            self.iterator.next();
        }
        Ok(page)
    }

    /// Whether it came to the end because no row is left.
    fn check(&self) -> Result<(), StoreError> {
        self.iterator.status().map_err(|error| database_error(&self.reader.path, &error))
    }
}

impl Page {
    fn show(&self, see: &mut See<'_>) -> ControlFlow<()> {
        let mut rest = &self.bytes[..];
        self.lengths.iter().try_for_each(|(key, value)| {
            let (key, after) = rest.split_at(*key);
            let (value, after) = after.split_at(*value);
            rest = after;
            see(key, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::crypto::digest::Digest;
    use crate::rows::{Row, TableRows};
    use crate::store::memory::MemoryStore;
    use crate::store::rocks::RocksStore;
    use crate::store::{Batch, Durability, Read, Store};

    const NETWORK: Digest = Digest([7; 32]);
    /// Many pages of them.
    const ROWS_STORED: u32 = 3000;

    fn batch() -> Batch {
        let row = |number: u32| Row::put(Table::Title, number.to_be_bytes(), vec![number as u8; 1000]);
        let mut rows: Vec<Row> = (0..ROWS_STORED).map(row).collect();
        rows.push(Row::put(Table::Meta, "before", vec![1]));
        rows.push(Row::put(Table::History, "after", vec![2]));
        Batch { rows, ..Batch::default() }
    }

    fn seen(store: &dyn Read, prefix: &[u8], enough: usize) -> Result<TableRows, StoreError> {
        let mut rows = Vec::new();
        store.for_each_row(Table::Title, prefix, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows)
    }

    #[test]
    fn rows_read_ahead_are_the_scan_until_enough_was_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut rocks = RocksStore::create(directory.path(), NETWORK, b"genesis").unwrap();
        let mut memory = MemoryStore::create(NETWORK, b"genesis");
        rocks.commit(batch(), Durability::Sync).unwrap();
        memory.commit(batch(), Durability::Sync).unwrap();
        for prefix in [&[][..], &[0, 0, 1], &[0, 0, 9], &[9]] {
            let whole = memory.scan(Table::Title, prefix).unwrap();
            for enough in [1, 2, 1000, whole.len(), usize::MAX] {
                let expected = &whole[..enough.min(whole.len())];
                assert_eq!(seen(&rocks, prefix, enough).unwrap(), expected);
                assert_eq!(seen(&memory, prefix, enough).unwrap(), expected);
            }
        }
    }

    /// Wherever it is: in the first page, which whoever asks reads, or in a later one. Until there all is as it was written.
    #[test]
    fn a_damaged_row_ends_the_reading_with_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut rocks = RocksStore::create(directory.path(), NETWORK, b"genesis").unwrap();
        rocks.commit(batch(), Durability::Sync).unwrap();
        for number in [2u32, 1500, ROWS_STORED - 1] {
            let key = schema::row_key(Table::Title, &number.to_be_bytes());
            rocks.reader.database.put_cf(rocks.reader.family(ROWS), &key, b"no checksum").unwrap();
            let mut read = 0;
            let result = rocks.for_each_row(Table::Title, &[], &mut |key, value| {
                let number = u32::from_be_bytes(key.try_into().unwrap());
                assert_eq!((number, value), (read, &vec![number as u8; 1000][..]));
                read += 1;
                ControlFlow::Continue(())
            });
            assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{result:?}");
            assert!(read <= number, "{read}");
            rocks.commit(batch(), Durability::Sync).unwrap();
        }
    }

    /// RocksDB finds it, and ends the iterator.
    #[test]
    fn a_flipped_byte_of_a_file_ends_the_reading_with_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut rocks = RocksStore::create(directory.path(), NETWORK, b"genesis").unwrap();
        rocks.commit(batch(), Durability::Sync).unwrap();
        rocks.keep_copy(1).unwrap();
        drop(rocks);
        let files = fs::read_dir(directory.path().join("rocks")).unwrap().map(|entry| entry.unwrap().path());
        let size = |path: &std::path::PathBuf| fs::metadata(path).unwrap().len();
        let tables = files.filter(|path| path.extension().is_some_and(|found| found == "sst"));
        let largest = tables.max_by_key(size).unwrap();
        let file = fs::File::options().read(true).write(true).open(&largest).unwrap();
        let mut byte = [0];
        let middle = size(&largest) / 2;
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
        let rocks = RocksStore::open(directory.path(), NETWORK).unwrap();
        let result = seen(&rocks, &[], usize::MAX);
        assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{:?}", result.map(|rows| rows.len()));
    }
}
