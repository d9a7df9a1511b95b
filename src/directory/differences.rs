//! What lies between the versions of a zone, for incremental transfer (IXFR, RFC 1995). Pure.
//!
//! For each of the latest versions, what was there before it: the former records of each RRset that it put or deleted. With
//! the published zone that is enough. Between an earlier version and the published one differ, at most, the RRsets that
//! some version after the earlier one touched; what each of them was is what the first of those versions found there;
//! what it is, the published zone has. So several versions are always condensed into one difference (RFC 1995 §5): an
//! NSEC record that twenty versions changed is deleted once and added once, and the SOA record with its signature
//! likewise. Giving the versions one after another would cost the secondary and the line more, and us the storage of
//! what was between.
//!
//! They are part of the agreed state, a row for each version: a replica that restarts, or copies the state of the others,
//! answers with the same bytes as one that saw every version, and no secondary needs the whole zone because of it.
//!
//! Serials ascend by one from version to version, around 2³² (RFC 1982).

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::Vector;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::SignedZone;
use crate::limits::{MAX_DIFFERENCE_BYTES, MAX_DIFFERENCES};

/// An RRset as it was before a version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Before {
    pub name: Name,
    pub rtype: Rtype,
    /// Its records behind each other, the RRSIG last: type, class, TTL, RDLENGTH, RDATA. Empty, if there was no such RRset.
    #[serde(with = "crate::codec::bytes")]
    records: Vec<u8>,
}

impl Before {
    /// The RRset of this name and type as `zone` has it.
    pub fn of(zone: &SignedZone, name: Name, rtype: Rtype) -> Self {
        let records: Vec<&[u8]> = zone.rrset(&name, rtype).into_iter().flat_map(|rrset| rrset.records(true)).collect();
        Self { records: records.concat(), name, rtype }
    }

    /// Each record: type, class, TTL, RDLENGTH, RDATA.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.records;
        std::iter::from_fn(move || {
            let length = rest.get(8..10)?;
            let (record, after) =
                rest.split_at_checked(10 + usize::from(u16::from_be_bytes([length[0], length[1]])))?;
            rest = after;
            Some(record)
        })
    }
}

/// What one version touched, in any order, each RRset once.
#[derive(Clone, Debug)]
struct Version {
    before: Arc<[Before]>,
    /// Of its encoding.
    bytes: usize,
}

/// The latest versions of a zone without a gap, up to the published one. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Differences {
    versions: Vector<Version>,
    bytes: usize,
}

impl Differences {
    /// Adds what the version after the last one touched. Its stored form, unless that is over the limit alone, and how many
    /// versions had to go for it, the earliest first.
    pub fn push(&mut self, touched: impl Iterator<Item = Before>) -> (Option<Vec<u8>>, usize) {
        let earlier = self.versions.len();
        let (mut before, mut bytes) = (Vec::new(), 0);
        for it in touched {
            bytes += it.records.len();
            before.push(it);
            if bytes > MAX_DIFFERENCE_BYTES {
                *self = Self::default();
                return (None, earlier);
            }
        }
        let encoded = codec::encode(&before);
        self.push_version(Version { before: before.into(), bytes: encoded.len() });
        let is_kept = !self.versions.is_empty();
        let gone = earlier + usize::from(is_kept) - self.versions.len();
        (is_kept.then_some(encoded), gone)
    }

    fn push_version(&mut self, version: Version) {
        self.bytes += version.bytes;
        self.versions.push_back(version);
        while self.versions.len() > MAX_DIFFERENCES || self.bytes > MAX_DIFFERENCE_BYTES {
            let first = self.versions.pop_front().expect("what has bytes has versions");
            self.bytes -= first.bytes;
        }
    }

    /// From stored forms, the earliest first. None if they are none.
    pub fn load<'a>(rows: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut differences = Self::default();
        for row in rows {
            let before: Vec<Before> = codec::decode(row, MAX_DIFFERENCE_BYTES).ok()?;
            let is_whole = |it: &Before| it.records().map(<[u8]>::len).sum::<usize>() == it.records.len();
            if !before.iter().all(is_whole) {
                return None;
            }
            differences.push_version(Version { before: before.into(), bytes: row.len() });
        }
        Some(differences)
    }

    /// How many versions there are.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// What lies between the version that is `behind` versions before the published one, and that. None if it is not known
    /// any more.
    pub fn since(&self, behind: u32) -> Option<Difference> {
        let first = self.versions.len().checked_sub(usize::try_from(behind).ok()?)?;
        let mut touched: BTreeMap<(&Name, Rtype), (u32, u32)> = BTreeMap::new();
        for (number, version) in (0u32..).zip(self.versions.iter()).skip(first) {
            for (at, before) in (0u32..).zip(version.before.iter()) {
                touched.entry((&before.name, before.rtype)).or_insert((number, at));
            }
        }
        let touched = touched.into_values().collect();
        Some(Difference { versions: self.versions.clone(), touched })
    }
}

/// The RRsets that may differ between two versions, in canonical order of name and type, as they were in the earlier one.
pub struct Difference {
    versions: Vector<Version>,
    /// Version, and place in it.
    touched: Vec<(u32, u32)>,
}

impl Difference {
    pub fn get(&self, at: usize) -> Option<&Before> {
        let &(number, at) = self.touched.get(at)?;
        self.versions.get(number as usize)?.before.get(at as usize)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Before> {
        (0..self.touched.len()).filter_map(|at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::rrset::Rrset;
    use crate::directory::zone::SignedRrset;

    fn name(text: &str) -> Name {
        Name::parse(text, None).unwrap()
    }

    fn put(zone: &mut SignedZone, owner: &str, byte: u8) -> Before {
        let before = Before::of(zone, name(owner), Rtype::A);
        let rrset = Rrset::new(Rtype::A, 300, vec![vec![byte; 4], vec![byte, 0, 0, 0]]);
        zone.put(&name(owner), SignedRrset { rrset, rrsig: Some(vec![byte; 30]) });
        before
    }

    #[test]
    fn what_was_there_is_what_the_first_version_after_it_found() {
        let mut zone = SignedZone::new(name("z."));
        let mut differences = Differences::default();
        put(&mut zone, "a.z.", 1);
        let first = Before::of(&zone, name("a.z."), Rtype::A);
        assert_eq!(first.records().count(), 3);
        for (owner, byte) in [("a.z.", 2), ("b.z.", 3), ("a.z.", 4)] {
            let before = put(&mut zone, owner, byte);
            assert_eq!(differences.push([before].into_iter()).1, 0);
        }
        let since = |behind| {
            let difference: Difference = differences.since(behind)?;
            Some(difference.iter().map(|it| (it.name.clone(), it.records().count())).collect::<Vec<_>>())
        };
        assert_eq!(since(0), Some(vec![]));
        assert_eq!(since(1), Some(vec![(name("a.z."), 3)]));
        assert_eq!(since(3), Some(vec![(name("a.z."), 3), (name("b.z."), 0)]));
        assert_eq!(differences.since(3).unwrap().get(0), Some(&first));
        assert_eq!(since(4), None);
        assert_eq!(since(u32::MAX), None);
    }

    #[test]
    fn versions_and_bytes_are_bounded_and_what_is_stored_is_read_back() {
        let mut differences = Differences::default();
        let mut rows = std::collections::VecDeque::new();
        let mut push = |differences: &mut Differences, bytes: usize| {
            let before = Before { name: name("a.z."), rtype: Rtype::A, records: record(bytes) };
            let (row, gone) = differences.push([before].into_iter());
            rows.extend(row);
            rows.drain(..gone);
            assert_eq!(rows.len(), differences.len());
            assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), differences.bytes);
            let read = Differences::load(rows.iter().map(Vec::as_slice)).unwrap();
            assert_eq!((read.len(), read.bytes), (differences.len(), differences.bytes));
        };
        for _ in 0..20 {
            push(&mut differences, MAX_DIFFERENCE_BYTES / 10);
        }
        assert_eq!(differences.len(), 10);
        // More than all may take: nothing of it is kept, nor of what was before.
        push(&mut differences, 2 * MAX_DIFFERENCE_BYTES);
        assert_eq!(differences.len(), 0);
        push(&mut differences, 10);
        assert_eq!(differences.len(), 1);
        for _ in 0..MAX_DIFFERENCES + 5 {
            differences.push(std::iter::empty());
        }
        assert_eq!(differences.len(), MAX_DIFFERENCES);
    }

    /// Records of these bytes in all, or a few less.
    fn record(bytes: usize) -> Vec<u8> {
        let one = [&[0, 1, 0, 1, 0, 0, 0, 0, 0x80, 0][..], &[7; 0x8000]].concat();
        one.repeat(bytes / one.len())
    }

    #[test]
    fn the_bytes_of_a_row_are_frozen() {
        let mut zone = SignedZone::new(name("z."));
        let new = put(&mut zone, "a.z.", 1);
        let changed = put(&mut zone, "a.z.", 2);
        let (row, _) = Differences::default().push([new, changed].into_iter());
        let hex = data_encoding::HEXLOWER.encode(&row.unwrap());
        assert_eq!(hex, include_str!("../../tests/golden/row-difference.hex").trim_end());
    }

    #[test]
    fn damaged_rows_are_refused() {
        let whole = Before { name: name("a.z."), rtype: Rtype::A, records: vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 7] };
        let row = codec::encode(&vec![whole]);
        assert!(Differences::load([&row[..]].into_iter()).is_some());
        assert!(Differences::load([&row[..row.len() - 1]].into_iter()).is_none());
        let cut = Before { name: name("a.z."), rtype: Rtype::A, records: vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 7] };
        assert!(Differences::load([&codec::encode(&vec![cut])[..]].into_iter()).is_none());
    }
}
