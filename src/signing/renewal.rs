//! When signatures expire, and when each is due to be made anew.
//!
//! Times derive from agreed time and from the RRset's identity alone. Renewals are spread: two RRsets signed at once
//! expire up to [`Policy::jitter`] apart, so a zone is not renewed all at once for ever after its genesis.

use std::collections::{BTreeMap, BTreeSet};

use super::rrsig::{Validity, validity_of};
use crate::crypto::digest::hash;
use crate::directory::Timestamp;
use crate::directory::rrset::RrsetId;
use crate::directory::zone::SignedZone;

/// How long signatures hold. All in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// From signing to expiration, before jitter is taken off.
    pub validity: u32,
    /// How far inception lies before agreed time, for validators whose clocks are behind (RFC 6781 §4.4.2).
    pub backdating: u32,
    /// How much earlier than `validity` a signature may expire, at most.
    pub jitter: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { validity: 14 * 24 * 3600, backdating: 3600, jitter: 2 * 24 * 3600 }
    }
}

impl Policy {
    /// The validity of a signature of `id` whose task is opened at `now`.
    pub fn validity(&self, id: &RrsetId, now: Timestamp) -> Validity {
        let seconds = now.seconds() as u32;
        let digest =
            hash("torrens v1 signature jitter", &[id.zone.as_wire(), id.name.as_wire(), &id.rtype.0.to_be_bytes()]);
        let word = u32::from_be_bytes(digest.0[..4].try_into().expect("4 of 32 bytes"));
        let jitter = word % self.jitter.saturating_add(1);
        Validity {
            inception: seconds.wrapping_sub(self.backdating),
            expiration: seconds.wrapping_add(self.validity.saturating_sub(jitter)),
        }
    }
}

/// Signatures in order of the time at which half their validity is over.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Renewals {
    due: BTreeSet<(u64, RrsetId)>,
    at: BTreeMap<RrsetId, u64>,
}

impl Renewals {
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
        let inception = unfold(validity.inception, now);
        let half = u64::from(validity.expiration.wrapping_sub(validity.inception)) / 2;
        let at = inception.saturating_add(half);
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
        self.due.iter().take_while(move |(at, _)| *at <= now.seconds()).map(|(_, id)| id).take(limit)
    }

    /// When the next renewal is due: the time to set a timer to.
    pub fn earliest(&self) -> Option<Timestamp> {
        let (at, _) = self.due.first()?;
        Some(Timestamp(at.saturating_mul(1000)))
    }

    pub fn len(&self) -> usize {
        self.at.len()
    }

    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

/// The time within 68 years of `now` that is `seconds` modulo 2³² (RFC 1982, as RFC 4034 §3.1.5 asks).
fn unfold(seconds: u32, now: Timestamp) -> u64 {
    let distance = seconds.wrapping_sub(now.seconds() as u32) as i32;
    now.seconds().saturating_add_signed(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::name::Name;
    use crate::directory::rrset::Rtype;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn id(label: &str) -> RrsetId {
        let zone = Name::parse("example.", None).unwrap();
        RrsetId { name: Name::parse(label, Some(&zone)).unwrap(), zone, rtype: Rtype::A }
    }

    #[test]
    fn a_signature_is_due_when_half_of_its_validity_is_over() {
        let policy = Policy { validity: 1000, backdating: 200, jitter: 0 };
        let validity = policy.validity(&id("a"), NOW);
        assert_eq!((validity.inception, validity.expiration), (1_799_999_800, 1_800_001_000));
        let mut renewals = Renewals::default();
        renewals.insert(id("a"), validity, NOW);
        assert_eq!(renewals.earliest(), Some(Timestamp(1_800_000_400_000)));
        assert_eq!(renewals.due(Timestamp(1_800_000_399_999), 9).count(), 0);
        assert_eq!(renewals.due(Timestamp(1_800_000_400_000), 9).collect::<Vec<_>>(), [&id("a")]);
        renewals.remove(&id("a"));
        assert_eq!(renewals.earliest(), None);
    }

    #[test]
    fn jitter_spreads_expiration_within_its_bound_and_is_the_same_each_time() {
        let policy = Policy::default();
        let expirations: BTreeSet<u32> =
            (0..50).map(|number| policy.validity(&id(&format!("n{number}")), NOW).expiration).collect();
        assert!(expirations.len() > 45);
        let latest = NOW.seconds() as u32 + policy.validity;
        assert!(expirations.iter().all(|&it| latest - policy.jitter <= it && it <= latest));
        assert_eq!(policy.validity(&id("a"), NOW), policy.validity(&id("a"), NOW));
    }

    #[test]
    fn times_go_on_after_2106() {
        let now = Timestamp(((1u64 << 32) + 50) * 1000);
        let policy = Policy { validity: 1000, backdating: 200, jitter: 0 };
        let mut renewals = Renewals::default();
        renewals.insert(id("a"), policy.validity(&id("a"), now), now);
        assert_eq!(renewals.earliest(), Some(Timestamp(((1u64 << 32) + 450) * 1000)));
    }

    #[test]
    fn a_new_signature_takes_the_place_of_the_old() {
        let mut renewals = Renewals::default();
        renewals.insert(id("a"), Policy::default().validity(&id("a"), NOW), NOW);
        let later = Timestamp(NOW.0 + 1_000_000);
        renewals.insert(id("a"), Policy::default().validity(&id("a"), later), later);
        assert_eq!((renewals.len(), renewals.due(Timestamp(u64::MAX), 9).count()), (1, 1));
    }
}
