//! Linear secret sharing for structures made of threshold gates.
//!
//! Benaloh and Leichter, *Generalized Secret Sharing and Monotone Functions* (CRYPTO '88), with Shamir's scheme at each
//! gate, as in Cachin, *Distributing Trust on the Internet*, §4.2; linear in the sense of Cramer, Damgård and Maurer
//! (EUROCRYPT 2000). The secret is the value of the formula's root. A gate that needs k of m inputs draws a polynomial of
//! degree k − 1 with its own value at 0; its i-th input's value is the polynomial at i + 1. What reaches a leaf is a
//! *row*: a sub-share of the leaf's replica, which holds as many as the formula names it.
//!
//! By induction over the formula: a set that satisfies it recombines the secret with coefficients that depend on the set
//! alone, products of the gates' Lagrange coefficients; to any other set every secret is equally likely, since some gate
//! on each path to the root leaves it with at most k − 1 points of a polynomial of degree k − 1.
//!
//! A plain threshold is one gate, thus exactly Shamir's scheme with abscissa id + 1 and one row for each replica.

use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRngCore;
use zeroize::{Zeroize, Zeroizing};

use crate::committee::{Formula, ReplicaId, ReplicaSet};

/// A field of prime order, larger than any gate has inputs.
pub trait Field: Clone + PartialEq + Zeroize {
    fn zero() -> Self;
    fn one() -> Self;
    fn from_u64(number: u64) -> Self;
    /// All elements are equally likely.
    fn random(rng: &mut impl CryptoRngCore) -> Self;
    #[must_use]
    fn plus(&self, other: &Self) -> Self;
    #[must_use]
    fn minus(&self, other: &Self) -> Self;
    #[must_use]
    fn times(&self, other: &Self) -> Self;
    /// `None` of zero.
    fn inverse(&self) -> Option<Self>;
}

impl Field for Scalar {
    fn zero() -> Self {
        Self::ZERO
    }

    fn one() -> Self {
        Self::ONE
    }

    fn from_u64(number: u64) -> Self {
        Self::from(number)
    }

    fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self::random(rng)
    }

    fn plus(&self, other: &Self) -> Self {
        self + other
    }

    fn minus(&self, other: &Self) -> Self {
        self - other
    }

    fn times(&self, other: &Self) -> Self {
        self * other
    }

    fn inverse(&self) -> Option<Self> {
        (*self != Self::ZERO).then(|| self.invert())
    }
}

/// How secrets are shared over one structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sharing {
    formula: Formula,
    /// Owner of each row.
    owners: Vec<ReplicaId>,
}

impl Sharing {
    /// Sets that satisfy `formula` recombine, others learn nothing.
    pub fn new(formula: Formula) -> Self {
        Self { owners: formula.leaves(), formula }
    }

    /// Who is qualified.
    pub fn formula(&self) -> &Formula {
        &self.formula
    }

    /// How many sub-shares a secret has.
    pub fn rows(&self) -> usize {
        self.owners.len()
    }

    /// The replica that holds row `row`.
    pub fn owner(&self, row: usize) -> ReplicaId {
        self.owners[row]
    }

    /// The rows that `replica` holds, ascending; none if the structure does not need it.
    pub fn rows_of(&self, replica: ReplicaId) -> impl Iterator<Item = usize> + '_ {
        self.owners.iter().enumerate().filter(move |(_, owner)| **owner == replica).map(|(row, _)| row)
    }

    pub fn is_qualified(&self, set: ReplicaSet) -> bool {
        self.formula.is_satisfied(set)
    }

    /// Shares `secret`: one value for each row.
    pub fn deal<F: Field>(&self, secret: &F, rng: &mut impl CryptoRngCore) -> Zeroizing<Vec<F>> {
        // With room for all at once, no copy is left behind by growing.
        let mut rows = Zeroizing::new(Vec::with_capacity(self.rows()));
        deal_gate(&self.formula, secret, rng, &mut rows);
        rows
    }

    /// Rows of members of `available` with the coefficients that make their sum the secret; `None` if the set is not
    /// qualified. Of the ways there are, one that needs few rows: what is not needed is not to be checked either.
    pub fn coefficients<F: Field>(&self, available: ReplicaSet) -> Option<Vec<(usize, F)>> {
        let mut chosen = Vec::new();
        let (plan, _) = cheapest(&self.formula, available)?;
        recombine(&plan, 0, &F::one(), &mut chosen);
        Some(chosen)
    }
}

fn deal_gate<F: Field>(formula: &Formula, value: &F, rng: &mut impl CryptoRngCore, rows: &mut Vec<F>) {
    let (needed, inputs) = match formula {
        Formula::Replica(_) => return rows.push(value.clone()),
        Formula::Gate { needed, inputs } => (*needed, inputs),
    };
    let mut polynomial = Zeroizing::new(Vec::with_capacity(needed));
    polynomial.push(value.clone());
    polynomial.extend((1..needed).map(|_| F::random(rng)));
    for (at, input) in inputs.iter().enumerate() {
        let at = abscissa::<F>(at);
        let horner = |sum: F, coefficient: &F| sum.times(&at).plus(coefficient);
        let value = Zeroizing::new(polynomial.iter().rev().fold(F::zero(), horner));
        deal_gate(input, &*value, rng, rows);
    }
}

/// Which inputs of each gate are used.
enum Plan {
    Row,
    /// (input's place, its first row after the gate's, its plan).
    Gate(Vec<(usize, usize, Plan)>),
}

/// The cheapest inputs of each gate that `available` satisfies, in their order, and how many rows that takes. `None` if it
/// does not satisfy `formula`.
fn cheapest(formula: &Formula, available: ReplicaSet) -> Option<(Plan, usize)> {
    let (needed, inputs) = match formula {
        Formula::Replica(id) => return available.contains(*id).then_some((Plan::Row, 1)),
        Formula::Gate { needed, inputs } => (*needed, inputs),
    };
    let mut first = 0;
    let mut usable = Vec::new();
    for (at, input) in inputs.iter().enumerate() {
        if let Some((plan, cost)) = cheapest(input, available) {
            usable.push((cost, at, first, plan));
        }
        first += width(input);
    }
    if usable.len() < needed {
        return None;
    }
    usable.sort_by_key(|&(cost, at, ..)| (cost, at));
    usable.truncate(needed);
    usable.sort_by_key(|&(_, at, ..)| at);
    let cost = usable.iter().map(|(cost, ..)| cost).sum();
    Some((Plan::Gate(usable.into_iter().map(|(_, at, first, plan)| (at, first, plan)).collect()), cost))
}

fn width(formula: &Formula) -> usize {
    match formula {
        Formula::Replica(_) => 1,
        Formula::Gate { inputs, .. } => inputs.iter().map(width).sum(),
    }
}

fn recombine<F: Field>(plan: &Plan, first: usize, factor: &F, chosen: &mut Vec<(usize, F)>) {
    let inputs = match plan {
        Plan::Row => return chosen.push((first, factor.clone())),
        Plan::Gate(inputs) => inputs,
    };
    let places: Vec<usize> = inputs.iter().map(|(at, ..)| *at).collect();
    for ((_, offset, input), lambda) in inputs.iter().zip(lagrange_at_zero::<F>(&places)) {
        recombine(input, first + offset, &factor.times(&lambda), chosen);
    }
}

/// Where a gate's polynomial is evaluated for its input at place `at`; 0 is the gate's own value.
fn abscissa<F: Field>(at: usize) -> F {
    F::from_u64(at as u64 + 1)
}

/// λ_i with f(0) = Σ λ_i f(i) for polynomials of degree below the number of `places`, which all differ.
fn lagrange_at_zero<F: Field>(places: &[usize]) -> Vec<F> {
    let others = |i: usize| places.iter().filter(move |&&j| j != i).map(|&j| abscissa::<F>(j));
    let product = |factors: &mut dyn Iterator<Item = F>| factors.fold(F::one(), |product, x| product.times(&x));
    let denominators: Vec<F> =
        places.iter().map(|&i| product(&mut others(i).map(|other| other.minus(&abscissa(i))))).collect();
    let inverses = inverses(&denominators);
    places.iter().zip(inverses).map(|(&i, inverse)| product(&mut others(i)).times(&inverse)).collect()
}

/// Montgomery's trick: all inverses for the price of one. None of `numbers` is zero.
fn inverses<F: Field>(numbers: &[F]) -> Vec<F> {
    let mut running = F::one();
    let mut before = Vec::with_capacity(numbers.len());
    for number in numbers {
        before.push(running.clone());
        running = running.times(number);
    }
    let mut inverse = running.inverse().expect("abscissae differ, and the field is larger than any of them");
    let mut inverses = Vec::with_capacity(numbers.len());
    for (number, before) in numbers.iter().zip(&before).rev() {
        inverses.push(inverse.times(before));
        inverse = inverse.times(number);
    }
    inverses.reverse();
    inverses
}

#[cfg(test)]
mod tests;
