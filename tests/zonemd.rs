//! The digest of the zone is right at every serial, says every tool that checks digests.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::dns::dig;
use support::process::{Process, Run};
use support::testbed::Testbed;
use support::{Steps, eventually};

const ZONE: &str = "names.example.";

/// The zone as replica 1 transfers it: its serial and its text.
fn dump(bed: &Testbed) -> (String, String) {
    let mut dig = Command::new("dig");
    dig.args(["@127.0.0.1", "-p", &bed.dns(1).to_string(), ZONE, "AXFR", "+noall", "+answer", "+onesoa", "+nosplit"]);
    let text = Run::of(&mut dig).ok();
    let soa = text.lines().next().unwrap_or_default();
    (soa.split_whitespace().nth(6).unwrap_or_else(|| panic!("{text}")).to_owned(), text)
}

/// Whether the digest in a zone file is there and right.
fn ldns_agrees(file: &Path) -> bool {
    let said = Run::of(Command::new("ldns-verify-zone").args(["-ZZ", "-V2"]).arg(file));
    // Its other checks fail for nothing that this test alters.
    assert!(said.code == 0 || said.err.contains("ZONEMD"), "{said:?}");
    said.code == 0
}

/// Whether Knot, told to verify digests, serves the zone in a file. It complains of the KEY record beside a CNAME,
/// which RFC 4035 §2.5 allows.
fn knot_agrees(bed: &Testbed, name: &str, port: u16, text: &str) -> bool {
    let folder = bed.folder.path().join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("zone"), text).unwrap();
    let work = folder.display();
    let config = format!(
        "server:\n  rundir: \"{work}\"\n  listen: 127.0.0.1@{port}\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  \
         storage: \"{work}/knot\"\nzone:\n  - domain: \"{ZONE}\"\n    storage: \"{work}\"\n    file: zone\n    \
         zonemd-verify: on\n    semantic-checks: soft\n    journal-content: none\n    zonefile-load: whole\n    zonefile-sync: -1\n"
    );
    let path = folder.join("knot.conf");
    fs::write(&path, config).unwrap();
    let mut knot = Command::new("/usr/sbin/knotd");
    let out = fs::File::create(folder.join("out")).unwrap();
    let _knot = Process::start(knot.arg("-c").arg(path).stdout(out), &folder.join("log"));
    eventually("Knot's word on the zone", || {
        let log = fs::read_to_string(folder.join("log")).unwrap();
        if log.contains("ZONEMD, verification failed") {
            return Ok(false);
        }
        let said = support::dns::try_dig(port, &format!("+norecurse {ZONE} SOA"))?;
        if said.status == "NOERROR" { Ok(true) } else { Err(format!("{said:?} {log}")) }
    })
}

/// With another address in glue, which nobody signs.
fn altered(text: &str) -> String {
    let altered = text.replace("192.0.2.154", "192.0.2.155");
    assert_ne!(altered, text);
    altered
}

fn transfers_to_this_machine(bed: &mut Testbed) {
    bed.stop();
    for replica in 0..bed.count() {
        let path = bed.path(&format!("replica-{replica}/replica.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("transfers = []", "transfers = [\"127.0.0.1\"]")).unwrap();
    }
    bed.start_again();
}

#[test]
fn the_digest_is_right_at_every_serial_where_it_is_on() {
    let mut steps = Steps::new();
    steps.next("a testbed with digests, as zones of up to 2,000 names have them");
    let policy = tempfile::NamedTempFile::new().unwrap();
    fs::write(&policy, "[default]\nheartbeat = \"2s\"\n").unwrap();
    let mut bed = Testbed::start(&["--policy", policy.path().to_str().unwrap()]);
    transfers_to_this_machine(&mut bed);
    bed.key("alice");
    let set = "title set alice.names.example. --key alice.key";
    let changes: [&[&str]; 6] = [
        &["www 300 A 192.0.2.9"],
        &["*.www 300 TXT mixed-CASE", "sub 300 NS ns.sub", "ns.sub 300 A 192.0.2.10"],
        &["sub 300 DS 12345 15 2 5D1F7A1BDC3C9D3E9D4B2C4A1E0F99887766554433221100AABBCCDDEEFF0011"],
        &["moved 300 DNAME elsewhere.example."],
        &["--delete", "sub", "NS", "--delete", "sub", "DS"],
        &["\\255odd 300 TYPE65280 \\# 3 010203"],
    ];
    let mut serials = BTreeSet::new();
    let file = bed.folder.path().join("zone");
    for at in 0..=changes.len() {
        match at {
            0 => bed.run("title register alice.names.example. --key alice.key").ok(),
            _ => bed.run_with(set, changes[at - 1]).ok(),
        };
        steps.next(&format!("change {at}"));
        let (serial, text) = dump(&bed);
        fs::write(&file, &text).unwrap();
        assert!(ldns_agrees(&file), "serial {serial}");
        assert!(text.contains(&format!("ZONEMD\t{serial} 1 1 ")), "{text}");
        serials.insert(serial);
        Run::of(Command::new("dnssec-verify").args(["-q", "-z", "-o", ZONE]).arg(&file)).ok();
        fs::write(&file, altered(&text)).unwrap();
        assert!(!ldns_agrees(&file), "altered glue goes unnoticed");
    }
    assert!(serials.len() > changes.len(), "{serials:?}");
    steps.next("Knot, told to verify digests");
    let (_, text) = dump(&bed);
    let at = |offset: u16| bed.ports.base + 150 + offset;
    assert!(knot_agrees(&bed, "knot", at(0), &text));
    assert!(!knot_agrees(&bed, "knot-altered", at(1), &altered(&text)));
    steps.next("end");
}

#[test]
fn a_policy_without_digests_has_none_and_an_interval_gathers_changes() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    let text = "[default]\nzonemd-names = 0\nversion-interval = \"3s\"\n";
    fs::write(&policy, text).unwrap();
    let bed = Testbed::start(&["--policy", policy.path().to_str().unwrap()]);
    let said = dig(bed.dns(0), &format!("+norecurse +dnssec {ZONE} ZONEMD"));
    assert_eq!((said.status.as_str(), said.answers.len()), ("NOERROR", 0), "{said:?}");
    assert!(!said.authorities.concat().contains("ZONEMD"), "{said:?}");
    let serial = |bed: &Testbed| support::dns::serial(bed.dns(0), ZONE);
    let before = serial(&bed);
    bed.key("alice");
    bed.run("title register alice.names.example. --key alice.key").ok();
    let outcome = bed.json("title set alice.names.example. --key alice.key", &["www 300 A 192.0.2.9"]);
    let shown = outcome["serial"].as_u64().unwrap() as u32;
    assert!(shown.wrapping_sub(before) <= 2, "{before} {shown}");
    eventually("the changes", || {
        let said = dig(bed.dns(0), &format!("+norecurse www.alice.{ZONE} A"));
        if said.data("A") == ["192.0.2.9"] { Ok(()) } else { Err(format!("{said:?}")) }
    });
    let refused = tempfile::NamedTempFile::new().unwrap();
    fs::write(&refused, "[default]\nzonemd-names = 5000\n").unwrap();
    let mut command = support::testbed::torrens();
    command.args(["testbed", "--fixture-primes", "--dir"]).arg(bed.folder.path().join("other"));
    Run::of(command.arg("--policy").arg(refused.path())).wrong("version-interval");
}
