//! Signed heads: what all replicas agree the state is.
//!
//! A *head* names a height of the order and the root over all rows at that height ([`crate::store::tree`]); with it come
//! round, agreed time, position and number of rows. The cluster's threshold key signs it: a quorum gives shares, each only
//! when its own disk holds state and blocks up to that height. So a signed head is what late joiners start from
//! ([`super::sync`]), what proofs lead to, and what no power cut takes back.
//!
//! # When a head is due
//!
//! At a commit, if something that a reader can see changed since the last head and agreed time is
//! [`HeadKeys::interval_ms`] past it. All of that is state: the schedule is a row like any other, so every replica
//! finds the same heads due. When changes stop, the last of them may wait for its head: then rounds go on until agreed
//! time has come so far, and no further.
//!
//! The interval bounds the cost: a share costs 1.7 ms and a verified combination some 5 ms of a core, so four heads a
//! second take 3 % of it. Some heads are *checkpoints*: the rows at their height are kept to be copied by others.
//!
//! # Shares travel beside the order
//!
//! The signature is unique and needs no agreement on who signs: any quorum of shares gives the same bytes. A share in a
//! block would wait for a round, and make one due, for each head; sent to the peers directly it takes one message delay and
//! starts nothing. What is lost with a link is asked for again ([`Heads::retry`]): nothing but the newest head matters,
//! since it covers all before.
//!
//! Shares are combined unchecked and the result is checked: two pairings for a head. If it is wrong, each share is checked,
//! and who sent a bad one is named.
//!
//! # Divergence
//!
//! If a kernel signed another head for a height of ours, or a quorum did, then our state is not the cluster's: a broken
//! disk, or a bug. The replica stops at once and answers nothing any more; its files stay as they are, with a mark beside
//! them, so that it does not start again.

mod head;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

pub use self::head::{Head, SCHEDULE_KEY, Schedule, SignedHead};

use super::Effect;
use super::machine::Progress;
use super::message::PeerMessage;
use crate::codec;
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::bls::{HeadPublic, HeadSecret, HeadShare, HeadSignature};
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::limits::{BLOCKS_KEPT_ROUNDS, HEADS_PER_PEER, MAX_HEAD_MESSAGE, PENDING_HEADS, PRUNE_STEP_ROUNDS};
use crate::mutants::{Mutant, planted};
use crate::rows::{Row, Table};
use crate::store::tree::{Proof, StateTree};
use crate::store::{Batch, Local};

/// What the disk has of heads, and the state they are of.
#[derive(Default)]
pub struct Stored {
    pub tree: StateTree,
    pub schedule: Schedule,
    pub newest: Option<SignedHead>,
    pub checkpoint: Option<SignedHead>,
    /// The newest head that was due.
    pub due: Option<Head>,
    /// The lowest round with a block.
    pub first_block: u64,
}

/// Signs heads as one replica, and judges what others signed. The node's is [`ThresholdKey`]; a simulator of many replicas
/// may hand in another that nobody can forge either.
pub trait HeadSigning: Send {
    /// This replica's share: the same every time.
    fn sign(&self, head: &Digest) -> HeadShare;
    fn verify_share(&self, author: ReplicaId, head: &Digest, share: &HeadShare) -> bool;
    fn verify(&self, head: &Digest, signature: &HeadSignature) -> bool;
    /// As [`HeadPublic::combine`].
    fn combine(&self, head: &Digest, shares: &[(ReplicaId, HeadShare)]) -> Option<HeadSignature>;
}

/// The cluster's key, and this replica's share of it.
pub struct ThresholdKey {
    pub public: HeadPublic,
    pub secret: HeadSecret,
}

impl HeadSigning for ThresholdKey {
    fn sign(&self, head: &Digest) -> HeadShare {
        self.secret.sign(head)
    }

    fn verify_share(&self, author: ReplicaId, head: &Digest, share: &HeadShare) -> bool {
        self.public.verify_share(author, head, share)
    }

    fn verify(&self, head: &Digest, signature: &HeadSignature) -> bool {
        self.public.verify(head, signature)
    }

    fn combine(&self, head: &Digest, shares: &[(ReplicaId, HeadShare)]) -> Option<HeadSignature> {
        self.public.combine(head, shares)
    }
}

/// What heads are signed with, and how often.
pub struct HeadKeys {
    pub signing: Box<dyn HeadSigning>,
    /// Milliseconds of agreed time between two heads, the same for all replicas:
    /// [`HEAD_INTERVAL_MS`](crate::limits::HEAD_INTERVAL_MS).
    pub interval_ms: u64,
}

/// A head of ours that is not signed yet.
struct Pending {
    head: Head,
    digest: Digest,
    /// Made once the state is durable.
    share: Option<HeadShare>,
}

pub(super) struct Heads {
    me: ReplicaId,
    committee: Committee,
    network: Digest,
    epoch: u64,
    keys: HeadKeys,
    tree: StateTree,
    schedule: Schedule,
    /// Oldest first.
    pending: VecDeque<Pending>,
    /// The newest shares of each peer.
    received: BTreeMap<ReplicaId, VecDeque<(Head, HeadShare)>>,
    /// The highest height that each peer gave a share for: each gives one for a height, so that bad ones cost little.
    heard: BTreeMap<ReplicaId, u64>,
    newest: Option<SignedHead>,
    checkpoint: Option<SignedHead>,
    /// The highest signed checkpoint above our own height.
    ahead: Option<SignedHead>,
    /// Blocks of lower rounds were deleted.
    pruned: u64,
    diverged: bool,
}

impl Heads {
    pub fn new(
        me: ReplicaId,
        committee: Committee,
        network: Digest,
        epoch: u64,
        keys: HeadKeys,
        stored: Stored,
    ) -> Self {
        let Stored { tree, schedule, newest, checkpoint, due, first_block } = stored;
        let due = due.filter(|due| newest.is_none_or(|newest| newest.head.height < due.height));
        let mut heads = Self {
            me,
            committee,
            network,
            epoch,
            keys,
            tree,
            schedule,
            pending: VecDeque::new(),
            received: BTreeMap::new(),
            heard: BTreeMap::new(),
            newest,
            checkpoint,
            ahead: None,
            pruned: first_block,
            diverged: false,
        };
        if let Some(head) = due {
            // It was read back with its state: both are durable.
            let digest = head.digest();
            let share = Some(heads.keys.signing.sign(&digest));
            heads.pending.push_back(Pending { head, digest, share });
        }
        heads
    }

    pub fn newest(&self) -> Option<&SignedHead> {
        self.newest.as_ref()
    }

    pub fn checkpoint(&self) -> Option<&SignedHead> {
        self.checkpoint.as_ref()
    }

    /// The highest signed checkpoint above our own height.
    pub fn ahead(&self) -> Option<&SignedHead> {
        self.ahead.as_ref()
    }

    pub fn diverged(&self) -> bool {
        self.diverged
    }

    /// Blocks below this round are deleted, or about to be.
    pub fn pruned(&self) -> u64 {
        self.pruned
    }

    /// The root over the rows as they are now.
    pub fn root(&mut self) -> Digest {
        self.tree.root()
    }

    /// Proof of the row under this key, or that there is none, to the last [`Self::root`].
    pub fn prove(&self, table: Table, key: &[u8]) -> Proof {
        self.tree.prove(table, key)
    }

    /// Whether a round is due so that the last changes get their head.
    pub fn wants_round(&self, now: Timestamp) -> bool {
        self.schedule.changed && now.0 >= self.schedule.next(self.keys.interval_ms)
    }

    /// Takes in what a commit did to the state: adds what is to be written with its rows, and says what else is to be done.
    pub fn executed(&mut self, progress: &Progress, changed: bool, batch: &mut Batch) -> Vec<Effect> {
        let before = self.schedule;
        let due = self.schedule.step(progress, changed, self.keys.interval_ms);
        if self.schedule != before {
            batch.rows.push(Row::put(Table::Meta, SCHEDULE_KEY, codec::encode(&self.schedule)));
        }
        for row in &batch.rows {
            self.tree.apply(row);
        }
        batch.local.extend(self.tree.local_sums());
        let Some(checkpoint) = due else { return Vec::new() };
        let head = Head {
            network: self.network,
            epoch: self.epoch,
            height: progress.height,
            round: progress.round,
            agreed_time: progress.agreed_time,
            position: progress.position,
            rows: self.tree.rows(),
            checkpoint,
            root: self.tree.root(),
        };
        batch.local.insert(Local::Due, codec::encode(&head));
        if self.pending.len() == PENDING_HEADS {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending { head, digest: head.digest(), share: None });
        let ahead = self.ahead.take_if(|ahead| ahead.head.height == head.height);
        let mut effects = if checkpoint { vec![Effect::KeepCopy { height: head.height }] } else { Vec::new() };
        effects.extend(ahead.into_iter().flat_map(|signed| self.take_signed(signed)));
        effects
    }

    /// The height of the newest head whose share waits for the disk.
    pub fn undurable(&self) -> Option<u64> {
        self.pending.iter().rev().find(|pending| pending.share.is_none()).map(|pending| pending.head.height)
    }

    /// State and blocks up to `height` are durable: our shares go out.
    pub fn durable(&mut self, height: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for pending in &mut self.pending {
            if pending.head.height <= height && pending.share.is_none() {
                let share = self.keys.signing.sign(&pending.digest);
                pending.share = Some(share);
                effects.push(Effect::Broadcast(share_message(&pending.head, share)));
            }
        }
        effects.extend(self.combine());
        effects
    }

    /// A peer's share.
    pub fn receive_share(&mut self, from: ReplicaId, bytes: &[u8]) -> Vec<Effect> {
        let Ok((head, share)) = codec::decode::<(Head, HeadShare)>(bytes, MAX_HEAD_MESSAGE) else {
            return vec![Effect::Fault { culprit: from, what: "a head's share that does not decode".into() }];
        };
        if head.network != self.network || head.epoch != self.epoch || !self.committee.contains(from) {
            return vec![Effect::Fault { culprit: from, what: "a head's share of another network or epoch".into() }];
        }
        if self.newest.is_some_and(|newest| head.height <= newest.head.height) {
            return Vec::new();
        }
        if self.heard.get(&from).is_some_and(|heard| *heard >= head.height) {
            return Vec::new();
        }
        self.heard.insert(from, head.height);
        let received = self.received.entry(from).or_default();
        if received.len() == HEADS_PER_PEER {
            received.pop_front();
        }
        received.push_back((head, share));
        self.combine()
    }

    /// Signs the newest head of ours that a quorum gave shares for.
    fn combine(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for at in (0..self.pending.len()).rev() {
            let Pending { head, digest, share } = &self.pending[at];
            let (head, digest, own) = (*head, *digest, *share);
            if let Some(found) = self.others_signed(&head) {
                effects.extend(self.stop(head, found));
                return effects;
            }
            loop {
                let shares = self.shares(&head, own);
                let authors: ReplicaSet = shares.iter().map(|(author, _)| *author).collect();
                if !self.committee.is_quorum(authors) {
                    break;
                }
                if let Some(signature) = self.keys.signing.combine(&digest, &shares) {
                    effects.extend(self.take_signed(SignedHead { head, signature }));
                    return effects;
                }
                let bad = |(author, share): &&(ReplicaId, HeadShare)| {
                    *author != self.me && !self.keys.signing.verify_share(*author, &digest, share)
                };
                let culprits: Vec<ReplicaId> = shares.iter().filter(bad).map(|(author, _)| *author).collect();
                if culprits.is_empty() {
                    break;
                }
                for culprit in culprits {
                    let what = format!("a bad share of the head of height {}", head.height);
                    effects.push(Effect::Fault { culprit, what });
                    let received = self.received.entry(culprit).or_default();
                    received.retain(|(other, _)| other.height != head.height);
                }
            }
        }
        effects
    }

    fn shares(&self, head: &Head, own: Option<HeadShare>) -> Vec<(ReplicaId, HeadShare)> {
        let of_peer = |(author, received): (&ReplicaId, &VecDeque<(Head, HeadShare)>)| {
            Some((*author, received.iter().find(|(other, _)| other == head)?.1))
        };
        own.map(|share| (self.me, share)).into_iter().chain(self.received.iter().filter_map(of_peer)).collect()
    }

    /// Another head for the same height that a kernel signed.
    fn others_signed(&self, head: &Head) -> Option<Head> {
        let differs = |(theirs, _): &(Head, HeadShare)| theirs.height == head.height && theirs != head;
        let differing = self.received.iter().filter(|(_, received)| received.iter().any(differs));
        let is_enough = |authors| {
            self.committee.is_kernel(authors) || planted(Mutant::DivergedByOne) && authors != ReplicaSet::EMPTY
        };
        if !is_enough(differing.map(|(author, _)| *author).collect()) {
            return None;
        }
        let mut other: BTreeMap<Digest, (Head, ReplicaSet)> = BTreeMap::new();
        for (author, received) in &self.received {
            for (theirs, share) in received.iter().filter(|share| differs(share)) {
                let digest = theirs.digest();
                if self.keys.signing.verify_share(*author, &digest, share) {
                    other.entry(digest).or_insert((*theirs, ReplicaSet::EMPTY)).1.insert(*author);
                }
            }
        }
        other.into_values().find(|(_, authors)| is_enough(*authors)).map(|(theirs, _)| theirs)
    }

    /// A head that somebody says is signed.
    pub fn receive_signed(&mut self, from: ReplicaId, bytes: &[u8], own_height: u64) -> Vec<Effect> {
        let Some(signed) = SignedHead::from_bytes(bytes) else {
            return vec![Effect::Fault { culprit: from, what: "a signed head that does not decode".into() }];
        };
        let height = signed.head.height;
        let known = |known: &Option<SignedHead>| known.is_some_and(|known| known.head.height >= height);
        let stale = known(&self.newest) && (!signed.head.checkpoint || known(&self.checkpoint));
        if stale || known(&self.ahead) || signed.head.epoch != self.epoch {
            return Vec::new();
        }
        let SignedHead { head, signature } = &signed;
        let is_signed = head.network == self.network && self.keys.signing.verify(&head.digest(), signature);
        if !is_signed && !planted(Mutant::HeadUnverified) {
            return vec![Effect::Fault {
                culprit: from,
                what: format!("a head of height {height} that nobody signed"),
            }];
        }
        if height > own_height || planted(Mutant::AnyHeightAdopted) {
            if signed.head.checkpoint {
                self.ahead = Some(signed);
            }
            return Vec::new();
        }
        self.take_signed(signed)
    }

    /// Our state is not the cluster's. The next process must know it too: it would show this state again.
    fn stop(&mut self, ours: Head, theirs: Head) -> Vec<Effect> {
        self.diverged = true;
        let local = [(Local::Diverged, codec::encode(&(ours, theirs)))].into();
        vec![Effect::Write(Batch { local, ..Batch::default() }), Effect::Diverged { ours, theirs }]
    }

    /// A valid head of a height that we have executed.
    fn take_signed(&mut self, signed: SignedHead) -> Vec<Effect> {
        let SignedHead { head, .. } = signed;
        let ours = self.pending.iter().find(|pending| pending.head.height == head.height).map(|pending| pending.head);
        if let Some(ours) = ours.filter(|ours| *ours != head) {
            return self.stop(ours, head);
        }
        self.pending.retain(|pending| pending.head.height > head.height);
        for received in self.received.values_mut() {
            received.retain(|(other, _)| other.height > head.height);
        }
        let mut batch = Batch::default();
        if self.newest.is_none_or(|newest| newest.head.height < head.height) {
            self.newest = Some(signed);
            batch.local.insert(Local::Head, signed.to_bytes());
        }
        let mut effects = Vec::new();
        if head.checkpoint && self.checkpoint.is_none_or(|checkpoint| checkpoint.head.height < head.height) {
            // Whoever copies the one before is given the time until the next.
            let before = self.checkpoint.replace(signed).map_or(0, |before| before.head.height);
            batch.local.insert(Local::Checkpoint, signed.to_bytes());
            effects.push(Effect::ReleaseCopies { below: before });
        }
        batch.prune_blocks_below = self.prune(BLOCKS_KEPT_ROUNDS);
        effects.insert(0, Effect::Write(batch));
        effects
    }

    /// The round below which blocks can go, if it is time: `kept` rounds below the newest signed checkpoint.
    pub fn prune(&mut self, kept: u64) -> Option<u64> {
        let below = self.checkpoint?.head.round.saturating_sub(kept);
        if below < self.pruned + PRUNE_STEP_ROUNDS {
            return None;
        }
        self.pruned = below;
        Some(below)
    }

    /// What a peer that asks is told: what we have signed above `height`, and our share of what is not signed yet.
    pub fn answer(&self, to: ReplicaId, height: u64) -> Vec<Effect> {
        let signed = [self.checkpoint, self.newest];
        let mut newer: Vec<SignedHead> =
            signed.into_iter().flatten().filter(|signed| signed.head.height > height).collect();
        newer.dedup();
        let mut messages: Vec<PeerMessage> = newer.iter().map(|signed| PeerMessage::Head(signed.to_bytes())).collect();
        let newest = self.pending.back();
        messages.extend(newest.and_then(|pending| Some(share_message(&pending.head, pending.share?))));
        messages.into_iter().map(|message| Effect::Send { to, message }).collect()
    }

    /// The question to a peer: [`Self::answer`] answers it. After it the newest share goes again.
    pub fn greet(&self, peer: ReplicaId) -> Vec<Effect> {
        let height = self.newest.map_or(0, |newest| newest.head.height);
        let mut effects = vec![Effect::Send { to: peer, message: PeerMessage::HeadQuery { height } }];
        let newest = self.pending.back();
        let share = newest.and_then(|pending| Some(share_message(&pending.head, pending.share?)));
        effects.extend(share.map(|message| Effect::Send { to: peer, message }));
        effects
    }

    /// For the shell's tick: asks all peers while a head waits for its signature.
    pub fn retry(&self) -> Vec<Effect> {
        if self.pending.iter().all(|pending| pending.share.is_none()) {
            return Vec::new();
        }
        self.committee.ids().filter(|peer| *peer != self.me).flat_map(|peer| self.greet(peer)).collect()
    }
}

fn share_message(head: &Head, share: HeadShare) -> PeerMessage {
    PeerMessage::HeadShare(codec::encode(&(head, share)))
}
