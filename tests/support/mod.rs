//! Real processes for integration tests: the built `torrens`, and the stock tools that users have.
//!
//! Nothing here waits for a fixed time: conditions are asked for until they hold or a deadline is over. Every process is
//! stopped by its number when its value is dropped, after a panic too.

// Each test file uses a part of it.
#![allow(dead_code)]

pub mod dns;
pub mod ports;
pub mod process;
pub mod testbed;
pub mod tls;

use std::path::Path;
use std::time::{Duration, Instant};

/// How long anything may take that takes a moment when all is well. The machine may be busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// Asks until `check` has a value. Its last complaint is what the panic says when time is over.
#[track_caller]
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match check() {
            Ok(value) => return value,
            Err(complaint) if Instant::now() > deadline => panic!("{what}: not within {SOON:?}: {complaint}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Says on standard error what is tried next, with the seconds since the last one.
pub struct Steps(Instant);

impl Steps {
    pub fn new() -> Self {
        Self(Instant::now())
    }

    pub fn next(&mut self, what: &str) {
        eprintln!("[{:6.2} s] {what}", self.0.elapsed().as_secs_f64());
    }
}

/// The last lines of a log file, for a panic's message.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
