//! Zones whose names are their registry's own: the content comes from its primary server, titles have no part in it.
//!
//! Such a zone changes as a whole, by [`Changes`]: what to put and what to delete, in canonical order, from the content
//! that the directory has to the one that the primary serves. Like operations they are decided first and applied then:
//! [`Directory::judge_changes`] is total on whatever bytes are ordered, [`Directory::apply_changes`] cannot fail. Equal
//! contents give equal changes, to the byte, whoever compares them.
//!
//! The rules are those for a zone's file at the genesis ([`super::master`]): names within the zone, RRsets that can stand
//! together. Beneath one label there may be more than a title of an owner may have, as `co.uk` has: what
//! [`MAX_LABEL_BYTES`] says, since it is one row of the state. Signatures, NSEC and NSEC3 records, zone digests, and the
//! apex's DNSKEY, CDS and CDNSKEY of the primary are dropped: the service makes its own.
//!
//! What lies beneath a label right below the apex is kept as a title of the registry, as at the genesis, with one row
//! of history; a title without records is removed. Its owner's key is not published, and no operation on it is
//! accepted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::genesis::registry_title;
use super::master::{ZoneFile, check_contents, check_place};
use super::name::Name;
use super::rdata::{RdataError, check_rdata};
use super::records::{self, RecordsError};
use super::rrset::{Rrset, Rtype};
use super::state::{Directory, ZoneRegistry, history_key, title_key};
use super::title::Title;
use crate::codec::{self, CodecError};
use crate::limits::{
    MAX_CHANGES, MAX_LABEL_BYTES, MAX_RRSETS_PER_LABEL, MAX_RRSETS_PER_TITLE, MAX_TITLE_BYTES, MAX_ZONE_RECORDS,
};
use crate::rows::{Row, Table};

/// Who says what is in a zone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZoneSource {
    /// The owners of its names, by operations.
    #[default]
    Titles,
    /// A registry with a database of its own, by its primary server.
    Primary,
}

/// The way from one content of a zone to another.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Changes {
    /// In canonical order of name and type, each once.
    puts: Vec<(Name, Rrset)>,
    deletes: Vec<(Name, Rtype)>,
}

/// Changes that the rules let happen, worked out. Made by [`Directory::judge_changes`] only, for the state it was shown.
pub struct Update {
    zone: Name,
    apex: BTreeMap<Rtype, Rrset>,
    /// Records by title; none left: the title goes.
    titles: BTreeMap<Name, BTreeMap<(Name, Rtype), Rrset>>,
}

/// Why a primary's zone cannot be taken over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContentError {
    #[error("{0} is no zone that comes from a primary server")]
    NoPrimary(Name),
    #[error("these bytes are no changes of a zone: {0}")]
    Codec(#[from] CodecError),
    #[error("the changes are not in canonical order, or delete what is not there")]
    NotCanonical,
    #[error("the zone has more than {MAX_ZONE_RECORDS} records: delegate a part of it")]
    TooManyRecords,
    #[error("{name} {rtype}: {why}")]
    Place { name: Name, rtype: Rtype, why: String },
    #[error("{name} {rtype}: {why}")]
    Rdata { name: Name, rtype: Rtype, why: RdataError },
    #[error("{0}")]
    Records(#[from] RecordsError),
    #[error(
        "{label} and what is beneath it are {rrsets} RRsets of {bytes} bytes, of which {MAX_RRSETS_PER_LABEL} and \
         {MAX_LABEL_BYTES} are allowed beneath one label: have the primary serve {label} as a zone of its own and \
         delegate to it"
    )]
    LabelTooLarge { label: Name, rrsets: usize, bytes: usize },
    #[error("{0} is where this service's heartbeat stands: rename it")]
    Reserved(Name),
    #[error("the apex has no {0} record")]
    Missing(Rtype),
}

/// More beneath a label than a title may have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{title} and what is beneath it are {rrsets} RRsets of {bytes} bytes, of which a title may have \
     {MAX_RRSETS_PER_TITLE} and {MAX_TITLE_BYTES}: make it a zone of its own and delegate to it, or let the zone come from \
     a primary (source in the policy)"
)]
pub struct TitleTooLarge {
    pub title: Name,
    pub rrsets: usize,
    pub bytes: usize,
}

/// Types that are dropped wherever they stand, and those dropped at the apex only.
const DROPPED: [Rtype; 5] = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3, Rtype::NSEC3PARAM, Rtype::ZONEMD];
const DROPPED_AT_APEX: [Rtype; 3] = [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY];

impl ZoneFile {
    /// The zone that these records make, signed or not, as a transfer brings them: owner, type, TTL, uncompressed RDATA.
    /// Equal records may come twice, as the SOA record does.
    pub fn from_records(
        apex: Name,
        records: impl IntoIterator<Item = (Name, Rtype, u32, Vec<u8>)>,
    ) -> Result<Self, ContentError> {
        let mut collected = BTreeMap::<(Name, Rtype), (u32, Vec<Vec<u8>>)>::new();
        for (at, (name, rtype, ttl, rdata)) in records.into_iter().enumerate() {
            if at >= MAX_ZONE_RECORDS {
                return Err(ContentError::TooManyRecords);
            }
            if DROPPED.contains(&rtype) || name == apex && DROPPED_AT_APEX.contains(&rtype) {
                continue;
            }
            let rdata = check_rdata(rtype, &rdata);
            let rdata = rdata.map_err(|why| ContentError::Rdata { name: name.clone(), rtype, why })?;
            let (lowest, rdatas) = collected.entry((name, rtype)).or_insert((ttl, Vec::new()));
            *lowest = ttl.min(*lowest);
            rdatas.push(rdata);
        }
        let rrset = |((name, rtype), (ttl, rdatas))| ((name, rtype), Rrset::new(rtype, ttl, rdatas));
        let records: BTreeMap<(Name, Rtype), Rrset> = collected.into_iter().map(rrset).collect();
        for (name, rtype) in records.keys() {
            check_allowed(name, *rtype, &apex)?;
        }
        for rtype in [Rtype::SOA, Rtype::NS] {
            records.get(&(apex.clone(), rtype)).ok_or(ContentError::Missing(rtype))?;
        }
        check_contents(&records, &apex)?;
        check_labels(&records, &apex)?;
        Ok(Self { apex, records })
    }

    /// Whether there is no more beneath any label than its owner could set, as in a zone whose names have owners.
    pub fn check_titles(&self) -> Result<(), TitleTooLarge> {
        match records::first_over(&self.records, &self.apex, MAX_RRSETS_PER_TITLE, MAX_TITLE_BYTES) {
            Some((title, rrsets, bytes)) => Err(TitleTooLarge { title, rrsets, bytes }),
            None => Ok(()),
        }
    }

    /// SERIAL of its SOA record; 0 if there is none.
    pub fn serial(&self) -> u32 {
        self.records.get(&(self.apex.clone(), Rtype::SOA)).and_then(serial_of).unwrap_or(0)
    }
}

impl Changes {
    /// From what `directory` has of the zone to what `file` says.
    pub fn between(directory: &Directory, file: &ZoneFile) -> Self {
        let mut changes = Self::default();
        let mut next = file.records.iter().peekable();
        let put = |((name, _), rrset): (&(Name, Rtype), &Rrset)| (name.clone(), rrset.clone());
        for (key, now) in directory.content(&file.apex) {
            while let Some(new) = next.next_if(|(new, _)| **new < key) {
                changes.puts.push(put(new));
            }
            match next.next_if(|(new, _)| **new == key) {
                Some(new) if new.1 != now => changes.puts.push(put(new)),
                Some(_) => {}
                None => changes.deletes.push(key),
            }
        }
        changes.puts.extend(next.map(put));
        changes
    }

    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ContentError> {
        Ok(codec::decode(bytes, MAX_CHANGES)?)
    }

    /// Puts and deletes in order and apart.
    fn is_canonical(&self) -> bool {
        let puts: BTreeSet<(&Name, Rtype)> = self.puts.iter().map(|(name, rrset)| (name, rrset.rtype)).collect();
        self.puts.is_sorted_by(|(a, x), (b, y)| (a, x.rtype) < (b, y.rtype))
            && self.deletes.is_sorted_by(|a, b| a < b)
            && self.deletes.iter().all(|(name, rtype)| !puts.contains(&(name, *rtype)))
    }
}

impl Update {
    /// SERIAL that the primary gave to this content.
    pub fn serial(&self) -> u32 {
        self.apex.get(&Rtype::SOA).and_then(serial_of).unwrap_or(0)
    }
}

impl ZoneRegistry {
    /// SERIAL of its SOA record: that of the file, or the primary's.
    pub fn serial(&self) -> u32 {
        self.records.get(&Rtype::SOA).and_then(serial_of).unwrap_or(0)
    }
}

impl Directory {
    /// From now on the zone's primary says what is in it. The row that says so. For the genesis.
    pub fn leave_to_primary(&mut self, apex: &Name) -> Option<Row> {
        let registry = self.zones().get(apex)?;
        self.put_zone(ZoneRegistry { source: ZoneSource::Primary, ..registry.clone() });
        Some(self.zones_row())
    }

    /// The zone that comes from a primary and that `name` belongs to or would be registered in.
    pub fn primary_zone_of(&self, name: &Name) -> Option<&Name> {
        let zone = self.zone_of_title(name).or_else(|| self.zone_of(name))?;
        (zone.source == ZoneSource::Primary).then_some(&zone.apex)
    }

    /// All that was set in a zone, in canonical order.
    fn content<'a>(&'a self, zone: &Name) -> impl Iterator<Item = ((Name, Rtype), &'a Rrset)> + use<'a> {
        let registry = self.zones().get(zone);
        let at_apex = registry.into_iter().flat_map(|registry| {
            registry.records.iter().map(|(rtype, rrset)| ((registry.apex.clone(), *rtype), rrset))
        });
        let below = self.titles(zone).flat_map(|title| title.records.iter().map(|(key, rrset)| (key.clone(), rrset)));
        at_apex.chain(below)
    }

    /// What `changes` make of a zone, if the rules let them. Nothing may be put at or beneath `reserved`.
    pub fn judge_changes(
        &self,
        zone: &Name,
        changes: &Changes,
        reserved: Option<&Name>,
    ) -> Result<Update, ContentError> {
        let registry = self.zones().get(zone).filter(|registry| registry.source == ZoneSource::Primary);
        let registry = registry.ok_or_else(|| ContentError::NoPrimary(zone.clone()))?;
        if !changes.is_canonical() {
            return Err(ContentError::NotCanonical);
        }
        let mut update = Update { zone: zone.clone(), apex: registry.records.clone(), titles: BTreeMap::new() };
        for (name, rtype) in &changes.deletes {
            let deleted = name.is_within(zone).then(|| self.set(&mut update, name, *rtype, None)).flatten();
            deleted.ok_or(ContentError::NotCanonical)?;
        }
        for (name, rrset) in &changes.puts {
            check_allowed(name, rrset.rtype, zone)?;
            if reserved.is_some_and(|reserved| name.is_within(reserved)) {
                return Err(ContentError::Reserved(name.clone()));
            }
            records::check_rrset(name, rrset)?;
            self.set(&mut update, name, rrset.rtype, Some(rrset.clone()));
        }
        for rtype in [Rtype::SOA, Rtype::NS] {
            update.apex.get(&rtype).ok_or(ContentError::Missing(rtype))?;
        }
        let at_apex = update.apex.iter().map(|(rtype, rrset)| ((zone.clone(), *rtype), rrset.clone()));
        records::check_together(&at_apex.collect())?;
        for beneath in update.titles.values() {
            check_labels(beneath, zone)?;
            records::check_relations(beneath)?;
        }
        Ok(update)
    }

    /// Puts or deletes an RRset of a name within the zone; what was there before.
    fn set(&self, update: &mut Update, name: &Name, rtype: Rtype, rrset: Option<Rrset>) -> Option<Rrset> {
        let Some(title) = name.suffix(update.zone.label_count() + 1) else {
            return match rrset {
                Some(rrset) => update.apex.insert(rtype, rrset),
                None => update.apex.remove(&rtype),
            };
        };
        let now = |title: &Name| self.title(title).map(|title| title.records.clone()).unwrap_or_default();
        let records = update.titles.entry(title).or_insert_with_key(now);
        match rrset {
            Some(rrset) => records.insert((name.clone(), rtype), rrset),
            None => records.remove(&(name.clone(), rtype)),
        }
    }

    /// Carries out an update that was judged on this very state. Names at which the zone is published otherwise now,
    /// and the rows.
    pub fn apply_changes(&mut self, update: Update, now: Timestamp, position: u64) -> (BTreeSet<Name>, Vec<Row>) {
        let Update { zone, apex, titles } = update;
        let (mut dirty, mut rows) = (BTreeSet::new(), Vec::new());
        let registry = self.zones()[&zone].clone();
        if registry.records != apex {
            dirty.insert(zone.clone());
            self.put_zone(ZoneRegistry { records: apex, ..registry.clone() });
            rows.push(self.zones_row());
        }
        for (name, records) in titles {
            let since = self.title(&name).map_or(now, |title| title.since);
            let is_empty = records.is_empty();
            let (title, entry) = registry_title(&registry, &name, records, since, position);
            dirty.extend(self.dirty(&title));
            if is_empty {
                self.remove(&name);
                rows.push(Row::delete(Table::Title, title_key(&name)));
                rows.push(Row::delete(Table::History, history_key(&name, 0)));
            } else {
                rows.extend(title.rows(&entry));
                self.put(title);
            }
        }
        (dirty, rows)
    }
}

impl Title {
    /// Whether its owner's key stands at its name.
    pub(super) fn shows_owner(&self, directory: &Directory) -> bool {
        !self.name.is_wildcard()
            && directory.zones().get(&self.zone).is_none_or(|zone| zone.source == ZoneSource::Titles)
    }
}

/// Whether there is no more beneath any label than a zone from a primary may have.
pub(super) fn check_labels(records: &BTreeMap<(Name, Rtype), Rrset>, apex: &Name) -> Result<(), ContentError> {
    match records::first_over(records, apex, MAX_RRSETS_PER_LABEL, MAX_LABEL_BYTES) {
        Some((label, rrsets, bytes)) => Err(ContentError::LabelTooLarge { label, rrsets, bytes }),
        None => Ok(()),
    }
}

/// Whether the service takes an RRset of this type at this name over.
fn check_allowed(name: &Name, rtype: Rtype, apex: &Name) -> Result<(), ContentError> {
    let place = |why: String| ContentError::Place { name: name.clone(), rtype, why };
    check_place(name, rtype, apex).map_err(place)?;
    let made_here = name == apex && DROPPED_AT_APEX.contains(&rtype);
    let why = records::why_not_allowed(rtype).filter(|_| name != apex || rtype != Rtype::SOA);
    match why.or(made_here.then_some("the service makes it itself")) {
        Some(why) => Err(place(why.into())),
        None => Ok(()),
    }
}

/// The five numbers of an SOA record are its last 20 bytes (RFC 1035 §3.3.13).
fn serial_of(soa: &Rrset) -> Option<u32> {
    let numbers = soa.rdatas().first()?.last_chunk::<20>()?;
    numbers.first_chunk::<4>().map(|serial| u32::from_be_bytes(*serial))
}
