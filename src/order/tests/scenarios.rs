//! The decision rule on drawn graphs, case by case, and the order of blocks inside a commit.

use std::collections::BTreeMap;

use rand_core::RngCore;

use super::network::Schedule;
use super::world::{Behaviour, DELAY, Entry, World};
use super::*;

/// A graph that is drawn round by round: for each author the authors of its parents in the round before.
struct Drawing {
    keys: Keys,
    rounds: Vec<BTreeMap<u8, Arc<VerifiedBlock>>>,
}

impl Drawing {
    fn new(wave: WaveLength) -> Self {
        Self { keys: Keys::new(4, wave, 10_000), rounds: vec![BTreeMap::new()] }
    }

    /// The leaders of a round, by all shares of its coin.
    fn leaders(&self, round: u64) -> Vec<u8> {
        let public = &self.keys.public;
        let name = public.coin_name(round);
        let shares: Vec<_> = public.committee.ids().map(|id| (id, self.keys.coin(id).shares(&name))).collect();
        let shares: Vec<_> = shares.iter().map(|(id, shares)| (*id, shares.as_slice())).collect();
        let shares = public.coin.verify_all(&name, &shares).unwrap();
        public.leaders(&public.coin.combine(&name, &shares).unwrap()).into_iter().map(|leader| leader.0).collect()
    }

    fn round(&mut self, blocks: &[(u8, &[u8])]) {
        let round = self.rounds.len() as u64;
        let before = self.rounds.last().unwrap();
        let make = |&(author, parents): &(u8, &[u8])| {
            let parents: Vec<_> = parents.iter().map(|parent| before[parent].reference()).collect();
            (author, self.keys.block(round, r(author), &parents, b"x"))
        };
        let blocks = blocks.iter().map(make).collect();
        self.rounds.push(blocks);
    }

    /// `count` rounds in which everybody of `authors` has all the others as parents.
    fn full_rounds(&mut self, count: usize, authors: &[u8]) {
        for _ in 0..count {
            let before: Vec<u8> = self.rounds.last().unwrap().keys().copied().filter(|a| authors.contains(a)).collect();
            let blocks: Vec<(u8, &[u8])> = authors.iter().map(|&author| (author, before.as_slice())).collect();
            self.round(&blocks);
        }
    }

    fn block(&self, round: usize, author: u8) -> BlockRef {
        self.rounds[round][&author].reference()
    }

    /// The leaders committed by a replica that has the whole graph.
    fn committed(&self) -> Vec<BlockRef> {
        self.commits().into_iter().map(|commit| commit.leader).collect()
    }

    fn commits(&self) -> Vec<Commit> {
        let mut order = self.keys.fresh(r(0));
        let mut commits = Vec::new();
        for block in self.rounds.iter().flat_map(|round| round.values()) {
            for effect in order.receive(block.author(), Arc::clone(block)) {
                if let Effect::Commit(commit) = effect {
                    commits.push(commit);
                }
            }
        }
        commits
    }
}

const ALL: [u8; 4] = [0, 1, 2, 3];

#[test]
fn a_leader_with_certificates_of_a_quorum_is_committed_directly() {
    for (wave, needed) in [(WaveLength::Five, 5), (WaveLength::Four, 5)] {
        let mut drawing = Drawing::new(wave);
        drawing.full_rounds(needed - 1, &ALL);
        assert_eq!(drawing.committed(), [], "without its coin nothing is decided");
        drawing.full_rounds(1, &ALL);
        let leaders = drawing.leaders(1);
        assert_eq!(drawing.committed(), [drawing.block(1, leaders[0]), drawing.block(1, leaders[1])]);
    }
}

#[test]
fn a_leader_that_a_quorum_does_not_vote_for_is_skipped() {
    for wave in [WaveLength::Five, WaveLength::Four] {
        let mut drawing = Drawing::new(wave);
        let leaders = drawing.leaders(1);
        let others: Vec<u8> = ALL.into_iter().filter(|&author| author != leaders[0]).collect();
        drawing.full_rounds(1, &ALL);
        drawing.full_rounds(4, &others);
        assert_eq!(drawing.committed(), [drawing.block(1, leaders[1])]);
    }
}

/// Draws five rounds in which the first leader of the first has a quorum of votes but one certificate, made by itself.
/// Returns the leader and the others.
fn draw_one_certificate(drawing: &mut Drawing) -> (u8, Vec<u8>) {
    let x = drawing.leaders(drawing.rounds.len() as u64)[0];
    let w: Vec<u8> = ALL.into_iter().filter(|&author| author != x).collect();
    let with_x = [x, w[0], w[1]];
    drawing.full_rounds(1, &ALL);
    // Only its own next blocks lead to the leader …
    for _ in 0..2 {
        drawing.round(&[(x, &with_x), (w[0], &w), (w[1], &w), (w[2], &w)]);
    }
    // … until three of four votes do, but only one certificate has all three as parents.
    drawing.round(&[(x, &with_x), (w[0], &with_x), (w[1], &with_x), (w[2], &w)]);
    drawing.round(&[(x, &with_x), (w[0], &w), (w[1], &w), (w[2], &w)]);
    (x, w)
}

fn one_certificate() -> (Drawing, u8, Vec<u8>) {
    let mut drawing = Drawing::new(WaveLength::Five);
    let (x, w) = draw_one_certificate(&mut drawing);
    (drawing, x, w)
}

#[test]
fn a_leader_that_half_of_the_votes_leave_out_is_not_skipped_directly() {
    let mut drawing = Drawing::new(WaveLength::Five);
    let x = drawing.leaders(1)[0];
    let w: Vec<u8> = ALL.into_iter().filter(|&author| author != x).collect();
    let with_x = [x, w[0], w[1]];
    drawing.full_rounds(1, &ALL);
    for _ in 2..=3 {
        drawing.round(&[(x, &with_x), (w[0], &w), (w[1], &w), (w[2], &w)]);
    }
    drawing.round(&[(x, &with_x), (w[0], &with_x), (w[1], &w), (w[2], &w)]);
    drawing.full_rounds(1, &ALL);
    assert_eq!(drawing.committed(), [], "the second leader waits for the first");
    drawing.full_rounds(5, &ALL);
    let committed = drawing.committed();
    assert_eq!(committed[0], drawing.block(1, drawing.leaders(1)[1]), "the anchor skips the first");
}

#[test]
fn an_undecided_anchor_is_not_passed_over_for_a_later_committed_one() {
    let (mut drawing, x, _) = one_certificate();
    draw_one_certificate(&mut drawing);
    // The second leader of round 6 has certificates of all, the first, which is the anchor of round 1, has one.
    assert_eq!(drawing.committed(), []);
    drawing.full_rounds(5, &ALL);
    assert_eq!(drawing.committed()[0], drawing.block(1, x));
}

#[test]
fn a_leader_with_one_certificate_waits_for_its_anchor_which_commits_it() {
    let (mut drawing, x, _) = one_certificate();
    drawing.full_rounds(4, &ALL);
    assert_eq!(drawing.committed(), [], "coins of rounds 1 to 5 are known, but no anchor is decided");
    drawing.full_rounds(1, &ALL);
    assert_eq!(drawing.committed()[0], drawing.block(1, x));
}

#[test]
fn a_leader_without_a_certificate_in_the_anchors_history_is_skipped() {
    let (mut drawing, x, w) = one_certificate();
    drawing.full_rounds(1, &w);
    for _ in 7..=14 {
        drawing.full_rounds(1, &w);
    }
    let committed = drawing.committed();
    assert!(!committed.is_empty());
    assert!(!committed.contains(&drawing.block(1, x)));
}

#[test]
fn an_undecided_leader_holds_back_all_later_ones() {
    let (mut drawing, x, _) = one_certificate();
    let second = drawing.leaders(1)[1];
    drawing.full_rounds(4, &ALL);
    assert_eq!(drawing.committed(), []);
    drawing.full_rounds(1, &ALL);
    assert_eq!(drawing.committed()[..2], [drawing.block(1, x), drawing.block(1, second)]);
}

/// Four rounds in which all votes support the first leader of the first, and as many of them as `timely` says find it
/// timely: two of the next round have it as parent, and only the leader's own block after those leads to both. Also
/// returns the leader's author and the others.
fn drawn_with_timely_votes(timely: usize) -> (Drawing, u8, Vec<u8>) {
    let mut drawing = Drawing::new(WaveLength::Five);
    let x = drawing.leaders(1)[0];
    let w: Vec<u8> = ALL.into_iter().filter(|&author| author != x).collect();
    let with_x = [x, w[0], w[1]];
    drawing.full_rounds(1, &ALL);
    drawing.round(&[(x, &with_x), (w[0], &with_x), (w[1], &w), (w[2], &w)]);
    drawing.round(&[(x, &with_x), (w[0], &w), (w[1], &w), (w[2], &w)]);
    let parents = |place| if place < timely { with_x.as_slice() } else { w.as_slice() };
    drawing.round(&[(x, parents(0)), (w[0], parents(1)), (w[1], parents(2)), (w[2], parents(3))]);
    (drawing, x, w)
}

/// The same, and a round of certificates that have all votes as parents. Returns the leader.
fn drawn_with_certificates(timely: usize) -> (Drawing, BlockRef) {
    let (mut drawing, x, _) = drawn_with_timely_votes(timely);
    drawing.full_rounds(1, &ALL);
    let leader = drawing.block(1, x);
    (drawing, leader)
}

/// Whether the commit of `leader` orders it, and the times that it is ordered in all.
fn times_ordered(drawing: &Drawing, leader: BlockRef) -> (bool, usize) {
    let commits = drawing.commits();
    let orders_it = |commit: &&Commit| commit.blocks.iter().any(|block| block.reference() == leader);
    let own = commits.iter().find(|commit| commit.leader == leader).expect("it is committed, late or not");
    (orders_it(&own), commits.iter().filter(orders_it).count())
}

#[test]
fn a_leader_that_a_quorum_of_votes_finds_late_is_committed_but_orders_only_what_had_arrived() {
    for timely in [0, 1] {
        let (mut drawing, leader) = drawn_with_certificates(timely);
        assert_eq!(drawing.committed()[0], leader, "at once: nothing has to wait for an anchor");
        assert!(drawing.commits()[0].blocks.is_empty(), "nothing arrives before anybody led to it");
        drawing.full_rounds(5, &ALL);
        assert_eq!(times_ordered(&drawing, leader), (false, 1), "a later leader orders it");
    }
}

#[test]
fn a_leader_that_a_quorum_of_votes_finds_timely_orders_its_whole_history() {
    for timely in [3, 4] {
        let (mut drawing, leader) = drawn_with_certificates(timely);
        drawing.full_rounds(5, &ALL);
        assert_eq!(times_ordered(&drawing, leader), (true, 1));
    }
}

#[test]
fn a_leader_that_votes_differ_about_orders_what_its_anchor_says() {
    let (mut drawing, leader) = drawn_with_certificates(2);
    assert_eq!(drawing.committed(), [], "it is committed, but how much it orders is open");
    drawing.full_rounds(5, &ALL);
    assert_eq!(times_ordered(&drawing, leader), (false, 1), "no certificate has a quorum of timely votes");
}

#[test]
fn one_timely_certificate_in_the_anchors_past_is_enough_to_order_the_whole_history() {
    // Three of four votes find it timely, but only one certificate has all three as parents.
    let (mut drawing, x, w) = drawn_with_timely_votes(3);
    drawing.round(&[(x, &[x, w[0], w[1]]), (w[0], &w), (w[1], &w), (w[2], &w)]);
    let leader = drawing.block(1, x);
    assert_eq!(drawing.committed(), [], "it is committed, but how much it orders is open");
    drawing.full_rounds(5, &ALL);
    assert_eq!(times_ordered(&drawing, leader), (true, 1));
}

#[test]
fn what_a_late_leader_leaves_is_ordered_by_later_ones_also_after_a_restart_between() {
    let mut drawing = Drawing::new(WaveLength::Five);
    drawing.full_rounds(5, &ALL);
    let x = drawing.leaders(6)[0];
    let w: Vec<u8> = ALL.into_iter().filter(|&author| author != x).collect();
    drawing.full_rounds(1, &ALL);
    let leader = drawing.block(6, x);
    // Nobody leads to the leader of round 6 in time but its author.
    drawing.round(&[(x, &ALL), (w[0], &w), (w[1], &w), (w[2], &w)]);
    drawing.full_rounds(8, &ALL);
    let commits = drawing.commits();
    let late = commits.iter().position(|commit| commit.leader == leader).expect("committed");
    let rounds: Vec<u64> = commits[..=late].iter().flat_map(|commit| &commit.blocks).map(|b| b.round()).collect();
    assert!(rounds.iter().all(|round| *round < 6), "{rounds:?}");
    assert_eq!(times_ordered(&drawing, leader), (false, 1));
    let blocks: Vec<_> = drawing.rounds.iter().flat_map(|round| round.values().cloned()).collect();
    for height in 0..commits.len() {
        assert_eq!(recommitted(&drawing.keys, &blocks, &commits[..height]), commits[height..], "after {height}");
    }
}

/// The commits of a replica that starts again with `blocks` on its disk, after it executed `done`.
fn recommitted(keys: &Keys, blocks: &[Arc<VerifiedBlock>], done: &[Commit]) -> Vec<Commit> {
    let mut rows = BTreeMap::new();
    for row in done.iter().flat_map(|commit| &commit.rows) {
        rows.insert((row.table, row.key.clone()), row.value.clone().unwrap());
    }
    let cursor = rows.remove(&(crate::rows::Table::Meta, CURSOR_KEY.to_vec()));
    let settled = rows.into_iter().map(|((_, key), value)| (key, value)).collect();
    let mut recovered = Recovered::from_rows(10_000, cursor.as_deref(), &settled).unwrap();
    for block in blocks {
        recovered.offer((**block).clone());
    }
    let (_, effects) = Order::new(Arc::clone(&keys.public), r(0), keys.identity(r(0)), keys.coin(r(0)), recovered);
    commits_of(effects).collect()
}

fn commits_of(effects: Vec<Effect>) -> impl Iterator<Item = Commit> {
    effects.into_iter().filter_map(|effect| match effect {
        Effect::Commit(commit) => Some(commit),
        _ => None,
    })
}

#[test]
fn commits_are_numbered_from_one_without_gaps_and_order_every_block_once() {
    let mut drawing = Drawing::new(WaveLength::Five);
    drawing.full_rounds(20, &ALL);
    let commits = drawing.commits();
    assert!(commits.iter().zip(1..).all(|(commit, height)| commit.height == height));
    let ordered: Vec<BlockRef> =
        commits.iter().flat_map(|commit| &commit.blocks).map(|block| block.reference()).collect();
    let distinct: BTreeSet<_> = ordered.iter().collect();
    assert_eq!(distinct.len(), ordered.len());
    assert!((1..=15).all(|round| ALL.iter().all(|&author| distinct.contains(&drawing.block(round, author)))));
    assert_eq!(commits.last().unwrap().alive.len(), 4);
}

#[test]
fn agreed_time_is_the_lowest_stamp_by_which_a_kernel_stamped_and_never_goes_back() {
    let mut drawing = Drawing::new(WaveLength::Five);
    drawing.full_rounds(8, &ALL);
    let commits = drawing.commits();
    assert_eq!(commits[0].agreed_time, Timestamp(0), "no parents in round 0");
    // Stamps of round k are 1000 k + author: the kernel rule takes the second lowest.
    let of_round = |round| commits.iter().find(|commit| commit.round == round).unwrap().agreed_time;
    assert_eq!(of_round(2), Timestamp(1001));
    assert_eq!(of_round(4), Timestamp(3001));
}

#[test]
fn what_lies_below_the_leader_by_the_depth_is_never_ordered() {
    let mut drawing = Drawing::new(WaveLength::Five);
    drawing.keys = Keys::new(4, WaveLength::Five, 6);
    drawing.full_rounds(1, &ALL);
    drawing.full_rounds(5, &[0, 1, 2]);
    let late = drawing.block(1, 3);
    let before: Vec<BlockRef> = (0..3).map(|author| drawing.block(6, author)).chain([late]).collect();
    let linking = (0..3).map(|author| (author, drawing.keys.block(7, r(author), &before, b"x"))).collect();
    drawing.rounds.push(linking);
    drawing.full_rounds(10, &[0, 1, 2]);
    let commits = drawing.commits();
    assert!(commits.last().unwrap().round > 10);
    let mut ordered = commits.iter().flat_map(|commit| &commit.blocks);
    assert!(ordered.all(|block| block.reference() != late), "a leader of round 7 or above reaches down to round 2");
    let deleted = commits.iter().flat_map(|commit| &commit.rows).filter(|row| row.value.is_none()).count();
    assert!(deleted > 0, "rows below the floor go");
}

/// A graph in which twins of author 3 are parents of different blocks, and both come into the same history.
fn graph_with_twins(keys: &Keys) -> (Vec<Arc<VerifiedBlock>>, [BlockRef; 2]) {
    let mut blocks: Vec<_> = (0..4).map(|author| keys.block(1, r(author), &[], b"x")).collect();
    let twin = keys.block(1, r(3), &[], b"twin");
    let mut before: Vec<BlockRef> = blocks.iter().map(|block| block.reference()).collect();
    let twins = [before[3], twin.reference()];
    blocks.push(twin);
    for round in 2..=14 {
        let parents = |author| {
            let mut parents: Vec<BlockRef> = before.clone();
            if round == 2 && author % 2 == 0 {
                parents[3] = twins[1];
            }
            if round == 9 && author == 0 {
                // Once more, after it was passed over.
                parents.insert(0, twins[1]);
            }
            parents
        };
        let made: Vec<_> = (0..4).map(|author| keys.block(round, r(author), &parents(author), b"x")).collect();
        before = made.iter().map(|block| block.reference()).collect();
        blocks.extend(made);
    }
    (blocks, twins)
}

#[test]
fn of_twins_one_is_ordered_and_a_restart_after_any_commit_goes_on_alike() {
    let keys = Keys::new(4, WaveLength::Five, 10_000);
    let (blocks, twins) = graph_with_twins(&keys);
    let mut order = keys.fresh(r(0));
    let mut commits = Vec::new();
    // The twin is no first block of its slot: it enters when a block that waits has it as a parent.
    let (first, rest): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| block.reference() != twins[1]);
    for block in first.into_iter().chain(rest) {
        commits.extend(commits_of(order.receive(r(1), Arc::clone(block))));
    }
    let ordered = commits.iter().flat_map(|commit| &commit.blocks).map(|block| block.reference());
    assert_eq!(ordered.filter(|block| twins.contains(block)).count(), 1);
    assert!(commits.len() > 10);

    for height in 0..commits.len() {
        assert_eq!(recommitted(&keys, &blocks, &commits[..height]), commits[height..], "after commit {height}");
    }
}

#[test]
pub fn a_back_dated_block_comes_after_what_correct_replicas_had_before_it() {
    // Author 3 shows its block of round 1 only when the others make round 8.
    let mut drawing = Drawing::new(WaveLength::Five);
    drawing.full_rounds(1, &ALL);
    let late = drawing.block(1, 3);
    drawing.full_rounds(6, &[0, 1, 2]);
    let keys = &drawing.keys;
    let before: Vec<BlockRef> = (0..3).map(|author| drawing.block(7, author)).collect();
    let mut with_late = before.clone();
    with_late.push(late);
    let last: Vec<_> = (0..3).map(|author| keys.block(8, r(author), &with_late, b"")).collect();
    let references: Vec<BlockRef> = last.iter().map(|block| block.reference()).collect();
    let leader = keys.block(9, r(0), &references, b"");

    let mut dag = Dag::new(keys.public.committee.clone(), 3, 0);
    for block in drawing.rounds.iter().flat_map(|round| round.values()).chain(&last) {
        dag.insert(Arc::clone(block));
    }
    let leader = dag.insert(leader);
    let history = dag.past([leader], |_| true);
    let late = dag.find(&late).unwrap();
    for coin in 0..20 {
        let coin = CoinValue([coin; 32]);
        let ordered = sequence::order(&dag, &keys.public.committee, (leader, Extent::Whole), &coin, history.clone());
        let place = |block: Handle| ordered.iter().position(|&other| other == block).unwrap();
        // Blocks of round 6 had reached the others by round 7, before any correct block led to the late one.
        let earlier = ordered.iter().filter(|block| block.round <= 6 && **block != late);
        assert!(earlier.into_iter().all(|&block| place(block) < place(late)));
        let causes =
            |&block: &Handle| dag.body(block).unwrap().parents.iter().all(|&parent| place(parent) < place(block));
        assert!(ordered.iter().all(causes), "causes come before effects");
    }
}

#[test]
fn among_equal_arrivals_the_coin_decides_and_every_author_is_first_about_equally_often() {
    let mut drawing = Drawing::new(WaveLength::Five);
    drawing.full_rounds(3, &ALL);
    let mut dag = Dag::new(drawing.keys.public.committee.clone(), 3, 0);
    for block in drawing.rounds.iter().flat_map(|round| round.values()) {
        dag.insert(Arc::clone(block));
    }
    let leader = dag.find(&drawing.block(3, 0)).unwrap();
    let history = dag.past([leader], |_| true);
    let mut first = [0; 4];
    for i in 0u32..2000 {
        let coin = CoinValue(hash("test coin", &[&i.to_be_bytes()]).0);
        let ordered =
            sequence::order(&dag, &drawing.keys.public.committee, (leader, Extent::Whole), &coin, history.clone());
        assert!(ordered[..4].iter().all(|block| block.round == 1));
        first[ordered[0].author.index()] += 1;
    }
    assert!(first.iter().all(|count| (430..570).contains(count)), "{first:?}");
}

/// Delivers `blocks` in an order drawn from `seed`, answering fetches, and returns the log.
fn deliver(keys: &Keys, blocks: &[Arc<VerifiedBlock>], seed: u64) -> Vec<Entry> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut waiting = blocks.to_vec();
    let mut order = keys.fresh(r(0));
    let mut log = Vec::new();
    while !waiting.is_empty() {
        let next = waiting.swap_remove(rng.next_u32() as usize % waiting.len());
        for effect in order.receive(r(1), next) {
            match effect {
                Effect::Commit(commit) => log.push(Entry::of(&commit)),
                Effect::Fetch { refs, .. } => {
                    waiting.extend(blocks.iter().filter(|block| refs.contains(&block.reference())).cloned());
                }
                _ => {}
            }
        }
    }
    log
}

#[test]
fn the_same_graph_gives_the_same_log_in_whatever_order_it_comes() {
    for world_seed in 0..3 {
        let keys = Keys::new(4, WaveLength::Five, 10_000);
        let mut world = World::new(world_seed, keys, Schedule::Wild, &[(2, Behaviour::Equivocate)]);
        for i in 0..10u64 {
            world.submit(1 + 3 * i * DELAY, [0, 1, 3][i as usize % 3], format!("operation {i}").as_bytes());
        }
        world.run(1000 * DELAY);
        let blocks = world.stored_blocks(0);
        assert!(blocks.iter().any(|one| blocks.iter().any(|two| {
            (one.round(), one.author()) == (two.round(), two.author()) && one.reference() != two.reference()
        })));
        let expected = deliver(&world.keys, &blocks, 0);
        assert!(!expected.is_empty());
        assert_eq!(world.log(0), &expected[..world.log(0).len()]);
        for seed in 1..50 {
            assert_eq!(deliver(&world.keys, &blocks, seed), expected, "graph {world_seed}, order {seed}");
        }
    }
}
