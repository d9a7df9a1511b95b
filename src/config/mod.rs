//! Files as written → configuration as meant. Every refusal says file, line and what is wrong.
//!
//! | file | for | module |
//! |---|---|---|
//! | `replica.toml` | one replica: addresses, data directory | [`replica`] |
//! | `policy.toml` | the ceremony: how fresh zones are kept | [`policy`] |
//! | `tsig.keys` | secrets shared with secondaries | [`tsig_keys`] |
//! | `structure.toml` | the ceremony: which replicas may fail together | [`structure`] |
//!
//! Secret files are written whole or not at all, readable by their owner only, and never over another file.

mod file;
mod pem;
pub mod policy;
pub mod primaries;
pub mod replica;
pub mod secondaries;
pub mod secrets;
pub mod structure;
pub mod tsig_keys;

use std::fmt;
use std::path::{Path, PathBuf};

pub use replica::ReplicaConfig;
pub use secrets::SecretBundle;

/// What is wrong in a file: `file:line: what`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// From 1, if the fault is in a line.
    pub line: Option<usize>,
    pub what: String,
}

impl ConfigError {
    fn new(file: &Path, line: impl Into<Option<usize>>, what: impl Into<String>) -> Self {
        Self { file: file.into(), line: line.into(), what: what.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.what)
    }
}
