//! `torrens testbed`: a whole network on this machine, one process for each replica.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Cluster;
use crate::client::probe;
use crate::committee::{Committee, ReplicaId};
use crate::config;
use crate::directory::master::{ZoneFile, parse_zone};
use crate::directory::name::Name;
use crate::limits::TESTBED_POLL;
use crate::node::ceremony::{Deal, Primes, cluster_file, zone_file_stem};

/// Deal keys for a network, run all its replicas on this machine, stop them on Ctrl-C. Run again, it resumes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  torrens testbed --dir demo
  torrens testbed --dir demo --replicas 7 --zone example.zone --zone other.zone
  torrens testbed --dir demo --structure config/classes-9.toml
  torrens testbed --dir demo --policy config/policy.toml

Replica i listens on 127.0.0.1, port P + 20·i: DNS; + 4: HTTP API and metrics; + 5: peers.
DIR/trust holds what validators trust, with a ready unbound.conf; DIR/cluster.toml is for `torrens title` and the like.")]
pub struct TestbedArgs {
    /// Where keys and databases live; made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Replicas; f of n = 3f + 1 may fail
    #[arg(long, value_name = "N", default_value_t = 4)]
    replicas: usize,
    /// What may fail together, instead of any f of N: a file as in config/
    #[arg(long, value_name = "FILE", conflicts_with = "replicas")]
    structure: Option<PathBuf>,
    /// Zone to serve, a master file; repeat for several
    #[arg(long = "zone", value_name = "FILE")]
    zones: Vec<PathBuf>,
    /// How fresh zones are kept: validity of signatures, heartbeat, largest TTL; a file as config/policy.toml
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Port of replica 0's DNS
    #[arg(long, value_name = "P", default_value_t = 5300)]
    port_base: u16,
    /// Take RSA primes that everybody knows: nothing signed is worth anything
    #[cfg(feature = "fixtures")]
    #[arg(long)]
    fixture_primes: bool,
    /// Let this replica serve altered answers and bad shares
    #[cfg(feature = "misbehave")]
    #[arg(long, value_name = "I")]
    misbehave: Option<u8>,
}

const DEFAULT_ZONE: &str = include_str!("../../zones/names.example.zone");

impl TestbedArgs {
    pub fn run(self) -> anyhow::Result<()> {
        let progress = Progress::new();
        if cluster_file(&self.dir).exists() {
            progress.tell(&format!("resuming from {}", self.dir.display()));
        } else {
            self.deal(&progress)?;
        }
        let cluster = Cluster::load(&cluster_file(&self.dir))?;
        write_unbound(&self.dir, &cluster)?;
        progress.tell("starting the replicas; what is new they sign through the order");
        let replicas = Replicas::start(&self, &cluster)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.supervise(replicas, &cluster, &progress))?;
        Ok(())
    }

    fn deal(&self, progress: &Progress) -> anyhow::Result<()> {
        let zones = if self.zones.is_empty() {
            vec![parse_zone(DEFAULT_ZONE, "names.example.zone", None, &mut no_includes)?]
        } else {
            self.zones.iter().map(|path| read_zone(path)).collect::<anyhow::Result<_>>()?
        };
        let committee = match &self.structure {
            Some(path) => config::structure::read(path)?,
            None => Committee::new(self.replicas)?,
        };
        let policies = self.policy.as_deref().map(config::policy::read).transpose()?.unwrap_or_default();
        let zones = policies.assign(zones)?;
        let deal =
            Deal { directory: self.dir.clone(), committee, zones, port_base: self.port_base, primes: self.primes() };
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        deal.run(&|what| progress.tell(what))
    }

    /// Says when all are ready, and stops them when asked to.
    async fn supervise(&self, mut replicas: Replicas, cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut ready = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(TESTBED_POLL) => {
                    let running = replicas.look(progress);
                    if !ready && running < cluster.replicas.len() {
                        replicas.stop(progress).await;
                        bail!("a replica ended before all were ready: see the logs named above");
                    }
                    if !ready {
                        let mut unsigned = probe::unsigned(cluster).await;
                        // A liar's word on its own answers is not waited for.
                        unsigned.retain(|(id, _)| !self.is_liar(*id));
                        ready = unsigned.is_empty();
                        progress.signing(&unsigned);
                        if ready {
                            progress.done();
                            println!("ready");
                            std::io::stdout().flush()?;
                        }
                    }
                }
            }
        }
        replicas.stop(progress).await;
        Ok(())
    }

    fn primes(&self) -> Primes {
        #[cfg(feature = "fixtures")]
        if self.fixture_primes {
            return Primes::Fixture;
        }
        Primes::Fresh
    }

    fn is_liar(&self, id: ReplicaId) -> bool {
        #[cfg(feature = "misbehave")]
        return self.misbehave == Some(id.0);
        #[cfg(not(feature = "misbehave"))]
        {
            let _ = id;
            false
        }
    }
}

/// Reads a zone's master file and what it includes.
pub fn read_zone(path: &Path) -> anyhow::Result<ZoneFile> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()));
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut load = |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
    Ok(parse_zone(&read(path)?, &path.display().to_string(), None, &mut load)?)
}

fn no_includes(name: &str) -> Result<String, String> {
    Err(format!("{name}: nothing to include from"))
}

/// The replica processes. Dropped, they are told to stop: their standard input ends.
struct Replicas(Vec<(ReplicaId, PathBuf, Option<Child>)>);

impl Replicas {
    fn start(args: &TestbedArgs, cluster: &Cluster) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut replicas = Self(Vec::new());
        for replica in &cluster.replicas {
            let home = args.dir.join(format!("replica-{}", replica.id.0));
            let log = fs::File::options().create(true).append(true).open(home.join("log"))?;
            let mut command = Command::new(&program);
            command.arg("replica").arg("--dir").arg(&home).arg("--until-stdin-ends");
            if args.is_liar(replica.id) {
                command.arg("--misbehave");
            }
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
            // Ctrl-C at the terminal is for the testbed; it stops the replicas itself.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            let child = command.spawn().with_context(|| format!("cannot start {}", replica.id))?;
            replicas.0.push((replica.id, home, Some(child)));
        }
        Ok(replicas)
    }

    /// Says which replicas died since the last look. How many run.
    fn look(&mut self, progress: &Progress) -> usize {
        for (id, home, child) in &mut self.0 {
            if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
                *child = None;
                let (home, log) = (home.display(), home.join("log"));
                progress.tell(&format!(
                    "{id} ended ({status}); see {}. Start it again with: torrens replica --dir {home}",
                    log.display()
                ));
            }
        }
        self.0.iter().filter(|(.., child)| child.is_some()).count()
    }

    /// Ends every replica that still runs: first asked, then killed.
    async fn stop(mut self, progress: &Progress) {
        progress.tell("stopping");
        for child in self.0.iter_mut().filter_map(|(.., child)| child.as_mut()) {
            drop(child.stdin.take());
        }
        for _ in 0..100 {
            let running = self.0.iter_mut().filter_map(|(.., child)| child.as_mut());
            if running.filter_map(|child| child.try_wait().ok()).all(|status| status.is_some()) {
                return;
            }
            tokio::time::sleep(TESTBED_POLL).await;
        }
        for child in self.0.iter_mut().filter_map(|(.., child)| child.as_mut()) {
            // It may just have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// unbound's configuration for this network: anchors, and the replicas as the only servers of its zones.
fn write_unbound(directory: &Path, cluster: &Cluster) -> anyhow::Result<()> {
    let trust = fs::canonicalize(directory.join("trust"))?;
    let port = cluster.replicas[0].dns.port() + UNBOUND_PORT_OFFSET;
    let mut text = format!(
        "# unbound -d -c {}\nserver:\n  interface: 127.0.0.1\n  port: {port}\n  chroot: \"\"\n  username: \"\"\n  \
         directory: \"{}\"\n  pidfile: \"\"\n  use-syslog: no\n  do-not-query-localhost: no\n  module-config: \
         \"validator iterator\"\n",
        trust.join("unbound.conf").display(),
        trust.display()
    );
    for zone in &cluster.zones {
        let anchor = trust.join(format!("{}.key", zone_file_stem(&zone.name)));
        text += &format!("  trust-anchor-file: \"{}\"\n", anchor.display());
    }
    text += "remote-control:\n  control-enable: no\n";
    for zone in &cluster.zones {
        text += &format!("stub-zone:\n  name: \"{}\"\n  stub-prime: no\n", zone.name);
        for replica in &cluster.replicas {
            text += &format!("  stub-addr: {}@{}\n", replica.dns.ip(), replica.dns.port());
        }
    }
    fs::write(trust.join("unbound.conf"), text)?;
    Ok(())
}

/// unbound listens this far above replica 0's DNS port, in the gap before replica 1's.
const UNBOUND_PORT_OFFSET: u16 = 10;

/// What is under way, on standard error: a bar on a terminal, lines elsewhere.
struct Progress {
    bar: ProgressBar,
    on_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}").expect("a sound template");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(120));
        let on_terminal = !bar.is_hidden();
        Self { bar, on_terminal }
    }

    fn tell(&self, what: &str) {
        self.bar.set_message(what.to_string());
        if !self.on_terminal || self.bar.is_finished() {
            eprintln!("{what}");
        }
    }

    fn signing(&self, unsigned: &[(ReplicaId, Name)]) {
        if let Some((id, zone)) = unsigned.first() {
            self.bar.set_message(format!("signing the genesis: {id} has no signed {zone} yet"));
        }
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}
