//! `torrens bench order`
//!
//! What dominates (profiles of four replicas on a busy machine of two cores; parts of the CPU time of all processes): at
//! 400 operations a second, where rounds follow each other without a pause, elliptic curves 41 %, links with TLS 18,
//! the core's system calls (syncs, writes, changes of thread) 17, copies and allocation 7, RocksDB 6, the order itself
//! 3, hashing 2. Of the curves' time in a round, about 310 µs for each replica, a third each goes into three
//! signatures of blocks, the own share of the coin and the check of two others. What a round costs does not depend on
//! how much it carries, so an operation's part falls with the load, and under load rounds keep a distance
//! ([`crate::node::pace`]). What every operation costs is hashing, copies and RocksDB, which writes it three times (log,
//! flush, compaction): at 20,000 a second curves have 26 %, RocksDB 23.
//!
//! Memory: 27 MiB at the start, 50 a minute later (names of blocks up to the order's depth, write buffers), 55 after ten
//! minutes at 1,000 a second; beside a slow or dead replica 61 and 63.
//!
//! To be laid beside: Mysticeti's code (asonnino/mysticeti at 885ae9f) with Mahi-Mahi's rule and waves of four, four
//! replicas in *one* process on such a machine, 512-byte operations, leaders in turn instead of a coin: 2.7 ms p50 at 400
//! a second and 4,624 µs CPU for each operation; 5.2 ms and 3,303 µs with a sync for each own block; 135 ms over links of
//! 25 ms one way (162 ms with waves of five).

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum as _;
use rand_core::OsRng;
use serde_json::{Value, json};

use super::order_node::{Measured, Setup};
use super::usage::Cpu;
use super::{Spread, bar, broken, cell, round};
use crate::cli::output::{Exit, Failure, Report, table};
use crate::committee::{Committee, ReplicaId};
use crate::crypto::coin;
use crate::crypto::ed25519::SecretKey;
use crate::limits::{
    BENCH_MAX_GROWTH_KIB, BENCH_PORT_BASE, BENCH_SLOW_PEER_PAUSE, BENCH_WARM_UP_S, PAYLOAD_FOR_OPERATIONS,
};

/// Order filler under offered load: blocks, coin, links and disk are real, there is no directory and no signing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
commit: from when an operation was due until it was ordered at the replica it came in at.
rounds: from the block that carries it; 4.5 is what equal delays give with 4 replicas (torrens bench delays).
CPU: microseconds for each operation, over all replicas.
RSS, grown: the most that a replica had at the end of a tenth of the time, and by how much more than at the start.

Example:
  torrens bench order --replicas 7 --rate 400,5000
  torrens bench order --rate 400 --link-delay 25
  torrens bench order --rate 2000 --minutes 10
  torrens bench order --rate 2000 --minutes 10 --slow-peer dead")]
pub struct Args {
    /// Replicas, each a process
    #[arg(long, value_name = "N", default_value_t = 4)]
    replicas: usize,
    /// Bytes of an operation
    #[arg(long, value_name = "BYTES", default_value_t = 300)]
    size: usize,
    /// Operations offered a second, over all replicas; several are measured in turn
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "400,5000,20000")]
    rate: Vec<u32>,
    /// Seconds measured for each
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Minutes measured for each, instead of seconds: shows that memory does not grow
    #[arg(long, value_name = "MINUTES", conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// Milliseconds that everything between replicas takes longer, one way
    #[arg(long, value_name = "MS", default_value_t = 0)]
    link_delay: u64,
    /// The last replica gets no operations and falls behind, or dies, while the others go on; fails if they grow by
    /// over 64 MiB
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "slow")]
    slow_peer: Option<SlowPeer>,
    /// Ports used are those of a testbed at this one
    #[arg(long, value_name = "P", default_value_t = BENCH_PORT_BASE)]
    port_base: u16,
}

/// What is wrong with the last replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum SlowPeer {
    /// It deals with twenty messages a second.
    Slow,
    /// Its process is killed when the load begins, and does not come back.
    Dead,
}

/// One measurement over all nodes, but for a slow one.
struct Run {
    rate: u32,
    seconds: u64,
    nodes: Vec<Measured>,
}

impl Args {
    pub async fn run(mut self) -> Result<Report, Failure> {
        self.seconds = self.minutes.map_or(self.seconds, |minutes| minutes.saturating_mul(60));
        let committee = Committee::new(self.replicas).map_err(broken)?;
        if !(8..=PAYLOAD_FOR_OPERATIONS).contains(&self.size) || self.seconds == 0 || self.rate.contains(&0) {
            return Err(Failure::Usage(format!(
                "an operation has 8 to {PAYLOAD_FOR_OPERATIONS} bytes; rates and seconds are above 0"
            )));
        }
        if usize::from(self.port_base) + 20 * self.replicas > usize::from(u16::MAX) {
            return Err(Failure::Usage("the port base is too high for so many replicas".into()));
        }
        let measured = tokio::task::spawn_blocking(move || self.measure(&committee).map(|runs| self.report(&runs)));
        tokio::select! {
            report = measured => report.map_err(broken)?.map_err(|error| broken(format!("{error:#}"))),
            _ = tokio::signal::ctrl_c() => Err(Failure::Usage("interrupted".into())),
        }
    }

    fn measure(&self, committee: &Committee) -> anyhow::Result<Vec<Run>> {
        let bar = bar(self.rate.len() as u64);
        let mut runs = Vec::new();
        for &rate in &self.rate {
            bar.set_message(format!("{rate} operations a second"));
            bar.enable_steady_tick(Duration::from_millis(200));
            let folder = std::env::temp_dir().join(format!("torrens-bench-order-{}", std::process::id()));
            let nodes = self.one(committee, rate, &folder);
            let removed = fs::remove_dir_all(&folder);
            runs.push(Run { rate, seconds: self.seconds, nodes: nodes? });
            removed?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(runs)
    }

    fn one(&self, committee: &Committee, rate: u32, folder: &Path) -> anyhow::Result<Vec<Measured>> {
        fs::create_dir_all(folder)?;
        let mut nodes = Nodes(Vec::new());
        let healthy = self.healthy(committee);
        for setup in self.deal(committee, rate, folder) {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["bench", "order-node"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            nodes.0.push(command.spawn()?);
            let child = nodes.0.last_mut().expect("just pushed");
            let mut line = serde_json::to_vec(&setup)?;
            line.push(b'\n');
            child.stdin.as_mut().expect("it was asked for").write_all(&line)?;
        }
        if self.slow_peer == Some(SlowPeer::Dead) {
            std::thread::sleep(Duration::from_secs(BENCH_WARM_UP_S));
            nodes.0.last_mut().expect("a committee is not empty").kill()?;
        }
        let outputs = nodes.0.iter_mut().take(healthy).map(|child| child.stdout.take().expect("it was asked for"));
        let outputs: Vec<_> = outputs.collect();
        let mut measured = Vec::new();
        for output in outputs {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            anyhow::ensure!(!line.is_empty(), "a node ended before it had measured anything: see above");
            measured.push(serde_json::from_str(&line)?);
        }
        Ok(measured)
    }

    /// How many replicas do what they should: the first ones.
    fn healthy(&self, committee: &Committee) -> usize {
        committee.len() - usize::from(self.slow_peer.is_some())
    }

    fn deal(&self, committee: &Committee, rate: u32, folder: &Path) -> Vec<Setup> {
        let (public, shares) = coin::deal(committee, &mut OsRng);
        let keys = || committee.ids().map(|_| SecretKey::generate(&mut OsRng)).collect::<Vec<_>>();
        let (identities, links) = (keys(), keys());
        let publics = |keys: &[SecretKey]| keys.iter().map(SecretKey::public).collect::<Vec<_>>();
        let healthy = self.healthy(committee);
        let is_healthy = |id: ReplicaId| id.index() < healthy;
        let setup = |id: ReplicaId| Setup {
            me: id.0,
            identities: publics(&identities),
            links: publics(&links),
            identity: *identities[id.index()].seed(),
            link: *links[id.index()].seed(),
            coin: public.clone(),
            coin_share: shares[id.index()].to_bytes().to_vec(),
            folder: folder.join(id.0.to_string()),
            port_base: self.port_base,
            size: self.size,
            rate: if is_healthy(id) { f64::from(rate) / healthy as f64 } else { 0.0 },
            pause: (self.slow_peer == Some(SlowPeer::Slow) && !is_healthy(id)).then_some(BENCH_SLOW_PEER_PAUSE),
            seconds: self.seconds,
            link_delay_ms: self.link_delay,
        };
        committee.ids().map(setup).collect()
    }

    fn report(&self, runs: &[Run]) -> Report {
        let header = [
            "offered/s",
            "ordered/s",
            "commit p50",
            "p99 ms",
            "CPU µs",
            "user",
            "system",
            "cores",
            "rounds",
            "rounds/s",
            "commits/s",
            "RSS MiB",
            "grown MiB",
        ];
        let mut text = table(header, runs.iter().map(Run::row));
        for run in runs.iter().filter(|_| self.slow_peer.is_some() || self.minutes.is_some()) {
            let tenths: Vec<String> = run.resident_kib().iter().map(|kib| (kib / 1024).to_string()).collect();
            let _ = writeln!(text, "RSS MiB at {}/s, after each tenth of the time: {}", run.rate, tenths.join(" "));
        }
        let too_much = |run: &Run| self.slow_peer.is_some() && run.grown_kib() > BENCH_MAX_GROWTH_KIB;
        let exit = if runs.iter().any(too_much) { Exit::Refused } else { Exit::Accepted };
        if exit == Exit::Refused {
            let _ = writeln!(text, "memory grew by more than {} MiB", BENCH_MAX_GROWTH_KIB / 1024);
        }
        let slow_peer = self.slow_peer.and_then(|how| Some(how.to_possible_value()?.get_name().to_owned()));
        let runs: Vec<Value> = runs.iter().map(Run::json).collect();
        let json = json!({
            "replicas": self.replicas, "size": self.size, "seconds": self.seconds, "warm_up_seconds": BENCH_WARM_UP_S,
            "slow_peer": slow_peer, "runs": runs,
        });
        Report { exit, text, json }
    }
}

/// The nodes' processes. They end when their standard input does.
struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Run {
    fn mean(&self, of: impl Fn(&Measured) -> u64) -> f64 {
        self.nodes.iter().map(of).sum::<u64>() as f64 / self.nodes.len() as f64
    }

    fn per_second(&self, of: impl Fn(&Measured) -> u64) -> f64 {
        round(self.mean(of) / self.seconds as f64, 1.0)
    }

    fn cpu(&self) -> Cpu {
        self.nodes.iter().map(|node| node.cpu).sum()
    }

    /// Microseconds for each operation.
    fn each(&self, time: u64) -> Option<f64> {
        let ordered = self.mean(|node| node.ordered);
        (ordered > 0.0).then(|| round(time as f64 / ordered, 10.0))
    }

    fn latencies(&self) -> Spread {
        let all = self.nodes.iter().flat_map(|node| &node.latencies_us);
        Spread::new(all.map(|&us| Duration::from_micros(us.into())))
    }

    fn cores(&self) -> f64 {
        round(self.cpu().total() as f64 / 1e6 / self.seconds as f64, 100.0)
    }

    /// The most that a node had, at the start and after each tenth of the time.
    fn resident_kib(&self) -> Vec<u64> {
        let at = |tenth| self.nodes.iter().filter_map(move |node| node.resident_kib.get(tenth)).copied().max();
        (0..).map_while(at).collect()
    }

    /// The most that a node had more than at the start.
    fn grown_kib(&self) -> u64 {
        let grown = self.nodes.iter().map(|node| {
            let first = node.resident_kib.first().copied().unwrap_or(0);
            node.resident_kib.iter().max().map_or(0, |most| most - first)
        });
        grown.max().unwrap_or(0)
    }

    /// From a block to its commit, on average.
    fn rounds_to_commit(&self) -> Option<f64> {
        let blocks = self.mean(|node| node.rounds_to_commit[1]);
        (blocks > 0.0).then(|| round(self.mean(|node| node.rounds_to_commit[0]) / blocks, 100.0))
    }

    fn row(&self) -> [String; 13] {
        let latencies = self.latencies();
        let resident = self.resident_kib().into_iter().max().unwrap_or(0);
        [
            self.rate.to_string(),
            self.per_second(|node| node.ordered).to_string(),
            cell(latencies.percentile_ms(50)),
            cell(latencies.percentile_ms(99)),
            cell(self.each(self.cpu().total())),
            cell(self.each(self.cpu().user)),
            cell(self.each(self.cpu().system)),
            self.cores().to_string(),
            cell(self.rounds_to_commit()),
            self.per_second(|node| node.rounds).to_string(),
            self.per_second(|node| node.commits).to_string(),
            (resident / 1024).to_string(),
            format!("{:.1}", self.grown_kib() as f64 / 1024.0),
        ]
    }

    fn json(&self) -> Value {
        let latencies = self.latencies();
        json!({
            "offered_per_second": self.rate,
            "ordered_per_second": self.per_second(|node| node.ordered),
            "commit_ms": { "p50": latencies.percentile_ms(50), "p99": latencies.percentile_ms(99) },
            "cpu_us_per_operation": {
                "replicas": self.each(self.cpu().total()),
                "user": self.each(self.cpu().user),
                "system": self.each(self.cpu().system),
            },
            "cores": self.cores(),
            "rounds_to_commit": self.rounds_to_commit(),
            "rounds_per_second": self.per_second(|node| node.rounds),
            "commits_per_second": self.per_second(|node| node.commits),
            "resident_kib": self.nodes.iter().map(|node| &node.resident_kib).collect::<Vec<_>>(),
            "grown_kib": self.grown_kib(),
        })
    }
}
