//! Asking a primary server: for the SOA record (RFC 1035 §4.3.5), and for the whole zone (AXFR, RFC 5936). Messages in
//! and out, no sockets.
//!
//! Every query is signed, and only what is signed in turn is believed (TSIG, RFC 8945 §5.3.1): the first and the last
//! message of a transfer, and one of a hundred at least.
//!
//! Names in RDATA are uncompressed where RFC 3597 §4 has a receiver expect compression.
//!
//! Choice: no IXFR. What changed is found by comparison with the state, which is not always the version that the last
//! transfer brought; and a primary's differences would have to be believed.

use std::sync::Arc;

use super::query::{HEADER, Reader};
use super::response::Rcode;
use super::tsig::{Replies, TSIG, name_at};
use crate::access::TsigKey;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::limits::{MAX_TRANSFER_BYTES, MAX_ZONE_RECORDS};

/// Owner, type, TTL, uncompressed RDATA.
pub type Record = (Name, Rtype, u32, Vec<u8>);

/// Why a primary's answer is not believed, or none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrimaryError {
    #[error("the answer is no DNS message, or not to this question")]
    Malformed,
    #[error("the primary refuses: {0}. Allow this replica's key to transfer the zone there")]
    Refused(String),
    #[error("the answer is not signed with the key, or at another time: compare key and clocks at both ends")]
    Unsigned,
    #[error("the transfer does not begin and end with one SOA record of the zone")]
    NotWhole,
    #[error("the transfer has more than {MAX_ZONE_RECORDS} records or {MAX_TRANSFER_BYTES} bytes")]
    TooLarge,
}

/// A question to a primary, and what came of the answer so far.
pub struct Exchange {
    apex: Name,
    rtype: Rtype,
    id: [u8; 2],
    replies: Replies,
    records: Vec<Record>,
    bytes: usize,
    /// The records are all there.
    whole: bool,
}

impl Exchange {
    /// Asks for the SOA record, or with AXFR for the zone. `now`: seconds since 1970. The message is as it is sent.
    pub fn new(apex: &Name, rtype: Rtype, id: u16, key: &Arc<TsigKey>, now: u32) -> (Self, Vec<u8>) {
        let id = id.to_be_bytes();
        let mut message = [&id[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0], apex.as_wire()].concat();
        message.extend_from_slice(&rtype.0.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        let replies = Replies::request(key, &mut message, now);
        let (records, bytes, whole) = (Vec::new(), 0, false);
        (Self { apex: apex.clone(), rtype, id, replies, records, bytes, whole }, message)
    }

    /// Takes the next message of the answer. All records, if it is the last.
    pub fn take(&mut self, message: &[u8], now: u32) -> Result<Option<Vec<Record>>, PrimaryError> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(PrimaryError::Malformed)?;
        // An answer to a query, whole.
        if header[..2] != self.id || header[2] & 0xfa != 0x80 {
            return Err(PrimaryError::Malformed);
        }
        let rcode = Rcode(u16::from(header[3] & 0xf));
        if rcode != Rcode::NOERROR {
            return Err(PrimaryError::Refused(format!("{rcode:?}")));
        }
        self.bytes += message.len();
        if self.bytes > MAX_TRANSFER_BYTES {
            return Err(PrimaryError::TooLarge);
        }
        let is_signed = self.replies.take(message, now).ok_or(PrimaryError::Unsigned)?;
        self.read(message, header).ok_or(PrimaryError::Malformed)??;
        match self.whole {
            false => Ok(None),
            true if is_signed => Ok(Some(std::mem::take(&mut self.records))),
            true => Err(PrimaryError::Unsigned),
        }
    }

    fn read(&mut self, message: &[u8], header: &[u8; HEADER]) -> Option<Result<(), PrimaryError>> {
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let mut rest = Reader(&message[HEADER..]);
        if count(4) > 1 {
            return None;
        }
        if count(4) == 1 {
            let question = rest.question().ok()?;
            let (name, asked) = question.split_at(question.len() - 4);
            let expected = [self.rtype.0.to_be_bytes(), [0, 1]].concat();
            if Name::from_wire(&name.to_ascii_lowercase()).ok()? != self.apex || asked != expected {
                return None;
            }
        }
        for _ in 0..count(6) {
            let at = message.len() - rest.0.len();
            rest.record().ok()?;
            let end = message.len() - rest.0.len();
            let record = record_at(message, at, end)?;
            if let Err(error) = self.add(record) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }

    fn add(&mut self, record: Record) -> Result<(), PrimaryError> {
        let is_soa = record.1 == Rtype::SOA && record.0 == self.apex;
        match self.records.first() {
            None if is_soa => self.whole = self.rtype == Rtype::SOA,
            // The last record is the first once more.
            Some(first) if is_soa && !self.whole && *first == record => {
                self.whole = true;
                return Ok(());
            }
            Some(_) if !is_soa && !self.whole => {}
            _ => return Err(PrimaryError::NotWhole),
        }
        if self.records.len() >= MAX_ZONE_RECORDS {
            return Err(PrimaryError::TooLarge);
        }
        self.records.push(record);
        Ok(())
    }
}

/// The serial and the refresh time, in seconds, that the RDATA of an SOA record says.
pub fn serial_and_refresh(rdata: &[u8]) -> Option<(u32, u32)> {
    let numbers = rdata.last_chunk::<20>()?;
    let number = |at: usize| u32::from_be_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
    Some((number(0), number(4)))
}

/// The record from `at` to `end`. None, if it is none of a zone of the Internet class.
fn record_at(message: &[u8], at: usize, end: usize) -> Option<Record> {
    let (owner, length) = name_at(message, at)?;
    let mut fixed = Reader(message.get(at + length..end)?);
    let rtype = Rtype(fixed.number().ok()?);
    let class = fixed.number().ok()?;
    let ttl = fixed.take(4).ok()?;
    fixed.number().ok()?;
    if class != 1 || rtype == TSIG || rtype == Rtype::OPT {
        return None;
    }
    let ttl = u32::from_be_bytes([ttl[0], ttl[1], ttl[2], ttl[3]]);
    let rdata = uncompressed(message, end - fixed.0.len(), end, rtype)?;
    Some((owner.as_ref().to_name(), rtype, ttl, rdata))
}

/// RDATA without compression: bytes before the names in it, and how many of them (RFC 3597 §4).
fn uncompressed(message: &[u8], at: usize, end: usize, rtype: Rtype) -> Option<Vec<u8>> {
    let (before, names) = match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2..=5 | 7..=9 | 12 | 39 => (0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 1),
        // PX
        26 => (2, 2),
        // SRV
        33 => (6, 1),
        _ => (0, 0),
    };
    let mut position = at + before;
    let mut rdata = message.get(at..position.min(end))?.to_vec();
    for _ in 0..names {
        let (name, length) = name_at(message.get(..end)?, position)?;
        rdata.extend_from_slice(name.as_ref().as_wire());
        position += length;
    }
    rdata.extend_from_slice(message.get(position..end)?);
    Some(rdata)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::Access;
    use crate::directory::name_ref::NameBuffer;
    use crate::directory::zone::{NodeRef, SignedZone};
    use crate::dns::testing::{client, name, view, zone};
    use crate::dns::{Client, Settings, Transport, query, respond, transfer};

    const NOW: u32 = 1_000_000;

    fn settings() -> Settings {
        let mut settings = Settings::new("one", [7; 16]);
        let key = TsigKey::parse("hmac-sha256:k.example.:MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        let network = "192.0.2.0/24".parse().unwrap();
        settings.transfers.push(Access { network, key: Some(key.name.clone()) });
        settings.keys.push(Arc::new(key));
        settings
    }

    fn large() -> SignedZone {
        let lines: String = (0..3000).map(|n| format!("n{n}.example. A 192.0.2.{}\n", n % 256)).collect();
        zone("example.", &(lines + "example. NS n1.example."))
    }

    /// Our own server's messages to this question.
    fn answers(zone: &SignedZone, asked: &[u8], settings: &Settings) -> Vec<Vec<u8>> {
        let view = view([zone.clone()]);
        let client = Client { settings, now: NOW, ..client(Transport::Stream) };
        let mut buffer = NameBuffer::default();
        let query = query::parse(asked, &mut buffer).unwrap();
        let mut messages = vec![Vec::new()];
        let Some(mut transfer) = transfer::of(&view, asked, &query, &client) else {
            respond(&view, asked, &client, &mut messages[0]);
            return messages;
        };
        while transfer.next_message(messages.last_mut().unwrap(), NOW) {
            messages.push(Vec::new());
        }
        messages.pop();
        messages
    }

    fn asked(rtype: Rtype, settings: &Settings) -> (Exchange, Vec<u8>) {
        Exchange::new(&name("example."), rtype, 7, &settings.keys[0], NOW)
    }

    fn take_all(exchange: &mut Exchange, messages: &[Vec<u8>]) -> Result<Option<Vec<Record>>, PrimaryError> {
        let mut taken = None;
        for message in messages {
            assert!(taken.is_none(), "nothing comes after the end");
            taken = exchange.take(message, NOW)?;
        }
        Ok(taken)
    }

    #[test]
    fn a_signed_transfer_brings_every_record_once() {
        let (zone, settings) = (large(), settings());
        let (mut exchange, question) = asked(Rtype::AXFR, &settings);
        let messages = answers(&zone, &question, &settings);
        assert!(messages.len() > 5);
        let records = take_all(&mut exchange, &messages).unwrap().expect("the whole zone");
        let rrsets = zone.nodes().flat_map(NodeRef::rrsets);
        assert_eq!(records.len(), rrsets.map(|rrset| rrset.records(true).count()).sum::<usize>());
        let ns = records.iter().find(|(_, rtype, ..)| *rtype == Rtype::NS).unwrap();
        assert_eq!((&ns.0, &ns.3[..]), (&name("example."), name("n1.example.").as_wire()));
    }

    #[test]
    fn the_soa_record_says_serial_and_refresh() {
        let (zone, settings) = (large(), settings());
        let (mut exchange, question) = asked(Rtype::SOA, &settings);
        let messages = answers(&zone, &question, &settings);
        let records = take_all(&mut exchange, &messages).unwrap().expect("one record");
        assert_eq!((records.len(), serial_and_refresh(&records[0].3)), (1, Some((7, 1800))));
        assert_eq!(serial_and_refresh(&[0; 19]), None);
    }

    #[test]
    fn what_was_changed_left_out_or_is_of_another_exchange_is_not_believed() {
        let (zone, settings) = (large(), settings());
        let (_, question) = asked(Rtype::AXFR, &settings);
        let messages = answers(&zone, &question, &settings);
        let taken = |messages: &[Vec<u8>]| take_all(&mut asked(Rtype::AXFR, &settings).0, messages);
        for at in [13, 100, 5000] {
            let mut changed = messages.clone();
            changed[2][at] ^= 1;
            assert!(taken(&changed).is_err(), "{at}");
        }
        let mut short = messages.clone();
        short.remove(2);
        assert_eq!(taken(&short), Err(PrimaryError::Unsigned));
        assert_eq!(taken(&messages[1..]), Err(PrimaryError::Unsigned), "the first covers the question");
        assert_eq!(taken(&messages[..messages.len() - 1]), Ok(None), "it is not over");
        let late = asked(Rtype::AXFR, &settings).0.take(&messages[0], NOW + 301);
        assert_eq!(late.map(|_| ()), Err(PrimaryError::Unsigned));
        let other = Exchange::new(&name("example."), Rtype::AXFR, 8, &settings.keys[0], NOW).0.take(&messages[0], NOW);
        assert_eq!(other.map(|_| ()), Err(PrimaryError::Malformed));
    }

    /// A transfer of one record in each of so many messages, as long as any unsigned.
    fn one_by_one(count: usize) -> Vec<Vec<u8>> {
        let zone = name("example.");
        let soa = [zone.as_wire(), zone.as_wire(), &[0; 20]].concat();
        let message = |at: usize| {
            let (owner, rtype, rdata) = match at {
                at if at == 0 || at == count - 1 => (zone.clone(), Rtype::SOA, soa.clone()),
                at => (name(&format!("n{at}.example.")), Rtype::A, vec![192, 0, 2, 1]),
            };
            let header = [0, 7, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            let fixed =
                [&rtype.0.to_be_bytes()[..], &[0, 1, 0, 0, 1, 44], &(rdata.len() as u16).to_be_bytes()].concat();
            [&header[..], owner.as_wire(), &fixed, &rdata].concat()
        };
        (0..count).map(message).collect()
    }

    /// Signs these of the messages, as RFC 8945 §5.3 and §5.3.1 say, in the words of neither end's code.
    fn signed(mut messages: Vec<Vec<u8>>, question: &[u8], signs: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
        use ring::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        let (owner, algorithm) = (name("k.example."), name("hmac-sha256."));
        let time_and_fudge = [&u64::from(NOW).to_be_bytes()[2..], &[1, 44]].concat();
        // The record ends with the MAC, the original ID, no error, no other data.
        let mut before = question[question.len() - 38..question.len() - 6].to_vec();
        let mut covered = Vec::new();
        for (at, message) in messages.iter_mut().enumerate() {
            covered.extend_from_slice(message);
            if !signs(at) {
                continue;
            }
            let first =
                [owner.as_wire(), &[0, 255, 0, 0, 0, 0], algorithm.as_wire(), &time_and_fudge, &[0; 4]].concat();
            let variables = if at == 0 { &first } else { &time_and_fudge };
            let mac = hmac::sign(&key, &[&[0, 32], &before[..], &covered, variables].concat());
            before = mac.as_ref().to_vec();
            covered.clear();
            let rdata = [algorithm.as_wire(), &time_and_fudge, &[0, 32], &before, &[0, 7, 0, 0, 0, 0]].concat();
            message.extend_from_slice(owner.as_wire());
            message.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0, 0, rdata.len() as u8]);
            message.extend_from_slice(&rdata);
            message[11] = 1;
        }
        messages
    }

    #[test]
    fn up_to_99_messages_between_signed_ones_need_no_signature() {
        const COUNT: usize = 250;
        let settings = settings();
        let (_, question) = asked(Rtype::AXFR, &settings);
        let of = |signs: &dyn Fn(usize) -> bool| signed(one_by_one(COUNT), &question, signs);
        let taken = |messages: &[Vec<u8>]| take_all(&mut asked(Rtype::AXFR, &settings).0, messages);
        let whole =
            |signs: &dyn Fn(usize) -> bool| taken(&of(signs)).map(|records| records.map(|records| records.len()));
        let last = COUNT - 1;
        assert_eq!(whole(&|_| true), Ok(Some(last)), "each is signed");
        assert_eq!(whole(&|at| at % 100 == 0 || at == last), Ok(Some(last)), "99 between");
        assert_eq!(whole(&|at| at % 101 == 0 || at == last), Err(PrimaryError::Unsigned), "100 between");
        assert_eq!(whole(&|at| at % 100 == 0), Err(PrimaryError::Unsigned), "the last one is not");
        assert_eq!(whole(&|at| at % 100 == 1 || at == last), Err(PrimaryError::Unsigned), "the first one is not");
        let mut changed = of(&|at| at % 100 == 0 || at == last);
        *changed[50].last_mut().unwrap() ^= 1;
        assert_eq!(taken(&changed), Err(PrimaryError::Unsigned), "the next signature covers it");
        let mut short = of(&|at| at % 100 == 0 || at == last);
        short.remove(150);
        assert_eq!(taken(&short), Err(PrimaryError::Unsigned), "and how many there are");
    }

    #[test]
    fn a_refusal_is_said() {
        let settings = settings();
        let (mut exchange, question) = asked(Rtype::AXFR, &settings);
        let strangers = Settings { transfers: Vec::new(), ..self::settings() };
        let messages = answers(&large(), &question, &strangers);
        assert!(matches!(exchange.take(&messages[0], NOW), Err(PrimaryError::Refused(_))));
    }

    #[test]
    fn names_in_rdata_are_read_through_pointers() {
        let message = [&[0; 12][..], b"\x07example\0", &[0, 10, 2, b'n', b'1', 0xc0, 12]].concat();
        let (at, end) = (21, message.len());
        assert_eq!(uncompressed(&message, at, end, Rtype::MX).unwrap(), b"\0\x0a\x02n1\x07example\0");
        assert_eq!(uncompressed(&message, at, end, Rtype(65280)).unwrap(), message[at..]);
        assert_eq!(uncompressed(&message, at, end - 1, Rtype::MX), None, "it ends within the pointer");
        assert_eq!(uncompressed(&message, at, at + 1, Rtype::MX), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0..4u8) {
            let settings = settings();
            let (mut exchange, question) = asked(Rtype::AXFR, &settings);
            let mut message = question[..HEADER].to_vec();
            (message[2], message[5], message[7], message[11]) = (0x84, 0, count, 0);
            message.extend(bytes);
            let header = *message.first_chunk().unwrap();
            let _ = exchange.read(&message, &header);
            let _ = exchange.take(&message, NOW);
        }
    }
}
