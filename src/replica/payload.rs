//! What a block carries for the state machine: owners' operations, open and sealed; nonce commitments, signature shares,
//! decryption shares.

use serde::{Deserialize, Serialize};

use super::sealed::Opening;
use crate::codec::{self, CodecError};
use crate::limits::{
    MAX_ENVELOPE, MAX_OPENINGS_PER_BLOCK, MAX_OPERATION, MAX_OPERATIONS_PER_BLOCK, MAX_PAYLOAD, MAX_SEALED_PER_BLOCK,
    MAX_SHARES_PER_BLOCK,
};
use crate::signing::{NonceBatch, ShareEntry};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Payload {
    /// Encoded signed operations, unchecked.
    pub operations: Vec<Vec<u8>>,
    /// Commitments to nonces that the block's author will sign with.
    pub nonces: Option<NonceBatch>,
    /// Signature shares of the block's author.
    pub shares: Vec<ShareEntry>,
    /// Sealed operations ([`super::envelope`]), unchecked.
    pub sealed: Vec<Vec<u8>>,
    /// Decryption shares of the block's author, for envelopes ordered before.
    pub openings: Vec<Opening>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PayloadError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("more operations, envelopes or shares than a block may carry")]
    TooMany,
}

impl Payload {
    pub fn is_empty(&self) -> bool {
        let Self { operations, nonces, shares, sealed, openings } = self;
        operations.is_empty() && nonces.is_none() && shares.is_empty() && sealed.is_empty() && openings.is_empty()
    }

    /// Bytes that this takes in a block, at most, with room for the number of shares.
    pub fn size_bound(&self) -> usize {
        const LENGTH: usize = 5;
        let bytes: usize = self.operations.iter().chain(&self.sealed).map(|bytes| bytes.len() + LENGTH).sum();
        bytes + codec::encode(&(&self.nonces, &self.shares, &self.openings)).len() + 4 * LENGTH
    }

    /// The bytes for a block; none at all if there is nothing to carry.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.is_empty() { Vec::new() } else { codec::encode(self) }
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PayloadError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let payload: Self = codec::decode(bytes, MAX_PAYLOAD)?;
        let fits = payload.operations.len() <= MAX_OPERATIONS_PER_BLOCK
            && payload.operations.iter().all(|operation| operation.len() <= MAX_OPERATION)
            && payload.shares.len() <= MAX_SHARES_PER_BLOCK
            && payload.sealed.len() <= MAX_SEALED_PER_BLOCK
            && payload.sealed.iter().all(|envelope| envelope.len() <= MAX_ENVELOPE)
            && payload.openings.len() <= MAX_OPENINGS_PER_BLOCK;
        if fits { Ok(payload) } else { Err(PayloadError::TooMany) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::sealed::Ticket;

    #[test]
    fn the_bytes_of_a_payload_are_frozen() {
        let share = codec::decode(&[&[1][..], &[0xab; 48]].concat(), 49).unwrap();
        let payload = Payload {
            operations: vec![b"operation".to_vec()],
            nonces: None,
            shares: Vec::new(),
            sealed: vec![b"envelope".to_vec()],
            openings: vec![Opening { ticket: Ticket(300), share }],
        };
        let bytes = payload.to_bytes();
        let expected = ["01096f7065726174696f6e", "00", "00", "0108656e76656c6f7065", "01ac02", "01", &"ab".repeat(48)];
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), expected.concat());
        assert_eq!(Payload::from_bytes(&bytes), Ok(payload.clone()));
        assert!(bytes.len() <= payload.size_bound());
    }

    #[test]
    fn a_block_carries_so_many_envelopes_and_openings() {
        let opening = Opening { ticket: Ticket(0), share: codec::decode(&[&[1][..], &[0; 48]].concat(), 49).unwrap() };
        let with = |envelopes: usize, length: usize, openings: usize| Payload {
            sealed: vec![vec![0; length]; envelopes],
            openings: vec![opening.clone(); openings],
            ..Payload::default()
        };
        let most = with(MAX_SEALED_PER_BLOCK, MAX_ENVELOPE, MAX_OPENINGS_PER_BLOCK);
        assert!(Payload::from_bytes(&most.to_bytes()).is_ok());
        for over in
            [with(MAX_SEALED_PER_BLOCK + 1, 1, 0), with(1, MAX_ENVELOPE + 1, 0), with(0, 0, MAX_OPENINGS_PER_BLOCK + 1)]
        {
            assert_eq!(Payload::from_bytes(&over.to_bytes()), Err(PayloadError::TooMany));
        }
    }
}
