//! What a zone's operators decide about its freshness: part of the genesis, so that all replicas have the same.
//!
//! ```text
//! inception   signed                 renewal due                                      expiration
//!     ├─────────┼──────────────────────────┼──────────────────┬────────────────────────────┤
//!      backdating  renewal − jitter(RRset)     max TTL, and a      in reserve
//!               ├────────────── validity − jitter(RRset) ───────────────────────────────────┤
//! ```
//!
//! Whenever a renewal is due, `validity − renewal` of the signature is left, for every RRset alike; before, more. A
//! record that is handed out then may be kept for its TTL, so no TTL in the zone is larger than `max_ttl`, and
//! `max_ttl` is at most seven eighths of what is left (RFC 6781 §4.4.1, as RFC 4641 §4.1.1 before it: the largest TTL
//! is to be a fraction of the signatures' validity, or validators discard what caches still hold). The last eighth is
//! what a renewal may take until it is published, while replicas are cut off or a large zone is signed anew.
//!
//! A secondary that reaches no replica any more serves what it has until the SOA record's EXPIRE has passed since it
//! last did (RFC 1034 §4.3.5), and is not to show an expired RRSIG before (RFC 6781 §4.4.1: EXPIRE is to be less than
//! the validity of signatures). When it last reached one, every signature had `validity − renewal` left; so EXPIRE is
//! published as at most seven eighths of that, too, and REFRESH and RETRY then as at most a third of EXPIRE, so that it
//! tries in time.
//!
//! Jitter follows from the RRset's identity. An RRset that is renewed somewhat more often than another drifts away from
//! it, so a zone is not renewed all at once for ever after its genesis.
//!
//! The digest of the zone is made at each version, so what it may cost is policy too: by default small zones have one.
//!
//! Deviation: a TTL above the maximum is not refused but lowered where it is published, as RFC 2181 §8 lets every cache
//! do: records from other places may be taken over as they are. So is EXPIRE: the SOA record of a zone that was
//! unsigned until now commonly says weeks. State keeps what its owner wrote; the policy is the same at all replicas, so
//! what they publish is, too.

use serde::{Deserialize, Serialize};

use super::rrsig::Validity;
use crate::crypto::digest::hash;
use crate::directory::Timestamp;
use crate::directory::primary::ZoneSource;
use crate::directory::rrset::{Rrset, RrsetId, Rtype};
use crate::limits::{
    MAX_SIGNATURE_VALIDITY, MAX_TTL, MAX_VERSION_INTERVAL, MIN_HEARTBEAT, MIN_RENEWAL, ZONEMD_NAMES,
    ZONEMD_NAMES_PER_SECOND,
};

const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;

/// How fresh a zone is kept. All in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// From signing to expiration, before jitter is taken off.
    pub validity: u32,
    /// From signing until the signature is renewed, before jitter is taken off.
    pub renewal: u32,
    /// How much earlier than said a signature may be renewed and may expire, at most.
    pub jitter: u32,
    /// How far inception lies before agreed time, for validators whose clocks are behind (RFC 6781 §4.4.2).
    pub backdating: u32,
    /// Larger TTLs are lowered to this.
    pub max_ttl: u32,
    /// From one heartbeat to the next; none: the zone has none.
    pub heartbeat: Option<u32>,
    /// Names up to which the zone has a digest of all its records ([`super::zonemd`]); 0: it has none.
    pub zonemd_names: u32,
    /// From the start of one version to that of the next, at least: changes gather meanwhile.
    pub version_interval: u32,
    /// Where the zone's content comes from. No matter of freshness, but of the zone's operators likewise.
    pub source: ZoneSource,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "signatures valid for {0} s: at most {MAX_SIGNATURE_VALIDITY} s are allowed, since so long a liar can show what was"
    )]
    ValidTooLong(u32),
    #[error(
        "signatures renewed after {renewal} s, and up to {jitter} s earlier: at least {MIN_RENEWAL} s are to lie between two \
         renewals, so raise the one or lower the other"
    )]
    RenewedTooOften { renewal: u32, jitter: u32 },
    #[error("signatures valid for {validity} s and renewed after {renewal} s only: renew them before they expire")]
    RenewedTooLate { validity: u32, renewal: u32 },
    #[error(
        "TTLs of up to {max_ttl} s, while {left} s of a signature may be left: an RRSIG could expire in a cache before its \
         TTL. Set at most {allowed} s, or renew earlier, or let signatures hold longer"
    )]
    OutlivedByTtl { max_ttl: u32, left: u32, allowed: u32 },
    #[error("inception {backdating} s before signing, for signatures that hold {validity} s: lower it")]
    BackdatedTooFar { backdating: u32, validity: u32 },
    #[error("a heartbeat every {0} s: at least {MIN_HEARTBEAT} s are to lie between two")]
    BeatsTooOften(u32),
    #[error(
        "a digest of zones of up to {names} names at every version, and {interval} s between two: hashing takes time, so set \
         at least {needed} s (version-interval)"
    )]
    DigestsTooOften { names: u32, interval: u32, needed: u32 },
    #[error("{0} s between two versions: at most {MAX_VERSION_INTERVAL} s are allowed, or owners wait for ever")]
    VersionsTooRare(u32),
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            validity: 7 * DAY,
            renewal: DAY,
            jitter: 12 * HOUR,
            backdating: HOUR,
            max_ttl: 5 * DAY,
            heartbeat: Some(600),
            zonemd_names: ZONEMD_NAMES,
            version_interval: 0,
            source: ZoneSource::Titles,
        }
    }
}

impl Policy {
    /// Whether it keeps its promises: no RRSIG that expires before its TTL while renewals are not overdue.
    pub fn check(&self) -> Result<(), PolicyError> {
        let Self {
            validity,
            renewal,
            jitter,
            backdating,
            max_ttl,
            heartbeat,
            zonemd_names,
            version_interval,
            source: _,
        } = *self;
        if validity > MAX_SIGNATURE_VALIDITY {
            return Err(PolicyError::ValidTooLong(validity));
        }
        if renewal < jitter.saturating_add(MIN_RENEWAL) {
            return Err(PolicyError::RenewedTooOften { renewal, jitter });
        }
        if validity <= renewal {
            return Err(PolicyError::RenewedTooLate { validity, renewal });
        }
        if backdating > validity {
            return Err(PolicyError::BackdatedTooFar { backdating, validity });
        }
        let (left, allowed) = (self.left_when_due(), self.certainly_left().min(MAX_TTL));
        if max_ttl > allowed {
            return Err(PolicyError::OutlivedByTtl { max_ttl, left, allowed });
        }
        let needed = if zonemd_names > ZONEMD_NAMES { zonemd_names.div_ceil(ZONEMD_NAMES_PER_SECOND) } else { 0 };
        if version_interval < needed {
            return Err(PolicyError::DigestsTooOften { names: zonemd_names, interval: version_interval, needed });
        }
        if version_interval > MAX_VERSION_INTERVAL {
            return Err(PolicyError::VersionsTooRare(version_interval));
        }
        match heartbeat {
            Some(interval) if interval < MIN_HEARTBEAT => Err(PolicyError::BeatsTooOften(interval)),
            _ => Ok(()),
        }
    }

    /// What is left of every signature when its renewal is due.
    fn left_when_due(&self) -> u32 {
        self.validity.saturating_sub(self.renewal)
    }

    /// What is left of every signature that is shown, even if its renewal takes the time that is in reserve for it.
    fn certainly_left(&self) -> u32 {
        let left = self.left_when_due();
        left - left.div_ceil(8)
    }

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

    /// When a signature is to be renewed. `now` is any agreed time within 68 years of it.
    pub fn renewal_due(&self, validity: Validity, now: Timestamp) -> Timestamp {
        let seconds = unfold(validity.expiration, now).saturating_sub(u64::from(self.left_when_due()));
        Timestamp(seconds.saturating_mul(1000))
    }

    /// The RRset as it is published: its TTL is at most the zone's largest, and EXPIRE of an SOA record within the
    /// validity of signatures.
    pub fn published(&self, mut rrset: Rrset) -> Rrset {
        rrset.ttl = rrset.ttl.min(self.max_ttl);
        if rrset.rtype != Rtype::SOA {
            return rrset;
        }
        let rdatas = rrset.rdatas().iter().map(|rdata| self.bounded(rdata.clone()));
        Rrset::new(rrset.rtype, rrset.ttl, rdatas.collect())
    }

    /// RDATA of an SOA record, which ends in SERIAL, REFRESH, RETRY, EXPIRE and MINIMUM (RFC 1035 §3.3.13).
    fn bounded(&self, mut soa: Vec<u8>) -> Vec<u8> {
        let most = self.certainly_left();
        let Some([_, refresh, retry, expire, _]) = soa.last_chunk_mut::<20>().map(|it| it.as_chunks_mut::<4>().0)
        else {
            return soa;
        };
        if u32::from_be_bytes(*expire) > most {
            *expire = most.to_be_bytes();
            for often in [refresh, retry] {
                *often = u32::from_be_bytes(*often).min(most / 3).to_be_bytes();
            }
        }
        soa
    }
}

/// The time within 68 years of `now` that is `seconds` modulo 2³² (RFC 1982, as RFC 4034 §3.1.5 asks).
fn unfold(seconds: u32, now: Timestamp) -> u64 {
    let distance = seconds.wrapping_sub(now.seconds() as u32) as i32;
    now.seconds().saturating_add_signed(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::directory::name::Name;
    use crate::directory::rrset::Rtype;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn id(label: &str) -> RrsetId {
        let zone = Name::parse("example.", None).unwrap();
        RrsetId { name: Name::parse(label, Some(&zone)).unwrap(), zone, rtype: Rtype::A }
    }

    fn numbers_of(soa: &Rrset) -> [u32; 5] {
        let numbers = soa.rdatas()[0].last_chunk::<20>().unwrap().as_chunks::<4>().0;
        [0, 1, 2, 3, 4].map(|at| u32::from_be_bytes(numbers[at]))
    }

    /// Any policy, most of which cannot be kept.
    fn drawn() -> impl Strategy<Value = Policy> {
        let times = (0u32..1 << 24, 0u32..1 << 24, 0u32..1 << 20, 0u32..1 << 20, 0u32..1 << 20);
        times.prop_map(|(validity, renewal, jitter, backdating, max_ttl)| Policy {
            validity,
            renewal,
            jitter,
            backdating,
            max_ttl,
            heartbeat: None,
            ..Policy::default()
        })
    }

    /// A policy that can be kept, some of them just so.
    fn sound() -> impl Strategy<Value = Policy> {
        let times = (MIN_RENEWAL..1 << 21, 1u32..1 << 21, any::<[bool; 3]>(), any::<[u32; 3]>());
        times.prop_map(|(renewal, left, largest, [jitter, backdating, max_ttl])| {
            let up_to = |bound: u32, at: usize, drawn: u32| if largest[at] { bound } else { drawn % (bound + 1) };
            let validity = renewal + left;
            Policy {
                validity,
                renewal,
                jitter: up_to(renewal - MIN_RENEWAL, 0, jitter),
                backdating: up_to(validity, 1, backdating),
                max_ttl: up_to((left - left.div_ceil(8)).min(MAX_TTL), 2, max_ttl),
                heartbeat: None,
                ..Policy::default()
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Whoever is given a record may keep it for its TTL, and its RRSIG holds all that time.
        #[test]
        fn until_its_renewal_is_due_no_rrsig_expires_before_its_ttl(
            policy in sound(),
            label in "[a-z]{1,8}",
            now in 0u64..1 << 33,
            ttl in any::<u32>(),
            wait in any::<u64>(),
        ) {
            prop_assert_eq!(policy.check(), Ok(()));
            let now = Timestamp(now * 1000);
            let rrset = policy.published(Rrset::new(Rtype::A, ttl, vec![vec![192, 0, 2, 1]]));
            let validity = policy.validity(&id(&label), now);
            let due = policy.renewal_due(validity, now);
            prop_assert!(due.seconds() >= now.seconds() + u64::from(MIN_RENEWAL));
            prop_assert!(due.seconds() <= now.seconds() + u64::from(policy.renewal));
            // A secondary may stand still from then on.
            let [_, _, _, expire, _] = numbers_of(&policy.published(soa([1, ttl, ttl, ttl, ttl])));
            prop_assert!(due.seconds() + u64::from(expire) < unfold(validity.expiration, now));
            let asked = now.seconds() + wait % (due.seconds() - now.seconds() + 1);
            let expiration = unfold(validity.expiration, now);
            prop_assert!(asked + u64::from(rrset.ttl) <= expiration, "{policy:?}: asked at {asked}, until {expiration}");
            prop_assert!(unfold(validity.inception, now) <= asked);
        }

        /// The other way round: what is refused for its TTLs would break the promise, or leave next to no time to renew.
        #[test]
        fn a_policy_is_refused_for_its_ttl_only_with_reason(policy in drawn()) {
            if let Err(PolicyError::OutlivedByTtl { max_ttl, left, allowed }) = policy.check() {
                prop_assert!(max_ttl > left - left.div_ceil(8) || max_ttl > MAX_TTL);
                let sound = Policy { max_ttl: allowed, ..policy };
                prop_assert_eq!(sound.check(), Ok(()));
            }
        }
    }

    #[test]
    fn the_default_policy_is_sound() {
        assert_eq!(Policy::default().check(), Ok(()));
        let Policy { validity, renewal, heartbeat, .. } = Policy::default();
        assert_eq!((validity, renewal, heartbeat), (7 * DAY, DAY, Some(600)));
    }

    fn soa(numbers: [u32; 5]) -> Rrset {
        let rdata = [vec![0, 0], numbers.map(u32::to_be_bytes).concat()].concat();
        Rrset::new(Rtype::SOA, 3600, vec![rdata])
    }

    #[test]
    fn a_secondary_that_is_cut_off_stops_before_signatures_expire() {
        let policy = Policy::default();
        let most = 6 * DAY * 7 / 8;
        assert_eq!(policy.published(soa([7, 7200, 900, 14 * DAY, 60])), soa([7, 7200, 900, most, 60]));
        assert_eq!(policy.published(soa([7, 7200, 900, most + 1, 60])), soa([7, 7200, 900, most, 60]));
        for within in [soa([7, 7200, 900, most, 60]), soa([7, 3 * DAY, 900, 3 * DAY, 60]), soa([7, 0, 0, 0, 0])] {
            assert_eq!(policy.published(within.clone()), within, "what its owner wrote");
        }
        let rare = policy.published(soa([7, 10 * DAY, 5 * DAY, u32::MAX, 60]));
        assert_eq!(rare, soa([7, most / 3, most / 3, most, 60]), "it tries to reach a replica before");
        let other = Rrset::new(Rtype::TXT, 60, vec![vec![0xff; 22]]);
        assert_eq!(policy.published(other.clone()), other);
    }

    #[test]
    fn policies_that_would_serve_expired_signatures_are_refused() {
        let default = Policy::default();
        let refused = |policy: Policy| policy.check().unwrap_err().to_string();
        let larger = refused(Policy { max_ttl: 6 * DAY, ..default });
        assert!(larger.contains("could expire in a cache before its TTL") && larger.contains("453600"), "{larger}");
        for (policy, expected) in [
            (Policy { renewal: 7 * DAY, jitter: DAY, ..default }, "before they expire"),
            (Policy { renewal: 3 * DAY, ..default }, "at most 302400 s"),
            (Policy { jitter: DAY, ..default }, "between two renewals"),
            (Policy { validity: u32::MAX, ..default }, "are allowed"),
            (Policy { backdating: 8 * DAY, ..default }, "lower it"),
            (Policy { heartbeat: Some(0), ..default }, "heartbeat"),
            (Policy { zonemd_names: 2001, ..default }, "at least 1 s"),
            (Policy { zonemd_names: 150_001, version_interval: 3, ..default }, "at least 4 s"),
            (Policy { version_interval: 3601, ..default }, "at most 3600 s"),
        ] {
            assert!(refused(policy).contains(expected), "{policy:?}: {}", refused(policy));
        }
    }

    #[test]
    fn jitter_spreads_expiration_within_its_bound_and_is_the_same_each_time() {
        let policy = Policy::default();
        let expirations: std::collections::BTreeSet<u32> =
            (0..50).map(|number| policy.validity(&id(&format!("n{number}")), NOW).expiration).collect();
        assert!(expirations.len() > 45);
        let latest = NOW.seconds() as u32 + policy.validity;
        assert!(expirations.iter().all(|&it| latest - policy.jitter <= it && it <= latest));
        assert_eq!(policy.validity(&id("a"), NOW), policy.validity(&id("a"), NOW));
    }

    #[test]
    fn times_go_on_after_2106() {
        let now = Timestamp(((1u64 << 32) + 50) * 1000);
        let policy = Policy { validity: 1000, renewal: 400, jitter: 0, ..Policy::default() };
        let due = policy.renewal_due(policy.validity(&id("a"), now), now);
        assert_eq!(due, Timestamp(((1u64 << 32) + 450) * 1000));
    }
}
