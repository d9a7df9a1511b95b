//! EMSA-PKCS1-v1_5 (RFC 8017 §9.2) with SHA-256, and the key's SubjectPublicKeyInfo (RFC 3279 §2.3.1).

use sha2::{Digest, Sha256};

use super::EXPONENT;
use crate::limits::RSA_MODULUS_BYTES;

/// DER of `DigestInfo` for SHA-256 up to the digest (RFC 8017 §9.2, note 1).
const DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// SubjectPublicKeyInfo { rsaEncryption, NULL }, BIT STRING { SEQUENCE { INTEGER N, … up to N, whose highest bit is set.
const SPKI_BEFORE_MODULUS: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];

/// `00 01 FF…FF 00 ‖ DigestInfo`, as long as the modulus.
pub fn encode_pkcs1v15_sha256(message: &[u8]) -> [u8; RSA_MODULUS_BYTES] {
    let mut block = [0xff; RSA_MODULUS_BYTES];
    let (padding, info) = block.split_at_mut(RSA_MODULUS_BYTES - DIGEST_INFO.len() - 32);
    padding[0] = 0;
    padding[1] = 1;
    *padding.last_mut().expect("202 bytes") = 0;
    info[..DIGEST_INFO.len()].copy_from_slice(&DIGEST_INFO);
    info[DIGEST_INFO.len()..].copy_from_slice(&Sha256::digest(message));
    block
}

/// DER of SubjectPublicKeyInfo with `modulus`, whose highest bit is set.
pub(super) fn spki_der(modulus: &[u8]) -> Vec<u8> {
    let exponent = EXPONENT.to_be_bytes();
    [&SPKI_BEFORE_MODULUS[..], modulus, &[0x02, 0x03], &exponent[1..]].concat()
}
