//! Whole replicas, from operation to published zone, under crashes, loss and silence.

mod fixture;
mod freshness;
mod fuzz;
mod hostile;
mod joining;
#[cfg(feature = "mutants")]
pub mod mutants;
mod registry;
mod reload;
mod scenarios;
mod sealed;
mod world;
