//! A network of our own to put load on: `torrens testbed` in a directory that goes away with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::usage::{is_running, pid_in};
use crate::node::ceremony::cluster_file;

pub struct Network {
    testbed: Child,
    folder: PathBuf,
    replicas: usize,
}

impl Network {
    /// Deals keys, starts the replicas, waits until they serve signed answers. What is under way goes to stderr.
    pub fn start(replicas: usize, port_base: u16) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("torrens-bench-{}", std::process::id()));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("testbed").arg("--dir").arg(&folder);
        command.arg("--replicas").arg(replicas.to_string()).arg("--port-base").arg(port_base.to_string());
        #[cfg(feature = "fixtures")]
        command.arg("--fixture-primes");
        let mut testbed = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = testbed.stdout.take().expect("it was asked for");
        // From here on, dropping it cleans up.
        let network = Self { testbed, folder, replicas };
        let ready = BufReader::new(stdout).lines().any(|line| line.is_ok_and(|line| line == "ready"));
        anyhow::ensure!(ready, "the testbed ended before its replicas were ready: see above");
        Ok(network)
    }

    pub fn cluster_file(&self) -> PathBuf {
        cluster_file(&self.folder)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let pids: Vec<u32> = pids(&self.folder, self.replicas).into_iter().flatten().collect();
        // The replicas end when the testbed's ends of their pipes close. It may have ended already.
        let _ = self.testbed.kill();
        let _ = self.testbed.wait();
        for _ in 0..100 {
            if !pids.iter().any(|&pid| is_running(pid)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("torrens: {}: {error}", self.folder.display());
        }
    }
}

/// The replicas' processes by their pid files in a testbed's directory; none for those that do not run.
pub fn pids(folder: &Path, replicas: usize) -> Vec<Option<u32>> {
    (0..replicas).map(|id| pid_in(&folder.join(format!("replica-{id}/pid")))).collect()
}
