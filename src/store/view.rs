//! The door out: everything published at one height, immutable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::zone::SignedZone;

/// The published zones at a height. Cheap to clone; never changes.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Commits executed when this was published.
    pub height: u64,
    pub agreed_time: Timestamp,
    pub zones: BTreeMap<Name, Arc<SignedZone>>,
}

impl View {
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
}
