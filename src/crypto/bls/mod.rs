//! Threshold cryptography on BLS12-381: signatures under heads, encryption of sealed operations.
//!
//! The only module that touches `threshold_crypto` (and the `ff`, `group` and `pairing` that it re-exports). One key per
//! purpose, and types per purpose: a key that signs heads decrypts nothing.
//!
//! - [`heads`]: Boneh, Lynn, Shacham, *Short Signatures from the Weil Pairing*, made threshold by Boldyreva (PKC 2003).
//!   Public keys in G1 (48 bytes), signatures in G2 (96 bytes). A quorum signs; the signature is the same whoever
//!   signed.
//! - [`sealing`]: Baek and Zheng, *Simple and Efficient Threshold Cryptosystem from the Gap Diffie–Hellman Group* (GLOBECOM
//!   2003), secure against chosen ciphertexts: a ciphertext shows that its maker knows what is in it, and everybody can
//!   check that before a share is made. A kernel opens it,
//!   whichever sets kernels are: the key is shared linearly over them ([`super::lsss`]). Heads are signed by number alone.
//!
//! # What is the crate's, and what is ours
//!
//! The crate hashes to the curve, encrypts, makes shares and unmasks plaintexts. It has no domain separation: what is
//! signed here is a digest with a domain of its own. Its hash to the curve is a sampler of its `pairing` dependency fed by
//! `rand_chacha`, so another version of either would make other signatures: vectors under `tests/golden` are frozen.
//! Checks are ours, because they need half as many final exponentiations that way, and can be done for many at a time
//! ([`group::pairings_cancel`]); tests hold them against the crate's. So is interpolation.
//!
//! Decoding: `pairing` refuses what is no point of the curve, coordinates that are not reduced, stray flag bits, and
//! points outside the subgroup of prime order (by multiplication with the order). It accepts the identity; [`group`]
//! refuses it. A committee's key shares must lie on one polynomial of the right degree, or decoding refuses them.
//!
//! Known weakness: the crate's multiplication by a secret takes a time that depends on the secret. Shares are made once
//! for each message, in the node's own loop, and leave in blocks: nobody can time one.

mod group;
pub mod heads;
mod keys;
pub mod sealing;
#[cfg(test)]
mod tests;

pub use heads::{HeadKey, HeadPublic, HeadSecret, HeadShare, HeadSignature};
pub use sealing::{Ciphertext, DecryptionShare, SealingPublic, SealingSecret, VerifiedCiphertext};

// The crate's mock feature swaps the curve for numbers below 2³¹: no build of ours takes it.
const _: () = assert!(
    threshold_crypto::PK_SIZE == 48 && threshold_crypto::SIG_SIZE == 96,
    "threshold_crypto was built with its mock feature, which is no cryptography at all"
);
