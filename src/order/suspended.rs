//! Valid blocks whose parents are not all here yet, and which parents those are.
//!
//! Each author has an allowance; when it is used up the blocks farthest in the future go first, since whatever the author
//! invents there must not push out what the next rounds wait for. Nothing is lost by dropping: a block that matters is a
//! parent of a correct replica's block and can be pulled by its digest.
//!
//! What an author invents must not hide what others need of it either: a corrupt author can show its own chain to one
//! correct replica, whose block waits here for the chain, and names without blocks behind them to everybody. Two can do
//! more: the chain is one's, and at its lower end hangs a block of the other, so that the chain comes in one answer and no
//! block of it can enter. Kept from the top, where the correct replica's block leads to it, a chain longer than the room
//! beside the inventions is never kept down to its end, and the name that is missing is never learnt. So what counts is who
//! *sent* a block. A correct replica sends what is in its own graph, with all its past, and the lowest first
//! ([`super::Order::serve`]). Of each author's waiting blocks the lowest that each other replica sent stay, up to an equal
//! part of the allowance and at least one; and what is asked for is found from each replica's blocks apart, those it made
//! and those it sent, through whatever waits below them.
//!
//! Claim: what a block b of a correct replica leads to comes in the end, whatever corrupt ones invent. Its author s is
//! asked, in turn with everybody, for what b leads to and is not here. Let m be the lowest of the waiting blocks that s
//! sent. It stays; what it lacks is among the first names that s's blocks lack, or is held and leads to such names, and
//! s, asked for them, sends them: each enters, or waits and is lower than m. Rounds do not go down for ever. So blocks
//! of b's past enter as long as some are missing, and there are finitely many. What s sends and waits here already,
//! sent by somebody else, counts as sent by s too ([`Suspended::sent_again`]). The graph has room for all of it,
//! however much its author has there already: what s sends of others counts as wanted as long as b waits
//! ([`Suspended::awaits`]).
//!
//! A replica that loses its disk may have shown a block whose parent, another of its own, reached nobody: then no one has
//! the parent any more. A waiting block that its author has spoken after without leading to it is such a forgotten one, or
//! a liar's: a correct author's block leads to its last one, unless that is too old to be ordered. What it lacks is
//! asked for only if another author's block leads to it: otherwise the others would ask each other until the floor
//! passes it. Nothing is lost by this. A correct replica that has the block in its graph names it as parent in its next
//! block, and makes one if the payload is not ordered. Until the author speaks again it may just be slow, and everybody
//! is asked.
//!
//! A further block of a slot matters only if a block of another author leads to it ([`Suspended::is_wanted`]): until then
//! as many as there are replicas are taken. With one corrupt replica, blocks of others are correct replicas'; each of these
//! takes at most n blocks of a slot before it sees others', so n² bound what anybody takes. Two corrupt replicas can vouch
//! for each other's twins, at the price of a block with at most
//! [`PARENTS_PER_REPLICA`](crate::limits::PARENTS_PER_REPLICA)` · n` parents a round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::block::{BlockRef, VerifiedBlock};
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::limits::{MAX_FETCHED_REFERENCES, MAX_SUSPENDED_BLOCKS, MAX_SUSPENDED_BYTES};
use crate::mutants::{Mutant, planted};

struct Waiting {
    block: Arc<VerifiedBlock>,
    missing: BTreeSet<BlockRef>,
    /// Who sent it.
    senders: ReplicaSet,
}

#[derive(Default)]
struct Missing {
    /// Suspended blocks that have it as a parent.
    children: BTreeSet<BlockRef>,
    /// Who sent or made such a block, and so should have it.
    holders: ReplicaSet,
    /// Who was asked since everybody had been.
    asked: ReplicaSet,
}

pub(super) struct Suspended {
    committee: Committee,
    by_author: Vec<BTreeMap<BlockRef, Waiting>>,
    bytes: Vec<usize>,
    missing: BTreeMap<BlockRef, Missing>,
}

impl Suspended {
    pub fn new(committee: Committee) -> Self {
        let by_author = committee.ids().map(|_| BTreeMap::new()).collect();
        Self { bytes: vec![0; committee.len()], committee, by_author, missing: BTreeMap::new() }
    }

    pub fn contains(&self, reference: &BlockRef) -> bool {
        self.by_author[reference.author.index()].contains_key(reference)
    }

    /// Whether a block waits for it.
    pub fn is_parent(&self, reference: &BlockRef) -> bool {
        self.missing.contains_key(reference)
    }

    /// Whether a block of another author waits for it, directly or through blocks of its own author: what an author alone
    /// refers to, nobody needs.
    pub fn is_wanted(&self, reference: &BlockRef) -> bool {
        let (mut looked_at, mut stack) = (BTreeSet::new(), vec![*reference]);
        while let Some(wanted) = stack.pop() {
            for child in self.missing.get(&wanted).iter().flat_map(|entry| &entry.children) {
                if child.author != reference.author {
                    return true;
                }
                if looked_at.insert(*child) {
                    stack.push(*child);
                }
            }
        }
        false
    }

    /// A suspended block of the slot, if there is one.
    pub fn block_at(&self, round: u64, author: ReplicaId) -> Option<&Arc<VerifiedBlock>> {
        let mut blocks = self.by_author[author.index()].values().map(|waiting| &waiting.block);
        blocks.find(|block| block.round() == round)
    }

    pub fn len(&self) -> usize {
        self.by_author.iter().map(BTreeMap::len).sum()
    }

    pub fn len_of(&self, author: ReplicaId) -> usize {
        self.by_author[author.index()].len()
    }

    pub fn is_missing_any(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Keeps `block`, which lacks the parents `missing`, unless its author has nearer ones in its whole allowance.
    /// Returns whether it is kept, and which parents nobody was asked for yet; ask `from` for those.
    pub fn add(
        &mut self,
        from: ReplicaId,
        block: Arc<VerifiedBlock>,
        missing: BTreeSet<BlockRef>,
    ) -> (bool, Vec<BlockRef>) {
        let reference = block.reference();
        let author = reference.author.index();
        for parent in &missing {
            let entry = self.missing.entry(*parent).or_default();
            entry.children.insert(reference);
            entry.holders.insert(from);
            entry.holders.insert(reference.author);
        }
        self.bytes[author] += block.bytes().len();
        let asked = missing.clone();
        self.by_author[author].insert(reference, Waiting { block, missing, senders: [from].into_iter().collect() });
        self.evict(author);
        if !self.contains(&reference) {
            return (false, Vec::new());
        }
        let mut fresh = Vec::new();
        for parent in asked {
            let held = self.contains(&parent);
            let entry = self.missing.get_mut(&parent).expect("its child is kept");
            if !held && entry.asked.is_empty() && fresh.len() < MAX_FETCHED_REFERENCES {
                entry.asked.insert(from);
                fresh.push(parent);
            }
        }
        (true, fresh)
    }

    /// Whether a block waits here for its past that `replica` made, or sent for somebody else: what it sends of others
    /// may be that past. One corrupt replica gains no room by this, since only correct ones' blocks are others' to it;
    /// two can vouch for each other anyhow ([`Self::is_wanted`]).
    pub fn awaits(&self, replica: ReplicaId) -> bool {
        let mut waiting = self.by_author.iter().flatten();
        waiting.any(|(block, waiting)| block.author == replica || waiting.senders.contains(replica))
    }

    /// `from` sent a block that waits here already.
    pub fn sent_again(&mut self, from: ReplicaId, reference: &BlockRef) {
        if let Some(waiting) = self.by_author.get_mut(reference.author.index()).and_then(|own| own.get_mut(reference)) {
            waiting.senders.insert(from);
        }
    }

    fn evict(&mut self, author: usize) {
        let over = |blocks: usize, bytes: usize| blocks > MAX_SUSPENDED_BLOCKS || bytes > MAX_SUSPENDED_BYTES;
        while over(self.by_author[author].len(), self.bytes[author]) && !planted(Mutant::FutureUnbounded) {
            let reserved = self.reserved(author);
            let Some(free) = self.by_author[author].keys().rfind(|block| !reserved.contains(block)).copied() else {
                break;
            };
            self.remove(&free);
        }
    }

    /// Blocks of `author` that stay since others sent them: of each other sender's the lowest, in equal parts, and one
    /// however large.
    fn reserved(&self, author: usize) -> BTreeSet<BlockRef> {
        let others = self.committee.ids().filter(|other| other.index() != author);
        let (blocks, bytes) = (MAX_SUSPENDED_BLOCKS / self.by_author.len(), MAX_SUSPENDED_BYTES / self.by_author.len());
        let lowest = |other: ReplicaId| {
            let sent = self.by_author[author].iter().filter(move |(_, waiting)| waiting.senders.contains(other));
            let within = sent.take(blocks).scan(0, move |size, (reference, waiting)| {
                let is_first = *size == 0;
                *size += waiting.block.bytes().len();
                (is_first || *size <= bytes).then_some(*reference)
            });
            within.collect::<Vec<_>>()
        };
        others.flat_map(lowest).collect()
    }

    /// What the waiting blocks above round `above` lead to that `replica` made, or sent and others made: names of which
    /// there is no block here.
    fn needs(&self, replica: ReplicaId, above: impl Fn(ReplicaId) -> u64) -> BTreeSet<BlockRef> {
        let (mut seen, mut absent) = (BTreeSet::new(), BTreeSet::new());
        let is_its = |block: &BlockRef, waiting: &Waiting| match block.author == replica {
            true => block.round > above(replica),
            false => waiting.senders.contains(replica),
        };
        let its = self.by_author.iter().flatten().filter(|(block, waiting)| is_its(block, waiting));
        let mut stack: Vec<&Waiting> = its.map(|(_, waiting)| waiting).collect();
        while let Some(waiting) = stack.pop() {
            for parent in &waiting.missing {
                match self.by_author[parent.author.index()].get(parent) {
                    Some(below) if seen.insert(*parent) => stack.push(below),
                    Some(_) => {}
                    None => drop(absent.insert(*parent)),
                }
            }
        }
        absent
    }

    fn remove(&mut self, reference: &BlockRef) -> Option<Waiting> {
        let author = reference.author.index();
        let waiting = self.by_author[author].remove(reference)?;
        self.bytes[author] -= waiting.block.bytes().len();
        for parent in &waiting.missing {
            let entry = self.missing.get_mut(parent).expect("kept as long as a child waits for it");
            entry.children.remove(reference);
            if entry.children.is_empty() {
                self.missing.remove(parent);
            }
        }
        Some(waiting)
    }

    /// A block of the slot entered the graph: its twins go, unless a block waits for them.
    pub fn slot_taken(&mut self, round: u64, author: ReplicaId) {
        let in_slot = self.by_author[author.index()].keys().filter(|other| other.round == round);
        let twins: Vec<BlockRef> = in_slot.filter(|twin| !self.is_parent(twin)).copied().collect();
        for twin in twins {
            self.remove(&twin);
        }
    }

    /// The block is in the graph, or below its floor: the blocks that waited for nothing else come free, with those who
    /// sent them.
    pub fn resolve(&mut self, reference: &BlockRef) -> Vec<(Arc<VerifiedBlock>, ReplicaSet)> {
        let mut free = Vec::new();
        let Some(entry) = self.missing.remove(reference) else { return free };
        for child in entry.children {
            let author = child.author.index();
            let waiting = self.by_author[author].get_mut(&child).expect("children are suspended");
            waiting.missing.remove(reference);
            if waiting.missing.is_empty() {
                free.extend(self.remove(&child).map(|waiting| (waiting.block, waiting.senders)));
            }
        }
        free
    }

    /// Rounds up to `floor` are gone: drops blocks of those rounds, frees blocks that waited for parents there.
    pub fn raise_floor(&mut self, floor: u64) -> Vec<(Arc<VerifiedBlock>, ReplicaSet)> {
        let below = |reference: &BlockRef| reference.round <= floor;
        for author in 0..self.by_author.len() {
            while let Some(oldest) = self.by_author[author].first_key_value().map(|(oldest, _)| *oldest).filter(below) {
                self.remove(&oldest);
            }
        }
        let mut free = Vec::new();
        while let Some(oldest) = self.missing.first_key_value().map(|(oldest, _)| *oldest).filter(below) {
            free.extend(self.resolve(&oldest));
        }
        free
    }

    /// Whom to ask once more, and for what: the oldest names that each author's blocks lead to, from someone not asked yet,
    /// first those who should have them. `spoke_in` gives the round of an author's last block in the graph: what waits
    /// of it up to there was forgotten, and leads to nothing that is needed.
    pub fn requests(&mut self, me: ReplicaId, spoke_in: impl Fn(ReplicaId) -> u64) -> Vec<(ReplicaId, Vec<BlockRef>)> {
        let mut chosen = BTreeSet::new();
        if planted(Mutant::MissingAskedOnce) {
            return Vec::new();
        }
        for replica in self.committee.ids() {
            chosen.extend(self.needs(replica, &spoke_in).into_iter().take(MAX_FETCHED_REFERENCES));
        }
        let mut requests: BTreeMap<u8, Vec<BlockRef>> = BTreeMap::new();
        for parent in chosen {
            let entry = self.missing.get_mut(&parent).expect("a suspended block waits for it");
            let peer = next_peer(&self.committee, me, entry);
            requests.entry(peer.0).or_default().push(parent);
        }
        requests.into_iter().map(|(peer, parents)| (ReplicaId(peer), parents)).collect()
    }

    /// What `peer` was asked for and is still missing: first what its own blocks and those it sent lead to, then the
    /// oldest.
    pub fn asked_of(&self, peer: ReplicaId) -> Vec<BlockRef> {
        let was_asked = |parent: &BlockRef| self.missing.get(parent).is_some_and(|entry| entry.asked.contains(peer));
        let needed = self.needs(peer, |_| 0);
        let others = self.missing.keys().filter(|parent| !self.contains(parent) && !needed.contains(parent));
        needed.iter().chain(others).filter(|parent| was_asked(parent)).take(MAX_FETCHED_REFERENCES).copied().collect()
    }
}

fn next_peer(committee: &Committee, me: ReplicaId, entry: &mut Missing) -> ReplicaId {
    let others = || committee.ids().filter(|&peer| peer != me);
    if others().all(|peer| entry.asked.contains(peer)) {
        entry.asked = ReplicaSet::EMPTY;
    }
    let unasked = |peer: &ReplicaId| !entry.asked.contains(*peer);
    let holder = others().filter(unasked).find(|&peer| entry.holders.contains(peer));
    let peer = holder.or_else(|| others().find(unasked)).expect("a committee has others, not all of them asked");
    entry.asked.insert(peer);
    peer
}
