use super::*;
use crate::crypto::ed25519::{PublicKey, Signature};
use crate::directory::refusal::{CertificateNameFault, LabelFault};
use crate::limits::{MAX_OPERATION, MAX_OPERATION_VALIDITY_MS, MAX_TTL};

#[track_caller]
fn refused(directory: &Directory, operation: Operation, signer: &SecretKey, code: &str) -> Refusal {
    let refusal = judge(directory, operation, signer).unwrap_err();
    assert_eq!(refusal.code(), code, "{refusal}");
    assert!(!refusal.to_string().is_empty());
    refusal
}

/// Alice sets records under `alice.example.` and is refused.
#[track_caller]
fn set_refused(action: Action, code: &str) {
    let directory = with_alice();
    refused(&directory, next(&directory, "alice.example.", action), &alice(), code);
}

#[test]
fn bytes_that_are_no_operation_have_an_outcome() {
    let signed = next(&genesis(), "alice.example.", Action::Register).sign(&alice());
    let bytes = signed.to_bytes();
    assert!(admit(&bytes).is_ok());
    assert_eq!(admit(b"hello"), Err(Refusal::Malformed));
    assert_eq!(admit(b""), Err(Refusal::Malformed));
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(admit(&longer), Err(Refusal::Malformed), "a second encoding");
    let bytes_over = MAX_OPERATION + 1;
    assert_eq!(admit(&vec![0; bytes_over]), Err(Refusal::TooLarge { bytes: bytes_over }));
}

#[test]
fn a_signature_that_does_not_hold_is_refused() {
    let signed = next(&genesis(), "alice.example.", Action::Register).sign(&alice());
    let other = SignedOperation { signer: bob().public(), ..signed.clone() };
    assert_eq!(admit(&other.to_bytes()), Err(Refusal::BadSignature { signer: bob().public() }));
    let zero = SignedOperation { signature: Signature::from_bytes([0; 64]), ..signed.clone() };
    assert_eq!(admit(&zero.to_bytes()), Err(Refusal::BadSignature { signer: alice().public() }));
    let small_order = PublicKey([0; 32]);
    let weak = SignedOperation { signer: small_order, ..signed };
    assert_eq!(admit(&weak.to_bytes()), Err(Refusal::BadPublicKey { key: small_order }));
}

#[test]
fn an_operation_for_another_network_or_zone_is_refused() {
    let directory = genesis();
    let good = next(&directory, "alice.example.", Action::Register);
    refused(&directory, Operation { network: Digest([8; 32]), ..good.clone() }, &alice(), "wrong-network");
    let refusal = refused(&directory, Operation { zone: name("other."), ..good.clone() }, &alice(), "wrong-zone");
    assert_eq!(refusal, Refusal::WrongZone { name: name("alice.example."), expected: name("example.") });
    refused(&directory, Operation { title: name("alice.org."), ..good.clone() }, &alice(), "outside-zones");
    refused(&directory, Operation { title: Name::root(), ..good.clone() }, &alice(), "outside-zones");
    refused(&directory, Operation { title: name("example."), ..good }, &alice(), "is-zone");
}

#[test]
fn a_title_is_one_label_below_its_zone_and_the_refusal_says_which() {
    let directory = genesis();
    let operation = next(&directory, "www.alice.example.", Action::Register);
    let refusal = refused(&directory, operation, &alice(), "not-one-label-below");
    assert!(refusal.to_string().contains("ask for alice.example., it holds everything beneath it"), "{refusal}");
}

#[test]
fn labels_that_mean_something_else_are_not_registered() {
    let directory = genesis();
    for (label, why) in [
        ("*", LabelFault::Wildcard),
        ("_dmarc", LabelFault::Underscore),
        ("xn--caf-dma", LabelFault::ReservedHyphens),
        ("ab--cd", LabelFault::ReservedHyphens),
        ("-a", LabelFault::OuterHyphen),
        ("a-", LabelFault::OuterHyphen),
        ("a\\.b", LabelFault::Character),
        ("a\\000", LabelFault::Character),
        ("caf\\233", LabelFault::Character),
        ("a_b", LabelFault::Character),
    ] {
        // With the wildcard of the zone's file out of the way.
        let place = if label == "*" { "*.zone.inner.example.".into() } else { format!("{label}.example.") };
        let operation = next(&directory, &place, Action::Register);
        let refusal = refused(&directory, operation, &alice(), "label-not-allowed");
        assert_eq!(refusal, Refusal::LabelNotAllowed { name: name(&place), why });
    }
}

#[test]
fn a_name_above_another_zone_is_not_registered() {
    let directory = genesis();
    refused(&directory, next(&directory, "inner.example.", Action::Register), &alice(), "holds-zone");
}

#[test]
fn a_name_is_taken_once() {
    let directory = with_alice();
    refused(&directory, next(&directory, "alice.example.", Action::Register), &bob(), "name-taken");
    refused(&directory, next(&directory, "held.example.", Action::Register), &bob(), "name-taken");
    let capital = Operation { title: name("ALICE.example."), ..next(&directory, "alice.example.", Action::Register) };
    refused(&directory, capital, &bob(), "name-taken");
}

#[test]
fn only_the_owner_operates_on_a_title() {
    let directory = with_alice();
    let actions = [set(&["@ A 192.0.2.1"]), Action::Transfer { to: bob().public() }, certificate(&["alice.example."])];
    for action in actions {
        refused(&directory, next(&directory, "alice.example.", action), &bob(), "wrong-owner");
    }
    refused(&directory, next(&directory, "bob.example.", set(&["@ A 192.0.2.1"])), &bob(), "no-such-title");
}

#[test]
fn an_operation_follows_on_the_last_one() {
    let directory = with_alice();
    let good = next(&directory, "alice.example.", set(&["@ A 192.0.2.1"]));
    for sequence in [0, 2, u64::MAX] {
        let refusal = refused(&directory, Operation { sequence, ..good.clone() }, &alice(), "wrong-sequence");
        assert_eq!(refusal, Refusal::WrongSequence { given: sequence, expected: 1 });
    }
    refused(&directory, Operation { previous: Digest::ZERO, ..good }, &alice(), "wrong-previous");
    let register = next(&directory, "carol.example.", Action::Register);
    refused(&directory, Operation { sequence: 1, ..register.clone() }, &alice(), "wrong-sequence");
    refused(&directory, Operation { previous: Digest([1; 32]), ..register }, &alice(), "wrong-previous");
}

#[test]
fn an_operation_holds_until_its_limit_and_the_limit_is_near() {
    let directory = genesis();
    let good = next(&directory, "alice.example.", Action::Register);
    let until = |ms: u64| Operation { valid_until: Timestamp(ms), ..good.clone() };
    assert!(judge(&directory, until(NOW.0), &alice()).is_ok());
    assert!(judge(&directory, until(NOW.0 + MAX_OPERATION_VALIDITY_MS), &alice()).is_ok());
    refused(&directory, until(NOW.0 - 1), &alice(), "expired");
    refused(&directory, until(0), &alice(), "expired");
    refused(&directory, until(NOW.0 + MAX_OPERATION_VALIDITY_MS + 1), &alice(), "valid-too-long");
    refused(&directory, until(u64::MAX), &alice(), "valid-too-long");
}

#[test]
fn records_lie_within_the_title() {
    set_refused(put("bob.example.", Rtype::A, 300, &[&[192, 0, 2, 1]]), "outside-title");
    set_refused(put("xalice.example.", Rtype::A, 300, &[&[192, 0, 2, 1]]), "outside-title");
    set_refused(delete("example.", Rtype::NS), "outside-title");
}

#[test]
fn a_set_says_each_rrset_once_and_at_least_one() {
    set_refused(Action::Set { changes: vec![] }, "no-changes");
    let Action::Set { changes } = set(&["@ A 192.0.2.1"]) else { unreachable!() };
    set_refused(Action::Set { changes: [changes.clone(), changes].concat() }, "changed-twice");
}

#[test]
fn types_that_are_no_data_or_that_the_service_makes_are_refused() {
    for rtype in [0, 6, 24, 25, 30, 41, 46, 47, 48, 50, 51, 63, 128, 249, 250, 251, 252, 253, 254, 255, 65535] {
        set_refused(put("alice.example.", Rtype(rtype), 300, &[b""]), "type-not-allowed");
        set_refused(delete("alice.example.", Rtype(rtype)), "type-not-allowed");
    }
}

#[test]
fn data_that_is_not_of_its_type_is_refused() {
    set_refused(put("alice.example.", Rtype::A, 300, &[&[192, 0, 2, 1, 5]]), "bad-record-data");
    set_refused(put("alice.example.", Rtype(52), 300, &[&[3]]), "bad-record-data");
    set_refused(put("alice.example.", Rtype::NS, 300, &[b"\x03ns1"]), "bad-record-data");
    set_refused(put("alice.example.", Rtype::NS, 300, &[b"\x03NS1\x00"]), "bad-record-data");
    set_refused(put("alice.example.", Rtype::A, 300, &[]), "bad-record-data");
}

#[test]
fn records_out_of_order_are_a_second_spelling_and_refused() {
    let directory = with_alice();
    let mut bytes = codec_of(next(&directory, "alice.example.", set(&["@ A 192.0.2.1", "@ A 192.0.2.2"])));
    let at = bytes.windows(5).position(|window| window == [4, 192, 0, 2, 1]).unwrap();
    bytes[at + 4] = 3;
    let operation: Operation = crate::codec::decode(&bytes, MAX_OPERATION).unwrap();
    refused(&directory, operation, &alice(), "bad-record-data");
}

fn codec_of(operation: Operation) -> Vec<u8> {
    crate::codec::encode(&operation)
}

#[test]
fn bounds_hold_for_ttl_records_types_and_bytes() {
    set_refused(put("alice.example.", Rtype::A, MAX_TTL + 1, &[&[192, 0, 2, 1]]), "ttl-too-large");
    let addresses: Vec<[u8; 4]> = (0..101).map(|last| [192, 0, 2, last]).collect();
    let addresses: Vec<&[u8]> = addresses.iter().map(<[u8; 4]>::as_slice).collect();
    set_refused(put("alice.example.", Rtype::A, 300, &addresses), "too-many-records");
    set_refused(put("alice.example.", Rtype(65280), 300, &[&[0; 16 * 1024 + 1]]), "bad-record-data");

    let opaque = |owner: &str, rtype: u16, rdata: Vec<Vec<u8>>| RecordChange::Put {
        name: name(owner),
        rrset: Rrset::new(Rtype(rtype), 300, rdata),
    };
    let types = (0..101).map(|at| opaque("alice.example.", 65280 + at, vec![vec![]])).collect();
    set_refused(Action::Set { changes: types }, "too-many-types");
    let big = |first: u8| vec![first; 16_000];
    let at_name = vec![opaque("alice.example.", 65280, (0..4).map(big).collect())];
    set_refused(Action::Set { changes: at_name }, "too-many-bytes-at-name");
    let names = ["a.alice.example.", "b.alice.example."];
    let title = names.map(|owner| opaque(owner, 65280, (0..3).map(|first| vec![first; 11_500]).collect()));
    set_refused(Action::Set { changes: title.into() }, "too-many-bytes");
    let rrsets = (0..513).map(|at| opaque(&format!("n{at}.alice.example."), 65280, vec![vec![]]));
    set_refused(Action::Set { changes: rrsets.collect() }, "too-many-rrsets");
}

#[test]
fn cname_is_alone_dname_hides_and_ds_stands_beside_ns() {
    set_refused(set(&["www CNAME a", "www A 192.0.2.1"]), "cname-conflict");
    set_refused(set(&["www CNAME a", "www CNAME b"]), "only-one-record");
    set_refused(set(&["old DNAME a", "www.old A 192.0.2.1"]), "dname-conflict");
    set_refused(set(&["old DNAME a", "old NS b"]), "delegation-conflict");
    set_refused(set(&["*.w NS ns"]), "delegation-conflict");
    let ds = "@ DS 1 15 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A";
    set_refused(set(&[ds]), "delegation-conflict");
    let mut directory = with_alice();
    let _ = act(&mut directory, "alice.example.", set(&[ds, "@ NS ns"]), &alice());
    let only_ds_left = next(&directory, "alice.example.", delete("alice.example.", Rtype::NS));
    refused(&directory, only_ds_left, &alice(), "delegation-conflict");
}

#[test]
fn a_conflict_is_judged_after_the_whole_operation() {
    let mut directory = with_alice();
    let _ = act(&mut directory, "alice.example.", set(&["www A 192.0.2.1"]), &alice());
    let Action::Set { mut changes } = set(&["www CNAME a"]) else { unreachable!() };
    changes.push(RecordChange::Delete { name: name("www.alice.example."), rtype: Rtype::A });
    let _ = act(&mut directory, "alice.example.", Action::Set { changes }, &alice());
    assert_eq!(types_at(&directory, "www.alice.example."), ["CNAME"]);
}

#[test]
fn a_title_goes_to_a_usable_key_that_is_not_its_owners_and_only_that_key_takes_it() {
    let mut directory = with_alice();
    let offer = |to: PublicKey| next(&with_alice(), "alice.example.", Action::Transfer { to });
    refused(&directory, offer(alice().public()), &alice(), "same-owner");
    refused(&directory, offer(PublicKey([0; 32])), &alice(), "unusable-recipient");
    refused(&directory, next(&directory, "alice.example.", Action::Accept), &bob(), "not-offered");
    let _ = act(&mut directory, "alice.example.", Action::Transfer { to: bob().public() }, &alice());
    let refusal =
        refused(&directory, next(&directory, "alice.example.", Action::Accept), &key(9), "not-offered-to-you");
    assert!(refusal.to_string().contains(&bob().public().to_string()));
    refused(&directory, next(&directory, "alice.example.", Action::Accept), &alice(), "not-offered-to-you");
}

#[test]
fn a_certificate_names_hosts_within_the_title() {
    let directory = {
        let mut directory = genesis();
        let _ = act(&mut directory, "alice.example.", Action::Register, &alice());
        let _ = act(&mut directory, "alice.zone.inner.example.", Action::Register, &alice());
        directory
    };
    let ask = |names: &[&str]| next(&directory, "alice.example.", certificate(names));
    let fault = |names: &[&str]| match refused(&directory, ask(names), &alice(), "certificate-name") {
        Refusal::CertificateName { why, .. } => why,
        other => panic!("{other}"),
    };
    assert_eq!(fault(&["alice.example.", "bob.example."]), CertificateNameFault::OutsideTitle);
    assert_eq!(fault(&["*.alice.example."]), CertificateNameFault::NotAHostName);
    assert_eq!(fault(&["a\\000b.alice.example."]), CertificateNameFault::NotAHostName);
    assert_eq!(fault(&["www.alice.example.", "WWW.alice.example."]), CertificateNameFault::Twice);
    refused(&directory, ask(&[]), &alice(), "wrong-number-of-names");
    let many: Vec<String> = (0..33).map(|at| format!("n{at}.alice.example.")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&directory, ask(&many), &alice(), "wrong-number-of-names");
    for public_key in [vec![], vec![0; 1201], spki()[1..].to_vec(), [spki(), vec![0]].concat()] {
        let names = vec![name("alice.example.")];
        let operation = next(&directory, "alice.example.", Action::IssueCertificate { public_key, names });
        refused(&directory, operation, &alice(), "bad-certificate-key");
    }
}

#[test]
fn a_certificate_does_not_reach_into_another_zone() {
    let mut directory = genesis();
    // The registry holds inner.example. only if the outer zone's file has it: give it a file that does.
    let file = |text: &str, origin: &str| {
        parse_zone(text, origin, Some(name(origin)), &mut |_: &str| Err(String::new())).unwrap()
    };
    let outer = format!("{OUTER}zone.inner NS ns.zone.inner\n");
    let files = vec![file(&outer, "example."), file(INNER, "zone.inner.example.")];
    directory.clone_from(&Directory::genesis(files, registry().public(), NOW).unwrap().0);
    let operation = next(&directory, "inner.example.", certificate(&["ns.zone.inner.example."]));
    let refusal = refused(&directory, operation, &registry(), "certificate-name");
    assert!(refusal.to_string().contains("lies within the zone zone.inner.example."), "{refusal}");
}

#[test]
fn refusals_are_values_that_travel() {
    let refusal = Refusal::WrongZone { name: name("a.example."), expected: name("example.") };
    assert_eq!(crate::codec::decode(&crate::codec::encode(&refusal), 1000), Ok(refusal.clone()));
    let json = serde_json::to_string(&refusal).unwrap();
    assert_eq!(json, r#"{"WrongZone":{"name":"a.example.","expected":"example."}}"#);
    assert_eq!(serde_json::from_str::<Refusal>(&json).unwrap(), refusal);
}
