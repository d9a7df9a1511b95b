//! A zone that was signed elsewhere, as its master file says it: put together name by name, while the file is read.
//!
//! Whoever signs a zone writes all records of a name one after the other; names that come again are looked up and added to.
//!
//! Deviation: of several signatures of an RRset one is kept, the first in canonical order of their RDATA.

use std::collections::BTreeMap;
use std::mem;

use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{SignedRrset, SignedZone};
use crate::limits::MAX_STREAM_MESSAGE;

/// TTL and RDATA by type, signatures among them.
type Records = BTreeMap<Rtype, (u32, Vec<Vec<u8>>)>;

/// Type, class, TTL, length and a compressed owner: what a record takes in a message beside its RDATA.
const FIXED: usize = 12;

#[derive(Default)]
pub(super) struct Builder {
    zone: Option<SignedZone>,
    /// The name that records come for now.
    owner: Option<Name>,
    records: Records,
    /// Names that came before the SOA record.
    early: Vec<(Name, Records)>,
    /// Signatures that came before what they cover.
    waiting: BTreeMap<(Name, Rtype), Vec<u8>>,
}

impl Builder {
    /// One record more. In errors: what is wrong with it, or with those before.
    pub fn add(&mut self, name: Name, rtype: Rtype, ttl: u32, rdata: Vec<u8>) -> Result<(), String> {
        if self.owner.as_ref() != Some(&name) {
            self.end_name()?;
            self.zone.iter().try_for_each(|zone| check_within(&name, zone.apex()))?;
            self.owner = Some(name);
        }
        let (lowest, rdatas) = self.records.entry(rtype).or_insert((ttl, Vec::new()));
        *lowest = ttl.min(*lowest);
        rdatas.push(rdata);
        Ok(())
    }

    pub fn finish(mut self) -> Result<SignedZone, String> {
        self.end_name()?;
        self.zone.ok_or_else(|| "a zone has one SOA record: this file has none".into())
    }

    /// Puts what was collected of a name into the zone.
    fn end_name(&mut self) -> Result<(), String> {
        let Some(name) = self.owner.take() else { return Ok(()) };
        let records = mem::take(&mut self.records);
        match &self.zone {
            Some(zone) if records.contains_key(&Rtype::SOA) && *zone.apex() != name => {
                return Err(format!("a zone has one SOA record: this file has them at {} and {name}", zone.apex()));
            }
            Some(_) => {}
            None if records.contains_key(&Rtype::SOA) => {
                let mut early = mem::take(&mut self.early);
                early.iter().try_for_each(|(early, _)| check_within(early, &name))?;
                self.zone = Some(SignedZone::new(name.clone()));
                early.push((name, records));
                return early.into_iter().try_for_each(|(name, records)| self.put(&name, records));
            }
            None => {
                self.early.push((name, records));
                return Ok(());
            }
        }
        self.put(&name, records)
    }

    fn put(&mut self, name: &Name, mut records: Records) -> Result<(), String> {
        let zone = self.zone.as_mut().expect("names are put into a zone once it has begun");
        let mut signatures = by_covered_type(records.remove(&Rtype::RRSIG).unwrap_or_default().1);
        let there = zone.get(name);
        for before in there.into_iter().flat_map(|node| node.rrsets()) {
            let (ttl, rdatas) = records.entry(before.rtype).or_insert((before.ttl, Vec::new()));
            *ttl = before.ttl.min(*ttl);
            rdatas.extend(before.rdatas().map(<[u8]>::to_vec));
            if let Some(rrsig) = before.rrsig() {
                keep_first(&mut signatures, before.rtype, rrsig.to_vec());
            }
        }
        let mut rrsets = Vec::with_capacity(records.len());
        for (rtype, (ttl, rdatas)) in records {
            let mut rrsig = signatures.remove(&rtype);
            if !self.waiting.is_empty() {
                let waited = self.waiting.remove(&(name.clone(), rtype));
                rrsig = rrsig.into_iter().chain(waited).min();
            }
            let rrset = Rrset::new(rtype, ttl, rdatas);
            let bytes: usize = rrset.rdatas().iter().chain(&rrsig).map(|rdata| FIXED + rdata.len()).sum();
            if bytes > MAX_STREAM_MESSAGE {
                return Err(format!("{name} has more {rtype} records than fit into a message"));
            }
            rrsets.push(SignedRrset { rrset, rrsig });
        }
        if !rrsets.is_empty() {
            zone.put_name(name, &rrsets);
        }
        self.waiting.extend(signatures.into_iter().map(|(covered, rrsig)| ((name.clone(), covered), rrsig)));
        Ok(())
    }
}

fn check_within(name: &Name, apex: &Name) -> Result<(), String> {
    if name.is_within(apex) { Ok(()) } else { Err(format!("{name} is not within the zone {apex}")) }
}

/// RDATA of RRSIG records by what they cover: their first two bytes (RFC 4034 §3.1).
fn by_covered_type(rdatas: Vec<Vec<u8>>) -> BTreeMap<Rtype, Vec<u8>> {
    let mut found = BTreeMap::new();
    for rdata in rdatas {
        if let Some(&covered) = rdata.first_chunk() {
            keep_first(&mut found, Rtype(u16::from_be_bytes(covered)), rdata);
        }
    }
    found
}

fn keep_first(signatures: &mut BTreeMap<Rtype, Vec<u8>>, covered: Rtype, rdata: Vec<u8>) {
    let kept = signatures.entry(covered).or_insert_with(|| rdata.clone());
    if rdata < *kept {
        *kept = rdata;
    }
}
