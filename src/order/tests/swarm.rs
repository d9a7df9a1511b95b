//! Runs whose every option is drawn from the seed: committee, schedule, corrupt replicas, crashes, lost disks, load. All
//! checkers ([`super::checks`]) look on.

use super::network::Schedule;
use super::world::{Behaviour, DELAY, World};
use super::*;
use rand_core::RngCore;

const END: u64 = 600 * DELAY;

const SCHEDULES: [Schedule; 6] =
    [Schedule::Uniform, Schedule::Wild, Schedule::Divided, Schedule::Quorums, Schedule::SlowLast, Schedule::Trailing];

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

/// What is not left to the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bias {
    /// Nothing.
    None,
    Graphs,
    /// Somebody behaves like this.
    Corrupt(Behaviour),
    /// Nobody is corrupt, and a replica is cut again and again.
    Cuts,
    /// A replica loses its disk again and again.
    LostDisks,
}

/// Runs the world or the graphs that `seed` draws; panics if a checker finds something.
pub fn run(seed: u64, bias: Bias) {
    let mut draw = Draw(ChaCha20Rng::seed_from_u64(seed));
    let graphs = draw.below(3) == 0;
    if bias == Bias::Graphs || graphs && bias == Bias::None {
        super::graphs::run(seed);
    } else {
        run_world(seed, draw, bias);
    }
}

/// Submits `count` operations to drawn replicas of `to`, up to `until` delays from the start.
fn submit(world: &mut World, draw: &mut Draw, to: &[u8], count: u64, until: u64, operations: &mut Vec<Vec<u8>>) {
    for _ in 0..count {
        let operation = format!("operation {}", operations.len()).into_bytes();
        world.submit(1 + draw.below(until * DELAY), draw.one_of(to), &operation);
        operations.push(operation);
    }
}

/// Any committee, schedule and load, corrupt replicas, crashes and lost disks.
fn run_world(seed: u64, mut draw: Draw, bias: Bias) {
    let n = if draw.below(16) == 0 { 7 } else { 4 };
    let wave = if draw.below(4) == 0 { WaveLength::Four } else { WaveLength::Five };
    let depth = draw.one_of(&[12, 25, 40, 10_000, 10_000, 10_000]);
    let schedule = draw.one_of(&SCHEDULES);
    let f = (n - 1) / 3;
    // Lost disks count within f.
    let loses_disk = draw.below(4) == 0 && !matches!(bias, Bias::Corrupt(_) | Bias::Cuts) || bias == Bias::LostDisks;
    let mut corrupt: Vec<(u8, Behaviour)> = Vec::new();
    let faulty = match bias {
        Bias::Cuts => 0,
        _ if loses_disk => f - 1,
        _ => f,
    };
    for _ in 0..faulty {
        let id = draw.below(n as u64) as u8;
        let (goes_wrong, drawn) = (draw.below(6) > 0, draw.one_of(&CORRUPT));
        let behaviour = if let Bias::Corrupt(behaviour) = bias { behaviour } else { drawn };
        if (goes_wrong || bias != Bias::None) && corrupt.iter().all(|(other, _)| *other != id) {
            corrupt.push((id, behaviour));
        }
    }
    let correct: Vec<u8> = (0..n as u8).filter(|id| corrupt.iter().all(|(other, _)| other != id)).collect();
    let mut world = World::new(seed, Keys::new(n, wave, depth), schedule, &corrupt);
    world.check_coins = draw.below(4) == 0;
    world.network.shown_every = (depth.min(60) / 2 + draw.below(depth.min(60))) * DELAY;
    world.network.hold_back = draw.one_of(&[0, 30 * DELAY]);
    world.network.ignorant_first = draw.below(2) == 0;

    let crashing = draw.one_of(&correct);
    let lively: Vec<u8> = correct.iter().copied().filter(|&id| id != crashing).collect();
    let mut operations = Vec::new();
    // Now and then, or all the time.
    let (count, until) = draw.one_of(&[(3, 40), (8, 40), (40, 80)]);
    submit(&mut world, &mut draw, &lively, count, until, &mut operations);
    let often = matches!(bias, Bias::Cuts | Bias::LostDisks);
    cut(&mut world, &mut draw, crashing, loses_disk, often);
    // Whoever starts again needs rounds to come back into.
    world.submit(200 * DELAY, draw.one_of(&lively), b"late");
    operations.push(b"late".to_vec());
    world.run(END);
    world.check_choices();
    // What falls below the floor is proposed anew by the pool of the replica, which is not here.
    if depth > 40 {
        world.check_validity(&operations);
    }
    if corrupt.is_empty() {
        world.check_quiet();
    }
}

/// Cuts a replica now and then: just after it spoke and while nobody has heard it, since then it could contradict itself.
fn cut(world: &mut World, draw: &mut Draw, replica: u8, loses_disk: bool, often: bool) {
    let drawn = draw.one_of(&[0, 1, 4]);
    for i in 0..if often { 4 } else { drawn } {
        let somewhen = draw.below(80 * DELAY);
        let spoke = draw.one_of(&[1, 120 * DELAY, somewhen]) + i * 40 * DELAY;
        let operation = format!("{i} of the replica that is cut").into_bytes();
        world.submit(spoke, replica, &operation);
        world.submit(spoke + 3 * DELAY, replica, &[&operation[..], b", once more"].concat());
        let longest = draw.one_of(&[DELAY / 10, DELAY, 20 * DELAY]);
        let (cut, away) = (spoke + draw.below(2 * DELAY), 1 + draw.below(longest));
        match loses_disk {
            true => world.lose_disk(cut, replica, away),
            false => world.crash(cut, replica, Some(away)),
        }
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
        run(seed, Bias::None);
    }
}

#[test]
fn every_kind_of_misfortune_by_itself_leaves_all_checkers_content() {
    let kinds = CORRUPT.iter().map(|&behaviour| Bias::Corrupt(behaviour));
    for bias in kinds.chain([Bias::Graphs, Bias::Cuts, Bias::LostDisks]) {
        for seed in seeds(2) {
            run(seed, bias);
        }
    }
}
