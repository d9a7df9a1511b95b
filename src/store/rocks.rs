//! The store on disk: RocksDB.
//!
//! A data directory holds `rocks/`, RocksDB's own, and `durable`, the mark of the `journal` module. Lazy batches go to
//! the write-ahead log without waiting for the disk. Recovery after a crash is to a point in time: the log counts up to
//! its first unsound record. If that lies below the mark, what was durable is damaged and the database is refused.
//!
//! A database whose state was copied from others takes the place of the one before it as the next *generation*:
//!
//! ```text
//! rocks/, durable               generation 0, made by the ceremony
//! generation-N/rocks, …/durable the others
//! current                       number of the one that counts; generation 0 if the file is not there
//! staged/rocks, …/durable       what is being copied from others
//! copies/HEIGHT/                the rows at the height of a signed head, for others to copy: hard links to the same files
//! ```
//!
//! The file `current` is replaced by a rename: before it the old generation counts, after it the new one. What does not
//! count is removed when the store is opened.
//!
//! Cloned readers keep the database open: it closes, and its lock is free, when the store and all readers are dropped.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, ErrorKind,
    IteratorMode, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::journal::Mark;
use super::schema::{self, BLOCKS, BOOT_KEY, GENESIS_KEY, META, NETWORK_KEY, OWN_KEY, ROWS, SCHEMA, SCHEMA_KEY};
use super::{Batch, Counters, Durability, Local, OwnRecord, Read, Store, StoreError, StoredBlock};
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::limits;
use crate::rows::{Row, Table, TableRows};

/// The one writer.
pub struct RocksStore {
    /// The data directory.
    home: PathBuf,
    generation: u64,
    staged: Option<Box<RocksStore>>,
    reader: RocksReader,
    mark: Mark,
    counters: Counters,
    /// Blocks below may be gone for good once the prune itself is durable.
    prune_when_durable: Option<u64>,
    failed: bool,
}

/// A handle for reading, from any thread.
#[derive(Clone)]
pub struct RocksReader {
    database: Arc<DB>,
    path: PathBuf,
}

impl RocksStore {
    /// A new database in `path`, for the ceremony: no own block, no start yet. Refuses to overwrite.
    pub fn create(path: &Path, network: Digest, genesis: &[u8]) -> Result<Self, StoreError> {
        if database_path(path).exists() || mark_path(path).exists() || current_path(path).exists() {
            return Err(StoreError::Exists { path: path.into() });
        }
        fs::create_dir_all(path).map_err(|error| io_error(path, &error))?;
        let mut options = database_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
        let reader = RocksReader::open(path, &options)?;

        let mut batch = WriteBatch::default();
        reader.put(&mut batch, META, SCHEMA_KEY, SCHEMA.to_be_bytes().to_vec());
        reader.put(&mut batch, META, NETWORK_KEY, network.0.to_vec());
        reader.put(&mut batch, META, GENESIS_KEY, genesis.to_vec());
        reader.put(&mut batch, META, OWN_KEY, 0u64.to_be_bytes().to_vec());
        reader.put(&mut batch, META, BOOT_KEY, 0u64.to_be_bytes().to_vec());
        reader.write(batch, Durability::Sync)?;
        let mark = Mark::create(&mark_path(path), reader.database.latest_sequence_number())
            .map_err(|error| io_error(path, &error))?;
        sync_directories(path).map_err(|error| io_error(path, &error))?;
        Ok(Self::with(path, 0, reader, mark, Counters::default()))
    }

    /// A new database for a replica whose disk was lost: it has no own record, and says so.
    pub fn create_after_loss(path: &Path, network: Digest, genesis: &[u8]) -> Result<Self, StoreError> {
        let mut store = Self::create(path, network, genesis)?;
        let local = [(Local::Lost, Vec::new())].into();
        store.commit(Batch { local, ..Batch::default() }, Durability::Sync)?;
        Ok(store)
    }

    /// The database in `path`, if it is there, whole, free, and of this network.
    pub fn open(path: &Path, network: Digest) -> Result<Self, StoreError> {
        let store = Self::open_any(path)?;
        store.reader.check_network(network)?;
        Ok(store)
    }

    /// The database in `path`, if it is there, whole and free. What network it is of follows from its genesis: the
    /// caller takes the digest and asks [`RocksReader::check_network`].
    pub fn open_any(path: &Path) -> Result<Self, StoreError> {
        let generation = current_generation(path)?;
        let mut store = Self::open_at(path, generation, &generation_path(path, generation))?;
        remove_other_generations(path, generation).map_err(|error| io_error(path, &error))?;
        let staged = staged_path(path);
        if staged.exists() {
            match Self::open_at(&staged, 0, &staged) {
                Ok(left_behind) => store.staged = Some(Box::new(left_behind)),
                // It was cut off, or is damaged: what it held can be copied again.
                Err(_) => fs::remove_dir_all(&staged).map_err(|error| io_error(path, &error))?,
            }
        }
        Ok(store)
    }

    fn with(home: &Path, generation: u64, reader: RocksReader, mark: Mark, counters: Counters) -> Self {
        let home = home.into();
        Self { home, generation, staged: None, reader, mark, counters, prune_when_durable: None, failed: false }
    }

    fn open_at(home: &Path, generation: u64, path: &Path) -> Result<Self, StoreError> {
        if !database_path(path).join("CURRENT").exists() {
            return Err(StoreError::Missing { path: path.into() });
        }
        let reader = RocksReader::open(path, &database_options())?;
        let (mark, durable) = match Mark::open(&mark_path(path)) {
            Ok(Some(mark)) => mark,
            Ok(None) => return Err(reader.corrupt("the mark of what is durable is unreadable")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(reader.corrupt("it has no mark of what is durable: it was not created to its end"));
            }
            Err(error) => return Err(io_error(path, &error)),
        };
        let found = reader.database.latest_sequence_number();
        if found < durable {
            return Err(reader.corrupt(&format!("writes {} to {durable} were durable and are gone", found + 1)));
        }
        reader.check_schema()?;
        let counters = Counters { own: reader.own_last()?, boot: reader.boot()? };
        Ok(Self::with(home, generation, reader, mark, counters))
    }

    /// A handle for reading, from any thread.
    pub fn reader(&self) -> RocksReader {
        self.reader.clone()
    }

    fn write(&mut self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        let pruned = batch.prune_blocks_below;
        self.reader.write(self.reader.encode(batch), durability)?;
        self.prune_when_durable = self.prune_when_durable.max(pruned);
        if durability == Durability::Lazy {
            return Ok(());
        }
        let sequence = self.reader.database.latest_sequence_number();
        self.mark.note(sequence).map_err(|error| io_error(&self.reader.path, &error))?;
        if let Some(below) = self.prune_when_durable.take() {
            self.reader.delete_files_below(below)?;
        }
        Ok(())
    }
}

impl RocksStore {
    fn nothing_staged(&self) -> StoreError {
        StoreError::NothingStaged { path: self.home.clone() }
    }

    /// Numbers of the copies there are.
    fn copies(&self) -> Result<Vec<u64>, StoreError> {
        let entries = match fs::read_dir(copies_path(&self.home)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(&self.home, &error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    fn remove_copy(&self, height: u64) -> Result<(), StoreError> {
        fs::remove_dir_all(copy_path(&self.home, height)).map_err(|error| io_error(&self.home, &error))
    }

    /// Bytes that the blocks take on the disk.
    pub fn block_bytes(&self) -> Result<u64, StoreError> {
        let family = self.reader.family(BLOCKS);
        let bytes = self.reader.database.property_int_value_cf(family, rocksdb::properties::TOTAL_SST_FILES_SIZE);
        bytes.map(Option::unwrap_or_default).map_err(|error| database_error(&self.home, &error))
    }
}

impl Store for RocksStore {
    type Copy = RocksReader;

    fn commit(&mut self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let counters = self.counters.after(&batch)?;
        let durability = batch.durability(durability);
        let written = self.write(batch, durability);
        self.failed = written.is_err();
        // Even if it failed: the block may be on the disk.
        self.counters = counters;
        written
    }

    fn keep_copy(&mut self, height: u64) -> Result<(), StoreError> {
        self.commit(Batch::default(), Durability::Sync)?;
        if self.copies()?.contains(&height) {
            self.remove_copy(height)?;
        }
        fs::create_dir_all(copies_path(&self.home)).map_err(|error| io_error(&self.home, &error))?;
        let checkpoint = Checkpoint::new(&self.reader.database);
        let made = checkpoint.and_then(|checkpoint| checkpoint.create_checkpoint(copy_path(&self.home, height)));
        made.map_err(|error| database_error(&self.home, &error))
    }

    fn release_copies(&mut self, height: u64) -> Result<(), StoreError> {
        self.copies()?.into_iter().filter(|copy| *copy < height).try_for_each(|copy| self.remove_copy(copy))
    }

    fn copy(&self, height: u64) -> Result<Option<RocksReader>, StoreError> {
        open_copy(&self.home, height)
    }

    fn begin_staging(&mut self) -> Result<(), StoreError> {
        // Its database is closed before its files go.
        drop(self.staged.take());
        let path = staged_path(&self.home);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| io_error(&path, &error))?;
        }
        let network = Digest(self.reader.meta_array(NETWORK_KEY)?);
        self.staged = Some(Box::new(Self::create(&path, network, &self.genesis()?)?));
        Ok(())
    }

    fn stage(&mut self, batch: Batch) -> Result<(), StoreError> {
        let nothing = self.nothing_staged();
        self.staged.as_mut().ok_or(nothing)?.commit(batch, Durability::Lazy)
    }

    fn staged(&self) -> Option<&dyn Read> {
        self.staged.as_deref().map(|staged| staged as &dyn Read)
    }

    fn adopt_staged(&mut self) -> Result<(), StoreError> {
        *self = self.detach_staged()?.succeed()?;
        remove_other_generations(&self.home, self.generation).map_err(|error| io_error(&self.home, &error))?;
        self.release_copies(u64::MAX)
    }
}

/// A staged store apart from the one it will take the place of: it is made ready on another thread, while that one serves.
pub struct Successor {
    staged: RocksStore,
    home: PathBuf,
    generation: u64,
}

impl RocksStore {
    /// What was staged, with own record and boot number, and what says that the record was lost. Neither may change here until
    /// [`Successor::succeed`].
    pub fn detach_staged(&mut self) -> Result<Successor, StoreError> {
        let mut staged = *self.staged.take().ok_or_else(|| self.nothing_staged())?;
        let Counters { own, boot } = self.counters;
        let (own, boot) = (Some(own).filter(|own| *own > staged.counters.own), Some(boot));
        let boot = boot.filter(|boot| *boot > staged.counters.boot);
        let local = self.local(Local::Lost)?.map(|lost| (Local::Lost, lost)).into_iter().collect();
        // What was seen of others' misdeeds moves along, unless it is damaged too.
        let seen = self.scan(Table::Evidence, &[]).unwrap_or_default();
        let rows = seen.into_iter().map(|(key, value)| Row::put(Table::Evidence, key, value)).collect();
        staged.commit(Batch { own, boot, local, rows, ..Batch::default() }, Durability::Sync)?;
        Ok(Successor { staged, home: self.home.clone(), generation: self.generation + 1 })
    }

    /// Closes a store that another has taken the place of, once nobody reads it any more, and removes its files.
    pub fn retire(self) -> Result<(), StoreError> {
        while Arc::strong_count(&self.reader.database) > 1 {
            std::thread::sleep(limits::RETIRE_POLL);
        }
        let home = self.home.clone();
        drop(self);
        let failed = |error: io::Error| io_error(&home, &error);
        let current = current_generation(&home)?;
        remove_other_generations(&home, current).map_err(failed)
    }

    /// Where its files are: a value of its own for each generation.
    pub fn path(&self) -> &Path {
        &self.reader.path
    }
}

impl Successor {
    /// The store while it is still beside the other.
    pub fn store(&mut self) -> &mut RocksStore {
        &mut self.staged
    }

    /// From here on, and after a power cut, this is the store of the replica.
    pub fn succeed(self) -> Result<RocksStore, StoreError> {
        let Self { mut staged, home, generation } = self;
        staged.commit(Batch::default(), Durability::Sync)?;
        drop(staged);
        let to = generation_path(&home, generation);
        let failed = |error: io::Error| io_error(&to, &error);
        if to.exists() {
            fs::remove_dir_all(&to).map_err(failed)?;
        }
        fs::rename(staged_path(&home), &to).map_err(failed)?;
        sync_directories(&to).map_err(failed)?;
        let next = RocksStore::open_at(&home, generation, &to)?;
        write_generation(&home, generation).map_err(failed)?;
        Ok(next)
    }
}

impl RocksReader {
    fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(limits::STORE_BLOCK_CACHE);
        let families = [META, ROWS, BLOCKS].map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache)));
        let database = DB::open_cf_descriptors(options, database_path(path), families)
            .map_err(|error| database_error(path, &error))?;
        Ok(Self { database: Arc::new(database), path: path.into() })
    }

    /// The rows of a copy, to be read only.
    fn open_copy(path: &Path) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(limits::STORE_BLOCK_CACHE);
        let families = [META, ROWS].map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache)));
        let database = DB::open_cf_descriptors_read_only(&database_options(), path, families, false)
            .map_err(|error| database_error(path, &error))?;
        Ok(Self { database: Arc::new(database), path: path.into() })
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        let schema = u32::from_be_bytes(self.meta_array(SCHEMA_KEY)?);
        if schema != SCHEMA {
            return Err(StoreError::WrongSchema { path: self.path.clone(), found: schema, expected: SCHEMA });
        }
        Ok(())
    }

    /// Refuses the database of another network.
    pub fn check_network(&self, network: Digest) -> Result<(), StoreError> {
        let found = Digest(self.meta_array(NETWORK_KEY)?);
        if found != network {
            return Err(StoreError::WrongNetwork { path: self.path.clone(), found, expected: network });
        }
        Ok(())
    }

    fn encode(&self, batch: Batch) -> WriteBatch {
        let mut written = WriteBatch::default();
        for row in batch.rows {
            let key = schema::row_key(row.table, &row.key);
            match row.value {
                Some(value) => self.put(&mut written, ROWS, &key, value),
                None => written.delete_cf(self.family(ROWS), key),
            }
        }
        for (round, author, digest, bytes) in batch.blocks {
            self.put(&mut written, BLOCKS, &schema::block_key(round, author, &digest), bytes);
        }
        if let Some(own) = batch.own {
            self.put(&mut written, META, OWN_KEY, own.round.to_be_bytes().to_vec());
        }
        if let Some(boot) = batch.boot {
            self.put(&mut written, META, BOOT_KEY, boot.to_be_bytes().to_vec());
        }
        for (local, value) in batch.local {
            self.put(&mut written, META, local.key(), value);
        }
        if let Some(below) = batch.prune_blocks_below {
            written.delete_range_cf(self.family(BLOCKS), schema::round_key(0), schema::round_key(below));
        }
        written
    }

    fn put(&self, batch: &mut WriteBatch, family: &str, key: &[u8], value: Vec<u8>) {
        batch.put_cf(self.family(family), key, schema::seal(family, key, value));
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Sync);
        self.database.write_opt(batch, &options).map_err(|error| database_error(&self.path, &error))
    }

    /// Whole files of pruned blocks go at once, instead of when compaction comes by.
    fn delete_files_below(&self, round: u64) -> Result<(), StoreError> {
        let Some(last) = round.checked_sub(1) else { return Ok(()) };
        self.database
            .delete_file_in_range_cf(self.family(BLOCKS), schema::round_key(0), schema::round_key(last))
            .map_err(|error| database_error(&self.path, &error))
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.database.cf_handle(name).expect("opened with all families")
    }

    fn value(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self
            .database
            .get_pinned_cf_opt(self.family(family), key, &read_options())
            .map_err(|error| database_error(&self.path, &error))?;
        stored.map(|stored| self.unseal(family, key, &stored)).transpose()
    }

    fn unseal(&self, family: &str, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        let value = schema::unseal(family, key, stored);
        value.map(<[u8]>::to_vec).ok_or_else(|| {
            let key = data_encoding::HEXLOWER.encode(key);
            self.corrupt(&format!("the value of {family} {key} is not what was written"))
        })
    }

    fn meta(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let name = String::from_utf8_lossy(key);
        self.value(META, key)?.ok_or_else(|| self.corrupt(&format!("its {name} record is missing")))
    }

    fn meta_array<const N: usize>(&self, key: &[u8]) -> Result<[u8; N], StoreError> {
        let name = String::from_utf8_lossy(key);
        let value = self.meta(key)?;
        value.try_into().map_err(|_| self.corrupt(&format!("its {name} record has the wrong length")))
    }

    /// Keys from `start` to before `end`, in order, until `limit` or until `end` if there is one.
    fn range(&self, family: &str, start: &[u8], end: Option<Vec<u8>>, limit: usize) -> Result<TableRows, StoreError> {
        let mut options = read_options();
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        let mode = IteratorMode::From(start, Direction::Forward);
        let mut found = Vec::new();
        for entry in self.database.iterator_cf_opt(self.family(family), options, mode).take(limit) {
            let (key, stored) = entry.map_err(|error| database_error(&self.path, &error))?;
            let value = self.unseal(family, &key, &stored)?;
            found.push((key.into_vec(), value));
        }
        Ok(found)
    }

    fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), what: what.into() }
    }
}

impl Read for RocksReader {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.value(ROWS, &schema::row_key(table, key))
    }

    fn page(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<TableRows, StoreError> {
        let prefix = schema::row_key(table, prefix);
        let after = after.map(|key| {
            let mut next = schema::row_key(table, key);
            next.push(0);
            next
        });
        let start = after.map_or(prefix.clone(), |after| after.max(prefix.clone()));
        if !start.starts_with(&prefix) {
            return Ok(Vec::new());
        }
        let rows = self.range(ROWS, &start, schema::after_prefix(&prefix), limit)?;
        Ok(rows.into_iter().map(|(key, value)| (key[1..].to_vec(), value)).collect())
    }

    fn block(&self, round: u64, author: ReplicaId, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.value(BLOCKS, &schema::block_key(round, author, digest))
    }

    fn blocks_in(&self, rounds: Range<u64>) -> Result<Vec<StoredBlock>, StoreError> {
        if rounds.is_empty() {
            return Ok(Vec::new());
        }
        let end = schema::round_key(rounds.end).to_vec();
        let blocks = self.range(BLOCKS, &schema::round_key(rounds.start), Some(end), usize::MAX)?;
        let parsed = blocks.into_iter().map(|(key, bytes)| {
            let (round, author, digest) =
                schema::parse_block_key(&key).ok_or_else(|| self.corrupt("a block's key has the wrong length"))?;
            Ok(StoredBlock { round, author, digest, bytes })
        });
        parsed.collect()
    }

    fn local(&self, local: Local) -> Result<Option<Vec<u8>>, StoreError> {
        self.value(META, local.key())
    }

    fn next_round(&self, round: u64) -> Result<Option<u64>, StoreError> {
        let first = self.range(BLOCKS, &schema::round_key(round), None, 1)?.pop();
        let parsed = first.map(|(key, _)| schema::parse_block_key(&key).map(|(round, ..)| round));
        let bad = || self.corrupt("a block's key has the wrong length");
        parsed.map(|round| round.ok_or_else(bad)).transpose()
    }

    fn own_last(&self) -> Result<OwnRecord, StoreError> {
        Ok(OwnRecord { round: u64::from_be_bytes(self.meta_array(OWN_KEY)?) })
    }

    fn boot(&self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.meta_array(BOOT_KEY)?))
    }

    fn genesis(&self) -> Result<Vec<u8>, StoreError> {
        self.meta(GENESIS_KEY)
    }
}

impl Read for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader.get(table, key)
    }

    fn page(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<TableRows, StoreError> {
        self.reader.page(table, prefix, after, limit)
    }

    fn block(&self, round: u64, author: ReplicaId, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader.block(round, author, digest)
    }

    fn blocks_in(&self, rounds: Range<u64>) -> Result<Vec<StoredBlock>, StoreError> {
        self.reader.blocks_in(rounds)
    }

    fn local(&self, local: Local) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader.local(local)
    }

    fn next_round(&self, round: u64) -> Result<Option<u64>, StoreError> {
        self.reader.next_round(round)
    }

    fn own_last(&self) -> Result<OwnRecord, StoreError> {
        Ok(self.counters.own)
    }

    fn boot(&self) -> Result<u64, StoreError> {
        Ok(self.counters.boot)
    }

    fn genesis(&self) -> Result<Vec<u8>, StoreError> {
        self.reader.genesis()
    }
}

/// The copy kept under `height` in the data directory `home`, if there is one.
pub fn open_copy(home: &Path, height: u64) -> Result<Option<RocksReader>, StoreError> {
    let path = copy_path(home, height);
    if path.exists() { RocksReader::open_copy(&path).map(Some) } else { Ok(None) }
}

fn database_path(path: &Path) -> PathBuf {
    path.join("rocks")
}

fn current_path(path: &Path) -> PathBuf {
    path.join("current")
}

fn staged_path(path: &Path) -> PathBuf {
    path.join("staged")
}

fn copies_path(path: &Path) -> PathBuf {
    path.join("copies")
}

fn copy_path(path: &Path, height: u64) -> PathBuf {
    copies_path(path).join(height.to_string())
}

fn generation_path(path: &Path, generation: u64) -> PathBuf {
    if generation == 0 { path.into() } else { path.join(format!("generation-{generation}")) }
}

/// The generation that counts.
fn current_generation(path: &Path) -> Result<u64, StoreError> {
    match fs::read_to_string(current_path(path)) {
        Ok(text) => text.trim().parse().map_err(|_| StoreError::Corrupt {
            path: current_path(path),
            what: "it holds no number of a generation".into(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error(path, &error)),
    }
}

/// From now on, and after a power cut, `generation` counts.
fn write_generation(path: &Path, generation: u64) -> io::Result<()> {
    let temporary = path.join("current.new");
    fs::write(&temporary, format!("{generation}\n"))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, current_path(path))?;
    fs::File::open(path)?.sync_all()
}

fn remove_other_generations(path: &Path, current: u64) -> io::Result<()> {
    if current > 0 && database_path(path).exists() {
        fs::remove_dir_all(database_path(path))?;
        fs::remove_file(mark_path(path))?;
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("generation-")?.parse::<u64>().ok());
        if number.is_some_and(|number| number != current) {
            fs::remove_dir_all(path.join(name))?;
        }
    }
    Ok(())
}

fn mark_path(path: &Path) -> PathBuf {
    path.join("durable")
}

/// Makes the entries of a new data directory durable, and its own in the directory above.
fn sync_directories(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    fs::File::open(&path)?.sync_all()?;
    path.parent().map_or(Ok(()), |above| fs::File::open(above)?.sync_all())
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_db_write_buffer_size(limits::STORE_WRITE_BUFFERS);
    options.set_max_total_wal_size(limits::STORE_LOG);
    options.set_max_open_files(limits::STORE_OPEN_FILES);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1024 * 1024);
    options.set_log_level(LogLevel::Warn);
    // No timer of RocksDB writes to an idle disk.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(limits::STORE_WRITE_BUFFER);
    options
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io { path: path.into(), what: error.to_string() }
}

fn database_error(path: &Path, error: &rocksdb::Error) -> StoreError {
    let path = path.to_path_buf();
    let what = error.to_string();
    match error.kind() {
        ErrorKind::IOError if what.contains("While lock file") || what.contains("lock hold by current process") => {
            StoreError::Locked { path }
        }
        // A file that the manifest names is not there.
        ErrorKind::IOError if what.contains("No such file") => StoreError::Corrupt { path, what },
        // Bytes that make no sense, or name formats and families that do not exist.
        ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
            StoreError::Corrupt { path, what }
        }
        _ => StoreError::Io { path, what },
    }
}
