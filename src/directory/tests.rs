//! The rules, as sentences: each refusal has a test that produces it.

mod primary;
mod properties;
mod publishing;
mod refusals;
mod stored;

use super::Timestamp;
use super::apply::{Applied, Change};
use super::decide::{Context, admit, decide};
use super::master::{parse_records, parse_zone};
use super::name::Name;
use super::operation::{Action, Operation, RecordChange, SignedOperation, VerifiedOperation};
use super::refusal::Refusal;
use super::rrset::{Rrset, Rtype};
use super::state::Directory;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::SecretKey;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const NETWORK: Digest = Digest([7; 32]);

const OUTER: &str = "$TTL 300\n@ SOA ns h 1 2 3 4 5\n NS ns.held\nns.held A 192.0.2.1\nsub.held NS ns.sub.held\n\
                     ns.sub.held A 192.0.2.2\n* TXT wild\nxn--bcher-kva TXT idn\n";
const INNER: &str = "$TTL 300\n@ SOA ns h 1 2 3 4 5\n NS ns\nns A 192.0.2.3\n";

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn registry() -> SecretKey {
    key(1)
}

fn alice() -> SecretKey {
    key(2)
}

fn bob() -> SecretKey {
    key(3)
}

/// The zones `example.` and `zone.inner.example.`.
fn genesis() -> Directory {
    let file = |text: &str, origin: &str| {
        parse_zone(text, origin, Some(name(origin)), &mut |_: &str| Err(String::new())).unwrap()
    };
    let files = vec![file(OUTER, "example."), file(INNER, "zone.inner.example.")];
    Directory::genesis(files, registry().public(), NOW).unwrap().0
}

fn context(position: u64) -> Context {
    Context { network: NETWORK, now: NOW, position }
}

/// The operation that `title`'s owner would make next.
fn next(directory: &Directory, title: &str, action: Action) -> Operation {
    let title = name(title);
    let zone = directory.zone_of_title(&title).map_or_else(Name::root, |zone| zone.apex.clone());
    let (sequence, previous) = match directory.title(&title) {
        Some(held) if action != Action::Register => (held.sequence + 1, held.head),
        _ => (0, Digest::ZERO),
    };
    let valid_until = Timestamp(NOW.0 + 60_000);
    Operation { network: NETWORK, zone, title, sequence, previous, valid_until, action }
}

fn verified(operation: Operation, signer: &SecretKey) -> VerifiedOperation {
    operation.sign(signer).verify().unwrap()
}

fn judge(directory: &Directory, operation: Operation, signer: &SecretKey) -> Result<Change, Refusal> {
    decide(directory, &verified(operation, signer), context(1))
}

fn try_act(directory: &mut Directory, title: &str, action: Action, signer: &SecretKey) -> Result<Applied, Refusal> {
    let change = judge(directory, next(directory, title, action), signer)?;
    Ok(directory.apply(change))
}

fn act(directory: &mut Directory, title: &str, action: Action, signer: &SecretKey) -> Applied {
    try_act(directory, title, action, signer).unwrap()
}

/// `genesis`, and `alice.example.` registered by Alice.
fn with_alice() -> Directory {
    let mut directory = genesis();
    let _ = act(&mut directory, "alice.example.", Action::Register, &alice());
    directory
}

/// Sets records in zone-file form, names relative to `alice.example.`.
fn set(records: &[&str]) -> Action {
    let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
    let rrsets = parse_records(&lines, &name("alice.example."), 300).unwrap();
    Action::Set { changes: rrsets.into_iter().map(|(name, rrset)| RecordChange::Put { name, rrset }).collect() }
}

fn put(owner: &str, rtype: Rtype, ttl: u32, rdatas: &[&[u8]]) -> Action {
    let rrset = Rrset::new(rtype, ttl, rdatas.iter().map(|rdata| rdata.to_vec()).collect());
    Action::Set { changes: vec![RecordChange::Put { name: name(owner), rrset }] }
}

fn delete(owner: &str, rtype: Rtype) -> Action {
    Action::Set { changes: vec![RecordChange::Delete { name: name(owner), rtype }] }
}

/// A SubjectPublicKeyInfo (RFC 8410 §10.1).
fn spki() -> Vec<u8> {
    let mut der = data_encoding::HEXLOWER.decode(b"302a300506032b6570032100").unwrap();
    der.extend(alice().public().0);
    der
}

fn certificate(names: &[&str]) -> Action {
    Action::IssueCertificate { public_key: spki(), names: names.iter().map(|text| name(text)).collect() }
}

fn types_at(directory: &Directory, owner: &str) -> Vec<String> {
    let rrsets = directory.rrsets_at(&name("example."), &name(owner));
    rrsets.iter().map(|rrset| rrset.rtype.to_string()).collect()
}
