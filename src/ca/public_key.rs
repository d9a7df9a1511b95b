//! Which public keys a certificate may carry (BR §6.1.5, §6.1.6; Boulder's `goodkey`).
//!
//! RSA of 2048 to 4096 bits with e = 65537, and points on P-256 and P-384. Ed25519 is refused: NSS, Chrome and Windows
//! do not accept such certificates, and an owner's own key, which is Ed25519, must not serve a second purpose.
//!
//! All arithmetic is on public values. The verdict is part of the state machine: it may change only with the protocol
//! version.
//!
//! Deviations: no list of Debian's weak keys (CVE-2008-0166) and no ordered block list yet.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Limb, NonZero, Odd, U256, U384, U4224, Uint};
use x509_cert::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::limits::{FERMAT_ROUNDS, MAX_RSA_BITS, MAX_SMALL_PRIME, MAX_SPKI, MIN_RSA_BITS};

pub const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What kind of key it is, as far as the profile distinguishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    Rsa,
    P256,
    P384,
}

/// A key that a certificate may carry. Made by [`check_public_key`] only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckedKey<'a> {
    spki: &'a [u8],
    key_type: KeyType,
}

impl<'a> CheckedKey<'a> {
    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &'a [u8] {
        self.spki
    }

    pub fn key_type(&self) -> KeyType {
        self.key_type
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadKey {
    #[error("the public key is not a SubjectPublicKeyInfo in DER")]
    Malformed,
    #[error("Ed25519 keys are refused by browsers: make a P-256 key for the certificate")]
    Ed25519,
    #[error("no certificates for this kind of key: make a P-256, P-384 or RSA key")]
    Algorithm,
    #[error(
        "an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, in a multiple of 8; this one has {0}: make a new key"
    )]
    RsaSize(u32),
    #[error("the public exponent of an RSA key must be 65537: make a new key")]
    RsaExponent,
    #[error("the RSA modulus is easily factored ({0}): make a new key with another program")]
    RsaWeak(&'static str),
    #[error("the elliptic-curve key is not an uncompressed point on its curve")]
    Point,
}

/// Whether a certificate may carry this key: SubjectPublicKeyInfo, DER.
pub fn check_public_key(spki: &[u8]) -> Result<CheckedKey<'_>, BadKey> {
    if spki.len() > MAX_SPKI {
        return Err(BadKey::Malformed);
    }
    let parsed = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| BadKey::Malformed)?;
    if parsed.to_der().ok().as_deref() != Some(spki) {
        return Err(BadKey::Malformed);
    }
    let key = parsed.subject_public_key.as_bytes().ok_or(BadKey::Malformed)?;
    let key_type = match parsed.algorithm.oid {
        RSA_ENCRYPTION => check_rsa(spki, key)?,
        EC_PUBLIC_KEY => check_curve(parsed.algorithm.parameters, key)?,
        ED25519 => return Err(BadKey::Ed25519),
        _ => return Err(BadKey::Algorithm),
    };
    Ok(CheckedKey { spki, key_type })
}

/// SubjectPublicKeyInfo (RFC 8017 §A.1.1) of the RSA key with this modulus, big-endian, and exponent.
pub fn rsa_public_key_info(modulus: &[u8], exponent: u32) -> Vec<u8> {
    let encode = || {
        let exponent = exponent.to_be_bytes();
        let mut body = UintRef::new(modulus)?.to_der()?;
        body.extend(UintRef::new(&exponent)?.to_der()?);
        let key = AnyRef::new(x509_cert::der::Tag::Sequence, &body)?.to_der()?;
        let algorithm = AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) };
        SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(&key)? }.to_der()
    };
    encode().expect("integers below the length limits of DER")
}

fn check_rsa(spki: &[u8], key: &[u8]) -> Result<KeyType, BadKey> {
    let (modulus, exponent) = rsa_integers(key).map_err(|_| BadKey::Malformed)?;
    let bits = (modulus.len() as u32 * 8).saturating_sub(modulus.first().map_or(8, |byte| byte.leading_zeros()));
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) || bits % 8 != 0 {
        return Err(BadKey::RsaSize(bits));
    }
    if exponent != [1, 0, 1] {
        return Err(BadKey::RsaExponent);
    }
    // With the integers known, one encoding is left: NULL parameters (RFC 4055 §1.2), minimal lengths, no tail.
    if rsa_public_key_info(modulus, 65537) != spki {
        return Err(BadKey::Malformed);
    }
    let mut padded = [0; U4224::BYTES];
    padded[U4224::BYTES - modulus.len()..].copy_from_slice(modulus);
    let modulus = U4224::from_be_slice(&padded);
    if has_small_factor(&modulus) {
        return Err(BadKey::RsaWeak("a small prime divides it"));
    }
    if is_roca(&modulus) {
        return Err(BadKey::RsaWeak("CVE-2017-15361"));
    }
    if has_close_primes(&modulus) {
        return Err(BadKey::RsaWeak("its primes are too close together"));
    }
    Ok(KeyType::Rsa)
}

/// Modulus and exponent of an RSAPublicKey, positive, in minimal big-endian bytes, and nothing after them.
fn rsa_integers(key: &[u8]) -> x509_cert::der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(key)?;
    let integers = reader.sequence(|inner| {
        let modulus: UintRef = inner.decode()?;
        let exponent: UintRef = inner.decode()?;
        Ok::<_, x509_cert::der::Error>((modulus.as_bytes(), exponent.as_bytes()))
    })?;
    reader.finish()?;
    Ok(integers)
}

fn remainder(n: &U4224, divisor: u16) -> u16 {
    let divisor = NonZero::new(Limb::from(divisor)).expect("divisors here are primes and constants");
    n.rem_limb(divisor).0 as u16
}

fn has_small_factor(n: &U4224) -> bool {
    let is_prime = |p: u16| (2..p).take_while(|d| d * d <= p).all(|d| !p.is_multiple_of(d));
    (2..=MAX_SMALL_PRIME).filter(|&p| is_prime(p)).any(|p| remainder(n, p) == 0)
}

/// Infineon's generator (CVE-2017-15361) makes primes that are powers of 65537 modulo each of these primes; so is
/// their product. A random modulus is so with probability 2⁻²⁷ (Nemec et al., *The Return of Coppersmith's Attack*).
fn is_roca(n: &U4224) -> bool {
    const PRIMES: [u16; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    PRIMES.iter().all(|&p| {
        let residue = u32::from(remainder(n, p));
        let mut power = 1;
        (0..p).any(|_| {
            power = power * 65537 % u32::from(p);
            power == residue
        })
    })
}

/// Fermat's factorization (CVE-2022-26320): if p and q are close, n = a² − b² with a just above √n.
fn has_close_primes(n: &U4224) -> bool {
    let mut a = n.floor_sqrt_vartime();
    if a.wrapping_mul(&a) == *n {
        return true;
    }
    a = a.wrapping_add(&U4224::ONE);
    let mut b_squared = a.wrapping_mul(&a).wrapping_sub(n);
    for _ in 0..FERMAT_ROUNDS {
        if is_square(&b_squared) {
            return true;
        }
        b_squared = b_squared.wrapping_add(&a.shl_vartime(1)).wrapping_add(&U4224::ONE);
        a = a.wrapping_add(&U4224::ONE);
    }
    false
}

fn is_square(n: &U4224) -> bool {
    // Residues first: all but one in two hundred numbers fail here, and the root is the costly part.
    let may_be = [64, 63, 65, 11, 17].iter().all(|&modulus| {
        let residue = u32::from(remainder(n, modulus));
        (0..u32::from(modulus)).any(|x| x * x % u32::from(modulus) == residue)
    });
    may_be && {
        let root = n.floor_sqrt_vartime();
        root.wrapping_mul(&root) == *n
    }
}

fn check_curve(parameters: Option<AnyRef>, key: &[u8]) -> Result<KeyType, BadKey> {
    let curve: ObjectIdentifier = parameters.and_then(|any| any.decode_as().ok()).ok_or(BadKey::Algorithm)?;
    let (key_type, size) = match curve {
        SECP256R1 => (KeyType::P256, 32),
        SECP384R1 => (KeyType::P384, 48),
        _ => return Err(BadKey::Algorithm),
    };
    // SEC 1 §2.3.3: 04 for uncompressed, then both coordinates. Compressed points are refused by many clients.
    if key.len() != 1 + 2 * size || key[0] != 4 {
        return Err(BadKey::Point);
    }
    let (x, y) = key[1..].split_at(size);
    let on_curve = match key_type {
        KeyType::P384 => is_on_curve(&P384, U384::from_be_slice(x), U384::from_be_slice(y)),
        _ => is_on_curve(&P256, U256::from_be_slice(x), U256::from_be_slice(y)),
    };
    if on_curve { Ok(key_type) } else { Err(BadKey::Point) }
}

/// y² = x³ − 3x + b modulo p (FIPS 186-4 §D.1.2; SP 800-186 §3.2.1). The cofactor is 1: such a point has full order.
struct Curve<const LIMBS: usize> {
    p: Uint<LIMBS>,
    b: Uint<LIMBS>,
}

const P256: Curve<{ U256::LIMBS }> = Curve {
    p: U256::from_be_hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    b: U256::from_be_hex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
};
const P384: Curve<{ U384::LIMBS }> = Curve {
    p: U384::from_be_hex(
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    ),
    b: U384::from_be_hex(
        "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    ),
};

fn is_on_curve<const LIMBS: usize>(curve: &Curve<LIMBS>, x: Uint<LIMBS>, y: Uint<LIMBS>) -> bool {
    if x >= curve.p || y >= curve.p {
        return false;
    }
    let field = FixedMontyParams::new_vartime(Odd::new(curve.p).expect("field primes are odd"));
    let [x, y, b] = [x, y, curve.b].map(|value| FixedMontyForm::new(&value, &field));
    let three_x = x.double().add(&x);
    y.square() == x.square().mul(&x).sub(&three_x).add(&b)
}

#[cfg(test)]
mod tests;
