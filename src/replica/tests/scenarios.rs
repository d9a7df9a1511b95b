use super::fixture::Owner;
use super::world::World;
use crate::committee::ReplicaId;
use crate::directory::operation::Action;
use crate::limits::{MAX_PAYLOAD, MAX_SHARES_PER_BLOCK};
use crate::replica::Effect;
use crate::replica::message::PeerMessage;
use crate::signing::{KeyId, Share, ShareEntry, TaskId};

/// Three owners register, then set records and ask for a certificate; each operation goes to two replicas of `doors`.
/// Gives how many operations there are.
fn owners_at_work(world: &mut World, doors: &[u8]) -> usize {
    let mut operations = 0;
    for label in ["alice", "bob", "carol"] {
        let mut owner = Owner::new(label);
        let acts = [owner.act(Action::Register), owner.set("www 300 A 192.0.2.7"), owner.certify()];
        let mut after = 0;
        for act in acts {
            after += 300 + world.random(1500);
            let first = world.random(doors.len() as u64) as usize;
            for door in [doors[first], doors[(first + 1) % doors.len()]] {
                world.submit(after, door, &act);
            }
            operations += 1;
        }
    }
    operations
}

#[test]
pub fn all_replicas_show_the_same_zone_and_outcomes_and_fall_silent() {
    for seed in 0..3 {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        world.run_until_quiet();
        let operations = owners_at_work(&mut world, &[0, 1, 2, 3]);
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(world.outcomes(0), (operations, operations), "seed {seed}");
        assert_eq!(world.faults, [], "seed {seed}");
    }
}

#[test]
fn with_one_replica_silent_the_others_serve() {
    for seed in 0..3 {
        let mut world = World::new(seed, &[0, 1, 3]);
        let operations = owners_at_work(&mut world, &[0, 1, 3]);
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(world.outcomes(0), (operations, operations), "seed {seed}");
    }
}

#[test]
pub fn a_replica_that_crashes_and_restarts_catches_up() {
    for seed in 0..6 {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        let operations = owners_at_work(&mut world, &[0, 1, 3]);
        for _ in 0..3 {
            let (after, away) = (world.random(2500), 1 + world.random(700));
            world.crash(after, 2, Some(away));
        }
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(world.outcomes(2), (operations, operations), "seed {seed}");
        assert_eq!(world.faults, [], "seed {seed}");
    }
}

/// Whether the state of `id` says that `id` still owes a certificate's share.
fn owes_certificate_share(world: &World, id: u8) -> bool {
    let open = world.replica(id).machine().scheduler().open_assignments_of(ReplicaId(id));
    open.iter().any(|assignment| *assignment.key() == KeyId::Authority)
}

/// Nobody is asked twice for a share of a certificate: if all who were asked forgot it, none would ever come.
#[test]
fn a_replica_that_restarts_answers_what_it_was_asked_before() {
    let mut owing = 0;
    for seed in 0..12 {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        let mut alice = Owner::new("alice");
        let acts = [alice.act(Action::Register), alice.certify(), alice.set("www 300 A 192.0.2.7")];
        for (after, act) in (0..).map(|at| 1 + 400 * at).zip(acts) {
            world.submit(after, 1, &act);
            world.submit(after, 2, &act);
        }
        let asked = (0..2000).any(|_| {
            world.step();
            owes_certificate_share(&world, 0)
        });
        if asked {
            world.crash(0, 0, Some(1));
            world.run_until(|world| !world.is_running(0));
            world.run_until(|world| world.is_running(0));
            let (owes, replica) = (owes_certificate_share(&world, 0), world.replica(0));
            owing += u32::from(owes);
            let asked = replica.asked.iter().any(|assignment| *assignment.key() == KeyId::Authority);
            assert_eq!(asked, owes, "seed {seed}");
        }
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(world.replica(0).snapshot().certificates.count(), 1, "seed {seed}");
    }
    assert!(owing > 0, "no run came to the point");
}

#[test]
fn a_certificate_that_was_being_signed_when_all_were_cut_is_issued_after_the_restart() {
    for seed in 0..8 {
        let mut world = World::new(seed, &[0, 1, 2]);
        let mut alice = Owner::new("alice");
        for (after, act) in [(1, alice.act(Action::Register)), (400, alice.certify())] {
            world.submit(after, 0, &act);
            world.submit(after, 1, &act);
        }
        world.run_until(|world| {
            let scheduler = world.replica(0).machine().scheduler();
            let mut open = (0..4).flat_map(|id| scheduler.open_assignments_of(ReplicaId(id)));
            open.any(|assignment| *assignment.key() == KeyId::Authority)
        });
        for id in 0..3 {
            let (after, away) = (world.random(3), 50 + world.random(50));
            world.crash(after, id, Some(away));
        }
        world.run_until(|world| (0..3).all(|id| world.is_running(id) && world.outcomes(id).0 == 2));
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(world.replica(0).snapshot().certificates.count(), 1, "seed {seed}");
    }
}

#[test]
fn more_certificate_shares_than_a_block_holds_wait_for_the_next() {
    let mut world = World::new(0, &[0, 1, 2, 3]);
    let replica = world.replica_mut(0);
    let entry = ShareEntry { task: TaskId(1 << 40), attempt: 0, share: Share::Rsa(vec![0xff; 700]) };
    replica.outbox = vec![entry; MAX_SHARES_PER_BLOCK];
    let mut blocks = 0;
    while !replica.outbox.is_empty() {
        let payload = replica.payload(1).to_bytes();
        assert!((MAX_PAYLOAD / 10..=MAX_PAYLOAD).contains(&payload.len()), "{}", payload.len());
        blocks += 1;
    }
    assert_eq!(blocks, 3);
}

#[test]
fn a_block_that_is_known_is_not_verified_again() {
    let mut world = World::new(0, &[0, 1, 2, 3]);
    world.run_until_quiet();
    let blocks = world.answer(0, &[], 0);
    assert!(blocks.len() > 20);
    let replica = world.replica_mut(0);
    for mut bytes in blocks {
        // The name does not cover the signature: these would be refused if anybody looked.
        *bytes.last_mut().unwrap() ^= 1;
        let effects = replica.receive(ReplicaId(1), PeerMessage::Block(bytes));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Fault { .. })));
    }
}

#[test]
fn requests_for_rounds_that_nobody_has_get_an_empty_answer() {
    let mut world = World::new(0, &[0, 1, 2, 3]);
    world.run_until_quiet();
    for above in [1 << 40, u64::MAX - 1, u64::MAX] {
        assert!(world.answer(0, &[], above).is_empty());
    }
}

#[test]
fn with_one_dead_for_good_another_may_restart() {
    for seed in 0..3 {
        let mut world = World::new(seed, &[0, 1, 3]);
        let operations = owners_at_work(&mut world, &[0, 1]);
        for _ in 0..3 {
            let (after, away) = (world.random(3000), 1 + world.random(700));
            world.crash(after, 3, Some(away));
        }
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(world.outcomes(3), (operations, operations), "seed {seed}");
        assert_eq!(world.faults, [], "seed {seed}");
    }
}

/// More rounds than the others keep in memory, and more than an answer holds: they come from the disks, while new ones
/// are made.
#[test]
fn a_replica_that_was_away_for_hundreds_of_rounds_catches_up_under_load() {
    let mut world = World::new(5, &[0, 1, 2, 3]);
    world.run_until_quiet();
    let mut alice = Owner::new("alice");
    for at in 0..150 {
        let act = if at == 0 { alice.act(Action::Register) } else { alice.set(&format!("www 300 A 192.0.2.{at}")) };
        for door in [0, 1] {
            world.submit(1 + 40 * at, door, &act);
        }
    }
    world.crash(50, 2, Some(5000));
    world.run_until(|world| !world.is_running(2));
    world.run_until(|world| world.is_running(2));
    assert!(world.replica(0).round() > world.replica(2).round() + 300, "it missed little");
    world.run_until_quiet();
    world.assert_agreement();
    assert_eq!(world.outcomes(2).1, 150);
    assert_eq!(world.faults, []);
}

/// It waited at the answerer until the asker had crashed and started anew.
#[test]
fn an_answer_to_the_question_of_an_earlier_start_is_nobody_s_fault() {
    let mut world = World::new(0, &[0, 1, 2, 3]);
    let answered = world.replica_mut(1).receive(ReplicaId(0), PeerMessage::StartupQuery { nonce: [7; 32] });
    let answer = answered.into_iter().find_map(|effect| match effect {
        Effect::Send { to: ReplicaId(0), message: answer @ PeerMessage::StartupAnswer(_) } => Some(answer),
        _ => None,
    });
    let effects = world.replica_mut(0).receive(ReplicaId(1), answer.expect("whoever is asked answers"));
    assert!(effects.is_empty());
}
