//! Building a response message (RFC 1035 §4.1, RFC 6891, RFC 8914) in a buffer that the transport keeps.
//!
//! Owner names are compressed against the question or the last CNAME target, which all names of the zone share their
//! end with; RDATA is written as it is stored (RFC 3597 §4), except the NS targets of a referral, where thirteen
//! servers must fit.
//!
//! An RRset is written whole or not at all; `out` outgrows the bound by its owners' names at most.

use super::options::Options;
use super::query::{CLASS_CHAOS, CLASS_IN, HEADER, Query};
use crate::directory::name_ref::NameRef;
use crate::directory::rrset::Rtype;
use crate::directory::zone::{RrsetRef, readdress};
use crate::limits::{MAX_STREAM_MESSAGE, MAX_UDP_RESPONSE, MIN_UDP_RESPONSE};

/// A response code, extended bits included (RFC 6891 §6.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rcode(pub u16);

impl Rcode {
    pub const NOERROR: Self = Self(0);
    pub const FORMERR: Self = Self(1);
    pub const SERVFAIL: Self = Self(2);
    pub const NXDOMAIN: Self = Self(3);
    pub const NOTIMP: Self = Self(4);
    pub const REFUSED: Self = Self(5);
    pub const YXDOMAIN: Self = Self(6);
    pub const NOTAUTH: Self = Self(9);
    pub const BADVERS: Self = Self(16);
    pub const BADCOOKIE: Self = Self(23);
}

/// An extended error (RFC 8914 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtendedError(pub u16);

impl ExtendedError {
    pub const NOT_READY: Self = Self(14);
    pub const NOT_AUTHORITATIVE: Self = Self(20);
}

/// What carries the response, and so its greatest length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// `max`: bytes that this server puts into a datagram, whatever the client offers to take.
    Udp {
        max: u16,
    },
    Stream,
    /// An exchange of one query and one response: HTTPS, QUIC.
    Exchange,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// Whose name a record bears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner<'a> {
    /// The name that is being answered: the question's, or the last CNAME's target.
    Current,
    /// The name that stands at this offset of the message.
    At(u16),
    /// A canonical name in wire form.
    Name(&'a [u8]),
}

/// The message is full: the RRset was left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A name written without a pointer, which later names may point into.
#[derive(Clone, Copy)]
struct Anchor {
    at: usize,
    length: usize,
}

/// Offsets that a compression pointer can hold (RFC 1035 §4.1.4).
const POINTER_REACH: usize = 0x4000;
/// Bytes of an OPT record without options.
const OPT: usize = 11;

pub struct Response<'o> {
    out: &'o mut Vec<u8>,
    /// Bytes for everything but the OPT record.
    limit: usize,
    stream: bool,
    /// DO bit, if the query had an OPT record.
    edns: Option<bool>,
    options: Options<'o>,
    class: u16,
    question_end: usize,
    counts: [u16; 3],
    current: Anchor,
    /// The first NS target of a referral.
    server: Option<Anchor>,
}

impl<'o> Response<'o> {
    /// Header and question. `out` is cleared.
    pub fn new(query: &Query<'_>, transport: Transport, options: Options<'o>, out: &'o mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&query.id);
        out.extend_from_slice(&[0x80 | u8::from(query.recursion_desired), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(query.question);
        Self {
            limit: room(query, transport) - query.edns.map_or(0, |_| OPT + options.length(None)),
            stream: !matches!(transport, Transport::Udp { .. }),
            edns: query.edns.map(|edns| edns.dnssec_ok),
            options,
            class: if query.class == CLASS_CHAOS { CLASS_CHAOS } else { CLASS_IN },
            question_end: out.len(),
            counts: [0; 3],
            current: Anchor { at: HEADER, length: query.question.len() - 4 },
            server: None,
            out,
        }
    }

    /// Sets or clears AA.
    pub fn authoritative(&mut self, authoritative: bool) {
        self.out[2] = self.out[2] & !0x04 | if authoritative { 0x04 } else { 0 };
    }

    /// An RRset, with its RRSIG if `signed`. Later sections must not be written before earlier ones.
    pub fn rrset(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rrset: RrsetRef<'_>,
        ttl: u32,
        signed: bool,
    ) -> Result<(), Full> {
        // Each record brings two bytes of owner; it may take more.
        if self.out.len() + rrset.wire(signed).len() > self.limit {
            return Err(Full);
        }
        if owner == Owner::Current && self.current.at == HEADER && ttl == rrset.ttl {
            self.out.extend_from_slice(rrset.wire(signed));
            self.counts[section as usize] += rrset.count(signed);
            return Ok(());
        }
        self.whole(|response| response.rrset_of(section, owner, rrset, ttl, signed))
    }

    /// As [`Self::rrset`], of another owner than the question's.
    fn rrset_of(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rrset: RrsetRef<'_>,
        ttl: u32,
        signed: bool,
    ) -> Result<(), Full> {
        const OWNER: usize = 2;
        const TTL: std::ops::Range<usize> = 4..8;
        let Some(Owner::At(pointer)) = self.name(owner) else {
            // No pointer reaches here: each record has the whole name.
            for (position, record) in rrset.records(signed).enumerate() {
                if position > 0 {
                    self.name(owner);
                }
                let at = self.out.len();
                self.out.extend_from_slice(record);
                self.out[at..][TTL].copy_from_slice(&ttl.to_be_bytes());
                self.counts[section as usize] += 1;
                self.within_limit()?;
            }
            return Ok(());
        };
        // The first record's two bytes of owner come to lie on the end of the name, which is put back.
        let begin = self.out.len() - OWNER;
        let end_of_name = [self.out[begin], self.out[begin + 1]];
        self.out.truncate(begin);
        self.out.extend_from_slice(rrset.wire(signed));
        let ttl = Some(ttl).filter(|ttl| *ttl != rrset.ttl);
        readdress(&mut self.out[begin..], (0xc000 | pointer).to_be_bytes(), ttl);
        self.out[begin..begin + OWNER].copy_from_slice(&end_of_name);
        self.counts[section as usize] += rrset.count(signed);
        self.within_limit()
    }

    /// One record; gives a shorter way to write the same owner again, if there is one.
    pub fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<Option<Owner<'static>>, Full> {
        let owner = self.start_record(section, owner, rtype, ttl);
        self.out.extend_from_slice(&u16::try_from(rdata.len()).map_err(|_| Full)?.to_be_bytes());
        self.out.extend_from_slice(rdata);
        self.within_limit()?;
        Ok(owner)
    }

    /// A CNAME of the current name; its target is the current name from here on.
    pub fn cname(&mut self, ttl: u32, target: NameRef<'_>, rrsig: Option<&[u8]>) -> Result<(), Full> {
        let target = target.as_wire();
        self.whole(|response| {
            let owner = response.record(Section::Answer, Owner::Current, Rtype::CNAME, ttl, target)?;
            let target = Anchor { at: response.out.len() - target.len(), length: target.len() };
            if let Some(rrsig) = rrsig {
                response.record(Section::Answer, owner.unwrap_or(Owner::Current), Rtype::RRSIG, ttl, rrsig)?;
            }
            response.current = target;
            Ok(())
        })
    }

    /// The NS records of a referral, their targets compressed. RDATA that is no name is left out.
    pub fn referral(&mut self, cut: &[u8], servers: RrsetRef<'_>) -> Result<(), Full> {
        self.whole(|response| {
            let mut owner = Owner::Name(cut);
            for target in servers.rdatas().filter_map(NameRef::from_canonical) {
                let target = target.as_wire();
                let written = response.start_record(Section::Authority, owner, Rtype::NS, servers.ttl);
                owner = written.unwrap_or(owner);
                let length_at = response.out.len();
                response.out.extend_from_slice(&[0, 0]);
                response.name(Owner::Name(target));
                let length = response.out.len() - length_at - 2;
                response.out[length_at..length_at + 2].copy_from_slice(&(length as u16).to_be_bytes());
                if response.server.is_none() && length == target.len() {
                    response.server = Some(Anchor { at: length_at + 2, length });
                }
                response.within_limit()?;
            }
            Ok(())
        })
    }

    /// Ends the message: response code, counts, OPT.
    pub fn finish(self, rcode: Rcode) {
        self.finish_with(rcode, None);
    }

    /// As [`Response::finish`], with an extended error where there is an OPT record to carry it.
    pub fn finish_with(self, rcode: Rcode, error: Option<ExtendedError>) {
        self.out[3] = rcode.0 as u8 & 0xf;
        for (section, count) in self.counts.iter().enumerate() {
            self.out[6 + 2 * section..8 + 2 * section].copy_from_slice(&count.to_be_bytes());
        }
        let Some(dnssec_ok) = self.edns else { return };
        self.out[10..12].copy_from_slice(&(self.counts[2] + 1).to_be_bytes());
        let [size_high, size_low] = MAX_UDP_RESPONSE.to_be_bytes();
        let [length_high, length_low] = (self.options.length(error) as u16).to_be_bytes();
        let flags = if dnssec_ok { 0x80 } else { 0 };
        let extended = (rcode.0 >> 4) as u8;
        let opt = [0, 0, 41, size_high, size_low, extended, 0, flags, 0, length_high, length_low];
        self.out.extend_from_slice(&opt);
        self.options.write(error, self.out);
    }

    /// Ends a message that the transport cannot carry: TC and no records (RFC 2181 §9), so that the client asks again
    /// over a stream. On a stream there is nowhere further to go.
    pub fn truncated(mut self) {
        self.out.truncate(self.question_end);
        self.counts = [0; 3];
        if self.stream {
            return self.finish(Rcode::SERVFAIL);
        }
        self.out[2] |= 0x02;
        self.finish(Rcode::NOERROR);
    }

    /// Runs `write`; if it fails, nothing of it stays.
    fn whole(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        let (length, counts, server) = (self.out.len(), self.counts, self.server);
        let written = write(self);
        if written.is_err() {
            self.out.truncate(length);
            (self.counts, self.server) = (counts, server);
        }
        written
    }

    fn within_limit(&self) -> Result<(), Full> {
        if self.out.len() > self.limit { Err(Full) } else { Ok(()) }
    }

    /// Everything of a record before its RDATA's length.
    fn start_record(&mut self, section: Section, owner: Owner<'_>, rtype: Rtype, ttl: u32) -> Option<Owner<'static>> {
        self.counts[section as usize] += 1;
        let owner = self.name(owner);
        let mut fixed = [0; 8];
        fixed[..2].copy_from_slice(&rtype.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&self.class.to_be_bytes());
        fixed[4..].copy_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&fixed);
        owner
    }

    /// Writes a name as short as the anchors allow; gives a pointer to it for the next time, if one reaches.
    fn name(&mut self, owner: Owner<'_>) -> Option<Owner<'static>> {
        match owner {
            Owner::At(target) => Some(self.pointer(usize::from(target))),
            Owner::Current if self.current.at < POINTER_REACH => Some(self.pointer(self.current.at)),
            Owner::Current => {
                self.out.extend_from_within(self.current.at..self.current.at + self.current.length);
                None
            }
            Owner::Name(name) => {
                let at = self.out.len();
                let (kept, target) = self.best_suffix(name);
                self.out.extend_from_slice(&name[..kept]);
                let suffix = target.map(|target| self.pointer(target));
                if kept == 0 {
                    return suffix;
                }
                (at < POINTER_REACH).then_some(Owner::At(at as u16))
            }
        }
    }

    fn pointer(&mut self, target: usize) -> Owner<'static> {
        self.out.extend_from_slice(&(0xc000 | target as u16).to_be_bytes());
        Owner::At(target as u16)
    }

    /// How many bytes of the name must be written, and where the rest of it already stands.
    fn best_suffix(&self, name: &[u8]) -> (usize, Option<usize>) {
        let mut best = (name.len(), None);
        for anchor in [Some(self.current), self.server].into_iter().flatten() {
            let written = &self.out[anchor.at..anchor.at + anchor.length];
            let (kept, skipped) = common_suffix(name, written);
            // The root label alone is shorter than a pointer to it.
            if kept < best.0 && name[kept] != 0 && anchor.at + skipped < POINTER_REACH {
                best = (kept, Some(anchor.at + skipped));
            }
        }
        best
    }
}

/// Bytes of a response to this query, at most.
pub fn room(query: &Query<'_>, transport: Transport) -> usize {
    match (transport, query.edns) {
        (Transport::Stream | Transport::Exchange, _) => MAX_STREAM_MESSAGE,
        (Transport::Udp { .. }, None) => MIN_UDP_RESPONSE,
        (Transport::Udp { max }, Some(edns)) => usize::from(edns.udp_size.min(max)).max(MIN_UDP_RESPONSE),
    }
}

/// The reply to what is no answerable query: its header with `rcode`, and nothing else.
pub fn refuse(message: &[u8], rcode: Rcode, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(message.get(..4).unwrap_or(&[0; 4]));
    // Opcode and RD as they came; all other flags cleared.
    out[2] = 0x80 | out[2] & 0x79;
    out[3] = rcode.0 as u8 & 0xf;
    out.extend_from_slice(&[0; 8]);
}

/// Where the longest common suffix of two names starts in each; case does not matter.
fn common_suffix(name: &[u8], written: &[u8]) -> (usize, usize) {
    let (labels, others) = (label_count(name), label_count(written));
    let mut at = without_labels(name, labels.saturating_sub(others));
    let mut there = without_labels(written, others.saturating_sub(labels));
    let mut common = (at, there);
    while name[at] != 0 {
        let (next, next_there) = (at + 1 + usize::from(name[at]), there + 1 + usize::from(written[there]));
        if !name[at..next].eq_ignore_ascii_case(&written[there..next_there]) {
            common = (next, next_there);
        }
        (at, there) = (next, next_there);
    }
    common
}

fn label_count(name: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while name[at] != 0 {
        at += 1 + usize::from(name[at]);
        count += 1;
    }
    count
}

/// The offset after the first `labels` labels.
fn without_labels(name: &[u8], labels: usize) -> usize {
    (0..labels).fold(0, |at, _| at + 1 + usize::from(name[at]))
}
