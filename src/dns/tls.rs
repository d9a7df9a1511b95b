//! DNS over TLS (RFC 7858, RFC 8310): the stream transport inside TLS 1.3 or 1.2, ALPN `dot`.
//!
//! All limits of [`super::stream`] hold; a handshake has seconds of its own. Zone transfers are XoT (RFC 9103) then, in
//! TLS 1.3 alone. Clients that send no ALPN are served: RFC 7858 is older than its ALPN name. Replies to padded queries
//! are padded. Resumption is by tickets (RFC 5077, RFC 8446 §2.2), so that clients cost no memory between connections;
//! early data is never taken: it can be replayed.
//!
//! `hickory-server` is passed over for TLS, HTTPS and QUIC as it is for TCP: its request handler is given an owned,
//! decoded message and encodes the one that it gives back, allocating all along, while [`super::respond`] reads and writes
//! bytes; its listeners bound neither connections per client nor the life of one.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Server;
use super::certificates::Certificates;
use super::connections::serve_connections;
use super::stream::{Privacy, serve_stream};
use crate::limits::DNS_HANDSHAKE_SECONDS;

/// DNS over TLS in ALPN (RFC 7301; IANA has it for RFC 7858).
pub const PROTOCOL: &[u8] = b"dot";

/// The cryptography of encrypted transports.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A configuration that shows these certificates and speaks these protocols, the first preferred (RFC 7301).
pub fn server_config(certificates: &Arc<Certificates>, protocols: &[&[u8]]) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(certificates) as _);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// What makes TLS of accepted connections.
pub fn acceptor(certificates: &Arc<Certificates>, protocols: &[&[u8]]) -> Result<TlsAcceptor, rustls::Error> {
    Ok(TlsAcceptor::from(Arc::new(server_config(certificates, protocols)?)))
}

/// Serves DNS over TLS, until dropped; what it serves ends with it. `acceptor` speaks [`PROTOCOL`].
pub async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor, server: Server) {
    serve_connections(listener, |stream, client, activity| {
        let (server, acceptor) = (server.clone(), acceptor.clone());
        async move {
            if let Some(stream) = handshake(&acceptor, stream).await {
                let transfers = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                let server = Server { transfers, ..server };
                serve_stream(stream, client, &server, &activity, Privacy::Encrypted).await;
            }
        }
    })
    .await;
}

/// The encrypted stream, if the client gets there in time.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(acceptor: &TlsAcceptor, stream: S) -> Option<TlsStream<S>> {
    match timeout(Duration::from_secs(DNS_HANDSHAKE_SECONDS), acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake of a DNS client");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::PathBuf;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::dns::certificates::CertificateFiles;
    use crate::dns::connections::Activity;
    use crate::dns::testing::{example_view, server_of};

    /// A client's end of a connection that waits for a handshake.
    fn connect() -> tokio::io::DuplexStream {
        let (client, stream) = tokio::io::duplex(4096);
        let files = CertificateFiles { chain: PathBuf::from("nowhere"), key: PathBuf::from("nowhere") };
        let acceptor = acceptor(&Arc::new(Certificates::new(files, provider())), &[PROTOCOL]).unwrap();
        let address = IpAddr::from([192, 0, 2, 1]);
        tokio::spawn(async move {
            let activity = Activity::new(Instant::now());
            if let Some(stream) = handshake(&acceptor, stream).await {
                serve_stream(stream, address, &server_of(example_view()), &activity, Privacy::Encrypted).await;
            }
        });
        client
    }

    /// A record of a handshake that goes on (RFC 8446 §5.1).
    const BEGUN: &[u8] = &[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_leads_nowhere_is_cut_off() {
        for begun in [&b""[..], BEGUN] {
            let start = Instant::now();
            let mut client = connect();
            client.write_all(begun).await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            assert_eq!(start.elapsed().as_secs(), DNS_HANDSHAKE_SECONDS);
        }
    }

    #[tokio::test]
    async fn what_is_no_tls_ends_the_connection() {
        let mut client = connect();
        client.write_all(b"GET /dns-query HTTP/1.1\r\n\r\n").await.unwrap();
        let mut alert = Vec::new();
        client.read_to_end(&mut alert).await.unwrap();
        assert!(alert.len() < 16, "{alert:?}");
    }
}
