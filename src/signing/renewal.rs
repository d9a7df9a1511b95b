//! Which signature is to be made anew next.

use std::collections::BTreeSet;

use super::policy::Policy;
use super::rrsig::{Validity, validity_of};
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::SignedZone;

/// The signatures of a zone in order of the time at which its policy has them renewed. That time follows from a signature's
/// own, so that it is not kept a second time by name: a zone of a million names has three million of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renewals {
    policy: Policy,
    due: BTreeSet<(Timestamp, Name, Rtype)>,
}

impl Renewals {
    pub fn new(policy: Policy) -> Self {
        Self { policy, due: BTreeSet::new() }
    }

    /// Of a zone's signatures, as it is after a restart. `now` is any agreed time within 68 years of them.
    pub fn of(policy: Policy, zone: &SignedZone, now: Timestamp) -> Self {
        let signed = zone.nodes().flat_map(|node| node.rrsets().map(move |rrset| (node, rrset)));
        let due = signed.filter_map(|(node, rrset)| {
            let validity = rrset.rrsig().and_then(validity_of)?;
            Some((policy.renewal_due(validity, now), node.owner().to_name(), rrset.rtype))
        });
        // It sorts them once.
        Self { policy, due: due.collect() }
    }

    /// Notes the signature of an RRset, which has no other.
    pub fn insert(&mut self, name: Name, rtype: Rtype, validity: Validity, now: Timestamp) {
        self.due.insert((self.policy.renewal_due(validity, now), name, rtype));
    }

    /// The signature of this validity is gone, or has a successor.
    pub fn remove(&mut self, name: &Name, rtype: Rtype, validity: Validity, now: Timestamp) {
        self.due.remove(&(self.policy.renewal_due(validity, now), name.clone(), rtype));
    }

    /// RRsets to sign anew at agreed time `now`, the longest due first, at most `limit`.
    pub fn due(&self, now: Timestamp, limit: usize) -> impl Iterator<Item = (&Name, Rtype)> {
        let due = self.due.iter().take_while(move |(at, ..)| *at <= now);
        due.map(|(_, name, rtype)| (name, *rtype)).take(limit)
    }

    /// When the next renewal is due: the time to set a timer to.
    pub fn earliest(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, ..)| *at)
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519::Signature;
    use crate::directory::primary::ZoneSource;
    use crate::directory::rrset::{Rrset, RrsetId};
    use crate::directory::zone::SignedRrset;
    use crate::signing::rrsig::to_be_signed;

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
        renewals.insert(id("a").name, Rtype::A, validity, NOW);
        assert_eq!(renewals.earliest(), Some(Timestamp(1_800_000_400_000)));
        assert_eq!(renewals.due(Timestamp(1_800_000_399_999), 9).count(), 0);
        let due: Vec<_> = renewals.due(Timestamp(1_800_000_400_000), 9).collect();
        assert_eq!(due, [(&id("a").name, Rtype::A)]);
        // Whenever that is.
        renewals.remove(&id("a").name, Rtype::A, validity, Timestamp(NOW.0 + 900_000_000));
        assert_eq!(renewals.earliest(), None);
    }

    #[test]
    fn the_signatures_of_a_zone_that_was_read_back_are_those_that_were_noted() {
        let apex = Name::parse("example.", None).unwrap();
        let (mut zone, mut renewals) = (SignedZone::new(apex), Renewals::new(POLICY));
        for (at, label) in (0..).zip(["b", "a", "c"]) {
            let signed = Timestamp(NOW.0 + 1000 * at);
            let rrset = Rrset::new(Rtype::A, 60, vec![vec![192, 0, 2, 1]]);
            let validity = POLICY.validity(&id(label), signed);
            let unsigned = to_be_signed(&id(label).name, &rrset, zone.apex(), 7, validity);
            let rrsig = Some(unsigned.rrsig_rdata(&Signature::from_bytes([1; 64])));
            zone.put(&id(label).name, SignedRrset { rrset, rrsig });
            renewals.insert(id(label).name, Rtype::A, validity, signed);
        }
        let unsigned = Rrset::new(Rtype::NS, 60, vec![vec![0]]);
        zone.put(&id("d").name, SignedRrset { rrset: unsigned, rrsig: None });
        assert_eq!(renewals.len(), 3);
        assert_eq!(Renewals::of(POLICY, &zone, NOW), renewals);
    }
}
