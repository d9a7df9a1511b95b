use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::backlog::{Backlog, Held, HeldBlock};
use super::stored::TICKET_ROW;
use super::*;
use crate::codec;
use crate::committee::Committee;
use crate::crypto::bls::SealingSecret;
use crate::crypto::bls::sealing;
use crate::crypto::coin::CoinValue;
use crate::directory::Timestamp;
use crate::limits::MAX_BACKLOG_BYTES;
use crate::replica::envelope;
use crate::rows::{Row, Table, TableRows};

struct Scene {
    key: SealingPublic,
    secrets: Vec<SealingSecret>,
    sealed: Sealed,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

fn id(id: u8) -> ReplicaId {
    ReplicaId(id)
}

impl Scene {
    fn new() -> Self {
        let committee = Committee::new(4).unwrap();
        let (key, secrets) = sealing::deal(&committee, &mut ChaCha20Rng::seed_from_u64(1));
        Self { sealed: Sealed::new(key.clone()), key, secrets, rows: BTreeMap::new() }
    }

    fn envelope(&self, seed: u64) -> Vec<u8> {
        envelope::seal(b"operation", &self.key.key(), &mut ChaCha20Rng::seed_from_u64(seed))
    }

    /// One envelope in a block of `author`.
    fn order(&mut self, author: u8, envelope: &[u8]) -> (Option<Ticket>, Vec<Misdeed>) {
        let (tickets, misdeeds) = self.sealed.on_envelopes(vec![(id(author), envelope.to_vec())], |_| false);
        (tickets[0], misdeeds)
    }

    fn opening(&self, by: u8, ticket: u64, envelope: &[u8]) -> Opening {
        let ciphertext = envelope::check(envelope).unwrap().ciphertext;
        Opening { ticket: Ticket(ticket), share: self.secrets[usize::from(by)].share(&ciphertext) }
    }

    /// Writes the rows and starts again from them.
    fn restart(&mut self) {
        write(&mut self.rows, self.sealed.take_rows());
        let next = self.rows.get(&(Table::Meta, TICKET_ROW.to_vec())).map(Vec::as_slice);
        self.sealed = Sealed::load(self.key.clone(), next, &of_table(&self.rows, Table::Sealed)).unwrap();
    }
}

fn write(stored: &mut BTreeMap<(Table, Vec<u8>), Vec<u8>>, rows: Vec<Row>) {
    for Row { table, key, value } in rows {
        match value {
            Some(value) => _ = stored.insert((table, key), value),
            None => _ = stored.remove(&(table, key)),
        }
    }
}

fn of_table(stored: &BTreeMap<(Table, Vec<u8>), Vec<u8>>, table: Table) -> TableRows {
    stored.iter().filter(|((of, _), _)| *of == table).map(|((_, key), value)| (key.clone(), value.clone())).collect()
}

fn culprits(misdeeds: &[Misdeed]) -> Vec<u8> {
    misdeeds.iter().map(|(culprit, _)| culprit.0).collect()
}

#[test]
fn a_kernel_of_shares_opens_whether_or_not_the_replica_restarts_in_between() {
    for restarts in [false, true] {
        let mut scene = Scene::new();
        let envelope = scene.envelope(7);
        assert_eq!(scene.order(0, &envelope), (Some(Ticket(0)), vec![]));
        let mut owing = 4;
        for by in [3, 1] {
            assert!(!scene.sealed.is_open(Ticket(0)));
            assert_eq!((0..4).filter(|&of| scene.sealed.owed_by(id(of)).count() == 1).count(), owing);
            if restarts {
                scene.restart();
            }
            let opening = scene.opening(by, 0, &envelope);
            assert_eq!(scene.sealed.on_openings(id(by), vec![opening]), []);
            owing -= 1;
        }
        if restarts {
            scene.restart();
        }
        assert!(scene.sealed.is_open(Ticket(0)) && scene.sealed.unopened() == 0);
        assert_eq!((0..4).filter(|&of| scene.sealed.owed_by(id(of)).count() == 1).count(), 0);
        // The third share comes too late to be of use, and is no fault.
        let late = scene.opening(0, 0, &envelope);
        assert_eq!(scene.sealed.on_openings(id(0), vec![late.clone()]), []);
        let (digest, message) = scene.sealed.take(Ticket(0));
        assert_eq!(digest, envelope::digest_of_bytes(&envelope));
        assert_eq!(envelope::operation_of(&message), Some(&b"operation"[..]));
        assert_eq!(scene.sealed.on_openings(id(0), vec![late]), []);
        scene.restart();
        assert_eq!(scene.sealed.next(), Ticket(1));
        assert!(of_table(&scene.rows, Table::Sealed).is_empty());
    }
}

#[test]
fn a_share_before_its_ticket_proves_its_author_corrupt() {
    let mut scene = Scene::new();
    let envelope = scene.envelope(7);
    let early = scene.opening(2, 0, &envelope);
    assert_eq!(culprits(&scene.sealed.on_openings(id(2), vec![early.clone(), early])), [2]);
    scene.order(0, &envelope);
    // It has not counted.
    let opening = scene.opening(1, 0, &envelope);
    assert_eq!(scene.sealed.on_openings(id(1), vec![opening]), []);
    assert!(!scene.sealed.is_open(Ticket(0)));
}

#[test]
fn a_bad_share_names_its_author_once_and_stops_nothing() {
    for restarts in [false, true] {
        let mut scene = Scene::new();
        let (envelope, other) = (scene.envelope(7), scene.envelope(8));
        scene.order(0, &envelope);
        let bad = scene.opening(2, 0, &other);
        let good = [0, 1].map(|by| scene.opening(by, 0, &envelope));
        assert_eq!(scene.sealed.on_openings(id(2), vec![bad.clone()]), []);
        assert_eq!(culprits(&scene.sealed.on_openings(id(0), vec![good[0].clone()])), [2]);
        if restarts {
            scene.restart();
        }
        assert_eq!(scene.sealed.on_openings(id(2), vec![bad]), [], "said before");
        assert!(!scene.sealed.is_open(Ticket(0)));
        assert_eq!(scene.sealed.on_openings(id(1), vec![good[1].clone()]), []);
        assert!(scene.sealed.is_open(Ticket(0)));
    }
}

#[test]
fn one_replica_counts_once() {
    let mut scene = Scene::new();
    let envelope = scene.envelope(7);
    scene.order(0, &envelope);
    let opening = scene.opening(2, 0, &envelope);
    assert_eq!(scene.sealed.on_openings(id(2), vec![opening.clone(), opening.clone(), opening]), []);
    assert!(!scene.sealed.is_open(Ticket(0)));
}

#[test]
fn an_envelope_that_fails_its_check_gets_no_ticket_and_names_who_carried_it() {
    let mut scene = Scene::new();
    let sound = scene.envelope(7);
    let mut mauled = sound.clone();
    *mauled.last_mut().unwrap() ^= 1;
    let block = vec![(id(1), mauled.clone()), (id(2), sound.clone()), (id(3), mauled), (id(3), b"junk".to_vec())];
    let (tickets, misdeeds) = scene.sealed.on_envelopes(block, |_| false);
    assert_eq!(tickets, [None, Some(Ticket(0)), None, None]);
    assert_eq!(culprits(&misdeeds), [1, 3, 3]);
    assert_eq!(scene.sealed.owed_by(id(0)).map(|(ticket, _)| ticket).collect::<Vec<_>>(), [Ticket(0)]);
}

#[test]
fn an_envelope_gets_one_ticket_whoever_carries_it_and_whoever_checked_it() {
    let mut scene = Scene::new();
    let (envelope, executed) = (scene.envelope(7), scene.envelope(8));
    scene.sealed.checked_at_the_door(&envelope::check(&envelope).unwrap());
    let block = vec![(id(3), envelope.clone()), (id(0), envelope.clone()), (id(0), executed.clone())];
    let known = envelope::digest_of_bytes(&executed);
    let (tickets, misdeeds) = scene.sealed.on_envelopes(block, |digest| *digest == known);
    assert_eq!((tickets, misdeeds), (vec![Some(Ticket(0)), None, None], vec![]));
    assert_eq!(scene.order(1, &envelope), (None, vec![]));
    scene.restart();
    assert_eq!(scene.order(1, &envelope), (None, vec![]));
}

#[test]
fn one_author_has_so_many_tickets_and_takes_none_from_the_others() {
    let mut scene = Scene::new();
    let many = (0..=MAX_SEALED_WAITING as u64).map(|seed| (id(3), scene.envelope(seed))).collect();
    let (tickets, misdeeds) = scene.sealed.on_envelopes(many, |_| false);
    assert_eq!(tickets.iter().flatten().count(), MAX_SEALED_WAITING);
    assert_eq!((tickets[MAX_SEALED_WAITING], misdeeds), (None, vec![]));
    let last = scene.envelope(MAX_SEALED_WAITING as u64);
    assert!(scene.order(0, &last).0.is_some(), "carried by another");
}

fn commit(height: u64, blocks: Vec<HeldBlock>) -> Held {
    let coin = CoinValue([7; 32]);
    Held { height, round: 2 * height, agreed_time: Timestamp(1000 + height), coin, alive: ReplicaSet::EMPTY, blocks }
}

fn block(author: u8, tickets: &[u64], operations: &[usize]) -> HeldBlock {
    let operations = operations.iter().map(|&length| vec![5; length]).collect();
    let sealed = tickets.iter().copied().map(Ticket).collect();
    let (votes, parts) = Default::default();
    HeldBlock { author: id(author), round: 3, nonces: None, shares: Vec::new(), sealed, operations, votes, parts }
}

#[test]
fn what_waits_is_bounded_for_each_author_and_comes_out_in_order() {
    let mut backlog = Backlog::default();
    let mut rows = Vec::new();
    const LARGE: usize = MAX_BACKLOG_BYTES / 2;
    backlog.push(commit(1, vec![block(0, &[0], &[10]), block(3, &[1], &[LARGE])]), &mut rows);
    backlog.push(commit(2, vec![block(3, &[2], &[LARGE]), block(0, &[], &[LARGE])]), &mut rows);
    for height in 3..10 {
        backlog.push(commit(height, vec![block(3, &[], &[LARGE])]), &mut rows);
    }
    assert!(backlog.bytes() <= 2 * MAX_BACKLOG_BYTES, "{}", backlog.bytes());
    let mut stored = BTreeMap::new();
    write(&mut stored, rows);
    let mut loaded = Backlog::load(&of_table(&stored, Table::Backlog)).unwrap();
    assert_eq!((loaded.len(), loaded.bytes()), (backlog.len(), backlog.bytes()));
    assert!(backlog.pop_if(|_| false).is_none());
    let mut taken = Vec::new();
    while let Some(held) = backlog.pop_if(|_| true) {
        assert_eq!(codec::encode(&loaded.pop_if(|_| true).unwrap()), codec::encode(&held));
        write(&mut stored, vec![held.deletion()]);
        let operations = held.blocks.iter().map(|block| (block.author.0, block.operations.len()));
        taken.push((held.height, operations.collect::<Vec<_>>(), held.tickets().map(|ticket| ticket.0).collect()));
    }
    let expected = [
        (1, vec![(0, 1), (3, 1)], vec![0, 1]),
        // The ticket stays, the operation beside it has no room.
        (2, vec![(3, 0), (0, 1)], vec![2]),
        // Commits without contents are one: the last.
        (9, vec![], vec![]),
    ];
    assert_eq!(taken, expected);
    assert!(stored.is_empty() && backlog.bytes() == 0);
}

#[test]
fn the_rows_of_what_waits_are_frozen() {
    let mut scene = Scene::new();
    let envelope = scene.envelope(7);
    scene.order(2, &envelope);
    let openings = [1, 3].map(|by| scene.opening(by, 0, &envelope));
    scene.sealed.on_openings(id(1), vec![openings[0].clone()]);
    let mut lines: Vec<String> = Vec::new();
    let mut note = |rows: Vec<Row>| {
        lines.extend(rows.iter().map(|row| {
            let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            format!("{:?} {} {}", row.table, hex(&row.key), row.value.as_deref().map_or("deleted".into(), hex))
        }));
    };
    note(scene.sealed.take_rows());
    scene.sealed.on_openings(id(3), vec![openings[1].clone()]);
    note(scene.sealed.take_rows());
    let mut rows = Vec::new();
    Backlog::default().push(commit(5, vec![block(1, &[0], &[3])]), &mut rows);
    note(rows);
    assert_eq!(lines.join("\n"), include_str!("../../../tests/golden/sealed-rows.txt").trim_end());
}
