//! The common coin: threshold Diffie–Hellman on ristretto255.
//!
//! Cachin, Kursawe, Shoup, *Random Oracles in Constantinople* (PODC 2000), the Diffie–Hellman coin: the exponent x is
//! shared among the replicas; the coin of name C is a hash of H(C)^x; a share is H(C)^{x_i}, with a proof that its
//! discrete logarithm to the base H(C) is that of the verification key g^{x_i} to the base g (Chaum–Pedersen, made
//! non-interactive by Fiat and Shamir's transform). The valid shares of any quorum give the value, recombined in the
//! exponent, and it is the same whichever quorum it is; without shares of correct replicas that make a quorum together
//! with the corrupt ones nobody can predict it (random oracle model; the paper assumes DDH where the threshold is above
//! f + 1).
//!
//! The exponent is shared linearly over the quorums ([`super::lsss`]; Cachin, *Distributing Trust on the Internet*,
//! §4.2): with a threshold, by Shamir's scheme and in one share for each replica, as in the paper; else a replica may
//! have several shares or none. In each block a replica gives all it has of a coin, in the order of the rows.
//!
//! Shares are verified many at a time (Bellare, Garay and Rabin, *Fast Batch Verification for Modular Exponentiation and
//! Digital Signatures*, EUROCRYPT 1998, the small exponents test): a share's proof is its two commitments R, R' and the
//! response s, and is right if s·g = R + c·g^{x_i} and s·H(C) = R' + c·share, with the challenge c hashed from all of it.
//! The sum of all these equations, each times a random number of 128 bits, is one multiplication of many points; a false
//! equation survives it with probability 2^−128.
//!
//! Deviations:
//! - The threshold is a quorum (n − f), the paper's dual-threshold form: f corrupt replicas know the value only
//!   after n − 2f correct ones released theirs, which is what the timing argument of `order` counts on.
//! - The proof's nonce is derived from the share and the statement (as in RFC 6979 and RFC 8032), so that no failure of
//!   a random generator can reveal a share. One statement has one proof.
//! - The hash of the proof covers the whole statement: owner, verification key, name, share, both commitments.
//! - The proof has the commitments in place of the challenge: 32 bytes more, but only so can proofs be added up.
//! - The random numbers of a batch are hashed from the batch: who makes a share learns them only by trying, 2^128 times.

mod memory;
#[cfg(test)]
mod tests;
mod weighted_sum;

use std::fmt;

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

pub use self::memory::CoinMemory;
use self::weighted_sum::WeightedSum;
use super::lsss::Sharing;
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::digest::{Digest, hash};
use crate::limits::MAX_SHARES_PER_REPLICA;

/// Which coin: that of one round of one epoch of one network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoinName(Digest);

impl CoinName {
    pub fn new(network: &Digest, epoch: u64, round: u64) -> Self {
        Self(hash("torrens v1 coin name", &[&network.0, &epoch.to_be_bytes(), &round.to_be_bytes()]))
    }
}

/// A coin's name with its H(C) of the paper: for whoever needs the point more than once, since it takes 9 µs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoinBase {
    name: CoinName,
    point: RistrettoPoint,
}

impl CoinBase {
    pub fn name(&self) -> &CoinName {
        &self.name
    }
}

impl From<&CoinName> for CoinBase {
    fn from(name: &CoinName) -> Self {
        let point = RistrettoPoint::from_uniform_bytes(&wide_hash("torrens v1 coin base", &[&name.0.0]));
        Self { name: *name, point }
    }
}

/// One share of one coin, with its proof: 128 bytes, of which nothing is checked yet.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoinShare {
    /// H(C)^{x_i}, compressed.
    value: [u8; 32],
    /// Of the nonce, to the base g, compressed.
    to_generator: [u8; 32],
    /// Of the nonce, to the base H(C), compressed.
    to_base: [u8; 32],
    response: [u8; 32],
}

impl fmt::Debug for CoinShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoinShare({}…)", data_encoding::HEXLOWER.encode(&self.value[..4]))
    }
}

/// Shares that are all those of their author of the coin `name`.
#[derive(Clone, Debug)]
pub struct VerifiedShares {
    author: ReplicaId,
    name: CoinName,
    /// In the order of the author's rows.
    points: Vec<RistrettoPoint>,
}

impl VerifiedShares {
    pub fn author(&self) -> ReplicaId {
        self.author
    }
}

/// The value of a coin: unpredictable before a kernel of correct replicas released their shares, equal for all after.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoinValue(pub [u8; 32]);

impl CoinValue {
    /// The replicas in an order drawn from the coin for the use named by `domain`; all orders are equally likely, and
    /// those of different domains are independent.
    pub fn permutation(&self, domain: &str, committee: &Committee) -> Vec<ReplicaId> {
        let mut drawn: Vec<_> = committee.ids().map(|id| (hash(domain, &[&self.0, &[id.0]]), id)).collect();
        drawn.sort_unstable();
        drawn.into_iter().map(|(_, id)| id).collect()
    }
}

impl fmt::Debug for CoinValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// One replica's shares of the exponent. Wiped when dropped.
pub struct CoinSecret {
    index: ReplicaId,
    rows: Vec<SecretRow>,
    memory: Option<CoinMemory>,
}

struct SecretRow {
    exponent: Scalar,
    /// g^{x_i}.
    key: CompressedRistretto,
}

impl Drop for SecretRow {
    fn drop(&mut self) {
        self.exponent.zeroize();
    }
}

impl fmt::Debug for CoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoinSecret([redacted] of {})", self.index)
    }
}

impl CoinSecret {
    pub fn index(&self) -> ReplicaId {
        self.index
    }

    /// For the key bundle: index, then each scalar little-endian.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // With room for all at once, no copy is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + 32 * self.rows.len()));
        bytes.push(self.index.0);
        for row in &self.rows {
            bytes.extend_from_slice(row.exponent.as_bytes());
        }
        bytes
    }

    /// `None` if the bytes are not those of shares: wrong length, or a scalar not reduced.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&index, scalars) = bytes.split_first()?;
        let (scalars, rest) = scalars.as_chunks::<32>();
        (rest.is_empty() && scalars.len() <= MAX_SHARES_PER_REPLICA).then_some(())?;
        let row = |bytes: &[u8; 32]| Some(SecretRow::new(&Zeroizing::new(canonical(bytes)?)));
        Some(Self { index: ReplicaId(index), rows: scalars.iter().map(row).collect::<Option<_>>()?, memory: None })
    }

    /// This replica's shares of `coin`.
    pub fn shares(&self, coin: impl Into<CoinBase>) -> Vec<CoinShare> {
        let coin = coin.into();
        let make = || self.rows.iter().map(|row| row.share(self.index, &coin)).collect();
        match &self.memory {
            Some(memory) => memory.made(self.index, &coin.name, make),
            None => make(),
        }
    }

    /// Makes each share once for all that have this memory, which is of this key alone.
    #[must_use]
    pub fn remembering(self, memory: &CoinMemory) -> Self {
        Self { memory: Some(memory.clone()), ..self }
    }
}

impl SecretRow {
    fn new(exponent: &Scalar) -> Self {
        Self { key: RistrettoPoint::mul_base(exponent).compress(), exponent: *exponent }
    }

    fn share(&self, owner: ReplicaId, CoinBase { name, point: base }: &CoinBase) -> CoinShare {
        let value = (base * self.exponent).compress();
        let nonce = self.nonce(owner, name, &value);
        let mut share = CoinShare {
            value: value.to_bytes(),
            to_generator: RistrettoPoint::mul_base(&nonce).compress().to_bytes(),
            to_base: (base * *nonce).compress().to_bytes(),
            response: [0; 32],
        };
        share.response = (*nonce + share.challenge(owner, &self.key, name) * self.exponent).to_bytes();
        share
    }

    fn nonce(&self, owner: ReplicaId, name: &CoinName, value: &CompressedRistretto) -> Zeroizing<Scalar> {
        let bytes = Zeroizing::new(wide_hash(
            "torrens v1 coin nonce",
            &[self.exponent.as_bytes(), &[owner.0], &name.0.0, value.as_bytes()],
        ));
        Zeroizing::new(Scalar::from_bytes_mod_order_wide(&bytes))
    }
}

/// What everybody knows of a coin key: the committee, and g^{x_i} for every share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EncodedPublic", into = "EncodedPublic")]
pub struct CoinPublic {
    committee: Committee,
    sharing: Sharing,
    /// By row.
    keys: Vec<(RistrettoPoint, CompressedRistretto)>,
    memory: Option<CoinMemory>,
}

#[derive(Serialize, Deserialize)]
struct EncodedPublic {
    committee: Committee,
    keys: Vec<[u8; 32]>,
}

impl From<CoinPublic> for EncodedPublic {
    fn from(public: CoinPublic) -> Self {
        Self { committee: public.committee, keys: public.keys.iter().map(|(_, key)| key.to_bytes()).collect() }
    }
}

impl TryFrom<EncodedPublic> for CoinPublic {
    type Error = &'static str;

    fn try_from(encoded: EncodedPublic) -> Result<Self, Self::Error> {
        let sharing = Sharing::new(encoded.committee.quorum_formula());
        if encoded.keys.len() != sharing.rows() {
            return Err("a coin key needs one verification key for each share");
        }
        let decode = |bytes: [u8; 32]| {
            let compressed = CompressedRistretto(bytes);
            let point = compressed.decompress().filter(|point| !point.is_identity());
            Ok((point.ok_or("a verification key of the coin is not a point of the group")?, compressed))
        };
        let keys = encoded.keys.into_iter().map(decode).collect::<Result<_, Self::Error>>()?;
        Ok(Self { committee: encoded.committee, sharing, keys, memory: None })
    }
}

impl fmt::Debug for CoinPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoinPublic(of {} replicas)", self.committee.len())
    }
}

/// Deals a fresh key: the public part, and each replica's secret in order. The dealer forgets everything else.
pub fn deal(committee: &Committee, rng: &mut impl CryptoRngCore) -> (CoinPublic, Vec<CoinSecret>) {
    let sharing = Sharing::new(committee.quorum_formula());
    let secret = Zeroizing::new(Scalar::random(rng));
    let exponents = sharing.deal(&*secret, rng);
    let rows_of = |index| sharing.rows_of(index).map(|row| SecretRow::new(&exponents[row])).collect();
    let secrets = committee.ids().map(|index| CoinSecret { index, rows: rows_of(index), memory: None }).collect();
    let point = |exponent| {
        let point = RistrettoPoint::mul_base(exponent);
        (point, point.compress())
    };
    let keys = exponents.iter().map(point).collect();
    (CoinPublic { committee: committee.clone(), sharing, keys, memory: None }, secrets)
}

impl CoinPublic {
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// How many shares of each coin `replica` has.
    pub fn shares_of(&self, replica: ReplicaId) -> usize {
        self.sharing.rows_of(replica).count()
    }

    /// Whether `secret` are the shares that this key has dealt to its index.
    pub fn matches(&self, secret: &CoinSecret) -> bool {
        self.sharing.rows_of(secret.index).map(|row| self.keys[row].1).eq(secret.rows.iter().map(|row| row.key))
    }

    /// `shares` as verified ones, if they are `author`'s shares of `coin`.
    pub fn verify(&self, author: ReplicaId, coin: impl Into<CoinBase>, shares: &[CoinShare]) -> Option<VerifiedShares> {
        self.verify_all(coin, &[(author, shares)])?.pop()
    }

    /// All of `shares`, each author's together, as verified ones; `None` if one of them is not its author's share of
    /// `coin`. For many at once this costs a fraction of [`Self::verify`] for each.
    pub fn verify_all(
        &self,
        coin: impl Into<CoinBase>,
        shares: &[(ReplicaId, &[CoinShare])],
    ) -> Option<Vec<VerifiedShares>> {
        let coin = coin.into();
        let Some(memory) = &self.memory else { return self.verify_batch(&coin, shares) };
        // One by one: the same shares come back in other company.
        let each = shares.iter().map(|&(author, shares)| {
            let check = || match memory.has_made(author, &coin.name, shares) {
                true => self.trust(author, &coin.name, shares),
                false => self.verify_batch(&coin, &[(author, shares)])?.pop(),
            };
            memory.checked(author, &coin.name, shares, check)
        });
        each.collect()
    }

    /// Checks each author's shares, but those made with this memory, and combines those of a quorum, once for all that have
    /// it. It is of this key alone.
    #[must_use]
    pub fn remembering(self, memory: &CoinMemory) -> Self {
        Self { memory: Some(memory.clone()), ..self }
    }

    fn verify_batch(&self, coin: &CoinBase, shares: &[(ReplicaId, &[CoinShare])]) -> Option<Vec<VerifiedShares>> {
        let CoinBase { name, point: base } = coin;
        let count = shares.iter().map(|(_, shares)| shares.len()).sum::<usize>();
        let mut verified = Vec::with_capacity(shares.len());
        // The equations' sum: the two bases, then each share's points.
        let (mut of_generator, mut of_base) = (Scalar::ZERO, Scalar::ZERO);
        let mut scalars = Vec::with_capacity(4 * count + 2);
        let mut points = Vec::with_capacity(4 * count + 2);
        let mut factors = batch_factors(name, shares);
        for &(author, shares) in shares {
            let mut values = Vec::with_capacity(shares.len());
            (self.committee.contains(author) && shares.len() == self.shares_of(author)).then_some(())?;
            for (row, share) in self.sharing.rows_of(author).zip(shares) {
                let [a, b] = factors.next().expect("endless");
                let (key, compressed_key) = &self.keys[row];
                let response: Scalar = canonical(&share.response)?;
                let challenge = share.challenge(author, compressed_key, name);
                let value = CompressedRistretto(share.value).decompress()?;
                let [to_generator, to_base] =
                    [share.to_generator, share.to_base].map(|bytes| CompressedRistretto(bytes).decompress());
                of_generator += a * response;
                of_base += b * response;
                // The points are negated and not the random numbers, which are short: half as many additions.
                scalars.extend([a, a * challenge, b, b * challenge]);
                points.extend([-to_generator?, -key, -to_base?, -value]);
                values.push(value);
            }
            verified.push(VerifiedShares { author, name: *name, points: values });
        }
        scalars.extend([of_generator, of_base]);
        points.extend([RISTRETTO_BASEPOINT_POINT, *base]);
        RistrettoPoint::vartime_multiscalar_mul(scalars, points).is_identity().then_some(verified)
    }

    /// `author`'s shares without a look at their proofs: for a replica's own shares, which come from nobody else.
    pub fn trust(&self, author: ReplicaId, name: &CoinName, shares: &[CoinShare]) -> Option<VerifiedShares> {
        let points = shares.iter().map(|share| CompressedRistretto(share.value).decompress()).collect::<Option<_>>()?;
        let whole = self.committee.contains(author) && shares.len() == self.shares_of(author);
        whole.then_some(VerifiedShares { author, name: *name, points })
    }

    /// The value of the coin `name` from shares of it, of different authors that together are a quorum; `None` if they are
    /// not.
    pub fn combine(&self, name: &CoinName, shares: &[VerifiedShares]) -> Option<CoinValue> {
        let authors = shares.iter().map(VerifiedShares::author).collect();
        self.combine_with(&self.recombination(authors)?, name, shares)
    }

    /// How shares of exactly these authors give the value; `None` if they are no quorum. It is the same for all coins.
    pub fn recombination(&self, authors: ReplicaSet) -> Option<Recombination> {
        self.committee.is_quorum(authors).then_some(())?;
        Some(Recombination { authors, sum: WeightedSum::new(self.sharing.coefficients(authors)?) })
    }

    /// As [`Self::combine`], where the shares' authors are those of `recombination`.
    pub fn combine_with(
        &self,
        recombination: &Recombination,
        name: &CoinName,
        shares: &[VerifiedShares],
    ) -> Option<CoinValue> {
        let authors: ReplicaSet = shares.iter().map(VerifiedShares::author).collect();
        let of_one_coin = shares.iter().all(|share| share.name == *name);
        if !of_one_coin || authors.len() != shares.len() || authors != recombination.authors {
            return None;
        }
        let value = || {
            let mut by_row = vec![None; self.sharing.rows()];
            for share in shares {
                for (row, point) in self.sharing.rows_of(share.author).zip(&share.points) {
                    by_row[row] = Some(*point);
                }
            }
            let point = recombination.sum.of(&by_row)?;
            Some(CoinValue(hash("torrens v1 coin value", &[&name.0.0, point.compress().as_bytes()]).0))
        };
        match &self.memory {
            Some(memory) => memory.value(name, authors, value),
            None => value(),
        }
    }
}

/// How the shares of one set of authors give the value of a coin. Worked out once for each set: it takes longer than a sum.
pub struct Recombination {
    authors: ReplicaSet,
    sum: WeightedSum,
}

impl CoinShare {
    /// The hash of all that the proof is about: whose, which coin, the share, the nonce's commitments.
    fn challenge(&self, owner: ReplicaId, key: &CompressedRistretto, name: &CoinName) -> Scalar {
        let parts: [&[u8]; 6] = [&[owner.0], key.as_bytes(), &name.0.0, &self.value, &self.to_generator, &self.to_base];
        Scalar::from_bytes_mod_order_wide(&wide_hash("torrens v1 coin proof", &parts))
    }
}

/// For each share two numbers of 128 bits that nobody knew before all shares were fixed.
fn batch_factors(name: &CoinName, shares: &[(ReplicaId, &[CoinShare])]) -> impl Iterator<Item = [Scalar; 2]> + use<> {
    let mut hasher = blake3::Hasher::new_derive_key("torrens v1 coin batch");
    hasher.update(&name.0.0);
    for &(author, shares) in shares {
        for share in shares {
            hasher.update(&[author.0]);
            for part in [&share.value, &share.to_generator, &share.to_base, &share.response] {
                hasher.update(part);
            }
        }
    }
    let mut stream = hasher.finalize_xof();
    let mut next = move || {
        let mut bytes = [0; 16];
        stream.fill(&mut bytes);
        Scalar::from(u128::from_le_bytes(bytes))
    };
    std::iter::repeat_with(move || [next(), next()])
}

fn canonical(bytes: &[u8; 32]) -> Option<Scalar> {
    Scalar::from_canonical_bytes(*bytes).into()
}

/// 64 bytes for reduction to a scalar or a point; parts are length-prefixed as in [`hash`].
fn wide_hash(domain: &str, parts: &[&[u8]]) -> [u8; 64] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; 64];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
