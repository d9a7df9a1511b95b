//! Word of a new version from a zone's primary (NOTIFY, RFC 1996), as a secondary hears it.
//!
//! It counts if it is signed with the key that the zone is transferred with (TSIG, RFC 8945). Its address is of no account
//! then, and nobody else can make this server ask a primary. What it says of the new serial is not looked at (§3.7 calls it
//! a hint): whoever follows the primary asks there.
//!
//! Choice: a NOTIFY that is not signed is refused, where §3.10 has it ignored: an operator sees at the primary what is
//! wrong. A server that follows no primary does not implement NOTIFY.

use std::sync::Arc;

use super::options::Client;
use super::query::{HEADER, Reader};
use super::response::{self, Rcode};
use super::tsig::{self, Failure, Session};
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;

/// Opcode 4, in its place of a header's third byte.
const NOTIFY: u8 = 0x20;
const OPCODE: u8 = 0x78;

/// A primary whose word counts.
pub struct Primary {
    pub zone: Name,
    /// What it signs with.
    pub key: Name,
    /// Wakes who follows it.
    pub word: Arc<tokio::sync::Notify>,
}

/// Hears a NOTIFY and writes the reply. False if this is none, or this server follows nobody.
pub(super) fn hear(message: &[u8], client: &Client<'_>, out: &mut Vec<u8>) -> bool {
    if client.settings.primaries.is_empty() || message.get(2).is_none_or(|flags| flags & OPCODE != NOTIFY) {
        return false;
    }
    let Some((zone, question)) = zone_asked(message) else {
        response::refuse(message, Rcode::FORMERR, out);
        return true;
    };
    let verified = tsig::last_record(message).map(|at| tsig::verify(&client.settings.keys, message, at, client.now));
    match verified {
        None | Some(Err(Failure::Malformed)) => response::refuse(message, Rcode::REFUSED, out),
        Some(Err(Failure::Unsigned(record))) => {
            response::refuse(message, Rcode::NOTAUTH, out);
            tsig::append_unsigned(&record, out);
        }
        Some(Err(Failure::BadTime(session, time))) => {
            response::refuse(message, Rcode::NOTAUTH, out);
            session.sign_bad_time(out, time, client.now);
        }
        Some(Ok(session)) => heard(&zone, question, message, session, client, out),
    }
    true
}

fn heard(zone: &Name, question: &[u8], message: &[u8], mut session: Session, client: &Client<'_>, out: &mut Vec<u8>) {
    let primaries = &client.settings.primaries;
    match primaries.iter().find(|primary| primary.zone == *zone && primary.key == session.key().name) {
        None => response::refuse(message, Rcode::REFUSED, out),
        Some(primary) => {
            primary.word.notify_one();
            // The question comes back (§4.7).
            out.clear();
            out.extend_from_slice(&message[..2]);
            out.extend_from_slice(&[0x84 | NOTIFY, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            out.extend_from_slice(question);
        }
    }
    session.sign(out, 0, client.now);
}

/// The zone that a NOTIFY is about, and its question.
fn zone_asked(message: &[u8]) -> Option<(Name, &[u8])> {
    let header: &[u8; HEADER] = message.first_chunk()?;
    if header[4..6] != [0, 1] {
        return None;
    }
    let question = Reader(&message[HEADER..]).question().ok()?;
    let (name, kind) = question.split_at(question.len() - 4);
    let [high, low] = Rtype::SOA.0.to_be_bytes();
    let zone = Name::from_wire(&name.to_ascii_lowercase()).ok()?;
    (kind == [high, low, 0, 1]).then_some((zone, question))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::TsigKey;
    use crate::dns::notify::Notify;
    use crate::dns::testing::{client, example_view, name, zone};
    use crate::dns::{Replied, Settings, Transport, respond};

    const NOW: u32 = 1_000_000;

    fn key(text: &str) -> Arc<TsigKey> {
        Arc::new(TsigKey::parse(&format!("hmac-sha256:{text}:MDEyMzQ1Njc4OWFiY2RlZg==")).unwrap())
    }

    fn following() -> Settings {
        let mut settings = Settings::new("one", [7; 16]);
        settings.keys = vec![key("k.example."), key("other.example.")];
        let word = Arc::default();
        settings.primaries.push(Primary { zone: name("example."), key: name("k.example."), word });
        settings
    }

    fn woken(settings: &Settings) -> bool {
        std::pin::pin!(settings.primaries[0].word.notified()).enable()
    }

    /// What a primary says of this zone, and the reply.
    fn said(apex: &str, signed: Option<&str>, settings: &Settings, now: u32) -> (Option<Rcode>, Vec<u8>) {
        let zone = zone(apex, "");
        let signed = signed.map(key);
        let (notify, message) = Notify::new(&zone, 7, signed.as_ref(), now).unwrap();
        let mut out = Vec::new();
        let client = crate::dns::Client { settings, now: NOW, ..client(Transport::Stream) };
        assert_eq!(respond(&example_view(), &message, &client, &mut out), Replied::Yes { proven: false });
        (notify.reply(&out, NOW), out)
    }

    #[test]
    fn what_the_primary_signs_wakes_who_follows_it_once_for_all_that_came_meanwhile() {
        let settings = following();
        let (rcode, reply) = said("example.", Some("k.example."), &settings, NOW);
        assert_eq!(rcode, Some(Rcode::NOERROR));
        assert_eq!(reply[2..8], [0xa4, 0, 0, 1, 0, 0], "the same opcode, an answer, the question");
        said("example.", Some("k.example."), &settings, NOW);
        assert!(woken(&settings));
        assert!(!woken(&settings));
    }

    #[test]
    fn nobody_else_wakes_them() {
        let settings = following();
        let refused = |apex: &str, key: Option<&str>, now: u32| said(apex, key, &settings, now).1[3] & 0xf;
        assert_eq!(refused("example.", None, NOW), Rcode::REFUSED.0 as u8, "it is not signed");
        assert_eq!(refused("example.", Some("other.example."), NOW), Rcode::REFUSED.0 as u8, "another's key");
        assert_eq!(refused("else.", Some("k.example."), NOW), Rcode::REFUSED.0 as u8, "another zone");
        assert_eq!(refused("example.", Some("unknown."), NOW), Rcode::NOTAUTH.0 as u8);
        assert_eq!(refused("example.", Some("k.example."), NOW - 1000), Rcode::NOTAUTH.0 as u8, "an old one again");
        assert!(!woken(&settings));
    }

    #[test]
    fn who_follows_nobody_does_not_implement_it() {
        let settings = Settings { primaries: Vec::new(), ..following() };
        assert_eq!(said("example.", Some("k.example."), &settings, NOW).1[3] & 0xf, Rcode::NOTIMP.0 as u8);
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_reply(bytes in prop::collection::vec(any::<u8>(), 0..100), counts in any::<[u8; 8]>()) {
            let settings = following();
            let counts = counts.map(|count| count % 3);
            let message = [&[0, 7, NOTIFY, 0][..], &counts, &bytes].concat();
            let mut out = Vec::new();
            let client = crate::dns::Client { settings: &settings, now: NOW, ..client(Transport::Stream) };
            prop_assert!(hear(&message, &client, &mut out) && out.len() >= HEADER);
            prop_assert!(!woken(&settings));
        }
    }
}
