//! Zone transfer: the whole zone (AXFR, RFC 5936), and what changed in it (IXFR, RFC 1995), over streams.
//!
//! Records come in one order, the canonical one of their owners, so that the transfers of all replicas are equal to the
//! byte at equal serials. A version is immutable: what is sent while the zone changes is the version that was asked
//! for.
//!
//! ```text
//! whole        SOA, all other records, SOA
//! difference   SOA, the asker's SOA, what is deleted, SOA, what is added, SOA              (RFC 1995 §4)
//! up to date   SOA
//! ```
//!
//! The versions between the asker's and ours are condensed into one difference ([`crate::directory::differences`]). The
//! whole zone is the answer to IXFR only if they are not known any more, or the query does not say which version the
//! asker has.
//!
//! A signed query gets a transfer in which every message is signed ([`super::tsig`]). Over TLS 1.3 (XoT, RFC 9103) all
//! is the same; there is no transfer over TLS 1.2.
//!
//! Deviations and choices:
//! - IXFR over UDP is answered by the SOA record alone: the asker comes back over a stream if it is behind (RFC 1995
//!   §2, §4).
//! - Messages end near [`TRANSFER_MESSAGE`] bytes: within reach of compression pointers. Owners are compressed, RDATA
//!   is not (RFC 3597 §4).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::Client;
use super::query::{HEADER, Query};
use super::tsig;
use crate::directory::differences::{Before, Difference, Differences};
use crate::directory::name::Name;
use crate::directory::name_ref::{NameRef, WireName};
use crate::directory::rrset::Rtype;
use crate::directory::zone::{NodeRef, SignedZone};
use crate::limits::{MAX_NAME, MAX_RDATA, MAX_STREAM_MESSAGE, MAX_TSIG_RECORD, TRANSFER_MESSAGE};
use crate::store::view::View;

// One record more than fills a message still fits into it: its owner, ten bytes, its RDATA; and TSIG.
const _: () = assert!(TRANSFER_MESSAGE + MAX_NAME + 10 + MAX_RDATA + MAX_TSIG_RECORD <= MAX_STREAM_MESSAGE);

/// Transfers begun so far.
#[derive(Default, Debug)]
pub struct Counts {
    pub whole: AtomicU64,
    pub incremental: AtomicU64,
}

/// The transfer that `query` asks for, if its sender may have it: `message` is the query as it came.
pub fn of(view: &View, message: &[u8], query: &Query<'_>, client: &Client<'_>) -> Option<Transfer> {
    if !query.asks_for_transfer() {
        return None;
    }
    let session = query.tsig.map(|at| tsig::verify(&client.settings.keys, message, at, client.now));
    let session = session.transpose().ok()?;
    let client = Client { key: session.as_ref().map(|session| &session.key().name), ..*client };
    let view = client.view(view, query);
    if !client.may_transfer() || view.withheld || view.starting {
        return None;
    }
    let name = query.name;
    let zone = view.zones.get::<dyn WireName>(&name as &dyn WireName)?;
    let transfer = Transfer::new(Arc::clone(zone), view.differences.get(zone.apex()), query)?;
    let counts = &client.settings.transferred;
    match transfer.content {
        Content::Whole => _ = counts.whole.fetch_add(1, Ordering::Relaxed),
        Content::Incremental(_) => _ = counts.incremental.fetch_add(1, Ordering::Relaxed),
        Content::UpToDate => {}
    }
    Some(Transfer { session, ..transfer })
}

/// A transfer under way.
pub struct Transfer {
    zone: Arc<SignedZone>,
    id: [u8; 2],
    question: Vec<u8>,
    content: Content,
    stage: Stage,
    /// Records of the RRset before the one that the stage is at.
    queue: VecDeque<(Name, Vec<u8>)>,
    /// Signs every message, if the query was signed.
    session: Option<tsig::Session>,
}

enum Content {
    Whole,
    /// The asker has this version.
    UpToDate,
    Incremental(Difference),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The SOA record comes first.
    Begin,
    /// Records of the node with this rank, from this one on.
    Records {
        rank: usize,
        record: usize,
    },
    /// What the difference deletes, of this RRset and those after it.
    Deleted(usize),
    /// What it adds, likewise.
    Added(usize),
    /// The SOA record comes last.
    End,
    Over,
}

impl Transfer {
    /// `query` asks for AXFR or IXFR of this zone, which came to be what it is by `differences`. None if it has no SOA
    /// record yet.
    pub fn new(zone: Arc<SignedZone>, differences: Option<&Differences>, query: &Query<'_>) -> Option<Self> {
        let serial = zone.serial()?;
        let content = match query.known_serial {
            None => Content::Whole,
            // RFC 1995 §4; serial arithmetic by RFC 1982.
            Some(known) if known.wrapping_sub(serial) < 1 << 31 => Content::UpToDate,
            Some(known) => {
                let difference = differences.and_then(|it| it.since(serial.wrapping_sub(known)));
                let difference = difference.filter(|it| it.iter().any(|before| is_soa(&zone, before)));
                difference.map_or(Content::Whole, Content::Incremental)
            }
        };
        let (id, question) = (query.id, query.question.to_vec());
        Some(Self { zone, id, question, content, stage: Stage::Begin, queue: VecDeque::new(), session: None })
    }

    /// Appends the next message; false if there is none left. `now`: seconds since 1970, for the signature.
    pub fn next_message(&mut self, out: &mut Vec<u8>, now: u32) -> bool {
        let begin = out.len();
        if self.stage == Stage::Over {
            return false;
        }
        let question = (self.stage == Stage::Begin).then_some(&self.question);
        let zone = Arc::clone(&self.zone);
        let mut message = Message::new(out, self.id, question, zone.apex().as_ref());
        while self.stage != Stage::Over && !message.is_full() {
            self.step(&zone, &mut message);
        }
        message.finish();
        if let Some(session) = &mut self.session {
            session.sign(out, begin, now);
        }
        true
    }

    fn step(&mut self, zone: &SignedZone, message: &mut Message<'_>) {
        let apex = zone.apex().as_ref();
        let soa = |message: &mut Message<'_>| {
            let soa = zone.rrset(zone.apex(), Rtype::SOA);
            soa.into_iter().flat_map(|soa| soa.records(false)).for_each(|record| message.record(apex, record));
        };
        self.stage = match (self.stage, &self.content) {
            (Stage::Begin, Content::Whole) => {
                soa(message);
                Stage::Records { rank: 0, record: 0 }
            }
            (Stage::Begin, Content::Incremental(difference)) => {
                soa(message);
                let before = difference.iter().find(|before| is_soa(zone, before));
                before.and_then(|before| before.records().next()).inspect(|record| message.record(apex, record));
                Stage::Deleted(0)
            }
            (Stage::Begin, Content::UpToDate) | (Stage::End, _) => {
                soa(message);
                Stage::Over
            }
            (Stage::Records { rank, record }, _) => match zone.at(rank) {
                None => Stage::End,
                Some(node) => match records_of(node).nth(record) {
                    None => Stage::Records { rank: rank + 1, record: 0 },
                    Some(bytes) => {
                        message.record(node.owner(), bytes);
                        Stage::Records { rank, record: record + 1 }
                    }
                },
            },
            (stage @ (Stage::Deleted(at) | Stage::Added(at)), Content::Incremental(difference)) => {
                match (self.queue.pop_front(), difference.get(at), stage) {
                    (Some((owner, record)), ..) => {
                        message.record(owner.as_ref(), &record);
                        stage
                    }
                    (None, Some(before), Stage::Deleted(_)) => {
                        self.queue = deleted(zone, before);
                        Stage::Deleted(at + 1)
                    }
                    (None, Some(before), _) => {
                        self.queue = added(zone, before);
                        Stage::Added(at + 1)
                    }
                    (None, None, Stage::Deleted(_)) => {
                        soa(message);
                        Stage::Added(0)
                    }
                    (None, None, _) => Stage::End,
                }
            }
            (Stage::Deleted(_) | Stage::Added(_) | Stage::Over, _) => Stage::Over,
        };
    }
}

/// The zone's own SOA record is what parts of a difference begin with, and is in none of them.
fn is_soa(zone: &SignedZone, before: &Before) -> bool {
    before.rtype == Rtype::SOA && before.name == *zone.apex()
}

/// Records that were there, and in `zone` are not.
fn deleted(zone: &SignedZone, before: &Before) -> VecDeque<(Name, Vec<u8>)> {
    let now = zone.rrset(&before.name, before.rtype).into_iter().flat_map(|rrset| rrset.records(true)).collect();
    without(before.records(), &now, zone, before)
}

/// Records that are in `zone`, and were not there.
fn added(zone: &SignedZone, before: &Before) -> VecDeque<(Name, Vec<u8>)> {
    let now = zone.rrset(&before.name, before.rtype).into_iter().flat_map(|rrset| rrset.records(true));
    without(now, &before.records().collect(), zone, before)
}

fn without<'r>(
    records: impl Iterator<Item = &'r [u8]>,
    others: &BTreeSet<&[u8]>,
    zone: &SignedZone,
    before: &Before,
) -> VecDeque<(Name, Vec<u8>)> {
    let records = records.skip(usize::from(is_soa(zone, before))).filter(|record| !others.contains(record));
    records.map(|record| (before.name.clone(), record.to_vec())).collect()
}

/// All records of a node but the SOA record itself.
fn records_of<'z>(node: NodeRef<'z>) -> impl Iterator<Item = &'z [u8]> {
    node.rrsets().flat_map(|rrset| rrset.records(true).skip(usize::from(rrset.rtype == Rtype::SOA)))
}

/// One message of a transfer.
struct Message<'o> {
    out: &'o mut Vec<u8>,
    begin: usize,
    answers: u16,
    /// The zone's name, and where it stands in this message.
    apex: Vec<u8>,
    apex_at: Option<u16>,
    /// The last owner, and where it stands.
    last: Option<(Vec<u8>, u16)>,
}

/// Offsets that a compression pointer can hold (RFC 1035 §4.1.4).
const POINTER_REACH: usize = 0x4000;

impl<'o> Message<'o> {
    fn new(out: &'o mut Vec<u8>, id: [u8; 2], question: Option<&Vec<u8>>, apex: NameRef<'_>) -> Self {
        let begin = out.len();
        out.extend_from_slice(&id);
        // A reply with authority; counts are filled in at the end.
        out.extend_from_slice(&[0x84, 0, 0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(question.map_or(&[], Vec::as_slice));
        let apex_at = question.map(|_| HEADER as u16);
        Self { out, begin, answers: 0, apex: apex.as_wire().to_vec(), apex_at, last: None }
    }

    fn is_full(&self) -> bool {
        self.out.len() - self.begin >= TRANSFER_MESSAGE || self.answers == u16::MAX
    }

    fn record(&mut self, owner: NameRef<'_>, record: &[u8]) {
        self.owner(owner.as_wire());
        self.out.extend_from_slice(record);
        self.answers += 1;
    }

    fn owner(&mut self, owner: &[u8]) {
        match &self.last {
            Some((last, at)) if last == owner => return self.out.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            _ => {}
        }
        let at = self.out.len() - self.begin;
        let relative = owner.len() - self.apex.len();
        self.out.extend_from_slice(&owner[..relative]);
        match self.apex_at {
            // The root alone is shorter than a pointer to it.
            Some(apex_at) if self.apex.len() > 1 => self.out.extend_from_slice(&(0xc000 | apex_at).to_be_bytes()),
            _ => {
                let apex_at = self.out.len() - self.begin;
                self.out.extend_from_slice(&self.apex);
                self.apex_at = (apex_at < POINTER_REACH).then_some(apex_at as u16);
            }
        }
        self.last = (at < POINTER_REACH).then(|| (owner.to_vec(), at as u16));
    }

    fn finish(self) {
        self.out[self.begin + 6..self.begin + 8].copy_from_slice(&self.answers.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::net::IpAddr;

    use hickory_proto::op::Message as Read;
    use proptest::prelude::*;

    use super::*;
    use crate::directory::name_ref::NameBuffer;
    use crate::directory::rrset::Rrset;
    use crate::directory::zone::SignedRrset;
    use crate::dns::testing::{Ask, Reply, name, zone};
    use crate::dns::{Settings, Transport, query, respond};

    fn messages(zone: &Arc<SignedZone>, query: &[u8]) -> Vec<Vec<u8>> {
        messages_since(zone, &Differences::default(), query)
    }

    fn messages_since(zone: &Arc<SignedZone>, differences: &Differences, query: &[u8]) -> Vec<Vec<u8>> {
        let mut name = NameBuffer::default();
        let query = query::parse(query, &mut name).unwrap();
        let mut transfer = Transfer::new(Arc::clone(zone), Some(differences), &query).unwrap();
        let mut messages = Vec::new();
        loop {
            let mut message = Vec::new();
            if !transfer.next_message(&mut message, 0) {
                return messages;
            }
            messages.push(message);
        }
    }

    /// Owner, type and whole RDATA of each record.
    fn records(messages: &[Vec<u8>]) -> Vec<String> {
        let read = messages.iter().map(|bytes| Read::from_vec(bytes).unwrap());
        read.flat_map(|message| message.answers.into_iter().map(|record| record.to_string())).collect()
    }

    fn large(names: usize) -> Arc<SignedZone> {
        let lines: String = (0..names).map(|n| format!("n{n}.example. A 192.0.2.{}\n", n % 256)).collect();
        Arc::new(zone("example.", &lines))
    }

    /// What it has read is the newest that it knows; how that came to be is not read yet, and a whole zone would be sent to
    /// who asks for what changed.
    #[test]
    fn a_server_that_starts_transfers_nothing_yet() {
        let zone = large(1);
        let mut view = View { zones: [(zone.apex().clone(), zone)].into(), ..View::default() };
        let query = Ask::new("example.", Rtype::AXFR).message();
        let mut settings = Settings::new("one", [7; 16]);
        settings.transfers = vec!["192.0.2.0/24".parse::<crate::access::Network>().unwrap().into()];
        let client = Client::new(Transport::Stream, IpAddr::from([192, 0, 2, 1]), 1_000_000, &settings);
        for starting in [false, true] {
            view.starting = starting;
            let mut names = NameBuffer::default();
            let parsed = query::parse(&query, &mut names).unwrap();
            assert_eq!(of(&view, &query, &parsed, &client).is_none(), starting);
        }
        let mut reply = Vec::new();
        respond(&view, &query, &client, &mut reply);
        assert_eq!(Reply::read(&reply).rcode, 2, "a server failure: ask again");
    }

    /// RFC 5936 §2.2: the SOA record, everything else once, the SOA record.
    #[test]
    fn a_transfer_is_the_whole_zone_between_two_soa_records() {
        for names in [0, 1, 3000] {
            let zone = large(names);
            let sent = messages(&zone, &Ask::new("example.", Rtype::AXFR).message());
            let sent = records(&sent);
            assert_eq!(sent.first(), sent.last());
            assert!(sent[0].contains(" SOA "), "{}", sent[0]);
            let count: usize = zone.nodes().flat_map(NodeRef::rrsets).map(|rrset| rrset.records(true).count()).sum();
            assert_eq!(sent.len(), count + 1);
            let once: std::collections::BTreeSet<&String> = sent[1..].iter().collect();
            assert_eq!(once.len(), count);
        }
    }

    #[test]
    fn every_message_is_within_its_bound_and_the_first_has_the_question() {
        let sent = messages(&large(3000), &Ask::new("eXample.", Rtype::AXFR).id(7).message());
        assert!(sent.len() > 10);
        for (at, message) in sent.iter().enumerate() {
            assert!(message.len() < TRANSFER_MESSAGE + 1024, "{}", message.len());
            assert_eq!((&message[..3], message[5]), (&[0, 7, 0x84][..], u8::from(at == 0)));
        }
        assert_eq!(&sent[0][12..21], b"\x07eXample\0");
    }

    /// RFC 1995 §4.
    #[test]
    fn who_is_up_to_date_gets_the_soa_record_alone() {
        let zone = large(3);
        let serial = zone.serial().unwrap();
        let asked = |known: u32| records(&messages(&zone, &Ask::new("example.", Rtype::IXFR).knowing(known).message()));
        assert_eq!(asked(serial).len(), 1);
        assert_eq!(asked(serial.wrapping_add(5)).len(), 1);
        assert!(asked(serial.wrapping_sub(1)).len() > 3);
        assert!(asked(serial.wrapping_add(1 << 31)).len() > 3);
    }
    /// One of these bytes at one of these names, or nothing.
    type Step = (u8, Option<u8>);

    /// Serial, zone and the records of its whole transfer without the last SOA record.
    type Published = (u32, Arc<SignedZone>, BTreeSet<String>);

    /// Versions of a zone, from the serial before the wrap on, with what lies between them.
    fn versions(steps: &[Vec<Step>]) -> (Vec<Published>, Differences) {
        let apex = name("example.");
        let (mut published, mut differences) = (Vec::new(), Differences::default());
        let mut zone = zone("example.", "example. NS ns.example.");
        for (at, steps) in (0u32..).zip(iter::once(&vec![]).chain(steps)) {
            let serial = at.wrapping_sub(2);
            let mut next = zone.clone();
            let mut touched = BTreeSet::from([(apex.clone(), Rtype::SOA)]);
            let mut soa = zone.rrset(&apex, Rtype::SOA).unwrap().rrset().rdatas()[0].clone();
            let numbers = soa.len() - 20;
            soa[numbers..numbers + 4].copy_from_slice(&serial.to_be_bytes());
            let rrsig = Some(serial.to_be_bytes().repeat(20));
            next.put(&apex, SignedRrset { rrset: Rrset::new(Rtype::SOA, 60, vec![soa]), rrsig });
            for (label, byte) in steps {
                let owner = name(&format!("n{}.example.", label % 8));
                touched.insert((owner.clone(), Rtype::A));
                match byte {
                    None => next.delete(&owner, Rtype::A),
                    Some(byte) => {
                        let rdatas =
                            (0..1 + usize::from(byte % 3)).map(|n| vec![192, 0, 2, byte / 8 + n as u8]).collect();
                        let rrset = Rrset::new(Rtype::A, 60 + u32::from(byte / 128), rdatas);
                        next.put(&owner, SignedRrset { rrset, rrsig: (*byte > 99).then(|| vec![*byte; 80]) });
                    }
                }
            }
            if at > 0 {
                differences.push(touched.into_iter().map(|(name, rtype)| Before::of(&zone, name, rtype)));
            }
            zone = next;
            let whole = Arc::new(zone.clone());
            let all = records(&messages(&whole, &Ask::new("example.", Rtype::AXFR).message()));
            published.push((serial, whole, all[..all.len() - 1].iter().cloned().collect()));
        }
        (published, differences)
    }

    proptest! {
        /// RFC 1995 §4, applied by the letter: what is deleted was there, what is added was not, and the end is our zone.
        #[test]
        fn a_difference_makes_each_earlier_version_into_the_present_one(
            steps in prop::collection::vec(prop::collection::vec((any::<u8>(), any::<Option<u8>>()), 0..6), 1..9)
        ) {
            let (versions, differences) = versions(&steps);
            let (_, newest, expected) = versions.last().unwrap();
            for (serial, _, records_then) in &versions[..versions.len() - 1] {
                let query = Ask::new("example.", Rtype::IXFR).knowing(*serial).message();
                let sent = records(&messages_since(newest, &differences, &query));
                let soas: Vec<usize> = (0..sent.len()).filter(|&at| sent[at].contains(" SOA ")).collect();
                prop_assert_eq!((soas.len(), soas[0], soas[1], soas[3]), (4, 0, 1, sent.len() - 1));
                prop_assert!(sent[0] == sent[soas[2]] && sent[0] == sent[soas[3]]);
                let mut zone = records_then.clone();
                for gone in &sent[1..soas[2]] {
                    prop_assert!(zone.remove(gone), "{gone} was not there");
                }
                for new in &sent[soas[2]..soas[3]] {
                    prop_assert!(zone.insert(new.clone()), "{new} was there");
                }
                prop_assert_eq!(&zone, expected);
            }
        }
    }

    #[test]
    fn a_version_that_is_not_known_any_more_is_answered_with_the_whole_zone() {
        let (versions, differences) = versions(&[vec![(1, Some(7))], vec![(2, Some(8))]]);
        let (serial, newest, expected) = versions.last().unwrap();
        let asked = |behind: u32| {
            let query = Ask::new("example.", Rtype::IXFR).knowing(serial.wrapping_sub(behind)).message();
            records(&messages_since(newest, &differences, &query))
        };
        assert_eq!(asked(2).iter().filter(|record| record.contains(" SOA ")).count(), 4);
        for behind in [3, 4, 1000, 1 << 31] {
            assert_eq!(asked(behind).len(), expected.len() + 1);
        }
    }

    #[test]
    fn a_large_difference_comes_in_many_messages() {
        let before = zone("example.", "");
        let mut after = before.clone();
        let mut touched = vec![Before::of(&before, name("example."), Rtype::SOA)];
        let soa = after.rrset(&name("example."), Rtype::SOA).unwrap().to_signed();
        let mut rdata = soa.rrset.rdatas()[0].clone();
        let numbers = rdata.len() - 20;
        rdata[numbers + 3] += 1;
        after.put(&name("example."), SignedRrset { rrset: Rrset::new(Rtype::SOA, soa.rrset.ttl, vec![rdata]), ..soa });
        for n in 0..3000 {
            let owner = name(&format!("n{n}.example."));
            touched.push(Before::of(&before, owner.clone(), Rtype::TXT));
            let rrset = Rrset::new(Rtype::TXT, 60, vec![vec![3; 4]]);
            after.put(&owner, SignedRrset { rrset, rrsig: Some(vec![7; 90]) });
        }
        let mut differences = Differences::default();
        differences.push(touched.into_iter());
        let query = Ask::new("example.", Rtype::IXFR).knowing(before.serial().unwrap()).message();
        let sent = messages_since(&Arc::new(after), &differences, &query);
        assert!(sent.len() > 10);
        assert_eq!(records(&sent).len(), 6004);
        assert!(sent.iter().all(|message| message.len() < TRANSFER_MESSAGE + 1024));
    }
}
