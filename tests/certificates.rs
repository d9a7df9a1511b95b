//! Certificates as stock tools see them: OpenSSL, curl, rustls. The authority's key is a plain RSA key here, made and
//! used by the `openssl` command: how the signature came to be cannot be seen in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use torrens::ca::certificate::{RsaSignature, assemble, chain_pem, to_pem, verify_signature};
use torrens::ca::csr::{CertificateRequest, CsrError};
use torrens::ca::profile::Period;
use torrens::ca::public_key::BadKey;
use torrens::ca::root::{RootFacts, root_tbs};
use torrens::ca::{Authority, Place, Request, issue};
use torrens::crypto::digest::hash;
use torrens::directory::Timestamp;
use torrens::directory::name::Name;

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An authority whose key lies in a folder, and the folder.
struct TestAuthority {
    dir: TempDir,
    authority: Authority,
}

impl TestAuthority {
    fn new(zones: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        openssl(dir.path(), &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "ca.key"]);
        let public_key = openssl(dir.path(), &["pkey", "-in", "ca.key", "-pubout", "-outform", "DER"]).stdout;
        let zones: Vec<Name> = zones.iter().map(|zone| name(zone)).collect();
        let tbs = root_tbs(&RootFacts {
            network: hash("test network", &[]),
            public_key: &public_key,
            zones: &zones,
            validity: Period::new(now() - 86_400, now() + 10 * 365 * 86_400).unwrap(),
        });
        let tbs = tbs.unwrap();
        let certificate = assemble(&tbs, &sign(dir.path(), &tbs));
        let authority = Authority::from_certificate(&certificate).unwrap();
        assert_eq!(authority.zones(), zones);
        std::fs::write(dir.path().join("ca.pem"), to_pem(&certificate)).unwrap();
        Self { dir, authority }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A server's key and CSR in `server.key` and `server.csr`. `algorithm` as `openssl genpkey` takes it.
    fn request_key(&self, algorithm: &[&str]) -> Vec<u8> {
        openssl(self.path(), &[&["genpkey", "-out", "server.key", "-algorithm"], algorithm].concat());
        openssl(self.path(), &["req", "-new", "-key", "server.key", "-subj", "/CN=bank.example", "-out", "server.csr"]);
        CertificateRequest::parse(&std::fs::read(self.path().join("server.csr")).unwrap()).unwrap().spki_der
    }

    /// What the service issues now for a title, in `leaf.pem` and, with the authority, in `chain.pem`.
    fn issue(&self, title: &str, names: &[&str], public_key: &[u8]) -> Vec<u8> {
        let (title, names) = (name(title), names.iter().map(|text| name(text)).collect::<Vec<_>>());
        let request = Request { title: &title, names: &names, public_key, title_expires: None };
        let place = Place { coin: b"coin", position: 1, agreed_time: Timestamp(now() * 1000) };
        let issuable = issue(&self.authority, &request, &place).unwrap();
        let leaf = assemble(issuable.tbs(), &sign(self.path(), issuable.tbs()));
        assert!(verify_signature(&leaf, &self.authority));
        std::fs::write(self.path().join("leaf.pem"), to_pem(&leaf)).unwrap();
        std::fs::write(self.path().join("chain.pem"), chain_pem(&leaf, &self.authority)).unwrap();
        leaf
    }

    /// What the service never issues: a leaf with any names, signed with the authority's key behind its back.
    fn forge(&self, names: &str) {
        self.request_key(P256);
        openssl(self.path(), &["req", "-new", "-key", "server.key", "-subj", "/", "-out", "server.csr"]);
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nsubjectAltName=critical,{names}\n"
        );
        std::fs::write(self.path().join("extensions"), extensions).unwrap();
        let sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 5 -extfile extensions -out leaf.pem";
        openssl(self.path(), &sign.split(' ').collect::<Vec<_>>());
        std::fs::copy(self.path().join("leaf.pem"), self.path().join("chain.pem")).unwrap();
    }
}

const P256: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const RSA_2048: &[&str] = &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

fn openssl_may_fail(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl").current_dir(dir).args(arguments).output().expect("openssl is installed (apt-packages)")
}

fn openssl(dir: &Path, arguments: &[&str]) -> Output {
    let output = openssl_may_fail(dir, arguments);
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn sign(dir: &Path, tbs: &[u8]) -> RsaSignature {
    std::fs::write(dir.join("tbs"), tbs).unwrap();
    openssl(dir, &["dgst", "-sha256", "-sign", "ca.key", "tbs"]).stdout.try_into().unwrap()
}

/// What each of the three clients says of the chain in the folder, as a server on loopback presents it.
#[derive(Debug, PartialEq, Eq)]
struct Verdicts {
    openssl: bool,
    curl: bool,
    rustls: bool,
}

const ACCEPTED: Verdicts = Verdicts { openssl: true, curl: true, rustls: true };
const REFUSED: Verdicts = Verdicts { openssl: false, curl: false, rustls: false };

async fn verdicts(dir: &Path, host: &str) -> Verdicts {
    let port = serve(dir).await;
    Verdicts {
        openssl: openssl_accepts(dir, host),
        curl: curl_accepts(dir, host, port).await,
        rustls: rustls_accepts(dir, host, port).await,
    }
}

fn openssl_accepts(dir: &Path, host: &str) -> bool {
    let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", host];
    let output = openssl_may_fail(dir, &[&verify[..], &["-CAfile", "ca.pem", "leaf.pem"]].concat());
    let words = String::from_utf8_lossy(&output.stderr);
    // Refused for its names, and for nothing else that would hide them.
    let by_name = words.contains("subtree violation") || words.contains("invalid name syntax");
    assert!(output.status.success() || by_name, "{words}");
    output.status.success()
}

async fn curl_accepts(dir: &Path, host: &str, port: u16) -> bool {
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]).arg(dir.join("ca.pem"));
    curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}/")]);
    let output = curl.output().await.expect("curl is installed (apt-packages)");
    // 60: the peer's certificate cannot be authenticated.
    assert!(matches!(output.status.code(), Some(0 | 60)), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), output.stdout == b"hello");
    output.status.success()
}

async fn rustls_accepts(dir: &Path, host: &str, port: u16) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let server = ServerName::try_from(host.to_string()).unwrap();
    match TlsConnector::from(Arc::new(config)).connect(server, stream).await {
        Ok(_) => true,
        Err(error) => {
            let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            assert!(matches!(error, Some(rustls::Error::InvalidCertificate(_))), "{error:?}");
            false
        }
    }
}

/// A TLS server with the chain and the key in the folder, which says hello; its port.
async fn serve(dir: &Path) -> u16 {
    let chain = CertificateDer::pem_file_iter(dir.join("chain.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_accept_what_is_issued_for_every_kind_of_key() {
    let ca = TestAuthority::new(&["names.example."]);
    for algorithm in [P256, P384, RSA_2048] {
        let key = ca.request_key(algorithm);
        ca.issue("alice.names.example.", &["alice.names.example.", "*.alice.names.example."], &key);
        for host in ["alice.names.example", "www.alice.names.example"] {
            assert_eq!(verdicts(ca.path(), host).await, ACCEPTED, "{algorithm:?} {host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_outside_the_zone_is_refused_by_all_though_its_signature_holds() {
    let ca = TestAuthority::new(&["names.example.", "names.test."]);
    // The control: what is inside and forged in the same way is accepted.
    for inside in ["alice.names.example", "alice.names.test"] {
        ca.forge(&format!("DNS:{inside}"));
        assert_eq!(verdicts(ca.path(), inside).await, ACCEPTED, "{inside}");
    }
    for outside in ["bank.example", "names.example.org", "xnames.example", "example"] {
        ca.forge(&format!("DNS:{outside}"));
        assert_eq!(verdicts(ca.path(), outside).await, REFUSED, "{outside}");
        ca.forge(&format!("DNS:alice.names.example,DNS:{outside}"));
        assert_eq!(verdicts(ca.path(), "alice.names.example").await, REFUSED, "{outside}");
    }
    ca.forge("DNS:alice.names.example,DNS:*.example");
    assert_eq!(verdicts(ca.path(), "alice.names.example").await, REFUSED);
}

const OTHER_NAMES: &[&str] = &[
    "IP:192.0.2.1",
    "IP:2001:db8::1",
    "email:root@alice.names.example",
    "email:root@bank.example",
    "email:root@invalid",
    "email:root@a.invalid",
    "URI:https://alice.names.example/",
    "URI:https://bank.example/",
    "URI:https://invalid/",
    "URI:https://a.invalid/",
    "URI:urn:a",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_with_an_address_an_email_or_a_uri_is_refused_by_all() {
    let ca = TestAuthority::new(&["names.example."]);
    for other in OTHER_NAMES {
        ca.forge(&format!("DNS:alice.names.example,{other}"));
        assert_eq!(verdicts(ca.path(), "alice.names.example").await, REFUSED, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_root_zone_every_dns_name_is_permitted_and_still_nothing_else() {
    let ca = TestAuthority::new(&["."]);
    let key = ca.request_key(P256);
    ca.issue("example.", &["example.", "www.bank.example."], &key);
    assert_eq!(verdicts(ca.path(), "www.bank.example").await, ACCEPTED);
    for other in OTHER_NAMES {
        ca.forge(&format!("DNS:www.bank.example,{other}"));
        assert_eq!(verdicts(ca.path(), "www.bank.example").await, REFUSED, "{other}");
    }
}

#[test]
fn csrs_of_openssl_prove_possession_of_their_keys() {
    let ca = TestAuthority::new(&["names.example."]);
    for algorithm in [P256, P384, RSA_2048] {
        let key = ca.request_key(algorithm);
        let arguments = ["pkey", "-in", "server.key", "-pubout", "-outform", "DER"];
        assert_eq!(key, openssl(ca.path(), &arguments).stdout);
        let der = openssl(ca.path(), &["req", "-in", "server.csr", "-outform", "DER"]).stdout;
        assert_eq!(CertificateRequest::from_der(&der).unwrap().spki_der, key);
    }
}

fn csr(dir: &Path, algorithm: &[&str], options: &[&str]) -> PathBuf {
    openssl(dir, &[&["genpkey", "-out", "k.key", "-algorithm"], algorithm].concat());
    openssl(dir, &[&["req", "-new", "-key", "k.key", "-subj", "/", "-out", "k.csr"], options].concat());
    dir.join("k.csr")
}

#[test]
fn csrs_with_keys_that_no_certificate_may_carry_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let parse = |algorithm: &[&str], options: &[&str]| {
        CertificateRequest::parse(&std::fs::read(csr(dir.path(), algorithm, options)).unwrap())
    };
    assert_eq!(parse(&["ED25519"], &[]), Err(CsrError::Key(BadKey::Ed25519)));
    assert_eq!(parse(&["RSA", "-pkeyopt", "rsa_keygen_bits:1024"], &[]), Err(CsrError::Key(BadKey::RsaSize(1024))));
    let exponent_3 = ["RSA", "-pkeyopt", "rsa_keygen_pubexp:3"];
    assert_eq!(parse(&exponent_3, &[]), Err(CsrError::Key(BadKey::RsaExponent)));
    let p521 = ["EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    assert_eq!(parse(&p521, &[]), Err(CsrError::Key(BadKey::Algorithm)));
    let explicit = [P256, &["-pkeyopt", "ec_param_enc:explicit"]].concat();
    assert_eq!(parse(&explicit, &[]), Err(CsrError::Key(BadKey::Algorithm)));
    assert_eq!(parse(RSA_2048, &["-sha1"]), Err(CsrError::Algorithm));
    assert_eq!(parse(RSA_2048, &["-sigopt", "rsa_padding_mode:pss"]), Err(CsrError::Algorithm));
}

#[test]
fn a_csr_with_another_signature_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for algorithm in [P256, P384, RSA_2048] {
        csr(dir.path(), algorithm, &[]);
        let mut der = openssl(dir.path(), &["req", "-in", "k.csr", "-outform", "DER"]).stdout;
        let last = der.len() - 1;
        der[last] ^= 1;
        assert_eq!(CertificateRequest::from_der(&der), Err(CsrError::Signature));
    }
}
