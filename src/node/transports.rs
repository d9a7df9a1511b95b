//! The DNS transports that a replica serves beside UDP, on threads of their own.
//!
//! As many as answer UDP (`workers`). Whatever clients make them do (handshakes above all), the core, the links and the
//! API have theirs. One thread among one: nothing is stolen, nobody is woken, so that a client who pipelines costs one
//! wait, one read and one write for all that it had sent.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};

use crate::config::ReplicaConfig;
use crate::config::replica::EncryptedDns;
use crate::dns::certificates::{CertificateFiles, Certificates};
use crate::dns::{Server, https, quic, stream, tls};
use crate::limits::DNS_BACKLOG;

/// Running transports; dropped, they end with all that they serve.
pub struct Transports {
    /// There until this is dropped.
    runtime: Option<Runtime>,
}

impl Transports {
    /// Serves as configured.
    pub fn start(config: &ReplicaConfig, server: &Server) -> anyhow::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(config.dns_workers).thread_name("dns-streams").enable_all().build()?;
        let transports = Self { runtime: Some(runtime) };
        transports.spawn(config, server)?;
        Ok(transports)
    }

    fn spawn(&self, config: &ReplicaConfig, server: &Server) -> anyhow::Result<()> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let _within = runtime.enter();
        runtime.spawn(stream::serve_tcp(listen(config.listen.dns, "DNS over TCP")?, server.clone()));
        if let Some(encrypted) = &config.dns_encrypted {
            start_encrypted(encrypted, server, runtime)?;
        }
        Ok(())
    }
}

impl Drop for Transports {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: who drops this may be a task itself.
            runtime.shutdown_background();
        }
    }
}

fn start_encrypted(config: &EncryptedDns, server: &Server, runtime: &Runtime) -> anyhow::Result<()> {
    let files = CertificateFiles { chain: config.certificate.clone(), key: config.key.clone() };
    let certificates = Arc::new(Certificates::new(files, tls::provider()));
    if let Some(address) = config.tls {
        let acceptor = tls::acceptor(&certificates, &[tls::PROTOCOL])?;
        runtime.spawn(tls::serve_tls(listen(address, "DNS over TLS")?, acceptor, server.clone()));
    }
    if let Some(address) = config.https {
        let acceptor = tls::acceptor(&certificates, &https::PROTOCOLS)?;
        runtime.spawn(https::serve_https(listen(address, "DNS over HTTPS")?, acceptor, server.clone()));
    }
    if let Some(address) = config.quic {
        let endpoint = quic::listen(address, &certificates);
        let endpoint = endpoint.with_context(|| format!("cannot listen for DNS over QUIC on {address}"))?;
        runtime.spawn(quic::serve_quic(endpoint, server.clone()));
    }
    runtime.spawn(certificates.watch());
    Ok(())
}

/// Within a runtime.
fn listen(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let listener = socket.and_then(|socket| {
        // A replica that is started again does not wait for connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(DNS_BACKLOG)
    });
    listener.with_context(|| format!("cannot listen for {what} on {address}"))
}
