//! Proofs that something does not exist: NSEC (RFC 4034 §4, RFC 4035 §3.1.3).

use arrayvec::ArrayVec;

use super::lookup::Before;
use super::response::{Full, Owner, Response, Section};
use crate::directory::rrset::Rtype;
use crate::directory::zone::{NodeRef, SignedZone};
use crate::limits::MAX_CNAME_CHAIN;

/// One for each wildcard of a chain, and two where it ends.
const MAX_PROOFS: usize = MAX_CNAME_CHAIN + 3;

/// The NSEC records that an answer needs, each once. A zone without NSEC records, not signed yet, gives none.
pub struct Proofs<'v> {
    zone: &'v SignedZone,
    nodes: ArrayVec<NodeRef<'v>, MAX_PROOFS>,
    wanted: bool,
}

impl<'v> Proofs<'v> {
    /// `wanted`: whether the DO bit asks for proofs at all.
    pub fn new(zone: &'v SignedZone, wanted: bool) -> Self {
        Self { zone, nodes: ArrayVec::new(), wanted }
    }

    /// The name has no records of the type asked for, but some of others.
    pub fn matching(&mut self, node: NodeRef<'v>) {
        if self.wanted {
            self.add(Some(node));
        }
    }

    /// The name after `before` has no records at all.
    pub fn after(&mut self, before: Before<'v>) {
        if self.wanted {
            self.add(covering(self.zone, before));
        }
    }

    pub fn write(&self, response: &mut Response<'_>) -> Result<(), Full> {
        for node in &self.nodes {
            let Some(nsec) = node.get(Rtype::NSEC) else { continue };
            response.rrset(Section::Authority, Owner::Name(node.owner().as_wire()), nsec, nsec.ttl, true)?;
        }
        Ok(())
    }

    fn add(&mut self, found: Option<NodeRef<'v>>) {
        let Some(node) = found.filter(|node| node.has(Rtype::NSEC)) else { return };
        if !self.nodes.iter().any(|known| known.is_at(node)) {
            self.nodes.push(node);
        }
    }
}

/// The name whose NSEC record spans the names after `before`.
fn covering<'v>(zone: &'v SignedZone, before: Before<'v>) -> Option<NodeRef<'v>> {
    let node = before?;
    if node.has(Rtype::NSEC) {
        return Some(node);
    }
    // The predecessor is glue, or hidden by a DNAME: it is no link of the chain, the cut or the DNAME above it is.
    let hidden = node.owner();
    (zone.apex().label_count()..hidden.label_count())
        .filter_map(|labels| zone.find(hidden.suffix(labels)))
        .filter(|node| node.has(Rtype::NS) || node.has(Rtype::DNAME))
        .filter(|node| node.owner() != zone.apex().as_ref() || node.has(Rtype::DNAME))
        .find(|node| node.has(Rtype::NSEC))
}
