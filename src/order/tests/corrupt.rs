//! What corrupt replicas send in the place of an own block.

use super::world::{Behaviour, Message, World};
use super::*;
use crate::limits::{ACCEPT_WINDOW, MAX_SUSPENDED_BLOCKS};

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

    /// Twins with drawn pasts: each has as parents any blocks of a quorum of the round before, twins of its own among them.
    /// Each goes to whom the dice say. So one and the same slot votes for a leader and against it.
    fn fork(&mut self, replica: ReplicaId, block: &Arc<VerifiedBlock>) -> Vec<(ReplicaId, Message)> {
        let twins = [self.forked(replica, block, 1), self.forked(replica, block, 2)];
        let peers: Vec<ReplicaId> = self.keys.public.committee.ids().filter(|&peer| peer != replica).collect();
        let choose = |peer| (peer, Message::Block(Arc::clone(&twins[self.random(2) as usize])));
        peers.into_iter().map(choose).collect()
    }

    fn forked(&mut self, replica: ReplicaId, block: &Arc<VerifiedBlock>, twin: u64) -> Arc<VerifiedBlock> {
        let mut header = block.header().clone();
        let Some(before) = header.round.checked_sub(1).filter(|before| *before > 0) else { return Arc::clone(block) };
        let committee = self.keys.public.committee.clone();
        let mut slots: Vec<Vec<BlockRef>> = committee.ids().map(|author| self.sent_at(before, author)).collect();
        slots.retain(|slot| !slot.is_empty());
        while slots.len() > committee.quorum_threshold() {
            let chosen = self.random(slots.len() as u64) as usize;
            if slots[chosen][0].author != replica {
                slots.swap_remove(chosen);
            }
        }
        header.parents = slots.iter().map(|slot| slot[self.random(slot.len() as u64) as usize]).collect();
        header.parents.sort_unstable();
        header.gap = !header.parents.iter().any(|parent| parent.author == replica);
        header.timestamp = Timestamp(block.header().timestamp.0 + twin);
        let forked = VerifiedBlock::sign(&self.keys.public, header, b"", &self.keys.identities[replica.index()]);
        self.note_sent(Arc::new(forked))
    }

    /// Valid blocks of future rounds, near, at the end of the window, and beyond, with parents that nobody made.
    fn junk(&mut self, author: ReplicaId, round: u64) -> Vec<Message> {
        let ahead = [2, 3, 5, 20, 90, ACCEPT_WINDOW - 1, ACCEPT_WINDOW, ACCEPT_WINDOW + 1, 1000];
        let count = 1 + self.random(2 * MAX_SUSPENDED_BLOCKS as u64 / 10);
        let rounds: Vec<u64> = (0..count).map(|_| round + ahead[self.random(ahead.len() as u64) as usize]).collect();
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
