//! Which signature is to be made anew next.

use std::collections::{BTreeMap, BTreeSet};

use super::policy::Policy;
use super::rrsig::{Validity, validity_of};
use crate::directory::Timestamp;
use crate::directory::rrset::RrsetId;
use crate::directory::zone::SignedZone;

/// Signatures in order of the time at which their policy has them renewed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renewals {
    policy: Policy,
    due: BTreeSet<(Timestamp, RrsetId)>,
    at: BTreeMap<RrsetId, Timestamp>,
}

impl Renewals {
    pub fn new(policy: Policy) -> Self {
        Self { policy, due: BTreeSet::new(), at: BTreeMap::new() }
    }

    /// The index of a zone's signatures, as it is after a restart. `now` is any agreed time within 68 years of them.
    pub fn add_zone(&mut self, zone: &SignedZone, now: Timestamp) {
        for node in zone.nodes() {
            for signed in node.rrsets() {
                if let Some(validity) = signed.rrsig().and_then(validity_of) {
                    let name = node.owner().to_name();
                    self.insert(RrsetId { zone: zone.apex().clone(), name, rtype: signed.rtype }, validity, now);
                }
            }
        }
    }

    /// Notes the newest signature of an RRset.
    pub fn insert(&mut self, id: RrsetId, validity: Validity, now: Timestamp) {
        self.remove(&id);
        let at = self.policy.renewal_due(validity, now);
        self.due.insert((at, id.clone()));
        self.at.insert(id, at);
    }

    /// The RRset is gone, or is not signed any more.
    pub fn remove(&mut self, id: &RrsetId) {
        if let Some(at) = self.at.remove(id) {
            self.due.remove(&(at, id.clone()));
        }
    }

    /// RRsets to sign anew at agreed time `now`, the longest due first, at most `limit`.
    pub fn due(&self, now: Timestamp, limit: usize) -> impl Iterator<Item = &RrsetId> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| id).take(limit)
    }

    /// When the next renewal is due: the time to set a timer to.
    pub fn earliest(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    pub fn len(&self) -> usize {
        self.at.len()
    }

    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::name::Name;
    use crate::directory::primary::ZoneSource;
    use crate::directory::rrset::Rtype;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const POLICY: Policy = Policy {
        validity: 1000,
        renewal: 400,
        jitter: 0,
        backdating: 200,
        max_ttl: 300,
        heartbeat: None,
        zonemd_names: 0,
        version_interval: 0,
        source: ZoneSource::Titles,
    };

    fn id(label: &str) -> RrsetId {
        let zone = Name::parse("example.", None).unwrap();
        RrsetId { name: Name::parse(label, Some(&zone)).unwrap(), zone, rtype: Rtype::A }
    }

    #[test]
    fn a_signature_is_due_when_its_policy_says() {
        let validity = POLICY.validity(&id("a"), NOW);
        assert_eq!((validity.inception, validity.expiration), (1_799_999_800, 1_800_001_000));
        let mut renewals = Renewals::new(POLICY);
        renewals.insert(id("a"), validity, NOW);
        assert_eq!(renewals.earliest(), Some(Timestamp(1_800_000_400_000)));
        assert_eq!(renewals.due(Timestamp(1_800_000_399_999), 9).count(), 0);
        assert_eq!(renewals.due(Timestamp(1_800_000_400_000), 9).collect::<Vec<_>>(), [&id("a")]);
        renewals.remove(&id("a"));
        assert_eq!(renewals.earliest(), None);
    }

    #[test]
    fn a_new_signature_takes_the_place_of_the_old() {
        let mut renewals = Renewals::new(POLICY);
        renewals.insert(id("a"), POLICY.validity(&id("a"), NOW), NOW);
        let later = Timestamp(NOW.0 + 1_000_000);
        renewals.insert(id("a"), POLICY.validity(&id("a"), later), later);
        assert_eq!((renewals.len(), renewals.due(Timestamp(u64::MAX), 9).count()), (1, 1));
    }
}
