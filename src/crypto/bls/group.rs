//! Points, scalars and pairings, as far as the crate leaves them to us.

use rand_core::CryptoRngCore;
use threshold_crypto::ff::{Field, PrimeField};
use threshold_crypto::group::{CurveAffine, CurveProjective, EncodedPoint};
use threshold_crypto::pairing::{Engine, PairingCurveAffine};
use threshold_crypto::{Fr, FrRepr, G1Affine, G2, G2Affine, IntoFr, PEngine};

use crate::committee::ReplicaId;

/// A compressed point of G1; nested so that serde knows it.
pub type G1Bytes = [[u8; 24]; 2];
/// A compressed point of G2.
pub type G2Bytes = [[u8; 32]; 3];

/// The point of the subgroup that `bytes` encode, unless it is the identity.
pub fn decode<P: CurveAffine>(bytes: &[u8]) -> Option<P> {
    let point = compressed::<P>(bytes)?.into_affine().ok()?;
    (!point.is_zero()).then_some(point)
}

/// The point of the curve that `bytes` encode, unless it is the identity. Whether it is of the subgroup was checked before,
/// or will be.
pub fn decode_on_curve<P: CurveAffine>(bytes: &[u8]) -> Option<P> {
    let point = compressed::<P>(bytes)?.into_affine_unchecked().ok()?;
    (!point.is_zero()).then_some(point)
}

fn compressed<P: CurveAffine>(bytes: &[u8]) -> Option<P::Compressed> {
    let mut compressed = P::Compressed::empty();
    (compressed.as_ref().len() == bytes.len()).then(|| compressed.as_mut().copy_from_slice(bytes))?;
    Some(compressed)
}

pub fn encode_g1(point: &G1Affine) -> G1Bytes {
    nested(point.into_compressed().as_ref())
}

pub fn encode_g2(point: &G2Affine) -> G2Bytes {
    nested(point.into_compressed().as_ref())
}

fn nested<const N: usize, const M: usize>(bytes: &[u8]) -> [[u8; N]; M] {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.try_into().expect("compressed points have a fixed length")
}

/// Whether the product of the pairings of `pairs` is one.
pub fn pairings_cancel(pairs: &[(G1Affine, G2Affine)]) -> bool {
    let prepared: Vec<_> = pairs.iter().map(|(left, right)| (left.prepare(), right.prepare())).collect();
    let terms: Vec<_> = prepared.iter().map(|(left, right)| (left, right)).collect();
    let product = PEngine::final_exponentiation(&PEngine::miller_loop(&terms));
    product.is_some_and(|product| product == Field::one())
}

pub fn negated<P: CurveAffine>(mut point: P) -> P {
    point.negate();
    point
}

/// The sum of `coefficient · point` over the terms.
pub fn combination<P>(terms: impl IntoIterator<Item = (Fr, P)>) -> P
where
    P: CurveAffine,
    Fr: Into<<P::Scalar as PrimeField>::Repr>,
{
    let mut sum = P::Projective::zero();
    for (coefficient, point) in terms {
        sum.add_assign(&point.mul(coefficient));
    }
    sum.into_affine()
}

/// What the values at `indices` of a polynomial of lower degree are multiplied with to give its value at 0. The shares of
/// replica i are values at i + 1, as the crate deals them.
pub fn lagrange_at_zero(indices: &[ReplicaId]) -> Vec<Fr> {
    let abscissa = |id: &ReplicaId| (u64::from(id.0) + 1).into_fr();
    let coefficient = |at: &ReplicaId| {
        let (mut numerator, mut denominator) = (Fr::one(), Fr::one());
        for other in indices.iter().filter(|other| *other != at) {
            let mut difference = abscissa(other);
            numerator.mul_assign(&difference);
            difference.sub_assign(&abscissa(at));
            denominator.mul_assign(&difference);
        }
        numerator.mul_assign(&denominator.inverse().expect("abscissas differ and are smaller than the order"));
        numerator
    };
    indices.iter().map(coefficient).collect()
}

/// A scalar below 2¹²⁸.
pub fn short_scalar(bytes: &[u8; 16]) -> Fr {
    let low = u64::from_le_bytes(*bytes.first_chunk().expect("8 of 16"));
    let high = u64::from_le_bytes(*bytes.last_chunk().expect("8 of 16"));
    Fr::from_repr(FrRepr([low, high, 0, 0])).expect("128 bits are below the order")
}

/// The point of G2 that `message` hashes to.
pub fn hash_to_g2(message: &[u8]) -> G2Affine {
    let point: G2 = threshold_crypto::hash_g2(message);
    point.into_affine()
}

/// A generator of today for the crate, which knows those of 2019.
pub struct OldRng<'a, R>(pub &'a mut R);

impl<R: CryptoRngCore> rand_core_05::RngCore for OldRng<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_05::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}
