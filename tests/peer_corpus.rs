//! The fuzzing corpora of what peers send, replayed with the stable compiler, each file as it is and with many small
//! changes. `TORRENS_FUZZ` sets how many changes, for longer runs.

use std::fs;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use torrens::committee::Committee;
use torrens::crypto::coin;
use torrens::crypto::digest::hash;
use torrens::crypto::ed25519::SecretKey;
use torrens::order::{OrderPublic, VerifiedBlock};
use torrens::peer::PeerMessage;
use torrens::peer::frame::Frame;

/// Gives `survive` every file of a corpus and changed copies of it.
fn replay(corpus: &str, usual: usize, mut survive: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(corpus);
    let changes = std::env::var("TORRENS_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        survive(&bytes);
        for _ in 0..changes {
            survive(&changed(&bytes, &mut rng));
        }
        files += 1;
    }
    assert!(files > 8, "{files} files");
    println!("{corpus}: {} inputs", files * (changes + 1));
}

/// A copy with one to three small changes.
fn changed(bytes: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.next_u32() % 3 {
        let at = rng.next_u32() as usize % (bytes.len() + 1);
        match rng.next_u32() % 5 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u32() as u8),
            _ if at == bytes.len() => {}
            2 => drop(bytes.remove(at)),
            3 => bytes[at] ^= 1 << (rng.next_u32() % 8),
            _ => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.next_u32() as usize % 5],
        }
    }
    bytes
}

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
