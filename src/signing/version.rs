//! From one version of a zone to the next: which RRsets change, and which of them need a signature. Pure.
//!
//! What is signed, and what is in the NSEC chain (RFC 4034, RFC 4035 §2, RFC 9077):
//!
//! * A name at or above which, within the zone, there is no delegation or DNAME is **authoritative**: every RRset is
//!   signed, and the name is in the chain. The owner of a DNAME is authoritative itself.
//! * A name with NS that is not the apex is a **cut**: DS and NSEC are signed, and the chain's bitmap shows NS, DS,
//!   RRSIG and NSEC only; the NS RRset, and whatever else stands there, is the child's (RFC 4035 §2.2, §2.3).
//! * A name below a cut or below a DNAME is **occluded**: glue and what a delegation hides. It is kept, unsigned, and
//!   is not in the chain (RFC 4035 §2.2, §2.3; RFC 6672 §2.4).
//! * Empty non-terminals are not in the chain (RFC 4035 §2.3).
//! * The TTL of NSEC records is the smaller of the SOA's MINIMUM and TTL (RFC 9077 §3).
//!
//! The work is in proportion to the names that change, those below a cut that appears or goes away, and those occluded
//! in between; times log n for each look-up. The zone is never scanned, unless the negative TTL changes, which changes the
//! whole chain.

use std::collections::{BTreeMap, BTreeSet};

use super::rrsig::nsec_rdata;
use crate::directory::name::Name;
use crate::directory::name_ref::{NameRef, WireName};
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{NodeRef, RrsetRef, SignedRrset, SignedZone};

/// What the next version is to hold.
pub struct Change<'a> {
    /// Names at which `desired` may differ from the published version.
    pub dirty: &'a BTreeSet<Name>,
    /// RRsets that the directory wants at a name; without SOA, DNSKEY, NSEC and RRSIG.
    pub desired: &'a dyn Fn(&Name) -> Vec<Rrset>,
    /// The zone's SOA. Its serial is replaced.
    pub soa: &'a Rrset,
    pub dnskey: &'a Rrset,
    pub serial: u32,
    /// Whether the version is to have a ZONEMD record. The plan makes room for it in the chain only: what it says
    /// follows from the signatures of all the rest ([`super::zonemd`]).
    pub zonemd: bool,
    /// RRsets to sign anew though they do not change. Those that are gone or not signed any more are passed over.
    pub renew: &'a BTreeSet<(Name, Rtype)>,
}

/// The difference between two versions, in canonical order of name and type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionPlan {
    pub serial: u32,
    pub puts: Vec<Put>,
    pub deletes: Vec<(Name, Rtype)>,
}

/// An RRset to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    pub name: Name,
    pub rrset: Rrset,
    pub needs_signature: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the signature of {0} {1} is missing")]
pub struct MissingSignature(pub Name, pub Rtype);

/// The next version, once its signatures are known: RRSIG RDATA by name and type.
pub fn apply_version(
    published: &SignedZone,
    plan: &VersionPlan,
    signatures: &BTreeMap<(Name, Rtype), Vec<u8>>,
) -> Result<SignedZone, MissingSignature> {
    let mut zone = published.clone();
    for (name, rtype) in &plan.deletes {
        zone.delete(name, *rtype);
    }
    for put in &plan.puts {
        let signature = signatures.get(&(put.name.clone(), put.rrset.rtype));
        if put.needs_signature && signature.is_none() {
            return Err(MissingSignature(put.name.clone(), put.rrset.rtype));
        }
        let rrsig = signature.filter(|_| put.needs_signature).cloned();
        zone.put(&put.name, SignedRrset { rrset: put.rrset.clone(), rrsig });
    }
    Ok(zone)
}

/// The way from the published version (or an empty zone, at genesis) to the next.
pub fn plan(published: &SignedZone, change: &Change) -> VersionPlan {
    let mut planner = Planner::new(published, change);
    planner.visit_affected();
    planner.mend_chain();
    planner.renew();
    planner.finish(change.serial)
}

/// What a name is to the zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Authoritative,
    Cut,
    Occluded,
}

/// A name of the next version whose content had to be looked at.
struct Visited {
    rrsets: Vec<Rrset>,
    standing: Standing,
}

impl Visited {
    fn is_in_chain(&self) -> bool {
        !self.rrsets.is_empty() && self.standing != Standing::Occluded
    }
}

struct Planner<'a> {
    published: &'a SignedZone,
    change: &'a Change<'a>,
    soa: Rrset,
    nsec_ttl: u32,
    visited: BTreeMap<Name, Visited>,
    puts: BTreeMap<(Name, Rtype), (Rrset, bool)>,
    deletes: BTreeSet<(Name, Rtype)>,
}

impl<'a> Planner<'a> {
    fn new(published: &'a SignedZone, change: &'a Change<'a>) -> Self {
        let soa = with_serial(change.soa, change.serial);
        let nsec_ttl = negative_ttl(&soa);
        let (visited, puts, deletes) = Default::default();
        Self { published, change, soa, nsec_ttl, visited, puts, deletes }
    }

    /// Looks at the dirty names, and at all beneath those that begin or cease to hide what is beneath.
    fn visit_affected(&mut self) {
        let apex = self.published.apex().clone();
        self.visit(&apex);
        for name in self.change.dirty {
            if !name.is_within(&apex) {
                continue;
            }
            self.visit(name);
            let hid =
                self.published.get(name).is_some_and(|node| self.hides(name, node.rrsets().map(|signed| signed.rtype)));
            let hides = self.hides(name, self.visited[name].rrsets.iter().map(|rrset| rrset.rtype));
            if hid != hides {
                let below = self.published.nodes_from(name).map(NodeRef::owner);
                let below = below.skip_while(|it| *it == name.as_ref()).take_while(|it| it.is_within(name.as_ref()));
                let below: Vec<Name> = below.map(NameRef::to_name).collect();
                for name in below {
                    self.visit(&name);
                }
            }
        }
    }

    fn visit(&mut self, name: &Name) {
        if self.visited.contains_key(name) {
            return;
        }
        let rrsets = self.content(name);
        let standing = self.standing(name, &rrsets);
        let signed = |rtype: Rtype| match standing {
            Standing::Authoritative => true,
            Standing::Cut => rtype == Rtype::DS,
            Standing::Occluded => false,
        };
        for rrset in &rrsets {
            if self.is_zonemd(name, rrset.rtype) {
                continue;
            }
            let now = self.published.rrset(name, rrset.rtype);
            let needs_signature = signed(rrset.rtype);
            if now.is_none_or(|now| now != *rrset || now.rrsig().is_some() != needs_signature) {
                self.puts.insert((name.clone(), rrset.rtype), (rrset.clone(), needs_signature));
            }
        }
        let gone = self.published.get(name).into_iter().flat_map(|node| node.rrsets());
        for rtype in gone.map(|signed| signed.rtype) {
            if rtype != Rtype::NSEC && !rrsets.iter().any(|rrset| rrset.rtype == rtype) {
                self.deletes.insert((name.clone(), rtype));
            }
        }
        self.visited.insert(name.clone(), Visited { rrsets, standing });
    }

    /// RRsets of the next version at a name, without NSEC.
    fn content(&self, name: &Name) -> Vec<Rrset> {
        let is_apex = name == self.published.apex();
        if !is_apex && !self.change.dirty.contains(name) {
            let node = self.published.get(name).into_iter().flat_map(|node| node.rrsets());
            return node.filter(|it| it.rtype != Rtype::NSEC).map(RrsetRef::rrset).collect();
        }
        let ours = [Rtype::SOA, Rtype::DNSKEY, Rtype::NSEC, Rtype::RRSIG, Rtype::ZONEMD];
        let mut rrsets = (self.change.desired)(name);
        rrsets.retain(|rrset| !ours.contains(&rrset.rtype) && !rrset.rdatas().is_empty());
        if is_apex {
            rrsets.push(self.soa.clone());
            rrsets.push(self.change.dnskey.clone());
            rrsets.extend(self.change.zonemd.then(|| Rrset::new(Rtype::ZONEMD, self.soa.ttl, Vec::new())));
        }
        rrsets.sort_by_key(|rrset| rrset.rtype);
        rrsets.dedup_by_key(|rrset| rrset.rtype);
        rrsets
    }

    /// Whether it is the digest, which is put when it can be made.
    fn is_zonemd(&self, name: &Name, rtype: Rtype) -> bool {
        self.change.zonemd && rtype == Rtype::ZONEMD && name == self.published.apex()
    }

    fn standing(&self, name: &Name, rrsets: &[Rrset]) -> Standing {
        let apex = self.published.apex();
        let mut above = name.clone();
        while above != *apex {
            above = above.parent().expect("the name is within the zone");
            let types: Vec<Rtype> = match (self.visited.get(&above), self.change.dirty.contains(&above)) {
                (Some(visited), _) => visited.rrsets.iter().map(|rrset| rrset.rtype).collect(),
                (None, true) => self.content(&above).iter().map(|rrset| rrset.rtype).collect(),
                (None, false) => types_at(self.published, &above).collect(),
            };
            if self.hides(&above, types.into_iter()) {
                return Standing::Occluded;
            }
        }
        let is_cut = name != apex && rrsets.iter().any(|rrset| rrset.rtype == Rtype::NS);
        if is_cut { Standing::Cut } else { Standing::Authoritative }
    }

    /// Whether a name with these types hides what is beneath it.
    fn hides(&self, name: &Name, mut types: impl Iterator<Item = Rtype>) -> bool {
        let is_apex = name == self.published.apex();
        types.any(|rtype| rtype == Rtype::DNAME || (rtype == Rtype::NS && !is_apex))
    }

    /// NSEC records of names that were looked at, and of those before names that joined or left the chain.
    fn mend_chain(&mut self) {
        let mut to_mend = BTreeSet::new();
        let mut before: Option<Name> = None;
        let mut last: Option<Name> = None;
        for (name, visited) in &self.visited {
            let was = self.published.rrset(name, Rtype::NSEC).is_some();
            if visited.is_in_chain() {
                to_mend.insert(name.clone());
            } else if was {
                self.deletes.insert((name.clone(), Rtype::NSEC));
            }
            if was != visited.is_in_chain() {
                let found = self.previous_in_chain(name, last.as_ref().zip(before.as_ref()));
                to_mend.extend(found.clone());
                (last, before) = (Some(name.clone()), found);
            }
        }
        if self.published.rrset(self.published.apex(), Rtype::NSEC).is_some_and(|it| it.ttl != self.nsec_ttl) {
            let chain = self.published.nodes().filter(|node| self.stays_in_chain(*node));
            to_mend.extend(chain.map(|node| node.owner().to_name()));
        }
        for name in to_mend {
            let nsec = self.nsec(&name);
            if self.published.rrset(&name, Rtype::NSEC).is_none_or(|now| now != nsec) {
                self.puts.insert((name, Rtype::NSEC), (nsec, true));
            }
        }
    }

    fn nsec(&self, name: &Name) -> Rrset {
        let (mut types, standing): (Vec<Rtype>, Standing) = match self.visited.get(name) {
            Some(visited) => (visited.rrsets.iter().map(|rrset| rrset.rtype).collect(), visited.standing),
            None => {
                let types: Vec<Rtype> = types_at(self.published, name).filter(|&it| it != Rtype::NSEC).collect();
                let is_cut = name != self.published.apex() && types.contains(&Rtype::NS);
                (types, if is_cut { Standing::Cut } else { Standing::Authoritative })
            }
        };
        if standing == Standing::Cut {
            types.retain(|&rtype| rtype == Rtype::NS || rtype == Rtype::DS);
        }
        types.extend([Rtype::RRSIG, Rtype::NSEC]);
        types.sort();
        Rrset::new(Rtype::NSEC, self.nsec_ttl, vec![nsec_rdata(&self.next_in_chain(name), &types)])
    }

    /// The name after `name` in the chain of the next version; the apex after the last.
    fn next_in_chain(&self, name: &Name) -> Name {
        let visited = self.visited.range(name.clone()..).filter(|(it, _)| *it != name);
        let joined = visited.filter(|(_, it)| it.is_in_chain()).map(|(it, _)| it).next();
        let kept = self.published.nodes_from(name).filter(|it| it.owner() != name.as_ref());
        let mut kept = kept.take_while(|it| joined.is_none_or(|joined| it.owner() < joined.as_ref()));
        let kept = kept.find(|it| self.stays_in_chain(*it)).map(|it| it.owner().to_name());
        kept.or_else(|| joined.cloned()).unwrap_or_else(|| self.published.apex().clone())
    }

    /// A name in the chain of the published version that was not looked at.
    fn stays_in_chain(&self, node: NodeRef<'_>) -> bool {
        node.has(Rtype::NSEC) && !self.visited.contains_key(&node.owner() as &dyn WireName)
    }

    /// The name before `name` in the chain of the next version; none before the apex. `known`: a name before this one,
    /// itself not in the chain or handled already, and the one before that.
    fn previous_in_chain(&self, name: &Name, known: Option<(&Name, &Name)>) -> Option<Name> {
        let stop = known.map(|(last, _)| last);
        let mut visited = self.visited.range(..name.clone()).rev();
        let joined = visited.find(|(it, visited)| visited.is_in_chain() || Some(*it) == stop).map(|(it, _)| it);
        let kept = self.published.nodes_before(name).rev();
        let mut kept = kept.take_while(|it| joined.is_none_or(|joined| it.owner() > joined.as_ref()));
        let kept = kept.find(|it| self.stays_in_chain(*it)).map(|it| it.owner().to_name());
        let found = kept.or_else(|| joined.cloned())?;
        match known {
            Some((last, before)) if found == *last && !self.visited[last].is_in_chain() => Some(before.clone()),
            _ => Some(found),
        }
    }

    fn renew(&mut self) {
        for (name, rtype) in self.change.renew {
            if self.is_zonemd(name, *rtype) {
                continue;
            }
            let key = (name.clone(), *rtype);
            let now = self.published.rrset(name, *rtype).filter(|now| now.rrsig().is_some());
            if let Some(now) = now.filter(|_| !self.puts.contains_key(&key) && !self.deletes.contains(&key)) {
                self.puts.insert(key, (now.rrset(), true));
            }
        }
    }

    fn finish(self, serial: u32) -> VersionPlan {
        let puts = self.puts.into_iter();
        let puts = puts.map(|((name, _), (rrset, needs_signature))| Put { name, rrset, needs_signature });
        VersionPlan { serial, puts: puts.collect(), deletes: self.deletes.into_iter().collect() }
    }
}

fn types_at(zone: &SignedZone, name: &Name) -> impl Iterator<Item = Rtype> {
    zone.get(name).into_iter().flat_map(NodeRef::rrsets).map(|signed| signed.rtype)
}

/// The SOA with another serial: the first of the five numbers in its last 20 bytes (RFC 1035 §3.3.13).
fn with_serial(soa: &Rrset, serial: u32) -> Rrset {
    let rdatas = soa.rdatas().iter().map(|rdata| {
        let mut rdata = rdata.clone();
        if let Some(at) = rdata.len().checked_sub(20) {
            rdata[at..at + 4].copy_from_slice(&serial.to_be_bytes());
        }
        rdata
    });
    Rrset::new(Rtype::SOA, soa.ttl, rdatas.collect())
}

/// TTL of negative answers: the smaller of the SOA's MINIMUM and TTL (RFC 2308 §5, RFC 9077 §3).
pub fn negative_ttl(soa: &Rrset) -> u32 {
    let minimum = soa.rdatas().first().and_then(|rdata| rdata.last_chunk::<4>());
    minimum.map_or(soa.ttl, |bytes| soa.ttl.min(u32::from_be_bytes(*bytes)))
}
