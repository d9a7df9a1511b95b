//! One DNS query, its answer read by another implementation than ours and validated under the zone's key.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::client::cluster::Zone;
use crate::crypto::ed25519::PublicKey;
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::limits::{MAX_UDP_RESPONSE, PROBE_TIMEOUT_MS};
use crate::signing::rrsig;

pub struct Resolver {
    socket: UdpSocket,
    id: u16,
}

impl Resolver {
    pub async fn new() -> std::io::Result<Self> {
        Ok(Self { socket: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?, id: 0 })
    }

    /// The A records at `name`, with a signature that holds.
    pub async fn addresses(&mut self, server: SocketAddr, zone: &Zone, name: &Name) -> Result<Vec<Ipv4Addr>, String> {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            self.id = self.id.wrapping_add(1);
            let within = Duration::from_millis(PROBE_TIMEOUT_MS);
            // Datagrams may be lost.
            if let Ok(answer) = timeout(within, self.ask(server, name)).await {
                return validated(&answer.map_err(|error| error.to_string())?, zone, name);
            }
        }
        Err(format!("{server}: no answer over UDP"))
    }

    async fn ask(&self, server: SocketAddr, name: &Name) -> std::io::Result<Vec<u8>> {
        self.socket.send_to(&query(self.id, name), server).await?;
        let mut answer = vec![0; usize::from(MAX_UDP_RESPONSE)];
        loop {
            let (length, from) = self.socket.recv_from(&mut answer).await?;
            if from == server && answer[..length].starts_with(&self.id.to_be_bytes()) {
                answer.truncate(length);
                return Ok(answer);
            }
        }
    }
}

/// A of `name`, class IN, with the DO bit (RFC 3225, RFC 6891).
pub(super) fn query(id: u16, name: &Name) -> Vec<u8> {
    const COUNTS: [u8; 10] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    const A_IN: [u8; 4] = [0, 1, 0, 1];
    let [high, low] = MAX_UDP_RESPONSE.to_be_bytes();
    let opt = [0, 0, 41, high, low, 0, 0, 0x80, 0, 0, 0];
    [&id.to_be_bytes(), &COUNTS[..], name.as_wire(), &A_IN, &opt].concat()
}

/// The addresses in `answer`, if their RRSIG holds now (RFC 4035 §5.3).
fn validated(answer: &[u8], zone: &Zone, name: &Name) -> Result<Vec<Ipv4Addr>, String> {
    let message = Message::from_vec(answer).map_err(|error| error.to_string())?;
    if message.metadata.response_code != ResponseCode::NoError {
        return Err(format!("{name}: {}", message.metadata.response_code));
    }
    let owned = |record: &&Record| Name::parse(&record.name.to_ascii(), None).is_ok_and(|owner| owner == *name);
    let mut addresses = Vec::new();
    let mut ttl = 0;
    let mut signature = None;
    for record in message.answers.iter().filter(owned) {
        match &record.data {
            RData::A(address) => {
                addresses.push(address.0);
                ttl = record.ttl;
            }
            RData::Unknown { rdata, .. } if u16::from(record.record_type()) == Rtype::RRSIG.0 => {
                signature = Some(&rdata.anything);
            }
            _ => {}
        }
    }
    if addresses.is_empty() {
        return Ok(addresses);
    }
    let signature = signature.ok_or_else(|| format!("{name}: A records without RRSIG"))?;
    let rrset = Rrset::new(Rtype::A, ttl, addresses.iter().map(|address| address.octets().to_vec()).collect());
    let holds = rrsig::verify(name, &rrset, signature, &zone.name, &PublicKey(zone.dnskey)) && is_current(signature);
    if holds { Ok(addresses) } else { Err(format!("{name}: the RRSIG does not verify")) }
}

fn is_current(signature: &[u8]) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Serial arithmetic in 32 bits (RFC 4034 §3.1.5).
    let reached = |time: u32| (now as u32).wrapping_sub(time) < 1 << 31;
    rrsig::validity_of(signature).is_some_and(|validity| reached(validity.inception) && !reached(validity.expiration))
}
