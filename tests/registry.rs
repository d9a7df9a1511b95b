//! A registry with a primary server of its own: NSD, BIND or Knot holds the zone, every replica transfers it with its own
//! key, all sign it.
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

/// Who made the registry's own server.
#[derive(Clone, Copy, Debug)]
enum Make {
    Nsd,
    Bind,
    Knot,
}

/// The registry's own server.
struct Primary {
    process: Process,
    folder: PathBuf,
    port: u16,
}

impl Primary {
    /// With a key for each of these replicas, which stand at these ports and are told of new versions.
    fn start(make: Make, folder: &Path, port: u16, replicas: &[(u16, u16)]) -> Self {
        let folder = folder.join(format!("{make:?}"));
        fs::create_dir(&folder).unwrap();
        write_zone(&folder, 0, "1", "");
        let (text, program, options) = match make {
            Make::Nsd => (nsd(&folder, port, replicas), "nsd", &["-d", "-c"][..]),
            Make::Bind => (bind(&folder, port, replicas), "named", &["-4", "-g", "-n", "1", "-c"][..]),
            Make::Knot => (knot(&folder, port, replicas), "knotd", &["-c"][..]),
        };
        let config = folder.join("conf");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(Path::new("/usr/sbin").join(program));
        let log = folder.join("log");
        let out = fs::File::create(folder.join("out")).unwrap();
        let mut process = Process::start(command.args(options).arg(config).stdout(out), &log);
        eventually("the primary", || {
            assert!(process.ended().is_none(), "{make:?} ended: {}", support::tail(&log));
            let said = try_dig(port, &format!("+norecurse {ZONE} SOA"))?;
            if said.status == "NOERROR" { Ok(()) } else { Err(format!("{said:?}")) }
        });
        Self { process, folder, port }
    }

    /// The registry changes its zone, of which replicas may look for the next version after so many seconds.
    fn serve(&self, version: u32, refresh: &str, lines: &str) {
        write_zone(&self.folder, version, refresh, lines);
        signal(self.process.id(), "HUP");
        let expected = SERIAL + version;
        eventually("the primary's next version", || match serial(self.port, ZONE) {
            found if found == expected => Ok(()),
            found => Err(format!("serial {found}")),
        });
    }
}

fn nsd(folder: &Path, port: u16, replicas: &[(u16, u16)]) -> String {
    let work = folder.display();
    let mut text = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n database: \"\"\n zonesdir: \"{work}\"\n verbosity: 2\n \
         pidfile: \"{work}/nsd.pid\"\n xfrdfile: \"{work}/nsd.xfrd\"\n xfrdir: \"{work}\"\n \
         zonelistfile: \"{work}/nsd.zones\"\nremote-control:\n control-enable: no\n"
    );
    let mut zone = format!("zone:\n name: \"{ZONE}\"\n zonefile: \"zone\"\n");
    for (replica, port) in replicas {
        let secret = secret(*replica);
        text += &format!("key:\n name: \"replica{replica}.\"\n algorithm: hmac-sha256\n secret: \"{secret}\"\n");
        zone += &format!(" provide-xfr: 127.0.0.1 replica{replica}.\n notify: 127.0.0.1@{port} replica{replica}.\n");
    }
    text + &zone
}

fn bind(folder: &Path, port: u16, replicas: &[(u16, u16)]) -> String {
    let work = folder.display();
    let mut text = format!(
        "options {{ directory \"{work}\"; pid-file none; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; empty-zones-enable no; }};\ncontrols {{ }};\n"
    );
    let (mut allowed, mut notified) = (String::new(), String::new());
    for (replica, port) in replicas {
        let secret = secret(*replica);
        text += &format!("key replica{replica}. {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        allowed += &format!("key replica{replica}.; ");
        notified += &format!("127.0.0.1 port {port} key replica{replica}.; ");
    }
    text + &format!(
        "zone \"{ZONE}\" {{ type primary; file \"zone\"; check-names ignore; check-integrity no; \
         allow-transfer {{ {allowed}}}; notify explicit; also-notify {{ {notified}}}; }};\n"
    )
}

fn knot(folder: &Path, port: u16, replicas: &[(u16, u16)]) -> String {
    let work = folder.display();
    let (mut keys, mut remotes, mut acls) = (String::new(), String::new(), String::new());
    let mut names = Vec::new();
    for (replica, port) in replicas {
        let secret = secret(*replica);
        keys += &format!("  - id: replica{replica}.\n    algorithm: hmac-sha256\n    secret: {secret}\n");
        remotes += &format!("  - id: r{replica}\n    address: 127.0.0.1@{port}\n    key: replica{replica}.\n");
        acls +=
            &format!("  - id: a{replica}\n    address: 127.0.0.1\n    key: replica{replica}.\n    action: transfer\n");
        names.push(replica.to_string());
    }
    let list = |prefix: &str| format!("[ {prefix}{} ]", names.join(&format!(", {prefix}")));
    format!(
        "server:\n    rundir: \"{work}\"\n    listen: 127.0.0.1@{port}\ndatabase:\n    storage: \"{work}\"\n\
         log:\n  - target: stderr\n    any: info\nkey:\n{keys}remote:\n{remotes}acl:\n{acls}zone:\n  - domain: {ZONE}\n    \
         storage: \"{work}\"\n    file: zone\n    semantic-checks: soft\n    zonefile-sync: -1\n    \
         journal-content: none\n    notify: {}\n    acl: {}\n",
        list("r"),
        list("a")
    )
}

const SERIAL: u32 = 2026082201;

fn write_zone(folder: &Path, version: u32, refresh: &str, lines: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/names.example.zone");
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace(&SERIAL.to_string(), &(SERIAL + version).to_string());
    let text = text.replacen(" 3h ", &format!(" {refresh} "), 1).replacen(" 1h ", " 1 ", 1);
    fs::write(folder.join("zone"), text + lines).unwrap();
}

/// Gives these replicas keys of their own and the primary's address.
fn configure(bed: &Testbed, primary: &Primary, replicas: &[(u16, u16)]) {
    for (replica, _) in replicas {
        let keys = bed.path(&format!("replica-{replica}/tsig.keys"));
        fs::write(&keys, format!("hmac-sha256:replica{replica}.:{}\n", secret(*replica))).unwrap();
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

/// A network whose zone comes from a primary, and its replicas with their ports.
fn testbed() -> (Testbed, Vec<(u16, u16)>) {
    let policy = tempfile::NamedTempFile::new().unwrap();
    fs::write(&policy, "[default]\nsource = \"primary\"\nheartbeat = \"off\"\n").unwrap();
    let bed = Testbed::start(&["--policy", policy.path().to_str().unwrap()]);
    let replicas = (0..bed.count()).map(|replica| (replica, bed.dns(replica))).collect();
    (bed, replicas)
}

#[test]
fn what_the_registry_changes_at_its_primary_is_signed_by_the_cluster_and_nothing_else_is() {
    let mut steps = Steps::new();
    let (mut bed, replicas) = testbed();
    let primary = Primary::start(Make::Nsd, bed.folder.path(), bed.ports.base + 150, &replicas);
    bed.stop();
    configure(&bed, &primary, &replicas);
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

/// One replica follows BIND, another Knot, the rest nobody: nothing takes effect unless both bring the same.
#[test]
fn what_bind_and_knot_serve_makes_the_same_votes() {
    let mut steps = Steps::new();
    let (mut bed, replicas) = testbed();
    let start = |make, port, replicas| Primary::start(make, bed.folder.path(), bed.ports.base + port, replicas);
    let (bind, knot) = (start(Make::Bind, 150, &replicas[..1]), start(Make::Knot, 151, &replicas[2..3]));
    bed.stop();
    configure(&bed, &bind, &replicas[..1]);
    configure(&bed, &knot, &replicas[2..3]);
    bed.start_again();
    for (version, address) in [(1, "192.0.2.9"), (2, "192.0.2.10")] {
        for primary in [&bind, &knot] {
            primary.serve(version, "1", &format!("fresh A {address}\n"));
        }
        shows(&bed, 0..4, "fresh", address);
        steps.next("a version that both serve");
    }
}
