//! Liars whose blocks are wrong, or too many.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Conduct, Mind};
use crate::codec;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::limits::MAX_OPERATIONS_PER_BLOCK;
use crate::order::{Header, VerifiedBlock};
use crate::replica::message::PeerMessage;
use crate::replica::payload::Payload;
use crate::replica::sealed::Opening;
use crate::signing::{NonceBatch, Share};
use crate::sim::stream::Stream;

/// Different blocks of one round for different replicas.
pub struct Equivocator {
    split: Split,
}

enum Split {
    Halves,
    Victim,
    All,
}

impl Equivocator {
    pub fn halves(_: &mut Stream) -> Self {
        Self { split: Split::Halves }
    }

    pub fn victim(_: &mut Stream) -> Self {
        Self { split: Split::Victim }
    }

    pub fn all(_: &mut Stream) -> Self {
        Self { split: Split::All }
    }
}

/// Another block of the same round: another time, perhaps without what the first carries.
fn variant(mind: &mut Mind, block: &VerifiedBlock, number: u64) -> Vec<u8> {
    let empty = mind.rng.chance(1, 3);
    mind.alter(block, |header, payload| {
        header.timestamp.0 += number;
        if empty {
            payload.clear();
        }
    })
}

impl Conduct for Equivocator {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        let mut peers = mind.peers();
        mind.rng.shuffle(&mut peers);
        let honest = match self.split {
            Split::Halves => peers.len() / 2,
            Split::Victim => peers.len() - 1,
            Split::All => 1,
        };
        let other = variant(mind, block, 1);
        for (number, &to) in (0..).zip(&peers) {
            let bytes = if number < honest {
                block.bytes().to_vec()
            } else if matches!(self.split, Split::All) {
                variant(mind, block, 1 + number as u64)
            } else {
                other.clone()
            };
            mind.send(to, &PeerMessage::Block(bytes));
        }
    }
}

/// Changes something in some of its blocks, the same for everybody.
pub struct Tamperer {
    how: How,
    used: Vec<NonceBatch>,
    /// Of ten blocks, how many are changed.
    often: u64,
}

#[derive(Clone, Copy)]
enum How {
    Coin,
    EarlyCoin,
    Shares,
    Openings,
    Nonces,
    Garbage,
    Censor(Option<ReplicaId>),
    Mutate,
}

impl Tamperer {
    fn new(how: How, rng: &mut Stream) -> Self {
        Self { how, used: Vec::new(), often: rng.between(3, 10) }
    }

    pub fn coin(rng: &mut Stream) -> Self {
        Self::new(How::Coin, rng)
    }

    pub fn early_coin(rng: &mut Stream) -> Self {
        Self::new(How::EarlyCoin, rng)
    }

    pub fn shares(rng: &mut Stream) -> Self {
        Self::new(How::Shares, rng)
    }

    pub fn openings(rng: &mut Stream) -> Self {
        Self::new(How::Openings, rng)
    }

    pub fn nonces(rng: &mut Stream) -> Self {
        Self::new(How::Nonces, rng)
    }

    pub fn garbage(rng: &mut Stream) -> Self {
        Self::new(How::Garbage, rng)
    }

    pub fn censor(rng: &mut Stream) -> Self {
        Self::new(How::Censor(None), rng)
    }

    pub fn mutate(rng: &mut Stream) -> Self {
        Self::new(How::Mutate, rng)
    }

    fn change(&mut self, mind: &mut Mind, block: &VerifiedBlock) -> Vec<u8> {
        let (mut header, mut payload) = (block.header().clone(), block.payload().to_vec());
        match &mut self.how {
            How::Coin => spoil_coin(mind, &mut header),
            How::EarlyCoin => {
                let later = mind.public.share_name(header.round + mind.rng.between(1, 4));
                header.coin = later.map(|name| mind.coin.shares(&name)).unwrap_or_default();
            }
            How::Shares => payload = edit(&payload, |payload| spoil_shares(&mut mind.rng, payload)),
            How::Openings => payload = edit(&payload, |payload| spoil_openings(&mut mind.rng, payload)),
            How::Nonces => payload = edit(&payload, |payload| replay_nonces(&mut mind.rng, &mut self.used, payload)),
            How::Garbage => payload = garbage(&mut mind.rng),
            How::Censor(victim) => {
                let peers = mind.peers();
                let victim = *victim.get_or_insert_with(|| *mind.rng.pick(&peers).expect("there are peers"));
                payload = edit(&payload, |payload| payload.operations.clear());
                leave_out(mind, &mut header, victim);
            }
            How::Mutate => mutate(&mut mind.rng, &mut header, &mut payload),
        }
        mind.forge(header, &payload)
    }
}

impl Conduct for Tamperer {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        let bytes = if mind.rng.chance(self.often, 10) { self.change(mind, block) } else { block.bytes().to_vec() };
        mind.broadcast(&PeerMessage::Block(bytes));
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        // The core's own version of the block stays hidden.
        if !matches!(message, PeerMessage::Block(_)) {
            mind.send(to, &message);
        }
    }
}

/// The payload with something changed; as it was if it is none.
pub(super) fn edit(bytes: &[u8], change: impl FnOnce(&mut Payload)) -> Vec<u8> {
    let Ok(mut payload) = Payload::from_bytes(bytes) else { return bytes.to_vec() };
    change(&mut payload);
    payload.to_bytes()
}

fn spoil_coin(mind: &mut Mind, header: &mut Header) {
    if let Some(share) = header.coin.first_mut() {
        let mut bytes = codec::encode(share);
        let at = mind.rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << mind.rng.below(8);
        if let Ok(spoilt) = codec::decode(&bytes, bytes.len()) {
            *share = spoilt;
        }
    }
}

fn spoil_shares(rng: &mut Stream, payload: &mut Payload) {
    for entry in &mut payload.shares {
        match rng.below(4) {
            0 => entry.attempt += 1,
            1 => entry.task.0 += rng.between(1, 3),
            _ => match &mut entry.share {
                Share::Frost(share) => share.0[rng.below(31) as usize] ^= 1,
                Share::Rsa(bytes) => {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1;
                }
            },
        }
    }
}

/// Another point, another's share, or none at all.
fn spoil_openings(rng: &mut Stream, payload: &mut Payload) {
    for Opening { share, .. } in &mut payload.openings {
        let mut bytes = codec::encode(share);
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(3) {
            0 => bytes = codec::encode(&Vec::<u8>::new()),
            1 => bytes[at] = bytes[at].wrapping_add(1),
            _ => bytes[1..].fill(0),
        }
        if let Ok(spoilt) = codec::decode(&bytes, bytes.len()) {
            *share = spoilt;
        }
    }
}

fn replay_nonces(rng: &mut Stream, used: &mut Vec<NonceBatch>, payload: &mut Payload) {
    if let Some(batch) = &payload.nonces {
        used.push(batch.clone());
    }
    if let Some(old) = rng.pick(used) {
        let mut batch = old.clone();
        batch.index += rng.below(4);
        batch.boot = (batch.boot + rng.below(3)).saturating_sub(1);
        payload.nonces = Some(batch);
    }
}

fn garbage(rng: &mut Stream) -> Vec<u8> {
    match rng.below(3) {
        0 => {
            let length = rng.between(1, 2000) as usize;
            rng.bytes(length)
        }
        1 => {
            let operations = (0..rng.between(1, 40)).map(|_| rng.bytes(100)).collect();
            Payload { operations, ..Payload::default() }.to_bytes()
        }
        _ => {
            let operations = vec![Vec::new(); MAX_OPERATIONS_PER_BLOCK + 1];
            Payload { operations, ..Payload::default() }.to_bytes()
        }
    }
}

/// No parent by `victim`, as far as a quorum remains.
fn leave_out(mind: &Mind, header: &mut Header, victim: ReplicaId) {
    let mut parents = header.parents.clone();
    parents.retain(|parent| parent.author != victim);
    let before = parents.iter().filter(|parent| parent.round + 1 == header.round).map(|parent| parent.author);
    if header.round == 1 || mind.public.committee.is_quorum(before.collect::<ReplicaSet>()) {
        header.parents = parents;
    }
}

/// One field is off by a little.
fn mutate(rng: &mut Stream, header: &mut Header, payload: &mut [u8]) {
    let up = rng.chance(1, 2);
    let step = |value: u64| if up { value + 1 } else { value.saturating_sub(1) };
    match rng.below(9) {
        0 => header.round = step(header.round),
        1 => header.epoch = step(header.epoch),
        2 => header.author = ReplicaId(step(u64::from(header.author.0)) as u8),
        3 => header.gap ^= true,
        4 => drop(header.coin.pop()),
        5 => drop(header.parents.pop()),
        6 => {
            if let Some(parent) = header.parents.first_mut() {
                parent.round = step(parent.round);
            }
        }
        7 => {
            let doubled = header.parents.last().copied();
            header.parents.extend(doubled);
        }
        _ => {
            if !payload.is_empty() {
                let at = rng.below(payload.len() as u64) as usize;
                payload[at] = payload[at].wrapping_add(1);
            }
        }
    }
}

/// Proposes every operation it ever saw, again and again.
pub struct OperationReplayer {
    seen: BTreeSet<Vec<u8>>,
}

impl OperationReplayer {
    pub fn new(_: &mut Stream) -> Self {
        Self { seen: BTreeSet::new() }
    }
}

impl Conduct for OperationReplayer {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        // As long as something is going on: each replay keeps the rounds going.
        let replays = mind.rng.chance(1, 3);
        let all = self.seen.iter().take(100).cloned();
        let bytes = mind.alter(block, |_, bytes| {
            if replays {
                *bytes = edit(bytes, |payload| payload.operations.extend(all));
            }
        });
        mind.broadcast(&PeerMessage::Block(bytes));
    }

    fn hear(&mut self, mind: &mut Mind, _: ReplicaId, message: &PeerMessage) -> bool {
        if let PeerMessage::Block(_) = message
            && let Some((_, blocks)) = mind.seen.last_key_value()
        {
            for block in blocks.values() {
                self.seen.extend(Payload::from_bytes(block.payload()).unwrap_or_default().operations);
            }
        }
        true
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        if !matches!(message, PeerMessage::Block(_)) {
            mind.send(to, &message);
        }
    }
}

/// One bit of some messages is wrong.
pub struct BitFlipper {
    often: u64,
}

impl BitFlipper {
    pub fn new(rng: &mut Stream) -> Self {
        Self { often: rng.between(1, 10) }
    }

    fn garble(&self, mind: &mut Mind, to: ReplicaId, message: &PeerMessage) {
        let Ok(mut bytes) = message.encode() else { return };
        if mind.rng.chance(self.often, 10) {
            let at = mind.rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << mind.rng.below(8);
        }
        mind.send_bytes(to, bytes);
    }
}

impl Conduct for BitFlipper {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        for to in mind.peers() {
            self.garble(mind, to, &PeerMessage::Block(block.bytes().to_vec()));
        }
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        self.garble(mind, to, &message);
    }
}
