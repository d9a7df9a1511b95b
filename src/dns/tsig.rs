//! Transaction signatures (TSIG, RFC 8945) with HMAC-SHA-256, -384 and -512: of queries that come, of replies to them,
//! of each message of a transfer, and of what this server asks itself (NOTIFY).
//!
//! ```text
//! record            name of the key, TSIG, ANY, 0, RDLENGTH, algorithm, time (6 bytes), fudge (2), MAC size (2), MAC,
//!                   original ID (2), error (2), other length (2), other data                                       (§4.2)
//! MAC of a query    HMAC(message without the record ‖ variables)                                                  (§4.3)
//! of its reply      HMAC(MAC of the query, after its size ‖ message ‖ variables)                                  (§5.3)
//! of each further   HMAC(MAC before, after its size ‖ message ‖ time ‖ fudge)                                     (§5.3.1)
//! variables         name, ANY, 0, algorithm, time, fudge, error, other length, other data
//! ```
//!
//! Checks go in the order of §5.2: key, MAC, time. A wrong key or MAC gets NOTAUTH with an error that is not signed; a
//! wrong time gets one that is, with our clock in the other data. MACs are compared in constant time.
//!
//! Deviations and choices:
//! - MACs cut short (§5.2.2.1) are refused with BADTRUNC: nobody needs them.
//! - The clock counts seconds modulo 2³²; TSIG's six bytes are read in full, so this is right until 2106.
//! - `ring` does not wipe the state that it derives from a secret; it lives on the stack for one message.

use std::sync::Arc;

use arrayvec::ArrayVec;
use ring::hmac;

use super::query::Reader;
use crate::access::{TsigAlgorithm, TsigKey};
use crate::directory::name_ref::NameBuffer;
use crate::directory::rrset::Rtype;
use crate::limits::{MAX_NAME, MAX_TSIG_RECORD, TSIG_FUDGE_SECONDS};

pub const TSIG: Rtype = Rtype(250);
const ANY: u16 = 255;

/// Codes of the record's error field (RFC 8945 §3).
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

/// Messages in a row of which one at least is signed (§5.3.1).
const UNSIGNED: u32 = 100;

/// Bytes of the least MAC that is not malformed (§5.2.2.1).
const LEAST_MAC: usize = 10;
/// The names, fixed fields, the longest MAC and a time.
const _: () = assert!(MAX_NAME + 10 + 13 + 16 + 64 + 6 <= MAX_TSIG_RECORD);

/// Why a query is not believed.
pub enum Failure {
    /// The record is none (FORMERR).
    Malformed,
    /// NOTAUTH; the reply bears this record, which is not signed.
    Unsigned(Vec<u8>),
    /// NOTAUTH; the reply is signed, for the time of the query (§5.2.3).
    BadTime(Session, u64),
}

/// An exchange under a key: what the next MAC covers.
pub struct Session {
    key: Arc<TsigKey>,
    /// MAC of the message before.
    before: Vec<u8>,
    is_first: bool,
}

/// The messages that answer a query of our own, of which not all need to be signed (§5.3.1).
pub struct Replies {
    session: Session,
    is_first: bool,
    /// Messages since the last signed one.
    unsigned: Vec<u8>,
    count: u32,
}

/// A TSIG record.
struct Record<'m> {
    name: NameBuffer,
    algorithm: NameBuffer,
    time: u64,
    fudge: u16,
    mac: &'m [u8],
    original_id: [u8; 2],
    error: u16,
    other: &'m [u8],
}

/// Verifies a query whose TSIG record, the last one, begins at `at`. `now`: seconds since 1970.
pub fn verify(keys: &[Arc<TsigKey>], message: &[u8], at: usize, now: u32) -> Result<Session, Failure> {
    let record = Record::read(message, at).ok_or(Failure::Malformed)?;
    let key = keys.iter().find(|key| {
        key.name.as_ref() == record.name.as_ref() && key.algorithm.wire() == record.algorithm.as_ref().as_wire()
    });
    let Some(key) = key else { return Err(Failure::Unsigned(record.refused(BADKEY))) };
    let whole = digest_length(key.algorithm);
    if record.mac.len() > whole || record.mac.len() < LEAST_MAC.max(whole / 2) {
        return Err(Failure::Malformed);
    }
    if record.mac.len() < whole {
        return Err(Failure::Unsigned(record.refused(BADTRUNC)));
    }
    if !record.is_mac_of(message, at, key, &[]) {
        return Err(Failure::Unsigned(record.refused(BADSIG)));
    }
    let session = Session { key: Arc::clone(key), before: record.mac.to_vec(), is_first: true };
    if record.time.abs_diff(u64::from(now)) > u64::from(record.fudge) {
        return Err(Failure::BadTime(session, record.time));
    }
    Ok(session)
}

impl Session {
    /// Signs a message of our own, which is all of `message`; the reply is verified with what this gives.
    pub fn request(key: &Arc<TsigKey>, message: &mut Vec<u8>, now: u32) -> Self {
        let mut session = Self { key: Arc::clone(key), before: Vec::new(), is_first: true };
        session.append(message, 0, Fields { time: now.into(), error: 0, other: &[] });
        session
    }

    pub fn key(&self) -> &Arc<TsigKey> {
        &self.key
    }

    /// Bytes that [`Session::sign`] adds.
    pub fn record_length(&self) -> usize {
        let mac = digest_length(self.key.algorithm);
        self.key.name.as_wire().len() + 10 + self.key.algorithm.wire().len() + 16 + mac
    }

    /// Signs the next message of the exchange, which begins at `begin` of `out` and ends with it.
    pub fn sign(&mut self, out: &mut Vec<u8>, begin: usize, now: u32) {
        self.append(out, begin, Fields { time: now.into(), error: 0, other: &[] });
    }

    /// Signs the reply to a query of this time, which is too far from ours.
    pub fn sign_bad_time(mut self, out: &mut Vec<u8>, time: u64, now: u32) {
        let now = u64::from(now).to_be_bytes();
        self.append(out, 0, Fields { time, error: BADTIME, other: &now[2..] });
    }

    /// Whether `message` is the signed reply to our request.
    pub fn is_reply(&self, message: &[u8], now: u32) -> bool {
        let Some(at) = last_record(message) else { return false };
        let Some(record) = Record::read(message, at) else { return false };
        record.name.as_ref() == self.key.name.as_ref()
            && record.algorithm.as_ref().as_wire() == self.key.algorithm.wire()
            && record.error == 0
            && record.is_mac_of(message, at, &self.key, &self.before)
            && record.time.abs_diff(u64::from(now)) <= u64::from(record.fudge)
    }

    fn append(&mut self, out: &mut Vec<u8>, begin: usize, fields: Fields<'_>) {
        let key = hmac_key(&self.key);
        let mut context = hmac::Context::with_key(&key);
        if !self.before.is_empty() {
            context.update(&(self.before.len() as u16).to_be_bytes());
            context.update(&self.before);
        }
        context.update(&out[begin..]);
        let (name, algorithm) = (self.key.name.as_wire(), self.key.algorithm.wire());
        if self.is_first {
            context.update(&fields.variables(name, algorithm, TSIG_FUDGE_SECONDS));
        } else {
            context.update(&fields.timers(TSIG_FUDGE_SECONDS));
        }
        let mac = context.sign();
        let id = [out[begin], out[begin + 1]];
        out.extend_from_slice(&fields.record(name, algorithm, TSIG_FUDGE_SECONDS, mac.as_ref(), id));
        count_additional(&mut out[begin..]);
        self.before = mac.as_ref().to_vec();
        self.is_first = false;
    }
}

impl Replies {
    /// Signs a query of our own, which is all of `message`.
    pub fn request(key: &Arc<TsigKey>, message: &mut Vec<u8>, now: u32) -> Self {
        Self { session: Session::request(key, message, now), is_first: true, unsigned: Vec::new(), count: 0 }
    }

    /// Whether the next message is signed, if all are believed so far: the first is, and one of a hundred.
    pub fn take(&mut self, message: &[u8], now: u32) -> Option<bool> {
        let at = last_record(message);
        let Some((at, record)) = at.and_then(|at| Some((at, Record::read(message, at)?))) else {
            self.count += 1;
            self.unsigned.extend_from_slice(message);
            return (!self.is_first && self.count < UNSIGNED).then_some(false);
        };
        let Session { key, before, .. } = &self.session;
        let is_signed = record.name.as_ref() == key.name.as_ref()
            && record.algorithm.as_ref().as_wire() == key.algorithm.wire()
            && record.error == 0
            && record.time.abs_diff(u64::from(now)) <= u64::from(record.fudge)
            && match self.is_first {
                true => record.is_mac_of(message, at, key, before),
                false => record.is_later_mac_of(message, at, key, before, &self.unsigned),
            };
        if !is_signed {
            return None;
        }
        self.session.before = record.mac.to_vec();
        (self.is_first, self.count) = (false, 0);
        self.unsigned.clear();
        Some(true)
    }
}

/// Adds a record that [`Failure::Unsigned`] has to the reply in `out`.
pub fn append_unsigned(record: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(record);
    count_additional(out);
}

/// One record more in the additional section.
fn count_additional(message: &mut [u8]) {
    let count = u16::from_be_bytes([message[10], message[11]]);
    message[10..12].copy_from_slice(&(count + 1).to_be_bytes());
}

/// What a record says beside its MAC.
struct Fields<'a> {
    time: u64,
    error: u16,
    other: &'a [u8],
}

impl Fields<'_> {
    fn timers(&self, fudge: u16) -> Vec<u8> {
        [&self.time.to_be_bytes()[2..], &fudge.to_be_bytes()].concat()
    }

    fn variables(&self, name: &[u8], algorithm: &[u8], fudge: u16) -> Vec<u8> {
        [name, &ANY.to_be_bytes(), &[0; 4], algorithm, &self.timers(fudge), &self.error.to_be_bytes(), &self.other()]
            .concat()
    }

    fn other(&self) -> Vec<u8> {
        [&(self.other.len() as u16).to_be_bytes()[..], self.other].concat()
    }

    fn record(&self, name: &[u8], algorithm: &[u8], fudge: u16, mac: &[u8], id: [u8; 2]) -> Vec<u8> {
        let (error, size) = (self.error.to_be_bytes(), (mac.len() as u16).to_be_bytes());
        let rdata = [algorithm, &self.timers(fudge), &size, mac, &id, &error, &self.other()].concat();
        let length = (rdata.len() as u16).to_be_bytes();
        [name, &TSIG.0.to_be_bytes(), &ANY.to_be_bytes(), &[0; 4], &length, &rdata].concat()
    }
}

impl<'m> Record<'m> {
    /// The record that begins at `at` and ends with the message.
    fn read(message: &'m [u8], at: usize) -> Option<Self> {
        let (name, length) = name_at(message, at)?;
        let mut reader = Reader(message.get(at + length..)?);
        let rtype = reader.number().ok()?;
        let class = reader.number().ok()?;
        let ttl = reader.take(4).ok()?;
        let rdlength = reader.number().ok()?;
        if rtype != TSIG.0 || class != ANY || ttl != [0; 4] || reader.0.len() != usize::from(rdlength) {
            return None;
        }
        // Never compressed (§4.2), and a pointer has nothing before it here to point to.
        let (algorithm, length) = name_at(reader.0, 0)?;
        reader.take(length).ok()?;
        let time = reader.take(6).ok()?;
        let time = time.iter().fold(0, |time, &byte| time << 8 | u64::from(byte));
        let fudge = reader.number().ok()?;
        let mac = reader.number().ok()?;
        let mac = reader.take(mac.into()).ok()?;
        let original_id = reader.take(2).ok()?.try_into().ok()?;
        let error = reader.number().ok()?;
        let other = reader.number().ok()?;
        let other = reader.take(other.into()).ok()?;
        reader.0.is_empty().then_some(Self { name, algorithm, time, fudge, mac, original_id, error, other })
    }

    fn fields(&self) -> Fields<'_> {
        Fields { time: self.time, error: self.error, other: self.other }
    }

    /// Whether the MAC is that of the message before the record, after another's MAC if there is one.
    fn is_mac_of(&self, message: &[u8], at: usize, key: &TsigKey, before: &[u8]) -> bool {
        let mut signed = self.covered(message, at, before, &[]);
        let (name, algorithm) = (self.name.as_ref(), self.algorithm.as_ref());
        signed.extend_from_slice(&self.fields().variables(name.as_wire(), algorithm.as_wire(), self.fudge));
        hmac::verify(&hmac_key(key), &signed, self.mac).is_ok()
    }

    /// The same of a message that is not the first of its exchange: other messages may lie between it and the last
    /// signed one.
    fn is_later_mac_of(&self, message: &[u8], at: usize, key: &TsigKey, before: &[u8], between: &[u8]) -> bool {
        let mut signed = self.covered(message, at, before, between);
        signed.extend_from_slice(&self.fields().timers(self.fudge));
        hmac::verify(&hmac_key(key), &signed, self.mac).is_ok()
    }

    /// What a MAC covers but for the fields of its record.
    fn covered(&self, message: &[u8], at: usize, before: &[u8], between: &[u8]) -> Vec<u8> {
        let mut signed = Vec::with_capacity(between.len() + message.len() + MAX_TSIG_RECORD);
        if !before.is_empty() {
            signed.extend_from_slice(&(before.len() as u16).to_be_bytes());
            signed.extend_from_slice(before);
        }
        signed.extend_from_slice(between);
        signed.extend_from_slice(&self.original_id);
        signed.extend_from_slice(&message[2..10]);
        let additional = u16::from_be_bytes([message[10], message[11]]);
        signed.extend_from_slice(&additional.wrapping_sub(1).to_be_bytes());
        signed.extend_from_slice(&message[12..at]);
        signed
    }

    /// The record of a reply that says why, unsigned.
    fn refused(&self, error: u16) -> Vec<u8> {
        let fields = Fields { time: self.time, error, other: &[] };
        let (name, algorithm) = (self.name.as_ref(), self.algorithm.as_ref());
        fields.record(name.as_wire(), algorithm.as_wire(), self.fudge, &[], self.original_id)
    }
}

fn hmac_key(key: &TsigKey) -> hmac::Key {
    hmac::Key::new(ring_algorithm(key.algorithm), key.secret())
}

fn ring_algorithm(algorithm: TsigAlgorithm) -> hmac::Algorithm {
    match algorithm {
        TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
        TsigAlgorithm::HmacSha384 => hmac::HMAC_SHA384,
        TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
    }
}

fn digest_length(algorithm: TsigAlgorithm) -> usize {
    ring_algorithm(algorithm).digest_algorithm().output_len()
}

/// The name at `at`, its pointers followed, each to a place before all that was read of the name; and the bytes it takes at
/// `at` itself.
pub(super) fn name_at(message: &[u8], at: usize) -> Option<(NameBuffer, usize)> {
    let mut wire = ArrayVec::<u8, MAX_NAME>::new();
    let (mut position, mut first, mut length) = (at, at, None);
    loop {
        match *message.get(position)? {
            0 => {
                wire.try_push(0).ok()?;
                return Some((NameBuffer::from_wire(&wire).ok()?, length.unwrap_or_else(|| position + 1 - at)));
            }
            label @ 1..=63 => {
                let end = position + 1 + usize::from(label);
                wire.try_extend_from_slice(message.get(position..end)?).ok()?;
                position = end;
            }
            high @ 0xc0.. => {
                let target = usize::from(u16::from_be_bytes([high & 0x3f, *message.get(position + 1)?]));
                length = length.or_else(|| Some(position + 2 - at));
                first = Some(target).filter(|&target| target < first)?;
                position = target;
            }
            _ => return None,
        }
    }
}

/// Where the last record of a message begins, if the message ends with it.
/// Where the last record of a message begins, if it has additional ones.
pub(super) fn last_record(message: &[u8]) -> Option<usize> {
    let count = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let (questions, records) = (count(4)?, u32::from(count(6)?) + u32::from(count(8)?) + u32::from(count(10)?));
    let mut reader = Reader(message.get(super::query::HEADER..)?);
    for _ in 0..questions {
        reader.question().ok()?;
    }
    for _ in 1..records {
        reader.record().ok()?;
    }
    (records > 0 && count(10)? > 0).then_some(message.len() - reader.0.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::directory::name_ref::NameBuffer;
    use crate::dns::query::parse;
    use crate::dns::response::Transport;
    use crate::dns::testing::{Ask, Reply, client, example_view};
    use crate::dns::{Client, Settings, respond};

    const NOW: u32 = 1_000_000;

    fn key(algorithm: &str) -> Arc<TsigKey> {
        let secret = data_encoding::BASE64.encode(b"0123456789abcdef");
        Arc::new(TsigKey::parse(&format!("{algorithm}:k.example.:{secret}")).unwrap())
    }

    fn settings() -> Settings {
        let mut settings = Settings::new("one", [7; 16]);
        settings.keys.push(key("hmac-sha256"));
        settings
    }

    fn query() -> Vec<u8> {
        Ask::new("www.example.", Rtype::A).message()
    }

    /// A query with this key at this time, and what its reply is verified with.
    fn signed(key: &Arc<TsigKey>, now: u32) -> (Vec<u8>, Session) {
        let mut message = query();
        let session = Session::request(key, &mut message, now);
        (message, session)
    }

    fn ask(message: &[u8], settings: &Settings) -> Vec<u8> {
        let mut out = Vec::new();
        let client = Client { settings, ..client(Transport::Udp { max: 1232 }) };
        respond(&example_view(), message, &client, &mut out);
        out
    }

    fn mac_of(message: &[u8]) -> Vec<u8> {
        Record::read(message, last_record(message).unwrap()).unwrap().mac.to_vec()
    }

    /// MACs of a query, of a reply to it that has the same bytes, and of a third message after that: from an
    /// implementation of RFC 8945 that shares no line with this one.
    #[test]
    fn macs_are_those_of_the_rfc() {
        for line in include_str!("../../tests/golden/tsig.txt").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (mut session, mut macs) = (None::<Session>, Vec::new());
            for _ in 1..fields.len() {
                let mut message = query();
                match &mut session {
                    None => session = Some(Session::request(&key(fields[0]), &mut message, NOW)),
                    Some(session) => session.sign(&mut message, 0, NOW),
                }
                macs.push(data_encoding::HEXLOWER.encode(&mac_of(&message)));
                // The second message of an exchange is the first of whoever replies.
                session.as_mut().unwrap().is_first = macs.len() == 1;
            }
            assert_eq!(macs, fields[1..]);
        }
    }

    #[test]
    fn a_signed_query_gets_a_signed_reply() {
        let settings = settings();
        let (message, session) = signed(&settings.keys[0], NOW);
        let reply = ask(&message, &settings);
        assert_eq!(Reply::read(&reply).answers(), ["www.example. A 192.0.2.1"]);
        assert!(session.is_reply(&reply, NOW));
        assert!(!session.is_reply(&reply, NOW + 301));
        for at in 0..reply.len() {
            let mut other = reply.clone();
            other[at] ^= 1;
            // The ID of a reply is compared by whoever asked: TSIG covers the original one.
            assert!(at < 2 || !session.is_reply(&other, NOW), "byte {at}");
        }
        let (_, other) = signed(&settings.keys[0], NOW + 1);
        assert!(!other.is_reply(&reply, NOW), "a reply to another query");
    }

    /// RFC 8945 §5.2.1 to §5.2.3: NOTAUTH, and why.
    #[test]
    fn what_is_not_believed_is_refused_with_the_reason() {
        let settings = settings();
        let record = |reply: &[u8]| {
            let read = Record::read(reply, last_record(reply).unwrap()).unwrap();
            (Reply::read(reply).rcode, read.error, read.mac.len(), read.other.to_vec())
        };
        let reply = ask(&signed(&key("hmac-sha512"), NOW).0, &settings);
        assert_eq!(record(&reply), (9, BADKEY, 0, vec![]));

        let (mut message, _) = signed(&settings.keys[0], NOW);
        message[14] ^= 1;
        assert_eq!(record(&ask(&message, &settings)), (9, BADSIG, 0, vec![]));

        for late in [NOW - 301, NOW + 301] {
            let (message, session) = signed(&settings.keys[0], late);
            let reply = ask(&message, &settings);
            assert_eq!(record(&reply), (9, BADTIME, 32, vec![0, 0, 0, 15, 66, 64]));
            let at = last_record(&reply).unwrap();
            let read = Record::read(&reply, at).unwrap();
            assert_eq!(read.time, u64::from(late));
            assert!(read.is_mac_of(&reply, at, &session.key, &session.before), "signed, with the other data");
        }
        for early in [NOW - 300, NOW + 300] {
            assert_eq!(Reply::read(&ask(&signed(&settings.keys[0], early).0, &settings)).rcode, 0);
        }
    }

    /// RFC 8945 §5.2.2.1.
    #[test]
    fn macs_cut_short_are_refused() {
        let settings = settings();
        for (length, expected) in [(0, 1), (15, 1), (16, 9), (31, 9), (33, 1)] {
            let mac = vec![7; length];
            let fields = Fields { time: NOW.into(), error: 0, other: &[] };
            let mut message = query();
            let (name, algorithm) = (settings.keys[0].name.as_wire(), settings.keys[0].algorithm.wire());
            message.extend(fields.record(name, algorithm, 300, &mac, [0x12, 0x34]));
            message[11] = 1;
            assert_eq!(Reply::read(&ask(&message, &settings)).rcode, expected, "{length}");
        }
    }

    #[test]
    fn a_reply_that_has_no_room_for_its_signature_is_cut() {
        let name = format!("{0}.{0}.{0}.example.", "x".repeat(60));
        let texts: String = (0..3).map(|n| format!("{name} TXT {n}{}\n", "y".repeat(75))).collect();
        let view = crate::dns::testing::view([crate::dns::testing::zone("example.", &texts)]);
        let settings = settings();
        let client = Client { settings: &settings, ..client(Transport::Udp { max: 1232 }) };
        let (mut plain, mut out) = (Ask::new(&name, Rtype(16)).udp_size(512).message(), Vec::new());
        respond(&view, &plain, &client, &mut out);
        assert!(!Reply::read(&out).truncated);
        let session = Session::request(&settings.keys[0], &mut plain, NOW);
        respond(&view, &plain, &client, &mut out);
        assert!(Reply::read(&out).truncated && out.len() <= 512);
        assert!(session.is_reply(&out, NOW));
    }

    #[test]
    fn a_compressed_name_of_a_key_is_read_and_a_loop_is_not() {
        let (message, _) = signed(&key("hmac-sha256"), NOW);
        let at = parse(&message, &mut NameBuffer::default()).unwrap().tsig.unwrap();
        // "k.example." with "example." in the question, at 16.
        let compressed = [&message[..at], &[1, b'k', 0xc0, 16], &message[at + 11..]].concat();
        let (name, length) = name_at(&compressed, at).unwrap();
        assert_eq!((name.as_ref().as_wire(), length), (&b"\x01k\x07example\0"[..], 4));
        assert!(Record::read(&compressed, at).is_some());
        for pointer in [at, at + 1, 0x3fff] {
            let looped = [&message[..at], &(0xc000 | pointer as u16).to_be_bytes()].concat();
            assert!(name_at(&looped, at).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..220usize) {
            let _ = Record::read(&bytes, at);
            let _ = last_record(&bytes);
            let settings = settings();
            let mut message = query();
            message.extend(&bytes);
            message[11] = 1;
            let _ = ask(&message, &settings);
        }

        /// A record with all in it that a key may be, one byte changed.
        #[test]
        fn a_changed_byte_is_never_believed(at in 2..200usize, bit in 0..8u8) {
            let settings = settings();
            let (mut message, _) = signed(&settings.keys[0], NOW);
            let at = at % message.len();
            message[at] ^= 1 << bit;
            let mut name = NameBuffer::default();
            let Ok(query) = parse(&message, &mut name) else { return Ok(()) };
            let Some(tsig) = query.tsig else { return Ok(()) };
            // The message's own ID may differ (§5.2); names are compared without regard to case.
            let is_case = bit == 5 && message[at].is_ascii_alphabetic() && at >= tsig;
            prop_assert!(at < 2 || is_case || verify(&settings.keys, &message, tsig, NOW).is_err(), "byte {at}");
        }
    }
}
