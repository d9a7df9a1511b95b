//! Liars who send too much.

use std::sync::Arc;

use super::{Conduct, Mind};
use crate::committee::ReplicaId;
use crate::crypto::digest::hash;
use crate::limits::{ACCEPT_WINDOW, MAX_FRAME};
use crate::order::{BlockRef, OrderPublic, VerifiedBlock};
use crate::replica::message::PeerMessage;
use crate::sim::keys::START_MS;
use crate::sim::stream::Stream;

/// Names that no block has, of all authors.
pub(super) fn invented(mind: &mut Mind, round: u64) -> Vec<BlockRef> {
    let salt = mind.rng.bytes(8);
    let name = |author: ReplicaId| BlockRef { round, author, digest: hash("invented", &[&salt, &[author.0]]) };
    mind.public.committee.ids().map(name).collect()
}

/// Now and then a block of the next round whose parents do not exist.
pub struct InventedParents;

impl InventedParents {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for InventedParents {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        if mind.rng.chance(1, 2) {
            return mind.broadcast(&PeerMessage::Block(block.bytes().to_vec()));
        }
        for _ in 0..mind.rng.between(1, 8) {
            let round = mind.quorum_round() + mind.rng.between(2, 6);
            let parents = invented(mind, round - 1);
            let bytes = mind.forge(mind.header(round, parents, START_MS), b"");
            mind.broadcast(&PeerMessage::Block(bytes));
        }
    }
}

/// Blocks as far ahead as others keep them, one less, one more, and much more.
pub struct FutureSpammer;

impl FutureSpammer {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for FutureSpammer {
    fn tick(&mut self, mind: &mut Mind) {
        let base = mind.quorum_round();
        for ahead in [ACCEPT_WINDOW - 1, ACCEPT_WINDOW, ACCEPT_WINDOW + 1, 1 << 20] {
            for _ in 0..4 {
                let parents = invented(mind, base + ahead - 1);
                let bytes = mind.forge(mind.header(base + ahead, parents, START_MS), b"far");
                mind.broadcast(&PeerMessage::Block(bytes));
            }
        }
    }
}

/// Old blocks of everybody, over and over.
pub struct StaleFlooder;

impl StaleFlooder {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for StaleFlooder {
    fn tick(&mut self, mind: &mut Mind) {
        let old: Vec<Vec<u8>> = mind
            .seen
            .values()
            .flat_map(|blocks| blocks.values())
            .take(64)
            .map(|block| block.bytes().to_vec())
            .collect();
        for bytes in &old {
            let peers = mind.peers();
            let to = *mind.rng.pick(&peers).expect("there are peers");
            mind.send(to, &PeerMessage::Block(bytes.clone()));
        }
        mind.broadcast(&PeerMessage::blocks(old));
    }
}

/// Says everything several times.
pub struct ValidFlooder {
    times: u64,
}

impl ValidFlooder {
    pub fn new(rng: &mut Stream) -> Self {
        Self { times: rng.between(2, 12) }
    }
}

impl Conduct for ValidFlooder {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        for _ in 0..self.times {
            mind.broadcast(&PeerMessage::Block(block.bytes().to_vec()));
        }
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        for _ in 0..self.times {
            mind.send(to, &message);
        }
    }

    fn hear(&mut self, mind: &mut Mind, from: ReplicaId, message: &PeerMessage) -> bool {
        if matches!(message, PeerMessage::Block(_)) {
            for to in mind.peers().into_iter().filter(|&to| to != from) {
                mind.send(to, message);
            }
        }
        true
    }
}

/// Asks for everything there is, and for what is not, without end.
pub struct FetchFlooder;

impl FetchFlooder {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for FetchFlooder {
    fn tick(&mut self, mind: &mut Mind) {
        for _ in 0..8 {
            mind.broadcast(&PeerMessage::Fetch { refs: Vec::new(), above: 0 });
        }
        let round = mind.rng.between(1, 1 << 20);
        let refs = invented(mind, round);
        mind.broadcast(&PeerMessage::Fetch { refs, above: u64::MAX });
        let top = mind.quorum_round();
        let refs = mind.references(top);
        mind.broadcast(&PeerMessage::Fetch { refs, above: 0 });
        for _ in 0..4 {
            let nonce = [mind.rng.below(256) as u8; 32];
            mind.broadcast(&PeerMessage::StartupQuery { nonce });
        }
    }
}

/// Bytes that no link lets through, or that are no message.
pub struct Oversize;

impl Oversize {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for Oversize {
    fn tick(&mut self, mind: &mut Mind) {
        for to in mind.peers() {
            match mind.rng.below(4) {
                0 => mind.send_bytes(to, vec![0; MAX_FRAME]),
                1 => mind.send_bytes(to, [vec![2], vec![0; 100_000]].concat()),
                2 => {
                    let bytes = mind.rng.bytes(300);
                    mind.send_bytes(to, bytes);
                }
                _ => mind.send_bytes(to, Vec::new()),
            }
        }
    }
}

/// Blocks of its own as another epoch, another network and another coin would have them.
pub struct EpochReplayer;

impl EpochReplayer {
    pub fn new(_: &mut Stream) -> Self {
        Self
    }
}

impl Conduct for EpochReplayer {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        let header = block.header().clone();
        let own = (*mind.public).clone();
        let other = match mind.rng.below(3) {
            0 => OrderPublic { epoch: own.epoch + 1, ..own },
            1 => OrderPublic { network: hash("another network", &[]), ..own },
            _ => own,
        };
        let header = crate::order::Header { epoch: other.epoch, ..header };
        let bytes = mind.forge_under(&other, header, block.payload());
        mind.broadcast(&PeerMessage::Block(bytes));
        mind.broadcast(&PeerMessage::Block(block.bytes().to_vec()));
    }
}
