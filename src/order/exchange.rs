//! What is asked of peers and answered to them: missing blocks by digest, all above a round for one who is behind, and the
//! own last block again while something is unfinished. Who has what is guessed; each request goes to another peer in turn.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::block::{BlockRef, VerifiedBlock};
use super::dag::Handle;
use super::{Effect, Order};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::limits::MAX_TICKS_UNASKED;

impl Order {
    /// Asks `from` for all that it has above the last complete round: something it sent was dropped.
    #[must_use]
    pub fn ask_for_rest(&mut self, from: ReplicaId) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.catching_up = false;
        self.catch_up(from, &mut effects);
        effects
    }

    /// Asks `from` for what lies between, unless that is under way.
    pub(super) fn catch_up(&mut self, from: ReplicaId, effects: &mut Vec<Effect>) {
        if !self.catching_up && from != self.own.id() {
            self.catching_up = true;
            self.requested_at[from.index()] = self.inserted;
            effects.push(Effect::Fetch { from, refs: Vec::new(), above: self.dag.quorum_round() });
        }
    }

    /// Asks for `refs` and what else may be missing of their authors' chains: a corrupt replica can show a long chain of
    /// its blocks to one replica only, and pulling it block by block would take the others a round trip for each. The more
    /// blocks of an author wait, the deeper the request goes.
    pub(super) fn fetch(&self, from: ReplicaId, refs: Vec<BlockRef>) -> Effect {
        let held = |missing: &BlockRef| {
            let deeper = 4 * self.suspended.len_of(missing.author) as u64;
            self.dag.highest_of(missing.author, missing.round - 1).saturating_sub(deeper)
        };
        let above = refs.iter().map(held).min().unwrap_or(0).max(self.dag.floor());
        Effect::Fetch { from, refs, above }
    }

    /// The answer of `from` to a fetch has come in full. Asks it for the rest, if it brought anything and there is more.
    #[must_use]
    pub fn fetched(&mut self, from: ReplicaId) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.catching_up = false;
        if self.requested_at.get(from.index()).is_none_or(|before| *before == self.inserted) {
            return effects;
        }
        let refs = self.suspended.asked_of(from);
        if !refs.is_empty() {
            self.requested_at[from.index()] = self.inserted;
            effects.push(self.fetch(from, refs));
        }
        if self.is_behind() {
            self.catch_up(from, &mut effects);
        }
        effects
    }

    /// For the shell's tick: asks again, and others, for what is missing; sends the own last block again while something is
    /// unfinished.
    #[must_use]
    pub fn retry(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.catching_up = false;
        let above = self.dag.quorum_round();
        if self.unfinished() {
            effects.extend(self.own.last_block().cloned().map(Effect::Broadcast));
        }
        if !self.is_time_to_ask() {
            return effects;
        }
        let spoke_in = |author| self.dag.highest_of(author, self.dag.top());
        for (from, refs) in self.suspended.requests(self.own.id(), spoke_in) {
            self.requested_at[from.index()] = self.inserted;
            effects.push(self.fetch(from, refs));
        }
        for from in self.public.committee.ids().filter(|&id| id != self.own.id()) {
            if self.seen(from) > self.dag.top() {
                self.requested_at[from.index()] = self.inserted;
                effects.push(Effect::Fetch { from, refs: Vec::new(), above });
            }
        }
        effects
    }

    /// At every tick as long as blocks come or peers connect, until everybody was asked twice in vain. Then what is missing
    /// may be lost with its author's disk, and nobody has it until the author speaks again: ever more seldom.
    fn is_time_to_ask(&mut self) -> bool {
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        let twice = 2 * self.public.committee.len() as u32;
        let seldom = self.quiet_ticks.is_power_of_two() || self.quiet_ticks.is_multiple_of(MAX_TICKS_UNASKED);
        self.quiet_ticks <= twice || seldom
    }

    /// `peer` connected: it may have missed the own last block, and have what is missing here.
    #[must_use]
    pub fn connected(&mut self, peer: ReplicaId) -> Vec<Effect> {
        self.quiet_ticks = 0;
        let block = self.own.last_block().cloned();
        block.map(|block| Effect::Send { to: peer, block }).into_iter().collect()
    }

    /// Whether [`Self::retry`] may have something to do.
    pub fn is_waiting(&self) -> bool {
        self.suspended.is_missing_any()
            || self.unfinished()
            || self.public.committee.ids().any(|id| self.seen(id) > self.dag.top())
    }

    /// The own last block that is durable.
    pub fn own_last_block(&self) -> Option<&Arc<VerifiedBlock>> {
        self.own.last_block()
    }

    /// The blocks above `round` in memory, in order of rounds, up to `limit` bytes (but at least one).
    pub fn blocks_after(&self, round: u64, limit: usize) -> Vec<Arc<VerifiedBlock>> {
        let rounds = round.max(self.dag.floor()).saturating_add(1)..=self.dag.top();
        let blocks = rounds.flat_map(|round| self.dag.blocks_at(round)).filter_map(|block| self.dag.block(block));
        up_to(limit, blocks)
    }

    /// What to answer to a fetch of `refs`: those and their authors' chains above round `above`, as far as they are in
    /// memory, the oldest first, up to `limit` bytes; and the names among `refs` that have to be looked up on disk,
    /// likewise with their authors' blocks between. Without `refs`, [`Self::blocks_after`].
    pub fn serve(&self, refs: &[BlockRef], above: u64, limit: usize) -> (Vec<Arc<VerifiedBlock>>, Vec<BlockRef>) {
        if refs.is_empty() {
            return (self.blocks_after(above, limit), Vec::new());
        }
        let known = |reference: &&BlockRef| self.public.committee.contains(reference.author);
        let (held, on_disk): (Vec<&BlockRef>, Vec<&BlockRef>) =
            refs.iter().filter(known).partition(|reference| self.block(reference).is_some());
        let roots: BTreeSet<Handle> = held.into_iter().filter_map(|reference| self.dag.find(reference)).collect();
        let authors: ReplicaSet = roots.iter().map(|root| root.author).collect();
        let in_chain = |block: Handle| block.round > above && authors.contains(block.author);
        let found = self.dag.past(roots.iter().copied(), |block| roots.contains(&block) || in_chain(block));
        let blocks = found.iter().filter_map(|&block| self.dag.block(block));
        (up_to(limit, blocks), on_disk.into_iter().copied().collect())
    }
}

fn up_to<'a>(limit: usize, blocks: impl Iterator<Item = &'a Arc<VerifiedBlock>>) -> Vec<Arc<VerifiedBlock>> {
    let mut bytes = 0;
    let within = |block: &&Arc<VerifiedBlock>| {
        let first = bytes == 0;
        bytes += block.bytes().len();
        first || bytes <= limit
    };
    blocks.take_while(within).cloned().collect()
}
