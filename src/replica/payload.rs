//! What a block carries for the state machine: owners' operations, nonce commitments, signature shares.

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::limits::{MAX_OPERATION, MAX_OPERATIONS_PER_BLOCK, MAX_PAYLOAD, MAX_SHARES_PER_BLOCK};
use crate::signing::{NonceBatch, ShareEntry};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Payload {
    /// Encoded signed operations, unchecked.
    pub operations: Vec<Vec<u8>>,
    /// Commitments to nonces that the block's author will sign with.
    pub nonces: Option<NonceBatch>,
    /// Signature shares of the block's author.
    pub shares: Vec<ShareEntry>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PayloadError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("more operations or shares than a block may carry")]
    TooMany,
}

impl Payload {
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.nonces.is_none() && self.shares.is_empty()
    }

    /// Bytes that this takes in a block, at most, with room for the number of shares.
    pub fn size_bound(&self) -> usize {
        const LENGTH: usize = 5;
        let operations: usize = self.operations.iter().map(|operation| operation.len() + LENGTH).sum();
        operations + codec::encode(&self.nonces).len() + codec::encode(&self.shares).len() + 2 * LENGTH
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
            && payload.shares.len() <= MAX_SHARES_PER_BLOCK;
        if fits { Ok(payload) } else { Err(PayloadError::TooMany) }
    }
}
