//! A query message, borrowed and checked (RFC 1035 §4.1, RFC 6891 §6.1, RFC 9619).
//!
//! The parse is total and allocates nothing. It refuses early and with the cheapest test first: a reply is never
//! answered, so two servers cannot keep each other busy; what is no query of one question is refused by the header
//! alone, twelve bytes.
//!
//! Deviations:
//! - A compressed question name is FORMERR: nothing stands before it that a pointer could point to but the header.
//! - Records in the answer section, or bytes after the last record, are FORMERR.
//! - Records in the additional section other than OPT and TSIG are skipped; where TSIG begins is noted ([`super::tsig`]
//!   reads it).

use super::response::Rcode;
use super::tsig::TSIG;
use crate::directory::name_ref::{NameBuffer, NameRef};
use crate::directory::rrset::Rtype;
use crate::limits::{MAX_NAME, MAX_QUERY_RECORDS};

/// Bytes of a message header (RFC 1035 §4.1.1).
pub const HEADER: usize = 12;
/// The Internet class.
pub const CLASS_IN: u16 = 1;
/// The Chaos class, where servers tell about themselves.
pub const CLASS_CHAOS: u16 = 3;

/// One question and what came with it.
#[derive(Clone, Debug)]
pub struct Query<'m> {
    pub id: [u8; 2],
    pub recursion_desired: bool,
    /// The question section as it was spelt: name, type, class. It is echoed as it is (case included: 0x20).
    pub question: &'m [u8],
    /// QNAME, lower-case.
    pub name: NameRef<'m>,
    pub rtype: Rtype,
    pub class: u16,
    pub edns: Option<Edns<'m>>,
    /// Of IXFR: the serial that the asker has (RFC 1995 §3).
    pub known_serial: Option<u32>,
    /// Where the TSIG record begins in the message, of which it is the last (RFC 8945 §5.1).
    pub tsig: Option<usize>,
}

impl Query<'_> {
    pub fn asks_for_transfer(&self) -> bool {
        self.class == CLASS_IN && [Rtype::AXFR, Rtype::IXFR].contains(&self.rtype)
    }
}

/// The OPT record of a query (RFC 6891 §6.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns<'m> {
    pub version: u8,
    /// Bytes that the client can take in one datagram.
    pub udp_size: u16,
    pub dnssec_ok: bool,
    /// Options, well-formed: (code, length, value) up to the end.
    pub options: &'m [u8],
}

impl<'m> Edns<'m> {
    /// Code and value of each option.
    pub fn options(&self) -> impl Iterator<Item = (u16, &'m [u8])> + use<'m> {
        let mut rest = self.options;
        std::iter::from_fn(move || {
            let (header, after) = rest.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let (value, next) = after.split_at_checked(length)?;
            rest = next;
            Some((u16::from_be_bytes([header[0], header[1]]), value))
        })
    }
}

/// Why there is no answer to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not even an error may be sent.
    Silence,
    /// A bare header with this code.
    Reply(Rcode),
}

const MALFORMED: Refusal = Refusal::Reply(Rcode::FORMERR);

/// Reads a query; any bytes give a result. `name` is room for its name.
pub fn parse<'m>(message: &'m [u8], name: &'m mut NameBuffer) -> Result<Query<'m>, Refusal> {
    let header: &[u8; HEADER] = message.first_chunk().ok_or(Refusal::Silence)?;
    let is_reply = header[2] & 0x80 != 0;
    if is_reply {
        return Err(Refusal::Silence);
    }
    let opcode = header[2] >> 3 & 0xf;
    if opcode != 0 {
        return Err(Refusal::Reply(Rcode::NOTIMP));
    }
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let (questions, answers, authorities, additionals) = (count(4), count(6), count(8), count(10));
    if questions != 1 || answers != 0 || authorities + additionals > MAX_QUERY_RECORDS {
        return Err(MALFORMED);
    }

    let mut rest = Reader(&message[HEADER..]);
    let question = rest.question()?;
    let name = name.set(&question[..question.len() - 4]).map_err(|_| MALFORMED)?;
    let [.., type_high, type_low, class_high, class_low] = *question else { return Err(MALFORMED) };
    let rtype = Rtype(u16::from_be_bytes([type_high, type_low]));
    let (mut edns, mut known_serial, mut tsig) = (None, None, None);
    for position in 0..authorities + additionals {
        let begin = message.len() - rest.0.len();
        let record = rest.record()?;
        if tsig.is_some() {
            return Err(MALFORMED);
        }
        if record.rtype == TSIG && position >= authorities {
            tsig = Some(begin);
        }
        if record.rtype == Rtype::SOA && rtype == Rtype::IXFR && position < authorities {
            known_serial = record.serial();
        }
        if record.rtype != Rtype::OPT {
            continue;
        }
        // One OPT at most, in the additional section, owned by the root (RFC 6891 §6.1.1).
        if edns.is_some() || position < authorities || record.owner != [0] {
            return Err(MALFORMED);
        }
        edns = Some(record.as_edns()?);
    }
    if !rest.0.is_empty() {
        return Err(MALFORMED);
    }
    Ok(Query {
        id: [header[0], header[1]],
        recursion_desired: header[2] & 1 != 0,
        question,
        name,
        rtype,
        class: u16::from_be_bytes([class_high, class_low]),
        edns,
        known_serial,
        tsig,
    })
}

/// Seconds that a response may be kept: the smallest TTL of its answers, for negative answers what the SOA record allows
/// (RFC 8484 §5.1, RFC 2308 §5). None for failures, referrals and whatever cannot be read.
pub(super) fn freshness(response: &[u8]) -> Option<u32> {
    let header: &[u8; HEADER] = response.first_chunk()?;
    let rcode = Rcode(u16::from(header[3] & 0xf));
    if ![Rcode::NOERROR, Rcode::NXDOMAIN].contains(&rcode) {
        return None;
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut rest = Reader(&response[HEADER..]);
    if count(4) == 1 {
        rest.question().ok()?;
    }
    let mut least = None;
    for position in 0..u32::from(count(6)) + u32::from(count(8)) {
        let record = rest.record().ok()?;
        let mut seconds = u32::from_be_bytes(record.ttl);
        if position >= u32::from(count(6)) {
            if record.rtype != Rtype::SOA {
                continue;
            }
            let minimum = record.rdata.last_chunk().copied()?;
            seconds = seconds.min(u32::from_be_bytes(minimum));
        }
        least = Some(least.map_or(seconds, |least: u32| least.min(seconds)));
    }
    least
}

/// What is still to be read of a message.
pub(super) struct Reader<'m>(pub &'m [u8]);

pub(super) struct Record<'m> {
    owner: &'m [u8],
    pub rtype: Rtype,
    class: u16,
    ttl: [u8; 4],
    pub rdata: &'m [u8],
}

impl<'m> Reader<'m> {
    pub fn take(&mut self, length: usize) -> Result<&'m [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn number(&mut self) -> Result<u16, Refusal> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The question section: name, type, class.
    pub fn question(&mut self) -> Result<&'m [u8], Refusal> {
        let mut length = 0;
        loop {
            match *self.0.get(length).ok_or(MALFORMED)? {
                0 => break,
                label @ 1..=63 => length += 1 + usize::from(label),
                _ => return Err(MALFORMED),
            }
            if length >= MAX_NAME {
                return Err(MALFORMED);
            }
        }
        self.take(length + 1 + 4)
    }

    pub fn record(&mut self) -> Result<Record<'m>, Refusal> {
        let owner = self.owner()?;
        let rtype = Rtype(self.number()?);
        let class = self.number()?;
        let ttl = self.take(4)?;
        let length = self.number()?;
        let rdata = self.take(usize::from(length))?;
        Ok(Record { owner, rtype, class, ttl: [ttl[0], ttl[1], ttl[2], ttl[3]], rdata })
    }

    /// An owner name, its pointer not followed: only its length matters.
    fn owner(&mut self) -> Result<&'m [u8], Refusal> {
        let mut length = 0;
        loop {
            match *self.0.get(length).ok_or(MALFORMED)? {
                0 => return self.take(length + 1),
                label @ 1..=63 => length += 1 + usize::from(label),
                0xc0.. => return self.take(length + 2),
                _ => return Err(MALFORMED),
            }
            if length >= MAX_NAME {
                return Err(MALFORMED);
            }
        }
    }
}

impl<'m> Record<'m> {
    /// SERIAL of a SOA record: the first of the five numbers that are its last 20 bytes, after two names.
    fn serial(&self) -> Option<u32> {
        let numbers = self.rdata.len().checked_sub(20).filter(|at| *at >= 2)?;
        Some(u32::from_be_bytes(self.rdata[numbers..numbers + 4].try_into().ok()?))
    }

    fn as_edns(&self) -> Result<Edns<'m>, Refusal> {
        let mut options = Reader(self.rdata);
        while !options.0.is_empty() {
            options.number()?;
            let length = options.number()?;
            options.take(usize::from(length))?;
        }
        Ok(Edns { version: self.ttl[1], udp_size: self.class, dnssec_ok: self.ttl[2] & 0x80 != 0, options: self.rdata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{Ask, OPT_RECORD};

    fn parse(message: &[u8]) -> Result<Query<'_>, Refusal> {
        super::parse(message, Box::leak(Box::default()))
    }

    #[test]
    fn a_query_is_read_with_its_edns() {
        let message = Ask::new("wWw.Example.", Rtype::AAAA).dnssec().udp_size(4096).message();
        let query = parse(&message).unwrap();
        assert_eq!(query.name.as_wire(), b"\x03www\x07example\x00");
        assert_eq!(&query.question[..13], b"\x03wWw\x07Example\x00");
        assert_eq!((query.rtype, query.class), (Rtype::AAAA, CLASS_IN));
        assert_eq!(query.edns, Some(Edns { version: 0, udp_size: 4096, dnssec_ok: true, options: &[] }));
    }

    #[test]
    fn a_reply_or_less_than_a_header_gets_silence() {
        let mut message = Ask::new("example.", Rtype::A).message();
        assert_eq!(parse(&message[..11]).unwrap_err(), Refusal::Silence);
        message[2] |= 0x80;
        assert_eq!(parse(&message).unwrap_err(), Refusal::Silence);
    }

    #[test]
    fn an_opcode_other_than_query_is_not_implemented() {
        for opcode in 1..16 {
            let mut message = Ask::new("example.", Rtype::A).message();
            message[2] = opcode << 3;
            assert_eq!(parse(&message).unwrap_err(), Refusal::Reply(Rcode::NOTIMP));
        }
    }

    /// RFC 9619: a query has one question.
    #[test]
    fn no_question_or_two_is_a_format_error() {
        for count in [0, 2, 255] {
            let mut message = Ask::new("example.", Rtype::A).message();
            message[5] = count;
            assert_eq!(parse(&message).unwrap_err(), MALFORMED);
        }
    }

    #[test]
    fn every_cut_of_a_query_is_a_format_error() {
        let message = Ask::new("www.example.", Rtype::A).dnssec().message();
        for length in HEADER..message.len() {
            assert_eq!(parse(&message[..length]).unwrap_err(), MALFORMED, "{length}");
        }
        let mut longer = message.clone();
        longer.push(0);
        assert_eq!(parse(&longer).unwrap_err(), MALFORMED);
    }

    #[test]
    fn a_pointer_or_an_unknown_label_type_in_the_question_is_a_format_error() {
        for byte in [0xc0, 0x40, 0x80] {
            let mut message = Ask::new("example.", Rtype::A).message();
            message[HEADER] = byte;
            assert_eq!(parse(&message).unwrap_err(), MALFORMED);
        }
    }

    #[test]
    fn a_question_name_over_255_bytes_is_a_format_error() {
        let mut message = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend([1, b'a'].repeat(127));
        message.extend([0, 0, 1, 0, 1]);
        assert!(parse(&message).is_ok());
        let mut message = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend([1, b'a'].repeat(128));
        message.extend([0, 0, 1, 0, 1]);
        assert_eq!(parse(&message).unwrap_err(), MALFORMED);
    }

    /// RFC 6891 §6.1.1: more than one OPT, or one that is not the root's, is FORMERR.
    #[test]
    fn two_opt_records_are_a_format_error() {
        let mut message = Ask::new("example.", Rtype::A).dnssec().message();
        message.extend(OPT_RECORD);
        message[11] = 2;
        assert_eq!(parse(&message).unwrap_err(), MALFORMED);

        let mut owned = Ask::new("example.", Rtype::A).message();
        owned.extend([1, b'a']);
        owned.extend(OPT_RECORD);
        owned[11] = 1;
        assert_eq!(parse(&owned).unwrap_err(), MALFORMED);
    }

    #[test]
    fn unknown_options_are_skipped_and_broken_ones_refused() {
        let options = [0xfd, 0xe9, 0, 3, 1, 2, 3, 0, 10, 0, 0];
        let message = Ask::new("example.", Rtype::A).options(&options).message();
        assert_eq!(parse(&message).unwrap().edns.unwrap().options, options);
        let message = Ask::new("example.", Rtype::A).options(&[0, 10, 0, 9, 1]).message();
        assert_eq!(parse(&message).unwrap_err(), MALFORMED);
    }

    #[test]
    fn other_additional_records_are_skipped() {
        let mut message = Ask::new("example.", Rtype::A).dnssec().message();
        message.extend([0xc0, 12, 0, 24, 0, 255, 0, 0, 0, 0, 0, 2, 7, 7]);
        message[11] = 2;
        assert!(parse(&message).unwrap().edns.is_some());
    }

    /// RFC 8945 §5.1: only one, and the last.
    #[test]
    fn a_tsig_record_that_is_not_the_last_is_a_format_error() {
        let tsig = [0xc0, 12, 0, 250, 0, 255, 0, 0, 0, 0, 0, 2, 7, 7];
        let mut message = Ask::new("example.", Rtype::A).dnssec().message();
        let length = message.len();
        message.extend(tsig);
        message[11] = 2;
        assert_eq!(parse(&message).unwrap().tsig, Some(length));
        for after in [&tsig[..], &OPT_RECORD] {
            let mut message = Ask::new("example.", Rtype::A).message();
            message.extend(tsig);
            message.extend(after);
            message[11] = 2;
            assert_eq!(parse(&message).unwrap_err(), MALFORMED);
        }
    }
}
