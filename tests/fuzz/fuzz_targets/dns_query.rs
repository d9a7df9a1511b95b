//! Any bytes as a DNS message: `cargo +nightly fuzz run --fuzz-dir tests/fuzz dns_query`.
#![no_main]

#[path = "../../support/example_zone.rs"]
mod example_zone;

use std::sync::{Arc, LazyLock};

use torrens::access::TsigKey;
use torrens::dns::{Client, Replied, Settings, Transport, respond};
use torrens::store::view::View;

static VIEW: LazyLock<View> = LazyLock::new(example_zone::view);

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    let mut out = Vec::new();
    let mut settings = Settings::new("fuzz", [7; 16]);
    // The key of the seeds that are signed.
    settings.keys.push(Arc::new(TsigKey::parse("hmac-sha256:k.example.:MDEyMzQ1Njc4OWFiY2RlZg==").unwrap()));
    for (transport, limit) in [(Transport::Udp { max: 1232 }, 1232), (Transport::Stream, 65_535)] {
        let client = Client::new(transport, [192, 0, 2, 1].into(), 1_000_000, &settings);
        if respond(&VIEW, message, &client, &mut out) != Replied::Not {
            assert!(out.len() <= limit && out[2] & 0x80 != 0);
        }
    }
});
