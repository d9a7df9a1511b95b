//! Owners: each acts on one title, one operation after the other, and asks again until a kernel has its outcome.

use std::collections::VecDeque;
use std::sync::Arc;

use super::delays::{MS, Micros};
use super::keys::{Network, START_MS};
use super::plan::Plan;
use super::stream::Stream;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::directory::master::parse_records;
use crate::directory::name::Name;
use crate::directory::operation::{Action, Operation, RecordChange};
use crate::replica::envelope;

/// How often a client looks for its outcome.
pub const POLL: Micros = 100 * MS;
/// After how long without an outcome it hands the operation to others.
const PATIENCE: Micros = 1500 * MS;
const VALID_MS: u64 = 3_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    Register,
    /// One address of `www`, by its last number.
    Set(u8),
    Certify,
}

/// An operation as it was submitted: what the model of the checkers needs to know of it.
#[derive(Clone, Debug)]
pub struct Submitted {
    pub digest: Digest,
    /// The envelope that it was sealed in.
    pub envelope: Option<Digest>,
    pub title: Name,
    pub owner: [u8; 32],
    pub act: Act,
    pub sequence: u64,
}

struct Waiting {
    digest: Digest,
    bytes: Arc<[u8]>,
    since: Micros,
    to: ReplicaSet,
}

pub struct Client {
    key: SecretKey,
    title: Name,
    sequence: u64,
    previous: Digest,
    acts: VecDeque<Act>,
    waiting: Option<Waiting>,
    next_at: Micros,
    rng: Stream,
    /// What it seals its registration with, if it does. A stream of its own.
    seals: Option<Stream>,
}

impl Client {
    /// Two clients in five want the same title.
    pub fn new(plan: &Plan, network: &Network, index: usize) -> Self {
        let mut rng = Stream::new(plan.seed, "client", index as u64);
        let label = if rng.chance(2, 5) { "shared".to_string() } else { format!("owner-{index}") };
        let apex = &network.genesis.zones[0].apex;
        let mut acts = VecDeque::from([Act::Register]);
        for _ in 1..plan.acts {
            let certify = rng.chance(plan.certificates, 100);
            acts.push_back(if certify { Act::Certify } else { Act::Set(rng.between(1, 250) as u8) });
        }
        let mut seals = Stream::new(plan.seed, "seals", index as u64);
        let seals = (plan.sealing && seals.chance(1, 2)).then_some(seals);
        let seed = hash("torrens simulated owner", &[&plan.seed.to_be_bytes(), &index.to_be_bytes()]);
        Self {
            key: SecretKey::from_seed(&seed.0),
            title: Name::parse(&label, Some(apex)).expect("a sound label"),
            sequence: 0,
            previous: Digest::ZERO,
            acts,
            waiting: None,
            next_at: rng.below(plan.heal_at),
            rng,
            seals,
        }
    }

    pub fn is_done(&self) -> bool {
        self.acts.is_empty() && self.waiting.is_none()
    }

    /// Once the network has healed there is no reason to be slow.
    pub fn hurry(&mut self, now: Micros) {
        self.next_at = self.next_at.min(now);
        if let Some(waiting) = &mut self.waiting {
            waiting.since = 0;
        }
    }

    pub fn waits_for(&self) -> Option<Digest> {
        self.waiting.as_ref().map(|waiting| waiting.digest)
    }

    /// A kernel has the outcome.
    pub fn answered(&mut self, now: Micros, accepted: bool) {
        self.waiting = None;
        self.next_at = now + self.rng.below(800) * MS;
        if !accepted {
            // Somebody else has the title, and the rest would be refused likewise.
            self.acts.clear();
        }
    }

    /// What to hand in now, and to whom; with what it is if it is handed in for the first time.
    pub fn act(&mut self, now: Micros, network: &Network) -> Option<(Arc<[u8]>, ReplicaSet, Option<Submitted>)> {
        let n = network.committee().len() as u64;
        if let Some(waiting) = &mut self.waiting {
            if now < waiting.since + PATIENCE {
                return None;
            }
            waiting.since = now;
            // To everybody: whoever had it may have forgotten.
            waiting.to = network.committee().ids().collect();
            return Some((Arc::clone(&waiting.bytes), waiting.to, None));
        }
        if now < self.next_at {
            return None;
        }
        let act = self.acts.pop_front()?;
        let (bytes, submitted) = self.sign(act, network);
        let doors = self.rng.between(1, network.committee().kernel_threshold() as u64);
        let first = self.rng.below(n);
        let to: ReplicaSet = (0..doors).map(|door| ReplicaId(((first + door) % n) as u8)).collect();
        self.waiting = Some(Waiting { digest: submitted.digest, bytes: Arc::clone(&bytes), since: now, to });
        Some((bytes, to, Some(submitted)))
    }

    fn sign(&mut self, act: Act, network: &Network) -> (Arc<[u8]>, Submitted) {
        let operation = Operation {
            network: network.public.network,
            zone: network.genesis.zones[0].apex.clone(),
            title: self.title.clone(),
            sequence: self.sequence,
            previous: self.previous,
            valid_until: Timestamp(START_MS + VALID_MS),
            action: self.action(act),
        };
        let signed = operation.sign(&self.key);
        let bytes: Arc<[u8]> = signed.to_bytes().into();
        let digest = signed.verify().expect("signed just now").digest();
        let sealing = self.seals.as_mut().filter(|_| act == Act::Register);
        let key = network.genesis.sealing.key();
        let sealed = sealing.map(|seals| envelope::seal(&bytes, &key, &mut seals.generator()));
        let submitted = Submitted {
            digest,
            envelope: sealed.as_deref().map(envelope::digest_of_bytes),
            title: self.title.clone(),
            owner: self.key.public().0,
            act,
            sequence: self.sequence,
        };
        self.sequence += 1;
        self.previous = digest;
        (sealed.map_or(bytes, Arc::from), submitted)
    }

    fn action(&self, act: Act) -> Action {
        match act {
            Act::Register => Action::Register,
            Act::Set(last) => {
                let record = format!("www 300 A 192.0.2.{last}");
                let rrsets = parse_records(&[record], &self.title, 300).expect("a sound record");
                let changes = rrsets.into_iter().map(|(name, rrset)| RecordChange::Put { name, rrset }).collect();
                Action::Set { changes }
            }
            Act::Certify => {
                // The base point of P-256.
                let spki = "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f27703\
                            7d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
                let public_key = data_encoding::HEXLOWER.decode(spki.as_bytes()).expect("a key in hexadecimal");
                Action::IssueCertificate { public_key, names: vec![self.title.clone()] }
            }
        }
    }
}
