//! The state at one height as bytes that others can copy, in any pieces.
//!
//! The state is the rows of all buckets ([`super::tree`]), one bucket after the other, each row as
//! [`tree::write_row`](super::tree::write_row) writes it. Before it come, in the *manifest*, length and content of each
//! bucket: 40 bytes each. A replica that copies it checks the manifest against a signed root, and then knows which bytes
//! belong to which bucket and what they must hash to, whoever sends them.
//!
//! Rows lie on the disk by table and key. When somebody asks for a copy for the first time, all of it is read once for an
//! index by bucket: 16 bytes and the key for each row, kept while the copy is asked for.

use std::ops::ControlFlow;

use super::tree::{self, BUCKETS, BucketDigest, RowDigests, StateTree};
use super::{Read, StoreError};
use crate::crypto::digest::Digest;
use crate::rows::Table;

/// Bytes of one bucket in the manifest.
const MANIFEST_ENTRY: usize = 8 + 32;
/// Bytes of a manifest.
pub const MANIFEST: usize = BUCKETS * MANIFEST_ENTRY;

/// Answers from one copy.
pub struct StateServer<R> {
    copy: R,
    index: Index,
    manifest: Vec<u8>,
    /// Where each bucket begins, and where the last one ends.
    starts: Vec<u64>,
}

#[derive(Default)]
struct Index {
    /// By bucket, table and key.
    rows: Vec<IndexedRow>,
    keys: Vec<u8>,
}

#[derive(Clone, Copy)]
struct IndexedRow {
    bucket: u16,
    table: Table,
    key_length: u8,
    key_at: u32,
    bytes: u32,
}

/// The manifest of these buckets.
pub fn manifest(buckets: &[BucketDigest]) -> Vec<u8> {
    buckets.iter().flat_map(|bucket| bucket.bytes.to_be_bytes().into_iter().chain(bucket.content.0)).collect()
}

/// The buckets that a manifest lists, if it is one.
pub fn read_manifest(bytes: &[u8]) -> Option<Vec<BucketDigest>> {
    let (entries, rest) = bytes.as_chunks::<MANIFEST_ENTRY>();
    let digest = |entry: &[u8; MANIFEST_ENTRY]| {
        let (bytes, content) = entry.split_first_chunk::<8>().expect("8 of 40");
        BucketDigest { bytes: u64::from_be_bytes(*bytes), content: Digest(content.try_into().expect("32 of 40")) }
    };
    (rest.is_empty() && entries.len() == BUCKETS).then(|| entries.iter().map(digest).collect())
}

/// Where each of these buckets begins, and where the last one ends; none if that is beyond all bounds.
pub fn starts(buckets: &[BucketDigest]) -> Option<Vec<u64>> {
    let mut starts = vec![0u64];
    for bucket in buckets {
        starts.push(starts.last()?.checked_add(bucket.bytes)?);
    }
    Some(starts)
}

/// All rows of a store, as a tree: read table by table, some rows at a time.
pub fn tree_of(store: &dyn Read) -> Result<StateTree, StoreError> {
    let mut rows = RowDigests::default();
    for_each_row(store, |table, key, value| {
        rows.add(table, key, value);
    })?;
    Ok(rows.tree())
}

/// Shows each row of a store.
pub fn for_each_row(store: &dyn Read, mut see: impl FnMut(Table, &[u8], &[u8])) -> Result<(), StoreError> {
    Table::STATE.into_iter().try_for_each(|table| for_each_row_of(store, table, |key, value| see(table, key, value)))
}

/// Shows each row of a table.
pub fn for_each_row_of(store: &dyn Read, table: Table, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
    store.for_each_row(table, &[], &mut |key, value| {
        see(key, value);
        ControlFlow::Continue(())
    })
}

impl<R: Read> StateServer<R> {
    /// Reads the copy once.
    pub fn new(copy: R) -> Result<Self, StoreError> {
        let mut digests = RowDigests::default();
        let mut index = Index::default();
        for_each_row(&copy, |table, key, value| {
            index.add(digests.add(table, key, value), table, key, value);
        })?;
        index.sort();
        let buckets = digests.bucket_digests();
        let starts = starts(&buckets).expect("lengths of what is on one disk");
        Ok(Self { copy, index, manifest: manifest(&buckets), starts })
    }

    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Bytes of the state.
    pub fn len(&self) -> u64 {
        *self.starts.last().expect("one more than buckets")
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `length` bytes from `offset` on; fewer at the end.
    pub fn range(&self, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let end = offset.saturating_add(length as u64).min(self.len());
        if offset >= end {
            return Ok(Vec::new());
        }
        let bucket = self.starts.partition_point(|start| *start <= offset) - 1;
        let mut at = self.starts[bucket];
        let first = self.index.rows.partition_point(|row| usize::from(row.bucket) < bucket);
        let mut found = Vec::with_capacity((end - offset) as usize);
        // Where `found` begins in the state.
        let mut begins = None;
        for row in &self.index.rows[first..] {
            if at >= end {
                break;
            }
            let after = at + u64::from(row.bytes);
            if after > offset {
                begins.get_or_insert(at);
                let key = self.index.key(row);
                let value = self.copy.get(row.table, key)?.unwrap_or_default();
                tree::write_row(&mut found, row.table, key, &value);
            }
            at = after;
        }
        let skip = (offset - begins.unwrap_or(offset)) as usize;
        found.drain(..skip.min(found.len()));
        found.truncate((end - offset) as usize);
        Ok(found)
    }
}

impl Index {
    fn add(&mut self, bucket: usize, table: Table, key: &[u8], value: &[u8]) {
        self.rows.push(IndexedRow {
            bucket: bucket as u16,
            table,
            key_length: u8::try_from(key.len()).unwrap_or(u8::MAX),
            key_at: self.keys.len() as u32,
            bytes: tree::row_bytes(key, value) as u32,
        });
        if key.len() >= usize::from(u8::MAX) {
            self.keys.extend_from_slice(&(key.len() as u32).to_be_bytes());
        }
        self.keys.extend_from_slice(key);
    }

    fn key(&self, row: &IndexedRow) -> &[u8] {
        let at = row.key_at as usize;
        if row.key_length < u8::MAX {
            return &self.keys[at..at + usize::from(row.key_length)];
        }
        let length = u32::from_be_bytes(self.keys[at..at + 4].try_into().expect("4 bytes")) as usize;
        &self.keys[at + 4..at + 4 + length]
    }

    fn sort(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        // They came by table and key.
        rows.sort_by_key(|row| row.bucket);
        self.rows = rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Row;
    use crate::store::memory::MemoryStore;
    use crate::store::{Batch, Durability, Store};

    fn store() -> MemoryStore {
        let mut store = MemoryStore::create(Digest::ZERO, b"");
        let keys = (0u32..3000).map(|number| (number, number.to_be_bytes().to_vec()));
        let long = (3000u32..3010).map(|number| (number, vec![number as u8; 250 + number as usize % 7]));
        let rows = keys.chain(long).map(|(number, key)| Row::put(Table::Title, key, vec![7; number as usize % 90]));
        store.commit(Batch { rows: rows.collect(), ..Batch::default() }, Durability::Sync).unwrap();
        store
    }

    #[test]
    fn any_pieces_put_together_are_the_rows_that_the_manifest_lists() {
        let store = store();
        let mut tree = tree_of(&store).unwrap();
        let server = StateServer::new(store).unwrap();
        let buckets = read_manifest(server.manifest()).unwrap();
        assert_eq!(tree::root_of(&buckets), Some(tree.root()));
        assert_eq!(tree.rows(), 3010);
        for piece in [7, 1000, 1 << 20] {
            let mut state = Vec::new();
            while (state.len() as u64) < server.len() {
                state.extend(server.range(state.len() as u64, piece).unwrap());
            }
            assert_eq!(state.len() as u64, server.len());
            let starts = starts(&buckets).unwrap();
            for (bucket, expected) in buckets.iter().enumerate() {
                let bytes = &state[starts[bucket] as usize..starts[bucket + 1] as usize];
                let rows = tree::read_rows(bytes).unwrap();
                assert_eq!(BucketDigest::of_rows(bucket, rows), Some(*expected));
            }
        }
        assert!(server.range(server.len(), 10).unwrap().is_empty());
        assert!(server.range(u64::MAX, usize::MAX).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let sound = manifest(&StateTree::default().bucket_digests());
        assert!(read_manifest(&sound).is_some());
        assert_eq!(read_manifest(&sound[1..]), None);
        assert_eq!(read_manifest(&[]), None);
        let endless = [BucketDigest { bytes: u64::MAX, content: Digest::ZERO }; 2];
        assert_eq!(starts(&endless), None);
    }
}
