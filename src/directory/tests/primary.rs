//! Zones that come from a primary: what is taken over, and the way from one content to another.

use std::collections::BTreeMap;

use super::*;
use crate::codec;
use crate::directory::master::ZoneFile;
use crate::directory::primary::{Changes, ContentError, ZoneSource};
use crate::limits::{MAX_RRSETS_PER_TITLE, MAX_TITLE_ROW};
use crate::rows::Table;

const CHILD: &str = "
$ORIGIN example.
$TTL 300
@ SOA ns1 host 7 1 2 3 4
@ NS ns1
ns1 A 192.0.2.1
www A 192.0.2.2
sub NS ns.sub
ns.sub A 192.0.2.3
gone TXT gone
";

fn file(text: &str) -> ZoneFile {
    parse_zone(text, "zone", None, &mut |_| Err("no includes".into())).unwrap()
}

fn left_to_primary(text: &str) -> Directory {
    let mut directory = Directory::genesis(vec![file(text)], registry().public(), NOW).unwrap().0;
    directory.leave_to_primary(&name("example.")).unwrap();
    assert_eq!(directory.zones()[&name("example.")].source, ZoneSource::Primary);
    directory
}

/// Serial 8: www moves, gone goes, new comes, the cut becomes a name.
const NEXT: &str = "
$ORIGIN example.
$TTL 300
@ SOA ns1 host 8 1 2 3 4
@ NS ns1
ns1 A 192.0.2.1
www A 192.0.2.9
sub A 192.0.2.4
new.deep AAAA 2001:db8::1
";

#[test]
fn changes_lead_from_the_one_content_to_the_other_and_there_and_back_is_nothing() {
    let mut directory = left_to_primary(CHILD);
    let changes = Changes::between(&directory, &file(NEXT));
    assert_eq!(Changes::from_bytes(&changes.to_bytes()).unwrap(), changes);
    let zone = name("example.");
    let update = directory.judge_changes(&zone, &changes, None).unwrap();
    assert_eq!(update.serial(), 8);
    let (dirty, rows) = directory.apply_changes(update, Timestamp(NOW.0 + 1), 5);
    let names = ["example.", "gone.example.", "new.deep.example.", "ns.sub.example.", "sub.example.", "www.example."];
    assert_eq!(dirty, names.map(name).into());
    assert!(Changes::between(&directory, &file(NEXT)).is_empty());
    assert!(directory.title(&name("gone.example.")).is_none());
    // What a restart reads is what was applied.
    let mut titles: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let (_, first) = Directory::genesis(vec![file(CHILD)], registry().public(), NOW).unwrap();
    for row in first.into_iter().chain(rows).filter(|row| row.table == Table::Title) {
        match row.value {
            Some(value) => _ = titles.insert(row.key, value),
            None => _ = titles.remove(&row.key),
        }
    }
    let stored = directory.zones_row().value.unwrap();
    assert_eq!(Directory::load(&stored, &titles.into_iter().collect()).unwrap(), directory);
    assert_eq!(directory, {
        let mut back = directory.clone();
        for text in [CHILD, NEXT] {
            let changes = Changes::between(&back, &file(text));
            let update = back.judge_changes(&zone, &changes, None).unwrap();
            let (_, _) = back.apply_changes(update, Timestamp(NOW.0 + 1), 5);
        }
        back
    });
}

#[test]
fn the_bytes_of_changes_are_frozen() {
    let changes = Changes::between(&left_to_primary(CHILD), &file(NEXT));
    super::stored::golden("changes.hex", &changes.to_bytes());
}

#[test]
fn the_signatures_and_keys_of_the_primary_are_dropped_and_what_cannot_be_served_is_refused() {
    let zone = file(CHILD);
    let records = || {
        zone.records.iter().flat_map(|((name, rtype), rrset)| {
            rrset.rdatas().iter().map(|rdata| (name.clone(), *rtype, rrset.ttl, rdata.clone())).collect::<Vec<_>>()
        })
    };
    let apex = name("example.");
    let rrsig = [&[0, 1, 8, 2, 0, 0, 1, 44, 0, 0, 0, 1, 0, 0, 0, 0, 0, 7][..], apex.as_wire(), &[1; 64]].concat();
    let signed = [
        (name("www.example."), Rtype::RRSIG, 300, rrsig),
        (apex.clone(), Rtype::DNSKEY, 300, vec![1, 1, 3, 8, 1, 2, 3, 4]),
        (apex.clone(), Rtype::CDS, 300, [&[0, 0, 8, 2][..], &[0; 32]].concat()),
        (apex.clone(), Rtype::NSEC3PARAM, 0, vec![1, 0, 0, 0, 0]),
        (name("b0c3e6.example."), Rtype::NSEC3, 300, vec![1, 1, 0, 0, 0, 0]),
    ];
    let soa_again = records().next().unwrap();
    let taken = ZoneFile::from_records(apex.clone(), records().chain(signed).chain([soa_again])).unwrap();
    assert_eq!((&taken, taken.serial()), (&zone, 7));
    let with = |name: Name, rtype: Rtype, rdata: &[u8]| {
        let extra = (name, rtype, 300, rdata.to_vec());
        ZoneFile::from_records(apex.clone(), records().chain([extra])).unwrap_err()
    };
    assert!(matches!(with(name("com."), Rtype::A, &[1; 4]), ContentError::Place { .. }));
    assert!(matches!(with(name("a.example."), Rtype::A, &[1; 5]), ContentError::Rdata { .. }));
    assert!(matches!(with(name("a.example."), Rtype::SOA, soa_rdata(&zone)), ContentError::Place { .. }));
    assert!(matches!(with(name("www.example."), Rtype::CNAME, &[0]), ContentError::Records(_)));
    assert!(matches!(with(apex.clone(), Rtype::DNAME, &[0]), ContentError::Place { .. }));
    let without = |left_out: Rtype| {
        let rest = records().filter(|(_, rtype, ..)| *rtype != left_out);
        ZoneFile::from_records(apex.clone(), rest).unwrap_err()
    };
    assert_eq!(without(Rtype::SOA), ContentError::Missing(Rtype::SOA));
    assert_eq!(without(Rtype::NS), ContentError::Missing(Rtype::NS));
}

/// So many delegations beneath co.example., every other one with DS.
fn delegations(serial: u32, count: usize) -> ZoneFile {
    let mut zone = file(&CHILD.replace(" 7 1 2", &format!(" {serial} 1 2")));
    for at in 0..count {
        let owner = name(&format!("company{at}.co.example."));
        let servers = ["ns1", "ns2"].map(|label| name(&format!("{label}.company{at}.co.example.")).as_wire().to_vec());
        zone.records.insert((owner.clone(), Rtype::NS), Rrset::new(Rtype::NS, 300, servers.to_vec()));
        if at % 2 == 0 {
            let ds = [&[0, 1, 13, 2][..], &[at as u8; 32]].concat();
            zone.records.insert((owner, Rtype::DS), Rrset::new(Rtype::DS, 300, vec![ds]));
        }
    }
    zone
}

fn transferred(zone: &ZoneFile) -> Result<ZoneFile, ContentError> {
    let records = zone.records.iter().flat_map(|((name, rtype), rrset)| {
        rrset.rdatas().iter().map(|rdata| (name.clone(), *rtype, rrset.ttl, rdata.clone()))
    });
    ZoneFile::from_records(zone.apex.clone(), records)
}

#[test]
fn a_label_of_a_registry_has_thousands_of_delegations_beneath_it_and_one_with_too_many_is_named() {
    let mut directory = left_to_primary(CHILD);
    let zone = name("example.");
    for (serial, count) in [(8, 5000), (9, 5001)] {
        let file = transferred(&delegations(serial, count)).unwrap();
        assert!(file.check_titles().is_err(), "no owner has so many");
        let changes = Changes::from_bytes(&Changes::between(&directory, &file).to_bytes()).unwrap();
        let update = directory.judge_changes(&zone, &changes, None).unwrap();
        let (dirty, rows) = directory.apply_changes(update, Timestamp(NOW.0 + 1), 5);
        // The first time all of them, then the apex, and the one that came.
        let expected = if serial == 8 { 1 + count } else { 2 };
        assert!(dirty.len() == expected && Changes::between(&directory, &file).is_empty(), "{}", dirty.len());
        let row = rows.iter().find(|row| row.table == Table::Title && row.key == name("co.example.").as_wire());
        let stored = [(row.unwrap().key.clone(), row.unwrap().value.clone().unwrap())].to_vec();
        assert!(stored[0].1.len() < MAX_TITLE_ROW / 2);
        let loaded = Directory::load(&directory.zones_row().value.unwrap(), &stored).unwrap();
        assert_eq!(loaded.title(&name("co.example.")), directory.title(&name("co.example.")));
    }
    let label = directory.title(&name("co.example.")).unwrap();
    assert!(directory.is_cut(&zone, &name("company4999.co.example.")) && label.records.len() > 7_500);
    assert_eq!(label.first_records().len(), MAX_RRSETS_PER_TITLE, "no answer shows more than of an owner's");
    let www = directory.title(&name("www.example.")).unwrap();
    assert_eq!(www.first_records().len(), www.records.len());
    let too_many = transferred(&delegations(10, 22_000)).unwrap_err();
    let ContentError::LabelTooLarge { label, rrsets, .. } = &too_many else { panic!("{too_many}") };
    assert_eq!((label, *rrsets), (&name("co.example."), 33_000));
    assert!(too_many.to_string().contains("serve co.example. as a zone of its own"), "{too_many}");
    // Whoever votes for it all the same is refused, too.
    let changes = Changes::between(&directory, &delegations(10, 22_000));
    let judged = directory.judge_changes(&zone, &changes, None).map(|update| update.serial());
    assert!(matches!(judged, Err(ContentError::LabelTooLarge { .. })), "{judged:?}");
}

fn soa_rdata(zone: &ZoneFile) -> &[u8] {
    &zone.records[&(zone.apex.clone(), Rtype::SOA)].rdatas()[0]
}

#[test]
fn changes_in_another_order_or_of_another_content_are_refused() {
    let directory = left_to_primary(CHILD);
    let zone = name("example.");
    let a = |byte: u8| Rrset::new(Rtype::A, 300, vec![vec![192, 0, 2, byte]]);
    let judged = |puts: Vec<(Name, Rrset)>, deletes: Vec<(Name, Rtype)>| {
        let changes = Changes::from_bytes(&codec::encode(&(puts, deletes))).unwrap();
        directory.judge_changes(&zone, &changes, None).map(|update| update.serial())
    };
    let (b, c) = (name("b.example."), name("c.example."));
    assert_eq!(judged(vec![(b.clone(), a(1)), (c.clone(), a(1))], vec![]), Ok(7));
    let refused = Err(ContentError::NotCanonical);
    assert_eq!(judged(vec![(c.clone(), a(1)), (b.clone(), a(1))], vec![]), refused);
    assert_eq!(judged(vec![(b.clone(), a(1)), (b.clone(), a(2))], vec![]), refused);
    assert_eq!(judged(vec![], vec![(b.clone(), Rtype::A)]), refused, "there is none to delete");
    for outside in ["com.", "www.example.com."] {
        assert_eq!(judged(vec![], vec![(name(outside), Rtype::NS)]), refused, "{outside} is another's");
    }
    let www = name("www.example.");
    assert_eq!(judged(vec![(www.clone(), a(1))], vec![(www, Rtype::A)]), refused);
    let titles = genesis();
    let put = Changes::from_bytes(&codec::encode(&(vec![(b, a(1))], Vec::<(Name, Rtype)>::new()))).unwrap();
    let judged = titles.judge_changes(&zone, &put, None).err();
    assert_eq!(judged, Some(ContentError::NoPrimary(zone.clone())), "owners' zones do not come from a primary");
}
