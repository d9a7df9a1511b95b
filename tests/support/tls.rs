//! TLS clients as users have them, against a real TLS server on loopback.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::process::Run;

pub fn openssl(arguments: &str) -> Run {
    Run::of(Command::new("openssl").args(arguments.split_whitespace()))
}

/// What each client says of a chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdicts {
    pub openssl: bool,
    pub curl: bool,
    pub rustls: bool,
}

pub const ACCEPTED: Verdicts = Verdicts { openssl: true, curl: true, rustls: true };
pub const REFUSED: Verdicts = Verdicts { openssl: false, curl: false, rustls: false };

/// Presents the chain with its key on loopback as `host`, and asks OpenSSL, curl and rustls.
pub fn verdicts(ca: &Path, chain: &Path, key: &Path, host: &str) -> Verdicts {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let port = runtime.block_on(serve(chain, key));
    Verdicts {
        openssl: openssl_accepts(ca, chain, host),
        curl: curl_accepts(ca, host, port),
        rustls: runtime.block_on(rustls_accepts(ca, host, port)),
    }
}

fn openssl_accepts(ca: &Path, chain: &Path, host: &str) -> bool {
    let (ca, chain) = (ca.display(), chain.display());
    let options = "-x509_strict -purpose sslserver";
    let run = openssl(&format!("verify {options} -verify_hostname {host} -CAfile {ca} {chain}"));
    // Refused for its names, and for nothing else that would hide them.
    assert!(run.code == 0 || run.err.contains("permitted subtree violation"), "{run:?}");
    run.code == 0
}

fn curl_accepts(ca: &Path, host: &str, port: u16) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "--cacert"]).arg(ca);
    curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}/")]);
    let run = Run::of(&mut curl);
    // 60: the peer's certificate cannot be authenticated.
    assert!(matches!(run.code, 0 | 60), "{run:?}");
    assert_eq!(run.code == 0, run.out == "hello");
    run.code == 0
}

async fn rustls_accepts(ca: &Path, host: &str, port: u16) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
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

/// A TLS server that says hello; its port.
async fn serve(chain: &Path, key: &Path) -> u16 {
    let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
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
