//! NSD, Knot and ours, with the same zones, signed by BIND.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::eventually;
use crate::support::process::{Process, Run};
use crate::zones::Zone;

/// Master files of the zones, signed with one Ed25519 key each and NSEC; by apex.
pub fn sign(folder: &Path, zones: &[Zone]) -> Vec<(String, PathBuf)> {
    let sign = |zone: &Zone| {
        let keys = folder.join(format!("keys-{}", zone.apex));
        fs::create_dir(&keys).unwrap();
        let (plain, signed) = (folder.join(&zone.apex), folder.join(format!("{}signed", zone.apex)));
        fs::write(&plain, &zone.text).unwrap();
        let mut keygen = Command::new("dnssec-keygen");
        Run::of(keygen.arg("-K").arg(&keys).args(["-q", "-a", "ED25519", "-f", "KSK", &zone.apex])).ok();
        let mut signzone = Command::new("dnssec-signzone");
        signzone.args(["-S", "-z", "-P", "-q", "-e", "now+864000", "-O", "full", "-o", &zone.apex, "-K"]).arg(&keys);
        Run::of(signzone.arg("-f").arg(&signed).arg(&plain).current_dir(folder)).ok();
        (zone.apex.clone(), signed)
    };
    zones.iter().map(sign).collect()
}

/// A server, and a connection to it.
pub struct Server {
    pub name: &'static str,
    stream: TcpStream,
    _process: Process,
}

impl Server {
    fn start(name: &'static str, command: &mut Command, folder: &Path, port: u16) -> Self {
        let process = Process::start(
            command.stdout(fs::File::create(folder.join(format!("{name}.out"))).unwrap()),
            &folder.join(format!("{name}.log")),
        );
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| format!("{name}: {error}"));
        let stream = eventually(name, connect);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { name, stream, _process: process }
    }

    pub fn ours(folder: &Path, zones: &[(String, PathBuf)], port: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_torrens"));
        command.args(["bench", "serve", "--listen", &format!("127.0.0.1:{port}")]);
        for (_, file) in zones {
            command.arg("--zone").arg(file);
        }
        Self::start("ours", &mut command, folder, port)
    }

    pub fn nsd(folder: &Path, zones: &[(String, PathBuf)], port: u16) -> Self {
        let work = folder.display();
        let mut config = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n database: \"\"\n zonesdir: \"{work}\"\n \
             pidfile: \"{work}/nsd.pid\"\n xfrdfile: \"{work}/nsd.xfrd\"\n zonelistfile: \"{work}/nsd.zones\"\n \
             cookie-secret-file: \"\"\n minimal-responses: yes\n refuse-any: no\n rrl-ratelimit: 0\n tcp-query-count: 0\n \
             tcp-timeout: 120\nremote-control:\n control-enable: no\n"
        );
        for (apex, file) in zones {
            config += &format!("zone:\n name: \"{apex}\"\n zonefile: \"{}\"\n", file.display());
        }
        let path = folder.join("nsd.conf");
        fs::write(&path, config).unwrap();
        Self::start("NSD", Command::new("/usr/sbin/nsd").arg("-d").arg("-c").arg(path), folder, port)
    }

    pub fn knot(folder: &Path, zones: &[(String, PathBuf)], port: u16) -> Self {
        let work = folder.display();
        let mut config = format!(
            "server:\n  rundir: \"{work}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\n  tcp-idle-timeout: 120\nlog:\n  - target: stderr\n    any: warning\ndatabase:\n  \
             storage: \"{work}/knot\"\ntemplate:\n  - id: default\n    storage: \"{work}\"\n    semantic-checks: off\n    \
             journal-content: none\n    zonefile-sync: -1\n    zonefile-load: whole\nzone:\n"
        );
        for (apex, file) in zones {
            config += &format!("  - domain: \"{apex}\"\n    file: \"{}\"\n", file.display());
        }
        let path = folder.join("knot.conf");
        fs::write(&path, config).unwrap();
        Self::start("Knot", Command::new("/usr/sbin/knotd").arg("-c").arg(path), folder, port)
    }

    /// Asks over TCP, where nothing has to be left out.
    pub fn ask(&mut self, query: &[u8]) -> Vec<u8> {
        let framed = [&(query.len() as u16).to_be_bytes()[..], query].concat();
        self.stream.write_all(&framed).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut length = [0; 2];
        self.stream.read_exact(&mut length).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut reply).unwrap();
        reply
    }
}
