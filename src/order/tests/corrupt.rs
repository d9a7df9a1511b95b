//! What corrupt replicas send in the place of an own block.

use super::world::{Behaviour, Message, World};
use super::*;
use crate::limits::ACCEPT_WINDOW;

impl World {
    /// What goes out when corrupt `replica` is to broadcast `block`; `None` if its behaviour shows elsewhere.
    pub fn tamper(&mut self, replica: ReplicaId, block: &Arc<VerifiedBlock>) -> Option<Vec<(ReplicaId, Message)>> {
        let others: Vec<ReplicaId> = self.keys.public.committee.ids().filter(|&peer| peer != replica).collect();
        let all = |messages: Vec<Message>| {
            others.iter().flat_map(|&peer| messages.iter().map(move |message| (peer, message.clone()))).collect()
        };
        match self.behaviour(replica) {
            Behaviour::Flood => {
                let mut messages: Vec<(ReplicaId, Message)> = all(self.junk(replica, block.round()));
                let chosen = others[self.random(others.len() as u64) as usize];
                messages.push((chosen, Message::Block(Arc::clone(block))));
                Some(messages)
            }
            Behaviour::Forge => {
                let victim = others[self.random(others.len() as u64) as usize];
                let forged = self.last_of(victim).map(|last| self.resigned(&last, 0, replica));
                Some(all(forged.into_iter().chain([Message::Block(Arc::clone(block))]).collect()))
            }
            Behaviour::Replay => {
                let victim = others[self.random(others.len() as u64) as usize];
                let replayed = self.last_of(victim).map(|last| self.resigned(&last, 1, victim));
                Some(all(replayed.into_iter().chain([Message::Block(Arc::clone(block))]).collect()))
            }
            Behaviour::Fork => Some(self.fork(replica, block)),
            Behaviour::LieAboutTime => {
                let timestamp = match self.random(4) {
                    0 => Timestamp(0),
                    1 => Timestamp(u64::MAX),
                    2 => Timestamp(self.now() / 2),
                    _ => Timestamp(self.now() * 3),
                };
                let header = Header { timestamp, ..block.header().clone() };
                Some(all(vec![self.signed(header, block.payload(), replica)]))
            }
            Behaviour::Malformed => {
                let bad = self.malformed(replica, block);
                let real = Message::Block(Arc::clone(block));
                let half = |peer: &ReplicaId| if peer.0.is_multiple_of(2) { bad.clone() } else { vec![real.clone()] };
                Some(others.iter().flat_map(|peer| half(peer).into_iter().map(|message| (*peer, message))).collect())
            }
            _ => None,
        }
    }

    /// Twins with different pasts: one with all parents, the other with as few as it may have. Each goes to whom the dice say.
    fn fork(&mut self, replica: ReplicaId, block: &Arc<VerifiedBlock>) -> Vec<(ReplicaId, Message)> {
        let mut header = block.header().clone();
        let round = header.round;
        let mut before: Vec<ReplicaId> =
            header.parents.iter().filter(|p| p.round + 1 == round).map(|p| p.author).collect();
        let quorum = self.keys.public.committee.quorum_threshold();
        while before.len() > quorum {
            let chosen = self.random(before.len() as u64) as usize;
            if before[chosen] != replica {
                before.swap_remove(chosen);
            }
        }
        header
            .parents
            .retain(|parent| parent.author == replica || parent.round + 1 == round && before.contains(&parent.author));
        header.timestamp = Timestamp(block.header().timestamp.0 + 1);
        let twin = VerifiedBlock::sign(&self.keys.public, header, b"", &self.keys.identities[replica.index()]);
        let twins = [Arc::clone(block), Arc::new(twin)];
        let peers: Vec<ReplicaId> = self.keys.public.committee.ids().filter(|&peer| peer != replica).collect();
        let choose = |peer| (peer, Message::Block(Arc::clone(&twins[self.random(2) as usize])));
        peers.into_iter().map(choose).collect()
    }

    /// Valid blocks of future rounds, near, at the end of the window, and beyond, with parents that nobody made.
    fn junk(&mut self, author: ReplicaId, round: u64) -> Vec<Message> {
        let ahead = [2, 3, 5, 20, 90, ACCEPT_WINDOW - 1, ACCEPT_WINDOW, ACCEPT_WINDOW + 1, 1000];
        let rounds: Vec<u64> = (0..6).map(|_| round + ahead[self.random(ahead.len() as u64) as usize]).collect();
        rounds.into_iter().map(|round| self.invented(author, round)).collect()
    }

    fn invented(&mut self, author: ReplicaId, round: u64) -> Message {
        let salt = self.random(u64::MAX);
        let parent = |id: ReplicaId| BlockRef {
            round: round - 1,
            author: id,
            digest: hash("invented", &[&salt.to_be_bytes(), &[id.0]]),
        };
        let parents: Vec<BlockRef> = self.keys.public.committee.ids().map(parent).collect();
        Message::Block(self.keys.block(round, author, &parents, b""))
    }

    /// A block that breaks one of the rules of [`Header`].
    fn malformed(&mut self, replica: ReplicaId, block: &Arc<VerifiedBlock>) -> Vec<Message> {
        let mut header = block.header().clone();
        let own = |parent: &BlockRef| parent.author == replica;
        match self.random(3) {
            0 => header.parents.retain(|parent| !own(parent)),
            1 => header.parents.truncate(2),
            _ => {
                // A twin of the previous block, as a parent beside it.
                let Some(previous) = header.parents.iter().rfind(|parent| own(parent)).and_then(|p| self.sent(p))
                else {
                    return Vec::new();
                };
                let twin = Header { timestamp: Timestamp(2), ..previous.header().clone() };
                let twin = VerifiedBlock::sign(&self.keys.public, twin, b"", &self.keys.identities[replica.index()]);
                header.parents.push(twin.reference());
                header.parents.sort_unstable();
                return vec![Message::Block(Arc::new(twin)), self.signed(header, block.payload(), replica)];
            }
        }
        header.gap = false;
        vec![self.signed(header, block.payload(), replica)]
    }

    /// Another block for the slot of `block`, of `epoch`, signed by `signer`.
    fn resigned(&self, block: &VerifiedBlock, epoch: u64, signer: ReplicaId) -> Message {
        self.signed(Header { epoch, timestamp: Timestamp(3), ..block.header().clone() }, b"", signer)
    }

    fn signed(&self, header: Header, payload: &[u8], signer: ReplicaId) -> Message {
        let block = VerifiedBlock::sign(&self.keys.public, header, payload, &self.keys.identities[signer.index()]);
        Message::Bytes(block.bytes().to_vec())
    }
}
