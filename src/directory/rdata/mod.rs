//! RDATA in its three forms: presentation text, canonical wire bytes, and the check that bytes are such.
//!
//! One table says of each type which fields it has; parsing, printing and checking all follow from it, so that they
//! cannot disagree. A type that is not in the table is opaque: written as RFC 3597 §5 says (`\# 2 abcd`), any bytes
//! valid. All functions are total: they are run on what strangers get ordered.
//!
//! Canonical form is RFC 4034 §6.2: uncompressed, names in lower case.
//!
//! Deviations:
//! - Names are lower-case in every type, also in those that RFC 4034 §6.2 (as RFC 6840 §5.1 reads it) leaves as they
//!   are, SVCB for one. What is served and signed is these bytes, so validators agree; and equal records are equal bytes.
//! - The text parser of hickory-proto is not used: it knows no DNAME, LOC, URI, RP, DS or DNSKEY without its DNSSEC
//!   stack, and a second rule beside [`check_rdata`] would be a second opinion on what is valid. The tests compare with it.

mod field;
mod loc;
mod svcb;
#[cfg(test)]
mod tests;

use field::Field::{self, *};
pub(super) use field::parse_name;

use super::master::token::Token;
use super::name::Name;
use super::rrset::Rtype;
use crate::limits::MAX_RDATA;

/// What is wrong with RDATA, in words for whoever wrote it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RdataError(pub String);

impl RdataError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

type Result<T> = std::result::Result<T, RdataError>;

/// Code, mnemonic and fields of every type whose RDATA is understood. The types of RFC 1035 and RFC 4034 §6.2 with names
/// in them must all be here: as opaque bytes they could carry compression pointers.
const TYPES: &[(u16, &str, &[Field])] = &[
    (1, "A", &[Ipv4]),
    (2, "NS", &[Domain]),
    (3, "MD", &[Domain]),
    (4, "MF", &[Domain]),
    (5, "CNAME", &[Domain]),
    (6, "SOA", &[Domain, Domain, U32, Seconds, Seconds, Seconds, Seconds]),
    (7, "MB", &[Domain]),
    (8, "MG", &[Domain]),
    (9, "MR", &[Domain]),
    (12, "PTR", &[Domain]),
    (13, "HINFO", &[CharString, CharString]),
    (14, "MINFO", &[Domain, Domain]),
    (15, "MX", &[U16, Domain]),
    (16, "TXT", &[CharStrings]),
    (17, "RP", &[Domain, Domain]),
    (18, "AFSDB", &[U16, Domain]),
    (21, "RT", &[U16, Domain]),
    (25, "KEY", &[U16, U8, Algorithm, Base64]),
    (26, "PX", &[U16, Domain, Domain]),
    (28, "AAAA", &[Ipv6]),
    (29, "LOC", &[Location]),
    (33, "SRV", &[U16, U16, U16, Domain]),
    (35, "NAPTR", &[U16, U16, CharString, CharString, CharString, Domain]),
    (36, "KX", &[U16, Domain]),
    (37, "CERT", &[CertificateType, U16, Algorithm, Base64]),
    (39, "DNAME", &[Domain]),
    (43, "DS", &[U16, Algorithm, U8, Hex]),
    (44, "SSHFP", &[U8, U8, Hex]),
    (46, "RRSIG", &[Type, Algorithm, U8, U32, Time, Time, U16, Domain, Base64]),
    (47, "NSEC", &[Domain, TypeBitmap]),
    (48, "DNSKEY", &[U16, U8, Algorithm, Base64]),
    (49, "DHCID", &[Base64]),
    (52, "TLSA", &[U8, U8, U8, Hex]),
    (53, "SMIMEA", &[U8, U8, U8, Hex]),
    (59, "CDS", &[U16, Algorithm, U8, Hex]),
    (60, "CDNSKEY", &[U16, U8, Algorithm, Base64]),
    (61, "OPENPGPKEY", &[Base64]),
    (62, "CSYNC", &[U32, U16, TypeBitmap]),
    (63, "ZONEMD", &[U32, U8, U8, Hex]),
    (64, "SVCB", &[U16, Domain, ServiceParameters]),
    (65, "HTTPS", &[U16, Domain, ServiceParameters]),
    (99, "SPF", &[CharStrings]),
    (107, "LP", &[U16, Domain]),
    (256, "URI", &[U16, U16, Text]),
    (257, "CAA", &[U8, Tag, Text]),
];

/// Types that have a mnemonic but whose RDATA is kept as opaque bytes, or that never stand in a zone.
const OTHER_MNEMONICS: &[(u16, &str)] = &[
    (24, "SIG"),
    (30, "NXT"),
    (41, "OPT"),
    (42, "APL"),
    (45, "IPSECKEY"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (55, "HIP"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
];

/// The mnemonic of a type, if it has one.
pub fn mnemonic(rtype: Rtype) -> Option<&'static str> {
    let known = TYPES.iter().map(|(code, mnemonic, _)| (code, mnemonic));
    let others = OTHER_MNEMONICS.iter().map(|(code, mnemonic)| (code, mnemonic));
    known.chain(others).find(|(code, _)| **code == rtype.0).map(|(_, mnemonic)| *mnemonic)
}

/// The type that a mnemonic or `TYPEnnn` (RFC 3597 §5) stands for, in any case.
pub fn rtype_from_text(text: &str) -> Option<Rtype> {
    let known = TYPES.iter().map(|(code, mnemonic, _)| (code, mnemonic));
    let others = OTHER_MNEMONICS.iter().map(|(code, mnemonic)| (code, mnemonic));
    if let Some((code, _)) = known.chain(others).find(|(_, mnemonic)| mnemonic.eq_ignore_ascii_case(text)) {
        return Some(Rtype(*code));
    }
    let digits = text.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("TYPE")).and(text.get(4..))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(Rtype))?
}

/// The canonical form of `wire`, if it is RDATA of that type; opaque types are as they are.
pub fn check_rdata(rtype: Rtype, wire: &[u8]) -> Result<Vec<u8>> {
    if wire.len() > MAX_RDATA {
        return Err(RdataError(format!("{} bytes of RDATA, of which {MAX_RDATA} are allowed", wire.len())));
    }
    let Some(fields) = fields_of(rtype) else { return Ok(wire.to_vec()) };
    let (mut rest, mut canonical) = (wire, Vec::with_capacity(wire.len()));
    fields.iter().try_for_each(|field| field.take(&mut rest, &mut canonical))?;
    check_end(rest)?;
    check_meaning(rtype, &canonical)?;
    Ok(canonical)
}

/// The presentation form of RDATA: by field if it is valid, else the generic one.
pub fn rdata_to_text(rtype: Rtype, wire: &[u8]) -> String {
    match fields_of(rtype).map(|fields| (fields, split(fields, wire))) {
        Some((fields, Ok(parts))) => {
            let texts = fields.iter().zip(&parts).map(|(field, part)| field.to_text(part));
            texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
        }
        _ if wire.is_empty() => "\\# 0".to_string(),
        _ => format!("\\# {} {}", wire.len(), data_encoding::HEXLOWER.encode(wire)),
    }
}

/// Room made for what tokens say: a signature with a long name has less.
const USUAL_RDATA: usize = 160;

/// The RDATA that `tokens` say; relative names in it take `origin`.
pub(super) fn rdata_from_tokens(rtype: Rtype, tokens: &[Token<'_>], origin: Option<&Name>) -> Result<Vec<u8>> {
    let mut wire = Vec::with_capacity(USUAL_RDATA);
    if let Some((first, rest)) = tokens.split_first()
        && first.text == "\\#"
        && !first.quoted
    {
        generic_from_tokens(rest, &mut wire)?;
    } else {
        let fields = fields_of(rtype)
            .ok_or_else(|| RdataError(format!("records of type {rtype} are written as \\# LENGTH HEX (RFC 3597)")))?;
        let mut rest = tokens;
        for field in fields {
            field.parse(&mut rest, origin, &mut wire)?;
        }
        if let Some(extra) = rest.first() {
            return Err(RdataError(format!("{:?} is more than a {rtype} record holds: remove it", extra.text)));
        }
    }
    check_rdata(rtype, &wire)
}

fn fields_of(rtype: Rtype) -> Option<&'static [Field]> {
    TYPES.iter().find(|(code, _, _)| *code == rtype.0).map(|(_, _, fields)| *fields)
}

/// The canonical bytes of each field, in order.
fn split(fields: &[Field], wire: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut rest = wire;
    let mut take = |field: &Field| {
        let mut part = Vec::new();
        field.take(&mut rest, &mut part).map(|()| part)
    };
    let parts = fields.iter().map(&mut take).collect::<Result<Vec<_>>>()?;
    check_end(rest)?;
    Ok(parts)
}

fn check_end(rest: &[u8]) -> Result<()> {
    if rest.is_empty() { Ok(()) } else { Err(RdataError(format!("{} bytes too many", rest.len()))) }
}

fn generic_from_tokens(tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<()> {
    let (length, digits) = tokens.split_first().ok_or_else(|| RdataError::new("\\# wants a length and hex digits"))?;
    let length: usize = length.text.parse().map_err(|_| RdataError::new("\\# wants a length in bytes"))?;
    field::decode_hex(digits, out)?;
    if out.len() != length {
        return Err(RdataError(format!("\\# says {length} bytes and {} follow", out.len())));
    }
    Ok(())
}

/// What the fields alone cannot say: digests as long as their algorithm makes them. `wire` has the fields of the type.
fn check_meaning(rtype: Rtype, wire: &[u8]) -> Result<()> {
    let (kind, digest_length, expected) = match (rtype.0, wire) {
        // RFC 4034 §5.1.4, RFC 4509, RFC 6605.
        (43 | 59, [_, _, algorithm, kind, digest @ ..]) if *algorithm != 0 => {
            (*kind, digest.len(), [Some(20), Some(32), None, Some(48)])
        }
        // RFC 4255 §3.1.2, RFC 6594.
        (44, [_, kind, digest @ ..]) => (*kind, digest.len(), [Some(20), Some(32), None, None]),
        // RFC 6698 §2.1.3.
        (52 | 53, [_, _, kind, data @ ..]) => (*kind, data.len(), [Some(32), Some(64), None, None]),
        // RFC 8976 §2.2.4.
        (63, [_, _, _, _, _, kind, digest @ ..]) => (*kind, digest.len(), [Some(48), Some(64), None, None]),
        _ => return Ok(()),
    };
    let expected = usize::from(kind).checked_sub(1).and_then(|at| expected.get(at).copied().flatten());
    match expected {
        Some(length) if length != digest_length => {
            Err(RdataError(format!("a digest of type {kind} has {length} bytes, not {digest_length}")))
        }
        _ => Ok(()),
    }
}
