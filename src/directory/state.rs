//! The directory as a value: zones and titles. Cheap to clone; read by everybody, changed by `apply` only.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::primary::ZoneSource;
use super::rrset::{Rrset, Rtype};
use super::title::Title;
use crate::codec::{self, CodecError};
use crate::crypto::ed25519::PublicKey;
use crate::limits::MAX_TITLE_ROW;
use crate::rows::{Row, Table, TableRows};

/// All zones of the cluster and all titles in them.
#[derive(Clone, PartialEq, Debug)]
pub struct Directory {
    zones: Arc<BTreeMap<Name, ZoneRegistry>>,
    titles: OrdMap<Name, Arc<Title>>,
}

/// What belongs to a zone itself: fixed at the genesis, but for the records of a zone that comes from a primary.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneRegistry {
    pub apex: Name,
    /// Owner of the names that were in the zone's file.
    pub registry: PublicKey,
    /// RRsets at the apex as the file, or the primary, has them; the SOA record's serial is theirs.
    pub records: BTreeMap<Rtype, Rrset>,
    pub source: ZoneSource,
}

/// Key of the row of [`Table::Meta`] that holds the zones.
pub const ZONES_ROW: &[u8] = b"zones";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    #[error("the stored zones cannot be read ({0}): the database is damaged, restore it from another replica")]
    Zones(CodecError),
    #[error(
        "the stored title {key} cannot be read ({error}): the database is damaged, restore it from another replica"
    )]
    Title { key: String, error: CodecError },
    #[error(
        "the stored title {name} stands under the key of another: the database is damaged, restore it from another replica"
    )]
    Misplaced { name: Name },
}

impl Directory {
    /// What was stored: the value of the row [`ZONES_ROW`] and the rows of [`Table::Title`].
    pub fn load(zones: &[u8], titles: &TableRows) -> Result<Self, LoadError> {
        let zones: BTreeMap<Name, ZoneRegistry> = codec::decode(zones, usize::MAX).map_err(LoadError::Zones)?;
        let mut directory = Self { zones: Arc::new(zones), titles: OrdMap::new() };
        for (key, value) in titles {
            let damaged = |error| LoadError::Title { key: data_encoding::HEXLOWER.encode(key), error };
            let title: Title = codec::decode(value, MAX_TITLE_ROW).map_err(damaged)?;
            let expected = directory.zone_of_title(&title.name).map(|zone| &zone.apex);
            if title_key(&title.name) != *key || expected != Some(&title.zone) {
                return Err(LoadError::Misplaced { name: title.name });
            }
            directory.put(title);
        }
        Ok(directory)
    }

    pub(super) fn new(zones: BTreeMap<Name, ZoneRegistry>) -> Self {
        Self { zones: Arc::new(zones), titles: OrdMap::new() }
    }

    pub(super) fn put(&mut self, title: Title) {
        self.titles.insert(title.name.clone(), Arc::new(title));
    }

    pub(super) fn remove(&mut self, title: &Name) {
        self.titles.remove(title);
    }

    pub(super) fn put_zone(&mut self, zone: ZoneRegistry) {
        Arc::make_mut(&mut self.zones).insert(zone.apex.clone(), zone);
    }

    pub fn zones(&self) -> &BTreeMap<Name, ZoneRegistry> {
        &self.zones
    }

    /// The zone that `name` belongs to: the one with the closest apex at or above it.
    pub fn zone_of(&self, name: &Name) -> Option<&ZoneRegistry> {
        self.closest_zone(Some(name.clone()))
    }

    /// The zone in which `name` would be a title: the one with the closest apex above it.
    pub fn zone_of_title(&self, name: &Name) -> Option<&ZoneRegistry> {
        self.closest_zone(name.parent())
    }

    fn closest_zone(&self, mut at: Option<Name>) -> Option<&ZoneRegistry> {
        while let Some(candidate) = at {
            if let Some(zone) = self.zones.get(&candidate) {
                return Some(zone);
            }
            at = candidate.parent();
        }
        None
    }

    /// The title of exactly that name.
    pub fn title(&self, name: &Name) -> Option<&Arc<Title>> {
        self.titles.get(name)
    }

    /// The title that `name` lies within, in the zone it belongs to. None for an apex and for names nobody registered.
    pub fn title_for(&self, name: &Name) -> Option<&Arc<Title>> {
        self.title_in(&self.zone_of(name)?.apex, name)
    }

    /// The title of `zone` that `name` lies within, also where a zone inside of it has taken over the name.
    pub fn title_in(&self, zone: &Name, name: &Name) -> Option<&Arc<Title>> {
        if !name.is_within(zone) {
            return None;
        }
        self.titles.get(&name.suffix(zone.label_count() + 1)?).filter(|title| title.zone == *zone)
    }

    /// The titles of a zone, in canonical order.
    pub fn titles<'a>(&'a self, zone: &Name) -> impl Iterator<Item = &'a Arc<Title>> + use<'a> {
        let (start, apex) = (zone.clone(), zone.clone());
        let within = self.titles.range(start.clone()..).take_while(move |(name, _)| name.is_within(&start));
        within.map(|(_, title)| title).filter(move |title| title.zone == apex)
    }

    /// Titles in all zones.
    pub fn title_count(&self) -> usize {
        self.titles.len()
    }

    /// The row that [`Directory::load`] wants for the zones.
    pub fn zones_row(&self) -> Row {
        Row::put(Table::Meta, ZONES_ROW, codec::encode(&*self.zones))
    }
}

/// Key of a title's row: its name in wire form, which ends itself, so that no key is a prefix of another's.
pub fn title_key(name: &Name) -> Vec<u8> {
    name.as_wire().to_vec()
}

/// Key of a history row: the title's key, then the sequence number as u64 big-endian; a title's history is one range.
pub fn history_key(title: &Name, sequence: u64) -> Vec<u8> {
    [title.as_wire(), &sequence.to_be_bytes()].concat()
}
