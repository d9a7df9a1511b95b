//! What both keys are made of: one point for the cluster, one for each replica, one scalar at each replica.

use std::fmt;

use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use threshold_crypto::ff::PrimeField;
use threshold_crypto::group::CurveProjective;
use threshold_crypto::serde_impl::SerdeSecret;
use threshold_crypto::{Fr, FrRepr, G1Affine, SecretKeySet, SecretKeyShare};
use zeroize::{Zeroize, Zeroizing};

use super::SECRET_BYTES;
use super::group::{G1Bytes, OldRng, combination, decode, encode_g1, lagrange_at_zero};
use crate::committee::{Committee, ReplicaId};

/// The public part of a shared key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicShares {
    pub committee: Committee,
    /// Shares that make the whole.
    pub threshold: usize,
    pub key: G1Affine,
    /// By replica.
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
    /// Refuses points outside the group, and shares that do not all belong to the key.
    pub fn from_encoded(encoded: EncodedPublic, threshold: impl Fn(&Committee) -> usize) -> Result<Self, &'static str> {
        let EncodedPublic { committee, key, shares } = encoded;
        if shares.len() != committee.len() {
            return Err("a threshold key needs one share for each replica");
        }
        let point = |bytes: &G1Bytes| decode(bytes.as_flattened()).ok_or("a threshold key is no point of its group");
        let shares = shares.iter().map(point).collect::<Result<_, _>>()?;
        let public = Self { threshold: threshold(&committee), key: point(&key)?, shares, committee };
        public.is_consistent().then_some(public).ok_or("the shares of a threshold key do not belong together")
    }

    /// Any run of as many shares as make the whole gives the key, and fewer do not. Two neighbouring runs agree in all but
    /// one share and in the key, hence in the whole polynomial.
    fn is_consistent(&self) -> bool {
        let shares: Vec<(ReplicaId, G1Affine)> = self.committee.ids().zip(self.shares.iter().copied()).collect();
        let fewer = &shares[..self.threshold - 1];
        interpolate(fewer) != self.key && shares.windows(self.threshold).all(|run| interpolate(run) == self.key)
    }

    pub fn share(&self, replica: ReplicaId) -> Option<G1Affine> {
        self.shares.get(replica.index()).copied()
    }

    pub fn matches(&self, secret: &Secret) -> bool {
        self.share(secret.index) == Some(secret.public())
    }

    /// Shares of this key that make the whole, from `shares` of different replicas; none if there are too few of them.
    pub fn enough<'a, S>(&self, shares: &'a [(ReplicaId, S)]) -> Option<&'a [(ReplicaId, S)]> {
        let authors: crate::committee::ReplicaSet = shares.iter().map(|(author, _)| *author).collect();
        let known = shares.iter().all(|(author, _)| self.committee.contains(*author));
        (known && authors.len() == shares.len()).then_some(())?;
        shares.get(..self.threshold)
    }
}

impl fmt::Debug for PublicShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} replicas", self.threshold, self.shares.len())
    }
}

/// One replica's part of a key. The crate wipes it when it is dropped.
pub struct Secret {
    pub index: ReplicaId,
    pub scalar: SecretKeyShare,
}

impl Secret {
    pub fn public(&self) -> G1Affine {
        let public = self.scalar.public_key_share().to_bytes();
        decode(&public).expect("a scalar that is not zero times the generator")
    }

    pub fn to_bytes(&self) -> Zeroizing<[u8; SECRET_BYTES]> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        bytes[0] = self.index.0;
        let limbs = limbs(&self.scalar);
        for (chunk, limb) in bytes[1..].chunks_exact_mut(8).zip(limbs.iter().rev()) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        bytes
    }

    /// None if the bytes are not those of a share: wrong length, zero, or a scalar not reduced.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&index, scalar) = bytes.split_first()?;
        let mut limbs = Zeroizing::new([0u64; 4]);
        let (chunks, rest) = scalar.as_chunks::<8>();
        (chunks.len() == limbs.len() && rest.is_empty()).then_some(())?;
        for (limb, chunk) in limbs.iter_mut().rev().zip(chunks) {
            *limb = u64::from_be_bytes(*chunk);
        }
        (*limbs != [0; 4]).then_some(())?;
        let mut representation = FrRepr(*limbs);
        let scalar = Fr::from_repr(representation);
        representation.0.zeroize();
        Some(Self { index: ReplicaId(index), scalar: SecretKeyShare::from_mut(&mut scalar.ok()?) })
    }
}

/// The number itself, least significant limb first. The crate gives it through serde only.
fn limbs(scalar: &SecretKeyShare) -> Zeroizing<[u64; 4]> {
    const VARINTS: usize = 4 * 10;
    let mut buffer = Zeroizing::new([0; VARINTS]);
    let written = postcard::to_slice(&SerdeSecret(scalar), buffer.as_mut_slice()).expect("four numbers fit");
    Zeroizing::new(postcard::from_bytes(written).expect("four numbers"))
}

/// Deals a fresh key of which any `threshold` shares make the whole.
pub fn deal(committee: &Committee, threshold: usize, rng: &mut impl CryptoRngCore) -> (PublicShares, Vec<Secret>) {
    let set = SecretKeySet::random(threshold - 1, &mut OldRng(rng));
    let secret = |index: ReplicaId| Secret { index, scalar: set.secret_key_share(u64::from(index.0)) };
    let secrets: Vec<Secret> = committee.ids().map(secret).collect();
    let key = decode(&set.public_keys().public_key().to_bytes()).expect("a random polynomial has no zero at 0");
    let shares = secrets.iter().map(Secret::public).collect();
    (PublicShares { committee: committee.clone(), threshold, key, shares }, secrets)
}

/// The sum that Lagrange gives for shares in either group.
pub fn interpolate<P>(shares: &[(ReplicaId, P)]) -> P
where
    P: threshold_crypto::group::CurveAffine,
    Fr: Into<<P::Scalar as PrimeField>::Repr>,
    P::Projective: CurveProjective,
{
    let ids: Vec<ReplicaId> = shares.iter().map(|(author, _)| *author).collect();
    combination(lagrange_at_zero(&ids).into_iter().zip(shares.iter().map(|(_, share)| *share)))
}

/// What the keys of every purpose have in common; the types stay apart.
macro_rules! purpose {
    ($public:ident, $secret:ident, $threshold:ident) => {
        /// Deals a fresh key: the public part, and each replica's secret in order. The dealer forgets everything else.
        pub fn deal(
            committee: &$crate::committee::Committee,
            rng: &mut impl rand_core::CryptoRngCore,
        ) -> ($public, Vec<$secret>) {
            let (public, secrets) = super::keys::deal(committee, committee.$threshold(), rng);
            ($public(public), secrets.into_iter().map($secret).collect())
        }

        impl $secret {
            pub fn index(&self) -> $crate::committee::ReplicaId {
                self.0.index
            }

            pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; super::SECRET_BYTES]> {
                self.0.to_bytes()
            }

            /// None if the bytes are not those of a share: wrong length, zero, or a scalar not reduced.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                super::keys::Secret::from_bytes(bytes).map(Self)
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
                let threshold = $crate::committee::Committee::$threshold;
                super::keys::PublicShares::from_encoded(encoded, threshold).map(Self)
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
