//! What both keys are made of: one point for the cluster, one for each replica, one scalar at each replica.

use std::fmt;

use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use threshold_crypto::ff::{Field, PrimeField};
use threshold_crypto::group::CurveAffine;
use threshold_crypto::serde_impl::SerdeSecret;
use threshold_crypto::{Fr, FrRepr, G1Affine, IntoFr, SecretKeyShare};
use zeroize::{DefaultIsZeroes, Zeroize, Zeroizing};

use super::group::{G1Bytes, OldRng, combination, decode, encode_g1, lagrange_at_zero};
use crate::committee::{Committee, Formula, ReplicaId, ReplicaSet};
use crate::crypto::lsss::{self, Sharing};
use crate::limits::MAX_SHARES_PER_REPLICA;

/// Of a secret share in the key bundle, big-endian.
const SCALAR_BYTES: usize = 32;

/// The public part of a shared key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicShares {
    pub committee: Committee,
    pub sharing: Sharing,
    pub key: G1Affine,
    /// By row.
    pub shares: Vec<G1Affine>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct EncodedPublic {
    committee: Committee,
    key: G1Bytes,
    shares: Vec<G1Bytes>,
}

impl From<PublicShares> for EncodedPublic {
    fn from(public: PublicShares) -> Self {
        let shares = public.shares.iter().map(encode_g1).collect();
        Self { committee: public.committee, key: encode_g1(&public.key), shares }
    }
}

impl PublicShares {
    /// Refuses points outside the group, and shares that do not all belong to the key. `formula` gives who makes the whole.
    pub fn from_encoded(encoded: EncodedPublic, formula: impl Fn(&Committee) -> Formula) -> Result<Self, &'static str> {
        let EncodedPublic { committee, key, shares } = encoded;
        let sharing = Sharing::new(formula(&committee));
        if shares.len() != sharing.rows() {
            return Err("a threshold key needs a point for each share of it");
        }
        let point = |bytes: &G1Bytes| decode(bytes.as_flattened()).ok_or("a threshold key is no point of its group");
        let shares = shares.iter().map(point).collect::<Result<_, _>>()?;
        let public = Self { sharing, key: point(&key)?, shares, committee };
        let whole = value_of(public.sharing.formula(), &mut public.shares.iter().copied());
        (whole == Some(public.key)).then_some(public).ok_or("the shares of a threshold key do not belong together")
    }

    /// The points of `replica`'s shares.
    pub fn of(&self, replica: ReplicaId) -> Vec<G1Affine> {
        self.sharing.rows_of(replica).map(|row| self.shares[row]).collect()
    }

    pub fn matches(&self, secret: &Secret) -> bool {
        self.committee.contains(secret.index) && self.of(secret.index) == secret.public()
    }

    /// How shares of different replicas make the whole: which share (by place in `authors`, and among its author's) times
    /// what. None if they do not.
    pub fn combination(&self, authors: &[ReplicaId]) -> Option<Vec<(usize, usize, Fr)>> {
        let set: ReplicaSet = authors.iter().copied().collect();
        let known = authors.iter().all(|author| self.committee.contains(*author));
        (known && set.len() == authors.len()).then_some(())?;
        let place = |(row, coefficient): (usize, Element)| {
            let owner = self.sharing.owner(row);
            let author = authors.iter().position(|author| *author == owner)?;
            Some((author, self.sharing.rows_of(owner).position(|other| other == row)?, coefficient.0))
        };
        self.sharing.coefficients(set)?.into_iter().map(place).collect()
    }
}

/// What the points of the formula's rows are shares of, if they are consistent: at each gate, any run of as many inputs
/// as it needs gives the same, and fewer do not. Two neighbouring runs agree in all but one input and in the value,
/// hence in the whole polynomial.
fn value_of(formula: &Formula, rows: &mut impl Iterator<Item = G1Affine>) -> Option<G1Affine> {
    let (needed, inputs) = match formula {
        Formula::Replica(_) => return rows.next(),
        Formula::Gate { needed, inputs } => (*needed, inputs),
    };
    let values = inputs.iter().map(|input| value_of(input, rows)).collect::<Option<Vec<_>>>()?;
    let run = |from: usize, length: usize| {
        let places: Vec<ReplicaId> = (from..from + length).map(|place| ReplicaId(place as u8)).collect();
        combination(lagrange_at_zero(&places).into_iter().zip(values[from..].iter().copied()))
    };
    let value = run(0, needed);
    let consistent = (1..=inputs.len() - needed).all(|from| run(from, needed) == value);
    let needs_all = needed == 1 || run(0, needed - 1) != value;
    (consistent && needs_all).then_some(value)
}

/// A scalar as the sharing knows it.
#[derive(Clone, Copy, PartialEq)]
pub struct Element(pub Fr);

impl Default for Element {
    fn default() -> Self {
        Self(Fr::zero())
    }
}

impl DefaultIsZeroes for Element {}

impl lsss::Field for Element {
    fn zero() -> Self {
        Self(Fr::zero())
    }

    fn one() -> Self {
        Self(Fr::one())
    }

    fn from_u64(number: u64) -> Self {
        Self(number.into_fr())
    }

    fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self(Fr::random(&mut OldRng(rng)))
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = self.0;
        sum.add_assign(&other.0);
        Self(sum)
    }

    fn minus(&self, other: &Self) -> Self {
        let mut difference = self.0;
        difference.sub_assign(&other.0);
        Self(difference)
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = self.0;
        product.mul_assign(&other.0);
        Self(product)
    }

    fn inverse(&self) -> Option<Self> {
        Field::inverse(&self.0).map(Self)
    }
}

impl fmt::Debug for PublicShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shares of {} replicas", self.shares.len(), self.committee.len())
    }
}

/// One replica's part of a key: a scalar for each of its rows. The crate wipes them when they are dropped.
pub struct Secret {
    pub index: ReplicaId,
    pub scalars: Vec<SecretKeyShare>,
}

impl Secret {
    pub fn public(&self) -> Vec<G1Affine> {
        let public = |scalar: &SecretKeyShare| decode(&scalar.public_key_share().to_bytes());
        self.scalars.iter().map(|it| public(it).expect("a scalar that is not zero times the generator")).collect()
    }

    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // With room for all at once, no copy is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + SCALAR_BYTES * self.scalars.len()));
        bytes.push(self.index.0);
        for scalar in &self.scalars {
            for limb in limbs(scalar).iter().rev() {
                bytes.extend_from_slice(&limb.to_be_bytes());
            }
        }
        bytes
    }

    /// None if the bytes are not those of shares: wrong length, zero, or a scalar not reduced.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&index, scalars) = bytes.split_first()?;
        let (scalars, rest) = scalars.as_chunks::<SCALAR_BYTES>();
        (rest.is_empty() && scalars.len() <= MAX_SHARES_PER_REPLICA).then_some(())?;
        Some(Self { index: ReplicaId(index), scalars: scalars.iter().map(scalar).collect::<Option<_>>()? })
    }
}

fn scalar(bytes: &[u8; SCALAR_BYTES]) -> Option<SecretKeyShare> {
    let mut limbs = Zeroizing::new([0u64; 4]);
    for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_be_bytes(*chunk);
    }
    (*limbs != [0; 4]).then_some(())?;
    let mut representation = FrRepr(*limbs);
    let scalar = Fr::from_repr(representation);
    representation.0.zeroize();
    Some(SecretKeyShare::from_mut(&mut scalar.ok()?))
}

/// The number itself, least significant limb first. The crate gives it through serde only.
fn limbs(scalar: &SecretKeyShare) -> Zeroizing<[u64; 4]> {
    const VARINTS: usize = 4 * 10;
    let mut buffer = Zeroizing::new([0; VARINTS]);
    let written = postcard::to_slice(&SerdeSecret(scalar), buffer.as_mut_slice()).expect("four numbers fit");
    Zeroizing::new(postcard::from_bytes(written).expect("four numbers"))
}

/// Deals a fresh key: those who satisfy `formula` make the whole.
pub fn deal(committee: &Committee, formula: Formula, rng: &mut impl CryptoRngCore) -> (PublicShares, Vec<Secret>) {
    let sharing = Sharing::new(formula);
    let whole = Zeroizing::new(<Element as lsss::Field>::random(rng));
    let rows = sharing.deal(&*whole, rng);
    let share = |row: usize| {
        let mut scalar = rows[row].0;
        SecretKeyShare::from_mut(&mut scalar)
    };
    let secret = |index: ReplicaId| Secret { index, scalars: sharing.rows_of(index).map(share).collect() };
    let secrets: Vec<Secret> = committee.ids().map(secret).collect();
    let point = |scalar: &Fr| combination([(*scalar, G1Affine::one())]);
    let (key, shares) = (point(&whole.0), rows.iter().map(|row| point(&row.0)).collect());
    (PublicShares { committee: committee.clone(), sharing, key, shares }, secrets)
}

/// What the keys of every purpose have in common; the types stay apart. `formula` gives who makes the whole, `rows` how
/// many shares one replica may have.
macro_rules! purpose {
    ($public:ident, $secret:ident, $formula:expr, $rows:expr) => {
        /// Deals a fresh key: the public part, and each replica's secret in order. The dealer forgets everything else.
        pub fn deal(
            committee: &$crate::committee::Committee,
            rng: &mut impl rand_core::CryptoRngCore,
        ) -> ($public, Vec<$secret>) {
            let (public, secrets) = super::keys::deal(committee, $formula(committee), rng);
            ($public(public), secrets.into_iter().map($secret).collect())
        }

        impl $secret {
            pub fn index(&self) -> $crate::committee::ReplicaId {
                self.0.index
            }

            pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
                self.0.to_bytes()
            }

            /// None if the bytes are not those of a share: wrong length, zero, or a scalar not reduced.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                super::keys::Secret::from_bytes(bytes).filter(|secret| $rows.contains(&secret.scalars.len())).map(Self)
            }
        }

        impl std::fmt::Debug for $secret {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}([redacted] of {})", stringify!($secret), self.0.index)
            }
        }

        impl $public {
            pub fn committee(&self) -> &$crate::committee::Committee {
                &self.0.committee
            }

            /// Whether `secret` is the share that this key has dealt to its index.
            pub fn matches(&self, secret: &$secret) -> bool {
                self.0.matches(&secret.0)
            }
        }

        impl TryFrom<super::keys::EncodedPublic> for $public {
            type Error = &'static str;

            fn try_from(encoded: super::keys::EncodedPublic) -> Result<Self, Self::Error> {
                super::keys::PublicShares::from_encoded(encoded, $formula).map(Self)
            }
        }

        impl From<$public> for super::keys::EncodedPublic {
            fn from(public: $public) -> Self {
                public.0.into()
            }
        }
    };
}
pub(super) use purpose;
