//! The fuzzing corpora of what peers send, replayed with the stable compiler, each file as it is and with many small
//! changes. `TORRENS_FUZZ` sets how many changes, for longer runs.

#[path = "support/corpus.rs"]
mod corpus;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use torrens::committee::Committee;
use torrens::crypto::coin;
use torrens::crypto::digest::hash;
use torrens::crypto::ed25519::SecretKey;
use torrens::order::{OrderPublic, VerifiedBlock};
use torrens::peer::PeerMessage;
use torrens::peer::frame::Frame;

use self::corpus::replay;

#[test]
fn messages_that_are_accepted_have_one_encoding() {
    replay("peer_message", 20_000, |bytes| {
        if let Ok(message) = PeerMessage::decode(bytes) {
            assert_eq!(message.encode().as_deref(), Ok(bytes));
        }
    });
}

#[test]
fn frames_are_read_or_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    replay("peer_frame", 10_000, |bytes| {
        let mut link = bytes;
        while let Ok(frame) = runtime.block_on(Frame::read(&mut link)) {
            let mut again = Vec::new();
            frame.write(&mut again);
            assert!(!again.is_empty());
        }
    });
}

#[test]
fn blocks_are_valid_or_refused() {
    let committee = Committee::new(4).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let identities = committee.ids().map(|_| SecretKey::generate(&mut rng).public()).collect();
    let (coin, _) = coin::deal(&committee, &mut rng);
    let public = OrderPublic::new(committee, hash("test network", &[]), 0, identities, coin).unwrap();
    let mut valid = 0;
    replay("order_block", 5_000, |bytes| {
        let claimed = VerifiedBlock::peek(&public, bytes);
        if let Ok(block) = VerifiedBlock::verify(&public, bytes.to_vec()) {
            assert_eq!((block.bytes(), Some(block.reference())), (bytes, claimed));
            valid += 1;
        }
    });
    assert!(valid > 0, "the corpus has a block that the test's keys signed");
}
