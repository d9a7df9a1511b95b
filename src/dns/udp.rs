//! DNS over UDP (RFC 1035 §4.2.1): a thread and a socket per worker, batches of datagrams, no allocation.
//!
//! The sockets share the address through `SO_REUSEPORT`; the kernel spreads clients over them by the hash of their
//! addresses. A worker waits in `recvmmsg`, answers all it got from one loaded view, and sends with one `sendmmsg`.
//! Before it answers it asks for the memory that all these answers lie in, so that it waits for that once and not for
//! each.
//!
//! Deviations: a reply leaves by the address that the kernel picks. On a host with several addresses, bind each of
//! them, not the wildcard.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::Cache;
use arrayvec::ArrayVec;
use rand_core::{OsRng, RngCore};
use socket2::{Domain, Protocol, Socket, Type};

use super::rrl::{Limiter, Verdict};
use super::udp_syscalls::{Peer, Received, ignore_path_mtu, send};
use super::{Client, Replied, Server, Transport, fetch, query, seconds_now};
use crate::directory::name_ref::NameBuffer;
use crate::limits::{MAX_UDP_RESPONSE, UDP_BATCH, UDP_SOCKET_BUFFER, UDP_STOP_CHECK_MS};

/// Running workers. Dropped, they are stopped and waited for.
pub struct UdpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl UdpServer {
    /// Binds `address` (port 0: any) and starts `workers` threads, one at least.
    pub fn start(address: SocketAddr, workers: usize, shared: &Server) -> io::Result<Self> {
        // SO_REUSEPORT would let a second server of the same user take half of the queries: look whether one is there.
        drop(bind(address, false)?);
        let first = bind(address, true)?;
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(bind(address, true)?);
        }
        let mut server = Self { address, stop: Arc::default(), workers: Vec::new() };
        for (number, socket) in sockets.into_iter().enumerate() {
            let (shared, stop) = (shared.clone(), Arc::clone(&server.stop));
            let worker = move || serve(&socket, &shared, &stop);
            server.workers.push(thread::Builder::new().name(format!("dns-udp-{number}")).spawn(worker)?);
        }
        Ok(server)
    }

    /// The address bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    ignore_path_mtu(&socket, address.is_ipv4());
    // What the system allows is enough to go on with.
    let _ = socket.set_recv_buffer_size(UDP_SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_SOCKET_BUFFER);
    socket.set_read_timeout(Some(Duration::from_millis(UDP_STOP_CHECK_MS)))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn serve(socket: &UdpSocket, server: &Server, stop: &AtomicBool) {
    let mut view = Cache::new(Arc::clone(&server.view));
    let mut limiter = server.rate_limit.map(|rate| {
        let mut secret = [0; 16];
        OsRng.fill_bytes(&mut secret);
        Limiter::new(rate.get(), secret)
    });
    let mut received = Received::new();
    let mut names = vec![NameBuffer::default(); UDP_BATCH];
    let mut answers: Vec<Vec<u8>> =
        (0..UDP_BATCH).map(|_| Vec::with_capacity(2 * usize::from(MAX_UDP_RESPONSE))).collect();
    while !stop.load(Ordering::Relaxed) {
        if let Err(error) = received.receive(socket) {
            wait_out(&error);
            continue;
        }
        let (view, now) = (view.load(), seconds_now());
        let mut replies: [Option<&Peer>; UDP_BATCH] = [None; UDP_BATCH];
        let messages = received.datagrams().map(|(message, _)| message);
        let parsed: ArrayVec<_, UDP_BATCH> =
            messages.zip(&mut names).map(|(message, name)| query::parse(message, name)).collect();
        fetch(view, &parsed);
        for (slot, ((message, peer), parsed)) in received.datagrams().zip(parsed).enumerate() {
            let Some(address) = peer.address().filter(may_answer) else { continue };
            let transport = Transport::Udp { max: MAX_UDP_RESPONSE };
            let settings = &*server.settings;
            let client = Client::new(transport, address.ip(), now, settings);
            let answer = &mut answers[slot];
            let verdict = match (server.reply(view, message, parsed, &client, answer), &mut limiter) {
                (Replied::Not, _) => Verdict::Drop,
                (Replied::Yes { proven: false }, Some(limiter)) => limiter.judge(client.address, message, answer, now),
                (Replied::Yes { .. }, _) => Verdict::Send,
            };
            if verdict == Verdict::Truncate {
                let client = Client { over_limit: true, ..client };
                let mut name = NameBuffer::default();
                server.reply(view, message, query::parse(message, &mut name), &client, answer);
            }
            replies[slot] = (verdict != Verdict::Drop).then_some(peer);
        }
        send_all(socket, &answers, &replies);
    }
}

fn send_all(socket: &UdpSocket, answers: &[Vec<u8>], replies: &[Option<&Peer>; UDP_BATCH]) {
    let Some(any) = replies.iter().flatten().next() else { return };
    let mut batch: [(&[u8], &Peer); UDP_BATCH] = [(&[], any); UDP_BATCH];
    let mut count = 0;
    for (answer, peer) in answers.iter().zip(replies) {
        if let Some(peer) = peer {
            batch[count] = (answer, peer);
            count += 1;
        }
    }
    send(socket, &batch[..count]);
}

/// Services that answer whatever they get: a spoofed query from their port would start an endless exchange, or turn
/// this server against them. Port 0 is nobody's. Another DNS server's port 53 is harmless: replies are not answered.
fn may_answer(peer: &SocketAddr) -> bool {
    const ECHO: u16 = 7;
    const DISCARD: u16 = 9;
    const DAYTIME: u16 = 13;
    const QUOTE_OF_THE_DAY: u16 = 17;
    const CHARACTER_GENERATOR: u16 = 19;
    const TIME: u16 = 37;
    let reflective = [0, ECHO, DISCARD, DAYTIME, QUOTE_OF_THE_DAY, CHARACTER_GENERATOR, TIME];
    !reflective.contains(&peer.port())
}

/// A timeout is the time to look at the stop flag. Anything else (a pending ICMP error, a lack of memory) passes; the
/// pause keeps an error that stays from taking the core.
fn wait_out(error: &io::Error) {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    if !matches!(error.kind(), WouldBlock | TimedOut | Interrupted | ConnectionRefused) {
        tracing::warn!(%error, "receiving DNS queries");
        thread::sleep(Duration::from_millis(UDP_STOP_CHECK_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::rrset::Rtype;
    use crate::dns::testing::{Ask, Reply, example_view, server_of};

    fn ask(server: &UdpServer, local: &str, message: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind(local).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect(server.address()).unwrap();
        socket.send(message).unwrap();
        let mut reply = [0; 2048];
        let length = socket.recv(&mut reply).unwrap();
        reply[..length].to_vec()
    }

    #[test]
    fn queries_are_answered_over_ipv4_and_ipv6_by_any_worker() {
        for (address, local) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
            let shared = server_of(example_view());
            let server = match UdpServer::start(address.parse().unwrap(), 2, &shared) {
                Ok(server) => server,
                // A machine without IPv6.
                Err(error) if local.starts_with('[') => {
                    eprintln!("no IPv6: {error}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            for _ in 0..20 {
                let reply = ask(&server, local, &Ask::new("www.example.", Rtype::A).message());
                assert_eq!(Reply::read(&reply).answers(), ["www.example. A 192.0.2.1"]);
            }
        }
    }

    #[test]
    fn a_new_view_is_seen_by_the_next_batch() {
        let shared = server_of(crate::store::view::View::default());
        let server = UdpServer::start("127.0.0.1:0".parse().unwrap(), 1, &shared).unwrap();
        let query = Ask::new("www.example.", Rtype::A).message();
        assert_eq!(Reply::read(&ask(&server, "127.0.0.1:0", &query)).rcode, 5);
        shared.view.store(Arc::new(example_view()));
        assert_eq!(Reply::read(&ask(&server, "127.0.0.1:0", &query)).rcode, 0);
    }

    #[test]
    fn what_gets_silence_does_not_disturb_the_batch() {
        let shared = server_of(example_view());
        let server = UdpServer::start("127.0.0.1:0".parse().unwrap(), 1, &shared).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect(server.address()).unwrap();
        let mut reply_message = Ask::new("www.example.", Rtype::A).message();
        reply_message[2] |= 0x80;
        for junk in [&b""[..], b"x", &reply_message, &[0; 9000]] {
            socket.send(junk).unwrap();
        }
        socket.send(&Ask::new("www.example.", Rtype::A).id(77).message()).unwrap();
        let mut reply = [0; 2048];
        let length = socket.recv(&mut reply).unwrap();
        assert_eq!(Reply::read(&reply[..length]).id, 77);
    }

    #[test]
    fn a_second_server_on_the_same_address_is_refused() {
        let shared = server_of(example_view());
        let first = UdpServer::start("127.0.0.1:0".parse().unwrap(), 2, &shared).unwrap();
        let second = UdpServer::start(first.address(), 1, &shared);
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn reflective_ports_get_no_answer() {
        for port in [0, 7, 9, 13, 17, 19, 37] {
            assert!(!may_answer(&SocketAddr::from(([192, 0, 2, 1], port))));
        }
        assert!(may_answer(&SocketAddr::from(([192, 0, 2, 1], 53))));
    }
}
