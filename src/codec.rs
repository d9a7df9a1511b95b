//! Canonical, bounded bytes: one encoding for each value.
//!
//! The encoding is postcard's. A value is accepted only if encoding it again gives the bytes it came from, so that a
//! digest of the bytes is a digest of the value: `accept(b)` implies `encode(decode(b)) = b`.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
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
    match strip(&value, bytes) {
        Some([]) => Ok(value),
        _ => Err(CodecError::NotCanonical),
    }
}

/// What follows in `bytes` after the encoding of `value`, if they begin with it.
pub fn strip<'a, T: Serialize>(value: &T, bytes: &'a [u8]) -> Option<&'a [u8]> {
    postcard::serialize_with_flavor(value, Expected(bytes)).ok()
}

/// Compares what is encoded with bytes that are there, and gives those that are left.
struct Expected<'a>(&'a [u8]);

impl<'a> Flavor for Expected<'a> {
    type Output = &'a [u8];

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, encoded: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(encoded).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<&'a [u8]> {
        Ok(self.0)
    }
}

/// Byte strings written and read as such, and not byte by byte, which takes ten times as long; what is written is the same:
/// `#[serde(with = "codec::bytes")]`, for those in a list or an option too.
pub mod bytes {
    use std::fmt;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// What byte strings are in.
    pub trait Field: Sized {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    }

    pub fn serialize<T: Field, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.write(serializer)
    }

    pub fn deserialize<'de, T: Field, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::read(deserializer)
    }

    struct Written<'a>(&'a [u8]);

    impl Serialize for Written<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    struct Owned(Vec<u8>);

    impl<'de> Deserialize<'de> for Owned {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = Owned;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Owned, E> {
                    Ok(Owned(bytes.to_vec()))
                }
            }
            deserializer.deserialize_bytes(Visitor)
        }
    }

    impl Field for Vec<u8> {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            Written(self).serialize(serializer)
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Owned::deserialize(deserializer).map(|Owned(bytes)| bytes)
        }
    }

    impl Field for Option<Vec<u8>> {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.as_deref().map(Written).serialize(serializer)
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Option::<Owned>::deserialize(deserializer)?.map(|Owned(bytes)| bytes))
        }
    }

    impl Field for Vec<Vec<u8>> {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.iter().map(|bytes| Written(bytes)))
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Vec::<Owned>::deserialize(deserializer)?.into_iter().map(|Owned(bytes)| bytes).collect())
        }
    }
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
    fn what_follows_an_encoding_is_told_apart_from_what_does_not_begin_with_it() {
        let value = (300u32, "title".to_string());
        let bytes = [encode(&value), vec![1, 2]].concat();
        assert_eq!(strip(&value, &bytes), Some(&[1, 2][..]));
        for cut in 0..bytes.len() - 2 {
            assert_eq!(strip(&value, &bytes[..cut]), None, "{cut}");
        }
        assert_eq!(strip(&(301u32, "title"), &bytes), None);
    }

    #[test]
    fn byte_strings_are_written_alike_in_one_piece_and_byte_by_byte() {
        type Fields = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Vec<u8>>);
        #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
        struct InPieces(
            #[serde(with = "bytes")] Vec<u8>,
            #[serde(with = "bytes")] Option<Vec<u8>>,
            #[serde(with = "bytes")] Option<Vec<u8>>,
            #[serde(with = "bytes")] Vec<Vec<u8>>,
        );
        let plain: Fields = (vec![0, 128, 255], Some(vec![7; 200]), None, vec![vec![], vec![1; 3]]);
        let (a, b, c, d) = plain.clone();
        let pieces = InPieces(a, b, c, d);
        let encoded = encode(&plain);
        assert_eq!(encode(&pieces), encoded);
        assert_eq!(decode::<InPieces>(&encoded, 1000), Ok(pieces));
        for cut in 0..encoded.len() {
            assert_eq!(decode::<InPieces>(&encoded[..cut], 1000), Err(CodecError::Malformed), "{cut}");
        }
        // A length of 3 in two bytes.
        let padded = [&[0x83, 0], &encoded[1..]].concat();
        assert_eq!(decode::<InPieces>(&padded, 1000), Err(CodecError::NotCanonical));
    }

    #[test]
    fn too_many_bytes_are_refused_before_they_are_read() {
        assert_eq!(decode::<u32>(&[0; 9], 8), Err(CodecError::TooLong { length: 9, limit: 8 }));
    }
}
