//! The policy of a zone as it is served: signatures renewed, hearts that beat, TTLs that no signature dies before.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::collections::BTreeMap;
use std::fs;

use support::dns::{delv, dig, serial, signatures};
use support::process::Run;
use support::testbed::{Testbed, torrens};
use support::{Steps, eventually};

const ZONE: &str = "names.example.";
const HEARTBEAT: &str = "_heartbeat.names.example.";

/// Everything expires in minutes, is renewed in seconds, and the heart beats every other second.
const POLICY: &str = r#"
[default]
validity = "5m"
renewal = "10s"
jitter = "5s"
backdating = "1m"
max-ttl = "4m"
heartbeat = "2s"
"#;

/// `height` and `time` of the heartbeat that a replica serves.
fn heartbeat(port: u16) -> (u64, u64) {
    let said = dig(port, &format!("+norecurse {HEARTBEAT} TXT"));
    let data = said.data("TXT");
    let fields: BTreeMap<&str, &str> =
        data[0].split_whitespace().filter_map(|field| field.trim_matches('"').split_once('=')).collect();
    assert_eq!((fields["v"], fields["interval"]), ("torrens1", "2"), "{data:?}");
    (fields["height"].parse().unwrap(), fields["time"].parse().unwrap())
}

#[test]
fn a_policy_of_seconds_is_kept() {
    let mut steps = Steps::new();
    steps.next("a testbed with a policy");
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, POLICY).unwrap();
    let mut bed = Testbed::start(&["--policy", policy.to_str().unwrap()]);

    steps.next("no TTL is larger than the policy's, and no signature holds longer");
    let said = dig(bed.dns(0), &format!("+norecurse +dnssec www.{ZONE} A"));
    assert!(said.answers.iter().all(|line| line.split(' ').nth(1) == Some("240")), "{said:?}");

    steps.next("hearts beat at all replicas, and the serial counts them");
    let serial_before = serial(bed.dns(0), ZONE);
    let first = heartbeat(bed.dns(0));
    let mut beats = vec![first];
    eventually("three heartbeats", || {
        let now = heartbeat(bed.dns(0));
        if beats.last() != Some(&now) {
            beats.push(now);
        }
        if beats.len() > 3 { Ok(()) } else { Err(format!("{beats:?}")) }
    });
    assert!(beats.is_sorted_by(|before, after| before.0 < after.0 && before.1 < after.1), "{beats:?}");
    // Each of them stood in a version of its own.
    assert!(serial(bed.dns(0), ZONE) >= serial_before.wrapping_add(3));
    for replica in 1..4 {
        eventually("a heartbeat", || {
            let now = heartbeat(bed.dns(replica));
            if now.0 > first.0 { Ok(()) } else { Err(format!("{first:?} {now:?}")) }
        });
    }
    let said = delv(&bed, 1, ZONE, HEARTBEAT, "TXT");
    assert!(said.contains("; fully validated"), "{said}");

    steps.next("what nobody touches is signed anew");
    let old = signatures(bed.dns(2), &format!("adelaide.{ZONE}"), "LOC");
    eventually("a renewal", || {
        let new = signatures(bed.dns(2), &format!("adelaide.{ZONE}"), "LOC");
        if new != old { Ok(()) } else { Err(format!("{new:?}")) }
    });

    steps.next("and so after a restart");
    bed.stop();
    bed.start_again();
    let resumed = heartbeat(bed.dns(3));
    assert!(resumed > first, "{resumed:?} {first:?}");
    eventually("a heartbeat after the restart", || {
        let now = heartbeat(bed.dns(3));
        if now.1 > resumed.1 { Ok(()) } else { Err(format!("{resumed:?} {now:?}")) }
    });
    steps.next("end");
}

#[test]
fn a_policy_that_would_serve_expired_signatures_is_refused_before_anything_is_dealt() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, zone, bed) =
        (folder.path().join("policy.toml"), folder.path().join("zone"), folder.path().join("bed"));
    let refused = |policy_text: &str, zone_text: &str, why: &str| {
        fs::write(&policy, policy_text).unwrap();
        fs::write(&zone, zone_text).unwrap();
        let mut command = torrens();
        command.args(["testbed", "--fixture-primes", "--dir"]).arg(&bed).arg("--policy").arg(&policy);
        Run::of(command.arg("--zone").arg(&zone)).wrong(why);
        assert!(!bed.join("cluster.toml").exists() && !bed.join("replica-0").exists());
    };
    let zone_text = "$ORIGIN names.example.\n@ 1h SOA ns hostmaster 1 3h 1h 1w 5m\n@ 1h NS ns\nns 1h A 192.0.2.1\n";
    refused("[default]\nmax-ttl = \"6d\"", zone_text, "could expire in a cache before its TTL");
    refused("[zone.other]\nheartbeat = 60", zone_text, "none of the zones");
    let taken = zone_text.to_owned() + "_heartbeat 1h TXT mine\n";
    refused("", &taken, "where its heartbeat is to stand");
}
