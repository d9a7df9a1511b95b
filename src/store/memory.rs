//! The store in memory, with a crash model: what is not yet durable may be lost, the latest batches first.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::sync::Arc;

use imbl::OrdMap;

use super::schema;
use super::{Batch, Counters, Durability, Local, OwnRecord, Read, Store, StoreError, StoredBlock};
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::rows::{Table, TableRows};

/// A store that lives as long as the process: for the simulator and for tests.
pub struct MemoryStore {
    network: Digest,
    genesis: Arc<[u8]>,
    /// As a power cut would leave it at worst.
    durable: Contents,
    /// After each batch since: a power cut leaves any one of these.
    lazy: VecDeque<Contents>,
    /// Key of a value whose bytes are wrong, rows and blocks told apart: reading it is an error.
    damaged: Option<(bool, Vec<u8>)>,
    copies: BTreeMap<u64, Contents>,
    staged: Option<Box<MemoryStore>>,
}

/// Maps that share their nodes copy them, keys and all, when one of them changes: this copies no bytes.
type Key = Arc<[u8]>;

/// One state of the store. Copies share what they have in common.
#[derive(Clone, Default)]
struct Contents {
    counters: Counters,
    rows: OrdMap<Key, Arc<[u8]>>,
    blocks: OrdMap<Key, Arc<[u8]>>,
    local: BTreeMap<Local, Vec<u8>>,
}

impl MemoryStore {
    pub fn create(network: Digest, genesis: &[u8]) -> Self {
        Self::with(network, genesis.into(), Contents::default())
    }

    /// As [`RocksStore::create_after_loss`](super::rocks::RocksStore::create_after_loss).
    pub fn create_after_loss(network: Digest, genesis: &[u8]) -> Self {
        let mut store = Self::create(network, genesis);
        store.durable.local.insert(Local::Lost, Vec::new());
        store
    }

    fn with(network: Digest, genesis: Arc<[u8]>, durable: Contents) -> Self {
        Self { network, genesis, durable, lazy: VecDeque::new(), copies: BTreeMap::new(), staged: None, damaged: None }
    }

    /// The check that opening a database makes.
    pub fn reopen(&self, network: Digest) -> Result<(), StoreError> {
        if self.network != network {
            return Err(StoreError::WrongNetwork {
                path: PathBuf::from("memory"),
                found: self.network,
                expected: network,
            });
        }
        Ok(())
    }

    /// Batches that a power cut may lose.
    pub fn not_durable(&self) -> usize {
        self.lazy.len()
    }

    /// A power cut after which `kept` of the batches that were not yet durable are there all the same.
    pub fn power_cut(&mut self, kept: usize) {
        self.lazy.truncate(kept);
        self.make_durable();
        if let Some(staged) = &mut self.staged {
            staged.power_cut(kept);
        }
    }

    /// The disk as a power cut now would leave it at worst.
    pub fn durable_copy(&self) -> Self {
        Self {
            network: self.network,
            genesis: Arc::clone(&self.genesis),
            durable: self.durable.clone(),
            lazy: VecDeque::new(),
            copies: self.copies.clone(),
            staged: self.staged.as_ref().map(|staged| Box::new(staged.durable_copy())),
            damaged: self.damaged.clone(),
        }
    }

    /// A bit of the value that `which` points to flips on the disk. Nothing happens if the disk is empty.
    pub fn damage(&mut self, which: usize) {
        let contents = self.current();
        let rows = contents.rows.keys().map(|key| (false, key));
        let keys: Vec<(bool, &Key)> = rows.chain(contents.blocks.keys().map(|key| (true, key))).collect();
        if !keys.is_empty() {
            let (is_block, key) = keys[which % keys.len()];
            self.damaged = Some((is_block, key.to_vec()));
        }
    }

    /// The bytes of a value carry a checksum: wrong ones are reported, never returned.
    fn intact(&self, is_block: bool, key: &[u8]) -> Result<(), StoreError> {
        match &self.damaged {
            Some((block, damaged)) if *block == is_block && damaged == key => {
                let what = format!("a value with a wrong checksum (key {})", data_encoding::HEXLOWER.encode(key));
                Err(StoreError::Corrupt { path: PathBuf::from("memory"), what })
            }
            _ => Ok(()),
        }
    }

    fn make_durable(&mut self) {
        if let Some(last) = self.lazy.pop_back() {
            self.durable = last;
            self.lazy.clear();
        }
    }

    fn current(&self) -> &Contents {
        self.lazy.back().unwrap_or(&self.durable)
    }
}

impl Contents {
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.counters = self.counters.after(&batch)?;
        for row in batch.rows {
            let key = schema::row_key(row.table, &row.key);
            match row.value {
                Some(value) => self.rows.insert(key.into(), value.into()),
                None => self.rows.remove(key.as_slice()),
            };
        }
        for (round, author, digest, bytes) in batch.blocks {
            self.blocks.insert(schema::block_key(round, author, &digest).into(), bytes.into());
        }
        self.local.extend(batch.local);
        if let Some(below) = batch.prune_blocks_below {
            self.prune(&schema::round_key(below));
        }
        Ok(())
    }

    fn prune(&mut self, below: &[u8]) {
        while let Some((key, _)) = self.blocks.get_min().filter(|(key, _)| key.as_ref() < below) {
            let key = Arc::clone(key);
            self.blocks.remove(&key);
        }
    }
}

impl Store for MemoryStore {
    type Copy = Self;

    fn commit(&mut self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        if batch.durability(durability) == Durability::Sync {
            // Where it stands: nobody goes back behind it. An error comes before any change.
            self.current().counters.after(&batch)?;
            self.make_durable();
            return self.durable.apply(batch);
        }
        let mut next = self.current().clone();
        next.apply(batch)?;
        self.lazy.push_back(next);
        Ok(())
    }

    fn keep_copy(&mut self, height: u64) -> Result<(), StoreError> {
        self.make_durable();
        let rows = self.durable.rows.clone();
        self.copies.insert(height, Contents { rows, ..Contents::default() });
        Ok(())
    }

    fn release_copies(&mut self, height: u64) -> Result<(), StoreError> {
        self.copies = self.copies.split_off(&height);
        Ok(())
    }

    fn copy(&self, height: u64) -> Result<Option<Self>, StoreError> {
        let copy = self.copies.get(&height).cloned();
        Ok(copy.map(|contents| Self::with(self.network, Arc::clone(&self.genesis), contents)))
    }

    fn begin_staging(&mut self) -> Result<(), StoreError> {
        let empty = Self::with(self.network, Arc::clone(&self.genesis), Contents::default());
        self.staged = Some(Box::new(empty));
        Ok(())
    }

    fn stage(&mut self, batch: Batch) -> Result<(), StoreError> {
        let nothing = || StoreError::NothingStaged { path: PathBuf::from("memory") };
        self.staged.as_mut().ok_or_else(nothing)?.commit(batch, Durability::Lazy)
    }

    fn staged(&self) -> Option<&dyn Read> {
        self.staged.as_deref().map(|staged| staged as &dyn Read)
    }

    fn adopt_staged(&mut self) -> Result<(), StoreError> {
        let nothing = || StoreError::NothingStaged { path: PathBuf::from("memory") };
        let mut staged = self.staged.take().ok_or_else(nothing)?;
        staged.make_durable();
        staged.durable.counters = self.current().counters;
        // What was seen of others' misdeeds moves along, unless it is damaged too.
        for (key, value) in self.scan(Table::Evidence, &[]).unwrap_or_default() {
            staged.durable.rows.insert(schema::row_key(Table::Evidence, &key).into(), value.into());
        }
        if let Some(lost) = self.current().local.get(&Local::Lost) {
            staged.durable.local.insert(Local::Lost, lost.clone());
        }
        *self = *staged;
        Ok(())
    }
}

impl Read for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = schema::row_key(table, key);
        self.intact(false, &key)?;
        Ok(self.current().rows.get(key.as_slice()).map(|value| value.to_vec()))
    }

    fn page(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<TableRows, StoreError> {
        let prefix = schema::row_key(table, prefix);
        let start = match after.map(|key| schema::row_key(table, key)) {
            Some(key) if key >= prefix => Bound::Excluded(Arc::from(key)),
            _ => Bound::Included(Arc::from(prefix.as_slice())),
        };
        let rows = self.current().rows.range::<_, Key>((start, Bound::Unbounded));
        let within = rows.take_while(|(key, _)| key.starts_with(&prefix)).take(limit);
        within.map(|(key, value)| self.intact(false, key).map(|()| (key[1..].to_vec(), value.to_vec()))).collect()
    }

    fn block(&self, round: u64, author: ReplicaId, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let key = schema::block_key(round, author, digest);
        self.intact(true, &key)?;
        Ok(self.current().blocks.get(key.as_slice()).map(|bytes| bytes.to_vec()))
    }

    fn blocks_in(&self, rounds: Range<u64>) -> Result<Vec<StoredBlock>, StoreError> {
        if rounds.is_empty() {
            return Ok(Vec::new());
        }
        let keys = Key::from(schema::round_key(rounds.start))..Key::from(schema::round_key(rounds.end));
        let blocks = self.current().blocks.range(keys).map(|(key, bytes)| {
            self.intact(true, key)?;
            let (round, author, digest) = schema::parse_block_key(key).expect("written by `block_key`");
            Ok(StoredBlock { round, author, digest, bytes: bytes.to_vec() })
        });
        blocks.collect()
    }

    fn own_last(&self) -> Result<OwnRecord, StoreError> {
        Ok(self.current().counters.own)
    }

    fn boot(&self) -> Result<u64, StoreError> {
        Ok(self.current().counters.boot)
    }

    fn local(&self, local: Local) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.current().local.get(&local).cloned())
    }

    fn next_round(&self, round: u64) -> Result<Option<u64>, StoreError> {
        let mut blocks = self.current().blocks.range(Key::from(schema::round_key(round))..);
        Ok(blocks.next().and_then(|(key, _)| schema::parse_block_key(key)).map(|(round, ..)| round))
    }

    fn genesis(&self) -> Result<Vec<u8>, StoreError> {
        Ok(self.genesis.to_vec())
    }
}
