//! The simulator's own tests, and a sample of seeds.

use std::sync::OnceLock;

use super::adversary::STRATEGIES;
use super::run::{Report, run};
use super::{Keyring, Options, Primes};

fn keyring() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(|| Keyring::new(Primes::Fixture))
}

fn assert_sound(report: &Report, options: &Options) {
    assert_eq!(report.violation, None, "{}", report.replay(options));
}

#[test]
fn every_strategy_is_stood() {
    for (seed, strategy) in (0..).zip(STRATEGIES) {
        let options = Options { replicas: Some(4), adversary: Some(strategy), ..Options::default() };
        assert_sound(&run(seed, &options, keyring()), &options);
    }
}

#[test]
fn one_seed_is_one_run() {
    let options = Options::default();
    for seed in 0..3 {
        assert_eq!(run(seed, &options, keyring()), run(seed, &options, keyring()));
    }
}

/// Seed 50 sets a disk back. The replica may not speak in the next round, which nobody had a reason to begin; as long as it
/// counted as unfinished, it sent its last block to everybody again and again.
#[test]
fn a_replica_that_may_not_speak_yet_keeps_nobody_awake() {
    let options = Options::default();
    assert_sound(&run(50, &options, keyring()), &options);
}

#[test]
fn strategies_have_names_of_their_own() {
    let mut names: Vec<&str> = STRATEGIES.iter().map(|strategy| strategy.name).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == STRATEGIES.len() && names.len() >= 18);
}
