//! The node as a value: inputs in, effects out. No clock, socket or disk; `node` drives it.
//!
//! What the shell owes it, in the order of the effects it is given:
//!
//! 1. [`Effect::Write`] may reach the disk lazily, but before anything that follows it;
//! 2. [`Effect::Persist`] is durable before [`Replica::persisted`] is called: nobody sees a block that its author could
//!    forget;
//! 3. after each batch of inputs, [`Replica::advance`] is called once;
//! 4. what the store offers for copies of the state and for a staged store ([`crate::store`]) is called as the effects
//!    say, in their order: a copy holds the rows as they are after all writes before it.
//!
//! A round is due only while there is something to order, sign or prove (design: *Quiescent*): an operation waits here,
//! shares wait to be sent, the state machine has signatures or sealed operations open or a renewal or heartbeat due,
//! the DAG holds what is not executed, or another replica is already in that round. The first block after a quiet spell
//! carries no payload, so that its timestamp is agreed on before anything is executed. A corrupt replica need not hold
//! back: if its block leads that round, it is executed at a time from before the spell. An operation whose validity
//! ended meanwhile can so be accepted late, if its owner ordered nothing on the title since; an owner who wants it void
//! orders another.

mod allowance;
pub mod certificates;
mod copying;
pub mod door;
mod effect;
pub mod envelope;
mod fetching;
pub mod genesis;
pub mod heads;
pub mod machine;
pub mod message;
pub mod outcome;
pub mod payload;
pub mod pool;
pub mod primary;
mod proposing;
pub mod published;
pub mod recovery;
pub mod report;
pub mod rsa;
pub mod sealed;
mod starting;
pub mod sync;
#[cfg(test)]
pub(crate) mod tests;
pub mod zones;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;

pub use self::copying::FarBehind;
pub use self::effect::{Effect, Usage};
pub use self::starting::Parts;

use self::allowance::Allowances;
use self::door::{Content, Submission};
use self::heads::{Heads, SignedHead};
use self::machine::{Machine, Snapshot};
use self::message::PeerMessage;
use self::payload::Payload;
use self::pool::{Kind, Pool};
use self::primary::Candidate;
use self::primary::mine::Mine;
pub use self::primary::mine::NotVotedFor;
use self::report::DoorRefusal;
use self::sealed::Ticket;
use self::sync::{Sync, SyncProgress};

use crate::committee::ReplicaId;
use crate::crypto::bls::SealingSecret;
use crate::crypto::digest::Digest;
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::directory::operation::SignedOperation;
use crate::limits::{COST_OF_HANDED_ON_ENVELOPE, MAX_UNUSED_NONCES, REPROPOSE_ROUNDS};
use crate::mutants::{Mutant, planted};
use crate::order::startup::Startup;
use crate::order::{self, Commit, Order, OrderPublic, VerifiedBlock, Verifier};
use crate::rows::Table;
use crate::signing::{Assignment, ShareEntry, Signer};
use crate::store::tree::Proof;
use crate::store::view::View;
use crate::store::{Batch, OwnRecord};

/// One replica.
pub struct Replica {
    me: ReplicaId,
    public: Arc<OrderPublic>,
    order: Order,
    startup: Startup,
    /// The start-up rule allows to propose.
    started: bool,
    machine: Machine,
    heads: Heads,
    /// The state is being copied from others.
    sync: Option<Sync>,
    /// The state of an earlier start was lost or given up, and this one began at the genesis, or after it.
    forgot: bool,
    /// Round of the own block that is being made durable, and the height that is durable with it.
    covers: Option<(u64, u64)>,
    far_behind: FarBehind,
    signer: Signer,
    pool: Pool,
    /// What this replica is asked to sign and has not looked at yet.
    asked: VecDeque<Assignment>,
    /// Shares that wait for the next block.
    outbox: Vec<ShareEntry>,
    sealing: SealingSecret,
    /// Rounds of the own blocks with decryption shares that are not ordered yet.
    given: BTreeMap<Ticket, u64>,
    nonces_ahead: usize,
    /// What was transferred from primaries.
    transferred: Mine,
    verifier: Arc<dyn Verifier>,
    rng: ChaCha20Rng,
    /// What was executed since the start.
    #[cfg(test)]
    commits: Vec<Commit>,
    /// The last block was empty because a quiet spell came before it.
    held_back: bool,
    /// Height at which the local clock was last set beside agreed time, and by how many milliseconds it was ahead.
    compared_at: u64,
    ahead: u64,
    /// What each peer may still cost until the next tick.
    allowances: Allowances,
}

impl Replica {
    /// The shell gives a message of an authenticated peer.
    pub fn receive(&mut self, from: ReplicaId, message: PeerMessage) -> Vec<Effect> {
        if self.heads.diverged() {
            return Vec::new();
        }
        match message {
            PeerMessage::Block(bytes) if self.sync.is_some() => self.copy_blocks(from, &[bytes]),
            PeerMessage::Blocks(blocks) if self.sync.is_some() => self.copy_blocks(from, &blocks),
            PeerMessage::Block(bytes) => self.receive_block(from, &bytes),
            PeerMessage::Blocks(blocks) => {
                let mut effects: Vec<Effect> =
                    blocks.iter().flat_map(|bytes| self.receive_block(from, bytes)).collect();
                let more = self.order.fetched(from);
                effects.extend(self.perform(more));
                effects
            }
            PeerMessage::Fetch { refs, above } => self.fetch_asked(from, refs, above),
            PeerMessage::StartupQuery { nonce } => self.answer_startup(from, nonce),
            PeerMessage::StartupAnswer(bytes) => self.startup_answered(from, &bytes),
            PeerMessage::Operation(bytes) => {
                let digest = SignedOperation::digest_of_bytes(&bytes);
                let (network, directory) = (self.public.network, self.machine.directory().clone());
                self.handed_on(from, digest, 1, || door::check(&bytes, network, &directory))
            }
            PeerMessage::Envelope(bytes) => {
                let digest = envelope::digest_of_bytes(&bytes);
                self.handed_on(from, digest, COST_OF_HANDED_ON_ENVELOPE, || door::check_envelope(&bytes))
            }
            PeerMessage::HeadShare(bytes) => self.heads.receive_share(from, &bytes),
            PeerMessage::Head(bytes) => {
                let own_height = self.machine.progress().height;
                let mut effects = self.heads.receive_signed(from, &bytes, own_height);
                effects.extend(self.copy_if_far_behind());
                if effects.is_empty() && self.sync.is_none() && !self.order.is_behind() {
                    effects.extend(self.ask_for_what_is_signed(from, &bytes, own_height));
                }
                effects
            }
            PeerMessage::HeadQuery { height } => self.heads.answer(from, height),
            PeerMessage::StateQuery { height, part } => {
                let is_kept = self.heads.checkpoint().is_some_and(|signed| height <= signed.head.height);
                let refusal = PeerMessage::StateRefusal { height };
                if is_kept {
                    vec![Effect::ServeState { to: from, height, part }]
                } else {
                    vec![Effect::Send { to: from, message: refusal }]
                }
            }
            PeerMessage::StateAnswer { height, part, bytes } => {
                self.copy(|sync, peers| sync.receive(from, height, part, &bytes, peers))
            }
            PeerMessage::StateRefusal { height } => self.copy(|sync, peers| sync.refused(from, height, peers)),
        }
    }

    /// A head beyond what was executed here, though nothing is known to be missing: in a cluster that is quiet nothing
    /// else tells that there is a round more.
    fn ask_for_what_is_signed(&mut self, from: ReplicaId, head: &[u8], own_height: u64) -> Vec<Effect> {
        if SignedHead::from_bytes(head).is_none_or(|signed| signed.head.height <= own_height) {
            return Vec::new();
        }
        let rest = self.order.ask_for_rest(from);
        self.perform(rest)
    }

    /// Keeps an operation that passed the door until it is ordered.
    pub fn submit(&mut self, submission: &Submission) -> Result<(), DoorRefusal> {
        let digest = submission.digest();
        if self.machine.knows(&digest) || self.machine.sealed().has(&digest) {
            return Ok(());
        }
        if let Content::Envelope(envelope) = submission.content() {
            self.machine.sealed_mut().checked_at_the_door(envelope);
        }
        let round = self.order.own_last_round() + 1;
        let kind = submission.content().kind();
        self.pool.add(digest, submission.bytes().clone(), kind, round).map_err(|_| DoorRefusal::Busy)
    }

    /// The shell has transferred a whole zone from the registry's primary, with this replica's own key. It is voted for
    /// in the next blocks, unless an error says why not.
    pub fn transferred(&mut self, file: ZoneFile) -> Result<(), NotVotedFor> {
        self.transferred.transferred(&self.machine, file)
    }

    /// Compares what was transferred and is not in effect with what the state has by now.
    fn rebase_transferred(&mut self, taken: &BTreeMap<Name, Candidate>) -> Vec<Effect> {
        self.transferred.rebase(&self.machine, taken).into_iter().map(Effect::NotVotedFor).collect()
    }

    /// A link to `peer` came up.
    pub fn connected(&mut self, peer: ReplicaId) -> Vec<Effect> {
        let mut effects = self.greet(peer);
        effects.extend(self.heads.greet(peer));
        let resent = self.order.connected(peer);
        effects.extend(self.perform(resent));
        effects
    }

    /// Asks again for what is missing. The shell calls it now and then: links lose messages when they break.
    pub fn retry(&mut self) -> Vec<Effect> {
        if self.heads.diverged() {
            return Vec::new();
        }
        let refilled = self.allowances.refill();
        let mut effects = self.hand_on();
        if self.sync.is_some() {
            effects.extend(self.copy_on_tick());
            return effects;
        }
        let mut again = self.order.retry();
        for peer in refilled.iter() {
            again.extend(self.order.ask_for_rest(peer));
        }
        effects.extend(self.perform(again));
        effects.extend(self.heads.undurable().map(|height| Effect::Sync { height }));
        effects.extend(self.heads.retry());
        if self.order.is_behind() {
            let peers = self.public.committee.ids().filter(|&peer| peer != self.me);
            effects.extend(peers.flat_map(|peer| self.heads.greet(peer)));
        }
        if !self.started {
            effects.extend(self.startup.unanswered().iter().flat_map(|peer| self.greet(peer)));
        }
        effects
    }

    /// What owners gave to this replica and nobody has ordered, to all others: they can propose when this one cannot.
    fn hand_on(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (kind, bytes) in self.pool.hand_on() {
            let message = match kind {
                Kind::Operation { .. } => PeerMessage::Operation(bytes.to_vec()),
                Kind::Envelope { .. } => PeerMessage::Envelope(bytes.to_vec()),
            };
            let others = self.public.committee.ids().filter(|&peer| peer != self.me);
            effects.extend(others.map(|to| Effect::Send { to, message: message.clone() }));
        }
        effects
    }

    /// The block of `round` is durable.
    pub fn persisted(&mut self, round: u64) -> Vec<Effect> {
        let effects = self.order.persisted(round);
        let mut effects = self.perform(effects);
        if let Some((_, height)) = self.covers.take_if(|(covered, _)| *covered == round) {
            effects.extend(self.durable(height));
        }
        effects
    }

    /// What was written up to the commit of this height is durable.
    pub fn durable(&mut self, height: u64) -> Vec<Effect> {
        self.heads.durable(height)
    }

    /// The newest signed head.
    pub fn head(&self) -> Option<&SignedHead> {
        self.heads.newest()
    }

    /// The newest signed head whose state can be copied.
    pub fn checkpoint(&self) -> Option<&SignedHead> {
        self.heads.checkpoint()
    }

    /// Proof of a row, or that there is none, to the last [`Self::root`].
    pub fn prove(&self, table: Table, key: &[u8]) -> Proof {
        self.heads.prove(table, key)
    }

    /// The root over all rows as they are now.
    pub fn root(&mut self) -> Digest {
        self.heads.root()
    }

    /// How far the copying of the state has come, if it is under way.
    pub fn sync_progress(&self) -> Option<SyncProgress> {
        self.sync.as_ref().map(Sync::progress)
    }

    /// Lets go of blocks beyond `kept` rounds: for shells whose disk fills up.
    pub fn prune(&mut self, kept: u64) -> Vec<Effect> {
        let prune_blocks_below = self.heads.prune(kept);
        let batch = Batch { prune_blocks_below, ..Batch::default() };
        if batch.is_empty() { Vec::new() } else { vec![Effect::Write(batch)] }
    }

    /// Bytes of the blocks with a payload that wait to be ordered.
    pub fn unordered_bytes(&self) -> usize {
        self.order.unordered_bytes()
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    pub fn view(&self) -> View {
        if self.is_unproven() { View::withheld() } else { self.machine.view() }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.machine.snapshot()
    }

    pub fn usage(&self) -> Usage {
        Usage {
            suspended_blocks: self.order.suspended_blocks(),
            unordered: self.order.unordered().count(),
            pool: self.pool.len(),
            pool_bytes: self.pool.bytes(),
            asked: self.asked.len(),
            outbox: self.outbox.len(),
            pending: self.machine.scheduler().pending(),
        }
    }

    /// Round of the last own block.
    pub fn round(&self) -> u64 {
        self.order.own_last_round()
    }

    /// Checks a block, unless its name alone shows that it is of no use or its sender has sent too many of those.
    fn receive_block(&mut self, from: ReplicaId, bytes: &[u8]) -> Vec<Effect> {
        // Answers overlap with what came meanwhile: what is there already is not verified again.
        if let Some(reference) = VerifiedBlock::peek(&self.public, bytes).filter(|it| !self.order.wants(it)) {
            self.order.sent_again(from, &reference);
            return Vec::new();
        }
        if !self.allowances.may_check(from) {
            return Vec::new();
        }
        match self.verifier.verify(&self.public, bytes) {
            Ok(block) if planted(Mutant::ShareJudgedOnArrival) && self.answers_unasked(&block) => {
                vec![Effect::Fault { culprit: block.author(), what: "a share that nobody asked for".into() }]
            }
            Ok(block) => {
                let before = self.order.inserted();
                let effects = self.order.receive(from, block);
                if self.order.inserted() > before {
                    self.allowances.was_useful(from);
                }
                self.perform(effects)
            }
            Err(error) => vec![Effect::Fault { culprit: from, what: error.to_string() }],
        }
    }

    /// Whether the state as it is has not assigned what shares of the block answer. For a planted mistake.
    fn answers_unasked(&self, block: &VerifiedBlock) -> bool {
        let payload = Payload::from_bytes(block.payload()).unwrap_or_default();
        let (scheduler, next) = (self.machine.scheduler(), self.machine.sealed().next());
        payload.shares.iter().any(|share| !scheduler.owes(block.author(), share.task, share.attempt))
            || payload.openings.iter().any(|opening| opening.ticket >= next)
    }

    /// Keeps what a peer was given and could not get ordered so far. A correct peer hands on what passed its door only.
    fn handed_on(
        &mut self,
        from: ReplicaId,
        digest: Digest,
        cost: u32,
        check: impl FnOnce() -> Result<Submission, DoorRefusal>,
    ) -> Vec<Effect> {
        let known = self.pool.contains(&digest) || self.machine.knows(&digest) || self.machine.sealed().has(&digest);
        if known || !self.allowances.may_hand_on(from, cost) {
            return Vec::new();
        }
        match check() {
            Ok(submission) => {
                if let Content::Envelope(envelope) = submission.content() {
                    self.machine.sealed_mut().checked_at_the_door(envelope);
                }
                let round = self.order.own_last_round() + 1;
                let kind = submission.content().kind();
                self.pool.add_handed_on(from, digest, submission.bytes().clone(), kind, round);
                Vec::new()
            }
            // Zones may have changed meanwhile.
            Err(DoorRefusal::UnknownZone | DoorRefusal::Busy) => Vec::new(),
            Err(refusal) => vec![Effect::Fault { culprit: from, what: format!("an operation handed on: {refusal}") }],
        }
    }

    fn perform(&mut self, effects: Vec<order::Effect>) -> Vec<Effect> {
        let mut performed = Vec::new();
        for effect in effects {
            match effect {
                order::Effect::Store(block) => {
                    self.note_operations(&block);
                    performed.push(Effect::Write(Batch { blocks: vec![stored(&block)], ..Batch::default() }));
                }
                order::Effect::Persist(block) => {
                    let round = block.round();
                    let own = Some(OwnRecord { round });
                    let batch = Batch { blocks: vec![stored(&block)], own, ..Batch::default() };
                    self.covers = Some((round, self.machine.progress().height));
                    if planted(Mutant::SentBeforeDurable) {
                        performed.push(Effect::Broadcast(PeerMessage::Block(block.bytes().to_vec())));
                    }
                    performed.push(Effect::Persist { batch, round });
                }
                order::Effect::Broadcast(block) => {
                    self.note_operations(&block);
                    performed.push(Effect::Broadcast(PeerMessage::Block(block.bytes().to_vec())));
                }
                order::Effect::Send { to, block } => {
                    let message = PeerMessage::Block(block.bytes().to_vec());
                    performed.push(Effect::Send { to, message });
                }
                order::Effect::Fetch { from, refs, above } => {
                    performed.push(Effect::Send { to: from, message: PeerMessage::Fetch { refs, above } });
                }
                order::Effect::Commit(commit) => performed.extend(self.execute(commit)),
                order::Effect::Keep(rows) => performed.push(Effect::Write(Batch { rows, ..Batch::default() })),
                order::Effect::Fault(fault) => {
                    performed.push(Effect::Fault { culprit: fault.culprit(), what: fault.to_string() });
                }
            }
        }
        performed
    }

    fn note_operations(&mut self, block: &VerifiedBlock) {
        let Ok(payload) = Payload::from_bytes(block.payload()) else { return };
        for operation in &payload.operations {
            self.pool.seen(SignedOperation::digest_of_bytes(operation), block.round());
        }
        for envelope in &payload.sealed {
            self.pool.seen(envelope::digest_of_bytes(envelope), block.round());
        }
    }

    fn execute(&mut self, commit: Commit) -> Vec<Effect> {
        let executed = self.machine.execute(&commit);
        #[cfg(test)]
        self.commits.push(commit.clone());
        for digest in &executed.operations {
            self.pool.executed(digest);
        }
        self.pool.expire(commit.agreed_time, commit.round.saturating_sub(REPROPOSE_ROUNDS * 4));
        let mine = executed.assignments.into_iter().filter(|assignment| assignment.signers().contains(self.me));
        self.asked.extend(mine);
        if self.asked.len() > MAX_UNUSED_NONCES {
            let scheduler = self.machine.scheduler();
            self.asked.retain(|assignment| scheduler.owes(self.me, assignment.task(), assignment.attempt()));
        }
        let (with, apart) = if planted(Mutant::CursorApart) { (vec![], commit.rows) } else { (commit.rows, vec![]) };
        let rows = with.into_iter().chain(executed.rows).collect();
        let mut batch = Batch { rows, ..Batch::default() };
        let due = self.heads.executed(&self.machine.progress(), executed.changed, &mut batch);
        let mut effects = vec![Effect::Write(batch)];
        effects.extend((!apart.is_empty()).then(|| Effect::Write(Batch { rows: apart, ..Batch::default() })));
        effects.extend(due);
        if executed.changed {
            effects.push(Effect::Expose { zones: executed.published });
        }
        effects.extend(executed.faults.into_iter().map(|(culprit, what)| Effect::Fault { culprit, what }));
        if !executed.taken.is_empty() {
            effects.extend(self.rebase_transferred(&executed.taken));
        }
        effects
    }
}

fn stored(block: &VerifiedBlock) -> (u64, ReplicaId, Digest, Vec<u8>) {
    (block.round(), block.author(), block.reference().digest, block.bytes().to_vec())
}
