//! The digest of a whole zone (RFC 8976): ZONEMD with scheme SIMPLE and hash SHA-384.
//!
//! Who has the zone from anywhere, as a file or by transfer, can tell that nothing of it is missing or changed, glue and
//! delegations included, which no signature covers.
//!
//! What is hashed (RFC 8976 §3.3.1, §3.4.1): every record of the zone in canonical order of name, type and RDATA, in
//! uncompressed wire form with lower-case names, each once; glue and occluded names too, the SOA record once. Not the
//! ZONEMD records at the apex, nor the RRSIG over them. Every *other* RRSIG is, that of the SOA record with the new
//! serial among them, so the digest is known only when all other signatures of a version are; it is signed after them,
//! in a step of its own.
//!
//! A digest is of everything, so it is made anew from everything at each version: SHA-384 has no short way. That is why a
//! zone's policy says up to which size it is made ([`super::policy`]).

use sha2::{Digest, Sha384};

use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{NodeRef, SignedZone};

/// SIMPLE (RFC 8976 §2.2.2).
const SCHEME: u8 = 1;
/// SHA-384 (RFC 8976 §2.2.3).
const HASH: u8 = 1;

/// The ZONEMD RRset of a zone that is signed but for this. Its TTL is that of the SOA record.
pub fn rrset(zone: &SignedZone) -> Rrset {
    let soa_ttl = zone.rrset(zone.apex(), Rtype::SOA).map_or(0, |soa| soa.ttl);
    let mut rdata = zone.serial().unwrap_or_default().to_be_bytes().to_vec();
    rdata.extend([SCHEME, HASH]);
    rdata.extend(digest(zone));
    Rrset::new(Rtype::ZONEMD, soa_ttl, vec![rdata])
}

/// SHA-384 over all records but ZONEMD at the apex and its RRSIG.
pub fn digest(zone: &SignedZone) -> [u8; 48] {
    let mut hash = Sha384::new();
    for node in zone.nodes() {
        add(&mut hash, node, node.owner() == zone.apex().as_ref());
    }
    hash.finalize().into()
}

/// The records at a name. An RRset's RRSIG is kept beside it; in canonical order all of them stand together, at their own
/// type's place. They begin with the type that they cover, so they are in order of RDATA as they come.
fn add(hash: &mut Sha384, node: NodeRef<'_>, is_apex: bool) {
    let owner = node.owner();
    let mut add_record = |record: &[u8]| {
        hash.update(owner.as_wire());
        hash.update(record);
    };
    let covered = || node.rrsets().filter(|rrset| !(is_apex && rrset.rtype == Rtype::ZONEMD));
    for rrset in covered().filter(|rrset| rrset.rtype < Rtype::RRSIG) {
        rrset.records(false).for_each(&mut add_record);
    }
    for rrset in covered().filter(|rrset| rrset.rrsig().is_some()) {
        rrset.records(true).last().into_iter().for_each(&mut add_record);
    }
    for rrset in covered().filter(|rrset| rrset.rtype > Rtype::RRSIG) {
        rrset.records(false).for_each(&mut add_record);
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::directory::master::parse_zone;
    use crate::directory::zone::SignedRrset;

    /// The zone in a file, unsigned.
    fn unsigned(text: &str) -> SignedZone {
        let file = parse_zone(text, "zone", None, &mut |_| Err("no includes".into())).unwrap();
        let mut zone = SignedZone::new(file.apex);
        for ((name, _), rrset) in file.records {
            zone.put(&name, SignedRrset { rrset, rrsig: None });
        }
        zone
    }

    /// RFC 8976 appendix A.1: EXAMPLE, a simple zone. Its ZONEMD record is dropped when it is read.
    #[test]
    fn the_simple_example_of_rfc_8976_holds() {
        let zone = unsigned(
            "$ORIGIN example.\n$TTL 86400\n@ SOA ns1 admin 2018031900 1800 900 604800 86400\n@ NS ns1\n@ NS ns2\n\
             ns1 3600 A 203.0.113.63\nns2 3600 AAAA 2001:db8::63\n",
        );
        let expected =
            "c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c";
        assert_eq!(HEXLOWER.encode(&digest(&zone)), expected);
        let rrset = rrset(&zone);
        assert_eq!((rrset.rtype, rrset.ttl), (Rtype::ZONEMD, 86_400));
        assert_eq!(HEXLOWER.encode(&rrset.rdatas()[0]), format!("7848b91c0101{expected}"));
    }

    #[test]
    fn everything_counts_but_the_digest_itself() {
        let zone = unsigned(
            "$ORIGIN z.\n@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\nsub 60 NS ns.sub\nns.sub 60 A 192.0.2.2\n",
        );
        let before = digest(&zone);
        let signed = |name: &str, rtype: Rtype, signature: u8| {
            let mut zone = zone.clone();
            let name = crate::directory::name::Name::parse(name, None).unwrap();
            let rrset = zone.rrset(&name, rtype).map_or(Rrset::new(rtype, 60, vec![vec![7]]), |it| it.rrset());
            let rrsig = Some([&rtype.0.to_be_bytes()[..], &[signature]].concat());
            zone.put(&name, SignedRrset { rrset, rrsig });
            digest(&zone)
        };
        assert_eq!(signed("z.", Rtype::ZONEMD, 1), before, "ZONEMD at the apex and its RRSIG");
        assert_ne!(signed("ns.z.", Rtype::ZONEMD, 1), before, "ZONEMD elsewhere");
        for (name, rtype) in [("z.", Rtype::SOA), ("ns.z.", Rtype::A), ("ns.sub.z.", Rtype::A)] {
            assert_ne!(signed(name, rtype, 1), before);
            assert_ne!(signed(name, rtype, 1), signed(name, rtype, 2));
        }
    }
}
