//! No correct replica contradicts itself, across crashes and lost disks; nothing is said before it is durable; no
//! nonce answers twice.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Sight};
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::replica::payload::Payload;
use crate::signing::{Share, TaskId};

#[derive(Default)]
pub struct Speech {
    /// What was said in each slot.
    blocks: BTreeMap<(u64, ReplicaId), Digest>,
    /// The share given for each attempt.
    shares: BTreeMap<(ReplicaId, TaskId, u32), Vec<u8>>,
    commitments: BTreeMap<Vec<u8>, (ReplicaId, u64)>,
    /// Their disk was set back: nobody can tell, so they count as corrupt.
    set_back: BTreeSet<ReplicaId>,
}

impl Checker for Speech {
    fn name(&self) -> &'static str {
        "speech"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Started { by, remembers: false } => drop(self.set_back.insert(*by)),
            Sight::Spoke { by, block, durable } => {
                if block.author() != *by {
                    return Err(format!("{by} speaks for {}", block.author()));
                }
                let mut is_new = false;
                let digest = block.reference().digest;
                let first = *self.blocks.entry((block.round(), *by)).or_insert_with(|| {
                    is_new = true;
                    digest
                });
                // What was said before may be said again by one who forgot it and had it back from others.
                if is_new && *durable < block.round() {
                    return Err(format!("{by} says round {} while {durable} is durable", block.round()));
                }
                if first != digest {
                    // A disk set back so little that nobody holds more passes for intact.
                    return if self.set_back.contains(by) {
                        Ok(())
                    } else {
                        Err(format!("{by} says {first} and {digest} in round {}", block.round()))
                    };
                }
                self.payload(*by, block.round(), block.payload())?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Speech {
    fn payload(&mut self, by: ReplicaId, round: u64, payload: &[u8]) -> Result<(), String> {
        let payload = Payload::from_bytes(payload).map_err(|error| format!("{by} in round {round}: {error}"))?;
        for entry in &payload.shares {
            let Share::Frost(share) = &entry.share else { continue };
            let first = self.shares.entry((by, entry.task, entry.attempt)).or_insert_with(|| share.0.to_vec());
            if *first != share.0 {
                return Err(format!("{by} gives two shares for attempt {} at {:?}", entry.attempt, entry.task));
            }
        }
        for commitment in payload.nonces.iter().flat_map(|batch| &batch.commitments) {
            let bytes = crate::codec::encode(commitment);
            let (first, at) = *self.commitments.entry(bytes).or_insert((by, round));
            if (first, at) != (by, round) {
                return Err(format!("{by} commits in round {round} to a nonce of {first} in round {at}"));
            }
        }
        Ok(())
    }
}
