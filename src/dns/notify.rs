//! Word of a new version to a secondary (NOTIFY, RFC 1996): the message, and whether a reply is to it.
//!
//! The SOA record goes along (§3.7), so that a secondary that has this version need not ask for it.
//!
//! Choices: any reply ends the matter, whatever its response code says: a secondary that cannot use a NOTIFY will not
//! be made to by more of them (§4.7, §4.8 know of no other way). A reply to a signed message counts only if it is
//! signed (RFC 8945 §5.4).

use std::sync::Arc;

use super::query::HEADER;
use super::response::Rcode;
use super::tsig::Session;
use crate::access::TsigKey;
use crate::directory::rrset::Rtype;
use crate::directory::zone::SignedZone;

/// Opcode 4, authoritative.
const NOTIFY: u8 = 0x24;

/// A NOTIFY that waits for its reply.
pub struct Notify {
    id: [u8; 2],
    session: Option<Session>,
}

impl Notify {
    /// Says which version this zone is at; the message to send. None, if it has no SOA record. `now`: seconds since 1970.
    pub fn new(zone: &SignedZone, id: u16, key: Option<&Arc<TsigKey>>, now: u32) -> Option<(Self, Vec<u8>)> {
        let soa = zone.rrset(zone.apex(), Rtype::SOA)?.records(false).next()?;
        let id = id.to_be_bytes();
        let mut message = [&id[..], &[NOTIFY, 0, 0, 1, 0, 1, 0, 0, 0, 0], zone.apex().as_wire()].concat();
        // Type and class of a record are those of the question.
        message.extend_from_slice(&soa[..4]);
        message.extend_from_slice(&(0xc000 | HEADER as u16).to_be_bytes());
        message.extend_from_slice(soa);
        let session = key.map(|key| Session::request(key, &mut message, now));
        Some((Self { id, session }, message))
    }

    /// The response code, if `message` is the reply.
    pub fn reply(&self, message: &[u8], now: u32) -> Option<Rcode> {
        let header: &[u8; HEADER] = message.first_chunk()?;
        let is_reply = header[..2] == self.id && header[2] & 0xf8 == 0x80 | NOTIFY & 0x78;
        let is_believed = || self.session.as_ref().is_none_or(|session| session.is_reply(message, now));
        (is_reply && is_believed()).then(|| Rcode(u16::from(header[3] & 0xf)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{Reply, zone};

    const NOW: u32 = 1_000_000;

    fn key() -> Arc<TsigKey> {
        Arc::new(TsigKey::parse("hmac-sha256:k.example.:MDEyMzQ1Njc4OWFiY2RlZg==").unwrap())
    }

    /// RFC 1996 §3.7, §4.5.
    #[test]
    fn it_asks_for_the_soa_record_and_says_it() {
        let (_, message) = Notify::new(&zone("example.", ""), 7, None, NOW).unwrap();
        assert_eq!(message[..12], [0, 7, 0x24, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        let read = Reply::read(&message);
        assert_eq!(
            (read.message.queries[0].to_string(), read.answers()),
            ("example. IN SOA".into(), vec!["example. SOA".into()])
        );
    }

    #[test]
    fn only_a_reply_to_it_ends_it() {
        let (notify, mut message) = Notify::new(&zone("example.", ""), 7, None, NOW).unwrap();
        assert!(notify.reply(&message, NOW).is_none(), "itself");
        message[2] |= 0x80;
        message[3] = 5;
        assert_eq!(notify.reply(&message, NOW), Some(Rcode::REFUSED));
        assert!(notify.reply(&message[..11], NOW).is_none());
        message[0] = 1;
        assert!(notify.reply(&message, NOW).is_none(), "another's");
        message[0] = 0;
        message[2] = 0x80;
        assert!(notify.reply(&message, NOW).is_none(), "a reply to a query");
    }

    #[test]
    fn a_signed_one_is_ended_by_a_signed_reply_only() {
        let (notify, message) = Notify::new(&zone("example.", ""), 7, Some(&key()), NOW).unwrap();
        let at = message.len() - notify.session.as_ref().unwrap().record_length();
        let mut session = crate::dns::tsig::verify(&[key()], &message, at, NOW).ok().unwrap();
        let mut reply = message[..at].to_vec();
        reply[2] |= 0x80;
        reply[11] = 0;
        assert!(notify.reply(&reply, NOW).is_none());
        session.sign(&mut reply, 0, NOW);
        assert_eq!(notify.reply(&reply, NOW), Some(Rcode::NOERROR));
        assert!(notify.reply(&message, NOW).is_none());
    }
}
