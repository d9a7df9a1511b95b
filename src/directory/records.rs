//! Which records an owner may set, and which may stand side by side.
//!
//! RFC 1034 §3.6.2 (CNAME alone), RFC 6672 §2.3–2.4 (nothing beneath DNAME), RFC 4035 §2.4 (DS only beside NS), RFC 6895
//! §3.1 (types that are no data), and the bounds that keep every name answerable (CVE-2024-1737).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::Name;
use super::rdata::check_rdata;
use super::rrset::{Rrset, Rtype};
use crate::limits::{
    MAX_NAME_RECORDS_BYTES, MAX_RDATA, MAX_RECORDS_PER_RRSET, MAX_RRSETS_PER_TITLE, MAX_TITLE_BYTES, MAX_TTL,
    MAX_TYPES_PER_NAME,
};

/// Why records cannot be as they are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum RecordsError {
    #[error("{rtype} records cannot be set: {}", why_not_allowed(*.rtype).unwrap_or("not a type for records"))]
    TypeNotAllowed { name: Name, rtype: Rtype },
    #[error("{name} {rtype}: {why}")]
    BadData { name: Name, rtype: Rtype, why: String },
    #[error("{name} {rtype}: the TTL {ttl} is over {MAX_TTL} seconds: ask for at most that")]
    TtlTooLarge { name: Name, rtype: Rtype, ttl: u32 },
    #[error("{name} {rtype}: {records} records, of which {MAX_RECORDS_PER_RRSET} are allowed: remove some")]
    TooManyRecords { name: Name, rtype: Rtype, records: usize },
    #[error("{name} {rtype}: only one such record may stand at a name: remove the others")]
    OnlyOne { name: Name, rtype: Rtype },
    #[error("{name}: more than {MAX_TYPES_PER_NAME} types at one name: delete some, or use names beneath it")]
    TooManyTypes { name: Name },
    #[error(
        "{name}: {bytes} bytes of records at one name, of which {MAX_NAME_RECORDS_BYTES} are allowed: delete some, or \
         use names beneath it"
    )]
    TooManyBytesAtName { name: Name, bytes: usize },
    #[error(
        "{rrsets} RRsets under one title, of which {MAX_RRSETS_PER_TITLE} are allowed: delete some, or delegate to \
         servers of your own with NS"
    )]
    TooManyRrsets { rrsets: usize },
    #[error(
        "{bytes} bytes of records under one title, of which {MAX_TITLE_BYTES} are allowed: delete some, or delegate to \
         servers of your own with NS"
    )]
    TooManyBytes { bytes: usize },
    #[error("{name}: {other} stands beside CNAME, which must be alone: delete one of them first")]
    CnameConflict { name: Name, other: Rtype },
    #[error("{name}: DNAME hides {hidden} {rtype}: delete one of them first")]
    DnameConflict { name: Name, hidden: Name, rtype: Rtype },
    #[error("{name} {rtype}: {why}")]
    DelegationConflict { name: Name, rtype: Rtype, why: String },
}

impl RecordsError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TypeNotAllowed { .. } => "type-not-allowed",
            Self::BadData { .. } => "bad-record-data",
            Self::TtlTooLarge { .. } => "ttl-too-large",
            Self::TooManyRecords { .. } => "too-many-records",
            Self::OnlyOne { .. } => "only-one-record",
            Self::TooManyTypes { .. } => "too-many-types",
            Self::TooManyBytesAtName { .. } => "too-many-bytes-at-name",
            Self::TooManyRrsets { .. } => "too-many-rrsets",
            Self::TooManyBytes { .. } => "too-many-bytes",
            Self::CnameConflict { .. } => "cname-conflict",
            Self::DnameConflict { .. } => "dname-conflict",
            Self::DelegationConflict { .. } => "delegation-conflict",
        }
    }

    /// The RRset that it is about, where there is one.
    pub fn place(&self) -> Option<(Name, Rtype)> {
        match self {
            Self::TypeNotAllowed { name, rtype }
            | Self::BadData { name, rtype, .. }
            | Self::TtlTooLarge { name, rtype, .. }
            | Self::TooManyRecords { name, rtype, .. }
            | Self::OnlyOne { name, rtype }
            | Self::DelegationConflict { name, rtype, .. } => Some((name.clone(), *rtype)),
            Self::CnameConflict { name, .. } => Some((name.clone(), Rtype::CNAME)),
            Self::DnameConflict { name, .. } => Some((name.clone(), Rtype::DNAME)),
            Self::TooManyTypes { .. }
            | Self::TooManyBytesAtName { .. }
            | Self::TooManyRrsets { .. }
            | Self::TooManyBytes { .. } => None,
        }
    }
}

/// Why an owner's records may not be of that type, if so.
pub fn why_not_allowed(rtype: Rtype) -> Option<&'static str> {
    match rtype.0 {
        6 => Some("SOA stands at the zone's apex, and the service keeps it"),
        24 | 46 => Some("the service signs the zone itself"),
        30 | 47 | 50 | 51 => Some("the service proves itself which names do not exist"),
        25 => Some("the service publishes the key of the title's owner: transfer the title to change it"),
        48 => Some("the zone's keys stand at its apex: for a delegated zone of your own set NS and DS"),
        63 => Some("the service makes the digest of the zone itself"),
        0 | 65535 => Some("this type is reserved"),
        41 | 128..=255 => Some("this is no type of data, it stands in questions and messages only"),
        _ => None,
    }
}

/// Whether an RRset is one that may stand in a zone: canonical, valid, within bounds. Not whether an owner may set it.
pub fn check_rrset(name: &Name, rrset: &Rrset) -> Result<(), RecordsError> {
    let rtype = rrset.rtype;
    let bad = |why: String| RecordsError::BadData { name: name.clone(), rtype, why };
    let count = rrset.rdatas().len();
    if rrset.ttl > MAX_TTL {
        return Err(RecordsError::TtlTooLarge { name: name.clone(), rtype, ttl: rrset.ttl });
    }
    if count > MAX_RECORDS_PER_RRSET {
        return Err(RecordsError::TooManyRecords { name: name.clone(), rtype, records: count });
    }
    if count == 0 {
        return Err(bad("no records: ask for deletion to have none".into()));
    }
    if count > 1 && [Rtype::CNAME, Rtype::DNAME, Rtype::SOA].contains(&rtype) {
        return Err(RecordsError::OnlyOne { name: name.clone(), rtype });
    }
    if !rrset.is_canonical() {
        return Err(bad("records are to be in ascending order of their bytes, each once".into()));
    }
    for rdata in rrset.rdatas() {
        if check_rdata(rtype, rdata).map_err(|error| bad(error.0))? != *rdata {
            return Err(bad("names in records are to be written in lower case".into()));
        }
    }
    if name.is_wildcard() && [Rtype::NS, Rtype::DS, Rtype::DNAME].contains(&rtype) {
        let why = "a wildcard cannot delegate (RFC 4592 §4): set it at the names meant".to_string();
        return Err(RecordsError::DelegationConflict { name: name.clone(), rtype, why });
    }
    Ok(())
}

/// Whether RRsets, each of which passed [`check_rrset`], may stand together under one title, or at an apex.
pub fn check_together(records: &BTreeMap<(Name, Rtype), Rrset>) -> Result<(), RecordsError> {
    if records.len() > MAX_RRSETS_PER_TITLE {
        return Err(RecordsError::TooManyRrsets { rrsets: records.len() });
    }
    let bytes = records.iter().map(bytes_of).sum();
    if bytes > MAX_TITLE_BYTES {
        return Err(RecordsError::TooManyBytes { bytes });
    }
    check_relations(records)
}

/// What a title's bytes are counted in.
pub(super) fn bytes_of(((name, _), rrset): (&(Name, Rtype), &Rrset)) -> usize {
    name.as_wire().len() + rrset.rdatas().iter().map(Vec::len).sum::<usize>()
}

/// Of the labels right below `apex` the first beneath which there is more than so much, and what there is: RRsets, bytes.
pub fn first_over(
    records: &BTreeMap<(Name, Rtype), Rrset>,
    apex: &Name,
    rrsets: usize,
    bytes: usize,
) -> Option<(Name, usize, usize)> {
    let label = |name: &Name| name.suffix(apex.label_count() + 1);
    let entries: Vec<_> = records.iter().collect();
    entries.chunk_by(|((a, _), _), ((b, _), _)| label(a) == label(b)).find_map(|beneath| {
        let size = (beneath.len(), beneath.iter().copied().map(bytes_of).sum());
        let is_over = size.0 > rrsets || size.1 > bytes;
        label(&beneath[0].0.0).filter(|_| is_over).map(|label| (label, size.0, size.1))
    })
}

/// As [`check_together`], however many there are.
pub fn check_relations(records: &BTreeMap<(Name, Rtype), Rrset>) -> Result<(), RecordsError> {
    check_names(records)?;
    // A name's descendants follow it at once in canonical order (RFC 4034 §6.1).
    let entries: Vec<&(Name, Rtype)> = records.keys().collect();
    for (at, (name, rtype)) in entries.iter().enumerate() {
        let alone = |wanted: Rtype| records.contains_key(&(name.clone(), wanted));
        match *rtype {
            Rtype::DNAME => {
                let below = entries[at + 1..].iter().find(|(other, _)| other != name);
                if let Some((hidden, rtype)) = below.filter(|(other, _)| other.is_within(name)) {
                    let (name, hidden) = (name.clone(), hidden.clone());
                    return Err(RecordsError::DnameConflict { name, hidden, rtype: *rtype });
                }
                if alone(Rtype::NS) && !alone(Rtype::SOA) {
                    return Err(delegation(
                        name,
                        Rtype::NS,
                        "NS and DNAME cannot both hold for what is beneath: delete one",
                    ));
                }
            }
            Rtype::DS if !alone(Rtype::NS) => {
                return Err(delegation(
                    name,
                    Rtype::DS,
                    "DS vouches for a delegation: set NS at this name too, or delete DS",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn delegation(name: &Name, rtype: Rtype, why: &str) -> RecordsError {
    RecordsError::DelegationConflict { name: name.clone(), rtype, why: why.to_string() }
}

/// The rules for one name, at each name.
fn check_names(records: &BTreeMap<(Name, Rtype), Rrset>) -> Result<(), RecordsError> {
    let entries: Vec<(&(Name, Rtype), &Rrset)> = records.iter().collect();
    for at_name in entries.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
        let Some(((name, _), _)) = at_name.first() else { continue };
        if at_name.len() > MAX_TYPES_PER_NAME {
            return Err(RecordsError::TooManyTypes { name: name.clone() });
        }
        let bytes = at_name.iter().map(|(_, rrset)| wire_bytes(rrset)).sum();
        if bytes > MAX_NAME_RECORDS_BYTES {
            return Err(RecordsError::TooManyBytesAtName { name: name.clone(), bytes });
        }
        if at_name.iter().any(|((_, rtype), _)| *rtype == Rtype::CNAME)
            && let Some(((_, other), _)) = at_name.iter().find(|((_, rtype), _)| *rtype != Rtype::CNAME)
        {
            return Err(RecordsError::CnameConflict { name: name.clone(), other: *other });
        }
    }
    Ok(())
}

/// Bytes of the records in a message: a pointer for the owner name, type, class, TTL, length, RDATA; and the RRSIG.
fn wire_bytes(rrset: &Rrset) -> usize {
    const FIXED: usize = 12;
    const SIGNATURE: usize = FIXED + 18 + crate::limits::MAX_NAME + 64;
    SIGNATURE + rrset.rdatas().iter().map(|rdata| FIXED + rdata.len()).sum::<usize>()
}

const _: () = assert!(MAX_RDATA < MAX_NAME_RECORDS_BYTES && MAX_NAME_RECORDS_BYTES < 64 * 1024);
