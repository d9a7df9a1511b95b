//! The graph of blocks above the floor, and for each block the leader slots it votes for.
//!
//! A block is inserted once all its parents above the floor are there. What it *supports* is computed then, from its
//! parents' rows alone, and never again: for each slot (round, author) of the last rounds the one block of the slot that
//! the block votes for. That is the block of the slot among its parents, or else what its first parent that supports any
//! supports. Twins do not matter: a block supports at most one of them.
//!
//! It also *finds* the supported block *timely* or not (ours; Mahi-Mahi does not ask): timely, if blocks of the very next
//! round that have it as parent, by authors that together are a kernel, are in the voter's past (of an author with
//! twins, among its parents that support the same one). What for: a corrupt replica could keep its slot of an early
//! round free until it sees a registration that it covets, and then fill it with a rival one. Others still have three
//! rounds to vote for it, the coin makes it a leader as often as a block made in time, and a leader's history is
//! ordered before all that is in later rounds: measured at n = 4, such a block won two races of three. For a timely
//! block a correct replica had it when it made its block of the next round, and what leads an earlier round was there
//! earlier. A late leader is committed all the same, but orders only what had arrived well before: not itself, for one
//! ([`super::decide`], [`super::sequence`]). Both follow from a block's past, so all agree on them.
//!
//! Blocks that are ordered and old keep only their digest: they answer "is this parent there" and nothing else.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::block::{BlockRef, VerifiedBlock};
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::mutants::{Mutant, planted};

/// Where a block is in the graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Handle {
    pub round: u64,
    pub author: ReplicaId,
    /// Which of the blocks of this round and author, in order of insertion.
    pub twin: u32,
}

impl Handle {
    /// None of `round` is less.
    pub fn first_of(round: u64) -> Self {
        Self { round, author: ReplicaId(0), twin: 0 }
    }
}

struct Node {
    digest: Digest,
    /// A committed leader ordered it, or passed it over for good.
    settled: bool,
    body: Option<Box<Body>>,
}

pub(super) struct Body {
    pub timestamp: Timestamp,
    /// Parents that were above the floor, in the block's own order.
    pub parents: Vec<Handle>,
    /// `None` once ordered if it is large.
    pub block: Option<Arc<VerifiedBlock>>,
    /// By rounds back (1, 2 …), then author.
    support: Vec<Option<Supported>>,
}

/// The block of a slot that a block votes for.
#[derive(Clone, Copy)]
struct Supported {
    twin: u32,
    /// Whose blocks of the next round have it as parent.
    linked_by: ReplicaSet,
}

#[derive(Default)]
struct Round {
    /// Authors with a block here.
    authors: ReplicaSet,
    /// Authors whose block of this round is ordered.
    emitted: ReplicaSet,
    slots: Vec<Vec<Node>>,
}

pub(super) struct Dag {
    committee: Committee,
    /// Rounds back that support is kept for.
    window: u64,
    /// Blocks of this round and below are gone, and count as present when they are parents.
    floor: u64,
    /// From floor + 1 upwards.
    rounds: VecDeque<Round>,
    quorum_round: u64,
    /// Rounds up to here hold no bodies of ordered blocks.
    compacted: u64,
}

impl Dag {
    pub fn new(committee: Committee, window: u64, floor: u64) -> Self {
        Self { committee, window, floor, rounds: VecDeque::new(), quorum_round: floor, compacted: floor }
    }

    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The highest round with blocks of a quorum of authors; the floor if there is none.
    pub fn quorum_round(&self) -> u64 {
        self.quorum_round
    }

    /// The highest round with any block; the floor if there is none.
    pub fn top(&self) -> u64 {
        self.floor + self.rounds.len() as u64
    }

    /// Rounds above this have every block in memory, but for large ordered ones.
    pub fn compacted(&self) -> u64 {
        self.compacted.max(self.floor)
    }

    /// The highest round up to `round` with a block of `author`; the floor if there is none.
    pub fn highest_of(&self, author: ReplicaId, round: u64) -> u64 {
        let mut rounds = self.floor + 1..=round.min(self.top());
        rounds.rfind(|&round| self.authors(round).contains(author)).unwrap_or(self.floor)
    }

    pub fn authors(&self, round: u64) -> ReplicaSet {
        self.round(round).map_or(ReplicaSet::EMPTY, |round| round.authors)
    }

    pub fn emitted(&self, round: u64) -> ReplicaSet {
        self.round(round).map_or(ReplicaSet::EMPTY, |round| round.emitted)
    }

    pub fn find(&self, reference: &BlockRef) -> Option<Handle> {
        let nodes = self.slot(reference.round, reference.author);
        let twin = nodes.iter().position(|node| node.digest == reference.digest)?;
        Some(Handle { round: reference.round, author: reference.author, twin: twin as u32 })
    }

    /// Whether the block need not be waited for.
    pub fn has(&self, reference: &BlockRef) -> bool {
        reference.round <= self.floor || self.find(reference).is_some()
    }

    pub fn reference(&self, handle: Handle) -> BlockRef {
        BlockRef { round: handle.round, author: handle.author, digest: self.node(handle).digest }
    }

    /// The blocks of a slot: none, one, or twins.
    pub fn twins(&self, round: u64, author: ReplicaId) -> impl Iterator<Item = Handle> + use<> {
        (0..self.slot(round, author).len() as u32).map(move |twin| Handle { round, author, twin })
    }

    /// All blocks of a round.
    pub fn blocks_at(&self, round: u64) -> impl Iterator<Item = Handle> + '_ {
        self.authors(round).iter().flat_map(move |author| self.twins(round, author))
    }

    pub fn body(&self, handle: Handle) -> Option<&Body> {
        self.find_node(handle)?.body.as_deref()
    }

    pub fn block(&self, handle: Handle) -> Option<&Arc<VerifiedBlock>> {
        self.body(handle)?.block.as_ref()
    }

    pub fn is_settled(&self, handle: Handle) -> bool {
        self.find_node(handle).is_none_or(|node| node.settled)
    }

    /// Which block of the slot (`round`, `author`) the block `voter` supports.
    pub fn support(&self, voter: Handle, round: u64, author: ReplicaId) -> Option<Handle> {
        self.supported(voter, round, author).map(|supported| Handle { round, author, twin: supported.twin })
    }

    /// Whether `voter` finds the block timely that it supports of the slot.
    pub fn finds_timely(&self, voter: Handle, round: u64, author: ReplicaId) -> bool {
        let supported = self.supported(voter, round, author);
        supported.is_some_and(|it| self.committee.is_kernel(it.linked_by) || planted(Mutant::LateLeaders))
    }

    fn supported(&self, voter: Handle, round: u64, author: ReplicaId) -> Option<&Supported> {
        let index = self.support_index(voter.round, round, author)?;
        self.body(voter)?.support[index].as_ref()
    }

    /// Inserts a block whose parents all are [`Self::has`]; does nothing to one that is there.
    pub fn insert(&mut self, block: Arc<VerifiedBlock>) -> Handle {
        let reference = block.reference();
        let parents: Vec<Handle> = block.header().parents.iter().filter_map(|parent| self.find(parent)).collect();
        let support = self.compute_support(&reference, &parents);
        let body = Box::new(Body { timestamp: block.header().timestamp, parents, block: Some(block), support });
        let handle = self.insert_node(&reference, false);
        self.node_mut(handle).body.get_or_insert(body);
        handle
    }

    /// Inserts a block that was settled before the process started, by its name. A passed over twin means that the slot's
    /// other block was ordered.
    pub fn insert_settled(&mut self, reference: &BlockRef) {
        self.insert_node(reference, true);
        self.set_emitted(reference.round, reference.author);
    }

    fn insert_node(&mut self, reference: &BlockRef, settled: bool) -> Handle {
        if let Some(handle) = self.find(reference) {
            return handle;
        }
        let slots = self.committee.len();
        while self.top() < reference.round {
            self.rounds.push_back(Round { slots: (0..slots).map(|_| Vec::new()).collect(), ..Round::default() });
        }
        let index = (reference.round - self.floor - 1) as usize;
        let round = &mut self.rounds[index];
        round.authors.insert(reference.author);
        if self.committee.is_quorum(round.authors) {
            self.quorum_round = self.quorum_round.max(reference.round);
        }
        let nodes = &mut round.slots[reference.author.index()];
        // Few slots have twins, and names are kept for twice the depth: room for four each would be most of the memory.
        nodes.reserve_exact(1);
        nodes.push(Node { digest: reference.digest, settled, body: None });
        Handle { round: reference.round, author: reference.author, twin: nodes.len() as u32 - 1 }
    }

    /// The slot's block among the parents, or what the first parent that supports any supports; and who linked it in time.
    fn compute_support(&self, block: &BlockRef, parents: &[Handle]) -> Vec<Option<Supported>> {
        let round = block.round;
        let mut support = vec![None; self.window as usize * self.committee.len()];
        for parent in parents {
            if let Some(index) = self.support_index(round, parent.round, parent.author) {
                let twin = if planted(Mutant::SupportByArrival) { 0 } else { parent.twin };
                let linked_by = (parent.round + 1 == round).then_some(block.author).into_iter().collect();
                support[index] = Some(Supported { twin, linked_by });
            }
        }
        for parent in parents {
            let Some(body) = self.body(*parent) else { continue };
            // A parent's row for k rounds back is the block's row for k + (difference of rounds) back.
            let shift = ((round - parent.round) as usize).saturating_mul(self.committee.len());
            for (slot, inherited) in support.iter_mut().skip(shift).zip(&body.support) {
                *slot = match (*slot, *inherited) {
                    (Some(ours), Some(theirs)) if ours.twin == theirs.twin => {
                        Some(Supported { linked_by: ours.linked_by.union(theirs.linked_by), ..ours })
                    }
                    (ours, theirs) => ours.or(theirs),
                };
            }
        }
        support
    }

    fn support_index(&self, voter: u64, round: u64, author: ReplicaId) -> Option<usize> {
        let back = voter.checked_sub(round).filter(|back| (1..=self.window).contains(back))?;
        Some((back - 1) as usize * self.committee.len() + author.index())
    }

    /// Marks a block as ordered or passed over, and lets it go from memory if it is large.
    pub fn settle(&mut self, handle: Handle, largest_kept: usize) {
        let old = handle.round <= self.compacted;
        let node = self.node_mut(handle);
        node.settled = true;
        if old {
            node.body = None;
        }
        if let Some(body) = &mut node.body
            && body.block.as_ref().is_some_and(|block| block.bytes().len() > largest_kept)
        {
            body.block = None;
        }
    }

    /// Marks the slot as ordered; `false` if it was.
    pub fn set_emitted(&mut self, round: u64, author: ReplicaId) -> bool {
        let index = (round - self.floor - 1) as usize;
        self.rounds[index].emitted.insert(author)
    }

    /// Drops the bodies of settled blocks up to `round`.
    pub fn compact(&mut self, round: u64) {
        let from = self.compacted.max(self.floor) + 1;
        for round in from..=round.min(self.top()) {
            let index = (round - self.floor - 1) as usize;
            for node in self.rounds[index].slots.iter_mut().flatten().filter(|node| node.settled) {
                node.body = None;
            }
            self.compacted = round;
        }
    }

    /// Forgets the rounds up to `floor`; returns the slots among them that were ordered, with their settled blocks.
    pub fn raise_floor(&mut self, floor: u64) -> Vec<(u64, ReplicaId, Vec<BlockRef>)> {
        let mut dropped = Vec::new();
        while self.floor < floor {
            self.floor += 1;
            let Some(round) = self.rounds.pop_front() else { continue };
            for author in round.emitted.iter() {
                let settled = round.slots[author.index()].iter().filter(|node| node.settled);
                let name = |node: &Node| BlockRef { round: self.floor, author, digest: node.digest };
                dropped.push((self.floor, author, settled.map(name).collect()));
            }
        }
        self.quorum_round = self.quorum_round.max(self.floor);
        dropped
    }

    /// Blocks in the past of `from` (and those themselves) that `enter` lets in. Only through entered blocks does the
    /// walk go on.
    pub fn past(&self, from: impl IntoIterator<Item = Handle>, enter: impl Fn(Handle) -> bool) -> BTreeSet<Handle> {
        let mut found = BTreeSet::new();
        let mut stack: Vec<Handle> = from.into_iter().collect();
        while let Some(handle) = stack.pop() {
            if handle.round <= self.floor || !enter(handle) || !found.insert(handle) {
                continue;
            }
            if let Some(body) = self.body(handle) {
                stack.extend(&body.parents);
            }
        }
        found
    }

    fn round(&self, round: u64) -> Option<&Round> {
        self.rounds.get(usize::try_from(round.checked_sub(self.floor + 1)?).ok()?)
    }

    fn slot(&self, round: u64, author: ReplicaId) -> &[Node] {
        self.round(round).and_then(|round| round.slots.get(author.index())).map_or(&[], Vec::as_slice)
    }

    fn find_node(&self, handle: Handle) -> Option<&Node> {
        self.slot(handle.round, handle.author).get(handle.twin as usize)
    }

    fn node(&self, handle: Handle) -> &Node {
        self.find_node(handle).expect("handles are made for blocks above the floor and dropped with it")
    }

    fn node_mut(&mut self, handle: Handle) -> &mut Node {
        let index = (handle.round - self.floor - 1) as usize;
        &mut self.rounds[index].slots[handle.author.index()][handle.twin as usize]
    }
}
