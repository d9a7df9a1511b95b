//! The state root: one digest of all rows, kept up to date as rows change, with proofs.
//!
//! Rows fall into 2¹⁴ buckets by the first bits of the hash of their table and key. A bucket's digest is over its rows in
//! the order of these hashes; a binary Merkle tree stands over the buckets. The root is a function of the set of rows
//! alone, in whatever order they were written.
//!
//! ```text
//! place(row)    = H("torrens v1 state place", table ‖ key)            its first 14 bits are the bucket
//! content(row)  = H("torrens v1 state row", table ‖ key, value)
//! content(b)    = H("torrens v1 state bucket", place ‖ content of each row, by place)
//! leaf(b)       = H("torrens v1 state leaf", bytes of the bucket as u64 big-endian ‖ content(b))
//! node          = H("torrens v1 state node", left ‖ right)
//! ```
//!
//! The bytes of a bucket are those of its rows as [`write_row`] writes them: whoever copies a bucket from others knows
//! beforehand how long it is.
//!
//! Places and contents are held in memory, 68 bytes a row, and nothing of the tree is stored: rows are read at each
//! start anyway, and a root computed from what was read, held against a stored one, shows whether the disk still has
//! what was written there, rows that vanished included. A change costs two hashes at once; the buckets that changed and
//! the nodes above them are hashed when a root is asked for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::crypto::digest::{Digest, Domain};
use crate::limits::STATE_BUCKET_BITS;
use crate::rows::{Row, Table};
use crate::store::Local;

static PLACE: Domain = Domain::new("torrens v1 state place");
static ROW: Domain = Domain::new("torrens v1 state row");
static BUCKET: Domain = Domain::new("torrens v1 state bucket");
static LEAF: Domain = Domain::new("torrens v1 state leaf");
static NODE: Domain = Domain::new("torrens v1 state node");

/// Number of buckets.
pub const BUCKETS: usize = 1 << STATE_BUCKET_BITS;

/// What the root says of one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BucketDigest {
    /// Bytes of its rows.
    pub bytes: u64,
    pub content: Digest,
}

/// All rows of the state, as digests.
#[derive(Clone)]
pub struct StateTree {
    buckets: Vec<Bucket>,
    /// The node at i has its children at 2i and 2i + 1; the root is at 1, the leaves begin at [`BUCKETS`].
    nodes: Vec<Digest>,
    /// Buckets that changed since the last root.
    dirty: BTreeSet<usize>,
    rows: u64,
    sums: Sums,
}

#[derive(Clone, Default)]
struct Bucket {
    bytes: u64,
    /// By place.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    place: Digest,
    content: Digest,
    bytes: u32,
}

/// Rows as digests, in the order in which they come: for whoever has all of them, and needs nothing before the last. They
/// are sorted once; a tree that takes them one by one looks for the place of each.
#[derive(Default)]
pub struct RowDigests {
    entries: Vec<Entry>,
    sums: Sums,
}

/// That a row is in the state, or is not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    bytes: u64,
    /// Place and content of each row in the bucket.
    entries: Vec<(Digest, Digest)>,
    /// The other child at each level, from the leaf up.
    path: Vec<Digest>,
}

impl Default for StateTree {
    /// Of no rows.
    fn default() -> Self {
        let mut nodes = vec![Digest::ZERO; 2 * BUCKETS];
        let mut level = Bucket::default().digest().leaf();
        let mut width = BUCKETS;
        loop {
            nodes[width..2 * width].fill(level);
            if width == 1 {
                break;
            }
            level = node(&level, &level);
            width /= 2;
        }
        Self {
            buckets: vec![Bucket::default(); BUCKETS],
            nodes,
            dirty: BTreeSet::new(),
            rows: 0,
            sums: Sums::default(),
        }
    }
}

impl StateTree {
    /// Follows a change of the state. Rows that are no part of it change nothing.
    pub fn apply(&mut self, row: &Row) {
        if !row.table.is_state() {
            return;
        }
        let place = place(row.table, &row.key);
        match &row.value {
            Some(value) => self.put(row.table, &row.key, value, place),
            None => self.remove(row.table, place),
        }
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8], place: Digest) {
        let entry = Entry::new(table, key, value, place);
        let (content, bytes) = (entry.content, entry.bytes);
        let index = bucket_of(&place);
        let bucket = &mut self.buckets[index];
        let mut replaced = None;
        match bucket.find(&place) {
            Ok(at) if bucket.entries[at].content == content => return,
            Ok(at) => {
                bucket.bytes -= u64::from(bucket.entries[at].bytes);
                replaced = Some(std::mem::replace(&mut bucket.entries[at], entry).content);
            }
            Err(at) => {
                bucket.entries.insert(at, entry);
                self.rows += 1;
            }
        }
        bucket.bytes += u64::from(bytes);
        self.dirty.insert(index);
        replaced.iter().chain([&content]).for_each(|content| self.sums.toggle(table, content));
    }

    fn remove(&mut self, table: Table, place: Digest) {
        let index = bucket_of(&place);
        let bucket = &mut self.buckets[index];
        if let Ok(at) = bucket.find(&place) {
            let removed = bucket.entries.remove(at);
            bucket.bytes -= u64::from(removed.bytes);
            self.rows -= 1;
            self.dirty.insert(index);
            self.sums.toggle(table, &removed.content);
        }
    }

    /// Rows in the state.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// All contents, exclusive-or'ed: it costs nothing to keep up and is written with every batch, so that a row that
    /// vanished or came back from an older time is noticed at the next start. It detects accidents only.
    pub fn sum(&self) -> Digest {
        self.sums.all.digest()
    }

    /// Both sums, as they are written with a batch.
    pub fn local_sums(&self) -> [(Local, Vec<u8>); 2] {
        [(Local::Sum, self.sum().0.to_vec()), (Local::Published, self.published_sum().0.to_vec())]
    }

    /// Of the published zones alone ([`Table::Signed`]), which are shown before all else is read.
    pub fn published_sum(&self) -> Digest {
        self.sums.published.digest()
    }

    /// The root over all rows.
    pub fn root(&mut self) -> Digest {
        let mut level: BTreeSet<usize> = BTreeSet::new();
        for index in std::mem::take(&mut self.dirty) {
            self.nodes[BUCKETS + index] = self.buckets[index].digest().leaf();
            level.insert((BUCKETS + index) / 2);
        }
        while !level.is_empty() {
            let mut above = BTreeSet::new();
            for at in level {
                self.nodes[at] = node(&self.nodes[2 * at], &self.nodes[2 * at + 1]);
                if at > 1 {
                    above.insert(at / 2);
                }
            }
            level = above;
        }
        self.nodes[1]
    }

    /// What the root says of each bucket.
    pub fn bucket_digests(&self) -> Vec<BucketDigest> {
        self.buckets.iter().map(Bucket::digest).collect()
    }

    /// Proof of the row under this key, or that there is none, to the last [`Self::root`].
    pub fn prove(&self, table: Table, key: &[u8]) -> Proof {
        let index = bucket_of(&place(table, key));
        let bucket = &self.buckets[index];
        let mut at = BUCKETS + index;
        let mut path = Vec::with_capacity(STATE_BUCKET_BITS as usize);
        while at > 1 {
            path.push(self.nodes[at ^ 1]);
            at /= 2;
        }
        let entries = bucket.entries.iter().map(|entry| (entry.place, entry.content)).collect();
        Proof { bytes: bucket.bytes, entries, path }
    }
}

impl Bucket {
    fn find(&self, place: &Digest) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.place.cmp(place))
    }

    fn digest(&self) -> BucketDigest {
        BucketDigest::of_entries(&self.entries)
    }
}

impl RowDigests {
    /// Adds a row under a new key; its bucket.
    pub fn add(&mut self, table: Table, key: &[u8], value: &[u8]) -> usize {
        let place = place(table, key);
        let entry = Entry::new(table, key, value, place);
        self.sums.toggle(table, &entry.content);
        self.entries.push(entry);
        bucket_of(&place)
    }

    /// What the root says of each bucket.
    pub fn bucket_digests(mut self) -> Vec<BucketDigest> {
        self.entries.sort_unstable_by_key(|entry| entry.place);
        by_bucket(&self.entries).map(BucketDigest::of_entries).collect()
    }

    /// The tree of these rows.
    pub fn tree(mut self) -> StateTree {
        self.entries.sort_unstable_by_key(|entry| entry.place);
        let bucket = |entries: &[Entry]| Bucket {
            bytes: entries.iter().map(|entry| u64::from(entry.bytes)).sum(),
            entries: entries.to_vec(),
        };
        let buckets: Vec<Bucket> = by_bucket(&self.entries).map(bucket).collect();
        StateTree {
            dirty: (0..BUCKETS).filter(|&index| !buckets[index].entries.is_empty()).collect(),
            buckets,
            rows: self.entries.len() as u64,
            sums: self.sums,
            ..StateTree::default()
        }
    }
}

/// The entries of each bucket, of entries sorted by place.
fn by_bucket(mut rest: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    (0..BUCKETS).map(move |bucket| {
        let (found, after) = rest.split_at(rest.partition_point(|entry| bucket_of(&entry.place) <= bucket));
        rest = after;
        found
    })
}

impl Entry {
    fn new(table: Table, key: &[u8], value: &[u8], place: Digest) -> Self {
        let bytes = u32::try_from(row_bytes(key, value)).expect("rows are far below 4 GiB");
        Self { place, content: row_content(table, key, value), bytes }
    }
}

impl BucketDigest {
    /// Of the rows of one bucket, by place.
    fn of_entries(entries: &[Entry]) -> Self {
        let bytes = entries.iter().map(|entry| u64::from(entry.bytes)).sum();
        Self { bytes, content: bucket_content(entries.iter().map(|entry| (&entry.place, &entry.content))) }
    }

    /// Of rows that were copied, in any order. None if two of them have one key or one lies in another bucket.
    pub fn of_rows<'a>(bucket: usize, rows: impl IntoIterator<Item = CopiedRow<'a>>) -> Option<Self> {
        let mut bytes = 0;
        let mut entries = std::collections::BTreeMap::new();
        for (table, key, value) in rows {
            let place = place(table, key);
            bytes += row_bytes(key, value) as u64;
            if bucket_of(&place) != bucket || entries.insert(place, row_content(table, key, value)).is_some() {
                return None;
            }
        }
        Some(Self { bytes, content: bucket_content(entries.iter()) })
    }

    fn leaf(&self) -> Digest {
        LEAF.hash(&[&self.bytes.to_be_bytes(), &self.content.0])
    }
}

/// The root over these buckets, if they are as many as there must be.
pub fn root_of(buckets: &[BucketDigest]) -> Option<Digest> {
    if buckets.len() != BUCKETS {
        return None;
    }
    let mut level: Vec<Digest> = buckets.iter().map(BucketDigest::leaf).collect();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node(left, right)).collect();
    }
    level.pop()
}

impl Proof {
    /// Whether this shows, to `root`, that the row under this key has this value, or that there is none.
    pub fn shows(&self, root: &Digest, table: Table, key: &[u8], value: Option<&[u8]>) -> bool {
        let place = place(table, key);
        let ascends = self.entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let found = self.entries.iter().find(|entry| entry.0 == place).map(|entry| entry.1);
        let expected = value.map(|value| row_content(table, key, value));
        if !ascends || found != expected || self.path.len() != STATE_BUCKET_BITS as usize {
            return false;
        }
        let content = bucket_content(self.entries.iter().map(|(place, content)| (place, content)));
        let mut digest = BucketDigest { bytes: self.bytes, content }.leaf();
        let mut at = BUCKETS + bucket_of(&place);
        for other in &self.path {
            digest = if at.is_multiple_of(2) { node(&digest, other) } else { node(other, &digest) };
            at /= 2;
        }
        digest == *root
    }
}

/// The bucket of a row.
pub fn bucket(table: Table, key: &[u8]) -> usize {
    bucket_of(&place(table, key))
}

fn place(table: Table, key: &[u8]) -> Digest {
    PLACE.hash(&[&[table as u8], key])
}

fn bucket_of(place: &Digest) -> usize {
    usize::from(u16::from_be_bytes([place.0[0], place.0[1]]) >> (16 - STATE_BUCKET_BITS))
}

fn row_content(table: Table, key: &[u8], value: &[u8]) -> Digest {
    ROW.hash(&[&[table as u8], key, value])
}

fn bucket_content<'a>(entries: impl Iterator<Item = (&'a Digest, &'a Digest)>) -> Digest {
    let bytes: Vec<u8> = entries.flat_map(|(place, content)| [place.0, content.0]).flatten().collect();
    BUCKET.hash(&[&bytes])
}

/// Contents of rows, exclusive-or'ed, whatever the order.
#[derive(Clone, Copy, Default)]
pub struct RowSum(Digest);

impl RowSum {
    pub fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.toggle(&row_content(table, key, value));
    }

    fn toggle(&mut self, content: &Digest) {
        for (byte, other) in self.0.0.iter_mut().zip(content.0) {
            *byte ^= other;
        }
    }

    pub fn digest(self) -> Digest {
        self.0
    }
}

/// Of all rows, and of the published zones alone.
#[derive(Clone, Copy, Default)]
struct Sums {
    all: RowSum,
    published: RowSum,
}

impl Sums {
    fn toggle(&mut self, table: Table, content: &Digest) {
        self.all.toggle(content);
        if table == Table::Signed {
            self.published.toggle(content);
        }
    }
}

fn node(left: &Digest, right: &Digest) -> Digest {
    NODE.hash(&[&left.0, &right.0])
}

pub(super) fn row_bytes(key: &[u8], value: &[u8]) -> usize {
    ROW_HEAD + key.len() + value.len()
}

/// Table, key and value.
pub type CopiedRow<'a> = (Table, &'a [u8], &'a [u8]);

const ROW_HEAD: usize = 1 + 4 + 4;

/// Appends a row as it is copied from replica to replica: table ‖ length of key u32 ‖ length of value u32 ‖ key ‖ value.
pub fn write_row(out: &mut Vec<u8>, table: Table, key: &[u8], value: &[u8]) {
    out.push(table as u8);
    for part in [key, value] {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// The rows that `bytes` hold, as [`write_row`] wrote them; none if they hold anything else.
pub fn read_rows(mut bytes: &[u8]) -> Option<Vec<CopiedRow<'_>>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<ROW_HEAD>()?;
        let [table, k0, k1, k2, k3, v0, v1, v2, v3] = *head;
        let (key, rest) = rest.split_at_checked(u32::from_be_bytes([k0, k1, k2, k3]) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes([v0, v1, v2, v3]) as usize)?;
        rows.push((Table::from_number(table)?, key, value));
        bytes = rest;
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn row() -> impl Strategy<Value = Row> {
        let key = prop::collection::vec(any::<u8>(), 0..3);
        let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..20));
        (prop::sample::select(&[Table::Meta, Table::Title, Table::Signed][..]), key, value)
            .prop_map(|(table, key, value)| Row { table, key, value })
    }

    fn tree_of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> StateTree {
        let mut tree = StateTree::default();
        rows.into_iter().for_each(|row| tree.apply(row));
        tree
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn the_root_is_a_function_of_the_rows_alone(
            rows in prop::collection::vec(row(), 0..60), look in any::<prop::sample::Index>(),
        ) {
            let mut tree = StateTree::default();
            let look = look.index(rows.len() + 1);
            let mut state = BTreeMap::new();
            for (at, row) in rows.iter().enumerate() {
                if at == look {
                    let _ = tree.root();
                }
                tree.apply(row);
                match &row.value {
                    Some(value) => drop(state.insert((row.table, row.key.clone()), value.clone())),
                    None => drop(state.remove(&(row.table, row.key.clone()))),
                }
            }
            let last: Vec<Row> =
                state.iter().map(|((table, key), value)| Row::put(*table, key.clone(), value.clone())).collect();
            let root = tree.root();
            prop_assert_eq!(tree_of(last.iter().rev()).root(), root);
            prop_assert_eq!(tree.rows(), state.len() as u64);
            prop_assert_eq!(root_of(&tree.bucket_digests()), Some(root));
            for row in &rows {
                let value = state.get(&(row.table, row.key.clone())).map(Vec::as_slice);
                let proof = tree.prove(row.table, &row.key);
                prop_assert!(proof.shows(&root, row.table, &row.key, value));
                prop_assert!(!proof.shows(&root, row.table, &row.key, Some(b"something else, longer than any")));
                prop_assert!(value.is_none() || !proof.shows(&root, row.table, &row.key, None));
            }
        }

        #[test]
        fn copied_rows_have_the_digest_of_their_bucket(
            rows in prop::collection::vec(row(), 0..60), later in prop::collection::vec(row(), 0..20),
        ) {
            let mut tree = tree_of(&rows);
            tree.root();
            let digests = tree.bucket_digests();
            let state: BTreeMap<_, _> =
                rows.iter().map(|row| ((row.table, row.key.clone()), row.value.clone())).collect();
            let mut unordered = [RowDigests::default(), RowDigests::default()];
            for ((table, key), value) in &state {
                for rows in &mut unordered {
                    let added = value.as_ref().map(|value| rows.add(*table, key, value));
                    prop_assert!(added.is_none_or(|added| added == bucket(*table, key)));
                }
            }
            let [unordered, others] = unordered;
            prop_assert_eq!(unordered.bucket_digests(), digests.clone());
            let mut sorted = others.tree();
            prop_assert_eq!((sorted.root(), sorted.rows()), (tree.root(), tree.rows()));
            prop_assert_eq!(sorted.local_sums(), tree.local_sums());
            prop_assert_eq!(sorted.bucket_digests(), digests.clone());
            let present = || state.iter().filter_map(|((table, key), value)| Some((*table, key, value.as_ref()?)));
            for row in &later {
                sorted.apply(row);
                tree.apply(row);
                prop_assert_eq!((sorted.root(), sorted.local_sums()), (tree.root(), tree.local_sums()));
                prop_assert_eq!(sorted.prove(row.table, &row.key), tree.prove(row.table, &row.key));
            }
            for (index, expected) in digests.iter().enumerate() {
                let mut bytes = Vec::new();
                for (table, key, value) in present().filter(|(table, key, _)| bucket(*table, key) == index) {
                    write_row(&mut bytes, table, key, value);
                }
                prop_assert_eq!(bytes.len() as u64, expected.bytes);
                prop_assert_eq!(BucketDigest::of_rows(index, read_rows(&bytes).unwrap()), Some(*expected));
                if let Some((table, key, value)) = read_rows(&bytes).unwrap().first() {
                    let twice = [(*table, *key, *value), (*table, *key, *value)];
                    prop_assert_eq!(BucketDigest::of_rows(index, twice), None);
                    prop_assert_eq!(BucketDigest::of_rows(index ^ 1, [twice[0]]), None);
                    prop_assert_eq!(read_rows(&bytes[..bytes.len() - 1]), None);
                }
            }
        }
    }

    #[test]
    fn the_root_of_given_rows_is_frozen() {
        let rows = [Row::put(Table::Meta, b"progress", vec![1, 2]), Row::put(Table::Title, b"\x05alice", vec![0; 70])];
        let lines = [StateTree::default().root(), tree_of(&rows).root()].map(|root| root.to_string());
        assert_eq!(lines.join("\n"), include_str!("../../tests/golden/state-root.txt").trim_end());
    }
}
