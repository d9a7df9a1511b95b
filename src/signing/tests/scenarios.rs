//! What the scheduler promises, one scenario each. Every commit of every scenario also checks that two schedulers agree
//! to the byte, one of them read back from rows; that signatures verify; and that no nonce answers twice.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::world::{Conduct, World, zone};
use crate::codec;
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::frost::{self, FrostShare};
use crate::limits::{MAX_LIVE_ATTEMPTS, MAX_NONCE_BATCH, MAX_UNUSED_NONCES};
use crate::rows::Table;
use crate::signing::task::State;
use crate::signing::{Event, FaultKind, KeyId, NonceBatch, Scheduler, Share, ShareEntry, Signer, TaskId};

/// Some load, then time to finish.
fn run(replicas: usize, seed: u64, conduct: &[(u8, Conduct)]) -> World {
    let mut world = World::new(replicas, seed, conduct);
    for commit in 0..12 {
        world.commit(3, usize::from(commit % 3 == 0));
    }
    world.run_until_signed(300);
    world
}

#[test]
fn correct_replicas_sign_everything_at_the_first_attempt() {
    for (replicas, seed) in [(4, 1), (7, 2), (10, 3)] {
        let world = run(replicas, seed, &[]);
        assert_eq!(world.assignments, world.messages.len());
        assert_eq!(world.culprits(), BTreeSet::new());
        assert!(world.veteran.demoted().is_empty());
        assert!(world.table(Table::Task).is_empty());
    }
}

#[test]
fn silent_replicas_delay_and_are_demoted_but_not_blamed() {
    for (replicas, conduct) in [(4, vec![(2, Conduct::Silent)]), (7, vec![(0, Conduct::Silent), (5, Conduct::Silent)])]
    {
        let world = run(replicas, 4, &conduct);
        assert_eq!(world.culprits(), BTreeSet::new());
        let silent: ReplicaSet = conduct.iter().map(|(id, _)| ReplicaId(*id)).collect();
        assert!(world.veteran.demoted().difference(silent).is_empty());
    }
}

#[test]
fn bad_shares_name_their_authors_and_nobody_else() {
    for conduct in [Conduct::BadShares, Conduct::Garbage] {
        let world = run(4, 5, &[(1, conduct)]);
        assert_eq!(world.culprits(), [1].into());
        assert!(world.faults.iter().all(|fault| fault.kind == FaultKind::BadShare));
        let world = run(7, 6, &[(1, conduct), (6, Conduct::Silent)]);
        assert_eq!(world.culprits(), [1].into());
    }
}

#[test]
fn bad_commitments_never_reach_a_package() {
    let world = run(4, 7, &[(3, Conduct::BadNonces)]);
    assert_eq!(world.culprits(), [3].into());
    assert!(world.faults.iter().any(|fault| fault.kind == FaultKind::BadCommitment));
    assert!(world.veteran.demoted().difference([ReplicaId(3)].into_iter().collect()).is_empty());
}

/// They are not refused when they are read ([`frost`], deviations): the shares that come of them are, if they spoil a
/// signature.
#[test]
fn commitments_of_mixed_order_spoil_attempts_and_are_pinned_on_their_authors() {
    for (replicas, liars) in [(4, vec![3]), (7, vec![2, 5])] {
        let conduct: Vec<_> = liars.iter().map(|liar| (*liar, Conduct::MixedNonces)).collect();
        let world = run(replicas, 13, &conduct);
        assert_eq!(world.culprits(), liars.iter().copied().collect());
        assert!(world.faults.iter().all(|fault| fault.kind == FaultKind::BadShare));
        assert!(world.veteran.demoted().difference(liars.into_iter().map(ReplicaId).collect()).is_empty());
    }
}

#[test]
fn replicas_without_nonces_are_not_asked() {
    let world = run(7, 8, &[(0, Conduct::NoNonces), (1, Conduct::NoNonces)]);
    assert!(world.culprits().is_empty() && world.veteran.demoted().is_empty());
}

#[test]
fn restarts_void_nonces_and_harm_nobody() {
    for (replicas, seed) in [(4, 9), (7, 10)] {
        let world = run(replicas, seed, &[(0, Conduct::Restarts), (2, Conduct::Restarts)]);
        assert!(world.culprits().is_empty());
        assert!(world.veteran.boot_of(ReplicaId(0)) > Some(0));
    }
}

#[test]
fn claiming_restarts_for_ever_gains_nothing() {
    let world = run(4, 11, &[(2, Conduct::BootsAlways)]);
    assert!(world.culprits().is_empty());
    assert!(world.round < 200, "{}", world.round);
}

#[test]
fn all_replicas_restart_at_once() {
    let mut world = World::new(4, 12, &[]);
    for _ in 0..6 {
        world.commit(3, 1);
    }
    for id in 0..4 {
        world.restart(ReplicaId(id));
    }
    world.run_until_signed(100);
}

#[test]
fn with_f_replicas_dead_and_f_lying_at_different_times_all_is_signed() {
    for seed in 0..6 {
        let mut world = World::new(7, 100 + seed, &[(0, Conduct::BadShares), (1, Conduct::ProbesOnly)]);
        for _ in 0..20 {
            world.commit(2, 1);
        }
        world.run_until_signed(300);
        world.conduct = vec![Conduct::Correct; 7];
        world.alive.remove(ReplicaId(5));
        world.alive.remove(ReplicaId(6));
        for _ in 0..20 {
            world.commit(2, 1);
        }
        world.run_until_signed(300);
        assert!(world.culprits().is_subset(&[0].into()));
    }
}

#[test]
fn a_demoted_replica_returns_once_it_serves_a_probe() {
    let mut world = World::new(4, 13, &[(3, Conduct::Silent)]);
    while !world.veteran.demoted().contains(ReplicaId(3)) {
        world.commit(2, 0);
    }
    world.conduct[3] = Conduct::Correct;
    let since = world.round;
    while world.veteran.demoted().contains(ReplicaId(3)) {
        world.commit(1, 0);
        assert!(world.round < since + 500, "never probed");
    }
    world.run_until_signed(100);
    assert!(world.table(Table::Task).is_empty(), "nothing is kept for a probe that is served");
}

#[test]
fn whoever_signs_in_probes_only_is_probed_ever_more_rarely() {
    let mut world = World::new(4, 14, &[(3, Conduct::ProbesOnly)]);
    let mut slow = 0;
    for _ in 0..1500 {
        let before = world.veteran.demoted().contains(ReplicaId(3));
        world.commit(1, 0);
        slow += usize::from(!before && world.veteran.demoted().contains(ReplicaId(3)));
    }
    // 3,000 rounds: with a spacing of 64, 128, 256… there is room for five or six demotions.
    assert!((2..=7).contains(&slow), "{slow}");
    world.run_until_signed(100);
}

#[test]
fn all_tasks_of_an_absent_signer_are_assigned_anew_in_one_step() {
    let mut world = World::new(4, 15, &[(1, Conduct::Silent)]);
    world.commit(0, 0);
    world.commit(0, 0);
    world.commit(0, 0);
    world.commit(8, 0);
    let before = world.assignments;
    assert_eq!(before, 8);
    while world.assignments == before {
        world.commit(0, 0);
    }
    let anew = world.assignments - before;
    let left = world.veteran.pending();
    assert_eq!(anew, left, "one step for all that was left");
    world.run_until_signed(10);
}

#[test]
fn tasks_wait_for_nonces_and_nothing_else() {
    let mut world = World::new(4, 16, &[0, 1, 2].map(|id| (id, Conduct::NoNonces)));
    for _ in 0..10 {
        world.commit(1, 1);
    }
    // Certificates need none.
    assert!(world.signatures.len() >= 8 && world.veteran.pending() >= 10);
    world.conduct[0] = Conduct::Correct;
    world.run_until_signed(100);
}

#[test]
fn a_kernel_with_nonces_signs_though_all_are_demoted_or_unseen() {
    let mut world = World::new(4, 17, &[0, 1, 2, 3].map(|id| (id, Conduct::Silent)));
    for _ in 0..40 {
        world.commit(1, 0);
    }
    assert_eq!(world.veteran.demoted().len(), 4);
    world.conduct = vec![Conduct::Correct; 4];
    world.run_until_signed(2000);
    assert!(world.culprits().is_empty());
}

#[test]
fn attempts_at_one_task_stay_bounded() {
    let mut world = World::new(4, 18, &[0, 1, 2, 3].map(|id| (id, Conduct::Silent)));
    for _ in 0..3 {
        world.commit(0, 0);
    }
    world.commit(1, 0);
    for _ in 0..60 {
        world.round += 1 << 19;
        world.commit(0, 0);
        let task = world.veteran.book.tasks.values().next().unwrap();
        let State::Frost(state) = &task.state else { unreachable!() };
        assert!(state.live.len() <= MAX_LIVE_ATTEMPTS);
    }
    world.conduct = vec![Conduct::Correct; 4];
    world.round += 1 << 19;
    world.run_until_signed(100);
}

#[test]
fn a_late_share_of_an_overdue_attempt_completes_it() {
    let mut world = World::new(4, 19, &[]);
    for _ in 0..3 {
        world.commit(0, 0);
    }
    world.commit(1, 0);
    // The shares are on their way; the deadline passes before they are ordered.
    world.round += 100;
    world.commit(0, 0);
    assert_eq!(world.assignments, 2);
    world.commit(0, 0);
    assert_eq!(world.signatures.len(), 1, "the first attempt, though it was late");
}

fn entry(task: u64, attempt: u32) -> ShareEntry {
    ShareEntry { task: TaskId(task), attempt, share: Share::Frost(FrostShare([0xff; 32])) }
}

#[test]
fn shares_nobody_asked_for_are_counted_and_change_nothing() {
    let mut world = World::new(4, 20, &[]);
    for _ in 0..3 {
        world.commit(0, 0);
    }
    world.commit(1, 0);
    let is_signer = |id: &ReplicaId| !world.veteran.open_assignments_of(*id).is_empty();
    let outsider = world.committee.ids().find(|id| !is_signer(id)).unwrap();
    let mut scheduler = world.veteran.clone();
    // An attempt not made, two tasks not opened; and an answer to somebody else's assignment, as a late one would look.
    let strange = vec![entry(0, 1), entry(7, 0), entry(u64::MAX, u32::MAX), entry(0, 0)];
    assert_eq!(scheduler.on_shares(outsider, 1, strange.clone()), []);
    assert_eq!(scheduler.unassigned_shares(outsider), 3);
    assert_eq!(scheduler.on_shares(ReplicaId(200), 1, strange), []);
    assert!(scheduler.book.tasks == world.veteran.book.tasks);
}

#[test]
fn hostile_batches_are_refused_or_cut() {
    let mut world = World::new(4, 21, &[]);
    world.alive = ReplicaSet::EMPTY;
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (_, secrets) = crate::crypto::frost::deal(&world.committee, &mut rng);
    let author = ReplicaId(2);
    let mut batch = |boot, index, count| NonceBatch {
        boot,
        index,
        commitments: (0..count).map(|_| crate::crypto::frost::commit(&secrets[0], &mut rng).1).collect(),
    };
    let kind = |events: Vec<Event>| match events.as_slice() {
        [Event::Fault(fault)] => Some(fault.kind),
        [] => None,
        _ => panic!("one fault at most"),
    };
    let scheduler = &mut world.veteran;
    let full = batch(1, 0, MAX_NONCE_BATCH);
    let mut oversize = full.clone();
    oversize.commitments.push(oversize.commitments[0]);
    assert_eq!(kind(scheduler.on_nonces(author, 1, oversize)), Some(FaultKind::OversizeBatch));
    let mut twice = full.clone();
    twice.commitments[1] = twice.commitments[0];
    assert_eq!(kind(scheduler.on_nonces(author, 1, twice)), Some(FaultKind::RepeatedCommitment));
    assert_eq!(scheduler.unused_nonces(author), 0);

    assert_eq!(kind(scheduler.on_nonces(author, 1, full.clone())), None);
    let again = NonceBatch { index: 1, ..full.clone() };
    assert_eq!(kind(scheduler.on_nonces(author, 1, again)), Some(FaultKind::RepeatedCommitment));
    // Other authors have pools of their own, and a batch may be lost on the way.
    assert_eq!(kind(scheduler.on_nonces(ReplicaId(1), 1, full)), None);
    for index in [3, 4, 5, 6] {
        assert_eq!(kind(scheduler.on_nonces(author, 1, batch(1, index, MAX_NONCE_BATCH))), None);
    }
    assert_eq!(scheduler.unused_nonces(author), MAX_UNUSED_NONCES);
    scheduler.on_nonces(author, 1, batch(1, 2, 5));
    scheduler.on_nonces(author, 1, batch(0, 9, 5));
    scheduler.on_nonces(author, 1, batch(2, 0, 0));
    scheduler.on_nonces(ReplicaId(99), 1, batch(2, 0, 1));
    assert_eq!(scheduler.unused_nonces(author), MAX_UNUSED_NONCES);
    scheduler.on_nonces(author, 1, batch(2, 0, 5));
    assert_eq!(scheduler.unused_nonces(author), 5);
    scheduler.on_nonces(author, 1, batch(u64::MAX, 0, 5));
    scheduler.on_nonces(author, 1, batch(u64::MAX, u64::MAX, 5));
    assert_eq!((scheduler.unused_nonces(author), scheduler.boot_of(author)), (5, Some(u64::MAX)));
}

#[test]
fn a_key_nobody_holds_opens_no_task() {
    let mut world = World::new(4, 22, &[]);
    let other = KeyId::Zone(zone().child(b"other").unwrap());
    assert!(world.veteran.open(other, vec![]).is_err());
}

#[test]
fn a_commit_writes_rows_in_proportion_to_what_it_did() {
    let mut world = World::new(4, 23, &[]);
    for _ in 0..3 {
        world.commit(0, 0);
    }
    world.open(1, &KeyId::Zone(zone()));
    world.veteran.step(world.round + 1, &[0; 32], world.alive);
    let rows = world.veteran.take_rows();
    let tables: Vec<Table> = rows.iter().map(|row| row.table).collect();
    assert_eq!(tables, [Table::Meta, Table::Task]);
    assert!(rows[0].value.as_ref().unwrap().len() < 100);
    world.veteran.step(world.round + 2, &[0; 32], world.alive);
    assert_eq!(world.veteran.take_rows(), []);
}

#[test]
fn rows_that_contradict_themselves_are_refused() {
    let mut world = World::new(4, 24, &[]);
    for _ in 0..4 {
        world.commit(2, 1);
    }
    let (tasks, nonces) = (world.table(Table::Task), world.table(Table::Nonces));
    let meta = world.table(Table::Meta).remove(0).1;
    let mut fresh = World::new(4, 24, &[]).veteran;
    assert_eq!(fresh.load(Some(&meta), &tasks, &nonces), Ok(()));
    assert!(fresh.load(Some(&meta[1..]), &tasks, &nonces).is_err());
    assert!(fresh.load(None, &tasks, &nonces).is_err(), "batches without a boot number");
    let mut cut = tasks.clone();
    cut[0].1.pop();
    assert!(fresh.load(Some(&meta), &cut, &nonces).is_err());
}

#[test]
fn what_rides_in_blocks_has_frozen_bytes() {
    let commitment = crate::crypto::frost::NonceCommitment { hiding: [0xaa; 32], binding: [0xbb; 32] };
    let batch = NonceBatch { boot: 300, index: 2, commitments: vec![commitment] };
    let hex = |bytes: Vec<u8>| data_encoding::HEXLOWER.encode(&bytes);
    assert_eq!(hex(codec::encode(&batch)), format!("ac020201{}{}", "aa".repeat(32), "bb".repeat(32)));
    let frost = ShareEntry { task: TaskId(5), attempt: 1, share: Share::Frost(FrostShare([0xcc; 32])) };
    assert_eq!(hex(codec::encode(&frost)), format!("050100{}", "cc".repeat(32)));
    let rsa = ShareEntry { task: TaskId(5), attempt: 0, share: Share::Rsa(vec![1, 2]) };
    assert_eq!(hex(codec::encode(&rsa)), "0500010201 02".replace(' ', ""));
}

/// A replica that lost its disk counted its starts from one again, while the order knew a higher number: its commitments
/// were ignored until it had been started more often than before.
#[test]
fn a_replica_that_forgot_how_often_it_started_outlives_its_past() {
    let mut rng = ChaCha20Rng::seed_from_u64(31);
    let committee = Committee::new(4).unwrap();
    let (public, mut secrets) = frost::deal(&committee, &mut rng);
    let me = ReplicaId(0);
    let mut scheduler = Scheduler::new(committee, [(zone(), public)].into(), None);
    let mut signer = Signer::new(me, 1, [(zone(), secrets.remove(0))].into(), None);
    let mut earlier = signer.make_batch(3, &mut rng);
    earlier.boot = 5;
    assert_eq!(scheduler.on_nonces(me, 1, earlier), vec![]);

    let batch = signer.refill(&scheduler, 8, &mut rng).unwrap();
    assert_eq!((batch.boot, batch.index), (6, 0));
    let _ = scheduler.on_nonces(me, 2, batch);
    assert_eq!((scheduler.boot_of(me), scheduler.unused_nonces(me)), (Some(6), 8));
}
