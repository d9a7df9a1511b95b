//! Service parameters of SVCB and HTTPS records (RFC 9460 §2.1, §7, appendix A).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::field::{escape, quote, unescape};
use super::{RdataError, Result};
use crate::directory::master::token::Token;

const KEYS: &[&str] =
    &["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4_HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6_HINT: u16 = 6;
const DOH_PATH: u16 = 7;
const OHTTP: u16 = 8;

pub(super) fn parse(tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<()> {
    let mut parameters = BTreeMap::new();
    for token in tokens {
        let (key_text, value) = match token.text.split_once('=') {
            Some((key, value)) => (key, value),
            None => (token.text, ""),
        };
        let key = key_from_text(key_text).ok_or_else(|| {
            RdataError(format!("{key_text:?} is not a service parameter: write alpn, port, …, or keyNNNNN"))
        })?;
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = value_from_text(key, &unescape(quoted.unwrap_or(value))?)?;
        if parameters.insert(key, value).is_some() {
            return Err(RdataError(format!("the service parameter {key_text} is given twice")));
        }
    }
    for (key, value) in parameters {
        out.extend(key.to_be_bytes());
        let length = u16::try_from(value.len()).map_err(|_| RdataError::new("a service parameter is too long"))?;
        out.extend(length.to_be_bytes());
        out.extend(value);
    }
    Ok(())
}

/// RFC 9460 §2.2: keys strictly increasing, each value in its own form, mandatory keys present.
pub(super) fn check(part: &[u8]) -> Result<()> {
    let parameters = split(part).ok_or_else(|| RdataError::new("the service parameters run over the end"))?;
    if !parameters.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Err(RdataError::new("the service parameters are not in increasing order of their keys"));
    }
    for &(key, value) in &parameters {
        let wrong = |what: &str| Err(RdataError(format!("the service parameter {}: {what}", key_to_text(key))));
        match key {
            MANDATORY => {
                let keys: Vec<u16> =
                    value.chunks(2).map(|key| u16::from_be_bytes([key[0], *key.get(1).unwrap_or(&0)])).collect();
                let present = |key: &u16| *key != MANDATORY && parameters.iter().any(|(other, _)| other == key);
                if value.is_empty()
                    || value.len() % 2 != 0
                    || !keys.is_sorted_by(|a, b| a < b)
                    || !keys.iter().all(present)
                {
                    return wrong("each key once, in order, and present among the parameters");
                }
            }
            ALPN if protocols(value).is_none_or(|ids| ids.is_empty()) => {
                return wrong("one or more protocols such as h2");
            }
            NO_DEFAULT_ALPN if !parameters.iter().any(|(other, _)| *other == ALPN) => return wrong("only beside alpn"),
            NO_DEFAULT_ALPN | OHTTP if !value.is_empty() => return wrong("takes no value"),
            PORT if value.len() != 2 => return wrong("a number from 0 to 65535"),
            IPV4_HINT if value.is_empty() || value.len() % 4 != 0 => return wrong("IPv4 addresses"),
            IPV6_HINT if value.is_empty() || value.len() % 16 != 0 => return wrong("IPv6 addresses"),
            ECH if value.is_empty() => return wrong("base64 data"),
            DOH_PATH if std::str::from_utf8(value).is_err() || value.is_empty() => return wrong("a URI template"),
            65535 => return wrong("reserved"),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn to_text(part: &[u8]) -> String {
    let parameters = split(part).unwrap_or_default();
    let texts = parameters.iter().map(|&(key, value)| {
        let name = key_to_text(key);
        match value_to_text(key, value) {
            value if value.is_empty() => name,
            value => format!("{name}={value}"),
        }
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn split(mut part: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut parameters = Vec::new();
    while let [k0, k1, l0, l1, rest @ ..] = part {
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
        parameters.push((u16::from_be_bytes([*k0, *k1]), value));
        part = rest;
    }
    part.is_empty().then_some(parameters)
}

fn key_from_text(text: &str) -> Option<u16> {
    if let Some(key) = KEYS.iter().position(|key| key.eq_ignore_ascii_case(text)) {
        return Some(key as u16);
    }
    let digits = text.get(..3).filter(|prefix| prefix.eq_ignore_ascii_case("key")).and(text.get(3..))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn key_to_text(key: u16) -> String {
    KEYS.get(usize::from(key)).map_or_else(|| format!("key{key}"), |key| (*key).to_string())
}

/// `value` after its escapes as a character-string are resolved.
fn value_from_text(key: u16, value: &[u8]) -> Result<Vec<u8>> {
    let text = || std::str::from_utf8(value).map_err(|_| RdataError(format!("{}: not ASCII", key_to_text(key))));
    let wrong = |part: &str| RdataError(format!("{part:?} is not a value of {}", key_to_text(key)));
    let mut out = Vec::new();
    match key {
        MANDATORY => {
            let keys = text()?.split(',').map(|part| key_from_text(part).ok_or_else(|| wrong(part)));
            let mut keys = keys.collect::<Result<Vec<_>>>()?;
            keys.sort_unstable();
            out.extend(keys.into_iter().flat_map(u16::to_be_bytes));
        }
        ALPN => {
            for id in split_list(value) {
                let length = u8::try_from(id.len()).map_err(|_| RdataError::new("alpn: an id is over 255 bytes"))?;
                out.push(length);
                out.extend(id);
            }
        }
        PORT => out.extend(text()?.parse::<u16>().map_err(|_| wrong(&String::from_utf8_lossy(value)))?.to_be_bytes()),
        IPV4_HINT => {
            for part in text()?.split(',') {
                out.extend(part.parse::<Ipv4Addr>().map_err(|_| wrong(part))?.octets());
            }
        }
        IPV6_HINT => {
            for part in text()?.split(',') {
                out.extend(part.parse::<Ipv6Addr>().map_err(|_| wrong(part))?.octets());
            }
        }
        ECH => out = data_encoding::BASE64.decode(value).map_err(|_| wrong(&String::from_utf8_lossy(value)))?,
        _ => out.extend(value),
    }
    Ok(out)
}

fn value_to_text(key: u16, value: &[u8]) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match key {
        MANDATORY => join(value.chunks_exact(2).map(|key| key_to_text(u16::from_be_bytes([key[0], key[1]]))).collect()),
        ALPN => {
            let ids = protocols(value).unwrap_or_default();
            let list = ids.iter().map(|id| escape_list_item(id)).collect::<Vec<_>>().join(&b","[..]);
            bare_or_quoted(&list)
        }
        PORT => value.iter().fold(0u32, |port, &byte| port << 8 | u32::from(byte)).to_string(),
        IPV4_HINT => join(value.as_chunks::<4>().0.iter().map(|&bytes| Ipv4Addr::from(bytes).to_string()).collect()),
        IPV6_HINT => join(value.as_chunks::<16>().0.iter().map(|&bytes| Ipv6Addr::from(bytes).to_string()).collect()),
        ECH => data_encoding::BASE64.encode(value),
        _ => bare_or_quoted(value),
    }
}

fn bare_or_quoted(value: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~,/?&={}:+*".contains(byte);
    if !value.iter().all(is_plain) {
        return quote(value);
    }
    let mut text = String::new();
    escape(value, &mut text);
    text
}

/// Length-prefixed protocol ids, none empty (RFC 9460 §7.1.1).
fn protocols(mut value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut ids = Vec::new();
    while let Some((&length, rest)) = value.split_first() {
        let (id, rest) = rest.split_at_checked(usize::from(length)).filter(|(id, _)| !id.is_empty())?;
        ids.push(id);
        value = rest;
    }
    Some(ids)
}

/// A comma-separated list in which `\,` and `\\` stand for themselves (RFC 9460 appendix A.1).
fn split_list(value: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => items.push(Vec::new()),
            b'\\' => items.last_mut().expect("never empty").extend(bytes.next()),
            _ => items.last_mut().expect("never empty").push(byte),
        }
    }
    items
}

fn escape_list_item(id: &[u8]) -> Vec<u8> {
    id.iter().flat_map(|&byte| [b'\\', byte].into_iter().skip(usize::from(byte != b',' && byte != b'\\'))).collect()
}
