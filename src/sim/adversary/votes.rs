//! Liars about what a registry's primary serves.

use std::collections::VecDeque;
use std::sync::Arc;

use super::blocks::edit;
use super::{Conduct, Mind};
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::limits::{MAX_CHANGE_PARTS_PER_BLOCK, MAX_VOTES_PER_BLOCK};
use crate::order::VerifiedBlock;
use crate::replica::message::PeerMessage;
use crate::replica::payload::Payload;
use crate::replica::primary::{Candidate, Part, Vote};
use crate::sim::registry::with_serial;
use crate::sim::stream::Stream;

/// Votes and parts that are remembered.
const MEMORY: usize = 8;

/// The block with another payload, to everybody.
fn say(mind: &mut Mind, block: &VerifiedBlock, change: impl FnOnce(&mut Payload)) {
    let bytes = mind.alter(block, |_, bytes| *bytes = edit(bytes, change));
    mind.broadcast(&PeerMessage::Block(bytes));
}

/// All but blocks: the core's own version of them stays hidden.
fn send_other(mind: &mut Mind, to: ReplicaId, message: &PeerMessage) {
    if !matches!(message, PeerMessage::Block(_)) {
        mind.send(to, message);
    }
}

/// Votes as an honest replica does, for a zone that it has invented, or orders parts of nothing besides. Several of them
/// invent the same.
pub struct InventedZone {
    orders: bool,
    parts: VecDeque<Part>,
}

impl InventedZone {
    pub fn new(rng: &mut Stream) -> Self {
        Self { orders: rng.chance(1, 2), parts: VecDeque::new() }
    }
}

impl Conduct for InventedZone {
    fn transfer(&mut self, _: &mut Mind, file: &ZoneFile) -> Option<ZoneFile> {
        let serial = file.serial();
        // Some beside the registry's version of that serial, some after it.
        let mut invented = with_serial(file.clone(), serial.wrapping_add(serial % 3));
        let name = Name::parse("invented", Some(&file.apex)).expect("a sound label");
        invented.records.insert((name, Rtype::A), Rrset::new(Rtype::A, 300, vec![vec![198, 51, 100, 66]]));
        Some(invented)
    }

    fn hear(&mut self, mind: &mut Mind, _: ReplicaId, _: &PeerMessage) -> bool {
        self.parts.extend(heard(mind).parts);
        self.parts.drain(..self.parts.len().saturating_sub(MEMORY));
        true
    }

    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        let Some(zone) = mind.primary_zone.clone() else { return say(mind, block, |_| {}) };
        let mut part = self.parts.back().cloned().unwrap_or(Part { zone, bytes: vec![0; 100] });
        let at = mind.rng.below(part.bytes.len() as u64) as usize;
        part.bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8));
        let adds = self.orders && mind.rng.chance(1, 2);
        say(mind, block, |payload| {
            if adds {
                payload.parts.insert(0, part);
                payload.parts.truncate(MAX_CHANGE_PARTS_PER_BLOCK);
            }
        });
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        send_other(mind, to, &message);
    }
}

/// Votes for what it has no parts of: what others vote for, as soon as it sees that; the same with another part; digests
/// of nothing. What parts it has it keeps for itself.
pub struct EmptyVotes {
    votes: VecDeque<Vote>,
}

impl EmptyVotes {
    pub fn new(_: &mut Stream) -> Self {
        Self { votes: VecDeque::new() }
    }

    fn vote(&self, mind: &mut Mind) -> Option<Vote> {
        let nothing = |zone| Vote { zone, base: 0, candidate: Candidate { serial: 0, parts: vec![Digest::ZERO] } };
        let heard = self.votes.back().cloned();
        let mut vote = heard.or_else(|| mind.primary_zone.clone().map(nothing))?;
        let mut digest = || Digest(mind.rng.bytes(32).try_into().expect("32 bytes"));
        let (first, more) = (digest(), digest());
        match mind.rng.below(4) {
            0 => {
                vote.candidate.serial = vote.candidate.serial.wrapping_add(mind.rng.between(1, 9) as u32);
                vote.candidate.parts = vec![first, more];
            }
            1 => vote.candidate.parts.push(more),
            2 => vote.base += mind.rng.between(0, 2),
            _ => {}
        }
        Some(vote)
    }
}

impl Conduct for EmptyVotes {
    fn hear(&mut self, mind: &mut Mind, _: ReplicaId, _: &PeerMessage) -> bool {
        self.votes.extend(heard(mind).votes);
        self.votes.drain(..self.votes.len().saturating_sub(MEMORY));
        true
    }

    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        let vote = self.vote(mind);
        say(mind, block, |payload| {
            payload.parts.clear();
            payload.votes.extend(vote);
            payload.votes.truncate(MAX_VOTES_PER_BLOCK);
        });
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        send_other(mind, to, &message);
    }
}

/// The payload of the block that came last.
fn heard(mind: &mut Mind) -> Payload {
    let block = mind.heard.take();
    block.and_then(|block| Payload::from_bytes(block.payload()).ok()).unwrap_or_default()
}
