//! Liars who would read what is sealed before its place is fixed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::blocks::edit;
use super::{Conduct, Mind};
use crate::committee::ReplicaId;
use crate::crypto::bls::DecryptionShare;
use crate::crypto::digest::Digest;
use crate::limits::MAX_OPENINGS_PER_BLOCK;
use crate::order::VerifiedBlock;
use crate::replica::envelope;
use crate::replica::message::PeerMessage;
use crate::replica::payload::Payload;
use crate::replica::sealed::{Opening, Ticket};
use crate::sim::stream::Stream;

/// Gives its share of every envelope as soon as it sees it, under the ticket that it may get.
pub struct EarlyOpener {
    shares: BTreeMap<Digest, Option<DecryptionShare>>,
    given: usize,
}

impl EarlyOpener {
    pub fn new(_: &mut Stream) -> Self {
        Self { shares: BTreeMap::new(), given: 0 }
    }

    fn note(&mut self, mind: &Mind, bytes: &[u8]) {
        let share = || envelope::check(bytes).ok().map(|envelope| mind.sealing.share(&envelope.ciphertext));
        self.shares.entry(envelope::digest_of_bytes(bytes)).or_insert_with(share);
    }
}

impl Conduct for EarlyOpener {
    fn hear(&mut self, mind: &mut Mind, _: ReplicaId, message: &PeerMessage) -> bool {
        match message {
            PeerMessage::Envelope(bytes) => self.note(mind, bytes),
            PeerMessage::Block(_) => {
                let blocks = mind.seen.last_key_value().map(|(_, blocks)| blocks.clone()).unwrap_or_default();
                for block in blocks.values() {
                    let payload = Payload::from_bytes(block.payload()).unwrap_or_default();
                    payload.sealed.iter().for_each(|envelope| self.note(mind, envelope));
                }
            }
            _ => {}
        }
        true
    }

    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        // Not over and over: its blocks keep the rounds going.
        let shares: Vec<&DecryptionShare> = self.shares.values().flatten().collect();
        let often = self.given >= 4 * shares.len();
        let bytes = if often {
            block.bytes().to_vec()
        } else {
            self.given += 1;
            let first = mind.rng.below(3);
            mind.alter(block, |_, bytes| {
                *bytes = edit(bytes, |payload| {
                    let early = (first..).zip(shares).map(|(ticket, share)| (Ticket(ticket), share.clone()));
                    payload.openings.extend(early.map(|(ticket, share)| Opening { ticket, share }));
                    payload.openings.truncate(MAX_OPENINGS_PER_BLOCK);
                });
            })
        };
        mind.broadcast(&PeerMessage::Block(bytes));
    }

    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        // The core's own version of the block stays hidden.
        if !matches!(message, PeerMessage::Block(_)) {
            mind.send(to, &message);
        }
    }
}
