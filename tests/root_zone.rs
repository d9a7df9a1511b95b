//! The real root zone, re-signed under a threshold key, through a stock validating resolver.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::Steps;
use support::dns::{Unbound, delv, dig};
use support::testbed::Testbed;
use torrens::crypto::ed25519::SecretKey;
use torrens::directory::master::parse_zone;
use torrens::directory::name::Name;
use torrens::directory::primary::Changes;
use torrens::directory::rrset::{Rrset, Rtype};
use torrens::directory::zone::SignedZone;
use torrens::directory::{Directory, Timestamp};
use torrens::signing::version::{self, Change};

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

/// What the state machine does with a version of the root's own primary, but for the signatures themselves.
#[test]
fn a_new_version_of_the_root_zone_signs_only_what_changed() {
    let Ok(text) = std::fs::read_to_string(ROOT_ZONE) else {
        eprintln!("{ROOT_ZONE} is not there: nothing tested");
        return;
    };
    let file = parse_zone(&text, "root", None, &mut |_| Err("no includes".into())).unwrap();
    let root = name(".");
    let registry = SecretKey::from_seed(&[7; 32]).public();
    let mut directory = Directory::genesis(vec![file.clone()], registry, Timestamp(1)).unwrap().0;
    directory.leave_to_primary(&root).unwrap();
    let published = next_version(&directory, &SignedZone::new(root.clone()), &directory.names(&root).collect(), 1).0;

    let mut next = file;
    let soa = next.records.get_mut(&(root.clone(), Rtype::SOA)).unwrap();
    let mut rdata = soa.rdatas()[0].clone();
    let numbers = rdata.len() - 20;
    rdata[numbers + 3] = rdata[numbers + 3].wrapping_add(1);
    *soa = Rrset::new(Rtype::SOA, soa.ttl, vec![rdata]);
    let ds = next.records.get_mut(&(name("de."), Rtype::DS)).unwrap();
    *ds = Rrset::new(Rtype::DS, ds.ttl, vec![[&[1, 2, 13, 2][..], &[9; 32]].concat()]);
    next.records.retain(|(owner, _), _| !owner.is_within(&name("museum.")));
    let ns = Rrset::new(Rtype::NS, 172_800, vec![name("a.nic.de.").as_wire().to_vec()]);
    next.records.insert((name("zzzz."), Rtype::NS), ns);

    let changes = Changes::between(&directory, &next);
    let update = directory.judge_changes(&root, &changes, None).unwrap();
    let (dirty, _) = directory.apply_changes(update, Timestamp(2), 1);
    let (_, signed) = next_version(&directory, &published, &dirty, 2);
    println!("root zone: {} bytes of changes, {} signatures", changes.to_bytes().len(), signed.len());
    let signed: Vec<String> = signed.iter().map(|(owner, rtype)| format!("{owner} {rtype}")).collect();
    let before = |gone: &str| {
        let around = published.nodes_before(&name(gone)).rev().find(|node| node.has(Rtype::NSEC)).unwrap();
        format!("{} NSEC", around.owner().to_name())
    };
    let mut expected =
        vec![". SOA".into(), "de. DS".into(), before("museum."), before("zzzz."), "zzzz. NSEC".to_string()];
    expected.sort();
    let mut sorted = signed;
    sorted.sort();
    assert_eq!(sorted, expected);
    assert!(changes.to_bytes().len() < 4096);
}

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

/// The next version of the root zone, and which RRsets are signed for it.
fn next_version(
    directory: &Directory,
    published: &SignedZone,
    dirty: &BTreeSet<Name>,
    serial: u32,
) -> (SignedZone, Vec<(Name, Rtype)>) {
    let root = name(".");
    let change = Change {
        dirty,
        desired: &|name| directory.rrsets_at(&root, name),
        soa: &directory.zones()[&root].records[&Rtype::SOA],
        dnskey: &Rrset::new(Rtype::DNSKEY, 3600, vec![vec![1, 1, 3, 15, 7]]),
        serial,
        zonemd: false,
        renew: &BTreeSet::new(),
    };
    let plan = version::plan(published, &change);
    let signed = plan.puts.iter().filter(|put| put.needs_signature).map(|put| (put.name.clone(), put.rrset.rtype));
    let signed: Vec<(Name, Rtype)> = signed.collect();
    let signatures = signed.iter().map(|key| (key.clone(), vec![0; 84])).collect();
    (version::apply_version(published, &plan, &signatures).unwrap(), signed)
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
    let signed: BTreeSet<String> = owners("DS").collect();
    owners("NS").find(|name| !signed.contains(name)).expect("some TLDs are unsigned")
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a running process");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("of KiB") / 1024
}
