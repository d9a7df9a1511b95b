//! `torrens bench update`

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rand_core::{OsRng, RngCore};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::link::Link;
use super::network::{Network, pids};
use super::owner::{Owner, Sample, Title};
use super::usage::{Cpu, resident_kib};
use super::{Spread, bar, broken, cell, pass, round};
use crate::cli::output::{Failure, Report, table};
use crate::client::Cluster;
use crate::client::cluster::Zone;
use crate::crypto::ed25519::SecretKey;
use crate::limits::{BENCH_PORT_BASE, BENCH_REGISTER_WORKERS, BENCH_WARM_UP_S};
use crate::replica::report::{Answer, StatusReport};

/// Owners replace their A records, over and over; each new answer is validated.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
ordered: from submission until f + 1 replicas report the same outcome.
answer: from submission until a replica answers with the new record over DNS and its signature verifies.
CPU: microseconds for each update, user + system, over all replicas; that of this load generator is apart.

Examples:
  torrens bench update
  torrens bench update --cluster demo/cluster.toml --concurrency 64 --seconds 30 --json")]
pub struct Args {
    /// The cluster's file; without it, a testbed is started for the time of the measurement
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// The testbed's directory, where the replicas' pid files are [default: where the cluster's file is]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Owners that update at the same time, each the next when the last is answered; several are measured in turn
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,64")]
    concurrency: Vec<usize>,
    /// Seconds measured for each
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Titles registered beforehand and updated in turn
    #[arg(long, value_name = "N", default_value_t = 200)]
    names: usize,
    /// Replicas of the testbed that is started
    #[arg(long, value_name = "N", default_value_t = 4)]
    replicas: usize,
    /// First port of the testbed that is started
    #[arg(long, value_name = "P", default_value_t = BENCH_PORT_BASE)]
    port_base: u16,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let most = self.concurrency.iter().copied().max().unwrap_or(0);
        if self.concurrency.contains(&0) || most > self.names || self.seconds == 0 {
            return Err(Failure::Usage("as many names as concurrent owners at least, and a second to measure".into()));
        }
        let network = match &self.cluster {
            Some(_) => None,
            None => Some(Network::start(self.replicas, self.port_base).map_err(broken)?),
        };
        // Interrupted, the testbed is still taken down.
        tokio::select! {
            report = self.measure(network.as_ref()) => report,
            _ = tokio::signal::ctrl_c() => Err(Failure::Usage("interrupted".into())),
        }
    }

    async fn measure(&self, network: Option<&Network>) -> Result<Report, Failure> {
        let file = network.map(Network::cluster_file).or(self.cluster.clone()).expect("either is there");
        let cluster = Arc::new(Cluster::load(&file)?);
        let folder = self.dir.clone().or(file.parent().map(PathBuf::from)).unwrap_or_default();
        let pids = pids(&folder, cluster.replicas.len()).into_iter().flatten().collect();
        let zone = cluster.zones[0].clone();
        let runs = self.concurrency.len() as u64;
        let bar = bar(self.names as u64 + runs * (self.seconds + BENCH_WARM_UP_S));
        let addresses = Arc::new(AtomicU32::new(0));
        let bench = Bench { cluster, zone, pids, addresses, bar };
        let mut titles = bench.register(self.names).await?;
        let mut results = Vec::new();
        for &concurrency in &self.concurrency {
            let run;
            (titles, run) = bench.load(titles, concurrency, self.seconds).await?;
            results.push(run);
        }
        bench.bar.finish_and_clear();
        Ok(bench.report(self, &results))
    }
}

struct Bench {
    cluster: Arc<Cluster>,
    zone: Zone,
    /// The replicas' processes, as far as they are known.
    pids: Vec<u32>,
    /// Addresses given out: no two updates set the same.
    addresses: Arc<AtomicU32>,
    bar: ProgressBar,
}

/// One measurement.
struct Run {
    concurrency: usize,
    updates: usize,
    seconds: f64,
    ordered: Spread,
    answered: Spread,
    replicas: Cpu,
    generator: Cpu,
    resident_kib: Vec<u64>,
    before: Answer<StatusReport>,
    after: Answer<StatusReport>,
    failures: BTreeMap<String, usize>,
}

type Worked = (Vec<Title>, Vec<Sample>, Vec<String>);

impl Bench {
    async fn register(&self, names: usize) -> Result<Vec<Title>, Failure> {
        self.bar.set_message("registering titles");
        let run = OsRng.next_u32();
        let mut titles = Vec::with_capacity(names);
        for index in 0..names {
            let label = format!("bench-{run:08x}-{index}");
            let name = self.zone.name.child(label.as_bytes()).map_err(broken)?;
            titles.push(Title::new(name, SecretKey::generate(&mut OsRng)));
        }
        let mut tasks = JoinSet::new();
        for mut share in deal(titles, BENCH_REGISTER_WORKERS) {
            let mut owner = self.owner().await?;
            let bar = self.bar.clone();
            tasks.spawn(async move {
                for title in &mut share {
                    owner.register(title).await?;
                    bar.inc(1);
                }
                Ok::<_, String>(share)
            });
        }
        let mut registered = Vec::with_capacity(names);
        while let Some(share) = tasks.join_next().await {
            registered.extend(share.map_err(broken)?.map_err(Failure::NotConfirmed)?);
        }
        Ok(registered)
    }

    async fn owner(&self) -> Result<Owner, Failure> {
        Owner::new(Arc::clone(&self.cluster), self.zone.clone()).await.map_err(broken)
    }

    /// Warms up, measures, and gives the titles back.
    async fn load(&self, titles: Vec<Title>, concurrency: usize, seconds: u64) -> Result<(Vec<Title>, Run), Failure> {
        self.bar.set_message(format!("{concurrency} at a time"));
        let from = Instant::now() + Duration::from_secs(BENCH_WARM_UP_S);
        let until = from + Duration::from_secs(seconds);
        let mut tasks = JoinSet::new();
        for share in deal(titles, concurrency) {
            tasks.spawn(work(self.owner().await?, share, Arc::clone(&self.addresses), until));
        }
        pass(BENCH_WARM_UP_S, &self.bar).await;
        let (started, cpu, own, before) = (Instant::now(), self.cpu(), Cpu::of_this_process(), self.status().await?);
        pass(seconds, &self.bar).await;
        let (ended, replicas, generator) = (Instant::now(), self.cpu() - cpu, Cpu::of_this_process() - own);
        let after = self.status().await?;
        let resident_kib = self.pids.iter().map(|&pid| resident_kib(pid)).collect();
        let (mut titles, mut samples, mut failures) = (Vec::new(), Vec::new(), BTreeMap::new());
        while let Some(worked) = tasks.join_next().await {
            let (share, taken, failed): Worked = worked.map_err(broken)?;
            titles.extend(share);
            samples.extend(taken.into_iter().filter(|sample| (started..ended).contains(&sample.at)));
            for what in failed {
                *failures.entry(what).or_default() += 1;
            }
        }
        let run = Run {
            concurrency,
            updates: samples.len(),
            seconds: (ended - started).as_secs_f64(),
            ordered: Spread::new(samples.iter().map(|sample| sample.ordered)),
            answered: Spread::new(samples.iter().map(|sample| sample.answered)),
            replicas,
            generator,
            resident_kib,
            before,
            after,
            failures,
        };
        Ok((titles, run))
    }

    fn cpu(&self) -> Cpu {
        self.pids.iter().map(|&pid| Cpu::of(pid)).sum()
    }

    async fn status(&self) -> Result<Answer<StatusReport>, Failure> {
        let mut why = String::new();
        for replica in &self.cluster.replicas {
            match Link::new(replica.api.clone()).read("/v1/status").await {
                Ok(status) => return Ok(status),
                Err(error) => why = error,
            }
        }
        Err(Failure::NotConfirmed(why))
    }

    fn report(&self, args: &Args, runs: &[Run]) -> Report {
        let header = [
            "at a time",
            "updates/s",
            "ordered p50",
            "p99 ms",
            "answer p50",
            "p99 ms",
            "CPU µs",
            "user",
            "system",
            "generator µs",
            "RSS MiB",
            "rounds/s",
            "failed",
        ];
        let mut text = table(header, runs.iter().map(Run::row));
        for (what, count) in runs.iter().flat_map(|run| &run.failures) {
            text += &format!("{count} × {what}\n");
        }
        if self.pids.len() < self.cluster.replicas.len() {
            text += "CPU and RSS are of the replicas whose pid files are in --dir and that run here, not of all.\n";
        }
        let runs: Vec<Value> = runs.iter().map(Run::json).collect();
        let json = json!({
            "replicas": self.cluster.replicas.len(),
            "measured_processes": self.pids.len(),
            "zone": self.zone.name.to_string(),
            "names": args.names,
            "seconds": args.seconds,
            "runs": runs,
        });
        Report::accepted(text, json)
    }
}

/// Shares of about equal size.
fn deal(titles: Vec<Title>, workers: usize) -> Vec<Vec<Title>> {
    let mut shares: Vec<Vec<Title>> = (0..workers.min(titles.len())).map(|_| Vec::new()).collect();
    let count = shares.len();
    for (index, title) in titles.into_iter().enumerate() {
        shares[index % count].push(title);
    }
    shares
}

/// Updates the titles in turn. One whose update failed is given up: what became of it is unknown.
async fn work(mut owner: Owner, mut titles: Vec<Title>, addresses: Arc<AtomicU32>, until: Instant) -> Worked {
    let (mut samples, mut failures) = (Vec::new(), Vec::new());
    let mut next = 0;
    while Instant::now() < until && !titles.is_empty() {
        next %= titles.len();
        let host = addresses.fetch_add(1, Ordering::Relaxed) & 0x00ff_ffff;
        match owner.update(&mut titles[next], Ipv4Addr::from(0x0a00_0000 | host)).await {
            Ok(sample) => {
                samples.push(sample);
                next += 1;
            }
            Err(why) => {
                failures.push(why);
                titles.swap_remove(next);
            }
        }
    }
    (titles, samples, failures)
}

impl Run {
    fn per_second(&self, count: u64) -> f64 {
        round(count as f64 / self.seconds, 10.0)
    }

    /// Microseconds for each update.
    fn each(&self, time: u64) -> Option<f64> {
        (self.updates > 0).then(|| (time as f64 / self.updates as f64).round())
    }

    fn rounds_per_second(&self) -> f64 {
        self.per_second(self.after.body.replica.round.saturating_sub(self.before.body.replica.round))
    }

    fn largest_mib(&self) -> Option<f64> {
        self.resident_kib.iter().max().map(|&kib| (kib as f64 / 1024.0).round())
    }

    fn row(&self) -> [String; 13] {
        [
            self.concurrency.to_string(),
            self.per_second(self.updates as u64).to_string(),
            cell(self.ordered.percentile_ms(50)),
            cell(self.ordered.percentile_ms(99)),
            cell(self.answered.percentile_ms(50)),
            cell(self.answered.percentile_ms(99)),
            cell(self.each(self.replicas.total())),
            cell(self.each(self.replicas.user)),
            cell(self.each(self.replicas.system)),
            cell(self.each(self.generator.total())),
            cell(self.largest_mib()),
            self.rounds_per_second().to_string(),
            self.failures.values().sum::<usize>().to_string(),
        ]
    }

    fn json(&self) -> Value {
        let versions = |status: &Answer<StatusReport>| status.body.cluster.zones.first().map_or(0, |zone| zone.serial);
        let commits = self.after.height.saturating_sub(self.before.height);
        json!({
            "concurrency": self.concurrency,
            "updates": self.updates,
            "updates_per_second": self.per_second(self.updates as u64),
            "ordered_ms": { "p50": self.ordered.percentile_ms(50), "p99": self.ordered.percentile_ms(99) },
            "answer_ms": { "p50": self.answered.percentile_ms(50), "p99": self.answered.percentile_ms(99) },
            "cpu_us_per_update": {
                "replicas": self.each(self.replicas.total()),
                "user": self.each(self.replicas.user),
                "system": self.each(self.replicas.system),
                "generator": self.each(self.generator.total()),
            },
            "cores": {
                "replicas": round(self.replicas.total() as f64 / 1e6 / self.seconds, 100.0),
                "generator": round(self.generator.total() as f64 / 1e6 / self.seconds, 100.0),
            },
            "resident_kib": self.resident_kib,
            "rounds_per_second": self.rounds_per_second(),
            "commits_per_second": self.per_second(commits),
            "versions_per_second": self.per_second(versions(&self.after).wrapping_sub(versions(&self.before)).into()),
            "failures": self.failures,
        })
    }
}
