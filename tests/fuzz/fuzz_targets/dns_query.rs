//! Any bytes as a DNS message: `cargo +nightly fuzz run --fuzz-dir tests/fuzz dns_query`.
#![no_main]

use torrens::dns::{Transport, respond};
use torrens::store::view::View;

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    let mut out = Vec::new();
    if respond(&View::default(), message, Transport::Udp { max: 1232 }, &mut out) {
        assert!(out.len() <= 1232 && out[2] & 0x80 != 0);
    }
});
