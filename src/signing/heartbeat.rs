//! The heartbeat of a zone: a signed record that says how far the cluster had come, and when.
//!
//! ```text
//! _heartbeat.names.example. 60 IN TXT "v=torrens1" "height=4711" "time=1795300000" "interval=600"
//! ```
//!
//! `height` counts the commits of the order, `time` is agreed time in seconds since 1970, both at the commit that
//! started the version with this record; `interval` is how many seconds later the next is due. A replica that is cut
//! off, or withholds what it knows, shows an old one, and cannot make a new one alone; so whoever knows the zone's key
//! can tell, without trusting anybody (`torrens check`).
//!
//! TXT, so that every stock tool can read and every secondary carry it. A name of its own, so that the apex's answers
//! do not grow and the record may be kept for as short a time as it is worth; with an underscore (RFC 8552), so that it
//! is no host's and nobody's title. A heartbeat is an ordinary version in the order, with the next serial, and so moves
//! the SOA record and its signature too: a secondary that follows serials is as fresh as the replica that it asks.

use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};

/// The label right below the apex.
pub const LABEL: &str = "_heartbeat";
/// Seconds that it may be cached: well below any interval that makes sense, and caches are not what monitors ask.
const TTL: u32 = 60;
const VERSION: &str = "v=torrens1";

/// How far the cluster had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Commits executed.
    pub height: u64,
    /// Agreed time, to the second.
    pub time: Timestamp,
    /// Seconds until the next is due.
    pub interval: u32,
}

/// Where a zone's heartbeat stands; none if the name would be too long.
pub fn name(apex: &Name) -> Option<Name> {
    Name::parse(LABEL, Some(apex)).ok()
}

impl Heartbeat {
    pub fn rrset(&self) -> Rrset {
        let mut rdata = Vec::new();
        let fields = [
            VERSION.to_string(),
            format!("height={}", self.height),
            format!("time={}", self.time.seconds()),
            format!("interval={}", self.interval),
        ];
        for field in fields {
            rdata.push(field.len() as u8);
            rdata.extend_from_slice(field.as_bytes());
        }
        Rrset::new(Rtype::TXT, TTL, vec![rdata])
    }

    /// What TXT RDATA says, if it is a heartbeat in the one form that [`Heartbeat::rrset`] writes.
    pub fn read(rdata: &[u8]) -> Option<Self> {
        let mut rest = rdata;
        let mut next = || {
            let (&length, after) = rest.split_first()?;
            let (string, after) = after.split_at_checked(usize::from(length))?;
            rest = after;
            Some(string)
        };
        let [version, height, time, interval] = [next()?, next()?, next()?, next()?];
        let number = |field: &[u8], key: &str| std::str::from_utf8(field).ok()?.strip_prefix(key)?.parse::<u64>().ok();
        let read = Self {
            height: number(height, "height=")?,
            time: Timestamp(number(time, "time=")?.checked_mul(1000)?),
            interval: number(interval, "interval=")?.try_into().ok()?,
        };
        (version == VERSION.as_bytes() && read.rrset().rdatas() == [rdata]).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_reads_as_the_documentation_says() {
        let heartbeat = Heartbeat { height: 4711, time: Timestamp(1_795_300_000_999), interval: 600 };
        let rrset = heartbeat.rrset();
        assert_eq!(rrset.rdatas(), [b"\x0av=torrens1\x0bheight=4711\x0ftime=1795300000\x0cinterval=600"]);
        assert_eq!(
            name(&Name::parse("names.example.", None).unwrap()).unwrap().to_string(),
            "_heartbeat.names.example."
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else(
            height in any::<u64>(),
            seconds in 0..u64::MAX / 1000,
            interval in any::<u32>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let heartbeat = Heartbeat { height, time: Timestamp(seconds * 1000), interval };
            let rrset = heartbeat.rrset();
            let rdata = &rrset.rdatas()[0];
            prop_assert_eq!(Heartbeat::read(rdata), Some(heartbeat));
            let at = at.index(rdata.len());
            prop_assert_eq!(Heartbeat::read(&rdata[..at]), None);
            let mut altered = rdata.clone();
            altered[at] = byte;
            // Other digits are another heartbeat; nothing else is one.
            prop_assert!(Heartbeat::read(&altered).is_none_or(|read| read.rrset().rdatas()[0] == altered));
        }
    }
}
