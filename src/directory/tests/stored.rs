use super::*;
use crate::codec;
use crate::directory::genesis::GenesisError;
use crate::directory::state::{LoadError, ZONES_ROW, history_key, title_key};
use crate::directory::title::{Event, HistoryEntry};
use crate::rows::{Row, Table};

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The bytes that owners sign and replicas store are for good: a change here is a new protocol version.
#[track_caller]
pub(super) fn golden(file: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("TORRENS_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, hex(bytes) + "\n").unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(hex(bytes), expected.trim(), "{file}");
}

#[test]
fn a_signed_operation_has_these_bytes() {
    let directory = with_alice();
    let action = set(&["www A 192.0.2.1", "www A 192.0.2.2", "@ MX 10 mail"]);
    golden("operation-set.hex", &next(&directory, "alice.example.", action).sign(&alice()).to_bytes());
    let register = next(&genesis(), "alice.example.", Action::Register).sign(&alice());
    golden("operation-register.hex", &register.to_bytes());
    golden("operation-register-digest.hex", &SignedOperation::digest_of_bytes(&register.to_bytes()).0);
}

#[test]
fn rows_have_these_keys_and_bytes() {
    let mut directory = with_alice();
    let applied = act(&mut directory, "alice.example.", set(&["www A 192.0.2.1"]), &alice());
    let [title, history] = applied.rows.as_slice() else { panic!("two rows") };
    assert_eq!((title.table, history.table), (Table::Title, Table::History));
    assert_eq!(hex(&title.key), "05616c696365076578616d706c6500");
    assert_eq!(hex(&history.key), "05616c696365076578616d706c65000000000000000001");
    golden("row-title.hex", title.value.as_ref().unwrap());
    golden("row-history.hex", history.value.as_ref().unwrap());
    golden("row-zones.hex", genesis().zones_row().value.as_ref().unwrap());
}

#[test]
fn the_bytes_of_rows_group_by_title() {
    let (a, ab) = (name("a.example."), name("ab.example."));
    assert!(!title_key(&ab).starts_with(&title_key(&a)));
    assert!(history_key(&a, 255) < history_key(&a, 256));
    assert!(history_key(&a, u64::MAX).starts_with(&title_key(&a)));
}

#[test]
fn what_was_stored_is_loaded_again() {
    let file = |text: &str, origin: &str| {
        parse_zone(text, origin, Some(name(origin)), &mut |_: &str| Err(String::new())).unwrap()
    };
    let files = vec![file(OUTER, "example."), file(INNER, "zone.inner.example.")];
    let (mut directory, mut rows) = Directory::genesis(files, registry().public(), NOW).unwrap();
    rows.extend(act(&mut directory, "alice.example.", Action::Register, &alice()).rows);
    rows.extend(act(&mut directory, "alice.example.", set(&["www A 192.0.2.1"]), &alice()).rows);

    let mut stored = std::collections::BTreeMap::new();
    for Row { table, key, value } in rows {
        stored.insert((table, key), value.unwrap());
    }
    let zones = &stored[&(Table::Meta, ZONES_ROW.to_vec())];
    let of_table = |wanted: Table| -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = stored.iter().filter(|((table, _), _)| *table == wanted);
        rows.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    };
    let titles = of_table(Table::Title);
    assert_eq!(Directory::load(zones, &titles).unwrap(), directory);
    assert_eq!(of_table(Table::History).len(), 4 + 2, "one entry for each genesis title and operation");

    let mut misplaced = titles.clone();
    misplaced[0].0 = title_key(&name("other.example."));
    assert!(matches!(Directory::load(zones, &misplaced), Err(LoadError::Misplaced { .. })));
    let mut damaged = titles;
    damaged[0].1.pop();
    assert!(matches!(Directory::load(zones, &damaged), Err(LoadError::Title { .. })));
    assert!(matches!(Directory::load(b"damaged", &Vec::new()), Err(LoadError::Zones(_))));
}

#[test]
fn the_history_of_a_genesis_title_starts_the_chain() {
    let directory = genesis();
    let title = directory.title(&name("held.example.")).unwrap();
    assert_ne!(title.head, Digest::ZERO);
    let mut changed = genesis();
    let applied = {
        let rrset = Rrset::new(Rtype::A, 60, vec![vec![192, 0, 2, 7]]);
        let changes = vec![RecordChange::Put { name: name("held.example."), rrset }];
        act(&mut changed, "held.example.", Action::Set { changes }, &registry())
    };
    assert_eq!(applied.entry.sequence, 1);
    let entry: HistoryEntry = codec::decode(applied.rows[1].value.as_ref().unwrap(), 10_000).unwrap();
    assert_eq!(entry, applied.entry);
    assert_eq!(entry.event, Event::RecordsSet { changed: vec![(name("held.example."), Rtype::A)] });
}

#[test]
fn a_genesis_wants_zones_each_once_and_a_usable_key() {
    let file = || parse_zone(INNER, "x", Some(name("example.")), &mut |_: &str| Err(String::new())).unwrap();
    let key = registry().public();
    let twice = Directory::genesis(vec![file(), file()], key, NOW);
    assert_eq!(twice.unwrap_err(), GenesisError::ZoneTwice(name("example.")));
    assert_eq!(Directory::genesis(vec![], key, NOW).unwrap_err(), GenesisError::NoZones);
    let unusable = crate::crypto::ed25519::PublicKey([0; 32]);
    let refused = Directory::genesis(vec![file()], unusable, NOW).unwrap_err();
    assert_eq!(refused, GenesisError::BadRegistryKey(unusable));
}
