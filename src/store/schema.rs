//! Stored bytes: keys, values, and the checksum between them.
//!
//! ```text
//! column family   key                                          value
//! default         "network"                                    digest of the network's genesis, 32 bytes
//!                 "schema"                                     version, u32 big-endian
//!                 "genesis"                                    bytes of the ceremony
//!                 "own"                                        round of the replica's own last block, u64 big-endian
//!                 "boot"                                       number of starts, u64 big-endian
//!                 "head", "checkpoint", "due", "sum",          local records, see `Local`
//!                 "published", "lost", "given-up", "diverged"
//! rows            table, 1 byte ‖ key of the row               value of the row
//! blocks          round, u64 big-endian ‖ author, 1 byte ‖     bytes of the block
//!                 digest, 32 bytes
//! ```
//!
//! A value is stored as `value ‖ tag`, where the tag is the first 8 bytes of the hash of column family, key and value.
//! RocksDB has checksums over its own blocks; this one also covers the way through memory, and a value under another's
//! key. It detects accidents. Whoever can write to the disk on purpose can compute it.

use crate::committee::ReplicaId;
use crate::crypto::digest::{Digest, Domain};
use crate::rows::Table;

/// Version of this layout and of the encodings of rows and blocks: whoever changes any of them counts on.
pub const SCHEMA: u32 = 2;

pub const META: &str = "default";
pub const ROWS: &str = "rows";
pub const BLOCKS: &str = "blocks";

pub const NETWORK_KEY: &[u8] = b"network";
pub const SCHEMA_KEY: &[u8] = b"schema";
pub const GENESIS_KEY: &[u8] = b"genesis";
pub const OWN_KEY: &[u8] = b"own";
pub const BOOT_KEY: &[u8] = b"boot";

const TAG: usize = 8;
const BLOCK_KEY: usize = 8 + 1 + 32;

/// `value` as it is stored under `key`.
pub fn seal(family: &str, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let tag = tag(family, key, &value);
    value.extend_from_slice(&tag);
    value
}

/// The value stored under `key`, unless it is not what was written there.
pub fn unseal<'a>(family: &str, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (value, stored_tag) = stored.split_at_checked(stored.len().checked_sub(TAG)?)?;
    (tag(family, key, value) == stored_tag).then_some(value)
}

static STORED: Domain = Domain::new("torrens v1 stored value");

fn tag(family: &str, key: &[u8], value: &[u8]) -> [u8; TAG] {
    let digest = STORED.hash(&[family.as_bytes(), key, value]);
    digest.0[..TAG].try_into().expect("8 of 32")
}

pub fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(table as u8);
    bytes.extend_from_slice(key);
    bytes
}

pub fn block_key(round: u64, author: ReplicaId, digest: &Digest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_KEY);
    bytes.extend_from_slice(&round_key(round));
    bytes.push(author.0);
    bytes.extend_from_slice(&digest.0);
    bytes
}

pub fn parse_block_key(bytes: &[u8]) -> Option<(u64, ReplicaId, Digest)> {
    let bytes: &[u8; BLOCK_KEY] = bytes.try_into().ok()?;
    let round = u64::from_be_bytes(bytes[..8].try_into().expect("8 of 41"));
    Some((round, ReplicaId(bytes[8]), Digest(bytes[9..].try_into().expect("32 of 41"))))
}

/// Least key of a round.
pub fn round_key(round: u64) -> [u8; 8] {
    round.to_be_bytes()
}

/// The least key above all that start with `prefix`; none if there is no such key.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    #[test]
    fn the_layout_of_keys_and_values_is_frozen() {
        let row = row_key(Table::Signed, b"zone");
        let block = block_key(0x0102, ReplicaId(3), &Digest([0xab; 32]));
        let lines = [
            format!("schema {SCHEMA}"),
            format!("row-key {}", hex(&row)),
            format!("row-value {}", hex(&seal(ROWS, &row, b"rrset".to_vec()))),
            format!("block-key {}", hex(&block)),
            format!("block-value {}", hex(&seal(BLOCKS, &block, b"block".to_vec()))),
            format!("own-value {}", hex(&seal(META, OWN_KEY, 7u64.to_be_bytes().to_vec()))),
            format!("empty-value {}", hex(&seal(META, GENESIS_KEY, Vec::new()))),
        ];
        assert_eq!(lines.join("\n"), include_str!("../../tests/golden/store.txt").trim_end());
    }

    #[test]
    fn a_value_is_read_under_its_own_key_only() {
        let stored = seal(ROWS, b"a", b"value".to_vec());
        assert_eq!(unseal(ROWS, b"a", &stored), Some(&b"value"[..]));
        assert_eq!(unseal(ROWS, b"b", &stored), None);
        assert_eq!(unseal(BLOCKS, b"a", &stored), None);
        assert_eq!(unseal(ROWS, b"a", &stored[1..]), None);
        assert_eq!(unseal(ROWS, b"a", b"short"), None);
    }

    #[test]
    fn block_keys_sort_by_round_then_author_and_parse_back() {
        let low = block_key(255, ReplicaId(9), &Digest([9; 32]));
        let high = block_key(256, ReplicaId(0), &Digest::ZERO);
        assert!(low < high);
        assert_eq!(parse_block_key(&high), Some((256, ReplicaId(0), Digest::ZERO)));
        assert_eq!(parse_block_key(&high[1..]), None);
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys() {
        assert_eq!(after_prefix(&[8, 255]), Some(vec![9]));
        assert_eq!(after_prefix(&[8, 1]), Some(vec![8, 2]));
        assert_eq!(after_prefix(&[255, 255]), None);
    }
}
