//! Fields of RDATA: each knows its text, its bytes, and where it ends.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{RdataError, Result, loc, mnemonic, rtype_from_text, svcb};
use crate::directory::master::token::{Token, parse_seconds};
use crate::directory::name::{self, Name};
use crate::directory::name_ref::NameBuffer;
use crate::directory::rrset::Rtype;

#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Ipv4,
    Ipv6,
    Domain,
    U8,
    U16,
    U32,
    /// A time span: `3600` or `1h`.
    Seconds,
    /// RRSIG times: seconds modulo 2³², written as such or as YYYYMMDDHHmmSS (RFC 4034 §3.2).
    Time,
    /// DNSSEC algorithm, a number or a mnemonic (RFC 4034 appendix A.1).
    Algorithm,
    /// Type of a CERT record (RFC 4398 §2.1).
    CertificateType,
    Type,
    /// NSEC's list of types (RFC 4034 §4.1.2).
    TypeBitmap,
    CharString,
    /// One or more character-strings, to the end.
    CharStrings,
    /// CAA's property tag: letters and digits (RFC 8659 §4.1).
    Tag,
    /// One string without a length, to the end.
    Text,
    /// To the end, at least one byte.
    Hex,
    Base64,
    Location,
    ServiceParameters,
}

const ALGORITHMS: &[(u16, &str)] = &[
    (1, "RSAMD5"),
    (3, "DSA"),
    (5, "RSASHA1"),
    (6, "DSA-NSEC3-SHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (12, "ECC-GOST"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
];

const CERTIFICATE_TYPES: &[(u16, &str)] = &[
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPKIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];

impl Field {
    /// Reads the field from text and appends its bytes.
    pub(super) fn parse(self, tokens: &mut &[Token<'_>], origin: Option<&Name>, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::CharStrings => return parse_char_strings(tokens, out),
            Self::TypeBitmap => return parse_bitmap(std::mem::take(tokens), out),
            Self::Hex => return decode_hex(std::mem::take(tokens), out),
            Self::Base64 => return decode_base64(std::mem::take(tokens), out),
            Self::Location => return loc::parse(std::mem::take(tokens), out),
            Self::ServiceParameters => return svcb::parse(std::mem::take(tokens), out),
            _ => {}
        }
        let (token, rest) = tokens.split_first().ok_or_else(|| RdataError(format!("{} is missing", self.noun())))?;
        *tokens = rest;
        let text = token.text;
        let wrong = || RdataError(format!("{text:?} is not {}", self.noun()));
        match self {
            Self::Ipv4 => out.extend(text.parse::<Ipv4Addr>().map_err(|_| wrong())?.octets()),
            Self::Ipv6 => out.extend(text.parse::<Ipv6Addr>().map_err(|_| wrong())?.octets()),
            Self::Domain => out.extend(parse_name(token, origin)?.as_wire()),
            Self::U8 => out.push(text.parse().map_err(|_| wrong())?),
            Self::U16 => out.extend(text.parse::<u16>().map_err(|_| wrong())?.to_be_bytes()),
            Self::U32 => out.extend(text.parse::<u32>().map_err(|_| wrong())?.to_be_bytes()),
            Self::Seconds => out.extend(parse_seconds(text).ok_or_else(wrong)?.to_be_bytes()),
            Self::Time => out.extend(parse_time(text).ok_or_else(wrong)?.to_be_bytes()),
            Self::Algorithm => {
                let code = parse_code(text, ALGORITHMS).and_then(|code| u8::try_from(code).ok());
                out.push(code.ok_or_else(wrong)?);
            }
            Self::CertificateType => {
                out.extend(parse_code(text, CERTIFICATE_TYPES).ok_or_else(wrong)?.to_be_bytes());
            }
            Self::Type => out.extend(rtype_from_text(text).ok_or_else(wrong)?.0.to_be_bytes()),
            Self::CharString | Self::Tag => push_string(&unescape(text)?, out)?,
            Self::Text => out.extend(unescape(text)?),
            _ => unreachable!("fields that take many tokens returned above"),
        }
        Ok(())
    }

    /// Splits the field off `wire` and appends its canonical bytes.
    pub(super) fn take(self, wire: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
        let part = match self {
            Self::Domain => return take_name(wire, out),
            Self::Ipv4 | Self::U32 | Self::Seconds | Self::Time => cut(wire, 4),
            Self::Ipv6 => cut(wire, 16),
            Self::U8 | Self::Algorithm => cut(wire, 1),
            Self::U16 | Self::Type | Self::CertificateType => cut(wire, 2),
            Self::CharString | Self::Tag => {
                let length = wire.first().map_or(1, |&length| 1 + usize::from(length));
                cut(wire, length)
            }
            _ => Some(std::mem::take(wire)),
        };
        let part = part.ok_or_else(|| RdataError(format!("the bytes end where {} should be", self.noun())))?;
        match self {
            Self::CharStrings => check_char_strings(part)?,
            Self::Tag if part.len() < 2 || !part[1..].iter().all(u8::is_ascii_alphanumeric) => {
                return Err(RdataError::new("a CAA tag is one or more letters and digits"));
            }
            Self::Hex | Self::Base64 if part.is_empty() => {
                return Err(RdataError(format!("{} is missing", self.noun())));
            }
            Self::TypeBitmap => check_bitmap(part)?,
            Self::Location => loc::check(part)?,
            Self::ServiceParameters => svcb::check(part)?,
            _ => {}
        }
        out.extend_from_slice(part);
        Ok(())
    }

    /// The text of what [`Field::take`] gave.
    pub(super) fn to_text(self, part: &[u8]) -> String {
        let number = |part: &[u8]| part.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        match self {
            Self::Ipv4 => <[u8; 4]>::try_from(part).map_or_else(|_| String::new(), |b| Ipv4Addr::from(b).to_string()),
            Self::Ipv6 => <[u8; 16]>::try_from(part).map_or_else(|_| String::new(), |b| Ipv6Addr::from(b).to_string()),
            Self::Domain => Name::from_wire(part).map_or_else(|_| String::new(), |name| name.to_string()),
            Self::U8 | Self::U16 | Self::U32 | Self::Seconds | Self::Algorithm | Self::CertificateType => {
                number(part).to_string()
            }
            Self::Time => time_to_text(number(part)),
            Self::Type => Rtype(number(part) as u16).to_string(),
            Self::TypeBitmap => bitmap_to_text(part),
            Self::CharString => quote(part.get(1..).unwrap_or_default()),
            Self::CharStrings => char_strings(part).map(quote).collect::<Vec<_>>().join(" "),
            Self::Tag => String::from_utf8_lossy(part.get(1..).unwrap_or_default()).into_owned(),
            Self::Text => quote(part),
            Self::Hex => data_encoding::HEXUPPER.encode(part),
            Self::Base64 => data_encoding::BASE64.encode(part),
            Self::Location => loc::to_text(part),
            Self::ServiceParameters => svcb::to_text(part),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Ipv4 => "an IPv4 address such as 192.0.2.1",
            Self::Ipv6 => "an IPv6 address such as 2001:db8::1",
            Self::Domain => "a domain name",
            Self::U8 => "a number from 0 to 255",
            Self::U16 => "a number from 0 to 65535",
            Self::U32 => "a number from 0 to 4294967295",
            Self::Seconds => "a time in seconds, or with units such as 1h30m",
            Self::Time => "a time as YYYYMMDDHHmmSS or in seconds",
            Self::Algorithm => "a DNSSEC algorithm number such as 15",
            Self::CertificateType => "a certificate type such as PKIX",
            Self::Type => "a record type",
            Self::TypeBitmap => "a list of record types",
            Self::CharString | Self::CharStrings | Self::Text => "a string",
            Self::Tag => "a CAA tag such as issue",
            Self::Hex => "hexadecimal data",
            Self::Base64 => "base64 data",
            Self::Location => "a location such as 52 22 23 N 4 53 32 E -2m",
            Self::ServiceParameters => "service parameters such as alpn=h2",
        }
    }
}

/// A domain name in text, absolute or relative to `origin`.
pub(in crate::directory) fn parse_name(token: &Token<'_>, origin: Option<&Name>) -> Result<Name> {
    let text = token.text;
    if token.quoted || !text.is_ascii() {
        return Err(RdataError(format!(
            "{text:?} is not a domain name: write ASCII without quotes, other bytes as \\DDD"
        )));
    }
    let before_dot = text.strip_suffix('.').unwrap_or(text);
    let backslashes = before_dot.bytes().rev().take_while(|&byte| byte == b'\\').count();
    let absolute = text.ends_with('.') && backslashes % 2 == 0;
    if !absolute && origin.is_none() {
        let message = format!("{text:?} is relative and no origin is known: end it with a dot, or write $ORIGIN above");
        return Err(RdataError(message));
    }
    Name::parse(text, origin).map_err(|error| RdataError(format!("{text:?} is not a domain name: {error}")))
}

fn cut<'a>(wire: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (part, rest) = wire.split_at_checked(length)?;
    *wire = rest;
    Some(part)
}

fn take_name(wire: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut end = 0;
    loop {
        match wire.get(end) {
            Some(0) => break,
            Some(&length) if length < 64 => end += 1 + usize::from(length),
            Some(_) => return Err(RdataError::new("a name in RDATA is compressed, or a label of it too long")),
            None => return Err(RdataError::new("a name in RDATA does not end")),
        }
    }
    let bytes = cut(wire, end + 1).expect("its end was found within");
    let mut name = NameBuffer::default();
    let name = name.set(bytes).map_err(|error| RdataError(format!("a name in RDATA: {error}")))?;
    out.extend_from_slice(name.as_wire());
    Ok(())
}

fn parse_code(text: &str, mnemonics: &[(u16, &str)]) -> Option<u16> {
    let found = mnemonics.iter().find(|(_, mnemonic)| mnemonic.eq_ignore_ascii_case(text));
    found.map_or_else(|| text.parse().ok(), |(code, _)| Some(*code))
}

/// The bytes of a string as it is written, `\DDD` and `\X` resolved (RFC 1035 §5.1).
pub(super) fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            out.push(name::unescape(&mut bytes).map_err(|error| RdataError(format!("{text:?}: {error}")))?);
        } else {
            out.push(byte);
        }
    }
    Ok(out)
}

/// Bytes as a quoted string.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    escape(bytes, &mut text);
    text.push('"');
    text
}

pub(super) fn escape(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte as char]),
            b' '..=b'~' => text.push(byte as char),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
}

fn push_string(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let length = u8::try_from(bytes.len())
        .map_err(|_| RdataError(format!("a string of {} bytes, of which 255 fit: split it in two", bytes.len())))?;
    out.push(length);
    out.extend_from_slice(bytes);
    Ok(())
}

fn parse_char_strings(tokens: &mut &[Token<'_>], out: &mut Vec<u8>) -> Result<()> {
    for token in std::mem::take(tokens) {
        push_string(&unescape(token.text)?, out)?;
    }
    Ok(())
}

fn check_char_strings(part: &[u8]) -> Result<()> {
    let read: usize = char_strings(part).map(|string| 1 + string.len()).sum();
    if read != part.len() {
        return Err(RdataError::new("a string runs over the end of the RDATA"));
    }
    if part.is_empty() {
        return Err(RdataError::new("at least one string is wanted: write \"\" for an empty one"));
    }
    Ok(())
}

/// The whole strings at the front of `part`.
fn char_strings(mut part: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = part.split_first()?;
        let (string, rest) = rest.split_at_checked(usize::from(length))?;
        part = rest;
        Some(string)
    })
}

/// Hex digits, spread over tokens as one likes.
pub(super) fn decode_hex(tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<()> {
    let digits: String = tokens.iter().map(|token| token.text).collect();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
    out.extend(bytes.map_err(|error| RdataError(format!("not hexadecimal data: {error}")))?);
    Ok(())
}

fn decode_base64(tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<()> {
    let digits: String = tokens.iter().map(|token| token.text).collect();
    let bytes = data_encoding::BASE64.decode(digits.as_bytes());
    out.extend(bytes.map_err(|error| RdataError(format!("not base64 data: {error}")))?);
    Ok(())
}

fn parse_bitmap(tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<()> {
    let mut windows = std::collections::BTreeMap::<u8, Vec<u8>>::new();
    for token in tokens {
        let wrong = || RdataError(format!("{:?} is not a record type", token.text));
        let [window, low] = rtype_from_text(token.text).ok_or_else(wrong)?.0.to_be_bytes();
        let bits = windows.entry(window).or_default();
        let at = usize::from(low / 8);
        bits.resize(bits.len().max(at + 1), 0);
        bits[at] |= 0x80 >> (low % 8);
    }
    for (window, bits) in windows {
        out.extend([window, bits.len() as u8]);
        out.extend(bits);
    }
    Ok(())
}

fn check_bitmap(part: &[u8]) -> Result<()> {
    let wrong = || RdataError::new("not a type bitmap (RFC 4034 §4.1.2)");
    let mut rest = part;
    let mut last = None;
    while let [window, length, more @ ..] = rest {
        let (bits, more) = more.split_at_checked(usize::from(*length)).ok_or_else(wrong)?;
        if !(1..=32).contains(&bits.len()) || bits.last() == Some(&0) || last >= Some(*window) {
            return Err(wrong());
        }
        last = Some(*window);
        rest = more;
    }
    rest.is_empty().then_some(()).ok_or_else(wrong)
}

fn bitmap_to_text(part: &[u8]) -> String {
    let mut types = Vec::new();
    let mut rest = part;
    while let [window, length, more @ ..] = rest {
        let (bits, more) = more.split_at(usize::from(*length).min(more.len()));
        for (at, byte) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                let rtype = Rtype(u16::from_be_bytes([*window, (at * 8 + bit) as u8]));
                types.push(mnemonic(rtype).map_or_else(|| rtype.to_string(), str::to_string));
            }
        }
        rest = more;
    }
    types.join(" ")
}

/// RFC 4034 §3.2: 14 digits are YYYYMMDDHHmmSS in UTC, fewer are seconds since the epoch, modulo 2³² both.
fn parse_time(text: &str) -> Option<u32> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) as u32)
}

fn time_to_text(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|&month| days_before(year, month) <= days).unwrap_or(1);
    days -= days_before(year, month);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{:02}{hour:02}{minute:02}{second:02}", days + 1)
}

/// Days from 1970-01-01 to the first of a month (proleptic Gregorian calendar).
fn days_before(year: u64, month: u64) -> u64 {
    let leap_years = |before: u64| (before - 1) / 4 - (before - 1) / 100 + (before - 1) / 400;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let in_year = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    (year - 1970) * 365 + leap_years(year) - leap_years(1970) + in_year + u64::from(is_leap && month > 2)
}
