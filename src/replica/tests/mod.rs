//! Whole replicas, from operation to published zone, under crashes, loss and silence.

mod fuzz;
mod hostile;
mod joining;
#[cfg(feature = "mutants")]
mod mutants;
mod reload;
mod scenarios;
mod sealed;
mod world;
