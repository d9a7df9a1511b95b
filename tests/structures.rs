//! A network over a general failure structure: what the structure says may fail together does, and the service goes on.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use support::dns::delv;
use support::testbed::Testbed;
use support::{Steps, eventually};

const ZONE: &str = "names.example.";
const NINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/classes-9.toml");

/// Cachin (DSN 2001), §4.3: class a is four servers of nine, where a threshold stands two.
#[test]
fn all_four_servers_of_class_a_die_and_names_are_registered_and_resolve() {
    let mut steps = Steps::new();
    steps.next("nine replicas");
    let mut bed = Testbed::start(&["--structure", NINE]);
    bed.key("alice");
    bed.run(&format!("title register before.{ZONE} --key alice.key")).ok();
    steps.next("class a dies");
    (0..4).for_each(|replica| bed.kill_replica(replica));
    let after = format!("after.{ZONE}");
    bed.run(&format!("title register {after} --key alice.key")).ok();
    for name in [format!("before.{ZONE}"), after] {
        bed.run_with(&format!("title set {name} --key alice.key"), &["@ 300 A 192.0.2.9"]).ok();
        assert!(bed.run(&format!("title show {name}")).ok().contains("192.0.2.9"));
        for replica in 4..9 {
            eventually(&format!("replica {replica}"), || {
                let said = delv(&bed, replica, ZONE, &name, "A");
                if said.contains("192.0.2.9") && said.contains("fully validated") { Ok(()) } else { Err(said) }
            });
        }
    }
    bed.stop();
    steps.next("end");
}
