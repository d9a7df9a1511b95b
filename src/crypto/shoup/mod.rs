//! Threshold RSA signatures of Victor Shoup, *Practical Threshold Signatures* (EUROCRYPT 2000), protocol 1 (§3.1):
//! any k = f + 1 of n shares make one RSA signature, PKCS#1 v1.5 with SHA-256 (RFC 8017 §8.2), and k − 1 learn nothing.
//!
//! A dealer takes safe primes p = 2p' + 1 and q = 2q' + 1, N = pq, m = p'q', and shares d = e⁻¹ mod m by a polynomial f
//! of degree k − 1 over ℤ_m: replica i holds `s_i = f(i)`, and everybody v ∈ Q_N and `v_i = v^{s_i}` ([`deal`]). With
//! Δ = n! and x the encoded message, a share is `x_i = x^{2Δ s_i}` with a proof that its logarithm is that of `v_i`
//! ([`RsaSecret::share`], `proof`). Shares combine by integer Lagrange coefficients ([`RsaPublic::combine`]).
//!
//! The scheme is non-interactive and robust, and the signature is *unique*: the same 256 bytes whoever signed, equal to
//! those of a plain RSA key. A modulus here signs X.509 only (or one zone only): its bytes carry no domain tag.
//!
//! Cost on one core: a share 20 ms, of which its maker's own verification is 8; to combine 2 of 4 shares and verify the
//! signature 0.4 ms, and 8.5 ms more for each share whose proof is looked at; a safe prime a quarter of a second to two.
//!
//! Deviations
//! - Indices i of the paper are 1…n; replica `r` has i = r + 1.
//! - The combined signature is checked first, and the proofs only if that check fails (as Shoup suggests in §3.1 for
//!   the optimistic case).
//! - x̃ is x^{4Δ} and the nonce r has 2559 bits, which is 257 more than `s_i c` can have: hiding is as in the paper, and
//!   z = `s_i c` + r always fits in 2560 bits. L₁ = 256.
//! - The challenge covers the whole statement (N, e, n, k, i, and `x_i` itself beside its square), not v, x̃, v_i, x_i²,
//!   v', x' alone, so that a proof fits one key, one replica, one message and one representative of ±x_i.
//! - r is hedged: derived from the secret, the message and fresh randomness together, so that a broken or repeated
//!   random generator does not reveal `s_i`.
//! - The base of the secret exponentiation is blinded by a random power of v (removed again through `v_i`), on top of
//!   constant-time exponentiation. A maker verifies its own share before it is released, so a computation fault is an
//!   error and not a leak.
//! - [`RsaPublic::check`] also verifies, in the exponent, that the `v_i` lie on one polynomial of degree k − 1 that
//!   shares e⁻¹.

#[cfg(all(feature = "fixtures", not(debug_assertions)))]
compile_error!("feature `fixtures` brings RSA keys whose primes are public: it is for debug builds only");

mod combine;
mod deal;
mod lagrange;
mod number;
mod pkcs1;
mod prime;
mod proof;
mod public;
mod share;
#[cfg(test)]
mod tests;

pub use combine::{CombineError, Combined};
pub use deal::{DealError, deal};
pub use pkcs1::encode_pkcs1v15_sha256;
#[cfg(any(test, feature = "fixtures"))]
pub use prime::fixture_primes;
pub use prime::{SafePrime, generate_safe_prime};
pub use public::{KeyError, RsaPublic};
pub use share::{RsaSecret, RsaShare, ShareError};

/// The public exponent: prime, and larger than any n, as the scheme needs.
pub const EXPONENT: u32 = 65537;

const _: () = assert!(crate::limits::MAX_REPLICAS < EXPONENT as usize);
