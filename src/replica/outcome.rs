//! What became of each operation, kept for as long as the operation could be ordered again.

use std::collections::BTreeSet;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::refusal::Refusal;
use crate::limits::MAX_OPERATION;
use crate::rows::{Row, Table, TableRows};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Place in the order of all operations, from 1.
    pub position: u64,
    /// Commit in which it was executed.
    pub height: u64,
    pub time: Timestamp,
    /// After this the operation is void wherever it turns up again, and the outcome is forgotten.
    pub expires: Timestamp,
    pub result: Result<Accepted, Refusal>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    pub zone: Name,
    /// Serial of the zone version that shows it.
    pub serial: u32,
    /// Whether a certificate follows, under the same position.
    pub certificate: bool,
}

/// Outcomes by digest of the operation; cheap to clone.
#[derive(Clone, Default)]
pub struct Outcomes {
    by_digest: OrdMap<Digest, Outcome>,
    by_expiry: imbl::OrdSet<(Timestamp, Digest)>,
}

impl Outcomes {
    pub fn get(&self, digest: &Digest) -> Option<&Outcome> {
        self.by_digest.get(digest)
    }

    pub(super) fn insert(&mut self, digest: Digest, outcome: Outcome) -> Row {
        let row = Row::put(Table::Outcome, digest.0, codec::encode(&outcome));
        self.by_expiry.insert((outcome.expires, digest));
        self.by_digest.insert(digest, outcome);
        row
    }

    /// Forgets what expired before `now`.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Row> {
        let mut rows = Vec::new();
        while let Some(&(expires, digest)) = self.by_expiry.get_min() {
            if expires >= now {
                break;
            }
            self.by_expiry.remove(&(expires, digest));
            self.by_digest.remove(&digest);
            rows.push(Row::delete(Table::Outcome, digest.0));
        }
        rows
    }

    pub(super) fn load(rows: &TableRows) -> Option<Self> {
        let mut outcomes = Self::default();
        for (key, value) in rows {
            let digest = Digest(key.as_slice().try_into().ok()?);
            outcomes.insert(digest, codec::decode(value, MAX_OPERATION).ok()?);
        }
        Some(outcomes)
    }

    /// Digests of all outcomes, for tests that compare replicas.
    pub fn digests(&self) -> BTreeSet<Digest> {
        self.by_digest.keys().copied().collect()
    }
}
