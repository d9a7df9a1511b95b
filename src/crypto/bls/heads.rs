//! Threshold signatures for heads: a quorum signs.
//!
//! The key is shared by number, any n − m of n, where m replicas may fail together at most; with a threshold these are the
//! quorums. Under another structure, too, every quorum has so many members, so correct replicas can always sign; and of
//! n − m signers, more than m since n > 2m, one is correct and keeps what it signed, whichever set failed: what a head
//! is believed for. One key and one signature do for all structures, where a list of signatures would do as well.

use std::fmt;

use serde::{Deserialize, Serialize};
use threshold_crypto::group::CurveAffine;
use threshold_crypto::{Fr, G1Affine, G2Affine};

use super::group::{
    G2Bytes, combination, decode, decode_on_curve, encode_g1, encode_g2, hash_to_g2, negated, pairings_cancel,
};
use super::keys::{EncodedPublic, PublicShares, Secret, purpose};
use crate::committee::{Committee, Formula, ReplicaId};
use crate::crypto::digest::{Digest, hash};

/// One replica's share of the key that signs heads. Wiped when dropped.
pub struct HeadSecret(Secret);

/// What everybody knows of the key that signs heads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "EncodedPublic", into = "EncodedPublic")]
pub struct HeadPublic(PublicShares);

/// What signatures of heads are checked with: the cluster's point alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeadKey(G1Affine);

/// One replica's share of the signature of one head: 96 bytes, unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadShare(G2Bytes);

/// The signature of one head: 96 bytes, unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadSignature(G2Bytes);

purpose!(HeadPublic, HeadSecret, signers, 1..=1);

fn signers(committee: &Committee) -> Formula {
    Formula::threshold(committee.quorum_threshold(), committee.ids()).expect("1 ≤ n − m ≤ n")
}

/// Where the digest of a head lies in G2.
fn point_of(head: &Digest) -> G2Affine {
    hash_to_g2(&hash("torrens v1 head signature", &[&head.0]).0)
}

impl HeadSecret {
    /// This replica's share of the signature of the head with this digest. The same share every time.
    pub fn sign(&self, head: &Digest) -> HeadShare {
        let [scalar] = self.0.scalars.as_slice() else { unreachable!("from_bytes and deal make one") };
        let share = scalar.sign_g2(point_of(head));
        let point: G2Affine =
            decode_on_curve(&share.to_bytes()).expect("a scalar that is not zero times a point that is not");
        HeadShare(encode_g2(&point))
    }
}

impl HeadPublic {
    /// Whether `share` is `author`'s share of the signature of this head.
    #[must_use]
    pub fn verify_share(&self, author: ReplicaId, head: &Digest, share: &HeadShare) -> bool {
        self.0.of(author).iter().any(|&key| is_signed(key, head, &share.0))
    }

    /// Whether `signature` is the cluster's under this head.
    #[must_use]
    pub fn verify(&self, head: &Digest, signature: &HeadSignature) -> bool {
        self.key().verify(head, signature)
    }

    pub fn key(&self) -> HeadKey {
        HeadKey(self.0.key)
    }

    /// The signature of this head, from shares by different authors that together are a quorum. Shares need not be
    /// verified, nor be points of the subgroup: the result is. None if there are too few, or if one is bad, and
    /// [`Self::verify_share`] tells which.
    pub fn combine(&self, head: &Digest, shares: &[(ReplicaId, HeadShare)]) -> Option<HeadSignature> {
        let authors: Vec<ReplicaId> = shares.iter().map(|(author, _)| *author).collect();
        let term = |(author, _, coefficient): (usize, usize, Fr)| {
            Some((coefficient, decode_on_curve(shares[author].1.bytes())?))
        };
        let terms = self.0.combination(&authors)?.into_iter().map(term).collect::<Option<Vec<(Fr, G2Affine)>>>()?;
        let signature = HeadSignature(encode_g2(&combination(terms)));
        self.verify(head, &signature).then_some(signature)
    }
}

impl HeadKey {
    /// 48 bytes, compressed.
    pub fn to_bytes(&self) -> [u8; 48] {
        encode_g1(&self.0).as_flattened().try_into().expect("2 times 24 bytes")
    }

    /// None if the bytes are no point of the group, or the identity.
    pub fn from_bytes(bytes: &[u8; 48]) -> Option<Self> {
        decode(bytes).map(Self)
    }

    /// Whether `signature` is the cluster's under this head.
    #[must_use]
    pub fn verify(&self, head: &Digest, signature: &HeadSignature) -> bool {
        is_signed(self.0, head, &signature.0)
    }
}

impl fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadKey({}…)", data_encoding::HEXLOWER.encode(&self.to_bytes()[..4]))
    }
}

fn is_signed(key: G1Affine, head: &Digest, signature: &G2Bytes) -> bool {
    let Some(signature) = decode(signature.as_flattened()) else { return false };
    pairings_cancel(&[(key, point_of(head)), (negated(G1Affine::one()), signature)])
}

impl HeadShare {
    /// Any 96 bytes; [`HeadPublic::verify_share`] judges them.
    pub fn from_bytes(bytes: &[u8; 96]) -> Self {
        Self(bytes.as_chunks().0.try_into().expect("3 times 32 bytes"))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }
}

impl HeadSignature {
    pub fn to_bytes(&self) -> [u8; 96] {
        self.0.as_flattened().try_into().expect("3 times 32 bytes")
    }

    /// Any 96 bytes; [`HeadPublic::verify`] judges them.
    pub fn from_bytes(bytes: &[u8; 96]) -> Self {
        Self(bytes.as_chunks().0.try_into().expect("3 times 32 bytes"))
    }
}

impl fmt::Debug for HeadShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadShare({}…)", data_encoding::HEXLOWER.encode(&self.0[0][..4]))
    }
}

impl fmt::Debug for HeadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadSignature({}…)", data_encoding::HEXLOWER.encode(&self.0[0][..4]))
    }
}
