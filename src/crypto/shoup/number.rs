//! Integers of fixed size: their bytes, and the ring ℤ_N they are elements of.

use std::fmt;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::rand_core::{Infallible, TryCryptoRng, TryRng};
use crypto_bigint::{Limb, Odd, Uint};
use rand_core::CryptoRngCore;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::{EXPONENT, encode_pkcs1v15_sha256};
use crate::limits::RSA_MODULUS_BITS;

/// Limbs of an integer modulo N.
pub(super) const LIMBS: usize = (RSA_MODULUS_BITS / Limb::BITS) as usize;

/// An element of ℤ_N, in Montgomery form.
pub(super) type Element = FixedMontyForm<LIMBS>;

/// An unsigned integer as it travels: big-endian bytes of fixed number, or hexadecimal digits in text formats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Number<const LIMBS: usize>(pub Uint<LIMBS>);

impl<const LIMBS: usize> Number<LIMBS> {
    const BYTES: usize = LIMBS * Limb::BYTES;
}

impl<const LIMBS: usize> fmt::Debug for Number<LIMBS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", data_encoding::HEXLOWER.encode(&self.0.to_be_bytes().as_ref()[..8]))
    }
}

impl<const LIMBS: usize> Serialize for Number<LIMBS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.to_be_bytes();
        if serializer.is_human_readable() {
            return serializer.serialize_str(&data_encoding::HEXLOWER.encode(bytes.as_ref()));
        }
        let mut tuple = serializer.serialize_tuple(Self::BYTES)?;
        for byte in bytes.as_ref() {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

impl<'de, const LIMBS: usize> Deserialize<'de> for Number<LIMBS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(NumberVisitor)
        } else {
            deserializer.deserialize_tuple(Self::BYTES, NumberVisitor)
        }
    }
}

struct NumberVisitor<const LIMBS: usize>;

impl<'de, const LIMBS: usize> Visitor<'de> for NumberVisitor<LIMBS> {
    type Value = Number<LIMBS>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer of {} bytes", Number::<LIMBS>::BYTES)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(E::custom)?;
        if bytes.len() != Number::<LIMBS>::BYTES {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(Number(Uint::from_be_slice(&bytes)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::with_capacity(Number::<LIMBS>::BYTES);
        for at in 0..Number::<LIMBS>::BYTES {
            bytes.push(sequence.next_element()?.ok_or_else(|| de::Error::invalid_length(at, &self))?);
        }
        Ok(Number(Uint::from_be_slice(&bytes)))
    }
}

/// ℤ_N for one modulus.
pub(super) struct Ring(FixedMontyParams<LIMBS>);

impl Ring {
    pub fn new(modulus: Odd<Uint<LIMBS>>) -> Self {
        Self(FixedMontyParams::new_vartime(modulus))
    }

    pub fn element(&self, number: &Number<LIMBS>) -> Element {
        Element::new(&number.0, &self.0)
    }

    pub fn one(&self) -> Element {
        Element::one(&self.0)
    }

    /// The encoded message x (RFC 8017 §9.2), which is below N because its first byte is zero.
    pub fn message(&self, message: &[u8]) -> Element {
        Element::new(&Uint::from_be_slice(&encode_pkcs1v15_sha256(message)), &self.0)
    }

    /// Whether `signature`, below N, is the e-th root of x.
    pub fn is_root(&self, signature: &Element, x: &Element) -> bool {
        signature.pow_vartime(&Uint::<1>::from(EXPONENT)) == *x
    }
}

/// The rand_core 0.6 generators of our interfaces, as crypto-bigint's version of rand_core has them.
pub(super) struct Randomness<'a, R>(pub &'a mut R);

impl<R: CryptoRngCore> TryRng for Randomness<'_, R> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl<R: CryptoRngCore> TryCryptoRng for Randomness<'_, R> {}
