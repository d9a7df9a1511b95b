//! The fuzzing corpus, replayed with the stable compiler: every file is a message that must be survived.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use torrens::directory::name::Name;
use torrens::directory::rrset::{Rrset, Rtype};
use torrens::directory::zone::{SignedRrset, SignedZone};
use torrens::dns::{Client, Replied, Settings, Transport, respond};
use torrens::store::view::View;

fn view() -> View {
    let apex = Name::parse("example.", None).unwrap();
    let mut zone = SignedZone::new(apex.clone());
    let soa = [apex.as_wire(), apex.as_wire(), &[0; 20]].concat();
    for (name, rtype, rdata) in [
        ("example.", Rtype::SOA, soa),
        ("www.example.", Rtype::A, vec![192, 0, 2, 1]),
        ("*.wild.example.", Rtype::CNAME, b"\x03www\x07example\x00".to_vec()),
        ("sub.example.", Rtype::NS, b"\x02ns\x03sub\x07example\x00".to_vec()),
        ("ns.sub.example.", Rtype::A, vec![192, 0, 2, 2]),
    ] {
        let rrset = Rrset::new(rtype, 60, vec![rdata]);
        zone.put(&Name::parse(name, None).unwrap(), SignedRrset { rrset, rrsig: None });
    }
    View { zones: [(apex, Arc::new(zone))].into(), ..View::default() }
}

#[test]
fn every_message_of_the_corpus_gets_a_readable_reply_or_none() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/dns_query");
    let view = view();
    let settings = Settings::new("corpus", [7; 16]);
    let mut out = Vec::new();
    let mut replayed = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let message = fs::read(&path).unwrap();
        for (transport, limit) in [(Transport::Udp { max: 1232 }, 1232), (Transport::Stream, 65_535)] {
            let client = Client::new(transport, [192, 0, 2, 1].into(), 1_000_000, &settings);
            if respond(&view, &message, &client, &mut out) != Replied::Not {
                assert!(out.len() <= limit, "{}", path.display());
                hickory_proto::op::Message::from_vec(&out)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        }
        replayed += 1;
    }
    assert!(replayed > 20);
}
