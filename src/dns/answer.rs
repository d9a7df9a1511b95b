//! The answer to a question (RFC 1034 §4.3.2, RFC 4035 §3.1): one function, a pure one, for every transport.
//!
//! The order of this file is that of the message: answer, authority, additional. Responses are minimal: nothing stands
//! in them that the question, or a proof, does not need.
//!
//! Deviations and choices:
//! - Zone transfers are [`super::transfer`]'s; MAILA, MAILB and TKEY not implemented; OPT and TSIG as types are FORMERR.
//! - ANY gives one RRset (RFC 8482 §4.1); RRSIG gives all signatures at the name.
//! - A CNAME is followed within its zone only, [`MAX_CNAME_CHAIN`] times at most; the response code is that of the last
//!   name reached (RFC 6604). A loop ends the chain without an error.
//! - Addresses are added to referrals, and to the zone's own NS records (at the root: priming, RFC 8109), as far as
//!   they fit.
//! - A replica that lost its state answers SERVFAIL, "not ready" (RFC 8914 §4.15), until it has a signed one again; one that
//!   starts, for the zones that it has not read yet, and to who wants a transfer.
//! - The Chaos class knows `version.bind` and `version.server`, which say `torrens` and nothing that helps an attacker, and
//!   `id.server` and `hostname.bind`, which say what NSID does.

use super::denial::Proofs;
use super::lookup::{Place, Wildcard, place};
use super::options::{Client, MalformedCookie, Options};
use super::query::{CLASS_CHAOS, CLASS_IN, Query};
use super::response::{ExtendedError, Full, Owner, Rcode, Response, Section, Transport};
use super::tsig::TSIG;
use crate::directory::name_ref::{NameBuffer, NameRef};
use crate::directory::rrset::Rtype;
use crate::directory::zone::{NodeRef, RrsetRef, SignedZone};
use crate::limits::MAX_CNAME_CHAIN;
use crate::store::view::View;

/// Writes the response to `query` into `out`, which is cleared. Never longer than the transport allows. Whether the client
/// has shown that its address is its own.
pub fn answer(view: &View, query: &Query<'_>, client: &Client<'_>, out: &mut Vec<u8>) -> bool {
    match Options::asked(query.edns.as_ref(), client) {
        Ok((options, proven)) => {
            let has_cookie = options.has_cookie();
            let response = Response::new(query, client.transport, options, out);
            if client.over_limit && has_cookie && !proven {
                // Over UDP again, then, and with the cookie that this brings (RFC 7873 §5.2.3).
                response.finish(Rcode::BADCOOKIE)
            } else if client.over_limit {
                response.truncated()
            } else {
                answer_question(view, query, client, response)
            }
            proven
        }
        Err(MalformedCookie) => {
            Response::new(query, client.transport, Options::default(), out).finish(Rcode::FORMERR);
            false
        }
    }
}

/// The reply to a query whose signature is not believed (RFC 8945 §5.2).
pub fn not_authenticated(query: &Query<'_>, client: &Client<'_>, out: &mut Vec<u8>) {
    Response::new(query, client.transport, Options::default(), out).finish(Rcode::NOTAUTH);
}

fn answer_question(view: &View, query: &Query<'_>, client: &Client<'_>, response: Response<'_>) {
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return response.finish(Rcode::BADVERS);
    }
    match (query.class, query.rtype) {
        (CLASS_CHAOS, rtype) => return chaos(query, rtype, &client.settings.identity, response),
        (CLASS_IN, Rtype::OPT | TSIG) => return response.finish(Rcode::FORMERR),
        (CLASS_IN, TKEY | MAILA | MAILB) => return response.finish(Rcode::NOTIMP),
        (CLASS_IN, Rtype::AXFR | Rtype::IXFR) => return no_transfer(view, query, client, response),
        (CLASS_IN, _) => {}
        _ => return response.finish(Rcode::REFUSED),
    }
    if view.withheld {
        return response.finish_with(Rcode::SERVFAIL, Some(ExtendedError::NOT_READY));
    }
    let Some(zone) = zone_for(view, query) else {
        return response.finish_with(Rcode::REFUSED, Some(ExtendedError::NOT_AUTHORITATIVE));
    };
    if zone.top().is_none() {
        return response.finish_with(Rcode::SERVFAIL, Some(ExtendedError::NOT_READY));
    }
    let signed = query.edns.is_some_and(|edns| edns.dnssec_ok);
    let proofs = Proofs::new(zone, signed);
    let mut walk = Walk {
        zone,
        rtype: query.rtype,
        signed,
        proofs,
        redirects: Vec::new(),
        aliases: Vec::new(),
        apex_servers: None,
        response,
    };
    match walk.message(query.name) {
        Ok(rcode) => walk.response.finish(rcode),
        Err(Full) => walk.response.truncated(),
    }
}

const TKEY: Rtype = Rtype(249);
const MAILB: Rtype = Rtype(253);
const MAILA: Rtype = Rtype(254);

/// The zone that answers: the closest one, but for DS at its apex the one above it (RFC 4035 §3.1.4.1).
fn zone_for<'v>(view: &'v View, query: &Query<'_>) -> Option<&'v SignedZone> {
    let name = query.name;
    let closest = view.zone_above(name)?;
    if query.rtype == Rtype::DS && closest.apex().as_ref() == name {
        let above = name.parent().and_then(|parent| view.zone_above(parent));
        return Some(above.unwrap_or(closest));
    }
    Some(closest)
}

/// The answer to one who may not transfer the zone, or asks where there is no stream: then the SOA record is the answer to
/// IXFR (RFC 1995 §2), and AXFR has none (RFC 5936 §4.2).
fn no_transfer(view: &View, query: &Query<'_>, client: &Client<'_>, mut response: Response<'_>) {
    if !client.may_transfer() || (client.transport != Transport::Stream && query.rtype == Rtype::AXFR) {
        return response.finish(Rcode::REFUSED);
    }
    if view.withheld || view.starting {
        return response.finish_with(Rcode::SERVFAIL, Some(ExtendedError::NOT_READY));
    }
    let zone = zone_for(view, query).filter(|zone| zone.apex().as_ref() == query.name);
    let Some(soa) = zone.and_then(|zone| zone.rrset(zone.apex(), Rtype::SOA)) else {
        return response.finish(Rcode::NOTAUTH);
    };
    response.authoritative(true);
    match response.rrset(Section::Answer, Owner::Current, soa, soa.ttl, false) {
        Ok(()) => response.finish(Rcode::NOERROR),
        Err(Full) => response.truncated(),
    }
}

/// What the server tells about itself (RFC 4892).
fn chaos(query: &Query<'_>, rtype: Rtype, identity: &str, mut response: Response<'_>) {
    let text = match query.name.as_wire() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => "torrens",
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => identity,
        _ => return response.finish(Rcode::REFUSED),
    };
    let rdata = [&[text.len() as u8], text.as_bytes()].concat();
    response.authoritative(true);
    if (rtype == Rtype::TXT || rtype == Rtype::ANY)
        && response.record(Section::Answer, Owner::Current, Rtype::TXT, 0, &rdata).is_err()
    {
        return response.truncated();
    }
    response.finish(Rcode::NOERROR);
}

/// One message in the making.
struct Walk<'v, 'o> {
    zone: &'v SignedZone,
    rtype: Rtype,
    /// The DO bit: signatures and proofs are wanted.
    signed: bool,
    proofs: Proofs<'v>,
    /// DNAME records that stand in the answer already.
    redirects: Vec<RrsetRef<'v>>,
    /// Names that those before are aliases of, in turn.
    aliases: Vec<NameBuffer>,
    /// NS records of the apex, if they are the answer.
    apex_servers: Option<RrsetRef<'v>>,
    response: Response<'o>,
}

/// What became of one name.
enum Step<'v> {
    /// It is an alias of the last of [`Walk::aliases`].
    Alias,
    End(End<'v>),
}

enum End<'v> {
    Answered,
    NoData,
    NameError,
    /// A substitution gives no name (RFC 6672 §2.2).
    TooLong,
    Referral {
        cut: NodeRef<'v>,
    },
}

impl<'v> Walk<'v, '_> {
    fn message(&mut self, name: NameRef<'_>) -> Result<Rcode, Full> {
        let end = self.answer_section(name)?;
        match end {
            End::Referral { cut } => {
                self.proofs.write(&mut self.response)?;
                self.referral(cut)?;
                Ok(Rcode::NOERROR)
            }
            End::NoData | End::NameError => {
                self.start_of_authority()?;
                self.proofs.write(&mut self.response)?;
                Ok(if matches!(end, End::NameError) { Rcode::NXDOMAIN } else { Rcode::NOERROR })
            }
            End::Answered => {
                self.proofs.write(&mut self.response)?;
                if self.rtype == Rtype::NS {
                    self.addresses_of_servers();
                }
                Ok(Rcode::NOERROR)
            }
            End::TooLong => Ok(Rcode::YXDOMAIN),
        }
    }

    /// Follows aliases to where they end.
    fn answer_section(&mut self, question: NameRef<'_>) -> Result<End<'v>, Full> {
        // AA is about the first name, even if its records do not fit.
        self.response.authoritative(true);
        let mut step = self.step(question)?;
        if matches!(step, Step::End(End::Referral { .. })) {
            self.response.authoritative(false);
        }
        loop {
            let name = match step {
                Step::End(end) => return Ok(end),
                Step::Alias => self.aliases.last().cloned().expect("an alias was just noted"),
            };
            let (_, before) = self.aliases.split_last().expect("an alias was just noted");
            let over = before.len() + 1 == MAX_CNAME_CHAIN || name.as_ref() == question || before.contains(&name);
            if over || !name.as_ref().is_within(self.zone.apex().as_ref()) {
                return Ok(End::Answered);
            }
            step = self.step(name.as_ref())?;
        }
    }

    /// RFC 1034 §4.3.2 step 3 for one name.
    fn step(&mut self, name: NameRef<'_>) -> Result<Step<'v>, Full> {
        match place(self.zone, name) {
            Place::Here(node) => self.records(node),
            // The parent side of a cut is the authority for DS (RFC 4035 §3.1.4.1).
            Place::Delegated { cut } if self.rtype == Rtype::DS && cut.owner() == name => match cut.get(Rtype::DS) {
                Some(found) => self.found(found),
                None => self.no_data(cut),
            },
            Place::Delegated { cut } => Ok(Step::End(End::Referral { cut })),
            Place::Redirected { owner, dname } => self.redirect(name, owner, dname),
            Place::EmptyNonTerminal { before } => {
                self.proofs.after(before);
                Ok(Step::End(End::NoData))
            }
            Place::Missing { before, wildcard } => {
                self.proofs.after(before);
                match wildcard {
                    Wildcard::Node(node) => self.records(node),
                    Wildcard::None { before } => {
                        self.proofs.after(before);
                        Ok(Step::End(End::NameError))
                    }
                    Wildcard::Empty { before } => {
                        self.proofs.after(before);
                        Ok(Step::End(End::NoData))
                    }
                }
            }
        }
    }

    /// The records of the type asked for at a node, a wildcard perhaps.
    fn records(&mut self, node: NodeRef<'v>) -> Result<Step<'v>, Full> {
        match self.rtype {
            Rtype::ANY => {
                // A CNAME is what a resolver needs most; otherwise the first type does.
                let one = node.get(Rtype::CNAME).or_else(|| node.rrsets().next());
                return match one {
                    Some(found) => self.found(found),
                    None => self.no_data(node),
                };
            }
            Rtype::RRSIG => return self.signatures(node),
            _ => {}
        }
        // The type before the alias: KEY and NSEC stand beside a CNAME (RFC 2181 §10.1, RFC 4034 §4).
        if let Some(found) = node.get(self.rtype) {
            self.apex_servers =
                Some(found).filter(|_| self.rtype == Rtype::NS && node.owner() == self.zone.apex().as_ref());
            return self.found(found);
        }
        let Some(alias) = node.get(Rtype::CNAME) else { return self.no_data(node) };
        let target = alias.rdatas().next().and_then(NameRef::from_canonical);
        // RDATA that is no name leads nowhere.
        let Some(target) = target else { return self.found(alias) };
        self.response.cname(alias.ttl, target, alias.rrsig().filter(|_| self.signed))?;
        self.aliases.push(target.into());
        Ok(Step::Alias)
    }

    fn found(&mut self, found: RrsetRef<'v>) -> Result<Step<'v>, Full> {
        self.response.rrset(Section::Answer, Owner::Current, found, found.ttl, self.signed)?;
        Ok(Step::End(End::Answered))
    }

    fn signatures(&mut self, node: NodeRef<'v>) -> Result<Step<'v>, Full> {
        let mut any = false;
        for signed in node.rrsets() {
            let Some(rrsig) = signed.rrsig() else { continue };
            self.response.record(Section::Answer, Owner::Current, Rtype::RRSIG, signed.ttl, rrsig)?;
            any = true;
        }
        if any { Ok(Step::End(End::Answered)) } else { self.no_data(node) }
    }

    fn no_data(&mut self, node: NodeRef<'v>) -> Result<Step<'v>, Full> {
        self.proofs.matching(node);
        Ok(Step::End(End::NoData))
    }

    /// The DNAME record and the CNAME made from it (RFC 6672 §3.1).
    fn redirect(&mut self, name: NameRef<'_>, owner: NameRef<'v>, dname: RrsetRef<'v>) -> Result<Step<'v>, Full> {
        if !self.redirects.iter().any(|known| known.is_at(dname)) {
            self.response.rrset(Section::Answer, Owner::Name(owner.as_wire()), dname, dname.ttl, self.signed)?;
            self.redirects.push(dname);
        }
        let target = dname.rdatas().next().and_then(NameRef::from_canonical);
        let Some(target) = target else { return Ok(Step::End(End::Answered)) };
        let Ok(substituted) = NameBuffer::substituted(name, owner, target) else {
            return Ok(Step::End(End::TooLong));
        };
        self.response.cname(dname.ttl, substituted.as_ref(), None)?;
        match self.rtype {
            Rtype::CNAME | Rtype::ANY => Ok(Step::End(End::Answered)),
            _ => {
                self.aliases.push(substituted);
                Ok(Step::Alias)
            }
        }
    }

    /// The SOA record of a negative answer; its TTL says how long that may be kept (RFC 2308 §3 and §5).
    fn start_of_authority(&mut self) -> Result<(), Full> {
        let Some(soa) = self.zone.top().and_then(|apex| apex.get(Rtype::SOA)) else { return Ok(()) };
        let minimum = soa.rdatas().next().and_then(|rdata| rdata.last_chunk());
        let ttl = minimum.map_or(soa.ttl, |minimum| soa.ttl.min(u32::from_be_bytes(*minimum)));
        self.response.rrset(Section::Authority, Owner::Name(self.zone.apex().as_wire()), soa, ttl, self.signed)
    }

    /// NS, then DS or the proof that there is none (RFC 4035 §3.1.4), then addresses.
    fn referral(&mut self, cut: NodeRef<'_>) -> Result<(), Full> {
        let Some(servers) = cut.get(Rtype::NS) else { return Ok(()) };
        let owner = cut.owner();
        self.response.referral(owner.as_wire(), servers)?;
        if self.signed
            && let Some(secure) = cut.get(Rtype::DS).or_else(|| cut.get(Rtype::NSEC))
        {
            self.response.rrset(Section::Authority, Owner::Name(owner.as_wire()), secure, secure.ttl, true)?;
        }
        self.glue(owner, servers)
    }

    /// Addresses of the servers beneath the cut, without which nobody gets there: all of them, or the message is
    /// truncated (RFC 9471 §3.1). Then, if there is room, those of other servers in the zone (§3.2).
    fn glue(&mut self, cut: NameRef<'_>, servers: RrsetRef<'_>) -> Result<(), Full> {
        let targets = || servers.rdatas().filter_map(NameRef::from_canonical);
        for target in targets().filter(|target| target.is_within(cut)) {
            self.addresses(target)?;
        }
        for target in targets().filter(|target| !target.is_within(cut)) {
            if target.is_within(self.zone.apex().as_ref()) && self.addresses(target).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Of the zone's own servers, if they are the answer.
    fn addresses_of_servers(&mut self) {
        let Some(servers) = self.apex_servers.take() else { return };
        for target in servers.rdatas().filter_map(NameRef::from_canonical) {
            if self.addresses(target).is_err() {
                break;
            }
        }
    }

    fn addresses(&mut self, name: NameRef<'_>) -> Result<(), Full> {
        let Some(node) = self.zone.find(name) else { return Ok(()) };
        for rrset in [Rtype::A, Rtype::AAAA].into_iter().filter_map(|rtype| node.get(rtype)) {
            let owner = node.owner();
            self.response.rrset(Section::Additional, Owner::Name(owner.as_wire()), rrset, rrset.ttl, self.signed)?;
        }
        Ok(())
    }
}
