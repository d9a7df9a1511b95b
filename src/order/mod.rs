//! The total order: atomic broadcast over an uncertified DAG of signed blocks.
//!
//! Jovanovic et al., *Mahi-Mahi: Low-Latency Asynchronous BFT DAG-Based Consensus* (arXiv 2410.08670), in the asynchronous
//! model of Cachin, *Distributing Trust on the Internet* (DSN 2001), with the coin of Cachin, Kursawe and Shoup
//! ([`crate::crypto::coin`]).
//!
//! In each round a replica makes at most one block. It names as parents the blocks it has of a quorum of authors of the
//! round before, and everything else it has that its own earlier blocks do not lead to. There is no other message: what
//! a block votes for and whether it certifies is read off the graph ([`dag`], [`decide`]). Leaders of a round are drawn
//! by a coin whose shares ride in the blocks four rounds later ([`coins`]). A committed leader puts its not yet ordered
//! history in order ([`sequence`]). Missing parents are pulled by digest ([`suspended`]). A replica that starts asks
//! before it speaks ([`startup`]) and replays what it stored ([`recovery`]).
//!
//! [`Order`] is a value: inputs go in, [`Effect`]s come out, in the order in which they are to be done. It has no clock,
//! timer, disk or socket. The shell's duties:
//! - [`Effect::Store`]: write the block, without waiting for the disk. All effects before an [`Effect::Persist`] must be
//!   written before it.
//! - [`Effect::Persist`]: write the own block and the own record (its round), sync, then call [`Order::persisted`].
//!   Nobody may see the block earlier.
//! - [`Effect::Commit`]: execute, then write `rows` in one batch with the result.
//! - Call [`Order::retry`] now and then while [`Order::is_waiting`], [`Order::connected`] when a peer (re)connects, and
//!   [`Order::fetched`] when the answer to a fetch has come in full.
//! - Propose when [`Order::next_round`] gives a round and there is something to do: something to propose, or
//!   [`Order::unfinished`]. Nothing else starts a round: a quorum of the round before, with the coin that it carries, is
//!   the only pace that the order knows. A shell may wait a little under load (`node::pace`): it is a slower replica then.
//!
//! # When the coin may be known
//!
//! The value of the coin of round r needs shares of a quorum, n − f, so of f + 1 correct replicas at least. A correct
//! replica releases its share of round r with its block of round r + 4, when it holds a quorum of blocks of round r + 3.
//! With wave length five these are the votes for r: when anybody can know the leaders of r, f + 1 correct replicas each
//! hold a quorum of votes that cannot change any more. With wave length four the votes are a round further back, and a
//! replica releases its share when it holds a quorum of certificate blocks, so its quorums of votes are fixed all the more.
//! Nobody can know a leader before.
//!
//! Liveness, with wave length five (a sketch, by counting): when the coin becomes known, f + 1 correct replicas have each
//! fixed a quorum of votes. Every block of round r + 2 or later leads to a quorum of authors of round r + 1, so a block of
//! round r that f + 1 authors of round r + 1 have as parent is in the history of every vote, made or yet to be made, and is
//! committed directly if drawn. Counting parents over the correct blocks of round r + 1 gives at least f + 2 such blocks of
//! round r, at most f of them by corrupt authors: a slot succeeds with probability at least 2/(3f + 1) against a scheduler
//! that adapts to everything but the coin, and 2/3 against one that does not adapt. With wave length four there is one
//! round less to mix in and the count degenerates from f = 3 on, against an adaptive scheduler: five is the default.
//!
//! Nothing here asks whether a leader came in time. A scheduler that makes them all late changes what they order, not that
//! they are committed ([`decide`]): a late leader still orders what arrived two rounds before it, and a block that all
//! correct replicas had by round ρ has so arrived in the history of every leader from round ρ + 3 on. If votes differ
//! about the lateness, what is ordered waits for the anchor, which only has to be committed.
//!
//! Other failure structures cannot be counted. Safety needs quorums that meet in a correct replica and nothing else; what
//! liveness needs instead of the count, and how it is decided for a structure, is in [`crate::committee::check`].
//!
//! # Quiescence
//!
//! Rounds stop when nobody has anything to order. A replica wants a round while [`Order::unfinished`]: (a) a payload in its
//! graph is not ordered: then it makes the next round; or (b) its own last block is not of the highest round of its graph:
//! then it joins that round.
//!
//! Claim: when inputs stop and messages arrive, all correct replicas end with the same payload-bearing commits, and any of
//! them can begin the next round. Let m be the highest round with a block of a correct replica. That block reaches
//! everybody with its past. Nobody's graph ends with a higher round, whosever blocks are there, or (b) would have made a
//! correct block of it; so by (b) every correct replica ends with a block of round m, and everybody has a quorum of
//! them. If a payload stayed unordered in a correct replica's graph, this replica would make round m + 1 by (a),
//! against the choice of m. And what one correct replica ordered, another cannot lack: a committed leader has votes of
//! correct replicas, whose blocks reach everybody with the leader and its history in their past.
//!
//! False coin shares do not change this ([`coins`]): who joins round m or makes m + 1 needs the coin of the round
//! before, and all come to know it.
//!
//! It is not enough to join rounds that have no quorum yet: the quorum that a replica sees may count a block that a corrupt
//! author shows to nobody else, and the others wait. A replica that has decided need not carry its evidence to the
//! others: it joins the rounds that they make until they have decided too. Joining starts no round: a block of round m
//! is made because there is one.
//!
//! Unordered payloads below the floor can no longer be ordered and do not count; their operations are proposed anew by
//! whoever still holds them. A corrupt replica can keep rounds going, by beginning them or by sending payloads. It
//! costs the others what a busy owner costs them: one block each for one of its own, at the pace of the network. This
//! is not bounded further, since a replica cannot tell it from one whose owners are busy, and memory does not grow by
//! it.
//!
//! # Memory
//!
//! The graph is bounded by the depth and the window; a second block of a slot enters only if a block that waits has it as
//! parent, and a further one than there are replicas only if a block of another author leads to it; blocks without parents
//! have an allowance per author; ordered blocks shrink to a digest. Blocks of past rounds that an author left out wait
//! outside once it has [`MAX_UNORDERED_BYTES`] in the graph that are not ordered, unless another author's block leads to
//! them, or one of whoever sent them waits for its past.
//!
//! Dropping makes no two correct replicas differ for good. A block that counts for one correct replica is in the past of a
//! block of its own, since it names what it has as parents. When that block reaches another replica, what it lacks of the
//! past is *wanted*: it is asked for by digest until it comes, of everybody in turn, and what another author's block wants
//! always enters. Of a peer whose blocks were dropped unseen, all that it has is asked for at the next tick
//! ([`Order::ask_for_rest`]).
//!
//! # Deviations
//!
//! - Quorum predicates instead of stakes; a real coin instead of round-robin leaders; no timer anywhere.
//! - A coin share is no part of a block's validity: shares are checked in batches, when a coin is drawn ([`coins`]).
//! - Order inside a commit is by arrival round and coin, not by (round, author). A leader that came late orders only
//!   what had arrived two rounds before ([`decide`], [`sequence`]).
//! - One block of a slot is ordered, whatever twins exist. Garbage collection depends on committed leaders only: a leader
//!   at round r orders nothing of round r − depth or below, whoever holds what.
//! - Two certified twins (more corrupt replicas than the committee stands) stop the order with evidence, without a panic.

mod block;
mod coins;
mod dag;
mod decide;
pub mod evidence;
mod exchange;
mod fault;
mod proposal;
mod public;
mod recovery;
mod sequence;
pub mod startup;
#[cfg(test)]
mod startup_model;
mod suspended;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use block::{BlockFault, BlockRef, Header, VerifiedBlock, Verifier, VerifyEach};
pub use fault::Fault;
pub use public::{OrderPublic, OrderPublicError, WaveLength};
pub use recovery::{CURSOR_KEY, Recovered, RecoveryError, settled_block};

use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::coin::{CoinSecret, CoinValue};
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::limits::{ACCEPT_WINDOW, ALIVE_ROUNDS, KEPT_ROUNDS, MAX_KEPT_BLOCK, MAX_UNORDERED_BYTES};
use crate::mutants::{Mutant, planted};
use crate::rows::Row;
use coins::Coins;
use dag::{Dag, Handle};
use decide::{Decisions, Extent, Slot};
use evidence::{Evidence, Misdeed};
use proposal::Own;
use recovery::Cursor;
use suspended::Suspended;

/// What the shell does for the order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Write the block; no sync.
    Store(Arc<VerifiedBlock>),
    /// Write the own block and the own record, sync, then call [`Order::persisted`] with its round.
    Persist(Arc<VerifiedBlock>),
    /// Send to every other replica.
    Broadcast(Arc<VerifiedBlock>),
    Send {
        to: ReplicaId,
        block: Arc<VerifiedBlock>,
    },
    /// Ask `from` for these blocks and their authors' chains above round `above`; without references, for all it has above
    /// that round. See [`Order::serve`].
    Fetch {
        from: ReplicaId,
        refs: Vec<BlockRef>,
        above: u64,
    },
    Commit(Commit),
    /// Write these rows; no sync. They are evidence for the [`Effect::Fault`] that follows.
    Keep(Vec<Row>),
    /// Given once for each misdeed, also across restarts.
    Fault(Fault),
}

/// The next piece of the total order: a committed leader with its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// From 1, without gaps.
    pub height: u64,
    pub leader: BlockRef,
    pub round: u64,
    pub coin: CoinValue,
    /// Never less than that of the commit before.
    pub agreed_time: Timestamp,
    /// In order of execution; possibly none.
    pub blocks: Vec<Arc<VerifiedBlock>>,
    /// Authors of blocks ordered up to here in the last [`ALIVE_ROUNDS`] rounds up to the leader.
    pub alive: ReplicaSet,
    /// To be written with the result of the execution.
    pub rows: Vec<Row>,
}

/// A block that waited for its parents, and who sent it.
type Freed = (Arc<VerifiedBlock>, ReplicaSet);

/// One replica's view of the order.
pub struct Order {
    public: Arc<OrderPublic>,
    dag: Dag,
    suspended: Suspended,
    decisions: Decisions,
    coins: Coins,
    cursor: Cursor,
    own: Own,
    /// Blocks with a payload that are not ordered yet.
    unordered: BTreeSet<Handle>,
    /// Their bytes, by author.
    unordered_bytes: Vec<usize>,
    /// The valid block of the highest round received or read back, by author: also evidence for [`startup`].
    latest: Vec<Option<Arc<VerifiedBlock>>>,
    /// The misdeeds that were reported.
    evidence: Evidence,
    /// A request for all blocks above a round is on its way.
    catching_up: bool,
    /// Insertions so far, and how many there were at the last request to each peer: answers that bring nothing are not
    /// followed by another request.
    inserted: u64,
    requested_at: Vec<u64>,
    /// Calls of [`Self::retry`] since a block came that was new, or a peer connected.
    quiet_ticks: u32,
    stopped: bool,
}

impl Order {
    /// A replica that starts, from what its disk has. The effects re-emit the commits above the stored height. It proposes
    /// nothing before [`Self::start`].
    pub fn new(
        public: Arc<OrderPublic>,
        me: ReplicaId,
        identity: Arc<SecretKey>,
        coin: CoinSecret,
        recovered: Recovered,
    ) -> (Self, Vec<Effect>) {
        let committee = public.committee.clone();
        let Recovered { cursor, settled, blocks, evidence, .. } = recovered;
        let floor = cursor.floor(public.depth);
        let mut order = Self {
            dag: Dag::new(committee.clone(), public.wave.vote_offset(), floor),
            suspended: Suspended::new(committee.clone()),
            decisions: Decisions::default(),
            coins: Coins::new(cursor.next().round),
            cursor,
            own: Own::new(me, identity, coin),
            unordered: BTreeSet::new(),
            unordered_bytes: vec![0; committee.len()],
            latest: vec![None; committee.len()],
            evidence,
            catching_up: false,
            inserted: 0,
            requested_at: vec![0; committee.len()],
            quiet_ticks: 0,
            stopped: false,
            public,
        };
        let usable = |reference: &&BlockRef| reference.round > floor && committee.contains(reference.author);
        for reference in settled.iter().filter(usable) {
            order.dag.insert_settled(reference);
        }
        order.dag.compact(cursor.round.saturating_sub(KEPT_ROUNDS));
        let mut effects = Vec::new();
        for block in blocks.into_values() {
            order.place(me, Arc::new(block), &mut effects);
        }
        order.advance(&mut effects);
        // What came from the disk is on the disk.
        effects.retain(|effect| matches!(effect, Effect::Commit(_) | Effect::Keep(_) | Effect::Fault(_)));
        (order, effects)
    }

    /// For a simulator that goes through all coins: their values, whatever the shares say.
    pub fn take_coins_from(&mut self, drawn: Box<dyn Fn(u64) -> CoinValue + Send>) {
        self.coins.drawn = Some(drawn);
    }

    /// A valid block came, from `from` or through it.
    #[must_use]
    pub fn receive(&mut self, from: ReplicaId, block: impl Into<Arc<VerifiedBlock>>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.accept(from, block.into(), &mut effects);
        self.advance(&mut effects);
        effects
    }

    fn accept(&mut self, from: ReplicaId, block: Arc<VerifiedBlock>, effects: &mut Vec<Effect>) {
        let reference = block.reference();
        if self.knows(&reference) {
            return self.sent_again(from, &reference);
        }
        self.note_latest(&block);
        if reference.round > self.accepted_up_to() {
            return self.catch_up(from, effects);
        }
        if let Some(fault) = self.equivocation(&block) {
            self.accuse(fault, effects);
        }
        if self.may_enter(&block, [from].into_iter().collect()) {
            self.place(from, block, effects);
        }
    }

    /// Whether a block of this name is worth the costly checks. What is not wanted now can be pulled by its digest when a
    /// block that has it as parent comes.
    pub fn wants(&self, reference: &BlockRef) -> bool {
        if !self.public.committee.contains(reference.author) {
            return true;
        }
        if self.knows(reference) {
            return false;
        }
        if reference.round > self.accepted_up_to() {
            return reference.round > self.seen(reference.author);
        }
        self.is_welcome(reference) || self.is_news(reference)
    }

    /// `from` sent a block of this name that is not wanted. If it waits for its parents, `from` vouches for them too.
    pub fn sent_again(&mut self, from: ReplicaId, reference: &BlockRef) {
        self.suspended.sent_again(from, reference);
    }

    /// Whether it would be the first sign that the author made two blocks for this round.
    fn is_news(&self, reference: &BlockRef) -> bool {
        !self.evidence.was_said(reference.round, reference.author, Misdeed::Equivocation)
            && self.first_of(reference.round, reference.author).is_some()
    }

    /// The highest round of blocks that are kept; those of later rounds only show that their authors are ahead.
    fn accepted_up_to(&self) -> u64 {
        let window = if planted(Mutant::FutureUnbounded) { u64::MAX / 2 } else { ACCEPT_WINDOW };
        self.own.last_round().max(self.dag.quorum_round()) + window
    }

    fn note_latest(&mut self, block: &Arc<VerifiedBlock>) {
        if block.round() > self.seen(block.author()) {
            self.quiet_ticks = 0;
            self.latest[block.author().index()] = Some(Arc::clone(block));
        }
    }

    /// Highest round of a valid block of `author` that was received.
    fn seen(&self, author: ReplicaId) -> u64 {
        self.latest.get(author.index()).and_then(Option::as_ref).map_or(0, |block| block.round())
    }

    /// A second block of a slot enters only because a block that waits leads to it, and a further one than there are
    /// replicas only if that block is another author's: otherwise one liar could fill the graph. Those who need it later
    /// pull it.
    fn is_welcome(&self, reference: &BlockRef) -> bool {
        match self.dag.twins(reference.round, reference.author).count() {
            0 => true,
            twins if twins < self.public.committee.len() => {
                self.suspended.is_parent(reference) && !planted(Mutant::WantedTwinRefused)
            }
            _ => self.suspended.is_wanted(reference) && !planted(Mutant::WantedTwinRefused),
        }
    }

    /// A corrupt author could fill the memory with blocks of rounds that it left out, since they stay until they are
    /// ordered. Blocks that the next round needs always have room, and so have those that another author's block leads
    /// to, or may lead to: who sent it has a block here that waits for its past.
    fn may_enter(&self, block: &VerifiedBlock, senders: ReplicaSet) -> bool {
        let reference = block.reference();
        let bytes = self.unordered_bytes[reference.author.index()] + block.bytes().len();
        let has_room = reference.round >= self.dag.quorum_round() || bytes <= MAX_UNORDERED_BYTES;
        let is_owed = || senders.iter().any(|sender| sender != reference.author && self.suspended.awaits(sender));
        self.is_welcome(&reference) && (has_room || self.suspended.is_wanted(&reference) || is_owed())
    }

    /// Puts a block into the graph, or keeps it until its parents are there.
    fn place(&mut self, from: ReplicaId, block: Arc<VerifiedBlock>, effects: &mut Vec<Effect>) {
        let missing: BTreeSet<BlockRef> =
            block.header().parents.iter().filter(|parent| !self.dag.has(parent)).copied().collect();
        if missing.is_empty() {
            return self.insert(block, effects);
        }
        self.quiet_ticks = 0;
        let ask = if from == self.own.id() { block.author() } else { from };
        let (_, refs) = self.suspended.add(ask, block, missing);
        if !refs.is_empty() && ask != self.own.id() {
            self.requested_at[ask.index()] = self.inserted;
            effects.push(self.fetch(ask, refs));
        }
    }

    /// Inserts a block whose parents are there, and then all that waited for it.
    fn insert(&mut self, block: Arc<VerifiedBlock>, effects: &mut Vec<Effect>) {
        let mut ready = vec![(block, ReplicaSet::EMPTY)];
        let mut first = true;
        while let Some((block, senders)) = ready.pop() {
            let reference = block.reference();
            let welcome = std::mem::take(&mut first) || self.may_enter(&block, senders);
            if reference.round <= self.dag.floor() || !welcome {
                continue;
            }
            self.note_latest(&block);
            let has_payload = !block.payload().is_empty() && !planted(Mutant::UnorderedForgotten);
            let handle = self.dag.insert(Arc::clone(&block));
            self.inserted += 1;
            self.quiet_ticks = 0;
            if has_payload && !self.dag.emitted(handle.round).contains(handle.author) {
                self.unordered.insert(handle);
                self.unordered_bytes[handle.author.index()] += block.bytes().len();
            }
            self.own.inserted(&self.dag, handle, &block);
            self.suspended.slot_taken(handle.round, handle.author);
            ready.extend(self.suspended.resolve(&reference));
            effects.push(Effect::Store(block));
        }
    }

    /// Draws the coins, decides the leaders, emits the commits that the graph now allows.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        loop {
            self.draw_coins(effects);
            if self.stopped {
                return;
            }
            if let Err(broken) = self.decisions.update(&self.public, &self.dag) {
                return self.stop(broken, effects);
            }
            let mut freed = Vec::new();
            while let Some((slot, committed)) = self.decisions.take_first() {
                if let Some((leader, extent)) = committed {
                    let (commit, free) = self.commit(slot, leader, extent);
                    effects.push(Effect::Commit(commit));
                    freed.extend(free);
                }
            }
            if freed.is_empty() {
                return;
            }
            for (block, _) in freed {
                self.insert(block, effects);
            }
        }
    }

    fn draw_coins(&mut self, effects: &mut Vec<Effect>) {
        let mut faults = Vec::new();
        while let Some((round, coin)) = self.coins.draw(&self.public, &self.dag, self.own.id(), &mut faults) {
            let mut leaders = self.public.leaders(&coin);
            let next = self.cursor.next();
            let settled = if round == next.round { next.index.min(leaders.len()) } else { 0 };
            self.decisions.add_leaders(Slot { round, index: settled }, leaders.split_off(settled));
        }
        for fault in faults {
            self.accuse(fault, effects);
        }
    }

    /// Says a fault, once, and keeps the evidence.
    fn accuse(&mut self, fault: Fault, effects: &mut Vec<Effect>) {
        let Some(rows) = self.evidence.note(&fault) else { return };
        effects.extend((!rows.is_empty()).then_some(Effect::Keep(rows)));
        effects.push(Effect::Fault(fault));
    }

    fn stop(&mut self, broken: decide::TrustBroken, effects: &mut Vec<Effect>) {
        self.stopped = true;
        let decide::TrustBroken { round, author } = broken;
        let blocks = self.dag.twins(round, author).map(|block| self.dag.reference(block)).collect();
        effects.push(Effect::Fault(Fault::TrustBroken { author, round, blocks }));
    }

    /// Emits what `leader` commits. Everything here follows from the leader's history, its extent and the commits
    /// before. Also returns the blocks that come free because parents fell below the floor.
    fn commit(&mut self, slot: Slot, leader: Handle, extent: Extent) -> (Commit, Vec<Freed>) {
        let committee = &self.public.committee.clone();
        let coin = *self.coins.get(slot.round).expect("a round's leaders are known by its coin");
        let agreed_time = sequence::agreed_time(&self.dag, committee, leader, self.cursor.agreed_time);
        self.cursor =
            Cursor { height: self.cursor.height + 1, round: slot.round, index: slot.index as u8, agreed_time };
        let floor = match planted(Mutant::FloorByOwnProgress) {
            true => self.dag.quorum_round().saturating_sub(self.public.depth).max(self.dag.floor()),
            false => self.cursor.floor(self.public.depth),
        };
        let history = self.dag.past([leader], |block| block.round > floor && !self.dag.is_settled(block));
        let ordered = sequence::order(&self.dag, committee, (leader, extent), &coin, history);
        let leader = self.dag.reference(leader);
        let mut blocks = Vec::new();
        let mut rows = vec![self.cursor.row()];
        for handle in ordered {
            let reference = self.dag.reference(handle);
            if self.dag.set_emitted(handle.round, handle.author) || planted(Mutant::BothTwinsEmitted) {
                let block = self.dag.block(handle).expect("blocks stay in memory until they are ordered");
                rows.push(recovery::emitted_row(self.cursor.height, &reference));
                blocks.push(Arc::clone(block));
            } else {
                rows.extend((!planted(Mutant::PassedOverForgotten)).then(|| recovery::passed_over_row(&reference)));
            }
            self.dag.settle(handle, MAX_KEPT_BLOCK);
        }
        self.forget_ordered(floor);
        let alive = self.alive(slot.round);
        let freed = self.collect_garbage(slot.round, floor, &mut rows);
        let commit =
            Commit { height: self.cursor.height, leader, round: slot.round, coin, agreed_time, blocks, alive, rows };
        (commit, freed)
    }

    fn forget_ordered(&mut self, floor: u64) {
        self.unordered.retain(|block| block.round > floor && !self.dag.emitted(block.round).contains(block.author));
        self.unordered_bytes.fill(0);
        for &handle in &self.unordered {
            let size = self.dag.block(handle).map_or(0, |block| block.bytes().len());
            self.unordered_bytes[handle.author.index()] += size;
        }
    }

    fn alive(&self, round: u64) -> ReplicaSet {
        let lately = (round + 1).saturating_sub(ALIVE_ROUNDS).max(1)..=round;
        let ordered = |round| match planted(Mutant::AliveByArrival) {
            true => self.dag.authors(round),
            false => self.dag.emitted(round),
        };
        lately.fold(ReplicaSet::EMPTY, |alive, round| alive.union(ordered(round)))
    }

    fn collect_garbage(&mut self, leader_round: u64, floor: u64, rows: &mut Vec<Row>) -> Vec<Freed> {
        self.coins.collect_garbage(leader_round, floor);
        self.dag.compact(leader_round.saturating_sub(KEPT_ROUNDS));
        if floor <= self.dag.floor() {
            return Vec::new();
        }
        let dropped = self.dag.raise_floor(floor);
        rows.extend(
            dropped.iter().flat_map(|(round, author, settled)| recovery::dropped_rows(*round, *author, settled)),
        );
        self.own.raise_floor(floor);
        rows.extend(self.evidence.raise_floor(floor));
        self.suspended.raise_floor(floor)
    }

    /// Evidence, if `block` is a second one of its slot and this was not reported yet.
    fn equivocation(&self, block: &Arc<VerifiedBlock>) -> Option<Fault> {
        let (author, round) = (block.author(), block.round());
        let first = self.first_of(round, author).cloned()?;
        Some(Fault::Equivocation { author, round, blocks: [first, Arc::clone(block)] })
    }

    /// A block of the slot that is at hand. Of a slot that was ordered long ago the bytes are not; a late twin there
    /// changes nothing any more.
    fn first_of(&self, round: u64, author: ReplicaId) -> Option<&Arc<VerifiedBlock>> {
        let in_graph = self.dag.twins(round, author).find_map(|twin| self.dag.block(twin));
        in_graph.or_else(|| self.suspended.block_at(round, author))
    }

    /// Blocks that entered the graph since the start.
    pub fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Whether a block of this name needs no verification and no place any more.
    pub fn knows(&self, reference: &BlockRef) -> bool {
        let known_author = self.public.committee.contains(reference.author);
        known_author && (self.dag.has(reference) || self.suspended.contains(reference))
    }

    /// A payload is not ordered yet, or somebody has a block of a later round than the own last one. A replica that forgot
    /// what it said and may not speak in the next round either has nothing to join: it waits for the others.
    pub fn unfinished(&self) -> bool {
        let top = self.dag.top();
        let joins = self.own.may_speak_in(top + 1) && self.own.last_round() < top && !planted(Mutant::JoinsNoRound);
        !self.unordered.is_empty() || joins
    }

    /// Blocks with a payload that wait to be ordered, in no order that means anything.
    pub fn unordered(&self) -> impl Iterator<Item = &Arc<VerifiedBlock>> {
        self.unordered.iter().filter_map(|&block| self.dag.block(block))
    }

    /// Bytes of the blocks with a payload that wait to be ordered.
    pub fn unordered_bytes(&self) -> usize {
        self.unordered_bytes.iter().sum()
    }

    pub fn block(&self, reference: &BlockRef) -> Option<&Arc<VerifiedBlock>> {
        self.dag.block(self.dag.find(reference)?)
    }

    /// Rounds above this have all blocks in memory, but for large ordered ones; the others are on disk only.
    pub fn memory_floor(&self) -> u64 {
        self.dag.compacted()
    }

    pub fn height(&self) -> u64 {
        self.cursor.height
    }

    /// The round of the last committed leader.
    pub fn committed_round(&self) -> u64 {
        self.cursor.round
    }

    pub fn agreed_time(&self) -> Timestamp {
        self.cursor.agreed_time
    }

    /// The highest round with blocks of a quorum.
    pub fn quorum_round(&self) -> u64 {
        self.dag.quorum_round()
    }

    /// Blocks that wait for their parents.
    pub fn suspended_blocks(&self) -> usize {
        self.suspended.len()
    }
}
