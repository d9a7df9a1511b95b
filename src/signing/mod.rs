//! Signing: what is due, who signs it, and how shares become a signature. Pure.
//!
//! ```text
//! dirty names ─▶ version::plan ─▶ rrsig::to_be_signed ─▶ Scheduler::open ─┐
//!                                                                        ▼
//! blocks: nonces, shares ─▶ Scheduler::{on_nonces, on_shares} ─▶ Scheduler::step ─▶ Assignment ─▶ Signer ─▶ next block
//!                                       │
//!                                       └─▶ Event::Signed ─▶ version::apply_version ─▶ the next version of the zone
//! ```
//!
//! # FROST scheduled by the log
//!
//! FROST (RFC 9591) needs the set of signers before they sign, and nonces that are used once. An asynchronous system
//! usually has coordinators for that (ROAST, Ruffing et al., CCS 2022); here the total order does it ([`scheduler`]):
//!
//! 1. Replicas put commitments to nonces into their blocks. A commitment counts once it is ordered ([`nonces`]).
//! 2. When a task is open at the end of a commit, the coin draws a kernel of replicas that are alive and in good
//!    standing, and takes the next unused commitment of each: an attempt ([`assign`]).
//! 3. Each signer's next block carries its share. The attempt whose last share is ordered first decides the
//!    signature (`shares`); all replicas compute the same bytes from the same order.
//! 4. A signer that has not answered by the deadline is demoted, and everything that waits for it is assigned anew in
//!    the same step. So is everything whose share turned out bad: that is a fault, with the block as evidence.
//! 5. Demoted replicas are drawn only if there are not enough others. From time to time one gets a probe: a second
//!    attempt at some task, with it among the signers. Its good share restores it (`standing`).
//!
//! # Why no nonce answers twice
//!
//! * A commitment is in one attempt at most: the cursor of its author's pool only moves forward, within and across boots.
//! * An attempt's signers, commitments and message never change, and follow from the order alone. A replica that
//!   executes the same commits again, or a copy of it running beside it, is asked for the same share of the same package.
//! * A [`Signer`] takes its nonce out of memory before it computes anything. Nonces are never written down: those of
//!   an earlier process do not exist, and the first batch of the new one voids their commitments.
//! * A commitment that stands in the order under the same boot and number, but was made by another process, does not
//!   match the nonce: FROST refuses the package (RFC 9591 §5.2 presumes it; the library checks it).
//!
//! # Why it goes on with f liars
//!
//! While a kernel has nonces, every open task is assigned or waits for a deadline. An attempt fails only by a signer
//! that is demoted for it. With n − f ≥ f + 1 correct signers in good standing or drawn for want of others, deadlines
//! that double in the end outlast the delay of any message, and a late share still completes its attempt. Liars that
//! answer probes and fail in earnest pay with probes that are ever farther apart; liars that claim a restart are
//! treated likewise.
//!
//! # Deviations
//!
//! * ROAST keeps every session open for ever; here the sixteen latest attempts at a task count
//!   ([`crate::limits::MAX_LIVE_ATTEMPTS`]), which an adversary would have to outlast by delaying for hours.
//! * An author's batches need not be numbered without gaps, only upwards: a block may be lost with the batch in it.
//! * Certificates are not FROST: threshold RSA (Shoup, EUROCRYPT 2000) needs neither nonces nor a fixed set. A kernel is
//!   asked, then everybody; any kernel of good shares is enough.

pub mod assign;
mod book;
pub mod heartbeat;
pub mod nonces;
pub mod policy;
pub mod renewal;
pub mod rrsig;
pub mod scheduler;
mod shares;
pub mod signer;
mod standing;
pub mod stored;
pub mod task;
#[cfg(test)]
mod tests;
pub mod version;
pub mod zonemd;

pub use assign::Step;
pub use nonces::{NonceBatch, NonceRef};
pub use scheduler::{Event, Fault, FaultKind, RsaCombiner, Scheduler, UnknownKey};
pub use signer::{RsaSigner, Signer};
pub use stored::CorruptRows;
pub use task::{Assignment, KeyId, Role, Share, ShareEntry, TaskId};
