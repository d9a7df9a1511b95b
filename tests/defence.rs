//! Hostile clients: whatever they hold open, leave half done or flood with, others are served and memory stays what it was.
#![cfg(all(feature = "fixtures", feature = "misbehave"))]

mod support;

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::dns::{A, Tcp, dig, query, udp};
use support::process::{Process, Run};
use support::testbed::Testbed;
use support::tls::openssl;
use support::{Steps, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use torrens::directory::name::Name;
use torrens::limits::{MAX_DNS_CONNECTIONS, MAX_DNS_CONNECTIONS_PER_CLIENT};

const NAME: &str = "www.names.example.";
const SLOW: usize = 10_000;
/// Kibibytes that a replica may grow by until all its connections are taken: a thousand of each kind, of some 20 KiB where
/// nothing is optimised.
const FULL: u64 = 80 * 1024;
/// Kibibytes that it may grow by from then on, while connections come and go: what the allocator makes of it.
const MORE: u64 = 8 * 1024;

fn question() -> Vec<u8> {
    query(7, &Name::parse(NAME, None).unwrap(), A)
}

/// Replica 1 of this testbed with its `[dns]` section changed, started again.
fn reconfigured(bed: &Testbed, change: impl Fn(String) -> String) -> Process {
    bed.kill_replica(1);
    let path = bed.path("replica-1/replica.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, change(text)).unwrap();
    bed.start_replica(1)
}

/// Kibibytes of memory that a process has.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A connection from this address that begins a message, adds a byte now and then, and comes back when it is closed.
async fn slow_client(from: Ipv4Addr, to: SocketAddr, first: &'static [u8], connected: Arc<AtomicUsize>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
        let Ok(mut stream) = socket.connect(to).await else { continue };
        connected.fetch_add(1, Ordering::Relaxed);
        let mut next = first;
        while stream.write_all(next).await.is_ok() {
            next = b"\0";
            let closed = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0])).await;
            if matches!(closed, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
        // At once they would be a flood of connections, and it would be this machine's cores that are short.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Slow clients in the background until dropped: `count` of them, a hundred from each address from 127.0.`net`.1 on.
struct SlowClients {
    runtime: Option<tokio::runtime::Runtime>,
    connected: Arc<AtomicUsize>,
}

impl SlowClients {
    fn start(count: usize, net: u8, port: u16, first: &'static [u8]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let connected = Arc::new(AtomicUsize::new(0));
        for client in 0..count {
            let from = Ipv4Addr::new(127, 0, net, 1 + (client / 100) as u8);
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            runtime.spawn(slow_client(from, to, first, Arc::clone(&connected)));
        }
        Self { runtime: Some(runtime), connected }
    }

    fn wait_for(&self, count: usize) {
        eventually("slow clients to be connected", || {
            let connected = self.connected.load(Ordering::Relaxed);
            if connected >= count { Ok(()) } else { Err(format!("{connected} are")) }
        });
    }
}

impl Drop for SlowClients {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Every question is answered, over UDP and by a connection of its own.
fn others_are_served(bed: &Testbed) {
    let (message, socket) = (question(), udp(bed.dns(1)));
    for _ in 0..500 {
        let mut answer = [0; 2048];
        socket.send(&message).unwrap();
        assert!(socket.recv(&mut answer).unwrap() > message.len());
    }
    for _ in 0..50 {
        assert!(Tcp::connect(bed.dns(1)).ask(&message).is_some());
    }
    for _ in 0..5 {
        let said = dig(bed.dns(1) + 6, &format!("+tls {NAME} A"));
        assert_eq!(said.status, "NOERROR");
    }
}

#[test]
fn ten_thousand_slow_connections_harm_nobody_and_take_no_memory() {
    let mut steps = Steps::new();
    let limit_files = |limit: &str| {
        Run::of(Command::new("prlimit").args([limit, "--pid", &std::process::id().to_string()])).ok();
    };
    // What a process has at first; the replica asks for more.
    limit_files("--nofile=1024:20000");
    steps.next("a replica that serves TCP and TLS");
    let bed = Testbed::start(&[]);
    let (key, chain) = (bed.file("tls.key"), bed.file("chain.pem"));
    openssl(&format!("req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {chain} -subj /CN=one.example -days 30"))
        .ok();
    let port = bed.dns(1) + 6;
    let more = format!("transfers = []\ntls = \"127.0.0.1:{port}\"\ncertificate = \"{chain}\"\nkey = \"{key}\"\n");
    let replica = reconfigured(&bed, |text| text.replace("transfers = []\n", &more));
    eventually("a replica that answers", || support::dns::try_dig(bed.dns(1), &format!("{NAME} A")));
    others_are_served(&bed);
    // Each connection is a descriptor of this process too.
    limit_files("--nofile=16000:20000");
    let before = memory(replica.id());

    steps.next("10,000 clients that never finish a query, 2,000 that never finish a handshake");
    let slow = SlowClients::start(SLOW, 1, bed.dns(1), b"\0");
    // A TLS record that goes on.
    let half_open = SlowClients::start(SLOW / 5, 2, port, &[22, 3, 1, 2, 0]);
    slow.wait_for(2 * MAX_DNS_CONNECTIONS);
    half_open.wait_for(MAX_DNS_CONNECTIONS);
    others_are_served(&bed);
    let full = memory(replica.id());
    slow.wait_for(2 * SLOW);
    half_open.wait_for(SLOW / 5);
    others_are_served(&bed);
    let after = memory(replica.id());
    eprintln!("memory of the replica: {before} KiB, full {full} KiB, later {after} KiB");
    assert!(full < before + FULL && after < full + MORE, "{before} KiB, full {full} KiB, later {after} KiB");
    drop((slow, half_open));

    steps.next("one address has its share of connections");
    let address = (Ipv4Addr::LOCALHOST, bed.dns(1));
    let mut open: Vec<TcpStream> =
        (0..2 * MAX_DNS_CONNECTIONS_PER_CLIENT).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in open.drain(MAX_DNS_CONNECTIONS_PER_CLIENT..) {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Whether by an end or by an error is up to what was on the way.
        assert_eq!((&stream).read(&mut [0]).unwrap_or(0), 0);
    }
    steps.next("end");
}

/// Set in the process that is in a network of its own.
const ALONE: &str = "TORRENS_TEST_ALONE";
/// The replica's address there, and those of two networks of clients.
const REPLICA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FLOODED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const RATE: usize = 50;

/// Loopback is never limited, so this runs in a network namespace where other addresses are local.
#[test]
fn a_flood_in_the_name_of_one_network_is_cut_down_and_good_cookies_pass() {
    if std::env::var_os(ALONE).is_some() {
        return flood();
    }
    let mut unshare = Command::new("unshare");
    let is_root = Run::of(Command::new("id").arg("-u")).ok().trim() == "0";
    unshare.args(if is_root { &["--net"][..] } else { &["--net", "--user", "--map-root-user"] });
    unshare.arg(std::env::current_exe().unwrap()).args(["--exact", "--nocapture"]);
    unshare.arg("a_flood_in_the_name_of_one_network_is_cut_down_and_good_cookies_pass");
    let run = Run::of(unshare.env(ALONE, "yes"));
    eprintln!("{}{}", run.out, run.err);
    assert!(run.code == 0 && run.out.contains("1 passed"));
}

/// What came back for queries sent from one address.
#[derive(Default, Debug)]
struct Came {
    whole: usize,
    truncated: usize,
    bad_cookie: usize,
    nothing: usize,
}

/// Sends the message `count` times without waiting; `within`: seconds that it touched.
fn send(from: Ipv4Addr, port: u16, message: &[u8], count: usize) -> (Came, usize, Vec<u8>) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect((REPLICA, port)).unwrap();
    let (start, mut came, mut last) = (Instant::now(), Came::default(), Vec::new());
    let mut receive = |wait: u64, came: &mut Came| {
        socket.set_read_timeout(Some(Duration::from_millis(wait))).unwrap();
        let mut answer = [0; 2048];
        let Ok(length) = socket.recv(&mut answer) else { return false };
        last = answer[..length].to_vec();
        let read = hickory_proto::op::Message::from_vec(&last).unwrap();
        let rcode = u16::from(read.metadata.response_code);
        match (rcode, read.metadata.truncation) {
            (23, _) => came.bad_cookie += 1,
            (0, true) => came.truncated += 1,
            (0, false) => came.whole += 1,
            _ => panic!("{read:?}"),
        }
        true
    };
    for sent in 0..count {
        socket.send(message).unwrap();
        // No more on the way than socket buffers hold.
        if sent % 16 == 15 {
            while receive(1, &mut came) {}
        }
    }
    while receive(500, &mut came) {}
    came.nothing = count - came.whole - came.truncated - came.bad_cookie;
    (came, 2 + start.elapsed().as_secs() as usize, last)
}

/// With this COOKIE option (RFC 7873 §4).
fn with_cookie(mut message: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    let at = message.len() - 2;
    message[at..].copy_from_slice(&(4 + cookie.len() as u16).to_be_bytes());
    message.extend([0, 10, 0, cookie.len() as u8]);
    message.extend(cookie);
    message
}

fn flood() {
    let ip = |arguments: &str| Run::of(Command::new("ip").args(arguments.split_whitespace())).ok();
    ip("link set lo up");
    for address in [REPLICA, FLOODED, OTHER] {
        ip(&format!("address add {address}/24 dev lo"));
    }
    let bed = Testbed::start(&[]);
    let port = bed.dns(1);
    let _replica = reconfigured(&bed, |text| {
        let text = text.replace(&format!("dns = \"127.0.0.1:{port}\""), &format!("dns = \"{REPLICA}:{port}\""));
        text.replace("rate_limit = 200", &format!("rate_limit = {RATE}"))
    });
    let dig = |from: Ipv4Addr, arguments: &str| {
        let mut dig = Command::new("dig");
        dig.args([&format!("@{REPLICA}"), "-p", &port.to_string(), "-b", &from.to_string(), "+time=5"]);
        Run::of(dig.args(arguments.split_whitespace()))
    };
    eventually("a replica that answers", || {
        let run = dig(OTHER, &format!("+nocookie {NAME} A"));
        if run.out.contains("status: NOERROR") { Ok(()) } else { Err(run.out) }
    });

    // A flood in the name of one network; another asks the same.
    let message = question();
    let (came, seconds, _) = send(FLOODED, port, &message, 2_000);
    eprintln!("without a cookie: {came:?} in {seconds} s");
    assert!(came.whole <= RATE * seconds && came.truncated > 0 && came.nothing > 0, "{came:?}");
    assert!(came.truncated <= came.nothing + RATE, "every other one: {came:?}");
    let (came, ..) = send(OTHER, port, &message, RATE);
    assert_eq!(came.whole, RATE, "{came:?}");

    // Over TCP, where TC sends a resolver to, the network is served meanwhile.
    let run = dig(FLOODED, &format!("+tcp +nocookie {NAME} A"));
    assert!(run.out.contains("status: NOERROR"), "{run:?}");

    // A client cookie alone proves nothing, but is told the server's.
    let (came, _, last) = send(FLOODED, port, &with_cookie(message.clone(), &[1, 2, 3, 4, 5, 6, 7, 8]), 2_000);
    eprintln!("with a client cookie: {came:?}");
    assert!(came.bad_cookie > 0 && came.truncated == 0 && came.nothing > 0, "{came:?}");
    let cookie = &last[last.len() - 24..];
    assert_eq!(cookie[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    let (came, ..) = send(FLOODED, port, &with_cookie(message, cookie), 2_000);
    eprintln!("with a good cookie: {came:?}");
    assert_eq!(came.whole, 2_000, "{came:?}");
}
