//! Who recombines, and that nobody else learns anything: the span of a set's rows, over a small field.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, Error, RngCore, SeedableRng};

use super::*;
use crate::committee::Committee;

/// The integers modulo 257.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Small(u32);

const ORDER: u32 = 257;

impl Zeroize for Small {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Field for Small {
    fn zero() -> Self {
        Self(0)
    }

    fn one() -> Self {
        Self(1)
    }

    fn from_u64(number: u64) -> Self {
        Self((number % u64::from(ORDER)) as u32)
    }

    fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self(rng.next_u32() % ORDER)
    }

    fn plus(&self, other: &Self) -> Self {
        Self((self.0 + other.0) % ORDER)
    }

    fn minus(&self, other: &Self) -> Self {
        Self((self.0 + ORDER - other.0) % ORDER)
    }

    fn times(&self, other: &Self) -> Self {
        Self(self.0 * other.0 % ORDER)
    }

    fn inverse(&self) -> Option<Self> {
        (1..ORDER).map(Self).find(|inverse| inverse.times(self) == Self(1))
    }
}

/// Draws 1 at one place and 0 elsewhere, and counts the draws.
struct Unit {
    one_at: usize,
    drawn: usize,
}

impl RngCore for Unit {
    fn next_u32(&mut self) -> u32 {
        self.drawn += 1;
        u32::from(self.drawn - 1 == self.one_at)
    }

    fn next_u64(&mut self) -> u64 {
        self.next_u32().into()
    }

    fn fill_bytes(&mut self, _: &mut [u8]) {
        unreachable!("the small field draws words")
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Error> {
        unreachable!("the small field draws words")
    }
}

impl CryptoRng for Unit {}

/// The matrix of the scheme: the rows are its rows, the first column the secret's, the others those of the draws.
fn matrix(sharing: &Sharing) -> Vec<Vec<Small>> {
    let mut counter = Unit { one_at: usize::MAX, drawn: 0 };
    let mut columns = vec![sharing.deal(&Small(1), &mut counter).to_vec()];
    columns.extend((0..counter.drawn).map(|one_at| sharing.deal(&Small(0), &mut Unit { one_at, drawn: 0 }).to_vec()));
    (0..sharing.rows()).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}

/// Whether the rows span (1, 0, …, 0): then, and only then, they say anything of the secret.
fn spans_secret(mut rows: Vec<Vec<Small>>) -> bool {
    let mut target = vec![Small(0); rows.first().map_or(1, Vec::len)];
    target[0] = Small(1);
    // The secret's column comes last, so that a row left with that one only is a multiple of the target.
    for column in (1..target.len()).rev() {
        let Some(at) = rows.iter().position(|row| row[column] != Small(0)) else { continue };
        let pivot = rows.swap_remove(at);
        let inverse = pivot[column].inverse().unwrap();
        for row in &mut rows {
            let factor = row[column].times(&inverse);
            for (cell, pivot) in row.iter_mut().zip(&pivot) {
                *cell = cell.minus(&factor.times(pivot));
            }
        }
    }
    rows.iter().any(|row| row[0] != Small(0))
}

fn set(bits: u64) -> ReplicaSet {
    (0..64).filter(|at| bits >> at & 1 == 1).map(ReplicaId).collect()
}

/// Every set of `n` replicas either recombines every secret or learns nothing of it, as the formula says.
fn assert_perfect(formula: &Formula, n: usize) {
    let sharing = Sharing::new(formula.clone());
    let matrix = matrix(&sharing);
    let rows = sharing.deal(&Small(113), &mut ChaCha20Rng::seed_from_u64(5));
    for bits in 0..1u64 << n {
        let held = set(bits);
        let own = (0..sharing.rows()).filter(|&row| held.contains(sharing.owner(row)));
        assert_eq!(spans_secret(own.map(|row| matrix[row].clone()).collect()), formula.is_satisfied(held), "{held:?}");
        let Some(chosen) = sharing.coefficients::<Small>(held) else {
            assert!(!formula.is_satisfied(held));
            continue;
        };
        assert!(chosen.iter().all(|(row, _)| held.contains(sharing.owner(*row))));
        let sum = chosen.iter().fold(Small(0), |sum, (row, factor)| sum.plus(&rows[*row].times(factor)));
        assert_eq!(sum, Small(113), "{held:?}");
    }
}

fn formulas(replicas: u8) -> impl Strategy<Value = Formula> {
    let leaf = (0..replicas).prop_map(|id| Formula::Replica(ReplicaId(id)));
    leaf.prop_recursive(3, 14, 4, |inner| {
        (prop::collection::vec(inner, 1..=4), any::<prop::sample::Index>())
            .prop_map(|(inputs, needed)| Formula::gate(1 + needed.index(inputs.len()), inputs).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn qualified_sets_recombine_and_others_learn_nothing(formula in formulas(6)) {
        assert_perfect(&formula, 6);
    }

    #[test]
    fn a_dual_is_true_where_the_complement_is_false(formula in formulas(6)) {
        let dual = formula.dual();
        prop_assert_eq!(dual.dual(), formula.clone());
        for bits in 0..64 {
            prop_assert_eq!(dual.is_satisfied(set(bits)), !formula.is_satisfied(set(!bits & 63)));
        }
    }
}

#[test]
fn a_threshold_is_plain_shamir() {
    let committee = Committee::new(7).unwrap();
    let sharing = Sharing::new(committee.quorum_formula());
    let (mut rng, mut same) = (ChaCha20Rng::seed_from_u64(3), ChaCha20Rng::seed_from_u64(3));
    let secret = Scalar::random(&mut rng);
    let rows = sharing.deal(&secret, &mut rng);
    let polynomial: Vec<Scalar> = (0..5).map(|_| Scalar::random(&mut same)).collect();
    let at = |x: u64| polynomial.iter().rev().fold(Scalar::ZERO, |sum, a| sum * Scalar::from(x) + a);
    assert_eq!(*rows, (1..=7).map(at).collect::<Vec<_>>());
    for id in committee.ids() {
        assert_eq!(sharing.rows_of(id).collect::<Vec<_>>(), [id.index()]);
    }
    let chosen = sharing.coefficients::<Scalar>(set(0b111_1010)).unwrap();
    assert_eq!(chosen.len(), 5);
    assert_eq!(chosen.iter().map(|(row, factor)| rows[*row] * factor).sum::<Scalar>(), secret);
    assert_eq!(sharing.coefficients::<Scalar>(set(0b111_1000)), None);
}

#[test]
fn thresholds_of_four_and_seven_are_perfect() {
    for n in [4, 7] {
        let committee = Committee::new(n).unwrap();
        assert_perfect(&committee.quorum_formula(), n);
        assert_perfect(&committee.kernel_formula(), n);
    }
}

#[test]
fn few_rows_are_used_where_there_is_a_choice() {
    let pair = |ids: [u8; 2]| Formula::threshold(2, ids.map(ReplicaId)).unwrap();
    let formula = Formula::gate(1, vec![pair([0, 1]), Formula::Replica(ReplicaId(2))]).unwrap();
    let chosen = Sharing::new(formula).coefficients::<Small>(set(0b111)).unwrap();
    assert_eq!(chosen, [(2, Small(1))]);
}
