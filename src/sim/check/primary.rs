//! What is published of a zone with a primary is, as a whole, what the registry served at some time; in the end, what it
//! serves.

use std::collections::BTreeSet;

use super::{Checker, Sight};
use crate::committee::ReplicaId;
use crate::crypto::digest::{Digest, hash};
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::{NodeRef, SignedZone};
use crate::store::view::View;

#[derive(Default)]
pub struct Primary {
    zone: Option<Name>,
    /// What was served so far, the last one at the end.
    served: Vec<Digest>,
    /// Serials of what was published and looked at: under equal serials zones are equal, as [`super::served`] sees.
    shown: BTreeSet<u32>,
}

impl Checker for Primary {
    fn name(&self) -> &'static str {
        "primary"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::PrimaryServes(file) => {
                self.zone = Some(file.apex.clone());
                self.served.push(of_file(file));
                Ok(())
            }
            Sight::Exposed { by, view, .. } => {
                let Some(zone) = self.zone_in(view) else { return Ok(()) };
                let is_known = zone.serial().is_some_and(|serial| !self.shown.insert(serial));
                if is_known || self.served.contains(&of_zone(zone)) {
                    Ok(())
                } else {
                    Err(says(*by, zone, "ever served"))
                }
            }
            Sight::Final { by, view, .. } => {
                let Some(zone) = self.zone_in(view) else { return Ok(()) };
                let is_last = self.served.last() == Some(&of_zone(zone));
                if is_last { Ok(()) } else { Err(says(*by, zone, "serves in the end")) }
            }
            _ => Ok(()),
        }
    }
}

impl Primary {
    fn zone_in<'a>(&self, view: &'a View) -> Option<&'a SignedZone> {
        view.zones.get(self.zone.as_ref()?).map(AsRef::as_ref)
    }
}

fn says(by: ReplicaId, zone: &SignedZone, what: &str) -> String {
    let names: Vec<String> = zone.nodes().map(|node| node.owner().to_name().to_string()).collect();
    format!("{by} shows {names:?} under serial {:?}, which is not what the registry's primary {what}", zone.serial())
}

/// A digest of names, types and data, whatever their TTLs.
fn of_file(file: &ZoneFile) -> Digest {
    let rrsets = file
        .records
        .iter()
        .map(|((name, rtype), rrset)| record(name.as_wire(), *rtype, rrset.rdatas().iter().map(Vec::as_slice)));
    digest_of(rrsets)
}

fn of_zone(zone: &SignedZone) -> Digest {
    let rrsets = zone.nodes().flat_map(|node: NodeRef<'_>| {
        node.rrsets().map(move |rrset| record(node.owner().to_name().as_wire(), rrset.rtype, rrset.rdatas()))
    });
    digest_of(rrsets)
}

fn record<'a>(owner: &[u8], rtype: Rtype, rdatas: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    const MADE_HERE: [Rtype; 6] = [Rtype::SOA, Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY, Rtype::NSEC, Rtype::ZONEMD];
    if MADE_HERE.contains(&rtype) {
        return None;
    }
    let mut bytes = [owner, &rtype.0.to_be_bytes()].concat();
    for rdata in rdatas {
        bytes.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        bytes.extend_from_slice(rdata);
    }
    Some(bytes)
}

fn digest_of(rrsets: impl Iterator<Item = Option<Vec<u8>>>) -> Digest {
    let rrsets: BTreeSet<Vec<u8>> = rrsets.flatten().collect();
    let rrsets: Vec<&[u8]> = rrsets.iter().map(Vec::as_slice).collect();
    hash("torrens simulated content", &rrsets)
}
