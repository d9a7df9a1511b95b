//! A title: a name below a zone's apex, everything beneath it, and the key that holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::name::Name;
use super::records::bytes_of;
use super::rrset::{Rrset, Rtype};
use super::state::{history_key, title_key};
use crate::codec;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::PublicKey;
use crate::limits::{MAX_RRSETS_PER_TITLE, MAX_TITLE_BYTES};
use crate::rows::{Row, Table};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Title {
    pub zone: Name,
    pub name: Name,
    pub owner: PublicKey,
    /// Sequence number of the last operation.
    pub sequence: u64,
    /// Digest of the last signed operation: the next one must name it.
    pub head: Digest,
    /// Agreed time of registration.
    pub since: Timestamp,
    /// The key it is offered to, if a transfer waits to be accepted.
    pub offered_to: Option<PublicKey>,
    /// The owner's records, at the title's name and beneath it. The KEY record of the owner is not among them: it
    /// follows from `owner`.
    pub records: BTreeMap<(Name, Rtype), Rrset>,
}

/// One accepted operation in a title's history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub sequence: u64,
    /// Place of the operation in the order of all operations, from 1; 0 for the genesis.
    pub position: u64,
    pub time: Timestamp,
    pub digest: Digest,
    pub signer: PublicKey,
    /// What was done, in a word or two, and to whom: for people.
    pub event: Event,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    Genesis { owner: PublicKey },
    Registered { owner: PublicKey },
    RecordsSet { changed: Vec<(Name, Rtype)> },
    Offered { to: PublicKey },
    Accepted { from: PublicKey, to: PublicKey },
    CertificateRequested { names: Vec<Name> },
}

impl Title {
    /// Its first RRsets, as many as an owner could set: all, but beneath a label of a registry that has more.
    pub fn first_records(&self) -> Vec<(&(Name, Rtype), &Rrset)> {
        let mut bytes = 0;
        let fits = |entry: &(&(Name, Rtype), &Rrset)| {
            bytes += bytes_of(*entry);
            bytes <= MAX_TITLE_BYTES
        };
        self.records.iter().take(MAX_RRSETS_PER_TITLE).take_while(fits).collect()
    }

    /// The rows to write when an operation, or the genesis, has left the title as it is now.
    pub(super) fn rows(&self, entry: &HistoryEntry) -> [Row; 2] {
        [
            Row::put(Table::Title, title_key(&self.name), codec::encode(self)),
            Row::put(Table::History, history_key(&self.name, entry.sequence), codec::encode(entry)),
        ]
    }
}
