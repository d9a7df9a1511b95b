//! A small zone with what leads an answer to different places.

use std::sync::Arc;

use torrens::directory::name::Name;
use torrens::directory::rrset::{Rrset, Rtype};
use torrens::directory::zone::{SignedRrset, SignedZone};
use torrens::store::view::View;

pub fn view() -> View {
    let apex = Name::parse("example.", None).unwrap();
    let mut zone = SignedZone::new(apex.clone());
    let soa = [apex.as_wire(), apex.as_wire(), &[0; 20]].concat();
    for (name, rtype, rdata) in [
        ("example.", Rtype::SOA, soa),
        ("www.example.", Rtype::A, vec![192, 0, 2, 1]),
        ("*.wild.example.", Rtype::CNAME, b"\x03www\x07example\x00".to_vec()),
        ("sub.example.", Rtype::NS, b"\x02ns\x03sub\x07example\x00".to_vec()),
        ("ns.sub.example.", Rtype::A, vec![192, 0, 2, 2]),
        ("old.example.", Rtype::DNAME, b"\x03new\x07example\x00".to_vec()),
        ("deep.ent.example.", Rtype::TXT, vec![200; 201]),
        ("example.", Rtype::NSEC, b"\x03www\x07example\x00\x00\x06\x40\x00\x00\x00\x00\x03".to_vec()),
    ] {
        let rrset = Rrset::new(rtype, 60, vec![rdata]);
        zone.put(&Name::parse(name, None).unwrap(), SignedRrset { rrset, rrsig: Some(vec![0x5a; 90]) });
    }
    View { zones: [(apex, Arc::new(zone))].into(), ..View::default() }
}
