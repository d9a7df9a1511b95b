//! What one corrupt replica can send, and what it can make others keep.

use super::super::startup::{AnswerFault, Outcome, Question, Startup};
use super::network::Schedule;
use super::world::{DELAY, World};
use super::*;
use crate::limits::{MAX_FETCHED_REFERENCES, MAX_SUSPENDED_BLOCKS};

fn keys() -> Keys {
    Keys::new(4, WaveLength::Five, 10_000)
}

/// Parents that nobody ever made.
fn invented(round: u64, salt: u64) -> Vec<BlockRef> {
    let digest = |author: u8| hash("invented", &[&salt.to_be_bytes(), &[author]]);
    (0..4).map(|author| BlockRef { round, author: r(author), digest: digest(author) }).collect()
}

/// `rounds` full rounds of all four replicas.
fn full_graph(keys: &Keys, rounds: u64) -> Vec<Arc<VerifiedBlock>> {
    let mut blocks: Vec<Arc<VerifiedBlock>> = Vec::new();
    let mut before: Vec<BlockRef> = Vec::new();
    for round in 1..=rounds {
        let made: Vec<_> = (0..4).map(|author| keys.block(round, r(author), &before, b"x")).collect();
        before = made.iter().map(|block| block.reference()).collect();
        blocks.extend(made);
    }
    blocks
}

fn commits(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Commit(_))).count()
}

#[test]
fn a_flood_of_blocks_far_in_the_future_takes_bounded_memory_and_stops_nothing() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    for round in (2..3000).rev().step_by(2) {
        let effects = order.receive(r(3), keys.block(round, r(3), &invented(round - 1, round), b"junk"));
        assert!(effects.iter().all(|effect| matches!(effect, Effect::Fetch { from: ReplicaId(3), .. })));
        assert!(order.suspended_blocks() <= MAX_SUSPENDED_BLOCKS);
    }
    assert!(!order.is_behind(), "one liar makes nobody believe that others are ahead");
    let mut committed = 0;
    for block in full_graph(&keys, 8).iter().filter(|block| block.author() != r(3) || block.round() % 2 == 1) {
        committed += commits(&order.receive(block.author(), Arc::clone(block)));
    }
    let others: Vec<_> = full_graph(&keys, 8);
    for block in others {
        committed += commits(&order.receive(block.author(), block));
    }
    assert!(committed > 0);
}

#[test]
fn when_an_author_uses_up_its_allowance_its_farthest_blocks_go_first() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let near = keys.block(3, r(3), &invented(2, 0), b"");
    let _ = order.receive(r(3), Arc::clone(&near));
    for salt in 0..2 * MAX_SUSPENDED_BLOCKS as u64 {
        let _ = order.receive(r(3), keys.block(100, r(3), &invented(99, salt), b""));
    }
    assert_eq!(order.suspended_blocks(), MAX_SUSPENDED_BLOCKS);
    assert!(order.knows(&near.reference()));
    let other = keys.block(120, r(2), &invented(119, 7), b"");
    let _ = order.receive(r(2), Arc::clone(&other));
    assert!(order.knows(&other.reference()), "another author's allowance is its own");
}

#[test]
fn missing_parents_are_asked_of_the_author_then_of_everybody_else_in_turn() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let parents = invented(1, 0);
    let effects = order.receive(r(3), keys.block(2, r(3), &parents, b""));
    assert_eq!(effects, [Effect::Fetch { from: r(3), refs: parents.clone(), above: 0 }]);
    let asked: Vec<ReplicaId> = (0..4)
        .flat_map(|_| order.retry())
        .filter_map(|effect| match effect {
            Effect::Fetch { from, refs, .. } if refs == parents => Some(from),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [r(1), r(2), r(3), r(1)], "never of itself");
}

/// Its author may have lost it with its disk, and be silent.
#[test]
fn what_nobody_has_is_asked_for_ever_more_seldom_until_something_comes() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let asks = |order: &mut Order| order.retry().iter().any(|effect| matches!(effect, Effect::Fetch { .. }));
    let _ = order.receive(r(3), keys.block(2, r(3), &invented(1, 0), b""));
    assert!((0..8).all(|_| asks(&mut order)), "everybody, twice");
    let later = (0..1000).filter(|_| asks(&mut order)).count();
    assert!((6..=12).contains(&later), "{later} times in 1000 ticks");
    let _ = order.connected(r(1));
    assert!(asks(&mut order) && asks(&mut order));
    let _ = (0..1000).filter(|_| asks(&mut order)).count();
    let _ = order.receive(r(1), keys.block(1, r(1), &[], b""));
    assert!(asks(&mut order) && asks(&mut order));
}

/// Replica 3 loses its disk: its block of round 2 reached nobody, its block of round 3, which has that one as parent, did.
#[test]
fn what_its_author_has_forgotten_is_asked_for_only_if_another_authors_block_leads_to_it() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let mut rounds = vec![full_graph(&keys, 1)];
    for round in 2..=5 {
        let before: Vec<_> = rounds.last().unwrap().iter().map(|block| block.reference()).collect();
        rounds.push((0..3).map(|author| keys.block(round, r(author), &before, b"")).collect());
    }
    let names = |round: usize| rounds[round - 1].iter().map(|block| block.reference());
    let lost = keys.block(2, r(3), &names(1).collect::<Vec<_>>(), b"").reference();
    let shown = keys.block(3, r(3), &names(2).chain([lost]).collect::<Vec<_>>(), b"");
    let asks = |order: &mut Order| {
        let effects = order.retry();
        effects.iter().any(|effect| matches!(effect, Effect::Fetch { refs, .. } if refs.contains(&lost)))
    };
    for block in rounds.iter().flatten().chain([&shown]) {
        let _ = order.receive(block.author(), Arc::clone(block));
    }
    assert!(asks(&mut order), "its author may just be slow");
    let after_a_gap = keys.block(5, r(3), &names(4).collect::<Vec<_>>(), b"");
    let _ = order.receive(r(3), after_a_gap);
    assert!(!asks(&mut order), "its author has it no more, and nobody needs it");
    let needs_it = keys.block(6, r(2), &names(5).chain([shown.reference()]).collect::<Vec<_>>(), b"");
    let _ = order.receive(r(2), needs_it);
    assert!(asks(&mut order), "another replica had it");
}

#[test]
fn requests_for_invented_parents_do_not_crowd_out_real_ones() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    for salt in 0..MAX_SUSPENDED_BLOCKS as u64 {
        let _ = order.receive(r(3), keys.block(2, r(3), &invented(1, salt), b""));
    }
    let real: Vec<_> = (0..4).map(|author| keys.block(1, r(author), &[], b"")).collect();
    let real: Vec<_> = real.iter().map(|block| block.reference()).collect();
    let _ = order.receive(r(2), keys.block(2, r(2), &real, b""));
    let mut asked = Vec::new();
    for effect in order.retry() {
        if let Effect::Fetch { refs, .. } = effect {
            assert!(refs.len() <= 4 * MAX_FETCHED_REFERENCES);
            asked.extend(refs);
        }
    }
    assert!(real.iter().all(|reference| asked.contains(reference)));
}

#[test]
fn twins_are_reported_once_and_only_the_first_is_kept() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let mut reported = 0;
    for i in 0..100u8 {
        let effects = order.receive(r(3), keys.block(1, r(3), &[], &[i]));
        reported += effects.iter().filter(|effect| matches!(effect, Effect::Fault(Fault::Equivocation { .. }))).count();
    }
    assert_eq!(reported, 1);
    assert_eq!(order.dag.twins(1, r(3)).count(), 1);
}

#[test]
fn twins_that_waited_for_one_parent_do_not_all_enter_when_it_comes() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let first = full_graph(&keys, 1);
    let parents: Vec<_> = first.iter().map(|block| block.reference()).collect();
    for i in 0..100u8 {
        let _ = order.receive(r(3), keys.block(2, r(3), &parents, &[i]));
    }
    for block in first {
        let _ = order.receive(block.author(), block);
    }
    assert_eq!(order.dag.twins(2, r(3)).count(), 1);
    assert_eq!(order.suspended_blocks(), 0);
}

#[test]
fn blocks_that_want_twins_do_not_bring_in_more_than_one() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let first = full_graph(&keys, 1);
    for block in &first[..3] {
        let _ = order.receive(block.author(), Arc::clone(block));
    }
    let base: Vec<_> = first[..3].iter().map(|block| block.reference()).collect();
    let twins: Vec<_> = (0..100u8).map(|i| keys.block(1, r(3), &[], &[i])).collect();
    for twin in &twins {
        let parents: Vec<_> = base.iter().copied().chain([twin.reference()]).collect();
        let _ = order.receive(r(3), keys.block(2, r(3), &parents, b""));
    }
    for twin in &twins {
        let _ = order.receive(r(3), Arc::clone(twin));
    }
    assert_eq!(order.dag.twins(1, r(3)).count(), 1);
    assert_eq!(order.dag.twins(2, r(3)).count(), 1);
    assert_eq!(order.suspended_blocks(), 0);
}

#[test]
fn a_long_chain_shown_to_one_replica_only_is_pulled_in_few_round_trips() {
    let keys = keys();
    let graph = full_graph(&keys, 60);
    let (mut informed, mut order) = (keys.fresh(r(1)), keys.fresh(r(0)));
    for block in &graph {
        let _ = informed.receive(block.author(), Arc::clone(block));
        if block.author() != r(3) {
            // The others had made theirs without it.
            let _ = order.receive(block.author(), Arc::clone(block));
        }
    }
    let mut trips = 0;
    loop {
        let wanted: Vec<Effect> = order.retry();
        let mut brought = false;
        for effect in wanted {
            let Effect::Fetch { from: _, refs, above } = effect else { continue };
            let (blocks, _) = informed.serve(&refs, above, usize::MAX);
            for block in blocks {
                brought = true;
                let _ = order.receive(r(1), block);
            }
        }
        if !brought {
            break;
        }
        trips += 1;
    }
    assert_eq!(order.quorum_round(), 60);
    assert!(trips <= 6, "{trips} round trips for a chain of 60");
}

#[test]
fn a_twin_that_a_block_has_as_parent_is_pulled_and_enters() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let first = full_graph(&keys, 1);
    let twin = keys.block(1, r(3), &[], b"twin");
    for block in &first {
        let _ = order.receive(block.author(), Arc::clone(block));
    }
    let _ = order.receive(r(3), Arc::clone(&twin));
    assert!(!order.knows(&twin.reference()));
    let parents = [first[0].reference(), first[1].reference(), twin.reference()];
    let child = keys.block(2, r(1), &parents, b"");
    let effects = order.receive(r(1), Arc::clone(&child));
    assert_eq!(effects, [Effect::Fetch { from: r(1), refs: vec![twin.reference()], above: 0 }]);
    let _ = order.receive(r(1), twin);
    assert!(order.block(&child.reference()).is_some());
}

#[test]
fn a_false_coin_share_is_a_fault_with_evidence_and_the_block_stays() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let graph = full_graph(&keys, 4);
    for block in &graph {
        let _ = order.receive(block.author(), Arc::clone(block));
    }
    let parents: Vec<_> = graph[12..].iter().map(|block| block.reference()).collect();
    let truthful = |author: u8| keys.block(5, r(author), &parents, b"");
    let of_another = truthful(1).header().coin.clone();
    let header = Header { author: r(3), coin: of_another, ..truthful(3).header().clone() };
    let lie = Arc::new(VerifiedBlock::sign(&keys.public, header, b"", &keys.identities[3]));

    assert_eq!(order.receive(r(1), truthful(1)).len(), 1, "stored, no more");
    assert_eq!(order.receive(r(3), Arc::clone(&lie)).len(), 1, "no quorum yet: the share is not looked at");
    let effects = order.receive(r(2), truthful(2));
    assert!(effects.contains(&Effect::Fault(Fault::CoinShare { block: Arc::clone(&lie) })));
    assert_eq!((order.quorum_round(), order.next_round()), (5, Some(5)), "round 5 is not finished by a false share");
    assert!(order.block(&lie.reference()).is_some());

    let Some(Effect::Persist(own)) = order.propose(Timestamp(5), b"payload") else { panic!() };
    let effects = order.persisted(own.round());
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Fault(_))), "once");
    assert_eq!(order.next_round(), Some(6), "the own share completes the quorum");
    let Some(Effect::Persist(next)) = order.propose(Timestamp(6), b"payload") else { panic!() };
    assert!(next.header().parents.contains(&lie.reference()), "what it carries is ordered all the same");
}

#[test]
fn of_twins_the_one_with_a_good_share_counts_and_becomes_a_parent() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let graph = full_graph(&keys, 4);
    for block in &graph {
        let _ = order.receive(block.author(), Arc::clone(block));
    }
    let parents: Vec<_> = graph[12..].iter().map(|block| block.reference()).collect();
    let truthful = |author: u8| keys.block(5, r(author), &parents, b"");
    let good = truthful(3);
    let header = Header { coin: truthful(1).header().coin.clone(), ..good.header().clone() };
    let lie = Arc::new(VerifiedBlock::sign(&keys.public, header, b"", &keys.identities[3]));
    for block in [lie, truthful(1), truthful(2)] {
        let _ = order.receive(block.author(), block);
    }
    // A block that has it as parent makes the twin wanted.
    let above: Vec<_> = [good.clone(), truthful(1), truthful(2)].iter().map(|block| block.reference()).collect();
    let _ = order.receive(r(1), keys.block(6, r(1), &above, b""));
    let _ = order.receive(r(3), Arc::clone(&good));
    assert_eq!(order.next_round(), Some(6), "three good shares are there");
    let Some(Effect::Persist(next)) = order.propose(Timestamp(6), b"payload") else { panic!() };
    assert!(next.header().parents.contains(&good.reference()));
}

#[test]
fn nobody_sees_an_own_block_before_it_is_durable() {
    let keys = keys();
    let mut order = keys.fresh(r(0));
    let Some(Effect::Persist(block)) = order.propose(Timestamp(5), b"payload") else { panic!() };
    assert_eq!(order.next_round(), None, "one at a time");
    assert!(order.propose(Timestamp(6), b"").is_none());
    assert!(order.block(&block.reference()).is_none());
    assert_eq!(order.persisted(1), [Effect::Broadcast(Arc::clone(&block))]);
    assert_eq!(order.persisted(1), [], "once");
    assert_eq!(order.next_round(), None, "no quorum of round 1 yet");
}

#[test]
fn a_replica_that_starts_receives_but_does_not_propose() {
    let keys = keys();
    let public = Arc::clone(&keys.public);
    let (mut order, _) = Order::new(public, r(0), keys.identity(r(0)), keys.coin(r(0)), Recovered::empty());
    for block in full_graph(&keys, 3).into_iter().filter(|block| block.author() != r(0)) {
        let _ = order.receive(block.author(), block);
    }
    assert_eq!(order.next_round(), None);
    order.start(Outcome::Resume { round: 6 });
    assert_eq!(order.next_round(), None, "not below the round allowed");
}

#[test]
fn the_start_up_rule_takes_a_quorum_of_answers_with_the_asker() {
    let keys = keys();
    let graph = full_graph(&keys, 3);
    let replica = |id: u8| {
        let mut order = keys.fresh(r(id));
        for block in &graph {
            let _ = order.receive(block.author(), Arc::clone(block));
        }
        order
    };
    let start = |record| {
        let startup = Startup::new(Arc::clone(&keys.public), r(0), record, [9; 32]);
        let question = startup.question();
        (startup, question)
    };
    let (mut startup, question) = start(Some(3));
    assert_eq!(startup.outcome(), None);
    startup.receive(&replica(1).answer_start(question)).unwrap();
    startup.receive(&replica(1).answer_start(question)).unwrap();
    assert_eq!(startup.outcome(), None, "one answerer, however often");
    startup.receive(&replica(2).answer_start(question)).unwrap();
    assert_eq!(startup.outcome(), Some(Outcome::GoOn { last: 3 }));

    for record in [None, Some(0), Some(2)] {
        let (mut startup, question) = start(record);
        for id in [1, 3] {
            startup.receive(&replica(id).answer_start(question)).unwrap();
        }
        assert_eq!(startup.outcome(), Some(Outcome::Resume { round: 5 }), "record {record:?}");
    }
}

/// One liar must not silence a replica that forgot nothing: with the liar silent afterwards there would be no quorum.
#[test]
fn nobody_can_claim_blocks_that_the_asker_never_made() {
    let keys = keys();
    let mut asker = keys.fresh(r(0));
    let mut startup = asker.begin_start(Some(3), [9; 32]);
    let question = startup.question();
    let far = [1, 2, 3].map(|author| keys.block(90, r(author), &[], b"").reference());
    let of_another = keys.block(91, r(1), &far, b"");
    let mut forged = keys.block(91, r(0), &far, b"").bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for held in [of_another.bytes().to_vec(), forged] {
        let answer = keys.fresh(r(1)).answer_start(question).holding(held);
        assert_eq!(startup.receive(&answer), Err(AnswerFault::Held));
    }
    startup.receive(&keys.fresh(r(2)).answer_start(question)).unwrap();
    startup.receive(&keys.fresh(r(3)).answer_start(question)).unwrap();
    assert_eq!(startup.outcome(), Some(Outcome::GoOn { last: 3 }));
}

#[test]
fn answers_to_other_questions_or_by_nobody_do_not_count() {
    let keys = keys();
    let mut startup = keys.fresh(r(0)).begin_start(None, [9; 32]);
    let question = startup.question();
    let stale = Question { nonce: [8; 32], ..question };
    assert_eq!(startup.receive(&keys.fresh(r(1)).answer_start(stale)), Err(AnswerFault::Question));
    let other = Question { asker: r(2), ..question };
    assert_eq!(startup.receive(&keys.fresh(r(1)).answer_start(other)), Err(AnswerFault::Question));
    assert_eq!(startup.receive(&keys.fresh(r(0)).answer_start(question)), Err(AnswerFault::Answerer(r(0))));
    let mut bytes = crate::codec::encode(&keys.fresh(r(1)).answer_start(question));
    *bytes.last_mut().unwrap() ^= 1;
    let forged = crate::codec::decode(&bytes, 1000).unwrap();
    assert_eq!(startup.receive(&forged), Err(AnswerFault::Signature(r(1))));
}

#[test]
fn a_replica_that_lost_its_disk_comes_back_with_a_gap_and_contradicts_nothing() {
    for seed in 0..10 {
        let mut world = World::new(seed, keys(), Schedule::Wild, &[]);
        world.lose_disk((12 + seed) * DELAY, 1, 9 * DELAY);
        let mut operations = Vec::new();
        for i in 0..20u64 {
            operations.push(format!("operation {i}").into_bytes());
            world.submit(1 + 4 * i * DELAY, [0, 2, 3][i as usize % 3], &operations[i as usize]);
        }
        world.submit(2000 * DELAY, 1, b"from the returned one");
        world.submit(2001 * DELAY, 2, b"to wake the others");
        operations.push(b"from the returned one".to_vec());
        world.run(4000 * DELAY);
        world.assert_agreement();
        world.assert_ordered(&operations);
        assert!(world.faults.is_empty(), "seed {seed}: a returned replica is blamed");
    }
}
