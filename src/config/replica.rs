//! `replica.toml`: one replica's addresses and data directory.
//!
//! ```toml
//! id = 0
//! data = "data"          # relative to this file
//! log = "info"           # error, warn, info, debug or trace
//!
//! [listen]
//! dns = "127.0.0.1:5300"
//! http = "127.0.0.1:5304"
//! peers = "127.0.0.1:5305"
//!
//! [peers]                # where the other replicas are reached
//! 1 = "127.0.0.1:5325"
//!
//! [dns]                  # may be left out
//! workers = 1            # threads that answer UDP, and as many for all other transports
//! rate_limit = 200       # responses a second to one network of clients and question; 0: no limit
//! transfers = ["192.0.2.9", { network = "198.51.100.0/24", key = "transfer.example." }]
//!                        # secondaries, which may have whole zones; with a key: if they sign with it
//! notify = ["192.0.2.9:53", { address = "198.51.100.7:53", key = "transfer.example." }]
//!                        # secondaries that are told of each new version
//! tsig_keys = "tsig.keys"       # the file with these keys; relative to this file
//! catalog = "catalog.example."  # a zone that lists all zones, for those who may transfer them
//! tls = "0.0.0.0:853"    # DNS over TLS, if there is this line
//! https = "0.0.0.0:443"  # DNS over HTTPS, likewise
//! quic = "0.0.0.0:853"   # DNS over QUIC, likewise
//! certificate = "chain.pem"  # for these, the server's own first; relative to this file; read again when it changes
//! key = "tls.key"
//!
//! [[primary]]            # where a zone comes from whose policy says so: its registry's own server
//! zone = "names.example."
//! address = "192.0.2.5:53"
//! key = "replica0.names.example."  # one of tsig_keys, which no other replica has
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::primaries::{self, Primary, WrittenPrimary};
use super::secondaries::{self, Secondaries, WrittenAccess, WrittenNotified};
use super::{ConfigError, file};
use crate::committee::ReplicaId;
use crate::limits::{DEFAULT_RATE_LIMIT, MAX_DNS_WORKERS, MAX_REPLICAS};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaConfig {
    pub id: ReplicaId,
    /// Resolved against the file's own directory.
    pub data: PathBuf,
    pub log: LogLevel,
    pub listen: Listen,
    /// `host:port` of every other replica.
    pub peers: BTreeMap<ReplicaId, String>,
    pub dns_workers: usize,
    /// Responses a second over UDP to one network of clients and question.
    pub dns_rate_limit: Option<NonZeroU32>,
    pub dns_secondaries: Secondaries,
    pub dns_encrypted: Option<EncryptedDns>,
    /// Where zones come from that registries keep.
    pub primaries: Vec<Primary>,
}

/// Encrypted DNS transports, one at least.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncryptedDns {
    pub tls: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub quic: Option<SocketAddr>,
    /// The certificate chain and its key, in PEM. Resolved against the file's own directory.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// UDP and TCP.
    pub dns: SocketAddr,
    /// API and metrics.
    pub http: SocketAddr,
    pub peers: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The file as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: Spanned<u8>,
    data: PathBuf,
    #[serde(default)]
    log: LogLevel,
    listen: Spanned<Listen>,
    peers: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    dns: Dns,
    #[serde(default)]
    primary: Vec<Spanned<WrittenPrimary>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dns {
    #[serde(default = "one_worker")]
    workers: Spanned<usize>,
    #[serde(default = "default_rate_limit")]
    rate_limit: u32,
    #[serde(default)]
    transfers: Vec<Spanned<WrittenAccess>>,
    #[serde(default)]
    notify: Vec<Spanned<WrittenNotified>>,
    tsig_keys: Option<PathBuf>,
    catalog: Option<Spanned<String>>,
    tls: Option<Spanned<SocketAddr>>,
    https: Option<Spanned<SocketAddr>>,
    quic: Option<Spanned<SocketAddr>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
}

fn one_worker() -> Spanned<usize> {
    Spanned::new(0..0, 1)
}

fn default_rate_limit() -> u32 {
    DEFAULT_RATE_LIMIT
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            workers: one_worker(),
            rate_limit: DEFAULT_RATE_LIMIT,
            transfers: Vec::new(),
            notify: Vec::new(),
            tsig_keys: None,
            catalog: None,
            tls: None,
            https: None,
            quic: None,
            certificate: None,
            key: None,
        }
    }
}

/// The file as it is written.
#[derive(Serialize)]
struct ToWrite<'a> {
    id: u8,
    data: &'a Path,
    log: LogLevel,
    listen: Listen,
    peers: BTreeMap<String, &'a str>,
    dns: DnsToWrite<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    primary: Vec<WrittenPrimary>,
}

#[derive(Serialize)]
struct DnsToWrite<'a> {
    workers: usize,
    rate_limit: u32,
    transfers: Vec<WrittenAccess>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notify: Vec<WrittenNotified>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tsig_keys: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    https: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quic: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a Path>,
}

impl ReplicaConfig {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let (written, text): (Written, _) = file::read_toml(path)?;
        written.meant(path).map_err(|(span, what)| ConfigError::new(path, file::line_of(&text, &span), what))
    }

    /// Writes a new file, with `data` as it stands here.
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        let (encrypted, secondaries) = (self.dns_encrypted.as_ref(), &self.dns_secondaries);
        let written = ToWrite {
            id: self.id.0,
            data: &self.data,
            log: self.log,
            listen: self.listen,
            peers: self.peers.iter().map(|(id, address)| (id.0.to_string(), address.as_str())).collect(),
            dns: DnsToWrite {
                workers: self.dns_workers,
                rate_limit: self.dns_rate_limit.map_or(0, NonZeroU32::get),
                transfers: secondaries.transfers.iter().map(WrittenAccess::from).collect(),
                notify: secondaries.notify.iter().map(WrittenNotified::from).collect(),
                tsig_keys: secondaries.tsig_keys.as_deref(),
                catalog: secondaries.catalog.as_ref().map(ToString::to_string),
                tls: encrypted.and_then(|encrypted| encrypted.tls),
                https: encrypted.and_then(|encrypted| encrypted.https),
                quic: encrypted.and_then(|encrypted| encrypted.quic),
                certificate: encrypted.map(|encrypted| &*encrypted.certificate),
                key: encrypted.map(|encrypted| &*encrypted.key),
            },
            primary: self.primaries.iter().map(WrittenPrimary::from).collect(),
        };
        let text = toml::to_string_pretty(&written).expect("strings, numbers and tables are TOML");
        file::write_new(path, text.as_bytes(), 0o644)
    }
}

type Fault = (std::ops::Range<usize>, String);

impl Written {
    fn meant(self, path: &Path) -> Result<ReplicaConfig, Fault> {
        let id = ReplicaId(*self.id.get_ref());
        if id.index() >= MAX_REPLICAS {
            return Err((self.id.span(), format!("id is {}, of replicas 0 to {}", id.0, MAX_REPLICAS - 1)));
        }
        let workers = *self.dns.workers.get_ref();
        if !(1..=MAX_DNS_WORKERS).contains(&workers) {
            return Err((self.dns.workers.span(), format!("workers is {workers}, of 1 to {MAX_DNS_WORKERS}")));
        }
        let dns_rate_limit = NonZeroU32::new(self.dns.rate_limit);
        let listen = *self.listen.get_ref();
        if listen.http == listen.peers || listen.http == listen.dns || listen.peers == listen.dns {
            return Err((self.listen.span(), "dns, http and peers need an address or port of their own each".into()));
        }
        let mut peers = BTreeMap::new();
        for (key, address) in self.peers {
            let peer =
                parse_peer(&key).ok_or_else(|| (address.span(), format!("`{key}` is no number of a replica")))?;
            if peer == id {
                return Err((address.span(), format!("{peer} is this replica itself, not a peer of it")));
            }
            check_address(address.get_ref()).map_err(|what| (address.span(), what))?;
            peers.insert(peer, address.into_inner());
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let data = folder.join(self.data);
        let dns_encrypted = self.dns.encrypted(listen, folder)?;
        let dns_secondaries = self.dns.secondaries().meant(folder)?;
        let primaries = primaries::meant(self.primary, dns_secondaries.tsig_keys.is_some())?;
        Ok(ReplicaConfig {
            id,
            data,
            log: self.log,
            listen,
            peers,
            dns_workers: workers,
            dns_rate_limit,
            dns_secondaries,
            dns_encrypted,
            primaries,
        })
    }
}

impl Dns {
    fn secondaries(&self) -> secondaries::Written<'_> {
        let Self { transfers, notify, tsig_keys, catalog, .. } = self;
        secondaries::Written { transfers, notify, tsig_keys: tsig_keys.as_ref(), catalog: catalog.as_ref() }
    }

    fn encrypted(&self, listen: Listen, folder: &Path) -> Result<Option<EncryptedDns>, Fault> {
        let address = |listener: &Option<Spanned<SocketAddr>>| listener.as_ref().map(|address| *address.get_ref());
        let listeners = [&self.tls, &self.https, &self.quic];
        // QUIC is over UDP, as nothing else is but plain DNS.
        let tcp = [Some(listen.http), Some(listen.peers), address(&self.tls)];
        for (listener, others) in [(&self.tls, &tcp[..2]), (&self.https, &tcp), (&self.quic, &[])] {
            let Some(listener) = listener else { continue };
            let own = *listener.get_ref();
            if own == listen.dns || others.contains(&Some(own)) {
                return Err((listener.span(), format!("{own} is taken by another listener")));
            }
        }
        match (listeners.into_iter().flatten().next(), &self.certificate, &self.key) {
            (None, None, None) => Ok(None),
            (Some(_), Some(certificate), Some(key)) => {
                let (certificate, key) = (folder.join(certificate.get_ref()), folder.join(key.get_ref()));
                let [tls, https, quic] = listeners.map(address);
                Ok(Some(EncryptedDns { tls, https, quic, certificate, key }))
            }
            (Some(listener), ..) => {
                Err((listener.span(), "needs `certificate` and `key`, the names of PEM files".into()))
            }
            (None, Some(file), _) | (None, None, Some(file)) => Err((
                file.span(),
                "is for encrypted DNS: say `tls`, `https` or `quic`, with an address and port, as well".into(),
            )),
        }
    }
}

/// Decimal without leading zeros, so that no replica can be listed twice.
fn parse_peer(text: &str) -> Option<ReplicaId> {
    let number: u8 = text.parse().ok()?;
    (usize::from(number) < MAX_REPLICAS && number.to_string() == text).then_some(ReplicaId(number))
}

/// `host:port`, where the host may be a name.
pub(super) fn check_address(text: &str) -> Result<(), String> {
    let wrong = || format!("`{text}` is no address: write host:port, as in 192.0.2.7:5305 or [2001:db8::7]:5305");
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(wrong()) } else { Ok(()) };
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let port_is_usable = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || !host.bytes().all(is_host) || !port_is_usable {
        return Err(wrong());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SOUND: &str = r#"id = 0
data = "data"
log = "debug"

[listen]
dns = "127.0.0.1:5300"
http = "127.0.0.1:5304"
peers = "127.0.0.1:5305"

[peers]
1 = "127.0.0.1:5325"
2 = "two.example:5345"
3 = "[::1]:5365"

[dns]
workers = 2
tls = "127.0.0.1:853"
https = "127.0.0.1:443"
quic = "127.0.0.1:853"
certificate = "chain.pem"
key = "/etc/torrens/tls.key"
transfers = ["192.0.2.9", { network = "2001:db8::/32", key = "k.example" }]
notify = ["[::1]:53", { address = "192.0.2.9:53", key = "k.example." }]
tsig_keys = "tsig.keys"
catalog = "catalog.example."

[[primary]]
zone = "names.example"
address = "192.0.2.5:53"
key = "replica0.example."
"#;

    fn read(text: &str) -> Result<ReplicaConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("replica.toml");
        fs::write(&path, text).unwrap();
        let prefix = directory.path().display().to_string() + "/";
        ReplicaConfig::read(&path).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn a_sound_file_is_read_and_written_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("replica.toml");
        fs::write(&path, SOUND).unwrap();
        let config = ReplicaConfig::read(&path).unwrap();
        assert_eq!(config.data, directory.path().join("data"));
        assert_eq!((config.id, config.dns_workers, config.log), (ReplicaId(0), 2, LogLevel::Debug));
        assert_eq!(config.peers[&ReplicaId(2)], "two.example:5345");

        let encrypted = config.dns_encrypted.clone().unwrap();
        assert_eq!(encrypted.certificate, directory.path().join("chain.pem"));
        assert_eq!(encrypted.key, PathBuf::from("/etc/torrens/tls.key"));

        let [primary] = &config.primaries[..] else { panic!("one") };
        assert_eq!(
            (primary.zone.to_string(), primary.key.to_string()),
            ("names.example.".into(), "replica0.example.".into())
        );

        let copy = directory.path().join("copy.toml");
        ReplicaConfig { data: "data".into(), ..config.clone() }.write(&copy).unwrap();
        assert_eq!(ReplicaConfig::read(&copy).unwrap(), config);
        assert!(config.write(&copy).unwrap_err().to_string().contains("not overwritten"));
    }

    #[test]
    fn workers_and_log_level_may_be_left_out() {
        let config = read(&SOUND[..SOUND.find("[dns]").unwrap()].replace("log = \"debug\"\n", "")).unwrap();
        assert_eq!((config.dns_workers, config.log, config.dns_encrypted), (1, LogLevel::Info, None));
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        for (from, to, expected) in [
            ("id = 0", "id = ", "replica.toml:1: "),
            ("id = 0", "id = 64", "replica.toml:1: id is 64, of replicas 0 to 63"),
            ("id = 0", "id = -1", "replica.toml:1: "),
            ("id = 0", "", "replica.toml:1: missing field `id`"),
            ("log = \"debug\"", "log = \"loud\"", "replica.toml:3: unknown variant `loud`"),
            ("log = \"debug\"", "lag = \"debug\"", "replica.toml:3: unknown field `lag`"),
            ("127.0.0.1:5304", "127.0.0.1", "replica.toml:7: invalid socket address syntax"),
            ("127.0.0.1:5304", "127.0.0.1:5305", "replica.toml:5: dns, http and peers need"),
            ("1 = ", "0 = ", "replica.toml:11: replica-0 is this replica itself"),
            ("1 = ", "01 = ", "replica.toml:11: `01` is no number of a replica"),
            ("1 = ", "one = ", "replica.toml:11: `one` is no number of a replica"),
            ("1 = ", "2 = ", "replica.toml:12: duplicate key"),
            ("two.example:5345", "two.example", "replica.toml:12: `two.example` is no address"),
            ("two.example:5345", "two example:5345", "replica.toml:12: `two example:5345` is no address"),
            ("two.example:5345", ":5345", "replica.toml:12: `:5345` is no address"),
            ("two.example:5345", "two.example:0", "replica.toml:12: `two.example:0` is no address"),
            ("workers = 2", "workers = 0", "replica.toml:16: workers is 0, of 1 to "),
            ("workers = 2", "workers = 2\nthreads = 2", "replica.toml:17: unknown field `threads`"),
            ("127.0.0.1:853", "127.0.0.1:5300", "replica.toml:17: 127.0.0.1:5300 is taken by another listener"),
            ("127.0.0.1:443", "127.0.0.1:853", "replica.toml:18: 127.0.0.1:853 is taken by another listener"),
            ("certificate = \"chain.pem\"", "", "replica.toml:17: needs `certificate` and `key`"),
            ("quic = \"127.0.0.1:853\"", "quic = \"127.0.0.1:5300\"", "replica.toml:19: 127.0.0.1:5300 is taken"),
            (
                &SOUND[SOUND.find("tls =").unwrap()..SOUND.find("certificate").unwrap()],
                "",
                "replica.toml:17: is for encrypted DNS: say",
            ),
            ("192.0.2.9\"", "192.0.2\"", "replica.toml:22: write an address or network, or {"),
            ("\"[::1]:53", "\"[::1]", "replica.toml:23: write an address and port, or {"),
            ("tsig_keys = \"tsig.keys\"", "", "replica.toml:22: key `k.example` is named: say with `tsig_keys`"),
            ("catalog.example.", "catalog..", "replica.toml:25: `catalog..` is no name"),
        ] {
            let error = read(&SOUND.replace(from, to)).unwrap_err();
            assert!(error.starts_with(expected), "{to}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = ReplicaConfig::read(Path::new("nowhere/replica.toml")).unwrap_err();
        assert!(error.to_string().starts_with("nowhere/replica.toml: cannot be read"), "{error}");
    }
}
