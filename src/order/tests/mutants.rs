//! Runs of the order alone in which planted bugs ([`crate::mutants`]) are looked for: the ordinary ones.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::checks::Failure;
pub use super::swarm::Bias;
pub use super::world::Behaviour;
use super::{races, scenarios, swarm};

/// Races for each attack, as in their own test.
const RACES: u64 = 120;

/// Graphs drawn by hand, each with its own claims.
pub const SCENARIOS: &[(&str, fn())] =
    &[("order by arrival", scenarios::a_back_dated_block_comes_after_what_correct_replicas_had_before_it)];

/// What found something, and what it says. A panic of the code itself is its own check of an invariant.
fn finding(panic: &(dyn Any + Send)) -> (String, String) {
    let of_checker = panic.downcast_ref::<Failure>();
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    of_checker.map_or(("own invariant".into(), text), |failure| (failure.checker.into(), failure.detail.clone()))
}

/// What, if anything, is found in what `run` does.
fn findings<T>(run: impl FnOnce() -> T) -> Result<T, (String, String)> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| finding(panic.as_ref()))
}

/// Runs the cluster or the graphs of a seed.
pub fn cluster(seed: u64, bias: Bias) -> Option<(String, String)> {
    findings(|| swarm::run(seed, bias)).err()
}

/// Runs races: nobody wins more than its share.
pub fn races() -> Option<(String, String)> {
    let unfair = || races::favours_a_number(RACES).or_else(|| races::unfair(4, races::Distance::Usual, RACES));
    findings(unfair).map_or_else(Some, |unfair| Some(("fair order".into(), unfair?)))
}
