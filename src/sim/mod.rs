//! The simulator: whole replicas under virtual time, a virtual network and virtual disks, all of it drawn from one seed.
//!
//! ```text
//! seed ─▶ plan: committee, delays, incidents, adversaries, clients
//!           │
//!           ▼
//! world: one heap of events ─▶ process: Replica + MemoryStore ─▶ network ─▶ process …
//!           │                        └─ a corrupt one: honest core + adversary on its links
//!           ▼
//! check: what the network and the shells saw ─▶ a violation, with the line that replays it
//! ```
//!
//! The replicas are those that the node runs ([`crate::replica::Replica`]). What is a pure function and costs much is
//! done once instead of n times: the check of a block or of an envelope, once for a universe ([`process::CheckOnce`]);
//! the check of a signature that was made in this process, never ([`crate::crypto::ed25519::SignatureMemory`]); the
//! check of commitments to nonces and the sum of signature shares, once ([`crate::crypto::frost::FrostMemory`]); coin
//! shares, made, checked and combined once for all universes, as rounds of one epoch have the same coins everywhere
//! ([`crate::crypto::coin::CoinMemory`]). Pairings are dear: heads are signed by a stand-in that nobody can forge
//! either ([`heads`]). One seed in [`plan::REAL_EVERY`] does without all this, as does `--real`. Keys are dealt once
//! for each committee. Whatever is random comes from a ChaCha stream with a name of its own ([`stream`]), so that a
//! draw more in one place does not shift all the others. Nothing else enters: equal seeds give equal runs, event for
//! event, and [`run::Report::trace`] shows it.
//!
//! Each seed draws which faults are on and how often (swarm testing: Groce et al., ISSTA 2012): a run with everything
//! on all the time finds less than many runs that each have some of it.
//!
//! A run has two parts. Up to [`plan::Plan::heal_at`] delays, losses, partitions, crashes, disks and clocks are as bad as
//! the plan says; then the network heals and crashed replicas come back, while corrupt ones go on. From then on everything
//! that was submitted has to be executed everywhere within a bounded number of commits.
//!
//! In one universe of [`plan::REGISTRY_EVERY`] a second zone comes from a registry's primary ([`registry`]): correct
//! replicas transfer what it serves, corrupt ones are told what they like.
//!
//! # What is within f
//!
//! Corrupt replicas, and replicas whose disk was lost, damaged or set back, together ([`crate::order::startup`] says why).
//! Crashes and power cuts of an intact disk are not counted, and may hit everybody.

pub mod adversary;
pub mod check;
mod client;
mod delays;
mod heads;
mod keys;
mod links;
pub mod plan;
mod process;
mod registry;
pub mod run;
mod stream;
#[cfg(test)]
mod tests;
pub mod twins;
mod world;

pub use keys::{Keyring, Primes};
pub use plan::Options;
