//! `torrens bench recovery`

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use super::recovery_node::{self, Input, Links, PATIENCE, Shown};
use super::{bar, broken, round};
use crate::cli::operation::local_time;
use crate::cli::output::{Failure, Report};
use crate::committee::{Committee, ReplicaId};
use crate::config::ReplicaConfig;
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::SecretKey;
use crate::directory::name::Name;
use crate::directory::operation::{Action, Operation, RecordChange, SignedOperation};
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::{Directory, Timestamp};
use crate::dns::{Client, Settings, Transport, respond};
use crate::limits::{BENCH_PORT_BASE, BENCH_RECOVERY_COMMITS, BENCH_RECOVERY_PAUSE, BENCH_TICK, OPERATION_VALIDITY_MS};
use crate::node::ceremony::{Deal, Primes};
use crate::replica::door;
use crate::replica::genesis::Genesis;
use crate::signing::policy::Policy;
use crate::store::Read;
use crate::store::rocks::RocksStore;

/// One of four replicas is down while operations are executed; then it rejoins.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The replicas are whole, with RocksDB and real keys, in one process; their links are channels. Each of a thousand titles takes
its turn; one in ten changes what its zone shows, so that signing does not dominate. When the replica is back, the root over
its rows is computed after each of 1,000 further commits, apart from the replica's own, and must be a veteran's.

Example:
  torrens bench recovery --operations 20000 --json")]
pub struct Args {
    /// Operations that the replica misses
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    operations: u64,
    /// Titles that the operations go round
    #[arg(long, value_name = "N", default_value_t = 1000)]
    titles: u64,
}

const AWAY: ReplicaId = ReplicaId(3);
const VETERAN: ReplicaId = ReplicaId(0);

struct Title {
    name: Name,
    key: SecretKey,
    sequence: u64,
    previous: Digest,
}

struct World {
    folder: std::path::PathBuf,
    genesis: Genesis,
    directory: Directory,
    titles: Vec<Title>,
    links: Links,
    shown: Vec<Arc<Shown>>,
    threads: BTreeMap<ReplicaId, JoinHandle<anyhow::Result<()>>>,
    submitted: u64,
}

struct Outcome {
    missed: Duration,
    /// When it knew what to copy, had all of it, and had read it back and joined.
    listed: Duration,
    copied: Duration,
    joined: Duration,
    caught_up: Duration,
    bytes: u64,
    rows: u64,
    /// Questions that it was asked between its start and the join, and those of them that it answered without the data.
    answered: (u64, u64),
    commits: usize,
    equal: bool,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        if self.operations == 0 || self.titles == 0 {
            return Err(Failure::Usage("operations and titles are above 0".into()));
        }
        let done = tokio::task::spawn_blocking(move || {
            let folder = std::env::temp_dir().join(format!("torrens-bench-recovery-{}", std::process::id()));
            let outcome = self.measure(&folder);
            let removed = fs::remove_dir_all(&folder);
            let outcome = outcome?;
            removed?;
            Ok::<_, anyhow::Error>(self.report(&outcome))
        });
        let report = tokio::select! {
            report = done => report.map_err(broken)?.map_err(|error| broken(format!("{error:#}")))?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Usage("interrupted".into())),
        };
        if report.json["equal"] == true { Ok(report) } else { Err(broken(report.text)) }
    }

    fn measure(&self, folder: &Path) -> anyhow::Result<Outcome> {
        let bar = bar(self.operations + self.titles + BENCH_RECOVERY_COMMITS);
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut world = World::deal(folder, self.titles, &|what| bar.set_message(what.to_owned()))?;
        for id in 0..4 {
            world.start(ReplicaId(id))?;
        }
        bar.set_message("registering titles");
        world.round(self.titles, self.titles)?;
        bar.inc(self.titles);
        world.wait(|world| world.position(AWAY) == world.submitted)?;
        // It is to go on serving the zone's first version, so it has to have it.
        world.wait(|world| still_serves(&world.shown[AWAY.index()]))?;
        world.stop(AWAY)?;

        let began = Instant::now();
        let mut left = self.operations;
        while left > 0 {
            let now = left.min(self.titles);
            world.submit(now, self.titles)?;
            left -= now;
            bar.inc(now);
            bar.set_message(format!("{} operations executed while one replica is down", self.operations - left));
        }
        world.wait(|world| world.position(VETERAN) >= world.submitted)?;
        let missed = began.elapsed();

        bar.set_message("the replica rejoins, while operations go on");
        let back = Instant::now();
        world.start(AWAY)?;
        let away = Arc::clone(&world.shown[AWAY.index()]);
        let asker = std::thread::spawn({
            let away = Arc::clone(&away);
            move || ask(&away)
        });
        while !away.joined.load(Ordering::Relaxed) {
            anyhow::ensure!(back.elapsed() < PATIENCE, "it did not join at a signed head within {PATIENCE:?}");
            world.round(10, 10)?;
            std::thread::sleep(BENCH_RECOVERY_PAUSE);
        }
        let answered = asker.join().expect("answering does not panic");
        let (times, copied) = away.join.lock().expect("no panic while it is held").expect("it joined by a copy");
        let [listed, whole, joined] = times.map(|time| time - back);
        let target = world.submitted;
        world.wait(|world| world.position(AWAY) >= target)?;
        let caught_up = back.elapsed();

        bar.set_message("comparing roots after each commit");
        for id in [VETERAN, AWAY] {
            world.tell(id, Input::Compare)?;
        }
        let mut commits = 0;
        while commits < BENCH_RECOVERY_COMMITS as usize {
            world.round(10, 10)?;
            let now = world.common().0;
            bar.inc((now - commits) as u64);
            commits = now;
        }
        let (commits, equal) = world.common();
        let rows = world.rows();
        bar.finish_and_clear();
        for id in 0..4 {
            world.stop(ReplicaId(id))?;
        }
        let bytes = copied.total;
        Ok(Outcome { missed, listed, copied: whole, joined, caught_up, bytes, rows, answered, commits, equal })
    }

    fn report(&self, outcome: &Outcome) -> Report {
        let Outcome { missed, listed, copied, joined, caught_up, bytes, rows, answered, commits, equal } = outcome;
        let seconds = |time: &Duration| round(time.as_secs_f64(), 100.0);
        let json = json!({
            "operations": self.operations, "missed_seconds": seconds(missed), "listed_seconds": seconds(listed),
            "copied_seconds": seconds(copied), "joined_seconds": seconds(joined), "caught_up_seconds": seconds(caught_up),
            "copied_bytes": bytes, "rows": rows, "commits_compared": commits,
            "answered_meanwhile": answered.0, "without_data": answered.1, "equal": equal,
        });
        let verdict = if *equal { "equal to a veteran's after each" } else { "NOT a veteran's" };
        let text = format!(
            "missed {} operations in {} s\nknew what to copy after {} s, had copied {:.1} MiB after {} s, had read it back and joined \
             at a signed head after {} s (now {rows} rows)\nanswered {} of {} questions meanwhile with what it had\n\
             caught up after {} s\nroots over {commits} further commits: {verdict}\n",
            self.operations,
            seconds(missed),
            seconds(listed),
            *bytes as f64 / 1048576.0,
            seconds(copied),
            seconds(joined),
            answered.0 - answered.1,
            answered.0,
            seconds(caught_up),
        );
        Report::accepted(text, json)
    }
}

/// Asks a replica until it has joined; how often, and how many answers had no data.
fn ask(shown: &Shown) -> (u64, u64) {
    let mut answered = (0, 0);
    while !shown.joined.load(Ordering::Relaxed) {
        answered.0 += 1;
        answered.1 += u64::from(!still_serves(shown));
        std::thread::sleep(BENCH_TICK);
    }
    answered
}

/// Whether a replica answers the question for a name of the zone file with its signed address, as over DNS.
fn still_serves(shown: &Shown) -> bool {
    // www.names.example. A IN, with the DO bit (RFC 6891).
    const QUERY: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01\x03www\x05names\x07example\0\0\x01\0\x01\
        \0\0\x29\x10\0\0\0\x80\0\0\0";
    let mut answer = Vec::new();
    let settings = Settings::new("bench", [0; 16]);
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    let client = Client::new(Transport::Stream, address, 0, &settings);
    respond(&shown.view.load(), QUERY, &client, &mut answer);
    // NOERROR, and the addresses with their signature.
    answer.len() > 12 && answer[3] & 0x0f == 0 && answer[7] >= 2
}

impl World {
    fn deal(folder: &Path, titles: u64, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Self> {
        let zone = include_str!("../../../zones/names.example.zone");
        let zone = crate::directory::master::parse_zone(zone, "names.example.zone", None, &mut |name| {
            Err(format!("{name}: nothing to include from"))
        })?;
        fs::create_dir_all(folder)?;
        let apex = zone.apex.clone();
        let deal = Deal {
            directory: folder.into(),
            committee: Committee::new(4)?,
            zones: vec![(zone, Policy::default())],
            port_base: BENCH_PORT_BASE,
            #[cfg(feature = "fixtures")]
            primes: Primes::Fixture,
            #[cfg(not(feature = "fixtures"))]
            primes: Primes::Fresh,
        };
        deal.run(progress)?;
        let data = ReplicaConfig::read(&folder.join("replica-0/replica.toml"))?.data;
        let genesis = Genesis::from_bytes(&RocksStore::open_any(&data)?.genesis()?)?;
        let files = genesis.zones.iter().map(|zone| zone.to_file()).collect();
        let (directory, _) = Directory::genesis(files, genesis.registry, genesis.created)?;
        let title = |number: u64| -> anyhow::Result<Title> {
            let key = SecretKey::from_seed(&hash("torrens bench owner", &[&number.to_be_bytes()]).0);
            Ok(Title {
                name: Name::parse(&format!("t{number}"), Some(&apex))?,
                key,
                sequence: 0,
                previous: Digest::ZERO,
            })
        };
        Ok(Self {
            folder: folder.into(),
            directory,
            titles: (0..titles).map(title).collect::<anyhow::Result<_>>()?,
            genesis,
            links: Arc::new(RwLock::default()),
            shown: (0..4).map(|_| Arc::default()).collect(),
            threads: BTreeMap::new(),
            submitted: 0,
        })
    }

    fn start(&mut self, id: ReplicaId) -> anyhow::Result<()> {
        let home = self.folder.join(format!("replica-{}", id.0));
        let thread = recovery_node::start(&home, &self.links, &self.shown[id.index()])?;
        self.threads.insert(id, thread);
        Ok(())
    }

    fn stop(&mut self, id: ReplicaId) -> anyhow::Result<()> {
        let link = self.links.write().expect("no panic while it is held").remove(&id);
        if let Some(link) = link {
            // If it has ended, its own error follows.
            let _ = link.send(Input::Stop);
        }
        self.threads.remove(&id).map_or(Ok(()), |thread| thread.join().expect("a node returns its errors"))
    }

    fn tell(&self, id: ReplicaId, input: Input) -> anyhow::Result<()> {
        let link = self.links.read().expect("no panic while it is held").get(&id).cloned();
        let sent = link.is_some_and(|link| link.send(input).is_ok());
        anyhow::ensure!(sent, "{id} has ended: see above");
        Ok(())
    }

    fn position(&self, id: ReplicaId) -> u64 {
        self.shown[id.index()].position.load(Ordering::Relaxed)
    }

    /// One operation on each of `count` titles of the first `of`, executed at the veteran before this returns.
    fn round(&mut self, count: u64, of: u64) -> anyhow::Result<()> {
        self.submit(count, of)?;
        self.wait(|world| world.position(VETERAN) >= world.submitted)
    }

    /// As [`Self::round`], but what was submitted before is executed first: meanwhile the next operations are signed.
    fn submit(&mut self, count: u64, of: u64) -> anyhow::Result<()> {
        let live: Vec<ReplicaId> = self.threads.keys().copied().filter(|id| *id != AWAY).collect();
        let mut signed = Vec::new();
        for number in 0..count.min(of) {
            let bytes = self.sign(number as usize);
            let submission = door::check(&bytes, self.genesis.network(), &self.directory);
            signed.push(Box::new(submission.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?));
        }
        self.wait(|world| world.position(VETERAN) >= world.submitted)?;
        for submission in signed {
            let door = live[submission.digest().0[0] as usize % live.len()];
            self.tell(door, Input::Submit(submission))?;
        }
        self.submitted += count.min(of);
        Ok(())
    }

    fn sign(&mut self, number: usize) -> Vec<u8> {
        let (network, zone) = (self.genesis.network(), self.genesis.zones[0].apex.clone());
        let title = &mut self.titles[number];
        // One title in ten shows something new each time.
        let shown = if number.is_multiple_of(10) { title.sequence as u32 } else { 0 };
        let rrset = Rrset::new(Rtype::A, 300, vec![(0x0a00_0000 | shown & 0xff_ffff).to_be_bytes().to_vec()]);
        let change = RecordChange::Put { name: title.name.clone(), rrset };
        let action = if title.sequence == 0 { Action::Register } else { Action::Set { changes: vec![change] } };
        let operation = Operation {
            network,
            zone,
            title: title.name.clone(),
            sequence: title.sequence,
            previous: title.previous,
            valid_until: Timestamp(local_time().0 + OPERATION_VALIDITY_MS),
            action,
        };
        let bytes = operation.sign(&title.key).to_bytes();
        title.sequence += 1;
        title.previous = SignedOperation::digest_of_bytes(&bytes);
        bytes
    }

    fn wait(&self, reached: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !reached(self) {
            anyhow::ensure!(began.elapsed() < PATIENCE, "nothing moves any more");
            let ended = self.threads.iter().find(|(_, thread)| thread.is_finished());
            anyhow::ensure!(ended.is_none(), "a replica ended: {:?}", ended.map(|(id, _)| id));
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Commits after which both computed a root, and whether all were equal.
    fn common(&self) -> (usize, bool) {
        let roots = |id: ReplicaId| self.shown[id.index()].roots.lock().expect("no panic while it is held");
        let (veteran, away) = (roots(VETERAN), roots(AWAY));
        let pairs: Vec<bool> = away.iter().filter_map(|(height, root)| Some(veteran.get(height)? == root)).collect();
        (pairs.len(), pairs.iter().all(|equal| *equal))
    }

    /// Rows of the veteran's last signed head.
    fn rows(&self) -> u64 {
        self.shown[VETERAN.index()].rows.load(Ordering::Relaxed)
    }
}
