//! Changes carried out: the new state, what is to be signed anew, and what is to be written down.

use std::collections::BTreeSet;

use super::Timestamp;
use super::name::Name;
use super::state::Directory;
use super::title::{HistoryEntry, Title};
use crate::crypto::ed25519::PublicKey;
use crate::rows::Row;

/// What an accepted operation does. Made by [`decide`](super::decide::decide) only, for the state it was shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    title: Title,
    entry: HistoryEntry,
    certificate: Option<CertificateRequest>,
}

/// A certificate that a title's owner asked for, as far as the directory can judge it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateRequest {
    pub title: Name,
    pub owner: PublicKey,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    pub names: Vec<Name>,
    /// Place of the operation in the order.
    pub position: u64,
    pub time: Timestamp,
}

/// What became of a change.
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    pub zone: Name,
    pub title: Name,
    /// Names in the zone whose RRsets, or whose standing (authoritative, cut, occluded), are not what they were.
    pub dirty: BTreeSet<Name>,
    pub entry: HistoryEntry,
    pub certificate: Option<CertificateRequest>,
    pub rows: Vec<Row>,
}

impl Change {
    pub(super) fn new(title: Title, entry: HistoryEntry, certificate: Option<CertificateRequest>) -> Self {
        Self { title, entry, certificate }
    }

    pub fn entry(&self) -> &HistoryEntry {
        &self.entry
    }

    /// The certificate asked for: whoever issues it judges it before the change is applied.
    pub fn certificate(&self) -> Option<&CertificateRequest> {
        self.certificate.as_ref()
    }
}

impl Directory {
    /// Carries out a change that was decided on this very state. Cannot fail.
    pub fn apply(&mut self, change: Change) -> Applied {
        let Change { title, entry, certificate } = change;
        let dirty = self.dirty(&title);
        let applied = Applied {
            zone: title.zone.clone(),
            title: title.name.clone(),
            dirty,
            rows: title.rows(&entry).into(),
            entry,
            certificate,
        };
        self.put(title);
        applied
    }

    /// Names at which `next` is published otherwise than what stands under its name now.
    pub(super) fn dirty(&self, next: &Title) -> BTreeSet<Name> {
        let before = self.title(&next.name).map(|title| self.published(title)).unwrap_or_default();
        let after = self.published(next);
        let names: BTreeSet<&Name> = before.keys().chain(after.keys()).collect();
        names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
    }
}
