//! Descriptors of this process: each connection takes one, and the database one for each of its files.
//!
//! Systems give processes a thousand at first and let them ask for more. With all connections taken, a thousand would
//! leave the database none to open a file with, which it does not survive.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::ReplicaConfig;
use crate::limits::{DESCRIPTORS_BESIDE, MAX_DNS_CONNECTIONS, MAX_HTTP_CONNECTIONS};

/// Asks for as many as this replica can come to need, and says so if it does not get them.
pub fn provide(config: &ReplicaConfig) {
    let encrypted = config.dns_encrypted.as_ref();
    let encrypted = encrypted.into_iter().flat_map(|encrypted| [encrypted.tls, encrypted.https]).flatten().count();
    let needed = ((1 + encrypted) * MAX_DNS_CONNECTIONS + MAX_HTTP_CONNECTIONS + DESCRIPTORS_BESIDE) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let current = Some(maximum.map_or(needed, |maximum| maximum.min(needed)));
    let given = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    if given.is_err() || current < Some(needed) {
        tracing::warn!(
            needed,
            ?maximum,
            "with all connections taken, files may not open: allow this process as many (LimitNOFILE of systemd, ulimit -n)"
        );
    }
}
