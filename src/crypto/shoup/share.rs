//! A replica's share of the key, and of a signature.

use std::fmt;

use crypto_bigint::{U128, Uint};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::number::{Element, LIMBS, Number};
use super::proof::{RESPONSE_LIMBS, Statement};
use super::{KeyError, RsaPublic};
use crate::committee::ReplicaId;
use crate::limits::{RSA_MODULUS_BYTES, RSA_RESPONSE_BITS};

/// `s_i`: one replica's share of an RSA private exponent. Not `Clone`; wiped when dropped.
pub struct RsaSecret {
    owner: ReplicaId,
    exponent: Zeroizing<Uint<LIMBS>>,
}

/// `x_i = x^{2Δ s_i}` and the proof (c, z) that it is. 608 bytes encoded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RsaShare {
    pub(super) value: Number<LIMBS>,
    challenge: Number<4>,
    response: Number<RESPONSE_LIMBS>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShareError {
    /// The share must not be released: one wrong bit in its making can tell a bit of the secret (reliability K13).
    #[error("the share of {0} does not verify: its secret is not of this key, or the computation was faulty")]
    Fault(ReplicaId),
}

impl RsaSecret {
    pub(super) fn new(owner: ReplicaId, exponent: Zeroizing<Uint<LIMBS>>) -> Self {
        Self { owner, exponent }
    }

    /// Whose share this is.
    pub fn owner(&self) -> ReplicaId {
        self.owner
    }

    /// This replica's share of the signature of `message`, verified before it is returned.
    pub fn share(
        &self,
        public: &RsaPublic,
        message: &[u8],
        rng: &mut impl CryptoRngCore,
    ) -> Result<RsaShare, ShareError> {
        let fault = ShareError::Fault(self.owner);
        let Some(verification) = public.verification_key(self.owner) else { return Err(fault) };
        let ring = public.ring();
        let doubled = ring.message(message).pow_vartime(&public.delta()).square();
        let Nonces { blind, nonce } = self.nonces(public, message, rng);

        let blinding = Blinding::new(&ring.element(&public.generator), &ring.element(verification), blind);
        let Some(blinding) = blinding else { return Err(fault) };
        let value = blinding.power(&doubled, &self.exponent);
        let Some(statement) = Statement::new(public, &ring, self.owner, &doubled, value) else { return Err(fault) };
        let (challenge, response) = statement.prove(&self.exponent, nonce);
        if !statement.verify(&challenge, &response) {
            return Err(fault);
        }
        Ok(RsaShare { value: Number(value.retrieve()), challenge, response })
    }

    /// Whether this is the owner's share of `public`: `v^{s_i} = v_i`.
    pub fn belongs_to(&self, public: &RsaPublic) -> bool {
        let ring = public.ring();
        public.verification_key(self.owner).is_some_and(|verification| {
            ring.element(&public.generator).pow(&*self.exponent) == ring.element(verification)
        })
    }

    /// Owner and exponent, for the replica's encrypted key bundle. 257 bytes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + RSA_MODULUS_BYTES));
        bytes.push(self.owner.0);
        let mut exponent = self.exponent.to_be_bytes();
        bytes.extend_from_slice(exponent.as_ref());
        exponent.zeroize();
        bytes
    }

    /// The inverse of [`Self::to_bytes`]. Ask [`Self::belongs_to`] before use.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.split_first() {
            Some((&owner, exponent)) if exponent.len() == RSA_MODULUS_BYTES => {
                Ok(Self::new(ReplicaId(owner), Zeroizing::new(Uint::from_be_slice(exponent))))
            }
            _ => Err(KeyError::Secret),
        }
    }

    /// One-use numbers from the secret, the key, the message and fresh randomness together: different for different
    /// messages even if the generator repeats itself, and unpredictable even if it is known.
    fn nonces(&self, public: &RsaPublic, message: &[u8], rng: &mut impl CryptoRngCore) -> Nonces {
        let mut fresh = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *fresh);
        let mut hasher = blake3::Hasher::new_derive_key("torrens v1 shoup rsa share nonce");
        hasher.update(&self.to_bytes());
        hasher.update(&*fresh);
        hasher.update(&public.modulus());
        hasher.update(message);
        let mut stream = hasher.finalize_xof();
        let mut bytes = Zeroizing::new([0; (RSA_RESPONSE_BITS / 8) as usize]);
        stream.fill(&mut *bytes);
        bytes[0] &= 0x7f;
        let nonce = Zeroizing::new(Uint::from_be_slice(&*bytes));
        let mut bytes = Zeroizing::new([0; 16]);
        stream.fill(&mut *bytes);
        hasher.zeroize();
        stream.zeroize();
        Nonces { blind: Zeroizing::new(U128::from_be_slice(&*bytes)), nonce }
    }
}

impl fmt::Debug for RsaSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaSecret([redacted] of {})", self.owner)
    }
}

struct Nonces {
    blind: Zeroizing<U128>,
    nonce: Zeroizing<Uint<RESPONSE_LIMBS>>,
}

/// A random power `v^t` and the inverse of `v_i^t = (v^t)^{s_i}`: who chooses messages does not choose the base that
/// meets the secret exponent.
struct Blinding {
    factor: Zeroizing<Element>,
    unfactor: Zeroizing<Element>,
}

impl Blinding {
    /// `None` if `v_i` has no inverse, which no checked key has.
    fn new(generator: &Element, verification: &Element, blind: Zeroizing<U128>) -> Option<Self> {
        let inverse = Option::<Element>::from(verification.invert_vartime())?;
        Some(Self { factor: Zeroizing::new(generator.pow(&*blind)), unfactor: Zeroizing::new(inverse.pow(&*blind)) })
    }

    fn power(&self, base: &Element, exponent: &Uint<LIMBS>) -> Element {
        base.mul(&self.factor).pow(exponent).mul(&self.unfactor)
    }
}

impl RsaPublic {
    /// Whether `share` is what replica `who` must answer for `message`. For any bytes a share can hold.
    #[must_use]
    pub fn verify_share(&self, who: ReplicaId, message: &[u8], share: &RsaShare) -> bool {
        if !self.in_range(share) {
            return false;
        }
        let ring = self.ring();
        let doubled = ring.message(message).pow_vartime(&self.delta()).square();
        Statement::new(self, &ring, who, &doubled, ring.element(&share.value))
            .is_some_and(|statement| statement.verify(&share.challenge, &share.response))
    }

    /// Whether the share's value is among 1…N − 1.
    pub(super) fn in_range(&self, share: &RsaShare) -> bool {
        !share.value.0.is_zero_vartime() && share.value.0 < self.modulus.0
    }
}
