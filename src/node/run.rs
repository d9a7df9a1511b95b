//! A replica process from start to stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use arc_swap::ArcSwap;
use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, RngCore, SeedableRng};
use tokio::sync::{Semaphore, watch};

use super::api::Api;
use super::ceremony::GENESIS_FILE;
use super::core::{Core, DAMAGED, Input, Published, Restart, Started};
use super::descriptors;
use super::pace::Pace;
use super::primaries;
use super::scrub;
use super::secondaries;
use super::state_service::StateService;
use super::transports::Transports;
use crate::committee::ReplicaId;
use crate::config::{ReplicaConfig, SecretBundle};
use crate::crypto::bls::{HeadSecret, SealingSecret};
use crate::crypto::coin::CoinSecret;
use crate::crypto::ed25519::SecretKey;
use crate::crypto::frost::FrostSecret;
use crate::crypto::shoup::RsaSecret;
use crate::limits::{CORE_INPUTS, HEAD_INTERVAL_MS, MAX_ENVELOPE_CHECKS, NONCES_AHEAD, STOP_WITHIN};
use crate::order::{OrderPublic, VerifyEach};
use crate::peer::{Mesh, MeshConfig, MeshHandle, PeerAddress};
use crate::replica::genesis::Genesis;
use crate::replica::heads::{HeadKeys, ThresholdKey};
use crate::replica::recovery::{self, RecoverError, Recovery};
use crate::replica::rsa::AuthorityShare;
use crate::replica::{FarBehind, Parts, Replica};
use crate::signing::Signer;
use crate::store::rocks::RocksStore;
use crate::store::view::View;
use crate::store::{Batch, Read, Store};
use crate::{dns, http};

/// How the replica runs; what a test build may do wrong on purpose.
#[derive(Clone, Copy, Default)]
pub struct Conduct {
    /// The data directory is lost or damaged: the replica begins with an empty one and rejoins under its old name.
    pub lost_disk: bool,
    #[cfg(feature = "misbehave")]
    pub misbehave: bool,
}

/// Runs the replica whose files are in `home` until `stop` completes.
pub fn run(home: &Path, conduct: Conduct, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let config = ReplicaConfig::read(&home.join("replica.toml"))?;
    let secrets = SecretBundle::read(&home.join("secrets.key"))?;
    if secrets.id != config.id {
        bail!("{}: secrets of {}, configuration of {}", home.display(), secrets.id, config.id);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(serve(home, &config, secrets, conduct, stop));
    runtime.shutdown_timeout(STOP_WITHIN);
    result
}

async fn serve(
    home: &Path,
    config: &ReplicaConfig,
    secrets: SecretBundle,
    conduct: Conduct,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    descriptors::provide(config);
    if conduct.lost_disk {
        begin_after_loss(home, config, &secrets)?;
    }
    let store = RocksStore::open_any(&config.data)?;
    write_pid(home)?;
    let genesis = Arc::new(Genesis::from_bytes(&store.genesis()?)?);
    let network = genesis.network();
    store.reader().check_network(network)?;
    check_keys(config, &secrets, &genesis)?;
    let mut cookie_secret = [0; 16];
    OsRng.fill_bytes(&mut cookie_secret);
    let mut settings = dns::Settings::new(&config.id.to_string(), cookie_secret);
    secondaries::configure(&config.dns_secondaries, &genesis, &mut settings)?;
    settings.primaries = primaries::heard(&config.primaries);
    let settings = Arc::new(settings);
    let SecretBundle { link, .. } = &secrets;
    let link_key = SecretKey::from_seed(&link.seed());
    let restart: Restart = {
        let (config, genesis) = (config.clone(), Arc::clone(&genesis));
        Arc::new(move |store, show| recover(&config, &secrets, conduct, &genesis, store, show))
    };

    let apexes = genesis.zones.iter().map(|zone| zone.apex.clone());
    let view: dns::ViewHandle = Arc::new(ArcSwap::from_pointee(View::starting(apexes)));
    let dns = dns::Server {
        view: Arc::clone(&view),
        settings,
        rate_limit: config.dns_rate_limit,
        alter: conduct.alter(),
        transfers: true,
    };
    // Readers are answered as soon as there is something to answer with.
    let udp = dns::udp::UdpServer::start(config.listen.dns, config.dns_workers, &dns)
        .with_context(|| format!("cannot listen for DNS on {}", config.listen.dns))?;
    let transports = Transports::start(config, &dns)?;
    tracing::info!(replica = %config.id, %network, dns = %config.listen.dns, "starting");
    tokio::pin!(stop);
    let starting = start(Arc::clone(&restart), store, Arc::clone(&view));
    let (store, (replica, effects)) = tokio::select! {
        started = starting => started?,
        () = &mut stop => return Ok(()),
    };

    let (inputs, core_inputs) = mpsc::sync_channel(CORE_INPUTS);
    let mesh = start_mesh(config, &genesis, link_key, inputs.clone()).await?;
    view.store(Arc::new(replica.view()));
    let (exposed, readers) = watch::channel(Arc::new(replica.snapshot()));
    let reader = Arc::new(ArcSwap::from_pointee(store.reader()));
    let published = Arc::new(Published { view: Arc::clone(&view), exposed, reader: Arc::clone(&reader) });
    let (ended, core_ended) = tokio::sync::oneshot::channel();
    let core = Core {
        replica,
        store,
        mesh: mesh.clone(),
        published,
        pending: Batch::default(),
        faults: BTreeMap::new(),
        state: StateService::start(config.data.clone(), mesh.clone())?,
        restart,
        adopting: None,
        ticks: 0,
        pace: Pace::default(),
    };
    let core = thread::Builder::new().name("core".into()).spawn(move || {
        let result = core.run(effects, &core_inputs);
        // Whoever waits for it may be gone.
        let _ = ended.send(result);
    })?;

    let notifying = secondaries::notify(&config.dns_secondaries, config.listen.dns.ip(), &dns, &readers).await?;
    let following = primaries::follow(&config.primaries, &genesis, &dns.settings, &inputs)?;
    let http = tokio::net::TcpListener::bind(config.listen.http).await;
    let http = http.with_context(|| format!("cannot listen for HTTP on {}", config.listen.http))?;
    let api = Api {
        me: config.id,
        network,
        inputs: inputs.clone(),
        exposed: readers,
        view: Arc::clone(&view),
        reader: Arc::clone(&reader),
        mesh: mesh.clone(),
        settings: Arc::clone(&dns.settings),
        envelope_checks: Semaphore::new(MAX_ENVELOPE_CHECKS),
    };
    let (scrubs, stop_scrubbing) = mpsc::sync_channel::<()>(0);
    let scrubber = {
        let (reader, inputs) = (Arc::clone(&reader), inputs.clone());
        thread::Builder::new().name("scrub".into()).spawn(move || scrub::run(&reader, &inputs, &stop_scrubbing))?
    };
    let served = http::serve(http, http::router(Arc::new(api)), std::future::pending());
    tracing::info!(replica = %config.id, %network, dns = %config.listen.dns, "running");
    let result = tokio::select! {
        () = served => Ok(()),
        () = &mut stop => Ok(()),
        result = core_ended => match result {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) | Err(_) => Err(anyhow!("the core ended unasked: see the log")),
        },
    };
    // The core may have ended already.
    let _ = inputs.try_send(Input::Stop);
    drop(scrubs);
    if scrubber.join().is_err() {
        tracing::error!("the scrubber panicked");
    }
    drop(udp);
    drop(transports);
    drop(notifying);
    drop(following);
    mesh.shutdown().await;
    if core.join().is_err() {
        bail!("the core panicked: see the log");
    }
    result
}

/// A new database in the place of one that is lost; what is left of that is moved aside. Nothing is moved if the replica
/// could not run then.
fn begin_after_loss(home: &Path, config: &ReplicaConfig, secrets: &SecretBundle) -> anyhow::Result<()> {
    let data = &config.data;
    let bytes = std::fs::read(home.join(GENESIS_FILE))
        .with_context(|| format!("{}: take it from another replica's directory", home.join(GENESIS_FILE).display()))?;
    let genesis = Genesis::from_bytes(&bytes)?;
    check_keys(config, secrets, &genesis)?;
    if data.exists() {
        let aside = (1..).map(|number| data.with_extension(format!("lost-{number}"))).find(|path| !path.exists());
        let aside = aside.expect("some number is free");
        std::fs::rename(data, &aside).with_context(|| format!("cannot move {} aside", data.display()))?;
        tracing::warn!(to = %aside.display(), "what is left of the old data directory was moved");
    }
    RocksStore::create_after_loss(data, genesis.network(), &bytes)?;
    Ok(())
}

/// Which process this replica is. Not before the database is ours: a second process is refused there, and must leave the
/// first one's number alone.
fn write_pid(home: &Path) -> anyhow::Result<()> {
    let path = home.join("pid");
    std::fs::write(&path, format!("{}\n", std::process::id()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The replica from what its store has, on a thread that may wait for the disk; `view` shows what is read. It is without
/// its state if that is damaged: it is to be had from the others.
async fn start(
    restart: Restart,
    mut store: RocksStore,
    view: dns::ViewHandle,
) -> anyhow::Result<(RocksStore, Started)> {
    let mut show = move |shown| view.store(Arc::new(shown));
    let start = move || match restart(&mut store, &mut show) {
        Err(error) if error.downcast_ref().is_some_and(RecoverError::is_damage) => {
            tracing::error!(%error, "{DAMAGED}");
            show(View::withheld());
            store.give_up_state()?;
            restart(&mut store, &mut show).map(|started| (store, started))
        }
        started => started.map(|started| (store, started)),
    };
    tokio::task::spawn_blocking(start).await.context("the thread that reads the disk panicked: see the log")?
}

/// The replica as its disk has it. A [`RecoverError`] says whether what is stored is damaged.
pub fn recover(
    config: &ReplicaConfig,
    secrets: &SecretBundle,
    conduct: Conduct,
    genesis: &Arc<Genesis>,
    store: &mut RocksStore,
    show: &mut dyn FnMut(View),
) -> anyhow::Result<Started> {
    let id = config.id;
    let public = Arc::new(OrderPublic::new(
        genesis.committee.clone(),
        genesis.network(),
        0,
        genesis.identities.clone(),
        genesis.coin.clone(),
    )?);
    let Recovery { machine, order, own_last, forgot, boot, heads, staged } =
        recovery::recover(id, genesis, &public, store, show)?;
    let Shares { coin, sealing, head } = Shares::read(id, secrets, genesis)?;
    let signer = conduct.signer(signer(id, boot, secrets, genesis)?);
    Ok(Replica::start(Parts {
        me: id,
        public,
        identity: SecretKey::from_seed(&secrets.identity.seed()),
        coin,
        sealing,
        recovered: order,
        machine,
        heads,
        head_keys: HeadKeys {
            signing: Box::new(ThresholdKey { public: genesis.heads.clone(), secret: head }),
            interval_ms: HEAD_INTERVAL_MS,
        },
        staged,
        signer,
        own_last,
        forgot,
        far_behind: FarBehind::default(),
        nonces_ahead: NONCES_AHEAD,
        verifier: Arc::new(VerifyEach),
        rng: ChaCha20Rng::from_rng(OsRng).map_err(|error| anyhow!("no randomness from the system: {error}"))?,
    }))
}

/// What a replica's part in the ordering takes.
struct Shares {
    coin: CoinSecret,
    sealing: SealingSecret,
    head: HeadSecret,
}

impl Shares {
    fn read(id: ReplicaId, secrets: &SecretBundle, genesis: &Genesis) -> anyhow::Result<Self> {
        let foreign = |what| move || anyhow!("the {what} share in secrets.key is not of this network");
        Ok(Self {
            coin: CoinSecret::from_bytes(&secrets.coin_share)
                .filter(|coin| coin.index() == id && genesis.coin.matches(coin))
                .ok_or_else(foreign("coin"))?,
            sealing: SealingSecret::from_bytes(&secrets.sealing_share)
                .filter(|sealing| sealing.index() == id && genesis.sealing.matches(sealing))
                .ok_or_else(foreign("sealing"))?,
            head: HeadSecret::from_bytes(&secrets.head_share)
                .filter(|head| head.index() == id && genesis.heads.matches(head))
                .ok_or_else(foreign("head"))?,
        })
    }
}

fn signer(id: ReplicaId, boot: u64, secrets: &SecretBundle, genesis: &Genesis) -> anyhow::Result<Signer> {
    let mut zones = BTreeMap::new();
    for zone in &genesis.zones {
        let share = secrets.zone_shares.get(&zone.apex);
        let share = share.ok_or_else(|| anyhow!("secrets.key has no share of the key of zone {}", zone.apex))?;
        let bytes = share.as_slice().try_into().context("a zone's share in secrets.key has the wrong length")?;
        zones.insert(zone.apex.clone(), FrostSecret::from_bytes(id, bytes, &zone.key)?);
    }
    let public = Arc::new(genesis.authority.key.clone());
    let secret = RsaSecret::from_bytes(&secrets.rsa_share)?;
    if secret.owner() != id || !secret.belongs_to(&public) {
        bail!("the RSA share in secrets.key is not of this network");
    }
    Ok(Signer::new(id, boot, zones, Some(Box::new(AuthorityShare { public, secret }))))
}

/// The files in one directory must be of one network and one replica.
fn check_keys(config: &ReplicaConfig, secrets: &SecretBundle, genesis: &Genesis) -> anyhow::Result<()> {
    let id = config.id;
    if !genesis.committee.contains(id) {
        bail!("{id} is not one of the {} replicas of this network", genesis.committee.len());
    }
    if genesis.identities[id.index()] != secrets.identity.public() || genesis.links[id.index()] != secrets.link.public()
    {
        bail!("secrets.key does not hold the keys that this network knows {id} by");
    }
    // Read again after the state: what is wrong with them is said at once.
    Shares::read(id, secrets, genesis)?;
    signer(id, 0, secrets, genesis)?;
    let missing: Vec<String> = genesis
        .committee
        .ids()
        .filter(|peer| *peer != id && !config.peers.contains_key(peer))
        .map(|peer| peer.to_string())
        .collect();
    if !missing.is_empty() {
        bail!("replica.toml: no address under [peers] for {}", missing.join(", "));
    }
    Ok(())
}

async fn start_mesh(
    config: &ReplicaConfig,
    genesis: &Genesis,
    link_key: SecretKey,
    inputs: SyncSender<Input>,
) -> anyhow::Result<MeshHandle> {
    let peers = genesis.committee.ids().filter(|&peer| peer != config.id).map(|peer| PeerAddress {
        id: peer,
        address: config.peers[&peer].clone(),
        link_key: genesis.links[peer.index()],
    });
    let mesh = MeshConfig {
        me: config.id,
        link_key,
        listen: config.listen.peers,
        peers: peers.collect(),
        network: genesis.network(),
        link_delay: Duration::ZERO,
    };
    // While the core is busy the links wait.
    Ok(Mesh::start_thread(mesh, Arc::new(move |event| inputs.send(Input::Peer(event)).is_ok())).await?)
}

impl Conduct {
    /// What is done to outgoing answers.
    fn alter(self) -> Option<dns::Alter> {
        #[cfg(feature = "misbehave")]
        if self.misbehave {
            return Some(dns::misbehave::alter);
        }
        None
    }

    /// Who answers assignments.
    fn signer(self, signer: Signer) -> Signer {
        #[cfg(feature = "misbehave")]
        if self.misbehave {
            return signer.misbehaving();
        }
        signer
    }
}
