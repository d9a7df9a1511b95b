//! Zones as secondaries get them: equal to the byte from every replica, and sound to every tool that checks zones.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::dns::{dig, serial};
use support::process::{Process, Run};
use support::testbed::Testbed;
use support::{Steps, eventually};

const ZONE: &str = "names.example.";
const SOA: u16 = 6;

/// The messages of a transfer of the whole zone, as they came.
fn transfer(port: u16) -> Vec<Vec<u8>> {
    let axfr = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x05names\x07example\0\0\xfc\0\x01";
    messages(port, axfr, 2)
}

/// Those of what changed since this serial (RFC 1995 §3).
fn changes_since(port: u16, serial: u32) -> Vec<Vec<u8>> {
    let ixfr = b"\x12\x34\0\0\0\x01\0\0\0\x01\0\0\x05names\x07example\0\0\xfb\0\x01";
    let soa = b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0";
    messages(port, &[&ixfr[..], soa, &serial.to_be_bytes(), &[0; 16]].concat(), 4)
}

/// Messages up to the one with the last of so many SOA records.
fn messages(port: u16, query: &[u8], soas: usize) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat()).unwrap();
    let (mut messages, mut ends) = (Vec::new(), 0);
    while ends < soas {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).unwrap();
        let read = hickory_proto::op::Message::from_vec(&message).unwrap();
        assert_eq!(u16::from(read.metadata.response_code), 0, "{read:?}");
        ends += read.answers.iter().filter(|record| u16::from(record.record_type()) == SOA).count();
        messages.push(message);
    }
    messages
}

/// The zone as `dig` writes it.
fn dump(bed: &Testbed) -> String {
    let mut dig = Command::new("dig");
    dig.args(["@127.0.0.1", "-p", &bed.dns(1).to_string(), ZONE, "AXFR", "+noall", "+answer", "+onesoa"]);
    Run::of(&mut dig).out
}

fn check(command: &mut Command, file: &Path) {
    Run::of(command.arg(file)).ok();
}

/// NSD with this zone from this replica, as `deploy/nsd.conf` says it.
fn nsd(folder: &Path, port: u16, replica: u16) -> Process {
    let work = folder.display();
    let config = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n database: \"\"\n zonesdir: \"{work}\"\n \
         pidfile: \"{work}/nsd.pid\"\n xfrdfile: \"{work}/nsd.xfrd\"\n xfrdir: \"{work}\"\n zonelistfile: \"{work}/nsd.zones\"\n\
         remote-control:\n control-enable: no\n\
         zone:\n name: \"{ZONE}\"\n request-xfr: AXFR 127.0.0.1@{replica} NOKEY\n allow-notify: 127.0.0.1 NOKEY\n"
    );
    let path = folder.join("nsd.conf");
    fs::write(&path, config).unwrap();
    Process::start(Command::new("/usr/sbin/nsd").arg("-d").arg("-c").arg(path), &folder.join("nsd.log"))
}

#[test]
fn a_zone_is_transferred_to_whom_it_may_be_equal_from_all_replicas_and_verifies() {
    let mut steps = Steps::new();
    steps.next("a testbed, which gives its zones to nobody");
    let mut bed = Testbed::start(&[]);
    bed.key("alice");
    bed.run("title register alice.names.example. --key alice.key").ok();
    bed.run_with("title set alice.names.example. --key alice.key", &["*.www 300 A 192.0.2.9"]).ok();
    assert!(dump(&bed).contains("Transfer failed"), "nobody was named");
    bed.stop();

    steps.next("the same, which gives them to this machine");
    for replica in 0..bed.count() {
        let path = bed.path(&format!("replica-{replica}/replica.toml"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("transfers = []"), "{text}");
        fs::write(&path, text.replace("transfers = []", "transfers = [\"127.0.0.1\"]")).unwrap();
    }
    bed.start_again();
    let first = eventually("one serial everywhere", || {
        let serials: Vec<u32> = (0..4).map(|replica| serial(bed.dns(replica), ZONE)).collect();
        let messages: Vec<_> = (0..4).map(|replica| transfer(bed.dns(replica))).collect();
        let same = serials.iter().all(|serial| *serial == serials[0]);
        same.then(|| messages.clone()).ok_or_else(|| format!("{serials:?}"))
    });
    assert!(first.iter().all(|messages| *messages == first[0]), "equal serials, and other bytes");

    steps.next("what changed since is the same from all replicas, those that started since too");
    let before = serial(bed.dns(0), ZONE);
    for address in 1..4 {
        bed.run_with("title set alice.names.example. --key alice.key", &[&format!("www 300 A 192.0.2.{address}")]).ok();
    }
    let changes = |bed: &Testbed| {
        eventually("one difference everywhere", || {
            let serials: Vec<u32> = (0..4).map(|replica| serial(bed.dns(replica), ZONE)).collect();
            let all: Vec<_> = (0..4).map(|replica| changes_since(bed.dns(replica), before)).collect();
            all.iter().all(|it| *it == all[0]).then(|| all[0].clone()).ok_or_else(|| format!("{serials:?}"))
        })
    };
    let found = changes(&bed);
    assert!(found.concat().len() < 4096, "{}", found.concat().len());
    bed.stop();
    bed.start_again();
    assert!(changes(&bed) == found, "a restart changes no difference");

    steps.next("what checks zones finds it sound");
    let file = bed.folder.path().join("zone");
    let text = dump(&bed);
    assert!(text.contains("*.www.alice.names.example."), "{text}");
    fs::write(&file, text).unwrap();
    check(Command::new("ldns-verify-zone").arg("-V2"), &file);
    check(Command::new("dnssec-verify").args(["-q", "-z", "-o", ZONE]), &file);
    // A KEY record may stand beside a CNAME (RFC 4035 §2.5), which Knot's checker does not know; nothing else disturbs it.
    let said = Run::of(Command::new("kzonecheck").args(["-d", "on", "-o", ZONE]).arg(&file));
    let complaints: Vec<&str> = said.err.lines().chain(said.out.lines()).filter(|line| line.starts_with('[')).collect();
    assert_eq!(complaints, ["[blog.names.example.] another record exists beside CNAME"], "{}{}", said.out, said.err);

    steps.next("an unmodified NSD takes it and serves it");
    let port = bed.ports.base + 150;
    let _nsd = nsd(bed.folder.path(), port, bed.dns(2));
    let question = "+dnssec +norecurse nobody.www.alice.names.example. A";
    let served = eventually("NSD to serve the zone", || {
        let said = support::dns::try_dig(port, question)?;
        if said.status == "NOERROR" { Ok(said) } else { Err(format!("{said:?}")) }
    });
    assert_eq!((served.data("A"), served.data("RRSIG")), {
        let ours = dig(bed.dns(2), question);
        (ours.data("A"), ours.data("RRSIG"))
    });
    steps.next("end");
}
