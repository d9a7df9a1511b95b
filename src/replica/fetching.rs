//! Blocks for those who miss them: from memory, or from the store, little more at a time than one answer holds.

use std::ops::RangeInclusive;

use super::message::PeerMessage;
use super::{Effect, Replica};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::limits::{FETCH_ANSWER, KEPT_ROUNDS, MAX_ANSWERED_BLOCKS};
use crate::order::BlockRef;
use crate::store::{Read, StoreError};

impl Replica {
    /// The answer to a request for blocks: from memory where they are recent, else from `store`, which holds everything
    /// that [`Effect::Write`] said so far. Reads little more than one answer holds, whatever is asked for.
    pub fn answer_fetch<S: Read>(&self, refs: &[BlockRef], above: u64, store: &S) -> Result<PeerMessage, StoreError> {
        if refs.is_empty() {
            return self.answer_rest(above, store);
        }
        // The blocks named have the first claim on the room, so that each answer brings something; what leads to them
        // comes before them.
        let (mut named, mut size) = (Vec::new(), 0);
        let mut on_disk = ReplicaSet::EMPTY;
        let mut top = 0;
        for reference in refs {
            if size >= FETCH_ANSWER / 2 {
                break;
            }
            let block = match self.order.block(reference) {
                Some(block) => Some(block.bytes().to_vec()),
                None => {
                    let block = store.block(reference.round, reference.author, &reference.digest)?;
                    if block.is_some() {
                        on_disk.insert(reference.author);
                        top = reference.round.max(top);
                    }
                    block
                }
            };
            size += block.as_ref().map_or(0, Vec::len);
            named.extend(block);
        }
        let room = FETCH_ANSWER.saturating_sub(size);
        let mut chains = Vec::new();
        if top > above.saturating_add(1) {
            let of_chain = |author| on_disk.contains(author);
            chains = stored_in(above.saturating_add(1)..=top - 1, store, room / 2, of_chain)?;
        }
        let room = room.saturating_sub(chains.iter().map(Vec::len).sum());
        let (held, _) = self.order.serve(refs, above, room);
        chains.extend(held.iter().map(|block| block.bytes().to_vec()));
        chains.truncate(MAX_ANSWERED_BLOCKS.saturating_sub(named.len()));
        Ok(PeerMessage::blocks(chains.into_iter().chain(named)))
    }

    /// All above a round, the oldest first, as far as it fits in; and the own last block in any case: the asker sees by
    /// it that there is more, and asks on. Nothing else may tell it, in a cluster that is quiet.
    fn answer_rest<S: Read>(&self, above: u64, store: &S) -> Result<PeerMessage, StoreError> {
        if above.saturating_add(1) < self.heads.pruned()
            && let Some(signed) = self.heads.checkpoint()
        {
            // The blocks are gone: the state is there to be copied.
            return Ok(PeerMessage::Head(signed.to_bytes()));
        }
        let last = self.order.own_last_block().map(|block| block.bytes().to_vec());
        let room = FETCH_ANSWER.saturating_sub(last.as_ref().map_or(0, Vec::len));
        let mut blocks = if above < self.order.memory_floor() {
            stored_in(above.saturating_add(1)..=self.order.quorum_round(), store, room, |_| true)?
        } else {
            self.order.blocks_after(above, room).iter().map(|block| block.bytes().to_vec()).collect()
        };
        blocks.truncate(MAX_ANSWERED_BLOCKS - 1);
        let more = last.filter(|last| self.order.own_last_round() > above && !blocks.contains(last));
        Ok(PeerMessage::blocks(blocks.into_iter().chain(more)))
    }

    /// Serves a request, unless its sender asks for more than anybody needs: who misses something asks again.
    pub(super) fn fetch_asked(&mut self, from: ReplicaId, refs: Vec<BlockRef>, above: u64) -> Vec<Effect> {
        let on_disk = refs.iter().filter(|reference| self.order.block(reference).is_none()).count();
        let rounds = refs.iter().map(|reference| reference.round.saturating_sub(above)).max();
        let deep = rounds.is_none_or(|rounds| rounds > KEPT_ROUNDS);
        if self.allowances.may_fetch(from, on_disk, deep) {
            vec![Effect::Serve { to: from, refs, above }]
        } else {
            Vec::new()
        }
    }
}

/// Stored blocks of these rounds by authors for which `of` holds, in order of rounds, until they have `limit` bytes.
fn stored_in<S: Read>(
    rounds: RangeInclusive<u64>,
    store: &S,
    limit: usize,
    of: impl Fn(ReplicaId) -> bool,
) -> Result<Vec<Vec<u8>>, StoreError> {
    const ROUNDS_AT_A_TIME: u64 = 4;
    let (mut found, mut size) = (Vec::new(), 0);
    let (mut from, top) = (*rounds.start(), *rounds.end());
    while from <= top && size < limit && found.len() < MAX_ANSWERED_BLOCKS {
        let Some(next) = store.next_round(from)?.filter(|next| *next <= top) else { break };
        from = next;
        let until = from.saturating_add(ROUNDS_AT_A_TIME).min(top.saturating_add(1));
        for block in store.blocks_in(from..until)?.into_iter().filter(|block| of(block.author)) {
            size += block.bytes.len();
            found.push(block.bytes);
        }
        from = until;
    }
    Ok(found)
}
