//! Liars whose words are sound: what they choose is when, and to whom.

use std::sync::Arc;

use super::{Conduct, Mind};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::order::VerifiedBlock;
use crate::replica::message::PeerMessage;
use crate::sim::delays::{MS, Micros};
use crate::sim::stream::Stream;

fn as_message(block: &VerifiedBlock) -> PeerMessage {
    PeerMessage::Block(block.bytes().to_vec())
}

/// There for a while, then gone for a while.
pub struct Flapper {
    period: Micros,
}

impl Flapper {
    pub fn new(rng: &mut Stream) -> Self {
        Self { period: rng.between(100, 1500) * MS }
    }

    fn is_there(&self, mind: &Mind) -> bool {
        (mind.now / self.period).is_multiple_of(2)
    }
}

impl Conduct for Flapper {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        if self.is_there(mind) {
            mind.broadcast(&as_message(block));
        }
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        if self.is_there(mind) {
            mind.send(to, &message);
        }
    }

    fn hear(&mut self, mind: &mut Mind, _: ReplicaId, _: &PeerMessage) -> bool {
        self.is_there(mind)
    }
}

/// Shows its blocks to some; to whom, changes now and then. Does not answer those who ask for them.
pub struct Selective {
    to: ReplicaSet,
    left: u64,
}

impl Selective {
    pub fn new(_: &mut Stream) -> Self {
        Self { to: ReplicaSet::EMPTY, left: 0 }
    }
}

impl Conduct for Selective {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        if self.left == 0 {
            self.left = mind.rng.between(1, 12);
            let mut peers = mind.peers();
            mind.rng.shuffle(&mut peers);
            peers.truncate(mind.rng.below(peers.len() as u64) as usize);
            self.to = peers.into_iter().collect();
        }
        self.left -= 1;
        for to in self.to.iter() {
            mind.send(to, &as_message(block));
        }
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        if !matches!(message, PeerMessage::Blocks(_) | PeerMessage::Block(_)) {
            mind.send(to, &message);
        }
    }
}

/// Each block goes out when a quorum is some rounds further: the last moment at which it may still count.
pub struct Late {
    rounds: u64,
    held: Vec<Arc<VerifiedBlock>>,
}

impl Late {
    pub fn new(rng: &mut Stream) -> Self {
        Self { rounds: rng.between(1, 5), held: Vec::new() }
    }

    fn release(&mut self, mind: &mut Mind) {
        let due = mind.quorum_round();
        let rounds = self.rounds;
        for block in self.held.extract_if(.., |block| block.round() + rounds <= due) {
            mind.broadcast(&as_message(&block));
        }
    }
}

impl Conduct for Late {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        self.held.push(Arc::clone(block));
        self.release(mind);
    }

    fn hear(&mut self, mind: &mut Mind, _: ReplicaId, _: &PeerMessage) -> bool {
        self.release(mind);
        true
    }

    fn tick(&mut self, mind: &mut Mind) {
        // With nothing going on, the others may wait for this one.
        if mind.rng.chance(1, 4) {
            for block in self.held.drain(..) {
                mind.broadcast(&as_message(&block));
            }
        }
    }
}

/// Keeps blocks back for long, then shows them all, the last first.
pub struct Withholder {
    held: Vec<Arc<VerifiedBlock>>,
    until: Micros,
}

impl Withholder {
    pub fn new(_: &mut Stream) -> Self {
        Self { held: Vec::new(), until: 0 }
    }
}

impl Conduct for Withholder {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        self.held.push(Arc::clone(block));
        if mind.now >= self.until {
            self.until = mind.now + mind.rng.between(20, 1500) * MS;
            for block in self.held.drain(..).rev() {
                mind.broadcast(&as_message(&block));
            }
        }
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        if !matches!(message, PeerMessage::Blocks(_) | PeerMessage::Block(_)) {
            mind.send(to, &message);
        }
    }
}

/// Acts as if one replica did not exist.
pub struct Deaf {
    victim: Option<ReplicaId>,
}

impl Deaf {
    pub fn new(_: &mut Stream) -> Self {
        Self { victim: None }
    }
}

impl Conduct for Deaf {
    fn hear(&mut self, mind: &mut Mind, from: ReplicaId, _: &PeerMessage) -> bool {
        let peers = mind.peers();
        let victim = *self.victim.get_or_insert_with(|| *mind.rng.pick(&peers).expect("there are peers"));
        from != victim
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        if Some(to) != self.victim {
            mind.send(to, &message);
        }
    }
}
