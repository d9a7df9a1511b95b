//! Proofs that something does not exist: NSEC (RFC 4034 §4, RFC 4035 §3.1.3).

use super::lookup::Before;
use super::response::{Full, Owner, Response, Section};
use crate::directory::name::Name;
use crate::directory::name_ref::{NameBuffer, NameRef};
use crate::directory::rrset::Rtype;
use crate::directory::zone::{Node, SignedRrset, SignedZone};
use crate::limits::MAX_CNAME_CHAIN;

/// One for each wildcard of a chain, and two where it ends.
const MAX_PROOFS: usize = MAX_CNAME_CHAIN + 3;

/// The NSEC records that an answer needs, each once. A zone without NSEC records, not signed yet, gives none.
pub struct Proofs<'v> {
    zone: &'v SignedZone,
    records: [Option<(&'v Name, &'v SignedRrset)>; MAX_PROOFS],
    wanted: bool,
}

impl<'v> Proofs<'v> {
    /// `wanted`: whether the DO bit asks for proofs at all.
    pub fn new(zone: &'v SignedZone, wanted: bool) -> Self {
        Self { zone, records: [None; MAX_PROOFS], wanted }
    }

    /// `name` has no records of the type asked for, but some of others.
    pub fn matching(&mut self, name: NameRef<'_>) {
        if self.wanted
            && let Some((owner, node)) = self.zone.find(name)
        {
            self.add(nsec_of(owner, node));
        }
    }

    /// The name after `before` has no records at all.
    pub fn after(&mut self, before: Before<'v>) {
        if self.wanted {
            self.add(covering(self.zone, before));
        }
    }

    /// Nor has the wildcard that could have matched it.
    pub fn wildcard_of(&mut self, encloser: NameRef<'_>) {
        if self.wanted
            && let Ok(wildcard) = NameBuffer::wildcard(encloser)
        {
            self.add(covering(self.zone, self.zone.at_or_before(wildcard.as_ref())));
        }
    }

    pub fn write(&self, response: &mut Response<'_>) -> Result<(), Full> {
        for (owner, nsec) in self.records.iter().flatten() {
            response.rrset(Section::Authority, Owner::Name(owner.as_wire()), nsec, nsec.rrset.ttl, true)?;
        }
        Ok(())
    }

    fn add(&mut self, found: Option<(&'v Name, &'v SignedRrset)>) {
        let Some((owner, nsec)) = found else { return };
        for place in &mut self.records {
            match place {
                Some((_, known)) if std::ptr::eq(*known, nsec) => return,
                Some(_) => continue,
                None => {
                    *place = Some((owner, nsec));
                    return;
                }
            }
        }
    }
}

/// The NSEC record whose span holds the names after `before`.
fn covering<'v>(zone: &'v SignedZone, before: Before<'v>) -> Option<(&'v Name, &'v SignedRrset)> {
    let (owner, node) = before?;
    if let Some(found) = nsec_of(owner, node) {
        return Some(found);
    }
    // The predecessor is glue, or hidden by a DNAME: it is no link of the chain, the cut or the DNAME above it is.
    let hidden = owner.as_ref();
    (zone.apex().label_count()..hidden.label_count())
        .filter_map(|labels| zone.find(hidden.suffix(labels)))
        .filter(|(_, node)| node.get(Rtype::NS).is_some() || node.get(Rtype::DNAME).is_some())
        .filter(|(owner, node)| *owner != zone.apex() || node.get(Rtype::DNAME).is_some())
        .find_map(|(owner, node)| nsec_of(owner, node))
}

fn nsec_of<'v>(owner: &'v Name, node: &'v Node) -> Option<(&'v Name, &'v SignedRrset)> {
    Some((owner, node.get(Rtype::NSEC)?))
}
