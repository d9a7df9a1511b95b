//! The rules: what a signed operation does to the directory, or why it is refused.
//!
//! `decide` is pure and total. It reads the state, the operation and the context that the order gives it (agreed time
//! and position), nothing else; equal inputs give equal outcomes on every replica. A change is carried out by
//! [`Directory::apply`](super::apply), on the state it was decided on.
//!
//! What stops a replay: an operation names network, zone, title, the next sequence number and the digest of the
//! operation before it, so it holds once. Its validity limit makes outcomes forgettable.
//!
//! Deviations:
//! - Labels with `--` in third and fourth place are not open to registration, A-labels (`xn--`) among them: without a
//!   table of confusable characters that is part of the protocol, they would let names be imitated. Names from a zone's
//!   file may have them.
//! - No bound on titles by owner: keys cost nothing, so it would bound nobody. A price for registration is to come.

use std::collections::{BTreeMap, BTreeSet};

use x509_cert::der::Decode;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::Timestamp;
use super::apply::{CertificateRequest, Change};
use super::name::Name;
use super::operation::{Action, Operation, RecordChange, SignedOperation, VerifiedOperation};
use super::primary::ZoneSource;
use super::records::{self, RecordsError, check_rrset, check_together};
use super::refusal::{CertificateNameFault, LabelFault, Refusal};
use super::rrset::{Rrset, Rtype};
use super::state::{Directory, ZoneRegistry};
use super::title::{Event, HistoryEntry, Title};
use crate::codec::CodecError;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::PublicKey;
use crate::limits::{MAX_OPERATION_VALIDITY_MS, MAX_SANS, MAX_SPKI};

/// What an operation is judged against beside the state: the same on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// Digest of the genesis.
    pub network: Digest,
    /// Agreed time.
    pub now: Timestamp,
    /// Place of the operation in the order, from 1.
    pub position: u64,
}

/// Ordered bytes as an operation whose signature holds. The first half of an outcome, and the costly one: it needs no
/// state.
pub fn admit(bytes: &[u8]) -> Result<VerifiedOperation, Refusal> {
    let signed = SignedOperation::from_bytes(bytes).map_err(|error| match error {
        CodecError::TooLong { length, .. } => Refusal::TooLarge { bytes: length },
        CodecError::Malformed | CodecError::NotCanonical => Refusal::Malformed,
    })?;
    let signer = signed.signer;
    // Nothing verifies under a key that is not usable.
    signed.verify().ok_or_else(|| {
        if signer.is_usable() { Refusal::BadSignature { signer } } else { Refusal::BadPublicKey { key: signer } }
    })
}

/// What `verified` changes, if the rules let it.
pub fn decide(directory: &Directory, verified: &VerifiedOperation, context: Context) -> Result<Change, Refusal> {
    let (operation, signer) = (verified.operation(), *verified.signer());
    check_envelope(operation, context)?;
    let zone = check_place(directory, operation)?;
    if operation.action == Action::Register {
        let title = register(directory, zone, verified, context)?;
        return Ok(change(title, verified, context, Event::Registered { owner: signer }, None));
    }
    let name = &operation.title;
    let title = directory.title(name).ok_or_else(|| Refusal::NoSuchTitle { name: name.clone() })?;
    check_signer(title, operation, signer)?;
    check_succession(title, operation)?;

    let mut next = Title { sequence: operation.sequence, head: verified.digest(), ..Title::clone(title) };
    let mut certificate = None;
    let event = match &operation.action {
        Action::Register => unreachable!("registered above"),
        Action::Set { changes } => {
            next.records = set(title, changes)?;
            let changed = changes.iter().map(|change| change.place()).collect();
            Event::RecordsSet { changed }
        }
        Action::Transfer { to } => {
            check_recipient(title, *to)?;
            next.offered_to = Some(*to);
            Event::Offered { to: *to }
        }
        Action::Accept => {
            next.owner = signer;
            next.offered_to = None;
            Event::Accepted { from: title.owner, to: signer }
        }
        Action::IssueCertificate { public_key, names } => {
            check_certificate(directory, title, public_key, names)?;
            certificate = Some(CertificateRequest {
                title: name.clone(),
                owner: signer,
                public_key: public_key.clone(),
                names: names.clone(),
                position: context.position,
                time: context.now,
            });
            Event::CertificateRequested { names: names.clone() }
        }
    };
    Ok(change(next, verified, context, event, certificate))
}

fn change(
    title: Title,
    verified: &VerifiedOperation,
    context: Context,
    event: Event,
    certificate: Option<CertificateRequest>,
) -> Change {
    let entry = HistoryEntry {
        sequence: title.sequence,
        position: context.position,
        time: context.now,
        digest: verified.digest(),
        signer: *verified.signer(),
        event,
    };
    Change::new(title, entry, certificate)
}

/// Network and validity: an operation for another cluster, or out of its time, means nothing.
fn check_envelope(operation: &Operation, context: Context) -> Result<(), Refusal> {
    if operation.network != context.network {
        return Err(Refusal::WrongNetwork);
    }
    let (valid_until, now) = (operation.valid_until, context.now);
    if valid_until < now {
        return Err(Refusal::Expired { valid_until, now });
    }
    if valid_until.0 - now.0 > MAX_OPERATION_VALIDITY_MS {
        return Err(Refusal::ValidTooLong { valid_until, now });
    }
    Ok(())
}

/// The zone of the title, which lies right below its apex.
fn check_place<'a>(directory: &'a Directory, operation: &Operation) -> Result<&'a ZoneRegistry, Refusal> {
    let name = operation.title.clone();
    let Some(zone) = directory.zone_of_title(&name) else {
        if directory.zones().contains_key(&name) {
            return Err(Refusal::IsZone { name });
        }
        return Err(Refusal::OutsideZones { name, zones: directory.zones().keys().cloned().collect() });
    };
    let apex = &zone.apex;
    if operation.zone != *apex {
        return Err(Refusal::WrongZone { name, expected: apex.clone() });
    }
    if zone.source == ZoneSource::Primary {
        return Err(Refusal::NamesOfRegistry { name, zone: apex.clone() });
    }
    match name.suffix(apex.label_count() + 1) {
        Some(title) if title != name => Err(Refusal::NotOneLabelBelow { name, zone: apex.clone(), title }),
        _ => Ok(zone),
    }
}

fn register(
    directory: &Directory,
    zone: &ZoneRegistry,
    verified: &VerifiedOperation,
    context: Context,
) -> Result<Title, Refusal> {
    let operation = verified.operation();
    let name = operation.title.clone();
    if directory.title(&name).is_some() {
        return Err(Refusal::NameTaken { name });
    }
    if let Some(why) = label_fault(name.labels().next().unwrap_or_default()) {
        return Err(Refusal::LabelNotAllowed { name, why });
    }
    // Whoever holds a name above a zone's apex answers for its delegation.
    if let Some(inner) = directory.zones().keys().find(|apex| apex.is_within(&name)) {
        return Err(Refusal::HoldsZone { name, zone: inner.clone() });
    }
    if operation.sequence != 0 {
        return Err(Refusal::WrongSequence { given: operation.sequence, expected: 0 });
    }
    if operation.previous != Digest::ZERO {
        return Err(Refusal::WrongPrevious { expected: Digest::ZERO });
    }
    Ok(Title {
        zone: zone.apex.clone(),
        name,
        owner: *verified.signer(),
        sequence: 0,
        head: verified.digest(),
        since: context.now,
        offered_to: None,
        records: BTreeMap::new(),
    })
}

/// Letters, digits and hyphens (RFC 5890 §2.3.1), and none of the labels that mean something else.
fn label_fault(label: &[u8]) -> Option<LabelFault> {
    if label == b"*" {
        Some(LabelFault::Wildcard)
    } else if label.starts_with(b"_") {
        Some(LabelFault::Underscore)
    } else if !label.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-') {
        Some(LabelFault::Character)
    } else if label.starts_with(b"-") || label.ends_with(b"-") {
        Some(LabelFault::OuterHyphen)
    } else if label.get(2..4) == Some(b"--") {
        Some(LabelFault::ReservedHyphens)
    } else {
        None
    }
}

/// The owner signs, but for taking an offered title.
fn check_signer(title: &Title, operation: &Operation, signer: PublicKey) -> Result<(), Refusal> {
    let name = title.name.clone();
    match (&operation.action, title.offered_to) {
        (Action::Accept, None) => Err(Refusal::NotOffered { name }),
        (Action::Accept, Some(to)) if to != signer => Err(Refusal::NotOfferedToYou { name, to }),
        (Action::Accept, Some(_)) => Ok(()),
        _ if title.owner != signer => Err(Refusal::WrongOwner { name, signer }),
        _ => Ok(()),
    }
}

/// The operation is the one after the title's last.
fn check_succession(title: &Title, operation: &Operation) -> Result<(), Refusal> {
    let expected = title.sequence.saturating_add(1);
    if operation.sequence != expected {
        return Err(Refusal::WrongSequence { given: operation.sequence, expected });
    }
    if operation.previous != title.head {
        return Err(Refusal::WrongPrevious { expected: title.head });
    }
    Ok(())
}

/// The title's records after `changes`.
fn set(title: &Title, changes: &[RecordChange]) -> Result<BTreeMap<(Name, Rtype), Rrset>, Refusal> {
    if changes.is_empty() {
        return Err(Refusal::NoChanges);
    }
    let mut records = title.records.clone();
    let mut seen = BTreeSet::new();
    for change in changes {
        let (name, rtype) = change.place();
        if !name.is_within(&title.name) {
            return Err(Refusal::OutsideTitle { name, title: title.name.clone() });
        }
        if records::why_not_allowed(rtype).is_some() {
            return Err(RecordsError::TypeNotAllowed { name, rtype }.into());
        }
        if !seen.insert((name.clone(), rtype)) {
            return Err(Refusal::ChangedTwice { name, rtype });
        }
        match change {
            RecordChange::Put { rrset, .. } => {
                check_rrset(&name, rrset)?;
                records.insert((name, rtype), rrset.clone());
            }
            RecordChange::Delete { .. } => {
                records.remove(&(name, rtype));
            }
        }
    }
    check_together(&records)?;
    Ok(records)
}

fn check_recipient(title: &Title, to: PublicKey) -> Result<(), Refusal> {
    let name = title.name.clone();
    if to == title.owner {
        return Err(Refusal::SameOwner { name });
    }
    if !to.is_usable() {
        return Err(Refusal::UnusableRecipient { name, key: to });
    }
    Ok(())
}

/// What the state can say about a certificate; its profile says the rest.
fn check_certificate(directory: &Directory, title: &Title, public_key: &[u8], names: &[Name]) -> Result<(), Refusal> {
    if names.is_empty() || names.len() > MAX_SANS {
        return Err(Refusal::WrongNumberOfNames { names: names.len() });
    }
    if public_key.len() > MAX_SPKI || SubjectPublicKeyInfoOwned::from_der(public_key).is_err() {
        return Err(Refusal::BadCertificateKey);
    }
    let mut seen = BTreeSet::new();
    for name in names {
        let inner = directory.zone_of(name).map(|zone| &zone.apex).filter(|apex| **apex != title.zone);
        let why = if !name.is_within(&title.name) {
            CertificateNameFault::OutsideTitle
        } else if let Some(apex) = inner {
            CertificateNameFault::OtherZone(apex.clone())
        } else if !is_host_name(name) {
            CertificateNameFault::NotAHostName
        } else if !seen.insert(name) {
            CertificateNameFault::Twice
        } else {
            continue;
        };
        return Err(Refusal::CertificateName { name: name.clone(), why });
    }
    Ok(())
}

/// Letters, digits and inner hyphens (RFC 1123 §2.1), in 253 characters as dNSName wants it (RFC 5280 §4.2.1.6).
fn is_host_name(name: &Name) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    name.as_wire().len() <= 255
        && name.labels().all(|label| label.iter().all(allowed) && !label.starts_with(b"-") && !label.ends_with(b"-"))
}
