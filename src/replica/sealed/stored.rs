//! Envelopes that wait, as rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Sealed, State, Ticket, Waiting};
use crate::codec;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::bls::{DecryptionShare, SealingPublic};
use crate::limits::{MAX_ENVELOPE, MAX_META_ROW, MAX_REPLICAS, MAX_SEALED_MESSAGE};
use crate::replica::envelope;
use crate::rows::{Row, Table, TableRows};

/// Key of the row with the next ticket, in [`Table::Meta`].
pub const TICKET_ROW: &[u8] = b"sealed";

#[derive(Serialize, Deserialize)]
struct StoredTicket {
    author: ReplicaId,
    #[serde(with = "crate::codec::bytes")]
    envelope: Vec<u8>,
    shares: BTreeMap<ReplicaId, DecryptionShare>,
    bad: ReplicaSet,
    /// Once it is opened.
    #[serde(with = "crate::codec::bytes")]
    message: Option<Vec<u8>>,
}

const MAX_ROW: usize = MAX_ENVELOPE + MAX_SEALED_MESSAGE + 64 * MAX_REPLICAS;

impl Sealed {
    /// What changed since this was last called.
    pub fn take_rows(&mut self) -> Vec<Row> {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() {
            return Vec::new();
        }
        let mut rows = vec![Row::put(Table::Meta, TICKET_ROW, codec::encode(&self.next))];
        rows.extend(dirty.into_iter().map(|ticket| {
            let key = ticket.0.to_be_bytes();
            match self.waiting.get(&ticket) {
                Some(waiting) => Row::put(Table::Sealed, key, codec::encode(&StoredTicket::from(waiting))),
                None => Row::delete(Table::Sealed, key),
            }
        }));
        rows
    }

    /// None if the rows are not those of such a state.
    pub fn load(key: SealingPublic, next: Option<&[u8]>, rows: &TableRows) -> Option<Self> {
        let mut sealed = Self::new(key);
        if let Some(next) = next {
            sealed.next = codec::decode(next, MAX_META_ROW).ok()?;
        }
        for (key, value) in rows {
            let ticket = Ticket(u64::from_be_bytes(key.as_slice().try_into().ok()?));
            let waiting = codec::decode::<StoredTicket>(value, MAX_ROW).ok()?.waiting()?;
            sealed.by_digest.insert(waiting.envelope.digest, ticket);
            sealed.waiting.insert(ticket, waiting);
        }
        Some(sealed)
    }
}

impl From<&Waiting> for StoredTicket {
    fn from(waiting: &Waiting) -> Self {
        let (author, envelope) = (waiting.author, waiting.envelope.ciphertext.to_bytes());
        let none = BTreeMap::new();
        match &waiting.state {
            State::Sealed { shares, bad } => {
                Self { author, envelope, shares: shares.clone(), bad: *bad, message: None }
            }
            State::Opened(message) => {
                Self { author, envelope, shares: none, bad: ReplicaSet::EMPTY, message: Some(message.clone()) }
            }
        }
    }
}

impl StoredTicket {
    fn waiting(self) -> Option<Waiting> {
        let Self { author, envelope, shares, bad, message } = self;
        let state = message.map_or(State::Sealed { shares, bad }, State::Opened);
        Some(Waiting { author, envelope: envelope::check(&envelope).ok()?, state })
    }
}
