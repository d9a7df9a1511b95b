//! Proof of correctness of a share (Shoup §3.1): that the logarithm of `x_i²` to the base x̃ = x^{4Δ} is the logarithm of
//! `v_i` to the base v, both in the cyclic group of squares modulo N. Non-interactive by a hash (Fiat–Shamir).

use crypto_bigint::{U256, Uint};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::number::{Element, LIMBS, Number, Ring};
use super::public::to_array;
use super::{EXPONENT, RsaPublic};
use crate::committee::ReplicaId;
use crate::limits::{RSA_MODULUS_BITS, RSA_RESPONSE_BITS};

/// Limbs of the nonce r and the response z.
pub(super) const RESPONSE_LIMBS: usize = (RSA_RESPONSE_BITS / crypto_bigint::Limb::BITS) as usize;

const DOMAIN: &[u8] = b"torrens v1 shoup rsa share proof";

// The nonce has one bit less than the response, and 2^{L₁} times the range of s_i c, as hiding needs: s_i is below N/4.
const _: () = assert!(RSA_RESPONSE_BITS > RSA_MODULUS_BITS - 2 + 2 * U256::BITS);

/// What a proof is about: replica `who` of `public` says that `value` is its share of the message with base x̃.
pub(super) struct Statement<'a> {
    public: &'a RsaPublic,
    who: ReplicaId,
    generator: Element,
    verification: Element,
    /// x̃ = x^{4Δ}
    base: Element,
    value: Element,
    /// `x_i²`
    square: Element,
}

impl<'a> Statement<'a> {
    /// `doubled` is x^{2Δ}. `None` if the key has no such replica.
    pub fn new(
        public: &'a RsaPublic,
        ring: &'a Ring,
        who: ReplicaId,
        doubled: &Element,
        value: Element,
    ) -> Option<Self> {
        Some(Self {
            public,

            who,
            generator: ring.element(&public.generator),
            verification: ring.element(public.verification_key(who)?),
            base: doubled.square(),
            value,
            square: value.square(),
        })
    }

    /// (c, z) for the exponent `s_i` and the nonce r, which is used once and has its highest bit clear.
    pub fn prove(
        &self,
        exponent: &Uint<LIMBS>,
        nonce: Zeroizing<Uint<RESPONSE_LIMBS>>,
    ) -> (Number<4>, Number<RESPONSE_LIMBS>) {
        let challenge = self.challenge(&self.generator.pow(&*nonce), &self.base.pow(&*nonce));
        let wide = Zeroizing::new(exponent.resize::<RESPONSE_LIMBS>());
        let product = Zeroizing::new(wide.wrapping_mul(&challenge));
        (Number(challenge), Number(product.wrapping_add(&nonce)))
    }

    /// Whether c is the challenge for v' = v^z `v_i`^{−c} and x' = x̃^z `x_i`^{−2c}.
    pub fn verify(&self, challenge: &Number<4>, response: &Number<RESPONSE_LIMBS>) -> bool {
        let verification = self.verification.pow_vartime(&challenge.0);
        let square = self.square.pow_vartime(&challenge.0);
        // One inverse for both, which exists unless the share has a factor in common with N.
        let Some(inverse) = Option::<Element>::from(verification.mul(&square).invert_vartime()) else { return false };
        let first = self.generator.pow_vartime(&response.0).mul(&inverse).mul(&square);
        let second = self.base.pow_vartime(&response.0).mul(&inverse).mul(&verification);
        self.challenge(&first, &second) == challenge.0
    }

    /// H'(whole statement, v', x'). Every part has a fixed length.
    fn challenge(&self, first: &Element, second: &Element) -> U256 {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        hash.update(EXPONENT.to_be_bytes());
        hash.update([self.public.replicas() as u8, self.public.threshold, self.who.0]);
        hash.update(self.public.modulus());
        let parts = [&self.generator, &self.verification, &self.base, &self.value, &self.square, first, second];
        for part in parts {
            hash.update(to_array(&part.retrieve()));
        }
        U256::from_be_slice(&hash.finalize())
    }
}
