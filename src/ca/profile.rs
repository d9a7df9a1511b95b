//! The profile's numbers: validity and serial.

use std::time::Duration;

use x509_cert::der::DateTime;
use x509_cert::time::{Time, Validity};

use super::root::Authority;
use crate::crypto::digest::{Digest, hash};
use crate::directory::Timestamp;
use crate::limits::{
    CERTIFICATE_BACKDATE_S, CERTIFICATE_VALIDITY_S, MAX_CERTIFICATE_TIME_S, MIN_CERTIFICATE_VALIDITY_S,
};

/// Bytes of every serial number: the most that RFC 5280 §4.1.2.2 allows.
pub const SERIAL_LENGTH: usize = 20;

const SERIAL_DOMAIN: &str = "torrens v1 certificate serial";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadTime {
    #[error("the title expires within the hour: renew it first")]
    TitleExpires,
    #[error("the certificate of the authority is not valid at this time: its operators must deal a new one")]
    AuthorityExpired,
    #[error("a time that no certificate can hold")]
    OutOfRange,
}

/// A serial number: positive, and never a leading zero byte, so that every one is 20 bytes long, with 158 free bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Serial([u8; SERIAL_LENGTH]);

impl Serial {
    /// Big-endian.
    pub fn as_bytes(&self) -> &[u8; SERIAL_LENGTH] {
        &self.0
    }

    pub(super) fn from_digest(digest: Digest) -> Self {
        let mut serial: [u8; SERIAL_LENGTH] = digest.0[..SERIAL_LENGTH].try_into().expect("20 of 32");
        serial[0] = serial[0] & 0x3f | 0x40;
        Self(serial)
    }
}

/// First and last second of validity, in seconds since the epoch. Both belong to it (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

impl Period {
    /// A period that starts no later than it ends, within the years that certificates can name.
    pub fn new(not_before: u64, not_after: u64) -> Result<Self, BadTime> {
        if not_before > not_after || not_after > MAX_CERTIFICATE_TIME_S {
            return Err(BadTime::OutOfRange);
        }
        Ok(Self { not_before, not_after })
    }

    pub fn not_before(self) -> u64 {
        self.not_before
    }

    pub fn not_after(self) -> u64 {
        self.not_after
    }

    pub(super) fn to_x509(self) -> Validity {
        Validity::new(time(self.not_before), time(self.not_after))
    }
}

/// UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5).
fn time(seconds: u64) -> Time {
    DateTime::from_unix_duration(Duration::from_secs(seconds)).expect("a Period ends before the year 10000").into()
}

/// The validity of a certificate asked for at `agreed_time`: from a little before, for clients whose clocks are late,
/// for the usual time, and never past the title's or the authority's own end.
pub fn validity(
    authority: &Authority,
    agreed_time: Timestamp,
    title_expires: Option<Timestamp>,
) -> Result<Period, BadTime> {
    let now = agreed_time.seconds();
    let ca = authority.validity();
    if now < ca.not_before || now >= ca.not_after {
        return Err(BadTime::AuthorityExpired);
    }
    let not_before = now.saturating_sub(CERTIFICATE_BACKDATE_S).max(ca.not_before);
    let mut not_after = (now + CERTIFICATE_VALIDITY_S - 1).min(ca.not_after);
    if let Some(expires) = title_expires {
        if expires.seconds() < now.saturating_add(MIN_CERTIFICATE_VALIDITY_S) {
            return Err(BadTime::TitleExpires);
        }
        // The title's last second is the one before it expires.
        not_after = not_after.min(expires.seconds() - 1);
    }
    Period::new(not_before, not_after)
}

/// The serial of the certificate asked for at `position`: unpredictable before the coin is tossed (BR §7.1 wants 64
/// bits from a random source), unique because positions are.
pub fn serial(coin: &[u8], position: u64) -> Serial {
    Serial::from_digest(hash(SERIAL_DOMAIN, &[coin, &position.to_be_bytes()]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ca::testing::{NOW, authority};

    #[test]
    fn serials_are_positive_unique_and_20_bytes_long() {
        let serials: BTreeSet<_> = (0..20_000).map(|position| serial(b"coin", position)).collect();
        assert_eq!(serials.len(), 20_000);
        assert!(serials.iter().all(|serial| serial.0[0] & 0xc0 == 0x40));
        assert!(!serials.contains(&serial(b"another coin", 7)));
    }

    #[test]
    fn validity_starts_an_hour_before_agreed_time_and_lasts_six_days() {
        let period = validity(&authority(), NOW, None).unwrap();
        assert_eq!(period.not_before, NOW.seconds() - 3600);
        assert_eq!(period.not_after - NOW.seconds(), 6 * 24 * 3600 - 1);
    }

    #[test]
    fn no_certificate_outlives_its_title_or_its_authority() {
        let authority = authority();
        let in_two_hours = Timestamp(NOW.0 + 2 * 3_600_000);
        assert_eq!(validity(&authority, NOW, Some(in_two_hours)).unwrap().not_after, in_two_hours.seconds() - 1);
        let in_a_minute = Timestamp(NOW.0 + 60_000);
        assert_eq!(validity(&authority, NOW, Some(in_a_minute)), Err(BadTime::TitleExpires));
        let last_day = Timestamp((authority.validity().not_after - 86_400) * 1000);
        assert_eq!(validity(&authority, last_day, None).unwrap().not_after, authority.validity().not_after);
        for dead in [Timestamp(0), Timestamp(authority.validity().not_after * 1000), Timestamp(u64::MAX)] {
            assert_eq!(validity(&authority, dead, None), Err(BadTime::AuthorityExpired));
            assert_eq!(validity(&authority, dead, Some(Timestamp(u64::MAX))), Err(BadTime::AuthorityExpired));
        }
        assert_eq!(validity(&authority, NOW, Some(Timestamp(0))), Err(BadTime::TitleExpires));
    }

    #[test]
    fn no_period_reaches_beyond_the_year_9999() {
        assert!(Period::new(0, MAX_CERTIFICATE_TIME_S).is_ok());
        assert_eq!(Period::new(0, MAX_CERTIFICATE_TIME_S + 1), Err(BadTime::OutOfRange));
        assert_eq!(Period::new(2, 1), Err(BadTime::OutOfRange));
        Period::new(0, MAX_CERTIFICATE_TIME_S).unwrap().to_x509();
    }
}
