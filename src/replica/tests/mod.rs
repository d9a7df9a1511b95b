//! Whole replicas, from operation to published zone, under crashes, loss and silence.

mod fuzz;
mod hostile;
mod joining;
mod reload;
mod scenarios;
mod sealed;
mod world;
