//! What a block carries for the state machine: owners' operations, open and sealed; nonce commitments, signature shares,
//! decryption shares; votes on versions of zones that come from a primary, and parts of their changes.

use serde::{Deserialize, Serialize};

use super::primary::{Part, Vote};
use super::sealed::Opening;
use crate::codec::{self, CodecError};
use crate::limits::{
    CHANGE_PART, MAX_CHANGE_PARTS_PER_BLOCK, MAX_ENVELOPE, MAX_OPENINGS_PER_BLOCK, MAX_OPERATION,
    MAX_OPERATIONS_PER_BLOCK, MAX_PAYLOAD, MAX_SEALED_PER_BLOCK, MAX_SHARES_PER_BLOCK, MAX_VOTES_PER_BLOCK,
};
use crate::signing::{NonceBatch, ShareEntry};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Payload {
    /// Encoded signed operations, unchecked.
    #[serde(with = "crate::codec::bytes")]
    pub operations: Vec<Vec<u8>>,
    /// Commitments to nonces that the block's author will sign with.
    pub nonces: Option<NonceBatch>,
    /// Signature shares of the block's author.
    pub shares: Vec<ShareEntry>,
    /// Sealed operations ([`super::envelope`]), unchecked.
    #[serde(with = "crate::codec::bytes")]
    pub sealed: Vec<Vec<u8>>,
    /// Decryption shares of the block's author, for envelopes ordered before.
    pub openings: Vec<Opening>,
    /// What the block's author has transferred from registries' primaries.
    pub votes: Vec<Vote>,
    /// Changes of zones that are voted for.
    pub parts: Vec<Part>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PayloadError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("more operations, envelopes, shares, votes or parts than a block may carry")]
    TooMany,
}

impl Payload {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes that this takes in a block, at most, with room for the number of shares.
    pub fn size_bound(&self) -> usize {
        const LENGTH: usize = 5;
        let bytes: usize = self.operations.iter().chain(&self.sealed).map(|bytes| bytes.len() + LENGTH).sum();
        bytes
            + codec::encode(&(&self.nonces, &self.shares, &self.openings, &self.votes, &self.parts)).len()
            + 4 * LENGTH
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
            && payload.openings.len() <= MAX_OPENINGS_PER_BLOCK
            && payload.votes.len() <= MAX_VOTES_PER_BLOCK
            && payload.votes.iter().all(|vote| vote.candidate.is_bounded())
            && payload.parts.len() <= MAX_CHANGE_PARTS_PER_BLOCK
            && payload.parts.iter().all(|part| part.bytes.len() <= CHANGE_PART);
        if fits { Ok(payload) } else { Err(PayloadError::TooMany) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::Digest;
    use crate::directory::name::Name;
    use crate::limits::MAX_CHANGE_PARTS;
    use crate::replica::primary::Candidate;
    use crate::replica::sealed::Ticket;

    #[test]
    fn the_bytes_of_a_payload_are_frozen() {
        let share = codec::decode(&[&[1][..], &[0xab; 48]].concat(), 49).unwrap();
        let candidate = Candidate { serial: 300, parts: vec![Digest([0xcd; 32])] };
        let vote = Vote { zone: Name::parse("z.", None).unwrap(), base: 7, candidate };
        let payload = Payload {
            operations: vec![b"operation".to_vec()],
            nonces: None,
            shares: Vec::new(),
            sealed: vec![b"envelope".to_vec()],
            openings: vec![Opening { ticket: Ticket(300), share }],
            votes: vec![vote],
            parts: vec![Part { zone: Name::parse("z.", None).unwrap(), bytes: b"part".to_vec() }],
        };
        let bytes = payload.to_bytes();
        let opened = ["01ac02", "01", &"ab".repeat(48)].concat();
        let voted = ["01", "03017a00", "07", "ac02", "01", &"cd".repeat(32)].concat();
        let rest = ["0108656e76656c6f7065", &opened, &voted, "01", "03017a00", "0470617274"].concat();
        let expected = ["01096f7065726174696f6e", "00", "00", &rest];
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

    #[test]
    fn a_block_carries_so_many_votes_and_parts() {
        let zone = Name::parse("z.", None).unwrap();
        let with = |votes: usize, named: usize, parts: usize, length: usize| {
            let candidate = Candidate { serial: 1, parts: vec![Digest::ZERO; named] };
            Payload {
                votes: vec![Vote { zone: zone.clone(), base: 0, candidate }; votes],
                parts: vec![Part { zone: zone.clone(), bytes: vec![0; length] }; parts],
                ..Payload::default()
            }
        };
        let most = with(MAX_VOTES_PER_BLOCK, MAX_CHANGE_PARTS, MAX_CHANGE_PARTS_PER_BLOCK, CHANGE_PART);
        assert_eq!(Payload::from_bytes(&most.to_bytes()), Ok(most.clone()));
        assert!(most.to_bytes().len() <= most.size_bound() && most.size_bound() < MAX_PAYLOAD);
        for over in [
            with(MAX_VOTES_PER_BLOCK + 1, 1, 0, 0),
            with(1, MAX_CHANGE_PARTS + 1, 0, 0),
            with(1, 0, 0, 0),
            with(0, 0, MAX_CHANGE_PARTS_PER_BLOCK + 1, 1),
            with(0, 0, 1, CHANGE_PART + 1),
        ] {
            assert_eq!(Payload::from_bytes(&over.to_bytes()), Err(PayloadError::TooMany));
        }
    }
}
