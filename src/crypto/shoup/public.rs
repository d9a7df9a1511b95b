//! The public key: modulus, and what shares are verified against.

use std::fmt;

use crypto_bigint::{JacobiSymbol, Limb, NonZero, Odd, Uint};
use crypto_primes::hazmat::MillerRabin;
use serde::{Deserialize, Serialize};

use super::lagrange::{self, Coefficient};
use super::number::{Element, LIMBS, Number, Ring};
use super::{EXPONENT, pkcs1};
use crate::committee::{Committee, ReplicaId};
use crate::limits::{MAX_REPLICAS, RSA_MODULUS_BITS, RSA_MODULUS_BYTES};

/// An RSA public key with the verification keys of its shares.
///
/// A value has a modulus of exactly 2048 bits, odd, and numbers in range; [`RsaPublic::check`] says whether it is a
/// key that shares can sign under. 256 (n + 2) + 2 bytes encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct RsaPublic {
    pub(super) modulus: Number<LIMBS>,
    pub(super) threshold: u8,
    /// v, a generator of the squares modulo N.
    pub(super) generator: Number<LIMBS>,
    /// `v_i = v^{s_i}`, replica 0 first.
    pub(super) verification: Vec<Number<LIMBS>>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("verification keys of {0} replicas: no such committee")]
    Committee(usize),
    #[error("{threshold} shares sign, of {replicas}: from 2 to just over half make sense")]
    Threshold { threshold: usize, replicas: usize },
    #[error("the modulus is not a product of two safe primes, of 2048 bits together")]
    Modulus,
    #[error("verification keys that are not squares modulo N, or of small order")]
    Verification,
    #[error("the verification keys are not those of shares of one RSA key")]
    Inconsistent,
    #[error("not the bytes of a share of an RSA key")]
    Secret,
}

/// The fields as they are read, before they are looked at.
#[derive(Deserialize)]
struct Unchecked {
    modulus: Number<LIMBS>,
    threshold: u8,
    generator: Number<LIMBS>,
    verification: Vec<Number<LIMBS>>,
}

impl TryFrom<Unchecked> for RsaPublic {
    type Error = KeyError;

    fn try_from(fields: Unchecked) -> Result<Self, KeyError> {
        let Unchecked { modulus, threshold, generator, verification } = fields;
        let replicas = verification.len();
        if !(4..=MAX_REPLICAS).contains(&replicas) {
            return Err(KeyError::Committee(replicas));
        }
        if !(2..=replicas.div_ceil(2)).contains(&usize::from(threshold)) {
            return Err(KeyError::Threshold { threshold: threshold.into(), replicas });
        }
        if modulus.0.bits_vartime() != RSA_MODULUS_BITS || !modulus.0.bit_vartime(0) {
            return Err(KeyError::Modulus);
        }
        let last = modulus.0.wrapping_sub(&Uint::ONE);
        if verification.iter().chain([&generator]).any(|key| key.0 <= Uint::ONE || key.0 >= last) {
            return Err(KeyError::Verification);
        }
        Ok(Self { modulus, threshold, generator, verification })
    }
}

impl RsaPublic {
    pub(super) fn new(
        modulus: Uint<LIMBS>,
        committee: &Committee,
        generator: Uint<LIMBS>,
        verification: Vec<Uint<LIMBS>>,
    ) -> Result<Self, KeyError> {
        Self::try_from(Unchecked {
            modulus: Number(modulus),
            threshold: committee.signing_threshold() as u8,
            generator: Number(generator),
            verification: verification.into_iter().map(Number).collect(),
        })
    }

    /// Refuses what no honest dealer makes. Everything is looked at that can be without the factors: the form of N, and
    /// in the exponent that any k shares give e⁻¹. 4 ms at n = 4, half a second at n = 64: once per start.
    pub fn check(&self) -> Result<(), KeyError> {
        self.check_modulus()?;
        self.check_squares()?;
        self.check_polynomial()
    }

    /// How many replicas hold a share.
    pub fn replicas(&self) -> usize {
        self.verification.len()
    }

    /// How many shares make a signature.
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold)
    }

    /// Whether the key is shared as the committee's signing keys are.
    pub fn suits(&self, committee: &Committee) -> bool {
        self.threshold() == committee.signing_threshold() && self.replicas() == committee.len()
    }

    /// N, big-endian.
    pub fn modulus(&self) -> [u8; RSA_MODULUS_BYTES] {
        to_array(&self.modulus.0)
    }

    /// DER of the key's SubjectPublicKeyInfo: an ordinary rsaEncryption key.
    pub fn spki_der(&self) -> Vec<u8> {
        pkcs1::spki_der(&self.modulus())
    }

    /// Whether `signature` is the RSA signature of `message` (RFC 8017 §8.2.2): 256 bytes, below N.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        if signature.len() != RSA_MODULUS_BYTES {
            return false;
        }
        let signature = Number(Uint::from_be_slice(signature));
        let ring = self.ring();
        signature.0 < self.modulus.0 && ring.is_root(&ring.element(&signature), &ring.message(message))
    }

    pub(super) fn ring(&self) -> Ring {
        Ring::new(self.odd_modulus())
    }

    pub(super) fn delta(&self) -> Coefficient {
        lagrange::delta(self.replicas())
    }

    /// `v_i` of a replica, if it is one of this key's.
    pub(super) fn verification_key(&self, who: ReplicaId) -> Option<&Number<LIMBS>> {
        self.verification.get(who.index())
    }

    fn odd_modulus(&self) -> Odd<Uint<LIMBS>> {
        Odd::new(self.modulus.0).expect("a value's modulus is odd")
    }

    /// p ≡ q ≡ 3 (mod 4) and ≡ 2 (mod 3), so N ≡ 1 (mod 12); no small factor, no prime, no square.
    fn check_modulus(&self) -> Result<(), KeyError> {
        let remainder = |divisor: u32| {
            let divisor = NonZero::new(Limb::from(divisor)).expect("divisors start at 2");
            self.modulus.0.rem_limb(divisor).0
        };
        let fits = remainder(12) == 1
            && (3..1 << 12).step_by(2).all(|divisor| remainder(divisor) != 0)
            && MillerRabin::new(self.odd_modulus()).test_base_two().is_composite()
            && self.modulus.0.checked_sqrt_vartime().is_none();
        if fits { Ok(()) } else { Err(KeyError::Modulus) }
    }

    /// A square has Jacobi symbol 1; one of 0 shows a factor of N. Equal keys would be equal shares.
    fn check_squares(&self) -> Result<(), KeyError> {
        let modulus = self.odd_modulus();
        let mut keys: Vec<_> = self.verification.iter().chain([&self.generator]).map(|key| key.0).collect();
        let squares = keys.iter().all(|key| key.jacobi_symbol_vartime(&modulus) == JacobiSymbol::One);
        keys.sort_unstable();
        let distinct = keys.windows(2).all(|pair| pair[0] != pair[1]);
        if squares && distinct { Ok(()) } else { Err(KeyError::Verification) }
    }

    /// With f the polynomial through the first k shares: `v_j^Δ = v^{Δ f(j)}` for the others, and `v^{Δ f(0) e} = v^Δ`.
    fn check_polynomial(&self) -> Result<(), KeyError> {
        let ring = self.ring();
        let delta = self.delta();
        let keys: Vec<(u8, Element)> = (1..).zip(self.verification.iter().map(|key| ring.element(key))).collect();
        let (basis, others) = keys.split_at(self.threshold());
        let on_polynomial = others.iter().all(|(index, key)| {
            let (above, below) = lagrange::interpolate(&ring, &delta, *index, basis);
            key.pow_vartime(&delta).mul(&below) == above
        });
        let (above, below) = lagrange::interpolate(&ring, &delta, 0, basis);
        let e = Uint::<1>::from(EXPONENT);
        let generator = ring.element(&self.generator).pow_vartime(&delta);
        let shares_the_root = above.pow_vartime(&e) == below.pow_vartime(&e).mul(&generator);
        if on_polynomial && shares_the_root { Ok(()) } else { Err(KeyError::Inconsistent) }
    }
}

impl fmt::Debug for RsaPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublic({:?}, {} of {})", self.modulus, self.threshold, self.replicas())
    }
}

pub(super) fn to_array(number: &Uint<LIMBS>) -> [u8; RSA_MODULUS_BYTES] {
    number.to_be_bytes().as_ref().try_into().expect("the limbs of an integer modulo N are 256 bytes")
}
