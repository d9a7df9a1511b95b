//! An envelope: an operation sealed to the cluster's key, which nobody reads before its place in the order is fixed.
//!
//! The ciphertext ([`crate::crypto::bls::sealing`]) of the signed operation, one byte 0x80, and zeros up to a multiple of
//! [`SEALED_PADDING`] bytes (the padding of ISO/IEC 7816-4), so that the length tells no name. An envelope is the
//! ciphertext's bytes and nothing else: what is beside a ciphertext could be changed by whoever carries it, and would make
//! a second envelope of the same operation. For the same reason it has no label: the operation inside is signed by its
//! owner, so a copy helps nobody but him.

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::report::DoorRefusal;
use crate::crypto::bls::sealing::SealingKey;
use crate::crypto::bls::{Ciphertext, VerifiedCiphertext};
use crate::crypto::digest::{Digest, hash};
use crate::limits::{MAX_ENVELOPE, MAX_OPERATION, SEALED_PADDING};

/// A ciphertext that passed its check, under the name of its bytes.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub digest: Digest,
    pub ciphertext: VerifiedCiphertext,
}

/// Seals the bytes of a signed operation.
pub fn seal(operation: &[u8], key: &SealingKey, rng: &mut impl CryptoRngCore) -> Vec<u8> {
    let mut message = Zeroizing::new(Vec::with_capacity(operation.len() + SEALED_PADDING));
    message.extend_from_slice(operation);
    message.push(0x80);
    let padded = message.len().next_multiple_of(SEALED_PADDING);
    message.resize(padded, 0);
    key.seal(&message, rng).to_bytes()
}

/// What names an envelope, and its outcome.
pub fn digest_of_bytes(envelope: &[u8]) -> Digest {
    hash("torrens v1 envelope", &[envelope])
}

/// The operation in an opened envelope; none if it was not padded as [`seal`] pads.
pub fn operation_of(message: &[u8]) -> Option<&[u8]> {
    let end = message.iter().rposition(|&byte| byte != 0)?;
    let whole = message.len().is_multiple_of(SEALED_PADDING) && message.len() - end <= SEALED_PADDING;
    (whole && message[end] == 0x80 && end <= MAX_OPERATION).then_some(&message[..end])
}

/// The envelope that `bytes` are, if it is one: milliseconds of work, which no state enters into.
pub fn check(bytes: &[u8]) -> Result<Envelope, DoorRefusal> {
    if bytes.len() > MAX_ENVELOPE {
        return Err(DoorRefusal::TooLarge);
    }
    let ciphertext = Ciphertext::from_bytes(bytes).ok_or(DoorRefusal::Malformed)?;
    let ciphertext = ciphertext.check().ok_or(DoorRefusal::BadSeal)?;
    Ok(Envelope { digest: digest_of_bytes(bytes), ciphertext })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_hides_the_length_and_comes_off_again() {
        let padded = |operation: &[u8]| {
            let mut message = [operation, &[0x80]].concat();
            message.resize(message.len().next_multiple_of(SEALED_PADDING), 0);
            message
        };
        for length in [0, 1, SEALED_PADDING - 1, SEALED_PADDING, MAX_OPERATION] {
            for last in [0, 0x80, 7] {
                let operation = vec![last; length];
                let message = padded(&operation);
                assert!(message.len().is_multiple_of(SEALED_PADDING));
                assert_eq!(operation_of(&message), Some(operation.as_slice()));
            }
        }
        let mut twice = padded(b"operation");
        twice.resize(2 * SEALED_PADDING, 0);
        for wrong in [&[][..], &[0x80], &[0; SEALED_PADDING], &[1; SEALED_PADDING], &padded(b"x")[1..], &twice] {
            assert_eq!(operation_of(wrong), None);
        }
    }
}
