//! What is broken, hostile or nonsense: told so, with file and line, or left unanswered; and the service goes on.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use support::Steps;
use support::dns::{A, Tcp, dig, query, udp};
use support::process::Run;
use support::testbed::{Testbed, torrens};
use torrens::client::{Cluster, keyfile};
use torrens::crypto::digest::Digest;
use torrens::directory::Timestamp;
use torrens::directory::name::Name;
use torrens::directory::operation::{Action, Operation, RecordChange, SignedOperation};

const NAME: &str = "www.names.example.";

#[test]
fn broken_zone_files_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let soa = "$ORIGIN bad.example.\n@ 1h SOA ns. host. 1 1 1 1 1\n  1h NS ns.\n";
    let cases = [
        (format!("{soa}www 1h A 192.0.2.256\n"), 4, "192.0.2.256"),
        (format!("{soa}www 1h NOTYPE x\n"), 4, "NOTYPE"),
        (format!("{soa}\n\nwww 1h TXT \"open\n"), 6, ""),
        (format!("{soa}www 1h MX (10\n mail\n"), 4, ""),
        (format!("{soa}www.elsewhere.example. 1h A 192.0.2.1\n"), 4, "www.elsewhere.example."),
        (format!("{soa}www 1h CNAME x\nwww 1h A 192.0.2.1\n"), 4, "CNAME"),
        (format!("{soa}$INCLUDE nothing.zone\n"), 4, "nothing.zone"),
        ("www.bad.example. 1h A 192.0.2.1\n".to_string(), 1, "SOA"),
    ];
    for (text, line, what) in cases {
        let file = folder.path().join("bad.zone");
        fs::write(&file, &text).unwrap();
        let run = testbed(folder.path(), &file);
        assert_eq!(run.code, 2, "{text}: {}", run.err);
        let place = format!("bad.zone:{line}: ");
        assert!(run.err.contains(&place) && run.err.contains(what), "{place}{what} expected: {}", run.err);
        assert!(!folder.path().join("bed/cluster.toml").exists(), "nothing is dealt for a broken zone");
    }
    testbed(folder.path(), &folder.path().join("none.zone")).wrong("none.zone");
}

fn testbed(folder: &Path, zone: &Path) -> Run {
    let mut command = torrens();
    command.args(["testbed", "--fixture-primes", "--port-base", "24990", "--dir"]).arg(folder.join("bed"));
    Run::of(command.arg("--zone").arg(zone))
}

#[test]
fn a_running_service_stands_bad_input() {
    let mut steps = Steps::new();
    steps.next("a testbed");
    let bed = Testbed::start(&[]);
    bed.key("alice");
    steps.next("broken files");
    broken_toml_is_named_with_its_line(&bed);
    broken_keys_are_named_with_their_line(&bed);
    steps.next("malformed packets");
    datagrams_of_noise_are_refused_or_ignored(&bed);
    queries_cut_short_are_refused_or_ignored(&bed);
    streams_of_noise_do_no_harm(&bed);
    names_outside_the_zones_are_refused(&bed);
    steps.next("operations that are none, or not the owner's");
    operations_that_cannot_be_are_turned_away_at_the_door(&bed);
    what_depends_on_the_state_is_refused_with_a_position(&bed);
    assert_eq!(dig(bed.dns(0), &format!("{NAME} A")).data("A"), ["192.0.2.80", "192.0.2.81"]);
    bed.run("title register alice.names.example. --key alice.key").ok();
    steps.next("end");
}

fn broken_toml_is_named_with_its_line(bed: &Testbed) {
    let status = |text: &str| {
        fs::write(bed.file("broken.toml"), text).unwrap();
        Run::of(torrens().current_dir(bed.folder.path()).args(["status", "--cluster", "broken.toml"]))
    };
    let whole = bed.text("cluster.toml");
    let line = whole.lines().count() + 1;
    status(&format!("{whole}nonsense\n")).wrong(&format!("broken.toml:{line}: "));
    status(&format!("{whole}\nnonsense = 1\n")).wrong("broken.toml:");
    status("").wrong("broken.toml");
    status(&whole.replace("127.0.0.1:", "127.0.0.1,")).wrong("broken.toml:");
    let home = bed.folder.path().join("home");
    fs::create_dir_all(&home).unwrap();
    let config = bed.text("replica-0/replica.toml").replace("[listen]", "[listen");
    let line = 1 + config.lines().position(|line| line == "[listen").expect("a table");
    fs::write(home.join("replica.toml"), config).unwrap();
    Run::of(torrens().arg("replica").arg("--dir").arg(&home)).wrong(&format!("replica.toml:{line}: "));
    fs::remove_file(home.join("replica.toml")).unwrap();
    Run::of(torrens().arg("replica").arg("--dir").arg(&home)).wrong("replica.toml");
    Run::of(torrens().arg("replica").arg("--dir").arg(bed.file("nowhere"))).wrong("nowhere");
}

fn broken_keys_are_named_with_their_line(bed: &Testbed) {
    let key = fs::read_to_string(bed.file("alice.key")).unwrap();
    let show = |text: &str| {
        fs::write(bed.file("broken.key"), text).unwrap();
        Run::of(torrens().current_dir(bed.folder.path()).args(["key", "show", "broken.key"]))
    };
    show("").wrong("broken.key:1: ");
    show(&key.replace("PRIVATE", "PUBLIC")).wrong("broken.key:1: ");
    show(&key.replacen("MC", "!!", 1)).wrong("broken.key:2: ");
    show(&key.replacen("MC", "", 1)).wrong("broken.key:2: ");
    show(&key.replace("-----END PRIVATE KEY-----\n", "")).wrong("broken.key:2: ");
    bed.run("title register carol.names.example. --key broken.key").wrong("broken.key:2: ");
    // A replica's secrets.
    let home = bed.folder.path().join("home");
    fs::copy(bed.path("replica-0/replica.toml"), home.join("replica.toml")).unwrap();
    let secrets = home.join("secrets.key");
    fs::copy(bed.path("replica-0/secrets.key"), &secrets).unwrap();
    let text = fs::read_to_string(&secrets).unwrap();
    let middle = text.lines().nth(5).expect("many lines");
    fs::write(&secrets, text.replace(middle, &middle.chars().rev().collect::<String>())).unwrap();
    Run::of(torrens().arg("replica").arg("--dir").arg(&home)).wrong("secrets.key: damaged");
}

/// FORMERR, NOTIMP, REFUSED, BADVERS or nothing: never records, never the end of the server.
fn is_a_refusal(answer: &[u8]) -> bool {
    let counts = answer.len() >= 12 && answer[6..10] == [0; 4];
    counts && answer[2] & 0x80 != 0 && answer[3] & 15 != 2
}

fn datagrams_of_noise_are_refused_or_ignored(bed: &Testbed) {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let socket = udp(bed.dns(0));
    for round in 0..40u16 {
        for _ in 0..25 {
            let mut noise = vec![0; rng.next_u32() as usize % 600];
            rng.fill_bytes(&mut noise);
            if rng.next_u32() % 2 == 0 && noise.len() > 12 {
                // A header that gets further: a query with one question.
                noise[2..12].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            }
            socket.send(&noise).unwrap();
        }
        still_answers(&socket, 0xf000 + round);
    }
}

/// Reads what comes until the answer to a sound query does.
fn still_answers(socket: &std::net::UdpSocket, id: u16) {
    let sound = query(id, &Name::parse(NAME, None).unwrap(), A);
    socket.send(&sound).unwrap();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).expect("the server still answers");
        let answer = &buffer[..length];
        if answer[..2] == id.to_be_bytes() && answer[6..8] != [0, 0] {
            assert_eq!(answer[3] & 15, 0, "{answer:x?}");
            return;
        }
        assert!(is_a_refusal(answer), "{answer:x?}");
    }
}

fn queries_cut_short_are_refused_or_ignored(bed: &Testbed) {
    let sound = query(1, &Name::parse(NAME, None).unwrap(), A);
    let socket = udp(bed.dns(0));
    for length in 0..sound.len() {
        socket.send(&sound[..length]).unwrap();
    }
    still_answers(&socket, 0xff00);
    let mut tcp = Tcp::connect(bed.dns(0));
    for length in 12..sound.len() {
        let answer = tcp.ask(&sound[..length]).expect("FORMERR, on a connection that stays open");
        // Without its OPT record and with the count changed it would be sound; here every cut is an error.
        assert_eq!((answer[3] & 15, is_a_refusal(&answer)), (1, true), "{length}: {answer:x?}");
    }
    assert_eq!(tcp.ask(&sound).expect("an answer")[3] & 15, 0);
}

fn streams_of_noise_do_no_harm(bed: &Testbed) {
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    for port in [bed.dns(0), bed.http(0), bed.dns(0) + 5] {
        for _ in 0..20 {
            let mut noise = vec![0; 2000];
            rng.fill_bytes(&mut noise);
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server still listens");
            // It may hang up in the middle.
            let _ = stream.write_all(&noise);
        }
    }
    let sound = query(2, &Name::parse(NAME, None).unwrap(), A);
    assert_eq!(Tcp::connect(bed.dns(0)).ask(&sound).expect("an answer")[3] & 15, 0);
}

fn names_outside_the_zones_are_refused(bed: &Testbed) {
    for name in ["example.org.", "example.", "xnames.example.", "."] {
        for transport in ["+notcp", "+tcp"] {
            let said = dig(bed.dns(1), &format!("{transport} +norecurse +dnssec {name} A"));
            assert_eq!((said.status.as_str(), said.answers.len(), said.authorities.len()), ("REFUSED", 0, 0), "{name}");
        }
    }
    assert_eq!(dig(bed.dns(1), &format!("+opcode=update {NAME} SOA")).status, "NOTIMP");
}

/// Status and body of a submission.
fn submit(bed: &Testbed, bytes: &[u8]) -> (u16, serde_json::Value) {
    let file = bed.file("operation");
    fs::write(&file, bytes).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--max-time", "30", "-H", "Expect:"]);
    curl.args(["-H", "Content-Type: application/octet-stream"]);
    curl.args(["--data-binary", &format!("@{file}"), "-w", "\n%{http_code}"]);
    let out = Run::of(curl.arg(format!("http://127.0.0.1:{}/v1/operations", bed.http(0)))).ok();
    let (body, status) = out.rsplit_once('\n').expect("a body and a status");
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn operation(bed: &Testbed, sequence: u64, action: Action) -> Operation {
    let cluster = Cluster::load(&bed.path("cluster.toml")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    Operation {
        network: cluster.network,
        zone: Name::parse("names.example.", None).unwrap(),
        title: Name::parse("dave.names.example.", None).unwrap(),
        sequence,
        previous: Digest::ZERO,
        valid_until: Timestamp(now + 600_000),
        action,
    }
}

fn sign(bed: &Testbed, operation: Operation) -> SignedOperation {
    operation.sign(&keyfile::load(bed.file("alice.key").as_ref()).unwrap())
}

fn operations_that_cannot_be_are_turned_away_at_the_door(bed: &Testbed) {
    let sound = sign(bed, operation(bed, 0, Action::Register)).to_bytes();
    let code = |bytes: &[u8]| {
        let (status, body) = submit(bed, bytes);
        (status, body["code"].as_str().unwrap_or("none").to_string())
    };
    assert_eq!(code(b""), (400, "malformed".into()));
    assert_eq!(code(b"no operation"), (400, "malformed".into()));
    assert_eq!(code(&sound[..sound.len() - 1]), (400, "malformed".into()));
    assert_eq!(code(&[&sound[..], &[0]].concat()), (400, "malformed".into()));
    assert_eq!(code(&vec![0; 100 * 1024]), (413, "too-large".into()));
    let mut forged = sound.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(code(&forged), (403, "bad-signature".into()));
    let elsewhere = Operation { network: Digest([9; 32]), ..operation(bed, 0, Action::Register) };
    assert_eq!(code(&sign(bed, elsewhere).to_bytes()), (400, "wrong-network".into()));
    let outside =
        Operation { title: Name::parse("dave.example.org.", None).unwrap(), ..operation(bed, 0, Action::Register) };
    assert_eq!(code(&sign(bed, outside).to_bytes()), (400, "unknown-zone".into()));
    bed.run("title show dave.names.example.").refused("nobody holds");
}

fn what_depends_on_the_state_is_refused_with_a_position(bed: &Testbed) {
    let outcome = |operation: Operation| {
        let (status, received) = submit(bed, &sign(bed, operation).to_bytes());
        assert_eq!(status, 202, "{received}");
        let digest = received["digest"].as_str().expect("a digest");
        let url = format!("http://127.0.0.1:{}/v1/operations/{digest}?wait_ms=20000", bed.http(0));
        let out = Run::of(Command::new("curl").args(["-sS", "--noproxy", "*", "--max-time", "30", &url])).ok();
        let outcome: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(outcome["position"].is_u64(), "{outcome}");
        outcome
    };
    let misplaced =
        Operation { zone: Name::parse("example.org.", None).unwrap(), ..operation(bed, 0, Action::Register) };
    assert_eq!(outcome(misplaced)["code"], "wrong-zone");
    assert_eq!(outcome(operation(bed, 0, Action::Register))["result"], "accepted");
    let set =
        || Action::Set { changes: vec![RecordChange::Delete { name: Name::parse(NAME, None).unwrap(), rtype: A }] };
    assert_eq!(outcome(operation(bed, 7, set()))["code"], "wrong-sequence");
    assert_eq!(outcome(operation(bed, 1, set()))["code"], "wrong-previous");
    let mut stale = operation(bed, 1, set());
    stale.valid_until.0 -= 610_000;
    assert_eq!(outcome(stale)["code"], "expired");
    assert_eq!(outcome(operation(bed, 1, Action::Accept))["code"], "not-offered");
}
