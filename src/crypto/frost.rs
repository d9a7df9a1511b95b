//! FROST Ed25519: threshold signatures that verify as plain Ed25519 (RFC 9591, ciphersuite FROST(Ed25519, SHA-512)).
//!
//! A dealer shares the key so that any kernel of replicas (f + 1) signs. Each signer commits to a pair of nonces
//! beforehand ([`commit`], RFC 9591 §5.1), then answers one signing package (commitments of all its signers, and the
//! message) with one share ([`sign`], §5.2); the shares add up to a signature ([`aggregate`], §5.3).
//!
//! # One pool of nonces for several keys
//!
//! A replica holds a share of several group keys (one for each zone) and makes nonces before it is known which key they
//! will serve. That is safe as long as each pair of nonces answers one package only:
//!
//! * A pair of nonces does not depend on the key: (d, e) are uniform scalars, and the commitment (dB, eB) hides them. The
//!   secret that [`commit`] mixes in hedges against a bad generator (§4.1, `nonce_generate`); it is one share, always
//!   the same one, and any secret would do.
//! * Whichever key is used, its bytes enter both hashes: the binding factor is H1(group key, message, commitments,
//!   identifier) and the challenge H2(R, group key, message). Choosing the key when the package is made is therefore no
//!   more power than choosing the message then, which the proof of FROST grants the adversary (Bellare, Crites, Komlo,
//!   Maller, Tessaro, Zhu: *Better than Advertised Security for Non-interactive Threshold Signatures*, CRYPTO 2022:
//!   preprocessed commitments, messages chosen later, sessions concurrent).
//! * A share z = d + ρe + λsc is one equation with a d that occurs in no other: it tells nothing about s, under
//!   whichever key. Several keys cost the reduction a factor equal to their number, for the guess which of them is
//!   forged.
//!
//! What would break it is a second package for the same pair. [`Nonce`] is not `Clone`, has no bytes, and
//! [`sign`] takes it by value, also when it refuses.
//!
//! # Deviations
//!
//! * §5.3 verifies each share before or after aggregation; here one verification of the sum comes first, and shares are
//!   looked at one by one only if it fails. Two colluding signers may thus hand in shares whose errors cancel out;
//!   what comes out is a valid signature of the message all the same.
//! * §6.1 has every commitment multiplied by the group's order when it is read, which costs as much as all the rest of a
//!   signature. Here points of small order are refused then, and a part of small order beside one of prime order is found
//!   by the sum. The verification of the sum has no cofactor, so it holds of points of prime order only: zB − cA is one, and
//!   R has to equal it. If it fails, some share fails its own equation, which has no cofactor either. Each signer's is over
//!   its own commitment: z·B − cλY is of prime order, so a D + ρE that is not never equals it, whatever the share, and its
//!   author is the one to blame. That of a correct signer always holds. Parts of small order that cancel out, of one author
//!   or of several, leave a valid signature of the message, as above. Nothing secret depends on it: what a correct signer
//!   answers has its own nonces and hashes in it, of others' commitments only the bytes.
//! * Identifiers are 1 + index of the replica; 0 is not an identifier in FROST.

mod package;

use std::collections::BTreeMap;
use std::fmt;

use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::EdwardsPoint;
use frost_core::round1;
use frost_ed25519::{self as frost, Ed25519Sha512, Identifier, keys};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::package::Package;
use super::digest::{Digest, hash};
use super::ed25519::{FrequentKey, PublicKey, Signature};
use super::memory::Memory;
use crate::codec;
use crate::committee::{Committee, ReplicaId};
use crate::limits::MAX_REPLICAS;

/// Shares a fresh key: any kernel signs. The key itself exists only inside this call.
pub fn deal(committee: &Committee, rng: &mut impl CryptoRngCore) -> (FrostPublic, Vec<FrostSecret>) {
    let replicas = u16::try_from(committee.len()).expect("a committee has at most 64 replicas");
    let threshold = u16::try_from(committee.signing_threshold()).expect("fewer than the replicas");
    let (shares, package) = keys::generate_with_dealer(replicas, threshold, keys::IdentifierList::Default, rng)
        .expect("2 ≤ f + 1 ≤ n, since a committee stands at least one fault");
    let public = FrostPublic::new(package, threshold);
    let secrets = committee.ids().map(|id| {
        let share = keys::KeyPackage::try_from(shares[&identifier(id)].clone()).expect("the dealer above is honest");
        FrostSecret { id, group: public.public_key(), share }
    });
    let secrets = secrets.collect();
    (public, secrets)
}

/// What everybody knows of a shared key: the group's key and, for each replica, the point its shares are checked with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PublicBytes", into = "PublicBytes")]
pub struct FrostPublic {
    package: keys::PublicKeyPackage,
    threshold: u16,
    group: FrequentKey,
    memory: Option<FrostMemory>,
}

/// Commitments that were checked and shares of one key that were added up ([`super::memory`]).
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FrostMemory {
    checked: Memory<NonceCommitment, Result<CheckedCommitment, FrostError>>,
    sums: Memory<Digest, Option<Signature>>,
}

/// Canonical form of [`FrostPublic`]: compressed points, verifying shares in order of replica.
#[derive(Serialize, Deserialize)]
struct PublicBytes {
    threshold: u16,
    group: [u8; 32],
    verifying_shares: Vec<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrostError {
    #[error("not a point, one of small order, or not its canonical encoding")]
    BadPoint,
    #[error("not a canonical scalar")]
    BadScalar,
    #[error("the number of shares or the threshold is impossible")]
    BadThreshold,
    #[error("this secret share does not belong to that replica under that key")]
    WrongSecret,
    #[error("the package does not hold this signer's commitment, or too few of them")]
    BadPackage,
}

impl FrostPublic {
    fn new(package: keys::PublicKeyPackage, threshold: u16) -> Self {
        let group = PublicKey(point_bytes(package.verifying_key().serialize())).into();
        Self { package, threshold, group, memory: None }
    }

    /// The Ed25519 key under which aggregated signatures verify.
    pub fn public_key(&self) -> PublicKey {
        self.group.key()
    }

    /// Signers that make a signature.
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold)
    }

    /// As [`NonceCommitment::check`].
    pub fn check(&self, commitment: NonceCommitment) -> Result<CheckedCommitment, FrostError> {
        match &self.memory {
            Some(memory) => memory.checked.recall(commitment, || commitment.check()),
            None => commitment.check(),
        }
    }

    /// Checks each commitment and adds up each set of shares once for all that have this memory, which is of this key
    /// alone.
    #[must_use]
    pub fn remembering(self, memory: &FrostMemory) -> Self {
        Self { memory: Some(memory.clone()), ..self }
    }

    /// Whether the key is shared as the committee's signing keys are.
    pub fn suits(&self, committee: &Committee) -> bool {
        self.threshold() == committee.signing_threshold() && self.package.verifying_shares().len() == committee.len()
    }
}

impl fmt::Debug for FrostPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrostPublic({}, {} of {})", self.public_key(), self.threshold, self.package.max_signers())
    }
}

impl From<FrostPublic> for PublicBytes {
    fn from(public: FrostPublic) -> Self {
        let shares = public.package.verifying_shares().values();
        Self {
            threshold: public.threshold,
            group: public.public_key().0,
            verifying_shares: shares.map(|share| point_bytes(share.serialize())).collect(),
        }
    }
}

impl TryFrom<PublicBytes> for FrostPublic {
    type Error = FrostError;

    fn try_from(bytes: PublicBytes) -> Result<Self, FrostError> {
        let count = bytes.verifying_shares.len();
        if !(4..=MAX_REPLICAS).contains(&count) || !(2..=count.div_ceil(2)).contains(&usize::from(bytes.threshold)) {
            return Err(FrostError::BadThreshold);
        }
        let mut shares = BTreeMap::new();
        for (index, share) in bytes.verifying_shares.iter().enumerate() {
            let share = keys::VerifyingShare::deserialize(share).map_err(|_| FrostError::BadPoint)?;
            shares.insert(identifier(ReplicaId(index as u8)), share);
        }
        let group = frost::VerifyingKey::deserialize(&bytes.group).map_err(|_| FrostError::BadPoint)?;
        Ok(Self::new(keys::PublicKeyPackage::new(shares, group, Some(bytes.threshold)), bytes.threshold))
    }
}

/// One replica's share of a key. Not `Clone`; wiped when dropped.
pub struct FrostSecret {
    id: ReplicaId,
    group: PublicKey,
    share: keys::KeyPackage,
}

impl FrostSecret {
    /// The 32-byte scalar, for the replica's key bundle.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let bytes = Zeroizing::new(self.share.signing_share().serialize());
        Zeroizing::new(bytes.as_slice().try_into().expect("a scalar has 32 bytes"))
    }

    /// The share of replica `id`, checked against the public key it belongs to.
    pub fn from_bytes(id: ReplicaId, bytes: &[u8; 32], public: &FrostPublic) -> Result<Self, FrostError> {
        let share = keys::SigningShare::deserialize(bytes).map_err(|_| FrostError::BadScalar)?;
        let verifying_share = keys::VerifyingShare::from(share);
        if public.package.verifying_shares().get(&identifier(id)) != Some(&verifying_share) {
            return Err(FrostError::WrongSecret);
        }
        let group = *public.package.verifying_key();
        let share = keys::KeyPackage::new(identifier(id), share, verifying_share, group, public.threshold);
        Ok(Self { id, group: public.public_key(), share })
    }
}

impl fmt::Debug for FrostSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrostSecret([redacted])")
    }
}

/// A pair of secret nonces, good for one share. Not `Clone`, never bytes, wiped when dropped.
pub struct Nonce {
    hiding: Zeroizing<Scalar>,
    binding: Zeroizing<Scalar>,
    commitment: NonceCommitment,
}

impl Nonce {
    fn new(hiding: Scalar, binding: Scalar) -> Self {
        let commitment = NonceCommitment { hiding: committed(&hiding), binding: committed(&binding) };
        Self { hiding: Zeroizing::new(hiding), binding: Zeroizing::new(binding), commitment }
    }
}

#[cfg(test)]
impl Nonce {
    /// What a liar commits to: the same points, and beside each a multiple of a point of order 8.
    pub fn of_mixed_order(self, hiding: usize, binding: usize) -> Self {
        use curve25519_dalek::constants::EIGHT_TORSION;
        let (d, e) = self.commitment.points().expect("our own");
        let mixed = |point: EdwardsPoint, small: usize| (point + EIGHT_TORSION[small]).compress().to_bytes();
        let commitment = NonceCommitment { hiding: mixed(d, hiding), binding: mixed(e, binding) };
        Self { commitment, ..self }
    }

    pub fn commitment(&self) -> NonceCommitment {
        self.commitment
    }
}

fn committed(nonce: &Scalar) -> [u8; 32] {
    EdwardsPoint::mul_base(nonce).compress().to_bytes()
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce([redacted])")
    }
}

/// The public half of a [`Nonce`]: two compressed points as their author wrote them, not yet checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NonceCommitment {
    pub hiding: [u8; 32],
    pub binding: [u8; 32],
}

impl NonceCommitment {
    /// The commitment as points. An error is a fault of whoever wrote it: a correct replica commits to canonical points
    /// of prime order. A point whose order is a multiple of it passes here; see the deviation from §6.1.
    pub fn check(self) -> Result<CheckedCommitment, FrostError> {
        let (hiding, binding) = self.points().ok_or(FrostError::BadPoint)?;
        Ok(CheckedCommitment { bytes: self, hiding, binding })
    }
}

impl fmt::Debug for NonceCommitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", data_encoding::HEXLOWER.encode(&self.hiding[..4]))
    }
}

/// A commitment whose points are known: what signing packages are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckedCommitment {
    bytes: NonceCommitment,
    hiding: EdwardsPoint,
    binding: EdwardsPoint,
}

impl CheckedCommitment {
    pub fn bytes(&self) -> NonceCommitment {
        self.bytes
    }
}

impl fmt::Debug for CheckedCommitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.bytes, f)
    }
}

/// Commitments of all signers of one package.
pub type Commitments = BTreeMap<ReplicaId, CheckedCommitment>;

/// A signer's answer to a package: one scalar as its author wrote it, not yet checked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrostShare(pub [u8; 32]);

impl FrostShare {
    /// Whether the bytes are a canonical scalar. A share that is not is a fault of its author.
    pub fn is_canonical(&self) -> bool {
        self.scalar().is_some()
    }
}

impl fmt::Debug for FrostShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// A fresh pair of nonces and the commitment to it. `hedge` is any long-lived secret of this replica.
pub fn commit(hedge: &FrostSecret, rng: &mut impl CryptoRngCore) -> (Nonce, NonceCommitment) {
    let mut nonce = || round1::Nonce::<Ed25519Sha512>::new(hedge.share.signing_share(), rng).to_scalar();
    let nonce = Nonce::new(nonce(), nonce());
    let commitment = nonce.commitment;
    (nonce, commitment)
}

/// This signer's share of the signature of `message` by the authors of `commitments`. The nonce is gone afterwards,
/// whatever comes out.
pub fn sign(
    secret: &FrostSecret,
    nonce: Nonce,
    commitments: &Commitments,
    message: &[u8],
) -> Result<FrostShare, FrostError> {
    let FrostSecret { id, group, share } = secret;
    let is_ours = commitments.get(id).is_some_and(|it| it.bytes == nonce.commitment);
    if !is_ours || commitments.len() < usize::from(*share.min_signers()) {
        return Err(FrostError::BadPackage);
    }
    let package = Package::new(group, commitments, message);
    package.answer(*id, &nonce, share.signing_share().to_scalar()).ok_or(FrostError::BadPackage)
}

/// The signature that the shares of all signers of a package add up to, checked; or else whose shares are bad.
///
/// The culprits are empty only if the sum of the commitments is the identity, which no signer can bring about by itself:
/// then nobody is to blame, and other nonces will do.
pub fn aggregate(
    public: &FrostPublic,
    commitments: &Commitments,
    message: &[u8],
    shares: &BTreeMap<ReplicaId, FrostShare>,
) -> Result<Signature, Vec<ReplicaId>> {
    let add_up = || sum(public, commitments, message, shares);
    let signature = match &public.memory {
        Some(memory) => memory.sums.recall(name_of_sum(commitments, message, shares), add_up),
        None => add_up(),
    };
    signature.ok_or_else(|| {
        let bad =
            |id: &ReplicaId| shares.get(id).is_none_or(|share| !verify_share(public, commitments, message, *id, share));
        commitments.keys().copied().filter(bad).collect()
    })
}

/// Stands for all that the sum under one key depends on.
fn name_of_sum(commitments: &Commitments, message: &[u8], shares: &BTreeMap<ReplicaId, FrostShare>) -> Digest {
    let package: Vec<_> = commitments.iter().map(|(id, commitment)| (id, commitment.bytes)).collect();
    hash("torrens frost memory", &[message, &codec::encode(&package), &codec::encode(shares)])
}

fn sum(
    public: &FrostPublic,
    commitments: &Commitments,
    message: &[u8],
    shares: &BTreeMap<ReplicaId, FrostShare>,
) -> Option<Signature> {
    let is_whole = shares.len() >= public.threshold() && shares.keys().eq(commitments.keys());
    let sum = Package::new(&public.public_key(), commitments, message).add_up(shares).filter(|_| is_whole)?;
    public.group.verify(message, &sum).then_some(sum)
}

/// Whether `share` is what `signer` owes to this package (RFC 9591 §5.4).
#[must_use]
pub fn verify_share(
    public: &FrostPublic,
    commitments: &Commitments,
    message: &[u8],
    signer: ReplicaId,
    share: &FrostShare,
) -> bool {
    let Some(point) = public.package.verifying_shares().get(&identifier(signer)) else { return false };
    Package::new(&public.public_key(), commitments, message).is_owed(signer, point.to_element(), share)
}

fn identifier(id: ReplicaId) -> Identifier {
    Identifier::try_from(u16::from(id.0) + 1).expect("not zero")
}

fn point_bytes(serialized: Result<Vec<u8>, frost::Error>) -> [u8; 32] {
    serialized.ok().and_then(|bytes| bytes.try_into().ok()).expect("our own points are not the identity")
}

#[cfg(test)]
mod tests;
