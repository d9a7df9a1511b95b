//! Why an operation is refused, in words that tell its owner what to do.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::name::Name;
use super::records::RecordsError;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::PublicKey;
use crate::limits::{MAX_OPERATION, MAX_OPERATION_VALIDITY_MS, MAX_SANS, MAX_SPKI};

/// The outcome of an operation that changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("these bytes are not an operation in its one encoding: make it with a current client")]
    Malformed,
    #[error("the operation has {bytes} bytes, of which {MAX_OPERATION} are allowed: split it into several")]
    TooLarge { bytes: usize },
    #[error("{key} is not a key that can sign: use one from `torrens key generate`")]
    BadPublicKey { key: PublicKey },
    #[error("the signature does not hold under {signer}: sign again with the key that the operation names")]
    BadSignature { signer: PublicKey },
    #[error("the operation is for another cluster: take this one's cluster file")]
    WrongNetwork,
    #[error("{name} is in none of the zones of this service: choose a name beneath {}", list(.zones))]
    OutsideZones { name: Name, zones: Vec<Name> },
    #[error("{name} is a zone of this service and nobody's title: choose a name beneath it")]
    IsZone { name: Name },
    #[error("{name} belongs to the zone {expected}: name that zone in the operation")]
    WrongZone { name: Name, expected: Name },
    #[error(
        "{name} is not a title, titles are one label below {zone}: ask for {title}, it holds everything beneath it"
    )]
    NotOneLabelBelow { name: Name, zone: Name, title: Name },
    #[error("{name} cannot be registered: {why}")]
    LabelNotAllowed { name: Name, why: LabelFault },
    #[error("{name} cannot be registered: the zone {zone} of this service lies within it")]
    HoldsZone { name: Name, zone: Name },
    #[error("{name} is taken: choose another, or have its owner transfer it to you")]
    NameTaken { name: Name },
    #[error("there is no title {name}: register it first")]
    NoSuchTitle { name: Name },
    #[error("{signer} does not own {name}: sign with the owner's key")]
    WrongOwner { name: Name, signer: PublicKey },
    #[error(
        "the sequence number is {given} and must be {expected}: the title has changed since, read it and ask again"
    )]
    WrongSequence { given: u64, expected: u64 },
    #[error("the operation does not follow on the title's last one, {expected}: read the title and ask again")]
    WrongPrevious { expected: Digest },
    #[error("the operation was valid until {} s and it is {} s (agreed time): sign it again", .valid_until.seconds(), .now.seconds())]
    Expired { valid_until: Timestamp, now: Timestamp },
    #[error(
        "the operation is valid until {} s, more than {} s beyond agreed time ({} s): sign it with a shorter validity, \
         and check the clock",
        .valid_until.seconds(), MAX_OPERATION_VALIDITY_MS / 1000, .now.seconds()
    )]
    ValidTooLong { valid_until: Timestamp, now: Timestamp },
    #[error("the operation changes nothing: name at least one RRset")]
    NoChanges,
    #[error("{name} {rtype} is changed twice in one operation: say once what it is to be")]
    ChangedTwice { name: Name, rtype: super::rrset::Rtype },
    #[error("{name} does not lie within {title}: set it under its own title")]
    OutsideTitle { name: Name, title: Name },
    #[error("{0}")]
    Records(#[from] RecordsError),
    #[error(
        "{name} cannot be offered to {key}, under which no signature can hold: ask the recipient for `torrens key show`"
    )]
    UnusableRecipient { name: Name, key: PublicKey },
    #[error("{name} is offered to its own owner: name the recipient's key")]
    SameOwner { name: Name },
    #[error("{name} is offered to nobody: ask its owner to transfer it first")]
    NotOffered { name: Name },
    #[error("{name} is not offered to you but to {to}: accept with that key, or ask its owner to offer it to yours")]
    NotOfferedToYou { name: Name, to: PublicKey },
    #[error("a certificate cannot have the name {name}: {why}")]
    CertificateName { name: Name, why: CertificateNameFault },
    #[error("{names} names for one certificate: ask for at least 1 and at most {MAX_SANS}")]
    WrongNumberOfNames { names: usize },
    #[error(
        "the certificate's public key is not a SubjectPublicKeyInfo in DER of at most {MAX_SPKI} bytes: make a new CSR"
    )]
    BadCertificateKey,
    #[error("no certificate: {reason}")]
    NotIssued { reason: String },
    #[error("what was sealed is no operation: seal it with a current client, to the key in this cluster's file")]
    NotAnOperation,
    #[error("{name} lies in the zone {zone}, whose registry keeps its names itself: ask the registry")]
    NamesOfRegistry { name: Name, zone: Name },
}

/// Why a label cannot be registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum LabelFault {
    #[error("* stands for other names: choose letters, digits and hyphens")]
    Wildcard,
    #[error("a label that starts with _ is reserved for services (RFC 8552): set such records under your own title")]
    Underscore,
    #[error(
        "-- as third and fourth character is reserved (RFC 5891 §4.2.3.1), and internationalised names are not open yet"
    )]
    ReservedHyphens,
    #[error("it may not start or end with a hyphen")]
    OuterHyphen,
    #[error("use letters a to z, digits and hyphens only")]
    Character,
}

/// Why a certificate cannot have a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum CertificateNameFault {
    #[error("it does not lie within the title")]
    OutsideTitle,
    #[error("it lies within the zone {0} of this service, whose titles have owners of their own")]
    OtherZone(Name),
    #[error("it is not a host name of letters, digits and hyphens, of at most 253 characters")]
    NotAHostName,
    #[error("it is there twice")]
    Twice,
}

impl Refusal {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge { .. } => "too-large",
            Self::BadPublicKey { .. } => "bad-public-key",
            Self::BadSignature { .. } => "bad-signature",
            Self::WrongNetwork => "wrong-network",
            Self::OutsideZones { .. } => "outside-zones",
            Self::IsZone { .. } => "is-zone",
            Self::WrongZone { .. } => "wrong-zone",
            Self::NotOneLabelBelow { .. } => "not-one-label-below",
            Self::LabelNotAllowed { .. } => "label-not-allowed",
            Self::HoldsZone { .. } => "holds-zone",
            Self::NameTaken { .. } => "name-taken",
            Self::NoSuchTitle { .. } => "no-such-title",
            Self::WrongOwner { .. } => "wrong-owner",
            Self::WrongSequence { .. } => "wrong-sequence",
            Self::WrongPrevious { .. } => "wrong-previous",
            Self::Expired { .. } => "expired",
            Self::ValidTooLong { .. } => "valid-too-long",
            Self::NoChanges => "no-changes",
            Self::ChangedTwice { .. } => "changed-twice",
            Self::OutsideTitle { .. } => "outside-title",
            Self::Records(error) => error.code(),
            Self::UnusableRecipient { .. } => "unusable-recipient",
            Self::SameOwner { .. } => "same-owner",
            Self::NotOffered { .. } => "not-offered",
            Self::NotOfferedToYou { .. } => "not-offered-to-you",
            Self::CertificateName { .. } => "certificate-name",
            Self::WrongNumberOfNames { .. } => "wrong-number-of-names",
            Self::BadCertificateKey => "bad-certificate-key",
            Self::NotIssued { .. } => "not-issued",
            Self::NotAnOperation => "not-an-operation",
            Self::NamesOfRegistry { .. } => "names-of-registry",
        }
    }
}

fn list(zones: &[Name]) -> String {
    zones.iter().map(Name::to_string).collect::<Vec<_>>().join(" or ")
}
