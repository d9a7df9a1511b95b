//! The real root zone, re-signed under a threshold key, through a stock validating resolver.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::path::Path;

use support::Steps;
use support::dns::{Unbound, delv, dig};
use support::testbed::Testbed;

/// Not part of the clone: it lies beside it where it is.
const ROOT_ZONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/root-2026-08-22.zone");

#[test]
fn the_root_zone_is_served_and_validated() {
    if !Path::new(ROOT_ZONE).exists() {
        eprintln!("{ROOT_ZONE} is not there: nothing tested");
        return;
    }
    let mut steps = Steps::new();
    steps.next("four replicas deal and sign the root zone");
    let bed = Testbed::start(&["--zone", ROOT_ZONE]);
    println!("root zone: {:.1} s from start to ready", bed.ready_after.as_secs_f64());
    assert!(bed.text("trust/root.key").starts_with(". "), "the anchor is the root's");
    steps.next("unbound validates under trust/root.key");
    let unbound = Unbound::start(&bed);
    delegations_are_proven(&unbound);
    what_is_not_there_is_proven(&unbound);
    let said = delv(&bed, 1, ".", "de.", "DS");
    assert!(said.contains("; fully validated"), "{said}");
    steps.next("the replicas are equal, and so large");
    for replica in 0..4 {
        let soa = |replica| dig(bed.dns(replica), "+norecurse +dnssec . SOA").answers;
        assert_eq!(soa(replica), soa(0), "replica {replica}");
        println!("root zone: replica {replica} has {} MiB resident", resident_mib(bed.pid(replica)));
    }
    steps.next("end");
}

fn delegations_are_proven(unbound: &Unbound) {
    for (name, tag) in [("com.", "19718"), ("org.", ""), ("de.", ""), ("arpa.", ""), ("xn--p1ai.", "")] {
        let said = unbound.validated(name, "DS");
        assert_eq!(said.status, "NOERROR");
        assert!(!said.data("DS").is_empty(), "{name}: {said:?}");
        assert!(said.data("DS")[0].starts_with(tag), "{name}: {said:?}");
    }
    assert_eq!(unbound.validated(".", "NS").data("NS").len(), 13);
}

fn what_is_not_there_is_proven(unbound: &Unbound) {
    // A delegation without DS: the NSEC record says so.
    let unsigned = unsigned_tld();
    let said = unbound.validated(&unsigned, "DS");
    assert_eq!((said.status.as_str(), said.data("DS").len()), ("NOERROR", 0), "{unsigned}");
    for name in ["no-such-tld-here.", "www.no-such-tld-here.", "aaaaaaaa.", "zzzzzzzzzz."] {
        let said = unbound.validated(name, "A");
        assert_eq!(said.status, "NXDOMAIN", "{name}");
    }
}

/// A TLD that has NS records in the file, and no DS.
fn unsigned_tld() -> String {
    let text = std::fs::read_to_string(ROOT_ZONE).unwrap();
    let owners = |rtype: &'static str| {
        text.lines().filter_map(move |line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.get(3) == Some(&rtype) && fields[0] != ".").then(|| fields[0].to_string())
        })
    };
    let signed: std::collections::BTreeSet<String> = owners("DS").collect();
    owners("NS").find(|name| !signed.contains(name)).expect("some TLDs are unsigned")
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a running process");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("of KiB") / 1024
}
