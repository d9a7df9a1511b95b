//! With nothing to do, replicas do nothing: no rounds, nothing written to the disk, whatever timers their parts have.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use support::eventually;
use support::process::Run;
use support::testbed::Testbed;
use torrens::limits::SCRUB_PAUSE;

/// Several times as long as any timer of links, retries, flushes and the database, and longer than the scrubber pauses.
const WATCHED: Duration = Duration::from_secs(20);

/// Rounds and commits as the replicas count them, and bytes written to the disk as the kernel does.
fn counters(bed: &Testbed) -> [[u64; 3]; 4] {
    [0, 1, 2, 3].map(|replica| {
        let url = format!("http://127.0.0.1:{}/metrics", bed.http(replica));
        let metrics = Run::of(Command::new("curl").args(["--silent", "--fail", &url])).ok();
        let metric = |name: &str| number(&metrics, &format!("{name} "));
        let io = fs::read_to_string(format!("/proc/{}/io", bed.pid(replica))).expect("a running replica");
        [metric("torrens_abcast_round"), metric("torrens_abcast_height"), number(&io, "write_bytes: ")]
    })
}

fn number(text: &str, label: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_else(|| panic!("no {label}in {text}"));
    value.trim().parse().unwrap_or_else(|error| panic!("{label}{value}: {error}"))
}

/// Whether the counters are the same at every look within `duration`.
fn stand_still(bed: &Testbed, duration: Duration) -> Result<(), String> {
    let (before, start) = (counters(bed), Instant::now());
    while start.elapsed() < duration {
        std::thread::sleep(Duration::from_millis(200));
        let now = counters(bed);
        if now != before {
            return Err(format!("rounds, commits and bytes written went from {before:?} to {now:?}"));
        }
    }
    Ok(())
}

#[test]
fn idle_replicas_make_no_rounds_and_write_nothing() {
    let bed = Testbed::start(&[]);
    bed.key("alice");
    bed.run("title register alice.names.example. --key alice.key").ok();
    // When the scrubber first reads a new file, the file system notes the time (`relatime`): once for each file, and not at
    // all where it is mounted with `noatime`. So its first walk after the last write is waited for too.
    eventually("the last rounds of the registration", || stand_still(&bed, Duration::from_secs(2)));
    eventually("the scrubber's first walk", || stand_still(&bed, SCRUB_PAUSE + Duration::from_secs(2)));
    stand_still(&bed, WATCHED).unwrap_or_else(|change| panic!("{change}"));
}
