//! Resource records as the directory keeps them: RRsets of canonical RDATA (RFC 4034 §6.2, §6.3).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::Name;
use super::rdata;

/// An RR type code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rtype(pub u16);

impl Rtype {
    pub const A: Self = Self(1);
    pub const NS: Self = Self(2);
    pub const CNAME: Self = Self(5);
    pub const SOA: Self = Self(6);
    pub const PTR: Self = Self(12);
    pub const MX: Self = Self(15);
    pub const TXT: Self = Self(16);
    pub const SIG: Self = Self(24);
    pub const KEY: Self = Self(25);
    pub const AAAA: Self = Self(28);
    pub const SRV: Self = Self(33);
    pub const DNAME: Self = Self(39);
    pub const OPT: Self = Self(41);
    pub const DS: Self = Self(43);
    pub const RRSIG: Self = Self(46);
    pub const NSEC: Self = Self(47);
    pub const DNSKEY: Self = Self(48);
    pub const NSEC3: Self = Self(50);
    pub const NSEC3PARAM: Self = Self(51);
    pub const CDS: Self = Self(59);
    pub const CDNSKEY: Self = Self(60);
    pub const ZONEMD: Self = Self(63);
    pub const IXFR: Self = Self(251);
    pub const AXFR: Self = Self(252);
    pub const ANY: Self = Self(255);
}

impl fmt::Display for Rtype {
    /// The mnemonic, or `TYPEnnn` (RFC 3597 §5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match rdata::mnemonic(*self) {
            Some(mnemonic) => f.write_str(mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All records of one name and type. The owner name stands beside it, in the key of the map that holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rrset {
    pub rtype: Rtype,
    /// Seconds.
    pub ttl: u32,
    /// Uncompressed RDATA in canonical form (embedded names lower-case), in canonical order, without duplicates.
    #[serde(with = "crate::codec::bytes")]
    rdatas: Vec<Vec<u8>>,
}

impl Rrset {
    pub fn new(rtype: Rtype, ttl: u32, mut rdatas: Vec<Vec<u8>>) -> Self {
        rdatas.sort();
        rdatas.dedup();
        Self { rtype, ttl, rdatas }
    }

    /// RDATA in canonical order (RFC 4034 §6.3).
    pub fn rdatas(&self) -> &[Vec<u8>] {
        &self.rdatas
    }

    /// Whether the values are in the one form that [`Rrset::new`] makes: sorted, without duplicates.
    pub fn is_canonical(&self) -> bool {
        self.rdatas.windows(2).all(|pair| pair[0] < pair[1])
    }
}

/// Names an RRset within the cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RrsetId {
    pub zone: Name,
    pub name: Name,
    pub rtype: Rtype,
}
