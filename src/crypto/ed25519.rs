//! Signatures of owners and of replicas (RFC 8032), under one validity rule for good.
//!
//! The rule of protocol version 1 is `verify_strict` of ed25519-dalek: cofactorless equation, canonical scalars and
//! points, small-order keys and commitments refused. Batch verification is never mixed in, since the two disagree on
//! crafted signatures, and a disagreement would split the state.

use std::fmt;

use ed25519_dalek::Signer;
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

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
pub struct SecretKey(ed25519_dalek::SigningKey);

/// PrivateKeyInfo up to the 32 bytes of the key: SEQUENCE (46 bytes), version 0, id-Ed25519, OCTET STRING in OCTET STRING.
pub const PKCS8: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

impl SecretKey {
    pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
        Self(ed25519_dalek::SigningKey::generate(rng))
    }

    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed (RFC 8032 §5.1.5), for writing the key to its owner's file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// PrivateKeyInfo in DER (RFC 8410 §7, version 1).
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(48));
        der.extend_from_slice(PKCS8);
        der.extend_from_slice(self.seed().as_slice());
        der
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(self.0.sign(message).to_bytes())
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
    fn a_key_of_small_order_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(!PublicKey(identity).is_usable());
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
