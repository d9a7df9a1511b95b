//! The store on disk: RocksDB.
//!
//! A data directory holds `rocks/`, RocksDB's own, and `durable`, the mark of the `journal` module. Lazy batches go to
//! the write-ahead log without waiting for the disk. Recovery after a crash is to a point in time: the log counts up to
//! its first unsound record (the `log` module sees to it that RocksDB finds that one and stops). If that lies below the
//! mark, what was durable is damaged and the database is refused.
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

mod ahead;
mod generations;
mod log;
mod reader;
mod walk;

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rocksdb::WriteBatch;
use rocksdb::checkpoint::Checkpoint;

use self::generations::{
    copies_path, copy_path, current_generation, current_path, database_path, generation_path, mark_path,
    remove_other_generations, staged_path, sync_directories,
};
use self::reader::{database_error, database_options, io_error};
use super::journal::Mark;
use super::schema::{BLOCKS, BOOT_KEY, GENESIS_KEY, META, NETWORK_KEY, OWN_KEY, SCHEMA, SCHEMA_KEY};
use super::{Batch, Counters, Durability, Local, OwnRecord, Read, See, Store, StoreError, StoredBlock};
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::rows::{Table, TableRows};

pub use self::generations::Successor;
pub use self::reader::{RocksReader, open_copy};
pub use self::walk::Walk;

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
        let (reader, _) = RocksReader::open(path, &options)?;

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
        let (reader, aside) = RocksReader::open(path, &database_options())?;
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
        aside.forget().map_err(|error| io_error(path, &error))?;
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

impl Read for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader.get(table, key)
    }

    fn page(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<TableRows, StoreError> {
        self.reader.page(table, prefix, after, limit)
    }

    fn for_each_row(&self, table: Table, prefix: &[u8], see: &mut See<'_>) -> Result<(), StoreError> {
        self.reader.for_each_row(table, prefix, see)
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
