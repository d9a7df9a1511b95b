//! Every planted bug of [`crate::mutants`] is found by the ordinary runs and checkers. `make mutants` prints the table.
//!
//! Bugs of the order are hunted in clusters of orders alone. Those of the rest of a replica are hunted in the scenarios of
//! this directory: whole replicas under crashes, thieves, liars and floods, each with its own claims.

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::time::Instant;

use super::world::fixture;
use super::{hostile, joining, scenarios, sealed};
use crate::mutants::{Mutant, plant};
use crate::order::tests::mutants as order;
use crate::order::tests::mutants::Found;

type Scenario = (&'static str, fn());

const SCENARIOS: &[Scenario] = &[
    (
        "a flood of junk",
        hostile::a_peer_that_floods_junk_is_not_heard_until_the_next_tick_and_then_asked_for_what_it_has,
    ),
    ("checks at the door", sealed::a_mauled_envelope_is_refused_at_the_door),
    ("blame once", hostile::equivocation_is_said_once_also_across_restarts_and_its_proof_is_kept),
    ("agreement", scenarios::all_replicas_show_the_same_zone_and_outcomes_and_fall_silent),
    ("a lying server", joining::one_lying_server_is_given_up_and_the_copy_is_not),
    ("equal rows", joining::a_replica_far_behind_copies_the_state_and_its_rows_are_a_veterans_ever_after),
    ("order of sealed", sealed::nothing_after_a_sealed_operation_is_executed_before_it),
    ("the thief", sealed::who_reads_everything_and_orders_first_cannot_take_a_sealed_name),
    ("a crash", scenarios::a_replica_that_crashes_and_restarts_catches_up),
    ("all are cut", sealed::an_envelope_that_waits_when_all_are_cut_is_opened_after_the_restart),
    ("a lost disk", joining::a_replica_that_lost_its_disk_joins_under_its_old_name),
];

/// The first run that finds the mutant.
fn hunt(mutant: Option<Mutant>) -> Option<Found> {
    let whole = |(at, (name, scenario)): (usize, &Scenario)| {
        catch_unwind(scenario).err().map(|_| Found { checker: (*name).into(), runs: at as u64 + 1 })
    };
    plant(mutant);
    let of_replica = mutant.is_none_or(Mutant::is_of_replica);
    let found = of_replica.then(|| SCENARIOS.iter().enumerate().find_map(whole)).flatten();
    let of_order = !mutant.is_some_and(Mutant::is_of_replica);
    let found = found.or_else(|| of_order.then(order::hunt).flatten());
    plant(None);
    found
}

/// The mutants to hunt, and first the correct code, in which nothing may be found.
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
    fixture();
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:<28} {:<22} {:>6} {:>9}", "mutant", "killed by", "runs", "seconds");
    let (open, wrong) = (Mutex::new(chosen().into_iter()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(mutant) = { open.lock().unwrap().next() } {
            let start = Instant::now();
            let found = hunt(mutant);
            let name = mutant.map_or("(none planted)".into(), |mutant| format!("{mutant:?}"));
            let all = if mutant.is_some_and(Mutant::is_of_replica) { SCENARIOS.len() as u64 } else { order::SEEDS };
            let by = found.as_ref().map_or("SURVIVES", |found| &found.checker);
            let runs = found.as_ref().map_or(all, |found| found.runs);
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
