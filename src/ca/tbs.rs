//! The to-be-signed bytes of certificates (RFC 5280 §4.1), written field by field from facts.
//!
//! Every value here is a function of ordered state, so every replica writes the same bytes. What is written is read
//! again by [`super::lint`], which knows nothing of this file.

use sha2::{Digest as _, Sha256};
use x509_cert::der::asn1::{Any, AnyRef, Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode, Tag, TagNumber};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name as DistinguishedName;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

use super::authorize::Hostname;
use super::profile::{Period, Serial};
use super::public_key::{CheckedKey, KeyType};
use super::root::Authority;

const SHA256_WITH_RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
pub(super) const ID_KP_SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// Characters of a common name at most (RFC 5280 appendix A.1).
const UB_COMMON_NAME: usize = 64;

/// Bytes of a key identifier (RFC 7093 §2).
pub const KEY_IDENTIFIER_LENGTH: usize = 20;

/// Everything a leaf certificate says.
pub struct IssuanceFacts<'a> {
    pub authority: &'a Authority,
    pub serial: Serial,
    pub validity: Period,
    pub public_key: CheckedKey<'a>,
    /// In the order in which they appear; at least one. The first is the subject's common name, if it fits there.
    pub names: &'a [Hostname],
}

/// TBSCertificate of a leaf, DER.
pub fn build(facts: &IssuanceFacts) -> Vec<u8> {
    let names = facts.names.iter().map(|name| GeneralName::DnsName(ia5(name.as_str()))).collect();
    let subject = subject(facts.names);
    let mut key_usage = KeyUsages::DigitalSignature.into();
    if facts.public_key.key_type() == KeyType::Rsa {
        // TLS 1.2 key transport; meaningless for ECDSA keys (RFC 8813 §3).
        key_usage |= KeyUsages::KeyEncipherment;
    }
    let authority_key = AuthorityKeyIdentifier {
        key_identifier: Some(octets(facts.authority.key_identifier())),
        authority_cert_issuer: None,
        authority_cert_serial_number: None,
    };
    let extensions = vec![
        extension(true, &KeyUsage(key_usage)),
        extension(false, &ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH])),
        extension(true, &BasicConstraints { ca: false, path_len_constraint: None }),
        extension(false, &SubjectKeyIdentifier(octets(&key_identifier(facts.public_key.spki())))),
        extension(false, &authority_key),
        // Critical if the subject is empty (RFC 5280 §4.2.1.6), and only then (BR §7.1.2.7.12).
        extension(subject.is_empty(), &SubjectAltName(names)),
    ];
    encode(&Fields {
        serial: facts.serial.as_bytes(),
        issuer: facts.authority.name(),
        validity: facts.validity,
        subject: &subject,
        public_key: facts.public_key.spki(),
        extensions,
    })
}

/// The first name as common name, unless it has more than the 64 characters that one may have (RFC 5280 appendix A.1).
fn subject(names: &[Hostname]) -> DistinguishedName {
    let fits = names.first().filter(|name| name.as_str().len() <= UB_COMMON_NAME);
    let common_name = |name: &Hostname| format!("CN={}", name.as_str()).parse().expect("hostnames need no escape");
    fits.map(common_name).unwrap_or_default()
}

/// What differs between two TBSCertificates of ours.
pub(super) struct Fields<'a> {
    pub serial: &'a [u8],
    pub issuer: &'a DistinguishedName,
    pub validity: Period,
    pub subject: &'a DistinguishedName,
    pub public_key: &'a [u8],
    pub extensions: Extensions,
}

pub(super) fn encode(fields: &Fields) -> Vec<u8> {
    sequence(&[
        explicit(0, &der(&2u8)),
        der(&SerialNumber::<x509_cert::certificate::Rfc5280>::new(fields.serial).expect("at most 20 bytes, positive")),
        der(&signature_algorithm()),
        der(fields.issuer),
        der(&fields.validity.to_x509()),
        der(fields.subject),
        fields.public_key.to_vec(),
        explicit(3, &der(&fields.extensions)),
    ])
}

/// `sha256WithRSAEncryption` with its NULL parameters (RFC 4055 §5).
pub(super) fn signature_algorithm() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: SHA256_WITH_RSA_ENCRYPTION, parameters: Some(Any::null()) }
}

/// The key identifier of RFC 7093 §2 method 1: the leftmost 160 bits of SHA-256 over the subjectPublicKey bits.
pub(super) fn key_identifier(public_key: &[u8]) -> [u8; KEY_IDENTIFIER_LENGTH] {
    let key = SubjectPublicKeyInfoRef::from_der(public_key).expect("the key was checked");
    let digest = Sha256::digest(key.subject_public_key.raw_bytes());
    digest[..KEY_IDENTIFIER_LENGTH].try_into().expect("20 of 32")
}

pub(super) fn extension<T: Encode + x509_cert::der::oid::AssociatedOid>(critical: bool, value: &T) -> Extension {
    Extension { extn_id: T::OID, critical, extn_value: octets(&der(value)) }
}

pub(super) fn octets(bytes: &[u8]) -> OctetString {
    OctetString::new(bytes).expect("below the length limit of DER")
}

pub(super) fn ia5(text: &str) -> Ia5String {
    Ia5String::new(text).expect("hostnames are ASCII")
}

/// DER of a value that fits in memory: encoding it fails for over-long values only, and all of ours are bounded.
pub(super) fn der(value: &impl Encode) -> Vec<u8> {
    value.to_der().expect("bounded values have an encoding")
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(Tag::Sequence, &parts.concat())
}

pub(super) fn explicit(number: u32, inner: &[u8]) -> Vec<u8> {
    tagged(Tag::ContextSpecific { constructed: true, number: TagNumber(number) }, inner)
}

fn tagged(tag: Tag, body: &[u8]) -> Vec<u8> {
    der(&AnyRef::new(tag, body).expect("below the length limit of DER"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::testing::{NOW, authority, golden, issued};

    #[test]
    fn the_same_facts_give_the_same_bytes() {
        assert_eq!(issued(&["alice.names.example.", "*.alice.names.example."]).tbs(), golden("leaf_tbs"));
    }

    #[test]
    fn a_leaf_says_what_the_profile_says() {
        let tbs = issued(&["alice.names.example."]);
        let parsed = x509_cert::TbsCertificate::from_der(tbs.tbs()).unwrap();
        assert_eq!(parsed.version(), x509_cert::certificate::Version::V3);
        assert_eq!(parsed.subject().to_string(), "CN=alice.names.example");
        assert_eq!(parsed.issuer(), authority().name());
        assert_eq!(parsed.validity().not_before.to_unix_duration().as_secs(), NOW.seconds() - 3600);
        let (critical, SubjectAltName(names)) = parsed.get_extension::<SubjectAltName>().unwrap().unwrap();
        assert!(!critical);
        assert_eq!(names, [GeneralName::DnsName(ia5("alice.names.example"))]);
    }

    #[test]
    fn a_name_that_is_too_long_for_a_subject_leaves_it_empty() {
        let of_length = |length: usize| format!("{}.alice.names.example.", "a".repeat(length - 20));
        for (first, is_empty) in
            [("*.alice.names.example.".to_owned(), false), (of_length(64), false), (of_length(65), true)]
        {
            let tbs = issued(&[&first, "alice.names.example."]);
            let parsed = x509_cert::TbsCertificate::from_der(tbs.tbs()).unwrap();
            let expected = if is_empty { String::new() } else { format!("CN={}", first.trim_end_matches('.')) };
            assert_eq!(parsed.subject().to_string(), expected);
            let (critical, _) = parsed.get_extension::<SubjectAltName>().unwrap().unwrap();
            assert_eq!(critical, is_empty);
        }
    }
}
