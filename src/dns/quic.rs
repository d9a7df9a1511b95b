//! DNS over dedicated QUIC connections (RFC 9250): a stream for each query, ALPN `doq`.
//!
//! On its stream a client sends one query behind a two-byte length and ends its side; so does the server with the response
//! (§4.2). What breaks the protocol ends the connection with `DOQ_PROTOCOL_ERROR` (§4.3.3): a message ID other than 0,
//! more or less than one message, edns-tcp-keepalive, a message that is no query. A client that resets its stream has
//! none of it answered.
//!
//! Early data is not taken: a query in it could be replayed to learn what was asked (§7.1). While few connections are
//! open a client is believed its address until the handshake proves it; from [`MAX_QUIC_UNPROVEN`] on, who has not
//! shown it is sent Retry (RFC 9000 §8.1.2), which costs us no memory. Before that QUIC itself sends no more than three
//! times what came. Connections, streams, windows and buffers are bounded, and as over TCP a connection ends when no
//! query comes for a while or it is old. Connections do not migrate: a client stays who it was counted as.
//!
//! Deviation: no zone transfers over QUIC (§4.4 has them; secondaries have TCP and TLS).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, Incoming, ReadError, ReadToEndError, RecvStream, SendStream, ServerConfig, TransportConfig,
    VarInt,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::certificates::Certificates;
use super::connections::{Activity, Connections};
use super::options::KEEPALIVE;
use super::query::{Edns, HEADER};
use super::{Client, Replied, Server, Transport, padding, query, seconds_now, tls};
use crate::directory::name_ref::NameBuffer;
use crate::limits::{
    DNS_HANDSHAKE_SECONDS, DNS_STREAM_IDLE_SECONDS, DNS_STREAM_WRITE_SECONDS, MAX_QUERY, MAX_QUIC_INCOMING,
    MAX_QUIC_INCOMING_BYTES, MAX_QUIC_STREAMS, MAX_QUIC_UNPROVEN, QUIC_RECEIVE_WINDOW, QUIC_SEND_WINDOW,
};

/// The protocol in ALPN (§4.1.1).
pub const PROTOCOL: &[u8] = b"doq";

/// Error codes (§8.4).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Listens on `address`. Within a tokio runtime.
pub fn listen(address: SocketAddr, certificates: &Arc<Certificates>) -> io::Result<Endpoint> {
    let tls = tls::server_config(certificates, &[PROTOCOL]).map_err(io::Error::other)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport())).migration(false);
    config
        .max_incoming(MAX_QUIC_INCOMING)
        .incoming_buffer_size(MAX_QUIC_INCOMING_BYTES)
        .incoming_buffer_size_total(MAX_QUIC_INCOMING as u64 * MAX_QUIC_INCOMING_BYTES);
    Endpoint::server(config, address)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = VarInt::from_u32(1000 * DNS_STREAM_IDLE_SECONDS as u32);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_QUIC_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(2 + MAX_QUERY as u32))
        .receive_window(VarInt::from_u32(QUIC_RECEIVE_WINDOW))
        .send_window(QUIC_SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle.into()));
    transport
}

/// Serves DNS over QUIC, until dropped; what it serves ends with it.
pub async fn serve_quic(endpoint: Endpoint, server: Server) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { return };
                if connections.count() >= MAX_QUIC_UNPROVEN && !incoming.remote_address_validated() && incoming.may_retry() {
                    // Cannot fail: it may.
                    let _ = incoming.retry();
                    continue;
                }
                let client = incoming.remote_address().ip();
                connections.admit(client, |activity| serve_incoming(incoming, client, server.clone(), activity));
            }
            () = connections.one_ends() => {}
        }
    }
}

async fn serve_incoming(incoming: Incoming, client: IpAddr, server: Server, activity: Arc<Activity>) {
    let Ok(handshake) = incoming.accept() else { return };
    match timeout(Duration::from_secs(DNS_HANDSHAKE_SECONDS), handshake).await {
        Ok(Ok(connection)) => {
            let code = serve_connection(&connection, client, &Arc::new(server), &activity).await;
            connection.close(code, b"");
        }
        Ok(Err(error)) => tracing::debug!(%error, "QUIC handshake of a DNS client"),
        Err(_) => {}
    }
}

/// Answers until the client goes, breaks the protocol, or its time is over. With what to close.
async fn serve_connection(
    connection: &Connection,
    client: IpAddr,
    server: &Arc<Server>,
    activity: &Arc<Activity>,
) -> VarInt {
    let mut exchanges = JoinSet::new();
    let mut time_is_over = std::pin::pin!(activity.time_is_over());
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((send, receive)) = stream else { return NO_ERROR };
                let (server, activity) = (Arc::clone(server), Arc::clone(activity));
                // Never more than the streams there may be.
                exchanges.spawn(async move { exchange(send, receive, client, &server, &activity).await });
            }
            Some(ended) = exchanges.join_next() => if let Ok(Err(code)) = ended {
                return code;
            },
            () = time_is_over.as_mut() => return NO_ERROR,
        }
    }
}

/// One query and its response. An error is what the connection is to be closed with.
async fn exchange(
    mut send: SendStream,
    mut receive: RecvStream,
    client: IpAddr,
    server: &Server,
    activity: &Activity,
) -> Result<(), VarInt> {
    let framed = match timeout(Duration::from_secs(DNS_STREAM_IDLE_SECONDS), receive.read_to_end(2 + MAX_QUERY)).await {
        Ok(Ok(framed)) => framed,
        Ok(Err(ReadToEndError::TooLong)) => return Err(broken(&mut send, EXCESSIVE_LOAD)),
        Ok(Err(ReadToEndError::Read(ReadError::Reset(_)))) => {
            let _ = send.reset(REQUEST_CANCELLED);
            return Ok(());
        }
        // The connection is gone.
        Ok(Err(ReadToEndError::Read(_))) => return Ok(()),
        Err(_) => {
            let _ = (send.reset(EXCESSIVE_LOAD), receive.stop(EXCESSIVE_LOAD));
            return Ok(());
        }
    };
    let response = respond(&framed, client, server).ok_or_else(|| broken(&mut send, PROTOCOL_ERROR))?;
    activity.now();
    if timeout(Duration::from_secs(DNS_STREAM_WRITE_SECONDS), send.write_all(&response)).await.is_err() {
        let _ = send.reset(EXCESSIVE_LOAD);
        return Ok(());
    }
    // A client that wants no more of it has said so.
    let _ = send.finish();
    Ok(())
}

/// Resets the stream, which would be ended as if it were whole otherwise.
fn broken(send: &mut SendStream, code: VarInt) -> VarInt {
    let _ = send.reset(code);
    code
}

/// The response behind its length; none if the protocol was broken.
fn respond(framed: &[u8], address: IpAddr, server: &Server) -> Option<Vec<u8>> {
    let (length, message) = framed.split_first_chunk()?;
    if message.len() != usize::from(u16::from_be_bytes(*length)) || message.len() < HEADER || message[..2] != [0, 0] {
        return None;
    }
    let mut name = NameBuffer::default();
    let parsed = query::parse(message, &mut name);
    let mut options = parsed.iter().filter_map(|query| query.edns).flat_map(|edns: Edns<'_>| edns.options());
    if options.any(|(code, _)| code == KEEPALIVE) {
        return None;
    }
    let view = server.view.load();
    let client = Client::new(Transport::Exchange, address, seconds_now(), &server.settings);
    let is_padded = parsed.as_ref().is_ok_and(padding::is_asked);
    let mut answer = Vec::new();
    if server.reply(&view, message, parsed, &client, &mut answer) == Replied::Not {
        return None;
    }
    if is_padded {
        padding::pad(&mut answer);
    }
    // An answer is never longer than a stream message; an altered one that is has no business here.
    let length = u16::try_from(answer.len()).ok()?;
    Some([&length.to_be_bytes()[..], &answer].concat())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quinn::crypto::rustls::QuicClientConfig;
    use quinn::{ClientConfig, ConnectionError};
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::directory::rrset::Rtype;
    use crate::dns::certificates::testing::self_signed;
    use crate::dns::testing::{Ask, Reply, example_view, server_of};

    const HOST: &str = "one.example";

    /// A server, and a client's end that trusts it.
    struct Served {
        address: SocketAddr,
        client: Endpoint,
        _folder: tempfile::TempDir,
    }

    impl Served {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = self_signed(folder.path(), HOST);
            let certificates = Arc::new(Certificates::new(files.clone(), tls::provider()));
            let endpoint = listen("127.0.0.1:0".parse().unwrap(), &certificates).unwrap();
            let address = endpoint.local_addr().unwrap();
            tokio::spawn(serve_quic(endpoint, server_of(example_view())));
            let mut client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
            client.set_default_client_config(trusting(&files.chain, PROTOCOL));
            Self { address, client, _folder: folder }
        }

        async fn connect(&self) -> Connection {
            self.client.connect(self.address, HOST).unwrap().await.unwrap()
        }
    }

    fn trusting(chain: &Path, protocol: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(chain).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(tls::provider());
        let config = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes()[..], message].concat()
    }

    fn question() -> Ask {
        Ask::new("www.example.", Rtype::A).id(0)
    }

    /// Sends this on a stream of its own and ends it; what comes back.
    async fn send(connection: &Connection, bytes: &[u8]) -> Result<Vec<u8>, ReadToEndError> {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(65_537).await
    }

    fn code(error: &ConnectionError) -> Option<VarInt> {
        match error {
            ConnectionError::ApplicationClosed(closed) => Some(closed.error_code),
            _ => None,
        }
    }

    #[tokio::test]
    async fn each_query_has_a_stream_and_a_slow_one_holds_up_no_other() {
        let served = Served::start();
        let connection = served.connect().await;
        let (mut slow, mut answer) = connection.open_bi().await.unwrap();
        let query = framed(&question().message());
        slow.write_all(&query[..5]).await.unwrap();
        for _ in 0..3 * MAX_QUIC_STREAMS {
            let response = send(&connection, &query).await.unwrap();
            assert_eq!(response[..2], ((response.len() - 2) as u16).to_be_bytes());
            let reply = Reply::read(&response[2..]);
            assert_eq!((reply.id, reply.answers()), (0, vec!["www.example. A 192.0.2.1".to_string()]));
        }
        slow.write_all(&query[5..]).await.unwrap();
        slow.finish().unwrap();
        assert!(!answer.read_to_end(65_537).await.unwrap().is_empty());
    }

    /// RFC 9250 §4.2.1, §4.3.3, §5.5.2.
    #[tokio::test]
    async fn what_breaks_the_protocol_ends_the_connection() {
        let served = Served::start();
        let sound = question().message();
        let mut reply = sound.clone();
        reply[2] |= 0x80;
        for bytes in [
            framed(&question().id(1).message()),
            framed(&question().options(&[0, 11, 0, 0]).message()),
            framed(&reply),
            framed(&sound[..5]),
            framed(&sound)[..sound.len()].to_vec(),
            [framed(&sound), framed(&sound)].concat(),
            vec![],
        ] {
            let connection = served.connect().await;
            assert!(send(&connection, &bytes).await.is_err(), "{bytes:?}");
            assert_eq!(code(&connection.closed().await), Some(PROTOCOL_ERROR), "{bytes:?}");
        }
        let connection = served.connect().await;
        let _ = send(&connection, &[0; 2 * MAX_QUERY]).await;
        assert_eq!(code(&connection.closed().await), Some(EXCESSIVE_LOAD));
    }

    #[tokio::test]
    async fn transfers_are_refused_and_a_reset_query_disturbs_nothing() {
        let served = Served::start();
        let connection = served.connect().await;
        let (mut sent, _receive) = connection.open_bi().await.unwrap();
        sent.write_all(&[0, 9]).await.unwrap();
        sent.reset(REQUEST_CANCELLED).unwrap();
        let response = send(&connection, &framed(&Ask::new("example.", Rtype::AXFR).id(0).message())).await.unwrap();
        assert_eq!(Reply::read(&response[2..]).rcode, 5);
    }

    /// RFC 9000 §8.1.2: with many connections open, a client has to show its address first, and gets in all the same.
    #[tokio::test]
    async fn many_connections_of_one_client_are_few_and_addresses_are_asked_for() {
        let served = Served::start();
        let mut open = Vec::new();
        for _ in 0..MAX_QUIC_UNPROVEN + 4 {
            open.push(served.connect().await);
        }
        for connection in &open {
            assert!(send(connection, &framed(&question().message())).await.is_ok());
        }
        while open.len() < crate::limits::MAX_DNS_CONNECTIONS_PER_CLIENT {
            open.push(served.connect().await);
        }
        let refused = served.client.connect(served.address, HOST).unwrap().await.unwrap_err();
        assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
    }

    #[tokio::test]
    async fn another_protocol_is_not_spoken() {
        let served = Served::start();
        let config = trusting(&served._folder.path().join("chain.pem"), b"h3");
        let connected = served.client.connect_with(config, served.address, HOST).unwrap().await;
        assert!(connected.is_err());
    }
}
