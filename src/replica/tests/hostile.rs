//! What one corrupt peer can make a replica do, message by message.

use super::fixture::{Owner, fixture};
use super::world::World;
use crate::committee::ReplicaId;
use crate::crypto::digest::hash;
use crate::directory::operation::Action;
use crate::limits::{
    COST_OF_DEEP_FETCH, MAX_FETCH, MAX_FETCH_COST, MAX_HANDED_ON_CHECKS, MAX_STARTUP_ANSWERS, MAX_VAIN_CHECKS,
};
use crate::order::evidence::{ACCUSATIONS, Accusation, Misdeed, proofs_of};
use crate::order::{BlockRef, VerifiedBlock};
use crate::replica::message::PeerMessage;
use crate::replica::{Effect, Replica};
use crate::rows::Table;

const LIAR: ReplicaId = ReplicaId(3);

/// A world of four that has made its first zone version.
fn quiet_world() -> World {
    let mut world = World::new(0, &[0, 1, 2, 3]);
    world.run_until_quiet();
    world
}

/// Blocks that look new, with signatures that are not the author's.
fn junk(world: &World, count: u8) -> Vec<Vec<u8>> {
    let sound = world.answer(0, &[], 0).into_iter().max_by_key(Vec::len).unwrap();
    let changed = |i: u8| {
        let mut bytes = sound.clone();
        // The last byte before the signature: of the payload, or of the gap flag and its length.
        let at = bytes.len() - 64 - 1;
        bytes[at] = bytes[at].wrapping_add(i);
        bytes
    };
    (1..=count).map(changed).collect()
}

fn faults(effects: &[Effect]) -> u32 {
    effects.iter().filter(|effect| matches!(effect, Effect::Fault { .. })).count() as u32
}

#[test]
pub fn a_peer_that_floods_junk_is_not_heard_until_the_next_tick_and_then_asked_for_what_it_has() {
    let mut world = quiet_world();
    let junk = junk(&world, 200);
    let honest = world.answer(1, &[], 0).pop().unwrap();
    let replica = world.replica_mut(0);
    let mut checked = 0;
    for _ in 0..20 {
        checked += faults(&replica.receive(LIAR, PeerMessage::Blocks(junk.clone())));
    }
    assert_eq!(checked, MAX_VAIN_CHECKS);
    assert_eq!(faults(&replica.receive(ReplicaId(1), PeerMessage::Block(honest))), 0, "others are heard");
    let asked = replica.retry().into_iter().any(|effect| {
        matches!(effect, Effect::Send { to: LIAR, message: PeerMessage::Fetch { refs, .. } } if refs.is_empty())
    });
    assert!(asked, "what was dropped is pulled");
    assert_eq!(faults(&replica.receive(LIAR, PeerMessage::Block(junk[0].clone()))), 1, "heard again");
}

fn served(replica: &mut Replica, refs: &[BlockRef], times: u32) -> u32 {
    let fetch = PeerMessage::Fetch { refs: refs.to_vec(), above: 0 };
    (0..times).map(|_| replica.receive(LIAR, fetch.clone()).len() as u32).sum()
}

#[test]
fn requests_for_blocks_are_served_within_an_allowance() {
    let mut world = quiet_world();
    let replica = world.replica_mut(0);
    let recent = BlockRef { round: 1, author: ReplicaId(1), digest: hash("nobody has it", &[]) };
    assert_eq!(served(replica, &[recent], 1000), MAX_FETCH_COST);
    assert_eq!(served(replica, &[], 1000), 0);
    let _ = replica.retry();
    assert_eq!(served(replica, &[], 1000), MAX_FETCH_COST / COST_OF_DEEP_FETCH);
    let _ = replica.retry();
    assert_eq!(served(replica, &vec![recent; MAX_FETCH], 1000), 1, "each looks for a thousand blocks on the disk");
    let other = PeerMessage::Fetch { refs: Vec::new(), above: 0 };
    assert_eq!(replica.receive(ReplicaId(1), other).len(), 1, "others are served");
}

#[test]
fn start_up_questions_are_answered_within_an_allowance() {
    let mut world = quiet_world();
    let replica = world.replica_mut(0);
    let mut answered = 0;
    for i in 0..100 {
        answered += replica.receive(LIAR, PeerMessage::StartupQuery { nonce: [i; 32] }).len() as u32;
    }
    assert_eq!(answered, MAX_STARTUP_ANSWERS);
}

/// The answer may be to the question of the start before: it waited for the new link.
#[test]
fn a_late_answer_to_an_old_question_blames_nobody() {
    let mut world = World::new(0, &[0, 1, 2]);
    world.run_until_quiet();
    let old = world.replica_mut(1).receive(ReplicaId(3), PeerMessage::StartupQuery { nonce: [7; 32] });
    let Some(Effect::Send { message, .. }) = old.into_iter().next() else { panic!("no answer") };
    world.start(3);
    assert_eq!(faults(&world.replica_mut(3).receive(ReplicaId(1), message)), 0);
}

#[test]
fn a_chain_that_is_only_on_the_disk_comes_in_one_answer() {
    let mut world = quiet_world();
    let mut alice = Owner::new("alice");
    let mut acts = vec![alice.act(Action::Register)];
    acts.extend((0..12).map(|i| alice.set(&format!("www 300 A 192.0.2.{i}"))));
    for act in &acts {
        world.submit(1, 0, act);
        world.submit(1, 1, act);
        world.run_until_quiet();
    }
    let floor = world.replica(0).order.memory_floor();
    assert!(floor > 30, "only {floor} rounds are on the disk alone");
    let of_author = |author: u8, round: u64| {
        let stored = world.stored(0, round);
        let block = stored.into_iter().find(|block| block.author == ReplicaId(author)).unwrap();
        BlockRef { round, author: block.author, digest: block.digest }
    };
    let tip = of_author(2, floor - 1);
    let answer = world.answer(0, &[tip], 10);
    let names = answer.iter().map(|bytes| VerifiedBlock::peek(&fixture().public, bytes).unwrap());
    let rounds: Vec<u64> = names.map(|name| name.round).collect();
    let has_block = |&round: &u64| world.stored(0, round).iter().any(|block| block.author == ReplicaId(2));
    assert_eq!(rounds, (11..floor).filter(has_block).collect::<Vec<_>>(), "all above the tenth, the oldest first");
}

/// Two blocks of round 1 by the liar: from two runs in which it behaved.
fn twins() -> [Vec<u8>; 2] {
    [1, 2].map(|seed| {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        world.run_until_quiet();
        let of_liar = world.stored(3, 1).into_iter().find(|block| block.author == LIAR);
        of_liar.unwrap().bytes
    })
}

#[test]
pub fn equivocation_is_said_once_also_across_restarts_and_its_proof_is_kept() {
    let twins = twins();
    let mut world = World::new(0, &[0, 1, 2]);
    for twin in &twins {
        world.receive(0, 3, PeerMessage::Block(twin.clone()));
    }
    world.run_until_quiet();
    let said = |world: &World| world.faults.iter().filter(|(culprit, _)| *culprit == LIAR).count();
    assert_eq!(said(&world), 1, "{:?}", world.faults);
    world.crash(1, 0, Some(1));
    world.run_until(|world| !world.is_running(0));
    world.run_until(|world| world.is_running(0));
    for twin in &twins {
        world.receive(0, 3, PeerMessage::Block(twin.clone()));
    }
    world.run_until_quiet();
    assert_eq!(said(&world), 1, "{:?}", world.faults);

    let accusations = world.rows(0, Table::Evidence, &ACCUSATIONS);
    let [(_, value)] = accusations.as_slice() else { panic!("{} accusations", accusations.len()) };
    let accusation = Accusation::decode(value).unwrap();
    assert_eq!((accusation.culprit, accusation.round, accusation.misdeed), (LIAR, 1, Misdeed::Equivocation));
    let proof = world.rows(0, Table::Evidence, &proofs_of(LIAR, 1));
    let proof = proof.into_iter().map(|(_, bytes)| VerifiedBlock::verify(&fixture().public, bytes).unwrap());
    let proof: Vec<_> = proof.collect();
    assert!(proof.len() == 2 && proof[0].reference() != proof[1].reference());
    assert!(proof.iter().all(|block| (block.author(), block.round()) == (LIAR, 1)), "anybody can check it");
}

/// Whatever it proposes itself comes below the floor. Its message to the others need only arrive.
#[test]
fn an_operation_that_only_a_replica_far_behind_was_given_is_ordered() {
    let mut world = World::with_depth(3, &[0, 1, 2, 3], 60);
    world.run_until_quiet();
    world.delay(3, 1_500);
    let mut load = Owner::new("load");
    for at in 0..200 {
        let act = if at == 0 { load.act(Action::Register) } else { load.set(&format!("www 300 A 192.0.2.{at}")) };
        for door in [0, 1] {
            world.submit(1 + 40 * at, door, &act);
        }
    }
    world.run_for(1_000);
    let starved = Owner::new("starved").act(Action::Register);
    let digest = crate::directory::operation::SignedOperation::digest_of_bytes(&starved);
    world.submit(1, 3, &starved);
    world.run_until(|world| world.replica(0).machine().knows(&digest));
    assert!(world.outcomes(0).1 < 190, "while the others are at work");
    let commits = &world.replica(0).commits;
    let late = commits[commits.len() - 40..].iter().flat_map(|commit| &commit.blocks);
    assert!(late.into_iter().all(|block| block.author() != ReplicaId(3)), "it was another's block that carried it");
    world.run_until_quiet();
    assert_eq!(world.faults, []);
}

#[test]
fn what_a_peer_hands_on_is_checked_at_the_door() {
    let mut world = quiet_world();
    let sound = Owner::new("alice").act(Action::Register);
    let mut forged = sound.clone();
    *forged.last_mut().unwrap() ^= 1;
    let replica = world.replica_mut(0);
    for (bytes, blamed) in [(forged, 1), (b"no operation".to_vec(), 1), (sound.clone(), 0), (sound, 0)] {
        assert_eq!(faults(&replica.receive(LIAR, PeerMessage::Operation(bytes))), blamed);
    }
    assert_eq!(replica.pool.len(), 1);
    world.run_until(|world| world.outcomes(0) == (1, 1));
    let mut flood = 0;
    for i in 0..1000u32 {
        flood += faults(&world.replica_mut(0).receive(LIAR, PeerMessage::Operation(i.to_be_bytes().to_vec())));
    }
    assert!(flood <= MAX_HANDED_ON_CHECKS);
}

#[test]
fn idle_for_a_minute_nobody_says_or_writes_anything() {
    let mut world = quiet_world();
    let (before, rounds) = (world.activity, world.replica(0).round());
    world.run_for(60_000);
    assert_eq!((world.activity, world.replica(0).round()), (before, rounds));
}
