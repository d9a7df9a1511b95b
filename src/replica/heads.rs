//! Signed heads: what all replicas agree the state is.
//!
//! A *head* names a height of the order and the root over all rows at that height ([`crate::store::tree`]); with it come
//! round, agreed time, position and number of rows. The cluster's threshold key signs it: a quorum gives shares, each only
//! when its own disk holds state and blocks up to that height. So a signed head is what late joiners start from
//! ([`super::sync`]), what proofs lead to, and what no power cut takes back.
//!
//! # When a head is due
//!
//! At a commit, if something that a reader can see changed since the last head and agreed time is [`HeadKeys::interval_ms`] past
//! it. All of that is state: the schedule is a row like any other, so every replica finds the same heads due. When changes
//! stop, the last of them may wait for its head: then rounds go on until agreed time has come so far, and no further.
//!
//! The interval bounds the cost: a share costs 1.7 ms and a verified combination some 5 ms of a core, so four heads a second
//! take 3 % of it. Some heads are *checkpoints*: the rows at their height are kept to be copied by others.
//!
//! # Shares travel beside the order
//!
//! The signature is unique and needs no agreement on who signs: any quorum of shares gives the same bytes. A share in a
//! block would wait for a round, and make one due, for each head; sent to the peers directly it takes one message delay and
//! starts nothing. What is lost with a link is asked for again ([`Heads::retry`]): nothing but the newest head matters, since
//! it covers all before.
//!
//! Shares are combined unchecked and the result is checked: two pairings for a head. If it is wrong, each share is checked,
//! and who sent a bad one is named.
//!
//! # Divergence
//!
//! If a kernel signed another head for a height of ours, or a quorum did, then our state is not the cluster's: a broken
//! disk, or a bug. The replica stops at once and answers nothing any more; its files stay as they are.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::Effect;
use super::machine::Progress;
use super::message::PeerMessage;
use crate::codec;
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::bls::{HeadPublic, HeadSecret, HeadShare, HeadSignature};
use crate::crypto::digest::{Digest, hash};
use crate::directory::Timestamp;
use crate::limits::{
    BLOCKS_KEPT_ROUNDS, CHECKPOINT_INTERVAL_MS, CHECKPOINT_OPERATIONS, CHECKPOINT_PAUSE_MS, HEADS_PER_PEER,
    MAX_HEAD_MESSAGE, PENDING_HEADS, PRUNE_STEP_ROUNDS,
};
use crate::rows::{Row, Table};
use crate::store::tree::{Proof, StateTree};
use crate::store::{Batch, Local};

/// What the state is at one height.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    pub network: Digest,
    pub epoch: u64,
    /// Commits executed.
    pub height: u64,
    /// Round of the last commit's leader.
    pub round: u64,
    pub agreed_time: Timestamp,
    /// Operations executed.
    pub position: u64,
    /// Rows under the root.
    pub rows: u64,
    /// Whether the rows of this height are kept to be copied.
    pub checkpoint: bool,
    pub root: Digest,
}

/// A head that a quorum signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedHead {
    pub head: Head,
    pub signature: HeadSignature,
}

impl Head {
    pub fn digest(&self) -> Digest {
        hash("torrens v1 head", &[&codec::encode(self)])
    }
}

impl SignedHead {
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The head that `bytes` hold. See [`SignedHead::verify`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        codec::decode(bytes, MAX_HEAD_MESSAGE).ok()
    }

    pub fn verify(&self, key: &HeadPublic, network: Digest) -> bool {
        self.head.network == network && key.verify(&self.head.digest(), &self.signature)
    }
}

/// Key of the schedule in [`Table::Meta`].
pub const SCHEDULE_KEY: &[u8] = b"heads";

/// When heads were due: a row of the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// Of the last head that was due.
    height: u64,
    agreed_time: Timestamp,
    checkpoint_time: Timestamp,
    checkpoint_position: u64,
    /// Whether something changed since.
    changed: bool,
}

impl Schedule {
    pub fn from_row(value: Option<&[u8]>) -> Option<Self> {
        value.map_or(Some(Self::default()), |value| codec::decode(value, MAX_HEAD_MESSAGE).ok())
    }

    /// Moves on by one commit; whether a head is due, and if so whether it is a checkpoint.
    fn step(&mut self, progress: &Progress, changed: bool, interval_ms: u64) -> Option<bool> {
        self.changed |= changed;
        let Progress { height, agreed_time, position, .. } = *progress;
        if !self.changed || agreed_time.0 < self.next(interval_ms) {
            return None;
        }
        let passed = agreed_time.0.saturating_sub(self.checkpoint_time.0);
        let busy = position >= self.checkpoint_position + CHECKPOINT_OPERATIONS && passed >= CHECKPOINT_PAUSE_MS;
        let checkpoint = busy || passed >= CHECKPOINT_INTERVAL_MS;
        if checkpoint {
            (self.checkpoint_time, self.checkpoint_position) = (agreed_time, position);
        }
        (self.height, self.agreed_time, self.changed) = (height, agreed_time, false);
        Some(checkpoint)
    }

    /// Agreed time, in milliseconds, from which on a change makes a head due.
    fn next(&self, interval_ms: u64) -> u64 {
        self.agreed_time.0.saturating_add(interval_ms)
    }
}

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

/// The cluster's key, this replica's share of it, and how often it is used.
pub struct HeadKeys {
    pub public: HeadPublic,
    pub secret: HeadSecret,
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
            let share = Some(heads.keys.secret.sign(&digest));
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
        batch.local.insert(Local::Sum, self.tree.sum().0.to_vec());
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
                let share = self.keys.secret.sign(&pending.digest);
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
                self.diverged = true;
                effects.push(Effect::Diverged { ours: head, theirs: found });
                return effects;
            }
            loop {
                let shares = self.shares(&head, own);
                let authors: ReplicaSet = shares.iter().map(|(author, _)| *author).collect();
                if !self.committee.is_quorum(authors) {
                    break;
                }
                if let Some(signature) = self.keys.public.combine(&digest, &shares) {
                    effects.extend(self.take_signed(SignedHead { head, signature }));
                    return effects;
                }
                let bad = |(author, share): &&(ReplicaId, HeadShare)| {
                    *author != self.me && !self.keys.public.verify_share(*author, &digest, share)
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
        if !self.committee.is_kernel(differing.map(|(author, _)| *author).collect()) {
            return None;
        }
        let mut other: BTreeMap<Digest, (Head, ReplicaSet)> = BTreeMap::new();
        for (author, received) in &self.received {
            for (theirs, share) in received.iter().filter(|share| differs(share)) {
                let digest = theirs.digest();
                if self.keys.public.verify_share(*author, &digest, share) {
                    other.entry(digest).or_insert((*theirs, ReplicaSet::EMPTY)).1.insert(*author);
                }
            }
        }
        other.into_values().find(|(_, authors)| self.committee.is_kernel(*authors)).map(|(theirs, _)| theirs)
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
        if !signed.verify(&self.keys.public, self.network) {
            return vec![Effect::Fault {
                culprit: from,
                what: format!("a head of height {height} that nobody signed"),
            }];
        }
        if height > own_height {
            if signed.head.checkpoint {
                self.ahead = Some(signed);
            }
            return Vec::new();
        }
        self.take_signed(signed)
    }

    /// A valid head of a height that we have executed.
    fn take_signed(&mut self, signed: SignedHead) -> Vec<Effect> {
        let SignedHead { head, .. } = signed;
        let ours = self.pending.iter().find(|pending| pending.head.height == head.height).map(|pending| pending.head);
        if let Some(ours) = ours.filter(|ours| *ours != head) {
            self.diverged = true;
            return vec![Effect::Diverged { ours, theirs: head }];
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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::crypto::bls::heads::deal;
    use crate::limits::HEAD_INTERVAL_MS;

    const NETWORK: Digest = Digest([3; 32]);

    /// The keys of a cluster of four, as bytes: secrets are not copied.
    fn keys(me: usize) -> HeadKeys {
        type Dealt = (HeadPublic, Vec<Vec<u8>>);
        static DEALT: OnceLock<Dealt> = OnceLock::new();
        let (public, secrets) = DEALT.get_or_init(|| {
            use rand_core::SeedableRng;
            let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(4);
            let (public, secrets) = deal(&Committee::new(4).unwrap(), &mut rng);
            (public, secrets.iter().map(|secret| secret.to_bytes().to_vec()).collect())
        });
        HeadKeys {
            public: public.clone(),
            secret: HeadSecret::from_bytes(&secrets[me]).unwrap(),
            interval_ms: HEAD_INTERVAL_MS,
        }
    }

    fn heads() -> Heads {
        Heads::new(ReplicaId(0), Committee::new(4).unwrap(), NETWORK, 0, keys(0), Stored::default())
    }

    fn progress(height: u64, round: u64) -> Progress {
        Progress { height, agreed_time: Timestamp(height * 1_000_000), position: height, round }
    }

    fn execute(heads: &mut Heads, height: u64, round: u64) -> (Batch, Vec<Effect>) {
        let mut batch = Batch { rows: vec![Row::put(Table::Title, b"title", vec![height as u8])], ..Batch::default() };
        let effects = heads.executed(&progress(height, round), true, &mut batch);
        (batch, effects)
    }

    fn due(batch: &Batch) -> Head {
        codec::decode(&batch.local[&Local::Due], MAX_HEAD_MESSAGE).unwrap()
    }

    fn share(of: usize, head: &Head) -> Vec<u8> {
        codec::encode(&(*head, keys(of).secret.sign(&head.digest())))
    }

    fn sign(head: &Head) -> SignedHead {
        let shares: Vec<_> = (1..4).map(|of| (ReplicaId(of as u8), keys(of).secret.sign(&head.digest()))).collect();
        SignedHead { head: *head, signature: keys(0).public.combine(&head.digest(), &shares).unwrap() }
    }

    #[test]
    fn a_share_goes_out_only_when_the_state_is_durable_and_a_quorum_signs() {
        let mut heads = heads();
        let (batch, effects) = execute(&mut heads, 1, 10);
        assert!(matches!(effects.as_slice(), [Effect::KeepCopy { height: 1 }]));
        let head = due(&batch);
        assert!(heads.receive_share(ReplicaId(1), &share(1, &head)).is_empty());
        assert!(heads.receive_share(ReplicaId(2), &share(2, &head)).is_empty());
        assert_eq!(heads.undurable(), Some(1));
        let effects = heads.durable(1);
        assert!(matches!(effects[0], Effect::Broadcast(PeerMessage::HeadShare(_))));
        assert_eq!((heads.newest().unwrap(), heads.undurable()), (&sign(&head), None));
    }

    #[test]
    fn heads_are_due_at_a_bounded_rate_and_only_after_a_change() {
        let mut schedule = Schedule::default();
        let at = |time, position| Progress { height: time, agreed_time: Timestamp(time), position, round: time };
        let begin = CHECKPOINT_INTERVAL_MS;
        assert_eq!(schedule.step(&at(begin, 0), false, HEAD_INTERVAL_MS), None);
        assert_eq!(schedule.step(&at(begin, 0), true, HEAD_INTERVAL_MS), Some(true));
        assert_eq!(schedule.step(&at(begin + 1, 1), true, HEAD_INTERVAL_MS), None);
        assert_eq!(schedule.step(&at(begin + HEAD_INTERVAL_MS, 1), false, HEAD_INTERVAL_MS), Some(false));
        assert_eq!(schedule.step(&at(begin + 9 * HEAD_INTERVAL_MS, 1), false, HEAD_INTERVAL_MS), None);
        let busy = CHECKPOINT_OPERATIONS;
        assert_eq!(schedule.step(&at(begin + CHECKPOINT_PAUSE_MS - 1, busy), true, HEAD_INTERVAL_MS), Some(false));
        let later = begin + CHECKPOINT_PAUSE_MS + HEAD_INTERVAL_MS;
        assert_eq!(schedule.step(&at(later, busy), true, HEAD_INTERVAL_MS), Some(true));
        assert_eq!(Schedule::from_row(Some(&codec::encode(&schedule))), Some(schedule));
    }

    #[test]
    fn a_kernel_that_signed_another_head_of_our_height_stops_us_and_one_replica_does_not() {
        let mut heads = heads();
        let (batch, _) = execute(&mut heads, 1, 10);
        let _ = heads.durable(1);
        let ours = due(&batch);
        let theirs = Head { root: Digest([9; 32]), ..ours };
        assert!(heads.receive_share(ReplicaId(1), &share(1, &theirs)).is_empty());
        // A share that is not the one of its sender counts for nothing.
        assert!(heads.receive_share(ReplicaId(3), &share(1, &theirs)).is_empty() && !heads.diverged());
        let effects = heads.receive_share(ReplicaId(2), &share(2, &theirs));
        assert!(matches!(&effects[..], [Effect::Diverged { ours: a, theirs: b }] if (*a, *b) == (ours, theirs)));
        assert!(heads.diverged());
    }

    #[test]
    fn a_quorum_that_signed_another_head_stops_us() {
        let mut heads = heads();
        let (batch, _) = execute(&mut heads, 1, 10);
        let theirs = sign(&Head { root: Digest([9; 32]), ..due(&batch) });
        let effects = heads.receive_signed(ReplicaId(1), &theirs.to_bytes(), 1);
        assert!(matches!(&effects[..], [Effect::Diverged { .. }]) && heads.diverged());
    }

    #[test]
    fn blocks_go_far_below_the_newest_signed_checkpoint_in_steps() {
        let mut heads = heads();
        let mut pruned = Vec::new();
        let rounds = [10, BLOCKS_KEPT_ROUNDS, BLOCKS_KEPT_ROUNDS + PRUNE_STEP_ROUNDS, BLOCKS_KEPT_ROUNDS * 2];
        for (height, round) in (1..).zip(rounds) {
            let (batch, _) = execute(&mut heads, height, round);
            for effect in heads.receive_signed(ReplicaId(1), &sign(&due(&batch)).to_bytes(), height) {
                if let Effect::Write(batch) = effect {
                    pruned.extend(batch.prune_blocks_below);
                }
            }
        }
        assert_eq!(pruned, [PRUNE_STEP_ROUNDS, BLOCKS_KEPT_ROUNDS]);
        assert_eq!(heads.prune(BLOCKS_KEPT_ROUNDS), None);
        assert_eq!(heads.prune(BLOCKS_KEPT_ROUNDS / 2), Some(BLOCKS_KEPT_ROUNDS * 3 / 2));
    }

    #[test]
    fn a_checkpoint_ahead_is_kept_and_a_lower_one_later_changes_nothing() {
        let mut heads = heads();
        let (batch, _) = execute(&mut heads, 1, 10);
        let at = |height| sign(&Head { height, ..due(&batch) });
        assert!(heads.receive_signed(ReplicaId(1), &at(9).to_bytes(), 1).is_empty());
        assert!(heads.receive_signed(ReplicaId(2), &at(5).to_bytes(), 1).is_empty());
        assert_eq!(heads.ahead(), Some(&at(9)));
        let mut forged = at(12);
        forged.head.height += 1;
        let effects = heads.receive_signed(ReplicaId(1), &forged.to_bytes(), 1);
        assert!(matches!(effects[..], [Effect::Fault { culprit: ReplicaId(1), .. }]));
        assert_eq!(heads.ahead(), Some(&at(9)));
    }
}
