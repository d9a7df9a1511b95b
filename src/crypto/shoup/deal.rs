//! The dealer (Shoup §3.1): an offline ceremony that ends with the primes and the private exponent forgotten.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{NonZero, Odd, RandomMod, Uint};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::number::{LIMBS, Randomness};
use super::prime::PRIME_LIMBS;
use super::{EXPONENT, KeyError, RsaPublic, RsaSecret, SafePrime};
use crate::committee::Committee;
use crate::limits::RSA_PRIME_BITS;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DealError {
    #[error("a prime of {bits} bits; a key takes two of {RSA_PRIME_BITS}, with the two highest bits set")]
    PrimeSize { bits: u32 },
    #[error("the primes agree in their first hundred bits: their product can be factored")]
    PrimesTooClose,
    #[error("the dealt key fails its own check, so a prime is not a safe prime: {0}")]
    Key(#[from] KeyError),
}

/// A key of which any kernel of the committee can sign, and the replicas' shares in their order. The primes are wiped.
///
/// Takes two primes of 1024 bits from [`super::generate_safe_prime`].
pub fn deal(
    committee: &Committee,
    p: SafePrime,
    q: SafePrime,
    rng: &mut impl CryptoRngCore,
) -> Result<(RsaPublic, Vec<RsaSecret>), DealError> {
    check_primes(&p, &q)?;
    let modulus: Uint<LIMBS> = p.0.concatenating_mul(&*q.0);
    let generator = square_generator(&modulus, rng);
    let exponents = share_exponent(committee, &p, &q, rng);
    let ring = FixedMontyParams::new(Odd::new(modulus).expect("a product of odd primes"));
    let base = FixedMontyForm::new(&generator, &ring);
    let verification = exponents.iter().map(|exponent| base.pow(&**exponent).retrieve()).collect();
    let public = RsaPublic::new(modulus, committee, generator, verification)?;
    public.check()?;
    let secrets = committee.ids().zip(exponents).map(|(owner, exponent)| RsaSecret::new(owner, exponent)).collect();
    Ok((public, secrets))
}

/// The size, and FIPS 186-5 §A.1.1: |p − q| > 2^{1024 − 100}.
fn check_primes(p: &SafePrime, q: &SafePrime) -> Result<(), DealError> {
    for prime in [p, q] {
        let bits = prime.0.bits();
        if bits != RSA_PRIME_BITS || !prime.0.bit_vartime(RSA_PRIME_BITS - 2) {
            return Err(DealError::PrimeSize { bits });
        }
    }
    let (larger, smaller) = if *p.0 > *q.0 { (p, q) } else { (q, p) };
    let distance = Zeroizing::new(larger.0.wrapping_sub(&*smaller.0));
    if distance.bits() <= RSA_PRIME_BITS - 100 { Err(DealError::PrimesTooClose) } else { Ok(()) }
}

/// v: a random square of order p'q'. That is one which is 1 modulo neither p nor q.
fn square_generator(modulus: &Uint<LIMBS>, rng: &mut impl CryptoRngCore) -> Uint<LIMBS> {
    let nonzero = NonZero::new(*modulus).expect("a product of primes");
    loop {
        let square = Uint::random_mod_vartime(&mut Randomness(rng), &nonzero).square_mod(&nonzero);
        let coprime = |number: &Uint<LIMBS>| number.gcd_vartime(modulus) == Uint::ONE;
        if coprime(&square) && coprime(&square.wrapping_sub(&Uint::ONE)) {
            return square;
        }
    }
}

/// `f(1)`, …, `f(n)` for a random polynomial f of degree k − 1 over ℤ_m with f(0) = e⁻¹, where m = p'q'.
fn share_exponent(
    committee: &Committee,
    p: &SafePrime,
    q: &SafePrime,
    rng: &mut impl CryptoRngCore,
) -> Vec<Zeroizing<Uint<LIMBS>>> {
    let half = |prime: &SafePrime| Zeroizing::new(prime.0.shr_vartime(1));
    let order: Zeroizing<Uint<LIMBS>> = Zeroizing::new(half(p).concatenating_mul(&*half(q)));
    let order = Zeroizing::new(Odd::new(*order).expect("a product of odd primes"));
    let ring = Zeroizing::new(FixedMontyParams::new(*order));
    let element = |number: &Uint<LIMBS>| Zeroizing::new(FixedMontyForm::new(number, &ring));

    let private = Option::from(Uint::<LIMBS>::from(EXPONENT).invert_odd_mod(&order));
    let private = Zeroizing::new(private.expect("e is prime, and p' and q' are larger primes"));
    let mut coefficients = vec![element(&private)];
    for _ in 1..committee.signing_threshold() {
        let random = Uint::random_mod_vartime(&mut Randomness(rng), order.as_nz_ref());
        coefficients.push(element(&Zeroizing::new(random)));
    }
    committee
        .ids()
        .map(|id| {
            let index = element(&Uint::from(id.0 + 1));
            let zero = Zeroizing::new(FixedMontyForm::zero(&ring));
            let value = coefficients
                .iter()
                .rev()
                .fold(zero, |value, coefficient| Zeroizing::new(value.mul(&index).add(coefficient)));
            Zeroizing::new(value.retrieve())
        })
        .collect()
}

const _: () = assert!(2 * PRIME_LIMBS == LIMBS);
