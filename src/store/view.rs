//! The door out: everything published at one height, immutable.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::directory::Timestamp;
use crate::directory::differences::Differences;
use crate::directory::name::Name;
use crate::directory::name_ref::{NameRef, WireName};
use crate::directory::zone::SignedZone;

/// The published zones at a height. Cheap to clone; never changes.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Commits executed when this was published.
    pub height: u64,
    pub agreed_time: Timestamp,
    pub zones: BTreeMap<Name, Arc<SignedZone>>,
    /// How each zone came to be what it is.
    pub differences: BTreeMap<Name, Differences>,
    /// The state was lost, or is not the cluster's: nothing is answered, rather than something old or wrong.
    pub withheld: bool,
    /// The replica has just started and reads its disk: zones without records are not read yet, and there are no differences.
    pub starting: bool,
}

impl View {
    /// Of a replica that has nothing it may show.
    pub fn withheld() -> Self {
        Self { withheld: true, ..Self::default() }
    }

    /// Of a replica that has read nothing of these zones yet.
    pub fn starting(apexes: impl IntoIterator<Item = Name>) -> Self {
        let zones = apexes.into_iter().map(|apex| (apex.clone(), Arc::new(SignedZone::new(apex)))).collect();
        Self { zones, starting: true, ..Self::default() }
    }

    /// The zone whose apex is the closest ancestor of `name`, or `name` itself.
    pub fn zone_for(&self, name: &Name) -> Option<&SignedZone> {
        let mut at = Some(name.clone());
        while let Some(candidate) = at {
            if let Some(zone) = self.zones.get(&candidate) {
                return Some(zone);
            }
            at = candidate.parent();
        }
        None
    }

    /// As [`View::zone_for`], without an allocation, and without a search for each of 127 labels: every apex above
    /// `name` is also above the last apex that is not after it, so what the two do not share need not be looked up.
    pub fn zone_above(&self, name: NameRef<'_>) -> Option<&SignedZone> {
        if let (1, Some((apex, zone))) = (self.zones.len(), self.zones.first_key_value()) {
            return name.is_within(apex.as_ref()).then_some(zone);
        }
        let mut name = name;
        loop {
            let up_to: (Bound<&dyn WireName>, Bound<&dyn WireName>) = (Bound::Unbounded, Bound::Included(&name));
            let (apex, zone) = self.zones.range::<dyn WireName, _>(up_to).next_back()?;
            let shared = name.shared_labels(apex.as_ref());
            if shared == apex.label_count() {
                return Some(zone);
            }
            name = name.suffix(shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_searches_find_the_closest_zone() {
        let name = |text: &str| Name::parse(text, None).unwrap();
        let apexes = ["example.", "a.example.", "b.a.example.", "c.example.", "z.org.", "x.y.z.org."];
        for with_root in [false, true] {
            let mut view = View::default();
            for apex in apexes.into_iter().chain(with_root.then_some(".")) {
                view.zones.insert(name(apex), Arc::new(SignedZone::new(name(apex))));
            }
            for text in [
                ".",
                "example.",
                "a.example.",
                "d.a.example.",
                "c.b.a.example.",
                "bb.example.",
                "w.c.example.",
                "org.",
                "z.org.",
                "y.z.org.",
                "a.x.y.z.org.",
                "zz.org.",
                "zzz.",
                "a.b.c.d.e.z.y.z.org.",
            ] {
                let (plain, borrowed) = (view.zone_for(&name(text)), view.zone_above(name(text).as_ref()));
                assert_eq!(plain.map(SignedZone::apex), borrowed.map(SignedZone::apex), "{text}");
                for (apex, zone) in &view.zones {
                    let alone = View { zones: [(apex.clone(), Arc::clone(zone))].into(), ..View::default() };
                    assert_eq!(alone.zone_above(name(text).as_ref()).is_some(), name(text).is_within(apex), "{text}");
                }
            }
        }
    }
}
