//! How a replica begins: what it is made of, what it takes over from the one before in the same process, and the start-up
//! questions ([`crate::order::startup`]) that it asks and answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::allowance::Allowances;
use super::copying::FarBehind;
use super::heads::{HeadKeys, Heads, Stored};
use super::machine::Machine;
use super::message::PeerMessage;
use super::pool::Pool;
use super::primary::mine::Mine;
use super::sync::{Staged, Sync};
use super::{Effect, Replica};
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::bls::SealingSecret;
use crate::crypto::coin::CoinSecret;
use crate::crypto::ed25519::SecretKey;
use crate::limits::MAX_STARTUP_ANSWER;
use crate::order::startup::{Answer, AnswerFault, Question};
use crate::order::{Order, OrderPublic, Recovered, Verifier};
use crate::signing::Signer;

/// What a replica is made of at a start: public parameters, recovered state, secrets, fresh randomness.
pub struct Parts {
    pub me: ReplicaId,
    pub public: Arc<OrderPublic>,
    pub identity: SecretKey,
    pub coin: CoinSecret,
    pub sealing: SealingSecret,
    pub recovered: Recovered,
    pub machine: Machine,
    pub heads: Stored,
    pub head_keys: HeadKeys,
    /// A copy of the state that an earlier process began.
    pub staged: Option<Staged>,
    pub far_behind: FarBehind,
    pub signer: Signer,
    /// Round of the last own block by the own record; `None` if the disk was lost, and the record with it.
    pub own_last: Option<u64>,
    /// Whether the state was lost, or given up, and began anew.
    pub forgot: bool,
    /// Commitments to nonces kept ready in ordered blocks: [`NONCES_AHEAD`](crate::limits::NONCES_AHEAD).
    pub nonces_ahead: usize,
    /// How blocks from others are checked: [`VerifyEach`](crate::order::VerifyEach).
    pub verifier: Arc<dyn Verifier>,
    pub rng: ChaCha20Rng,
}

impl Replica {
    /// A replica that starts: it proposes nothing before the start-up rule allows. The effects redo what was ordered but
    /// not yet stored as executed.
    pub fn start(parts: Parts) -> (Self, Vec<Effect>) {
        let Parts {
            me,
            public,
            identity,
            coin,
            sealing,
            recovered,
            machine,
            signer,
            own_last,
            forgot,
            nonces_ahead,
            verifier,
            ..
        } = parts;
        let Parts { heads, head_keys, staged, far_behind, mut rng, .. } = parts;
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let (mut order, effects) = Order::new(Arc::clone(&public), me, Arc::new(identity), coin, recovered);
        let startup = order.begin_start(own_last, nonce);
        let pool = Pool::new(public.committee.clone(), me);
        let allowances = Allowances::new(public.committee.len());
        let heads = Heads::new(me, public.committee.clone(), public.network, public.epoch, head_keys, heads);
        let compared_at = machine.progress().height;
        let mut replica = Self {
            me,
            public,
            order,
            startup,
            started: false,
            machine,
            heads,
            sync: staged.map(|staged| Sync::resume(me, staged)),
            forgot,
            covers: None,
            far_behind,
            signer,
            pool,
            asked: VecDeque::new(),
            outbox: Vec::new(),
            sealing,
            given: BTreeMap::new(),
            nonces_ahead,
            transferred: Mine::default(),
            verifier,
            rng,
            held_back: false,
            compared_at,
            ahead: 0,
            allowances,
            #[cfg(test)]
            commits: Vec::new(),
        };
        for block in replica.order.unordered().cloned().collect::<Vec<_>>() {
            replica.note_operations(&block);
        }
        // At a checkpoint exactly, as after a copy: others may need it from us.
        let height = replica.machine.progress().height;
        let kept = replica.heads.checkpoint().filter(|signed| signed.head.height == height);
        let mut kept: Vec<Effect> = kept.map(|_| Effect::KeepCopy { height }).into_iter().collect();
        if !kept.is_empty() {
            // What they sent during the copy was dropped, and in a quiet cluster nothing more comes.
            replica.allowances.heard_nobody(replica.public.committee.ids().filter(|peer| *peer != me).collect());
        }
        kept.extend(replica.perform(effects));
        // Shares that the process before owed, or had in a block that nobody saw. All may have been cut at once: then
        // nobody else would give them.
        replica.asked = replica.machine.scheduler().open_assignments_of(me).into();
        (replica, kept)
    }

    /// Takes over what the replica before this one, which ran in the same process, was given by owners and is not ordered
    /// yet, and what it transferred from primaries.
    pub fn inherit(&mut self, before: Self) -> Vec<Effect> {
        self.transferred = before.transferred;
        let round = self.order.own_last_round() + 1;
        for (digest, bytes, kind) in before.pool.into_given() {
            if !self.machine.knows(&digest) && !self.machine.sealed().has(&digest) {
                self.pool.add(digest, bytes, kind, round).expect("it had room in a pool of the same size");
            }
        }
        self.rebase_transferred(&BTreeMap::new())
    }

    /// Puts the start-up question to a peer that came up, while its answer counts.
    pub(super) fn greet(&self, peer: ReplicaId) -> Vec<Effect> {
        if !self.startup.unanswered().contains(peer) {
            return Vec::new();
        }
        let message = PeerMessage::StartupQuery { nonce: self.startup.question().nonce };
        vec![Effect::Send { to: peer, message }]
    }

    pub(super) fn answer_startup(&mut self, asker: ReplicaId, nonce: [u8; 32]) -> Vec<Effect> {
        if !self.allowances.may_ask(asker) {
            return Vec::new();
        }
        let answer = self.order.answer_start(Question { asker, nonce });
        vec![Effect::Send { to: asker, message: PeerMessage::StartupAnswer(codec::encode(&answer)) }]
    }

    pub(super) fn startup_answered(&mut self, from: ReplicaId, bytes: &[u8]) -> Vec<Effect> {
        if !self.startup.unanswered().contains(from) || !self.allowances.may_check(from) {
            return Vec::new();
        }
        let answer = codec::decode::<Answer>(bytes, MAX_STARTUP_ANSWER).map_err(|error| error.to_string());
        let received = match answer.map(|answer| self.startup.receive(&answer)) {
            Ok(Ok(())) => Ok(()),
            // To a question of an earlier start: it waited at the answerer until after the restart.
            Ok(Err(AnswerFault::Question)) => return Vec::new(),
            Ok(Err(fault)) => Err(fault.to_string()),
            Err(what) => Err(what),
        };
        if let Err(what) = received {
            return vec![Effect::Fault { culprit: from, what }];
        }
        if let Some(outcome) = self.startup.outcome() {
            self.started = true;
            self.order.start(outcome);
        }
        Vec::new()
    }
}
