use proptest::prelude::*;

use super::*;
use crate::crypto::ed25519::PublicKey;
use crate::directory::records::{check_rrset, check_together};
use crate::limits::MAX_RRSETS_PER_TITLE;

const TITLES: [&str; 5] =
    ["alice.example.", "held.example.", "bob.example.", "x.alice.example.", "alice.zone.inner.example."];
const OWNERS: [&str; 7] = ["", "www.", "a.b.", "*.", "old.", "x.old.", "_443._tcp."];

fn any_rrset() -> impl Strategy<Value = Rrset> {
    let typical = prop_oneof![
        Just((Rtype::A, vec![192, 0, 2, 1])),
        Just((Rtype::NS, b"\x02ns\x00".to_vec())),
        Just((Rtype::CNAME, b"\x03www\x00".to_vec())),
        Just((Rtype::DNAME, b"\x03new\x00".to_vec())),
        Just((Rtype::TXT, b"\x02hi".to_vec())),
        Just((Rtype::DS, [&[0, 1, 15, 2][..], &[9; 32]].concat())),
    ];
    let typical = (typical, any::<bool>()).prop_map(|((rtype, rdata), two)| {
        let mut other = rdata.clone();
        if let Some(last) = other.get_mut(2) {
            *last ^= u8::from(two);
        }
        Rrset::new(rtype, 300, vec![rdata, other])
    });
    let rdata = proptest::collection::vec(any::<u8>(), 0..40);
    let wild = (any::<u16>(), any::<u32>(), proptest::collection::vec(rdata, 0..3))
        .prop_map(|(rtype, ttl, rdatas)| Rrset::new(Rtype(rtype), ttl, rdatas));
    prop_oneof![4 => typical, 1 => wild]
}

fn any_change() -> impl Strategy<Value = (usize, RecordChange)> {
    (0..OWNERS.len(), any_rrset(), any::<bool>()).prop_map(|(owner, rrset, delete)| {
        let placeholder = Name::root();
        let change = if delete {
            RecordChange::Delete { name: placeholder, rtype: rrset.rtype }
        } else {
            RecordChange::Put { name: placeholder, rrset }
        };
        (owner, change)
    })
}

/// What somebody tries: title, signer, action, and how much of the envelope is wrong.
#[derive(Clone, Debug)]
struct Attempt {
    title: usize,
    signer: u8,
    action: AnyAction,
    wrong: u8,
}

#[derive(Clone, Debug)]
enum AnyAction {
    Register,
    Set(Vec<(usize, RecordChange)>),
    Transfer(u8),
    TransferTo([u8; 32]),
    Accept,
    Certificate(Vec<u8>, usize),
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let action = prop_oneof![
        2 => Just(AnyAction::Register),
        6 => proptest::collection::vec(any_change(), 0..4).prop_map(AnyAction::Set),
        2 => (1..4u8).prop_map(AnyAction::Transfer),
        1 => any::<[u8; 32]>().prop_map(AnyAction::TransferTo),
        2 => Just(AnyAction::Accept),
        1 => (proptest::collection::vec(any::<u8>(), 0..50), 0..TITLES.len())
            .prop_map(|(key, name)| AnyAction::Certificate(key, name)),
    ];
    (0..TITLES.len(), 1..4u8, action, 0..24u8).prop_map(|(title, signer, action, wrong)| Attempt {
        title,
        signer,
        action,
        wrong,
    })
}

fn operation(directory: &Directory, attempt: &Attempt) -> Operation {
    let title = TITLES[attempt.title];
    let action = match attempt.action.clone() {
        AnyAction::Register => Action::Register,
        AnyAction::Transfer(to) => Action::Transfer { to: key(to).public() },
        AnyAction::TransferTo(to) => Action::Transfer { to: PublicKey(to) },
        AnyAction::Accept => Action::Accept,
        AnyAction::Certificate(public_key, at) => {
            Action::IssueCertificate { public_key, names: vec![name(TITLES[at])] }
        }
        AnyAction::Set(changes) => Action::Set {
            changes: changes
                .into_iter()
                .map(|(owner, change)| {
                    let owner = name(&format!("{}{title}", OWNERS[owner]));
                    match change {
                        RecordChange::Put { rrset, .. } => RecordChange::Put { name: owner, rrset },
                        RecordChange::Delete { rtype, .. } => RecordChange::Delete { name: owner, rtype },
                    }
                })
                .collect(),
        },
    };
    let mut operation = next(directory, title, action);
    match attempt.wrong {
        0 => operation.sequence = operation.sequence.wrapping_sub(1),
        1 => operation.previous = Digest([5; 32]),
        2 => operation.valid_until = Timestamp(u64::MAX),
        3 => operation.zone = Name::root(),
        4 => operation.network = Digest::ZERO,
        _ => {}
    }
    operation
}

fn assert_invariants(directory: &Directory) {
    for zone in directory.zones().keys() {
        let names: Vec<Name> = directory.names(zone).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "canonical order, each name once");
        for owner in &names {
            let rrsets = directory.rrsets_at(zone, owner);
            assert!(!rrsets.is_empty());
            assert!(rrsets.is_sorted_by(|a, b| a.rtype < b.rtype));
            let has = |rtype: Rtype| rrsets.iter().any(|rrset| rrset.rtype == rtype);
            let others = rrsets.iter().filter(|rrset| ![Rtype::CNAME, Rtype::KEY].contains(&rrset.rtype)).count();
            assert!(!has(Rtype::CNAME) || others == 0, "CNAME is alone at {owner}");
        }
        for title in directory.titles(zone) {
            assert!(title.records.len() <= MAX_RRSETS_PER_TITLE);
            assert!(title.records.keys().all(|(owner, _)| owner.is_within(&title.name)));
            for ((owner, rtype), rrset) in &title.records {
                assert_eq!(*rtype, rrset.rtype);
                check_rrset(owner, rrset).unwrap();
            }
            check_together(&title.records).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_tried_the_rules_hold(attempts in proptest::collection::vec(any_attempt(), 1..30)) {
        let mut directory = genesis();
        for attempt in &attempts {
            let operation = operation(&directory, attempt);
            let title = operation.title.clone();
            let verified = verified(operation.clone(), &key(attempt.signer));
            let before = directory.clone();
            let decided = decide(&directory, &verified, context(1));
            prop_assert_eq!(&before, &directory, "to decide changes nothing");
            let Ok(change) = decided else { continue };
            let applied = directory.apply(change);

            let (old, new) = (before.title(&title), directory.title(&title).unwrap());
            prop_assert_eq!(new.sequence, old.map_or(0, |old| old.sequence + 1));
            prop_assert_eq!(new.head, verified.digest());
            if let Some(old) = old {
                let by = key(attempt.signer).public();
                prop_assert!(by == old.owner || old.offered_to == Some(by));
            }
            // Exactly the names that are dirty are published otherwise, and nothing outside of the title is.
            for zone in directory.zones().keys() {
                let names: std::collections::BTreeSet<Name> = before.names(zone).chain(directory.names(zone)).collect();
                for owner in names {
                    let differs = before.rrsets_at(zone, &owner) != directory.rrsets_at(zone, &owner)
                        || before.standing_in(zone, &owner) != directory.standing_in(zone, &owner);
                    prop_assert_eq!(differs, *zone == applied.zone && applied.dirty.contains(&owner), "{}", owner);
                }
            }
            let replayed = decide(&directory, &verified, context(2));
            prop_assert!(replayed.is_err(), "a replay is refused");
        }
        assert_invariants(&directory);
    }

    #[test]
    fn any_bytes_have_an_outcome(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = admit(&bytes);
    }

    #[test]
    fn an_operation_with_one_byte_changed_never_counts_as_another(place in any::<usize>(), byte: u8) {
        let directory = with_alice();
        let bytes = next(&directory, "alice.example.", set(&["www A 192.0.2.1"])).sign(&alice()).to_bytes();
        let mut mauled = bytes.clone();
        let place = place % mauled.len();
        mauled[place] = byte;
        if mauled != bytes {
            prop_assert!(admit(&mauled).is_err());
        }
    }
}
