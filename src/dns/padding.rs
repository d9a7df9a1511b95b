//! Padding of replies (RFC 7830) to whole blocks (RFC 8467), so that their length on an encrypted connection says little of
//! what was asked.
//!
//! Who pads his query gets a padded reply, over TLS, HTTPS and QUIC alone (RFC 7830 §6: elsewhere there is nothing to
//! hide). RFC 9250 §5.4 asks QUIC for it. What the reply's OPT record is not the end of is left as it is: a bare
//! refusal, and what TSIG has signed.

use super::query::{HEADER, Query, Reader};
use crate::directory::rrset::Rtype;
use crate::limits::MAX_STREAM_MESSAGE;

const PADDING: u16 = 12;
/// Bytes of which a reply has a whole number (RFC 8467 §4.1).
const BLOCK: usize = 468;
/// Bytes of the option before its value.
const OPTION: usize = 4;

/// Whether the reply is to be padded.
pub fn is_asked(query: &Query<'_>) -> bool {
    query.edns.iter().flat_map(|edns| edns.options()).any(|(code, _)| code == PADDING)
}

/// Fills the last block of a reply.
pub fn pad(reply: &mut Vec<u8>) {
    let Some(options) = options_at_end(reply) else { return };
    let whole = (reply.len() + OPTION).next_multiple_of(BLOCK).min(MAX_STREAM_MESSAGE);
    let Some(padding) = whole.checked_sub(reply.len() + OPTION) else { return };
    // Options and padding together are less than a message, whose length two bytes can say.
    let [high, low] = ((options + OPTION + padding) as u16).to_be_bytes();
    let length_at = reply.len() - options - 2;
    reply[length_at..length_at + 2].copy_from_slice(&[high, low]);
    reply.extend_from_slice(&PADDING.to_be_bytes());
    reply.extend_from_slice(&(padding as u16).to_be_bytes());
    reply.resize(whole, 0);
}

/// Bytes of the options, if the last record is OPT.
fn options_at_end(reply: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER] = reply.first_chunk()?;
    let count = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let mut rest = Reader(&reply[HEADER..]);
    for _ in 0..count(4) {
        rest.question().ok()?;
    }
    let mut last = None;
    for _ in 0..count(6) + count(8) + count(10) {
        last = rest.record().ok();
        last.as_ref()?;
    }
    last.filter(|record| record.rtype == Rtype::OPT).map(|record| record.rdata.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{Ask, example_view};
    use crate::dns::{Transport, query};

    const ASKED: [u8; 6] = [0, 12, 0, 2, 0, 0];

    fn padded(ask: &Ask) -> Vec<u8> {
        let mut reply = ask.over(&example_view(), Transport::Exchange).bytes;
        pad(&mut reply);
        reply
    }

    #[test]
    fn a_reply_is_padded_to_whole_blocks_and_says_the_same() {
        for (name, options) in [("www.example.", &ASKED[..]), ("nobody.example.", &[0, 3, 0, 0, 0, 12, 0, 0])] {
            let ask = Ask::new(name, Rtype::A).dnssec().options(options);
            let (plain, padded) = (ask.over(&example_view(), Transport::Exchange), padded(&ask));
            assert_eq!(padded.len() % BLOCK, 0);
            assert_eq!(padded.len() / BLOCK, plain.length.div_ceil(BLOCK));
            let read = hickory_proto::op::Message::from_vec(&padded).unwrap();
            assert_eq!((&read.answers, &read.authorities), (&plain.message.answers, &plain.message.authorities));
            let [high, low] = ((padded.len() - plain.length - 4) as u16).to_be_bytes();
            assert_eq!(padded[plain.length..plain.length + 4], [0, 12, high, low]);
            assert!(padded[plain.length + 4..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_has_no_options_at_its_end_is_left_as_it_is() {
        let plain = Ask::new("www.example.", Rtype::A);
        assert_eq!(padded(&plain), plain.over(&example_view(), Transport::Exchange).bytes);
        let mut refusal = vec![0, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let before = refusal.clone();
        pad(&mut refusal);
        assert_eq!(refusal, before);
        pad(&mut Vec::new());
    }

    #[test]
    fn no_reply_grows_beyond_a_message() {
        let full = Ask::new("www.example.", Rtype::A).edns().over(&example_view(), Transport::Exchange).bytes;
        for length in MAX_STREAM_MESSAGE - 2 * BLOCK..=MAX_STREAM_MESSAGE {
            let mut reply = full.clone();
            // An unknown option of OPT that takes the rest.
            let more = length - reply.len();
            let at = reply.len() - 2;
            reply[at..].copy_from_slice(&(more as u16).to_be_bytes());
            reply.extend([0xfd, 0xe9]);
            reply.extend(((more - 4) as u16).to_be_bytes());
            reply.resize(length, 7);
            pad(&mut reply);
            assert!(reply.len() >= length && reply.len() <= MAX_STREAM_MESSAGE);
            assert!(hickory_proto::op::Message::from_vec(&reply).is_ok());
        }
    }

    #[test]
    fn padding_is_asked_for_by_padding() {
        for (options, expected) in [(&ASKED[..], true), (&[0, 12, 0, 0], true), (&[0, 3, 0, 0], false)] {
            let message = Ask::new("www.example.", Rtype::A).options(options).message();
            let mut name = crate::directory::name_ref::NameBuffer::default();
            assert_eq!(is_asked(&query::parse(&message, &mut name).unwrap()), expected);
        }
    }
}
