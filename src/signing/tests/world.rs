//! A log without a network: blocks of all replicas, ordered one commit at a time, executed by several schedulers that must
//! agree to the byte. Duties are done by real signers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRngCore, RngCore, SeedableRng};

use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::digest::hash;
use crate::crypto::ed25519::Signature;
use crate::crypto::frost::{self, FrostPublic, FrostSecret, FrostShare, NonceCommitment};
use crate::directory::name::Name;
use crate::rows::{Row, Table, TableRows};
use crate::signing::stored::META_KEY;
use crate::signing::{
    Assignment, Event, Fault, KeyId, NonceBatch, Role, RsaCombiner, RsaSigner, Scheduler, Share, ShareEntry, Signer,
    TaskId,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduct {
    Correct,
    /// Commits to nonces and never answers.
    Silent,
    /// Answers with other scalars.
    BadShares,
    /// Answers with bytes that are no scalar.
    Garbage,
    /// Commits to what is no point.
    BadNonces,
    /// Commits to points with a part of small order, which a package does not show.
    MixedNonces,
    NoNonces,
    /// Correct, but its process dies every few commits.
    Restarts,
    /// Claims a restart with each block.
    BootsAlways,
    /// Answers probes only.
    ProbesOnly,
}

/// Blocks of one replica wait this many commits until they are ordered.
const LAG: usize = 2;

struct Block {
    round: u64,
    nonces: Option<NonceBatch>,
    shares: Vec<ShareEntry>,
}

pub struct World {
    pub committee: Committee,
    pub public: FrostPublic,
    pub rng: ChaCha20Rng,
    pub round: u64,
    pub alive: ReplicaSet,
    pub conduct: Vec<Conduct>,
    /// The second reads all its state back from rows before each commit.
    pub veteran: Scheduler,
    joiner: Scheduler,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    signers: Vec<Signer>,
    secrets: Vec<Vec<u8>>,
    boots: Vec<u64>,
    links: Vec<VecDeque<Block>>,
    pub messages: BTreeMap<TaskId, (KeyId, Vec<u8>)>,
    pub signatures: BTreeMap<TaskId, Vec<u8>>,
    pub faults: Vec<Fault>,
    /// Commitment → the one package it has answered.
    answered: BTreeMap<NonceCommitment, (Vec<u8>, Vec<NonceCommitment>)>,
    /// All assignments ever made, to be replayed.
    history: Vec<Assignment>,
    pub assignments: usize,
}

pub fn zone() -> Name {
    Name::parse("names.example.", None).unwrap()
}

/// Stands for threshold RSA: unique, robust, non-interactive.
pub struct FakeRsa(pub Committee);

fn fake_share(message: &[u8], id: ReplicaId) -> Vec<u8> {
    hash("test rsa share", &[message, &[id.0]]).0.to_vec()
}

pub fn fake_signature(message: &[u8]) -> Vec<u8> {
    hash("test rsa signature", &[message]).0.to_vec()
}

impl RsaCombiner for FakeRsa {
    fn combine(&self, message: &[u8], shares: &BTreeMap<ReplicaId, Vec<u8>>) -> Result<Vec<u8>, Vec<ReplicaId>> {
        let (good, bad): (Vec<_>, Vec<_>) =
            shares.iter().map(|(&id, share)| (id, *share == fake_share(message, id))).partition(|(_, good)| *good);
        if self.0.can_sign(good.iter().map(|(id, _)| *id).collect()) {
            return Ok(fake_signature(message));
        }
        Err(bad.into_iter().map(|(id, _)| id).collect())
    }
}

struct FakeRsaSigner(ReplicaId);

impl RsaSigner for FakeRsaSigner {
    fn sign_share(&self, message: &[u8], _: &mut dyn CryptoRngCore) -> Option<Vec<u8>> {
        Some(fake_share(message, self.0))
    }
}

impl World {
    pub fn new(replicas: usize, seed: u64, conduct: &[(u8, Conduct)]) -> Self {
        let committee = Committee::new(replicas).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (public, secrets) = frost::deal(&committee, &mut rng);
        let keys = BTreeMap::from([(zone(), public.clone())]);
        let scheduler = Scheduler::new(committee.clone(), keys, Some(Arc::new(FakeRsa(committee.clone()))));
        let mut conducts = vec![Conduct::Correct; replicas];
        for (id, conduct) in conduct {
            conducts[usize::from(*id)] = *conduct;
        }
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.to_bytes().to_vec()).collect();
        let mut world = Self {
            committee: committee.clone(),
            public,
            rng,
            round: 0,
            alive: committee.ids().collect(),
            conduct: conducts,
            veteran: scheduler.clone(),
            joiner: scheduler,
            rows: BTreeMap::new(),
            signers: Vec::new(),
            secrets,
            boots: vec![0; replicas],
            links: (0..replicas).map(|_| VecDeque::new()).collect(),
            messages: BTreeMap::new(),
            signatures: BTreeMap::new(),
            faults: Vec::new(),
            answered: BTreeMap::new(),
            history: Vec::new(),
            assignments: 0,
        };
        world.signers = committee.ids().map(|id| world.signer(id)).collect();
        world
    }

    fn signer(&self, id: ReplicaId) -> Signer {
        let bytes = self.secrets[id.index()].as_slice().try_into().unwrap();
        let secret = FrostSecret::from_bytes(id, bytes, &self.public).unwrap();
        let zones = BTreeMap::from([(zone(), secret)]);
        Signer::new(id, self.boots[id.index()], zones, Some(Box::new(FakeRsaSigner(id))))
    }

    /// Kills a replica's process and starts another. Everything it was ever asked is put to it again.
    pub fn restart(&mut self, id: ReplicaId) {
        self.boots[id.index()] += 1;
        self.signers[id.index()] = self.signer(id);
        for assignment in &self.history {
            if matches!(assignment.role(), Role::Frost(_)) {
                assert!(self.signers[id.index()].sign(assignment, &mut self.rng).is_none(), "its nonce is dead");
            }
        }
        let open = self.veteran.open_assignments_of(id);
        self.answer(id, &open);
    }

    pub fn open(&mut self, count: usize, key: &KeyId) {
        for _ in 0..count {
            let message = format!("message {}", self.messages.len()).into_bytes();
            let id = self.veteran.open(key.clone(), message.clone()).unwrap();
            assert_eq!(self.joiner.open(key.clone(), message.clone()), Ok(id));
            self.messages.insert(id, (key.clone(), message));
        }
    }

    /// Orders what every link holds and executes it, after opening `zone_tasks` and `certificates`.
    pub fn commit(&mut self, zone_tasks: usize, certificates: usize) {
        self.joiner = self.reload();
        self.round += 1 + u64::from(self.rng.next_u32() % 3);
        self.refill();
        let mut order: Vec<ReplicaId> = self.committee.ids().collect();
        let turn = self.rng.next_u32() as usize % order.len();
        order.rotate_left(turn);
        for id in order {
            if let Some(block) = self.links[id.index()].pop_front().filter(|_| self.alive.contains(id)) {
                self.execute(id, block);
            }
        }
        self.open(zone_tasks, &KeyId::Zone(zone()));
        self.open(certificates, &KeyId::Authority);
        let mut coin = [0; 32];
        self.rng.fill_bytes(&mut coin);
        let step = self.veteran.step(self.round, &coin, self.alive);
        assert_eq!(step, self.joiner.step(self.round, &coin, self.alive));
        self.record(step.events);
        self.keep_rows();
        self.assignments += step.assignments.len();
        self.history.extend(step.assignments.iter().cloned());
        for id in self.committee.ids().collect::<Vec<_>>() {
            self.answer(id, &step.assignments);
            if self.conduct[id.index()] == Conduct::Restarts && self.rng.next_u32().is_multiple_of(5) {
                self.restart(id);
            }
        }
    }

    fn execute(&mut self, author: ReplicaId, block: Block) {
        if let Some(batch) = block.nonces {
            let events = self.veteran.on_nonces(author, block.round, batch.clone());
            assert_eq!(events, self.joiner.on_nonces(author, block.round, batch.clone()));
            self.record(events);
            // The same batch once more changes nothing.
            let before = format!("{:?}", self.veteran);
            self.veteran.on_nonces(author, block.round, batch);
            assert_eq!(before, format!("{:?}", self.veteran));
        }
        let events = self.veteran.on_shares(author, block.round, block.shares.clone());
        assert_eq!(events, self.joiner.on_shares(author, block.round, block.shares));
        self.record(events);
    }

    fn record(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Fault(fault) => self.faults.push(fault),
                Event::Signed { task, signature } => {
                    let (key, message) = &self.messages[&task];
                    match key {
                        KeyId::Authority => assert_eq!(signature, fake_signature(message)),
                        KeyId::Zone(_) => {
                            let signature = Signature::from_bytes(signature.as_slice().try_into().unwrap());
                            assert!(self.public.public_key().verify(message, &signature));
                        }
                    }
                    assert_eq!(self.signatures.insert(task, signature), None, "a task is signed once");
                }
            }
        }
    }

    fn keep_rows(&mut self) {
        let rows = self.veteran.take_rows();
        assert_eq!(rows, self.joiner.take_rows());
        for Row { table, key, value } in rows {
            match value {
                Some(value) => self.rows.insert((table, key), value),
                None => self.rows.remove(&(table, key)),
            };
        }
    }

    pub fn table(&self, table: Table) -> TableRows {
        let rows = self.rows.iter().filter(|((it, _), _)| *it == table);
        rows.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    /// A scheduler that knows nothing but the rows.
    fn reload(&self) -> Scheduler {
        let keys = BTreeMap::from([(zone(), self.public.clone())]);
        let mut fresh = Scheduler::new(self.committee.clone(), keys, Some(Arc::new(FakeRsa(self.committee.clone()))));
        let meta = self.rows.get(&(Table::Meta, META_KEY.to_vec()));
        fresh.load(meta.map(Vec::as_slice), &self.table(Table::Task), &self.table(Table::Nonces)).unwrap();
        assert!(fresh.book == self.veteran.book, "rows are the whole state");
        fresh
    }

    fn refill(&mut self) {
        for id in self.committee.ids() {
            let conduct = self.conduct[id.index()];
            while self.links[id.index()].len() < LAG {
                self.links[id.index()].push_back(Block { round: self.round, nonces: None, shares: Vec::new() });
            }
            if conduct == Conduct::BootsAlways {
                self.boots[id.index()] += 1;
                self.signers[id.index()] = self.signer(id);
            }
            if conduct == Conduct::NoNonces {
                continue;
            }
            if let Some(mut batch) = self.signers[id.index()].refill(&self.veteran, 20, &mut self.rng) {
                if conduct == Conduct::BadNonces {
                    batch.commitments.iter_mut().for_each(|it| it.binding = [0xff; 32]);
                    batch.commitments[0].binding[0] = self.rng.next_u32() as u8;
                }
                if conduct == Conduct::MixedNonces {
                    self.signers[id.index()].mix_orders(&mut batch, &mut self.rng);
                }
                self.links[id.index()].back_mut().unwrap().nonces = Some(batch);
            }
        }
    }

    fn answer(&mut self, id: ReplicaId, assignments: &[Assignment]) {
        let mut entries = Vec::new();
        for assignment in assignments {
            let Some(mut entry) = self.signers[id.index()].sign(assignment, &mut self.rng) else { continue };
            self.note_answer(id, assignment);
            match self.conduct[id.index()] {
                Conduct::Silent => continue,
                Conduct::ProbesOnly if assignment.attempt() == 0 => continue,
                Conduct::BadShares => entry.share = spoil(entry.share, 1),
                Conduct::Garbage => entry.share = spoil(entry.share, 0xff),
                _ => {}
            }
            entries.push(entry);
        }
        let link = &mut self.links[id.index()];
        while link.len() < LAG {
            link.push_back(Block { round: self.round, nonces: None, shares: Vec::new() });
        }
        link.back_mut().unwrap().shares.extend(entries);
    }

    /// The oracle: a commitment that answers two packages gives the key away.
    fn note_answer(&mut self, id: ReplicaId, assignment: &Assignment) {
        let Role::Frost(signers) = assignment.role() else { return };
        let package = signers.values().map(|(_, checked)| checked.bytes()).collect();
        let mine = signers[&id].1.bytes();
        assert_eq!(self.answered.insert(mine, (assignment.message().to_vec(), package)), None, "nonce used twice");
        assert!(self.signers[id.index()].sign(assignment, &mut self.rng).is_none(), "a nonce answers once");
    }

    pub fn run_until_signed(&mut self, commits: usize) {
        for _ in 0..commits {
            if self.veteran.pending() == 0 {
                break;
            }
            self.commit(0, 0);
        }
        assert_eq!(self.veteran.pending(), 0, "{:?}", self.veteran);
        assert_eq!(self.signatures.len(), self.messages.len());
    }

    pub fn culprits(&self) -> BTreeSet<u8> {
        self.faults.iter().map(|fault| fault.culprit.0).collect()
    }
}

fn spoil(share: Share, top: u8) -> Share {
    match share {
        Share::Frost(_) => {
            let mut bytes = [7; 32];
            bytes[31] = top;
            Share::Frost(FrostShare(bytes))
        }
        Share::Rsa(_) => Share::Rsa(vec![top; 9]),
    }
}
