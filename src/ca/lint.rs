//! The last look before anything is signed: to-be-signed bytes are parsed again and held against the profile.
//!
//! Independent of the builder: the parser is x509-cert's, fixed values are written here as DER bytes, names are
//! compared as text. What passes becomes an [`Issuable`], which has this one maker and is taken by value when a
//! signing task is opened (Boulder's `issuanceToken`, `issuance/cert.go`).

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};

use super::public_key::{BadKey, KeyType, check_public_key};
use super::root::Authority;
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::limits::{CERTIFICATE_BACKDATE_S, MAX_CERTIFICATE_VALIDITY_S, MAX_SANS, MAX_TBS};

/// What a certificate must agree with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub authority: &'a Authority,
    pub title: &'a Name,
    pub agreed_time: Timestamp,
    pub title_expires: Option<Timestamp>,
}

/// To-be-signed bytes of a certificate within the profile. Made by [`lint`] only; used once.
///
/// A signing task that outlives a restart keeps bytes and [`Context`], and lints them again.
#[derive(Debug, PartialEq, Eq)]
pub struct Issuable {
    tbs: Vec<u8>,
    serial: Vec<u8>,
    not_after: u64,
}

impl Issuable {
    /// TBSCertificate, DER.
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    pub fn into_tbs(self) -> Vec<u8> {
        self.tbs
    }

    /// Serial number, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The last second of its validity.
    pub fn not_after(&self) -> Timestamp {
        Timestamp(self.not_after * 1000)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LintError {
    #[error("longer than any certificate of ours")]
    TooLong,
    #[error("not a TBSCertificate in DER")]
    Malformed,
    #[error("not the one DER encoding of what it says")]
    NotCanonical,
    #[error("the version is not 3")]
    Version,
    #[error("the serial number is not 20 bytes, positive, without leading zeros")]
    Serial,
    #[error("the signature algorithm is not sha256WithRSAEncryption")]
    SignatureAlgorithm,
    #[error("the issuer is not the authority")]
    Issuer,
    #[error("the validity {0}")]
    Validity(&'static str),
    #[error("the subject is not the first name, or not empty though that is too long for it")]
    Subject,
    #[error("the public key: {0}")]
    PublicKey(#[from] BadKey),
    #[error("there is a unique identifier")]
    UniqueIdentifier,
    #[error("the extensions are not those of the profile, in its order and criticality")]
    Extensions,
    #[error("the extension {0} has another value than the profile's")]
    ExtensionValue(ObjectIdentifier),
    #[error("the subjectAltName {0}")]
    SubjectAltName(&'static str),
}

/// DER of AlgorithmIdentifier { sha256WithRSAEncryption, NULL } (RFC 4055 §5).
const SHA256_WITH_RSA: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11, 5, 0];
/// KeyUsage: digitalSignature alone, and with keyEncipherment (RFC 5280 §4.2.1.3).
const SIGNATURE_ONLY: [u8; 4] = [3, 2, 7, 0x80];
const SIGNATURE_AND_ENCIPHERMENT: [u8; 4] = [3, 2, 5, 0xa0];
/// ExtKeyUsageSyntax { id-kp-serverAuth }.
const SERVER_AUTH: [u8; 12] = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
/// BasicConstraints { cA FALSE, by default absent }.
const NOT_A_CA: [u8; 2] = [0x30, 0];

const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// `tbs`, if every field is within the profile and agrees with `context`.
pub fn lint(tbs: Vec<u8>, context: &Context) -> Result<Issuable, LintError> {
    if tbs.len() > MAX_TBS {
        return Err(LintError::TooLong);
    }
    let parsed = TbsCertificate::from_der(&tbs).map_err(|_| LintError::Malformed)?;
    if parsed.to_der().ok().as_ref() != Some(&tbs) {
        return Err(LintError::NotCanonical);
    }
    if parsed.version() != Version::V3 {
        return Err(LintError::Version);
    }
    let serial = parsed.serial_number().as_bytes();
    if serial.len() != 20 || !(0x40..0x80).contains(&serial[0]) {
        return Err(LintError::Serial);
    }
    if parsed.signature().to_der().ok().as_deref() != Some(&SHA256_WITH_RSA) {
        return Err(LintError::SignatureAlgorithm);
    }
    if parsed.issuer() != context.authority.name() {
        return Err(LintError::Issuer);
    }
    let not_after = lint_validity(&parsed, context)?;
    if parsed.issuer_unique_id().is_some() || parsed.subject_unique_id().is_some() {
        return Err(LintError::UniqueIdentifier);
    }
    let first = lint_extensions(&parsed, context)?;
    if parsed.subject().to_der().ok() != Some(subject_of(&first)) {
        return Err(LintError::Subject);
    }
    Ok(Issuable { serial: serial.to_vec(), not_after, tbs })
}

/// The last second of validity, if the period is allowed.
fn lint_validity(parsed: &TbsCertificate, context: &Context) -> Result<u64, LintError> {
    let first = parsed.validity().not_before.to_unix_duration().as_secs();
    let last = parsed.validity().not_after.to_unix_duration().as_secs();
    let now = context.agreed_time.seconds();
    let authority = context.authority.validity();
    if first > now || now - first > CERTIFICATE_BACKDATE_S {
        return Err(LintError::Validity("does not start in the hour before agreed time"));
    }
    if last < now {
        return Err(LintError::Validity("ends before agreed time"));
    }
    // Both seconds belong to the period (RFC 5280 §4.1.2.5).
    if last - first + 1 > MAX_CERTIFICATE_VALIDITY_S {
        return Err(LintError::Validity("is longer than a week"));
    }
    if first < authority.not_before() || last > authority.not_after() {
        return Err(LintError::Validity("is not within the authority's"));
    }
    if context.title_expires.is_some_and(|expires| last >= expires.seconds()) {
        return Err(LintError::Validity("outlives the title"));
    }
    Ok(last)
}

/// DER of the Name whose only attribute is this common name, a UTF8String; of the empty Name, if it has more than 64
/// bytes.
fn subject_of(name: &str) -> Vec<u8> {
    const COMMON_NAME: [u8; 5] = [6, 3, 0x55, 4, 3];
    let Ok(length @ ..=64) = u8::try_from(name.len()) else { return vec![0x30, 0] };
    let value = [&[0x0c, length], name.as_bytes()].concat();
    [&[0x30, length + 11, 0x31, length + 9, 0x30, length + 7], &COMMON_NAME[..], &value].concat()
}

/// The first name, if extensions are as they should be.
fn lint_extensions(parsed: &TbsCertificate, context: &Context) -> Result<String, LintError> {
    let public_key = parsed.subject_public_key_info().to_der().map_err(|_| LintError::Malformed)?;
    let key_usage = match check_public_key(&public_key)?.key_type() {
        KeyType::Rsa => SIGNATURE_AND_ENCIPHERMENT,
        KeyType::P256 | KeyType::P384 => SIGNATURE_ONLY,
    };
    let key_bits = parsed.subject_public_key_info().subject_public_key.raw_bytes();
    let subject_key = [&[4, 20], &Sha256::digest(key_bits)[..20]].concat();
    let authority_key = [&[0x30, 22, 0x80, 20], &context.authority.key_identifier()[..]].concat();

    let extensions = parsed.extensions().map_or(&[][..], Vec::as_slice);
    let [usage, extended, basic, subject, issuer, names] = extensions else { return Err(LintError::Extensions) };
    let fixed: [(&Extension, ObjectIdentifier, bool, &[u8]); 5] = [
        (usage, KEY_USAGE, true, &key_usage),
        (extended, EXTENDED_KEY_USAGE, false, &SERVER_AUTH),
        (basic, BASIC_CONSTRAINTS, true, &NOT_A_CA),
        (subject, SUBJECT_KEY_IDENTIFIER, false, &subject_key),
        (issuer, AUTHORITY_KEY_IDENTIFIER, false, &authority_key),
    ];
    for (extension, id, critical, value) in fixed {
        if extension.extn_id != id || extension.critical != critical {
            return Err(LintError::Extensions);
        }
        if extension.extn_value.as_bytes() != value {
            return Err(LintError::ExtensionValue(id));
        }
    }
    if names.extn_id != SUBJECT_ALT_NAME || names.critical != parsed.subject().is_empty() {
        return Err(LintError::Extensions);
    }
    lint_names(names.extn_value.as_bytes(), context)
}

/// The first of the names.
fn lint_names(value: &[u8], context: &Context) -> Result<String, LintError> {
    let wrong = |why| Err(LintError::SubjectAltName(why));
    let names = GeneralNames::from_der(value).map_err(|_| LintError::SubjectAltName("is not GeneralNames"))?;
    if names.to_der().ok().as_deref() != Some(value) {
        return Err(LintError::NotCanonical);
    }
    let Some(GeneralName::DnsName(first)) = names.first().filter(|_| names.len() <= MAX_SANS) else {
        return wrong("has no names, too many, or a first one that is no dNSName");
    };
    let title = context.title.to_string();
    let mut seen = BTreeSet::new();
    for name in &names {
        let GeneralName::DnsName(name) = name else { return wrong("has a name that is no dNSName") };
        let host = name.as_str().strip_prefix("*.").unwrap_or(name.as_str());
        if !is_hostname(host) || name.as_str().len() > 253 {
            return wrong("has a name that is no lower-case hostname");
        }
        if !is_beneath(host, &title) {
            return wrong("has a name outside the title");
        }
        if !context.authority.zones().iter().any(|zone| is_beneath(host, &zone.to_string())) {
            return wrong("has a name outside the zones");
        }
        if !seen.insert(name.as_str()) {
            return wrong("has a name twice");
        }
    }
    if context.title.is_root() { wrong("is for the root") } else { Ok(first.as_str().to_owned()) }
}

/// Lower-case LDH labels without a trailing dot, the last one not a number, none reserved but A-labels.
fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.starts_with('-')
            && !label.ends_with('-')
            && (label.as_bytes().get(2..4) != Some(b"--") || label.starts_with("xn--"))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `host` is the name `ancestor`, in presentation form with its trailing dot, or lies beneath it.
fn is_beneath(host: &str, ancestor: &str) -> bool {
    ancestor == "." || format!(".{host}.").ends_with(&format!(".{ancestor}"))
}

#[cfg(test)]
mod tests;
