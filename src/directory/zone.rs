//! A signed zone as a value: immutable, cheap to clone, the same bytes on every replica at the same serial.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::name_ref::{NameRef, WireName};
use super::rrset::{Rrset, Rtype};

/// An RRset with its RRSIG, if it is signed (glue and the NS records of a delegation are not: RFC 4035 §2.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedRrset {
    pub rrset: Rrset,
    /// RDATA of the RRSIG record (RFC 4034 §3.1).
    pub rrsig: Option<Vec<u8>>,
}

/// Everything at one name: its RRsets by type, NSEC included.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    rrsets: Vec<SignedRrset>,
}

impl Node {
    pub fn get(&self, rtype: Rtype) -> Option<&SignedRrset> {
        let at = self.rrsets.binary_search_by_key(&rtype, |signed| signed.rrset.rtype).ok()?;
        Some(&self.rrsets[at])
    }

    /// RRsets in order of type.
    pub fn rrsets(&self) -> &[SignedRrset] {
        &self.rrsets
    }

    fn put(&mut self, signed: SignedRrset) {
        match self.rrsets.binary_search_by_key(&signed.rrset.rtype, |signed| signed.rrset.rtype) {
            Ok(at) => self.rrsets[at] = signed,
            Err(at) => self.rrsets.insert(at, signed),
        }
    }

    fn delete(&mut self, rtype: Rtype) {
        self.rrsets.retain(|signed| signed.rrset.rtype != rtype);
    }
}

/// One version of a zone. Names without records of their own (empty non-terminals) are not in the map.
#[derive(Clone, PartialEq, Debug)]
pub struct SignedZone {
    apex: Name,
    nodes: OrdMap<Name, Arc<Node>>,
}

impl SignedZone {
    pub fn new(apex: Name) -> Self {
        Self { apex, nodes: OrdMap::new() }
    }

    pub fn apex(&self) -> &Name {
        &self.apex
    }

    pub fn get(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name).map(Arc::as_ref)
    }

    pub fn rrset(&self, name: &Name, rtype: Rtype) -> Option<&SignedRrset> {
        self.get(name)?.get(rtype)
    }

    /// The name with its records, if it has any; without an allocation.
    pub fn find(&self, name: NameRef<'_>) -> Option<(&Name, &Node)> {
        self.nodes.get_key_value(&name as &dyn WireName).map(|(name, node)| (name, node.as_ref()))
    }

    /// The last name with records that is not after `name`.
    pub fn at_or_before(&self, name: NameRef<'_>) -> Option<(&Name, &Node)> {
        self.nodes.get_prev(&name as &dyn WireName).map(|(name, node)| (name, node.as_ref()))
    }

    /// The first name with records that is not before `name`.
    pub fn at_or_after(&self, name: NameRef<'_>) -> Option<(&Name, &Node)> {
        self.nodes.get_next(&name as &dyn WireName).map(|(name, node)| (name, node.as_ref()))
    }

    /// Names with records, in canonical order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (&Name, &Node)> {
        self.nodes.iter().map(|(name, node)| (name, node.as_ref()))
    }

    /// Names from `from` on (included), in canonical order.
    pub fn nodes_from<'a>(&'a self, from: &Name) -> impl DoubleEndedIterator<Item = (&'a Name, &'a Node)> {
        self.nodes.range(from.clone()..).map(|(name, node)| (name, node.as_ref()))
    }

    /// Names before `before` (excluded), in canonical order: walk it from the back for predecessors.
    pub fn nodes_before<'a>(&'a self, before: &Name) -> impl DoubleEndedIterator<Item = (&'a Name, &'a Node)> {
        self.nodes.range(..before.clone()).map(|(name, node)| (name, node.as_ref()))
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// SERIAL of the SOA record, if there is one (RFC 1035 §3.3.13: the five numbers are its last 20 bytes).
    pub fn serial(&self) -> Option<u32> {
        let rdata = self.rrset(&self.apex, Rtype::SOA)?.rrset.rdatas().first()?;
        let numbers = rdata.len().checked_sub(20)?;
        Some(u32::from_be_bytes(rdata[numbers..numbers + 4].try_into().ok()?))
    }

    pub fn put(&mut self, name: &Name, signed: SignedRrset) {
        let node = self.nodes.entry(name.clone()).or_default();
        Arc::make_mut(node).put(signed);
    }

    pub fn delete(&mut self, name: &Name, rtype: Rtype) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        Arc::make_mut(node).delete(rtype);
        if node.rrsets.is_empty() {
            self.nodes.remove(name);
        }
    }
}
