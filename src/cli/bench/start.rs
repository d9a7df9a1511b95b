//! `torrens bench start`

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;

use super::answer::query;
use super::serve::{origin, read};
use super::usage::resident_kib;
use super::{bar, broken, round};
use crate::cli::output::{Failure, Report};
use crate::codec;
use crate::committee::Committee;
use crate::config::ReplicaConfig;
use crate::directory::Directory;
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::{RrsetRef, SignedZone};
use crate::limits::{BENCH_PORT_BASE, MAX_UDP_RESPONSE, ROWS_AT_A_TIME};
use crate::node::ceremony::{Deal, Primes};
use crate::replica::genesis::Genesis;
use crate::replica::machine::Machine;
use crate::replica::zones::signed_key;
use crate::rows::{Row, Table};
use crate::signing::policy::Policy;
use crate::store::rocks::RocksStore;
use crate::store::tree::StateTree;
use crate::store::{Batch, Durability, Local, Read, Store};

/// A replica process starts with a zone on its disk: when it answers, and when it has read all
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys are dealt, and the database of one replica of four is filled with what it would hold: a title with its history for each
name, and the zone as published, with the signatures of the file. Then it is started, alone, and asked for names all over the
zone, one after the other.

Example:
  torrens bench start --zone example.signed --json")]
pub struct Args {
    /// Master file of the zone, with RRSIG and NSEC records
    #[arg(long, value_name = "FILE")]
    zone: PathBuf,
    /// What relative names in the file are relative to
    #[arg(long, value_name = "NAME", default_value = ".", value_parser = origin)]
    origin: Name,
    /// Keep the replica's directory here, in a folder that is made, instead of removing it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Port of the replica's DNS
    #[arg(long, value_name = "P", default_value_t = BENCH_PORT_BASE)]
    port_base: u16,
}

/// Names asked for, one after the other.
const ASKED: usize = 1000;
/// How long the process may take.
const PATIENCE: Duration = Duration::from_secs(600);

struct Outcome {
    /// From the start of the process.
    first: Duration,
    whole: Duration,
    /// Questions between these two, and those that had an answer.
    asked: u64,
    answered: u64,
    rows: u64,
    resident_kib: u64,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let kept = self.keep.is_some();
        let own = std::env::temp_dir().join(format!("torrens-bench-start-{}", std::process::id()));
        let folder = self.keep.clone().unwrap_or(own);
        let zone = read(&self.zone, &self.origin)?;
        let names = zone.len();
        let measured = {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || self.measure(&zone, &folder)).await.map_err(broken)?
        };
        if !kept {
            // What could not be measured may not have made it.
            let _ = fs::remove_dir_all(&folder);
        }
        Ok(report(names, &measured.map_err(|error| broken(format!("{error:#}")))?))
    }

    fn measure(&self, zone: &SignedZone, folder: &Path) -> anyhow::Result<Outcome> {
        let bar = bar(zone.len() as u64);
        bar.enable_steady_tick(Duration::from_millis(200));
        let home = folder.join("replica-0");
        if !home.exists() {
            self.deal(zone, folder, &bar)?;
        }
        let rows = fill(&home, zone, &bar)?;
        bar.set_message("starting the replica");
        let config = ReplicaConfig::read(&home.join("replica.toml"))?;
        let questions = questions(zone);
        anyhow::ensure!(!questions.is_empty(), "{} has no A record to ask for", zone.apex());
        let mut replica = Process::start(&home)?;
        let outcome = replica.watch(config.listen.dns, config.listen.http, &questions, rows);
        bar.finish_and_clear();
        outcome
    }

    /// Keys of a network whose genesis has the apex only.
    fn deal(&self, zone: &SignedZone, folder: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
        let file = ZoneFile { apex: zone.apex().clone(), records: records(zone, |name| name == zone.apex()) };
        #[cfg(feature = "fixtures")]
        let primes = Primes::Fixture;
        #[cfg(not(feature = "fixtures"))]
        let primes = Primes::Fresh;
        fs::create_dir_all(folder)?;
        let zones = vec![(file, Policy::default())];
        let committee = Committee::new(4)?;
        Deal { directory: folder.into(), committee, zones, port_base: self.port_base, primes }
            .run(&|what| bar.set_message(what.to_owned()))
    }
}

/// What an owner, or the registry, wrote at these names.
fn records(zone: &SignedZone, of: impl Fn(&Name) -> bool) -> BTreeMap<(Name, Rtype), crate::directory::rrset::Rrset> {
    const MADE: [Rtype; 4] = [Rtype::NSEC, Rtype::DNSKEY, Rtype::RRSIG, Rtype::ZONEMD];
    let nodes = zone.nodes().map(|node| (node.owner().to_name(), node)).filter(|(name, _)| of(name));
    let written = nodes.flat_map(|(name, node)| {
        let rrsets = node.rrsets().filter(|rrset| !MADE.contains(&rrset.rtype)).map(RrsetRef::rrset);
        rrsets.map(move |rrset| ((name.clone(), rrset.rtype), rrset)).collect::<Vec<_>>()
    });
    written.collect()
}

/// Writes what the replica would hold; how many rows these are.
fn fill(home: &Path, zone: &SignedZone, bar: &ProgressBar) -> anyhow::Result<u64> {
    let config = ReplicaConfig::read(&home.join("replica.toml"))?;
    let mut store = RocksStore::open_any(&config.data)?;
    let genesis = Genesis::from_bytes(&store.genesis()?)?;
    if store.local(Local::Sum)?.is_some() {
        // Kept from an earlier run.
        return Ok(0);
    }
    bar.set_message("a title for each name");
    let file = ZoneFile { apex: zone.apex().clone(), records: records(zone, |_| true) };
    let (_, titles) = Directory::genesis(vec![file], genesis.registry, genesis.created)?;
    let (_, start) = Machine::genesis(&genesis)?;
    let titles = titles.into_iter().filter(|row| row.table != Table::Meta);
    let published = zone.nodes().flat_map(|node| {
        bar.inc(1);
        let name = node.owner().to_name();
        let row = |rrset: RrsetRef<'_>| {
            let key = signed_key(zone.apex(), &name, rrset.rtype);
            Row::put(Table::Signed, key, codec::encode(&rrset.to_signed()))
        };
        node.rrsets().map(row).collect::<Vec<_>>()
    });
    bar.set_message("writing the replica's database");
    let mut tree = StateTree::default();
    let mut rows = start.into_iter().chain(titles).chain(published).inspect(|row| tree.apply(row)).peekable();
    while rows.peek().is_some() {
        let rows = rows.by_ref().take(ROWS_AT_A_TIME).collect();
        store.commit(Batch { rows, ..Batch::default() }, Durability::Lazy)?;
    }
    drop(rows);
    let local = tree.local_sums().into();
    store.commit(Batch { local, ..Batch::default() }, Durability::Sync)?;
    Ok(tree.rows())
}

/// Queries for addresses all over the zone.
fn questions(zone: &SignedZone) -> Vec<Vec<u8>> {
    let nodes = (0..ASKED).filter_map(|at| zone.at(at * zone.len() / ASKED)).filter(|node| node.has(Rtype::A));
    (0..).zip(nodes).map(|(id, node)| query(id, &node.owner().to_name())).collect()
}

/// The replica. Dropped, it is stopped.
struct Process {
    child: Child,
    began: Instant,
}

impl Process {
    fn start(home: &Path) -> anyhow::Result<Self> {
        let log = fs::File::create(home.join("log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("replica").arg("--dir").arg(home).arg("--until-stdin-ends");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let began = Instant::now();
        Ok(Self { child: command.spawn()?, began })
    }

    fn watch(
        &mut self,
        dns: SocketAddr,
        http: SocketAddr,
        questions: &[Vec<u8>],
        rows: u64,
    ) -> anyhow::Result<Outcome> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (mut first, mut asked, mut answered) = (None, 0, 0);
        for question in questions.iter().cycle() {
            anyhow::ensure!(self.began.elapsed() < PATIENCE, "the replica is not up after {PATIENCE:?}");
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!(
                    "the replica ended ({status}): keep its directory with --keep, and see the file `log` there"
                );
            }
            let has_answer = ask(&socket, dns, question);
            if has_answer {
                first.get_or_insert(self.began.elapsed());
            }
            if first.is_some() {
                asked += 1;
                answered += u64::from(has_answer);
            }
            // Its API opens when all is read.
            if let (Some(first), Ok(_)) = (first, TcpStream::connect(http)) {
                let (whole, resident_kib) = (self.began.elapsed(), resident_kib(self.child.id()));
                return Ok(Outcome { first, whole, asked, answered, rows, resident_kib });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        anyhow::bail!("nothing to ask for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended already.
        let _ = self.child.wait();
    }
}

/// Whether there is an answer, with data.
fn ask(socket: &UdpSocket, server: SocketAddr, question: &[u8]) -> bool {
    const RCODE_AND_ANSWERS: [u8; 3] = [0, 0, 1];
    let mut answer = [0; MAX_UDP_RESPONSE as usize];
    if socket.send_to(question, server).is_err() {
        return false;
    }
    while let Ok((length, _)) = socket.recv_from(&mut answer) {
        if answer[..length].starts_with(&question[..2]) {
            let [_, _, _, flags, _, _, high, low, ..] = answer;
            return [flags & 15, high, low.min(1)] == RCODE_AND_ANSWERS;
        }
    }
    false
}

fn report(names: usize, outcome: &Outcome) -> Report {
    let Outcome { first, whole, asked, answered, rows, resident_kib } = outcome;
    let seconds = |time: &Duration| round(time.as_secs_f64(), 100.0);
    let mib = round(*resident_kib as f64 / 1024.0, 1.0);
    let json = json!({
        "names": names, "rows": rows, "first_answer_seconds": seconds(first), "all_read_seconds": seconds(whole),
        "asked_meanwhile": asked, "answered_meanwhile": answered, "resident_mib": mib,
    });
    let text = format!(
        "{names} names: first answer after {} s, all read after {} s\nanswered {answered} of {asked} questions between\n\
         memory then: {mib} MiB\n",
        seconds(first),
        seconds(whole),
    );
    Report::accepted(text, json)
}
