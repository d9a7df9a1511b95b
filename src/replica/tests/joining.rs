//! Signed heads, and replicas that join at one.

use std::collections::BTreeSet;

use super::fixture::Owner;
use super::world::{Corrupt, World};
use crate::codec;
use crate::committee::ReplicaId;
use crate::directory::operation::Action;
use crate::limits::MAX_ANSWERED_BLOCKS;
use crate::replica::FarBehind;
use crate::replica::heads::SignedHead;
use crate::replica::message::{PeerMessage, StatePart};
use crate::rows::Table;

/// Alice registers and sets `count` records, half a second apart, through two of `doors`; a minute later one more, so
/// that there is another checkpoint.
fn work(world: &mut World, owner: &mut Owner, count: u64, doors: [u8; 2]) {
    for at in 0..=count {
        let act =
            if owner.is_new() { owner.act(Action::Register) } else { owner.set(&format!("r{at} 300 A 192.0.2.7")) };
        let after = if at == count { 500 * at + 61_000 } else { 500 * at };
        for door in doors {
            world.submit(1 + after, door, &act);
        }
    }
}

/// A world in which replica 3 misses more than it takes to copy the state.
fn with_one_left_behind(seed: u64) -> (World, Owner) {
    let mut world = World::new(seed, &[0, 1, 2, 3]);
    world.far_behind = FarBehind { rounds: 1 << 40, operations: 3, rows_per_operation: u64::MAX };
    world.run_until_quiet();
    world.crash(0, 3, None);
    let mut alice = Owner::new("alice");
    work(&mut world, &mut alice, 8, [0, 1]);
    world.run_until_quiet();
    (world, alice)
}

fn same_rows(world: &World, id: u8) {
    assert!(world.state_rows(0) == world.state_rows(id), "seed {}: the rows of 0 and {id} differ", world.seed);
}

#[test]
fn all_replicas_hold_the_same_signed_head_of_the_last_change() {
    let mut world = World::new(1, &[0, 1, 2, 3]);
    world.run_until_quiet();
    let first = *world.replica(0).head().unwrap();
    let mut alice = Owner::new("alice");
    work(&mut world, &mut alice, 3, [0, 1]);
    world.run_until_quiet();
    world.assert_agreement();
    let last = *world.replica(2).head().unwrap();
    assert!(last.head.height > first.head.height && last.head.position == 4);
    assert!(first.head.checkpoint && world.replica(2).checkpoint().unwrap().head.position == 4);
    for id in 1..4 {
        same_rows(&world, id);
    }
    let root = world.replica_mut(0).root();
    assert_eq!(world.replica_mut(3).root(), root);
    let key = world.state_rows(0).into_iter().find(|(table, ..)| *table == Table::Title).unwrap();
    let proof = world.replica(0).prove(key.0, &key.1);
    assert!(proof.shows(&root, key.0, &key.1, Some(&key.2)) && !proof.shows(&root, key.0, &key.1, None));
    assert!(world.replica(0).prove(Table::Title, b"nobody").shows(&root, Table::Title, b"nobody", None));
}

#[test]
fn a_head_that_was_due_when_all_were_cut_is_signed_after_the_restart() {
    for seed in 0..3 {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        world.run_until_quiet();
        let mut alice = Owner::new("alice");
        for door in [0, 1] {
            world.submit(1, door, &alice.act(Action::Register));
        }
        let after = 1 + world.random(700);
        for id in 0..4 {
            world.crash(after, id, Some(50));
        }
        world.run_until_quiet();
        world.run_until(|world| (0..4).all(|id| world.is_running(id)));
        world.run_until_quiet();
        world.assert_agreement();
    }
}

#[test]
pub fn a_replica_far_behind_copies_the_state_and_its_rows_are_a_veterans_ever_after() {
    let (mut world, mut alice) = with_one_left_behind(2);
    world.start(3);
    world.run_until(|world| world.joined > 0);
    world.run_until_quiet();
    world.assert_agreement();
    same_rows(&world, 3);
    work(&mut world, &mut alice, 5, [0, 3]);
    world.run_until_quiet();
    world.assert_agreement();
    same_rows(&world, 3);
    assert_eq!((world.joined, world.faults.as_slice()), (1, [].as_slice()));
}

#[test]
pub fn a_replica_that_lost_its_disk_joins_under_its_old_name() {
    let (mut world, mut alice) = with_one_left_behind(6);
    world.lose_disk(3);
    world.start(3);
    world.run_until(|world| world.joined > 0);
    world.run_until_quiet();
    work(&mut world, &mut alice, 5, [2, 3]);
    world.run_until_quiet();
    world.assert_agreement();
    same_rows(&world, 3);
    assert_eq!((world.joined, world.faults.as_slice()), (1, [].as_slice()));
    assert!(world.replica(3).round() > 0, "it never spoke again");
}

/// Found on real disks: the others were quiet, their last blocks had come during the copy and were not looked at, and what
/// they answered later was cut where a message ends. Nothing in it said that there was more, so the replica stayed
/// there until somebody spoke.
#[test]
fn a_replica_that_joins_in_a_quiet_cluster_catches_up_with_more_than_one_answer_holds() {
    let (mut world, mut alice) = with_one_left_behind(10);
    let joins_at = world.replica(0).checkpoint().unwrap().head.round;
    for at in 0..30 {
        let act = alice.set(&format!("q{at} 300 A 192.0.2.7"));
        world.submit(1 + 500 * at, 0, &act);
    }
    world.run_until_quiet();
    assert_eq!(world.replica(0).checkpoint().unwrap().head.round, joins_at);
    let rounds = world.replica(0).round() - joins_at;
    assert!(3 * rounds > MAX_ANSWERED_BLOCKS as u64, "{rounds} rounds, which one answer holds");
    world.lose_disk(3);
    world.start(3);
    world.run_until(|world| world.joined > 0);
    world.run_until_quiet();
    world.assert_agreement();
    same_rows(&world, 3);
}

/// Cut after the first step, then after the second, and so on in turn; what was not synced of the copy stays or not.
#[test]
fn a_copy_that_is_cut_after_any_step_goes_on_after_the_restart() {
    let (mut world, mut alice) = with_one_left_behind(5);
    world.copies_to_cut = 10;
    world.start(3);
    world.run_until(|world| world.joined > 0);
    assert!(world.copies_to_cut <= 7, "{} cuts", 10 - world.copies_to_cut);
    world.run_until_quiet();
    work(&mut world, &mut alice, 1, [0, 3]);
    world.run_until_quiet();
    world.assert_agreement();
    same_rows(&world, 3);
}

/// What a server may lie about.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lie {
    OldHeads,
    UnsignedHeads,
    /// The list of the state's pieces.
    Manifest,
    Rows,
}

/// Replica 1 lies about heads; about the state, whoever is asked first.
fn lying_server(lie: Lie) -> Corrupt {
    let mut first = None;
    let mut liar = None;
    Box::new(move |from, message| {
        match (lie, message) {
            (Lie::OldHeads | Lie::UnsignedHeads, PeerMessage::Head(bytes)) if from == ReplicaId(1) => {
                let mut signed: SignedHead = codec::decode(bytes, 1000).unwrap();
                if lie == Lie::UnsignedHeads {
                    signed.head.height += 1_000_000;
                    signed.head.position += 1_000_000;
                    signed.head.checkpoint = true;
                }
                *bytes = if lie == Lie::OldHeads { first.get_or_insert(signed) } else { &signed }.to_bytes();
            }
            (Lie::Manifest, PeerMessage::StateAnswer { part: StatePart::Manifest, bytes, .. })
            | (Lie::Rows, PeerMessage::StateAnswer { part: StatePart::Range { .. }, bytes, .. })
                if *liar.get_or_insert(from) == from =>
            {
                *bytes.last_mut().unwrap() ^= 1;
            }
            _ => {}
        }
        true
    })
}

/// The copy comes from the others. What else a server may send is tried in `replica::sync`.
#[test]
pub fn one_lying_server_is_given_up_and_the_copy_is_not() {
    for lie in [Lie::OldHeads, Lie::UnsignedHeads, Lie::Manifest, Lie::Rows] {
        let (mut world, mut alice) = with_one_left_behind(5);
        world.corrupt = Some(lying_server(lie));
        world.start(3);
        world.run_until(|world| world.joined > 0);
        world.run_until_quiet();
        world.corrupt = None;
        work(&mut world, &mut alice, 1, [0, 3]);
        world.run_until_quiet();
        world.assert_agreement();
        same_rows(&world, 3);
        let blamed: BTreeSet<ReplicaId> = world.faults.iter().map(|(culprit, _)| *culprit).collect();
        assert_eq!(blamed.len(), usize::from(lie != Lie::OldHeads), "{lie:?}: {:?}", world.faults);
    }
}

#[test]
fn a_bad_share_of_a_head_names_its_author_and_the_others_sign() {
    let mut world = World::new(3, &[0, 1, 2, 3]);
    world.corrupt = Some(Box::new(|from, message| {
        if let (ReplicaId(2), PeerMessage::HeadShare(bytes)) = (from, message) {
            *bytes.last_mut().unwrap() ^= 1;
        }
        true
    }));
    world.run_until_quiet();
    let mut alice = Owner::new("alice");
    work(&mut world, &mut alice, 2, [0, 1]);
    world.run_until_quiet();
    world.assert_agreement();
    assert!(world.faults.iter().all(|(culprit, _)| *culprit == ReplicaId(2)), "{:?}", world.faults);
}
