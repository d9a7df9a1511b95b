//! `torrens testbed` and the command's other uses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ports::Ports;
use super::process::{Process, Run, is_running, signal};
use super::{eventually, tail};

/// Dealing with known primes takes a second and signing a zone some more; the root zone on a busy machine takes longest.
const READY_WITHIN: Duration = Duration::from_secs(180);

pub fn torrens() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_torrens"));
    command.env("RUST_BACKTRACE", "1").env_remove("TORRENS_LOG");
    command
}

/// Replicas, four if not said otherwise, and what belongs to them, in a folder of its own.
pub struct Testbed {
    process: Option<Process>,
    options: Vec<String>,
    pub ports: Ports,
    pub folder: TempDir,
    /// From start to `ready`, the last time.
    pub ready_after: Duration,
}

impl Testbed {
    /// Started, and ready.
    pub fn start(options: &[&str]) -> Self {
        let mut bed = Self {
            process: None,
            options: options.iter().map(|option| option.to_string()).collect(),
            ports: Ports::take(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            ready_after: Duration::ZERO,
        };
        bed.start_again();
        bed
    }

    pub fn start_again(&mut self) {
        let started = Instant::now();
        let mut command = torrens();
        command.arg("testbed").arg("--dir").arg(self.dir()).arg("--fixture-primes");
        command.args(["--port-base", &self.ports.base.to_string()]).args(&self.options).stdout(Stdio::piped());
        let mut process = Process::start(&mut command, &self.log());
        let (lines, said) = mpsc::channel();
        let stdout = process.stdout();
        self.process = Some(process);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        match said.recv_timeout(READY_WITHIN) {
            Ok(line) => assert_eq!(line, "ready"),
            Err(_) => panic!("the testbed is not ready: {}", tail(&self.log())),
        }
        self.ready_after = started.elapsed();
    }

    /// Asks the testbed to stop; none of its replicas is left.
    pub fn stop(&mut self) {
        let pids: Vec<u32> = (0..self.count()).map(|id| self.pid(id)).collect();
        let status = self.process.take().expect("a running testbed").stop();
        assert!(status.success(), "{status}: {}", tail(&self.log()));
        assert!(pids.iter().all(|&pid| !is_running(pid)), "a replica outlived the testbed");
    }

    /// Replicas there are.
    pub fn count(&self) -> u16 {
        (0..).take_while(|id| self.path(&format!("replica-{id}")).exists()).count() as u16
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("bed")
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir().join(relative)
    }

    pub fn text(&self, relative: &str) -> String {
        let path = self.path(relative);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file of the test's own.
    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("testbed.log")
    }

    pub fn dns(&self, replica: u16) -> u16 {
        self.ports.base + 20 * replica
    }

    pub fn http(&self, replica: u16) -> u16 {
        self.dns(replica) + 4
    }

    pub fn pid(&self, replica: u16) -> u32 {
        self.text(&format!("replica-{replica}/pid")).trim().parse().expect("a process number")
    }

    /// As a power cut would: without notice.
    pub fn kill_replica(&self, replica: u16) {
        let pid = self.pid(replica);
        signal(pid, "KILL");
        eventually("a killed replica", || if is_running(pid) { Err(format!("{pid} runs")) } else { Ok(()) });
    }

    /// A replica run by hand, as the testbed's message says.
    pub fn start_replica(&self, replica: u16) -> Process {
        self.start_replica_with(replica, &[])
    }

    pub fn start_replica_with(&self, replica: u16, options: &[&str]) -> Process {
        let mut command = torrens();
        command.arg("replica").arg("--dir").arg(self.path(&format!("replica-{replica}"))).args(options);
        command.env("TORRENS_LOG", "info").stdout(Stdio::null());
        Process::start(&mut command, &self.path(&format!("replica-{replica}/log")))
    }

    /// A command that knows the cluster: `--cluster` is added, arguments are separated by blanks.
    pub fn run(&self, arguments: &str) -> Run {
        self.run_with(arguments, &[])
    }

    /// The same with more arguments, blanks and all.
    pub fn run_with(&self, arguments: &str, more: &[&str]) -> Run {
        let mut command = torrens();
        command.env("XDG_STATE_HOME", self.folder.path()).current_dir(self.folder.path());
        command.args(arguments.split_whitespace()).args(["--cluster", "bed/cluster.toml"]).args(more);
        Run::of(&mut command)
    }

    /// A new key in `NAME.key`; what it prints as public key.
    pub fn key(&self, name: &str) -> String {
        let file = self.file(&format!("{name}.key"));
        Run::of(torrens().args(["key", "generate", "--out", &file])).ok();
        let public = Run::of(torrens().args(["key", "show", &file])).ok().trim().to_string();
        assert!(public.starts_with("ed25519:"), "{public}");
        public
    }

    /// The result of a command with `--json`.
    pub fn json(&self, arguments: &str, more: &[&str]) -> serde_json::Value {
        let out = self.run_with(&format!("{arguments} --json"), more).ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- testbed\n{}", tail(&self.log()));
            for replica in 0..self.count() {
                eprintln!("--- replica {replica}\n{}", tail(&self.path(&format!("replica-{replica}/log"))));
            }
        }
    }
}

/// Copies a folder and all in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
