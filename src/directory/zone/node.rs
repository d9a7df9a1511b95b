//! All that a zone has at one name, in one piece of memory and laid out as answers need it.
//!
//! ```text
//! node   = length of the owner (1) ‖ RRsets (2) ‖ owner in wire form ‖ table ‖ records
//! table  = for each RRset by type: type (2) ‖ records without the RRSIG (2) ‖ TTL (4)
//!          ‖ where its records begin (4) ‖ where its RRSIG begins, or its records end (4)
//! record = pointer to the question's name (2) ‖ type, class, TTL, RDLENGTH, RDATA: as on the wire (RFC 1035 §4.1.3, §4.1.4)
//! ```
//!
//! An RRset's RRSIG is the record after its own. Numbers are big-endian. An answer is found by two reads of memory that are
//! next to each other, and, if its owner is the question's name, written by one copy.

use std::fmt;
use std::sync::Arc;

use super::SignedRrset;
use crate::directory::name_ref::NameRef;
use crate::directory::rrset::{Rrset, Rtype};

const CLASS_IN: u16 = 1;
const TABLE_ENTRY: usize = 16;
/// Bytes of a compressed owner.
const POINTER: usize = 2;
/// The name of a message's question stands behind the header of 12 bytes.
const TO_QUESTION: [u8; POINTER] = [0xc0, 12];
/// Type, class, TTL and RDLENGTH of a record.
const FIXED: usize = 10;

/// The records at one name. Immutable, cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Node(Arc<[u8]>);

impl Node {
    pub fn new(owner: NameRef<'_>, rrsets: &[SignedRrset]) -> Self {
        let owner = owner.as_wire();
        let mut bytes = vec![owner.len() as u8];
        bytes.extend_from_slice(&u16::try_from(rrsets.len()).expect("types are numbers of 16 bits").to_be_bytes());
        bytes.extend_from_slice(owner);
        let table = bytes.len();
        bytes.resize(table + TABLE_ENTRY * rrsets.len(), 0);
        for (position, signed) in rrsets.iter().enumerate() {
            let SignedRrset { rrset, rrsig } = signed;
            let count = u16::try_from(rrset.rdatas().len()).expect("an RRset fits into a message");
            let begin = u32::try_from(bytes.len()).expect("the records of a name are a few messages");
            let entry = &mut bytes[table + TABLE_ENTRY * position..][..TABLE_ENTRY];
            entry[..2].copy_from_slice(&rrset.rtype.0.to_be_bytes());
            entry[2..4].copy_from_slice(&count.to_be_bytes());
            entry[4..8].copy_from_slice(&rrset.ttl.to_be_bytes());
            entry[8..12].copy_from_slice(&begin.to_be_bytes());
            for rdata in rrset.rdatas() {
                push_record(&mut bytes, rrset.rtype, rrset.ttl, rdata);
            }
            let end = u32::try_from(bytes.len()).expect("the records of a name are a few messages");
            bytes[table + TABLE_ENTRY * position..][12..TABLE_ENTRY].copy_from_slice(&end.to_be_bytes());
            if let Some(rrsig) = rrsig {
                push_record(&mut bytes, Rtype::RRSIG, rrset.ttl, rrsig);
            }
        }
        Self(bytes.into())
    }

    pub fn as_ref(&self) -> NodeRef<'_> {
        NodeRef(&self.0)
    }

    pub fn owner(&self) -> NameRef<'_> {
        self.as_ref().owner()
    }

    /// Reads a byte of each of its first `lines` of cache; what it gives means nothing.
    pub fn touch(&self, lines: usize) -> u64 {
        const LINE: usize = 64;
        self.0.iter().step_by(LINE).take(lines).fold(0, |sum, byte| sum ^ u64::from(*byte))
    }
}

fn push_record(bytes: &mut Vec<u8>, rtype: Rtype, ttl: u32, rdata: &[u8]) {
    let length = u16::try_from(rdata.len()).expect("RDATA has at most 65,535 bytes");
    bytes.extend_from_slice(&TO_QUESTION);
    bytes.extend_from_slice(&rtype.0.to_be_bytes());
    bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
    bytes.extend_from_slice(&ttl.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(rdata);
}

/// The records at one name, borrowed from a zone.
#[derive(Clone, Copy)]
pub struct NodeRef<'z>(&'z [u8]);

impl<'z> NodeRef<'z> {
    pub fn owner(self) -> NameRef<'z> {
        NameRef::from_stored(&self.0[3..3 + usize::from(self.0[0])])
    }

    /// Whether it is the same place of the same zone.
    pub fn is_at(self, other: Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }

    /// All of it: equal nodes have equal bytes.
    pub fn as_bytes(self) -> &'z [u8] {
        self.0
    }

    pub fn get(self, rtype: Rtype) -> Option<RrsetRef<'z>> {
        // A name has a handful of types: looking at each is faster than a search.
        let table = self.table();
        let mut entries = table.chunks_exact(TABLE_ENTRY);
        let position = entries.position(|entry| entry[..2] == rtype.0.to_be_bytes())?;
        Some(self.entry(table, position))
    }

    pub fn has(self, rtype: Rtype) -> bool {
        self.table().chunks_exact(TABLE_ENTRY).any(|entry| entry[..2] == rtype.0.to_be_bytes())
    }

    /// RRsets in order of type.
    pub fn rrsets(self) -> impl Iterator<Item = RrsetRef<'z>> {
        let table = self.table();
        (0..table.len() / TABLE_ENTRY).map(move |position| self.entry(table, position))
    }

    fn table(self) -> &'z [u8] {
        let begin = 3 + usize::from(self.0[0]);
        let count = usize::from(u16::from_be_bytes([self.0[1], self.0[2]]));
        &self.0[begin..begin + TABLE_ENTRY * count]
    }

    fn entry(self, table: &'z [u8], position: usize) -> RrsetRef<'z> {
        let number = |at: usize| u32::from_be_bytes([table[at], table[at + 1], table[at + 2], table[at + 3]]) as usize;
        let at = TABLE_ENTRY * position;
        let (begin, own_end) = (number(at + 8), number(at + 12));
        let end = if at + TABLE_ENTRY < table.len() { number(at + TABLE_ENTRY + 8) } else { self.0.len() };
        RrsetRef {
            rtype: Rtype(u16::from_be_bytes([table[at], table[at + 1]])),
            count: u16::from_be_bytes([table[at + 2], table[at + 3]]),
            ttl: number(at + 4) as u32,
            own: own_end - begin,
            records: &self.0[begin..end],
        }
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("owner", &self.owner())
            .field("rrsets", &self.rrsets().collect::<Vec<_>>())
            .finish()
    }
}

/// An RRset with its RRSIG, borrowed from a zone.
#[derive(Clone, Copy)]
pub struct RrsetRef<'z> {
    pub rtype: Rtype,
    /// Seconds.
    pub ttl: u32,
    count: u16,
    /// Bytes of its own records.
    own: usize,
    /// And the RRSIG.
    records: &'z [u8],
}

impl<'z> RrsetRef<'z> {
    /// Its records without their owner: type, class, TTL, RDLENGTH, RDATA; `signed`: with the RRSIG, if there is one.
    pub fn records(self, signed: bool) -> Records<'z> {
        Records(self.wire(signed))
    }

    /// Its records as they stand in a message whose question is for their owner; `signed`: with the RRSIG, if there is one.
    pub fn wire(self, signed: bool) -> &'z [u8] {
        if signed { self.records } else { &self.records[..self.own] }
    }

    /// How many records [`Self::wire`] are.
    pub fn count(self, signed: bool) -> u16 {
        self.count.saturating_add(u16::from(signed && self.own < self.records.len()))
    }

    /// RDATA in canonical order (RFC 4034 §6.3).
    pub fn rdatas(self) -> impl Iterator<Item = &'z [u8]> {
        self.records(false).map(|record| &record[FIXED..])
    }

    /// RDATA of the RRSIG record (RFC 4034 §3.1).
    pub fn rrsig(self) -> Option<&'z [u8]> {
        self.records.get(self.own + POINTER + FIXED..)
    }

    /// Whether it is the same place of the same zone.
    pub fn is_at(self, other: Self) -> bool {
        std::ptr::eq(self.records, other.records)
    }

    pub fn rrset(self) -> Rrset {
        Rrset::new(self.rtype, self.ttl, self.rdatas().map(<[u8]>::to_vec).collect())
    }

    pub fn to_signed(self) -> SignedRrset {
        SignedRrset { rrset: self.rrset(), rrsig: self.rrsig().map(<[u8]>::to_vec) }
    }
}

impl PartialEq<Rrset> for RrsetRef<'_> {
    /// Whether type, TTL and records are the same, whoever signed them.
    fn eq(&self, other: &Rrset) -> bool {
        (self.rtype, self.ttl) == (other.rtype, other.ttl) && self.rdatas().eq(other.rdatas().iter().map(Vec::as_slice))
    }
}

impl fmt::Debug for RrsetRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_signed().fmt(f)
    }
}

/// See [`RrsetRef::records`].
#[derive(Clone)]
pub struct Records<'z>(&'z [u8]);

impl<'z> Iterator for Records<'z> {
    type Item = &'z [u8];

    fn next(&mut self) -> Option<&'z [u8]> {
        let (_pointer, rest) = self.0.split_first_chunk::<POINTER>()?;
        let (record, rest) = rest.split_at(record_length(rest)?);
        self.0 = rest;
        Some(record)
    }
}

/// Bytes of the record that stands at the beginning, from its type on.
fn record_length(rest: &[u8]) -> Option<usize> {
    let fixed = rest.first_chunk::<FIXED>()?;
    Some(FIXED + usize::from(u16::from_be_bytes([fixed[FIXED - 2], fixed[FIXED - 1]])))
}

/// Writes `pointer` as the owner, and the TTL if one is given, over those of all of these records, each with two bytes
/// of owner.
pub fn readdress(mut records: &mut [u8], pointer: [u8; POINTER], ttl: Option<u32>) {
    const TTL: std::ops::Range<usize> = 4..8;
    while let Some((owner, rest)) = records.split_first_chunk_mut::<POINTER>() {
        *owner = pointer;
        if let Some(ttl) = ttl {
            rest[TTL].copy_from_slice(&ttl.to_be_bytes());
        }
        let length = record_length(rest).unwrap_or(rest.len());
        records = &mut rest[length..];
    }
}
