//! The dealing ceremony: every key of a new network, and what each party is to hold of it.
//!
//! One process sees all secrets once, writes each replica's share into that replica's own directory and forgets them.
//! Nothing that exists is ever overwritten: a second deal would make the first one's shares worthless.
//!
//! ```text
//! DIR/cluster.toml            for clients; written last, so that it tells a finished ceremony
//! DIR/trust/ZONE.key, .ds     DNSKEY and DS in zone-file form (the root zone: root.key)
//! DIR/trust/ca.pem            the authority's certificate
//! DIR/keys/registry.key       owner of the names that the zone files bring
//! DIR/replica-I/replica.toml, secrets.key, genesis, data/
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use rand_core::{CryptoRngCore, OsRng};
use zeroize::Zeroizing;

use super::clock;
use crate::ca::root::{RootFacts, root_tbs};
use crate::ca::{self, certificate};
use crate::client::cluster::{Cluster, Replica, Zone};
use crate::client::keyfile;
use crate::committee::{Committee, ReplicaId};
use crate::config::replica::{Listen, LogLevel};
use crate::config::secondaries::Secondaries;
use crate::config::{ReplicaConfig, SecretBundle};
use crate::crypto::bls::{heads, sealing};
use crate::crypto::coin;
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::SecretKey;
use crate::crypto::frost;
use crate::crypto::shoup::{self, RsaPublic, RsaSecret, SafePrime, generate_safe_prime};
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::limits::{DEFAULT_RATE_LIMIT, DNSKEY_TTL, RSA_PRIME_BITS};
use crate::replica::genesis::{Authority, Genesis, GenesisZone};
use crate::signing::policy::Policy;
use crate::signing::rrsig::{dnskey_text, ds_text};
use crate::store::rocks::RocksStore;

/// What the network starts from, beside the data directory, for a replica that loses that. It is the same for all.
pub const GENESIS_FILE: &str = "genesis";

/// What to deal.
pub struct Deal {
    pub directory: PathBuf,
    pub committee: Committee,
    /// Each with its policy.
    pub zones: Vec<(ZoneFile, Policy)>,
    pub port_base: u16,
    pub primes: Primes,
}

/// Where the primes of the authority's key come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Primes {
    /// Found at random: some minutes of two cores.
    Fresh,
    /// Known to everybody. For tests.
    #[cfg(feature = "fixtures")]
    Fixture,
}

/// Port of replica `id` for each of its services.
pub fn ports(port_base: u16, id: ReplicaId) -> anyhow::Result<Listen> {
    let first = u32::from(port_base) + 20 * u32::from(id.0);
    let at = |offset: u32| -> anyhow::Result<SocketAddr> {
        let port = u16::try_from(first + offset).context("the port base is too high for so many replicas")?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    Ok(Listen { dns: at(0)?, http: at(4)?, peers: at(5)? })
}

/// What a client needs to find and check a network that was dealt here before.
pub fn cluster_file(directory: &Path) -> PathBuf {
    directory.join("cluster.toml")
}

impl Deal {
    /// Deals everything. `progress` is told what is under way.
    pub fn run(self, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
        self.refuse_traces()?;
        let Self { directory, committee, zones, port_base, primes } = self;
        let mut rng = OsRng;
        let (rsa, rsa_shares) = deal_rsa(&committee, primes, progress)?;
        progress("dealing coin, head, sealing, zone and replica keys");
        let created = clock::now();
        let (coin, coin_shares) = coin::deal(&committee, &mut rng);
        let (heads, head_shares) = heads::deal(&committee, &mut rng);
        let (sealing, sealing_shares) = sealing::deal(&committee, &mut rng);
        let identities: Vec<SecretKey> = committee.ids().map(|_| SecretKey::generate(&mut rng)).collect();
        let links: Vec<SecretKey> = committee.ids().map(|_| SecretKey::generate(&mut rng)).collect();
        let registry = SecretKey::generate(&mut rng);
        let mut zone_shares: Vec<BTreeMap<Name, Zeroizing<Vec<u8>>>> =
            committee.ids().map(|_| BTreeMap::new()).collect();
        let mut genesis_zones = Vec::new();
        for (file, policy) in zones {
            let (key, shares) = frost::deal(&committee, &mut rng);
            for (held, share) in zone_shares.iter_mut().zip(shares) {
                held.insert(file.apex.clone(), Zeroizing::new(share.to_bytes().to_vec()));
            }
            genesis_zones.push(GenesisZone::new(file, key, policy));
        }
        let apexes: Vec<Name> = genesis_zones.iter().map(|zone| zone.apex.clone()).collect();
        let authority = self_signed(&rsa, &rsa_shares, &apexes, created.seconds(), &mut rng)?;
        let genesis = Genesis {
            created,
            committee: committee.clone(),
            identities: identities.iter().map(SecretKey::public).collect(),
            links: links.iter().map(SecretKey::public).collect(),
            coin,
            heads,
            sealing,
            zones: genesis_zones,
            registry: registry.public(),
            authority,
        };
        genesis.check_policies()?;

        progress("writing keys and databases");
        fs::create_dir_all(directory.join("keys"))?;
        fs::create_dir_all(directory.join("trust"))?;
        keyfile::create(&directory.join("keys/registry.key"), &registry)?;
        write_trust(&directory, &genesis)?;
        let (network, genesis_bytes) = (genesis.network(), genesis.to_bytes());
        let secrets = identities.into_iter().zip(links).zip(coin_shares).zip(head_shares).zip(sealing_shares);
        let secrets = secrets.zip(rsa_shares).zip(zone_shares);
        for (id, ((((((identity, link), coin), head), sealing), rsa), zones)) in committee.ids().zip(secrets) {
            let bundle = SecretBundle {
                id,
                identity,
                link,
                coin_share: Zeroizing::new(coin.to_bytes().to_vec()),
                head_share: Zeroizing::new(head.to_bytes().to_vec()),
                sealing_share: Zeroizing::new(sealing.to_bytes().to_vec()),
                rsa_share: rsa.to_bytes(),
                zone_shares: zones,
            };
            write_replica(&directory, &committee, port_base, &bundle, network, &genesis_bytes)?;
        }
        write_cluster(&directory, &genesis, network, port_base)
    }

    /// A half-finished or another ceremony's directory is left alone.
    fn refuse_traces(&self) -> anyhow::Result<()> {
        for trace in ["cluster.toml", "keys", "trust", "replica-0"] {
            let path = self.directory.join(trace);
            if path.exists() {
                bail!(
                    "{}: exists already; keys are dealt once. Choose an empty directory, or remove this one if its \
                     network is not needed any more",
                    path.display()
                );
            }
        }
        Ok(())
    }
}

fn deal_rsa(
    committee: &Committee,
    primes: Primes,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<(RsaPublic, Vec<RsaSecret>)> {
    let (p, q) = match primes {
        Primes::Fresh => fresh_primes(progress)?,
        #[cfg(feature = "fixtures")]
        Primes::Fixture => shoup::fixture_primes(),
    };
    Ok(shoup::deal(committee, p, q, &mut OsRng)?)
}

/// Two primes, each found by a thread of its own.
fn fresh_primes(progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<(SafePrime, SafePrime)> {
    let tried = AtomicU64::new(0);
    let report = Mutex::new(progress);
    let find = || {
        let mut tell = |_| {
            let total = tried.fetch_add(1, Ordering::Relaxed) + 1;
            if total.is_multiple_of(256) {
                let report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                report(&format!(
                    "dealing the authority's RSA key: {total} candidates for two safe primes, about 3,400 expected"
                ));
            }
        };
        generate_safe_prime(RSA_PRIME_BITS, &mut OsRng, &mut tell)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(find);
        let p = find();
        let q = other.join().expect("the search for a prime does not panic");
        Ok((p?, q?))
    })
}

/// The authority's certificate, signed by its own threshold key with a kernel of shares.
fn self_signed(
    key: &RsaPublic,
    shares: &[RsaSecret],
    zones: &[Name],
    now: u64,
    rng: &mut impl CryptoRngCore,
) -> anyhow::Result<Authority> {
    const TEN_YEARS: u64 = 3652 * 24 * 3600;
    const CLOCK_SKEW: u64 = 3600;
    let public_key = key.spki_der();
    let validity = ca::profile::Period::new(now - CLOCK_SKEW, now + TEN_YEARS)?;
    let name = hash("torrens v1 authority name", &[&public_key]);
    let to_be_signed = root_tbs(&RootFacts { network: name, public_key: &public_key, zones, validity })?;
    let mut signed = BTreeMap::new();
    for share in &shares[..key.threshold()] {
        signed.insert(share.owner(), share.share(key, &to_be_signed, rng)?);
    }
    let signature = key.combine(&to_be_signed, &signed)?.signature;
    Ok(Authority { key: key.clone(), certificate: certificate::assemble(&to_be_signed, &signature) })
}

/// `names.example`, or `root` for the root zone.
pub fn zone_file_stem(apex: &Name) -> String {
    if apex.is_root() { "root".into() } else { apex.to_string().trim_end_matches('.').into() }
}

fn write_trust(directory: &Path, genesis: &Genesis) -> anyhow::Result<()> {
    let trust = directory.join("trust");
    for zone in &genesis.zones {
        let key = zone.key.public_key();
        let stem = zone_file_stem(&zone.apex);
        fs::write(trust.join(format!("{stem}.key")), dnskey_text(&zone.apex, &key, DNSKEY_TTL) + "\n")?;
        fs::write(trust.join(format!("{stem}.ds")), ds_text(&zone.apex, &key, DNSKEY_TTL) + "\n")?;
    }
    fs::write(trust.join("ca.pem"), certificate::to_pem(&genesis.authority.certificate))?;
    Ok(())
}

fn write_replica(
    directory: &Path,
    committee: &Committee,
    port_base: u16,
    bundle: &SecretBundle,
    network: Digest,
    genesis: &[u8],
) -> anyhow::Result<()> {
    let home = directory.join(format!("replica-{}", bundle.id.0));
    fs::create_dir_all(&home)?;
    let mut peers = BTreeMap::new();
    for peer in committee.ids().filter(|&peer| peer != bundle.id) {
        peers.insert(peer, ports(port_base, peer)?.peers.to_string());
    }
    let config = ReplicaConfig {
        id: bundle.id,
        data: "data".into(),
        log: LogLevel::Info,
        listen: ports(port_base, bundle.id)?,
        peers,
        dns_workers: 1,
        dns_rate_limit: NonZeroU32::new(DEFAULT_RATE_LIMIT),
        dns_secondaries: Secondaries::default(),
        dns_encrypted: None,
        primaries: Vec::new(),
    };
    config.write(&home.join("replica.toml"))?;
    bundle.write(&home.join("secrets.key"))?;
    let path = home.join(GENESIS_FILE);
    fs::write(&path, genesis).with_context(|| format!("cannot write {}", path.display()))?;
    RocksStore::create(&home.join("data"), network, genesis)?;
    Ok(())
}

fn write_cluster(directory: &Path, genesis: &Genesis, network: Digest, port_base: u16) -> anyhow::Result<()> {
    let mut replicas = Vec::new();
    for (id, identity) in genesis.committee.ids().zip(&genesis.identities) {
        let listen = ports(port_base, id)?;
        replicas.push(Replica { id, api: listen.http.to_string(), dns: listen.dns, identity: *identity });
    }
    let zone = |zone: &GenesisZone| Zone { name: zone.apex.clone(), dnskey: zone.key.public_key().0 };
    let cluster = Cluster {
        network,
        committee: genesis.committee.clone(),
        replicas,
        zones: genesis.zones.iter().map(zone).collect(),
        ca: "trust/ca.pem".into(),
        sealing: genesis.sealing.key(),
        heads: genesis.heads.key(),
    };
    let path = cluster_file(directory);
    fs::write(&path, cluster.to_toml()).with_context(|| format!("cannot write {}", path.display()))
}
