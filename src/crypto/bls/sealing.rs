//! Threshold encryption: anybody seals to the cluster's key, a kernel of shares opens.
//!
//! A ciphertext of message m under key Y = xG is (U, V, W) = (rG, m ⊕ mask(rY), r·H(U, V)) with r random. It is valid if
//! e(G, W) = e(U, H(U, V)): only who knows r can make W, so nobody can make another valid ciphertext out of one that he
//! cannot read. Replica i's share is D_i = x_i U, valid if e(D_i, H(U, V)) = e(Y_i, W). Interpolation gives D = xU = rY,
//! valid if e(D, H(U, V)) = e(Y, W), which is checked instead of each share; only if it fails are the shares looked at
//! one by one.
//!
//! On the wire a ciphertext is U ‖ W ‖ V: 144 bytes and as many as the message has.

use std::collections::BTreeSet;
use std::fmt;

use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use threshold_crypto::ff::Field;
use threshold_crypto::group::CurveAffine;
use threshold_crypto::poly::Poly;
use threshold_crypto::{Fr, G1Affine, G2Affine, PublicKey, PublicKeySet};
use tiny_keccak::{Hasher, Sha3};

use super::group::{
    G1Bytes, OldRng, combination, decode, decode_on_curve, encode_g1, hash_to_g2, negated, pairings_cancel,
    short_scalar,
};
use super::keys::{EncodedPublic, PublicShares, Secret, purpose};
use crate::committee::{Committee, ReplicaId};
use crate::crypto::digest::hash;
use crate::limits::{MAX_SEALED_MESSAGE, MAX_SHARES_PER_REPLICA};
use crate::mutants::{Mutant, planted};

const U: usize = 48;
const W: usize = 96;

/// One replica's share of the key that opens what is sealed. Wiped when dropped.
pub struct SealingSecret(Secret);

/// What everybody knows of the key that operations are sealed to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "EncodedPublic", into = "EncodedPublic")]
pub struct SealingPublic(PublicShares);

/// What owners seal to: the cluster's point alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealingKey(PublicKey);

/// A ciphertext whose points lie in their groups. Whether it is valid, [`Ciphertext::check_all`] tells.
#[derive(Clone)]
pub struct Ciphertext {
    /// As the crate has it.
    inner: threshold_crypto::Ciphertext,
    u: G1Affine,
    w: G2Affine,
    /// H(U, V) hashes this.
    hashed: Vec<u8>,
}

/// A valid ciphertext: its maker knows what is in it. Only of such is a share ever made.
#[derive(Clone)]
pub struct VerifiedCiphertext {
    ciphertext: Ciphertext,
    /// H(U, V).
    point: G2Affine,
}

/// One replica's shares of one decryption, as many as it has of the key: 48 bytes each, unchecked. With a threshold, one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<G1Bytes>", into = "Vec<G1Bytes>")]
pub struct DecryptionShare(Vec<G1Bytes>);

/// Why shares do not open a ciphertext.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    #[error("too few shares")]
    TooFew,
    /// These replicas' shares are not theirs of this ciphertext.
    #[error("bad shares of {0:?}")]
    Bad(Vec<ReplicaId>),
}

purpose!(SealingPublic, SealingSecret, Committee::kernel_formula, 0..=MAX_SHARES_PER_REPLICA);

impl SealingKey {
    /// 48 bytes, compressed.
    pub fn to_bytes(&self) -> [u8; U] {
        self.0.to_bytes()
    }

    /// None if the bytes are no point of the group, or the identity.
    pub fn from_bytes(bytes: &[u8; U]) -> Option<Self> {
        decode::<G1Affine>(bytes)?;
        PublicKey::from_bytes(bytes).ok().map(Self)
    }

    /// Seals a message to the cluster.
    pub fn seal(&self, message: &[u8], rng: &mut impl CryptoRngCore) -> Ciphertext {
        let inner = self.0.encrypt_with_rng(&mut OldRng(rng), message);
        Ciphertext::new(inner).expect("a fresh ciphertext is well formed")
    }
}

impl Ciphertext {
    /// None if the bytes are no such triple: too short or long, points outside their groups, or the identity.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (u, rest) = bytes.split_at_checked(U)?;
        let (w, v) = rest.split_at_checked(W)?;
        (v.len() <= MAX_SEALED_MESSAGE).then_some(())?;
        // In the order and form in which the crate reads it.
        let length = postcard::to_allocvec(&v.len()).expect("a number");
        Self::new(postcard::from_bytes(&[u, &length, v, w].concat()).ok()?)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let crates = postcard::to_allocvec(&self.inner).expect("a ciphertext encodes");
        let (u, rest) = crates.split_at(U);
        let (counted, w) = rest.split_at(rest.len() - W);
        let (_, v) = postcard::take_from_bytes::<usize>(counted).expect("a length comes before the bytes");
        [u, w, v].concat()
    }

    fn new(inner: threshold_crypto::Ciphertext) -> Option<Self> {
        let encoded = postcard::to_allocvec(&inner).expect("a ciphertext encodes");
        let (u, rest) = encoded.split_at(U);
        let (counted, w) = rest.split_at(rest.len() - W);
        let (_, v) = postcard::take_from_bytes::<usize>(counted).ok()?;
        // As the crate does: a short message stands for itself.
        let mut hashed = if v.len() > 64 { sha3_256(v).to_vec() } else { v.to_vec() };
        hashed.extend_from_slice(u);
        Some(Self { u: decode_on_curve(u)?, w: decode_on_curve(w)?, hashed, inner })
    }

    #[cfg(test)]
    pub(super) fn crates(&self) -> &threshold_crypto::Ciphertext {
        &self.inner
    }

    /// Which of the ciphertexts are valid, in their order: e(G, W) = e(U, H(U, V)). All together cost one final
    /// exponentiation if all are valid: the equations are added up with coefficients that nobody can know before all
    /// ciphertexts are fixed, as they are a hash of them. A wrong sum is one in 2¹²⁸.
    pub fn check_all(ciphertexts: Vec<Self>) -> Vec<Option<VerifiedCiphertext>> {
        // Of nothing, too, the final exponentiation would take its milliseconds; most commits have nothing sealed.
        if ciphertexts.is_empty() {
            return Vec::new();
        }
        let hash = |ciphertext: Self| VerifiedCiphertext { point: hash_to_g2(&ciphertext.hashed), ciphertext };
        let claimed: Vec<VerifiedCiphertext> = ciphertexts.into_iter().map(hash).collect();
        let all_are = are_valid(&claimed) || planted(Mutant::EnvelopeUnchecked);
        let is_valid = |one: &VerifiedCiphertext| all_are || are_valid(std::slice::from_ref(one));
        claimed.into_iter().map(|one| is_valid(&one).then_some(one)).collect()
    }

    /// [`Self::check_all`] of one.
    pub fn check(self) -> Option<VerifiedCiphertext> {
        Self::check_all(vec![self]).pop().flatten()
    }
}

impl VerifiedCiphertext {
    pub fn to_bytes(&self) -> Vec<u8> {
        self.ciphertext.to_bytes()
    }
}

fn are_valid(claimed: &[VerifiedCiphertext]) -> bool {
    let coefficients = coefficients(claimed);
    let summed = coefficients.iter().zip(claimed).map(|(&coefficient, one)| (coefficient, one.ciphertext.w));
    let mut pairs = vec![(negated(G1Affine::one()), combination(summed))];
    pairs.extend(coefficients.iter().zip(claimed).map(|(&by, one)| (combination([(by, one.ciphertext.u)]), one.point)));
    pairings_cancel(&pairs)
}

/// One for the first, so that a single check multiplies nothing.
fn coefficients(claimed: &[VerifiedCiphertext]) -> Vec<Fr> {
    let bytes: Vec<Vec<u8>> = claimed.iter().map(|one| one.ciphertext.to_bytes()).collect();
    let parts: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let seed = hash("torrens v1 ciphertexts", &parts);
    let coefficient = |at: usize| match u32::try_from(at).expect("a commit holds fewer ciphertexts") {
        0 => Fr::one(),
        at => {
            let drawn = hash("torrens v1 coefficient", &[&seed.0, &at.to_be_bytes()]);
            short_scalar(drawn.0.first_chunk().expect("16 of 32"))
        }
    };
    (0..claimed.len()).map(coefficient).collect()
}

fn sha3_256(bytes: &[u8]) -> [u8; 32] {
    let mut output = [0; 32];
    let mut sha3 = Sha3::v256();
    sha3.update(bytes);
    sha3.finalize(&mut output);
    output
}

impl SealingSecret {
    /// This replica's share of the decryption. The same share every time.
    pub fn share(&self, ciphertext: &VerifiedCiphertext) -> DecryptionShare {
        let share = |scalar: &threshold_crypto::SecretKeyShare| {
            let share = scalar.decrypt_share_no_verify(&ciphertext.ciphertext.inner);
            let bytes = postcard::to_allocvec(&share).expect("a point encodes");
            encode_g1(&decode_on_curve(&bytes).expect("a scalar and a point that are not zero"))
        };
        DecryptionShare(self.0.scalars.iter().map(share).collect())
    }
}

impl SealingPublic {
    pub fn key(&self) -> SealingKey {
        SealingKey::from_bytes(encode_g1(&self.0.key).as_flattened().try_into().expect("2 times 24 bytes"))
            .expect("the key was decoded or dealt")
    }

    /// Whether `share` is `author`'s share of the decryption.
    #[must_use]
    pub fn verify_share(&self, author: ReplicaId, ciphertext: &VerifiedCiphertext, share: &DecryptionShare) -> bool {
        let keys = self.0.of(author);
        let fits = |(key, bytes): (&G1Affine, &G1Bytes)| {
            decode(bytes.as_flattened()).is_some_and(|share| is_opening(*key, ciphertext, share))
        };
        !keys.is_empty() && keys.len() == share.0.len() && keys.iter().zip(&share.0).all(fits)
    }

    /// The message, from shares by different authors that together are a kernel. Shares need not be verified: what they
    /// give is, and only if it is wrong are they looked at one by one.
    pub fn open(
        &self,
        ciphertext: &VerifiedCiphertext,
        shares: &[(ReplicaId, DecryptionShare)],
    ) -> Result<Vec<u8>, NotOpened> {
        let authors: Vec<ReplicaId> = shares.iter().map(|(author, _)| *author).collect();
        let chosen = self.0.combination(&authors).ok_or(NotOpened::TooFew)?;
        let term = |&(author, at, coefficient): &(usize, usize, Fr)| {
            let (_, DecryptionShare(points)): &(ReplicaId, DecryptionShare) = &shares[author];
            Some((coefficient, decode(points.get(at)?.as_flattened())?))
        };
        let terms: Option<Vec<(Fr, G1Affine)>> = chosen.iter().map(term).collect();
        let whole = terms.map(combination);
        if let Some(whole) = whole.filter(|&whole| is_opening(self.0.key, ciphertext, whole)) {
            return Ok(unmask(ciphertext, &whole));
        }
        let used: BTreeSet<usize> = chosen.into_iter().map(|(author, ..)| author).collect();
        let used = used.into_iter().map(|author| &shares[author]);
        let is_bad = |(author, share): &&(ReplicaId, _)| !self.verify_share(*author, ciphertext, share);
        Err(NotOpened::Bad(used.filter(is_bad).map(|(author, _)| *author).collect()))
    }
}

/// Whether `share` is to `key` what U is to the generator.
fn is_opening(key: G1Affine, ciphertext: &VerifiedCiphertext, share: G1Affine) -> bool {
    pairings_cancel(&[(share, ciphertext.point), (negated(key), ciphertext.ciphertext.w)])
}

/// V without its mask. The crate unmasks when it combines: here, what was combined, as the only share of a key of one.
fn unmask(ciphertext: &VerifiedCiphertext, whole: &G1Affine) -> Vec<u8> {
    let single = PublicKeySet::from(Poly::one().commitment());
    let share = postcard::from_bytes::<threshold_crypto::DecryptionShare>(encode_g1(whole).as_flattened());
    let share = share.expect("a point of the group");
    single.decrypt([(0u64, &share)], &ciphertext.ciphertext.inner).expect("one share is enough for a key of one")
}

impl TryFrom<Vec<G1Bytes>> for DecryptionShare {
    type Error = &'static str;

    fn try_from(points: Vec<G1Bytes>) -> Result<Self, Self::Error> {
        (points.len() <= MAX_SHARES_PER_REPLICA).then_some(Self(points)).ok_or("more shares than a replica can have")
    }
}

impl From<DecryptionShare> for Vec<G1Bytes> {
    fn from(share: DecryptionShare) -> Self {
        share.0
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({}…)", data_encoding::HEXLOWER.encode(&self.to_bytes()[..4]))
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertext({} bytes)", self.to_bytes().len())
    }
}

impl fmt::Debug for VerifiedCiphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified{:?}", self.ciphertext)
    }
}

impl fmt::Debug for DecryptionShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DecryptionShare({}…)",
            data_encoding::HEXLOWER.encode(&self.0.as_flattened().as_flattened()[..self.0.len().min(1) * 4])
        )
    }
}
