//! The rules of the directory: names, titles, operations, zones. Pure and deterministic.
//!
//! [`decide::admit`] turns ordered bytes into a verified operation, [`decide::decide`] turns that into a change or a
//! [`refusal::Refusal`], and [`state::Directory::apply`], which cannot fail, carries the change out and says which names
//! are to be signed anew. Whatever bytes are ordered, there is an outcome: nothing here panics on them.
//! [`primary`] is for zones whose content is not the owners' but comes from a registry's own server.
//! [`state::Directory::rrsets_at`] says what a zone publishes, [`differences`] what its versions changed; [`master`] reads
//! zones from files and records from owners.

pub mod apply;
pub mod decide;
pub mod differences;
mod genesis;
pub mod master;
pub mod name;
pub mod name_ref;
pub mod operation;
pub mod primary;
pub mod publish;
pub mod rdata;
pub mod records;
pub mod refusal;
pub mod rrset;
pub mod state;
#[cfg(test)]
mod tests;
pub mod title;
pub mod zone;

pub use state::Directory;

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
