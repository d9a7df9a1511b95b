//! Keys of a network of four, and owners who act on its names.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::ca::root::{RootFacts, root_tbs};
use crate::ca::{certificate, profile::Period};
use crate::committee::{Committee, ReplicaId};
use crate::crypto::bls::{HeadSecret, SealingSecret, heads, sealing};
use crate::crypto::coin::{self, CoinSecret};
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::{PublicKey, SecretKey};
use crate::crypto::frost::{self, FrostSecret};
use crate::crypto::shoup::{self, RsaSecret};
use crate::directory::Timestamp;
use crate::directory::master::{parse_records, parse_zone};
use crate::directory::name::Name;
use crate::directory::operation::{Action, Operation, RecordChange};
use crate::directory::primary::ZoneSource;
use crate::limits::HEAD_INTERVAL_MS;
use crate::order::OrderPublic;
use crate::replica::genesis::{Authority, Genesis, GenesisZone};
use crate::replica::heads::{HeadKeys, ThresholdKey};
use crate::replica::rsa::AuthorityShare;
use crate::signing::Signer;
use crate::signing::policy::Policy;

pub const START: u64 = 1_800_000_000_000;
const ZONE: &str = include_str!("../../../zones/names.example.zone");

/// Keys of a network of four, dealt once.
pub struct Fixture {
    pub genesis: Arc<Genesis>,
    pub public: Arc<OrderPublic>,
    secrets: Vec<Secrets>,
}

impl Fixture {
    pub fn identity(&self, id: ReplicaId) -> SecretKey {
        SecretKey::from_seed(&self.secrets[id.index()].identity)
    }

    pub fn coin(&self, id: ReplicaId) -> CoinSecret {
        CoinSecret::from_bytes(self.secrets[id.index()].coin.as_slice()).unwrap()
    }

    pub fn sealing(&self, id: ReplicaId) -> SealingSecret {
        SealingSecret::from_bytes(self.secrets[id.index()].sealing.as_slice()).unwrap()
    }

    pub fn heads(&self, id: ReplicaId) -> HeadKeys {
        let secret = HeadSecret::from_bytes(self.secrets[id.index()].head.as_slice()).unwrap();
        let signing = Box::new(ThresholdKey { public: self.genesis.heads.clone(), secret });
        HeadKeys { signing, interval_ms: HEAD_INTERVAL_MS }
    }

    /// Who answers assignments in one process of `id`.
    pub fn signer(&self, id: ReplicaId, boot: u64) -> Signer {
        let (secret, zone) = (&self.secrets[id.index()], &self.genesis.zones[0]);
        let share = FrostSecret::from_bytes(id, &secret.zone, &zone.key).unwrap();
        let public = Arc::new(self.genesis.authority.key.clone());
        let authority = AuthorityShare { public, secret: RsaSecret::from_bytes(&secret.rsa).unwrap() };
        Signer::new(id, boot, BTreeMap::from([(zone.apex.clone(), share)]), Some(Box::new(authority)))
    }
}

struct Secrets {
    identity: [u8; 32],
    coin: Zeroizing<Vec<u8>>,
    zone: Zeroizing<[u8; 32]>,
    rsa: Zeroizing<Vec<u8>>,
    sealing: Zeroizing<Vec<u8>>,
    head: Zeroizing<Vec<u8>>,
}

pub fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| deal(ZoneSource::Titles))
}

/// A network of four whose zone comes from its registry's primary.
pub fn registry_fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| deal(ZoneSource::Primary))
}

fn deal(source: ZoneSource) -> Fixture {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let committee = Committee::new(4).unwrap();
    let (p, q) = shoup::fixture_primes();
    let (rsa, rsa_shares) = shoup::deal(&committee, p, q, &mut rng).unwrap();
    let (coin, coin_shares) = coin::deal(&committee, &mut rng);
    let identities: Vec<SecretKey> = committee.ids().map(|_| SecretKey::generate(&mut rng)).collect();
    let file = parse_zone(ZONE, "names.example.zone", None, &mut |_| Err("no includes".into())).unwrap();
    let (key, zone_shares) = frost::deal(&committee, &mut rng);
    let zones = vec![GenesisZone::new(file, key, Policy { source, ..Policy::default() })];
    let public_key = rsa.spki_der();
    let seconds = START / 1000;
    let facts = RootFacts {
        network: hash("test authority", &[&public_key]),
        public_key: &public_key,
        zones: &[zones[0].apex.clone()],
        validity: Period::new(seconds - 3600, seconds + 3652 * 24 * 3600).unwrap(),
    };
    let to_be_signed = root_tbs(&facts).unwrap();
    let signed = rsa_shares[..rsa.threshold()]
        .iter()
        .map(|share| (share.owner(), share.share(&rsa, &to_be_signed, &mut rng).unwrap()))
        .collect();
    let signature = rsa.combine(&to_be_signed, &signed).unwrap().signature;
    let certificate = certificate::assemble(&to_be_signed, &signature);
    let (sealing, sealing_shares) = sealing::deal(&committee, &mut rng);
    let (head_key, head_shares) = heads::deal(&committee, &mut rng);
    let publics: Vec<_> = identities.iter().map(SecretKey::public).collect();
    let genesis = Genesis {
        created: Timestamp(START),
        committee: committee.clone(),
        identities: publics.clone(),
        links: publics.clone(),
        coin: coin.clone(),
        heads: head_key,
        sealing,
        zones,
        registry: SecretKey::generate(&mut rng).public(),
        authority: Authority { key: rsa, certificate },
    };
    let public = OrderPublic::new(committee, genesis.network(), 0, publics, coin).unwrap();
    let secrets = identities.iter().zip(coin_shares).zip(zone_shares).zip(rsa_shares).zip(sealing_shares);
    let secrets = secrets.zip(head_shares).map(|(((((identity, coin), zone), rsa), sealing), head)| Secrets {
        identity: *identity.seed(),
        coin: coin.to_bytes(),
        zone: zone.to_bytes(),
        rsa: rsa.to_bytes(),
        sealing: sealing.to_bytes(),
        head: head.to_bytes(),
    });
    Fixture { public: Arc::new(public), secrets: secrets.collect(), genesis: Arc::new(genesis) }
}

/// An owner's operations on one title, each after the one before.
pub struct Owner {
    key: SecretKey,
    title: Name,
    sequence: u64,
    previous: Digest,
}

impl Owner {
    pub fn new(label: &str) -> Self {
        let apex = fixture().genesis.zones[0].apex.clone();
        let seed = hash("test owner", &[label.as_bytes()]).0;
        let title = Name::parse(label, Some(&apex)).unwrap();
        Self { key: SecretKey::from_seed(&seed), title, sequence: 0, previous: Digest::ZERO }
    }

    /// Somebody else who is after the same title.
    pub fn rival(label: &str) -> Self {
        Self { key: SecretKey::from_seed(&hash("test rival", &[label.as_bytes()]).0), ..Self::new(label) }
    }

    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    pub fn title(&self) -> &Name {
        &self.title
    }

    pub fn is_new(&self) -> bool {
        self.sequence == 0
    }

    pub fn act(&mut self, action: Action) -> Vec<u8> {
        self.act_in(fixture().genesis.network(), action)
    }

    pub fn act_in(&mut self, network: Digest, action: Action) -> Vec<u8> {
        let operation = Operation {
            network,
            zone: fixture().genesis.zones[0].apex.clone(),
            title: self.title.clone(),
            sequence: self.sequence,
            previous: self.previous,
            valid_until: Timestamp(START + 3_000_000),
            action,
        };
        let signed = operation.sign(&self.key);
        self.sequence += 1;
        let bytes = signed.to_bytes();
        self.previous = signed.verify().unwrap().digest();
        bytes
    }

    pub fn set(&mut self, record: &str) -> Vec<u8> {
        let rrsets = parse_records(&[record.to_string()], &self.title, 300).unwrap();
        let changes = rrsets.into_iter().map(|(name, rrset)| RecordChange::Put { name, rrset }).collect();
        self.act(Action::Set { changes })
    }

    /// Asks for a certificate for a key on P-256: its base point.
    pub fn certify(&mut self) -> Vec<u8> {
        let spki = "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4\
                    a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        let public_key = data_encoding::HEXLOWER.decode(spki.as_bytes()).unwrap();
        let names = vec![self.title.clone()];
        self.act(Action::IssueCertificate { public_key, names })
    }
}
