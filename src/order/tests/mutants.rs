//! The hunt for planted bugs of the order ([`crate::mutants`]): the ordinary runs with their ordinary checkers. The table of all
//! hunts is made among the tests of whole replicas.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::world::Failure;
use super::{races, swarm};

/// Seeds after which a mutant counts as a survivor.
pub const SEEDS: u64 = 800;
/// After so many of them the races are run, [`RACES`] for each attack, as in their own test.
const SEEDS_BEFORE_RACES: u64 = 60;
const RACES: u64 = 120;

/// What found a mutant, and after how many runs.
pub struct Found {
    pub checker: String,
    pub runs: u64,
}

/// Which checker found it; a panic of the code itself is its own check of an invariant.
fn checker(found: &(dyn Any + Send)) -> String {
    found.downcast_ref::<Failure>().map_or("own invariant", |failure| failure.checker).into()
}

/// The first run that finds something.
pub fn hunt() -> Option<Found> {
    let swarm = |seed| {
        let found = catch_unwind(AssertUnwindSafe(|| swarm::run(seed))).err()?;
        Some(Found { checker: checker(found.as_ref()), runs: seed + 1 })
    };
    let unfair = || races::favours_a_number(RACES).or_else(|| races::unfair(4, races::Distance::Usual, RACES));
    let races = || unfair().map(|_| Found { checker: "fair order".into(), runs: SEEDS_BEFORE_RACES + RACES });
    let found = (0..SEEDS_BEFORE_RACES).find_map(swarm).or_else(races);
    found.or_else(|| (SEEDS_BEFORE_RACES..SEEDS).find_map(swarm))
}
