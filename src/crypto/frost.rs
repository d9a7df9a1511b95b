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
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use data_encoding::HEXLOWER;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    type Dealt = (FrostPublic, Vec<FrostSecret>, ChaCha20Rng);

    fn dealt(replicas: usize) -> Dealt {
        let mut rng = ChaCha20Rng::from_seed([replicas as u8; 32]);
        let (public, secrets) = deal(&Committee::new(replicas).unwrap(), &mut rng);
        (public, secrets, rng)
    }

    fn signed(dealt: &mut Dealt, signers: &[u8], message: &[u8]) -> (Commitments, BTreeMap<ReplicaId, FrostShare>) {
        let (_, secrets, rng) = dealt;
        let mut nonces = BTreeMap::new();
        let mut commitments = Commitments::new();
        for id in signers.iter().copied().map(ReplicaId) {
            let (nonce, commitment) = commit(&secrets[0], rng);
            nonces.insert(id, nonce);
            commitments.insert(id, commitment.check().unwrap());
        }
        let share =
            |(id, nonce): (ReplicaId, Nonce)| (id, sign(&secrets[id.index()], nonce, &commitments, message).unwrap());
        let shares = nonces.into_iter().map(share).collect();
        (commitments, shares)
    }

    #[test]
    fn any_kernel_makes_a_signature_that_plain_ed25519_verifies() {
        for (replicas, signers) in [(4, vec![0, 3]), (4, vec![1, 2]), (7, vec![6, 2, 4]), (7, vec![0, 1, 2, 3])] {
            let mut dealt = dealt(replicas);
            let (commitments, shares) = signed(&mut dealt, &signers, b"a record set");
            let signature = aggregate(&dealt.0, &commitments, b"a record set", &shares).unwrap();
            assert!(dealt.0.public_key().verify(b"a record set", &signature));
        }
    }

    #[test]
    fn bad_shares_name_exactly_their_authors() {
        let mut dealt = dealt(7);
        let (commitments, shares) = signed(&mut dealt, &[1, 3, 5], b"m");
        for bad in [[0xff; 32], [0; 32], [1; 32], shares[&ReplicaId(1)].0] {
            let mut forged = shares.clone();
            forged.insert(ReplicaId(3), FrostShare(bad));
            assert_eq!(aggregate(&dealt.0, &commitments, b"m", &forged), Err(vec![ReplicaId(3)]));
            forged.insert(ReplicaId(5), FrostShare(bad));
            assert_eq!(aggregate(&dealt.0, &commitments, b"m", &forged), Err(vec![ReplicaId(3), ReplicaId(5)]));
        }
        // Shares of another message.
        assert_eq!(aggregate(&dealt.0, &commitments, b"n", &shares), Err([1, 3, 5].map(ReplicaId).to_vec()));
    }

    #[test]
    fn what_is_remembered_is_what_would_be_computed_and_bad_shares_stay_bad() {
        let mut dealt = dealt(7);
        let (commitments, shares) = signed(&mut dealt, &[1, 3, 5], b"m");
        let remembering = dealt.0.clone().remembering(&FrostMemory::default());
        let mut forged = shares.clone();
        forged.insert(ReplicaId(3), shares[&ReplicaId(1)]);
        let bad = NonceCommitment { hiding: [0; 32], binding: [0; 32] };
        for _ in 0..2 {
            for (message, shares) in [(b"m", &shares), (b"m", &forged), (b"n", &shares)] {
                let plain = aggregate(&dealt.0, &commitments, message, shares);
                assert_eq!(aggregate(&remembering, &commitments, message, shares), plain);
            }
            assert_eq!(remembering.check(bad), bad.check());
            for commitment in commitments.values() {
                assert_eq!(remembering.check(commitment.bytes()).as_ref(), Ok(commitment));
            }
        }
    }

    #[test]
    fn a_missing_share_is_its_signers_and_a_foreign_one_is_nobodys() {
        let mut dealt = dealt(7);
        let (commitments, mut shares) = signed(&mut dealt, &[1, 3, 5], b"m");
        let taken = shares.remove(&ReplicaId(3)).unwrap();
        assert_eq!(aggregate(&dealt.0, &commitments, b"m", &shares), Err(vec![ReplicaId(3)]));
        assert!(!verify_share(&dealt.0, &commitments, b"m", ReplicaId(6), &taken));
        assert!(!verify_share(&dealt.0, &commitments, b"m", ReplicaId(60), &taken));
        assert!(verify_share(&dealt.0, &commitments, b"m", ReplicaId(3), &taken));
    }

    #[test]
    fn hostile_commitments_are_refused_before_they_are_used() {
        let (_, commitment) = commit(&dealt(4).1[0], &mut ChaCha20Rng::from_seed([9; 32]));
        let mut identity = [0; 32];
        identity[0] = 1;
        // y = p is a second encoding of y = 0, a point of order 4; y = p + 1 one of the identity; y = 2 is not on the
        // curve. Ten of the encodings above p are second ones of points of mixed order.
        let mut y_is_p = [0xff; 32];
        (y_is_p[0], y_is_p[31]) = (0xed, 0x7f);
        let mut y_is_p_plus_1 = y_is_p;
        y_is_p_plus_1[0] = 0xee;
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        let above_p = (0xef..=0xff).map(|low| {
            let mut y = y_is_p;
            y[0] = low;
            y
        });
        let decoded =
            above_p.clone().filter(|y| curve25519_dalek::edwards::CompressedEdwardsY(*y).decompress().is_some());
        assert_eq!(decoded.count(), 10);
        let small = EIGHT_TORSION.map(|point| point.compress().to_bytes());
        let known = [identity, [0; 32], y_is_p, y_is_p_plus_1, off_curve, [0xff; 32]];
        for bad in known.into_iter().chain(small).chain(above_p) {
            assert_eq!(NonceCommitment { hiding: bad, ..commitment }.check(), Err(FrostError::BadPoint));
            assert_eq!(NonceCommitment { binding: bad, ..commitment }.check(), Err(FrostError::BadPoint));
        }
    }

    /// Signer 1 of two adds a point of small order to one or both of its own, and answers as if it had not.
    #[test]
    fn a_commitment_of_mixed_order_makes_no_signature_and_is_pinned_on_its_author() {
        let (public, secrets, mut rng) = dealt(4);
        let (mut signed, mut refused) = (0, 0);
        for hiding in EIGHT_TORSION {
            for binding in EIGHT_TORSION {
                let (honest, good) = commit(&secrets[0], &mut rng);
                let (nonce, plain) = commit(&secrets[1], &mut rng);
                let (d, e) = plain.points().unwrap();
                let bytes = |point: EdwardsPoint| point.compress().to_bytes();
                let mixed = NonceCommitment { hiding: bytes(d + hiding), binding: bytes(e + binding) };
                let commitments: Commitments =
                    [(ReplicaId(0), good.check().unwrap()), (ReplicaId(1), mixed.check().unwrap())].into();
                let hostile = Nonce { commitment: mixed, ..nonce };
                let first = sign(&secrets[0], honest, &commitments, b"m").unwrap();
                let second = sign(&secrets[1], hostile, &commitments, b"m").unwrap();
                assert!(verify_share(&public, &commitments, b"m", ReplicaId(0), &first));
                match aggregate(&public, &commitments, b"m", &[(ReplicaId(0), first), (ReplicaId(1), second)].into()) {
                    // The parts of small order cancelled out.
                    Ok(signature) => {
                        assert!(public.public_key().verify(b"m", &signature));
                        signed += 1;
                    }
                    Err(culprits) => {
                        assert_eq!(culprits, [ReplicaId(1)]);
                        refused += 1;
                    }
                }
            }
        }
        assert!(signed < 24 && refused >= 40, "{signed} {refused}");
    }

    #[test]
    fn shares_and_signatures_are_what_the_library_makes() {
        for (replicas, signers) in [(4, vec![0, 3]), (7, vec![6, 2, 4]), (7, vec![0, 1, 2, 3])] {
            let (public, secrets, mut rng) = dealt(replicas);
            let (mut nonces, mut commitments, mut theirs) = (BTreeMap::new(), Commitments::new(), BTreeMap::new());
            for id in signers.iter().copied().map(ReplicaId) {
                let same = &mut rng.clone();
                let (nonce, commitment) = commit(&secrets[0], &mut rng);
                let (library, points) = round1::commit(secrets[0].share.signing_share(), same);
                assert_eq!(point_bytes(points.hiding().serialize()), commitment.hiding);
                assert_eq!(point_bytes(points.binding().serialize()), commitment.binding);
                theirs.insert(identifier(id), points);
                nonces.insert(id, (nonce, library));
                commitments.insert(id, commitment.check().unwrap());
            }
            let package = frost::SigningPackage::new(theirs, b"m");
            let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
            for (id, (nonce, library)) in nonces {
                let secret = &secrets[id.index()];
                let share = frost::round2::sign(&package, &library, &secret.share).unwrap();
                ours.insert(id, sign(secret, nonce, &commitments, b"m").unwrap());
                assert_eq!(share.serialize(), ours[&id].0);
                theirs.insert(identifier(id), share);
            }
            let signature = frost::aggregate(&package, &theirs, &public.package).unwrap();
            let bytes = aggregate(&public, &commitments, b"m", &ours).unwrap().to_bytes();
            assert_eq!(signature.serialize().unwrap(), bytes);
        }
    }

    #[test]
    fn a_signer_refuses_a_package_that_does_not_hold_its_own_commitment() {
        let (_, secrets, mut rng) = dealt(4);
        let (nonce, _) = commit(&secrets[0], &mut rng);
        let others = [0, 1].map(|id| (ReplicaId(id), commit(&secrets[0], &mut rng).1.check().unwrap()));
        assert_eq!(sign(&secrets[0], nonce, &Commitments::from(others), b"m"), Err(FrostError::BadPackage));
        let (nonce, mine) = commit(&secrets[0], &mut rng);
        let alone = Commitments::from([(ReplicaId(0), mine.check().unwrap())]);
        assert_eq!(sign(&secrets[0], nonce, &alone, b"m"), Err(FrostError::BadPackage));
    }

    #[test]
    fn opposite_commitments_do_not_cancel_out() {
        let (public, secrets, mut rng) = dealt(4);
        let (_, a) = commit(&secrets[0], &mut rng);
        let mut negated = a;
        negated.hiding[31] ^= 0x80;
        negated.binding[31] ^= 0x80;
        let commitments = [(ReplicaId(0), a.check().unwrap()), (ReplicaId(1), negated.check().unwrap())].into();
        // The binding factors differ, so the sum is not the identity after all: RFC 9591 is immune to this.
        let zero = [0, 1].map(|id| (ReplicaId(id), FrostShare([0; 32])));
        assert_eq!(aggregate(&public, &commitments, b"m", &zero.into()), Err(vec![ReplicaId(0), ReplicaId(1)]));
    }

    #[test]
    fn keys_round_trip_and_foreign_secrets_are_refused() {
        let (public, secrets, _) = dealt(4);
        let decoded: FrostPublic = codec::decode(&codec::encode(&public), 1000).unwrap();
        assert_eq!(decoded, public);
        let bytes = secrets[2].to_bytes();
        assert_eq!(FrostSecret::from_bytes(ReplicaId(2), &bytes, &public).unwrap().to_bytes(), bytes);
        assert_eq!(FrostSecret::from_bytes(ReplicaId(1), &bytes, &public).unwrap_err(), FrostError::WrongSecret);
        assert_eq!(FrostSecret::from_bytes(ReplicaId(2), &[0xff; 32], &public).unwrap_err(), FrostError::BadScalar);
        let (other, _) = deal(&Committee::new(4).unwrap(), &mut ChaCha20Rng::from_seed([77; 32]));
        assert_eq!(FrostSecret::from_bytes(ReplicaId(2), &bytes, &other).unwrap_err(), FrostError::WrongSecret);
        assert!(codec::decode::<FrostPublic>(&codec::encode(&(1u16, [0u8; 32], vec![[0u8; 32]; 4])), 1000).is_err());
    }

    #[test]
    fn secrets_show_nothing_in_debug() {
        let (_, secrets, mut rng) = dealt(4);
        let (nonce, _) = commit(&secrets[0], &mut rng);
        assert_eq!(format!("{:?} {nonce:?}", secrets[0]), "FrostSecret([redacted]) Nonce([redacted])");
    }

    fn scalar(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    /// RFC 9591 Appendix E.1, FROST(Ed25519, SHA-512): shares and signature of participants 1 and 3.
    #[test]
    fn the_test_vectors_of_rfc_9591_hold() {
        let group = scalar("15d21ccd7ee42959562fc8aa63224c8851fb3ec85a3faf66040d380fb9738673");
        let shares = [
            "929dcc590407aae7d388761cddb0c0db6f5627aea8e217f4a033f2ec83d93509",
            "a91e66e012e4364ac9aaa405fcafd370402d9859f7b6685c07eed76bf409e80d",
            "d3cb090a075eb154e82fdb4b3cb507f110040905468bb9c46da8bdea643a9a02",
        ]
        .map(|hex| keys::SigningShare::deserialize(&scalar(hex)).unwrap());
        let verifying_shares = shares
            .iter()
            .enumerate()
            .map(|(index, &share)| (identifier(ReplicaId(index as u8)), keys::VerifyingShare::from(share)));
        let group = frost::VerifyingKey::deserialize(&group).unwrap();
        let package = keys::PublicKeyPackage::new(verifying_shares.collect(), group, Some(2));
        let public = FrostPublic::new(package, 2);

        let nonce = |hiding: &str, binding: &str| {
            let [hiding, binding] = [hiding, binding].map(|hex| Scalar::from_canonical_bytes(scalar(hex)).unwrap());
            let nonce = Nonce::new(hiding, binding);
            let commitment = nonce.commitment;
            (nonce, commitment)
        };
        let (nonce_1, commitment_1) = nonce(
            "ef6599dea4010581a72b3018c37c29a4341d7cab0773e8687ca74dcf14009701",
            "2baadfa0c69aa60d517ad4751de372a73f9d89cfc39026601f18458cdec12605",
        );
        let (nonce_3, commitment_3) = nonce(
            "80f8d9a4b8f9366e1a0b618107c907cd3ee29fa9bb40b4691cc1bde696240005",
            "2610b664a5a187b4855e87d2ff485bebdf043dc2f161fcd4854cd01dc0276404",
        );
        assert_eq!(commitment_1.hiding, scalar("9b116f12589591a7e23fe8048059ab10ab48e67739e7a2fb3890f61a7999478c"));
        let (one, three) = (ReplicaId(0), ReplicaId(2));
        let commitments = [(one, commitment_1.check().unwrap()), (three, commitment_3.check().unwrap())].into();
        let secret = |id: ReplicaId| {
            let share = shares[id.index()];
            let share = keys::KeyPackage::new(identifier(id), share, share.into(), group, 2);
            FrostSecret { id, group: public.public_key(), share }
        };
        let share_1 = sign(&secret(one), nonce_1, &commitments, b"test").unwrap();
        let share_3 = sign(&secret(three), nonce_3, &commitments, b"test").unwrap();
        assert_eq!(share_1.0, scalar("60997f0142e43e8005027fe5ab7447dac00d22c2d7ddd9571a02613ba7d81c08"));
        assert_eq!(share_3.0, scalar("79390e78bc59699c7af831f8f5fb478ec871a85f561a8641b5670ac4443f720f"));
        let signature = aggregate(&public, &commitments, b"test", &[(one, share_1), (three, share_3)].into()).unwrap();
        assert_eq!(
            HEXLOWER.encode(&signature.to_bytes()),
            "154fb694ee7fcb37bf2381d94488c2a84b03b3352ad085feca81ad26d45852b7\
             ecfe971ce4da95c4a95db93ac376b053897fca212ef85f99cf696bffeb178f07"
        );
        assert!(public.public_key().verify(b"test", &signature));
    }
}
