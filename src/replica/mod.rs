//! The node as a value: inputs in, effects out. No clock, socket or disk; `node` drives it.
//!
//! What the shell owes it, in the order of the effects it is given:
//!
//! 1. [`Effect::Write`] may reach the disk lazily, but before anything that follows it;
//! 2. [`Effect::Persist`] is durable before [`Replica::persisted`] is called: nobody sees a block that its author could
//!    forget;
//! 3. after each batch of inputs, [`Replica::advance`] is called once;
//! 4. what the store offers for copies of the state and for a staged store ([`crate::store`]) is called as the effects say, in
//!    their order: a copy holds the rows as they are after all writes before it.
//!
//! A round is due only while there is something to order, sign or prove (design: *Quiescent*): an operation waits here,
//! shares wait to be sent, the state machine has signatures or sealed operations open or a renewal due, the DAG holds what is not executed,
//! or another replica is already in that round. The first block after a quiet spell carries no payload, so that its
//! timestamp is agreed on before anything is executed. A corrupt replica need not hold back: if its block leads that
//! round, it is executed at a time from before the spell. An operation whose validity ended meanwhile can so be accepted
//! late, if its owner ordered nothing on the title since; an owner who wants it void orders another.

mod allowance;
pub mod certificates;
pub mod door;
pub mod envelope;
pub mod genesis;
pub mod heads;
pub mod machine;
pub mod message;
pub mod outcome;
pub mod payload;
pub mod pool;
pub mod recovery;
pub mod report;
pub mod rsa;
pub mod sealed;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod zones;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use self::allowance::Allowances;
use self::door::{Content, Submission};
use self::heads::{Head, HeadKeys, Heads, SignedHead, Stored};
use self::machine::{Machine, Snapshot};
use self::message::{PeerMessage, StatePart};
use self::payload::Payload;
use self::pool::{Kind, Pool, Taken};
use self::report::DoorRefusal;
use self::sealed::{Opening, Ticket};
use self::sync::{Staged, Step, Sync, SyncProgress};

use crate::codec;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::bls::SealingSecret;
use crate::crypto::coin::CoinSecret;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::directory::operation::SignedOperation;
use crate::limits::{
    COST_OF_CERTIFICATE_SHARE, COST_OF_HANDED_ON_ENVELOPE, FETCH_ANSWER, KEPT_ROUNDS, MAX_ANSWERED_BLOCKS,
    MAX_OPENINGS_PER_BLOCK, MAX_PAYLOAD, MAX_SHARES_PER_BLOCK, MAX_SIGNED_AT_ONCE, MAX_STARTUP_ANSWER,
    MAX_UNUSED_NONCES, PAYLOAD_FOR_OPERATIONS, QUIET_MS, REPROPOSE_ROUNDS, SYNC_BEHIND_OPERATIONS, SYNC_BEHIND_ROUNDS,
    SYNC_ROWS_PER_OPERATION,
};
use crate::order::startup::{Answer, AnswerFault, Question, Startup};
use crate::order::{self, BlockRef, Commit, Order, OrderPublic, Recovered, VerifiedBlock, Verifier};
use crate::rows::Table;
use crate::signing::{Assignment, KeyId, NonceBatch, ShareEntry, Signer};
use crate::store::tree::Proof;
use crate::store::view::View;
use crate::store::{Batch, OwnRecord, Read, StoreError};

/// What the shell is to do, in this order.
#[must_use]
#[derive(Debug)]
pub enum Effect {
    /// Write, lazily.
    Write(Batch),
    /// Write and sync, then call [`Replica::persisted`] with the round.
    Persist {
        batch: Batch,
        round: u64,
    },
    Send {
        to: ReplicaId,
        message: PeerMessage,
    },
    Broadcast(PeerMessage),
    /// Answer a request for blocks, from the store.
    Serve {
        to: ReplicaId,
        refs: Vec<BlockRef>,
        above: u64,
    },
    /// Write what was said so far and sync, then call [`Replica::durable`] with the height.
    Sync {
        height: u64,
    },
    /// [`Store::keep_copy`](crate::store::Store::keep_copy), after all writes so far.
    KeepCopy {
        height: u64,
    },
    /// [`Store::release_copies`](crate::store::Store::release_copies).
    ReleaseCopies {
        below: u64,
    },
    /// Answer a request for a part of the state, from the copy of this height: [`sync::answer`].
    ServeState {
        to: ReplicaId,
        height: u64,
        part: StatePart,
    },
    /// [`Store::begin_staging`](crate::store::Store::begin_staging).
    BeginStaging,
    /// [`Store::stage`](crate::store::Store::stage).
    Stage(Batch),
    /// [`Store::adopt_staged`](crate::store::Store::adopt_staged); then this replica ends, and another starts from the store
    /// as after a restart.
    Adopt,
    /// Our state is not the cluster's. The replica says nothing any more; stop, and keep the files.
    Diverged {
        ours: Head,
        theirs: Head,
    },
    /// Readers can see something new. `zones`: a zone version was published.
    Expose {
        zones: bool,
    },
    /// Somebody did what no correct replica does.
    Fault {
        culprit: ReplicaId,
        what: String,
    },
}

/// How much a replica holds in memory that others can make it hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Blocks whose parents are missing.
    pub suspended_blocks: usize,
    /// Blocks with a payload that are not ordered yet.
    pub unordered: usize,
    /// Operations that wait to be ordered, and their bytes.
    pub pool: usize,
    pub pool_bytes: usize,
    /// Assignments not looked at yet.
    pub asked: usize,
    /// Shares that wait for a block.
    pub outbox: usize,
    /// Signatures that are due, by everybody.
    pub pending: usize,
}

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
    /// The state of this start is the genesis, although this replica has been further: it was lost.
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
    verifier: Arc<dyn Verifier>,
    rng: ChaCha20Rng,
    /// What was executed since the start.
    #[cfg(test)]
    commits: Vec<Commit>,
    /// The last block was empty because a quiet spell came before it.
    held_back: bool,
    /// What each peer may still cost until the next tick.
    allowances: Allowances,
}

/// How far behind a signed checkpoint a replica copies the state instead of pulling the blocks between.
#[derive(Clone, Copy, Debug)]
pub struct FarBehind {
    pub rounds: u64,
    pub operations: u64,
    /// More operations, if the state is large: one for so many rows.
    pub rows_per_operation: u64,
}

impl Default for FarBehind {
    fn default() -> Self {
        Self {
            rounds: SYNC_BEHIND_ROUNDS,
            operations: SYNC_BEHIND_OPERATIONS,
            rows_per_operation: SYNC_ROWS_PER_OPERATION,
        }
    }
}

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
        let forgot = machine.progress().height == 0 && own_last != Some(0);
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
            verifier,
            rng,
            held_back: false,
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

    /// Takes over what owners gave to the replica before this one, which ran in the same process and is not ordered yet.
    pub fn inherit(&mut self, before: Self) {
        let round = self.order.own_last_round() + 1;
        for (digest, bytes, kind) in before.pool.into_given() {
            if !self.machine.knows(&digest) && !self.machine.sealed().has(&digest) {
                self.pool.add(digest, bytes, kind, round).expect("it had room in a pool of the same size");
            }
        }
    }

    /// What is stored of the state is not what was written. It is copied from the others, at a signed checkpoint that may
    /// be below what was executed; until it is adopted, this replica takes no part in the order and shows what it has in
    /// memory. None if no checkpoint is known.
    pub fn repair(&mut self) -> Option<Vec<Effect>> {
        if self.sync.is_some() {
            return Some(Vec::new());
        }
        let newest = *self.newest_checkpoint()?;
        Some(self.begin_copy(newest))
    }

    /// What was copied did not stand the last look at it: it is copied again.
    pub fn copy_again(&mut self) -> Vec<Effect> {
        let signed = self.newest_checkpoint().or(self.sync.as_ref().map(Sync::signed)).copied();
        self.sync = None;
        signed.map_or_else(Vec::new, |signed| self.begin_copy(signed))
    }

    fn newest_checkpoint(&self) -> Option<&SignedHead> {
        let known = [self.heads.checkpoint(), self.heads.ahead()];
        known.into_iter().flatten().max_by_key(|signed| signed.head.height)
    }

    /// Whether the state was lost and none that the cluster signed has taken its place yet. Nothing of it may be shown.
    pub fn is_unproven(&self) -> bool {
        self.forgot && self.heads.newest().is_none()
    }

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
                let mut effects = self.heads.receive_signed(from, &bytes, self.machine.progress().height);
                effects.extend(self.copy_if_far_behind());
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

    /// After each batch of inputs: proposes the next block if a round is due. `now` is the local clock, which goes into
    /// the block's timestamp and decides whether a renewal is due, nothing else.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Effect> {
        if !self.started || self.sync.is_some() || self.heads.diverged() {
            return Vec::new();
        }
        self.answer_assignments();
        let due = self.is_due(now);
        let Some(round) = self.order.next_round() else { return Vec::new() };
        if !due {
            return Vec::new();
        }
        self.held_back = !self.held_back && self.is_after_quiet(now);
        let payload = if self.held_back { Payload::default() } else { self.payload(round) };
        let effects = self.order.propose(now, &payload.to_bytes()).into_iter().collect();
        self.perform(effects)
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

    /// The answer to a request for blocks: from memory where they are recent, else from `store`, which holds everything
    /// that [`Effect::Write`] said so far. Reads little more than one answer holds, whatever is asked for.
    pub fn answer_fetch<S: Read>(&self, refs: &[BlockRef], above: u64, store: &S) -> Result<PeerMessage, StoreError> {
        if refs.is_empty() {
            if above.saturating_add(1) < self.heads.pruned()
                && let Some(signed) = self.heads.checkpoint()
            {
                // The blocks are gone: the state is there to be copied.
                return Ok(PeerMessage::Head(signed.to_bytes()));
            }
            if above < self.order.memory_floor() {
                let rounds = above.saturating_add(1)..=self.order.quorum_round();
                return Ok(PeerMessage::blocks(stored_in(rounds, store, FETCH_ANSWER, |_| true)?));
            }
            let (held, _) = self.order.serve(refs, above, FETCH_ANSWER);
            return Ok(PeerMessage::blocks(held.iter().map(|block| block.bytes().to_vec())));
        }
        // The blocks named have the first claim on the room, so that each answer brings something; what leads to them
        // comes before them.
        let (mut named, mut size) = (Vec::new(), 0);
        let mut on_disk = ReplicaSet::EMPTY;
        let mut top = 0;
        for reference in refs {
            if size >= FETCH_ANSWER / 2 {
                break;
            }
            let block = match self.order.block(reference) {
                Some(block) => Some(block.bytes().to_vec()),
                None => {
                    let block = store.block(reference.round, reference.author, &reference.digest)?;
                    if block.is_some() {
                        on_disk.insert(reference.author);
                        top = reference.round.max(top);
                    }
                    block
                }
            };
            size += block.as_ref().map_or(0, Vec::len);
            named.extend(block);
        }
        let room = FETCH_ANSWER.saturating_sub(size);
        let mut chains = Vec::new();
        if top > above.saturating_add(1) {
            let of_chain = |author| on_disk.contains(author);
            chains = stored_in(above.saturating_add(1)..=top - 1, store, room / 2, of_chain)?;
        }
        let room = room.saturating_sub(chains.iter().map(Vec::len).sum());
        let (held, _) = self.order.serve(refs, above, room);
        chains.extend(held.iter().map(|block| block.bytes().to_vec()));
        chains.truncate(MAX_ANSWERED_BLOCKS.saturating_sub(named.len()));
        Ok(PeerMessage::blocks(chains.into_iter().chain(named)))
    }

    /// Whether what the round before would make agreed time lags the clock by so much that nothing should be executed by
    /// it. A clock that is ahead of the others' never says otherwise: no two blocks in a row are held back.
    fn is_after_quiet(&self, now: Timestamp) -> bool {
        let agreed = self.order.time_of_round_before();
        agreed.is_none_or(|agreed| agreed.0.saturating_add(QUIET_MS) < now.0)
    }

    /// Whether the next round is due.
    fn is_due(&self, now: Timestamp) -> bool {
        !self.pool.is_empty()
            || !self.outbox.is_empty()
            || !self.asked.is_empty()
            || self.machine.has_work(now)
            || self.heads.wants_round(now)
            || self.order.unfinished()
    }

    /// As much of what waits as a block holds: operations have their part, shares take what is left.
    fn payload(&mut self, round: u64) -> Payload {
        let Taken { operations, sealed } = self.pool.take(round, PAYLOAD_FOR_OPERATIONS);
        let (nonces, openings) = (self.refill(), self.openings(round));
        let mut payload = Payload { operations, nonces, shares: Vec::new(), sealed, openings };
        let mut room = MAX_PAYLOAD.saturating_sub(payload.size_bound());
        let fits = |share: &&ShareEntry| {
            let size = codec::encode(*share).len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        };
        let count = self.outbox.iter().take(MAX_SHARES_PER_BLOCK).take_while(fits).count();
        payload.shares = self.outbox.drain(..count).collect();
        payload
    }

    /// Shares of what is ordered and sealed; again if they are not ordered a while later. Only the state says what that is: a
    /// share for an envelope that is not ordered yet would let others read it in time to be first.
    fn openings(&mut self, round: u64) -> Vec<Opening> {
        let sealed = self.machine.sealed();
        self.given.retain(|&ticket, _| sealed.is_unopened(ticket));
        if self.order.is_behind() {
            return Vec::new();
        }
        let given = &mut self.given;
        let due = sealed
            .owed_by(self.me)
            .filter(|(ticket, _)| given.get(ticket).is_none_or(|given| round >= given + REPROPOSE_ROUNDS));
        let owed: Vec<_> = due.take(MAX_OPENINGS_PER_BLOCK).collect();
        given.extend(owed.iter().map(|(ticket, _)| (*ticket, round)));
        let opening = |(ticket, ciphertext)| Opening { ticket, share: self.sealing.share(ciphertext) };
        owed.into_iter().map(opening).collect()
    }

    /// Signs what is still owed, some of it at a time. Not while behind: most of what an old commit asked for is settled by
    /// now, and a certificate share costs milliseconds.
    fn answer_assignments(&mut self) {
        if self.order.is_behind() {
            return;
        }
        let mut signed = 0;
        while signed < MAX_SIGNED_AT_ONCE
            && let Some(assignment) = self.asked.pop_front()
        {
            if self.machine.scheduler().owes(self.me, assignment.task(), assignment.attempt()) {
                self.outbox.extend(self.signer.sign(&assignment, &mut self.rng));
                signed += if *assignment.key() == KeyId::Authority { COST_OF_CERTIFICATE_SHARE } else { 1 };
            }
        }
    }

    /// Commitments for the next signatures, if few are left. They ride along: they never make a round due.
    fn refill(&mut self) -> Option<NonceBatch> {
        let scheduler = self.machine.scheduler();
        let wanted = self.nonces_ahead.max(scheduler.pending().min(MAX_UNUSED_NONCES));
        self.signer.refill(scheduler, wanted, &mut self.rng)
    }

    /// Checks a block, unless its name alone shows that it is of no use or its sender has sent too many of those.
    fn receive_block(&mut self, from: ReplicaId, bytes: &[u8]) -> Vec<Effect> {
        // Answers overlap with what came meanwhile: what is there already is not verified again.
        if VerifiedBlock::peek(&self.public, bytes).is_some_and(|reference| !self.order.wants(&reference)) {
            return Vec::new();
        }
        if !self.allowances.may_check(from) {
            return Vec::new();
        }
        match self.verifier.verify(&self.public, bytes) {
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

    /// Serves a request, unless its sender asks for more than anybody needs: who misses something asks again.
    fn fetch_asked(&mut self, from: ReplicaId, refs: Vec<BlockRef>, above: u64) -> Vec<Effect> {
        let on_disk = refs.iter().filter(|reference| self.order.block(reference).is_none()).count();
        let rounds = refs.iter().map(|reference| reference.round.saturating_sub(above)).max();
        let deep = rounds.is_none_or(|rounds| rounds > KEPT_ROUNDS);
        if self.allowances.may_fetch(from, on_disk, deep) {
            vec![Effect::Serve { to: from, refs, above }]
        } else {
            Vec::new()
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
        let rows = commit.rows.into_iter().chain(executed.rows).collect();
        let mut batch = Batch { rows, ..Batch::default() };
        let due = self.heads.executed(&self.machine.progress(), executed.changed, &mut batch);
        let mut effects = vec![Effect::Write(batch)];
        effects.extend(due);
        if executed.changed {
            effects.push(Effect::Expose { zones: executed.published });
        }
        effects.extend(executed.faults.into_iter().map(|(culprit, what)| Effect::Fault { culprit, what }));
        effects
    }

    /// Whether the signed checkpoint ahead is beyond what blocks can bring, or cheaper to copy than to catch up with. Who has
    /// nothing to show copies in any case.
    fn is_far_behind(&self, signed: &SignedHead) -> bool {
        if self.is_unproven() {
            return true;
        }
        let progress = self.machine.progress();
        let operations = signed.head.position.saturating_sub(progress.position);
        let many = self.far_behind.operations.max(signed.head.rows / self.far_behind.rows_per_operation);
        signed.head.round > progress.round + self.far_behind.rounds || operations > many
    }

    fn copy_if_far_behind(&mut self) -> Vec<Effect> {
        let ahead = self.heads.ahead().filter(|signed| self.is_far_behind(signed)).copied();
        let Some(signed) = ahead.filter(|_| self.sync.is_none()) else { return Vec::new() };
        self.begin_copy(signed)
    }

    fn begin_copy(&mut self, signed: SignedHead) -> Vec<Effect> {
        let steps = match &mut self.sync {
            Some(sync) => sync.move_on(signed),
            None => {
                let (sync, steps) = Sync::begin(self.me, signed);
                self.sync = Some(sync);
                steps
            }
        };
        let mut effects = effects_of(steps);
        effects.extend(self.copy(Sync::ask));
        effects
    }

    fn copy(&mut self, go_on: impl FnOnce(&mut Sync, ReplicaSet) -> Vec<Step>) -> Vec<Effect> {
        let peers = self.public.committee.ids().collect();
        self.sync.as_mut().map_or_else(Vec::new, |sync| effects_of(go_on(sync, peers)))
    }

    fn copy_blocks(&mut self, from: ReplicaId, blocks: &[Vec<u8>]) -> Vec<Effect> {
        let public = Arc::clone(&self.public);
        self.copy(|sync, peers| sync.receive_blocks(from, blocks, &public, peers))
    }

    /// Asks again, and if nobody is left to ask, all of them anew; from the newest checkpoint, if there is a newer one.
    fn copy_on_tick(&mut self) -> Vec<Effect> {
        let peers = self.public.committee.ids().collect();
        let newest = self.newest_checkpoint().copied();
        let Some(sync) = &mut self.sync else { return Vec::new() };
        let mut effects = Vec::new();
        if sync.is_alone(peers) {
            if let Some(newer) = newest.filter(|newer| newer.head.height > sync.signed().head.height) {
                return self.begin_copy(newer);
            }
            sync.forgive();
            let others = self.public.committee.ids().filter(|&peer| peer != self.me);
            effects.extend(others.flat_map(|peer| self.heads.greet(peer)));
        }
        effects.extend(self.copy(Sync::tick));
        effects
    }

    /// Puts the start-up question to a peer that came up, while its answer counts.
    fn greet(&self, peer: ReplicaId) -> Vec<Effect> {
        if !self.startup.unanswered().contains(peer) {
            return Vec::new();
        }
        let message = PeerMessage::StartupQuery { nonce: self.startup.question().nonce };
        vec![Effect::Send { to: peer, message }]
    }

    fn answer_startup(&mut self, asker: ReplicaId, nonce: [u8; 32]) -> Vec<Effect> {
        if !self.allowances.may_ask(asker) {
            return Vec::new();
        }
        let answer = self.order.answer_start(Question { asker, nonce });
        vec![Effect::Send { to: asker, message: PeerMessage::StartupAnswer(codec::encode(&answer)) }]
    }

    fn startup_answered(&mut self, from: ReplicaId, bytes: &[u8]) -> Vec<Effect> {
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

/// Stored blocks of these rounds by authors for which `of` holds, in order of rounds, until they have `limit` bytes.
fn stored_in<S: Read>(
    rounds: RangeInclusive<u64>,
    store: &S,
    limit: usize,
    of: impl Fn(ReplicaId) -> bool,
) -> Result<Vec<Vec<u8>>, StoreError> {
    const ROUNDS_AT_A_TIME: u64 = 4;
    let (mut found, mut size) = (Vec::new(), 0);
    let (mut from, top) = (*rounds.start(), *rounds.end());
    while from <= top && size < limit && found.len() < MAX_ANSWERED_BLOCKS {
        let Some(next) = store.next_round(from)?.filter(|next| *next <= top) else { break };
        from = next;
        let until = from.saturating_add(ROUNDS_AT_A_TIME).min(top.saturating_add(1));
        for block in store.blocks_in(from..until)?.into_iter().filter(|block| of(block.author)) {
            size += block.bytes.len();
            found.push(block.bytes);
        }
        from = until;
    }
    Ok(found)
}

fn effects_of(steps: Vec<Step>) -> Vec<Effect> {
    let effect = |step| match step {
        Step::Send { to, message } => Effect::Send { to, message },
        Step::Fault { culprit, what } => Effect::Fault { culprit, what },
        Step::Begin => Effect::BeginStaging,
        Step::Stage(batch) => Effect::Stage(batch),
        Step::Adopt => Effect::Adopt,
    };
    steps.into_iter().map(effect).collect()
}

fn stored(block: &VerifiedBlock) -> (u64, ReplicaId, Digest, Vec<u8>) {
    (block.round(), block.author(), block.reference().digest, block.bytes().to_vec())
}
