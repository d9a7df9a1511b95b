use std::collections::BTreeSet;

use super::*;
use crate::directory::publish::{Standing, owner_key};
use crate::directory::title::Event;

fn dirty(applied: &Applied) -> Vec<String> {
    applied.dirty.iter().map(Name::to_string).collect()
}

#[test]
fn the_genesis_makes_a_title_of_every_label_below_an_apex() {
    let directory = genesis();
    let titles = |zone: &str| -> Vec<String> { directory.titles(&name(zone)).map(|t| t.name.to_string()).collect() };
    assert_eq!(titles("example."), ["*.example.", "held.example.", "xn--bcher-kva.example."]);
    assert_eq!(titles("zone.inner.example."), ["ns.zone.inner.example."]);
    assert!(directory.titles(&name("example.")).all(|title| title.owner == registry().public()));
    assert_eq!(types_at(&directory, "example."), ["NS", "SOA"]);
    let names: Vec<String> = directory.names(&name("example.")).map(|name| name.to_string()).collect();
    let expected = [
        "example.",
        "*.example.",
        "held.example.",
        "ns.held.example.",
        "sub.held.example.",
        "ns.sub.held.example.",
        "xn--bcher-kva.example.",
    ];
    assert_eq!(names, expected, "in canonical order");
}

#[test]
fn the_owners_key_stands_at_the_title() {
    let mut directory = genesis();
    let applied = act(&mut directory, "alice.example.", Action::Register, &alice());
    assert_eq!(dirty(&applied), ["alice.example."]);
    let key = directory.rrsets_at(&name("example."), &name("alice.example."));
    assert_eq!(key, [owner_key(&alice().public())]);
    assert_eq!(key[0].rdatas()[0][..4], [2, 0, 3, 15]);
    assert_eq!(types_at(&directory, "*.example."), ["TXT"], "a wildcard would hand the key to every free name");
}

#[test]
fn setting_records_makes_their_names_dirty_and_no_others() {
    let mut directory = with_alice();
    let applied = act(&mut directory, "alice.example.", set(&["www A 192.0.2.1", "@ TXT hi"]), &alice());
    assert_eq!(dirty(&applied), ["alice.example.", "www.alice.example."]);
    assert_eq!(types_at(&directory, "alice.example."), ["TXT", "KEY"]);
    let again = act(&mut directory, "alice.example.", set(&["www A 192.0.2.1"]), &alice());
    assert_eq!(dirty(&again), Vec::<String>::new(), "the same records are no change to sign");
    let gone = act(&mut directory, "alice.example.", delete("www.alice.example.", Rtype::A), &alice());
    assert_eq!(dirty(&gone), ["www.alice.example."]);
    assert_eq!(types_at(&directory, "www.alice.example."), Vec::<String>::new());
}

#[test]
fn a_cut_hides_all_but_ns_ds_and_glue_and_what_it_hides_becomes_dirty() {
    let mut directory = with_alice();
    let records = ["@ MX 1 mail", "ns A 192.0.2.1", "deep.ns AAAA 2001:db8::1", "txt TXT hidden", "@ A 192.0.2.9"];
    let _ = act(&mut directory, "alice.example.", set(&records), &alice());
    let applied = act(&mut directory, "alice.example.", set(&["@ NS ns"]), &alice());
    let expected = ["alice.example.", "ns.alice.example.", "deep.ns.alice.example.", "txt.alice.example."];
    assert_eq!(dirty(&applied), expected, "glue too: it is no longer signed");
    assert_eq!(types_at(&directory, "alice.example."), ["A", "NS"]);
    assert_eq!(types_at(&directory, "ns.alice.example."), ["A"]);
    assert_eq!(types_at(&directory, "txt.alice.example."), Vec::<String>::new());
    let (zone, standing) = (name("example."), |owner: &str| directory.standing_in(&name("example."), &name(owner)));
    assert_eq!(standing("alice.example."), Standing::Cut);
    assert!(directory.is_cut(&zone, &name("alice.example.")) && !directory.is_cut(&zone, &zone));
    assert!(directory.is_occluded(&zone, &name("anything.alice.example.")));
    assert_eq!(standing("held.example."), Standing::Authoritative);
    let names: BTreeSet<String> = directory.names(&zone).map(|name| name.to_string()).collect();
    assert!(!names.contains("txt.alice.example.") && names.contains("deep.ns.alice.example."));

    let back = act(&mut directory, "alice.example.", delete("alice.example.", Rtype::NS), &alice());
    assert_eq!(dirty(&back), expected);
    assert_eq!(types_at(&directory, "alice.example."), ["A", "MX", "KEY"]);
}

#[test]
fn below_a_dname_nothing_can_be_set_and_names_are_occluded() {
    let mut directory = with_alice();
    let _ = act(&mut directory, "alice.example.", set(&["old DNAME new"]), &alice());
    assert!(directory.is_occluded(&name("example."), &name("x.old.alice.example.")));
    assert_eq!(types_at(&directory, "old.alice.example."), ["DNAME"]);
}

#[test]
fn a_zone_within_a_zone_is_a_cut_and_names_belong_to_the_closest_apex() {
    let directory = genesis();
    let inside = name("ns.zone.inner.example.");
    assert_eq!(directory.zone_of(&inside).unwrap().apex, name("zone.inner.example."));
    assert_eq!(directory.zone_of_title(&name("zone.inner.example.")).unwrap().apex, name("example."));
    assert_eq!(directory.title_for(&name("x.ns.zone.inner.example.")).unwrap().name, inside);
    assert!(directory.title_for(&name("zone.inner.example.")).is_none());
    assert!(directory.title_in(&name("example."), &inside).is_none(), "nobody holds inner.example.");
}

#[test]
fn a_title_passes_when_it_is_accepted_and_not_before() {
    let mut directory = with_alice();
    let title = |directory: &Directory| directory.title(&name("alice.example.")).unwrap().clone();
    let offered = act(&mut directory, "alice.example.", Action::Transfer { to: bob().public() }, &alice());
    assert!(offered.dirty.is_empty());
    let _ = act(&mut directory, "alice.example.", set(&["@ A 192.0.2.1"]), &alice());
    assert_eq!(title(&directory).offered_to, Some(bob().public()), "later records keep the offer");
    let _ = act(&mut directory, "alice.example.", Action::Transfer { to: key(9).public() }, &alice());
    assert_eq!(title(&directory).offered_to, Some(key(9).public()), "a new offer takes its place");
    let _ = act(&mut directory, "alice.example.", Action::Transfer { to: bob().public() }, &alice());
    let accepted = act(&mut directory, "alice.example.", Action::Accept, &bob());
    assert_eq!(dirty(&accepted), ["alice.example."], "another key is published");
    assert_eq!(accepted.entry.event, Event::Accepted { from: alice().public(), to: bob().public() });
    let now = title(&directory);
    assert_eq!((now.owner, now.offered_to, now.sequence), (bob().public(), None, 5));
    let late = try_act(&mut directory, "alice.example.", set(&["@ A 192.0.2.2"]), &alice());
    assert_eq!(late.unwrap_err().code(), "wrong-owner");
}

#[test]
fn a_certificate_request_is_handed_on_and_changes_no_record() {
    let mut directory = with_alice();
    let names = ["alice.example.", "www.alice.example."];
    let applied = act(&mut directory, "alice.example.", certificate(&names), &alice());
    assert!(applied.dirty.is_empty());
    let request = applied.certificate.unwrap();
    assert_eq!((request.title, request.owner), (name("alice.example."), alice().public()));
    assert_eq!((request.names, request.public_key), (names.map(name).to_vec(), spki()));
    assert_eq!((request.position, request.time), (1, NOW));
}
