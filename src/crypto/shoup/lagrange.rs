//! Interpolation over the integers: Lagrange coefficients made whole by Δ = n! (Shoup §3.1, equation 1).

use crypto_bigint::{Limb, NonZero, U1024, Uint};

use super::number::{Element, Ring};

/// Holds every number here for n ≤ 64: Δ is below 2²⁹⁶, and Δ times all differences below 2⁶⁷⁵.
pub(super) type Coefficient = U1024;

const _: () = assert!(crate::limits::MAX_REPLICAS <= 64);

/// Δ = n!
pub(super) fn delta(n: usize) -> Coefficient {
    (2..=n as u64).fold(Coefficient::ONE, |product, factor| product.wrapping_mul(&Uint::<1>::from_u64(factor)))
}

/// λ_{at,j} = Δ ∏ (at − j')/(j − j') over the other j' of `set`: magnitude, and whether it is negative. An integer
/// for `at`, j, j' in 0…n. `set` holds distinct indices, j among them, `at` not.
pub(super) fn coefficient(delta: &Coefficient, at: u8, set: &[u8], j: u8) -> (Coefficient, bool) {
    let others = || set.iter().copied().filter(|&other| other != j);
    let product = others()
        .fold(*delta, |product, other| product.wrapping_mul(&Uint::<1>::from_u64(u64::from(at.abs_diff(other)))));
    let magnitude = others().fold(product, |quotient, other| {
        let divisor = NonZero::new(Limb::from(j.abs_diff(other))).expect("the indices are distinct");
        quotient.div_rem_limb(divisor).0
    });
    let negative = others().filter(|&other| (at < other) != (j < other)).count() % 2 == 1;
    (magnitude, negative)
}

/// `(P, M)` with P/M = ∏ powers_j^{λ_{at,j}}: interpolation in the exponent, without inverses.
pub(super) fn interpolate(ring: &Ring, delta: &Coefficient, at: u8, powers: &[(u8, Element)]) -> (Element, Element) {
    let set: Vec<u8> = powers.iter().map(|&(index, _)| index).collect();
    let mut fraction = (ring.one(), ring.one());
    for (j, power) in powers {
        let (magnitude, negative) = coefficient(delta, at, &set, *j);
        let side = if negative { &mut fraction.1 } else { &mut fraction.0 };
        *side = side.mul(&power.pow_vartime(&magnitude));
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ λ_{0,j} f(j) = Δ f(0), with f(X) = X² + 3X + 5.
    #[test]
    fn coefficients_interpolate_a_polynomial_at_zero() {
        let f = |x: i128| x * x + 3 * x + 5;
        for n in [4usize, 7, 13] {
            let delta = delta(n);
            for set in [[1u8, 2, 3], [2, 3, 4], [1, n as u8 / 2 + 1, n as u8]] {
                let sum: i128 = set.iter().map(|&j| signed(coefficient(&delta, 0, &set, j)) * f(j.into())).sum();
                assert_eq!(sum, signed((delta, false)) * f(0), "n = {n}, set {set:?}");
            }
        }
    }

    #[test]
    fn the_largest_coefficients_are_exact() {
        let delta = delta(64);
        assert_eq!(delta.bits_vartime(), 296);
        let set: Vec<u8> = (43..=64).collect();
        for &j in &set {
            let (magnitude, _) = coefficient(&delta, 0, &set, j);
            let back = set.iter().filter(|&&other| other != j).fold(magnitude, |product, &other| {
                product.wrapping_mul(&Uint::<1>::from_u64(u64::from(j.abs_diff(other))))
            });
            let expected = set
                .iter()
                .filter(|&&other| other != j)
                .fold(delta, |product, &other| product.wrapping_mul(&Uint::<1>::from_u64(u64::from(other))));
            assert_eq!(back, expected);
        }
    }

    fn signed((magnitude, negative): (Coefficient, bool)) -> i128 {
        let words = magnitude.to_words();
        assert!(words[2..].iter().all(|&word| word == 0));
        let value = (i128::from(words[1]) << 64) | i128::from(words[0]);
        if negative { -value } else { value }
    }
}
