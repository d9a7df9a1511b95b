//! The catalog of the cluster's zones, for secondaries that are to serve all of them (RFC 9432, version 2).
//!
//! ```text
//! @                SOA, NS invalid.
//! version          TXT "2"
//! LABEL.zones      PTR zone          LABEL: 160 bits of SHA-256 of the zone's name, in base32hex
//! ```
//!
//! It is shown to those alone who may transfer zones (§7), and is not signed: secondaries do not serve it. Every
//! replica makes the same one. The zones of a cluster are those of its genesis, so that its serial is the time of the
//! genesis, in seconds.

use std::sync::Arc;

use data_encoding::BASE32_DNSSEC;
use ring::digest;

use crate::directory::name::{Name, NameError};
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{SignedRrset, SignedZone};
use crate::store::view::View;

const PTR: Rtype = Rtype(12);
const TXT: Rtype = Rtype(16);
/// `invalid.`, which is nowhere (RFC 9432 §4.1).
const INVALID: &[u8] = b"\x07invalid\0";
/// Seconds: refresh, retry, expiry, and of the absence of names.
const TIMES: [u32; 4] = [3600, 600, 2_147_483_646, 0];

/// The catalog at `apex`, alone in a view. The error: `apex` is too long.
pub fn view<'z>(apex: &Name, serial: u32, zones: impl Iterator<Item = &'z Name>) -> Result<View, NameError> {
    let mut catalog = SignedZone::new(apex.clone());
    let mut soa = [INVALID, INVALID, &serial.to_be_bytes()].concat();
    soa.extend(TIMES.iter().flat_map(|seconds| seconds.to_be_bytes()));
    let mut put = |name: &Name, rtype: Rtype, rdata: Vec<u8>| {
        catalog.put(name, SignedRrset { rrset: Rrset::new(rtype, 0, vec![rdata]), rrsig: None });
    };
    put(apex, Rtype::SOA, soa);
    put(apex, Rtype::NS, INVALID.to_vec());
    put(&apex.child(b"version")?, TXT, b"\x012".to_vec());
    let members = apex.child(b"zones")?;
    for zone in zones {
        let hash = digest::digest(&digest::SHA256, zone.as_wire());
        let label = BASE32_DNSSEC.encode(&hash.as_ref()[..20]);
        put(&members.child(label.as_bytes())?, PTR, zone.as_wire().to_vec());
    }
    Ok(View { zones: [(apex.clone(), Arc::new(catalog))].into(), ..View::default() })
}
