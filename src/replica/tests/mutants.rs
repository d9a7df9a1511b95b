//! Scenarios of whole replicas in which planted bugs ([`crate::mutants`]) are looked for: those of this directory, each
//! with its own claims.

use super::fixture::fixture;
use super::{hostile, joining, scenarios, sealed};

type Scenario = (&'static str, fn());

pub const SCENARIOS: &[Scenario] = &[
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

/// Deals the keys, before any mistake is planted.
pub fn deal() {
    let _ = fixture();
}
