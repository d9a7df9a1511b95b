//! Zone transfer: the whole zone (AXFR, RFC 5936), over streams.
//!
//! Records come in one order, the canonical one of their owners, so that the transfers of all replicas are equal to the byte
//! at equal serials. A version is immutable: what is sent while the zone changes is the version that was asked for.
//!
//! Deviations and choices:
//! - IXFR (RFC 1995) is answered by the SOA record alone if the asker is up to date or asks over UDP, else by the whole
//!   zone.
//! - Messages end near [`TRANSFER_MESSAGE`] bytes: within reach of compression pointers. Owners are compressed, RDATA is not
//!   (RFC 3597 §4).

use std::sync::Arc;

use super::query::{HEADER, Query};
use crate::directory::name_ref::NameRef;
use crate::directory::rrset::Rtype;
use crate::directory::zone::{NodeRef, SignedZone};
use crate::limits::{MAX_NAME, MAX_RDATA, MAX_STREAM_MESSAGE, TRANSFER_MESSAGE};

// One record more than fills a message still fits into it: its owner, ten bytes, its RDATA.
const _: () = assert!(TRANSFER_MESSAGE + MAX_NAME + 10 + MAX_RDATA <= MAX_STREAM_MESSAGE);

/// A transfer under way.
pub struct Transfer {
    zone: Arc<SignedZone>,
    id: [u8; 2],
    question: Vec<u8>,
    stage: Stage,
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
    /// The SOA record is all: the asker has this version.
    UpToDate,
    /// The SOA record comes last.
    End,
    Over,
}

impl Transfer {
    /// `query` asks for AXFR or IXFR of this zone. None if it has no SOA record yet.
    pub fn new(zone: Arc<SignedZone>, query: &Query<'_>) -> Option<Self> {
        let serial = zone.serial()?;
        // RFC 1995 §4; serial arithmetic by RFC 1982.
        let is_up_to_date = query.known_serial.is_some_and(|known| known.wrapping_sub(serial) < 1 << 31);
        let stage = if is_up_to_date { Stage::UpToDate } else { Stage::Begin };
        Some(Self { zone, id: query.id, question: query.question.to_vec(), stage })
    }

    /// Appends the next message; false if there is none left.
    pub fn next_message(&mut self, out: &mut Vec<u8>) -> bool {
        if self.stage == Stage::Over {
            return false;
        }
        let is_first = matches!(self.stage, Stage::Begin | Stage::UpToDate);
        let mut message = Message::new(out, self.id, is_first.then_some(&self.question), self.zone.apex().as_ref());
        while self.stage != Stage::Over && !message.is_full() {
            self.step(&mut message);
        }
        message.finish();
        true
    }

    fn step(&mut self, message: &mut Message<'_>) {
        let soa = |message: &mut Message<'_>| {
            let apex = self.zone.apex();
            for record in self.zone.rrset(apex, Rtype::SOA).into_iter().flat_map(|soa| soa.records(false)) {
                message.record(apex.as_ref(), record);
            }
        };
        self.stage = match self.stage {
            Stage::Begin => {
                soa(message);
                Stage::Records { rank: 0, record: 0 }
            }
            Stage::UpToDate | Stage::End => {
                soa(message);
                Stage::Over
            }
            Stage::Records { rank, record } => match self.zone.at(rank) {
                None => Stage::End,
                Some(node) => match records_of(node).nth(record) {
                    None => Stage::Records { rank: rank + 1, record: 0 },
                    Some(bytes) => {
                        message.record(node.owner(), bytes);
                        Stage::Records { rank, record: record + 1 }
                    }
                },
            },
            Stage::Over => Stage::Over,
        };
    }
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
    use hickory_proto::op::Message as Read;

    use super::*;
    use crate::dns::query;
    use crate::dns::testing::{Ask, zone};

    fn messages(zone: &Arc<SignedZone>, query: &[u8]) -> Vec<Vec<u8>> {
        let query = query::parse(query).unwrap();
        let mut transfer = Transfer::new(Arc::clone(zone), &query).unwrap();
        let mut messages = Vec::new();
        loop {
            let mut message = Vec::new();
            if !transfer.next_message(&mut message) {
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
}
