//! The authoritative DNS server: transports carry, one function answers.
//!
//! ```text
//! udp (recvmmsg, a socket per worker) ─┐
//! stream (TCP framing), tls around it ─┤
//! https, quic (an exchange each)       ─┴▶ respond ─▶ query::parse ─▶ answer ─▶ lookup, denial ─▶ response
//! ```
//!
//! A question for a name that exists takes one search of its zone, one for a name that does not two: numbers that lie side
//! by side are compared, and the name found is read from where its records lie ([`crate::directory::zone`]). What is
//! found is copied; nothing is put together but the header and the owners' names.
//!
//! Everything read comes from a [`View`]: immutable, published as a whole. Nothing here signs, waits or knows of the
//! order. An answer allocates nothing unless it follows a CNAME: names lie on the stack, bytes go to the transport's
//! buffer.
//!
//! Where the time of a query over UDP goes (a zone of 100,000 signed names, uniform questions, DO, one core at its
//! limit, loopback; by `perf`): of 3,500 ns the kernel takes 2,900, three quarters of it to send. A server that sends
//! back what it gets takes 3,100 in all with datagrams of 300 bytes. Of the other 600 about half is waiting for memory
//! in [`lookup::fetch`], where all names of a batch wait together, 80 the searches that follow, 60 reading the query,
//! and 60 copying; the rest is spread.
//!
//! `tests/differential` sets the answers beside NSD's and Knot's.
//!
//! Deviations, beside those that each file lists: SIG(0) of a query is not looked at, UPDATE gets NOTIMP.

#[cfg(all(feature = "misbehave", not(debug_assertions)))]
compile_error!("the feature `misbehave` makes a replica lie; it is for tests and never part of a release build");

pub mod answer;
#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod bound_tests;
pub mod catalog;
pub mod certificates;
mod connections;
pub mod cookies;
mod denial;
pub mod https;
mod lookup;
#[cfg(feature = "misbehave")]
pub mod misbehave;
pub mod notified;
pub mod notify;
pub mod options;
mod padding;
pub mod primary;
pub mod query;
pub mod quic;
mod response;
pub mod rrl;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod transfer;
pub mod tsig;
pub mod udp;
mod udp_syscalls;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

pub use self::answer::answer;
pub use self::lookup::fetch;
pub use self::options::{Client, Settings};
pub use self::query::{Query, Refusal};
pub use self::response::{Rcode, Transport};
use crate::directory::name_ref::NameBuffer;
use crate::store::view::View;

/// Where transports read the newest published view.
pub type ViewHandle = Arc<ArcSwap<View>>;

/// Changes an answer before it is sent: the liar in tests.
pub type Alter = fn(&mut Vec<u8>);

/// What the transports of one server share.
#[derive(Clone)]
pub struct Server {
    pub view: ViewHandle,
    pub settings: Arc<Settings>,
    /// Responses a second over UDP to one network of clients and question ([`rrl`]).
    pub rate_limit: Option<NonZeroU32>,
    pub alter: Option<Alter>,
    /// Streams carry zone transfers: all do but TLS before 1.3 (RFC 9103).
    pub transfers: bool,
}

impl Server {
    /// Without response rate limiting.
    pub fn new(view: ViewHandle, settings: Settings) -> Self {
        Self { view, settings: Arc::new(settings), rate_limit: None, alter: None, transfers: true }
    }

    /// As [`respond`] to a message that was parsed, for one client of this server.
    fn reply(
        &self,
        view: &View,
        message: &[u8],
        parsed: Result<Query<'_>, Refusal>,
        client: &Client<'_>,
        out: &mut Vec<u8>,
    ) -> Replied {
        let replied = reply(view, message, parsed, client, out);
        if let Some(alter) = self.alter.filter(|_| replied != Replied::Not) {
            alter(out);
        }
        replied
    }
}

/// Seconds since 1970, modulo 2³²: what cookies and signatures count in.
pub fn seconds_now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as u32
}

/// Whether there is a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replied {
    Not,
    Yes {
        /// The client has shown that its address is its own.
        proven: bool,
    },
}

/// Answers one message. `out` is cleared and holds the reply, if there may be one.
///
/// Total: any bytes are a message, and the reply is never longer than the transport allows.
pub fn respond(view: &View, message: &[u8], client: &Client<'_>, out: &mut Vec<u8>) -> Replied {
    reply(view, message, query::parse(message, &mut NameBuffer::default()), client, out)
}

fn reply(
    view: &View,
    message: &[u8],
    parsed: Result<Query<'_>, Refusal>,
    client: &Client<'_>,
    out: &mut Vec<u8>,
) -> Replied {
    match parsed {
        Ok(query) => match query.tsig {
            None => Replied::Yes { proven: answer(client.view(view, &query), &query, client, out) },
            Some(at) => reply_signed(view, message, &query, at, client, out),
        },
        Err(Refusal::Silence) => {
            out.clear();
            Replied::Not
        }
        Err(Refusal::Reply(rcode)) => {
            if rcode != Rcode::NOTIMP || !notified::hear(message, client, out) {
                response::refuse(message, rcode, out);
            }
            Replied::Yes { proven: false }
        }
    }
}

/// Answers a query with a TSIG record at `at` (RFC 8945 §5.2, §5.3), if it is believed; the reply is signed.
fn reply_signed(
    view: &View,
    message: &[u8],
    query: &Query<'_>,
    at: usize,
    client: &Client<'_>,
    out: &mut Vec<u8>,
) -> Replied {
    match tsig::verify(&client.settings.keys, message, at, client.now) {
        Err(tsig::Failure::Malformed) => response::refuse(message, Rcode::FORMERR, out),
        Err(tsig::Failure::Unsigned(record)) => {
            answer::not_authenticated(query, client, out);
            tsig::append_unsigned(&record, out);
        }
        Err(tsig::Failure::BadTime(session, time)) => {
            answer::not_authenticated(query, client, out);
            session.sign_bad_time(out, time, client.now);
        }
        Ok(mut session) => {
            let key = Arc::clone(session.key());
            let client = Client { key: Some(&key.name), ..*client };
            let view = client.view(view, query);
            let proven = answer(view, query, &client, out);
            if out.len() + session.record_length() > response::room(query, client.transport) {
                answer(view, query, &Client { over_limit: true, ..client }, out);
            }
            session.sign(out, 0, client.now);
            return Replied::Yes { proven };
        }
    }
    Replied::Yes { proven: false }
}
