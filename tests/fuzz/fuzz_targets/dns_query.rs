//! Any bytes as a DNS message: `cargo +nightly fuzz run --fuzz-dir tests/fuzz dns_query`.
#![no_main]

use torrens::dns::{Client, Replied, Settings, Transport, respond};
use torrens::store::view::View;

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    let mut out = Vec::new();
    let settings = Settings::new("fuzz", [7; 16]);
    let transport = Transport::Udp { max: 1232 };
    let client = Client::new(transport, [192, 0, 2, 1].into(), 1_000_000, &settings);
    if respond(&View::default(), message, &client, &mut out) != Replied::Not {
        assert!(out.len() <= 1232 && out[2] & 0x80 != 0);
    }
});
