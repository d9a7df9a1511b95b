//! Small signed zones, queries and readable replies for the tests of this module. Signatures are made of filler bytes:
//! what is tested is which records stand where.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};

use super::{Client, Replied, Server, Settings, Transport, respond};
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{SignedRrset, SignedZone};
use crate::store::view::View;

pub const TTL: u32 = 3600;
/// MINIMUM of every SOA record here.
pub const NEGATIVE_TTL: u32 = 300;
/// OPT without options, as [`Ask::dnssec`] adds it.
pub const OPT_RECORD: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];

/// Records of a zone before it is signed, by name and type.
type Records = BTreeMap<Name, BTreeMap<Rtype, Vec<Vec<u8>>>>;

pub fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

/// A zone from lines `owner TYPE data`, names absolute, with SOA, NSEC chain and signatures.
pub fn zone(apex: &str, lines: &str) -> SignedZone {
    let apex = name(apex);
    let mut records = Records::new();
    let mut soa = [apex.as_wire(), apex.as_wire()].concat();
    for number in [7, 1800, 900, 604_800, NEGATIVE_TTL] {
        soa.extend(number.to_be_bytes());
    }
    records.entry(apex.clone()).or_default().insert(Rtype::SOA, vec![soa]);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (rtype, rdata) = rdata(fields[1], &fields[2..]);
        records.entry(name(fields[0])).or_default().entry(rtype).or_default().push(rdata);
    }
    sign(apex, records)
}

fn rdata(rtype: &str, fields: &[&str]) -> (Rtype, Vec<u8>) {
    let target = || name(fields[0]).as_wire().to_vec();
    match rtype {
        "A" => (Rtype::A, fields[0].parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec()),
        "AAAA" => (Rtype::AAAA, fields[0].parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec()),
        "NS" => (Rtype::NS, target()),
        "CNAME" => (Rtype::CNAME, target()),
        "DNAME" => (Rtype::DNAME, target()),
        "TXT" => (Rtype::TXT, [&[fields[0].len() as u8], fields[0].as_bytes()].concat()),
        "KEY" => (Rtype::KEY, [&[2, 0, 3, 15][..], &[7; 32]].concat()),
        "DS" => (Rtype::DS, [&[0, 1, 15, 2][..], &[9; 32]].concat()),
        other => panic!("{other}"),
    }
}

fn sign(apex: Name, records: Records) -> SignedZone {
    let strictly_below = |name: &Name, rtype: Rtype| {
        (0..name.label_count()).filter_map(|labels| name.suffix(labels)).any(|ancestor| {
            let cut_or_dname = rtype == Rtype::DNAME || ancestor != apex;
            cut_or_dname && records.get(&ancestor).is_some_and(|types| types.contains_key(&rtype))
        })
    };
    let hidden = |name: &Name| strictly_below(name, Rtype::NS) || strictly_below(name, Rtype::DNAME);
    let chain: Vec<&Name> = records.keys().filter(|name| !hidden(name)).collect();
    let mut zone = SignedZone::new(apex.clone());
    for (owner, types) in &records {
        let is_cut = *owner != apex && types.contains_key(&Rtype::NS);
        for (&rtype, rdatas) in types {
            let signed = !hidden(owner) && (!is_cut || rtype == Rtype::DS);
            let rrset = Rrset::new(rtype, TTL, rdatas.clone());
            let rrsig = signed.then(|| rrsig(rtype, owner, &apex, TTL));
            zone.put(owner, SignedRrset { rrset, rrsig });
        }
    }
    for (position, owner) in chain.iter().enumerate() {
        let next = chain[(position + 1) % chain.len()];
        let rdata = [next.as_wire(), &[0, 6, 0, 0, 0, 0, 0, 3]].concat();
        let rrset = Rrset::new(Rtype::NSEC, NEGATIVE_TTL, vec![rdata]);
        zone.put(owner, SignedRrset { rrset, rrsig: Some(rrsig(Rtype::NSEC, owner, &apex, NEGATIVE_TTL)) });
    }
    zone
}

fn rrsig(covered: Rtype, owner: &Name, signer: &Name, ttl: u32) -> Vec<u8> {
    let mut rdata = covered.0.to_be_bytes().to_vec();
    rdata.extend([15, (owner.label_count() - usize::from(owner.is_wildcard())) as u8]);
    rdata.extend(ttl.to_be_bytes());
    rdata.extend([0x70, 0, 0, 0, 0x60, 0, 0, 0, 0x12, 0x34]);
    rdata.extend(signer.as_wire());
    rdata.extend([0x5a; 64]);
    rdata
}

pub fn view(zones: impl IntoIterator<Item = SignedZone>) -> View {
    let zones = zones.into_iter().map(|zone| (zone.apex().clone(), Arc::new(zone))).collect();
    View { zones, ..View::default() }
}

pub fn example_view() -> View {
    view([zone("example.", "example. NS ns.example.\nns.example. A 192.0.2.53\nwww.example. A 192.0.2.1")])
}

/// A server of this view whose secret is known.
pub fn server_of(view: View) -> Server {
    Server::new(Arc::new(ArcSwap::from_pointee(view)), Settings::new("one", [7; 16]))
}

/// A client at 192.0.2.1, at a second that is always the same.
pub fn client(transport: Transport) -> Client<'static> {
    static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings::new("one", [7; 16]));
    Client::new(transport, IpAddr::from([192, 0, 2, 1]), 1_000_000, &SETTINGS)
}

/// A query in the making.
#[derive(Clone)]
pub struct Ask {
    id: u16,
    name: Vec<u8>,
    rtype: Rtype,
    class: u16,
    opt: Option<[u8; 9]>,
    options: Vec<u8>,
    known: Option<u32>,
}

impl Ask {
    /// `text`: labels without escapes, case as written.
    pub fn new(text: &str, rtype: Rtype) -> Self {
        let labels = text.split('.').filter(|label| !label.is_empty());
        let mut name: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        name.push(0);
        Self { id: 4660, name, rtype, class: 1, opt: None, options: Vec::new(), known: None }
    }

    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub fn class(mut self, class: u16) -> Self {
        self.class = class;
        self
    }

    fn opt(&mut self) -> &mut [u8; 9] {
        self.opt.get_or_insert([0, 0, 41, 4, 208, 0, 0, 0, 0])
    }

    pub fn edns(mut self) -> Self {
        self.opt();
        self
    }

    /// DO and 1232 bytes.
    pub fn dnssec(mut self) -> Self {
        self.opt()[7] |= 0x80;
        self
    }

    pub fn udp_size(mut self, size: u16) -> Self {
        self.opt()[3..5].copy_from_slice(&size.to_be_bytes());
        self
    }

    pub fn edns_version(mut self, version: u8) -> Self {
        self.opt()[6] = version;
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.opt();
        self.options = options.to_vec();
        self
    }

    /// With a SOA record of this serial in the authority section, as IXFR has it.
    pub fn knowing(mut self, serial: u32) -> Self {
        self.known = Some(serial);
        self
    }

    pub fn message(&self) -> Vec<u8> {
        let mut message = self.id.to_be_bytes().to_vec();
        let (authorities, additionals) = (u8::from(self.known.is_some()), u8::from(self.opt.is_some()));
        message.extend([1, 0, 0, 1, 0, 0, 0, authorities, 0, additionals]);
        message.extend(&self.name);
        message.extend(self.rtype.0.to_be_bytes());
        message.extend(self.class.to_be_bytes());
        if let Some(serial) = self.known {
            message.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
            message.extend(serial.to_be_bytes());
            message.extend([0; 16]);
        }
        if let Some(opt) = self.opt {
            message.extend(opt);
            message.extend((self.options.len() as u16).to_be_bytes());
            message.extend(&self.options);
        }
        message
    }

    /// Asks over UDP.
    pub fn of(&self, view: &View) -> Reply {
        self.over(view, Transport::Udp { max: 1232 })
    }

    pub fn over(&self, view: &View, transport: Transport) -> Reply {
        let mut out = Vec::new();
        assert_ne!(respond(view, &self.message(), &client(transport), &mut out), Replied::Not);
        Reply::read(&out)
    }
}

/// A response, read by hickory.
#[derive(Debug)]
pub struct Reply {
    pub id: u16,
    pub rcode: u16,
    pub authoritative: bool,
    pub truncated: bool,
    pub length: usize,
    pub bytes: Vec<u8>,
    pub message: Message,
}

impl Reply {
    pub fn read(bytes: &[u8]) -> Self {
        let message = Message::from_vec(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        Self {
            id: message.metadata.id,
            rcode: message.metadata.response_code.into(),
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            length: bytes.len(),
            bytes: bytes.to_vec(),
            message,
        }
    }

    pub fn answers(&self) -> Vec<String> {
        self.message.answers.iter().map(text).collect()
    }

    pub fn authorities(&self) -> Vec<String> {
        self.message.authorities.iter().map(text).collect()
    }

    pub fn additionals(&self) -> Vec<String> {
        self.message.additionals.iter().map(text).collect()
    }
}

/// `owner TYPE data`, of RRSIG the type covered, of NSEC and DNAME the name, of SOA nothing.
fn text(record: &Record) -> String {
    let data = match &record.data {
        RData::Unknown { rdata, .. } => {
            let bytes = &rdata.anything;
            match record.record_type().into() {
                46 => Rtype(u16::from_be_bytes([bytes[0], bytes[1]])).to_string(),
                39 | 47 => first_name(bytes).to_string(),
                _ => String::new(),
            }
        }
        RData::SOA(_) => String::new(),
        data => data.to_string(),
    };
    format!("{} {} {data}", record.name, Rtype(record.record_type().into())).trim_end().to_string()
}

fn first_name(rdata: &[u8]) -> Name {
    (1..=rdata.len()).find_map(|length| Name::from_wire(&rdata[..length]).ok()).unwrap()
}
