//! A zone that was signed elsewhere, as its master file says it.
//!
//! Deviation: of several signatures of an RRset one is kept, the first in canonical order of their RDATA.

use std::collections::BTreeMap;

use super::MasterError;
use super::parse::Reader;
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{SignedRrset, SignedZone};

pub(super) fn zone(reader: Reader<'_, '_>, file_name: &str) -> Result<SignedZone, MasterError> {
    let Reader { files, rrsets, .. } = reader;
    let whole = |message: &str| MasterError { file: file_name.to_string(), line: 1, message: message.to_string() };
    let mut starts = rrsets.keys().filter(|(_, rtype)| *rtype == Rtype::SOA).map(|(name, _)| name);
    let (Some(apex), None) = (starts.next(), starts.next()) else {
        return Err(whole("a zone has one SOA record: this file has none, or two at different names"));
    };
    let mut zone = SignedZone::new(apex.clone());
    let signatures = signatures(rrsets.iter().map(|((name, rtype), collected)| (name, *rtype, &collected.rdatas)));
    for ((name, rtype), collected) in &rrsets {
        if !name.is_within(zone.apex()) {
            let message = format!("{name} is not within the zone {}", zone.apex());
            return Err(MasterError { file: files[collected.file].clone(), line: collected.line, message });
        }
        if *rtype == Rtype::RRSIG {
            continue;
        }
        let rrset = Rrset::new(*rtype, collected.ttl, collected.rdatas.clone());
        let rrsig = signatures.get(&(name, *rtype)).map(|rrsig| rrsig.to_vec());
        zone.put(name, SignedRrset { rrset, rrsig });
    }
    Ok(zone)
}

/// RDATA of RRSIG records by what they cover: the first two bytes (RFC 4034 §3.1).
fn signatures<'a>(
    rrsets: impl Iterator<Item = (&'a Name, Rtype, &'a Vec<Vec<u8>>)>,
) -> BTreeMap<(&'a Name, Rtype), &'a [u8]> {
    let mut found: BTreeMap<(&Name, Rtype), &[u8]> = BTreeMap::new();
    for (name, _, rdatas) in rrsets.filter(|(_, rtype, _)| *rtype == Rtype::RRSIG) {
        for rdata in rdatas {
            let Some(covered) = rdata.first_chunk() else { continue };
            let kept = found.entry((name, Rtype(u16::from_be_bytes(*covered)))).or_insert(rdata);
            *kept = (*kept).min(rdata);
        }
    }
    found
}
