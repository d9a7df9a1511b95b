//! Resolvers: dig, delv, unbound, and questions byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use torrens::directory::name::Name;
use torrens::directory::rrset::Rtype;

use super::eventually;
use super::process::{Process, Run};
use super::testbed::Testbed;

pub const A: Rtype = Rtype(1);

/// What a resolver or server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub status: String,
    pub flags: Vec<String>,
    /// Owner, TTL, class, type and data, separated by single blanks.
    pub answers: Vec<String>,
    pub authorities: Vec<String>,
}

impl Said {
    pub fn is_authentic(&self) -> bool {
        self.flags.iter().any(|flag| flag == "ad")
    }

    /// Data of the answers of this type, in order.
    pub fn data(&self, rtype: &str) -> Vec<String> {
        let mut data: Vec<String> = self.answers.iter().filter_map(|line| data_of(line, rtype)).collect();
        data.sort();
        data
    }
}

fn data_of(line: &str, rtype: &str) -> Option<String> {
    let mut fields = line.splitn(5, ' ');
    (fields.nth(3)? == rtype).then(|| fields.next().unwrap_or("").to_string())
}

/// `dig`, with arguments separated by blanks. Panics if nobody answers.
#[track_caller]
pub fn dig(port: u16, arguments: &str) -> Said {
    try_dig(port, arguments).unwrap_or_else(|error| panic!("dig {arguments}: {error}"))
}

pub fn try_dig(port: u16, arguments: &str) -> Result<Said, String> {
    let mut command = Command::new("dig");
    command.args(["@127.0.0.1", "-p", &port.to_string(), "+time=10", "+tries=2", "+nocookie", "+nosplit"]);
    let run = Run::of(command.args(arguments.split_whitespace()));
    if run.code != 0 { Err(run.out) } else { parse(&run.out) }
}

fn parse(text: &str) -> Result<Said, String> {
    let between = |from: &str, to: &str| {
        let rest = &text[text.find(from)? + from.len()..];
        Some(rest[..rest.find(to)?].to_string())
    };
    let status = between("status: ", ",").ok_or_else(|| text.to_string())?;
    let flags = between(";; flags: ", ";").ok_or_else(|| text.to_string())?;
    let section = |title: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| !line.starts_with(title)).skip(1);
        let lines = lines.take_while(|line| !line.is_empty() && !line.starts_with(";;"));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    Ok(Said {
        status,
        flags: flags.split_whitespace().map(str::to_string).collect(),
        answers: section(";; ANSWER SECTION"),
        authorities: section(";; AUTHORITY SECTION"),
    })
}

/// RRSIG records over this RRset, as a replica serves them.
pub fn signatures(port: u16, name: &str, rtype: &str) -> Vec<String> {
    let said = dig(port, &format!("+norecurse +dnssec {name} {rtype}"));
    let over = |data: &String| data.starts_with(&format!("{rtype} "));
    let signatures: Vec<String> = said.data("RRSIG").into_iter().filter(over).collect();
    assert!(!signatures.is_empty(), "{name} {rtype} has no signature: {said:?}");
    signatures
}

/// The SOA record's serial, as a replica serves it.
pub fn serial(port: u16, zone: &str) -> u32 {
    let soa = dig(port, &format!("+norecurse {zone} SOA")).data("SOA");
    soa[0].split(' ').nth(2).expect("a serial").parse().expect("a number")
}

/// What `delv` says of a name, asked at one replica, under the trust anchor that the testbed wrote.
pub fn delv(bed: &Testbed, replica: u16, zone: &str, name: &str, rtype: &str) -> String {
    let stem = if zone == "." { "root" } else { zone.trim_end_matches('.') };
    let key = bed.text(&format!("trust/{stem}.key"));
    delv_under(bed, bed.dns(replica), (zone, &key), name, rtype)
}

/// What `delv` says of a name, asked at the server on this port, under this zone's DNSKEY record.
pub fn delv_under(bed: &Testbed, port: u16, (zone, key): (&str, &str), name: &str, rtype: &str) -> String {
    let file = bed.file("delv.conf");
    std::fs::write(&file, format!("trust-anchors {{ {} }};\n", static_key(key))).unwrap();
    let mut command = Command::new("delv");
    command.args(["@127.0.0.1", "-p", &port.to_string(), "-a", &file, &format!("+root={zone}"), name, rtype]);
    let run = Run::of(&mut command);
    format!("{}{}", run.out, run.err)
}

/// A DNSKEY record as BIND writes trust anchors.
pub fn static_key(dnskey: &str) -> String {
    let fields: Vec<&str> = dnskey.split_whitespace().collect();
    let at = fields.iter().position(|&field| field == "DNSKEY").expect("a DNSKEY record");
    let [flags, protocol, algorithm] = fields[at + 1..at + 4] else { panic!("{dnskey}") };
    let public = fields[at + 4..].concat();
    format!("{} static-key {flags} {protocol} {algorithm} \"{public}\";", fields[0])
}

/// A validating resolver with nothing but the files in DIR/trust.
pub struct Unbound {
    _process: Process,
    pub port: u16,
}

impl Unbound {
    /// As the testbed configured it.
    pub fn start(bed: &Testbed) -> Self {
        Self::run(bed, &bed.path("trust/unbound.conf").display().to_string(), bed.ports.base + 10)
    }

    /// The same configuration on another port, but every question goes to the replicas.
    pub fn start_without_cache(bed: &Testbed) -> Self {
        let port = bed.ports.base + 12;
        let conf = bed.text("trust/unbound.conf");
        let conf = conf.replace(&format!("port: {}\n", bed.ports.base + 10), &format!("port: {port}\n"));
        let extra = "server:\n  cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  msg-cache-size: 4k\n";
        Self::start_with(bed, "unbound.conf", &(conf + extra), port)
    }

    /// With a configuration of its own, written to this file.
    pub fn start_with(bed: &Testbed, file: &str, conf: &str, port: u16) -> Self {
        let file = bed.file(file);
        std::fs::write(&file, conf).unwrap();
        Self::run(bed, &file, port)
    }

    fn run(bed: &Testbed, conf: &str, port: u16) -> Self {
        let mut command = Command::new("unbound");
        command.args(["-d", "-c", conf]).stdout(Stdio::null());
        let mut process = Process::start(&mut command, &bed.folder.path().join("unbound.log"));
        eventually("unbound", || {
            assert!(process.ended().is_none(), "unbound ended: {}", bed.file("unbound.log"));
            let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
            socket.write_all(&[]).map_err(|error| error.to_string())
        });
        Self { _process: process, port }
    }

    #[track_caller]
    pub fn ask(&self, name: &str, rtype: &str) -> Said {
        dig(self.port, &format!("+dnssec {name} {rtype}"))
    }

    /// The answer must be proven.
    #[track_caller]
    pub fn validated(&self, name: &str, rtype: &str) -> Said {
        let said = self.ask(name, rtype);
        assert!(said.is_authentic(), "{name} {rtype} is not validated: {said:?}");
        said
    }
}

/// BIND as a validating resolver that trusts one key, and asks these servers on this machine for their zones.
pub struct Named {
    _process: Process,
    pub port: u16,
}

impl Named {
    /// Its files are in a folder `name` of the testbed's; `zones`: each with the ports of its servers.
    pub fn start(bed: &Testbed, name: &str, port: u16, dnskey: &str, zones: &[(&str, Vec<u16>)]) -> Self {
        let folder = bed.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        // Whatever it asks beyond its zones goes to an address of this machine where nobody answers.
        std::fs::write(folder.join("hints"), ". NS a.\na. A 127.0.0.1\n").unwrap();
        let work = folder.display();
        let mut conf = format!(
            "options {{ directory \"{work}\"; pid-file none; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }}; \
             listen-on-v6 {{ none; }}; recursion yes; dnssec-validation yes; empty-zones-enable no; }};\n\
             controls {{ }};\ntrust-anchors {{ {} }};\nzone \".\" {{ type hint; file \"hints\"; }};\n",
            static_key(dnskey)
        );
        for (zone, ports) in zones {
            let servers: String = ports.iter().map(|port| format!("127.0.0.1 port {port}; ")).collect();
            conf += &format!("zone \"{zone}\" {{ type forward; forward only; forwarders {{ {servers}}}; }};\n");
        }
        std::fs::write(folder.join("named.conf"), conf).unwrap();
        let mut command = Command::new("/usr/sbin/named");
        command.args(["-4", "-g", "-n", "1", "-c"]).arg(folder.join("named.conf")).stdout(Stdio::null());
        let log = folder.join("log");
        let mut process = Process::start(&mut command, &log);
        eventually("named", || {
            assert!(process.ended().is_none(), "named ended: {}", super::tail(&log));
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string());
            socket.map(drop)
        });
        Self { _process: process, port }
    }

    #[track_caller]
    pub fn ask(&self, name: &str, rtype: &str) -> Said {
        dig(self.port, &format!("+dnssec {name} {rtype}"))
    }
}

/// A query with DO set, to be sent as it is.
pub fn query(id: u16, name: &Name, rtype: Rtype) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    bytes.extend(name.as_wire());
    bytes.extend(rtype.0.to_be_bytes());
    bytes.extend([0, 1]);
    // OPT: the root, type 41, 1,232 bytes, DO, no options (RFC 6891 §6.1.2, RFC 3225).
    bytes.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    bytes
}

/// A connection on which messages are told apart by their lengths (RFC 1035 §4.2.2).
pub struct Framed<S>(pub S);

pub type Tcp = Framed<TcpStream>;

impl Tcp {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a listening server");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }
}

impl<S: Read + Write> Framed<S> {
    /// The answer; none if the server closed the connection.
    pub fn ask(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut framed = (message.len() as u16).to_be_bytes().to_vec();
        framed.extend(message);
        self.0.write_all(&framed).ok()?;
        let mut length = [0; 2];
        self.0.read_exact(&mut length).ok()?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        self.0.read_exact(&mut answer).ok()?;
        Some(answer)
    }
}

pub fn udp(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}
