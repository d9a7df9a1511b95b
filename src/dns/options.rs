//! EDNS options: what a query's say, and what the reply's are to say (RFC 6891 §6.1.2).
//!
//! Known are NSID (RFC 5001), cookies (RFC 7873) and edns-tcp-keepalive (RFC 7828); others are skipped.

use std::net::IpAddr;
use std::sync::Arc;

use super::cookies::{COOKIE, Cookie, CookieSecret};
use super::notified::Primary;
use super::query::{Edns, Query};
use super::response::{ExtendedError, Transport};
use super::transfer;
use crate::access::{Access, TsigKey};
use crate::directory::name::Name;
use crate::limits::{DNS_STREAM_IDLE_SECONDS, MAX_NSID};
use crate::store::view::View;

const NSID: u16 = 3;
const COOKIE_CODE: u16 = 10;
pub(super) const KEEPALIVE: u16 = 11;
const EXTENDED_ERROR: u16 = 15;
/// Bytes of an option before its value.
const HEADER: usize = 4;

/// What a server is to its clients.
pub struct Settings {
    /// What NSID and the Chaos class say; a text of [`MAX_NSID`] bytes at most.
    pub identity: String,
    pub cookies: CookieSecret,
    /// Who may transfer zones.
    pub transfers: Vec<Access>,
    /// The catalog of all zones, alone in a view ([`super::catalog`]).
    pub catalog: Option<View>,
    /// What queries may be signed with.
    pub keys: Vec<Arc<TsigKey>>,
    /// Whose word of new versions counts.
    pub primaries: Vec<Primary>,
    /// Zone transfers so far.
    pub transferred: transfer::Counts,
}

impl Settings {
    /// `identity` is cut to [`MAX_NSID`] bytes; `secret` is drawn at random.
    pub fn new(identity: &str, secret: [u8; 16]) -> Self {
        let mut identity = identity.to_string();
        identity.truncate(identity.floor_char_boundary(MAX_NSID));
        Self {
            identity,
            cookies: CookieSecret::new(secret),
            transfers: Vec::new(),
            catalog: None,
            keys: Vec::new(),
            primaries: Vec::new(),
            transferred: transfer::Counts::default(),
        }
    }
}

/// Who asks, and by which way.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub transport: Transport,
    pub address: IpAddr,
    /// Seconds since 1970, modulo 2³².
    pub now: u32,
    pub settings: &'a Settings,
    /// It gets no more than TC, which makes a resolver come back over TCP, or BADCOOKIE, which brings it back with a good
    /// cookie ([`super::rrl`]).
    pub over_limit: bool,
    /// Name of the key that the query is signed with ([`super::tsig`]).
    pub key: Option<&'a Name>,
}

impl<'a> Client<'a> {
    pub fn new(transport: Transport, address: IpAddr, now: u32, settings: &'a Settings) -> Self {
        Self { transport, address, now, settings, over_limit: false, key: None }
    }

    /// Where the answer to this client's query is: in the catalog, if the question is of its names and the client may have
    /// it; else in `view`.
    pub fn view<'v>(&self, view: &'v View, query: &Query<'_>) -> &'v View
    where
        'a: 'v,
    {
        let catalog = self.settings.catalog.as_ref();
        let catalog = catalog.filter(|catalog| catalog.zone_above(query.name).is_some() && self.may_transfer());
        catalog.unwrap_or(view)
    }

    pub fn may_transfer(&self) -> bool {
        self.settings.transfers.iter().any(|access| access.admits(self.address, self.key))
    }
}

/// The options of a reply.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options<'a> {
    nsid: Option<&'a [u8]>,
    cookie: Option<[u8; COOKIE]>,
    keepalive: bool,
}

/// A COOKIE option that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MalformedCookie;

impl<'a> Options<'a> {
    /// What the options of a query ask for, and whether it shows a good cookie.
    pub fn asked(edns: Option<&Edns<'_>>, client: &Client<'a>) -> Result<(Self, bool), MalformedCookie> {
        let (mut options, mut proven) = (Self::default(), false);
        for (code, value) in edns.into_iter().flat_map(Edns::options) {
            match code {
                NSID => options.nsid = Some(client.settings.identity.as_bytes()),
                // The first counts (RFC 7873 §5.2).
                COOKIE_CODE if options.cookie.is_none() => {
                    match client.settings.cookies.check(value, client.address, client.now) {
                        Cookie::Malformed => return Err(MalformedCookie),
                        Cookie::Unproven(cookie) => options.cookie = Some(cookie),
                        Cookie::Good(cookie) => (options.cookie, proven) = (Some(cookie), true),
                    }
                }
                KEEPALIVE => options.keepalive = client.transport == Transport::Stream,
                _ => {}
            }
        }
        Ok((options, proven))
    }

    /// Whether the client sent a cookie, and is told one.
    pub fn has_cookie(&self) -> bool {
        self.cookie.is_some()
    }

    /// Bytes that they take.
    pub fn length(&self, error: Option<ExtendedError>) -> usize {
        self.nsid.map_or(0, |nsid| HEADER + nsid.len())
            + self.cookie.map_or(0, |_| HEADER + COOKIE)
            + if self.keepalive { HEADER + 2 } else { 0 }
            + error.map_or(0, |_| HEADER + 2)
    }

    pub fn write(&self, error: Option<ExtendedError>, out: &mut Vec<u8>) {
        let mut option = |code: u16, value: &[u8]| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
            out.extend_from_slice(value);
        };
        if let Some(nsid) = self.nsid {
            option(NSID, nsid);
        }
        if let Some(cookie) = &self.cookie {
            option(COOKIE_CODE, cookie);
        }
        if self.keepalive {
            // In tenths of a second.
            option(KEEPALIVE, &((10 * DNS_STREAM_IDLE_SECONDS) as u16).to_be_bytes());
        }
        if let Some(ExtendedError(code)) = error {
            option(EXTENDED_ERROR, &code.to_be_bytes());
        }
    }
}

const _: () = assert!(10 * DNS_STREAM_IDLE_SECONDS <= u16::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::rrset::Rtype;
    use crate::dns::testing::{Ask, Reply, example_view};

    const ASKS_NSID: [u8; 4] = [0, 3, 0, 0];
    const CLIENT_COOKIE: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

    fn ask(options: &[u8]) -> Ask {
        Ask::new("www.example.", Rtype::A).options(options)
    }

    /// The options of a reply whose OPT record is its last.
    fn options(reply: &Reply, length: usize) -> &[u8] {
        let (record, options) = reply.bytes[reply.length - length - 11..].split_at(11);
        assert_eq!((&record[..3], &record[9..]), (&[0, 0, 41][..], &(length as u16).to_be_bytes()[..]));
        options
    }

    /// RFC 5001 §2.2: only if it is asked for.
    #[test]
    fn nsid_is_given_to_those_who_ask_for_it() {
        let view = example_view();
        assert_eq!(options(&ask(&ASKS_NSID).of(&view), 7), b"\0\x03\0\x03one");
        assert_eq!(options(&ask(&[]).of(&view), 0), b"");
    }

    /// RFC 7873 §5.2.
    #[test]
    fn a_client_cookie_comes_back_with_a_server_cookie_that_is_kept_from_then_on() {
        let view = example_view();
        let first = ask(&CLIENT_COOKIE).of(&view);
        let cookie = options(&first, 28);
        assert_eq!((&cookie[..4], &cookie[4..12]), (&[0, 10, 0, 24][..], &CLIENT_COOKIE[4..]));
        let second = ask(cookie).of(&view);
        assert_eq!((second.rcode, options(&second, 28)), (0, cookie));
        assert_eq!(second.answers(), ["www.example. A 192.0.2.1"]);
    }

    /// RFC 7873 §5.2.2.
    #[test]
    fn a_cookie_of_a_wrong_length_is_a_format_error() {
        let reply = ask(&[0, 10, 0, 3, 1, 2, 3]).of(&example_view());
        assert_eq!((reply.rcode, reply.answers().len()), (1, 0));
    }

    /// RFC 7828 §3.2.2, §3.3.1: over TCP only.
    #[test]
    fn keepalive_is_answered_over_streams_only() {
        let (view, keepalive) = (example_view(), ask(&[0, 11, 0, 0]));
        assert_eq!(options(&keepalive.over(&view, Transport::Stream), 6), [0, 11, 0, 2, 0, 100]);
        assert_eq!(options(&keepalive.of(&view), 0), b"");
    }

    #[test]
    fn options_take_room_from_the_records_and_never_break_the_limit() {
        let view = example_view();
        let all = [&ASKS_NSID[..], &CLIENT_COOKIE, &[0, 11, 0, 0, 0xfd, 0xe9, 0, 1, 7]].concat();
        let reply = ask(&all).of(&view);
        assert_eq!(reply.length, ask(&[]).of(&view).length + 7 + 28);
        let name = format!("{0}.{0}.{0}.example.", "x".repeat(60));
        let texts: String = (0..3).map(|n| format!("{name} TXT {n}{}\n", "y".repeat(75))).collect();
        let view = crate::dns::testing::view([crate::dns::testing::zone("example.", &texts)]);
        let asked = Ask::new(&name, Rtype::TXT).udp_size(512);
        assert!(!asked.of(&view).truncated);
        let with_options = asked.options(&all).of(&view);
        assert!(with_options.truncated && with_options.length <= 512);
    }
}
