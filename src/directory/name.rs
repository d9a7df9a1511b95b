//! Canonical DNS names (RFC 1035 §3.1, RFC 4343, RFC 4034 §6).
//!
//! A [`Name`] is absolute, lower-case and in wire form, so equal names are equal bytes; its order is the canonical
//! order of DNSSEC (RFC 4034 §6.1). Names as a query spelt them stay in the query (RFC 1035 §2.3.3: case is kept in
//! the answer, never compared).

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::name_ref::{NameRef, canonical_order};
use crate::limits::{MAX_LABEL, MAX_NAME};

/// An absolute domain name: lower-case, wire form, root label included.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<[u8]>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    #[error("a label is empty")]
    EmptyLabel,
    #[error("a label is longer than {MAX_LABEL} bytes")]
    LabelTooLong,
    #[error("the name is longer than {MAX_NAME} bytes")]
    NameTooLong,
    #[error("a backslash is not followed by a character or three digits up to 255")]
    BadEscape,
    #[error("not a name in wire form")]
    BadWire,
}

impl Name {
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// The name that uncompressed wire bytes hold; upper case is lowered.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        let mut at = 0;
        loop {
            let length = usize::from(*bytes.get(at).ok_or(NameError::BadWire)?);
            if length == 0 {
                break;
            }
            if length > MAX_LABEL {
                return Err(NameError::BadWire);
            }
            at += 1 + length;
        }
        if at + 1 != bytes.len() {
            return Err(NameError::BadWire);
        }
        // Length bytes are at most 63, below 'A': lowering the whole buffer touches labels only.
        Ok(Self(bytes.to_ascii_lowercase().into()))
    }

    /// A name in presentation form (RFC 1035 §5.1, escapes `\.` and `\DDD`). Without a trailing dot it is relative to
    /// `origin`; `@` is the origin.
    pub fn parse(text: &str, origin: Option<&Self>) -> Result<Self, NameError> {
        let relative_to = origin.unwrap_or(&ROOT);
        if text == "@" {
            return Ok(relative_to.clone());
        }
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2 + relative_to.0.len());
        let mut label = Vec::with_capacity(MAX_LABEL);
        let mut absolute = false;
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => {
                    push_label(&mut wire, &mut label)?;
                    absolute = bytes.peek().is_none();
                }
                b'\\' => label.push(unescape(&mut bytes)?),
                _ => label.push(byte),
            }
        }
        if !absolute {
            push_label(&mut wire, &mut label)?;
            wire.extend_from_slice(&relative_to.0);
        } else {
            wire.push(0);
        }
        Self::from_wire(&wire)
    }

    /// Wire form, uncompressed and lower-case.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    pub fn as_ref(&self) -> NameRef<'_> {
        NameRef::from_name(self)
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Labels from the left, without the root label.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// Labels, not counting the root label; with the wildcard label (RFC 4034 §3.1.3 does not count that one).
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0[1 + usize::from(self.0[0])..].into()))
    }

    /// The ancestor (or self) that keeps the rightmost `labels` labels.
    pub fn suffix(&self, labels: usize) -> Option<Self> {
        let mut rest: &[u8] = &self.0;
        for _ in 0..self.label_count().checked_sub(labels)? {
            rest = &rest[1 + usize::from(rest[0])..];
        }
        Some(Self(rest.into()))
    }

    /// Whether this name is `ancestor` or lies beneath it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        let mut rest: &[u8] = &self.0;
        loop {
            match rest.len().cmp(&ancestor.0.len()) {
                Ordering::Less => return false,
                Ordering::Equal => return rest == &*ancestor.0,
                Ordering::Greater => rest = &rest[1 + usize::from(rest[0])..],
            }
        }
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// `label` put in front.
    pub fn child(&self, label: &[u8]) -> Result<Self, NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::LabelTooLong);
        }
        let mut wire = Vec::with_capacity(1 + label.len() + self.0.len());
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
        wire.extend_from_slice(&self.0);
        Self::from_wire(&wire)
    }
}

static ROOT: std::sync::LazyLock<Name> = std::sync::LazyLock::new(Name::root);

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if label.len() > MAX_LABEL {
        return Err(NameError::LabelTooLong);
    }
    wire.push(label.len() as u8);
    wire.append(label);
    Ok(())
}

/// The byte that an escape stands for, its backslash already read (RFC 1035 §5.1).
pub(super) fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

/// Labels from the left.
#[derive(Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.0[0]);
        if length == 0 {
            return None;
        }
        let (label, rest) = self.0[1..].split_at(length);
        self.0 = rest;
        Some(label)
    }
}

impl Ord for Name {
    /// Canonical DNS name order (RFC 4034 §6.1).
    fn cmp(&self, other: &Self) -> Ordering {
        canonical_order(&self.0, &other.0)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Name {
    /// Presentation form with a trailing dot and RFC 1035 §5.1 escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", byte as char)?,
                    0x21..=0x7e => write!(f, "{}", byte as char)?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Name {
    /// Wire form; in formats for people, presentation form.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a domain name")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Name, E> {
                Name::from_wire(bytes).map_err(E::custom)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                Name::parse(text, None).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(Visitor);
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, None).unwrap()
    }

    #[test]
    fn canonical_order_is_that_of_rfc_4034_section_6_1() {
        let ordered = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        let names: Vec<Name> = ordered.iter().map(|text| name(text)).collect();
        let mut sorted = names.clone();
        sorted.reverse();
        sorted.sort();
        assert_eq!(names, sorted);
    }

    #[test]
    fn two_spellings_are_one_name() {
        assert_eq!(name("WWW.Example."), name("www.example"));
        assert_eq!(name("w\\119w.example."), name("www.example."));
    }

    #[test]
    fn relative_names_take_the_origin() {
        let origin = name("names.example.");
        assert_eq!(Name::parse("alice", Some(&origin)).unwrap(), name("alice.names.example."));
        assert_eq!(Name::parse("@", Some(&origin)).unwrap(), origin);
        assert_eq!(Name::parse("bob.org.", Some(&origin)).unwrap(), name("bob.org."));
    }

    #[test]
    fn escapes_round_trip() {
        for text in ["a\\.b.example.", "\\000.example.", "\\@.example."] {
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(Name::parse("\\256.", None), Err(NameError::BadEscape));
        assert_eq!(Name::parse("a..b.", None), Err(NameError::EmptyLabel));
    }

    #[test]
    fn ancestors() {
        let www = name("www.names.example.");
        assert!(www.is_within(&name("names.example.")) && www.is_within(&Name::root()) && www.is_within(&www));
        assert!(!name("xnames.example.").is_within(&name("names.example.")));
        assert_eq!(www.parent(), Some(name("names.example.")));
        assert_eq!(www.suffix(2), Some(name("names.example.")));
        assert_eq!(www.suffix(0), Some(Name::root()));
        assert_eq!(www.suffix(4), None);
    }

    #[test]
    fn names_over_255_bytes_are_refused() {
        let label = "a".repeat(63);
        assert!(Name::parse(&format!("{label}.{label}.{label}.{}.", "a".repeat(61)), None).is_ok());
        let long = format!("{label}.{label}.{label}.{}.", "a".repeat(62));
        assert_eq!(Name::parse(&long, None), Err(NameError::NameTooLong));
    }
}
