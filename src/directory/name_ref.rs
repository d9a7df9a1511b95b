//! Canonical names without an allocation: in a caller's buffer ([`NameRef`]) or on the stack ([`NameBuffer`]).
//!
//! Maps keyed by [`Name`] are searched by `dyn WireName`, for which a [`Name`] and a [`NameRef`] of the same bytes are
//! equal.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;

use super::name::{Name, NameError};
use crate::limits::{MAX_LABEL, MAX_NAME};

/// A canonical name (absolute, lower-case, wire form) that lies in somebody else's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameRef<'a>(&'a [u8]);

impl<'a> NameRef<'a> {
    /// The name that these bytes are, if they are one in canonical form.
    pub fn from_canonical(wire: &'a [u8]) -> Option<Self> {
        let lower = !wire.iter().any(u8::is_ascii_uppercase);
        (lower && check(wire).is_ok()).then_some(Self(wire))
    }

    /// The name that stands in these bytes, which were taken from a [`Name`].
    pub(super) fn from_stored(wire: &'a [u8]) -> Self {
        Self(wire)
    }

    pub fn to_name(self) -> Name {
        Name::from_wire(self.0).expect("a canonical name is a name")
    }

    pub fn is_wildcard(self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    pub(super) fn from_name(name: &'a Name) -> Self {
        Self(name.as_wire())
    }

    pub fn as_wire(self) -> &'a [u8] {
        self.0
    }

    pub fn is_root(self) -> bool {
        self.0.len() == 1
    }

    /// Labels, not counting the root label.
    pub fn label_count(self) -> usize {
        label_count(self.0)
    }

    pub fn parent(self) -> Option<Self> {
        (!self.is_root()).then(|| Self(without_first_label(self.0)))
    }

    /// The ancestor (or self) that keeps the rightmost `labels` labels; self if it has no more than that.
    pub fn suffix(self, labels: usize) -> Self {
        let mut rest = self.0;
        for _ in labels..self.label_count() {
            rest = without_first_label(rest);
        }
        Self(rest)
    }

    /// Whether this name is `ancestor` or lies beneath it.
    pub fn is_within(self, ancestor: NameRef<'_>) -> bool {
        let mut rest = self.0;
        while rest.len() > ancestor.0.len() {
            rest = without_first_label(rest);
        }
        rest == ancestor.0
    }

    /// Labels that both names end with.
    pub fn shared_labels(self, other: NameRef<'_>) -> usize {
        let (mut a, mut b) = aligned(self.0, other.0);
        let mut shared = 0;
        while a[0] != 0 {
            shared = if first_label(a) == first_label(b) { shared + 1 } else { 0 };
            a = without_first_label(a);
            b = without_first_label(b);
        }
        shared
    }
}

impl Ord for NameRef<'_> {
    /// Canonical DNS name order (RFC 4034 §6.1).
    fn cmp(&self, other: &Self) -> Ordering {
        canonical_order(self.0, other.0)
    }
}

impl PartialOrd for NameRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Name::from_wire(self.0), f)
    }
}

/// A canonical name on the stack.
#[derive(Clone)]
pub struct NameBuffer {
    bytes: [u8; MAX_NAME],
    length: u8,
}

impl NameBuffer {
    /// The name that uncompressed wire bytes hold; upper case is lowered.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let mut buffer = Self::default();
        buffer.set(wire)?;
        Ok(buffer)
    }

    /// As [`Self::from_wire`], in the place of the name that is there.
    pub fn set(&mut self, wire: &[u8]) -> Result<NameRef<'_>, NameError> {
        check(wire)?;
        let bytes = &mut self.bytes[..wire.len()];
        bytes.copy_from_slice(wire);
        // Length bytes are at most 63, below 'A': lowering the whole name touches labels only.
        bytes.make_ascii_lowercase();
        self.length = wire.len() as u8;
        Ok(self.as_ref())
    }

    /// `*.encloser`, the source of synthesis (RFC 4592 §3.3.1).
    pub fn wildcard(encloser: NameRef<'_>) -> Result<Self, NameError> {
        Self::concatenate(b"\x01*", encloser)
    }

    /// `name` with its suffix `owner` replaced by `target` (RFC 6672 §2.2). `name` must lie within `owner`.
    pub fn substituted(name: NameRef<'_>, owner: NameRef<'_>, target: NameRef<'_>) -> Result<Self, NameError> {
        let kept = name.0.len().checked_sub(owner.0.len()).ok_or(NameError::BadWire)?;
        Self::concatenate(&name.0[..kept], target)
    }

    pub fn as_ref(&self) -> NameRef<'_> {
        NameRef(&self.bytes[..usize::from(self.length)])
    }

    fn concatenate(labels: &[u8], suffix: NameRef<'_>) -> Result<Self, NameError> {
        let length = labels.len() + suffix.0.len();
        if length > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        let mut buffer = Self { bytes: [0; MAX_NAME], length: length as u8 };
        buffer.bytes[..labels.len()].copy_from_slice(labels);
        buffer.bytes[labels.len()..length].copy_from_slice(suffix.0);
        Ok(buffer)
    }
}

/// The root.
impl Default for NameBuffer {
    fn default() -> Self {
        Self { bytes: [0; MAX_NAME], length: 1 }
    }
}

impl From<NameRef<'_>> for NameBuffer {
    fn from(name: NameRef<'_>) -> Self {
        let mut buffer = Self { bytes: [0; MAX_NAME], length: name.0.len() as u8 };
        buffer.bytes[..name.0.len()].copy_from_slice(name.0);
        buffer
    }
}

impl PartialEq for NameBuffer {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl fmt::Debug for NameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_ref(), f)
    }
}

/// Holds the wire form of a canonical name.
pub trait WireName {
    fn wire(&self) -> &[u8];
}

impl WireName for Name {
    fn wire(&self) -> &[u8] {
        self.as_wire()
    }
}

impl WireName for NameRef<'_> {
    fn wire(&self) -> &[u8] {
        self.0
    }
}

impl<'a> Borrow<dyn WireName + 'a> for Name {
    fn borrow(&self) -> &(dyn WireName + 'a) {
        self
    }
}

impl Ord for dyn WireName + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        canonical_order(self.wire(), other.wire())
    }
}

impl PartialOrd for dyn WireName + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn WireName + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for dyn WireName + '_ {}

/// Canonical DNS name order (RFC 4034 §6.1) of two names in canonical wire form: by label from the right, each as an
/// unsigned byte string.
///
/// Walks both from the left, where no table of label offsets is needed: among labels at equal distance from the root
/// the last difference seen is the rightmost one, which decides.
pub(super) fn canonical_order(a: &[u8], b: &[u8]) -> Ordering {
    // Most names of a zone have equally many labels: begin as if these had.
    let (mut rest_a, mut rest_b, mut order) = (a, b, Ordering::Equal);
    while rest_a != rest_b {
        if rest_a[0] == 0 || rest_b[0] == 0 {
            return order_of_unequal_depth(a, b);
        }
        order = first_label(rest_a).cmp(first_label(rest_b)).then(order);
        rest_a = without_first_label(rest_a);
        rest_b = without_first_label(rest_b);
    }
    order
}

fn order_of_unequal_depth(a: &[u8], b: &[u8]) -> Ordering {
    let (mut rest_a, mut rest_b) = aligned(a, b);
    // Where one is the other's ancestor, it comes first.
    let mut order = a.len().cmp(&rest_a.len()).then(rest_b.len().cmp(&b.len()));
    while rest_a != rest_b {
        order = first_label(rest_a).cmp(first_label(rest_b)).then(order);
        rest_a = without_first_label(rest_a);
        rest_b = without_first_label(rest_b);
    }
    order
}

/// The rightmost labels of both names, as many as the shorter one has.
fn aligned<'a, 'b>(mut a: &'a [u8], mut b: &'b [u8]) -> (&'a [u8], &'b [u8]) {
    let (labels_a, labels_b) = (label_count(a), label_count(b));
    for _ in labels_b..labels_a {
        a = without_first_label(a);
    }
    for _ in labels_a..labels_b {
        b = without_first_label(b);
    }
    (a, b)
}

fn label_count(mut wire: &[u8]) -> usize {
    let mut count = 0;
    while wire[0] != 0 {
        count += 1;
        wire = without_first_label(wire);
    }
    count
}

fn first_label(wire: &[u8]) -> &[u8] {
    &wire[1..1 + usize::from(wire[0])]
}

fn without_first_label(wire: &[u8]) -> &[u8] {
    &wire[1 + usize::from(wire[0])..]
}

/// Whether the bytes are exactly one uncompressed name (RFC 1035 §3.1).
fn check(wire: &[u8]) -> Result<(), NameError> {
    if wire.len() > MAX_NAME {
        return Err(NameError::NameTooLong);
    }
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at).ok_or(NameError::BadWire)?);
        if length == 0 {
            return if at + 1 == wire.len() { Ok(()) } else { Err(NameError::BadWire) };
        }
        if length > MAX_LABEL {
            return Err(NameError::BadWire);
        }
        at += 1 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, None).unwrap()
    }

    #[test]
    fn a_map_keyed_by_names_is_searched_by_wire_bytes() {
        let map: std::collections::BTreeMap<Name, u8> = [(name("a.example."), 1), (name("b.example."), 2)].into();
        let key = NameBuffer::from_wire(b"\x01B\x07eXample\x00").unwrap();
        assert_eq!(map.get(&key.as_ref() as &dyn WireName), Some(&2));
    }

    /// RFC 4034 §6.1 by its definition: labels from the right, as byte strings.
    #[test]
    fn the_order_is_that_of_reversed_label_sequences() {
        let names: Vec<Name> = [".", "a.", "b.", "a.b.", "b.a.", "c.a.b.", "a.a.b.", "aa.b.", "z.y.x.a.b.", "*.b."]
            .iter()
            .map(|text| name(text))
            .collect();
        let reversed = |name: &Name| {
            let mut labels: Vec<Vec<u8>> = name.labels().map(<[u8]>::to_vec).collect();
            labels.reverse();
            labels
        };
        for a in &names {
            for b in &names {
                assert_eq!(a.cmp(b), reversed(a).cmp(&reversed(b)), "{a} {b}");
            }
        }
    }

    #[test]
    fn shared_labels_count_from_the_root() {
        let shared = |a: &str, b: &str| name(a).as_ref().shared_labels(name(b).as_ref());
        assert_eq!(shared("a.b.example.", "c.b.example."), 2);
        assert_eq!(shared("b.x.example.", "b.example."), 1);
        assert_eq!(shared("example.", "org."), 0);
        assert_eq!(shared(".", "org."), 0);
        assert_eq!(shared("a.org.", "a.org."), 2);
    }

    #[test]
    fn a_substitution_that_grows_too_long_is_refused() {
        let label = "a".repeat(63);
        let long = name(&format!("{label}.{label}.{label}.example."));
        let (owner, target) = (name("example."), name(&format!("{label}.example.")));
        assert_eq!(
            NameBuffer::substituted(long.as_ref(), owner.as_ref(), target.as_ref()),
            Err(NameError::NameTooLong)
        );
        let short = NameBuffer::substituted(name("x.example.").as_ref(), owner.as_ref(), name("org.").as_ref());
        assert_eq!(short.unwrap().as_ref(), name("x.org.").as_ref());
    }

    #[test]
    fn bytes_that_are_not_one_name_are_no_name() {
        for wire in [&b""[..], b"\x01", b"\x01a", b"\x00\x00", b"\x40a", b"\xc0\x0c", b"\x01A\x00"] {
            assert_eq!(NameRef::from_canonical(wire), None, "{wire:?}");
        }
    }
}
