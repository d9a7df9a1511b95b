//! Signatures are renewed and hearts beat when they are due, and nobody does anything in between.

use super::world::World;
use crate::committee::ReplicaId;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::SignedZone;
use crate::signing::heartbeat::{self, Heartbeat};
use crate::signing::policy::Policy;
use crate::signing::rrsig::{Validity, validity_of};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn heartbeat(zone: &SignedZone) -> Heartbeat {
    let rrset = zone.rrset(&heartbeat::name(zone.apex()).unwrap(), Rtype::TXT).expect("a heartbeat");
    assert!(rrset.rrsig().is_some() && rrset.ttl <= 60);
    Heartbeat::read(rrset.rdatas().next().unwrap()).expect("as it is written")
}

fn zone_of(world: &World, replica: u8) -> SignedZone {
    let view = world.replica(replica).view();
    let (_, zone) = view.zones.into_iter().next().expect("a zone");
    SignedZone::clone(&zone)
}

#[test]
fn a_heart_beats_when_it_is_due_and_all_is_quiet_in_between() {
    let mut world = World::new(3, &[0, 1, 2, 3]);
    world.run_until_quiet();
    let first = zone_of(&world, 0);
    assert_eq!(heartbeat(&first).height, 0, "the genesis has one");
    for beat in 1..4 {
        let before = zone_of(&world, 0);
        world.skip(10 * MINUTE - 20_000 - (world.now().0 - heartbeat(&before).time.0));
        let activity = world.activity;
        world.run_for(10_000);
        assert_eq!(world.activity, activity, "nothing is due, and still somebody does something");
        world.skip(10_000);
        world.run_until(|world| zone_of(world, 0).serial() != before.serial());
        world.run_until_quiet();
        world.assert_agreement();
        let after = zone_of(&world, 0);
        assert_eq!(after.serial(), first.serial().map(|serial| serial + beat), "a heartbeat is one version");
        let (old, new) = (heartbeat(&before), heartbeat(&after));
        assert!(new.height > old.height, "{old:?} {new:?}");
        let passed = new.time.0 - old.time.0;
        assert!((10 * MINUTE..10 * MINUTE + 10_000).contains(&passed), "{old:?} {new:?}");
        // Nothing but the heartbeat, the SOA record and the digest changed.
        let changed: Vec<(Name, Rtype)> = differences(&before, &after);
        assert_eq!(
            changed,
            [
                (after.apex().clone(), Rtype::SOA),
                (after.apex().clone(), Rtype::ZONEMD),
                (heartbeat::name(after.apex()).unwrap(), Rtype::TXT)
            ]
        );
    }
}

#[test]
fn a_replica_whose_clock_is_fast_wakes_nobody_before_the_time() {
    let mut world = World::new(5, &[0, 1, 2, 3]);
    world.fast = Some((ReplicaId(2), 20_000));
    world.run_until_quiet();
    for _ in 0..2 {
        let last = heartbeat(&zone_of(&world, 0));
        world.skip(10 * MINUTE - 15_000 - (world.now().0 - last.time.0));
        let activity = world.activity;
        world.run_for(12_000);
        assert_eq!(world.activity, activity, "it was woken by its own clock");
        world.run_until(|world| heartbeat(&zone_of(world, 0)).height > last.height);
        world.run_until_quiet();
        world.assert_agreement();
    }
}

/// RRsets of the second that the first has not, signatures included.
fn differences(before: &SignedZone, after: &SignedZone) -> Vec<(Name, Rtype)> {
    let mut changed = Vec::new();
    for node in after.nodes() {
        let name = node.owner().to_name();
        for rrset in node.rrsets() {
            let same = before.rrset(&name, rrset.rtype).is_some_and(|old| old.to_signed() == rrset.to_signed());
            if !same {
                changed.push((name.clone(), rrset.rtype));
            }
        }
    }
    changed
}

/// The validity of each signature in a zone, with the TTL of what it signs.
fn signatures(zone: &SignedZone) -> Vec<(Validity, u32)> {
    let rrsets = zone.nodes().flat_map(|node| node.rrsets().collect::<Vec<_>>());
    rrsets.filter_map(|rrset| Some((validity_of(rrset.rrsig()?)?, rrset.ttl))).collect()
}

#[test]
fn every_signature_outlives_its_ttl_and_is_renewed_within_a_day_though_nobody_asks() {
    let mut world = World::new(4, &[0, 1, 2, 3]);
    world.run_until_quiet();
    let policy = Policy::default();
    let renewed_at_first = signatures(&zone_of(&world, 1)).len();
    assert!(renewed_at_first > 60);
    for _ in 0..16 {
        // What is due is renewed when the shells wake; until then, it is what was published before.
        world.skip(3 * HOUR);
        let now = world.now().seconds();
        for (validity, ttl) in signatures(&zone_of(&world, 1)) {
            assert!(now + u64::from(ttl) <= validity.expiration.into(), "{ttl} {validity:?} at {now}");
        }
        world.run_for(2 * MINUTE);
        world.run_until_quiet();
        world.assert_agreement();
        let now = world.now().seconds();
        for (validity, _) in signatures(&zone_of(&world, 1)) {
            let age = now - u64::from(validity.inception) - u64::from(policy.backdating);
            assert!(age <= policy.renewal.into(), "a signature {age} s old");
        }
    }
    assert_eq!(world.faults, []);
}
