//! What all replicas start from: members, public keys, zones. Its digest names the network.

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::committee::Committee;
use crate::crypto::bls::{HeadPublic, SealingPublic};
use crate::crypto::coin::CoinPublic;
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::PublicKey;
use crate::crypto::frost::FrostPublic;
use crate::crypto::shoup::RsaPublic;
use crate::directory::Timestamp;
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::limits::MAX_GENESIS;
use crate::signing::heartbeat;
use crate::signing::policy::{Policy, PolicyError};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Genesis {
    pub created: Timestamp,
    pub committee: Committee,
    /// Keys that sign blocks, by replica.
    pub identities: Vec<PublicKey>,
    /// Raw public keys of the links between replicas, by replica.
    pub links: Vec<PublicKey>,
    pub coin: CoinPublic,
    /// Signs heads.
    pub heads: HeadPublic,
    /// What owners seal operations to.
    pub sealing: SealingPublic,
    pub zones: Vec<GenesisZone>,
    /// Owner of the titles that the zone files bring.
    pub registry: PublicKey,
    pub authority: Authority,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GenesisZone {
    pub apex: Name,
    pub key: FrostPublic,
    pub policy: Policy,
    pub records: Vec<(Name, Rrset)>,
}

impl GenesisZone {
    pub fn new(file: ZoneFile, key: FrostPublic, policy: Policy) -> Self {
        let records = file.records.into_iter().map(|((name, _), rrset)| (name, rrset)).collect();
        Self { apex: file.apex, key, policy, records }
    }

    /// The zone as it was read from its file.
    pub fn to_file(&self) -> ZoneFile {
        let records = self.records.iter().map(|(name, rrset)| ((name.clone(), rrset.rtype), rrset.clone()));
        ZoneFile { apex: self.apex.clone(), records: records.collect() }
    }

    /// SERIAL of its SOA record: the five numbers are the last 20 bytes (RFC 1035 §3.3.13). 1 if there is none.
    pub fn serial(&self) -> u32 {
        let soa = self.records.iter().find(|(name, rrset)| *name == self.apex && rrset.rtype == Rtype::SOA);
        let rdata = soa.and_then(|(_, soa)| soa.rdatas().first());
        let serial = rdata.and_then(|rdata| rdata.last_chunk::<20>()).and_then(|numbers| numbers.first_chunk::<4>());
        serial.map_or(1, |serial| u32::from_be_bytes(*serial))
    }
}

/// The certificate authority: its threshold key and its self-signed certificate in DER.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authority {
    pub key: RsaPublic,
    pub certificate: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    #[error("the genesis is damaged: {0}")]
    Codec(#[from] CodecError),
    #[error("the genesis has {found} keys for {expected} replicas")]
    Keys { found: usize, expected: usize },
    #[error("the {key} is not shared as this network's committee asks ({structure}): deal the keys anew")]
    Structure { key: String, structure: String },
    #[error("policy of {zone}: {error}")]
    Policy { zone: Name, error: PolicyError },
    #[error("{zone} has {name}, where its heartbeat is to stand: rename it, or switch the heartbeat off in the policy")]
    HeartbeatTaken { zone: Name, name: Name },
    #[error("{0} is so long a name that no heartbeat fits below it: switch it off in the policy")]
    NoRoomForHeartbeat(Name),
}

impl Genesis {
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GenesisError> {
        let genesis: Self = codec::decode(bytes, MAX_GENESIS)?;
        let expected = genesis.committee.len();
        for found in [genesis.identities.len(), genesis.links.len()] {
            if found != expected {
                return Err(GenesisError::Keys { found, expected });
            }
        }
        genesis.check_structure()?;
        genesis.check_policies()?;
        Ok(genesis)
    }

    /// Whether each zone's policy can be kept.
    pub fn check_policies(&self) -> Result<(), GenesisError> {
        for GenesisZone { apex, policy, records, .. } in &self.zones {
            policy.check().map_err(|error| GenesisError::Policy { zone: apex.clone(), error })?;
            if policy.heartbeat.is_none() {
                continue;
            }
            let heartbeat = heartbeat::name(apex).ok_or_else(|| GenesisError::NoRoomForHeartbeat(apex.clone()))?;
            let names = records.iter().map(|(name, _)| name).chain(self.zones.iter().map(|zone| &zone.apex));
            if let Some(name) = names.into_iter().find(|name| name.is_within(&heartbeat)) {
                return Err(GenesisError::HeartbeatTaken { zone: apex.clone(), name: name.clone() });
            }
        }
        Ok(())
    }

    /// Every key is dealt to this committee: one dealt to another would sign with too few, or never.
    fn check_structure(&self) -> Result<(), GenesisError> {
        let dealt_here = |committee: &Committee, key: &str| (*committee == self.committee, format!("key for {key}"));
        let coin = dealt_here(self.coin.committee(), "coins");
        let heads = dealt_here(self.heads.committee(), "heads");
        let sealing = dealt_here(self.sealing.committee(), "sealed operations");
        let authority = (self.authority.key.suits(&self.committee), "authority's key".to_owned());
        let zones = self.zones.iter().map(|zone| (zone.key.suits(&self.committee), format!("key of {}", zone.apex)));
        match [coin, heads, sealing, authority].into_iter().chain(zones).find(|(suits, _)| !suits) {
            Some((_, key)) => Err(GenesisError::Structure { key, structure: self.committee.to_string() }),
            None => Ok(()),
        }
    }

    /// The network that this genesis starts: every signed byte string is bound to it.
    pub fn network(&self) -> Digest {
        hash("torrens v1 network", &[&self.to_bytes()])
    }
}
