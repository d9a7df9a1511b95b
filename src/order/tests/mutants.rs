//! Every planted bug of [`crate::mutants`] is found by the ordinary runs and checkers. `make mutants` prints the table.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::world::Failure;
use super::{races, swarm};
use crate::mutants::{Mutant, plant};

/// Seeds after which a mutant counts as a survivor.
const SEEDS: u64 = 500;

/// Races for each attack, for those that the seeds do not find.
const RACES: u64 = 200;

/// Which checker found it; a panic of the code itself is its own check of an invariant.
fn checker(found: &(dyn Any + Send)) -> &'static str {
    found.downcast_ref::<Failure>().map_or("own invariant", |failure| failure.checker)
}

/// The first seed that finds the mutant, and the checker.
fn hunt(mutant: Mutant) -> Option<(u64, &'static str)> {
    plant(Some(mutant));
    let found = (0..SEEDS).find_map(|seed| {
        let found = catch_unwind(AssertUnwindSafe(|| swarm::run(seed))).err()?;
        Some((seed, checker(found.as_ref())))
    });
    let unfair = || races::favours_a_number(RACES).or_else(|| races::unfair(4, races::Distance::Usual, RACES));
    let found = found.or_else(|| unfair().map(|_| (SEEDS + RACES, "fair order")));
    plant(None);
    found
}

#[test]
fn no_planted_bug_survives() {
    let wanted = std::env::var("TORRENS_MUTANT").ok();
    let mutants = Mutant::ALL.iter().filter(|mutant| {
        wanted.as_ref().is_none_or(|names| names.split(',').any(|name| name == format!("{mutant:?}")))
    });
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:<28} {:<22} {:>6} {:>9}", "mutant", "killed by", "seeds", "seconds");
    let mut survivors = Vec::new();
    for &mutant in mutants {
        let start = Instant::now();
        let found = hunt(mutant);
        let (seeds, by) = found.map_or((SEEDS, "SURVIVES"), |(seed, checker)| (seed + 1, checker));
        println!("{:<28} {by:<22} {seeds:>6} {:>9.1}", format!("{mutant:?}"), start.elapsed().as_secs_f64());
        if found.is_none() {
            survivors.push(mutant);
        }
    }
    let _ = std::panic::take_hook();
    assert!(survivors.is_empty(), "{survivors:?} survive");
}
