//! Answers within their bounds: EDNS, truncation, pointers that do not reach, bytes of any kind.

use proptest::prelude::*;

use super::answer_tests::{ask_dnssec, full};
use super::testing::{Ask, client, example_view, view, zone};
use super::{Replied, Transport, respond};
use crate::directory::rrset::Rtype;
use crate::store::view::View;

const TXT: Rtype = Rtype::TXT;

// --- RFC 6891: EDNS ---

#[test]
fn edns_is_answered_with_edns() {
    let edns = ask_dnssec("www.example.", Rtype::A).message.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, true));
    let edns = Ask::new("www.example.", Rtype::A).edns().of(&full()).message.edns.unwrap();
    assert!(!edns.flags().dnssec_ok);
}

#[test]
fn a_later_edns_version_gets_badvers_and_ours() {
    let reply = Ask::new("www.example.", Rtype::A).edns_version(1).of(&full());
    assert_eq!((reply.rcode, reply.answers().len()), (16, 0));
    assert_eq!(reply.message.edns.unwrap().version(), 0);
}

fn big() -> View {
    let lines: String = (0..100).map(|n| format!("big.example. A 192.0.2.{n}\n")).collect();
    let lines: String = lines + &(0..20).map(|n| format!("mid.example. AAAA 2001:db8::{n}\n")).collect::<String>();
    view([zone("example.", &lines)])
}

#[test]
fn what_does_not_fit_is_truncated_to_the_question() {
    let reply = Ask::new("big.example.", Rtype::A).of(&big());
    assert!(reply.truncated && reply.authoritative && reply.answers().is_empty());
    assert_eq!(reply.length, 12 + 13 + 4);
    let reply = Ask::new("big.example.", Rtype::A).dnssec().udp_size(65_535).of(&big());
    assert!(reply.truncated && reply.message.edns.is_some(), "our own bound holds whatever the client offers");
    let reply = Ask::new("big.example.", Rtype::A).over(&big(), Transport::Stream);
    assert_eq!((reply.truncated, reply.answers().len()), (false, 100));
}

#[test]
fn the_size_a_client_can_take_counts_between_512_and_1232() {
    let size = |ask: Ask| ask.of(&big()).truncated;
    assert!(size(Ask::new("mid.example.", Rtype::AAAA)));
    assert!(size(Ask::new("mid.example.", Rtype::AAAA).udp_size(512)));
    assert!(!size(Ask::new("mid.example.", Rtype::AAAA).udp_size(700)));
    let small = Ask::new("ns.example.", Rtype::A).udp_size(0).of(&example_view());
    assert!(!small.truncated, "less than 512 counts as 512 (RFC 6891 §6.2.3)");
}

/// RFC 9471 §3.1 and §3.2.
#[test]
fn in_domain_glue_that_does_not_fit_truncates_and_sibling_glue_is_left_out() {
    let mut lines = String::from("other.example. NS a.other.example.\n");
    for n in 0..12 {
        lines.push_str(&format!("sub.example. NS ns{n}.sub.example.\nns{n}.sub.example. AAAA 2001:db8::{n}\n"));
        lines.push_str(&format!("sib.example. NS ns{n}.other.example.\nns{n}.other.example. AAAA 2001:db8::{n}\n"));
    }
    let view = view([zone("example.", &lines)]);
    assert!(Ask::new("www.sub.example.", Rtype::A).of(&view).truncated);
    let sibling = Ask::new("www.sib.example.", Rtype::A).of(&view);
    assert!(!sibling.truncated);
    assert_eq!(sibling.authorities().len(), 12);
    assert!(!sibling.additionals().is_empty() && sibling.additionals().len() < 12);
    assert_eq!(Ask::new("www.sub.example.", Rtype::A).edns().of(&view).additionals().len(), 12);
}

/// Past 16,383 bytes nothing can be pointed to (RFC 1035 §4.1.4).
#[test]
fn names_past_the_reach_of_pointers_are_written_out() {
    let target = format!("{}.example.", ["a".repeat(60), "b".repeat(60), "c".repeat(60)].join("."));
    let mut lines = format!("start.example. CNAME {target}\n");
    for n in 0..100 {
        lines.push_str(&format!("{target} TXT {n}{}\n", "x".repeat(200)));
    }
    let reply = Ask::new("start.example.", TXT).over(&view([zone("example.", &lines)]), Transport::Stream);
    assert_eq!(reply.answers().len(), 101);
    assert!(reply.length > 20_000);
    assert!(reply.answers()[1..].iter().all(|line| line.starts_with(&target)));
}

#[test]
fn an_answer_too_long_for_a_stream_is_a_server_failure() {
    let long: String = (0..400).map(|n| format!("big.example. TXT {n}{}\n", "x".repeat(200))).collect();
    let reply = Ask::new("big.example.", TXT).over(&view([zone("example.", &long)]), Transport::Stream);
    assert_eq!((reply.rcode, reply.truncated, reply.answers().len()), (2, false, 0));
}

#[test]
fn a_zone_not_signed_yet_answers_without_proofs() {
    let mut unsigned = crate::directory::zone::SignedZone::new(super::testing::name("example."));
    for node in zone("example.", "www.example. A 192.0.2.1").nodes() {
        for signed in node.rrsets().filter(|signed| signed.rtype != Rtype::NSEC) {
            let unsigned_rrset = crate::directory::zone::SignedRrset { rrset: signed.rrset(), rrsig: None };
            unsigned.put(&node.owner().to_name(), unsigned_rrset);
        }
    }
    let view = view([unsigned]);
    assert_eq!(Ask::new("www.example.", Rtype::A).dnssec().of(&view).answers().len(), 1);
    assert_eq!(Ask::new("x.example.", Rtype::A).dnssec().of(&view).authorities(), ["example. SOA"]);
}

/// The directory checks RDATA; should bytes that are no name come through, the server stands.
#[test]
fn rdata_that_is_no_name_is_survived() {
    use crate::directory::rrset::Rrset;
    use crate::directory::zone::SignedRrset;
    let apex = super::testing::name("example.");
    for bad in [&b""[..], b"\x05ab", b"\xc0\x0c", b"\x01a\x00\x00", b"\x01A\x00", &[63; 300]] {
        let mut broken = zone("example.", "www.example. A 192.0.2.1");
        for (owner, rtype) in [
            ("c.example.", Rtype::CNAME),
            ("d.example.", Rtype::DNAME),
            ("n.example.", Rtype::NS),
            ("s.example.", Rtype::SOA),
        ] {
            let rrset = Rrset::new(rtype, 60, vec![bad.to_vec()]);
            broken.put(&super::testing::name(owner), SignedRrset { rrset, rrsig: None });
        }
        broken.put(&apex, SignedRrset { rrset: Rrset::new(Rtype::SOA, 60, vec![bad.to_vec()]), rrsig: None });
        let view = view([broken]);
        for name in ["c.example.", "x.d.example.", "x.n.example.", "nothing.example.", "s.example.", "n.example."] {
            for rtype in [Rtype::A, Rtype::SOA, Rtype::DS, Rtype::ANY, Rtype::CNAME] {
                let mut out = Vec::new();
                let query = Ask::new(name, rtype).dnssec().message();
                assert_ne!(respond(&view, &query, &client(Transport::Stream), &mut out), Replied::Not);
            }
        }
    }
}

// --- any bytes ---

fn check_total(view: &View, message: &[u8]) -> Result<(), TestCaseError> {
    let mut out = Vec::new();
    for (transport, limit) in [(Transport::Udp { max: 1232 }, 1232), (Transport::Stream, 65_535)] {
        if respond(view, message, &client(transport), &mut out) == Replied::Not {
            continue;
        }
        prop_assert!(out.len() <= limit && out[2] & 0x80 != 0 && out[..2] == message[..2]);
        prop_assert!(hickory_proto::op::Message::from_vec(&out).is_ok(), "{out:02x?}");
        let to_it = respond(view, &out, &client(transport), &mut Vec::new());
        prop_assert_eq!(to_it, Replied::Not, "a reply is never answered");
    }
    Ok(())
}

const NAMES: [&str; 22] = [
    ".",
    "example.",
    "www.example.",
    "alias.example.",
    "chain.example.",
    "nothing.example.",
    "x.wild.example.",
    "x.wildalias.example.",
    "ent.example.",
    "x.entwild.example.",
    "x.secure.example.",
    "secure.example.",
    "insecure.example.",
    "www.old.example.",
    "x.growing.example.",
    "www.outward.example.",
    "loop1.example.",
    "zzz.example.",
    "a.b.c.d.e.f.example.",
    "ns.insecure.example.",
    "*.example.",
    "other.",
];

proptest! {
    #[test]
    fn any_bytes_get_a_readable_reply_or_none(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        check_total(&full(), &message)?;
    }

    #[test]
    fn any_question_gets_a_readable_reply(
        name in proptest::sample::select(&NAMES[..]), rtype in prop_oneof![0u16..70, any::<u16>()],
        dnssec: bool, size: u16, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut ask = Ask::new(name, Rtype(rtype));
        if dnssec {
            ask = ask.dnssec().udp_size(size);
        }
        let mut message = ask.message();
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = byte;
        }
        check_total(&full(), &message)?;
    }
}
