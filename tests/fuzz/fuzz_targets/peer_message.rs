//! Any bytes as a message of a peer: `cargo +nightly fuzz run --fuzz-dir tests/fuzz peer_message`.
#![no_main]

use torrens::peer::PeerMessage;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = PeerMessage::decode(bytes) {
        assert_eq!(message.encode().as_deref(), Ok(bytes));
    }
});
