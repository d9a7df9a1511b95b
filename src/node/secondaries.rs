//! What a replica does for those who serve its zones too: keys, and word of each new version (NOTIFY, RFC 1996).

use std::sync::Arc;

use anyhow::bail;

use crate::access::TsigKey;
use crate::config::secondaries::Secondaries;
use crate::config::tsig_keys;

/// The keys in the file that the configuration names, if it has all that are wanted.
pub fn keys(config: &Secondaries) -> anyhow::Result<Vec<Arc<TsigKey>>> {
    let Some(path) = &config.tsig_keys else { return Ok(Vec::new()) };
    let keys = tsig_keys::read(path)?;
    let of_transfers = config.transfers.iter().filter_map(|access| access.key.as_ref());
    let of_notify = config.notify.iter().filter_map(|notified| notified.key.as_ref());
    if let Some(name) = of_transfers.chain(of_notify).find(|&name| keys.iter().all(|key| key.name != *name)) {
        bail!("{}: has no key {name}, which replica.toml names", path.display());
    }
    Ok(keys)
}
