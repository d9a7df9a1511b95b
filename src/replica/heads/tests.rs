//! When heads are due, who signs them, and what other heads do.

use std::sync::OnceLock;

use super::*;
use crate::crypto::bls::heads::deal;
use crate::limits::{CHECKPOINT_INTERVAL_MS, CHECKPOINT_OPERATIONS, CHECKPOINT_PAUSE_MS, HEAD_INTERVAL_MS};

const NETWORK: Digest = Digest([3; 32]);

/// The keys of a cluster of four, as bytes: secrets are not copied.
fn keys(me: usize) -> HeadKeys {
    type Dealt = (HeadPublic, Vec<Vec<u8>>);
    static DEALT: OnceLock<Dealt> = OnceLock::new();
    let (public, secrets) = DEALT.get_or_init(|| {
        use rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(4);
        let (public, secrets) = deal(&Committee::new(4).unwrap(), &mut rng);
        (public, secrets.iter().map(|secret| secret.to_bytes().to_vec()).collect())
    });
    let key = ThresholdKey { public: public.clone(), secret: HeadSecret::from_bytes(&secrets[me]).unwrap() };
    HeadKeys { signing: Box::new(key), interval_ms: HEAD_INTERVAL_MS }
}

fn heads() -> Heads {
    Heads::new(ReplicaId(0), Committee::new(4).unwrap(), NETWORK, 0, keys(0), Stored::default())
}

fn progress(height: u64, round: u64) -> Progress {
    Progress { height, agreed_time: Timestamp(height * 1_000_000), position: height, round }
}

fn execute(heads: &mut Heads, height: u64, round: u64) -> (Batch, Vec<Effect>) {
    let mut batch = Batch { rows: vec![Row::put(Table::Title, b"title", vec![height as u8])], ..Batch::default() };
    let effects = heads.executed(&progress(height, round), true, &mut batch);
    (batch, effects)
}

fn due(batch: &Batch) -> Head {
    codec::decode(&batch.local[&Local::Due], MAX_HEAD_MESSAGE).unwrap()
}

fn share(of: usize, head: &Head) -> Vec<u8> {
    codec::encode(&(*head, keys(of).signing.sign(&head.digest())))
}

fn sign(head: &Head) -> SignedHead {
    let shares: Vec<_> = (1..4).map(|of| (ReplicaId(of as u8), keys(of).signing.sign(&head.digest()))).collect();
    SignedHead { head: *head, signature: keys(0).signing.combine(&head.digest(), &shares).unwrap() }
}

#[test]
fn a_share_goes_out_only_when_the_state_is_durable_and_a_quorum_signs() {
    let mut heads = heads();
    let (batch, effects) = execute(&mut heads, 1, 10);
    assert!(matches!(effects.as_slice(), [Effect::KeepCopy { height: 1 }]));
    let head = due(&batch);
    assert!(heads.receive_share(ReplicaId(1), &share(1, &head)).is_empty());
    assert!(heads.receive_share(ReplicaId(2), &share(2, &head)).is_empty());
    assert_eq!(heads.undurable(), Some(1));
    let effects = heads.durable(1);
    assert!(matches!(effects[0], Effect::Broadcast(PeerMessage::HeadShare(_))));
    assert_eq!((heads.newest().unwrap(), heads.undurable()), (&sign(&head), None));
}

#[test]
fn heads_are_due_at_a_bounded_rate_and_only_after_a_change() {
    let mut schedule = Schedule::default();
    let at = |time, position| Progress { height: time, agreed_time: Timestamp(time), position, round: time };
    let begin = CHECKPOINT_INTERVAL_MS;
    assert_eq!(schedule.step(&at(begin, 0), false, HEAD_INTERVAL_MS), None);
    assert_eq!(schedule.step(&at(begin, 0), true, HEAD_INTERVAL_MS), Some(true));
    assert_eq!(schedule.step(&at(begin + 1, 1), true, HEAD_INTERVAL_MS), None);
    assert_eq!(schedule.step(&at(begin + HEAD_INTERVAL_MS, 1), false, HEAD_INTERVAL_MS), Some(false));
    assert_eq!(schedule.step(&at(begin + 9 * HEAD_INTERVAL_MS, 1), false, HEAD_INTERVAL_MS), None);
    let busy = CHECKPOINT_OPERATIONS;
    assert_eq!(schedule.step(&at(begin + CHECKPOINT_PAUSE_MS - 1, busy), true, HEAD_INTERVAL_MS), Some(false));
    let later = begin + CHECKPOINT_PAUSE_MS + HEAD_INTERVAL_MS;
    assert_eq!(schedule.step(&at(later, busy), true, HEAD_INTERVAL_MS), Some(true));
    assert_eq!(Schedule::from_row(Some(&codec::encode(&schedule))), Some(schedule));
}

#[test]
fn a_kernel_that_signed_another_head_of_our_height_stops_us_and_one_replica_does_not() {
    let mut heads = heads();
    let (batch, _) = execute(&mut heads, 1, 10);
    let _ = heads.durable(1);
    let ours = due(&batch);
    let theirs = Head { root: Digest([9; 32]), ..ours };
    assert!(heads.receive_share(ReplicaId(1), &share(1, &theirs)).is_empty());
    // A share that is not the one of its sender counts for nothing.
    assert!(heads.receive_share(ReplicaId(3), &share(1, &theirs)).is_empty() && !heads.diverged());
    let effects = heads.receive_share(ReplicaId(2), &share(2, &theirs));
    let [Effect::Write(batch), Effect::Diverged { ours: a, theirs: b }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((*a, *b), (ours, theirs));
    assert_eq!(codec::decode(&batch.local[&Local::Diverged], MAX_HEAD_MESSAGE), Ok((ours, theirs)));
    assert!(heads.diverged());
}

#[test]
fn a_quorum_that_signed_another_head_stops_us() {
    let mut heads = heads();
    let (batch, _) = execute(&mut heads, 1, 10);
    let theirs = sign(&Head { root: Digest([9; 32]), ..due(&batch) });
    let effects = heads.receive_signed(ReplicaId(1), &theirs.to_bytes(), 1);
    assert!(matches!(&effects[..], [Effect::Write(_), Effect::Diverged { .. }]) && heads.diverged());
}

#[test]
fn blocks_go_far_below_the_newest_signed_checkpoint_in_steps() {
    let mut heads = heads();
    let mut pruned = Vec::new();
    let rounds = [10, BLOCKS_KEPT_ROUNDS, BLOCKS_KEPT_ROUNDS + PRUNE_STEP_ROUNDS, BLOCKS_KEPT_ROUNDS * 2];
    for (height, round) in (1..).zip(rounds) {
        let (batch, _) = execute(&mut heads, height, round);
        for effect in heads.receive_signed(ReplicaId(1), &sign(&due(&batch)).to_bytes(), height) {
            if let Effect::Write(batch) = effect {
                pruned.extend(batch.prune_blocks_below);
            }
        }
    }
    assert_eq!(pruned, [PRUNE_STEP_ROUNDS, BLOCKS_KEPT_ROUNDS]);
    assert_eq!(heads.prune(BLOCKS_KEPT_ROUNDS), None);
    assert_eq!(heads.prune(BLOCKS_KEPT_ROUNDS / 2), Some(BLOCKS_KEPT_ROUNDS * 3 / 2));
}

#[test]
fn a_checkpoint_ahead_is_kept_and_a_lower_one_later_changes_nothing() {
    let mut heads = heads();
    let (batch, _) = execute(&mut heads, 1, 10);
    let at = |height| sign(&Head { height, ..due(&batch) });
    assert!(heads.receive_signed(ReplicaId(1), &at(9).to_bytes(), 1).is_empty());
    assert!(heads.receive_signed(ReplicaId(2), &at(5).to_bytes(), 1).is_empty());
    assert_eq!(heads.ahead(), Some(&at(9)));
    let mut forged = at(12);
    forged.head.height += 1;
    let effects = heads.receive_signed(ReplicaId(1), &forged.to_bytes(), 1);
    assert!(matches!(effects[..], [Effect::Fault { culprit: ReplicaId(1), .. }]));
    assert_eq!(heads.ahead(), Some(&at(9)));
}
