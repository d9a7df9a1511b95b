//! The part of `replica.toml` that is about secondaries: servers that serve our zones too.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::access::{Access, Network};
use crate::directory::name::Name;
use crate::limits::MAX_NOTIFIED;

/// Who gets our zones, and how.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Secondaries {
    /// Who may transfer zones.
    pub transfers: Vec<Access>,
    /// Who is told of new versions.
    pub notify: Vec<Notified>,
    /// The file with the keys that these name.
    pub tsig_keys: Option<PathBuf>,
    /// Apex of the zone that lists all zones (RFC 9432).
    pub catalog: Option<Name>,
}

/// Who is told of new versions, and the name of the key that signs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notified {
    pub address: SocketAddr,
    pub key: Option<Name>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "write an address or network, or { network = \"192.0.2.0/24\", key = \"name.of.key.\" }")]
pub(super) enum WrittenAccess {
    Network(Network),
    Keyed { network: Network, key: String },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "write an address and port, or { address = \"192.0.2.9:53\", key = \"name.of.key.\" }")]
pub(super) enum WrittenNotified {
    Address(SocketAddr),
    Keyed { address: SocketAddr, key: String },
}

/// Keys of `[dns]`, as they are read.
pub(super) struct Written<'a> {
    pub transfers: &'a [Spanned<WrittenAccess>],
    pub notify: &'a [Spanned<WrittenNotified>],
    pub tsig_keys: Option<&'a PathBuf>,
    pub catalog: Option<&'a Spanned<String>>,
}

impl Written<'_> {
    /// What is meant; what is wrong, and where. `folder`: that of the file.
    pub fn meant(&self, folder: &Path) -> Result<Secondaries, (Range<usize>, String)> {
        let named = |text: &str, span: Range<usize>| name(text).map_err(|what| (span, what));
        let key = |text: &str, span: Range<usize>| match self.tsig_keys {
            Some(_) => named(text, span).map(Some),
            None => Err((span, format!("key `{text}` is named: say with `tsig_keys` in which file it is"))),
        };
        let mut transfers = Vec::new();
        for access in self.transfers {
            transfers.push(match access.get_ref() {
                WrittenAccess::Network(network) => Access::from(*network),
                WrittenAccess::Keyed { network, key: text } => {
                    Access { network: *network, key: key(text, access.span())? }
                }
            });
        }
        let mut notify = Vec::new();
        for notified in self.notify {
            if notify.len() == MAX_NOTIFIED {
                return Err((notified.span(), format!("more than {MAX_NOTIFIED} secondaries to notify")));
            }
            notify.push(match notified.get_ref() {
                WrittenNotified::Address(address) => Notified { address: *address, key: None },
                WrittenNotified::Keyed { address, key: text } => {
                    Notified { address: *address, key: key(text, notified.span())? }
                }
            });
        }
        let catalog = self.catalog.map(|catalog| named(catalog.get_ref(), catalog.span())).transpose()?;
        Ok(Secondaries { transfers, notify, tsig_keys: self.tsig_keys.map(|file| folder.join(file)), catalog })
    }
}

pub(super) fn name(text: &str) -> Result<Name, String> {
    let absolute = format!("{}.", text.strip_suffix('.').unwrap_or(text));
    Name::parse(&absolute, None).map_err(|error| format!("`{text}` is no name: {error}"))
}

impl From<&Access> for WrittenAccess {
    fn from(Access { network, key }: &Access) -> Self {
        match key {
            None => Self::Network(*network),
            Some(key) => Self::Keyed { network: *network, key: key.to_string() },
        }
    }
}

impl From<&Notified> for WrittenNotified {
    fn from(Notified { address, key }: &Notified) -> Self {
        match key {
            None => Self::Address(*address),
            Some(key) => Self::Keyed { address: *address, key: key.to_string() },
        }
    }
}
