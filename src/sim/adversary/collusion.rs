//! Liars who work together: what one of them hides is what the other's hidden blocks need.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::floods::invented;
use super::{Conduct, Mind};
use crate::committee::ReplicaId;
use crate::order::VerifiedBlock;
use crate::replica::message::PeerMessage;
use crate::sim::keys::START_MS;
use crate::sim::stream::Stream;

/// Blocks of a crowd that go out at each tick.
const CROWD: usize = 32;
/// Ticks after which the chain is shown, however long it is.
const PATIENCE: u32 = 16;

/// The first of them makes a chain that nobody sees, at whose lower end hangs a block of another that nobody sees
/// either, and then shows both to one correct replica. Whatever that one says from then on leads to the chain: the
/// others have to find all of it. Meanwhile all colluders crowd the places where blocks of the chain would wait with
/// blocks of lower rounds whose parents nobody made, and send what they can of the chain themselves, so that it counts
/// as theirs.
pub struct Colluder {
    /// Whoever has a block to hang at the lower end hides it from this round on.
    begins: u64,
    /// As many blocks make the chain.
    length: usize,
    link: Option<Arc<VerifiedBlock>>,
    chain: Vec<Arc<VerifiedBlock>>,
    ticks: u32,
    is_shown: bool,
}

impl Colluder {
    pub fn new(rng: &mut Stream) -> Self {
        let (begins, length) = (rng.between(5, 12), rng.between(8, 40) as usize);
        Self { begins, length, link: None, chain: Vec::new(), ticks: 0, is_shown: false }
    }

    /// Who makes the chain.
    fn first(mind: &Mind) -> ReplicaId {
        mind.fellows.iter().next().filter(|first| *first < mind.me).unwrap_or(mind.me)
    }

    /// The correct replica that is shown what is hidden: all colluders know which.
    fn confidant(mind: &Mind) -> ReplicaId {
        let correct: Vec<ReplicaId> = mind.peers().into_iter().filter(|id| !mind.fellows.contains(*id)).collect();
        correct[mind.public.epoch as usize % correct.len()]
    }

    fn victims(mind: &Mind) -> Vec<ReplicaId> {
        let confidant = Self::confidant(mind);
        mind.peers().into_iter().filter(|&id| id != confidant && !mind.fellows.contains(id)).collect()
    }

    /// Whether it has something to hide by now.
    fn hides(&self) -> bool {
        self.link.is_some()
    }

    fn show(&mut self, mind: &mut Mind) {
        self.is_shown = true;
        let to = Self::confidant(mind);
        for block in self.link.iter().chain(&self.chain) {
            mind.send(to, &as_message(block));
        }
    }

    /// So many blocks of this replica that wait for ever, in the lowest round where the others have none of it.
    fn crowd(&self, mind: &mut Mind, many: usize) {
        let lowest = self.chain.first().map_or(self.begins + 1, |block| block.round());
        let junk: BTreeSet<Vec<u8>> = (0..many)
            .map(|_| {
                let parents = invented(mind, lowest - 1);
                mind.forge(mind.header(lowest, parents, START_MS), b"")
            })
            .collect();
        for to in Self::victims(mind) {
            for bytes in &junk {
                mind.send(to, &PeerMessage::Block(bytes.clone()));
            }
        }
    }
}

fn as_message(block: &VerifiedBlock) -> PeerMessage {
    PeerMessage::Block(block.bytes().to_vec())
}

impl Conduct for Colluder {
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        let is_first = Self::first(mind) == mind.me;
        if is_first && self.hides() {
            if !self.is_shown {
                self.chain.push(Arc::clone(block));
                if self.chain.len() >= self.length {
                    self.show(mind);
                }
            } else {
                mind.send(Self::confidant(mind), &as_message(block));
            }
        } else if self.hides() {
            // Its later blocks would tell of the link.
        } else if block.round() >= self.begins && (mind.fellows.is_empty() || !is_first) {
            self.link = Some(Arc::clone(block));
            mind.send(Self::first(mind), &as_message(block));
        } else {
            mind.broadcast(&as_message(block));
        }
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        let tells = matches!(message, PeerMessage::Block(_) | PeerMessage::Blocks(_));
        if !tells || !self.hides() || mind.fellows.contains(to) || (self.is_shown && to == Self::confidant(mind)) {
            mind.send(to, &message);
        }
    }

    fn hear(&mut self, mind: &mut Mind, from: ReplicaId, message: &PeerMessage) -> bool {
        if let PeerMessage::Block(_) = message
            && mind.fellows.contains(from)
            && Self::first(mind) == mind.me
            && !self.hides()
            && let Some(block) = mind.heard.clone().filter(|block| block.author() == from)
            && block.round() >= self.begins
        {
            self.link = Some(block);
        }
        // Between any two answers to the others it fills what room came free.
        if self.is_shown && mind.rng.chance(1, 16) {
            self.crowd(mind, CROWD / 4);
        }
        true
    }

    fn tick(&mut self, mind: &mut Mind) {
        if !self.hides() {
            return;
        }
        self.ticks += 1;
        let is_first = Self::first(mind) == mind.me;
        if is_first && !self.is_shown && self.ticks >= PATIENCE && !self.chain.is_empty() {
            self.show(mind);
        }
        if is_first && self.is_shown {
            // Some of it comes from its author, too, and then the crowd pushes it out.
            let some = mind.rng.below(1 + self.chain.len() as u64) as usize;
            for to in Self::victims(mind) {
                for block in self.chain.iter().skip(some).take(CROWD / 2) {
                    mind.send(to, &as_message(block));
                }
            }
        }
        self.crowd(mind, CROWD);
    }
}
