//! The part of `replica.toml` that is about primaries: registries' own servers, from which zones come.

use std::net::SocketAddr;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::secondaries::name;
use crate::directory::name::Name;
use crate::limits::MAX_PRIMARIES;

/// Where a zone is transferred from, and the key that signs it: one that no other replica has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Primary {
    pub zone: Name,
    pub address: SocketAddr,
    pub key: Name,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenPrimary {
    zone: String,
    address: SocketAddr,
    key: String,
}

/// What is meant; what is wrong, and where. `has_keys`: the file with the keys is named.
pub(super) fn meant(
    written: Vec<Spanned<WrittenPrimary>>,
    has_keys: bool,
) -> Result<Vec<Primary>, (Range<usize>, String)> {
    let mut primaries: Vec<Primary> = Vec::new();
    for entry in written {
        let span = entry.span();
        let wrong = |what: String| (span.clone(), what);
        let WrittenPrimary { zone, address, key } = entry.into_inner();
        if !has_keys {
            return Err(wrong(format!("key `{key}` is named: say with `tsig_keys` under [dns] in which file it is")));
        }
        let (zone, key) = (name(&zone).map_err(wrong)?, name(&key).map_err(wrong)?);
        if primaries.iter().any(|primary| primary.zone == zone) {
            return Err(wrong(format!("a second primary of {zone}: name one")));
        }
        if primaries.len() == MAX_PRIMARIES {
            return Err(wrong(format!("more than {MAX_PRIMARIES} primaries")));
        }
        primaries.push(Primary { zone, address, key });
    }
    Ok(primaries)
}

impl From<&Primary> for WrittenPrimary {
    fn from(Primary { zone, address, key }: &Primary) -> Self {
        Self { zone: zone.to_string(), address: *address, key: key.to_string() }
    }
}
