use x509_cert::der::asn1::OctetString;
use x509_cert::ext::Extensions;
use x509_cert::name::Name as DistinguishedName;

use super::*;
use crate::ca::profile::Period;
use crate::ca::tbs::{Fields, encode, explicit, ia5, octets};
use crate::ca::testing::{NOW, RSA_KEY, authority, issued, name};

fn lint_as(tbs: &[u8], title: &str) -> Result<Issuable, LintError> {
    let (authority, title) = (authority(), name(title));
    lint(tbs.to_vec(), &Context { authority: &authority, title: &title, agreed_time: NOW, title_expires: None })
}

fn lint_leaf(tbs: &[u8]) -> Result<Issuable, LintError> {
    lint_as(tbs, "alice.names.example.")
}

fn leaf() -> Vec<u8> {
    issued(&["alice.names.example.", "www.alice.names.example."]).into_tbs()
}

/// What a leaf says, to be changed.
struct Draft {
    serial: Vec<u8>,
    issuer: DistinguishedName,
    validity: Period,
    subject: DistinguishedName,
    public_key: Vec<u8>,
    extensions: Extensions,
}

/// The leaf, written again with something changed.
fn changed(change: impl FnOnce(&mut Draft)) -> Vec<u8> {
    let leaf = leaf();
    let parsed = TbsCertificate::from_der(&leaf).unwrap();
    let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
    let validity = parsed.validity();
    let mut draft = Draft {
        serial: parsed.serial_number().as_bytes().to_vec(),
        issuer: parsed.issuer().clone(),
        validity: Period::new(seconds(validity.not_before), seconds(validity.not_after)).unwrap(),
        subject: parsed.subject().clone(),
        public_key: parsed.subject_public_key_info().to_der().unwrap(),
        extensions: parsed.extensions().unwrap().clone(),
    };
    change(&mut draft);
    encode(&Fields {
        serial: &draft.serial,
        issuer: &draft.issuer,
        validity: draft.validity,
        subject: &draft.subject,
        public_key: &draft.public_key,
        extensions: draft.extensions,
    })
}

fn with_names(names: Vec<GeneralName>) -> Vec<u8> {
    changed(|draft| {
        if let Some(GeneralName::DnsName(first)) = names.first()
            && let Ok(subject) = format!("CN={}", first.as_str()).parse()
        {
            draft.subject = subject;
        }
        draft.extensions[5].extn_value = octets(&names.to_der().unwrap());
    })
}

fn dns(text: &str) -> GeneralName {
    GeneralName::DnsName(ia5(text))
}

#[test]
fn what_the_builder_writes_passes_and_is_not_changed() {
    assert_eq!(lint_leaf(&leaf()).unwrap().tbs(), leaf());
    assert_eq!(changed(|_| ()), leaf());
}

#[test]
fn each_field_is_held_against_the_profile() {
    let other: DistinguishedName = "CN=Torrens 00000000 CA,O=Torrens".parse().unwrap();
    for serial in [&[0x40; 19][..], &[0x3f; 20], &[0x01; 20], &[1], &[0]] {
        let tbs = changed(|draft| draft.serial = serial.to_vec());
        assert_eq!(lint_leaf(&tbs), Err(LintError::Serial), "{serial:?}");
    }
    assert_eq!(lint_leaf(&changed(|draft| draft.issuer = other.clone())), Err(LintError::Issuer));
    let tbs = changed(|draft| draft.subject = other.clone());
    assert_eq!(lint_leaf(&tbs), Err(LintError::Subject));
    // Another of the names; none, though there is room; several; one that is too long.
    for other in ["CN=www.alice.names.example", "", "CN=alice.names.example,O=alice", "CN=ALICE.names.example"] {
        let tbs = changed(|draft| {
            draft.subject = if other.is_empty() { DistinguishedName::default() } else { other.parse().unwrap() };
            draft.extensions[5].critical = other.is_empty();
        });
        assert_eq!(lint_leaf(&tbs), Err(LintError::Subject), "{other}");
    }
    let long = format!("{}.alice.names.example", "a".repeat(45));
    assert_eq!(lint_leaf(&with_names(vec![dns(&long)])), Err(LintError::Subject));
    // Another kind of key makes key usage and key identifier wrong; a bad key is wrong by itself.
    let tbs = changed(|draft| draft.public_key = RSA_KEY.clone());
    assert_eq!(lint_leaf(&tbs), Err(LintError::ExtensionValue(KEY_USAGE)));
    let tbs = changed(|draft| *draft.public_key.last_mut().unwrap() ^= 1);
    assert_eq!(lint_leaf(&tbs), Err(LintError::PublicKey(BadKey::Point)));

    let now = NOW.seconds();
    for (not_before, not_after) in [
        (now - CERTIFICATE_BACKDATE_S - 1, now + 86_400),
        (now + 1, now + 86_400),
        (now - 10, now - 1),
        (now - 10, now - 10 + MAX_CERTIFICATE_VALIDITY_S),
        (now - 10, now + 20 * 365 * 86_400),
    ] {
        let period = Period::new(not_before, not_after).unwrap();
        let error = lint_leaf(&changed(|draft| draft.validity = period)).unwrap_err();
        assert!(matches!(error, LintError::Validity(_)), "{not_before} {not_after}: {error}");
    }
}

#[test]
fn no_certificate_outlives_its_title_or_its_authority() {
    let (authority, title) = (authority(), name("alice.names.example."));
    let not_after = lint_leaf(&leaf()).unwrap().not_after();
    let expiring = |expires: Timestamp, agreed_time: Timestamp| {
        let title_expires = Some(expires);
        lint(leaf(), &Context { authority: &authority, title: &title, agreed_time, title_expires })
    };
    assert!(expiring(Timestamp(not_after.0 + 1000), NOW).is_ok());
    assert_eq!(expiring(not_after, NOW), Err(LintError::Validity("outlives the title")));
    assert!(matches!(expiring(not_after, Timestamp(NOW.0 + 3_600_000)), Err(LintError::Validity(_))));
    let last = authority.validity().not_after();
    let period = Period::new(last - 60, last + 60).unwrap();
    let tbs = changed(|draft| draft.validity = period);
    let agreed_time = Timestamp((last - 60) * 1000);
    let context = Context { authority: &authority, title: &title, agreed_time, title_expires: None };
    assert_eq!(lint(tbs, &context), Err(LintError::Validity("is not within the authority's")));
}

#[test]
fn extensions_are_those_of_the_profile_and_no_others() {
    let reject = |change: &dyn Fn(&mut Extensions)| {
        let tbs = changed(|draft| change(&mut draft.extensions));
        assert_eq!(lint_leaf(&tbs), Err(LintError::Extensions));
    };
    for at in 0..6 {
        reject(&|extensions| drop(extensions.remove(at)));
        reject(&|extensions| extensions.insert(at, extensions[at].clone()));
        reject(&|extensions| extensions[at].critical ^= true);
        reject(&|extensions| extensions.swap(at, (at + 1) % 6));
        // A CRL distribution point, an unknown extension.
        for id in ["2.5.29.31", "1.3.6.1.4.1.32473.1"] {
            let id = ObjectIdentifier::new_unwrap(id);
            let extra = Extension { extn_id: id, critical: false, extn_value: octets(&[5, 0]) };
            reject(&|extensions| extensions.insert(at, extra.clone()));
            reject(&|extensions| extensions[at].extn_id = id);
        }
    }
    reject(&|extensions| extensions.clear());
}

#[test]
fn extension_values_are_those_of_the_profile() {
    let value = |at: usize, bytes: &[u8]| {
        let bytes: OctetString = octets(bytes);
        lint_leaf(&changed(|draft| draft.extensions[at].extn_value = bytes)).unwrap_err()
    };
    // KeyUsage with keyCertSign; anyExtendedKeyUsage, and clientAuth beside serverAuth; CA:TRUE; false identifiers.
    let client = [&[0x30, 20], &SERVER_AUTH[2..], &SERVER_AUTH[2..11], &[2]].concat();
    for (at, id, bytes) in [
        (0, KEY_USAGE, &[3, 2, 2, 0x84][..]),
        (0, KEY_USAGE, &SIGNATURE_AND_ENCIPHERMENT),
        (0, KEY_USAGE, &[3, 2, 0, 0x80]),
        (0, KEY_USAGE, &[]),
        (1, EXTENDED_KEY_USAGE, &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0]),
        (1, EXTENDED_KEY_USAGE, &client),
        (2, BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff]),
        (2, BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0]),
        (3, SUBJECT_KEY_IDENTIFIER, &[4, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (4, AUTHORITY_KEY_IDENTIFIER, &[0x30, 0]),
    ] {
        assert_eq!(value(at, bytes), LintError::ExtensionValue(id), "{bytes:?}");
    }
    assert!(matches!(value(5, &[0x30, 0]), LintError::SubjectAltName(_)));
    assert!(matches!(value(5, &[0x30, 0, 0]), LintError::SubjectAltName(_)));
}

#[test]
fn names_are_lower_case_hostnames_within_title_and_zones() {
    assert!(lint_leaf(&with_names(vec![dns("*.alice.names.example")])).is_ok());
    for bad in [
        "",
        ".",
        "alice.names.example.",
        "Alice.names.example",
        "_a.alice.names.example",
        "a..alice.names.example",
        ".alice.names.example",
        "-a.alice.names.example",
        "ab--c.alice.names.example",
        "a\0.alice.names.example",
        "a b.alice.names.example",
        "*",
        "*.*.alice.names.example",
        "a.*.alice.names.example",
        "w*.alice.names.example",
        "*.names.example",
        "names.example",
        "xalice.names.example",
        "bob.names.example",
        "example",
        "192.0.2.1",
        "192.0.2.99999999999999999999999",
    ] {
        let error = lint_leaf(&with_names(vec![dns("alice.names.example"), dns(bad)])).unwrap_err();
        assert!(matches!(error, LintError::SubjectAltName(_)), "{bad}: {error}");
    }
    let long = format!("{}alice.names.example", "a.".repeat(120));
    assert!(lint_leaf(&with_names(vec![dns(&long)])).is_err());
    let many = (0..=MAX_SANS).map(|i| dns(&format!("h{i}.alice.names.example"))).collect();
    assert!(lint_leaf(&with_names(many)).is_err());
    let twice = with_names(vec![dns("alice.names.example"), dns("alice.names.example")]);
    assert_eq!(lint_leaf(&twice), Err(LintError::SubjectAltName("has a name twice")));
    for other in [
        GeneralName::Rfc822Name(ia5("root@alice.names.example")),
        GeneralName::UniformResourceIdentifier(ia5("https://alice.names.example/")),
        GeneralName::IpAddress(octets(&[192, 0, 2, 1])),
        GeneralName::DirectoryName(DistinguishedName::default()),
        GeneralName::RegisteredId(KEY_USAGE),
    ] {
        let error = lint_leaf(&with_names(vec![dns("alice.names.example"), other])).unwrap_err();
        assert_eq!(error, LintError::SubjectAltName("has a name that is no dNSName"));
    }
}

#[test]
fn the_zones_hold_whatever_title_is_claimed() {
    let outside = with_names(vec![dns("bank.example")]);
    assert_eq!(lint_as(&outside, "bank.example."), Err(LintError::SubjectAltName("has a name outside the zones")));
    assert!(lint_as(&leaf(), ".").is_err());
    assert!(lint_as(&leaf(), "bob.names.example.").is_err());
}

#[test]
fn a_second_encoding_of_the_same_certificate_is_refused() {
    let leaf = leaf();
    assert!(lint_leaf(&[&leaf[..], &[0]].concat()).is_err(), "a byte after it");
    assert!(lint_leaf(&vec![0x30; MAX_TBS + 1]).is_err());
    // BasicConstraints' criticality as BER's other TRUE.
    let at = leaf.windows(5).position(|bytes| bytes == [0x55, 0x1d, 0x13, 1, 1]).unwrap() + 5;
    let mut ber = leaf.clone();
    ber[at] = 1;
    assert!(lint_leaf(&ber).is_err());
    // Unique identifiers, between key and extensions.
    let parsed = TbsCertificate::from_der(&leaf).unwrap();
    let tail = explicit(3, &parsed.extensions().unwrap().to_der().unwrap());
    let body = &leaf[4..leaf.len() - tail.len()];
    let unique = crate::ca::tbs::sequence(&[body.to_vec(), vec![0x81, 2, 0, 7], tail]);
    assert_eq!(lint_leaf(&unique), Err(LintError::UniqueIdentifier));
}

#[test]
fn every_changed_bit_is_refused_but_those_of_serial_and_times() {
    // One name: a changed bit of another could make one more name within the title.
    let leaf = issued(&["alice.names.example."]).into_tbs();
    let parsed = TbsCertificate::from_der(&leaf).unwrap();
    let place = |field: &[u8]| {
        let start = leaf.windows(field.len()).position(|bytes| bytes == field).unwrap();
        start..start + field.len()
    };
    let serial = place(parsed.serial_number().as_bytes());
    let validity = place(&parsed.validity().to_der().unwrap());
    for at in 0..leaf.len() {
        for bit in 0..8 {
            let mut changed = leaf.clone();
            changed[at] ^= 1 << bit;
            let passed = lint_leaf(&changed).is_ok();
            assert!(!passed || serial.contains(&at) || validity.contains(&at), "byte {at} bit {bit}");
        }
        assert!(lint_leaf(&leaf[..at]).is_err());
    }
}
