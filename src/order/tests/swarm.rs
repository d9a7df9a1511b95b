//! Runs whose every option is drawn from the seed: committee, schedule, corrupt replicas, crashes, lost disks, load. All
//! checkers ([`super::checks`]) look on.

use super::world::{Behaviour, DELAY, Schedule, World};
use super::*;
use rand_core::RngCore;

const END: u64 = 600 * DELAY;

const SCHEDULES: [Schedule; 4] = [Schedule::Uniform, Schedule::Wild, Schedule::Divided, Schedule::SlowLast];

const CORRUPT: [Behaviour; 13] = [
    Behaviour::Dead,
    Behaviour::Equivocate,
    Behaviour::Equivocate,
    Behaviour::Withhold,
    Behaviour::Flood,
    Behaviour::Forge,
    Behaviour::Replay,
    Behaviour::Malformed,
    Behaviour::LieAboutTime,
    Behaviour::FalseShares,
    Behaviour::Fork,
    Behaviour::Fork,
    Behaviour::BackDate,
];

struct Draw(ChaCha20Rng);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

/// Runs the world that `seed` draws; panics if a checker finds something.
pub fn run(seed: u64) {
    let mut draw = Draw(ChaCha20Rng::seed_from_u64(seed));
    let n = if draw.below(16) == 0 { 7 } else { 4 };
    let wave = if draw.below(4) == 0 { WaveLength::Four } else { WaveLength::Five };
    let depth = if draw.below(4) == 0 { 40 } else { 10_000 };
    let schedule = draw.one_of(&SCHEDULES);
    let f = (n - 1) / 3;
    // Lost disks count within f.
    let loses_disk = draw.below(4) == 0;
    let mut corrupt: Vec<(u8, Behaviour)> = Vec::new();
    for _ in 0..if loses_disk { f - 1 } else { f } {
        let id = draw.below(n as u64) as u8;
        if draw.below(6) > 0 && corrupt.iter().all(|(other, _)| *other != id) {
            corrupt.push((id, draw.one_of(&CORRUPT)));
        }
    }
    let correct: Vec<u8> = (0..n as u8).filter(|id| corrupt.iter().all(|(other, _)| other != id)).collect();
    let mut world = World::new(seed, Keys::new(n, wave, depth), schedule, &corrupt);
    world.check_coins = draw.below(4) == 0;

    let crashing = draw.one_of(&correct);
    let lively: Vec<u8> = correct.iter().copied().filter(|&id| id != crashing).collect();
    let mut operations = Vec::new();
    let count = 2 + draw.below(8);
    for i in 0..count {
        let operation = format!("operation {i}").into_bytes();
        world.submit(1 + draw.below(40 * DELAY), draw.one_of(&lively), &operation);
        operations.push(operation);
    }
    // A replica that is cut just after it spoke, while nobody has heard it, is the one that could contradict itself.
    let spoke = if draw.below(2) == 0 { 1 } else { 120 * DELAY };
    let just_after = draw.below(2) == 0;
    if just_after && (loses_disk || draw.below(2) == 0) {
        world.submit(spoke, crashing, b"of the replica that is cut");
    }
    let cut = if just_after { spoke + draw.below(2 * DELAY) } else { draw.below(40 * DELAY) };
    let longest = draw.one_of(&[DELAY, 20 * DELAY]);
    let away = 1 + draw.below(longest);
    if loses_disk {
        world.lose_disk(cut, crashing, away);
    } else if draw.below(2) == 0 {
        world.crash(cut, crashing, Some(away));
        for _ in 0..draw.below(4) {
            world.crash(draw.below(60 * DELAY), crashing, Some(1 + draw.below(30 * DELAY)));
        }
    }
    // Whoever starts again needs rounds to come back into.
    world.submit(200 * DELAY, draw.one_of(&lively), b"late");
    operations.push(b"late".to_vec());
    world.run(END);
    world.check_validity(&operations);
    if corrupt.is_empty() {
        world.check_quiet();
    }
}

/// So many seeds, or times as many as the environment variable `TORRENS_SEEDS` says, for a long run.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let times = std::env::var("TORRENS_SEEDS").ok().and_then(|times| times.parse().ok());
    0..usual * times.unwrap_or(1)
}

#[test]
fn whatever_the_seed_draws_all_checkers_are_content() {
    for seed in seeds(60) {
        run(seed);
    }
}
