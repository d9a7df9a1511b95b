//! `cluster.toml`: what a client needs to know of a cluster. Whoever can write this file decides whom to believe.
//!
//! ```toml
//! network = "64 hexadecimal digits"
//! faults = 1                   # of the replicas; with `weights = [2, 1, …]` by weight; or, instead, such a family as
//!                              # `fail-prone = "any 2 replicas or any 1 of [0 1 2 3, 4 5, 6 7, 8]"`
//! ca = "trust/ca.pem"          # relative to this file
//! sealing = "BASE64"           # the 48 bytes of the key that operations are sealed to
//! heads = "BASE64"             # the 48 bytes of the key that heads are signed with
//!
//! [[replica]]
//! id = 0
//! api = "127.0.0.1:5304"
//! dns = "127.0.0.1:5300"
//! identity = "ed25519:BASE64"
//!
//! [[zone]]
//! name = "names.example."
//! dnskey = "BASE64"            # the 32 bytes of its DNSSEC key
//! ```
//!
//! The key to seal to is taken from here and not asked of the replicas: it lasts as long as the network, and a client that
//! is about to seal something has nothing to ask anybody.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::input::{self, InputError};
use crate::committee::{Committee, FailProne, ReplicaId};
use crate::crypto::bls::HeadKey;
use crate::crypto::bls::sealing::SealingKey;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::PublicKey;
use crate::directory::name::Name;

/// A cluster as a client knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    pub network: Digest,
    pub committee: Committee,
    /// By id.
    pub replicas: Vec<Replica>,
    pub zones: Vec<Zone>,
    /// The certificate authority's own certificate.
    pub ca: PathBuf,
    /// What operations are sealed to.
    pub sealing: SealingKey,
    /// What signed heads are checked with.
    pub heads: HeadKey,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    pub id: ReplicaId,
    /// Host and port of the HTTP API.
    pub api: String,
    pub dns: SocketAddr,
    pub identity: PublicKey,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    pub name: Name,
    /// The zone's Ed25519 key.
    pub dnskey: [u8; 32],
}

impl Cluster {
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let text = input::read_text(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|(span, what)| {
            let line = span.map(|span| 1 + text.as_bytes()[..span.start].iter().filter(|&&byte| byte == b'\n').count());
            InputError::new(path, line, what)
        })
    }

    /// The zone that `name` belongs to: the one with the closest apex.
    pub fn zone_for(&self, name: &Name) -> Option<&Zone> {
        self.zones.iter().filter(|zone| name.is_within(&zone.name)).max_by_key(|zone| zone.name.label_count())
    }

    /// The file that [`Cluster::load`] reads; `ca` is written as it stands.
    pub fn to_toml(&self) -> String {
        let quoted = |text: String| toml::Value::String(text).to_string();
        let mut text = format!(
            "network = \"{}\"\n{}\nca = {}\nsealing = \"{}\"\nheads = \"{}\"\n",
            self.network,
            self.committee.to_toml(),
            quoted(self.ca.display().to_string()),
            data_encoding::BASE64.encode(&self.sealing.to_bytes()),
            data_encoding::BASE64.encode(&self.heads.to_bytes()),
        );
        for Replica { id, api, dns, identity } in &self.replicas {
            let api = quoted(api.clone());
            text += &format!("\n[[replica]]\nid = {}\napi = {api}\ndns = \"{dns}\"\nidentity = \"{identity}\"\n", id.0);
        }
        for Zone { name, dnskey } in &self.zones {
            let dnskey = data_encoding::BASE64.encode(dnskey);
            text += &format!("\n[[zone]]\nname = {}\ndnskey = \"{dnskey}\"\n", quoted(name.to_string()));
        }
        text
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Complaint> {
        let file: ClusterFile =
            toml::from_str(text).map_err(|error| (error.span(), error.message().trim().to_owned()))?;
        let committee = file.committee()?;
        let network = value(&file.network, "64 hexadecimal digits", Digest::parse)?;
        let point = "base64 of a point of BLS12-381 in 48 bytes";
        let sealing = value(&file.sealing, point, |text| SealingKey::from_bytes(&base64(text)?))?;
        let heads = value(&file.heads, point, |text| HeadKey::from_bytes(&base64(text)?))?;
        let mut replicas: Vec<Replica> = Vec::with_capacity(file.replica.len());
        for (at, replica) in file.replica.into_iter().enumerate() {
            let replica = replica.meant(at)?;
            if replicas.iter().any(|other| other.identity == replica.identity || other.api == replica.api) {
                return Err((None, format!("replica {at} has the identity or API address of another replica")));
            }
            replicas.push(replica);
        }
        let zones: Vec<Zone> = file.zone.into_iter().map(ZoneTable::meant).collect::<Result<_, _>>()?;
        if zones.is_empty() {
            return Err((None, "no [[zone]]: a cluster serves at least one".to_owned()));
        }
        Ok(Self { network, committee, replicas, zones, ca: folder.join(file.ca), sealing, heads })
    }
}

/// Where, in bytes from the start of the file, and what.
type Complaint = (Option<Range<usize>>, String);

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    network: Spanned<String>,
    faults: Option<Spanned<u16>>,
    weights: Option<Spanned<Vec<u8>>>,
    #[serde(rename = "fail-prone")]
    fail_prone: Option<Spanned<String>>,
    ca: PathBuf,
    sealing: Spanned<String>,
    heads: Spanned<String>,
    replica: Vec<ReplicaTable>,
    zone: Vec<ZoneTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplicaTable {
    id: Spanned<usize>,
    api: Spanned<String>,
    dns: Spanned<String>,
    identity: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneTable {
    name: Spanned<String>,
    dnskey: Spanned<String>,
}

impl ClusterFile {
    fn committee(&self) -> Result<Committee, Complaint> {
        let replicas = self.replica.len();
        match (&self.faults, &self.weights, &self.fail_prone) {
            (Some(faults), None, None) => {
                let most = Committee::new(replicas).map_err(|error| (None, error.to_string()))?.faults();
                let faults = (usize::from(*faults.get_ref()), faults.span());
                Committee::threshold(replicas, faults.0).map_err(|_| {
                    (Some(faults.1), format!("faults must be {most} with {replicas} replicas, or less (n ≥ 3f + 1)"))
                })
            }
            (Some(faults), Some(weights), None) if weights.get_ref().len() == replicas => {
                Committee::weighted(weights.get_ref(), *faults.get_ref())
                    .map_err(|error| (Some(weights.span()), error.to_string()))
            }
            (None, None, Some(text)) => {
                let wrong = |what| (Some(text.span()), what);
                let family = FailProne::parse(text.get_ref(), &|_| None).map_err(wrong)?;
                Committee::general(replicas, family).map_err(|error| wrong(error.to_string()))
            }
            (_, Some(weights), _) => {
                Err((Some(weights.span()), format!("weights go with faults, one for each of the {replicas} replicas")))
            }
            _ => Err((None, "either faults or fail-prone says what may fail together".to_owned())),
        }
    }
}

impl ReplicaTable {
    fn meant(self, at: usize) -> Result<Replica, Complaint> {
        if *self.id.get_ref() != at {
            return Err((Some(self.id.span()), format!("replicas are listed by id: {at} was expected here")));
        }
        let host_and_port = |text: &str| {
            let authority: axum::http::uri::Authority = text.parse().ok()?;
            (authority.port_u16().is_some() && !text.contains('@')).then(|| text.to_owned())
        };
        Ok(Replica {
            id: ReplicaId(u8::try_from(at).expect("a committee has at most 64 members")),
            api: value(&self.api, "host:port", host_and_port)?,
            dns: value(&self.dns, "address:port", |text| text.parse().ok())?,
            identity: value(&self.identity, "ed25519:BASE64 of a public key", PublicKey::parse)?,
        })
    }
}

impl ZoneTable {
    fn meant(self) -> Result<Zone, Complaint> {
        Ok(Zone {
            name: value(&self.name, "a domain name", |text| Name::parse(text, None).ok())?,
            dnskey: value(&self.dnskey, "base64 of 32 bytes", base64)?,
        })
    }
}

fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    data_encoding::BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn value<T>(text: &Spanned<String>, form: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Complaint> {
    parse(text.get_ref()).ok_or_else(|| (Some(text.span()), format!("\"{}\" is not {form}", text.get_ref())))
}

#[cfg(test)]
pub mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::crypto::bls::sealing::{self, SealingPublic, SealingSecret};
    use crate::crypto::bls::{HeadPublic, HeadSecret, heads};
    use crate::crypto::ed25519::SecretKey;

    /// The key that the tests' clusters are sealed to, and its shares.
    pub fn sealing_key() -> (SealingPublic, Vec<SealingSecret>) {
        sealing::deal(&Committee::new(4).unwrap(), &mut ChaCha20Rng::seed_from_u64(4))
    }

    /// The key that signs the tests' heads, and its shares.
    pub fn head_key() -> (HeadPublic, Vec<HeadSecret>) {
        heads::deal(&Committee::new(4).unwrap(), &mut ChaCha20Rng::seed_from_u64(5))
    }

    /// A cluster of four with the given API addresses, serving `names.example.`.
    pub fn cluster_of(apis: &[String]) -> Cluster {
        let replicas = apis.iter().enumerate().map(|(at, api)| Replica {
            id: ReplicaId(at as u8),
            api: api.clone(),
            dns: SocketAddr::from(([127, 0, 0, 1], 5300 + 20 * at as u16)),
            identity: SecretKey::from_seed(&[at as u8 + 100; 32]).public(),
        });
        Cluster {
            network: Digest([0x11; 32]),
            committee: Committee::new(apis.len()).unwrap(),
            replicas: replicas.collect(),
            zones: vec![Zone { name: Name::parse("names.example.", None).unwrap(), dnskey: [5; 32] }],
            ca: "trust/ca.pem".into(),
            sealing: sealing_key().0.key(),
            heads: head_key().0.key(),
        }
    }

    fn four() -> Cluster {
        cluster_of(&[0, 1, 2, 3].map(|at| format!("127.0.0.1:{}", 5304 + 20 * at)))
    }

    fn complaint(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.toml");
        std::fs::write(&path, text).unwrap();
        let error = Cluster::load(&path).unwrap_err().to_string();
        error.strip_prefix(&format!("{}:", path.display())).unwrap().to_owned()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut cluster = four();
        let text = cluster.to_toml();
        cluster.ca = "demo/trust/ca.pem".into();
        assert_eq!(Cluster::parse(&text, Path::new("demo")), Ok(cluster));
    }

    #[test]
    fn every_kind_of_structure_is_written_and_read_back() {
        let family = "any 2 replicas or any 1 of [0 1 2 3, 4 5, 6 7, 8]";
        let committees = [
            Committee::threshold(7, 1),
            Committee::weighted(&[2, 2, 2, 1, 1, 1], 2),
            Committee::general(9, FailProne::parse(family, &|_| None).unwrap()),
        ];
        for committee in committees.map(Result::unwrap) {
            let apis: Vec<String> = committee.ids().map(|id| format!("127.0.0.1:{}", 5304 + u16::from(id.0))).collect();
            let cluster = Cluster { committee, ..cluster_of(&apis) };
            assert_eq!(Cluster::parse(&cluster.to_toml(), Path::new("")), Ok(cluster));
        }
        let text = four().to_toml();
        assert!(
            complaint(&text.replace("faults = 1", "fail-prone = \"any 2 replicas\"")).contains("cover every replica")
        );
        assert!(complaint(&text.replace("faults = 1\n", "")).contains("either faults or fail-prone"));
        assert!(
            complaint(&text.replace("faults = 1", "faults = 1\nweights = [1, 2]")).starts_with("3: weights go with")
        );
    }

    #[test]
    fn a_broken_file_is_told_by_line() {
        let text = four().to_toml();
        assert!(complaint(&text.replace("faults = 1", "faults = 2")).starts_with("2: faults must be 1 with 4"));
        assert!(complaint(&text.replace("network = \"11", "network = \"zz")).starts_with("1: "));
        assert!(complaint(&text.replace("id = 1", "id = 3")).starts_with("14: replicas are listed by id"));
        assert!(complaint(&text.replace("127.0.0.1:5324", "nowhere")).starts_with("15: \"nowhere\" is not host:port"));
        assert!(complaint(&text.replace("faults = 1", "faults == 1")).starts_with("2: "));
        assert!(complaint(&text.replace("sealing = \"", "sealing = \"A")).starts_with("4: "));
        assert!(complaint(&text.replace("heads = \"", "heads = \"A")).starts_with("5: "));
        assert!(complaint(&text.replace("faults", "fautls")).starts_with("2: unknown field"));
    }

    #[test]
    fn one_replica_cannot_be_listed_twice() {
        let text = four().to_toml();
        assert!(complaint(&text.replace("127.0.0.1:5324", "127.0.0.1:5304")).contains("of another replica"));
    }

    #[test]
    fn the_zone_of_a_name_is_the_closest() {
        let mut cluster = four();
        let apexes = ["example.", "names.example.", "other."];
        cluster.zones =
            apexes.iter().map(|apex| Zone { name: Name::parse(apex, None).unwrap(), dnskey: [0; 32] }).collect();
        let zone_of =
            |name: &str| cluster.zone_for(&Name::parse(name, None).unwrap()).map(|zone| zone.name.to_string());
        assert_eq!(zone_of("a.names.example.").as_deref(), Some("names.example."));
        assert_eq!(zone_of("b.example.").as_deref(), Some("example."));
        assert_eq!(zone_of("c.org."), None);
    }
}
