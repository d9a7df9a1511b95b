//! DNS cookies (RFC 7873) that any server with the same secret understands (RFC 9018): with a good one, a client has shown
//! that it gets what is sent to its address.
//!
//! ```text
//! server cookie = version 1 (1) ‖ reserved (3) ‖ seconds (4) ‖ SipHash-2-4 of what stands before, the client cookie and its
//!                 address (8)
//! ```
//!
//! Deviations: a query without a question that only wants a cookie (RFC 7873 §5.4) is FORMERR, as any such query; each
//! replica draws a secret of its own at its start, so that nobody's leaks to the others: a client learns one cookie for
//! each.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;
use zeroize::Zeroizing;

/// Bytes of a client cookie.
pub const CLIENT_COOKIE: usize = 8;
/// Bytes of a whole cookie as this server makes them.
pub const COOKIE: usize = CLIENT_COOKIE + 16;
/// A server cookie is of 8 to 32 bytes (RFC 7873 §4).
const LENGTHS: std::ops::RangeInclusive<usize> = CLIENT_COOKIE + 8..=CLIENT_COOKIE + 32;

const VERSION: [u8; 4] = [1, 0, 0, 0];
/// Seconds that a server cookie is good for (RFC 9018 §4.3).
const GOOD_FOR: u32 = 3600;
/// Seconds after which a new one is given.
const RENEWED_AFTER: u32 = 1800;
/// Seconds that another server's clock may be ahead.
const MAY_BE_AHEAD: u32 = 300;

/// What makes a server's cookies its own.
pub struct CookieSecret(Zeroizing<[u8; 16]>);

/// What a COOKIE option is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cookie {
    /// No cookie has such a length.
    Malformed,
    /// No server cookie, or none of this server.
    Unproven([u8; COOKIE]),
    /// The client has it from this server. With what to give it back.
    Good([u8; COOKIE]),
}

impl CookieSecret {
    /// `secret` is drawn at random.
    pub fn new(secret: [u8; 16]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// Looks at the value of a COOKIE option. `now`: seconds since 1970, modulo 2³².
    pub fn check(&self, value: &[u8], client: IpAddr, now: u32) -> Cookie {
        let Some((cookie, server)) = value.split_first_chunk::<CLIENT_COOKIE>() else { return Cookie::Malformed };
        if !server.is_empty() && !LENGTHS.contains(&value.len()) {
            return Cookie::Malformed;
        }
        let fresh = self.cookie(cookie, client, now);
        let Ok(whole) = <[u8; COOKIE]>::try_from(value) else { return Cookie::Unproven(fresh) };
        let made = u32::from_be_bytes([server[4], server[5], server[6], server[7]]);
        // Serial number arithmetic (RFC 1982): the seconds wrap in 2106.
        let age = now.wrapping_sub(made);
        let is_timely = age <= GOOD_FOR || made.wrapping_sub(now) <= MAY_BE_AHEAD;
        if !is_timely || self.cookie(cookie, client, made) != whole {
            return Cookie::Unproven(fresh);
        }
        Cookie::Good(if (RENEWED_AFTER..=GOOD_FOR).contains(&age) { fresh } else { whole })
    }

    fn cookie(&self, client_cookie: &[u8; CLIENT_COOKIE], client: IpAddr, now: u32) -> [u8; COOKIE] {
        let mut cookie = [0; COOKIE];
        cookie[..8].copy_from_slice(client_cookie);
        cookie[8..12].copy_from_slice(&VERSION);
        cookie[12..16].copy_from_slice(&now.to_be_bytes());
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&cookie[..16]);
        match client.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        cookie[16..].copy_from_slice(&hasher.finish().to_le_bytes());
        cookie
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
    }

    fn secret(hex: &str) -> CookieSecret {
        CookieSecret::new(bytes(hex).try_into().unwrap())
    }

    /// RFC 9018, Appendix A.
    #[test]
    fn cookies_are_those_of_the_rfcs_vectors() {
        let first = secret("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let client = "198.51.100.100".parse().unwrap();
        let learned = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        assert_eq!(
            first.check(&bytes("2464c4abcf10c957"), client, 1_559_731_985),
            Cookie::Unproven(bytes(learned).try_into().unwrap())
        );
        // The same cookie is still new enough a quarter of an hour later, and renewed after half an hour.
        assert_eq!(
            first.check(&bytes(learned), client, 1_559_731_985 + 900),
            Cookie::Good(bytes(learned).try_into().unwrap())
        );
        let renewed = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        assert_eq!(
            first.check(&bytes(learned), client, 1_559_734_385),
            Cookie::Good(bytes(renewed).try_into().unwrap())
        );

        let v6 = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let second = secret("dd3bdf9344b678b185a6f5cb60fca715");
        let renewed = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        let older = secret("445536bcd2513298075a5d379663c962").check(&bytes("22681ab97d52c298"), v6, 1_559_741_817);
        assert!(matches!(older, Cookie::Unproven(cookie) if cookie != *bytes(renewed)));
        assert_eq!(
            second.check(&bytes("22681ab97d52c298"), v6, 1_559_741_817),
            Cookie::Unproven(bytes(renewed).try_into().unwrap())
        );
    }

    #[test]
    fn a_cookie_is_good_for_its_client_this_server_and_an_hour() {
        let ours = CookieSecret::new([7; 16]);
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        let Cookie::Unproven(cookie) = ours.check(&[1; 8], client, 1_000_000) else {
            panic!("it has no server cookie")
        };
        let good =
            |secret: &CookieSecret, client: IpAddr, now| matches!(secret.check(&cookie, client, now), Cookie::Good(_));
        assert!(good(&ours, client, 1_000_000) && good(&ours, client, 1_003_600) && good(&ours, client, 999_700));
        assert!(good(&ours, "::ffff:192.0.2.1".parse().unwrap(), 1_000_000));
        assert!(!good(&ours, client, 1_003_601) && !good(&ours, client, 999_699));
        assert!(!good(&ours, "192.0.2.2".parse().unwrap(), 1_000_000));
        assert!(!good(&CookieSecret::new([8; 16]), client, 1_000_000));
        for at in 0..COOKIE {
            let mut other = cookie;
            other[at] ^= 1;
            assert!(!matches!(ours.check(&other, client, 1_000_000), Cookie::Good(_)), "byte {at}");
        }
    }

    #[test]
    fn no_cookie_has_other_lengths() {
        let ours = CookieSecret::new([7; 16]);
        for length in 0..60 {
            let is_one = length == 8 || (16..=40).contains(&length);
            let checked = ours.check(&vec![1; length], IpAddr::from([192, 0, 2, 1]), 0);
            assert_eq!(checked != Cookie::Malformed, is_one, "{length}");
        }
    }
}
