//! The replica's own blocks: when the next is due, what it has as parents, and that nobody sees it before it is durable.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::block::{BlockRef, Header, VerifiedBlock};
use super::coins::Coins;
use super::dag::{Dag, Handle};
use super::startup::{Answer, Outcome, Question, Startup};
use super::{Effect, Order, sequence};
use crate::committee::ReplicaId;
use crate::crypto::coin::CoinSecret;
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::limits::{CATCH_UP_ROUNDS, MAX_PAYLOAD};
use crate::mutants::{Mutant, planted};

/// What a replica knows of itself.
pub(super) struct Own {
    id: ReplicaId,
    identity: Arc<SecretKey>,
    coin: CoinSecret,
    /// The block of the own highest round that is in the graph.
    last: Option<Arc<VerifiedBlock>>,
    /// Made, not durable yet.
    pending: Option<Arc<VerifiedBlock>>,
    /// Round of the last own block by the own record: the block itself may be too old to be in the graph.
    recorded: u64,
    /// No block below this round; `None` until the start-up rule has been followed.
    first_allowed: Option<u64>,
    /// The next block is the first after own blocks may have been forgotten.
    resuming: bool,
    /// A block was made since the start.
    spoke: bool,
    /// Blocks of the graph that are not in the past of the own last block.
    unlinked: BTreeSet<Handle>,
}

impl Own {
    pub fn new(id: ReplicaId, identity: Arc<SecretKey>, coin: CoinSecret) -> Self {
        Self {
            id,
            identity,
            coin,
            last: None,
            pending: None,
            recorded: 0,
            first_allowed: None,
            resuming: false,
            spoke: false,
            unlinked: BTreeSet::new(),
        }
    }

    pub fn id(&self) -> ReplicaId {
        self.id
    }

    pub fn last_block(&self) -> Option<&Arc<VerifiedBlock>> {
        self.last.as_ref()
    }

    /// Whether this replica may speak in `round`, as far as the start-up rule has said.
    pub fn may_speak_in(&self, round: u64) -> bool {
        self.first_allowed.is_none_or(|first| first <= round)
    }

    /// The highest round this replica has a durable block in, or saw one of its own.
    pub fn last_round(&self) -> u64 {
        self.last.as_ref().map_or(0, |block| block.round())
    }

    /// A block entered the graph.
    pub fn inserted(&mut self, dag: &Dag, handle: Handle, block: &Arc<VerifiedBlock>) {
        self.unlinked.insert(handle);
        if handle.author == self.id && handle.round > self.last_round() {
            self.last = Some(Arc::clone(block));
            self.link(dag, handle);
        }
    }

    fn link(&mut self, dag: &Dag, handle: Handle) {
        for linked in dag.past([handle], |block| self.unlinked.contains(&block)) {
            self.unlinked.remove(&linked);
        }
    }

    pub fn raise_floor(&mut self, floor: u64) {
        self.unlinked = self.unlinked.split_off(&Handle::first_of(floor + 1));
    }

    /// Parents of a block of `round`, and whether the own previous block is among them: a block of each author of the round
    /// before, the own previous block, and of what else is not yet in the own past the highest first.
    fn parents(&self, dag: &Dag, coins: &Coins, round: u64, oldest: u64, most: usize) -> (Vec<BlockRef>, bool) {
        let own = self.last.as_ref().map(|block| block.reference()).filter(|own| own.round >= oldest);
        let own = own.and_then(|own| dag.find(&own));
        let mut chosen: BTreeSet<Handle> = own.into_iter().collect();
        let before = dag
            .authors(round - 1)
            .iter()
            .filter(|author| !chosen.iter().any(|c| c.round + 1 == round && c.author == *author));
        let before: Vec<Handle> = before.filter_map(|author| coins.first_good(dag, round - 1, author)).collect();
        chosen.extend(before);
        let mut rest = self.unlinked.clone();
        let cover = |rest: &mut BTreeSet<Handle>, parent: Handle| {
            for covered in dag.past([parent], |block| rest.contains(&block)) {
                rest.remove(&covered);
            }
        };
        for &parent in &chosen {
            cover(&mut rest, parent);
        }
        while let Some(&late) = rest.last()
            && chosen.len() < most
        {
            let slot_taken = chosen.iter().any(|parent| (parent.round, parent.author) == (late.round, late.author));
            if late.round < round && late.round >= oldest && !slot_taken {
                chosen.insert(late);
                cover(&mut rest, late);
            } else {
                rest.remove(&late);
            }
        }
        (chosen.into_iter().map(|parent| dag.reference(parent)).collect(), own.is_some())
    }
}

impl Order {
    /// Begins the start-up rule ([`super::startup`]). `record` is the round of this replica's own last durable block by the
    /// own record: 0 if it never made one, `None` if the record is missing. `nonce` is fresh. The question goes to every
    /// other replica, and again to those who did not answer when they connect. Call it before anything is received: own
    /// blocks that come back from others must not pass for remembered ones.
    pub fn begin_start(&mut self, record: Option<u64>, nonce: [u8; 32]) -> Startup {
        // A power cut may keep the block and lose the record written with it.
        let record = record.map(|round| round.max(self.own.last_round()));
        let record = if planted(Mutant::MissingRecordIsZero) { record.or(Some(0)) } else { record };
        self.own.recorded = record.unwrap_or(0);
        if planted(Mutant::FenceSkipped) {
            self.start(Outcome::GoOn { last: self.own.recorded });
        }
        Startup::new(Arc::clone(&self.public), self.own.id, record, nonce)
    }

    /// The start-up rule is done. Until the first own block a stricter outcome from late answers counts too; answers given
    /// later see that block and say nothing about what was forgotten.
    pub fn start(&mut self, outcome: Outcome) {
        if self.own.spoke {
            return;
        }
        let round = match outcome {
            Outcome::GoOn { last } => last + 1,
            Outcome::Resume { round } => round,
        };
        self.own.resuming |= matches!(outcome, Outcome::Resume { .. });
        let first_allowed = self.own.first_allowed.get_or_insert(round);
        *first_allowed = round.max(*first_allowed);
    }

    /// This replica's answer to another's start-up question. It needs no start-up of its own.
    pub fn answer_start(&self, question: Question) -> Answer {
        let held = self.latest.get(question.asker.index()).and_then(Option::as_deref);
        let pending = self.own.pending.as_ref().map_or(0, |block| block.round());
        let own_last = self.own.last_round().max(pending).max(self.own.recorded);
        Answer::new(&self.public, self.own.id, &self.own.identity, question, own_last, held)
    }

    /// The round this replica can make a block for: a quorum of the round before is held and its coin known, no own
    /// block of it or above exists or is being made durable, and the replica is neither starting up nor catching up.
    /// With nothing to order it is not above the highest round there is, so that joining begins no new one.
    pub fn next_round(&self) -> Option<u64> {
        let first_allowed = self.own.first_allowed?;
        let (top, next) = (self.dag.top(), self.coins.finished(&self.dag) + 1);
        let joins = self.unordered.is_empty() && self.own.last_round() < top && first_allowed <= top;
        let round = if joins { top.min(next) } else { next };
        let spoken = self.own.last_round().max(self.seen(self.own.id));
        let due = round >= first_allowed && round > spoken && self.own.pending.is_none();
        (due && !self.stopped && !self.is_behind()).then_some(round)
    }

    /// Round of the last own block that is durable; 0 if there is none.
    pub fn own_last_round(&self) -> u64 {
        self.own.last_round()
    }

    /// Whether a correct replica is known to be many rounds ahead. Its blocks can be pulled, so this does not last.
    pub fn is_behind(&self) -> bool {
        let ahead = |id: ReplicaId| self.seen(id) > self.dag.quorum_round() + CATCH_UP_ROUNDS;
        self.public.committee.is_kernel(self.public.committee.ids().filter(|&id| ahead(id)).collect())
    }

    /// The agreed time if the block of [`Self::next_round`] became a leader: by how much it lags the clock shows how
    /// long it was quiet. `None` in the first round.
    pub fn time_of_round_before(&self) -> Option<Timestamp> {
        let before = self.next_round()? - 1;
        let stamp = |block| Some((self.dag.body(block)?.timestamp, block.author));
        sequence::lowest_of_a_kernel(&self.public.committee, self.dag.blocks_at(before).filter_map(stamp).collect())
    }

    /// Makes the block of [`Self::next_round`]; `None` if there is none to make. `now` is the local clock.
    ///
    /// # Panics
    /// If the payload is longer than [`MAX_PAYLOAD`].
    pub fn propose(&mut self, now: Timestamp, payload: &[u8]) -> Option<Effect> {
        assert!(payload.len() <= MAX_PAYLOAD, "the proposer keeps payloads within the limit");
        let round = self.next_round()?;
        let oldest = round.saturating_sub(self.public.depth).max(1);
        let most = self.public.max_parents();
        let (parents, linked) = self.own.parents(&self.dag, &self.coins, round, oldest, most);
        let coin = self.public.share_name(round).map(|name| self.coins.base(&name));
        let header = Header {
            epoch: self.public.epoch,
            round,
            author: self.own.id,
            parents,
            coin: coin.map_or_else(Vec::new, |coin| self.own.coin.shares(coin)),
            timestamp: now,
            gap: round > 1 && (self.own.resuming || !linked),
        };
        let block = Arc::new(VerifiedBlock::sign(&self.public, header, payload, &self.own.identity));
        self.own.pending = Some(Arc::clone(&block));
        self.own.resuming = false;
        self.own.spoke = true;
        Some(Effect::Persist(block))
    }

    /// The own block of `round` is durable: everybody may see it.
    #[must_use]
    pub fn persisted(&mut self, round: u64) -> Vec<Effect> {
        let Some(block) = self.own.pending.take_if(|block| block.round() == round) else { return Vec::new() };
        let mut effects = vec![Effect::Broadcast(Arc::clone(&block))];
        let mut inserted = Vec::new();
        self.insert(Arc::clone(&block), &mut inserted);
        effects.extend(
            inserted
                .into_iter()
                .filter(|effect| !matches!(effect, Effect::Store(stored) if Arc::ptr_eq(stored, &block))),
        );
        self.advance(&mut effects);
        effects
    }
}
