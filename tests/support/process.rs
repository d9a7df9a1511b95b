//! Processes that end with the value that stands for them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{eventually, tail};

/// A process in the background. Dropped, it is asked to stop, and killed if it does not.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with all its output in a file, or with its standard output left to the caller ([`Self::stdout`]).
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let open = || File::options().create(true).append(true).open(log).expect("a writable log");
        command.stdin(Stdio::null()).stderr(open());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.into() }
    }

    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("a pipe, taken once")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it ended with, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        signal(self.id(), "TERM");
        eventually("a process asked to stop", || self.ended().ok_or_else(|| tail(&self.log)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(self.id(), "TERM");
            for _ in 0..500 {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            // It may just have ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

pub fn is_running(pid: u32) -> bool {
    // A zombie has ended; its parent has not looked yet. Until the last thread has, its files are locked.
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.any(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains(['Z', 'X']))
    })
}

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let code = output.status.code().unwrap_or_else(|| panic!("{command:?}: {}", output.status));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// What it printed, if it ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Exit code 1 for this reason.
    #[track_caller]
    pub fn refused(self, reason: &str) {
        assert_eq!(self.code, 1, "{}{}", self.out, self.err);
        assert!(self.err.contains(reason), "{reason:?} expected: {}", self.err);
    }

    /// Exit code 2, and words that tell what is wrong.
    #[track_caller]
    pub fn wrong(self, what: &str) {
        assert_eq!(self.code, 2, "{}{}", self.out, self.err);
        assert!(self.err.contains(what), "{what:?} expected: {}", self.err);
    }
}
