//! Whole replicas, from operation to published zone, under crashes, loss and silence.

mod hostile;
mod joining;
mod reload;
mod scenarios;
mod sealed;
mod world;
