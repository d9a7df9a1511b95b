//! Versions by difference against a full rebuild of the zone by the letter of RFC 4034 and 4035.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{SignedRrset, SignedZone};
use crate::signing::rrsig::nsec_rdata;
use crate::signing::version::{Change, VersionPlan, apply_version, plan};

type Content = BTreeMap<Name, Vec<Rrset>>;

fn name(text: &str) -> Name {
    Name::parse(text, Some(&Name::parse("z.", None).unwrap())).unwrap()
}

fn rrset(rtype: Rtype, value: u8) -> Rrset {
    Rrset::new(rtype, 300, vec![vec![value]])
}

fn soa(serial: u32, minimum: u32) -> Rrset {
    let mut rdata = [name("ns").as_wire(), name("hostmaster").as_wire()].concat();
    for number in [serial, 1800, 900, 604_800, minimum] {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    Rrset::new(Rtype::SOA, 3600, vec![rdata])
}

/// Stands for a signature: what it is of, without times.
fn signature(name: &Name, rrset: &Rrset) -> Vec<u8> {
    crate::codec::encode(&(name, rrset))
}

/// The zone that holds `content`, from nothing.
fn rebuild(content: &Content, serial: u32, minimum: u32) -> SignedZone {
    let apex = name("@");
    let mut content = content.clone();
    content.retain(|_, rrsets| !rrsets.is_empty());
    content.entry(apex.clone()).or_default().extend([soa(serial, minimum), rrset(Rtype::DNSKEY, 0)]);
    let has = |name: &Name, rtype| {
        content.get(name).is_some_and(|rrsets: &Vec<Rrset>| rrsets.iter().any(|rrset| rrset.rtype == rtype))
    };
    let is_cut = |name: &Name| *name != apex && has(name, Rtype::NS);
    let is_occluded = |name: &Name| {
        (1..name.label_count())
            .map(|labels| name.suffix(labels).unwrap())
            .any(|above| is_cut(&above) || has(&above, Rtype::DNAME))
    };
    let chain: Vec<&Name> = content.keys().filter(|name| !is_occluded(name)).collect();
    let mut zone = SignedZone::new(apex.clone());
    for (name, rrsets) in &content {
        for rrset in rrsets {
            let signed = !is_occluded(name) && (!is_cut(name) || rrset.rtype == Rtype::DS);
            let rrsig = signed.then(|| signature(name, rrset));
            zone.put(name, SignedRrset { rrset: rrset.clone(), rrsig });
        }
    }
    for (at, name) in chain.iter().enumerate() {
        let mut types: Vec<Rtype> = content[*name].iter().map(|rrset| rrset.rtype).collect();
        if is_cut(name) {
            types.retain(|rtype| [Rtype::NS, Rtype::DS].contains(rtype));
        }
        types.extend([Rtype::RRSIG, Rtype::NSEC]);
        types.sort();
        let next = chain[(at + 1) % chain.len()];
        let rrset = Rrset::new(Rtype::NSEC, minimum.min(3600), vec![nsec_rdata(next, &types)]);
        let rrsig = Some(signature(name, &rrset));
        zone.put(name, SignedRrset { rrset, rrsig });
    }
    zone
}

/// The next version by difference, and the plan that led to it.
fn advance(
    published: &SignedZone,
    content: &Content,
    dirty: &BTreeSet<Name>,
    serial: u32,
    minimum: u32,
) -> (VersionPlan, SignedZone) {
    let plan = plan(
        published,
        &Change {
            dirty,
            desired: &|name| content.get(name).cloned().unwrap_or_default(),
            soa: &soa(0, minimum),
            dnskey: &rrset(Rtype::DNSKEY, 0),
            serial,
            zonemd: false,
            renew: &BTreeSet::new(),
        },
    );
    let signatures = plan.puts.iter().filter(|put| put.needs_signature);
    let signatures = signatures.map(|put| ((put.name.clone(), put.rrset.rtype), signature(&put.name, &put.rrset)));
    let next = apply_version(published, &plan, &signatures.collect()).unwrap();
    (plan, next)
}

fn assert_minimal(published: &SignedZone, plan: &VersionPlan) {
    for put in &plan.puts {
        let now = published.rrset(&put.name, put.rrset.rtype);
        let is_new = now.is_none_or(|now| now != put.rrset || now.rrsig().is_some() != put.needs_signature);
        assert!(is_new, "{} {} is written for nothing", put.name, put.rrset.rtype);
    }
    for (name, rtype) in &plan.deletes {
        assert!(published.rrset(name, *rtype).is_some(), "{name} {rtype} is deleted without being there");
    }
}

const NAMES: [&str; 20] = [
    "@", "a", "b", "c", "*", "b.a", "c.a", "*.a", "a.b.a", "b.b.a", "c.c.c", "*.b.a", "a.b", "b.b", "a.a.b", "x.y.z.c",
    "a.*", "c.b.b", "a.c", "\\000.a",
];
const TYPES: [Rtype; 6] = [Rtype::A, Rtype::NS, Rtype::TXT, Rtype::DNAME, Rtype::DS, Rtype(1234)];

/// What stands at a name, out of seven bits: each type or not, and one of two values.
fn drawn(types: u8) -> Vec<Rrset> {
    let present = TYPES.iter().enumerate().filter(|(at, _)| types >> at & 1 == 1);
    present.map(|(_, &rtype)| rrset(rtype, types >> 6 & 1)).collect()
}

fn changes() -> impl Strategy<Value = Vec<Vec<(usize, u8)>>> {
    // Types are rarer than names, so that cuts and empty names come and go.
    let types = prop_oneof![Just(0u8), Just(1), Just(2), Just(0x42), Just(8), any::<u8>()];
    prop::collection::vec(prop::collection::vec((0..NAMES.len(), types), 0..8), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn versions_by_difference_are_the_zone_rebuilt_and_sign_nothing_twice(versions in changes()) {
        let mut content = Content::new();
        let mut published = SignedZone::new(name("@"));
        for (serial, changes) in (1..).zip(versions) {
            let mut dirty = BTreeSet::new();
            for (at, types) in changes {
                content.insert(name(NAMES[at]), drawn(types));
                dirty.insert(name(NAMES[at]));
            }
            let (plan, next) = advance(&published, &content, &dirty, serial, 600);
            assert_minimal(&published, &plan);
            prop_assert_eq!(&next, &rebuild(&content, serial, 600));
            published = next;
        }
    }

    #[test]
    fn genesis_is_a_version_like_any_other(types in prop::collection::vec(any::<u8>(), NAMES.len())) {
        let content: Content = NAMES.iter().zip(types).map(|(text, types)| (name(text), drawn(types))).collect();
        let dirty = content.keys().cloned().collect();
        let (_, zone) = advance(&SignedZone::new(name("@")), &content, &dirty, 1, 7200);
        prop_assert_eq!(zone, rebuild(&content, 1, 7200));
    }
}

fn small_zone() -> (Content, SignedZone) {
    let mut content = Content::new();
    content.insert(name("@"), vec![rrset(Rtype::NS, 1)]);
    content.insert(name("a"), vec![rrset(Rtype::A, 1)]);
    content.insert(name("d"), vec![rrset(Rtype::NS, 1), rrset(Rtype::DS, 1)]);
    content.insert(name("ns.d"), vec![rrset(Rtype::A, 1)]);
    content.insert(name("e"), vec![rrset(Rtype::TXT, 1), rrset(Rtype::A, 1)]);
    let zone = rebuild(&content, 1, 600);
    (content, zone)
}

fn written(plan: &VersionPlan) -> Vec<(String, Rtype)> {
    plan.puts.iter().filter(|put| put.needs_signature).map(|put| (put.name.to_string(), put.rrset.rtype)).collect()
}

#[test]
fn a_change_of_one_record_signs_that_rrset_and_the_soa_only() {
    let (mut content, zone) = small_zone();
    content.insert(name("a"), vec![rrset(Rtype::A, 2)]);
    let (plan, _) = advance(&zone, &content, &[name("a")].into(), 2, 600);
    assert_eq!(written(&plan), [("z.".into(), Rtype::SOA), ("a.z.".into(), Rtype::A)]);
    assert_eq!(plan.deletes, []);
}

#[test]
fn a_new_name_signs_its_rrsets_its_nsec_and_the_one_before() {
    let (mut content, zone) = small_zone();
    content.insert(name("b"), vec![rrset(Rtype::A, 2)]);
    let (plan, _) = advance(&zone, &content, &[name("b")].into(), 2, 600);
    let expected = [("z.", Rtype::SOA), ("a.z.", Rtype::NSEC), ("b.z.", Rtype::A), ("b.z.", Rtype::NSEC)];
    assert_eq!(written(&plan), expected.map(|(name, rtype)| (name.to_string(), rtype)));
}

#[test]
fn glue_and_delegations_are_not_signed_but_ds_and_nsec_are() {
    let (_, zone) = small_zone();
    let is_signed = |at: &str, rtype| zone.rrset(&name(at), rtype).unwrap().rrsig().is_some();
    assert!(!is_signed("d", Rtype::NS) && is_signed("d", Rtype::DS) && is_signed("d", Rtype::NSEC));
    assert!(!is_signed("ns.d", Rtype::A) && zone.rrset(&name("ns.d"), Rtype::NSEC).is_none());
    assert!(is_signed("@", Rtype::NS));
}

#[test]
fn a_change_of_glue_signs_the_soa_only() {
    let (mut content, zone) = small_zone();
    content.insert(name("ns.d"), vec![rrset(Rtype::A, 7)]);
    let (plan, next) = advance(&zone, &content, &[name("ns.d")].into(), 2, 600);
    assert_eq!(written(&plan), [("z.".into(), Rtype::SOA)]);
    assert_eq!(next.rrset(&name("ns.d"), Rtype::A).unwrap(), rrset(Rtype::A, 7));
}

#[test]
fn a_new_negative_ttl_changes_the_whole_chain() {
    let (content, zone) = small_zone();
    let (plan, next) = advance(&zone, &content, &BTreeSet::new(), 2, 60);
    assert_eq!(next, rebuild(&content, 2, 60));
    assert_eq!(written(&plan).iter().filter(|(_, rtype)| *rtype == Rtype::NSEC).count(), 4);
}

#[test]
fn many_neighbours_leave_the_chain_at_once() {
    let mut content = Content::new();
    for number in 0..2000u32 {
        content.insert(name(&format!("n{number}")), vec![rrset(Rtype::A, 1)]);
    }
    let zone = rebuild(&content, 1, 600);
    let dirty: BTreeSet<Name> = content.keys().skip(500).take(1000).cloned().collect();
    content.retain(|name, _| !dirty.contains(name));
    let (plan, next) = advance(&zone, &content, &dirty, 2, 600);
    assert_eq!(next, rebuild(&content, 2, 600));
    assert_eq!((plan.puts.len(), plan.deletes.len()), (2, 2000));
}

#[test]
fn names_outside_the_zone_are_passed_over() {
    let (content, zone) = small_zone();
    let dirty = [Name::parse("other.", None).unwrap(), Name::root()].into();
    let (plan, _) = advance(&zone, &content, &dirty, 2, 600);
    assert_eq!(written(&plan), [("z.".into(), Rtype::SOA)]);
}

#[test]
fn renewals_sign_what_is_there_and_signed() {
    let (content, zone) = small_zone();
    let renew = [("a", Rtype::A), ("d", Rtype::NS), ("d", Rtype::NSEC), ("gone", Rtype::A), ("e", Rtype::TXT)];
    let plan = plan(
        &zone,
        &Change {
            dirty: &[name("e")].into(),
            desired: &|at| {
                let rrsets = content.get(at).cloned().unwrap_or_default();
                rrsets.into_iter().filter(|rrset| rrset.rtype != Rtype::TXT).collect()
            },
            soa: &soa(0, 600),
            dnskey: &rrset(Rtype::DNSKEY, 0),
            serial: 2,
            zonemd: false,
            renew: &renew.map(|(at, rtype)| (name(at), rtype)).into(),
        },
    );
    let expected = [("z.", Rtype::SOA), ("a.z.", Rtype::A), ("d.z.", Rtype::NSEC), ("e.z.", Rtype::NSEC)];
    assert_eq!(written(&plan), expected.map(|(name, rtype)| (name.to_string(), rtype)));
    assert_eq!(apply_version(&zone, &plan, &BTreeMap::new()).unwrap_err().1, Rtype::SOA);
}

#[test]
fn a_zone_with_a_digest_says_so_in_its_chain_and_one_without_does_not() {
    let (content, mut zone) = small_zone();
    let mut step = |zonemd: bool, serial: u32| {
        let none = BTreeSet::new();
        let soa = soa(0, 600);
        let dnskey = rrset(Rtype::DNSKEY, 0);
        let desired = |at: &Name| content.get(at).cloned().unwrap_or_default();
        let renew = [(name("@"), Rtype::ZONEMD)].into();
        let change =
            Change { dirty: &none, desired: &desired, soa: &soa, dnskey: &dnskey, serial, zonemd, renew: &renew };
        let plan = plan(&zone, &change);
        let signatures = plan.puts.iter().filter(|put| put.needs_signature);
        let signatures = signatures.map(|put| ((put.name.clone(), put.rrset.rtype), signature(&put.name, &put.rrset)));
        zone = apply_version(&zone, &plan, &signatures.collect()).unwrap();
        if zonemd {
            zone.put(&name("@"), SignedRrset { rrset: rrset(Rtype::ZONEMD, serial as u8), rrsig: Some(vec![1]) });
        }
        let types = zone.rrset(&name("@"), Rtype::NSEC).unwrap().rdatas().next().unwrap().to_vec();
        let with =
            nsec_rdata(&name("a"), &[Rtype::NS, Rtype::SOA, Rtype::RRSIG, Rtype::NSEC, Rtype::DNSKEY, Rtype::ZONEMD]);
        let without = nsec_rdata(&name("a"), &[Rtype::NS, Rtype::SOA, Rtype::RRSIG, Rtype::NSEC, Rtype::DNSKEY]);
        assert_eq!(types, if zonemd { with } else { without });
        (written(&plan), plan.deletes.clone())
    };
    let (apex, digest) = (String::from("z."), (name("@"), Rtype::ZONEMD));
    assert_eq!(step(true, 2), (vec![(apex.clone(), Rtype::SOA), (apex.clone(), Rtype::NSEC)], vec![]));
    assert_eq!(step(true, 3), (vec![(apex.clone(), Rtype::SOA)], vec![]), "what is put is put by whoever makes it");
    assert_eq!(step(false, 4), (vec![(apex.clone(), Rtype::SOA), (apex, Rtype::NSEC)], vec![digest]));
}
