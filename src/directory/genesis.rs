//! The first directory: what the zones' files hold, owned by the registry.

use std::collections::BTreeMap;

use super::Timestamp;
use super::master::ZoneFile;
use super::name::Name;
use super::primary::ZoneSource;
use super::rrset::{Rrset, Rtype};
use super::state::{Directory, ZoneRegistry};
use super::title::{Event, HistoryEntry, Title};
use crate::codec;
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::PublicKey;
use crate::rows::Row;

const GENESIS_DOMAIN: &str = "torrens v1 genesis title";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GenesisError {
    #[error("two files hold the zone {0}: give one of them")]
    ZoneTwice(Name),
    #[error("{0} is not a key that can sign, so it cannot be the registry's")]
    BadRegistryKey(PublicKey),
    #[error("no zone: give at least one file")]
    NoZones,
}

impl Directory {
    /// The directory that the zones' files make, and its rows. Every label right below an apex that has names in the
    /// file becomes a title of the registry; what stands at the apex belongs to the zone.
    pub fn genesis(
        files: Vec<ZoneFile>,
        registry: PublicKey,
        time: Timestamp,
    ) -> Result<(Self, Vec<Row>), GenesisError> {
        if !registry.is_usable() {
            return Err(GenesisError::BadRegistryKey(registry));
        }
        if files.is_empty() {
            return Err(GenesisError::NoZones);
        }
        let mut zones = BTreeMap::new();
        let mut titles = BTreeMap::new();
        for ZoneFile { apex, records } in files {
            let mut at_apex = BTreeMap::new();
            for ((name, rtype), rrset) in records {
                match name.suffix(apex.label_count() + 1) {
                    Some(title) => {
                        let title = titles.entry(title).or_insert_with_key(|title| empty(&apex, title, registry, time));
                        title.records.insert((name, rtype), rrset);
                    }
                    None => {
                        at_apex.insert(rtype, rrset);
                    }
                }
            }
            let zone = ZoneRegistry { apex: apex.clone(), registry, records: at_apex, source: ZoneSource::Titles };
            if zones.insert(apex.clone(), zone).is_some() {
                return Err(GenesisError::ZoneTwice(apex));
            }
        }
        let mut directory = Self::new(zones);
        let mut rows = vec![directory.zones_row()];
        for mut title in titles.into_values() {
            title.head = genesis_head(&title);
            rows.extend(title.rows(&genesis_entry(&title)));
            directory.put(title);
        }
        Ok((directory, rows))
    }
}

/// A title of the registry as it stands now, and the one entry of its history.
pub(super) fn registry_title(
    zone: &ZoneRegistry,
    name: &Name,
    records: BTreeMap<(Name, Rtype), Rrset>,
    since: Timestamp,
    position: u64,
) -> (Title, HistoryEntry) {
    let mut title = Title { records, ..empty(&zone.apex, name, zone.registry, since) };
    title.head = genesis_head(&title);
    let entry = HistoryEntry { position, ..genesis_entry(&title) };
    (title, entry)
}

fn empty(apex: &Name, name: &Name, owner: PublicKey, since: Timestamp) -> Title {
    Title {
        zone: apex.clone(),
        name: name.clone(),
        owner,
        sequence: 0,
        head: Digest::ZERO,
        since,
        offered_to: None,
        records: BTreeMap::<(Name, Rtype), Rrset>::new(),
    }
}

/// What the first operation on a genesis title names as the previous one: digest of the title with no head yet.
fn genesis_head(title: &Title) -> Digest {
    hash(GENESIS_DOMAIN, &[&codec::encode(title)])
}

fn genesis_entry(title: &Title) -> HistoryEntry {
    HistoryEntry {
        sequence: 0,
        position: 0,
        time: title.since,
        digest: title.head,
        signer: title.owner,
        event: Event::Genesis { owner: title.owner },
    }
}
