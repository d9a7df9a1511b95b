//! A signed zone as a value: immutable, cheap to clone, the same bytes on every replica at the same serial.

mod gather;
mod node;
mod tree;

use std::fmt;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

pub use self::gather::Gathering;
use self::node::Node;
pub use self::node::{NodeRef, Records, RrsetRef, readdress};
use self::tree::{FETCHED, Key, Seek, Tree};
use super::name::Name;
use super::name_ref::NameRef;
use super::rrset::{Rrset, Rtype};

/// An RRset with its RRSIG, if it is signed (glue and the NS records of a delegation are not: RFC 4035 §2.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedRrset {
    pub rrset: Rrset,
    /// RDATA of the RRSIG record (RFC 4034 §3.1).
    #[serde(with = "crate::codec::bytes")]
    pub rrsig: Option<Vec<u8>>,
}

/// One version of a zone. Names without records of their own (empty non-terminals) are not in it.
#[derive(Clone)]
pub struct SignedZone {
    apex: Name,
    /// What is at the apex, which is the first of the nodes.
    top: Option<Node>,
    nodes: Tree,
}

/// The names around a name, with their records.
#[derive(Clone, Copy, Debug)]
pub struct Around<'z> {
    /// The last one that is not after it.
    pub at_or_before: Option<NodeRef<'z>>,
    /// The first one after that.
    pub after: Option<NodeRef<'z>>,
    /// The first of them is the name itself.
    pub exact: bool,
}

impl<'z> Around<'z> {
    /// The name itself.
    pub fn here(self) -> Option<NodeRef<'z>> {
        self.at_or_before.filter(|_| self.exact)
    }

    pub fn at_or_after(self) -> Option<NodeRef<'z>> {
        if self.exact { self.at_or_before } else { self.after }
    }
}

impl SignedZone {
    pub fn new(apex: Name) -> Self {
        Self { apex, top: None, nodes: Tree::new() }
    }

    pub fn apex(&self) -> &Name {
        &self.apex
    }

    pub fn get(&self, name: &Name) -> Option<NodeRef<'_>> {
        self.find(name.as_ref())
    }

    pub fn rrset(&self, name: &Name, rtype: Rtype) -> Option<RrsetRef<'_>> {
        self.get(name)?.get(rtype)
    }

    /// The apex with its records: without a search.
    pub fn top(&self) -> Option<NodeRef<'_>> {
        self.top.as_ref().map(Node::as_ref)
    }

    /// The name with its records, if it has any.
    pub fn find(&self, name: NameRef<'_>) -> Option<NodeRef<'_>> {
        self.around(name).here()
    }

    /// What has records around `name`; nothing, if `name` is not within the zone.
    pub fn around(&self, name: NameRef<'_>) -> Around<'_> {
        let Some(Seek { at_or_before, after, exact, .. }) = self.seek(name) else {
            return Around { at_or_before: None, after: None, exact: false };
        };
        Around { at_or_before: at_or_before.map(Node::as_ref), after: after.map(Node::as_ref), exact }
    }

    /// Asks for the memory that answers about these names will read, all at once: a search that follows waits less.
    pub fn fetch(&self, names: &[NameRef<'_>]) {
        for names in names.chunks(FETCHED) {
            let keys: ArrayVec<Key<'_>, FETCHED> = names.iter().filter_map(|name| self.key(*name)).collect();
            self.nodes.fetch(&keys);
        }
    }

    fn seek(&self, name: NameRef<'_>) -> Option<Seek<'_>> {
        self.key(name).map(|key| self.nodes.seek(key))
    }

    /// None if `name` is not within the zone.
    fn key<'n>(&self, name: NameRef<'n>) -> Option<Key<'n>> {
        name.is_within(self.apex.as_ref()).then(|| Key::new(name, self.apex.as_wire().len()))
    }

    /// The name with records that has `rank` others before it.
    pub fn at(&self, rank: usize) -> Option<NodeRef<'_>> {
        self.nodes.at(rank).map(Node::as_ref)
    }

    /// Names with records, in canonical order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeRef<'_>> {
        self.ranks(0, self.nodes.len())
    }

    /// Names from `from` on (included), in canonical order.
    pub fn nodes_from(&self, from: &Name) -> impl DoubleEndedIterator<Item = NodeRef<'_>> {
        self.ranks(self.before(from), self.nodes.len())
    }

    /// Names before `before` (excluded), in canonical order: walk it from the back for predecessors.
    pub fn nodes_before(&self, before: &Name) -> impl DoubleEndedIterator<Item = NodeRef<'_>> {
        self.ranks(0, self.before(before))
    }

    /// How many names are before `name`.
    fn before(&self, name: &Name) -> usize {
        let Some(key) = self.key(name.as_ref()) else { return 0 };
        self.nodes.rank(key) - usize::from(self.nodes.seek(key).exact)
    }

    fn ranks(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = NodeRef<'_>> {
        (from..to).filter_map(|rank| self.at(rank))
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SERIAL of the SOA record, if there is one (RFC 1035 §3.3.13: the five numbers are its last 20 bytes).
    pub fn serial(&self) -> Option<u32> {
        let rdata = self.top()?.get(Rtype::SOA)?.rdatas().next()?;
        let numbers = rdata.len().checked_sub(20)?;
        Some(u32::from_be_bytes(rdata[numbers..numbers + 4].try_into().ok()?))
    }

    /// Puts an RRset in the place of the one of its type, if there is one.
    ///
    /// # Panics
    /// If `name` is not within the zone.
    pub fn put(&mut self, name: &Name, signed: SignedRrset) {
        self.change(name, |rrsets| match rrsets.binary_search_by_key(&signed.rrset.rtype, |there| there.rrset.rtype) {
            Ok(at) => rrsets[at] = signed,
            Err(at) => rrsets.insert(at, signed),
        });
    }

    pub fn delete(&mut self, name: &Name, rtype: Rtype) {
        if self.rrset(name, rtype).is_some() {
            self.change(name, |rrsets| rrsets.retain(|there| there.rrset.rtype != rtype));
        }
    }

    /// Puts RRsets, in order of type, in the place of all that the zone has at this name.
    ///
    /// # Panics
    /// If `name` is not within the zone.
    pub fn put_name(&mut self, name: &Name, rrsets: &[SignedRrset]) {
        let key = self.key(name.as_ref()).expect("a zone has names within it only");
        if rrsets.is_empty() {
            self.nodes.remove(key);
        } else {
            self.nodes.put(key, Node::new(name.as_ref(), rrsets));
        }
        if *name == self.apex {
            self.top = self.nodes.seek(key).at_or_before.cloned();
        }
    }

    fn change(&mut self, name: &Name, change: impl FnOnce(&mut Vec<SignedRrset>)) {
        let mut rrsets: Vec<SignedRrset> =
            self.get(name).into_iter().flat_map(NodeRef::rrsets).map(RrsetRef::to_signed).collect();
        change(&mut rrsets);
        self.put_name(name, &rrsets);
    }
}

impl PartialEq for SignedZone {
    fn eq(&self, other: &Self) -> bool {
        let nodes =
            |zone: &Self| (0..zone.nodes.len()).filter_map(|rank| zone.nodes.at(rank).cloned()).collect::<Vec<_>>();
        self.apex == other.apex && self.len() == other.len() && nodes(self) == nodes(other)
    }
}

impl fmt::Debug for SignedZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedZone")
            .field("apex", &self.apex)
            .field("nodes", &self.nodes().collect::<Vec<_>>())
            .finish()
    }
}
