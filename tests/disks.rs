//! Disks that are lost, set back, damaged, or cut together: replica processes, and what they say and do afterwards.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use support::dns::{delv, dig, serial, try_dig};
use support::process::{Process, Run, signal};
use support::testbed::{Testbed, copy_folder, torrens};
use support::{Steps, eventually};
use torrens::config::SecretBundle;

const ZONE: &str = "names.example.";
const ALICE: &str = "alice.names.example.";
const JOINED: &str = "joined at a signed head";
const DAMAGED: &str = "the stored state is damaged, and is copied from the others";

/// A testbed of which some replicas were started again by hand.
struct Bed {
    bed: Testbed,
    by_hand: BTreeMap<u16, Process>,
    /// Last part of the address that was set.
    last: u8,
}

impl Bed {
    fn start() -> Self {
        let bed = Testbed::start(&[]);
        bed.key("alice");
        bed.run(&format!("title register {ALICE} --key alice.key")).ok();
        let mut bed = Self { bed, by_hand: BTreeMap::new(), last: 0 };
        bed.change(1);
        bed
    }

    fn data(&self, replica: u16) -> PathBuf {
        self.bed.path(&format!("replica-{replica}/data"))
    }

    /// Accepted changes.
    fn change(&mut self, count: u8) {
        for _ in 0..count {
            self.last += 1;
            let record = format!("@ 0 A 192.0.2.{}", self.last);
            self.bed.run_with(&format!("title set {ALICE} --key alice.key"), &[&record]).ok();
        }
    }

    fn kill(&mut self, replica: u16) {
        self.bed.kill_replica(replica);
        self.by_hand.remove(&replica);
    }

    fn stop(&mut self, replica: u16) {
        match self.by_hand.remove(&replica) {
            Some(process) => assert!(process.stop().success(), "a replica asked to stop stops well"),
            None => self.kill(replica),
        }
    }

    fn start_replica(&mut self, replica: u16) {
        let process = self.bed.start_replica(replica);
        self.by_hand.insert(replica, process);
    }

    fn start_after_loss(&mut self, replica: u16) {
        let process = self.bed.start_replica_with(replica, &["--lost-disk"]);
        self.by_hand.insert(replica, process);
    }

    fn said(&self, replica: u16, what: &str) -> usize {
        self.bed.text(&format!("replica-{replica}/log")).matches(what).count()
    }

    /// Waits until `replica` serves the others' zone. Until then it answers SERVFAIL or what somebody signed, or not at
    /// all.
    fn catches_up(&self, replica: u16) {
        let other = (0..4).find(|other| *other != replica && self.answers(*other)).expect("one that answers");
        eventually(&format!("replica {replica}"), || {
            let new = try_dig(self.bed.dns(replica), &format!("+norecurse +dnssec +time=1 +tries=1 {ZONE} SOA"))?;
            assert!(["NOERROR", "SERVFAIL"].contains(&new.status.as_str()), "{new:?}");
            if new.status == "NOERROR" {
                assert_eq!((new.data("SOA").len(), new.data("RRSIG").len()), (1, 1), "{new:?}");
            }
            let old = serial(self.bed.dns(other), ZONE);
            let caught_up = new.data("SOA").iter().any(|soa| soa.contains(&format!(" {old} ")));
            if caught_up { Ok(()) } else { Err(format!("serial {old} elsewhere, {new:?}")) }
        });
        // The other one may itself not have shown the last change yet.
        eventually(&format!("the last change at replica {replica}"), || {
            let said = delv(&self.bed, replica, ZONE, ALICE, "A");
            let shown = said.contains(&format!("192.0.2.{}", self.last)) && said.contains("fully validated");
            let histories = (self.history(replica), self.history(other));
            if shown && histories.0 == histories.1 { Ok(()) } else { Err(format!("{said}{histories:?}")) }
        });
    }

    fn answers(&self, replica: u16) -> bool {
        try_dig(self.bed.dns(replica), &format!("+norecurse +time=1 +tries=1 {ZONE} SOA")).is_ok()
    }

    /// HTTP status and body of a title's history.
    fn history(&self, replica: u16) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}/v1/titles/{ALICE}/history", self.bed.http(replica));
        let mut command = std::process::Command::new("curl");
        let out =
            Run::of(command.args(["-sS", "--noproxy", "*", "--max-time", "30", "-w", "\n%{http_code}", &url])).ok();
        let (body, status) = out.rsplit_once('\n').expect("a status");
        // Height and agreed time differ from one moment to the next.
        let history: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        (status.parse().expect("a number"), history["entries"].to_string())
    }

    /// Without `dead`, `replica` is needed for each round: it speaks, and others take what it says. Who forgot what it said
    /// counts among the failing until the others have gone on by some rounds and its first block is ordered: they do first.
    fn is_needed_and_speaks(&mut self, replica: u16, dead: u16) {
        assert_ne!(replica, dead);
        self.change(2);
        self.catches_up(replica);
        self.kill(dead);
        self.change(2);
        self.start_replica(dead);
        self.catches_up(dead);
    }

    /// Nobody has seen two blocks of one round by one author.
    fn nobody_contradicted_itself(&self) {
        let status = self.bed.json("status", &[]);
        assert!(status["replicas"].as_array().is_some_and(|replicas| replicas.len() == 4), "{status}");
        for replica in 0..4 {
            let url = format!("http://127.0.0.1:{}/v1/status", self.bed.http(replica));
            let mut command = std::process::Command::new("curl");
            let out = Run::of(command.args(["-sSf", "--noproxy", "*", "--max-time", "30", &url])).ok();
            let status: serde_json::Value = serde_json::from_str(&out).unwrap();
            let report = &status["body"]["replica"];
            assert!(report["id"] == replica && report["evidence"].is_null(), "{status}");
            assert_eq!(self.said(replica, "culprit"), 0, "{}", self.bed.text(&format!("replica-{replica}/log")));
        }
    }
}

/// Replica 3, which does not run, has one of replica 0's shares in the place of its own.
fn foreign_shares_are_refused(bed: &Bed) {
    let (home, data) = (bed.bed.path("replica-3"), bed.data(3));
    let (file, own) = (home.join("secrets.key"), bed.bed.folder.path().join("own.key"));
    fs::rename(&file, &own).unwrap();
    type Swap = fn(&mut SecretBundle, SecretBundle);
    let swaps: [(&str, Swap); 5] = [
        ("coin share", |ours, theirs| ours.coin_share = theirs.coin_share),
        ("sealing share", |ours, theirs| ours.sealing_share = theirs.sealing_share),
        ("head share", |ours, theirs| ours.head_share = theirs.head_share),
        ("RSA share", |ours, theirs| ours.rsa_share = theirs.rsa_share),
        ("secret share", |ours, theirs| ours.zone_shares = theirs.zone_shares),
    ];
    for (what, swap) in swaps {
        let mut ours = SecretBundle::read(&own).unwrap();
        swap(&mut ours, SecretBundle::read(&bed.bed.path("replica-0/secrets.key")).unwrap());
        ours.write(&file).unwrap();
        for lost in [&[][..], &["--lost-disk"]] {
            Run::of(torrens().arg("replica").arg("--dir").arg(&home).args(lost)).wrong(what);
        }
        fs::remove_file(&file).unwrap();
    }
    fs::rename(&own, &file).unwrap();
    assert!(data.exists() && !data.with_extension("lost-1").exists());
}

#[test]
fn a_replica_loses_its_disk_has_it_set_back_or_damaged_and_rejoins_under_its_name() {
    let mut steps = Steps::new();
    steps.next("a testbed");
    let mut bed = Bed::start();

    bed.kill(3);
    steps.next("a share of another replica is refused before anything is read or moved");
    foreign_shares_are_refused(&bed);

    steps.next("replica 3 loses its disk, and nothing is left of it");
    fs::remove_dir_all(bed.data(3)).unwrap();
    bed.change(2);
    let home = bed.bed.path("replica-3");
    Run::of(torrens().arg("replica").arg("--dir").arg(&home)).wrong("--lost-disk");
    bed.start_after_loss(3);
    bed.catches_up(3);
    assert_eq!(bed.said(3, JOINED), 1, "it copied the state of a signed head");
    bed.is_needed_and_speaks(3, 0);

    steps.next("replica 2's disk is set back to an older copy");
    bed.kill(2);
    let older = bed.bed.folder.path().join("older");
    copy_folder(&bed.data(2), &older);
    bed.start_replica(2);
    bed.change(2);
    bed.catches_up(2);
    bed.kill(2);
    fs::remove_dir_all(bed.data(2)).unwrap();
    copy_folder(&older, &bed.data(2));
    bed.start_replica(2);
    bed.catches_up(2);
    bed.is_needed_and_speaks(2, 1);

    steps.next("a byte of replica 1's rows flips while it is down");
    bed.stop(1);
    assert!(flip_rows(&bed.data(1)) > 0);
    bed.change(1);
    bed.start_replica(1);
    bed.catches_up(1);
    assert_eq!((bed.said(1, DAMAGED), bed.said(1, JOINED)), (1, 1), "detected, and copied");
    bed.is_needed_and_speaks(1, 0);

    steps.next("bytes of replica 3's log flip while it is down");
    bed.stop(3);
    bed.start_replica(3);
    bed.change(1);
    bed.catches_up(3);
    bed.stop(3);
    flip_log(&bed.data(3));
    Run::of(torrens().arg("replica").arg("--dir").arg(&home)).wrong("is damaged");
    bed.change(1);
    bed.start_after_loss(3);
    bed.catches_up(3);
    assert_eq!(bed.said(3, JOINED), 2);
    bed.is_needed_and_speaks(3, 2);

    steps.next("bytes of replica 0's rows flip while it runs, under a warm cache");
    let sound = bed.history(1);
    assert_eq!(bed.history(0), sound);
    let (damaged, joined) = (bed.said(0, DAMAGED), bed.said(0, JOINED));
    assert!(flip_rows(&bed.data(0)) > 0);
    for (what, before) in [(DAMAGED, damaged), (JOINED, joined)] {
        eventually(what, || {
            let (status, entries) = bed.history(0);
            assert!((status, &entries) == (sound.0, &sound.1) || status == 503, "{status} {entries}");
            // What it holds in memory goes on being served.
            let address = dig(bed.bed.dns(0), &format!("+norecurse {ALICE} A")).data("A");
            assert_eq!(address, [format!("192.0.2.{}", bed.last)]);
            if bed.said(0, what) > before { Ok(()) } else { Err("not yet".into()) }
        });
    }
    bed.is_needed_and_speaks(0, 1);

    steps.next("nobody spoke twice in a round");
    bed.nobody_contradicted_itself();
    steps.next("end");
}

#[test]
fn all_replicas_killed_at_once_forget_nothing_that_was_acknowledged() {
    let mut steps = Steps::new();
    steps.next("a testbed");
    let mut bed = Testbed::start(&[]);
    bed.key("alice");
    for cut in 0..2 {
        steps.next("owners register, and all replicas are killed");
        let acknowledged = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for owner in 0..4 {
                let (bed, acknowledged, stop) = (&bed, &acknowledged, &stop);
                scope.spawn(move || {
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let name = format!("cut{cut}-{owner}-{number}.{ZONE}");
                        let run = bed.run(&format!("title register {name} --key alice.key --timeout 10"));
                        assert!([0, 3].contains(&run.code), "{}{}", run.out, run.err);
                        if run.code == 0 {
                            acknowledged.lock().unwrap().push(name);
                        }
                    }
                });
            }
            eventually("some to be acknowledged", || {
                let count = acknowledged.lock().unwrap().len();
                if count >= 12 { Ok(()) } else { Err(format!("{count}")) }
            });
            for replica in 0..4 {
                signal(bed.pid(replica), "KILL");
            }
            stop.store(true, Ordering::Relaxed);
        });
        bed.stop();
        bed.start_again();
        let acknowledged = acknowledged.into_inner().unwrap();
        for name in &acknowledged {
            assert!(bed.run(&format!("title show {name}")).ok().contains(name), "{name} was acknowledged");
        }
    }
    steps.next("end");
}

/// Where the database of a data directory is.
fn database(data: &Path) -> PathBuf {
    match fs::read_to_string(data.join("current")) {
        Ok(generation) => data.join(format!("generation-{}", generation.trim())).join("rocks"),
        Err(_) => data.join("rocks"),
    }
}

/// Flips a bit of each kilobyte of the blocks of rows, whatever the file ends with left alone; how many.
fn flip_rows(data: &Path) -> usize {
    let mut flipped = 0;
    for path in files(&database(data), "sst") {
        let mut bytes = fs::read(&path).unwrap();
        // The name of the column family stands among the properties.
        if !bytes.windows(4).any(|window| window == b"rows") || bytes.len() < 4096 {
            continue;
        }
        for at in (500..bytes.len() - 3000).step_by(1000) {
            bytes[at] ^= 1;
            flipped += 1;
        }
        // In place: the process may have the file open.
        use std::os::unix::fs::FileExt;
        fs::File::options().write(true).open(&path).unwrap().write_all_at(&bytes, 0).unwrap();
    }
    flipped
}

fn flip_log(data: &Path) {
    let log = files(&database(data), "log").into_iter().max().expect("a log");
    let mut bytes = fs::read(&log).unwrap();
    assert!(!bytes.is_empty(), "nothing was written since the last start");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}
