//! Whole clusters under many seeds. A failing seed is printed and replays the run.

use super::network::Schedule;
use super::world::{Behaviour, DELAY, World};
use super::*;

const END: u64 = 3000 * DELAY;

/// So many seeds, or times as many as the environment variable `TORRENS_SEEDS` says, for a long run.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let times = std::env::var("TORRENS_SEEDS").ok().and_then(|times| times.parse().ok());
    0..usual * times.unwrap_or(1)
}

fn keys(n: usize) -> Keys {
    Keys::new(n, WaveLength::Five, 10_000)
}

/// Submits `count` operations to the replicas `to` in turn, two delays apart; returns them.
fn submit(world: &mut World, to: &[u8], count: usize) -> Vec<Vec<u8>> {
    let operation = |i: usize| format!("operation {i}").into_bytes();
    for i in 0..count {
        world.submit(1 + 2 * DELAY * i as u64, to[i % to.len()], &operation(i));
    }
    (0..count).map(operation).collect()
}

pub(super) fn run(seed: u64, keys: Keys, schedule: Schedule, behaviours: &[(u8, Behaviour)], count: usize) -> World {
    let correct: Vec<u8> = (0..keys.public.committee.len() as u8)
        .filter(|id| behaviours.iter().all(|(corrupt, _)| corrupt != id))
        .collect();
    let mut world = World::new(seed, keys, schedule, behaviours);
    let operations = submit(&mut world, &correct, count);
    world.run(END);
    world.assert_agreement();
    world.assert_ordered(&operations);
    world
}

#[test]
fn correct_replicas_order_everything_alike() {
    for seed in seeds(12) {
        for schedule in [Schedule::Uniform, Schedule::Wild] {
            let world = run(seed, keys(4), schedule, &[], 10);
            assert!(world.is_quiet(), "seed {seed}: rounds go on");
        }
    }
    for seed in seeds(3) {
        run(seed, keys(7), Schedule::Wild, &[], 8);
    }
}

#[test]
fn both_wave_lengths_and_any_number_of_leaders_agree() {
    for leaders in 1..=4 {
        for wave in [WaveLength::Four, WaveLength::Five] {
            let mut keys = Keys::new(4, wave, 10_000);
            Arc::get_mut(&mut keys.public).unwrap().leaders_per_round = leaders;
            run(leaders as u64, keys, Schedule::Wild, &[], 8);
        }
    }
}

#[test]
fn f_dead_replicas_stop_nothing() {
    for seed in seeds(6) {
        run(seed, keys(4), Schedule::Wild, &[(1, Behaviour::Dead)], 8);
    }
    run(1, keys(7), Schedule::Uniform, &[(0, Behaviour::Dead), (3, Behaviour::Dead)], 6);
}

#[test]
fn equivocating_authors_are_named_and_stop_nothing() {
    for seed in seeds(8) {
        let world = run(seed, keys(4), Schedule::Wild, &[(2, Behaviour::Equivocate)], 8);
        let mut reported = std::collections::BTreeSet::new();
        for (reporter, fault) in &world.faults {
            let Fault::Equivocation { author, round, blocks: [one, other] } = fault else { panic!("seed {seed}") };
            assert_eq!(*author, r(2), "seed {seed}: blames the innocent");
            assert!(reported.insert((*reporter, *round)), "seed {seed}: reported twice");
            assert_ne!(one.reference(), other.reference());
            assert_eq!((one.author(), one.round()), (other.author(), other.round()));
        }
        assert!(!reported.is_empty(), "seed {seed}");
    }
    run(3, keys(7), Schedule::Wild, &[(0, Behaviour::Equivocate), (6, Behaviour::Equivocate)], 6);
}

#[test]
fn blocks_sent_to_one_replica_only_are_pulled_from_it() {
    for seed in seeds(8) {
        run(seed, keys(4), Schedule::Uniform, &[(0, Behaviour::Withhold)], 8);
    }
    run(1, keys(7), Schedule::Wild, &[(0, Behaviour::Withhold), (1, Behaviour::Equivocate)], 6);
}

#[test]
fn false_coin_shares_are_named_and_stop_nothing() {
    for seed in seeds(8) {
        let schedule = if seed % 2 == 0 { Schedule::Uniform } else { Schedule::Wild };
        let world = run(seed, keys(4), schedule, &[(2, Behaviour::FalseShares)], 8);
        let culprits: Vec<_> = world.faults.iter().filter(|(reporter, _)| *reporter != r(2)).collect();
        assert!(!culprits.is_empty(), "seed {seed}");
        for (_, fault) in culprits {
            assert!(matches!(fault, Fault::CoinShare { block } if block.author() == r(2)), "seed {seed}: {fault}");
        }
    }
    run(3, keys(7), Schedule::Wild, &[(0, Behaviour::FalseShares), (6, Behaviour::Equivocate)], 6);
}

/// The liar is among the fast ones: the slow one would jump over each round that the others finish with a false share.
#[test]
fn no_round_is_finished_by_false_shares_while_a_slow_replica_is_behind() {
    for seed in seeds(4) {
        run(seed, keys(4), Schedule::SlowLast, &[(1, Behaviour::FalseShares)], 8);
    }
}

#[test]
fn a_scheduler_against_leaders_in_turn_stops_nothing() {
    for seed in seeds(4) {
        run(seed, keys(4), Schedule::AgainstTurns, &[], 10);
    }
}

#[test]
fn what_only_a_slow_replica_was_given_is_ordered() {
    for seed in seeds(4) {
        let mut world = World::new(seed, keys(4), Schedule::SlowLast, &[]);
        world.submit(1, 3, b"from the slow one");
        let others = submit(&mut world, &[0, 1, 2], 30);
        world.run(END);
        world.assert_agreement();
        world.assert_ordered(&others);
        world.assert_ordered(&[b"from the slow one".to_vec()]);
    }
}

#[test]
fn replicas_that_crash_and_restart_commit_the_same_again_and_never_equivocate() {
    for seed in seeds(20) {
        let mut world = World::new(seed, keys(4), Schedule::Wild, &[]);
        let operations = submit(&mut world, &[0, 2], 12);
        for i in 0..4 {
            world.crash((7 + 31 * i + seed) * DELAY, (1 + 2 * (i % 2)) as u8, Some(1 + (seed % 5) * 7 * DELAY));
        }
        world.run(END);
        world.assert_agreement();
        world.assert_ordered(&operations);
    }
}

#[test]
fn replicas_that_restart_pass_over_the_same_twins() {
    for seed in seeds(10) {
        let corrupt = if seed % 2 == 0 { Behaviour::Equivocate } else { Behaviour::Withhold };
        let mut world = World::new(seed, keys(4), Schedule::Wild, &[(3, corrupt)]);
        let operations = submit(&mut world, &[0, 2], 12);
        for i in 0..5 {
            world.crash((9 + 23 * i + seed) * DELAY, 1, Some(1 + (seed % 4) * 5 * DELAY));
        }
        world.run(END);
        world.assert_agreement();
        world.assert_ordered(&operations);
    }
}

#[test]
fn all_replicas_cut_at_once_go_on() {
    for seed in seeds(8) {
        let mut world = World::new(seed, keys(4), Schedule::Uniform, &[]);
        for id in 0..4 {
            world.crash((20 + seed) * DELAY, id, Some(1 + seed * DELAY));
        }
        let before = submit(&mut world, &[0, 1, 2, 3], 5);
        world.submit(100 * DELAY, 2, b"after the cut");
        world.run(END);
        world.assert_agreement();
        world.assert_ordered(&before[..1]);
        world.assert_ordered(&[b"after the cut".to_vec()]);
    }
}

#[test]
fn one_dead_for_good_and_another_restarting_go_on() {
    for seed in seeds(6) {
        let mut world = World::new(seed, keys(4), Schedule::Wild, &[(3, Behaviour::Dead)]);
        let operations = submit(&mut world, &[0, 2], 8);
        world.crash(15 * DELAY, 1, Some(40 * DELAY));
        world.run(END);
        world.assert_agreement();
        world.assert_ordered(&operations);
    }
}

#[test]
fn a_replica_that_was_away_for_long_catches_up() {
    for seed in seeds(2) {
        let mut world = World::new(seed, Keys::new(4, WaveLength::Five, 40), Schedule::Uniform, &[]);
        world.crash(10 * DELAY, 1, Some(500 * DELAY));
        let operations = submit(&mut world, &[0, 2, 3], 200);
        world.run(END);
        world.assert_agreement();
        world.assert_ordered(&operations);
        assert!(world.order(0).committed_round() > 250, "far more rounds than the window and the depth");
        assert_eq!(world.log(1).len(), world.log(0).len());
    }
}

#[test]
fn an_idle_cluster_makes_no_rounds() {
    let mut world = World::new(5, keys(4), Schedule::Uniform, &[]);
    world.submit(1, 0, b"only one");
    world.run(200 * DELAY);
    let made = world.rounds_made;
    assert!(world.is_quiet());
    world.run(END);
    assert_eq!(world.rounds_made, made);
}

#[test]
fn an_idle_cluster_takes_up_again_wherever_an_operation_comes_in() {
    let corrupt = [Behaviour::Correct, Behaviour::Dead, Behaviour::Withhold, Behaviour::Equivocate];
    for seed in seeds(32) {
        let behaviour = corrupt[seed as usize % 4];
        let mut world = World::new(seed, keys(4), Schedule::Wild, &[(3, behaviour)]);
        let mut operations = Vec::new();
        for i in 0..8u64 {
            operations.push(format!("operation {i}").into_bytes());
            world.submit((1 + 300 * i) * DELAY, ((seed + i * i) % 3) as u8, operations.last().unwrap());
        }
        world.run(END);
        world.assert_agreement();
        world.assert_ordered(&operations);
        assert!(behaviour != Behaviour::Correct || world.is_quiet(), "seed {seed}: rounds go on");
    }
}

#[test]
fn one_seed_is_one_run() {
    let log = |seed| {
        let world = run(seed, keys(4), Schedule::Wild, &[(1, Behaviour::Equivocate)], 6);
        (world.now(), world.log(0).to_vec())
    };
    assert_eq!(log(11), log(11));
}
