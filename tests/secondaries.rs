//! Stock secondaries, as `deploy/` configures them, follow many updates: told by NOTIFY, by IXFR alone, signed with TSIG.
//!
//! `TORRENS_UPDATES` says how many updates there are; a nightly run has 10,000.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use support::dns::{dig, serial, try_dig};
use support::process::{Process, Run};
use support::testbed::Testbed;
use support::tls::openssl;
use support::{Steps, eventually};

const ZONE: &str = "names.example.";
const KEY: &str = "hmac-sha256:transfer.example.:S2V5IG9mIGEgdGVzdCB0aGF0IGlzIG5vIHNlY3JldCE=";
const OWNERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn secret() -> &'static str {
    KEY.rsplit(':').next().unwrap()
}

/// A file of `deploy/` with the addresses and the secret of this test in the place of the examples.
fn deployed(bed: &Testbed, file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace("192.0.2.1@53", &format!("127.0.0.1@{}", bed.dns(0)));
    let text = text.replace("192.0.2.2@53", &format!("127.0.0.1@{}", bed.dns(2)));
    text.replace("192.0.2.1", "127.0.0.1").replace("192.0.2.2", "127.0.0.1").replace("SECRET", secret())
}

/// A server with what it says in a file.
struct Secondary {
    _process: Process,
    log: PathBuf,
    port: u16,
}

impl Secondary {
    fn start(folder: &Path, command: &mut Command, port: u16) -> Self {
        let log = folder.join("log");
        let out = fs::File::create(folder.join("out")).unwrap();
        Self { _process: Process::start(command.stdout(out), &log), log, port }
    }

    /// `text`: `deploy/nsd.conf`, or what is made of it.
    fn nsd(bed: &Testbed, text: &str, port: u16) -> Self {
        let folder = bed.folder.path().join("nsd");
        fs::create_dir(&folder).unwrap();
        let work = folder.display();
        let server = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n database: \"\"\n zonesdir: \"{work}\"\n verbosity: 3\n \
             pidfile: \"{work}/nsd.pid\"\n xfrdfile: \"{work}/nsd.xfrd\"\n xfrdir: \"{work}\"\n \
             zonelistfile: \"{work}/nsd.zones\"\nremote-control:\n control-enable: no\nserver:\n"
        );
        let config = folder.join("nsd.conf");
        fs::write(&config, text.replacen("server:\n", &server, 1)).unwrap();
        Self::start(&folder, Command::new("/usr/sbin/nsd").arg("-d").arg("-c").arg(config), port)
    }

    fn knot(bed: &Testbed, port: u16) -> Self {
        let folder = bed.folder.path().join("knot");
        fs::create_dir(&folder).unwrap();
        let work = folder.display();
        let text = deployed(bed, "knot.conf").replace("0.0.0.0@53, ::@53", &format!("127.0.0.1@{port}"));
        let text = text.replacen("server:\n", &format!("server:\n    rundir: \"{work}\"\n"), 1);
        let default =
            format!("template:\n  - id: default\n    storage: \"{work}\"\n  - id: member\n    storage: \"{work}\"\n");
        let text = text.replacen("template:\n  - id: member\n", &default, 1);
        let places = format!("database:\n    storage: \"{work}\"\nlog:\n  - target: stderr\n    any: info\n");
        let config = folder.join("knot.conf");
        fs::write(&config, text + &places).unwrap();
        Self::start(&folder, Command::new("/usr/sbin/knotd").arg("-c").arg(config), port)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default() + &fs::read_to_string(self.log.with_file_name("out")).unwrap()
    }

    /// Lines of its log that have all of these words.
    fn lines(&self, words: &[&str]) -> usize {
        self.said().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    fn serial(&self) -> Result<u32, String> {
        let soa = try_dig(self.port, &format!("+norecurse {ZONE} SOA"))?.data("SOA");
        soa.first().and_then(|soa| soa.split(' ').nth(2)?.parse().ok()).ok_or_else(|| "no SOA record".into())
    }
}

impl Drop for Secondary {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.said());
        }
    }
}

/// Gives the replicas the key, and tells them who is to be notified and who may transfer; with a certificate, they
/// serve DNS over TLS as well.
fn configure(bed: &Testbed, notified: &[u16], certified: bool) {
    for replica in 0..bed.count() {
        let keys = bed.path(&format!("replica-{replica}/tsig.keys"));
        fs::write(&keys, format!("# of a test\n{KEY}\n")).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        let path = bed.path(&format!("replica-{replica}/replica.toml"));
        let notify: Vec<String> = notified
            .iter()
            .map(|port| format!("{{ address = \"127.0.0.1:{port}\", key = \"transfer.example.\" }}"))
            .collect();
        let secondaries = format!(
            "transfers = [{{ network = \"127.0.0.1\", key = \"transfer.example.\" }}]\nnotify = [{}]\n\
             tsig_keys = \"tsig.keys\"\ncatalog = \"catalog.example.\"\n",
            notify.join(", ")
        );
        let tls = format!(
            "tls = \"127.0.0.1:{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            bed.dns(replica) + 6,
            bed.file("chain.pem"),
            bed.file("tls.key")
        );
        let secondaries = if certified { secondaries + &tls } else { secondaries };
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("transfers = []"), "{text}");
        fs::write(&path, text.replace("transfers = []\n", &secondaries)).unwrap();
    }
}

/// What `dig` says of a transfer.
fn transfer(port: u16, arguments: &str) -> String {
    let mut dig = Command::new("dig");
    dig.args(["@127.0.0.1", "-p", &port.to_string(), "+noall", "+answer", "+comments"]);
    single_spaced(&Run::of(dig.args(arguments.split(' '))).out)
}

/// How many transfers of this kind the replicas have begun.
fn transfers(bed: &Testbed, kind: &str) -> u64 {
    let line = format!("torrens_zone_transfers{{kind=\"{kind}\"}} ");
    let count = |replica: u16| {
        let url = format!("http://127.0.0.1:{}/metrics", bed.http(replica));
        let text = Run::of(Command::new("curl").args(["--silent", "--fail", &url])).ok();
        let count = text.lines().find_map(|it| it.strip_prefix(&line)).unwrap_or_else(|| panic!("{line}: {text}"));
        count.parse::<u64>().unwrap()
    };
    (0..bed.count()).map(count).sum()
}

fn single_spaced(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// Owners update their titles, sixteen at a time, until there were so many updates; each is answered before its owner
/// goes on.
fn update(bed: &Testbed, updates: u64) -> u64 {
    let mut made = 0;
    while made < updates {
        let report = bed.json("bench update --concurrency 16 --seconds 5 --names 32", &[]);
        made += report["runs"][0]["updates"].as_u64().expect("a number of updates");
    }
    made
}

#[test]
fn secondaries_follow_by_ixfr_alone_and_serve_what_validates() {
    let mut steps = Steps::new();
    let updates = std::env::var("TORRENS_UPDATES").map_or(200, |text| text.parse().expect("a number of updates"));
    steps.next("replicas with a key, NSD and Knot as deploy/ has them");
    let mut bed = Testbed::start(&[]);
    bed.stop();
    let (nsd_port, knot_port) = (bed.ports.base + 150, bed.ports.base + 152);
    configure(&bed, &[nsd_port, knot_port], false);
    bed.start_again();
    for owner in OWNERS {
        bed.key(owner);
        bed.run(&format!("title register {owner}.{ZONE} --key {owner}.key")).ok();
        bed.run_with(&format!("title set {owner}.{ZONE} --key {owner}.key"), &["www 300 A 192.0.2.9"]).ok();
    }

    steps.next("dig with the key, with another, and without");
    for algorithm in ["hmac-sha256", "hmac-sha384"] {
        let said = transfer(bed.dns(1), &format!("-y {} {ZONE} AXFR", KEY.replace("hmac-sha256", algorithm)));
        assert_eq!(said.contains("alice.names.example."), algorithm == "hmac-sha256", "{said}");
    }
    let other = format!("hmac-sha256:transfer.example.:{}", secret().replace('2', "3"));
    for arguments in [format!("-y {other} {ZONE} AXFR"), format!("{ZONE} AXFR"), "catalog.example. SOA".into()] {
        let said = transfer(bed.dns(1), &arguments);
        assert!(!said.contains("SOA "), "{arguments}: {said}");
    }
    let said = transfer(bed.dns(1), &format!("-y {KEY} catalog.example. AXFR"));
    assert!(said.contains("PTR names.example."), "{said}");
    // The zone's file says two weeks, the policy of signatures less.
    let soa = dig(bed.dns(1), &format!("+norecurse {ZONE} SOA")).data("SOA");
    assert_eq!(soa[0].split(' ').nth(5), Some("453600"), "{soa:?}");
    let first = serial(bed.dns(1), ZONE);
    let mut kdig = Command::new("kdig");
    kdig.args(["@127.0.0.1", "-p", &bed.dns(1).to_string(), "-y", KEY, ZONE]);
    let said = single_spaced(&Run::of(kdig.arg(format!("IXFR={}", first.wrapping_sub(1)))).ok());
    assert!(said.contains("TSIG") && said.matches(" SOA ").count() >= 4, "{said}");

    steps.next("both take the zone once");
    let secondaries = [Secondary::nsd(&bed, &deployed(&bed, "nsd.conf"), nsd_port), Secondary::knot(&bed, knot_port)];
    let in_step = |what: &str| {
        eventually(what, || {
            let ours = serial(bed.dns(1), ZONE);
            let theirs: Vec<_> = secondaries.iter().map(Secondary::serial).collect();
            theirs.iter().all(|serial| *serial == Ok(ours)).then_some(ours).ok_or_else(|| format!("{ours}: {theirs:?}"))
        })
    };
    in_step("both secondaries to have the zone");
    let [nsd, knot] = &secondaries;
    let by_knot = || knot.lines(&[ZONE.trim_end_matches('.'), "AXFR, incoming", "finished"]);
    assert_eq!(by_knot(), 1, "{}", knot.said());
    let whole = transfers(&bed, "whole");

    steps.next("many updates");
    let before = serial(bed.dns(1), ZONE);
    let updates = update(&bed, updates);
    let last = in_step("both secondaries to follow");
    let versions = last.wrapping_sub(before);
    let logs = || format!("{}\n{}", nsd.said(), knot.said());
    assert_eq!((by_knot(), transfers(&bed, "whole")), (1, whole), "a fallback to AXFR: {}", logs());
    let followed = (knot.lines(&["IXFR, incoming", "finished"]), nsd.lines(&["info: zone", "received update"]));
    let incremental = transfers(&bed, "incremental");
    eprintln!(
        "{updates} updates, {versions} versions, {incremental} incremental transfers; Knot and NSD: {followed:?}"
    );
    assert!(followed.0 > 1 && followed.1 > 1 && nsd.lines(&["info: notify"]) > 0, "{}", logs());

    steps.next("what they serve is what a replica serves, and validates");
    let key = bed.text("trust/names.example.key");
    for secondary in &secondaries {
        for owner in OWNERS {
            for question in
                [format!("www.{owner}.{ZONE} A"), format!("nobody.{owner}.{ZONE} A"), format!("{owner}.{ZONE} KEY")]
            {
                let [ours, theirs] = [bed.dns(1), secondary.port].map(|port| {
                    let said = dig(port, &format!("+dnssec +norecurse {question}"));
                    (said.status.clone(), said.answers.clone())
                });
                assert_eq!(ours, theirs, "{question}");
            }
        }
        for (name, rtype) in [("www.alice", "A"), ("nobody.bob", "A")] {
            let name = format!("{name}.{ZONE}");
            let said = support::dns::delv_under(&bed, secondary.port, (ZONE, &key), &name, rtype);
            assert!(said.contains("fully validated"), "{said}");
        }
    }
    steps.next("end");
}

/// RFC 9103: the same over TLS, whose server NSD and kdig authenticate by its name.
#[test]
fn a_zone_is_transferred_over_tls() {
    const HOST: &str = "replica.example";
    let mut steps = Steps::new();
    steps.next("replicas with a certificate");
    let mut bed = Testbed::start(&[]);
    bed.stop();
    let file = |name: &str| bed.file(name);
    let (ca_key, ca, key, csr, extensions) =
        (file("ca.key"), file("ca.pem"), file("tls.key"), file("tls.csr"), file("extensions"));
    openssl(&format!("req -x509 -newkey rsa:2048 -nodes -keyout {ca_key} -out {ca} -subj /CN=test -days 30")).ok();
    openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}")).ok();
    openssl(&format!("req -new -key {key} -subj /CN={HOST} -out {csr}")).ok();
    fs::write(&extensions, format!("subjectAltName=DNS:{HOST}\n")).unwrap();
    let sign = format!("x509 -req -in {csr} -CA {ca} -CAkey {ca_key} -set_serial 1 -days 10");
    openssl(&format!("{sign} -extfile {extensions} -out {}", file("chain.pem"))).ok();
    let port = bed.ports.base + 150;
    configure(&bed, &[port], true);
    bed.start_again();

    steps.next("kdig takes the zone");
    let mut kdig = Command::new("kdig");
    kdig.args(["@127.0.0.1", "-p", &(bed.dns(1) + 6).to_string(), "-y", KEY]);
    kdig.args([&format!("+tls-ca={ca}"), &format!("+tls-hostname={HOST}"), ZONE, "AXFR"]);
    let said = single_spaced(&Run::of(&mut kdig).ok());
    assert!(said.contains(" TSIG ") && said.matches(" SOA ").count() > 1, "{said}");

    steps.next("NSD follows");
    let mut text = deployed(&bed, "nsd.conf");
    for replica in [0, 2] {
        let (plain, encrypted) = (bed.dns(replica), bed.dns(replica) + 6);
        let line = format!("request-xfr: 127.0.0.1@{plain} transfer.example.");
        assert!(text.contains(&line), "{text}");
        text = text.replace(&line, &format!("request-xfr: 127.0.0.1@{encrypted} transfer.example. replicas"));
    }
    text = text.replacen("server:\n", &format!("server:\n tls-cert-bundle: \"{ca}\"\n"), 1);
    text += &format!("tls-auth:\n name: \"replicas\"\n auth-domain-name: \"{HOST}\"\n");
    let nsd = Secondary::nsd(&bed, &text, port);
    let in_step = || {
        eventually("NSD to follow", || {
            let (ours, theirs) = (serial(bed.dns(1), ZONE), nsd.serial());
            if theirs == Ok(ours) { Ok(()) } else { Err(format!("{ours}: {theirs:?}")) }
        });
    };
    in_step();
    let whole = transfers(&bed, "whole");
    bed.key("alice");
    bed.run(&format!("title register alice.{ZONE} --key alice.key")).ok();
    in_step();
    assert_eq!(transfers(&bed, "whole"), whole, "a fallback to AXFR: {}", nsd.said());
    steps.next("end");
}
