//! The DNS transports that a replica serves beside UDP.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::config::ReplicaConfig;
use crate::config::replica::EncryptedDns;
use crate::dns::certificates::{CertificateFiles, Certificates};
use crate::dns::{Server, https, quic, stream, tls};

/// Serves as configured. What is served ends when the set is dropped.
pub async fn start(config: &ReplicaConfig, server: &Server) -> anyhow::Result<JoinSet<()>> {
    let mut transports = JoinSet::new();
    transports.spawn(stream::serve_tcp(listen(config.listen.dns, "DNS over TCP").await?, server.clone()));
    if let Some(encrypted) = &config.dns_encrypted {
        start_encrypted(encrypted, server, &mut transports).await?;
    }
    Ok(transports)
}

async fn start_encrypted(config: &EncryptedDns, server: &Server, transports: &mut JoinSet<()>) -> anyhow::Result<()> {
    let files = CertificateFiles { chain: config.certificate.clone(), key: config.key.clone() };
    let certificates = Arc::new(Certificates::new(files, tls::provider()));
    if let Some(address) = config.tls {
        let acceptor = tls::acceptor(&certificates, &[tls::PROTOCOL])?;
        transports.spawn(tls::serve_tls(listen(address, "DNS over TLS").await?, acceptor, server.clone()));
    }
    if let Some(address) = config.https {
        let acceptor = tls::acceptor(&certificates, &https::PROTOCOLS)?;
        transports.spawn(https::serve_https(listen(address, "DNS over HTTPS").await?, acceptor, server.clone()));
    }
    if let Some(address) = config.quic {
        let endpoint = quic::listen(address, &certificates);
        let endpoint = endpoint.with_context(|| format!("cannot listen for DNS over QUIC on {address}"))?;
        transports.spawn(quic::serve_quic(endpoint, server.clone()));
    }
    transports.spawn(certificates.watch());
    Ok(())
}

pub async fn listen(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen for {what} on {address}"))
}
