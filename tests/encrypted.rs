//! Encrypted DNS as stock clients speak it, under a certificate of the network's own authority, and then of another.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::dns::{A, Framed, dig, query, try_dig};
use support::process::{Process, Run};
use support::testbed::{Testbed, torrens};
use support::tls::openssl;
use support::{Steps, eventually};
use torrens::directory::name::Name;

const HOST: &str = "one.names.example";
/// Larger than any datagram: 40 of them.
const ADDRESSES: u8 = 40;

/// A testbed whose replica 1 serves every transport.
struct Served {
    bed: Testbed,
    _replica: Process,
}

impl Served {
    /// Its certificate is for [`HOST`], a title of alice's.
    fn start() -> Self {
        let bed = Testbed::start(&[]);
        bed.key("alice");
        bed.run(&format!("title register {HOST}. --key alice.key")).ok();
        let addresses: Vec<String> = (0..ADDRESSES).map(|last| format!("many 300 A 192.0.2.{last}")).collect();
        let addresses = [addresses, vec!["here 300 A 127.0.0.1".to_string()]].concat();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        bed.run_with(&format!("title set {HOST}. --key alice.key"), &addresses).ok();
        bed.kill_replica(1);
        let path = bed.path("replica-1/replica.toml");
        let port = |offset: u16| bed.dns(1) + offset;
        let more = format!(
            "tls = \"127.0.0.1:{}\"\nhttps = \"127.0.0.1:{}\"\nquic = \"127.0.0.1:{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            port(6),
            port(7),
            port(6),
            bed.file("chain.pem"),
            bed.file("tls.key")
        );
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("transfers = []\n"), "{text}");
        fs::write(&path, text.replace("transfers = []\n", &format!("transfers = []\n{more}"))).unwrap();
        let replica = bed.start_replica(1);
        let served = Self { bed, _replica: replica };
        eventually("a replica that answers", || support::dns::try_dig(served.bed.dns(1), &format!("{HOST} A")));
        served
    }

    fn tls(&self) -> u16 {
        self.bed.dns(1) + 6
    }

    fn https(&self) -> u16 {
        self.bed.dns(1) + 7
    }

    /// `curl` that finds [`HOST`] here and trusts its certificate.
    fn curl(&self, arguments: &str) -> Run {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "--cacert", &self.ca()]);
        curl.args(["--resolve", &format!("{HOST}:{}:127.0.0.1", self.https())]);
        Run::of(curl.args(arguments.split_whitespace()))
    }

    fn ca(&self) -> String {
        self.bed.path("trust/ca.pem").display().to_string()
    }

    /// As an operator does: a key and a request once, then a certificate as often as one is due, by the timer's
    /// command. What came of it.
    fn issue(&self) -> String {
        let (key, csr) = (self.bed.file("tls.key"), self.bed.file("tls.csr"));
        if !fs::exists(&key).unwrap() {
            openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}")).ok();
            openssl(&format!("req -new -key {key} -subj / -out {csr}")).ok();
        }
        let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/torrens-certificate.service");
        let unit = fs::read_to_string(unit).unwrap();
        let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/torrens ")).unwrap();
        let folder = self.bed.folder.path().display().to_string();
        let command = command.replace("HOST", HOST).replace("/etc/torrens/host.key", "/etc/torrens/alice.key");
        let command =
            command.replace("/etc/torrens/cluster.toml", &self.bed.path("cluster.toml").display().to_string());
        let command = command.replace("/etc/torrens", &folder).replace("/var/lib/torrens", &folder);
        let run = Run::of(torrens().args(command.split(' ')).arg("--json"));
        let said: serde_json::Value = serde_json::from_str(&run.ok()).unwrap();
        said["result"].as_str().unwrap().to_owned()
    }

    /// The same key, certified by an authority that puts a name into the subject. The authority's file.
    fn issue_elsewhere(&self) -> String {
        let file = |name: &str| self.bed.file(name);
        let (ca_key, ca, csr) = (file("other-ca.key"), file("other-ca.pem"), file("other.csr"));
        let (extensions, part) = (file("extensions"), file("chain.part"));
        openssl(&format!("req -x509 -newkey rsa:2048 -nodes -keyout {ca_key} -out {ca} -subj /CN=other -days 30")).ok();
        openssl(&format!("req -new -key {} -subj /CN={HOST} -out {csr}", file("tls.key"))).ok();
        fs::write(&extensions, format!("subjectAltName=DNS:{HOST}\n")).unwrap();
        let sign = format!("x509 -req -in {csr} -CA {ca} -CAkey {ca_key} -set_serial 1 -days 10");
        openssl(&format!("{sign} -extfile {extensions} -out {part}")).ok();
        fs::rename(part, file("chain.pem")).unwrap();
        ca
    }

    /// Serial number of the certificate shown to a new client.
    fn shown(&self, ca: &str) -> Result<String, String> {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", self.tls()),
            "-alpn",
            "dot",
            "-verify_return_error",
        ]);
        client.args(["-verify_hostname", HOST, "-CAfile", ca]);
        let run = Run::of(&mut client);
        if run.code != 0 {
            return Err(format!("{}{}", run.out, run.err));
        }
        assert!(run.out.contains("ALPN protocol: dot"), "{}", run.out);
        let file = self.bed.file("shown.pem");
        fs::write(&file, &run.out).unwrap();
        Ok(openssl(&format!("x509 -in {file} -noout -serial")).ok())
    }

    /// The answers that `kdig` prints, sorted.
    fn kdig(&self, port: u16, arguments: &str) -> Result<Vec<String>, String> {
        let mut kdig = Command::new("kdig");
        kdig.args(["@127.0.0.1", "-p", &port.to_string(), "+time=10", "+retry=0"]);
        let run = Run::of(kdig.args(arguments.split_whitespace()));
        if !run.out.contains("status: NOERROR") {
            return Err(format!("{}{}", run.out, run.err));
        }
        let lines = run.out.lines().skip_while(|line| !line.starts_with(";; ANSWER SECTION")).skip(1);
        let lines = lines.take_while(|line| !line.is_empty() && !line.starts_with(";;"));
        Ok(sorted(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()))
    }

    /// A TLS connection kept open.
    fn connect(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Framed<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(HOST).unwrap()).unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.tls())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Framed(StreamOwned::new(connection, stream))
    }
}

#[test]
fn every_transport_gives_the_same_answers_and_shows_the_newest_certificate() {
    let mut steps = Steps::new();
    steps.next("a replica that serves encrypted DNS and has no certificate yet");
    let served = Served::start();
    let ca = served.ca();
    let error = served.shown(&ca).unwrap_err();
    assert!(error.contains("alert"), "{error}");

    steps.next("its operator, who owns a title, gets one from the network");
    assert_eq!(served.issue(), "accepted");
    let first = eventually("the certificate to be shown", || served.shown(&ca));
    let chain = fs::read(served.bed.file("chain.pem")).unwrap();
    assert_eq!(served.issue(), "not-due");
    assert_eq!(fs::read(served.bed.file("chain.pem")).unwrap(), chain);

    steps.next("dig over TLS, which verifies it");
    let question = format!("many.{HOST} A");
    let expected = sorted(dig(served.bed.dns(1), &format!("+tcp {question}")).answers);
    assert_eq!(expected.len(), usize::from(ADDRESSES));
    let said = dig(served.tls(), &format!("+tls +tls-ca={ca} +tls-hostname={HOST} {question}"));
    assert_eq!(sorted(said.answers), expected);
    try_dig(served.tls(), &format!("+tls +tls-ca={ca} +tls-hostname=two.names.example {question}")).unwrap_err();

    steps.next("dig and curl over HTTPS");
    let verified = format!("+tls-ca={ca} +tls-hostname={HOST} {question}");
    for kind in ["+https", "+https-get"] {
        assert_eq!(sorted(dig(served.https(), &format!("{kind} {verified}")).answers), expected);
    }
    let url = format!("https://{HOST}:{}/dns-query", served.https());
    // As a browser: what it asks the replica for lies where DNS over HTTPS says.
    let found = served.curl(&format!("--doh-url {url} http://here.{HOST}:{}/readyz", served.bed.http(1)));
    assert_eq!(found.code, 0, "{found:?}");
    let message = query(0, &Name::parse(&format!("many.{HOST}."), None).unwrap(), A);
    let text = data_encoding::BASE64URL_NOPAD.encode(&message);
    for version in ["--http1.1", "--http2"] {
        let head = served.curl(&format!("{version} --output /dev/null --dump-header - {url}?dns={text}")).ok();
        assert!(head.lines().next().is_some_and(|line| line.contains(" 200")), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("content-type: application/dns-message\r\n"), "{head}");
        assert!(head.contains("cache-control: max-age=300\r\n"), "{head}");
    }

    steps.next("kdig over TLS, HTTPS and QUIC, which verifies it");
    assert_eq!(served.kdig(served.tls(), &format!("+tls {verified}")).unwrap(), expected);
    for kind in ["+https", "+https +https-get"] {
        assert_eq!(served.kdig(served.https(), &format!("{kind} {verified}")).unwrap(), expected);
    }
    // Not the other way round: options of TLS turn QUIC into TLS, half of it at least (kdig 3.2 crashes).
    let over_quic = format!("+tls-ca={ca} +tls-hostname={HOST} +quic {question}");
    assert_eq!(served.kdig(served.tls(), &over_quic).unwrap(), expected);
    let for_another = format!("+tls +tls-ca={ca} +tls-hostname=two.names.example {question}");
    served.kdig(served.tls(), &for_another).unwrap_err();

    steps.next("a certificate of another authority; connections that were there go on");
    let message = query(7, &Name::parse(&format!("many.{HOST}."), None).unwrap(), A);
    let mut open = [served.connect(&rustls::version::TLS13), served.connect(&rustls::version::TLS12)];
    let answers: Vec<Option<Vec<u8>>> = open.iter_mut().map(|stream| stream.ask(&message)).collect();
    assert!(answers[0].is_some() && answers[0] == answers[1]);
    let other = served.issue_elsewhere();
    let second = eventually("the new certificate to be shown", || served.shown(&other));
    assert_ne!(first, second);
    for (stream, answer) in open.iter_mut().zip(&answers) {
        assert_eq!(stream.ask(&message), *answer);
    }

    served.kdig(served.tls(), &format!("+tls +tls-ca={ca} +tls-hostname={HOST} {question}")).unwrap_err();

    steps.next("the timer finds it is not the network's, and gets one");
    assert_eq!(served.issue(), "accepted");
    let third = eventually("the network's certificate to be shown", || served.shown(&ca));
    assert_ne!(third, first);

    steps.next("a file that is no certificate: the one before stays");
    fs::write(served.bed.file("chain.pem"), "nonsense").unwrap();
    let log = served.bed.path("replica-1/log");
    eventually("a word of it in the log", || {
        let text = fs::read_to_string(&log).unwrap();
        if text.contains("the one before stays") { Ok(()) } else { Err(support::tail(&log)) }
    });
    assert_eq!(served.shown(&ca).unwrap(), third);
    steps.next("end");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}
