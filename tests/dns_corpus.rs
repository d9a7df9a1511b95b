//! The fuzzing corpus of queries, replayed with the stable compiler: every file, and small changes of it, is a message
//! that must be survived.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/example_zone.rs"]
mod example_zone;

use std::sync::Arc;

use torrens::access::TsigKey;
use torrens::dns::{Client, Replied, Settings, Transport, respond};

#[test]
fn every_message_of_the_corpus_gets_a_readable_reply_or_none() {
    let view = example_zone::view();
    let mut settings = Settings::new("corpus", [7; 16]);
    // The key of the seeds that are signed.
    settings.keys.push(Arc::new(TsigKey::parse("hmac-sha256:k.example.:MDEyMzQ1Njc4OWFiY2RlZg==").unwrap()));
    let (mut out, mut inputs) = (Vec::new(), 0u64);
    corpus::replay("dns_query", 500, |message| {
        inputs += 1;
        for (transport, limit) in [(Transport::Udp { max: 1232 }, 1232), (Transport::Stream, 65_535)] {
            let client = Client::new(transport, [192, 0, 2, 1].into(), 1_000_000, &settings);
            if respond(&view, message, &client, &mut out) == Replied::Not {
                continue;
            }
            assert!(out.len() <= limit && out[2] & 0x80 != 0, "{message:02x?}");
            // Of very many only some, for time.
            if inputs < 20_000 || inputs.is_multiple_of(64) {
                hickory_proto::op::Message::from_vec(&out).unwrap_or_else(|error| panic!("{message:02x?}: {error}"));
            }
        }
    });
}
