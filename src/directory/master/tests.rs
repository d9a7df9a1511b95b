use std::collections::BTreeSet;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

fn zone(text: &str) -> Result<ZoneFile, MasterError> {
    let mut no_files = |path: &str| Err(format!("there is no {path}"));
    parse_zone(text, "zones/x.zone", Some(name("example.")), &mut no_files)
}

const HEAD: &str = "$TTL 300\n@ SOA ns hostmaster 1 2 3 4 5\n@ NS ns\n";

fn with_head(text: &str) -> Result<ZoneFile, MasterError> {
    zone(&format!("{HEAD}{text}"))
}

fn rdatas(zone: &ZoneFile, owner: &str, rtype: Rtype) -> Vec<String> {
    let rrset = &zone.records[&(name(owner), rtype)];
    rrset.rdatas().iter().map(|rdata| crate::directory::rdata::rdata_to_text(rtype, rdata)).collect()
}

#[test]
fn owner_ttl_and_class_may_be_left_out_or_swapped() {
    let zone = with_head(
        "www IN 60 A 192.0.2.1\n\t61 IN A 192.0.2.2\nA 1h30m A 192.0.2.3\nin CLASS1 TXT in\n$ORIGIN sub\n@ A 192.0.2.4\n",
    )
    .unwrap();
    assert_eq!(zone.apex, name("example."));
    assert_eq!(rdatas(&zone, "www.example.", Rtype::A), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(zone.records[&(name("www.example."), Rtype::A)].ttl, 60, "the lowest");
    assert_eq!(zone.records[&(name("a.example."), Rtype::A)].ttl, 5400);
    assert_eq!(rdatas(&zone, "in.example.", Rtype::TXT), ["\"in\""]);
    assert_eq!(rdatas(&zone, "sub.example.", Rtype::A), ["192.0.2.4"]);
}

#[test]
fn without_a_ttl_the_last_one_counts_and_for_the_soa_its_minimum() {
    let text = "@ SOA ns hostmaster 1 2 3 4 77\n@ 88 NS ns\nwww A 192.0.2.1\n";
    let zone = zone(text).unwrap();
    assert_eq!(zone.records[&(name("example."), Rtype::SOA)].ttl, 77);
    assert_eq!(zone.records[&(name("www.example."), Rtype::A)].ttl, 88);
}

#[test]
fn what_the_service_makes_itself_is_dropped() {
    let dropped = "@ RRSIG no one reads this\n@ NSEC nor this\nwww NSEC3 1 0\n@ NSEC3PARAM x\n@ ZONEMD y\n\
                   @ DNSKEY 257 3 15 AAAA\n@ CDS 0 0 0 00\n@ CDNSKEY 0 3 0 AA==\n";
    let types: BTreeSet<Rtype> = with_head(dropped).unwrap().records.into_keys().map(|(_, rtype)| rtype).collect();
    assert_eq!(types, [Rtype::NS, Rtype::SOA].into());
}

#[test]
fn errors_name_file_and_line_and_say_what_to_write() {
    for (text, line, says) in [
        ("www A 192.0.2.300\n", 4, "A: \"192.0.2.300\" is not an IPv4 address such as 192.0.2.1"),
        ("www\n", 4, "the type is missing"),
        ("\nwww FOO bar\n", 5, "\"FOO\" is not a record type"),
        ("www CH A 192.0.2.1\n", 4, "the class CH is not served"),
        ("www 9w A 192.0.2.1\n", 4, "the TTL 9w is over 604800 seconds"),
        ("www 99999999999 A 192.0.2.1\n", 4, "the TTL 99999999999 is over"),
        ("$TTL soon\n", 4, "\"soon\" is not a TTL"),
        ("$GENERATE 1-9 a A 192.0.2.$\n", 4, "$GENERATE is not a directive"),
        ("$ORIGIN\n", 4, "write $ORIGIN NAME."),
        ("www TXT (\n\"a\"\n", 4, "( without )"),
        ("www TXT \"a\n", 4, "a string does not end on its line"),
        ("www.other. A 192.0.2.1\n", 4, "www.other. is not within the zone example."),
        ("www A 192.0.2.1\nwww CNAME @\n", 5, "A stands beside CNAME"),
        ("www CNAME a\nwww CNAME b\n", 4, "only one such record"),
        ("old DNAME www\nx.old A 192.0.2.1\n", 4, "DNAME hides x.old.example. A"),
        ("@ SOA ns h 2 2 3 4 5\n", 4, "a second SOA record, the first is on line 2"),
        ("sub SOA ns h 2 2 3 4 5\n", 4, "SOA records at example. and at sub.example."),
        (
            "www DS 1 15 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A\n",
            4,
            "set NS at this name too",
        ),
        ("www KEY 512 3 15 AAAA\n", 4, "KEY records cannot be set"),
        ("www TYPE250 \\# 0\n", 4, "TSIG records cannot be set"),
        ("@ DNAME other.\n", 4, "DNAME at the apex"),
        ("*.sub NS ns\n", 4, "a wildcard cannot delegate"),
        ("$INCLUDE more.zone\n", 4, "cannot read zones/more.zone: there is no zones/more.zone"),
        ("\u{fc}ber A 192.0.2.1\n", 4, "write ASCII"),
    ] {
        let error = with_head(text).unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("zones/x.zone", line), "{text}: {error}");
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
    let error = with_head("www FOO bar").unwrap_err();
    let shown = "zones/x.zone:4: \"FOO\" is not a record type: write A, AAAA, TXT, … or TYPEnnn";
    assert_eq!(error.to_string(), shown);
}

#[test]
fn a_zone_has_a_soa_and_ns_at_its_apex_and_an_origin_for_relative_names() {
    assert!(zone("").unwrap_err().message.contains("no SOA record"));
    let error = zone("\n@ 5 SOA ns h 1 2 3 4 5\n").unwrap_err();
    assert_eq!((error.line, error.message.contains("no NS record at example.")), (2, true));
    let mut no_files = |_: &str| Err(String::new());
    let error = parse_zone("www 1 A 192.0.2.1", "x", None, &mut no_files).unwrap_err();
    assert!(error.message.contains("no origin is known"), "{error}");
    let error = zone(" A 192.0.2.1").unwrap_err();
    assert!(error.message.contains("write the name first"), "{error}");
    let error = zone("@ NS ns").unwrap_err();
    assert!(error.message.contains("no TTL is known"), "{error}");
}

#[test]
fn more_records_at_a_name_than_an_answer_can_hold_are_refused() {
    let many: String = (0..101).map(|i| format!("www A 192.0.2.{i}\n")).collect();
    assert!(with_head(&many).unwrap_err().message.contains("101 records, of which 100 are allowed"));
}

#[test]
fn includes_are_relative_to_their_file_and_leave_origin_and_owner_alone() {
    let mut files = |path: &str| match path {
        "zones/parts/a.zone" => Ok("$ORIGIN deep\nx A 192.0.2.1\n$INCLUDE b.zone other.example.\n".to_string()),
        "zones/parts/b.zone" => Ok("y A 192.0.2.2\nz B".to_string()),
        _ => Err("not there".to_string()),
    };
    let text = format!("{HEAD}www A 192.0.2.3\n$INCLUDE parts/a.zone\n  AAAA 2001:db8::1\n");
    let error = parse_zone(&text, "zones/x.zone", Some(name("example.")), &mut files).unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("zones/parts/b.zone", 2));

    let mut files = |_: &str| Ok("$ORIGIN deep\nx A 192.0.2.1\n".to_string());
    let zone = parse_zone(&text, "zones/x.zone", Some(name("example.")), &mut files).unwrap();
    assert!(zone.records.contains_key(&(name("x.deep.example."), Rtype::A)));
    assert!(zone.records.contains_key(&(name("www.example."), Rtype::AAAA)));
}

#[test]
fn a_file_that_includes_itself_ends_in_an_error() {
    let mut files = |_: &str| Ok("$INCLUDE me\n$INCLUDE me\n".to_string());
    let error = parse_zone("$INCLUDE me", "me", None, &mut files).unwrap_err();
    assert!(error.message.contains("does one include itself?"), "{error}");
}

#[test]
fn record_lines_are_relative_to_the_title() {
    let origin = name("alice.example.");
    let lines = ["www 300 A 192.0.2.1", "www A 192.0.2.2", "@ TXT \"hi; there\"", "bob.example. IN MX 10 @"];
    let rrsets = parse_records(&lines.map(String::from), &origin, 3600).unwrap();
    let said: Vec<(String, Rtype, u32)> = rrsets.iter().map(|(n, r)| (n.to_string(), r.rtype, r.ttl)).collect();
    assert_eq!(
        said,
        [
            ("alice.example.".into(), Rtype::TXT, 3600),
            ("www.alice.example.".into(), Rtype::A, 300),
            ("bob.example.".into(), Rtype::MX, 3600),
        ]
    );
    for wrong in
        ["www 300 A", "", "; only a comment", "$TTL 5", "a A 192.0.2.1\nb A 192.0.2.1", "@ NSEC x", "@ A ( 192.0.2.1"]
    {
        let error = parse_records(&["@ A 192.0.2.1".into(), wrong.into()], &origin, 60).unwrap_err();
        assert_eq!(error.line, 2, "{wrong}: {error}");
    }
}

fn read(path: &std::path::Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[test]
fn the_default_zone_has_every_common_type() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/names.example.zone");
    let mut no_files = |_: &str| Err(String::new());
    let zone = parse_zone(&read(&path).unwrap(), "zones/names.example.zone", None, &mut no_files).unwrap();
    assert_eq!(zone.apex, name("names.example."));
    let types: BTreeSet<String> = zone.records.keys().map(|(_, rtype)| rtype.to_string()).collect();
    for common in
        "A AAAA CAA CNAME DNAME DS HINFO HTTPS LOC MX NAPTR NS PTR RP SOA SRV SSHFP SVCB TLSA TXT URI".split(' ')
    {
        assert!(types.contains(common), "{common}");
    }
    let free = ["alice", "bob", "carol"].map(|label| name("names.example.").child(label.as_bytes()).unwrap());
    assert!(zone.records.keys().all(|(owner, _)| free.iter().all(|free| !owner.is_within(free))));
}

/// The zone's file lies beside the project, or where TORRENS_ROOT_ZONE says; without it there is nothing to test.
#[test]
fn the_root_zone_is_read_whole() {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/root-2026-08-22.zone");
    let path = std::env::var_os("TORRENS_ROOT_ZONE").map_or(beside, Into::into);
    let Some(text) = read(&path) else {
        println!("no root zone at {}: not tested", path.display());
        return;
    };
    let zone = parse_zone(&text, "root.zone", None, &mut |_: &str| Err(String::new())).unwrap();
    assert!(zone.apex.is_root());
    let records: usize = zone.records.values().map(|rrset| rrset.rdatas().len()).sum();
    // 22,094 lines without 3 DNSKEY, 1,439 NSEC, 2 RRSIG and 1 ZONEMD.
    assert_eq!(records, 22_094 - 3 - 1_439 - 2 - 1);
    let delegations = zone.records.keys().filter(|(owner, rtype)| *rtype == Rtype::NS && owner.label_count() == 1);
    assert_eq!(delegations.count(), 1_438);
}

fn signed_zone(text: &str) -> Result<SignedZone, MasterError> {
    let mut no_files = |path: &str| Err(format!("there is no {path}"));
    parse_signed_zone(text, "x.signed", Some(name("example.")), &mut no_files)
}

const SOA: &str = "@ SOA ns hostmaster 1 2 3 4 5\n";
const SIGNATURE: &str = "A 15 2 300 20300101000000 20200101000000 7 example. ";

#[test]
fn a_signed_zone_is_the_same_in_whatever_order_its_records_come() {
    let lines = [
        SOA.to_string(),
        "www A 192.0.2.1\n".into(),
        "www AAAA 2001:db8::1\n".into(),
        "www A 192.0.2.2\n".into(),
        format!("www RRSIG {SIGNATURE} AAAA\n"),
        format!("mail RRSIG {SIGNATURE} BBBB\n"),
        "mail 60 A 192.0.2.3\n".into(),
        "mail 90 A 192.0.2.4\n".into(),
        format!("www RRSIG {SIGNATURE} CCCC\n"),
    ];
    let zone = |order: &[usize]| {
        let text: String = order.iter().map(|line| lines[*line].as_str()).collect();
        signed_zone(&format!("$TTL 300\n{text}")).unwrap()
    };
    let sorted = zone(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let www = sorted.get(&name("www.example.")).unwrap();
    assert_eq!(www.rrsets().map(|rrset| rrset.rdatas().count()).collect::<Vec<_>>(), [2, 1]);
    let rrsig = |owner: &str| sorted.rrset(&name(owner), Rtype::A).and_then(|rrset| rrset.rrsig()).unwrap();
    assert!(rrsig("www.example.").ends_with(&[0, 0, 0]), "of two, the first in canonical order");
    assert!(rrsig("mail.example.").ends_with(&[4, 16, 65]));
    assert_eq!(sorted.rrset(&name("mail.example."), Rtype::A).unwrap().ttl, 60);
    for order in [[8, 7, 6, 5, 4, 3, 2, 1, 0], [5, 1, 7, 4, 3, 0, 8, 2, 6], [4, 6, 1, 0, 5, 3, 7, 2, 8]] {
        assert_eq!(zone(&order), sorted, "{order:?}");
    }
}

#[test]
fn a_signed_zone_without_one_soa_record_with_a_foreign_name_or_too_many_records_is_refused() {
    let message = |text: &str| signed_zone(&format!("$TTL 300\n{text}")).unwrap_err().message;
    assert!(message("www A 192.0.2.1").contains("one SOA record: this file has none"));
    assert!(
        message(&format!("{SOA}sub SOA ns hostmaster 1 2 3 4 5\n")).contains("one SOA record: this file has them at")
    );
    assert!(message(&format!("{SOA}www.example.org. A 192.0.2.1\n")).contains("not within the zone"));
    assert!(message(&format!("www.example.org. A 192.0.2.1\n{SOA}")).contains("not within the zone"));
    let many: String = (0..70u32).map(|number| format!("www TXT {}\n", format!("{number:0>250} ").repeat(4))).collect();
    assert!(message(&format!("{SOA}{many}")).contains("more TXT records than fit into a message"));
}
