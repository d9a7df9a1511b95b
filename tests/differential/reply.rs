//! Questions, and replies in a form in which equal ones are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use torrens::directory::name::Name;

pub struct Question {
    /// In presentation form.
    pub name: String,
    pub rtype: u16,
    pub dnssec: bool,
}

impl Question {
    pub fn message(&self) -> Vec<u8> {
        let name = Name::parse(&self.name, None).expect("a name");
        let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        // In mixed case, which the answer must not depend on.
        let letters = name.as_wire().iter().enumerate();
        message.extend(letters.map(|(at, byte)| if at % 3 == 0 { byte.to_ascii_uppercase() } else { *byte }));
        message.extend_from_slice(&self.rtype.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, if self.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
        message
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} TYPE{}{}", self.name, self.rtype, if self.dnssec { " DO" } else { "" })
    }
}

/// A record as text: owner, TTL, type, data.
pub type Line = (String, u32, u16, String);

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
pub struct Nsec {
    pub owner: Name,
    pub next: Name,
    pub types: Vec<u16>,
}

#[derive(PartialEq, Eq, Clone, Debug)]
pub struct Reply {
    pub rcode: u16,
    pub authoritative: bool,
    pub truncated: bool,
    pub answers: BTreeSet<Line>,
    pub authorities: BTreeSet<Line>,
    pub additionals: BTreeSet<Line>,
    pub nsecs: BTreeSet<Nsec>,
    /// Owners of answers whose signature has fewer labels: from a wildcard of so many.
    pub expanded: BTreeSet<(Name, u8)>,
    pub aliases: BTreeMap<Name, Name>,
}

impl Reply {
    pub fn read(bytes: &[u8]) -> Self {
        let message = Message::from_vec(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        let lines = |records: &[Record]| records.iter().map(line).collect();
        Self {
            rcode: message.metadata.response_code.into(),
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            answers: lines(&message.answers),
            authorities: lines(&message.authorities),
            additionals: lines(&message.additionals),
            nsecs: message.authorities.iter().filter_map(nsec).collect(),
            expanded: message.answers.iter().filter_map(expanded).collect(),
            aliases: message.answers.iter().filter_map(alias).collect(),
        }
    }

    /// Where the aliases of the answer lead from `name`.
    pub fn last_name(&self, name: &Name) -> Name {
        let mut at = name;
        for _ in 0..self.aliases.len() {
            at = self.aliases.get(at).unwrap_or(at);
        }
        at.clone()
    }

    /// The cut of a referral.
    pub fn cut(&self) -> Option<Name> {
        let servers = self.authorities.iter().find(|(_, _, rtype, _)| *rtype == 2)?;
        Name::parse(&servers.0, None).ok()
    }

    pub fn is_referral(&self) -> bool {
        self.rcode == 0 && self.cut().is_some() && !self.has_soa()
    }

    pub fn has_soa(&self) -> bool {
        self.authorities.iter().any(|(_, _, rtype, _)| *rtype == 6)
    }
}

fn line(record: &Record) -> Line {
    let data = match &record.data {
        RData::Unknown { rdata, .. } => data_encoding::HEXLOWER.encode(&rdata.anything),
        data => data.to_string().to_ascii_lowercase(),
    };
    (owner(record).to_string(), record.ttl, record.record_type().into(), data)
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rcode {}{}", self.rcode, if self.authoritative { " aa" } else { "" })?;
        let sections = [("answer", &self.answers), ("authority", &self.authorities), ("additional", &self.additionals)];
        for (section, lines) in sections {
            for (owner, ttl, rtype, data) in lines {
                write!(f, "\n      {section}: {owner} {ttl} TYPE{rtype} {}", &data[..data.len().min(60)])?;
            }
        }
        Ok(())
    }
}

fn bytes(record: &Record, rtype: u16) -> Option<&[u8]> {
    match &record.data {
        RData::Unknown { rdata, .. } if u16::from(record.record_type()) == rtype => Some(&rdata.anything),
        _ => None,
    }
}

fn owner(record: &Record) -> Name {
    of(&record.name)
}

/// hickory's texts escape in octal.
fn of(name: &hickory_proto::rr::Name) -> Name {
    let labels: Vec<u8> = name.iter().flat_map(|label| [&[label.len() as u8], label].concat()).collect();
    Name::from_wire(&[&labels[..], &[0]].concat()).expect("a name")
}

fn nsec(record: &Record) -> Option<Nsec> {
    let rdata = bytes(record, 47)?;
    let next = (1..=rdata.len()).find_map(|length| Name::from_wire(&rdata[..length]).ok())?;
    let mut types = Vec::new();
    let mut rest = &rdata[next.as_wire().len()..];
    while let [window, length, bitmap @ ..] = rest {
        let (bitmap, after) = bitmap.split_at(usize::from(*length));
        for (at, byte) in bitmap.iter().enumerate() {
            let set = (0..8).filter(|bit| byte & 0x80 >> bit != 0);
            types.extend(set.map(|bit| u16::from(*window) << 8 | (at as u16 * 8 + bit)));
        }
        rest = after;
    }
    Some(Nsec { owner: owner(record), next, types })
}

fn expanded(record: &Record) -> Option<(Name, u8)> {
    let labels = bytes(record, 46)?[3];
    let owner = owner(record);
    let own = owner.label_count() - usize::from(owner.is_wildcard());
    (usize::from(labels) < own).then_some((owner, labels))
}

fn alias(record: &Record) -> Option<(Name, Name)> {
    let RData::CNAME(target) = &record.data else { return None };
    Some((owner(record), of(&target.0)))
}
