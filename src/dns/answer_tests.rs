//! Answers as transcripts, by RFC section.

use super::Transport;
use super::testing::{Ask, NEGATIVE_TTL, Reply, TTL, name as named, view, zone};
use crate::directory::rrset::Rtype;
use crate::store::view::View;

const TXT: Rtype = Rtype::TXT;

/// Every feature in one zone.
pub fn full() -> View {
    view([zone(
        "example.",
        "example. NS ns.example.
         example. NS ns.other.
         ns.example. A 192.0.2.53
         www.example. A 192.0.2.1
         www.example. AAAA 2001:db8::1
         www.example. TXT hello
         alias.example. CNAME www.example.
         alias.example. KEY -
         chain.example. CNAME alias.example.
         away.example. CNAME www.other.
         dangling.example. CNAME nowhere.example.
         empty.example. CNAME www.deep.ent.example.
         loop1.example. CNAME loop2.example.
         loop2.example. CNAME loop1.example.
         self.example. CNAME self.example.
         host.deep.ent.example. A 192.0.2.7
         *.wild.example. A 192.0.2.9
         *.wildalias.example. CNAME www.example.
         wild.example. TXT parent
         sub.*.entwild.example. TXT below
         secure.example. NS ns.secure.example.
         secure.example. NS ns.insecure.example.
         secure.example. DS -
         ns.secure.example. A 192.0.2.61
         ns.secure.example. AAAA 2001:db8::61
         insecure.example. NS ns.insecure.example.
         ns.insecure.example. A 192.0.2.62
         intosecure.example. CNAME www.secure.example.
         old.example. DNAME new.example.
         hidden.old.example. A 192.0.2.66
         www.new.example. A 192.0.2.8
         growing.example. DNAME more.growing.example.
         outward.example. DNAME other.",
    )])
}

fn ask(name: &str, rtype: Rtype) -> Reply {
    Ask::new(name, rtype).of(&full())
}

#[test]
fn what_may_not_be_shown_is_a_server_failure_never_a_refusal_or_an_absence() {
    let withheld = View { withheld: true, ..full() };
    for (name, rtype) in [("www.example.", Rtype::A), ("none.example.", Rtype::A), ("other.", Rtype::SOA)] {
        for view in [&withheld, &View::withheld()] {
            let reply = Ask::new(name, rtype).of(view);
            assert_eq!((reply.rcode, reply.answers(), reply.authorities()), (2, vec![], vec![]), "{name}");
        }
    }
}

#[test]
fn a_server_that_starts_answers_for_the_zones_that_it_has_read() {
    let mut view = full();
    let read = view.zones.keys().next().cloned().expect("a zone");
    view.zones.extend(View::starting([named("unread."), named("in.example.")]).zones);
    view.starting = true;
    assert_eq!(read.to_string(), "example.");
    assert_eq!(Ask::new("www.example.", Rtype::A).of(&view).answers(), ["www.example. A 192.0.2.1"]);
    for (name, rtype) in [("unread.", Rtype::SOA), ("a.unread.", Rtype::A), ("a.in.example.", Rtype::A)] {
        let reply = Ask::new(name, rtype).dnssec().of(&view);
        assert_eq!((reply.rcode, reply.authoritative, reply.answers()), (2, false, vec![]), "{name}");
        assert_eq!(&reply.bytes[reply.length - 6..], [0, 15, 0, 2, 0, 14], "RFC 8914 §4.15: Not Ready");
    }
    assert_eq!(Ask::new("other.", Rtype::A).of(&view).rcode, 5, "refused, as ever");
}

pub fn ask_dnssec(name: &str, rtype: Rtype) -> Reply {
    Ask::new(name, rtype).dnssec().of(&full())
}

// --- RFC 1034 §4.3.2: positive answers ---

#[test]
fn a_name_with_the_type_is_answered_with_authority() {
    let reply = ask("www.example.", Rtype::A);
    assert_eq!((reply.rcode, reply.authoritative, reply.truncated), (0, true, false));
    assert_eq!(reply.answers(), ["www.example. A 192.0.2.1"]);
    assert_eq!((reply.authorities().len(), reply.additionals().len()), (0, 0));
    assert!(reply.message.edns.is_none() && reply.message.metadata.recursion_desired);
    assert!(!reply.message.metadata.recursion_available);
}

#[test]
fn the_wire_form_of_an_answer_is_this() {
    let reply = Ask::new("wWw.example.", Rtype::A).dnssec().of(&full());
    let golden = [
        "1234850000010002000000010377577707657861 6d706c650000010001",
        "c00c0001000100000e100004c0000201",
        "c00c002e000100000e10005b00010f0200000e107000000060000000123407657861 6d706c6500",
        &"5a".repeat(64),
        "00002904d0000080000000",
    ];
    let golden = data_encoding::HEXLOWER.decode(golden.concat().replace(' ', "").as_bytes()).unwrap();
    assert_eq!(reply.bytes, golden);
}

#[test]
fn the_case_of_the_question_is_echoed() {
    let reply = ask("wWw.eXAMPLE.", Rtype::A);
    assert_eq!(reply.message.queries[0].name().to_string(), "wWw.eXAMPLE.");
    assert_eq!(reply.answers(), ["wWw.eXAMPLE. A 192.0.2.1"]);
}

#[test]
fn a_name_outside_all_zones_is_refused() {
    let reply = Ask::new("www.other.", Rtype::A).dnssec().of(&full());
    assert_eq!((reply.rcode, reply.authoritative), (5, false));
    assert_eq!(&reply.bytes[reply.length - 6..], [0, 15, 0, 2, 0, 20], "RFC 8914 §4.21: Not Authoritative");
    assert_eq!(Ask::new("www.other.", Rtype::A).of(&full()).rcode, 5);
}

// --- CNAME: RFC 1034 §3.6.2, RFC 6604 ---

#[test]
fn a_chain_of_aliases_is_followed_in_the_zone() {
    let reply = ask_dnssec("chain.example.", Rtype::A);
    let expected = [
        "chain.example. CNAME alias.example.",
        "chain.example. RRSIG CNAME",
        "alias.example. CNAME www.example.",
        "alias.example. RRSIG CNAME",
        "www.example. A 192.0.2.1",
        "www.example. RRSIG A",
    ];
    assert_eq!(reply.answers(), expected);
    assert!(reply.authorities().is_empty());
}

#[test]
fn an_alias_out_of_the_zone_ends_there() {
    let reply = ask("away.example.", Rtype::A);
    assert_eq!((reply.rcode, reply.answers()), (0, vec!["away.example. CNAME www.other.".into()]));
    assert!(reply.authorities().is_empty());
}

/// RFC 6604 §3: the response code is that of the last name.
#[test]
fn an_alias_of_nothing_is_a_name_error_with_its_proof() {
    let reply = ask_dnssec("dangling.example.", Rtype::A);
    assert_eq!((reply.rcode, reply.authoritative), (3, true));
    assert_eq!(reply.answers()[0], "dangling.example. CNAME nowhere.example.");
    assert_eq!(reply.authorities()[0], "example. SOA");
    assert_eq!(reply.authorities()[2], "www.new.example. NSEC ns.example.");
}

#[test]
fn an_alias_of_an_alias_of_itself_ends_without_error() {
    let reply = ask("loop1.example.", Rtype::A);
    assert_eq!(reply.rcode, 0);
    assert_eq!(reply.answers(), ["loop1.example. CNAME loop2.example.", "loop2.example. CNAME loop1.example."]);
    assert_eq!(ask("self.example.", Rtype::A).answers(), ["self.example. CNAME self.example."]);
}

#[test]
fn a_question_for_cname_gets_the_alias_alone() {
    assert_eq!(ask("chain.example.", Rtype::CNAME).answers(), ["chain.example. CNAME alias.example."]);
}

/// RFC 2181 §10.1, RFC 2535: KEY may stand beside CNAME.
#[test]
fn key_and_nsec_beside_an_alias_are_answered_as_such() {
    assert_eq!(ask("alias.example.", Rtype::KEY).answers().len(), 1);
    assert_eq!(ask("alias.example.", Rtype::NSEC).answers(), ["alias.example. NSEC away.example."]);
}

#[test]
fn an_alias_into_a_delegation_ends_with_the_referral() {
    let reply = ask_dnssec("intosecure.example.", Rtype::A);
    assert!(reply.authoritative, "the first name is ours (RFC 1035 §4.1.1)");
    assert_eq!(reply.answers()[0], "intosecure.example. CNAME www.secure.example.");
    assert!(reply.authorities().contains(&"secure.example. NS ns.secure.example.".into()));
}

// --- RFC 2308, RFC 4035 §3.1.3: denial ---

#[test]
fn a_name_without_the_type_is_no_data() {
    let reply = ask("www.example.", Rtype::MX);
    assert_eq!((reply.rcode, reply.authoritative), (0, true));
    assert!(reply.answers().is_empty());
    assert_eq!(reply.authorities(), ["example. SOA"]);
    assert_eq!(reply.message.authorities[0].ttl, NEGATIVE_TTL, "RFC 2308 §3: the lesser of TTL and MINIMUM");
}

#[test]
fn no_data_is_proved_by_the_nsec_at_the_name() {
    let reply = ask_dnssec("www.example.", Rtype::MX);
    let expected = ["example. SOA", "example. RRSIG SOA", "www.example. NSEC example.", "www.example. RRSIG NSEC"];
    assert_eq!(reply.authorities(), expected);
    assert_eq!(reply.message.authorities[1].ttl, NEGATIVE_TTL, "RFC 4034 §3: an RRSIG has its RRset's TTL");
}

#[test]
fn a_name_error_is_proved_for_the_name_and_the_wildcard() {
    let reply = ask_dnssec("nothing.example.", Rtype::A);
    assert_eq!((reply.rcode, reply.authoritative), (3, true));
    let expected = [
        "example. SOA",
        "example. RRSIG SOA",
        "www.new.example. NSEC ns.example.",
        "www.new.example. RRSIG NSEC",
        "example. NSEC alias.example.",
        "example. RRSIG NSEC",
    ];
    assert_eq!(reply.authorities(), expected);
    assert_eq!(ask("nothing.example.", Rtype::A).authorities(), ["example. SOA"]);
}

#[test]
fn one_nsec_that_proves_both_stands_once() {
    let reply = ask_dnssec("aaa.example.", Rtype::A);
    assert_eq!(reply.rcode, 3);
    assert_eq!(reply.authorities()[2..], ["example. NSEC alias.example.", "example. RRSIG NSEC"]);
}

/// RFC 4592 §2.2.2, RFC 8020.
#[test]
fn an_empty_non_terminal_exists_and_holds_nothing() {
    for name in ["ent.example.", "deep.ent.example."] {
        let reply = ask_dnssec(name, Rtype::A);
        assert_eq!(reply.rcode, 0, "{name}");
        let proof = &reply.authorities()[2];
        assert!(proof.ends_with(" NSEC host.deep.ent.example."), "{proof}");
        assert_eq!(reply.authorities().len(), 4);
    }
    // Below one, nothing is synthesized from further up.
    assert_eq!(ask("x.ent.example.", Rtype::A).rcode, 3);
}

/// The predecessor of `secure2` in the map is glue; the link of the chain is the cut above it.
#[test]
fn glue_is_no_link_of_the_chain() {
    let reply = ask_dnssec("secure2.example.", Rtype::A);
    assert_eq!(reply.rcode, 3);
    assert!(reply.authorities().contains(&"secure.example. NSEC self.example.".into()));
    let reply = ask_dnssec("old2.example.", Rtype::A);
    assert!(reply.authorities().contains(&"old.example. NSEC outward.example.".into()), "{:?}", reply.authorities());
}

// --- RFC 4592: wildcards ---

#[test]
fn a_wildcard_answers_with_the_proof_that_nothing_is_closer() {
    let reply = ask_dnssec("a.b.wild.example.", Rtype::A);
    assert_eq!(reply.answers(), ["a.b.wild.example. A 192.0.2.9", "a.b.wild.example. RRSIG A"]);
    assert_eq!(reply.authorities(), ["*.wild.example. NSEC *.wildalias.example.", "*.wild.example. RRSIG NSEC"]);
    assert!(ask("a.wild.example.", Rtype::A).authorities().is_empty());
}

#[test]
fn a_wildcard_without_the_type_is_no_data_with_both_proofs() {
    let reply = ask_dnssec("a.wild.example.", TXT);
    assert_eq!((reply.rcode, reply.answers().len()), (0, 0));
    assert_eq!(reply.authorities()[0], "example. SOA");
    assert_eq!(reply.authorities()[2], "*.wild.example. NSEC *.wildalias.example.");
    assert_eq!(reply.authorities().len(), 4, "here one NSEC both covers the name and is the wildcard's");
}

#[test]
fn a_wildcard_asked_by_its_own_name_is_a_name_like_others() {
    let reply = ask_dnssec("*.wild.example.", Rtype::A);
    assert_eq!(reply.answers()[0], "*.wild.example. A 192.0.2.9");
    assert!(reply.authorities().is_empty());
}

/// RFC 4592 §2.2.1: the wildcard does not match below a name that exists.
#[test]
fn a_wildcard_does_not_reach_its_parent() {
    assert_eq!(ask("wild.example.", Rtype::A).rcode, 0);
    assert!(ask("wild.example.", Rtype::A).answers().is_empty());
}

#[test]
fn a_wildcard_alias_is_followed() {
    let reply = ask_dnssec("x.wildalias.example.", Rtype::A);
    assert_eq!(reply.answers()[0], "x.wildalias.example. CNAME www.example.");
    assert_eq!(reply.answers()[2], "www.example. A 192.0.2.1");
    assert_eq!(reply.authorities()[0], "*.wildalias.example. NSEC www.example.");
}

/// RFC 4592 §4.9: an empty non-terminal wildcard is a source of synthesis without data.
#[test]
fn an_empty_wildcard_gives_no_data() {
    let reply = ask_dnssec("x.entwild.example.", Rtype::A);
    assert_eq!((reply.rcode, reply.answers().len()), (0, 0));
    assert!(reply.authorities().iter().any(|line| line.ends_with("NSEC sub.*.entwild.example.")));
}

// --- RFC 1034 §4.2.1, RFC 4035 §3.1.4, RFC 9471: delegation ---

#[test]
fn a_referral_to_a_secure_zone_carries_ds_and_glue() {
    for name in ["secure.example.", "a.b.secure.example.", "ns.secure.example."] {
        let reply = ask_dnssec(name, Rtype::A);
        assert_eq!((reply.rcode, reply.authoritative, reply.answers().len()), (0, false, 0));
        let expected = [
            "secure.example. NS ns.secure.example.",
            "secure.example. NS ns.insecure.example.",
            "secure.example. DS",
            "secure.example. RRSIG DS",
        ];
        let mut authorities = reply.authorities();
        authorities[..2].sort_by(|a, b| b.cmp(a));
        assert_eq!(authorities, expected);
        let glue = [
            "ns.secure.example. A 192.0.2.61",
            "ns.secure.example. AAAA 2001:db8::61",
            "ns.insecure.example. A 192.0.2.62",
        ];
        assert_eq!(reply.additionals(), glue, "in-domain first, then sibling glue");
    }
    let plain = ask("www.secure.example.", Rtype::A);
    assert_eq!(plain.authorities().len(), 2, "DS only with DO");
}

#[test]
fn a_referral_to_an_insecure_zone_proves_that_there_is_no_ds() {
    let reply = ask_dnssec("www.insecure.example.", Rtype::A);
    let expected = [
        "insecure.example. NS ns.insecure.example.",
        "insecure.example. NSEC intosecure.example.",
        "insecure.example. RRSIG NSEC",
    ];
    assert_eq!(reply.authorities(), expected);
}

/// RFC 4035 §3.1.4.1.
#[test]
fn ds_at_a_cut_is_answered_by_the_parent() {
    let reply = ask_dnssec("secure.example.", Rtype::DS);
    assert!(reply.authoritative);
    assert_eq!(reply.answers(), ["secure.example. DS", "secure.example. RRSIG DS"]);
    let reply = ask_dnssec("insecure.example.", Rtype::DS);
    assert!(reply.authoritative && reply.answers().is_empty());
    assert_eq!(reply.authorities()[2], "insecure.example. NSEC intosecure.example.");
    // Below the cut DS is the child's affair.
    assert!(!ask_dnssec("x.secure.example.", Rtype::DS).authoritative);
}

#[test]
fn ds_at_an_apex_without_its_parent_is_no_data() {
    let reply = ask_dnssec("example.", Rtype::DS);
    assert_eq!((reply.rcode, reply.authoritative, reply.answers().len()), (0, true, 0));
    assert_eq!(reply.authorities()[2], "example. NSEC alias.example.");
}

#[test]
fn a_child_zone_is_served_beside_its_parent() {
    let parent = zone("example.", "example. NS ns.other.\nsub.example. NS ns.other.\nsub.example. DS -");
    let child = zone("sub.example.", "sub.example. NS ns.other.\nwww.sub.example. A 192.0.2.77");
    let both = view([parent, child]);
    let reply = Ask::new("www.sub.example.", Rtype::A).of(&both);
    assert!(reply.authoritative);
    assert_eq!(reply.answers(), ["www.sub.example. A 192.0.2.77"]);
    assert_eq!(Ask::new("sub.example.", Rtype::NS).of(&both).answers(), ["sub.example. NS ns.other."]);
    let ds = Ask::new("sub.example.", Rtype::DS).dnssec().of(&both);
    assert_eq!(ds.answers(), ["sub.example. DS", "sub.example. RRSIG DS"]);
    assert!(ds.authoritative);
    let denied = Ask::new("sub.example.", TXT).of(&both);
    assert_eq!(denied.authorities(), ["sub.example. SOA"]);
}

#[test]
fn the_root_is_a_zone_like_others() {
    let root = view([zone(
        ".",
        ". NS a.servers.
         a.servers. A 192.0.2.4
         com. NS a.gtld.net.
         com. DS -
         net. NS a.gtld.net.
         a.gtld.net. A 192.0.2.5",
    )]);
    let reply = Ask::new("www.example.com.", Rtype::A).dnssec().of(&root);
    assert!(!reply.authoritative);
    assert_eq!(reply.authorities(), ["com. NS a.gtld.net.", "com. DS", "com. RRSIG DS"]);
    assert_eq!(reply.additionals(), ["a.gtld.net. A 192.0.2.5"]);
    let reply = Ask::new("nonexistent.", Rtype::A).dnssec().of(&root);
    assert_eq!(reply.rcode, 3);
    let expected = [". SOA", ". RRSIG SOA", "net. NSEC a.servers.", "net. RRSIG NSEC", ". NSEC com.", ". RRSIG NSEC"];
    assert_eq!(reply.authorities(), expected);
    let priming = Ask::new(".", Rtype::NS).of(&root);
    assert_eq!(priming.answers(), [". NS a.servers."]);
    assert_eq!(priming.additionals(), ["a.servers. A 192.0.2.4"], "RFC 8109");
    assert_eq!(Ask::new(".", Rtype::DS).of(&root).rcode, 0);
}

#[test]
fn thirteen_servers_with_both_addresses_fit_a_datagram() {
    let mut lines = String::from(". NS a.servers.\nnet. NS a.gtld-servers.net.\ncom. DS -\n");
    for server in 'a'..='m' {
        lines.push_str(&format!("com. NS {server}.gtld-servers.net.\n"));
        lines.push_str(&format!(
            "{server}.gtld-servers.net. A 192.0.2.1\n{server}.gtld-servers.net. AAAA 2001:db8::1\n"
        ));
    }
    let reply = Ask::new("www.example.com.", Rtype::A).dnssec().of(&view([zone(".", &lines)]));
    assert!(!reply.truncated);
    assert_eq!(reply.additionals().len(), 26);
    assert_eq!(reply.authorities().len(), 15);
}

// --- RFC 6672: DNAME ---

#[test]
fn a_dname_answers_with_the_synthesized_alias() {
    let reply = ask_dnssec("www.old.example.", Rtype::A);
    let expected = [
        "old.example. DNAME new.example.",
        "old.example. RRSIG DNAME",
        "www.old.example. CNAME www.new.example.",
        "www.new.example. A 192.0.2.8",
        "www.new.example. RRSIG A",
    ];
    assert_eq!(reply.answers(), expected);
    assert_eq!(reply.message.answers[2].ttl, TTL, "§3.1: the TTL of the DNAME record");
}

#[test]
fn a_dname_does_not_redirect_its_owner() {
    assert_eq!(ask("old.example.", Rtype::A).rcode, 0);
    assert!(ask("old.example.", Rtype::A).answers().is_empty());
    assert_eq!(ask("old.example.", Rtype::DNAME).answers().len(), 1);
}

#[test]
fn names_below_a_dname_are_not_data() {
    let reply = ask("hidden.old.example.", Rtype::A);
    assert_eq!(reply.rcode, 3);
    assert_eq!(reply.answers()[1], "hidden.old.example. CNAME hidden.new.example.");
}

#[test]
fn a_dname_that_feeds_itself_is_bounded_and_stands_once() {
    let reply = Ask::new("x.growing.example.", Rtype::A).over(&full(), Transport::Stream);
    assert_eq!(reply.rcode, 0);
    let dnames = reply.answers().iter().filter(|line| line.contains(" DNAME")).count();
    assert_eq!((dnames, reply.answers().len()), (1, 9));
}

/// RFC 6672 §2.2.
#[test]
fn a_substitution_that_grows_too_long_is_yxdomain() {
    let long = format!("{0}.{0}.{0}.{1}.growing.example.", "a".repeat(63), "b".repeat(44));
    let reply = ask(&long, Rtype::A);
    assert_eq!(reply.rcode, 6);
    assert_eq!(reply.answers().len(), 1);
}

#[test]
fn a_dname_out_of_the_zone_ends_with_its_alias() {
    let reply = ask("www.outward.example.", Rtype::A);
    assert_eq!((reply.rcode, reply.answers().len()), (0, 2));
    assert_eq!(reply.answers()[1], "www.outward.example. CNAME www.other.");
}

// --- types and classes of their own kind ---

/// RFC 8482 §4.1.
#[test]
fn any_gets_one_rrset() {
    assert_eq!(ask("www.example.", Rtype::ANY).answers(), ["www.example. A 192.0.2.1"]);
    assert_eq!(ask("alias.example.", Rtype::ANY).answers(), ["alias.example. CNAME www.example."]);
}

#[test]
fn rrsig_gets_all_signatures_at_the_name() {
    let expected = ["A", "TXT", "AAAA", "NSEC"].map(|covered| format!("www.example. RRSIG {covered}"));
    assert_eq!(ask("www.example.", Rtype::RRSIG).answers(), expected);
    assert_eq!(ask("www.example.", Rtype::NSEC).answers(), ["www.example. NSEC example."]);
}

#[test]
fn types_that_are_no_data_have_their_own_codes() {
    for (rtype, rcode) in [(41, 1), (249, 4), (250, 1), (251, 5), (252, 5), (253, 4), (254, 4)] {
        for transport in [Transport::Udp { max: 1232 }, Transport::Stream] {
            let reply = Ask::new("example.", Rtype(rtype)).over(&full(), transport);
            assert_eq!((reply.rcode, reply.answers().len()), (rcode, 0), "type {rtype}");
        }
    }
    // RFC 3597: an unknown type is one like others.
    assert_eq!(ask("www.example.", Rtype(65280)).rcode, 0);
    assert_eq!(ask("www.example.", Rtype(0)).rcode, 0);
}

#[test]
fn other_classes_are_refused_and_chaos_tells_the_name() {
    assert_eq!(Ask::new("www.example.", Rtype::A).class(4).of(&full()).rcode, 5);
    assert_eq!(Ask::new("www.example.", Rtype::A).class(255).of(&full()).rcode, 5);
    assert_eq!(Ask::new("www.example.", Rtype::A).class(3).of(&full()).rcode, 5);
    let told = [
        ("version.bind.", "torrens"),
        ("VERSION.server.", "torrens"),
        ("id.server.", "one"),
        ("hostname.bind.", "one"),
    ];
    for (name, text) in told {
        let reply = Ask::new(name, TXT).class(3).of(&full());
        assert_eq!((reply.rcode, reply.answers()), (0, vec![format!("{name} TXT {text}")]));
    }
}
