//! Meshes over real TLS on loopback, and hostile ends made by hand.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::frame::{Frame, Hello, VERSION, write_message};
use super::link::{LinkError, exchange_hello, handshake_error, next_frame};
use super::tls::{self, Pinned};
use super::*;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::SecretKey;
use crate::limits::{INBOUND_MESSAGES, LINK_IDLE_MS, MAX_FRAME, MAX_QUICK_PINGS, OUTBOX_BYTES, PENDING_HANDSHAKES};

const NETWORK: Digest = Digest([9; 32]);
const OURS: Hello = Hello { version: VERSION, network: NETWORK };

/// Fails a test that would hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("done long ago")
}

fn key(id: u8) -> SecretKey {
    SecretKey::from_seed(&[id + 1; 32])
}

fn id(id: u8) -> ReplicaId {
    ReplicaId(id)
}

fn config(me: u8, addresses: &[String]) -> MeshConfig {
    let others = (0..addresses.len() as u8).filter(|&other| other != me);
    let peers = others.map(|other| PeerAddress {
        id: id(other),
        address: addresses[usize::from(other)].clone(),
        link_key: key(other).public(),
    });
    MeshConfig {
        me: id(me),
        link_key: key(me),
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: peers.collect(),
        network: NETWORK,
        link_delay: Duration::ZERO,
    }
}

async fn listeners(count: usize) -> (Vec<TcpListener>, Vec<String>) {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    (listeners, addresses)
}

type Events = mpsc::UnboundedReceiver<PeerEvent>;

fn event_channel() -> (Sink, Events) {
    let (sender, events) = mpsc::unbounded_channel();
    (Arc::new(move |event| sender.send(event).is_ok()), events)
}

/// Replica 0 with a mesh; the listeners of the other three are left to the test.
async fn one_of_four() -> (MeshHandle, Events, Vec<TcpListener>) {
    let (mut listeners, addresses) = listeners(4).await;
    let (sender, events) = event_channel();
    let mesh = Mesh::start_on(listeners.remove(0), config(0, &addresses), sender).unwrap();
    (mesh, events, listeners)
}

/// A link by hand from whoever holds `own` to the replica `to` at `mesh`, before the hello.
async fn dial(mesh: &MeshHandle, own: &SecretKey, to: u8) -> Result<client::TlsStream<TcpStream>, std::io::Error> {
    let pinned = Pinned::new([(id(to), key(to).public())]);
    let connector = TlsConnector::from(Arc::new(tls::client_config(own, pinned)));
    let socket = TcpStream::connect(mesh.address()).await.unwrap();
    connector.connect(tls::server_name(), socket).await
}

/// A link by hand from replica `from` to replica 0.
async fn link_from(mesh: &MeshHandle, from: u8) -> client::TlsStream<TcpStream> {
    let mut link = dial(mesh, &key(from), 0).await.unwrap();
    exchange_hello(&mut link, OURS).await.unwrap();
    link
}

async fn send(link: &mut client::TlsStream<TcpStream>, message: &PeerMessage) {
    let mut bytes = Vec::new();
    write_message(&mut bytes, &message.encode().unwrap());
    link.write_all(&bytes).await.unwrap();
    link.flush().await.unwrap();
}

async fn next_message(events: &mut Events) -> (ReplicaId, PeerMessage, Slot) {
    loop {
        if let PeerEvent::Message { from, message, slot } = soon(events.recv()).await.unwrap() {
            return (from, message, slot);
        }
    }
}

async fn until_connected(mesh: &MeshHandle, events: &mut Events, count: usize) {
    while mesh.connected().len() < count {
        soon(events.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn four_replicas_connect_and_a_broadcast_reaches_all_others() {
    let (listeners, addresses) = listeners(4).await;
    let mut nodes = Vec::new();
    for (me, listener) in listeners.into_iter().enumerate() {
        let (sender, events) = event_channel();
        nodes.push((Mesh::start_on(listener, config(me as u8, &addresses), sender).unwrap(), events));
    }
    for (mesh, events) in &mut nodes {
        until_connected(mesh, events, 3).await;
    }
    for from in 0..4 {
        let message = PeerMessage::Block(vec![from; 300_000]);
        nodes[usize::from(from)].0.broadcast(&message).unwrap();
    }
    for (me, (mesh, events)) in nodes.iter_mut().enumerate() {
        let mut heard = ReplicaSet::EMPTY;
        while heard.len() < 3 {
            let (from, message, _) = next_message(events).await;
            assert_eq!(message, PeerMessage::Block(vec![from.0; 300_000]));
            heard.insert(from);
        }
        assert!(!heard.contains(id(me as u8)));
        assert_eq!(mesh.counters().refused, 0);
    }
}

#[tokio::test]
async fn messages_to_one_peer_arrive_in_order_and_at_no_other() {
    let (listeners, addresses) = listeners(4).await;
    let mut nodes = Vec::new();
    for (me, listener) in listeners.into_iter().enumerate() {
        let (sender, events) = event_channel();
        nodes.push((Mesh::start_on(listener, config(me as u8, &addresses), sender).unwrap(), events));
    }
    for number in 0..200u8 {
        nodes[0].0.send(id(2), &PeerMessage::Operation(vec![number])).unwrap();
    }
    nodes[0].0.send(id(1), &PeerMessage::Operation(b"other".to_vec())).unwrap();
    for number in 0..200u8 {
        let (from, message, _) = next_message(&mut nodes[2].1).await;
        assert_eq!((from, message), (id(0), PeerMessage::Operation(vec![number])));
    }
    assert_eq!(next_message(&mut nodes[1].1).await.1, PeerMessage::Operation(b"other".to_vec()));
    assert_eq!(nodes[0].0.send(id(0), &PeerMessage::Operation(vec![])), Err(SendError::NoPeer(id(0))));
    let oversize = PeerMessage::Block(vec![0; MAX_FRAME]);
    assert!(matches!(nodes[0].0.broadcast(&oversize), Err(SendError::Message(_))));
}

#[tokio::test]
async fn a_replica_that_shows_another_key_than_the_pinned_one_is_refused() {
    let (mesh, _events, _listeners) = one_of_four().await;
    // Replica 1 wants replica 2, and finds replica 0.
    let error = soon(dial(&mesh, &key(1), 2)).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_key_that_is_no_members_is_refused() {
    let (mesh, _events, _listeners) = one_of_four().await;
    for stranger in [77, 0] {
        // In TLS 1.3 the side that dials is done before the other has seen its key.
        let mut link = soon(dial(&mesh, &key(stranger), 0)).await.unwrap();
        assert!(soon(exchange_hello(&mut link, OURS)).await.is_err());
    }
    assert_eq!(mesh.counters().refused, 2);
}

#[tokio::test]
async fn who_shows_no_key_or_a_members_key_without_holding_it_is_refused() {
    let (mesh, _events, _listeners) = one_of_four().await;
    let builder = || {
        let config = tls::client_config(&key(1), Pinned::new([(id(0), key(0).public())]));
        TlsConnector::from(Arc::new(config))
    };
    let mut anonymous = tls::client_config(&key(1), Pinned::new([(id(0), key(0).public())]));
    anonymous.client_auth_cert_resolver = Arc::new(NoKey);
    let mut impostor = tls::client_config(&key(1), Pinned::new([(id(0), key(0).public())]));
    impostor.client_auth_cert_resolver =
        Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(borrowed_key()));
    for config in [anonymous, impostor] {
        let socket = TcpStream::connect(mesh.address()).await.unwrap();
        let connected = TlsConnector::from(Arc::new(config)).connect(tls::server_name(), socket);
        if let Ok(mut link) = soon(connected).await {
            assert!(soon(exchange_hello(&mut link, OURS)).await.is_err());
        }
    }
    let socket = TcpStream::connect(mesh.address()).await.unwrap();
    let mut sound = soon(builder().connect(tls::server_name(), socket)).await.unwrap();
    soon(exchange_hello(&mut sound, OURS)).await.unwrap();
    assert_eq!(mesh.counters().refused, 2);
}

#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// The public key of replica 1 with the private key of a stranger.
fn borrowed_key() -> Arc<rustls::sign::CertifiedKey> {
    let private = key(77).to_pkcs8();
    let signer = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(private.as_slice())).unwrap();
    let public = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &key(1).public().0];
    Arc::new(rustls::sign::CertifiedKey::new(vec![CertificateDer::from(public.concat())], signer))
}

#[tokio::test]
async fn another_version_or_network_is_refused_and_both_sides_can_say_why() {
    let (mesh, _events, _listeners) = one_of_four().await;
    let mut link = soon(dial(&mesh, &key(1), 0)).await.unwrap();
    let error = soon(exchange_hello(&mut link, Hello { version: 1, ..OURS })).await.unwrap_err();
    assert!(error.to_string().contains("it speaks version 2 of the peer protocol, we speak 1"), "{error}");
    assert_eq!(soon(link.read(&mut [0; 1])).await.unwrap_or(0), 0);

    let mut link = soon(dial(&mesh, &key(1), 0)).await.unwrap();
    let error = soon(exchange_hello(&mut link, Hello { network: Digest::ZERO, ..OURS })).await.unwrap_err();
    assert!(matches!(error, LinkError::Network { theirs: NETWORK, .. }), "{error}");
    assert_eq!(soon(link.read(&mut [0; 1])).await.unwrap_or(0), 0);
    assert_eq!(mesh.counters().refused, 2);
}

#[tokio::test]
async fn a_wrong_key_is_named_on_both_sides() {
    let (mesh, _events, _listeners) = one_of_four().await;
    let mut link = soon(dial(&mesh, &key(77), 0)).await.unwrap();
    let error = soon(exchange_hello(&mut link, OURS)).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused), "{error}");
    let error = handshake_error(soon(dial(&mesh, &key(1), 2)).await.unwrap_err(), LinkError::WrongKey);
    assert!(matches!(error, LinkError::WrongKey), "{error}");
    assert!(error.to_string().contains("secrets.key"), "says what to look at");
}

#[tokio::test]
async fn a_flood_of_pings_closes_the_link() {
    let (mesh, _events, _listeners) = one_of_four().await;
    let mut link = soon(link_from(&mesh, 2)).await;
    let mut bytes = Vec::new();
    for _ in 0..100 {
        Frame::Ping.write(&mut bytes);
    }
    link.write_all(&bytes).await.unwrap();
    link.flush().await.unwrap();
    let pongs = soon(async {
        let mut pongs = 0;
        while let Ok(Frame::Pong) = Frame::read(&mut link).await {
            pongs += 1;
        }
        pongs
    });
    assert!(pongs.await <= MAX_QUICK_PINGS);
    assert_eq!(mesh.counters().peers[&id(2)].violations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_trickles_bytes_is_cut_off() {
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    let mut bytes = Vec::new();
    write_message(&mut bytes, &PeerMessage::Block(vec![1; 1000]).encode().unwrap());
    let trickle = tokio::spawn(async move {
        for byte in bytes {
            theirs.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let started = tokio::time::Instant::now();
    assert!(matches!(next_frame(&mut ours).await, Err(LinkError::Silent)));
    assert_eq!(started.elapsed(), Duration::from_millis(LINK_IDLE_MS));
    trickle.abort();
}

#[tokio::test]
async fn an_oversize_frame_or_a_malformed_message_closes_the_link() {
    let (mesh, _events, _listeners) = one_of_four().await;
    let oversize = (MAX_FRAME as u32 + 1).to_be_bytes().to_vec();
    let malformed_message = vec![0, 0, 0, 2, 1, 99];
    let second_hello = {
        let mut bytes = Vec::new();
        Frame::Hello(OURS).write(&mut bytes);
        bytes
    };
    for (count, bytes) in [oversize, malformed_message, second_hello].into_iter().enumerate() {
        let mut link = soon(link_from(&mesh, 1)).await;
        link.write_all(&bytes).await.unwrap();
        link.flush().await.unwrap();
        assert_eq!(soon(link.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed");
        assert_eq!(mesh.counters().peers[&id(1)].violations, count as u64 + 1);
    }
}

#[tokio::test]
async fn a_ping_is_answered() {
    let (mesh, _events, _listeners) = one_of_four().await;
    let mut link = soon(link_from(&mesh, 3)).await;
    let mut bytes = Vec::new();
    Frame::Ping.write(&mut bytes);
    link.write_all(&bytes).await.unwrap();
    link.flush().await.unwrap();
    assert_eq!(soon(Frame::read(&mut link)).await.unwrap(), Frame::Pong);
}

#[tokio::test]
async fn a_flooding_peer_blocks_only_its_own_link() {
    let (mesh, mut events, _listeners) = one_of_four().await;
    let mut flooding = soon(link_from(&mesh, 1)).await;
    let mut quiet = soon(link_from(&mesh, 2)).await;
    let flood = tokio::spawn(async move {
        let mut bytes = Vec::new();
        write_message(&mut bytes, &PeerMessage::Block(vec![1; 10]).encode().unwrap());
        while flooding.write_all(&bytes).await.is_ok() {}
    });
    // The node is slow: it deals with nothing.
    let mut slots = Vec::new();
    for _ in 0..INBOUND_MESSAGES {
        let (from, _, slot) = next_message(&mut events).await;
        assert_eq!(from, id(1));
        slots.push(slot);
    }
    send(&mut quiet, &PeerMessage::Operation(b"heard".to_vec())).await;
    let (from, message, _) = next_message(&mut events).await;
    assert_eq!((from, message), (id(2), PeerMessage::Operation(b"heard".to_vec())));
    slots.pop();
    assert_eq!(next_message(&mut events).await.0, id(1), "room again");
    flood.abort();
}

#[tokio::test]
async fn a_peer_that_never_reads_costs_no_more_than_its_queue() {
    let (mesh, mut events, listeners) = one_of_four().await;
    let members = Arc::new(Pinned::new([(id(0), key(0).public())]));
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&key(1), members)));
    let (socket, _) = soon(listeners[0].accept()).await.unwrap();
    let mut link = soon(acceptor.accept(socket)).await.unwrap();
    soon(exchange_hello(&mut link, OURS)).await.unwrap();
    until_connected(&mesh, &mut events, 1).await;

    for round in 0..400 {
        mesh.send(id(1), &PeerMessage::Block(vec![0; 300_000])).unwrap();
        mesh.send(id(1), &PeerMessage::Fetch { refs: Vec::new(), above: round }).unwrap();
        assert!(mesh.counters().peers[&id(1)].queued_bytes <= OUTBOX_BYTES);
        tokio::task::yield_now().await;
    }
    let counters = mesh.counters().peers[&id(1)];
    assert!(counters.dropped > 300, "{counters:?}");
    assert!(counters.queued_messages < 500, "{counters:?}");
    drop(link);
}

#[tokio::test]
async fn a_peer_that_restarts_is_reached_again() {
    let (mut listeners, addresses) = listeners(4).await;
    let (sender, mut events) = event_channel();
    let mesh = Mesh::start_on(listeners.remove(0), config(0, &addresses), sender).unwrap();
    let mut listener = Some(listeners.remove(0));
    for start in 0..3u8 {
        let (sender, mut other_events) = event_channel();
        let other = match listener.take() {
            Some(listener) => Mesh::start_on(listener, config(1, &addresses), sender).unwrap(),
            None => {
                let listen = addresses[1].parse().unwrap();
                Mesh::start(MeshConfig { listen, ..config(1, &addresses) }, sender).await.unwrap()
            }
        };
        while !matches!(soon(events.recv()).await.unwrap(), PeerEvent::Connected(ReplicaId(1))) {}
        mesh.send(id(1), &PeerMessage::Operation(vec![start])).unwrap();
        assert_eq!(next_message(&mut other_events).await.1, PeerMessage::Operation(vec![start]));
        other.shutdown().await;
        while !matches!(soon(events.recv()).await.unwrap(), PeerEvent::Disconnected(ReplicaId(1))) {}
        assert!(!mesh.connected().contains(id(1)));
    }
    assert_eq!(mesh.counters().peers[&id(1)].connects, 3);
}

#[tokio::test]
async fn the_newest_link_of_a_peer_replaces_the_one_before() {
    let (mesh, mut events, _listeners) = one_of_four().await;
    let mut old = soon(link_from(&mesh, 1)).await;
    send(&mut old, &PeerMessage::Operation(b"old".to_vec())).await;
    assert_eq!(next_message(&mut events).await.1, PeerMessage::Operation(b"old".to_vec()));
    let mut new = soon(link_from(&mesh, 1)).await;
    assert_eq!(soon(old.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed");
    send(&mut new, &PeerMessage::Operation(b"new".to_vec())).await;
    assert_eq!(next_message(&mut events).await.1, PeerMessage::Operation(b"new".to_vec()));
}

#[tokio::test]
async fn strangers_who_hold_connections_open_do_not_keep_members_out() {
    let (mesh, _events, _listeners) = one_of_four().await;
    let mut silent = Vec::new();
    for _ in 0..2 * PENDING_HANDSHAKES {
        silent.push(TcpStream::connect(mesh.address()).await.unwrap());
    }
    soon(link_from(&mesh, 1)).await;
    assert!(mesh.counters().refused >= PENDING_HANDSHAKES as u64);
}

#[tokio::test]
async fn a_configuration_that_mixes_up_replicas_is_refused() {
    let addresses: Vec<String> = (0..4).map(|_| "127.0.0.1:1".to_string()).collect();
    let start = async |change: &dyn Fn(&mut MeshConfig)| {
        let mut config = config(0, &addresses);
        change(&mut config);
        Mesh::start(config, event_channel().0).await.err().map(|error| error.to_string())
    };
    assert_eq!(start(&|_| ()).await, None);
    let error = start(&|config| config.peers[0].id = id(0)).await.unwrap();
    assert_eq!(error, "replica-0 is among its own peers");
    let error = start(&|config| config.peers[0].id = id(2)).await.unwrap();
    assert_eq!(error, "replica-2 is among the peers twice");
    let error = start(&|config| config.peers[1].link_key = config.peers[0].link_key).await.unwrap();
    assert!(error.starts_with("the link key of replica-2"));
    let error = start(&|config| config.peers[1].link_key = key(0).public()).await.unwrap();
    assert!(error.starts_with("the link key of replica-2"));
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = start(&|config| config.listen = taken.local_addr().unwrap()).await.unwrap();
    assert!(error.starts_with("cannot listen for peers on 127.0.0.1:"));
}
