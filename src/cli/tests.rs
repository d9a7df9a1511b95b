//! Commands from their arguments to their exit codes, over the real API and a small honest world.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;

use super::*;
use crate::client::cluster::tests::{head_key, sealing_key};
use crate::client::cluster::{Cluster, Replica, Zone};
use crate::committee::{Committee, ReplicaId};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::{PublicKey, SecretKey};
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::operation::{Action, SignedOperation};
use crate::directory::title::{Event, HistoryEntry};
use crate::http::{Backend, Unreadable, Until, router, serve};
use crate::replica::envelope::{self, Envelope};
use crate::replica::report::*;

const NETWORK: Digest = Digest([0x11; 32]);
/// Within the validity of the certificates in testdata.
const NOW: Timestamp = Timestamp(2_000_000_000_000);

/// All honest replicas in one: executes at once, and by a few rules only.
#[derive(Default)]
struct World {
    titles: BTreeMap<Name, TitleReport>,
    history: BTreeMap<Name, Vec<HistoryEntry>>,
    outcomes: BTreeMap<Digest, OutcomeReport>,
    /// Names that were asked for.
    asked: Vec<Name>,
}

impl World {
    fn execute(&mut self, bytes: &[u8]) -> Result<Digest, DoorRefusal> {
        let signed = SignedOperation::from_bytes(bytes).map_err(|_| DoorRefusal::Malformed)?;
        let verified = signed.verify().ok_or(DoorRefusal::BadSignature)?;
        let (digest, operation) = (verified.digest(), verified.operation().clone());
        if operation.network != NETWORK {
            return Err(DoorRefusal::WrongNetwork);
        }
        if self.outcomes.contains_key(&digest) {
            return Ok(digest);
        }
        let position = self.outcomes.len() as u64 + 1;
        let decided = self.decide(&operation.title, &operation.zone, *verified.signer(), operation.action);
        let result = match decided {
            Ok(event) => {
                let title = self.titles.get_mut(&operation.title).unwrap();
                (title.sequence, title.head) = (operation.sequence, digest);
                let certificate = matches!(event, Event::CertificateRequested { .. }).then_some(position);
                let entry = HistoryEntry {
                    sequence: operation.sequence,
                    position,
                    time: NOW,
                    digest,
                    signer: *verified.signer(),
                    event,
                };
                self.history.entry(operation.title).or_default().push(entry);
                OperationResult::Accepted { zone: operation.zone, serial: 2026112103, certificate }
            }
            Err(code) => OperationResult::Refused { code: code.into(), message: format!("because of {code}") },
        };
        let report = OutcomeReport { digest, position, height: position, agreed_time: NOW, result, visible: true };
        self.outcomes.insert(digest, report);
        Ok(digest)
    }

    /// Opens an envelope, with the shares of two replicas, and executes what is inside.
    fn execute_sealed(&mut self, bytes: &[u8]) -> Result<Digest, DoorRefusal> {
        let (key, secrets) = sealing_key();
        let Envelope { digest, ciphertext } = envelope::check(bytes)?;
        let shares: Vec<_> = secrets[2..].iter().map(|secret| (secret.index(), secret.share(&ciphertext))).collect();
        let message = key.open(&ciphertext, &shares).unwrap();
        let operation = self.execute(envelope::operation_of(&message).unwrap())?;
        let outcome = OutcomeReport { digest, ..self.outcomes[&operation].clone() };
        self.outcomes.insert(digest, outcome);
        Ok(digest)
    }

    fn decide(&mut self, name: &Name, zone: &Name, signer: PublicKey, action: Action) -> Result<Event, &'static str> {
        if action == Action::Register {
            if self.titles.contains_key(name) {
                return Err("name-taken");
            }
            let title = TitleReport {
                name: name.clone(),
                zone: zone.clone(),
                owner: signer,
                sequence: 0,
                head: Digest::ZERO,
                since: NOW,
                offered_to: None,
                records: Vec::new(),
                omitted: 0,
            };
            self.titles.insert(name.clone(), title);
            return Ok(Event::Registered { owner: signer });
        }
        let title = self.titles.get_mut(name).ok_or("no-such-title")?;
        if action == Action::Accept {
            let to = title.offered_to.take().filter(|to| *to == signer).ok_or("not-offered")?;
            let from = std::mem::replace(&mut title.owner, to);
            return Ok(Event::Accepted { from, to });
        }
        if title.owner != signer {
            return Err("not-owner");
        }
        Ok(match action {
            Action::Transfer { to } => {
                title.offered_to = Some(to);
                Event::Offered { to }
            }
            Action::Set { changes } => {
                title.records = vec![format!("{} changes", changes.len())];
                Event::RecordsSet { changed: Vec::new() }
            }
            Action::IssueCertificate { names, .. } => Event::CertificateRequested { names },
            Action::Register | Action::Accept => unreachable!("handled above"),
        })
    }
}

#[derive(Clone, Default)]
struct Honest(Arc<Mutex<World>>);

impl Honest {
    fn answer<T>(&self, read: impl FnOnce(&World) -> T) -> Answer<T> {
        let world = self.0.lock().unwrap();
        Answer { height: world.outcomes.len() as u64, agreed_time: NOW, body: read(&world) }
    }
}

impl Backend for Honest {
    async fn submit(&self, operation: Vec<u8>) -> Result<Digest, DoorRefusal> {
        self.0.lock().unwrap().execute(&operation)
    }

    async fn submit_sealed(&self, envelope: Vec<u8>) -> Result<Digest, DoorRefusal> {
        self.0.lock().unwrap().execute_sealed(&envelope)
    }

    async fn outcome(&self, digest: Digest, _: Duration, _: Until) -> Option<OutcomeReport> {
        self.0.lock().unwrap().outcomes.get(&digest).cloned()
    }

    fn title(&self, name: &Name) -> Answer<Option<TitleReport>> {
        self.0.lock().unwrap().asked.push(name.clone());
        self.answer(|world| world.titles.get(name).cloned())
    }

    fn history(&self, name: &Name) -> Result<Answer<Option<HistoryReport>>, Unreadable> {
        Ok(self.answer(|world| world.history.get(name).map(|entries| HistoryReport::new(name.clone(), entries))))
    }

    fn certificate(&self, _: u64) -> Answer<Option<CertificateReport>> {
        let pem = x509_cert::der::Document::from_pem(include_str!("testdata/leaf.pem")).unwrap();
        self.answer(|_| Some(CertificateReport { der: pem.1.as_bytes().to_vec() }))
    }

    fn head(&self) -> Option<HeadReport> {
        None
    }

    fn status(&self) -> Answer<StatusReport> {
        let zones = vec![ZoneStatus { zone: name("names.example."), serial: 2026112103, names: 12 }];
        let misdeed = Misdeed { culprit: 2, round: 9, what: "equivocation".into(), proven: true };
        let replica = ReplicaStatus {
            id: 0,
            round: 5,
            pending_signatures: 0,
            peers_connected: vec![1],
            version: "0.1.0".into(),
            evidence: vec![misdeed],
        };
        self.answer(|_| StatusReport { cluster: ClusterStatus { network: NETWORK, zones }, replica })
    }

    fn evidence(&self, _: ReplicaId, _: u64) -> Vec<Proof> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The same, except that nobody's word can be taken: says the opposite of everything.
#[derive(Clone)]
struct Liar(Honest);

impl Backend for Liar {
    async fn submit(&self, operation: Vec<u8>) -> Result<Digest, DoorRefusal> {
        Ok(SignedOperation::digest_of_bytes(&operation))
    }

    async fn submit_sealed(&self, envelope: Vec<u8>) -> Result<Digest, DoorRefusal> {
        Ok(envelope::digest_of_bytes(&envelope))
    }

    async fn outcome(&self, digest: Digest, _: Duration, _: Until) -> Option<OutcomeReport> {
        let result = OperationResult::Refused { code: "name-taken".into(), message: "lie".into() };
        Some(OutcomeReport { digest, position: 1, height: 1, agreed_time: NOW, result, visible: true })
    }

    fn title(&self, name: &Name) -> Answer<Option<TitleReport>> {
        let mut answer = self.0.title(name);
        answer.body = answer.body.map(|title| TitleReport { owner: PublicKey([9; 32]), ..title });
        Answer { height: u64::MAX, agreed_time: Timestamp(0), ..answer }
    }

    fn history(&self, _: &Name) -> Result<Answer<Option<HistoryReport>>, Unreadable> {
        Ok(Answer { height: u64::MAX, agreed_time: Timestamp(0), body: None })
    }

    fn certificate(&self, _: u64) -> Answer<Option<CertificateReport>> {
        Answer { height: u64::MAX, agreed_time: Timestamp(0), body: Some(CertificateReport { der: vec![0] }) }
    }

    fn head(&self) -> Option<HeadReport> {
        None
    }

    fn status(&self) -> Answer<StatusReport> {
        let mut answer = self.0.status();
        answer.body.cluster.zones[0].serial = 1;
        Answer { height: u64::MAX, agreed_time: Timestamp(u64::MAX), ..answer }
    }

    fn evidence(&self, _: ReplicaId, _: u64) -> Vec<Proof> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

/// A folder with a cluster file, keys and a request, and four replicas of which the first lies.
struct Scene {
    folder: tempfile::TempDir,
    honest: Honest,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let honest = Honest::default();
        let mut replicas = Vec::new();
        for id in 0..4 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let api = listener.local_addr().unwrap().to_string();
            let router =
                if id == 0 { router(Arc::new(Liar(honest.clone()))) } else { router(Arc::new(honest.clone())) };
            tokio::spawn(serve(listener, router, std::future::pending()));
            let identity = SecretKey::from_seed(&[id + 100; 32]).public();
            let dns = SocketAddr::from(([127, 0, 0, 1], 5300));
            replicas.push(Replica { id: ReplicaId(id), api, dns, identity });
        }
        Self::write(folder.path(), replicas);
        Self { folder, honest }
    }

    fn write(folder: &Path, replicas: Vec<Replica>) {
        let cluster = Cluster {
            network: NETWORK,
            committee: Committee::new(replicas.len()).unwrap(),
            replicas,
            zones: vec![Zone { name: name("names.example."), dnskey: [1; 32] }],
            ca: "ca.pem".into(),
            sealing: sealing_key().0.key(),
            heads: head_key().0.key(),
        };
        fs::write(folder.join("cluster.toml"), cluster.to_toml()).unwrap();
        fs::write(folder.join("ca.pem"), include_str!("testdata/ca.pem")).unwrap();
        fs::write(folder.join("alice.csr"), include_str!("testdata/alice.csr")).unwrap();
        for (file, seed) in [("alice.key", 1), ("bob.key", 2)] {
            crate::client::keyfile::create(&folder.join(file), &SecretKey::from_seed(&[seed; 32])).unwrap();
        }
    }

    /// Runs a command line; `DIR` stands for the folder, and `--cluster` is added to what needs it.
    async fn run(&self, line: &str) -> Result<Report, Failure> {
        let folder = self.folder.path().display().to_string();
        let mut line = line.replace("DIR", &folder);
        if !line.starts_with("key") {
            line += &format!(" --cluster {folder}/cluster.toml --state {folder}/state");
        }
        let words = line.split('|').flat_map(|part| match part.strip_prefix('\'') {
            Some(quoted) => vec![quoted.to_owned()],
            None => part.split_whitespace().map(str::to_owned).collect(),
        });
        let words = std::iter::once("torrens".to_owned()).chain(words);
        Cli::try_parse_from(words).expect("a valid command line").command.run().await
    }

    async fn exit(&self, line: &str) -> Exit {
        self.run(line).await.map_or_else(|failure| failure.exit(), |report| report.exit)
    }
}

#[test]
fn the_command_line_is_well_formed() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_exits_with_2() {
    for line in [
        "title set alice. --key k --cluster c",
        "title register --key k --cluster c",
        "title register a..b --key k --cluster c",
        "title transfer alice. --key k --cluster c --to rsa:AAAA",
        "title show alice. --cluster c --timeout never",
        "key generate",
        "frobnicate",
    ] {
        let words = std::iter::once("torrens").chain(line.split_whitespace());
        assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{line}");
    }
    let set = "torrens title set alice. --key k --cluster c --delete www A --delete @ TXT --json";
    assert!(Cli::try_parse_from(set.split_whitespace()).unwrap().json);
}

#[tokio::test]
async fn a_sealed_registration_tells_no_replica_its_name() {
    let scene = Scene::new().await;
    let report = scene.run("title register alice.names.example --key DIR/alice.key --sealed").await.unwrap();
    assert_eq!(report.exit, Exit::Accepted, "{report:?}");
    assert!(scene.honest.0.lock().unwrap().asked.is_empty());
    let other = scene.run("title register alice.names.example --key DIR/bob.key --sealed").await.unwrap();
    assert_eq!((other.exit, &other.json["code"]), (Exit::Refused, &"name-taken".into()));
    let set = "title set alice.names.example --key DIR/alice.key --sealed|'@ 300 A 192.0.2.1|";
    assert_eq!(scene.exit(set).await, Exit::Accepted);
}

#[tokio::test]
async fn a_name_from_registration_to_transfer_while_the_first_replica_lies() {
    let scene = Scene::new().await;
    let report = scene.run("title register alice.names.example --key DIR/alice.key").await.unwrap();
    assert_eq!(report.exit, Exit::Accepted);
    assert!(report.text.starts_with("accepted at position 1, zone names.example. serial 2026112103\n"), "{report:?}");
    assert_eq!((&report.json["result"], &report.json["position"]), (&"accepted".into(), &1.into()));

    let set = "title set alice.names.example. --key DIR/alice.key |'@ 300 A 192.0.2.1|";
    let report = scene.run(set).await.unwrap();
    assert!(report.text.contains("dig @127.0.0.1 -p 5300 +dnssec alice.names.example. A"), "{report:?}");

    let bob = scene.run("key show DIR/bob.key").await.unwrap().text;
    let transfer = format!("title transfer alice.names.example. --key DIR/alice.key --to {}", bob.trim());
    assert_eq!(scene.exit(&transfer).await, Exit::Accepted);
    assert_eq!(scene.exit("title accept alice.names.example. --key DIR/bob.key").await, Exit::Accepted);

    let shown = scene.run("title show alice.names.example.").await.unwrap();
    assert_eq!(shown.json["title"]["owner"], bob.trim());
    assert_eq!(shown.json["height"], 4);
    assert!(shown.text.contains("height 4, agreed time 2033-05-18T03:33:20Z"), "{}", shown.text);
    let history = scene.run("title history alice.names.example.").await.unwrap();
    assert_eq!(history.json["history"]["entries"].as_array().unwrap().len(), 4);
    assert!(history.text.contains("transferred from"), "{}", history.text);
}

#[tokio::test]
async fn refusals_exit_with_1_and_say_why() {
    let scene = Scene::new().await;
    assert_eq!(scene.exit("title register alice.names.example. --key DIR/alice.key").await, Exit::Accepted);
    let taken = scene.run("title register alice.names.example. --key DIR/bob.key").await.unwrap();
    assert_eq!((taken.exit, &taken.json["code"]), (Exit::Refused, &"name-taken".into()));
    assert_eq!(taken.text, "refused at position 2 (name-taken): because of name-taken\n");
    let stolen = scene.run("title set alice.names.example. --key DIR/bob.key --delete @ A").await.unwrap();
    assert_eq!(stolen.json["code"], "not-owner");
    let missing = scene.run("title set bob.names.example. --key DIR/bob.key --delete @ A").await.unwrap();
    assert_eq!((missing.exit, &missing.json["code"]), (Exit::Refused, &"no-such-title".into()));
    let record = scene.run("title set alice.names.example. --key DIR/alice.key |'@ A 192.0.2.300|").await.unwrap();
    assert_eq!((record.exit, &record.json["code"]), (Exit::Refused, &"bad-record".into()));
    assert_eq!(scene.exit("title show bob.names.example.").await, Exit::Refused);
}

#[tokio::test]
async fn broken_files_exit_with_2_and_are_told_by_line() {
    let scene = Scene::new().await;
    let folder = scene.folder.path();
    fs::write(folder.join("broken.key"), "-----BEGIN PRIVATE KEY-----\n!\n").unwrap();
    let failure = scene.run("title register a.names.example. --key DIR/broken.key").await.unwrap_err();
    assert!(matches!(&failure, Failure::Usage(what) if what.contains("broken.key:2: ")), "{failure:?}");
    fs::write(folder.join("broken.csr"), "no request").unwrap();
    let failure = scene
        .run("cert issue a.names.example. --key DIR/alice.key --csr DIR/broken.csr --out DIR/chain.pem")
        .await
        .unwrap_err();
    assert!(matches!(&failure, Failure::Usage(what) if what.contains("broken.csr")), "{failure:?}");
    assert_eq!(scene.exit("title register alice.org. --key DIR/alice.key").await, Exit::Usage);
    assert_eq!(scene.exit("key generate --out DIR/alice.key").await, Exit::Usage);
    let text = fs::read_to_string(folder.join("cluster.toml")).unwrap();
    fs::write(folder.join("cluster.toml"), text.replace("faults = 1", "faults = one")).unwrap();
    let failure = scene.run("status").await.unwrap_err();
    assert!(matches!(&failure, Failure::Usage(what) if what.contains("cluster.toml:2: ")), "{failure:?}");
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_exits_with_3() {
    let scene = Scene::new().await;
    assert_eq!(scene.exit("title register alice.names.example. --key DIR/alice.key").await, Exit::Accepted);
    let mut cluster = Cluster::load(&scene.folder.path().join("cluster.toml")).unwrap();
    for replica in &mut cluster.replicas[2..] {
        // Nothing listens on the discard port here.
        replica.api = format!("127.0.0.{}:9", replica.id.0);
    }
    fs::write(scene.folder.path().join("cluster.toml"), cluster.to_toml()).unwrap();
    assert_eq!(scene.exit("title show alice.names.example. --timeout 0.3").await, Exit::NotConfirmed);
    assert_eq!(
        scene.exit("title register bob.names.example. --key DIR/alice.key --timeout 0.3").await,
        Exit::NotConfirmed
    );
    assert_eq!(scene.exit("status --timeout 0.3").await, Exit::NotConfirmed);
}

#[tokio::test]
async fn a_certificate_is_written_with_its_chain() {
    let scene = Scene::new().await;
    assert_eq!(scene.exit("title register alice.names.example. --key DIR/alice.key").await, Exit::Accepted);
    let issue = "cert issue alice.names.example. --key DIR/alice.key --csr DIR/alice.csr --out DIR/chain.pem";
    let report = scene.run(&format!("{issue} --san www.alice.names.example.")).await.unwrap();
    assert_eq!(report.exit, Exit::Accepted);
    let chain = fs::read_to_string(scene.folder.path().join("chain.pem")).unwrap();
    assert_eq!(chain, [include_str!("testdata/leaf.pem"), include_str!("testdata/ca.pem")].concat());

    let if_due = scene.run(&format!("{issue} --san www.alice.names.example. --if-due")).await.unwrap();
    assert_eq!((&if_due.json["result"], if_due.exit), (&"not-due".into(), Exit::Accepted), "{}", if_due.text);

    fs::remove_file(scene.folder.path().join("chain.pem")).unwrap();
    let if_due = scene.run(&format!("{issue} --san www.alice.names.example. --if-due")).await.unwrap();
    assert_eq!((&if_due.json["result"], if_due.exit), (&"accepted".into(), Exit::Accepted), "{}", if_due.text);
    fs::remove_file(scene.folder.path().join("chain.pem")).unwrap();
    let failure = scene.run(&format!("{issue} --san mail.alice.names.example.")).await.unwrap_err();
    assert!(matches!(&failure, Failure::Usage(what) if what.contains("is not for mail")), "{failure:?}");
    assert!(!scene.folder.path().join("chain.pem").exists() && !scene.folder.path().join("chain.pem.new").exists());
}

#[tokio::test]
async fn status_shows_what_is_agreed_and_who_differs() {
    let scene = Scene::new().await;
    let report = scene.run("status").await.unwrap();
    assert_eq!(report.json["cluster"]["zones"][0]["serial"], 2026112103);
    assert_eq!(report.json["replicas"][0]["zones_as_agreed"], false);
    assert_eq!(report.json["agreed_time"], NOW.0);
    assert_eq!(report.json["replicas"][0]["own_word"]["status"]["evidence"][0]["culprit"], 2);
    assert!(report.text.contains("equivocation"), "{}", report.text);
    assert!(report.text.contains("names.example."), "{}", report.text);
}
