//! Sums of points with Lagrange coefficients.
//!
//! The coefficients of few shares are fractions of small numbers with a small common denominator d; for shares 1, 2 and 3
//! they are 3, −3 and 1. As numbers modulo the group's order the fractions look like any others, and multiplying by such a
//! number takes 250 doublings. Hence the sum is taken with the numerators, in a few doublings, and then multiplied by 1/d,
//! if d is not 1: the same point for a fraction of the cost. Where there is no small d the sum is taken as it is.

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, VartimeMultiscalarMul};

use crate::limits::{MAX_DENOMINATOR, MAX_NUMERATOR};

/// Coefficients of points that are known by their rows.
pub(super) enum WeightedSum {
    /// Numerators, and 1/d unless d is 1.
    Fractions(Vec<(usize, i64)>, Option<Scalar>),
    Any(Vec<(usize, Scalar)>),
}

impl WeightedSum {
    pub fn new(coefficients: Vec<(usize, Scalar)>) -> Self {
        let mut scaled: Vec<Scalar> = vec![Scalar::ZERO; coefficients.len()];
        for denominator in 1..=MAX_DENOMINATOR {
            scaled.iter_mut().zip(&coefficients).for_each(|(sum, (_, coefficient))| *sum += coefficient);
            let numerators: Option<Vec<i64>> = scaled.iter().map(small).collect();
            if let Some(numerators) = numerators {
                let inverse = (denominator > 1).then(|| Scalar::from(denominator).invert());
                let rows = coefficients.iter().map(|(row, _)| *row);
                return Self::Fractions(rows.zip(numerators).collect(), inverse);
            }
        }
        Self::Any(coefficients)
    }

    /// The sum over the points, by row. `None` if one is missing.
    pub fn of(&self, points: &[Option<RistrettoPoint>]) -> Option<RistrettoPoint> {
        let point = |row: usize| *points.get(row)?;
        match self {
            Self::Any(coefficients) => {
                let scalars = coefficients.iter().map(|(_, factor)| factor);
                RistrettoPoint::optional_multiscalar_mul(scalars, coefficients.iter().map(|(row, _)| point(*row)))
            }
            Self::Fractions(numerators, inverse) => {
                let terms: Option<Vec<_>> =
                    numerators.iter().map(|(row, numerator)| Some((*numerator, point(*row)?))).collect();
                let sum = small_sum(&terms?);
                Some(inverse.map_or(sum, |inverse| sum * inverse))
            }
        }
    }
}

/// The number of which `scalar` is the residue, if it is small.
fn small(scalar: &Scalar) -> Option<i64> {
    let positive = |scalar: &Scalar| {
        let (low, high) = scalar.as_bytes().split_first_chunk::<8>()?;
        let number = u64::from_le_bytes(*low);
        (number <= MAX_NUMERATOR && high.iter().all(|&byte| byte == 0)).then_some(number as i64)
    };
    positive(scalar).or_else(|| positive(&-scalar).map(|number| -number))
}

/// By Horner's rule over the bits of all numbers at once.
fn small_sum(terms: &[(i64, RistrettoPoint)]) -> RistrettoPoint {
    let bits = terms.iter().map(|(number, _)| u64::BITS - number.unsigned_abs().leading_zeros()).max().unwrap_or(0);
    let mut sum = RistrettoPoint::identity();
    for bit in (0..bits).rev() {
        sum += sum;
        for (number, point) in terms.iter().filter(|(number, _)| number.unsigned_abs() >> bit & 1 == 1) {
            sum = if *number < 0 { sum - point } else { sum + point };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: u64) -> Vec<Option<RistrettoPoint>> {
        (1..=count).map(|number| Some(RistrettoPoint::mul_base(&Scalar::from(number * number + 7)))).collect()
    }

    fn naive(coefficients: &[(usize, Scalar)], points: &[Option<RistrettoPoint>]) -> RistrettoPoint {
        coefficients.iter().map(|(row, factor)| points[*row].unwrap() * factor).sum()
    }

    #[test]
    fn a_sum_is_the_same_whichever_way_it_is_taken() {
        let points = points(4);
        let third = Scalar::from(3u64).invert();
        let odd = Scalar::from_bytes_mod_order([7; 32]);
        let number =
            |number: i64| if number < 0 { -Scalar::from(number.unsigned_abs()) } else { Scalar::from(number as u64) };
        let cases = [
            (vec![(0, number(3)), (1, number(-3)), (2, number(1))], Some(false)),
            (vec![(0, number(8) * third), (1, number(-2)), (3, third)], Some(true)),
            (vec![(0, Scalar::ZERO), (2, number(-1))], Some(false)),
            (vec![(0, odd), (1, number(-2)), (3, third)], None),
            (vec![], Some(false)),
        ];
        for (coefficients, divides) in cases {
            let sum = WeightedSum::new(coefficients.clone());
            let found = match &sum {
                WeightedSum::Fractions(_, inverse) => Some(inverse.is_some()),
                WeightedSum::Any(_) => None,
            };
            assert_eq!(found, divides);
            assert_eq!(sum.of(&points), Some(naive(&coefficients, &points)));
        }
    }

    #[test]
    fn a_sum_without_one_of_its_points_is_none() {
        let mut points = points(3);
        points[1] = None;
        for factor in [Scalar::ONE, Scalar::from_bytes_mod_order([7; 32])] {
            let sum = WeightedSum::new(vec![(0, factor), (1, factor)]);
            assert_eq!(sum.of(&points), None);
            assert_eq!(sum.of(&[]), None);
        }
    }
}
