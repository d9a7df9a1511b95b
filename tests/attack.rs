//! One replica of four dies, lies, is started twice or loses bits on its disk: the service goes on and nothing false is
//! believed.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::dns::{Tcp, Unbound, delv, dig, query, serial, try_dig};
use support::process::{Run, is_running};
use support::testbed::{Testbed, copy_folder, torrens};
use support::tls::{ACCEPTED, openssl, verdicts};
use support::{Steps, eventually};
use torrens::directory::name::Name;
use torrens::directory::rrset::Rtype;

const ZONE: &str = "names.example.";
const ALICE: &str = "alice.names.example.";

#[test]
fn one_replica_dies_is_started_twice_or_is_damaged() {
    let mut steps = Steps::new();
    steps.next("a testbed");
    let mut bed = Testbed::start(&[]);
    let unbound = Unbound::start_without_cache(&bed);
    bed.key("alice");
    bed.run(&format!("title register {ALICE} --key alice.key")).ok();
    steps.next("a second process on the same data");
    a_second_process_is_refused(&bed);
    // The first in the client's list, then another.
    let mut restarted = Vec::new();
    for replica in [0, 2] {
        steps.next(&format!("replica {replica} is killed"));
        bed.kill_replica(replica);
        the_service_goes_on(&bed, &unbound, replica);
        steps.next(&format!("replica {replica} comes back"));
        restarted.push(bed.start_replica(replica));
        it_catches_up(&bed, replica);
    }
    steps.next("its disk is damaged");
    // A checkpoint, such as one at the start, empties the log: what is durable has to be in it.
    bed.run_with(&format!("title set {ALICE} --key alice.key"), &["@ 0 A 192.0.2.98"]).ok();
    eventually("the change at replica 2", || {
        let said = try_dig(bed.dns(2), &format!("+norecurse {ALICE} A"))?;
        if said.data("A") == ["192.0.2.98"] { Ok(()) } else { Err(format!("{said:?}")) }
    });
    let last = restarted.pop().expect("two were restarted");
    assert!(last.stop().success(), "a replica asked to stop stops well");
    a_damaged_database_is_refused(&bed, 2);
    steps.next("all are killed at once");
    for replica in [0, 1, 3] {
        bed.kill_replica(replica);
    }
    drop((restarted, unbound));
    bed.stop();
    bed.start_again();
    for name in ["life-0", "life-2"] {
        let said = delv(&bed, 1, ZONE, &format!("{name}.{ZONE}"), "A");
        assert!(said.contains("192.0.2.77") && said.contains("fully validated"), "{said}");
    }
    bed.run_with(&format!("title set {ALICE} --key alice.key"), &["@ 0 A 192.0.2.99"]).ok();
    steps.next("end");
}

#[test]
fn one_replica_lies() {
    let mut steps = Steps::new();
    steps.next("a testbed whose replica 0 alters answers and makes bad shares");
    let bed = Testbed::start(&["--misbehave", "0"]);
    assert_replica_0_lies(&bed);
    let unbound = Unbound::start_without_cache(&bed);
    steps.next("names resolve as they are");
    names_resolve_unaltered(&unbound);
    steps.next("owners' commands work");
    bed.key("alice");
    bed.key("bob");
    bed.run(&format!("title register {ALICE} --key alice.key")).ok();
    bed.run(&format!("title register {ALICE} --key bob.key")).refused("is taken");
    for last in 1..6 {
        let record = format!("@ 0 A 192.0.2.{last}");
        bed.run_with(&format!("title set {ALICE} --key alice.key"), &[&record]).ok();
        let expected = [format!("192.0.2.{last}")];
        eventually("the new address", || {
            let said = unbound.validated(ALICE, "A");
            if said.data("A") == expected { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }
    assert!(bed.run(&format!("title show {ALICE}")).ok().contains("192.0.2.5"));
    bed.run(&format!("title history {ALICE}")).ok();
    bed.run("status").ok();
    steps.next("a certificate is issued");
    for _ in 0..3 {
        a_certificate_is_issued(&bed);
    }
    steps.next("what is signed verifies, and the liar is named");
    signatures_verify(&bed);
    only_the_liar_is_named(&bed);
    steps.next("end");
}

fn a_second_process_is_refused(bed: &Testbed) {
    let pid = bed.pid(1);
    Run::of(torrens().arg("replica").arg("--dir").arg(bed.path("replica-1")))
        .wrong("another process runs on this data");
    assert_eq!(bed.pid(1), pid, "the first process's number is left alone");
    assert!(is_running(pid));
}

fn the_service_goes_on(bed: &Testbed, unbound: &Unbound, dead: u16) {
    assert!(try_dig(bed.dns(dead), "+time=1 +tries=1 names.example. SOA").is_err(), "replica {dead} is dead");
    let name = format!("life-{dead}.{ZONE}");
    bed.run(&format!("title register {name} --key alice.key")).ok();
    bed.run_with(&format!("title set {name} --key alice.key"), &["@ 0 A 192.0.2.77", "* 0 A 192.0.2.78"]).ok();
    assert!(bed.run(&format!("title show {name}")).ok().contains("192.0.2.77"));
    assert!(bed.run("status").ok().contains("no answer"));
    bed.run(&format!("title history {name}")).ok();
    assert_eq!(unbound.validated(&name, "A").data("A"), ["192.0.2.77"]);
    a_certificate_is_issued(bed);
    for fresh in 0..10 {
        let said = unbound.validated(&format!("f{fresh}.{name}"), "A");
        assert_eq!(said.data("A"), ["192.0.2.78"]);
    }
}

fn it_catches_up(bed: &Testbed, replica: u16) {
    let other = (replica + 1) % 4;
    eventually("a restarted replica", || {
        let (old, new) = (serial(bed.dns(other), ZONE), try_dig(bed.dns(replica), "+norecurse names.example. SOA")?);
        let caught_up = new.data("SOA").iter().any(|soa| soa.contains(&format!(" {old} ")));
        if caught_up { Ok(()) } else { Err(format!("serial {old} elsewhere, {new:?}")) }
    });
    let name = format!("life-{replica}.{ZONE}");
    let zone: Name = Name::parse(ZONE, None).unwrap();
    let name = Name::parse(&name, None).unwrap();
    for (name, rtype) in [(&zone, 6), (&zone, 48), (&name, 1), (&name, 25), (&name, 16)] {
        let message = query(9, name, Rtype(rtype));
        let answer = |replica| Tcp::connect(bed.dns(replica)).ask(&message).expect("an answer");
        assert_eq!(answer(replica), answer(other), "{name} {rtype}");
    }
}

fn a_damaged_database_is_refused(bed: &Testbed, replica: u16) {
    let home = bed.path(&format!("replica-{replica}"));
    let copy = bed.folder.path().join("damaged");
    for kind in ["log", "sst"] {
        // Never the original: it could be started again.
        copy_folder(&home, &copy);
        let damaged = damage(&copy.join("data/rocks"), kind);
        assert!(damaged > 0, "no bytes in any .{kind} file");
        // It would run for ever if it were taken for sound.
        let mut command = Command::new("timeout");
        command.args(["20", env!("CARGO_BIN_EXE_torrens"), "replica", "--dir"]);
        let run = Run::of(command.arg(&copy));
        assert_eq!(run.code, 2, "{kind}: {}", run.err);
        assert!(run.err.contains("damaged") && run.err.contains("data"), "{kind}: {}", run.err);
        fs::remove_dir_all(&copy).unwrap();
    }
}

/// Flips a bit in every hundred bytes of each file of a kind; how many.
fn damage(folder: &Path, kind: &str) -> usize {
    let mut damaged = 0;
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == kind) {
            let mut bytes = fs::read(&path).unwrap();
            for byte in bytes.iter_mut().skip(50).step_by(100) {
                *byte ^= 1;
                damaged += 1;
            }
            fs::write(&path, bytes).unwrap();
        }
    }
    damaged
}

/// The test would prove nothing otherwise.
fn assert_replica_0_lies(bed: &Testbed) {
    let name = Name::parse("www.names.example.", None).unwrap();
    for id in 0..4 {
        let message = query(id, &name, Rtype(1));
        let answer = |replica| Tcp::connect(bed.dns(replica)).ask(&message).expect("an answer");
        assert_ne!(answer(0), answer(1), "message {id}");
        assert_eq!(answer(2), answer(1));
    }
}

fn names_resolve_unaltered(unbound: &Unbound) {
    for round in 0..25 {
        let wildcard = unbound.validated(&format!("fresh-{round}.wild.names.example."), "A");
        assert_eq!(wildcard.data("A"), ["192.0.2.200"], "{wildcard:?}");
        let www = unbound.validated("www.names.example.", "A");
        assert_eq!(www.data("A"), ["192.0.2.80", "192.0.2.81"], "{www:?}");
        assert_eq!(unbound.validated("mail.names.example.", "AAAA").data("AAAA"), ["2001:db8::25"]);
        let nothing = unbound.validated(&format!("none-{round}.names.example."), "A");
        assert_eq!(nothing.status, "NXDOMAIN");
        assert_eq!(unbound.validated("blog.names.example.", "A").data("CNAME"), ["www.names.example."]);
        let no_data = unbound.validated("unsigned.names.example.", "DS");
        assert_eq!((no_data.status.as_str(), no_data.data("DS").len()), ("NOERROR", 0));
    }
}

fn a_certificate_is_issued(bed: &Testbed) {
    let (key, csr, chain) = (bed.file("tls.key"), bed.file("tls.csr"), bed.file("chain.pem"));
    openssl(&format!("req -new -newkey rsa:2048 -nodes -keyout {key} -subj / -out {csr}")).ok();
    bed.run(&format!("cert issue {ALICE} --key alice.key --csr {csr} --out {chain}")).ok();
    let ca = bed.path("trust/ca.pem");
    assert_eq!(verdicts(&ca, chain.as_ref(), key.as_ref(), "alice.names.example"), ACCEPTED);
}

fn signatures_verify(bed: &Testbed) {
    for replica in 1..4 {
        for (name, rtype) in [(ZONE, "SOA"), (ALICE, "A"), (ALICE, "KEY"), ("x.alice.names.example.", "A")] {
            let said = delv(bed, replica, ZONE, name, rtype);
            assert!(said.contains("fully validated"), "{name} {rtype}: {said}");
        }
        assert_eq!(dig(bed.dns(replica), "+norecurse +dnssec names.example. SOA").status, "NOERROR");
    }
}

fn only_the_liar_is_named(bed: &Testbed) {
    for replica in 1..4 {
        let log = bed.text(&format!("replica-{replica}/log"));
        let faults: Vec<&str> = log.lines().filter(|line| line.contains("culprit")).collect();
        assert!(faults.iter().any(|line| line.contains("BadShare")), "replica {replica} saw no bad share: {log}");
        assert!(faults.iter().all(|line| line.contains("replica-0")), "an innocent is named: {faults:?}");
    }
}
