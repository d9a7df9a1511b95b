//! Every planted bug of [`crate::mutants`] is found by the ordinary runs and checkers. `make mutants` prints the table.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use super::world::Failure;
use super::{races, swarm};
use crate::mutants::{Mutant, plant};

/// Seeds after which a mutant counts as a survivor.
const SEEDS: u64 = 800;
/// After so many of them the races are run, [`RACES`] for each attack, as in their own test.
const SEEDS_BEFORE_RACES: u64 = 60;
const RACES: u64 = 120;

/// What found a mutant, and after how many runs.
struct Found {
    checker: String,
    runs: u64,
}

/// Which checker found it; a panic of the code itself is its own check of an invariant.
fn checker(found: &(dyn Any + Send)) -> String {
    match found.downcast_ref::<Failure>() {
        Some(failure) => failure.checker.into(),
        None => "own invariant".into(),
    }
}

/// The first run that finds the mutant.
fn hunt(mutant: Option<Mutant>) -> Option<Found> {
    plant(mutant);
    let swarm = |seed| {
        let found = catch_unwind(AssertUnwindSafe(|| swarm::run(seed))).err()?;
        Some(Found { checker: checker(found.as_ref()), runs: seed + 1 })
    };
    let unfair = || races::favours_a_number(RACES).or_else(|| races::unfair(4, races::Distance::Usual, RACES));
    let races = || unfair().map(|_| Found { checker: "fair order".into(), runs: SEEDS_BEFORE_RACES + RACES });
    let found = (0..SEEDS_BEFORE_RACES).find_map(swarm).or_else(races);
    let found = found.or_else(|| (SEEDS_BEFORE_RACES..SEEDS).find_map(swarm));
    plant(None);
    found
}

/// The mutants to hunt, and first the correct code, which nothing may find.
fn chosen() -> Vec<Option<Mutant>> {
    let wanted = std::env::var("TORRENS_MUTANT").ok();
    let is_wanted = |mutant: &Option<Mutant>| {
        let name = mutant.map_or("None".into(), |mutant| format!("{mutant:?}"));
        wanted.as_ref().is_none_or(|names| names.split(',').any(|wanted| *wanted == name))
    };
    [None].into_iter().chain(Mutant::ALL.iter().copied().map(Some)).filter(is_wanted).collect()
}

#[test]
fn no_planted_bug_survives() {
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:<28} {:<22} {:>6} {:>9}", "mutant", "killed by", "runs", "seconds");
    let (open, wrong) = (Mutex::new(chosen().into_iter()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(mutant) = { open.lock().unwrap().next() } {
            let start = Instant::now();
            let found = hunt(mutant);
            let name = mutant.map_or("(none planted)".into(), |mutant| format!("{mutant:?}"));
            let by = found.as_ref().map_or("SURVIVES", |found| &found.checker);
            let runs = found.as_ref().map_or(SEEDS, |found| found.runs);
            println!("{name:<28} {by:<22} {runs:>6} {:>9.1}", start.elapsed().as_secs_f64());
            if found.is_some() == mutant.is_none() {
                wrong.lock().unwrap().push(name);
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let _ = std::panic::take_hook();
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:?}: a planted bug that survives, or something found where none is planted");
}
