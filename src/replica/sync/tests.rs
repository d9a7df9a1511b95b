//! One copy, step by step, from servers that may lie.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use super::*;
use crate::crypto::bls::HeadSignature;
use crate::directory::Timestamp;
use crate::order::tests::some_block;
use crate::replica::heads::Head;
use crate::store::memory::MemoryStore;
use crate::store::{Durability, Store};

const ME: ReplicaId = ReplicaId(0);
const LIAR: ReplicaId = ReplicaId(1);

fn veteran() -> (MemoryStore, SignedHead) {
    let row = |number: u32| Row::put(Table::Title, number.to_be_bytes(), vec![number as u8; 700]);
    let large = (0u8..2).map(|number| Row::put(Table::Meta, [number], vec![number; 3 * SYNC_CHUNK]));
    let rows = (0..4000).map(row).chain(large).collect();
    after(MemoryStore::create(Digest::ZERO, b""), 7, rows)
}

/// The store and its signed head once it holds these rows too.
fn after(mut store: MemoryStore, height: u64, rows: Vec<Row>) -> (MemoryStore, SignedHead) {
    store.commit(Batch { rows, ..Batch::default() }, Durability::Sync).unwrap();
    let mut tree = tree_of(&store).unwrap();
    let head = Head {
        network: Digest::ZERO,
        epoch: 0,
        height,
        round: 1000,
        agreed_time: Timestamp(5),
        position: 9,
        rows: tree.rows(),
        checkpoint: true,
        root: tree.root(),
    };
    (store, SignedHead { head, signature: HeadSignature::from_bytes(&[0; 96]) })
}

/// Copies from three peers, the first of which does `lie` to what it sends; none if it swallows it. The copy is cut after
/// `cut` pieces and goes on. Gives who is blamed, and how many pieces it took.
fn copy(seed: u64, cut: usize, mut lie: impl FnMut(&mut PeerMessage) -> bool) -> (ReplicaSet, usize) {
    let (store, signed) = veteran();
    let server = StateServer::new(store).unwrap();
    let peers: ReplicaSet = (0..4).map(ReplicaId).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut joiner = MemoryStore::create(Digest::ZERO, b"");
    let (mut sync, mut steps) = Sync::begin(ME, signed);
    steps.extend(sync.ask(peers));
    let (mut blamed, mut pieces) = (ReplicaSet::EMPTY, 0);
    let mut inbox: Vec<(ReplicaId, PeerMessage)> = Vec::new();
    for _ in 0..10_000 {
        for step in std::mem::take(&mut steps) {
            match step {
                Step::Begin => joiner.begin_staging().unwrap(),
                Step::Stage(batch) => joiner.stage(batch).unwrap(),
                Step::Fault { culprit, .. } => drop(blamed.insert(culprit)),
                Step::Adopt => {
                    assert!(is_whole(&joiner).unwrap());
                    assert_eq!(sync.progress().done, server.len());
                    return (blamed, pieces);
                }
                Step::Send { to, message: PeerMessage::StateQuery { height, part } } => {
                    let mut message = answer(Some(&server), height, part).unwrap();
                    if to != LIAR || lie(&mut message) {
                        inbox.push((to, message));
                    }
                }
                Step::Send { message, .. } => panic!("{message:?}"),
            }
        }
        if pieces == cut {
            pieces += 1;
            inbox.clear();
            sync = Sync::resume(ME, Staged::read(joiner.staged().unwrap()).unwrap().unwrap());
            steps = sync.ask(peers);
            continue;
        }
        if inbox.is_empty() {
            if sync.is_alone(peers) {
                sync.forgive();
            }
            steps = sync.tick(peers);
            continue;
        }
        let (from, message) = inbox.swap_remove(rng.next_u64() as usize % inbox.len());
        pieces += 1;
        steps = match message {
            PeerMessage::StateAnswer { height, part, bytes } => sync.receive(from, height, part, &bytes, peers),
            PeerMessage::StateRefusal { height } => sync.refused(from, height, peers),
            other => panic!("{other:?}"),
        };
    }
    panic!("seed {seed}: it never ends: {:?}", sync.progress());
}

fn bytes_of(message: &mut PeerMessage) -> &mut Vec<u8> {
    let PeerMessage::StateAnswer { bytes, .. } = message else { panic!("not an answer") };
    bytes
}

#[test]
fn a_state_is_copied_whole_from_several_peers() {
    let (blamed, pieces) = copy(0, usize::MAX, |_| true);
    assert!(blamed.is_empty());
    assert!((9..30).contains(&pieces), "{pieces}");
}

#[test]
fn a_copy_cut_anywhere_goes_on() {
    for cut in 0..10 {
        assert!(copy(1, cut, |_| true).0.is_empty());
    }
}

/// The veteran's next checkpoint: one row in a hundred is changed, gone or new.
fn next_checkpoint() -> (MemoryStore, SignedHead) {
    let key = |number: u32| number.to_be_bytes();
    let changed = (0..4000).step_by(200).map(|number| Row::put(Table::Title, key(number), vec![1; 900]));
    let gone = (100..4000).step_by(200).map(|number| Row::delete(Table::Title, key(number)));
    let new = (4000..4020).map(|number| Row::put(Table::Title, key(number), vec![2; 700]));
    after(veteran().0, 8, changed.chain(gone).chain(new).collect())
}

/// Everybody lets go of the first checkpoint when most of it is copied. Cut right after that, or not.
#[test]
fn a_copy_whose_checkpoint_is_gone_keeps_what_is_the_same_in_the_next() {
    for cut in [false, true] {
        let servers = [veteran(), next_checkpoint()].map(|(store, signed)| (StateServer::new(store).unwrap(), signed));
        let peers: ReplicaSet = (0..4).map(ReplicaId).collect();
        let mut joiner = MemoryStore::create(Digest::ZERO, b"");
        let (mut sync, mut steps) = Sync::begin(ME, servers[0].1);
        steps.extend(sync.ask(peers));
        let (mut at, mut copied, mut done) = (0, [0, 0], 0);
        let mut whole = false;
        while !whole {
            let mut asked = Vec::new();
            for step in std::mem::take(&mut steps) {
                match step {
                    Step::Begin => joiner.begin_staging().unwrap(),
                    Step::Stage(batch) => joiner.stage(batch).unwrap(),
                    Step::Adopt => whole = true,
                    Step::Send { to, message: PeerMessage::StateQuery { height, part } } => {
                        asked.push((to, height, part));
                    }
                    other => panic!("{other:?}"),
                }
            }
            if at == 0 && sync.progress().done > servers[0].0.len() / 2 {
                (at, done) = (1, sync.progress().done);
                steps = sync.move_on(servers[1].1);
                if cut {
                    steps.into_iter().for_each(|step| {
                        let Step::Stage(batch) = step else { panic!("{step:?}") };
                        joiner.stage(batch).unwrap();
                    });
                    sync = Sync::resume(ME, Staged::read(joiner.staged().unwrap()).unwrap().unwrap());
                    steps = Vec::new();
                }
                steps.extend(sync.ask(peers));
                continue;
            }
            for (to, height, part) in asked {
                let PeerMessage::StateAnswer { bytes, .. } = answer(Some(&servers[at].0), height, part).unwrap() else {
                    panic!("not an answer")
                };
                if part != StatePart::Manifest {
                    copied[at] += bytes.len();
                }
                steps.extend(sync.receive(to, height, part, &bytes, peers));
            }
        }
        assert!(is_whole(&joiner).unwrap(), "cut: {cut}");
        assert_eq!(sync.progress(), SyncProgress { height: 8, done: servers[1].0.len(), total: servers[1].0.len() });
        // What was not there yet, and the few buckets that changed.
        let missing = servers[1].0.len() - done;
        assert!(copied[1] > 0 && (copied[1] as u64) < missing + 100_000, "{copied:?}, {done} were done");
    }
}

#[test]
fn a_server_that_says_nothing_or_has_nothing_is_given_up_without_blame() {
    assert!(copy(2, usize::MAX, |_| false).0.is_empty());
    let refuse = |message: &mut PeerMessage| {
        *message = PeerMessage::StateRefusal { height: 7 };
        true
    };
    assert!(copy(3, usize::MAX, refuse).0.is_empty());
    // Now and then, so that all are given up at some time.
    let mut count = 0;
    let sometimes = |_: &mut PeerMessage| {
        count += 1;
        count % 2 == 0
    };
    assert!(copy(4, usize::MAX, sometimes).0.is_empty());
}

#[test]
fn short_endless_wrong_and_misplaced_pieces_are_refused_and_blamed() {
    type Lie = fn(&mut Vec<u8>);
    let lies: [Lie; 6] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| bytes.resize(SYNC_CHUNK, 7),
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes[0] ^= 1,
        |bytes| bytes.rotate_left(40),
    ];
    for (seed, lie) in (10..).zip(lies) {
        let (blamed, _) = copy(seed, usize::MAX, |message| {
            lie(bytes_of(message));
            true
        });
        assert_eq!(blamed, ReplicaSet::from_iter([LIAR]), "seed {seed}");
    }
}

#[test]
fn an_answer_to_another_question_changes_nothing() {
    let mut other_height = |message: &mut PeerMessage| {
        let PeerMessage::StateAnswer { height, .. } = message else { panic!("not an answer") };
        *height += 1;
        true
    };
    assert!(copy(20, usize::MAX, &mut other_height).0.is_empty());
    let elsewhere = |message: &mut PeerMessage| {
        if let PeerMessage::StateAnswer { part: StatePart::Range { offset, .. }, .. } = message {
            *offset += 1;
        }
        true
    };
    assert!(copy(21, usize::MAX, elsewhere).0.is_empty());
}

/// The one who was asked for the last block says nothing; another, who was not asked, sends it. Found by the simulator as a
/// replica that had copied everything and waited for ever, with nothing left to ask for.
#[test]
fn a_copy_ends_when_the_last_to_be_asked_says_nothing_and_nothing_is_missing() {
    let (public, block) = some_block(1000, ReplicaId(3));
    let settled =
        Row::put(Table::Emitted, [&1000u64.to_be_bytes()[..], &[3], &block.reference().digest.0].concat(), Vec::new());
    let (store, signed) = after(MemoryStore::create(Digest::ZERO, b""), 7, vec![settled]);
    let server = StateServer::new(store).unwrap();
    let peers: ReplicaSet = (0..4).map(ReplicaId).collect();
    let (mut sync, _) = Sync::begin(ME, signed);
    let mut steps = sync.ask(peers);
    let silent = loop {
        let Some(Step::Send { to, message }) = steps.pop() else { panic!("{steps:?}") };
        let PeerMessage::StateQuery { height, part } = message else { break to };
        let PeerMessage::StateAnswer { bytes, .. } = answer(Some(&server), height, part).unwrap() else {
            panic!("not an answer")
        };
        steps = sync.receive(to, height, part, &bytes, peers);
    };
    let other = peers.iter().find(|&peer| peer != ME && peer != silent).unwrap();
    let steps = sync.receive_blocks(other, &[block.bytes().to_vec()], &public, peers);
    assert!(matches!(steps[..], [Step::Stage(_)]), "{steps:?}");
    let ends = (0..2 * SYNC_PATIENCE).find_map(|_| sync.tick(peers).pop());
    assert!(matches!(ends, Some(Step::Adopt)), "{ends:?}");
    // Once: what comes later does not make the shell adopt again.
    assert!(sync.tick(peers).is_empty() && sync.refused(silent, 7, peers).is_empty());
}

#[test]
fn a_peer_that_reads_a_large_state_for_its_first_piece_is_given_the_time() {
    let (_, mut signed) = veteran();
    signed.head.rows = 1_000_000;
    let peers: ReplicaSet = (0..2).map(ReplicaId).collect();
    let (mut sync, _) = Sync::begin(ME, signed);
    assert_eq!(sync.ask(peers).len(), 1);
    for _ in 0..SYNC_PATIENCE + 1_000_000 / SYNC_ROWS_INDEXED_PER_TICK {
        assert!(sync.tick(peers).is_empty() && !sync.is_alone(peers));
    }
    assert!(sync.tick(peers).is_empty() && sync.is_alone(peers));
}
