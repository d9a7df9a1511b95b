//! Domain-separated hashing (BLAKE3, key-derivation mode).

use std::fmt;
use std::sync::OnceLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use serde::{Deserialize, Serialize};

/// 32 bytes that stand for a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub const ZERO: Self = Self([0; 32]);

    /// The digest written as 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// Hash of `parts` under `domain`, a string unique to one use (`"torrens v1 block"`). Each part is prefixed with its
/// length, so that no two lists of parts collide.
pub fn hash(domain: &str, parts: &[&[u8]]) -> Digest {
    hash_parts(blake3::Hasher::new_derive_key(domain), parts)
}

/// A domain in which much is hashed. Its key is derived once: that takes as long as hashing 64 bytes.
pub struct Domain {
    name: &'static str,
    key: OnceLock<ContextKey>,
}

impl Domain {
    pub const fn new(name: &'static str) -> Self {
        Self { name, key: OnceLock::new() }
    }

    /// As [`hash`] under this domain's name.
    pub fn hash(&self, parts: &[&[u8]]) -> Digest {
        let key = self.key.get_or_init(|| hash_derive_key_context(self.name));
        hash_parts(blake3::Hasher::new_from_context_key(key), parts)
    }
}

fn hash_parts(mut hasher: blake3::Hasher, parts: &[&[u8]]) -> Digest {
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Digest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_part_boundaries_separate() {
        assert_ne!(hash("a", &[b"x"]), hash("b", &[b"x"]));
        assert_ne!(hash("a", &[b"xy", b""]), hash("a", &[b"x", b"y"]));
    }

    #[test]
    fn a_domain_of_its_own_hashes_as_its_name_does() {
        static DOMAIN: Domain = Domain::new("a");
        for parts in [&[][..], &[b"x".as_slice()], &[b"x", &[7; 300]]] {
            assert_eq!(DOMAIN.hash(parts), hash("a", parts));
        }
    }

    #[test]
    fn text_form_parses_back() {
        let digest = hash("a", &[]);
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::parse("00"), None);
    }
}
