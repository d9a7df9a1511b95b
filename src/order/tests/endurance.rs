//! An hour of load beside a replica that is slow or gone: what the others hold does not grow.

use super::network::Schedule;
use super::world::{Behaviour, DELAY, World};
use super::*;

/// A message usually takes half a second here: an hour has some thousands of rounds, several times what the order may still
/// emit ([`DEPTH`]).
const MINUTE: u64 = 120 * DELAY;
const DEPTH: u64 = 200;

/// Of everything that a replica holds for others or until it is ordered, how much there is.
fn held(order: &Order) -> [(&'static str, usize); 6] {
    let rounds = order.dag.floor() + 1..=order.dag.top();
    let names: Vec<_> = rounds.flat_map(|round| order.dag.blocks_at(round)).collect();
    let blocks: Vec<_> = names.iter().filter_map(|&handle| order.dag.block(handle)).collect();
    [
        ("names of blocks", names.len()),
        ("blocks", blocks.len()),
        ("bytes of blocks", blocks.iter().map(|block| block.bytes().len()).sum()),
        ("blocks to be ordered", order.unordered().count()),
        ("bytes of blocks to be ordered", order.unordered_bytes()),
        ("suspended blocks", order.suspended_blocks()),
    ]
}

/// Runs for an hour and compares the most that each healthy replica held in the second half with that of the first.
fn an_hour(seed: u64, schedule: Schedule, behaviours: &[(u8, Behaviour)]) {
    let mut world = World::new(seed, Keys::new(4, WaveLength::Five, DEPTH), schedule, behaviours);
    let operations: Vec<Vec<u8>> =
        (0..60 * MINUTE / DELAY - 60).map(|i| format!("operation {i}").into_bytes()).collect();
    for (i, operation) in (0u64..).zip(&operations) {
        world.submit(1 + DELAY * i, (i % 3) as u8, operation);
    }
    let mut most = [[[0; 6]; 3]; 2];
    for minute in 1..=60 {
        world.run(minute * MINUTE);
        for (replica, most) in (0..).zip(&mut most[usize::from(minute > 30)]) {
            for (most, (_, now)) in most.iter_mut().zip(held(world.order(replica))) {
                *most = now.max(*most);
            }
        }
    }
    assert!(world.order(0).committed_round() > 10 * DEPTH, "seed {seed}: {}", world.order(0).committed_round());
    let [first, second] = most;
    for (replica, (first, second)) in (0..).zip(first.iter().zip(&second)) {
        for (((what, _), first), second) in held(world.order(replica)).iter().zip(first).zip(second) {
            let bound = first + first / 4 + 8;
            assert!(*second <= bound, "seed {seed}: replica {replica} held {second} {what}, at first {first} at most");
        }
    }
    world.assert_agreement();
    world.assert_ordered(&operations);
}

#[test]
fn beside_a_slow_replica_the_others_hold_no_more_after_an_hour() {
    an_hour(1, Schedule::SlowLast, &[]);
}

#[test]
fn beside_a_dead_replica_the_others_hold_no_more_after_an_hour() {
    an_hour(2, Schedule::Uniform, &[(3, Behaviour::Dead)]);
}
