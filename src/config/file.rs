//! Reading and writing files whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::ConfigError;
use crate::limits::MAX_CONFIG_FILE;

/// The text of a file. Wiped when dropped, since it may hold secrets.
pub fn read(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    read_checked(path, |_| Ok(()))
}

/// The text of a file that nobody but its owner may read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    read_checked(path, |mode| {
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let shown = path.display();
        Err(format!(
            "others may read this secret (mode {:04o}): run `chmod 600 {shown}` and start again",
            mode & 0o7777
        ))
    })
}

fn read_checked(path: &Path, check_mode: impl Fn(u32) -> Result<(), String>) -> Result<Zeroizing<String>, ConfigError> {
    let wrong = |what: String| ConfigError::new(path, None, what);
    let file = File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let metadata = file.metadata().map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !metadata.is_file() {
        return Err(wrong("is not a file".into()));
    }
    check_mode(metadata.permissions().mode()).map_err(wrong)?;
    if metadata.len() > MAX_CONFIG_FILE {
        return Err(wrong(format!("has {} bytes, of which at most {MAX_CONFIG_FILE} are allowed", metadata.len())));
    }
    // With room for all at once, no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(MAX_CONFIG_FILE).read_to_end(&mut bytes).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = Zeroizing::new(error.into_bytes());
        let line = bytes[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        ConfigError::new(path, line, "not UTF-8 text")
    })?;
    Ok(Zeroizing::new(text))
}

/// The TOML in a file, and its text for [`line_of`].
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<(T, Zeroizing<String>), ConfigError> {
    let text = read(path)?;
    let value = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| line_of(&text, &span));
        ConfigError::new(path, line, error.message().replace('\n', ", "))
    })?;
    Ok((value, text))
}

/// The line in which `span` begins, from 1.
pub fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|&byte| byte == b'\n').count() + 1
}

/// Writes a new file, whole or not at all; refuses if there is one already.
pub fn write_new(path: &Path, text: &[u8], mode: u32) -> Result<(), ConfigError> {
    let wrong = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            ConfigError::new(path, None, "exists already and is not overwritten: choose another name")
        }
        _ => ConfigError::new(path, None, format!("cannot be written: {error}")),
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = temporary_name(path, directory);
    // Left by an earlier process of this number that died.
    let _ = fs::remove_file(&temporary);
    let written = write_and_link(path, &temporary, text, mode);
    let _ = fs::remove_file(&temporary);
    written.and_then(|()| File::open(directory)?.sync_all()).map_err(wrong)
}

/// A hard link, unlike a rename, never replaces what is there.
fn write_and_link(path: &Path, temporary: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::hard_link(temporary, path)
}

fn temporary_name(path: &Path, directory: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory.join(format!(".{name}.{}.part", std::process::id()))
}
