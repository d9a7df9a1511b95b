//! Safe primes: p such that (p − 1)/2 is prime too.

use std::fmt;
use std::num::NonZeroU32;

use crypto_bigint::{Odd, Uint};
use crypto_primes::Flavor;
use crypto_primes::fips::{FipsOptions, is_prime};
use crypto_primes::hazmat::{MillerRabin, SetBits, SmallFactorsSieve, random_odd_integer};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::DealError;
use super::number::{LIMBS, Randomness};
use crate::limits::RSA_PRIME_BITS;

pub(super) const PRIME_LIMBS: usize = LIMBS / 2;

/// A safe prime of a key to be dealt. Not `Clone`; wiped when dropped.
pub struct SafePrime(pub(super) Zeroizing<Uint<PRIME_LIMBS>>);

impl fmt::Debug for SafePrime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SafePrime([redacted])")
    }
}

/// A random safe prime of `bits` bits with its two highest bits set, so that a product of two has twice as many bits.
///
/// `progress` is told how many candidates were tried so far, after each; a prime of 1024 bits takes some 1,700 of them.
/// Primality as in FIPS 186-5 §B.3.1: random Miller–Rabin rounds for an error below 2⁻¹²⁸, and a Lucas test.
pub fn generate_safe_prime(
    bits: u32,
    rng: &mut impl CryptoRngCore,
    progress: &mut dyn FnMut(u64),
) -> Result<SafePrime, DealError> {
    let length = NonZeroU32::new(bits).filter(|_| (128..=RSA_PRIME_BITS).contains(&bits));
    let length = length.ok_or(DealError::PrimeSize { bits })?;
    let test = FipsOptions::with_error_bound(bits, 128).expect("reached from 128 bits on").with_lucas_test();
    let mut candidates = 0;
    loop {
        let start = random_odd_integer::<Uint<PRIME_LIMBS>, _>(&mut Randomness(rng), length, SetBits::TwoMsb)
            .expect("the bits were checked to fit the integer");
        let start = Zeroizing::new(start.get());
        let sieve = SmallFactorsSieve::new(*start, length, true).expect("the bits were checked to fit the integer");
        for candidate in sieve.map(Zeroizing::new) {
            candidates += 1;
            progress(candidates);
            if may_be_safe(&candidate) && is_prime(&mut Randomness(rng), Flavor::Safe, &*candidate, test) {
                return Ok(SafePrime(candidate));
            }
        }
    }
}

/// One Miller–Rabin round on (p − 1)/2 and on p, which nearly every composite fails.
fn may_be_safe(candidate: &Uint<PRIME_LIMBS>) -> bool {
    [candidate.shr_vartime(1), *candidate].into_iter().all(|number| {
        Option::<Odd<_>>::from(Odd::new(number))
            .is_some_and(|odd| MillerRabin::new(odd).test_base_two().is_probably_prime())
    })
}

/// Two safe primes of 1024 bits that everybody knows, for tests.
#[cfg(any(test, feature = "fixtures"))]
pub fn fixture_primes() -> (SafePrime, SafePrime) {
    let mut primes = all_fixture_primes();
    let mut next = || primes.next().expect("the fixture has several primes");
    (next(), next())
}

#[cfg(any(test, feature = "fixtures"))]
pub(super) fn all_fixture_primes() -> impl Iterator<Item = SafePrime> {
    const LINES: &str = include_str!("../../../tests/fixtures/safe_primes.txt");
    let primes = LINES.lines().filter(|line| !line.starts_with('#'));
    primes.map(|line| SafePrime(Zeroizing::new(Uint::from_be_hex(line))))
}
