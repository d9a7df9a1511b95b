//! `secrets.key`: one replica's own keys and its shares of the cluster's, in one file.
//!
//! Armour ([`super::pem`]) around bytes, instead of TOML, so that no parser keeps copies of secrets behind:
//!
//! ```text
//! version 1 ‖ id, 1 byte ‖ identity seed 32 ‖ link seed 32 ‖ coin share ‖ head share
//!           ‖ sealing share ‖ RSA share ‖ number of zones, u16 ‖ (name in wire form ‖ share)* ‖ checksum 8
//! ```
//!
//! where shares and names are byte strings after their length as u32 big-endian, zones are in the order of their names,
//! and the checksum is the first 8 bytes of the hash of all before.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use super::{ConfigError, file, pem};
use crate::committee::ReplicaId;
use crate::crypto::digest;
use crate::crypto::ed25519::SecretKey;
use crate::directory::name::Name;
use crate::limits::MAX_REPLICAS;

/// Secret bytes, wiped when dropped.
pub type SecretBytes = Zeroizing<Vec<u8>>;

/// Everything secret that one replica holds.
pub struct SecretBundle {
    pub id: ReplicaId,
    /// Signs its blocks.
    pub identity: SecretKey,
    /// Shows who it is on links.
    pub link: SecretKey,
    pub coin_share: SecretBytes,
    pub head_share: SecretBytes,
    pub sealing_share: SecretBytes,
    pub rsa_share: SecretBytes,
    /// Shares of the zones' signing keys.
    pub zone_shares: BTreeMap<Name, SecretBytes>,
}

const LABEL: &str = "TORRENS REPLICA SECRETS";
const VERSION: u8 = 1;
const CHECKSUM: usize = 8;

impl SecretBundle {
    /// Reads the file, if nobody but its owner can.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = file::read_secret(path)?;
        let bytes = pem::parse(LABEL, &text).map_err(|(line, what)| ConfigError::new(path, line, what))?;
        Self::decode(&bytes).map_err(|what| ConfigError::new(path, None, what))
    }

    /// Writes a new file that its owner alone may read. An existing one is never overwritten: shares are dealt once.
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        file::write_new(path, pem::write(LABEL, &self.encode()).as_bytes(), 0o600)
    }

    fn encode(&self) -> SecretBytes {
        let shares = self.shares().iter().map(|share| 4 + share.len()).sum::<usize>();
        let zones: usize = self.zone_shares.iter().map(|(name, share)| 8 + name.as_wire().len() + share.len()).sum();
        // Room for all at once, so that no copy is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 + 32 + 32 + shares + 2 + zones + CHECKSUM));
        bytes.extend_from_slice(&[VERSION, self.id.0]);
        bytes.extend_from_slice(self.identity.seed().as_slice());
        bytes.extend_from_slice(self.link.seed().as_slice());
        for share in self.shares() {
            write_string(&mut bytes, share);
        }
        let zones = u16::try_from(self.zone_shares.len()).expect("a cluster has fewer than 65,536 zones");
        bytes.extend_from_slice(&zones.to_be_bytes());
        for (name, share) in &self.zone_shares {
            write_string(&mut bytes, name.as_wire());
            write_string(&mut bytes, share);
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Those of the cluster's own keys, in the order of the file.
    fn shares(&self) -> [&SecretBytes; 4] {
        [&self.coin_share, &self.head_share, &self.sealing_share, &self.rsa_share]
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let damaged = || "damaged: its checksum does not match. Restore it from the ceremony's copy".to_string();
        let (bytes, stored) = bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM)).ok_or_else(damaged)?;
        if checksum(bytes) != stored {
            return Err(damaged());
        }
        match bytes.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(format!("has version {other}, this program reads version {VERSION}")),
            None => return Err(damaged()),
        }
        Reader(&bytes[1..]).bundle().ok_or_else(|| "its checksum matches, but its fields do not fit together".into())
    }
}

impl fmt::Debug for SecretBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBundle([redacted] of {})", self.id)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = digest::hash("torrens v1 secrets file", &[bytes]);
    digest.0[..CHECKSUM].try_into().expect("8 of 32")
}

fn write_string(bytes: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).expect("a share is shorter than 4 GiB");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bundle(mut self) -> Option<SecretBundle> {
        let [id] = *self.array()?;
        let identity = SecretKey::from_seed(self.array()?);
        let link = SecretKey::from_seed(self.array()?);
        let mut share = || Some(Zeroizing::new(self.string()?.to_vec()));
        let (coin_share, head_share, sealing_share, rsa_share) = (share()?, share()?, share()?, share()?);
        let mut zone_shares = BTreeMap::new();
        for _ in 0..u16::from_be_bytes(*self.array()?) {
            let name = Name::from_wire(self.string()?).ok()?;
            let share = Zeroizing::new(self.string()?.to_vec());
            if zone_shares.insert(name, share).is_some() {
                return None;
            }
        }
        let is_whole = self.0.is_empty() && usize::from(id) < MAX_REPLICAS;
        is_whole.then_some(SecretBundle {
            id: ReplicaId(id),
            identity,
            link,
            coin_share,
            head_share,
            sealing_share,
            rsa_share,
            zone_shares,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(array)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(*self.array()?) as usize;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sample() -> SecretBundle {
        let zone = |name: &str, byte| (Name::parse(name, None).unwrap(), Zeroizing::new(vec![byte; 40]));
        SecretBundle {
            id: ReplicaId(3),
            identity: SecretKey::from_seed(&[1; 32]),
            link: SecretKey::from_seed(&[2; 32]),
            coin_share: Zeroizing::new(vec![3; 32]),
            head_share: Zeroizing::new(vec![7; 33]),
            sealing_share: Zeroizing::new(vec![8; 33]),
            rsa_share: Zeroizing::new(vec![4; 300]),
            zone_shares: [zone(".", 5), zone("names.example.", 6)].into(),
        }
    }

    #[test]
    fn the_bytes_of_the_file_are_frozen() {
        let bytes = sample().encode();
        assert_eq!(bytes.len(), bytes.capacity(), "sized at once");
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        assert_eq!(hex, include_str!("../../tests/golden/secrets.hex").trim_end());
    }

    #[test]
    fn what_is_written_is_read_back_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.key");
        sample().write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(SecretBundle::read(&path).unwrap().encode(), sample().encode());
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = SecretBundle::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("(mode {mode:04o}): run `chmod 600")), "{error}");
        }
    }

    #[test]
    fn a_bundle_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.key");
        sample().write(&path).unwrap();
        let other = SecretBundle { id: ReplicaId(1), ..sample() };
        assert!(other.write(&path).unwrap_err().to_string().contains("not overwritten"));
        assert_eq!(SecretBundle::read(&path).unwrap().id, ReplicaId(3));
    }

    #[test]
    fn a_damaged_bundle_is_refused() {
        let sound = sample().encode();
        for at in 0..sound.len() {
            let mut bytes = sound.to_vec();
            bytes[at] ^= 1;
            assert!(SecretBundle::decode(&bytes).unwrap_err().contains("checksum"), "byte {at}");
            assert!(SecretBundle::decode(&sound[..at]).is_err(), "cut at {at}");
        }
        let resealed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sound[..sound.len() - CHECKSUM].to_vec();
            change(&mut bytes);
            let checksum = checksum(&bytes);
            bytes.extend_from_slice(&checksum);
            SecretBundle::decode(&bytes).unwrap_err()
        };
        assert!(resealed(&|bytes| bytes[0] = 2).contains("has version 2"));
        assert!(resealed(&|bytes| bytes[1] = 64).contains("do not fit"));
        assert!(resealed(&|bytes| bytes.push(0)).contains("do not fit"));
        assert!(resealed(&|bytes| bytes.truncate(70)).contains("do not fit"));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", sample()), "SecretBundle([redacted] of replica-3)");
    }
}
