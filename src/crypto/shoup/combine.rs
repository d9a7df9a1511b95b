//! From shares to the signature (Shoup §3.1, *Combining shares*).

use std::collections::BTreeMap;

use crypto_bigint::{Limb, NonZero, Uint};

use super::lagrange::{self, Coefficient};
use super::number::{Element, Ring};
use super::public::to_array;
use super::{EXPONENT, RsaPublic, RsaShare};
use crate::committee::ReplicaId;
use crate::limits::RSA_MODULUS_BYTES;

/// A signature, and who was found lying on the way to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Combined {
    /// The RSA signature, big-endian.
    pub signature: [u8; RSA_MODULUS_BYTES],
    /// Replicas whose shares were looked at and do not verify. Shares that were not needed are not looked at.
    pub culprits: Vec<ReplicaId>,
}

/// Too few of the shares are good.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{usable} good shares where {needed} are needed; bad ones from {culprits:?}")]
pub struct CombineError {
    /// Replicas whose shares do not verify.
    pub culprits: Vec<ReplicaId>,
    pub usable: usize,
    pub needed: usize,
}

impl RsaPublic {
    /// The signature of `message`, from at least a kernel of shares, of which some may be bad.
    ///
    /// The first shares are combined and the result verified; only if it fails are proofs verified, culprits set aside,
    /// and the rest combined. Shares that are not integers of 1…N − 1 are always set aside. Nothing is looked at while
    /// there are fewer shares than a kernel.
    pub fn combine(&self, message: &[u8], shares: &BTreeMap<ReplicaId, RsaShare>) -> Result<Combined, CombineError> {
        let needed = self.threshold();
        if shares.len() < needed {
            return Err(CombineError { culprits: Vec::new(), usable: shares.len(), needed });
        }
        let possible = |who: ReplicaId, share: &RsaShare| self.verification_key(who).is_some() && self.in_range(share);
        let (signature, culprits) = self.combine_those(message, shares, possible);
        if let Some(signature) = signature {
            return Ok(Combined { signature, culprits });
        }
        let proven = |who: ReplicaId, share: &RsaShare| self.verify_share(who, message, share);
        let (signature, culprits) = self.combine_those(message, shares, proven);
        let usable = shares.len() - culprits.len();
        match signature {
            Some(signature) => Ok(Combined { signature, culprits }),
            None => Err(CombineError { culprits, usable, needed }),
        }
    }

    /// What the first k shares that pass `filter` make, if it is the signature; and who did not pass.
    fn combine_those(
        &self,
        message: &[u8],
        shares: &BTreeMap<ReplicaId, RsaShare>,
        filter: impl Fn(ReplicaId, &RsaShare) -> bool,
    ) -> (Option<[u8; RSA_MODULUS_BYTES]>, Vec<ReplicaId>) {
        let (good, bad): (Vec<_>, Vec<_>) = shares.iter().partition(|&(&who, share)| filter(who, share));
        let culprits = bad.into_iter().map(|(&who, _)| who).collect();
        if good.len() < self.threshold() {
            return (None, culprits);
        }
        let ring = self.ring();
        let values: Vec<(u8, Element)> =
            good[..self.threshold()].iter().map(|&(who, share)| (who.0 + 1, ring.element(&share.value))).collect();
        let x = ring.message(message);
        let signature = self.root(&ring, &x, &values).filter(|root| ring.is_root(root, &x));
        (signature.map(|root| to_array(&root.retrieve())), culprits)
    }

    /// y = w^a x^b with w = ∏ `x_j^{2λ_{0,j}}`, for which w^e = x^{4Δ²}, and a · 4Δ² + b e = 1. `None` if a value has a
    /// factor in common with N.
    fn root(&self, ring: &Ring, x: &Element, values: &[(u8, Element)]) -> Option<Element> {
        let delta = self.delta();
        let (above, below) = lagrange::interpolate(ring, &delta, 0, values);
        let (a, minus_b) = bezout(&delta);
        let above = above.square().pow_vartime(&a);
        let below = below.square().pow_vartime(&a).mul(&x.pow_vartime(&minus_b));
        Option::<Element>::from(below.invert_vartime()).map(|inverse| above.mul(&inverse))
    }
}

/// a and −b, both positive, with a · 4Δ² + b e = 1. There is such an a below e, since e is a prime above n.
fn bezout(delta: &Coefficient) -> (Uint<1>, Coefficient) {
    let e = NonZero::new(Limb::from(EXPONENT)).expect("e is not zero");
    let factor = delta.wrapping_mul(delta).wrapping_mul(&Uint::<1>::from_u64(4));
    let a = Uint::<1>::from_u64(inverse_modulo_e(factor.rem_limb(e).0));
    let minus_b = factor.wrapping_mul(&a).wrapping_sub(&Coefficient::ONE).div_rem_limb(e).0;
    (a, minus_b)
}

/// r^{e − 2} mod e, the inverse by Fermat.
fn inverse_modulo_e(r: u64) -> u64 {
    let e = u64::from(EXPONENT);
    (0..16).rev().fold(1, |power, bit| {
        let square = power * power % e;
        if (e - 2) >> bit & 1 == 1 { square * r % e } else { square }
    })
}
