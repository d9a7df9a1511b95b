//! How far the directory had come when this user last looked: no later answer may be older.
//!
//! One small file for each network, under `$XDG_STATE_HOME/torrens` or `~/.local/state/torrens`, holding the height in
//! decimal. It only ever grows; several commands may run at once.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::crypto::digest::Digest;

/// The highest height seen. Without a file it lasts as long as this value.
pub struct Seen {
    height: AtomicU64,
    file: Option<PathBuf>,
}

impl Seen {
    /// What this user has seen of `network`. A file that cannot be used is a warning: the command still works, but
    /// the next one starts from nothing.
    pub fn of_user(network: &Digest) -> Self {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        let Some(folder) = folder else {
            tracing::warn!("neither XDG_STATE_HOME nor HOME is set: the height seen will not be remembered");
            return Self::in_memory();
        };
        Self::in_folder(&folder.join("torrens"), network)
    }

    pub fn in_folder(folder: &Path, network: &Digest) -> Self {
        let file = folder.join(format!("{network}.seen"));
        let height = read(&file).unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; going on as if nothing had been seen", file.display());
            0
        });
        Self { height: AtomicU64::new(height), file: Some(file) }
    }

    pub fn in_memory() -> Self {
        Self { height: AtomicU64::new(0), file: None }
    }

    /// Nothing below this height is to be believed.
    pub fn height(&self) -> u64 {
        self.height.load(Ordering::SeqCst)
    }

    /// `height` was seen: at least one correct replica has reached it.
    pub fn raise(&self, height: u64) {
        if self.height.fetch_max(height, Ordering::SeqCst) >= height {
            return;
        }
        if let Some(file) = &self.file
            && let Err(error) = write(file, height)
        {
            tracing::warn!("{}: {error}; the height seen will not be remembered", file.display());
        }
    }
}

fn read(file: &Path) -> io::Result<u64> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "not a height")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Replaces the file unless it holds a greater height. Whole or not at all: a rename.
fn write(file: &Path, height: u64) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
    let lock = File::create(file.with_extension("lock"))?;
    lock.lock()?;
    if read(file).is_ok_and(|there| there >= height) {
        return Ok(());
    }
    let new = file.with_extension("new");
    let mut written = File::create(&new)?;
    writeln!(written, "{height}")?;
    written.sync_all()?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Digest = Digest([7; 32]);

    #[test]
    fn a_height_is_remembered_and_never_lowered() {
        let folder = tempfile::tempdir().unwrap();
        let first = Seen::in_folder(folder.path(), &NETWORK);
        let second = Seen::in_folder(folder.path(), &NETWORK);
        second.raise(40);
        first.raise(30);
        assert_eq!((first.height(), second.height()), (30, 40));
        assert_eq!(Seen::in_folder(folder.path(), &NETWORK).height(), 40);
        assert_eq!(Seen::in_folder(folder.path(), &Digest::ZERO).height(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let seen = Seen::in_folder(&file, &NETWORK);
        seen.raise(5);
        assert_eq!(seen.height(), 5);
    }

    #[test]
    fn a_garbled_file_counts_as_nothing_and_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{NETWORK}.seen")), "many").unwrap();
        Seen::in_folder(folder.path(), &NETWORK).raise(3);
        assert_eq!(Seen::in_folder(folder.path(), &NETWORK).height(), 3);
    }
}
