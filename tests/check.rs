//! `torrens check` finds out which replica is sound, old, silent or a liar, and believes none of them.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;

use support::dns::try_dig;
use support::process::{Run, signal};
use support::testbed::{Testbed, torrens};
use support::{Steps, eventually};

const ZONE: &str = "names.example.";

/// Exit code, verdict of the whole, and of each server.
fn check(bed: &Testbed, more: &[&str]) -> (i32, String, Vec<String>) {
    let run = bed.run_with(&format!("check {ZONE} --json"), more);
    let said: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let servers = said["servers"].as_array().unwrap_or_else(|| panic!("{run:?}"));
    let verdicts = servers.iter().map(|server| server["verdict"].as_str().unwrap().to_owned()).collect();
    (run.code, said["verdict"].as_str().unwrap().to_owned(), verdicts)
}

/// Height and root of the signed head of each server.
fn heads(bed: &Testbed) -> Vec<Option<(u64, String)>> {
    let said: serde_json::Value = serde_json::from_str(&bed.run(&format!("check {ZONE} --json")).out).unwrap();
    let head = |server: &serde_json::Value| {
        let head = &server["signed_head"];
        Some((head["height"].as_u64()?, head["root"].as_str()?.to_owned()))
    };
    said["servers"].as_array().unwrap().iter().map(head).collect()
}

#[track_caller]
fn expect(bed: &Testbed, more: &[&str], code: i32, verdict: &str, each: &[&str]) {
    eventually(verdict, || {
        let found = check(bed, more);
        let expected = (code, verdict.to_owned(), each.iter().map(|it| it.to_string()).collect());
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// A replica that reaches none of the others any more: it serves what it has.
fn cut_off(bed: &Testbed, replica: u16) {
    let path = bed.path(&format!("replica-{replica}/replica.toml"));
    let mut text = fs::read_to_string(&path).unwrap();
    for peer in (0..bed.count()).filter(|peer| *peer != replica) {
        text = text.replace(&format!("127.0.0.1:{}", bed.dns(peer) + 5), &format!("127.0.0.1:{}", bed.dns(peer) + 9));
    }
    let peers = bed.dns(replica) + 5;
    let moved =
        text.replace(&format!("peers = \"127.0.0.1:{peers}\""), &format!("peers = \"127.0.0.1:{}\"", peers + 1));
    assert_ne!(moved, text);
    fs::write(&path, moved).unwrap();
}

#[test]
fn lagging_and_silent_replicas_are_found() {
    let mut steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, "[default]\nheartbeat = \"30s\"\n").unwrap();
    steps.next("a testbed: all is well");
    let bed = Testbed::start(&["--policy", policy.to_str().unwrap()]);
    expect(&bed, &[], 0, "healthy", &["healthy"; 4]);
    let table = bed.run(&format!("check {ZONE}")).ok();
    assert_eq!(table.matches("healthy").count(), 4, "{table}");
    assert!(table.lines().next().is_some_and(|header| header.contains("heartbeat")), "{table}");

    eventually("one head of all", || {
        let heads = heads(&bed);
        let alike = heads.iter().all(|head| head.is_some() && *head == heads[0]);
        if alike { Ok(()) } else { Err(format!("{heads:?}")) }
    });

    steps.next("a replica that runs no more");
    bed.kill_replica(3);
    expect(&bed, &[], 4, "silent", &["healthy", "healthy", "healthy", "silent"]);

    steps.next("a replica that is cut off, while the others go on");
    cut_off(&bed, 3);
    let _replica = bed.start_replica(3);
    bed.key("alice");
    bed.run("title register alice.names.example. --key alice.key").ok();
    eventually("the replica that is cut off", || try_dig(bed.dns(3), &format!("+norecurse {ZONE} SOA")).map(drop));
    expect(&bed, &[], 5, "lagging", &["healthy", "healthy", "healthy", "lagging"]);
    let shown = bed.run(&format!("check {ZONE}"));
    assert!(shown.code == 5 && shown.out.contains(" is published"), "{shown:?}");
    let heads = heads(&bed);
    assert!(heads[3].is_some() && heads[3] < heads[0] && heads[0].is_some(), "{heads:?}");

    steps.next("a server of no cluster");
    let nobody = format!("127.0.0.1:{}", bed.ports.base + 180);
    expect(&bed, &["--server", &nobody], 5, "lagging", &["healthy", "healthy", "healthy", "lagging", "silent"]);

    steps.next("a replica whose process is stopped");
    signal(bed.pid(2), "STOP");
    expect(&bed, &[], 5, "lagging", &["healthy", "healthy", "silent", "lagging"]);
    signal(bed.pid(2), "CONT");
    steps.next("end");
}

#[test]
fn a_liar_is_found() {
    let bed = Testbed::start(&["--misbehave", "2"]);
    expect(&bed, &[], 7, "forging", &["healthy", "healthy", "forging", "healthy"]);
    // It lies in four ways, by the number of the question: none goes unnoticed.
    for _ in 0..6 {
        let (code, verdict, each) = check(&bed, &[]);
        assert_eq!((code, verdict.as_str(), each[2].as_str()), (7, "forging", "forging"), "{each:?}");
    }
}

#[test]
fn what_cannot_be_checked_is_wrong_usage() {
    Run::of(torrens().args(["check", ZONE, "--trust", "nowhere.toml"])).wrong("nowhere.toml");
    let help = Run::of(torrens().args(["check", "--help"])).ok();
    assert!(help.contains("Examples:") && help.contains("withholding"), "{help}");
    let bed = Testbed::start(&[]);
    bed.run("check other.example.").wrong("other.example. is no zone of this cluster");
}
