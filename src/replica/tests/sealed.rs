//! Sealed operations among whole replicas, with one that reads everything and keeps to nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::fixture::{Owner, fixture};
use super::world::World;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::operation::{Action, SignedOperation};
use crate::directory::refusal::Refusal;
use crate::order::VerifiedBlock;
use crate::replica::door;
use crate::replica::envelope::{self, Envelope};
use crate::replica::payload::Payload;
use crate::replica::pool::Kind;
use crate::replica::report::DoorRefusal;

const LIAR: u8 = 3;

/// An operation, sealed to the cluster.
pub fn sealed(operation: &[u8], seed: u64) -> Vec<u8> {
    envelope::seal(operation, &fixture().genesis.sealing.key(), &mut ChaCha20Rng::seed_from_u64(seed))
}

/// What became of the operation or envelope with this digest, at `id`.
fn result(world: &World, id: u8, digest: &Digest) -> Option<Result<(), Refusal>> {
    let snapshot = world.replica(id).snapshot();
    snapshot.outcomes.get(digest).map(|outcome| outcome.result.clone().map(|_| ()))
}

#[test]
fn sealed_operations_are_executed_with_one_replica_silent() {
    for seed in 0..3 {
        let mut world = World::new(seed, &[0, 1, 3]);
        let mut digests = Vec::new();
        for (at, label) in (0..).zip(["alice", "bob", "carol"]) {
            let mut owner = Owner::new(label);
            let (register, set) = (owner.act(Action::Register), owner.set("www 300 A 192.0.2.7"));
            let envelope = sealed(&register, seed);
            digests.extend([envelope::digest_of_bytes(&envelope), SignedOperation::digest_of_bytes(&register)]);
            let after = 300 + world.random(1500);
            // The open one comes while the sealed one is being opened, or after it.
            let soon = after + 400 + 10 * at;
            for door in [0, 1] {
                world.submit(after, door, &envelope);
                world.submit(soon, door, &set);
            }
        }
        world.run_until_quiet();
        world.assert_agreement();
        for digest in &digests {
            assert_eq!(result(&world, 0, digest), Some(Ok(())), "seed {seed}");
        }
        // Three sealed ones under two digests each, three open ones.
        assert_eq!(world.outcomes(0), (9, 9), "seed {seed}");
        assert_eq!(world.faults, [], "seed {seed}");
    }
}

#[test]
pub fn nothing_after_a_sealed_operation_is_executed_before_it() {
    for seed in 0..4 {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        world.run_until_quiet();
        let mut alice = Owner::new("alice");
        let (register, set) = (alice.act(Action::Register), alice.set("www 300 A 192.0.2.7"));
        world.submit(1, 0, &sealed(&register, seed));
        world.run_until(|world| world.replica(0).machine().sealed().unopened() > 0);
        // Ordered after the registration, and without it there is no title to set.
        for door in 0..3 {
            world.submit(0, door, &set);
        }
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(result(&world, 0, &SignedOperation::digest_of_bytes(&set)), Some(Ok(())), "seed {seed}");
    }
}

#[test]
pub fn an_envelope_that_waits_when_all_are_cut_is_opened_after_the_restart() {
    for seed in 0..6 {
        let mut world = World::new(seed, &[0, 1, 2]);
        world.run_until_quiet();
        let register = Owner::new("alice").act(Action::Register);
        let envelope = sealed(&register, seed);
        for door in [0, 1] {
            world.submit(1, door, &envelope);
        }
        world.run_until(|world| world.replica(0).machine().sealed().unopened() > 0);
        for id in 0..3 {
            let (after, away) = (world.random(20), 50 + world.random(50));
            world.crash(after, id, Some(away));
        }
        world.run_until(|world| (0..3).any(|id| !world.is_running(id)));
        world.run_until(|world| (0..3).all(|id| world.is_running(id) && world.outcomes(id).0 == 2));
        world.run_until_quiet();
        world.assert_agreement();
        let digest = envelope::digest_of_bytes(&envelope);
        assert_eq!(result(&world, 2, &digest), Some(Ok(())), "seed {seed}");
        assert_eq!(world.faults, [], "seed {seed}");
    }
}

#[test]
fn a_replica_that_restarts_gives_the_shares_that_its_state_owes() {
    let mut owing = 0;
    for seed in 0..6 {
        // With one replica gone, all three that are left know their shares to be needed.
        let mut world = World::new(seed, &[0, 1, 2]);
        world.run_until_quiet();
        world.submit(1, 0, &sealed(&Owner::new("alice").act(Action::Register), seed));
        let owes = |world: &World| world.replica(0).machine().sealed().owed_by(ReplicaId(0)).count();
        world.run_until(|world| owes(world) > 0);
        world.crash(0, 0, Some(1));
        world.run_until(|world| !world.is_running(0));
        world.run_until(|world| world.is_running(0));
        owing += owes(&world);
        world.run_until_quiet();
        world.assert_agreement();
        assert_eq!(world.outcomes(0).0, 2, "seed {seed}");
    }
    assert!(owing > 0, "no run came to the point");
}

#[test]
fn what_is_no_operation_inside_is_refused_alike_everywhere() {
    let mut world = World::new(1, &[0, 1, 2, 3]);
    let key = fixture().genesis.sealing.key();
    let padded = sealed(b"nonsense", 1);
    let unpadded = key.seal(b"register me", &mut ChaCha20Rng::seed_from_u64(2)).to_bytes();
    let elsewhere =
        crate::crypto::bls::sealing::deal(&fixture().genesis.committee, &mut ChaCha20Rng::seed_from_u64(3)).0;
    let act = Owner::new("alice").act(Action::Register);
    let to_others = envelope::seal(&act, &elsewhere.key(), &mut ChaCha20Rng::seed_from_u64(4));
    let expected =
        [(padded, Refusal::Malformed), (unpadded, Refusal::NotAnOperation), (to_others, Refusal::NotAnOperation)];
    for (envelope, _) in &expected {
        world.submit(500, 1, envelope);
    }
    world.run_until_quiet();
    world.assert_agreement();
    for (envelope, refusal) in expected {
        assert_eq!(result(&world, 2, &envelope::digest_of_bytes(&envelope)), Some(Err(refusal)));
    }
    assert_eq!(world.faults, []);
}

#[test]
fn an_operation_that_comes_sealed_and_open_is_executed_once() {
    for seed in 0..3 {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        world.run_until_quiet();
        let register = Owner::new("alice").act(Action::Register);
        let (one, other) = (sealed(&register, 1), sealed(&register, 2));
        for (door, bytes) in [(0, &one), (1, &register), (2, &other)] {
            let after = world.random(30);
            world.submit(after, door, bytes);
        }
        world.run_until_quiet();
        world.assert_agreement();
        let snapshot = world.replica(0).snapshot();
        let digests = [envelope::digest_of_bytes(&one), envelope::digest_of_bytes(&other)];
        let outcomes = digests.map(|digest| snapshot.outcomes.get(&digest).cloned());
        assert!(outcomes[0].is_some() && outcomes[0] == outcomes[1], "seed {seed}");
        assert_eq!(snapshot.progress.position, 1, "seed {seed}");
    }
}

#[test]
pub fn a_mauled_envelope_is_refused_at_the_door() {
    let sound = sealed(&Owner::new("alice").act(Action::Register), 5);
    assert!(door::check_envelope(&sound).is_ok());
    for at in [144, sound.len() - 1] {
        let mut mauled = sound.clone();
        mauled[at] ^= 1;
        assert_eq!(door::check_envelope(&mauled).unwrap_err(), DoorRefusal::BadSeal);
    }
    assert_eq!(door::check_envelope(&sound[1..]).unwrap_err(), DoorRefusal::Malformed);
    let long = vec![0; crate::limits::MAX_ENVELOPE + 1];
    assert_eq!(door::check_envelope(&long).unwrap_err(), DoorRefusal::TooLarge);
}

/// What a corrupt replica does with what it reads: every block at the moment it is sent, and its own share of the key.
#[derive(Default)]
struct Thief {
    /// Envelopes seen, each proposed by the thief too, whole and mauled.
    seen: BTreeSet<Digest>,
    envelopes: Vec<Envelope>,
    /// What it read, and then asked for in its own name.
    stolen: Vec<Vec<u8>>,
}

impl Thief {
    fn watch(&mut self, world: &mut World) {
        for (author, bytes) in std::mem::take(&mut world.spied) {
            let block = VerifiedBlock::verify(&fixture().public, bytes).unwrap();
            let payload = Payload::from_bytes(block.payload()).unwrap();
            if author == ReplicaId(LIAR) {
                continue;
            }
            let sealed = world.replica(author.0).machine().sealed();
            for opening in &payload.openings {
                assert!(opening.ticket < sealed.next(), "{author} gave a share for what is not ordered");
            }
            for envelope in &payload.sealed {
                self.copy(world, envelope);
            }
            for opening in payload.openings {
                self.read(world, (author, opening.share));
            }
        }
    }

    fn copy(&mut self, world: &mut World, bytes: &[u8]) {
        let envelope = envelope::check(bytes).expect("a correct replica proposes nothing else");
        if !self.seen.insert(envelope.digest) {
            return;
        }
        let mut mauled = bytes.to_vec();
        *mauled.last_mut().unwrap() ^= 1;
        propose(world, envelope.digest, bytes, Kind::Envelope { seen_at: None });
        propose(world, envelope::digest_of_bytes(&mauled), &mauled, Kind::Envelope { seen_at: None });
        self.envelopes.push(envelope);
    }

    /// Tries a share on everything that it has not read yet.
    fn read(&mut self, world: &mut World, share: (ReplicaId, crate::crypto::bls::DecryptionShare)) {
        let secret = fixture().sealing(ReplicaId(LIAR));
        let mut read = Vec::new();
        self.envelopes.retain(|Envelope { digest, ciphertext }| {
            let shares = [share.clone(), (ReplicaId(LIAR), secret.share(ciphertext))];
            let message = fixture().genesis.sealing.open(ciphertext, &shares);
            read.extend(message.as_ref().ok().map(|message| (*digest, message.clone())));
            message.is_err()
        });
        for (digest, message) in read {
            let ordered = |id| {
                let machine = world.replica(id).machine();
                machine.sealed().has(&digest) || machine.knows(&digest)
            };
            assert!((0..3).any(ordered), "it was read before it was ordered");
            self.stolen.push(envelope::operation_of(&message).unwrap().to_vec());
            let mine = Owner::rival("alice").act(Action::Register);
            let valid_until = crate::directory::Timestamp(u64::MAX / 2);
            propose(world, SignedOperation::digest_of_bytes(&mine), &mine, Kind::Operation { valid_until });
        }
    }
}

/// The liar's next block carries this, whatever its door says.
fn propose(world: &mut World, digest: Digest, bytes: &[u8], kind: Kind) {
    world.input(ReplicaId(LIAR), |replica| {
        let round = replica.round().saturating_sub(1000);
        replica.pool.add(digest, Arc::from(bytes), kind, round).unwrap();
        Vec::new()
    });
}

/// Whose block the envelope was ordered in first.
fn first_carrier(world: &World, digest: &Digest) -> ReplicaId {
    let blocks = world.replica(0).commits.iter().flat_map(|commit| &commit.blocks);
    let carries = |block: &&Arc<VerifiedBlock>| {
        let sealed = Payload::from_bytes(block.payload()).unwrap().sealed;
        sealed.iter().any(|envelope| envelope::digest_of_bytes(envelope) == *digest)
    };
    blocks.into_iter().find(carries).unwrap().author()
}

/// Promise 4: it sees every message, copies the envelope, has the copy ordered first and reads each share at once.
#[test]
pub fn who_reads_everything_and_orders_first_cannot_take_a_sealed_name() {
    let (mut first, mut read) = (0, 0);
    for seed in 0..8 {
        let mut world = World::new(seed, &[0, 1, 2, 3]);
        world.run_until_quiet();
        world.spied.clear();
        let mut alice = Owner::new("alice");
        let register = alice.act(Action::Register);
        let envelope = sealed(&register, seed);
        let digest = envelope::digest_of_bytes(&envelope);
        world.submit(1, (seed % 3) as u8, &envelope);
        let mut thief = Thief::default();
        let executed = |world: &World| (0..3).all(|id| result(world, id, &digest).is_some());
        for _ in 0..50_000 {
            if executed(&world) {
                break;
            }
            world.step();
            thief.watch(&mut world);
        }
        assert!(executed(&world), "seed {seed}");
        world.run_until(|world| (0..3).all(|id| world.replica(id).pool.is_empty()));
        let owner = world.replica(0).snapshot().directory.title(alice.title()).unwrap().owner;
        assert_eq!(owner, alice.public(), "seed {seed}");
        let theirs = SignedOperation::digest_of_bytes(&Owner::rival("alice").act(Action::Register));
        if !thief.stolen.is_empty() {
            assert_eq!(thief.stolen, std::slice::from_ref(&register), "seed {seed}");
            world.run_until(|world| result(world, 0, &theirs).is_some());
            let taken = Refusal::NameTaken { name: alice.title().clone() };
            assert_eq!(result(&world, 0, &theirs), Some(Err(taken)), "seed {seed}");
            read += 1;
        }
        first += u32::from(first_carrier(&world, &digest) == ReplicaId(LIAR));
        let mauled =
            |(culprit, what): &(ReplicaId, String)| *culprit == ReplicaId(LIAR) && what.contains("fails its check");
        assert!(world.faults.iter().all(mauled), "seed {seed}: {:?}", world.faults);
    }
    assert!(first > 0, "its copy was never the first");
    assert!(read > 0, "it never read anything in time");
}
