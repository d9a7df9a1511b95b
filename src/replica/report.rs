//! What a replica's HTTP API says, as values that both sides share: JSON on the wire.
//!
//! No answer is trusted singly: a client compares what the replicas say and believes what a kernel of them (f + 1) say
//! alike. So everything that correct replicas must agree on stands apart from what each says of itself: an [`Answer`]
//! is compared by its `body`, never by height or time; an [`OutcomeReport`] without `visible`; a [`StatusReport`] by
//! its `cluster`. Digests are hexadecimal, names and keys in the forms that people use.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::crypto::ed25519::PublicKey;
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::title::{Event, HistoryEntry, Title};
use crate::limits;
use crate::order::evidence::{self, Accusation};

/// What a replica read from its own state, and how far that state had come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer<T> {
    /// Commits executed.
    pub height: u64,
    pub agreed_time: Timestamp,
    /// Nothing, if there is no such thing at this height.
    pub body: T,
}

/// What became of an operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutcomeReport {
    #[serde(with = "as_text")]
    pub digest: Digest,
    /// Ordinal among executed operations, from 1.
    pub position: u64,
    /// The commit that it was executed in.
    pub height: u64,
    pub agreed_time: Timestamp,
    #[serde(flatten)]
    pub result: OperationResult,
    /// Whether this replica has published what follows from it: the zone has reached the serial and the certificate,
    /// if there is one, is signed. True if it was refused, since nothing follows. Not part of the outcome: replicas
    /// get there one after the other.
    pub visible: bool,
}

impl OutcomeReport {
    /// The part that correct replicas agree on.
    pub fn agreed(&self) -> Self {
        Self { visible: true, ..self.clone() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum OperationResult {
    Accepted {
        #[serde(with = "as_text")]
        zone: Name,
        /// Serial of the zone version in which the change is served.
        serial: u32,
        /// The position under which the certificate asked for can be fetched.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<u64>,
    },
    Refused {
        /// Stable, for programs: `name-taken`.
        code: String,
        /// For the owner: what is wrong and what to do.
        message: String,
    },
}

/// Why a replica does not take an operation in. All but [`DoorRefusal::Busy`] follow from the bytes alone, so that
/// correct replicas refuse alike; what depends on state is refused when it is executed, with a position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DoorRefusal {
    #[error("this is not an operation that the service can read: make it with a current client")]
    Malformed,
    #[error("the operation has more than {} bytes: set fewer records at a time", limits::MAX_OPERATION)]
    TooLarge,
    #[error("the signature does not fit the operation and the key in it: sign it again")]
    BadSignature,
    #[error("the operation was made for another network: check that the cluster file is the right one")]
    WrongNetwork,
    #[error("no such zone is served here: the name must end in one of the cluster's zones")]
    UnknownZone,
    #[error("too many operations are waiting: try again in a moment")]
    Busy,
    #[error("the sealed operation was changed after it was sealed: seal it again")]
    BadSeal,
    #[error("the registry of this zone keeps its names itself: ask the registry")]
    NamesOfRegistry,
}

impl DoorRefusal {
    /// Stable, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::BadSignature => "bad-signature",
            Self::WrongNetwork => "wrong-network",
            Self::UnknownZone => "unknown-zone",
            Self::Busy => "busy",
            Self::BadSeal => "bad-seal",
            Self::NamesOfRegistry => "names-of-registry",
        }
    }

    pub fn from_code(code: &str) -> Option<Self> {
        let all = [
            Self::Malformed,
            Self::TooLarge,
            Self::BadSignature,
            Self::WrongNetwork,
            Self::UnknownZone,
            Self::Busy,
            Self::BadSeal,
            Self::NamesOfRegistry,
        ];
        all.into_iter().find(|refusal| refusal.code() == code)
    }
}

/// A replica has taken an operation in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Received {
    #[serde(with = "as_text")]
    pub digest: Digest,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TitleReport {
    #[serde(with = "as_text")]
    pub name: Name,
    #[serde(with = "as_text")]
    pub zone: Name,
    #[serde(with = "as_text")]
    pub owner: PublicKey,
    pub sequence: u64,
    #[serde(with = "as_text")]
    pub head: Digest,
    pub since: Timestamp,
    #[serde(with = "as_optional_text", default)]
    pub offered_to: Option<PublicKey>,
    /// The owner's records in presentation form, one to a line, in canonical order.
    pub records: Vec<String>,
    /// RRsets after those, beneath a label of a registry that holds more than an owner could set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

fn is_zero(omitted: &u64) -> bool {
    *omitted == 0
}

impl TitleReport {
    /// `records`: the title's records in presentation form, in canonical order, but for `omitted` RRsets at the end.
    pub fn new(title: &Title, records: Vec<String>, omitted: u64) -> Self {
        Self {
            name: title.name.clone(),
            zone: title.zone.clone(),
            owner: title.owner,
            sequence: title.sequence,
            head: title.head,
            since: title.since,
            offered_to: title.offered_to,
            records,
            omitted,
        }
    }
}

/// The last operations on a title, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HistoryReport {
    #[serde(with = "as_text")]
    pub name: Name,
    /// Accepted operations before the first one listed.
    pub omitted: u64,
    pub entries: Vec<HistoryLine>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HistoryLine {
    pub sequence: u64,
    /// 0 for the genesis.
    pub position: u64,
    pub time: Timestamp,
    #[serde(with = "as_text")]
    pub digest: Digest,
    #[serde(with = "as_text")]
    pub signer: PublicKey,
    /// What was done, for people.
    pub event: String,
}

impl HistoryReport {
    /// The newest of `entries`, which come oldest first.
    pub fn new(name: Name, entries: &[HistoryEntry]) -> Self {
        let omitted = entries.len().saturating_sub(limits::MAX_HISTORY_ENTRIES);
        Self { name, omitted: omitted as u64, entries: entries[omitted..].iter().map(HistoryLine::from).collect() }
    }
}

impl From<&HistoryEntry> for HistoryLine {
    fn from(entry: &HistoryEntry) -> Self {
        Self {
            sequence: entry.sequence,
            position: entry.position,
            time: entry.time,
            digest: entry.digest,
            signer: entry.signer,
            event: describe(&entry.event),
        }
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Genesis { owner } => format!("in the genesis, owner {owner}"),
        Event::Registered { owner } => format!("registered by {owner}"),
        Event::RecordsSet { changed } => {
            let changed: Vec<String> = changed.iter().map(|(name, rtype)| format!("{name} {rtype}")).collect();
            format!("records set: {}", some_of(&changed))
        }
        Event::Offered { to } => format!("offered to {to}"),
        Event::Accepted { from, to } => format!("transferred from {from} to {to}"),
        Event::CertificateRequested { names } => {
            let names: Vec<String> = names.iter().map(Name::to_string).collect();
            format!("certificate for {}", some_of(&names))
        }
    }
}

/// The first few, so that a history stays short whatever was done.
fn some_of(items: &[String]) -> String {
    let shown = &items[..items.len().min(limits::MAX_EVENT_ITEMS)];
    let more = items.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateReport {
    /// The signed certificate: base64 of its DER.
    #[serde(with = "as_base64", rename = "der_base64")]
    pub der: Vec<u8>,
}

/// The newest signed head that a replica has. Nobody need believe the replica: the cluster's key signed it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeadReport {
    /// As [`SignedHead::from_bytes`](super::heads::SignedHead::from_bytes) reads it.
    #[serde(with = "as_base64", rename = "head_base64")]
    pub head: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// What correct replicas at the same height agree on.
    pub cluster: ClusterStatus,
    /// What this replica says of itself.
    pub replica: ReplicaStatus,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    #[serde(with = "as_text")]
    pub network: Digest,
    /// In canonical order of their names.
    pub zones: Vec<ZoneStatus>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneStatus {
    #[serde(with = "as_text")]
    pub zone: Name,
    /// The version that is served.
    pub serial: u32,
    /// Names with records in that version.
    pub names: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub id: u8,
    /// The round of the DAG that it is in.
    pub round: u64,
    pub pending_signatures: u64,
    pub peers_connected: Vec<u8>,
    pub version: String,
    /// Misdeeds of others that it has seen, the oldest first, as many as fit in a report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Misdeed>,
}

/// What a replica says another did. If it is proven, the signed blocks that show it are at
/// `/v1/evidence/{culprit}/{round}`: nobody need believe the replica that says so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Misdeed {
    pub culprit: u8,
    pub round: u64,
    /// `equivocation`: two blocks for one round. `coin-share`: a share of the coin that is not its own.
    pub what: String,
    pub proven: bool,
}

impl From<&Accusation> for Misdeed {
    fn from(accusation: &Accusation) -> Self {
        let what = match accusation.misdeed {
            evidence::Misdeed::Equivocation => "equivocation",
            evidence::Misdeed::CoinShare => "coin-share",
        };
        let Accusation { culprit, round, proven, .. } = *accusation;
        Self { culprit: culprit.0, round, what: what.into(), proven }
    }
}

/// A signed block that proves a misdeed, as it was sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    #[serde(with = "as_base64", rename = "block_base64")]
    pub block: Vec<u8>,
}

/// Values that have a text form which parses back.
pub trait TextForm: Sized + std::fmt::Display {
    fn parse_text(text: &str) -> Option<Self>;
}

impl TextForm for Digest {
    fn parse_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl TextForm for PublicKey {
    /// Any 32 bytes: a key under which nothing verifies can still stand in a history.
    fn parse_text(text: &str) -> Option<Self> {
        let base64 = text.strip_prefix("ed25519:")?;
        Some(Self(data_encoding::BASE64.decode(base64.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl TextForm for Name {
    fn parse_text(text: &str) -> Option<Self> {
        Self::parse(text, None).ok()
    }
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::TextForm;

    pub fn serialize<T: TextForm, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T: TextForm, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::parse_text(&text).ok_or_else(|| D::Error::custom("not the text form of such a value"))
    }
}

mod as_optional_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::TextForm;

    pub fn serialize<T: TextForm, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(T::to_string).serialize(serializer)
    }

    pub fn deserialize<'de, T: TextForm, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        T::parse_text(&text).map(Some).ok_or_else(|| D::Error::custom("not the text form of such a value"))
    }
}

mod as_base64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::BASE64.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        data_encoding::BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::hash;
    use crate::crypto::ed25519::SecretKey;
    use crate::directory::rrset::Rtype;

    #[test]
    fn an_outcome_on_the_wire() {
        let outcome = OutcomeReport {
            digest: Digest([0xab; 32]),
            position: 17,
            height: 40,
            agreed_time: Timestamp(1_795_000_000_000),
            result: OperationResult::Accepted {
                zone: Name::parse("names.example.", None).unwrap(),
                serial: 2026112103,
                certificate: None,
            },
            visible: true,
        };
        let json = serde_json::to_string(&outcome).unwrap();
        let digest = "ab".repeat(32);
        assert_eq!(
            json,
            format!(
                r#"{{"digest":"{digest}","position":17,"height":40,"agreed_time":1795000000000,"result":"accepted","zone":"names.example.","serial":2026112103,"visible":true}}"#
            )
        );
        assert_eq!(serde_json::from_str::<OutcomeReport>(&json).unwrap(), outcome);
    }

    #[test]
    fn a_refusal_on_the_wire() {
        let json = format!(
            r#"{{"digest":"{}","position":1,"height":2,"agreed_time":3,"result":"refused","code":"name-taken","message":"taken","visible":true}}"#,
            "00".repeat(32)
        );
        let outcome: OutcomeReport = serde_json::from_str(&json).unwrap();
        let refused = OperationResult::Refused { code: "name-taken".into(), message: "taken".into() };
        assert_eq!(outcome.result, refused);
    }

    #[test]
    fn a_title_parses_back() {
        let key = SecretKey::from_seed(&[1; 32]).public();
        let title = TitleReport {
            name: Name::parse("alice.names.example.", None).unwrap(),
            zone: Name::parse("names.example.", None).unwrap(),
            owner: key,
            sequence: 3,
            head: hash("test", &[]),
            since: Timestamp(5),
            offered_to: Some(key),
            records: vec!["alice.names.example. 300 IN A 192.0.2.1".into()],
            omitted: 0,
        };
        let json = serde_json::to_string(&Answer { height: 1, agreed_time: Timestamp(2), body: Some(&title) }).unwrap();
        let answer: Answer<Option<TitleReport>> = serde_json::from_str(&json).unwrap();
        assert_eq!(answer.body.as_ref(), Some(&title));
        assert!(!json.contains("omitted"), "of an owner's title all is shown");
        let more = TitleReport { omitted: 7, ..title };
        assert_eq!(serde_json::from_str::<TitleReport>(&serde_json::to_string(&more).unwrap()).unwrap(), more);
        assert!(serde_json::from_str::<Answer<Option<TitleReport>>>(&json.replace("ed25519:", "rsa:")).is_err());
    }

    #[test]
    fn a_history_keeps_its_newest_entries_and_short_events() {
        let name = Name::parse("alice.names.example.", None).unwrap();
        let signer = PublicKey([0; 32]);
        let entries: Vec<HistoryEntry> = (0..limits::MAX_HISTORY_ENTRIES as u64 + 5)
            .map(|sequence| HistoryEntry {
                sequence,
                position: sequence + 1,
                time: Timestamp(0),
                digest: Digest::ZERO,
                signer,
                event: Event::RecordsSet { changed: vec![(name.clone(), Rtype::A); 200] },
            })
            .collect();
        let report = HistoryReport::new(name, &entries);
        assert_eq!((report.omitted, report.entries[0].sequence), (5, 5));
        assert!(report.entries[0].event.ends_with("and 192 more"), "{}", report.entries[0].event);
    }

    #[test]
    fn every_door_refusal_has_its_code() {
        for code in ["malformed", "too-large", "bad-signature", "wrong-network", "unknown-zone", "busy"] {
            assert_eq!(DoorRefusal::from_code(code).unwrap().code(), code);
        }
        assert_eq!(DoorRefusal::from_code("other"), None);
    }
}
