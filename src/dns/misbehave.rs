//! A liar for tests: alters answers on their way out.
//!
//! Exists only with the feature `misbehave`, which a release build refuses. What it does to an answer follows from the
//! message ID, so a test knows what to expect: a changed address, signatures stripped, a changed TTL, or another
//! response code.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

/// An [`Alter`](super::Alter) that lies in one of four ways. A message without records of use gets NXDOMAIN instead.
pub fn alter(message: &mut Vec<u8>) {
    let Ok(mut lie) = Message::from_vec(message) else { return };
    let changed = match lie.metadata.id % 4 {
        0 => change_addresses(&mut lie),
        1 => strip_signatures(&mut lie),
        2 => change_ttls(&mut lie),
        _ => false,
    };
    if !changed {
        lie.metadata.response_code = ResponseCode::NXDomain;
        lie.answers.clear();
    }
    if let Ok(bytes) = lie.to_vec() {
        *message = bytes;
    }
}

fn change_addresses(message: &mut Message) -> bool {
    let mut changed = false;
    for record in &mut message.answers {
        let address = match &record.data {
            RData::A(_) => RData::A(Ipv4Addr::new(203, 0, 113, 66).into()),
            RData::AAAA(_) => RData::AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x666).into()),
            _ => continue,
        };
        record.data = address;
        changed = true;
    }
    changed
}

fn strip_signatures(message: &mut Message) -> bool {
    let before = message.answers.len() + message.authorities.len();
    message.answers.retain(|record| record.record_type() != RecordType::RRSIG);
    message.authorities.retain(|record| record.record_type() != RecordType::RRSIG);
    message.answers.len() + message.authorities.len() < before
}

/// A TTL above that of the signature (RFC 4035 §5.3.3 has the validator lower it again).
fn change_ttls(message: &mut Message) -> bool {
    for record in &mut message.answers {
        record.ttl = 604_800;
    }
    !message.answers.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::rrset::Rtype;
    use crate::dns::testing::{Ask, Reply, client, example_view};
    use crate::dns::{Transport, respond};

    fn lie(id: u16) -> Reply {
        let mut message = Vec::new();
        let query = Ask::new("www.example.", Rtype::A).id(id).dnssec().message();
        respond(&example_view(), &query, &client(Transport::Stream), &mut message);
        alter(&mut message);
        Reply::read(&message)
    }

    #[test]
    fn the_liar_lies_in_four_ways() {
        assert_eq!(lie(0).answers()[0], "www.example. A 203.0.113.66");
        assert_eq!(lie(1).answers(), ["www.example. A 192.0.2.1"]);
        assert_eq!(lie(2).message.answers[0].ttl, 604_800);
        assert_eq!(lie(3).rcode, 3);
    }
}
