//! A zone that comes from its registry's primary: what it takes for a version to take effect, and what does not.

use std::collections::BTreeSet;

use super::fixture::{Fixture, Owner, START, registry_fixture};
use super::world::World;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::directory::decide::{Context, admit, decide};
use crate::directory::master::{ZoneFile, parse_zone};
use crate::directory::name::Name;
use crate::directory::operation::Action;
use crate::directory::primary::{Changes, ContentError};
use crate::directory::refusal::Refusal;
use crate::directory::rrset::{Rrset, Rtype};
use crate::limits::{CHANGE_PART, MAX_CHANGES};
use crate::replica::primary::{Candidate, Part, Vote, digest_of};
use crate::replica::report::DoorRefusal;
use crate::replica::{NotVotedFor, door};
use crate::rows::Table;

const SERIAL: u32 = 2026082201;
const ZONE: &str = include_str!("../../../zones/names.example.zone");
const LIAR: u8 = 3;

fn apex() -> Name {
    registry_fixture().genesis.zones[0].apex.clone()
}

fn name(label: &str) -> Name {
    Name::parse(label, Some(&apex())).unwrap()
}

/// The registry's zone with this serial and these lines more.
fn version(serial: u32, lines: &str) -> ZoneFile {
    let text = format!("{}\n{lines}", ZONE.replace(&SERIAL.to_string(), &serial.to_string()));
    parse_zone(&text, "zone", None, &mut |_| Err("no includes".into())).unwrap()
}

fn quiet_world(seed: u64) -> World {
    let mut world = World::of_registry(seed, &[0, 1, 2, 3]);
    world.run_until_quiet();
    world
}

fn transfers(world: &mut World, id: u8, file: &ZoneFile) {
    world.input(ReplicaId(id), |replica| {
        replica.transferred(file.clone()).unwrap();
        Vec::new()
    });
}

/// A corrupt replica says this in its next block.
fn says(world: &mut World, id: u8, votes: Vec<Vote>, parts: Vec<Part>) {
    world.input(ReplicaId(id), |replica| {
        replica.transferred.invented = (votes, parts);
        Vec::new()
    });
}

fn candidate(world: &World, file: &ZoneFile) -> (Candidate, Vec<Vec<u8>>) {
    let changes = Changes::between(world.replica(0).machine().directory(), file);
    Candidate::cut(file.serial(), &changes).unwrap()
}

fn vote(base: u64, candidate: &Candidate) -> Vote {
    Vote { zone: apex(), base, candidate: candidate.clone() }
}

/// How many versions were taken from the primary, and the primary's serial of the last one.
fn taken(world: &World, id: u8) -> (u64, u32) {
    let ballot = world.replica(id).machine().ballot(&apex()).unwrap();
    (ballot.taken(), ballot.serial())
}

/// Every RRset as it is published by `id`, with its signature.
fn published(world: &World, id: u8) -> BTreeSet<(Name, Rtype, Vec<u8>)> {
    let zone = world.replica(id).view().zones[&apex()].clone();
    let rrsets = zone.nodes().flat_map(|node| {
        node.rrsets().map(move |rrset| {
            let bytes: Vec<u8> = rrset.records(true).collect::<Vec<_>>().concat();
            (node.owner().to_name(), rrset.rtype, bytes)
        })
    });
    rrsets.collect()
}

fn all_agree(world: &mut World) {
    world.run_until_quiet();
    world.assert_agreement();
    for id in 1..4 {
        assert!(world.state_rows(0) == world.state_rows(id), "seed {}: rows of {id} differ", world.seed);
    }
}

#[test]
fn a_version_that_a_kernel_transferred_takes_effect_and_only_what_changed_is_signed() {
    for seed in 0..3 {
        let mut world = quiet_world(seed);
        let before = published(&world, 0);
        let key = (name("www"), Rtype::KEY);
        assert!(!before.iter().any(|(name, rtype, _)| (name, *rtype) == (&key.0, key.1)), "no keys of owners");
        let mut file = version(SERIAL + 5, "fresh A 192.0.2.9");
        file.records.insert((name("www"), Rtype::A), Rrset::new(Rtype::A, 300, vec![vec![192, 0, 2, 7]]));
        file.records.remove(&(name("nomail"), Rtype::MX));
        file.records.remove(&(name("opaque"), Rtype(65280)));
        for id in [0, 1] {
            transfers(&mut world, id, &file);
        }
        all_agree(&mut world);
        assert_eq!(world.faults, [], "seed {seed}");
        assert_eq!(taken(&world, 2), (1, SERIAL + 5));
        let after = published(&world, 2);
        let changed: BTreeSet<(Name, Rtype)> =
            after.symmetric_difference(&before).map(|(name, rtype, _)| (name.clone(), *rtype)).collect();
        let chain = ["exact.wild", "e164", "nomail", "fresh", "old", "opaque"];
        let is_expected = |(owner, rtype): &(Name, Rtype)| match *rtype {
            Rtype::SOA | Rtype::ZONEMD => *owner == apex(),
            // The names before those that came and went, and those whose types changed.
            Rtype::NSEC => true,
            rtype => [("fresh", Rtype::A), ("www", Rtype::A), ("nomail", Rtype::MX), ("opaque", Rtype(65280))]
                .iter()
                .any(|(label, it)| name(label) == *owner && *it == rtype),
        };
        assert!(changed.iter().all(is_expected), "{changed:?}");
        let links = changed.iter().filter(|(_, rtype)| *rtype == Rtype::NSEC).count();
        assert!(links <= chain.len() && changed.len() - links == 6, "{changed:?}");
        assert!(world.rows(0, Table::Meta, b"votes/").is_empty() && world.rows(0, Table::Meta, b"changes/").is_empty());
        assert_eq!(world.rows(0, Table::Title, name("opaque").as_wire()), [], "a title without records is gone");
        let again = world.replica_mut(0).transferred(file);
        assert_eq!(again, Ok(()), "nothing to do");
    }
}

#[test]
fn what_one_replica_invents_gets_nowhere() {
    let mut world = quiet_world(1);
    let before = published(&world, 0);
    let invented = version(SERIAL + 100, "www2 A 198.51.100.66");
    transfers(&mut world, LIAR, &invented);
    world.run_until_quiet();
    let (_, parts) = candidate(&world, &invented);
    says(&mut world, LIAR, Vec::new(), vec![Part { zone: apex(), bytes: parts[0].clone() }]);
    all_agree(&mut world);
    assert!(published(&world, 0) == before && taken(&world, 0) == (0, SERIAL));
    assert!(world.rows(0, Table::Meta, b"changes/").is_empty(), "no bytes of it are kept");
    // What the others transfer gets through all the same.
    let honest = version(SERIAL + 1, "fresh A 192.0.2.9");
    for id in [0, 1, 2] {
        transfers(&mut world, id, &honest);
    }
    all_agree(&mut world);
    assert_eq!(taken(&world, 3), (1, SERIAL + 1));
    assert!(world.replica(0).machine().directory().title(&name("www2")).is_none());
}

#[test]
fn a_digest_that_nobody_holds_gets_nowhere() {
    let mut world = quiet_world(2);
    for serial in 1..50 {
        let nobodys = Candidate { serial: SERIAL + serial, parts: vec![Digest([serial as u8; 32]); 128] };
        says(&mut world, LIAR, vec![vote(0, &nobodys)], Vec::new());
    }
    let honest = version(SERIAL + 1, "fresh A 192.0.2.9");
    transfers(&mut world, 0, &honest);
    world.run_until_quiet();
    assert_eq!(taken(&world, 1), (0, SERIAL), "two votes, for two versions");
    let votes = world.rows(1, Table::Meta, b"votes/");
    assert!(votes.len() == 2 && votes.iter().all(|(_, value)| value.len() < 4 * 4200), "the latest count");
    transfers(&mut world, 1, &honest);
    all_agree(&mut world);
    assert_eq!(taken(&world, 1), (1, SERIAL + 1));
}

/// Nearly four parts.
fn large(serial: u32) -> ZoneFile {
    let mut file = version(serial, "");
    for at in 0..10u8 {
        let title = name(&format!("large{at}"));
        let rdatas = (0..40u8).map(|i| [&[250][..], &[at.wrapping_mul(50).wrapping_add(i); 250]].concat().repeat(4));
        file.records.insert((title, Rtype::TXT), Rrset::new(Rtype::TXT, 300, rdatas.collect()));
    }
    file
}

#[test]
fn parts_that_one_voter_withholds_come_from_another() {
    for seed in 0..3 {
        let mut world = quiet_world(seed);
        let file = large(SERIAL + 1);
        let (made, parts) = candidate(&world, &file);
        assert!(parts.len() == 4 && parts.iter().all(|part| part.len() <= CHANGE_PART));
        says(&mut world, LIAR, vec![vote(0, &made)], Vec::new());
        transfers(&mut world, 1, &file);
        all_agree(&mut world);
        assert_eq!(taken(&world, 0), (1, SERIAL + 1));
        assert_eq!(world.faults, []);
    }
}

#[test]
fn a_version_is_voted_for_across_restarts_of_everybody() {
    for seed in 0..4 {
        let mut world = quiet_world(seed);
        let file = large(SERIAL + 1);
        transfers(&mut world, 0, &file);
        let steps = world.random(400);
        world.run_for(steps);
        for id in 0..4 {
            world.crash(0, id, Some(50));
        }
        world.run_for(200);
        world.run_until_quiet();
        // The first transfers again: the votes are there, the bytes were in memory only.
        for id in [0, 2] {
            transfers(&mut world, id, &file);
        }
        let steps = world.random(300);
        world.run_for(steps);
        world.crash(0, 1, Some(50));
        world.run_for(200);
        all_agree(&mut world);
        assert_eq!(taken(&world, 1), (1, SERIAL + 1), "seed {seed}");
    }
}

#[test]
fn a_newer_version_replaces_one_that_is_voted_for_and_not_whole() {
    let mut world = quiet_world(3);
    let lost = version(SERIAL + 1, "lost A 192.0.2.9");
    let (made, _) = candidate(&world, &lost);
    // Those who voted have crashed since and transferred a later one.
    for id in [1, LIAR] {
        says(&mut world, id, vec![vote(0, &made)], Vec::new());
    }
    world.run_until_quiet();
    assert!(world.replica(0).machine().ballot(&apex()).unwrap().chosen().is_some() && taken(&world, 0).0 == 0);
    let later = version(SERIAL + 2, "later A 192.0.2.9");
    for id in [1, 2] {
        transfers(&mut world, id, &later);
    }
    all_agree(&mut world);
    assert_eq!(taken(&world, 0), (1, SERIAL + 2));
}

#[test]
fn changes_that_the_rules_refuse_change_nothing_though_a_kernel_voted_for_them() {
    let mut world = quiet_world(4);
    let outside = Candidate { serial: SERIAL + 1, parts: vec![digest_of(b"no changes at all")] };
    for id in [2, LIAR] {
        says(&mut world, id, vec![vote(0, &outside)], Vec::new());
    }
    world.run_until_quiet();
    says(&mut world, 2, Vec::new(), vec![Part { zone: apex(), bytes: b"no changes at all".to_vec() }]);
    all_agree(&mut world);
    assert_eq!(taken(&world, 0), (1, SERIAL));
    let culprits: BTreeSet<ReplicaId> = world.faults.drain(..).map(|(culprit, _)| culprit).collect();
    assert_eq!(culprits, [ReplicaId(2), ReplicaId(LIAR)].into());
    let honest = version(SERIAL + 1, "fresh A 192.0.2.9");
    for id in [0, 1] {
        transfers(&mut world, id, &honest);
    }
    all_agree(&mut world);
    assert_eq!(taken(&world, 0), (2, SERIAL + 1));
}

#[test]
fn versions_follow_on_each_other_while_replicas_see_them_at_different_times() {
    for seed in 0..3 {
        let mut world = quiet_world(seed);
        let versions: Vec<ZoneFile> =
            (1..=6).map(|at| version(SERIAL + at, &format!("v{at} A 192.0.2.{at}"))).collect();
        for at in 0..8 {
            for id in 0..4usize {
                // Each is behind the one before by a version.
                if let Some(file) = (at as usize).checked_sub(id % 3).and_then(|at| versions.get(at)) {
                    let file = file.clone();
                    world.input(ReplicaId(id as u8), |replica| {
                        let transferred = replica.transferred(file);
                        assert!(matches!(transferred, Ok(()) | Err(NotVotedFor::NotNewer { .. })), "{transferred:?}");
                        Vec::new()
                    });
                }
            }
            let time = world.random(200);
            world.run_for(time);
        }
        all_agree(&mut world);
        assert_eq!(taken(&world, 0).1, SERIAL + 6, "seed {seed}");
    }
}

#[test]
fn a_zone_that_the_signer_cannot_take_is_not_voted_for() {
    let mut world = quiet_world(5);
    let records = |text: &str| version(SERIAL + 1, text).records;
    let mut refused = |records, reason: &dyn Fn(&ContentError) -> bool| {
        let file = ZoneFile { apex: apex(), records };
        match world.replica_mut(0).transferred(file) {
            Err(NotVotedFor::Content { error, .. }) => assert!(reason(&error), "{error}"),
            other => panic!("{other:?}"),
        }
    };
    let a = || Rrset::new(Rtype::A, 300, vec![vec![192, 0, 2, 1]]);
    let mut outside = records("");
    outside.insert((Name::parse("elsewhere.", None).unwrap(), Rtype::A), a());
    refused(outside, &|error| matches!(error, ContentError::Place { .. }));
    let mut cname = records("");
    cname.insert((name("blog"), Rtype::A), a());
    refused(cname, &|error| matches!(error, ContentError::Records(_)));
    let mut heartbeat = records("");
    heartbeat.insert((name("x._heartbeat"), Rtype::A), a());
    refused(heartbeat, &|error| matches!(error, ContentError::Reserved(_)));
    let mut ours = records("");
    ours.insert((name("www"), Rtype::RRSIG), Rrset::new(Rtype::RRSIG, 300, vec![vec![0; 40]]));
    refused(ours, &|error| matches!(error, ContentError::Place { .. }));
    let mut no_servers = records("");
    no_servers.remove(&(apex(), Rtype::NS));
    refused(no_servers, &|error| *error == ContentError::Missing(Rtype::NS));
    let old = world.replica_mut(0).transferred(version(SERIAL - 1, ""));
    assert!(matches!(old, Err(NotVotedFor::NotNewer { .. })), "{old:?}");
    let other = world.replica_mut(0).transferred(version(SERIAL, "other A 192.0.2.1"));
    assert!(matches!(other, Err(NotVotedFor::NotNewer { .. })), "{other:?}");
    let max = SERIAL.wrapping_add((1 << 31) - 1);
    assert_eq!(world.replica_mut(0).transferred(version(max, "")), Ok(()));
    let wrapped = world.replica_mut(0).transferred(version(SERIAL.wrapping_add(1 << 31), ""));
    assert!(matches!(wrapped, Err(NotVotedFor::NotNewer { .. })), "{wrapped:?}");
}

/// With as many bytes of changes as a version may have, if the zone is as it was in the beginning.
fn heaviest(world: &World, serial: u32) -> ZoneFile {
    let mut file = version(serial, "");
    let more = |file: &mut ZoneFile, title: usize, size: usize| {
        let rdatas = (0..4).map(|at| [&[at][..], &vec![0; size]].concat()).collect();
        file.records.insert((name(&format!("heavy{title}")), Rtype(65280)), Rrset::new(Rtype(65280), 300, rdatas));
    };
    let size = |file: &ZoneFile| Changes::between(world.replica(0).machine().directory(), file).to_bytes().len();
    let few = size(&file);
    more(&mut file, 100, 12_000);
    let last = 99 + MAX_CHANGES / (size(&file) - few);
    (101..last).for_each(|title| more(&mut file, title, 12_000));
    let rest = MAX_CHANGES - size(&file);
    [last, last + 1].into_iter().for_each(|title| more(&mut file, title, rest / 8 - 50));
    file
}

#[test]
fn an_operator_is_told_what_is_not_voted_for_any_more_since_another_version_took_effect() {
    let mut world = quiet_world(7);
    let heaviest = heaviest(&world, SERIAL + 2);
    // Less is left in it: the way from there is longer than a version may be.
    let mut other = version(SERIAL + 1, "other A 192.0.2.1");
    other.records.retain(|(owner, _), _| *owner == apex() || *owner == name("other"));
    transfers(&mut world, 0, &heaviest);
    // Another takes part no more, until one takes its place that has come to the state of the others.
    transfers(&mut world, 3, &heaviest);
    let before = world.remove(3);
    for id in [1, 2] {
        transfers(&mut world, id, &other);
    }
    world.run_until_quiet();
    assert_eq!(taken(&world, 0), (1, SERIAL + 1));
    let too_many = NotVotedFor::TooManyChanges { zone: apex() };
    assert_eq!(std::mem::take(&mut world.not_voted_for), [(ReplicaId(0), too_many.clone())]);
    world.start(3);
    world.run_until_quiet();
    world.input(ReplicaId(3), |replica| replica.inherit(before));
    all_agree(&mut world);
    assert_eq!(taken(&world, 3), (1, SERIAL + 1));
    assert_eq!(std::mem::take(&mut world.not_voted_for), [(ReplicaId(3), too_many)]);
    // The same serial, of other content.
    transfers(&mut world, 0, &version(SERIAL + 3, "one A 192.0.2.1"));
    for id in [1, 2] {
        transfers(&mut world, id, &version(SERIAL + 3, "two A 192.0.2.1"));
    }
    all_agree(&mut world);
    let differs = NotVotedFor::OtherContent { zone: apex(), serial: SERIAL + 3 };
    assert_eq!(world.not_voted_for, [(ReplicaId(0), differs)]);
}

#[test]
fn names_of_the_registry_cannot_be_registered_or_changed() {
    let world = quiet_world(6);
    let mut owner = Owner::new("alice");
    let Fixture { genesis, .. } = registry_fixture();
    let operation = owner.act_in(genesis.network(), Action::Register);
    let directory = world.replica(0).machine().directory();
    let refused = door::check(&operation, genesis.network(), directory).unwrap_err();
    assert_eq!(refused, DoorRefusal::NamesOfRegistry);
    let context = Context { network: genesis.network(), now: Timestamp(START), position: 1 };
    let decided = decide(directory, &admit(&operation).unwrap(), context);
    assert!(matches!(decided, Err(Refusal::NamesOfRegistry { .. })), "{decided:?}");
}
