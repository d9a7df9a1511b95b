//! Networks to simulate: every key of a committee, dealt once and used by all its worlds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Serialize;
use zeroize::Zeroizing;

use super::heads::StandIn;
use super::registry;
use crate::ca::certificate;
use crate::ca::profile::Period;
use crate::ca::root::{RootFacts, root_tbs};
use crate::codec;
use crate::committee::{Committee, ReplicaId};
use crate::crypto::bls::{HeadSecret, SealingSecret, heads, sealing};
use crate::crypto::coin::{self, CoinMemory, CoinSecret};
use crate::crypto::digest::hash;
use crate::crypto::ed25519::{SecretKey, SignatureMemory};
use crate::crypto::frost::{self, FrostMemory, FrostSecret};
use crate::crypto::shoup::{self, RsaPublic, RsaSecret, SafePrime};
use crate::directory::Timestamp;
use crate::directory::master::parse_zone;
use crate::directory::primary::ZoneSource;
use crate::order::OrderPublic;
use crate::replica::genesis::{Authority, Genesis, GenesisZone};
use crate::replica::heads::{HeadSigning, ThresholdKey};
use crate::replica::rsa::AuthorityShare;
use crate::signing::Signer;
use crate::signing::policy::Policy;
use crate::store::memory::MemoryStore;

/// The simulated clocks start here: milliseconds since the epoch.
pub const START_MS: u64 = 1_800_000_000_000;
/// The zone that is served: little to sign, so that most of a run is about other things.
const ZONE: &str = "$ORIGIN sim.example.\n$TTL 1h\n@ SOA ns hostmaster ( 1 3h 1h 2w 5m )\n  NS ns\nns A 192.0.2.53\n";

/// Where the primes of the authority's key come from. The key is used in simulated networks only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Primes {
    /// Searched, from a fixed seed: some minutes.
    Searched,
    /// Known to everybody: test builds have them.
    #[cfg(any(test, feature = "fixtures"))]
    Fixture,
}

impl Primes {
    /// What this build has at hand.
    pub fn at_hand() -> Self {
        #[cfg(any(test, feature = "fixtures"))]
        return Self::Fixture;
        #[cfg(not(any(test, feature = "fixtures")))]
        Self::Searched
    }

    /// Whether they are still to be searched.
    pub fn take_long(self) -> bool {
        matches!(self, Self::Searched)
    }

    fn get(self) -> (SafePrime, SafePrime) {
        match self {
            Self::Searched => {
                let mut rng = ChaCha20Rng::seed_from_u64(1);
                let mut prime = || {
                    shoup::generate_safe_prime(crate::limits::RSA_PRIME_BITS, &mut rng, &mut |_| {})
                        .expect("the size is the one that keys take")
                };
                (prime(), prime())
            }
            #[cfg(any(test, feature = "fixtures"))]
            Self::Fixture => shoup::fixture_primes(),
        }
    }
}

/// What zones a network has, beside one whose names have owners.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Zones {
    /// Each version of a zone has a ZONEMD record, which is signed after all others.
    pub zonemd: bool,
    /// A second zone comes from a registry's primary.
    pub registry: bool,
}

/// Networks by committee and zones, each dealt when it is first asked for. Shared by all threads that simulate.
pub struct Keyring {
    primes: Primes,
    dealt: Mutex<BTreeMap<Vec<u8>, Arc<Network>>>,
}

impl Keyring {
    pub fn new(primes: Primes) -> Self {
        Self { primes, dealt: Mutex::default() }
    }

    pub fn network(&self, committee: &Committee, zones: Zones) -> Arc<Network> {
        let mut dealt = self.dealt.lock().unwrap_or_else(PoisonError::into_inner);
        let network = dealt.entry(codec::encode(&(committee, zones)));
        Arc::clone(network.or_insert_with(|| Arc::new(Network::deal(committee.clone(), zones, self.primes))))
    }
}

/// One network with all its secrets.
pub struct Network {
    pub genesis: Arc<Genesis>,
    genesis_bytes: Vec<u8>,
    pub public: OrderPublic,
    secrets: Vec<Secrets>,
    /// What universes that are not `real` start from: the same, but that keys remember what was computed with them in some
    /// universe.
    remembering: Arc<Genesis>,
    coins: CoinMemory,
    signatures: SignatureMemory,
}

struct Secrets {
    identity: [u8; 32],
    coin: Zeroizing<Vec<u8>>,
    /// In the order of the genesis.
    zones: Vec<Zeroizing<[u8; 32]>>,
    rsa: Zeroizing<Vec<u8>>,
    sealing: Zeroizing<Vec<u8>>,
    head: Zeroizing<Vec<u8>>,
}

impl Network {
    fn deal(committee: Committee, wanted: Zones, primes: Primes) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(committee.len() as u64);
        let (p, q) = primes.get();
        let (rsa, rsa_shares) = shoup::deal(&committee, p, q, &mut rng).expect("these are safe primes");
        let (coin, coin_shares) = coin::deal(&committee, &mut rng);
        let (sealing, sealing_shares) = sealing::deal(&committee, &mut rng);
        let identities: Vec<SecretKey> = committee.ids().map(|_| SecretKey::generate(&mut rng)).collect();
        let policy = if wanted.zonemd { Policy::default() } else { Policy { zonemd_names: 0, ..Policy::default() } };
        let from_primary = Policy { source: ZoneSource::Primary, heartbeat: None, ..policy };
        let texts = [(ZONE, policy), (registry::ZONE, from_primary)].into_iter();
        let mut zone_shares: Vec<Vec<Zeroizing<[u8; 32]>>> = committee.ids().map(|_| Vec::new()).collect();
        let zone = |(text, policy)| {
            let file = parse_zone(text, "sim.zone", None, &mut |_| Err("no includes".into()));
            let (key, shares) = frost::deal(&committee, &mut rng);
            zone_shares.iter_mut().zip(shares).for_each(|(all, share)| all.push(share.to_bytes()));
            GenesisZone::new(file.expect("the zone is sound"), key, policy)
        };
        let zones: Vec<GenesisZone> = texts.take(1 + usize::from(wanted.registry)).map(zone).collect();
        let authority = self_signed(rsa.clone(), &rsa_shares, &zones, &mut rng);
        let publics: Vec<_> = identities.iter().map(SecretKey::public).collect();
        let (head_key, head_shares) = heads::deal(&committee, &mut rng);
        let genesis = Genesis {
            created: Timestamp(START_MS),
            committee: committee.clone(),
            identities: publics.clone(),
            links: publics.clone(),
            coin: coin.clone(),
            heads: head_key,
            sealing,
            zones,
            registry: SecretKey::generate(&mut rng).public(),
            authority,
        };
        let public = OrderPublic::new(committee, genesis.network(), 0, publics, coin).expect("dealt together");
        let secrets = identities.iter().zip(coin_shares).zip(zone_shares).zip(rsa_shares).zip(sealing_shares);
        let secrets = secrets.zip(head_shares).map(|(((((identity, coin), zones), rsa), sealing), head)| Secrets {
            identity: *identity.seed(),
            coin: coin.to_bytes(),
            zones,
            rsa: rsa.to_bytes(),
            sealing: sealing.to_bytes(),
            head: head.to_bytes(),
        });
        Self {
            public,
            secrets: secrets.collect(),
            remembering: Arc::new(remembering(&genesis)),
            genesis_bytes: genesis.to_bytes(),
            genesis: Arc::new(genesis),
            coins: CoinMemory::default(),
            signatures: SignatureMemory::default(),
        }
    }

    /// What a replica that was never started has.
    pub fn empty_disk(&self) -> MemoryStore {
        MemoryStore::create(self.public.network, &self.genesis_bytes)
    }

    /// An empty disk in the place of one that was lost, which says so.
    pub fn disk_after_loss(&self) -> MemoryStore {
        MemoryStore::create_after_loss(self.public.network, &self.genesis_bytes)
    }

    pub fn committee(&self) -> &Committee {
        &self.public.committee
    }

    /// What replicas start from; if not `real`, what signs zones is checked and added up once for all replicas.
    pub fn genesis(&self, real: bool) -> &Arc<Genesis> {
        if real { &self.genesis } else { &self.remembering }
    }

    /// What `id` signs blocks with; if not `real`, these signatures need no check in this process.
    pub fn identity(&self, id: ReplicaId, real: bool) -> SecretKey {
        let secret = SecretKey::from_seed(&self.secrets[id.index()].identity);
        if real { secret } else { secret.remembering(&self.signatures) }
    }

    /// What replicas of one universe agree on; if not `real`, coin shares are checked once for all universes, and
    /// signatures of blocks that were made here are known.
    pub fn order(&self, real: bool) -> OrderPublic {
        let public = self.public.clone();
        if real {
            return public;
        }
        let identities = public.identities.into_iter().map(|key| key.remembering(&self.signatures)).collect();
        OrderPublic { coin: public.coin.remembering(&self.coins), identities, ..public }
    }

    /// If not `real`, the shares of each coin are made once for all universes.
    pub fn coin(&self, id: ReplicaId, real: bool) -> CoinSecret {
        let secret = CoinSecret::from_bytes(self.secrets[id.index()].coin.as_slice()).expect("bytes of a dealt share");
        if real { secret } else { secret.remembering(&self.coins) }
    }

    pub fn sealing(&self, id: ReplicaId) -> SealingSecret {
        SealingSecret::from_bytes(self.secrets[id.index()].sealing.as_slice()).expect("bytes of a dealt share")
    }

    /// What `id` signs heads with: if not `real`, the stand-in.
    pub fn heads(&self, id: ReplicaId, real: bool) -> Box<dyn HeadSigning> {
        if !real {
            return Box::new(StandIn::new(id, self.committee().clone(), self.public.network));
        }
        let secret = HeadSecret::from_bytes(self.secrets[id.index()].head.as_slice()).expect("bytes of a dealt share");
        Box::new(ThresholdKey { public: self.genesis.heads.clone(), secret })
    }

    /// Who answers assignments in one process of `id`.
    pub fn signer(&self, id: ReplicaId, boot: u64) -> Signer {
        let Secrets { zones, rsa, .. } = &self.secrets[id.index()];
        let share = |(zone, share): (&GenesisZone, &Zeroizing<[u8; 32]>)| {
            let share = FrostSecret::from_bytes(id, share, &zone.key).expect("bytes of a dealt share");
            (zone.apex.clone(), share)
        };
        let shares = self.genesis.zones.iter().zip(zones).map(share).collect();
        let secret = RsaSecret::from_bytes(rsa).expect("bytes of a dealt share");
        let authority = AuthorityShare { public: Arc::new(self.genesis.authority.key.clone()), secret };
        Signer::new(id, boot, shares, Some(Box::new(authority)))
    }
}

/// The same genesis, whose keys have a memory.
fn remembering(genesis: &Genesis) -> Genesis {
    let mut genesis = genesis.clone();
    for zone in &mut genesis.zones {
        zone.key = zone.key.clone().remembering(&FrostMemory::default());
    }
    genesis
}

fn self_signed(key: RsaPublic, shares: &[RsaSecret], zones: &[GenesisZone], rng: &mut ChaCha20Rng) -> Authority {
    let public_key = key.spki_der();
    let (seconds, year) = (START_MS / 1000, 365 * 24 * 3600);
    let facts = RootFacts {
        network: hash("torrens simulated authority", &[&public_key]),
        public_key: &public_key,
        zones: &[zones[0].apex.clone()],
        validity: Period::new(seconds - 3600, seconds + year).expect("a year"),
    };
    let to_be_signed = root_tbs(&facts).expect("the facts are sound");
    let share = |secret: &RsaSecret, rng: &mut ChaCha20Rng| {
        (secret.owner(), secret.share(&key, &to_be_signed, rng).expect("a dealt share signs"))
    };
    let signed = shares[..key.threshold()].iter().map(|secret| share(secret, rng)).collect();
    let signature = key.combine(&to_be_signed, &signed).expect("a kernel of good shares").signature;
    let certificate = certificate::assemble(&to_be_signed, &signature);
    Authority { key, certificate }
}
