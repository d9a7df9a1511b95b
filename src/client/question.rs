//! One DNS question to one server, as a validator would ask it, and what in the answer is proven.
//!
//! The answer is believed only as far as the zone's own key signed it (RFC 4035 §5.3): the RRset stands at the name
//! that was asked for, its RRSIG verifies, and its TTL is the one that was signed. An authoritative server never shows
//! another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RData;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use rand_core::{OsRng, RngCore};
use tokio::net::UdpSocket;

use crate::crypto::ed25519::PublicKey;
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::limits::{PROBE_TIMEOUT_MS, PROBE_TRIES};
use crate::signing::rrsig::{self, Validity, validity_of};

/// An RRset that the zone's key signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    pub rrset: Rrset,
    pub validity: Validity,
}

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Proven(Proven),
    /// No such records, by its own word: nothing is proven.
    Nothing(String),
    /// It does not answer for the zone.
    NotServed(String),
    /// What no server of the zone can have said that shows what was signed.
    Forged(String),
    Silent,
}

/// Asks `server` for the RRset at `name`, and again if no answer comes.
pub async fn ask(server: SocketAddr, zone: &Name, key: &PublicKey, name: &Name, rtype: Rtype) -> Reply {
    for _ in 0..PROBE_TRIES {
        let id = OsRng.next_u32() as u16;
        let query = query(id, name, rtype);
        let within = Duration::from_millis(PROBE_TIMEOUT_MS);
        // Answers are cut short when a server limits its rate: what is asked for here fits in any.
        if let Ok(Ok(answer)) = tokio::time::timeout(within, exchange(server, &query)).await
            && answer[2] & TRUNCATED == 0
        {
            return judge(&answer, zone, key, name, rtype);
        }
    }
    Reply::Silent
}

/// The first answer with the query's ID and question: anything else is somebody's guess.
async fn exchange(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let question = 12..query.len() - OPT.len();
    loop {
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer).await?;
        answer.truncate(length);
        if answer.get(..2) == Some(&query[..2]) && answer.get(question.clone()) == Some(&query[question.clone()]) {
            return Ok(answer);
        }
    }
}

/// TC, in the third byte (RFC 1035 §4.1.1).
const TRUNCATED: u8 = 2;
/// Root owner, OPT, 1232 bytes, version 0, DO (RFC 6891 §6.1.2, RFC 3225).
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0];

/// A question in class IN with DO.
pub fn query(id: u16, name: &Name, rtype: Rtype) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    query.extend(name.as_wire());
    query.extend(rtype.0.to_be_bytes());
    query.extend([0, 1]);
    query.extend(OPT);
    query
}

fn judge(answer: &[u8], zone: &Name, key: &PublicKey, name: &Name, rtype: Rtype) -> Reply {
    let Ok(message) = Message::from_vec(answer) else { return Reply::Forged("an answer that is no message".into()) };
    let head = &message.metadata;
    match head.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        // As a server says that has not the zone, or may show nothing of it.
        code @ (ResponseCode::ServFail | ResponseCode::Refused) => return Reply::NotServed(code.to_str().to_owned()),
        code => return Reply::Forged(format!("response code {}", u16::from(code))),
    }
    if head.message_type != MessageType::Response || !head.authoritative {
        return Reply::NotServed("an answer without authority".into());
    }
    let (mut rdatas, mut ttls, mut signatures) = (Vec::new(), Vec::new(), Vec::new());
    for record in &message.answers {
        let owner = record.name.to_bytes().ok().and_then(|wire| Name::from_wire(&wire).ok());
        let Some(rdata) = canonical(&record.data).filter(|_| owner.as_ref() == Some(name)) else { continue };
        match u16::from(record.record_type()) {
            it if it == rtype.0 => {
                rdatas.push(rdata);
                ttls.push(record.ttl);
            }
            it if it == Rtype::RRSIG.0 && rdata.starts_with(&rtype.0.to_be_bytes()) => signatures.push(rdata),
            _ => {}
        }
    }
    if rdatas.is_empty() {
        return match head.response_code {
            ResponseCode::NoError => Reply::Nothing("no such records".into()),
            _ => Reply::Nothing("no such name".into()),
        };
    }
    let rrset = Rrset::new(rtype, ttls[0], rdatas);
    if ttls.iter().any(|ttl| *ttl != ttls[0]) {
        return Reply::Forged(format!("{name} {rtype} with different TTLs"));
    }
    if signatures.is_empty() {
        return Reply::Forged(format!("{name} {rtype} without a signature"));
    }
    let signed = signatures.iter().find(|signature| rrsig::verify(name, &rrset, signature, zone, key));
    match signed.and_then(|signature| validity_of(signature)) {
        Some(validity) => Reply::Proven(Proven { rrset, validity }),
        None => Reply::Forged(format!("{name} {rtype} with a signature that is not the zone's")),
    }
}

/// RDATA in canonical form (RFC 4034 §6.2).
fn canonical(data: &RData) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_canonical_form(true);
    data.emit(&mut encoder).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519::SecretKey;
    use crate::signing::rrsig::{dnskey_rdata, key_tag, to_be_signed};

    fn name(text: &str) -> Name {
        Name::parse(text, None).unwrap()
    }

    /// A message with these answers: owner, type, TTL and RDATA.
    fn message(flags: [u8; 2], name: &Name, rtype: Rtype, answers: &[(&Name, Rtype, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0, 7, flags[0], flags[1], 0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
        bytes.extend(name.as_wire());
        bytes.extend([&rtype.0.to_be_bytes()[..], &[0, 1]].concat());
        for (owner, rtype, ttl, rdata) in answers {
            bytes.extend(owner.as_wire());
            bytes.extend([&rtype.0.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes()].concat());
            bytes.extend((rdata.len() as u16).to_be_bytes());
            bytes.extend(*rdata);
        }
        bytes
    }

    #[test]
    fn only_what_the_zones_key_signed_is_proven() {
        let (zone, www) = (name("names.example."), name("www.names.example."));
        let secret = SecretKey::from_seed(&[7; 32]);
        let key = secret.public();
        let rrset = Rrset::new(Rtype::A, 300, vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]]);
        let validity = Validity { inception: 1, expiration: 2 };
        let signed = to_be_signed(&www, &rrset, &zone, key_tag(&dnskey_rdata(&key)), validity);
        let rrsig = signed.rrsig_rdata(&secret.sign(&signed.message));
        let (one, two, other) = ([192, 0, 2, 1], [192, 0, 2, 2], [203, 0, 113, 66]);
        let judged = |flags: [u8; 2], answers: &[(&Name, Rtype, u32, &[u8])]| {
            judge(&message(flags, &www, Rtype::A, answers), &zone, &key, &www, Rtype::A)
        };
        let ours: [(&Name, Rtype, u32, &[u8]); 3] =
            [(&www, Rtype::A, 300, &two), (&www, Rtype::RRSIG, 300, &rrsig), (&www, Rtype::A, 300, &one)];
        assert_eq!(judged([0x84, 0], &ours), Reply::Proven(Proven { rrset, validity }));
        let forged = |answers: &[(&Name, Rtype, u32, &[u8])]| matches!(judged([0x84, 0], answers), Reply::Forged(_));
        assert!(forged(&[ours[0], ours[1], (&www, Rtype::A, 300, &other)]), "another address");
        assert!(forged(&ours[..2]), "an address left out");
        assert!(forged(&[ours[0], ours[2]]), "no signature");
        let late = ours.map(|(owner, rtype, _, rdata)| (owner, rtype, 604_800, rdata));
        assert!(forged(&late), "another TTL");
        assert!(forged(&[ours[0], ours[1], (&www, Rtype::A, 299, &one)]), "two TTLs");
        let elsewhere = [(&zone, Rtype::A, 300, &one[..])];
        assert!(matches!(judged([0x84, 0], &elsewhere), Reply::Nothing(_)));
        assert!(matches!(judged([0x84, 3], &[]), Reply::Nothing(_)));
        assert!(matches!(judged([0x84, 2], &[]), Reply::NotServed(_)));
        assert!(matches!(judged([0x80, 0], &ours), Reply::NotServed(_)), "from a cache");
        assert!(matches!(judged([0x84, 9], &[]), Reply::Forged(_)));
        let whole = message([0x84, 0], &www, Rtype::A, &ours);
        for length in 0..whole.len() {
            assert!(matches!(judge(&whole[..length], &zone, &key, &www, Rtype::A), Reply::Forged(_)), "{length}");
        }
    }
}
