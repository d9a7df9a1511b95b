//! Response rate limiting: a spoofed address must not be flooded with our answers (Vixie and Schryver, *DNS Response Rate
//! Limiting*, ISC-TN-2012-1).
//!
//! Each network of clients (an IPv4 /24, an IPv6 /56) has so many responses a second in each account: one for each question
//! that has an answer, one for all of them together (ten times as much: a wildcard answers any name), one for answers
//! that say that there is nothing and for referrals, one for errors. Of what is over, every other response is sent cut
//! to nothing with TC set, so that a resolver that shares a network with a flood's victim comes back over TCP; a client
//! that sends cookies gets BADCOOKIE instead, and comes back with a good one. The rest is not sent.
//!
//! Never limited: a client that shows a good cookie, since its address is its own; a response that is no longer than its
//! query, since nobody needs us for that; loopback, which nobody reaches from outside.
//!
//! Deviations: no window beyond the second, so nobody is punished for longer than he floods. Accounts are kept in a
//! table of fixed size that forgets the older of two that meet; meetings cannot be sought, as places follow from a
//! secret.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher13;

use super::query::HEADER;
use crate::limits::{MAX_NAME, RATE_ACCOUNTS};

/// How much more all positive answers together may be than those to one question.
const ALL_POSITIVE: u32 = 10;

/// What becomes of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Send,
    /// TC and nothing else.
    Truncate,
    Drop,
}

#[derive(Clone, Copy, Default)]
struct Account {
    tag: u32,
    second: u32,
    spent: u32,
}

/// The accounts of one worker: several have each their own, and the system spreads clients over them.
pub struct Limiter {
    /// Responses a second.
    rate: u32,
    secret: [u8; 16],
    accounts: Vec<Account>,
    limited: u64,
}

impl Limiter {
    /// `secret` is drawn at random.
    pub fn new(rate: u32, secret: [u8; 16]) -> Self {
        Self { rate, secret, accounts: vec![Account::default(); RATE_ACCOUNTS], limited: 0 }
    }

    /// Judges a response to `query`, both whole messages, at this second.
    pub fn judge(&mut self, client: IpAddr, query: &[u8], response: &[u8], now: u32) -> Verdict {
        if client.to_canonical().is_loopback() || response.len() <= query.len() {
            return Verdict::Send;
        }
        let network = network_of(client);
        let within = match Kind::of(response) {
            Kind::Positive => {
                let mine = self.take(network, 0, question(response), self.rate, now);
                self.take(network, 1, &[], ALL_POSITIVE.saturating_mul(self.rate), now) && mine
            }
            Kind::Nothing => self.take(network, 2, &[], self.rate, now),
            Kind::Error => self.take(network, 3, &[], self.rate, now),
        };
        if within {
            return Verdict::Send;
        }
        self.limited += 1;
        if self.limited.is_multiple_of(2) { Verdict::Truncate } else { Verdict::Drop }
    }

    /// Takes one response of an account; false if there is none left.
    fn take(&mut self, network: [u8; 8], which: u8, question: &[u8], rate: u32, now: u32) -> bool {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write(&network);
        hasher.write_u8(which);
        let mut lower = [0; MAX_NAME + 4];
        let question = &question[..question.len().min(lower.len())];
        lower[..question.len()].copy_from_slice(question);
        // Length bytes and numbers may change too: the same ones always do.
        lower[..question.len()].make_ascii_lowercase();
        hasher.write(&lower[..question.len()]);
        let hash = hasher.finish();
        let tag = (hash >> 32) as u32;
        let account = &mut self.accounts[hash as usize % RATE_ACCOUNTS];
        if account.tag != tag || account.second != now {
            *account = Account { tag, second: now, spent: 0 };
        }
        account.spent = account.spent.saturating_add(1);
        account.spent <= rate
    }
}

enum Kind {
    Positive,
    /// NODATA, NXDOMAIN, a referral.
    Nothing,
    Error,
}

impl Kind {
    fn of(response: &[u8]) -> Self {
        let Some(header) = response.first_chunk::<HEADER>() else { return Self::Error };
        match (header[3] & 0xf, u16::from_be_bytes([header[6], header[7]])) {
            (0, 1..) => Self::Positive,
            (0 | 3, _) => Self::Nothing,
            _ => Self::Error,
        }
    }
}

/// Name, type and class of the question.
fn question(message: &[u8]) -> &[u8] {
    let rest = message.get(HEADER..).unwrap_or_default();
    let mut end = 0;
    while let Some(&length @ 1..=63) = rest.get(end) {
        end += 1 + usize::from(length);
    }
    rest.get(..end + 5).unwrap_or_default()
}

/// The first bits of the network that a client is counted with: what one owner commonly has.
fn network_of(client: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let kept = Ipv4Addr::from_bits(address.to_bits() & !0 << 8);
            network[..4].copy_from_slice(&kept.octets());
        }
        IpAddr::V6(address) => {
            let kept = Ipv6Addr::from_bits(address.to_bits() & !0 << 72).octets();
            // A /56 never ends in 0xff: no IPv6 network passes for an IPv4 one.
            network[..7].copy_from_slice(&kept[..7]);
            network[7] = 0xff;
        }
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::rrset::Rtype;
    use crate::dns::respond;
    use crate::dns::response::Transport;
    use crate::dns::testing::{Ask, client, view, zone};

    struct Flood {
        limiter: Limiter,
        sent: usize,
        truncated: usize,
        dropped: usize,
    }

    impl Flood {
        fn new() -> Self {
            Self { limiter: Limiter::new(20, [3; 16]), sent: 0, truncated: 0, dropped: 0 }
        }

        fn ask(&mut self, from: &str, name: &str, second: u32) {
            let lines = "www.example. A 192.0.2.1\nmail.example. A 192.0.2.1\n*.wild.example. A 192.0.2.2";
            let (view, query) = (view([zone("example.", lines)]), Ask::new(name, Rtype::A).dnssec().message());
            let mut response = Vec::new();
            respond(&view, &query, &client(Transport::Udp { max: 1232 }), &mut response);
            match self.limiter.judge(from.parse().unwrap(), &query, &response, second) {
                Verdict::Send => self.sent += 1,
                Verdict::Truncate => self.truncated += 1,
                Verdict::Drop => self.dropped += 1,
            }
        }

        fn counts(&self) -> (usize, usize, usize) {
            (self.sent, self.truncated, self.dropped)
        }
    }

    #[test]
    fn a_network_gets_so_many_answers_to_a_question_each_second() {
        let mut flood = Flood::new();
        for client in 0..100 {
            flood.ask(&format!("192.0.2.{client}"), ["www.example.", "WWW.example."][client % 2], 5);
        }
        assert_eq!(flood.counts(), (20, 40, 40));
        flood.ask("192.0.3.1", "www.example.", 5);
        flood.ask("192.0.2.1", "mail.example.", 5);
        flood.ask("192.0.2.1", "www.example.", 6);
        assert_eq!(flood.counts(), (23, 40, 40), "other networks, questions and seconds have their own");
    }

    #[test]
    fn names_that_do_not_exist_are_one_account_and_a_wildcard_does_not_help() {
        let mut flood = Flood::new();
        for number in 0..100 {
            flood.ask("2001:db8::1", &format!("n{number}.example."), 5);
        }
        assert_eq!(flood.counts(), (20, 40, 40));
        let mut flood = Flood::new();
        for number in 0..1000 {
            flood.ask(&format!("2001:db8:0:{:x}::1", number % 256), &format!("n{number}.wild.example."), 5);
        }
        assert_eq!(flood.counts(), (200, 400, 400));
    }

    #[test]
    fn loopback_and_what_is_no_longer_than_its_query_pass() {
        let mut flood = Flood::new();
        for _ in 0..50 {
            flood.ask("127.0.0.1", "www.example.", 5);
            flood.ask("::ffff:127.0.0.1", "www.example.", 5);
        }
        assert_eq!(flood.counts(), (100, 0, 0));
        let mut limiter = Limiter::new(1, [3; 16]);
        let client = "192.0.2.1".parse().unwrap();
        assert!((0..9).all(|_| limiter.judge(client, &[0; 50], &[0; 50], 1) == Verdict::Send));
    }

    #[test]
    fn any_bytes_are_judged() {
        let mut limiter = Limiter::new(1, [3; 16]);
        for length in 0..300 {
            for byte in [0, 1, 63, 64, 255] {
                limiter.judge("192.0.2.1".parse().unwrap(), &[], &vec![byte; length], 1);
            }
        }
    }
}
