//! The rules of the directory: names, titles, operations, zones. Pure and deterministic.

pub mod name;
pub mod operation;
pub mod rrset;
pub mod title;
pub mod zone;

use serde::{Deserialize, Serialize};

/// Agreed time: milliseconds since the epoch (1970-01-01T00:00:00Z, no leap seconds).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the epoch, as RRSIG times count them modulo 2³² (RFC 4034 §3.1.5).
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}
