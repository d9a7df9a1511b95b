//! What two corrupt replicas can do together that one cannot (n = 7, f = 2): one hides what the other's hidden blocks need.

use std::collections::VecDeque;

use super::*;
use crate::limits::{MAX_PAYLOAD, MAX_SUSPENDED_BLOCKS, MAX_UNORDERED_BYTES};

const CORRECT: std::ops::Range<u8> = 0..5;
const HIDDEN: u64 = 40;
const ROUNDS: u64 = 90;

fn invented(round: u64, salt: u64) -> Vec<BlockRef> {
    let digest = |author: u8| hash("invented", &[&salt.to_be_bytes(), &[author]]);
    (0..7).map(|author| BlockRef { round, author: r(author), digest: digest(author) }).collect()
}

/// Blocks that wait for parents which nobody made, in a round where their author has no other.
fn crowd(keys: &Keys, author: ReplicaId, salts: std::ops::Range<u64>) -> impl Iterator<Item = Arc<VerifiedBlock>> {
    salts.map(move |salt| keys.block(5, author, &invented(4, salt), b""))
}

/// Five correct replicas in `ROUNDS` rounds, then one block of the next round by the one that two corrupt ones showed their
/// blocks to: a chain of one of them, at whose lower end hangs a block of the other.
fn graph(keys: &Keys) -> (Vec<Arc<VerifiedBlock>>, Vec<Arc<VerifiedBlock>>, Arc<VerifiedBlock>) {
    let (mut shown, mut hidden) = (Vec::new(), Vec::<Arc<VerifiedBlock>>::new());
    let mut before: Vec<BlockRef> = Vec::new();
    for round in 1..=ROUNDS {
        if round >= HIDDEN {
            let author = if round == HIDDEN { r(6) } else { r(5) };
            let below = hidden.last().map(|block| block.reference());
            hidden.push(keys.block(round, author, &Vec::from_iter(before.iter().copied().chain(below)), b""));
        }
        let made: Vec<_> = CORRECT.map(|author| keys.block(round, r(author), &before, b"x")).collect();
        before = made.iter().map(|block| block.reference()).collect();
        shown.extend(made);
    }
    before.extend(hidden.last().map(|block| block.reference()));
    (shown, hidden, keys.block(ROUNDS + 1, r(1), &before, b"x"))
}

/// Shows `order` alone blocks of the rounds before, which are never ordered, until there is no room for another.
fn fill(keys: &Keys, order: &mut Order, author: ReplicaId) {
    let before = order.unordered_bytes();
    for round in 6..HIDDEN {
        let room = MAX_UNORDERED_BYTES - (order.unordered_bytes() - before);
        let block = |payload: usize| keys.block(round, author, &[], &vec![7; payload]);
        let overhead = block(MAX_PAYLOAD).bytes().len() - MAX_PAYLOAD;
        let _ = order.receive(author, block(MAX_PAYLOAD.min(room.saturating_sub(overhead)).max(1)));
    }
    let room = MAX_UNORDERED_BYTES - (order.unordered_bytes() - before);
    assert!(room < 16, "room for {room} bytes");
}

#[test]
fn two_colluders_cannot_crowd_out_what_a_correct_replicas_block_needs() {
    what_a_correct_replicas_block_needs_comes(false);
}

#[test]
fn nor_by_taking_all_the_room_that_their_own_blocks_have() {
    what_a_correct_replicas_block_needs_comes(true);
}

fn what_a_correct_replicas_block_needs_comes(filled: bool) {
    let keys = Keys::new(7, WaveLength::Five, 10_000);
    let (shown, hidden, block) = graph(&keys);
    let (mut informed, mut order) = (keys.fresh(r(1)), keys.fresh(r(0)));
    for made in &shown {
        let _ = informed.receive(made.author(), Arc::clone(made));
        let _ = order.receive(made.author(), Arc::clone(made));
    }
    for made in &hidden {
        let _ = informed.receive(made.author(), Arc::clone(made));
    }
    if filled {
        fill(&keys, &mut order, r(5));
        fill(&keys, &mut order, r(6));
    }
    for junk in crowd(&keys, r(5), 0..200).chain(crowd(&keys, r(6), 0..200)) {
        let _ = order.receive(junk.author(), junk);
    }
    let _ = informed.receive(r(1), Arc::clone(&block));
    assert!(informed.block(&block.reference()).is_some());
    let mut wanted = VecDeque::from(order.receive(r(1), Arc::clone(&block)));
    let mut answers = 0;
    while order.block(&block.reference()).is_none() && answers < 200 {
        if let Some(Effect::Fetch { refs, above, .. }) = wanted.pop_front() {
            answers += 1;
            // What its author sends itself counts as the author's, and is soon crowded out again.
            for sent in hidden.iter().filter(|block| block.author() == r(5)).take(30) {
                let _ = order.receive(r(5), Arc::clone(sent));
            }
            let (blocks, _) = informed.serve(&refs, above, usize::MAX);
            wanted.extend(blocks.into_iter().flat_map(|found| order.receive(r(1), found)));
        }
        // The schedule is the colluders': between any two answers they fill what room came free.
        let salts = 1000 * (1 + answers)..1000 * (1 + answers) + 30;
        for junk in crowd(&keys, r(5), salts.clone()).chain(crowd(&keys, r(6), salts)) {
            let _ = order.receive(junk.author(), junk);
        }
        wanted.extend(wanted.is_empty().then(|| order.retry()).into_iter().flatten());
        assert!(order.suspended_blocks() <= 7 * MAX_SUSPENDED_BLOCKS);
    }
    assert!(order.block(&block.reference()).is_some(), "not with {answers} answers");
    assert!(answers <= 20, "{answers} answers");
}
