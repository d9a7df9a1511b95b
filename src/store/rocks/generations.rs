//! Which files count: the layout of a data directory, and one store that takes the place of another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::RocksStore;
use super::reader::io_error;
use crate::limits;
use crate::rows::{Row, Table};
use crate::store::{Batch, Counters, Durability, Local, Read, Store, StoreError};

/// A staged store apart from the one it will take the place of: it is made ready on another thread, while that one serves.
pub struct Successor {
    staged: RocksStore,
    home: PathBuf,
    generation: u64,
}

impl RocksStore {
    /// What was staged, with own record and boot number, and what says that the record was lost. Neither may change
    /// here until [`Successor::succeed`].
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

pub(super) fn database_path(path: &Path) -> PathBuf {
    path.join("rocks")
}

pub(super) fn current_path(path: &Path) -> PathBuf {
    path.join("current")
}

pub(super) fn staged_path(path: &Path) -> PathBuf {
    path.join("staged")
}

pub(super) fn copies_path(path: &Path) -> PathBuf {
    path.join("copies")
}

pub(super) fn copy_path(path: &Path, height: u64) -> PathBuf {
    copies_path(path).join(height.to_string())
}

pub(super) fn generation_path(path: &Path, generation: u64) -> PathBuf {
    if generation == 0 { path.into() } else { path.join(format!("generation-{generation}")) }
}

/// The generation that counts.
pub(super) fn current_generation(path: &Path) -> Result<u64, StoreError> {
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

pub(super) fn remove_other_generations(path: &Path, current: u64) -> io::Result<()> {
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

pub(super) fn mark_path(path: &Path) -> PathBuf {
    path.join("durable")
}

/// Makes the entries of a new data directory durable, and its own in the directory above.
pub(super) fn sync_directories(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    fs::File::open(&path)?.sync_all()?;
    path.parent().map_or(Ok(()), |above| fs::File::open(above)?.sync_all())
}
