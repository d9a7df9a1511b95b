//! Canonical, bounded bytes: one encoding for each value.
//!
//! The encoding is postcard's. A value is accepted only if encoding it again gives the bytes it came from, so that a
//! digest of the bytes is a digest of the value: `accept(b)` implies `encode(decode(b)) = b`.

use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    #[error("{length} bytes, of which at most {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("not the encoding of such a value")]
    Malformed,
    #[error("a second encoding of the same value")]
    NotCanonical,
}

/// The bytes of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("values of our own types always encode")
}

/// The value that `bytes` encode, if they are the one encoding of it and no longer than `limit` bytes.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong { length: bytes.len(), limit });
    }
    let value: T = postcard::from_bytes(bytes).map_err(|_| CodecError::Malformed)?;
    if encode(&value) != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_encoding() {
        let bytes = encode(&(7u32, "title".to_string()));
        assert_eq!(decode::<(u32, String)>(&bytes, 100), Ok((7, "title".into())));
        // The same number with a padded varint, and trailing bytes.
        assert_eq!(decode::<u32>(&[0x87, 0x00], 100), Err(CodecError::NotCanonical));
        assert_eq!(decode::<u32>(&[7, 0], 100), Err(CodecError::NotCanonical));
    }

    #[test]
    fn too_many_bytes_are_refused_before_they_are_read() {
        assert_eq!(decode::<u32>(&[0; 9], 8), Err(CodecError::TooLong { length: 9, limit: 8 }));
    }
}
