//! A registry with a primary server of its own: NSD holds the zone, every replica transfers it with its own key, all
//! sign it.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use support::dns::{dig, serial, try_dig};
use support::process::{Process, Run, signal};
use support::testbed::Testbed;
use support::{Steps, eventually};

const ZONE: &str = "names.example.";

fn secret(replica: u16) -> String {
    BASE64.encode(format!("of replica {replica} alone, and the registry").as_bytes())
}

/// The registry's own server.
struct Primary {
    _process: Process,
    folder: PathBuf,
    port: u16,
}

impl Primary {
    /// With a key for each replica, which stand at these ports and are told of new versions.
    fn start(folder: &Path, port: u16, replicas: &[u16]) -> Self {
        let folder = folder.join("primary");
        fs::create_dir(&folder).unwrap();
        let work = folder.display();
        let mut text = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n database: \"\"\n zonesdir: \"{work}\"\n verbosity: 2\n \
             pidfile: \"{work}/nsd.pid\"\n xfrdfile: \"{work}/nsd.xfrd\"\n xfrdir: \"{work}\"\n \
             zonelistfile: \"{work}/nsd.zones\"\nremote-control:\n control-enable: no\n"
        );
        let mut zone = format!("zone:\n name: \"{ZONE}\"\n zonefile: \"zone\"\n");
        for (replica, port) in (0..).zip(replicas) {
            let secret = secret(replica);
            text += &format!("key:\n name: \"replica{replica}.\"\n algorithm: hmac-sha256\n secret: \"{secret}\"\n");
            zone +=
                &format!(" provide-xfr: 127.0.0.1 replica{replica}.\n notify: 127.0.0.1@{port} replica{replica}.\n");
        }
        let config = folder.join("nsd.conf");
        fs::write(&config, text + &zone).unwrap();
        write_zone(&folder, 0, "1", "");
        let mut nsd = Command::new("/usr/sbin/nsd");
        let process = Process::start(nsd.arg("-d").arg("-c").arg(config), &folder.join("log"));
        let primary = Self { _process: process, folder, port };
        eventually("the primary", || {
            let said = try_dig(port, &format!("+norecurse {ZONE} SOA"))?;
            if said.status == "NOERROR" { Ok(()) } else { Err(format!("{said:?}")) }
        });
        primary
    }

    /// The registry changes its zone, of which replicas may look for the next version after so many seconds.
    fn serve(&self, version: u32, refresh: &str, lines: &str) {
        write_zone(&self.folder, version, refresh, lines);
        let pid = fs::read_to_string(self.folder.join("nsd.pid")).unwrap().trim().parse().unwrap();
        signal(pid, "HUP");
        let expected = SERIAL + version;
        eventually("the primary's next version", || match serial(self.port, ZONE) {
            found if found == expected => Ok(()),
            found => Err(format!("serial {found}")),
        });
    }
}

const SERIAL: u32 = 2026082201;

fn write_zone(folder: &Path, version: u32, refresh: &str, lines: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/names.example.zone");
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace(&SERIAL.to_string(), &(SERIAL + version).to_string());
    let text = text.replacen(" 3h ", &format!(" {refresh} "), 1).replacen(" 1h ", " 1 ", 1);
    fs::write(folder.join("zone"), text + lines).unwrap();
}

/// Gives each replica a key of its own and the primary's address.
fn configure(bed: &Testbed, primary: &Primary) {
    for replica in 0..bed.count() {
        let keys = bed.path(&format!("replica-{replica}/tsig.keys"));
        fs::write(&keys, format!("hmac-sha256:replica{replica}.:{}\n", secret(replica))).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        let path = bed.path(&format!("replica-{replica}/replica.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("transfers = []\n", "transfers = [\"127.0.0.1\"]\ntsig_keys = \"tsig.keys\"\n");
        let address = format!("127.0.0.1:{}", primary.port);
        let primary =
            format!("\n[[primary]]\nzone = \"{ZONE}\"\naddress = \"{address}\"\nkey = \"replica{replica}.\"\n");
        fs::write(&path, text + &primary).unwrap();
    }
}

/// The zone as a replica transfers it: signatures and all, line by line.
fn dump(bed: &Testbed, replica: u16) -> Vec<String> {
    let port = bed.dns(replica).to_string();
    let mut dig = Command::new("dig");
    dig.args(["@127.0.0.1", "-p", &port, ZONE, "AXFR", "+noall", "+answer", "+onesoa", "+nosplit"]);
    Run::of(&mut dig).ok().lines().map(str::to_owned).collect()
}

fn shows(bed: &Testbed, replicas: Range<u16>, name: &str, address: &str) {
    for replica in replicas {
        eventually("the registry's change", || {
            let said = try_dig(bed.dns(replica), &format!("+norecurse {name}.{ZONE} A"))?;
            if said.data("A") == [address] { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }
}

#[test]
fn what_the_registry_changes_at_its_primary_is_signed_by_the_cluster_and_nothing_else_is() {
    let mut steps = Steps::new();
    let policy = tempfile::NamedTempFile::new().unwrap();
    fs::write(&policy, "[default]\nsource = \"primary\"\nheartbeat = \"off\"\n").unwrap();
    let mut bed = Testbed::start(&["--policy", policy.path().to_str().unwrap()]);
    let replicas: Vec<u16> = (0..bed.count()).map(|replica| bed.dns(replica)).collect();
    let primary = Primary::start(bed.folder.path(), bed.ports.base + 150, &replicas);
    bed.stop();
    configure(&bed, &primary);
    bed.start_again();
    steps.next("replicas that follow the primary");
    bed.key("alice");
    bed.run("title register alice.names.example. --key alice.key").refused("ask the registry");
    assert!(dig(bed.dns(0), &format!("+norecurse www.{ZONE} KEY")).answers.is_empty(), "no keys of owners");

    primary.serve(1, "1", "fresh A 192.0.2.9\n");
    shows(&bed, 0..4, "fresh", "192.0.2.9");
    steps.next("a version");
    let (before, first) = (dump(&bed, 1), serial(bed.dns(1), ZONE));
    primary.serve(2, "1", "fresh A 192.0.2.10\n");
    shows(&bed, 0..4, "fresh", "192.0.2.10");
    steps.next("another");
    let (after, second) = (dump(&bed, 1), serial(bed.dns(1), ZONE));
    assert_eq!(second, first.wrapping_add(1));
    let signatures = |lines: &[String], other: &[String]| {
        let new = lines.iter().filter(|line| line.contains("RRSIG") && !other.contains(line));
        new.map(|line| line.split_whitespace().nth(4).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut signed = signatures(&after, &before);
    signed.sort();
    assert_eq!(signed, ["A", "SOA", "ZONEMD"], "only what changed is signed anew");
    let file = bed.folder.path().join("dump");
    fs::write(&file, after.join("\n") + "\n").unwrap();
    Run::of(Command::new("dnssec-verify").args(["-q", "-z", "-o", ZONE]).arg(&file)).ok();

    // With one replica down, and again with it.
    bed.kill_replica(3);
    primary.serve(3, "1", "fresh A 192.0.2.11\n");
    shows(&bed, 0..3, "fresh", "192.0.2.11");
    steps.next("a version without one replica");
    let _third = bed.start_replica(3);
    shows(&bed, 0..4, "fresh", "192.0.2.11");
    assert_eq!(dump(&bed, 3), dump(&bed, 0));
    // Nobody would look for three hours.
    primary.serve(4, "3h", "fresh A 192.0.2.12\n");
    shows(&bed, 0..4, "fresh", "192.0.2.12");
    primary.serve(5, "3h", "fresh A 192.0.2.13\n");
    shows(&bed, 0..4, "fresh", "192.0.2.13");
    steps.next("a version that the primary told of");
}
