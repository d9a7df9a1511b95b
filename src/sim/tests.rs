//! The simulator's own tests, and a sample of seeds.

use std::sync::OnceLock;

use super::adversary::{STRATEGIES, Strategy};
use super::plan::{self, Plan};
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
    for seed in 1..4 {
        assert_eq!(run(seed, &options, keyring()), run(seed, &options, keyring()));
    }
}

/// A replica whose disk was set back may not speak in the next round, which nobody had a reason to begin; as long as it
/// counted as unfinished, it sent its last block to everybody again and again.
#[test]
fn a_replica_that_may_not_speak_yet_keeps_nobody_awake() {
    let options = Options::default();
    let set_back = |seed: &u64| {
        let drawn = Plan::draw(*seed, &options);
        drawn.n == 4 && drawn.incidents.iter().any(|(_, incident)| incident.kind() == "disk-set-back")
    };
    for seed in (0..).filter(set_back).take(6) {
        assert_sound(&run(seed, &options, keyring()), &options);
    }
}

/// A replica lost its disk, and with it a block that had reached nobody, while a later one of its blocks, which has
/// that one as parent, had: the others asked each other for what nobody has, long after all was done.
#[test]
fn nobody_asks_for_ever_for_what_its_author_has_forgotten() {
    let options = Options::default();
    for seed in [149, 403] {
        assert!(Plan::draw(seed, &options).forgetful.is_some());
        assert_sound(&run(seed, &options, keyring()), &options);
    }
}

/// A corrupt replica showed its chain to one correct replica only, and to all blocks whose parents it had invented: 64 of
/// these names, the oldest, were all that was ever asked for, and what the correct replica's block needed was not among
/// them.
#[test]
fn invented_parents_do_not_hide_what_a_correct_block_needs() {
    let options = Options { replicas: Some(4), adversary: Strategy::find("invented-parents"), ..Options::default() };
    for seed in [4, 11] {
        assert_sound(&run(seed, &options, keyring()), &options);
    }
}

/// Two corrupt replicas show one correct one a chain that hangs on a hidden block of the other's, and crowd the rest:
/// what counts is who sent a block, not whose blocks lead to it.
#[test]
fn two_colluders_cannot_crowd_out_what_a_correct_replicas_block_needs() {
    let options = Options { replicas: Some(7), adversary: Strategy::find("colluders"), ..Options::default() };
    for seed in 0..2 {
        let plan = Plan::draw(seed, &options);
        assert!(plan.corrupt.len() + usize::from(plan.forgetful.is_some()) == 2);
        assert_sound(&run(seed, &options, keyring()), &options);
    }
}

/// A kernel answered the last owner before the network healed, and the corrupt replica never falls silent: the run
/// ended when the network healed, and a correct replica that was still behind was blamed for what it showed.
#[test]
fn a_run_ends_when_the_last_correct_replica_has_executed_everything() {
    let options = Options::default();
    for seed in [1237, 1427] {
        assert_sound(&run(seed, &options, keyring()), &options);
    }
}

/// Seeds whose corrupt replica, of this strategy, was found out: by what it sent, or by what it had ordered.
fn faults(name: &str, seeds: u64) -> u64 {
    let options = Options { replicas: Some(4), adversary: Strategy::find(name), ..Options::default() };
    let found = (1..=seeds).map(|seed| {
        let report = run(seed, &options, keyring());
        assert_sound(&report, &options);
        u64::from(report.counts.contains_key("fault reported"))
    });
    found.sum()
}

#[test]
fn bad_and_early_decryption_shares_and_false_heads_are_found_out() {
    for name in ["bad-openings", "early-openings", "bad-heads"] {
        assert!(faults(name, 6) > 0, "{name} goes unnoticed");
    }
}

#[test]
fn who_is_silent_about_heads_or_shows_old_ones_does_no_harm() {
    for name in ["no-heads", "stale-heads", "lying-state"] {
        let _ = faults(name, 4);
    }
}

/// The corrupt set is one of the structure's: more replicas than a third.
#[test]
fn structures_that_are_no_threshold_stand_a_whole_fail_prone_set() {
    let options = Options { structure: Some(("classes-9.toml".into(), plan::nine())), ..Options::default() };
    for seed in 1..3 {
        let plan = Plan::draw(seed, &options);
        let failed = plan.corrupt.keys().copied().chain(plan.forgetful).collect();
        assert!(plan.corrupt.is_empty() || plan.committee.fail_prone_sets().unwrap().contains(&failed));
        assert_sound(&run(seed, &options, keyring()), &options);
    }
}

#[test]
fn most_universes_are_small_and_some_have_structures() {
    let plans: Vec<Plan> = (0..2000).map(|seed| Plan::draw(seed, &Options::default())).collect();
    let with = |count: &dyn Fn(&Plan) -> bool| plans.iter().filter(|plan| count(plan)).count();
    assert!(with(&|plan| plan.n == 9) > 5 && with(&|plan| plan.n == 16) < 12);
    assert!(with(&|plan| plan.n == 4) > 1600 && with(&|plan| plan.real) == 40);
}

#[test]
fn strategies_have_names_of_their_own() {
    let mut names: Vec<&str> = STRATEGIES.iter().map(|strategy| strategy.name).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == STRATEGIES.len() && names.len() >= 18);
}
