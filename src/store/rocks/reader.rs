//! Reading from RocksDB, and what is written to it, byte by byte.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, ErrorKind,
    IteratorMode, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::generations::{copy_path, database_path};
use super::log::{self, SetAside};
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::limits;
use crate::rows::{Table, TableRows};
use crate::store::schema::{self, BLOCKS, BOOT_KEY, GENESIS_KEY, META, NETWORK_KEY, OWN_KEY, ROWS, SCHEMA, SCHEMA_KEY};
use crate::store::{Batch, Durability, Local, OwnRecord, Read, See, StoreError, StoredBlock};

/// A handle for reading, from any thread.
#[derive(Clone)]
pub struct RocksReader {
    pub(super) database: Arc<DB>,
    /// Its block cache.
    pub(super) cache: Cache,
    pub(super) path: PathBuf,
    /// Of the database that is written to. Let go of after the database: fields are dropped in this order.
    _lock: Option<Arc<File>>,
}

impl RocksReader {
    /// The database in `path`, to be written to, and what was cut off from its logs.
    pub(super) fn open(path: &Path, options: &Options) -> Result<(Self, SetAside), StoreError> {
        let lock = lock(path)?;
        let folder = database_path(path);
        let aside = prepare(&folder, path)?;
        let cache = Cache::new_lru_cache(limits::STORE_BLOCK_CACHE);
        let families = [META, ROWS, BLOCKS].map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache)));
        let database =
            DB::open_cf_descriptors(options, folder, families).map_err(|error| database_error(path, &error))?;
        let lock = Some(Arc::new(lock));
        Ok((Self { database: Arc::new(database), cache, path: path.into(), _lock: lock }, aside))
    }

    /// The rows of a copy, to be read only.
    fn open_copy(path: &Path) -> Result<Self, StoreError> {
        refuse_damage(path, path, true)?;
        let cache = Cache::new_lru_cache(limits::STORE_BLOCK_CACHE);
        let families = [META, ROWS].map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache)));
        let database = DB::open_cf_descriptors_read_only(&database_options(), path, families, false)
            .map_err(|error| database_error(path, &error))?;
        Ok(Self { database: Arc::new(database), cache, path: path.into(), _lock: None })
    }

    pub(super) fn check_schema(&self) -> Result<(), StoreError> {
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

    pub(super) fn encode(&self, batch: Batch) -> WriteBatch {
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
        // RocksDB numbers a write that deletes an empty range and does not count it when it reads its log back: it would
        // seem to be gone.
        if let Some(below) = batch.prune_blocks_below.filter(|below| *below > 0) {
            written.delete_range_cf(self.family(BLOCKS), schema::round_key(0), schema::round_key(below));
        }
        written
    }

    pub(super) fn put(&self, batch: &mut WriteBatch, family: &str, key: &[u8], value: Vec<u8>) {
        batch.put_cf(self.family(family), key, schema::seal(family, key, value));
    }

    pub(super) fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Sync);
        self.database.write_opt(batch, &options).map_err(|error| database_error(&self.path, &error))
    }

    /// Whole files of pruned blocks go at once, instead of when compaction comes by.
    pub(super) fn delete_files_below(&self, round: u64) -> Result<(), StoreError> {
        let Some(last) = round.checked_sub(1) else { return Ok(()) };
        self.database
            .delete_file_in_range_cf(self.family(BLOCKS), schema::round_key(0), schema::round_key(last))
            .map_err(|error| database_error(&self.path, &error))
    }

    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.database.cf_handle(name).expect("opened with all families")
    }

    fn value(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self
            .database
            .get_pinned_cf_opt(self.family(family), key, &read_options())
            .map_err(|error| database_error(&self.path, &error))?;
        stored.map(|stored| self.unseal(family, key, &stored).map(<[u8]>::to_vec)).transpose()
    }

    /// The value that was stored under `key`.
    pub(super) fn unseal<'a>(&self, family: &str, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
        schema::unseal(family, key, stored).ok_or_else(|| {
            let key = data_encoding::HEXLOWER.encode(key);
            self.corrupt(&format!("the value of {family} {key} is not what was written"))
        })
    }

    fn meta(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let name = String::from_utf8_lossy(key);
        self.value(META, key)?.ok_or_else(|| self.corrupt(&format!("its {name} record is missing")))
    }

    pub(super) fn meta_array<const N: usize>(&self, key: &[u8]) -> Result<[u8; N], StoreError> {
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
            let value = self.unseal(family, &key, &stored)?.to_vec();
            found.push((key.into_vec(), value));
        }
        Ok(found)
    }

    pub(super) fn corrupt(&self, what: &str) -> StoreError {
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

    fn for_each_row(&self, table: Table, prefix: &[u8], see: &mut See<'_>) -> Result<(), StoreError> {
        self.read_ahead(table, prefix, see)
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

/// The copy kept under `height` in the data directory `home`, if there is one.
pub fn open_copy(home: &Path, height: u64) -> Result<Option<RocksReader>, StoreError> {
    let path = copy_path(home, height);
    if path.exists() { RocksReader::open_copy(&path).map(Some) } else { Ok(None) }
}

/// Has the database in `path` for this process alone. RocksDB's own lock comes too late: its logs are looked at, and
/// may be cut, before it opens.
fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |error: io::Error| io_error(path, &error);
    let folder = database_path(path);
    fs::create_dir_all(&folder).map_err(failed)?;
    let file = File::options().write(true).create(true).truncate(false).open(folder.join("LOCK")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.into() }),
        Err(fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Refuses a damaged manifest, and cuts damage off from the logs.
fn prepare(folder: &Path, path: &Path) -> Result<SetAside, StoreError> {
    refuse_damage(folder, path, false)?;
    log::cut_off_damage(folder).map_err(|error| io_error(path, &error))
}

fn refuse_damage(folder: &Path, path: &Path, logs_too: bool) -> Result<(), StoreError> {
    let damaged = log::damaged_file(folder, logs_too).map_err(|error| io_error(path, &error))?;
    damaged.map_or(Ok(()), |file| {
        let what = format!("a record of {} is not what was written", file.display());
        Err(StoreError::Corrupt { path: path.into(), what })
    })
}

pub(super) fn database_options() -> Options {
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

fn family_options(name: &str, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_write_buffer_size(limits::STORE_WRITE_BUFFER);
    if name == BLOCKS {
        table.set_block_size(limits::STORE_BLOCKS_PAGE);
        options.set_target_file_size_base(limits::STORE_BLOCKS_FILE);
    }
    options.set_block_based_table_factory(&table);
    options
}

pub(super) fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io { path: path.into(), what: error.to_string() }
}

pub(super) fn database_error(path: &Path, error: &rocksdb::Error) -> StoreError {
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
