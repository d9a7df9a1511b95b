//! Signatures of owners and of replicas (RFC 8032), under one validity rule for good.
//!
//! The rule of protocol version 1 is `verify_strict` of ed25519-dalek: cofactorless equation, canonical scalars and
//! points, small-order keys and commitments refused. Batch verification is never mixed in, since the two disagree on
//! crafted signatures, and a disagreement would split the state.
//!
//! A key that verifies again and again is a [`FrequentKey`]: tables of its multiples make both products of the equation
//! sums without doublings (31 µs instead of 44). It is the same rule, by other arithmetic.

use std::fmt;
use std::sync::{Arc, OnceLock};

use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable, EdwardsPoint};
use curve25519_dalek::traits::BasepointTable;
use ed25519_dalek::Signer;
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::digest;
use super::memory::Memory;

/// An Ed25519 public key: 32 bytes, checked only when something is verified under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The text form that people pass around: `ed25519:` and the base64 of the key.
    pub fn parse(text: &str) -> Option<Self> {
        let base64 = text.strip_prefix("ed25519:")?;
        let key = Self(data_encoding::BASE64.decode(base64.as_bytes()).ok()?.try_into().ok()?);
        key.is_usable().then_some(key)
    }

    /// Whether any signature can verify under this key: a canonical point that is not of small order.
    pub fn is_usable(&self) -> bool {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak())
    }

    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&self.0) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
        key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", data_encoding::BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key with tables for verifying many signatures: 30 KiB, made at the first one, which takes a millisecond.
#[derive(Clone)]
pub struct FrequentKey {
    tables: Arc<Frequent>,
    memory: Option<SignatureMemory>,
}

/// Signatures that were made in this process ([`super::memory`]): they need no check.
#[derive(Clone, Default)]
pub struct SignatureMemory(Memory<digest::Digest, ()>);

impl SignatureMemory {
    fn name(key: &PublicKey, message: &[u8], signature: &Signature) -> digest::Digest {
        digest::hash("torrens signature memory", &[&key.0, &signature.r, &signature.s, message])
    }
}

struct Frequent {
    key: PublicKey,
    /// Multiples of −A; none if the key is not usable.
    negated: OnceLock<Option<EdwardsBasepointTable>>,
}

impl FrequentKey {
    pub fn key(&self) -> PublicKey {
        self.tables.key
    }

    /// As [`PublicKey::verify`], whatever the bytes. RFC 8032 §5.1.7, without cofactor: R has to be s·B − k·A. Since the
    /// bytes of R are compared with the one encoding of that point, R needs no decoding of its own.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let Frequent { key, negated } = &*self.tables;
        let is_made_here =
            |memory: &SignatureMemory| memory.0.get(&SignatureMemory::name(key, message, signature)).is_some();
        if self.memory.as_ref().is_some_and(is_made_here) {
            return true;
        }
        let Some(negated) = negated.get_or_init(|| multiples_of_negated(key)) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(signature.s)) else { return false };
        let challenge = Sha512::new().chain_update(signature.r).chain_update(key.0).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
        let r = EdwardsPoint::mul_base(&s) + negated.mul_base(&k);
        r.compress().to_bytes() == signature.r && !r.is_small_order()
    }

    /// Takes what [`SecretKey::remembering`] signed with this memory as it is; all else is checked.
    #[must_use]
    pub fn remembering(self, memory: &SignatureMemory) -> Self {
        Self { memory: Some(memory.clone()), ..self }
    }
}

impl From<PublicKey> for FrequentKey {
    fn from(key: PublicKey) -> Self {
        Self { tables: Arc::new(Frequent { key, negated: OnceLock::new() }), memory: None }
    }
}

impl PartialEq for FrequentKey {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for FrequentKey {}

impl fmt::Debug for FrequentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.tables.key, f)
    }
}

fn multiples_of_negated(key: &PublicKey) -> Option<EdwardsBasepointTable> {
    let point = CompressedEdwardsY(key.0).decompress().filter(|point| !point.is_small_order())?;
    Some(EdwardsBasepointTable::create(&-point))
}

/// An Ed25519 signature: R and s, 32 bytes each.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    r: [u8; 32],
    s: [u8; 32],
}

impl Signature {
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        let (r, s) = bytes.split_at(32);
        Self { r: r.try_into().expect("32 of 64"), s: s.try_into().expect("32 of 64") }
    }

    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.r);
        bytes[32..].copy_from_slice(&self.s);
        bytes
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", data_encoding::HEXLOWER.encode(&self.r[..4]))
    }
}

/// A signing key. Not `Clone`; wiped when dropped.
pub struct SecretKey {
    key: ed25519_dalek::SigningKey,
    memory: Option<SignatureMemory>,
}

/// PrivateKeyInfo up to the 32 bytes of the key: SEQUENCE (46 bytes), version 0, id-Ed25519, OCTET STRING in OCTET STRING.
pub const PKCS8: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

impl SecretKey {
    pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
        Self { key: ed25519_dalek::SigningKey::generate(rng), memory: None }
    }

    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(seed), memory: None }
    }

    /// The 32-byte seed (RFC 8032 §5.1.5), for writing the key to its owner's file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// PrivateKeyInfo in DER (RFC 8410 §7, version 1).
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(48));
        der.extend_from_slice(PKCS8);
        der.extend_from_slice(self.seed().as_slice());
        der
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = Signature::from_bytes(self.key.sign(message).to_bytes());
        if let Some(memory) = &self.memory {
            memory.0.note(SignatureMemory::name(&self.public(), message, &signature), ());
        }
        signature
    }

    /// Tells those who check its signatures with this memory which it made.
    #[must_use]
    pub fn remembering(self, memory: &SignatureMemory) -> Self {
        Self { memory: Some(memory.clone()), ..self }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey([redacted] of {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_verifies_under_its_key_and_message_only() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signature = key.sign(b"title");
        assert!(key.public().verify(b"title", &signature));
        assert!(!key.public().verify(b"other", &signature));
        assert!(!SecretKey::from_seed(&[8; 32]).public().verify(b"title", &signature));
    }

    #[test]
    fn only_what_was_signed_here_is_remembered() {
        let memory = SignatureMemory::default();
        let (secret, other) = (SecretKey::from_seed(&[7; 32]), SecretKey::from_seed(&[8; 32]));
        let remembering = FrequentKey::from(secret.public()).remembering(&memory);
        let plain = secret.sign(b"title");
        assert!(remembering.verify(b"title", &plain) && !remembering.verify(b"other", &plain));
        let signature = secret.remembering(&memory).sign(b"title");
        let (forged, of_another) = (Signature { s: [1; 32], ..signature }, other.remembering(&memory).sign(b"title"));
        assert!(signature == plain && remembering.verify(b"title", &signature));
        assert!(!remembering.verify(b"other", &signature));
        assert!(!remembering.verify(b"title", &forged) && !remembering.verify(b"title", &of_another));
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(!PublicKey(identity).is_usable());
    }

    /// Keys and signatures on which implementations of RFC 8032 differ: points of small order, their sums with
    /// others, encodings that are not the canonical one, scalars that are not reduced, bytes that are no point at all.
    fn crafted() -> (Vec<PublicKey>, Vec<Signature>) {
        let torsion = curve25519_dalek::constants::EIGHT_TORSION;
        let honest = SecretKey::from_seed(&[7; 32]);
        let point = CompressedEdwardsY(honest.public().0).decompress().unwrap();
        let mut keys: Vec<[u8; 32]> = torsion.iter().map(|small| small.compress().to_bytes()).collect();
        keys.extend(torsion[1..].iter().map(|small| (point + small).compress().to_bytes()));
        // y = 1 and y = 0 plus the prime, and y = 1 with the sign of a zero x.
        keys.extend([0xee, 0xed].map(|low| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, 0x7f);
            bytes
        }));
        let mut signed_zero = [0; 32];
        (signed_zero[0], signed_zero[31]) = (1, 0x80);
        keys.extend([signed_zero, [2; 32], [0xff; 32]]);
        let good = honest.sign(b"title");
        let mut signatures = vec![good];
        for r in &keys {
            signatures.push(Signature { r: *r, s: good.s });
            signatures.push(Signature { r: *r, s: [0; 32] });
        }
        // s plus the order of the group.
        let order_less_one = (-Scalar::ONE).to_bytes();
        let (mut unreduced, mut carry) = (good.s, 1);
        for (byte, summand) in unreduced.iter_mut().zip(order_less_one) {
            let sum = u16::from(*byte) + u16::from(summand) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        signatures.push(Signature { r: good.r, s: unreduced });
        (keys.into_iter().map(PublicKey).chain([honest.public()]).collect(), signatures)
    }

    #[test]
    fn a_frequent_key_verifies_what_the_key_itself_does_and_nothing_else() {
        let (keys, signatures) = crafted();
        let mut valid = 0;
        for key in keys {
            let frequent = FrequentKey::from(key);
            for signature in &signatures {
                for message in [b"title".as_slice(), b"other"] {
                    let expected = key.verify(message, signature);
                    assert_eq!(frequent.verify(message, signature), expected, "{key:?} {signature:?}");
                    valid += u32::from(expected);
                }
            }
        }
        assert_eq!(valid, 1);
    }

    /// Under a key with a part of small order the equation holds for the challenges that this part divides.
    #[test]
    fn a_frequent_key_agrees_on_signatures_by_keys_with_a_part_of_small_order() {
        let mut accepted = [0, 0];
        for (seed, small) in (0u8..).zip(curve25519_dalek::constants::EIGHT_TORSION) {
            let a = Scalar::from_bytes_mod_order([seed + 1; 32]);
            let key = PublicKey((EdwardsPoint::mul_base(&a) + small).compress().to_bytes());
            let frequent = FrequentKey::from(key);
            for number in 0..64u64 {
                let nonce = Scalar::from(number);
                let r = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
                let challenge = Sha512::new().chain_update(r).chain_update(key.0).chain_update(b"title");
                let k = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
                let signature = Signature { r, s: (nonce + k * a).to_bytes() };
                let expected = key.verify(b"title", &signature);
                assert_eq!(frequent.verify(b"title", &signature), expected);
                accepted[usize::from(expected)] += 1;
            }
        }
        assert!(accepted[0] > 64 && accepted[1] > 64, "{accepted:?}");
    }

    #[test]
    fn text_form_parses_back() {
        let key = SecretKey::from_seed(&[7; 32]).public();
        assert_eq!(PublicKey::parse(&key.to_string()), Some(key));
        assert_eq!(PublicKey::parse("ed25519:AAAA"), None);
    }

    #[test]
    fn a_secret_key_shows_nothing_in_debug() {
        assert!(format!("{:?}", SecretKey::from_seed(&[7; 32])).contains("[redacted]"));
    }
}
