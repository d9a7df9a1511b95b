//! Any bytes as a block: `cargo +nightly fuzz run --fuzz-dir tests/fuzz order_block`. The committee's keys are drawn from a
//! fixed seed, and the corpus has blocks that they signed.
#![no_main]

use std::sync::OnceLock;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use torrens::committee::Committee;
use torrens::crypto::coin;
use torrens::crypto::digest::hash;
use torrens::crypto::ed25519::SecretKey;
use torrens::order::{OrderPublic, VerifiedBlock};

fn public() -> &'static OrderPublic {
    static PUBLIC: OnceLock<OrderPublic> = OnceLock::new();
    PUBLIC.get_or_init(|| {
        let committee = Committee::new(4).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let identities = committee.ids().map(|_| SecretKey::generate(&mut rng).public()).collect();
        let (coin, _) = coin::deal(&committee, &mut rng);
        OrderPublic::new(committee, hash("test network", &[]), 0, identities, coin).unwrap()
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let claimed = VerifiedBlock::peek(public(), bytes);
    if let Ok(block) = VerifiedBlock::verify(public(), bytes.to_vec()) {
        assert_eq!((block.bytes(), Some(block.reference())), (bytes, claimed));
    }
});
