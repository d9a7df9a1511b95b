//! What a zone publishes at each name: the owners' records, the keys of the owners, and what a cut hides.
//!
//! At a title's name stands the owner's key as a KEY record (RFC 2535 §3.1, RFC 3445), unless the name is a zone cut.
//! Beside a CNAME it may stand too (RFC 4035 §2.5). Below a cut only glue is published (RFC 1034 §4.2.1), below a
//! DNAME nothing (RFC 6672 §2.4); at a cut NS and DS, and addresses, which are glue there. A zone of this service that
//! lies within another one is a cut in it; without NS records there the outer zone publishes nothing at that name.
//!
//! Deviations: at a name that is a wildcard (a `*` label right below the apex, from a zone's file) no KEY is published:
//! it would name the registry as owner of every name that is still free. Nor is one in a zone that comes from a
//! primary, which is published as it came.

use std::collections::{BTreeMap, BTreeSet};

use super::name::Name;
use super::rrset::{Rrset, Rtype};
use super::state::Directory;
use super::title::Title;
use crate::crypto::ed25519::PublicKey;

/// Seconds that an owner's key may be cached.
pub const KEY_TTL: u32 = 3600;

/// How a name stands in its zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The zone speaks for it: everything is signed.
    Authoritative,
    /// A cut: DS is signed, NS and addresses are not.
    Cut,
    /// Below a cut or a DNAME: nothing is signed.
    Occluded,
}

/// A name's standing and its RRsets in order of type.
pub type Published = (Standing, Vec<Rrset>);

impl Directory {
    /// What is to be published at `name` in `zone`, in order of type; nothing if there is no such name.
    pub fn rrsets_at(&self, zone: &Name, name: &Name) -> Vec<Rrset> {
        if let Some(registry) = self.zones().get(zone).filter(|registry| registry.apex == *name) {
            return registry.records.values().cloned().collect();
        }
        self.title_in(zone, name).map(|title| title.rrsets_shown(name, self.place(title, name))).unwrap_or_default()
    }

    /// Names in `zone` with something to publish, in canonical order, glue included; empty non-terminals are not.
    pub fn names<'a>(&'a self, zone: &Name) -> impl Iterator<Item = Name> + use<'a> {
        let apex = self.zones().get(zone).map(|registry| registry.apex.clone());
        apex.into_iter().chain(self.titles(zone).flat_map(|title| self.published(title).into_keys()))
    }

    /// Whether authority ends at `name`: it has NS below the apex, or is the apex of another zone of this service.
    pub fn is_cut(&self, zone: &Name, name: &Name) -> bool {
        self.standing_in(zone, name) == Standing::Cut
    }

    /// Whether `name` lies below a cut, or below a DNAME.
    pub fn is_occluded(&self, zone: &Name, name: &Name) -> bool {
        self.standing_in(zone, name) == Standing::Occluded
    }

    /// How `name` stands in `zone`, whether it has records or not.
    pub fn standing_in(&self, zone: &Name, name: &Name) -> Standing {
        self.title_in(zone, name).map_or(Standing::Authoritative, |title| self.place(title, name).standing())
    }

    /// Everything published under a title. One walk: a title may have hundreds of names, a hundred labels deep each.
    pub(super) fn published(&self, title: &Title) -> BTreeMap<Name, Published> {
        let inner_zones = self.zones().keys().filter(|apex| apex.is_within(&title.name));
        let names: BTreeSet<&Name> =
            title.records.keys().map(|(name, _)| name).chain([&title.name]).chain(inner_zones).collect();
        let mut published = BTreeMap::new();
        let shows_owner = title.shows_owner(self);
        // What is beneath a name follows it at once in canonical order (RFC 4034 §6.1).
        let mut hiding: Option<(&Name, Hides)> = None;
        for name in names {
            hiding = hiding.filter(|(above, _)| name.is_within(above));
            let hidden = hiding.map(|(_, hides)| hides);
            let place = Place { hidden, own: self.hides(title, name), shows_owner };
            if hiding.is_none() {
                hiding = place.own.map(|hides| (name, hides));
            }
            let rrsets = title.rrsets_shown(name, place);
            if !rrsets.is_empty() {
                published.insert(name.clone(), (place.standing(), rrsets));
            }
        }
        published
    }

    fn place(&self, title: &Title, name: &Name) -> Place {
        let mut above = (title.name.label_count()..name.label_count()).filter_map(|labels| name.suffix(labels));
        let hidden = above.find_map(|above| self.hides(title, &above));
        Place { hidden, own: self.hides(title, name), shows_owner: title.shows_owner(self) }
    }

    /// What `name` hides of the names beneath it.
    fn hides(&self, title: &Title, name: &Name) -> Option<Hides> {
        let has = |rtype: Rtype| title.records.contains_key(&(name.clone(), rtype));
        if has(Rtype::NS) || self.zones().contains_key(name) {
            Some(Hides::AllButGlue)
        } else if has(Rtype::DNAME) {
            Some(Hides::Everything)
        } else {
            None
        }
    }
}

/// What a cut, or a DNAME, hides beneath it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hides {
    AllButGlue,
    Everything,
}

/// A name's place under its title.
#[derive(Clone, Copy)]
struct Place {
    /// What the topmost cut or DNAME above it hides.
    hidden: Option<Hides>,
    /// What it hides itself.
    own: Option<Hides>,
    /// The title is one at whose name the owner's key stands.
    shows_owner: bool,
}

impl Place {
    fn standing(self) -> Standing {
        match self {
            Self { hidden: Some(_), .. } => Standing::Occluded,
            Self { own: Some(Hides::AllButGlue), .. } => Standing::Cut,
            _ => Standing::Authoritative,
        }
    }
}

impl Title {
    fn rrsets_shown(&self, name: &Name, place: Place) -> Vec<Rrset> {
        let standing = place.standing();
        let is_address = |rtype: Rtype| [Rtype::A, Rtype::AAAA].contains(&rtype);
        let is_shown = |rtype: Rtype| match standing {
            Standing::Authoritative => true,
            Standing::Cut => is_address(rtype) || [Rtype::NS, Rtype::DS].contains(&rtype),
            Standing::Occluded => is_address(rtype) && place.hidden == Some(Hides::AllButGlue),
        };
        let own = self.records.range((name.clone(), Rtype(0))..=(name.clone(), Rtype(u16::MAX)));
        let mut rrsets: Vec<Rrset> = own.filter(|((_, rtype), _)| is_shown(*rtype)).map(|(_, r)| r.clone()).collect();
        if standing == Standing::Cut && !rrsets.iter().any(|rrset| rrset.rtype == Rtype::NS) {
            rrsets.clear();
        }
        if standing == Standing::Authoritative && *name == self.name && place.shows_owner {
            let at = rrsets.partition_point(|rrset| rrset.rtype < Rtype::KEY);
            rrsets.insert(at, owner_key(&self.owner));
        }
        rrsets
    }
}

/// The KEY RRset of a key (RFC 2535 §3.1): flags 512 (an entity that is no zone), protocol 3 (DNSSEC), algorithm 15.
pub fn owner_key(owner: &PublicKey) -> Rrset {
    let mut rdata = vec![0x02, 0x00, 3, 15];
    rdata.extend(owner.0);
    Rrset::new(Rtype::KEY, KEY_TTL, vec![rdata])
}
