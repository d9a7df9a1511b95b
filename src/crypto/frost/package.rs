//! Arithmetic of signing packages (RFC 9591 §4 to §5.3), as the library does it, with less work:
//!
//! * Encodings of commitments are hashed as they were written: that they are canonical was checked.
//! * The sum of the commitments is one multiplication of several scalars.
//! * The group's key is a [`FrequentKey`](crate::crypto::ed25519::FrequentKey), with tables of its multiples.
//!
//! All of it is on public values and may take any time, but for [`Package::answer`].

use std::collections::BTreeMap;

use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::traits::VartimeMultiscalarMul;
use frost_ed25519::{Ciphersuite, Ed25519Sha512};

use super::{Commitments, FrostShare, Nonce, NonceCommitment};
use crate::committee::ReplicaId;
use crate::crypto::ed25519::{PublicKey, Signature};

/// A package with what follows from it: binding factors, the group's commitment R, the challenge.
pub(super) struct Package<'a> {
    commitments: &'a Commitments,
    factors: BTreeMap<ReplicaId, Scalar>,
    /// R, encoded.
    sum: [u8; 32],
    challenge: Scalar,
}

impl<'a> Package<'a> {
    /// RFC 9591 §4.3 to §4.6: `encode_group_commitment_list`, `compute_binding_factors`, `compute_group_commitment`,
    /// `compute_challenge`.
    pub fn new(group: &PublicKey, commitments: &'a Commitments, message: &[u8]) -> Self {
        let mut list = Vec::with_capacity(96 * commitments.len());
        for (&id, commitment) in commitments {
            list.extend(identifier(id).as_bytes());
            list.extend(commitment.bytes.hiding);
            list.extend(commitment.bytes.binding);
        }
        let prefix = [&group.0[..], &Ed25519Sha512::H4(message), &Ed25519Sha512::H5(&list)].concat();
        let factor = |id: ReplicaId| Ed25519Sha512::H1(&[&prefix[..], identifier(id).as_bytes()].concat());
        let factors: BTreeMap<_, _> = commitments.keys().map(|&id| (id, factor(id))).collect();

        let hiding: EdwardsPoint = commitments.values().map(|commitment| commitment.hiding).sum();
        let binding = commitments.values().map(|commitment| commitment.binding);
        let sum = hiding + EdwardsPoint::vartime_multiscalar_mul(factors.values(), binding);
        let sum = sum.compress().to_bytes();
        let challenge = Ed25519Sha512::H2(&[&sum[..], &group.0, message].concat());
        Self { commitments, factors, sum, challenge }
    }

    /// A signer's share (§5.2): z = d + ρe + λsc.
    pub fn answer(&self, signer: ReplicaId, nonce: &Nonce, secret: Scalar) -> Option<FrostShare> {
        let bound = *nonce.hiding + self.factors.get(&signer)? * *nonce.binding;
        let share = bound + self.coefficient(signer) * secret * self.challenge;
        Some(FrostShare(share.to_bytes()))
    }

    /// What the shares add up to (§5.3), unchecked.
    pub fn add_up(&self, shares: &BTreeMap<ReplicaId, FrostShare>) -> Option<Signature> {
        let sum: Scalar = shares.values().map(FrostShare::scalar).sum::<Option<Scalar>>()?;
        let bytes = [self.sum, sum.to_bytes()].concat();
        Some(Signature::from_bytes(bytes.try_into().expect("twice 32 bytes")))
    }

    /// Whether `share` is what `signer`, whose point is `public`, owes to this package (§5.4): z·B − cλY = D + ρE, without
    /// cofactor. Of D and E only the orders are unknown: ρE is the same multiple here as in R, not that of ρ − L.
    pub fn is_owed(&self, signer: ReplicaId, public: EdwardsPoint, share: &FrostShare) -> bool {
        let (Some(share), Some(factor), Some(commitment)) =
            (share.scalar(), self.factors.get(&signer), self.commitments.get(&signer))
        else {
            return false;
        };
        let weight = -(self.challenge * self.coefficient(signer));
        let answered = EdwardsPoint::vartime_double_scalar_mul_basepoint(&weight, &public, &share);
        answered == commitment.hiding + commitment.binding * factor
    }

    /// The Lagrange coefficient of a signer at 0 (§4.2).
    fn coefficient(&self, signer: ReplicaId) -> Scalar {
        let others = || self.commitments.keys().filter(|&&other| other != signer).map(|&other| identifier(other));
        let below: Scalar = others().map(|other| other - identifier(signer)).product();
        others().product::<Scalar>() * below.invert()
    }
}

/// 1 + index: 0 is not an identifier in FROST.
fn identifier(id: ReplicaId) -> Scalar {
    Scalar::from(u16::from(id.0) + 1)
}

impl FrostShare {
    pub(super) fn scalar(&self) -> Option<Scalar> {
        Scalar::from_canonical_bytes(self.0).into()
    }
}

impl NonceCommitment {
    pub(super) fn points(&self) -> Option<(EdwardsPoint, EdwardsPoint)> {
        Some((point(&self.hiding)?, point(&self.binding)?))
    }
}

/// The point with this encoding, if it is the canonical one, and not of small order.
fn point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    // Below p = 2²⁵⁵ − 19. The other ambiguity is the sign of x = 0, at points of small order only.
    let is_canonical = bytes[0] < 0xed || bytes[1..31].iter().any(|&byte| byte != 0xff) || bytes[31] & 0x7f != 0x7f;
    let point = CompressedEdwardsY(*bytes).decompress().filter(|_| is_canonical)?;
    (!point.is_small_order()).then_some(point)
}
