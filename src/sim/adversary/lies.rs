//! Liars who answer wrong, and those who lie about time.

use std::sync::Arc;

use super::{Conduct, Mind};
use crate::codec;
use crate::committee::ReplicaId;
use crate::limits::MAX_ROUND;
use crate::order::VerifiedBlock;
use crate::order::startup::{Answer, Question};
use crate::replica::message::PeerMessage;
use crate::sim::keys::START_MS;
use crate::sim::stream::Stream;

/// Claims rounds that it never reached, forgets what it holds of the asker, or shows somebody else's block instead.
pub struct LyingStartup;

impl LyingStartup {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for LyingStartup {
    fn hear(&mut self, mind: &mut Mind, from: ReplicaId, message: &PeerMessage) -> bool {
        let PeerMessage::StartupQuery { nonce } = message else { return true };
        let question = Question { asker: from, nonce: *nonce };
        let top = mind.quorum_round();
        let claims = [0, top, top + 1000, MAX_ROUND, MAX_ROUND + 1];
        let own_last = *mind.rng.pick(&claims).expect("there are some");
        let of_asker = mind.seen.values().rev().find_map(|blocks| blocks.get(&from)).cloned();
        let oldest = mind.seen.values().find_map(|blocks| blocks.get(&from)).cloned();
        let of_another =
            mind.seen.values().rev().find_map(|blocks| blocks.values().find(|b| b.author() != from)).cloned();
        let held = [None, of_asker, oldest, of_another][mind.rng.below(4) as usize].clone();
        let answer = mind.answer(question, own_last, held.as_deref());
        mind.send(from, &PeerMessage::StartupAnswer(codec::encode(&answer)));
        false
    }
}

impl Mind {
    fn answer(&self, question: Question, own_last: u64, held: Option<&VerifiedBlock>) -> Answer {
        Answer::new(&self.public, self.me, &self.identity, question, own_last, held)
    }
}

/// Answers to a request for blocks: nothing, old ones, one over and over, bytes that are none.
pub struct LyingServer;

impl LyingServer {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for LyingServer {
    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        let PeerMessage::Blocks(sound) = &message else { return mind.send(to, &message) };
        let answer = match mind.rng.below(5) {
            0 => return,
            1 => Vec::new(),
            2 => sound.iter().take(1).cycle().take(50).cloned().collect(),
            3 => (0..5).map(|_| mind.rng.bytes(200)).collect(),
            _ => mind.seen.values().flat_map(|blocks| blocks.values()).take(20).map(|b| b.bytes().to_vec()).collect(),
        };
        mind.send(to, &PeerMessage::blocks(answer));
    }

    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        // Only to some, so that others have to ask.
        let mut peers = mind.peers();
        mind.rng.shuffle(&mut peers);
        for &to in &peers[peers.len() / 2..] {
            mind.send(to, &PeerMessage::Block(block.bytes().to_vec()));
        }
    }
}

/// Its clock is off by anything from a second to centuries, in either direction, and jumps.
pub struct ClockLiar;

impl ClockLiar {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for ClockLiar {
    fn clock_error(&mut self, mind: &mut Mind) -> Option<i64> {
        let far = 1000i64 << mind.rng.below(34);
        Some(if mind.rng.chance(1, 2) { far } else { -far })
    }
}

/// Leaves rounds out, and makes blocks for them much later.
pub struct BackDater {
    left_out: Vec<u64>,
}

impl BackDater {
    pub fn new(_: &mut Stream) -> Self {
        Self { left_out: Vec::new() }
    }
}

impl Conduct for BackDater {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        if mind.rng.chance(1, 2) {
            self.left_out.push(block.round());
        } else {
            mind.broadcast(&PeerMessage::Block(block.bytes().to_vec()));
        }
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        if !matches!(message, PeerMessage::Block(_) | PeerMessage::Blocks(_)) {
            mind.send(to, &message);
        }
    }

    fn tick(&mut self, mind: &mut Mind) {
        let Some(round) = self.left_out.pop() else { return };
        let mut parents = mind.references(round.saturating_sub(1));
        parents.retain(|parent| parent.author != mind.me);
        let payload = mind.seen.values().rev().flat_map(|blocks| blocks.values()).map(|block| block.payload().to_vec());
        let copied = payload.into_iter().find(|payload| !payload.is_empty()).unwrap_or_default();
        let bytes = mind.forge(mind.header(round, parents, START_MS), &copied);
        mind.broadcast(&PeerMessage::Block(bytes));
    }
}
