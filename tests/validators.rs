//! Stock validators believe all that the replicas serve: under the zone's own key, and through a parent's DS record.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::dns::{Named, Said, Unbound, delv_under, dig, static_key};
use support::process::{Process, Run};
use support::testbed::Testbed;
use support::{Steps, eventually};

const ZONE: &str = "names.example.";
const PARENT: &str = "example.";

/// What is asked, the response code, and how many records of that type the answer has. The zone has every feature that
/// denial and signatures depend on.
const QUESTIONS: [(&str, &str, &str, usize); 40] = [
    // Records of every kind.
    ("www", "A", "NOERROR", 2),
    ("www", "AAAA", "NOERROR", 1),
    ("www", "HTTPS", "NOERROR", 1),
    ("_dns", "SVCB", "NOERROR", 1),
    ("alias", "HTTPS", "NOERROR", 1),
    ("www", "KEY", "NOERROR", 1),
    ("mail", "MX", "NOERROR", 1),
    ("_443._tcp.www", "TLSA", "NOERROR", 1),
    ("opaque", "TYPE65280", "NOERROR", 1),
    ("_heartbeat", "TXT", "NOERROR", 1),
    ("_heartbeat", "A", "NOERROR", 0),
    // The apex.
    ("@", "SOA", "NOERROR", 1),
    ("@", "NS", "NOERROR", 2),
    ("@", "DNSKEY", "NOERROR", 1),
    ("@", "MX", "NOERROR", 1),
    ("@", "ZONEMD", "NOERROR", 1),
    ("@", "SRV", "NOERROR", 0),
    // Aliases, of names and of trees (RFC 6672).
    ("blog", "CNAME", "NOERROR", 1),
    ("blog", "A", "NOERROR", 2),
    ("blog", "MX", "NOERROR", 0),
    ("old", "DNAME", "NOERROR", 1),
    ("txt.old", "TXT", "NOERROR", 1),
    ("txt.old", "A", "NOERROR", 0),
    ("nothing.old", "A", "NXDOMAIN", 0),
    // Wildcards (RFC 4592), and names that they do not cover.
    ("any.wild", "A", "NOERROR", 1),
    ("a.b.c.wild", "TXT", "NOERROR", 1),
    ("any.wild", "MX", "NOERROR", 0),
    ("*.wild", "A", "NOERROR", 1),
    ("exact.wild", "TXT", "NOERROR", 0),
    ("x.exact.wild", "A", "NXDOMAIN", 0),
    // Names and types that are not there, and empty non-terminals.
    ("no-such-name", "A", "NXDOMAIN", 0),
    ("a.b.no-such-name", "A", "NXDOMAIN", 0),
    ("www", "MX", "NOERROR", 0),
    ("b.deep", "A", "NOERROR", 0),
    ("_tcp.www", "TXT", "NOERROR", 0),
    ("0.b.deep", "A", "NXDOMAIN", 0),
    // Delegations with DS, and the proof that there is none.
    ("signed", "DS", "NOERROR", 1),
    ("unsigned", "DS", "NOERROR", 0),
    ("outside", "DS", "NOERROR", 0),
    ("www", "DS", "NOERROR", 0),
];

fn full(name: &str) -> String {
    if name == "@" { ZONE.to_string() } else { format!("{name}.{ZONE}") }
}

/// Asks a resolver everything: each answer is as it should be, and is authentic.
#[track_caller]
fn all_is_authentic(resolver: &str, ask: impl Fn(&str, &str) -> Said) {
    for (name, rtype, status, records) in QUESTIONS {
        let said = ask(&full(name), rtype);
        assert_eq!(
            (said.status.as_str(), said.data(rtype).len()),
            (status, records),
            "{resolver}: {name} {rtype} {said:?}"
        );
        assert!(said.is_authentic(), "{resolver}: {name} {rtype} is not validated: {said:?}");
    }
}

/// The same of `delv`, which asks the server at `port` and believes one key.
#[track_caller]
fn delv_believes(bed: &Testbed, port: u16, (zone, anchor): (&str, &str)) {
    for (name, rtype, _, records) in QUESTIONS {
        let said = delv_under(bed, port, (zone, anchor), &full(name), rtype);
        // A chain of aliases that ends in nothing: what it says first is about the chain.
        let negative = records == 0 && !["\tCNAME\t", "\tDNAME\t"].iter().any(|alias| said.contains(alias));
        let expected = if negative { "; negative response, fully validated" } else { "; fully validated" };
        assert!(said.contains(expected) && !said.contains("unsigned answer"), "delv: {name} {rtype}: {said}");
    }
}

#[test]
fn unbound_delv_and_named_validate_everything_under_the_zones_key() {
    let mut steps = Steps::new();
    steps.next("a testbed");
    let bed = Testbed::start(&[]);
    let anchor = bed.run(&format!("ds {ZONE} --dnskey")).ok();
    assert_eq!(anchor, bed.text("trust/names.example.key"));
    steps.next("delv");
    delv_believes(&bed, bed.dns(1), (ZONE, &anchor));
    steps.next("unbound");
    let unbound = Unbound::start(&bed);
    all_is_authentic("unbound", |name, rtype| unbound.ask(name, rtype));
    steps.next("named");
    let named = Named::start(&bed, "named", bed.ports.base + 170, &anchor, &[(ZONE, servers(&bed))]);
    all_is_authentic("named", |name, rtype| named.ask(name, rtype));
    steps.next("end");
}

fn servers(bed: &Testbed) -> Vec<u16> {
    (0..bed.count()).map(|replica| bed.dns(replica)).collect()
}

/// A parent zone of our own making, signed by BIND and served by NSD, which delegates to the replicas.
struct Parent {
    _nsd: Process,
    port: u16,
    anchor: String,
}

impl Parent {
    /// `ds`: what the parent is told to publish for the delegation.
    fn start(bed: &Testbed, name: &str, port: u16, ds: &str) -> Self {
        let folder = bed.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let text = format!(
            "$ORIGIN {PARENT}\n$TTL 300\n@ SOA ns hostmaster 1 3h 1h 1w 300\n@ NS ns\nns A 192.0.2.10\n\
             names NS ns1.names\nnames NS ns2.names\nns1.names A 192.0.2.53\nns2.names A 192.0.2.54\n{ds}"
        );
        fs::write(folder.join("zone"), text).unwrap();
        let mut keygen = Command::new("dnssec-keygen");
        let key =
            Run::of(keygen.arg("-K").arg(&folder).args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", PARENT])).ok();
        let mut sign = Command::new("dnssec-signzone");
        sign.args(["-S", "-z", "-q", "-o", PARENT, "-K"]).arg(&folder).args(["-f", "signed", "zone"]);
        Run::of(sign.current_dir(&folder)).ok();
        let anchor = fs::read_to_string(folder.join(format!("{}.key", key.trim()))).unwrap();
        let anchor = anchor.lines().find(|line| !line.starts_with(';')).expect("a DNSKEY record").to_string();
        let nsd = nsd(&folder, port);
        eventually("the parent", || support::dns::try_dig(port, &format!("+norecurse {PARENT} SOA")).map(drop));
        Self { _nsd: nsd, port, anchor }
    }
}

fn nsd(folder: &Path, port: u16) -> Process {
    let work = folder.display();
    let config = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n database: \"\"\n zonesdir: \"{work}\"\n \
         pidfile: \"{work}/nsd.pid\"\n xfrdfile: \"{work}/nsd.xfrd\"\n zonelistfile: \"{work}/nsd.zones\"\n\
         remote-control:\n control-enable: no\nzone:\n name: \"{PARENT}\"\n zonefile: \"signed\"\n"
    );
    let path = folder.join("nsd.conf");
    fs::write(&path, config).unwrap();
    let mut command = Command::new("/usr/sbin/nsd");
    Process::start(command.arg("-d").arg("-c").arg(path).stdout(Stdio::null()), &folder.join("nsd.log"))
}

/// unbound that trusts the parent's key, and finds parent and child at their ports.
fn unbound_below(bed: &Testbed, parent: &Parent, port: u16) -> Unbound {
    let folder = bed.folder.path();
    let (anchor, conf): (PathBuf, String) = (folder.join(format!("anchor-{port}")), bed.text("trust/unbound.conf"));
    fs::write(&anchor, parent.anchor.clone() + "\n").unwrap();
    let conf = conf.replace(&format!("port: {}\n", bed.ports.base + 10), &format!("port: {port}\n")).replace(
        &bed.path("trust/names.example.key").canonicalize().unwrap().display().to_string(),
        &anchor.display().to_string(),
    );
    assert!(conf.contains(&anchor.display().to_string()), "{conf}");
    let stub = format!("stub-zone:\n  name: \"{PARENT}\"\n  stub-prime: no\n  stub-addr: 127.0.0.1@{}\n", parent.port);
    Unbound::start_with(bed, &format!("unbound-{port}.conf"), &(conf + &stub), port)
}

fn named_below(bed: &Testbed, parent: &Parent, port: u16) -> Named {
    let zones = [(PARENT, vec![parent.port]), (ZONE, servers(bed))];
    Named::start(bed, &format!("named-{port}"), port, &parent.anchor, &zones)
}

#[test]
fn a_validator_that_trusts_the_parent_alone_believes_us_by_the_ds_record_that_we_print() {
    let mut steps = Steps::new();
    steps.next("a testbed, and a parent with the DS record that `torrens ds` prints");
    let bed = Testbed::start(&[]);
    let ds = bed.run(&format!("ds {ZONE}")).ok();
    let at = |offset: u16| bed.ports.base + 120 + offset;
    let parent = Parent::start(&bed, "parent", at(0), &ds);
    let delegation = dig(parent.port, &format!("+norecurse +dnssec www.{ZONE} A"));
    assert!(delegation.authorities.iter().any(|line| line.contains(" DS ")), "{delegation:?}");
    steps.next("unbound");
    let unbound = unbound_below(&bed, &parent, at(1));
    all_is_authentic("unbound", |name, rtype| unbound.ask(name, rtype));
    steps.next("delv, which asks unbound");
    assert!(static_key(&parent.anchor).contains("example. static-key 257 3 13"), "{}", parent.anchor);
    delv_believes(&bed, unbound.port, (PARENT, &parent.anchor));
    steps.next("named");
    let named = named_below(&bed, &parent, at(2));
    all_is_authentic("named", |name, rtype| named.ask(name, rtype));

    steps.next("a parent with the DS record of another key");
    let (fields, digest) = ds.trim().rsplit_once(' ').expect("a DS record");
    let other: String = digest.chars().rev().collect();
    let parent = Parent::start(&bed, "wrong", at(10), &format!("{fields} {other}\n"));
    let (unbound, named) = (unbound_below(&bed, &parent, at(11)), named_below(&bed, &parent, at(12)));
    for (name, rtype) in [("www", "A"), ("no-such-name", "A"), ("@", "SOA")] {
        for (resolver, said) in [("unbound", unbound.ask(&full(name), rtype)), ("named", named.ask(&full(name), rtype))]
        {
            assert_eq!(
                (said.status.as_str(), said.answers.len()),
                ("SERVFAIL", 0),
                "{resolver}: {name} {rtype}: {said:?}"
            );
        }
    }

    steps.next("a parent without DS: what we say is neither proven nor refused");
    let parent = Parent::start(&bed, "without", at(20), "");
    let (unbound, named) = (unbound_below(&bed, &parent, at(21)), named_below(&bed, &parent, at(22)));
    for (resolver, said) in [("unbound", unbound.ask(&full("www"), "A")), ("named", named.ask(&full("www"), "A"))] {
        assert_eq!((said.status.as_str(), said.data("A").len()), ("NOERROR", 2), "{resolver}: {said:?}");
        assert!(!said.is_authentic(), "{resolver}: {said:?}");
    }
    steps.next("end");
}
