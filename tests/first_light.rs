//! The whole way once: four replica processes, owners at their command line, stock resolvers, stock TLS clients.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use support::dns::{Tcp, Unbound, delv, dig, query, serial, signatures};
use support::process::{Run, is_running};
use support::testbed::{Testbed, torrens};
use support::tls::{ACCEPTED, REFUSED, openssl, verdicts};
use support::{Steps, eventually};
use torrens::ca::authorize::Hostname;
use torrens::ca::certificate::{assemble, to_pem};
use torrens::ca::csr::CertificateRequest;
use torrens::ca::profile::{Period, serial as certificate_serial};
use torrens::ca::public_key::check_public_key;
use torrens::ca::tbs::{IssuanceFacts, build};
use torrens::ca::{Authority, certificate};
use torrens::client::Cluster;
use torrens::config::SecretBundle;
use torrens::crypto::shoup::RsaSecret;
use torrens::directory::master::parse_zone;
use torrens::directory::name::Name;
use torrens::directory::rrset::Rtype;
use torrens::replica::genesis::Genesis;
use torrens::store::Read as _;
use torrens::store::rocks::RocksStore;

const ZONE: &str = "names.example.";
const ZONE_FILE: &str = include_str!("../zones/names.example.zone");
const ALICE: &str = "alice.names.example.";

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

#[test]
fn first_light() {
    let mut steps = Steps::new();
    steps.next("a testbed starts and says ready");
    let mut bed = Testbed::start(&[]);
    the_testbed_writes_what_clients_need(&bed);
    replicas_listen_at_their_ports(&bed);
    steps.next("the replicas answer alike, to the byte");
    replicas_give_equal_bytes(&bed);
    replicas_give_equal_answers_to_dig(&bed);
    steps.next("delv and unbound validate");
    delv_validates_under_the_anchor(&bed);
    let unbound = Unbound::start(&bed);
    unbound_validates_all_that_is_and_is_not_there(&unbound);
    drop(unbound);
    steps.next("owners register, set, delete");
    let owners = Owners { alice: bed.key("alice"), bob: bed.key("bob") };
    alice_registers(&bed, &owners);
    alice_sets_records(&bed);
    only_changed_rrsets_are_signed_again(&bed);
    steps.next("refusals");
    others_are_refused(&bed);
    wrong_usage_is_exit_2(&bed);
    steps.next("a certificate");
    a_certificate_is_accepted_by_stock_clients(&bed);
    steps.next("a transfer");
    alice_hands_over_to_bob(&bed, &owners);
    status_names_the_replicas(&bed);
    steps.next("stopped");
    let serial_before = serial(bed.dns(0), ZONE);
    bed.stop();
    without_replicas_nothing_is_confirmed(&bed);
    a_leaf_outside_the_zone_is_refused_by_all(&bed);
    steps.next("resumed from the same directory");
    bed.start_again();
    names_and_serials_outlive_a_restart(&bed, &owners, serial_before);
    steps.next("end");
}

fn the_testbed_writes_what_clients_need(bed: &Testbed) {
    let cluster = Cluster::load(&bed.path("cluster.toml")).expect("a readable cluster file");
    assert_eq!((cluster.committee.len(), cluster.replicas.len(), cluster.zones.len()), (4, 4, 1));
    for (replica, at) in cluster.replicas.iter().zip(0..) {
        assert_eq!(replica.dns.to_string(), format!("127.0.0.1:{}", bed.dns(at)));
        assert_eq!(replica.api, format!("127.0.0.1:{}", bed.http(at)));
        assert!(is_running(bed.pid(at)), "replica-{at}/pid names a process");
    }
    // The anchor is the DNSKEY that is served, and the DS that stock tools make of it.
    let anchor = bed.text("trust/names.example.key");
    let served = dig(bed.dns(0), &format!("+norecurse {ZONE} DNSKEY"));
    let key = served.data("DNSKEY");
    assert_eq!(key.len(), 1, "{served:?}");
    assert!(anchor.starts_with(ZONE) && anchor.contains(" DNSKEY 257 3 15 "), "{anchor}");
    let without_blanks = |text: &str| text.split_whitespace().collect::<String>();
    assert!(without_blanks(&anchor).ends_with(&without_blanks(&key[0])), "{anchor} {key:?}");
    let mut command = Command::new("dnssec-dsfromkey");
    let ds = Run::of(command.args(["-2", "-f"]).arg(bed.path("trust/names.example.key")).arg("names.example")).ok();
    let fields: Vec<String> = ds.split_whitespace().skip(3).map(str::to_lowercase).collect();
    let written: Vec<String> = bed.text("trust/names.example.ds").split_whitespace().map(str::to_lowercase).collect();
    assert!(without_blanks(&written.concat()).ends_with(&fields.concat()), "{written:?} {fields:?}");
    let ca = openssl(&format!("x509 -in {} -noout -text", bed.path("trust/ca.pem").display())).ok();
    assert!(ca.contains("CA:TRUE") && ca.contains("Name Constraints: critical"), "{ca}");
    // Who owns the genesis names.
    let registry = bed.path("keys/registry.key");
    let public = Run::of(torrens().args(["key", "show"]).arg(&registry)).ok();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&registry).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let shown = bed.run("title show www.names.example.").ok();
    assert!(shown.contains(public.trim()), "{shown}");
}

fn replicas_listen_at_their_ports(bed: &Testbed) {
    for replica in 0..4 {
        for path in ["readyz", "livez", "metrics", "v1/status"] {
            let url = format!("http://127.0.0.1:{}/{path}", bed.http(replica));
            let run = Run::of(Command::new("curl").args(["-sSf", "--noproxy", "*", "--max-time", "30", &url]));
            assert!(!run.ok().is_empty());
        }
        std::net::TcpStream::connect(("127.0.0.1", bed.dns(replica) + 5)).expect("peers are listened to");
    }
}

/// Every name and type of the zone file, what the service adds, and names that are not there.
fn questions() -> Vec<(Name, Rtype)> {
    let mut refuse = |file: &str| Err(file.to_string());
    let zone = parse_zone(ZONE_FILE, "names.example.zone", None, &mut refuse).unwrap();
    let mut questions: Vec<(Name, Rtype)> = zone.records.keys().cloned().collect();
    let (dnskey, nsec, any) = (Rtype(48), Rtype(47), Rtype(255));
    questions.extend([dnskey, nsec, any].map(|rtype| (name(ZONE), rtype)));
    let others = [
        "no-such-name",
        "a.wild",
        "b.c.wild",
        "x.exact.wild",
        "b.deep",
        "txt.old",
        "a.txt.old",
        "www.signed",
        "www.unsigned",
        "host.outside",
        "www.alice",
    ];
    for other in others {
        questions.extend([1, 16, 43].map(|rtype| (name(&format!("{other}.{ZONE}")), Rtype(rtype))));
    }
    questions.extend(["signed", "unsigned", "outside"].map(|cut| (name(&format!("{cut}.{ZONE}")), Rtype(43))));
    questions
}

fn replicas_give_equal_bytes(bed: &Testbed) {
    let mut connections: Vec<Tcp> = (0..4).map(|replica| Tcp::connect(bed.dns(replica))).collect();
    for (id, (name, rtype)) in (0..).zip(questions()) {
        let message = query(id, &name, rtype);
        let answers: Vec<Vec<u8>> =
            connections.iter_mut().map(|tcp| tcp.ask(&message).expect("an answer over TCP")).collect();
        let rcode = answers[0][3] & 15;
        assert!(matches!(rcode, 0 | 3), "{name} {rtype}: response code {rcode}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{name} {rtype}: the replicas differ");
    }
}

fn replicas_give_equal_answers_to_dig(bed: &Testbed) {
    let batch: String = questions().iter().map(|(name, rtype)| format!("{name} {rtype}\n")).collect();
    let file = bed.file("questions");
    fs::write(&file, batch).unwrap();
    let answers = |replica: u16| {
        let mut command = Command::new("dig");
        command.args(["@127.0.0.1", "-p", &bed.dns(replica).to_string(), "+dnssec", "+norecurse", "+nocookie"]);
        command.args(["+time=10", "+noall", "+comments", "+answer", "+authority", "+additional", "-f", &file]);
        let text = Run::of(&mut command).ok();
        // Message IDs are dig's.
        let lines = text.lines().map(|line| line.split(", id: ").next().expect("one part at least"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let first = answers(0);
    assert!(first.contains("RRSIG\tSOA 15 2") && first.contains("status: NXDOMAIN"), "{first}");
    assert!(!first.contains("SERVFAIL") && !first.contains("REFUSED") && !first.contains("FORMERR"), "{first}");
    for replica in 1..4 {
        assert_eq!(answers(replica), first, "replica {replica}");
    }
}

fn delv_validates_under_the_anchor(bed: &Testbed) {
    for (name, rtype) in [("www", "A"), ("blog", "A"), ("any.wild", "TXT"), ("_443._tcp.www", "TLSA")] {
        let said = delv(bed, 2, ZONE, &format!("{name}.{ZONE}"), rtype);
        assert!(said.contains("; fully validated") && !said.contains("unsigned"), "{name}: {said}");
    }
    for (name, rtype) in [("no-such-name", "A"), ("www", "MX"), ("unsigned", "DS")] {
        let said = delv(bed, 3, ZONE, &format!("{name}.{ZONE}"), rtype);
        assert!(said.contains("; negative response, fully validated"), "{name}: {said}");
    }
}

fn unbound_validates_all_that_is_and_is_not_there(unbound: &Unbound) {
    let below_a_cut = |name: &str| ["signed", "unsigned", "outside"].iter().any(|cut| name.contains(cut));
    let mut refuse = |file: &str| Err(file.to_string());
    for (name, rtype) in parse_zone(ZONE_FILE, "names.example.zone", None, &mut refuse).unwrap().records.keys() {
        let (name, rtype) = (name.to_string(), rtype.to_string());
        if !below_a_cut(&name) {
            let said = unbound.validated(&name, &rtype);
            assert_eq!(said.status, "NOERROR");
            assert!(!said.data(&rtype).is_empty(), "{name} {rtype}: {said:?}");
        }
    }
    let wildcard = unbound.validated("whatever.you.ask.wild.names.example.", "A");
    assert_eq!(wildcard.data("A"), ["192.0.2.200"]);
    assert_eq!(unbound.validated("signed.names.example.", "DS").data("DS").len(), 1);
    let renamed = unbound.validated("txt.old.names.example.", "TXT");
    assert_eq!((renamed.data("DNAME").len(), renamed.data("TXT").len()), (1, 1));
    let nothing = [
        ("no-such-name", "A", "NXDOMAIN"),
        ("a.b.no-such-name", "A", "NXDOMAIN"),
        ("www", "MX", "NOERROR"),
        ("b.deep", "A", "NOERROR"),
        ("any.wild", "MX", "NOERROR"),
        ("unsigned", "DS", "NOERROR"),
    ];
    for (name, rtype, status) in nothing {
        let said = unbound.validated(&format!("{name}.{ZONE}"), rtype);
        assert_eq!((said.status.as_str(), said.data(rtype).len()), (status, 0), "{name} {rtype}: {said:?}");
    }
}

/// Public keys as `key show` prints them.
struct Owners {
    alice: String,
    bob: String,
}

fn alice_registers(bed: &Testbed, owners: &Owners) {
    let before = serial(bed.dns(0), ZONE);
    let outcome = bed.json(&format!("title register {ALICE} --key alice.key"), &[]);
    assert_eq!(outcome["result"], "accepted");
    assert_eq!(outcome["zone"], ZONE);
    assert!(outcome["position"].as_u64().is_some_and(|position| position >= 1), "{outcome}");
    assert!(outcome["serial"].as_u64().is_some_and(|serial| serial > before.into()), "{outcome}");
    let shown = bed.run(&format!("title show {ALICE}")).ok();
    assert!(shown.contains(&owners.alice), "{shown}");
    let public = owners.alice.strip_prefix("ed25519:").expect("as `key show` prints it");
    everywhere(bed, |replica| {
        let said = dig(bed.dns(replica), &format!("+norecurse {ALICE} KEY"));
        let key: Vec<String> = said.data("KEY").iter().map(|key| key.replace(' ', "")).collect();
        if key == [format!("512315{public}")] { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

/// Asks every replica until all say what `check` wants: those beyond f + 1 may lag behind the command's end.
fn everywhere(bed: &Testbed, check: impl Fn(u16) -> Result<(), String>) {
    for replica in 0..4 {
        eventually(&format!("replica {replica} of {}", bed.dir().display()), || check(replica));
    }
}

#[track_caller]
fn resolves(bed: &Testbed, name: &str, rtype: &str, data: &[&str]) {
    everywhere(bed, |replica| {
        let said = delv(bed, replica, ZONE, name, rtype);
        let found = data.iter().all(|data| said.contains(data));
        if found && said.contains("fully validated") { Ok(()) } else { Err(said) }
    });
}

fn alice_sets_records(bed: &Testbed) {
    let set = format!("title set {ALICE} --key alice.key");
    let said = bed.run_with(&set, &["@ 300 A 192.0.2.7", "www.alice.names.example. 300 AAAA 2001:db8::7"]).ok();
    assert!(said.contains("accepted at position ") && said.contains(" serial "), "{said}");
    resolves(bed, ALICE, "A", &["192.0.2.7"]);
    resolves(bed, "www.alice.names.example.", "AAAA", &["2001:db8::7"]);
    bed.run_with(&set, &["www 300 TXT \"two words\"", "www 300 TXT more", "mail 300 A 192.0.2.25"]).ok();
    resolves(bed, "www.alice.names.example.", "TXT", &["\"two words\"", "\"more\""]);
    // What is not named stays; what is named is replaced.
    bed.run_with(&set, &["www 300 TXT other"]).ok();
    resolves(bed, "www.alice.names.example.", "TXT", &["\"other\""]);
    resolves(bed, "www.alice.names.example.", "AAAA", &["2001:db8::7"]);
    bed.run_with(&set, &["--delete", "mail", "A", "--delete", "www.alice.names.example.", "TXT"]).ok();
    resolves(bed, "mail.alice.names.example.", "A", &["negative response, fully validated"]);
    resolves(bed, "www.alice.names.example.", "TXT", &["negative response, fully validated"]);
    let shown = bed.run(&format!("title show {ALICE}")).ok();
    assert!(shown.contains("192.0.2.7") && !shown.contains("192.0.2.25"), "{shown}");
    let unbound = Unbound::start_without_cache(bed);
    assert_eq!(unbound.validated(ALICE, "A").data("A"), ["192.0.2.7"]);
    assert_eq!(unbound.validated("mail.alice.names.example.", "A").status, "NXDOMAIN");
}

fn only_changed_rrsets_are_signed_again(bed: &Testbed) {
    let kept = [
        ("www.names.example.", "A"),
        ("mail.names.example.", "MX"),
        (ZONE, "NS"),
        (ZONE, "DNSKEY"),
        (ALICE, "KEY"),
        (ALICE, "NSEC"),
        ("adelaide.names.example.", "NSEC"),
        ("www.alice.names.example.", "AAAA"),
    ];
    let changed = [(ZONE, "SOA"), (ALICE, "A")];
    let all = || -> BTreeMap<(&str, &str), Vec<String>> {
        let rrsets = kept.iter().chain(&changed);
        rrsets.map(|&(name, rtype)| ((name, rtype), signatures(bed.dns(0), name, rtype))).collect()
    };
    let before = all();
    bed.run_with(&format!("title set {ALICE} --key alice.key"), &["@ 300 A 192.0.2.8"]).ok();
    resolves(bed, ALICE, "A", &["192.0.2.8"]);
    let after = all();
    for rrset in kept {
        assert_eq!(before[&rrset], after[&rrset], "{rrset:?} was signed again without need");
    }
    for rrset in changed {
        assert_ne!(before[&rrset], after[&rrset], "{rrset:?} has an old signature");
    }
}

fn others_are_refused(bed: &Testbed) {
    let before = bed.json(&format!("title show {ALICE}"), &[])["title"].clone();
    bed.run(&format!("title register {ALICE} --key bob.key")).refused("is taken");
    bed.run("title register www.names.example. --key bob.key").refused("is taken");
    bed.run_with(&format!("title set {ALICE} --key bob.key"), &["@ A 192.0.2.66"]).refused("does not own");
    bed.run(&format!("title accept {ALICE} --key bob.key")).refused("is offered to nobody");
    bed.run("title register deep.carol.names.example. --key bob.key").refused("one label below");
    bed.run("title register _x.names.example. --key bob.key").refused("reserved");
    bed.run(&format!("title register {ZONE} --key bob.key")).refused("is a zone");
    bed.run_with("title set carol.names.example. --key bob.key", &["@ A 192.0.2.66"]).refused("title register");
    let set = format!("title set {ALICE} --key alice.key");
    bed.run_with(&set, &["www.names.example. A 192.0.2.66"]).refused("does not lie within");
    bed.run_with(&set, &["@ A 192.0.2.666"]).refused("192.0.2.666");
    bed.run_with(&set, &["@ NOTYPE x"]).refused("NOTYPE");
    bed.run_with(&set, &["@ CNAME www.names.example."]).refused("CNAME");
    bed.run_with(&set, &["@ SOA . . 1 1 1 1 1"]).refused("SOA");
    let many: Vec<String> = (0..900).map(|at| format!("n{at} TXT {}", "x".repeat(80))).collect();
    bed.run_with(&set, &many.iter().map(String::as_str).collect::<Vec<_>>()).refused("bytes");
    bed.run("title show carol.names.example.").refused("nobody holds");
    let refused = bed.run(&format!("title register {ALICE} --key bob.key --json"));
    let outcome: serde_json::Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((refused.code, outcome["code"].as_str()), (1, Some("name-taken")), "{outcome}");
    assert!(outcome["position"].is_u64(), "{outcome}");
    assert_eq!(bed.json(&format!("title show {ALICE}"), &[])["title"], before, "a refusal changed something");
}

fn wrong_usage_is_exit_2(bed: &Testbed) {
    bed.run("title register carol.example.org. --key bob.key").wrong("lies in no zone");
    bed.run("title register carol.names.example. --key nobody.key").wrong("nobody.key");
    bed.run("title register not..aname --key bob.key").wrong("not..aname");
    bed.run(&format!("title set {ALICE} --key alice.key")).wrong("RECORD");
    bed.run(&format!("title transfer {ALICE} --key alice.key --to ed25519:AAAA")).wrong("key show");
    bed.run("title burn x").wrong("burn");
    Run::of(torrens().args(["key", "generate", "--out", &bed.file("bob.key")])).wrong("never overwritten");
}

fn a_certificate_is_accepted_by_stock_clients(bed: &Testbed) {
    let (key, csr, chain) = (bed.file("tls.key"), bed.file("tls.csr"), bed.file("chain.pem"));
    openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}")).ok();
    openssl(&format!("req -new -key {key} -subj /CN=bank.example -out {csr}")).ok();
    let issue = format!("cert issue {ALICE} --csr {csr} --out {chain}");
    bed.run(&format!("{issue} --key bob.key")).refused("does not own");
    bed.run(&format!("{issue} --key alice.key --san bank.example.")).refused("bank.example.");
    assert!(!fs::exists(&chain).unwrap(), "a refusal leaves no file");
    bed.run(&format!("{issue} --key alice.key --san www.alice.names.example.")).ok();
    let ca = bed.path("trust/ca.pem");
    for host in ["alice.names.example", "www.alice.names.example"] {
        assert_eq!(verdicts(&ca, chain.as_ref(), key.as_ref(), host), ACCEPTED, "{host}");
    }
    let text = openssl(&format!("x509 -in {chain} -noout -text")).ok();
    assert!(text.contains("TLS Web Server Authentication") && text.contains("sha256WithRSAEncryption"), "{text}");
    assert!(!text.contains("bank.example"), "only the key is taken from the request: {text}");
}

fn alice_hands_over_to_bob(bed: &Testbed, owners: &Owners) {
    let offer = format!("title transfer {ALICE} --key alice.key --to {}", owners.bob);
    bed.run(&offer).ok();
    assert!(bed.run(&format!("title show {ALICE}")).ok().contains("offered to"));
    bed.run(&format!("title set {ALICE} --key bob.key --delete www AAAA")).refused("does not own");
    bed.run(&format!("title accept {ALICE} --key bob.key")).ok();
    let shown = bed.json(&format!("title show {ALICE}"), &[]);
    assert_eq!(shown["title"]["owner"], owners.bob);
    bed.run_with(&format!("title set {ALICE} --key alice.key"), &["@ A 192.0.2.66"]).refused("does not own");
    bed.run_with(&format!("title set {ALICE} --key bob.key"), &["@ 300 A 192.0.2.9"]).ok();
    resolves(bed, ALICE, "A", &["192.0.2.9"]);
    resolves(bed, ALICE, "KEY", &[&owners.bob["ed25519:".len()..][..20]]);
    let history = bed.run(&format!("title history {ALICE}")).ok();
    for event in ["registered by", "offered to", "transferred from"] {
        assert!(history.contains(event), "{event}: {history}");
    }
    assert!(history.contains(&owners.bob), "{history}");
}

fn status_names_the_replicas(bed: &Testbed) {
    let text = bed.run("status").ok();
    assert!(text.contains(ZONE) && text.contains("height"), "{text}");
    let status = bed.json("status", &[]);
    let replicas = status["replicas"].as_array().expect("a list");
    assert_eq!(replicas.len(), 4);
    assert!(replicas.iter().all(|replica| replica["answered"] == true), "{status}");
    assert!(status["height"].as_u64().is_some_and(|height| height > 0), "{status}");
}

fn without_replicas_nothing_is_confirmed(bed: &Testbed) {
    assert_eq!(bed.run("status --timeout 0.3").code, 3);
    assert_eq!(bed.run("title register carol.names.example. --key bob.key --timeout 0.3").code, 3);
}

/// The service never issues this: it takes f + 1 replicas' secrets.
fn a_leaf_outside_the_zone_is_refused_by_all(bed: &Testbed) {
    let store = RocksStore::open_any(&bed.path("replica-0/data")).expect("the replica has stopped");
    let genesis = Genesis::from_bytes(&store.genesis().unwrap()).unwrap();
    drop(store);
    let authority = Authority::from_certificate(&genesis.authority.certificate).unwrap();
    assert_eq!(fs::read_to_string(bed.path("trust/ca.pem")).unwrap(), to_pem(authority.certificate()));
    let spki = CertificateRequest::parse(&fs::read(bed.file("tls.csr")).unwrap()).unwrap().spki_der;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (chain, key, ca) = (bed.file("forged.pem"), bed.file("tls.key"), bed.path("trust/ca.pem"));
    for (host, expected) in [("bob.names.example", ACCEPTED), ("bank.example", REFUSED), ("example.org", REFUSED)] {
        let to_be_signed = build(&IssuanceFacts {
            authority: &authority,
            serial: certificate_serial(b"stolen", 1),
            validity: Period::new(now - 60, now + 86_400).unwrap(),
            public_key: check_public_key(&spki).unwrap(),
            names: &[Hostname::of(&name(host)).unwrap()],
        });
        let mut shares = BTreeMap::new();
        for replica in 0..genesis.authority.key.threshold() {
            let secrets = SecretBundle::read(&bed.path(&format!("replica-{replica}/secrets.key"))).unwrap();
            let secret = RsaSecret::from_bytes(&secrets.rsa_share).unwrap();
            let share = secret.share(&genesis.authority.key, &to_be_signed, &mut rand_core::OsRng).unwrap();
            shares.insert(secret.owner(), share);
        }
        let signature = genesis.authority.key.combine(&to_be_signed, &shares).unwrap().signature;
        let leaf = assemble(&to_be_signed, &signature);
        assert!(certificate::verify_signature(&leaf, &authority), "f + 1 shares do sign");
        fs::write(&chain, certificate::chain_pem(&leaf, &authority)).unwrap();
        assert_eq!(verdicts(&ca, chain.as_ref(), key.as_ref(), host), expected, "{host}");
    }
}

fn names_and_serials_outlive_a_restart(bed: &Testbed, owners: &Owners, serial_before: u32) {
    everywhere(bed, |replica| {
        let now = serial(bed.dns(replica), ZONE);
        if now >= serial_before { Ok(()) } else { Err(format!("serial {now} after {serial_before}")) }
    });
    assert_eq!(bed.json(&format!("title show {ALICE}"), &[])["title"]["owner"], owners.bob);
    resolves(bed, ALICE, "A", &["192.0.2.9"]);
    let outcome = bed.json(&format!("title set {ALICE} --key bob.key"), &["@ 300 A 192.0.2.10"]);
    assert!(outcome["serial"].as_u64().is_some_and(|serial| serial > serial_before.into()), "{outcome}");
    resolves(bed, ALICE, "A", &["192.0.2.10"]);
    replicas_give_equal_bytes(bed);
}
