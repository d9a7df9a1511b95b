//! Blocks: the one message of the protocol.
//!
//! A block's bytes are the encoding of its header, its payload, and its author's signature over the digest of what
//! comes before and of the network. The digest names the block. Whether a block is valid is a function of its bytes and
//! of [`OrderPublic`], the same on every replica: nothing held, received or configured locally enters. No share is looked
//! at, the coin's included ([`super::coins`] says why that is safe); the payload is opaque.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::public::OrderPublic;
use crate::codec;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::coin::CoinShare;
use crate::crypto::digest::{Digest, Domain};
use crate::crypto::ed25519::{SecretKey, Signature};
use crate::directory::Timestamp;
use crate::limits::{MAX_BLOCK, MAX_PAYLOAD, MAX_ROUND};
use crate::mutants::{Mutant, planted};

const SIGNATURE_BYTES: usize = 64;

/// The name of one block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    pub round: u64,
    pub author: ReplicaId,
    pub digest: Digest,
}

impl fmt::Debug for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}:{:?}", self.author, self.round, self.digest)
    }
}

/// A block without payload and signature, in the order of its encoding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    pub epoch: u64,
    /// From 1.
    pub round: u64,
    pub author: ReplicaId,
    /// Strictly ascending; one at most for each (round, author); a quorum of authors at the round before.
    pub parents: Vec<BlockRef>,
    /// The author's shares of the coin of four rounds before, all of them, not checked; none in the first four rounds.
    pub coin: Vec<CoinShare>,
    /// The author's clock. It counts through the kernel rule of agreed time only.
    pub timestamp: Timestamp,
    /// The author's previous block is not among the parents, because it was lost or is too old to be a parent.
    pub gap: bool,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    header: Header,
    #[serde(borrow)]
    payload: RawBytes<'a>,
    signature: Signature,
}

/// Bytes encoded and decoded in one piece.
struct RawBytes<'a>(&'a [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawBytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Self)
    }
}

/// Why bytes are not a valid block. Whoever sent them misbehaves.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlockFault {
    #[error("{0} bytes, more than any block has")]
    TooLong(usize),
    #[error("not the one encoding of a block")]
    Encoding,
    #[error("of epoch {0}, not of this one")]
    Epoch(u64),
    #[error("{0} is not a replica of this committee")]
    Author(ReplicaId),
    #[error("no block has round {0}")]
    Round(u64),
    #[error("a payload of {0} bytes")]
    Payload(usize),
    #[error("{0} parents")]
    ParentCount(usize),
    #[error("parent {0:?} is out of order, of an unknown author, or of a round that no parent may have")]
    Parent(BlockRef),
    #[error("no quorum of authors among the parents of the round before")]
    NoQuorum,
    #[error("the author's previous block is not among the parents, and no gap is declared")]
    OwnParent,
    #[error("a gap in the first round")]
    Gap,
    #[error("a coin share where none belongs, or none where one belongs")]
    CoinPresence,
    #[error("the signature is not {0}'s")]
    Signature(ReplicaId),
    #[error("stored bytes whose digest is not the one they are stored under")]
    Stored,
}

/// A block that is valid. [`VerifiedBlock::verify`] is the one maker for bytes from others.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedBlock {
    header: Header,
    digest: Digest,
    bytes: Vec<u8>,
    payload: Range<usize>,
}

impl fmt::Debug for VerifiedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({:?}, {} parents, {} bytes)", self.reference(), self.header.parents.len(), self.payload.len())
    }
}

impl VerifiedBlock {
    /// Checks everything about `bytes` that makes them a valid block; the signature last, since it costs a hundred
    /// times the rest.
    pub fn verify(public: &OrderPublic, bytes: Vec<u8>) -> Result<Self, BlockFault> {
        let (block, signature) = Self::decode(public, bytes)?;
        block.check_header(public)?;
        let author = block.author();
        let signed = public.identities[author.index()].verify(&signed_message(&block.digest), &signature);
        if !signed && !planted(Mutant::SignatureUnchecked) {
            return Err(BlockFault::Signature(author));
        }
        Ok(block)
    }

    /// A block back from this replica's own disk, where only valid ones are put. The digest it was stored under shows
    /// that the bytes are still the same; its signature is not checked again.
    pub fn reload(public: &OrderPublic, reference: &BlockRef, bytes: Vec<u8>) -> Result<Self, BlockFault> {
        let (block, _) = Self::decode(public, bytes)?;
        block.check_header(public)?;
        if block.reference() != *reference {
            return Err(BlockFault::Stored);
        }
        Ok(block)
    }

    /// The name that `bytes` claim, read off their first fields and without any check: to know a block held already before
    /// paying for its decoding and verification.
    pub fn peek(public: &OrderPublic, bytes: &[u8]) -> Option<BlockRef> {
        if bytes.len() > MAX_BLOCK {
            return None;
        }
        let ((_epoch, round, author), _) = postcard::take_from_bytes::<(u64, u64, ReplicaId)>(bytes).ok()?;
        let signed = bytes.len().checked_sub(SIGNATURE_BYTES)?;
        Some(BlockRef { round, author, digest: digest(public, &bytes[..signed]) })
    }

    /// The bytes of a block with this header, signed, and valid or not: that is for those who receive them to find out.
    pub fn forge(public: &OrderPublic, header: Header, payload: &[u8], identity: &SecretKey) -> Vec<u8> {
        Self::sign(public, header, payload, identity).bytes
    }

    /// A block of this replica's own.
    pub(super) fn sign(public: &OrderPublic, header: Header, payload: &[u8], identity: &SecretKey) -> Self {
        let unsigned = Wire { header, payload: RawBytes(payload), signature: Signature::from_bytes([0; 64]) };
        let mut bytes = codec::encode(&unsigned);
        let signed = bytes.len() - SIGNATURE_BYTES;
        let digest = digest(public, &bytes[..signed]);
        bytes[signed..].copy_from_slice(&identity.sign(&signed_message(&digest)).to_bytes());
        Self { header: unsigned.header, digest, payload: signed - payload.len()..signed, bytes }
    }

    fn decode(public: &OrderPublic, bytes: Vec<u8>) -> Result<(Self, Signature), BlockFault> {
        if bytes.len() > MAX_BLOCK {
            return Err(BlockFault::TooLong(bytes.len()));
        }
        let wire: Wire = postcard::from_bytes(&bytes).map_err(|_| BlockFault::Encoding)?;
        // The payload and the signature stand in the bytes as they are; what can be encoded in another way comes before.
        let length = wire.payload.0.len();
        let rest = codec::strip(&(&wire.header, length as u64), &bytes).ok_or(BlockFault::Encoding)?;
        if rest.len() != length + SIGNATURE_BYTES {
            return Err(BlockFault::Encoding);
        }
        let signed = bytes.len() - SIGNATURE_BYTES;
        let payload = signed - length..signed;
        let (header, signature) = (wire.header, wire.signature);
        let digest = digest(public, &bytes[..signed]);
        Ok((Self { header, digest, bytes, payload }, signature))
    }

    fn check_header(&self, public: &OrderPublic) -> Result<(), BlockFault> {
        let header = &self.header;
        if header.epoch != public.epoch && !planted(Mutant::EpochUnchecked) {
            return Err(BlockFault::Epoch(header.epoch));
        }
        if !public.committee.contains(header.author) {
            return Err(BlockFault::Author(header.author));
        }
        if !(1..=MAX_ROUND).contains(&header.round) {
            return Err(BlockFault::Round(header.round));
        }
        if self.payload.len() > MAX_PAYLOAD {
            return Err(BlockFault::Payload(self.payload.len()));
        }
        if header.coin.len() != public.shares_at(header.round, header.author) {
            return Err(BlockFault::CoinPresence);
        }
        check_parents(public, header)
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn reference(&self) -> BlockRef {
        BlockRef { round: self.header.round, author: self.header.author, digest: self.digest }
    }

    pub fn round(&self) -> u64 {
        self.header.round
    }

    pub fn author(&self) -> ReplicaId {
        self.header.author
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.clone()]
    }

    /// The bytes that travel and are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Checks blocks. Validity is a function of the bytes and of [`OrderPublic`], so one process that drives many replicas may
/// check each block once for all of them.
pub trait Verifier: Send + Sync {
    /// As [`VerifiedBlock::verify`].
    fn verify(&self, public: &OrderPublic, bytes: &[u8]) -> Result<Arc<VerifiedBlock>, BlockFault>;
}

/// Checks each block that is asked for.
pub struct VerifyEach;

impl Verifier for VerifyEach {
    fn verify(&self, public: &OrderPublic, bytes: &[u8]) -> Result<Arc<VerifiedBlock>, BlockFault> {
        VerifiedBlock::verify(public, bytes.to_vec()).map(Arc::new)
    }
}

fn check_parents(public: &OrderPublic, header: &Header) -> Result<(), BlockFault> {
    if header.parents.len() > public.max_parents() {
        return Err(BlockFault::ParentCount(header.parents.len()));
    }
    let oldest = header.round.saturating_sub(public.depth).max(1);
    let mut previous: Option<&BlockRef> = None;
    let mut round_before = ReplicaSet::EMPTY;
    let mut own = false;
    for parent in &header.parents {
        let ascends = previous.is_none_or(|previous| {
            let twins = planted(Mutant::TwinParentsAllowed) && previous < parent;
            (previous.round, previous.author) < (parent.round, parent.author) || twins
        });
        let in_range = (oldest..header.round).contains(&parent.round);
        if !ascends || !in_range || !public.committee.contains(parent.author) {
            return Err(BlockFault::Parent(*parent));
        }
        if parent.round + 1 == header.round {
            round_before.insert(parent.author);
        }
        own |= parent.author == header.author;
        previous = Some(parent);
    }
    if header.round == 1 {
        return if header.gap { Err(BlockFault::Gap) } else { Ok(()) };
    }
    if !public.committee.is_quorum(round_before) && !planted(Mutant::ParentQuorumUnchecked) {
        return Err(BlockFault::NoQuorum);
    }
    if !own && !header.gap && !planted(Mutant::GapNotRequired) { Err(BlockFault::OwnParent) } else { Ok(()) }
}

static BLOCK: Domain = Domain::new("torrens v1 block");

fn digest(public: &OrderPublic, signed: &[u8]) -> Digest {
    BLOCK.hash(&[&public.network.0, signed])
}

fn signed_message(digest: &Digest) -> Vec<u8> {
    [b"torrens v1 block signature\0".as_slice(), &digest.0].concat()
}
