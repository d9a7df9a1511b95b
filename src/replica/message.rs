//! What replicas say to each other.
//!
//! The encoding is by hand: blocks are the bulk of all traffic, and are copied, not visited byte by byte. Integers
//! have fixed width, big-endian, and nothing may follow the last field, so each message has one encoding.
//!
//! ```text
//! Block          0 ‖ bytes
//! Fetch          1 ‖ above u64 ‖ (round u64 ‖ author u8 ‖ digest 32)*
//! Blocks         2 ‖ (length u32 ‖ bytes)*
//! StartupQuery   3 ‖ nonce 32
//! StartupAnswer  4 ‖ bytes
//! Operation      5 ‖ bytes
//! HeadShare      6 ‖ bytes
//! Head           7 ‖ bytes
//! HeadQuery      8 ‖ height u64
//! StateQuery     9 ‖ height u64 ‖ part
//! StateAnswer   10 ‖ height u64 ‖ part ‖ bytes
//! StateRefusal  11 ‖ height u64
//! Envelope      15 ‖ bytes
//!
//! part           0 (manifest)  or  1 ‖ offset u64 ‖ length u32
//! ```

use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::limits::{
    MAX_ANSWERED_BLOCKS, MAX_BLOCK_MESSAGE, MAX_BLOCKS_ANSWER, MAX_ENVELOPE, MAX_FETCH, MAX_HEAD_MESSAGE,
    MAX_OPERATION, MAX_REPLICAS, MAX_STARTUP_ANSWER, SYNC_CHUNK,
};
use crate::order::BlockRef;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerMessage {
    /// A block of the sender's own.
    Block(Vec<u8>),
    /// Please send these blocks, and of their past what lies above round `above`.
    Fetch { refs: Vec<BlockRef>, above: u64 },
    /// Answer to `Fetch`, or as much of it as fits: see [`PeerMessage::blocks`].
    Blocks(Vec<Vec<u8>>),
    /// The sender starts: what did it say last, and where are you?
    StartupQuery { nonce: [u8; 32] },
    /// Answer to `StartupQuery`.
    StartupAnswer(Vec<u8>),
    /// An owner's operation, handed on.
    Operation(Vec<u8>),
    /// A sealed operation, handed on.
    Envelope(Vec<u8>),
    /// A head of the sender's state, with its share of the signature.
    HeadShare(Vec<u8>),
    /// A signed head.
    Head(Vec<u8>),
    /// Please send the signed heads above `height`.
    HeadQuery { height: u64 },
    /// Please send a part of the state at the signed head of this height.
    StateQuery { height: u64, part: StatePart },
    /// Answer to `StateQuery`.
    StateAnswer { height: u64, part: StatePart, bytes: Vec<u8> },
    /// Answer to `StateQuery`: the sender does not have the state of this height.
    StateRefusal { height: u64 },
}

/// Which part of the state: see [`crate::store::serve`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatePart {
    /// Lengths and digests of all buckets.
    Manifest,
    Range {
        offset: u64,
        length: u32,
    },
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("no message starts with byte {0}")]
    Kind(u8),
    #[error("the message ends early")]
    Truncated,
    #[error("{what}: {length}, of which at most {limit} are allowed")]
    TooMany { what: &'static str, length: usize, limit: usize },
    #[error("no replica has number {0}")]
    Author(u8),
    #[error("no part of the state starts with byte {0}")]
    Part(u8),
}

const REFERENCE: usize = 8 + 1 + 32;

impl PeerMessage {
    /// As many of `blocks` as one answer holds, from the first on.
    pub fn blocks(blocks: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut total = 0;
        let fits = |block: &Vec<u8>| {
            total += 4 + block.len();
            total <= MAX_BLOCKS_ANSWER
        };
        Self::Blocks(blocks.into_iter().take(MAX_ANSWERED_BLOCKS).take_while(fits).collect())
    }

    /// The message as bytes, if it is within the limits that every receiver checks.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        let mut bytes = Vec::new();
        match self {
            Self::Block(block) => tagged(&mut bytes, 0, block),
            Self::Fetch { refs, above } => {
                tagged(&mut bytes, 1, &above.to_be_bytes());
                for reference in refs {
                    bytes.extend_from_slice(&reference.round.to_be_bytes());
                    bytes.push(reference.author.0);
                    bytes.extend_from_slice(&reference.digest.0);
                }
            }
            Self::Blocks(blocks) => {
                bytes.push(2);
                for block in blocks {
                    bytes.extend_from_slice(&(block.len() as u32).to_be_bytes());
                    bytes.extend_from_slice(block);
                }
            }
            Self::StartupQuery { nonce } => tagged(&mut bytes, 3, nonce),
            Self::StartupAnswer(answer) => tagged(&mut bytes, 4, answer),
            Self::Operation(operation) => tagged(&mut bytes, 5, operation),
            Self::Envelope(envelope) => tagged(&mut bytes, 15, envelope),
            Self::HeadShare(share) => tagged(&mut bytes, 6, share),
            Self::Head(head) => tagged(&mut bytes, 7, head),
            Self::HeadQuery { height } => tagged(&mut bytes, 8, &height.to_be_bytes()),
            Self::StateQuery { height, part } => {
                tagged(&mut bytes, 9, &height.to_be_bytes());
                part.write(&mut bytes);
            }
            Self::StateAnswer { height, part, bytes: piece } => {
                bytes.reserve_exact(1 + 8 + PART + piece.len());
                tagged(&mut bytes, 10, &height.to_be_bytes());
                part.write(&mut bytes);
                bytes.extend_from_slice(piece);
            }
            Self::StateRefusal { height } => tagged(&mut bytes, 11, &height.to_be_bytes()),
        }
        Ok(bytes)
    }

    /// The message that `bytes` encode. Allocates no more than a small multiple of their length.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (&kind, rest) = bytes.split_first().ok_or(MessageError::Truncated)?;
        let message = match kind {
            0 => Self::Block(checked_bytes("bytes of a block", rest, MAX_BLOCK_MESSAGE)?),
            1 => decode_fetch(rest)?,
            2 => decode_blocks(rest)?,
            3 => Self::StartupQuery { nonce: rest.try_into().map_err(|_| MessageError::Truncated)? },
            4 => Self::StartupAnswer(checked_bytes("bytes of a start-up answer", rest, MAX_STARTUP_ANSWER)?),
            5 => Self::Operation(checked_bytes("bytes of an operation", rest, MAX_OPERATION)?),
            15 => Self::Envelope(checked_bytes("bytes of a sealed operation", rest, MAX_ENVELOPE)?),
            6 => Self::HeadShare(checked_bytes("bytes of a head's share", rest, MAX_HEAD_MESSAGE)?),
            7 => Self::Head(checked_bytes("bytes of a signed head", rest, MAX_HEAD_MESSAGE)?),
            8 => Self::HeadQuery { height: decode_height(rest)? },
            9 | 10 => decode_state(kind, rest)?,
            11 => Self::StateRefusal { height: decode_height(rest)? },
            other => return Err(MessageError::Kind(other)),
        };
        Ok(message)
    }

    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Block(block) => within("bytes of a block", block.len(), MAX_BLOCK_MESSAGE),
            Self::Fetch { refs, .. } => within("blocks asked for", refs.len(), MAX_FETCH),
            Self::Blocks(blocks) => {
                within("blocks answered", blocks.len(), MAX_ANSWERED_BLOCKS)?;
                let total = blocks.iter().map(|block| 4 + block.len()).sum();
                within("bytes of answered blocks", total, MAX_BLOCKS_ANSWER)
            }
            Self::StartupQuery { .. } => Ok(()),
            Self::StartupAnswer(answer) => within("bytes of a start-up answer", answer.len(), MAX_STARTUP_ANSWER),
            Self::Operation(operation) => within("bytes of an operation", operation.len(), MAX_OPERATION),
            Self::Envelope(envelope) => within("bytes of a sealed operation", envelope.len(), MAX_ENVELOPE),
            Self::HeadShare(share) => within("bytes of a head's share", share.len(), MAX_HEAD_MESSAGE),
            Self::Head(head) => within("bytes of a signed head", head.len(), MAX_HEAD_MESSAGE),
            Self::HeadQuery { .. } | Self::StateQuery { .. } | Self::StateRefusal { .. } => Ok(()),
            Self::StateAnswer { bytes, .. } => within("bytes of the state", bytes.len(), SYNC_CHUNK),
        }
    }
}

/// Bytes of a part, at most.
const PART: usize = 1 + 8 + 4;

impl StatePart {
    fn write(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Manifest => bytes.push(0),
            Self::Range { offset, length } => {
                bytes.push(1);
                bytes.extend_from_slice(&offset.to_be_bytes());
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
    }

    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), MessageError> {
        match bytes.split_first().ok_or(MessageError::Truncated)? {
            (0, rest) => Ok((Self::Manifest, rest)),
            (1, rest) => {
                let (offset, rest) = rest.split_first_chunk().ok_or(MessageError::Truncated)?;
                let (length, rest) = rest.split_first_chunk().ok_or(MessageError::Truncated)?;
                let (offset, length) = (u64::from_be_bytes(*offset), u32::from_be_bytes(*length));
                Ok((Self::Range { offset, length }, rest))
            }
            (other, _) => Err(MessageError::Part(*other)),
        }
    }
}

fn decode_height(bytes: &[u8]) -> Result<u64, MessageError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| MessageError::Truncated)
}

fn decode_state(kind: u8, bytes: &[u8]) -> Result<PeerMessage, MessageError> {
    let (height, rest) = bytes.split_first_chunk().ok_or(MessageError::Truncated)?;
    let height = u64::from_be_bytes(*height);
    let (part, rest) = StatePart::read(rest)?;
    if kind == 10 {
        let bytes = checked_bytes("bytes of the state", rest, SYNC_CHUNK)?;
        return Ok(PeerMessage::StateAnswer { height, part, bytes });
    }
    if rest.is_empty() { Ok(PeerMessage::StateQuery { height, part }) } else { Err(MessageError::Truncated) }
}

fn decode_fetch(bytes: &[u8]) -> Result<PeerMessage, MessageError> {
    let (above, references) = bytes.split_first_chunk::<8>().ok_or(MessageError::Truncated)?;
    let (references, rest) = references.as_chunks::<REFERENCE>();
    if !rest.is_empty() {
        return Err(MessageError::Truncated);
    }
    within("blocks asked for", references.len(), MAX_FETCH)?;
    let refs = references.iter().map(decode_reference).collect::<Result<_, _>>()?;
    Ok(PeerMessage::Fetch { refs, above: u64::from_be_bytes(*above) })
}

fn decode_reference(bytes: &[u8; REFERENCE]) -> Result<BlockRef, MessageError> {
    let author = bytes[8];
    if usize::from(author) >= MAX_REPLICAS {
        return Err(MessageError::Author(author));
    }
    let round = u64::from_be_bytes(bytes[..8].try_into().expect("8 of 41"));
    Ok(BlockRef { round, author: ReplicaId(author), digest: Digest(bytes[9..].try_into().expect("32 of 41")) })
}

fn decode_blocks(mut bytes: &[u8]) -> Result<PeerMessage, MessageError> {
    within("bytes of answered blocks", bytes.len(), MAX_BLOCKS_ANSWER)?;
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(MessageError::Truncated)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or(MessageError::Truncated)?;
        within("blocks answered", blocks.len() + 1, MAX_ANSWERED_BLOCKS)?;
        blocks.push(checked_bytes("bytes of a block", block, MAX_BLOCK_MESSAGE)?);
        bytes = rest;
    }
    Ok(PeerMessage::Blocks(blocks))
}

fn tagged(bytes: &mut Vec<u8>, kind: u8, rest: &[u8]) {
    bytes.reserve_exact(1 + rest.len());
    bytes.push(kind);
    bytes.extend_from_slice(rest);
}

fn checked_bytes(what: &'static str, bytes: &[u8], limit: usize) -> Result<Vec<u8>, MessageError> {
    within(what, bytes.len(), limit)?;
    Ok(bytes.to_vec())
}

fn within(what: &'static str, length: usize, limit: usize) -> Result<(), MessageError> {
    if length > limit { Err(MessageError::TooMany { what, length, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> Vec<PeerMessage> {
        let reference = BlockRef { round: 0x0102, author: ReplicaId(3), digest: Digest([0xab; 32]) };
        vec![
            PeerMessage::Block(b"block".to_vec()),
            PeerMessage::Fetch { refs: vec![reference], above: 7 },
            PeerMessage::Blocks(vec![b"one".to_vec(), Vec::new(), b"three".to_vec()]),
            PeerMessage::StartupQuery { nonce: [0xcd; 32] },
            PeerMessage::StartupAnswer(b"answer".to_vec()),
            PeerMessage::Operation(b"operation".to_vec()),
            PeerMessage::Envelope(b"envelope".to_vec()),
            PeerMessage::HeadShare(b"share".to_vec()),
            PeerMessage::Head(b"head".to_vec()),
            PeerMessage::HeadQuery { height: 0x0304 },
            PeerMessage::StateQuery { height: 5, part: StatePart::Manifest },
            PeerMessage::StateQuery { height: 5, part: StatePart::Range { offset: 6, length: 7 } },
            PeerMessage::StateAnswer { height: 5, part: StatePart::Manifest, bytes: b"manifest".to_vec() },
            PeerMessage::StateAnswer {
                height: 5,
                part: StatePart::Range { offset: 6, length: 7 },
                bytes: b"piece".to_vec(),
            },
            PeerMessage::StateRefusal { height: 8 },
        ]
    }

    #[test]
    fn the_bytes_of_each_message_are_frozen() {
        let lines: Vec<_> =
            samples().iter().map(|message| data_encoding::HEXLOWER.encode(&message.encode().unwrap())).collect();
        assert_eq!(lines.join("\n"), include_str!("../../tests/golden/peer-messages.txt").trim_end());
    }

    #[test]
    fn messages_over_a_limit_are_neither_sent_nor_read() {
        let reference = BlockRef { round: 0, author: ReplicaId(0), digest: Digest::ZERO };
        for message in [
            PeerMessage::Block(vec![0; MAX_BLOCK_MESSAGE + 1]),
            PeerMessage::Fetch { refs: vec![reference; MAX_FETCH + 1], above: 0 },
            PeerMessage::Blocks(vec![Vec::new(); MAX_ANSWERED_BLOCKS + 1]),
            PeerMessage::Blocks(vec![vec![0; MAX_BLOCKS_ANSWER / 4]; 5]),
            PeerMessage::StartupAnswer(vec![0; MAX_STARTUP_ANSWER + 1]),
            PeerMessage::Operation(vec![0; MAX_OPERATION + 1]),
            PeerMessage::Envelope(vec![0; MAX_ENVELOPE + 1]),
            PeerMessage::HeadShare(vec![0; MAX_HEAD_MESSAGE + 1]),
            PeerMessage::Head(vec![0; MAX_HEAD_MESSAGE + 1]),
            PeerMessage::StateAnswer { height: 0, part: StatePart::Manifest, bytes: vec![0; SYNC_CHUNK + 1] },
        ] {
            assert!(matches!(message.encode(), Err(MessageError::TooMany { .. })));
        }
        let mut fetch = vec![1; 9];
        fetch.resize(9 + REFERENCE * (MAX_FETCH + 1), 0);
        assert!(matches!(PeerMessage::decode(&fetch), Err(MessageError::TooMany { .. })));
        let many_empty_blocks = [vec![2], vec![0; 4 * (MAX_ANSWERED_BLOCKS + 1)]].concat();
        assert!(matches!(PeerMessage::decode(&many_empty_blocks), Err(MessageError::TooMany { .. })));
    }

    #[test]
    fn an_answer_takes_the_blocks_that_fit() {
        let PeerMessage::Blocks(taken) = PeerMessage::blocks(vec![vec![0; MAX_BLOCKS_ANSWER / 3]; 4]) else {
            unreachable!()
        };
        assert_eq!(taken.len(), 2);
        assert!(PeerMessage::blocks(vec![Vec::new(); 2 * MAX_ANSWERED_BLOCKS]).encode().is_ok());
    }

    #[test]
    fn a_reference_to_no_replica_is_refused() {
        let reference = BlockRef { round: 0, author: ReplicaId(64), digest: Digest::ZERO };
        let bytes = PeerMessage::Fetch { refs: vec![reference], above: 0 }.encode().unwrap();
        assert_eq!(PeerMessage::decode(&bytes), Err(MessageError::Author(64)));
    }

    proptest! {
        #[test]
        fn what_is_accepted_encodes_back_to_the_same_bytes(
            sample in 0usize..15, change in any::<(prop::sample::Index, u8)>(), cut in any::<prop::sample::Index>(),
        ) {
            let sound = samples()[sample].encode().unwrap();
            prop_assert_eq!(PeerMessage::decode(&sound).unwrap(), samples()[sample].clone());
            let mut bytes = sound[..=cut.index(sound.len())].to_vec();
            let at = change.0.index(bytes.len());
            bytes[at] = change.1;
            if let Ok(message) = PeerMessage::decode(&bytes) {
                prop_assert_eq!(message.encode().unwrap(), bytes);
            }
        }
    }
}
