//! Files that people hand in: bounded, and every complaint names file, line and what is wrong.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::limits;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    pub file: PathBuf,
    /// From 1; none if it concerns the whole file.
    pub line: Option<usize>,
    pub what: String,
}

impl InputError {
    pub fn new(file: &Path, line: Option<usize>, what: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), line, what: what.into() }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for InputError {}

/// The whole of a file, wiped when dropped since it may hold a key.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, InputError> {
    let unreadable = |error: std::io::Error| InputError::new(path, None, format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let size = usize::try_from(limits::MAX_INPUT_FILE + 1).expect("a few hundred kilobytes");
    // Never grows, so that no copy of a key is left behind in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    file.take(limits::MAX_INPUT_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits::MAX_INPUT_FILE {
        return Err(InputError::new(path, None, format!("is larger than {} bytes", limits::MAX_INPUT_FILE)));
    }
    Ok(bytes)
}

/// As [`read`], for files that are text.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, InputError> {
    let bytes = read(path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            Err(InputError::new(path, Some(line), "is not text (UTF-8)"))
        }
    }
}
