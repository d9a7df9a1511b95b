//! Secrets shared with secondaries, for TSIG (RFC 8945).

use std::fmt;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::directory::name::Name;
use crate::limits::{MAX_TSIG_SECRET, MIN_TSIG_SECRET};

/// HMAC algorithms that RFC 8945 §6 has implementations offer, without those it advises against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TsigAlgorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl TsigAlgorithm {
    const ALL: [(Self, &str); 3] =
        [(Self::HmacSha256, "hmac-sha256"), (Self::HmacSha384, "hmac-sha384"), (Self::HmacSha512, "hmac-sha512")];

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(algorithm, _)| algorithm)
    }

    /// As in messages: a name in canonical wire form.
    pub fn wire(self) -> &'static [u8] {
        match self {
            Self::HmacSha256 => b"\x0bhmac-sha256\0",
            Self::HmacSha384 => b"\x0bhmac-sha384\0",
            Self::HmacSha512 => b"\x0bhmac-sha512\0",
        }
    }
}

/// A key by the name that both ends know it by. The secret is wiped when dropped.
pub struct TsigKey {
    pub name: Name,
    pub algorithm: TsigAlgorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl TsigKey {
    /// From `algorithm:name:secret`, the secret in Base64: what `dig -y` and `kdig -y` take. The error says what is
    /// wrong, and nothing of the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(algorithm), Some(name), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("is no key: write algorithm:name:secret, as in hmac-sha256:transfer.example.:Base64".into());
        };
        let algorithm = TsigAlgorithm::parse(algorithm)
            .ok_or_else(|| "the algorithm is none of hmac-sha256, hmac-sha384 and hmac-sha512".to_string())?;
        let absolute = format!("{}.", name.strip_suffix('.').unwrap_or(name));
        let name = Name::parse(&absolute, None).map_err(|error| format!("the name of the key: {error}"))?;
        // Decoded into room for all of it, so that no copy is left behind by growing.
        let room = BASE64.decode_len(secret.len()).map_err(|_| "the secret is not Base64".to_string())?;
        let mut bytes = Zeroizing::new(vec![0; room]);
        let length =
            BASE64.decode_mut(secret.as_bytes(), &mut bytes).map_err(|_| "the secret is not Base64".to_string())?;
        bytes.truncate(length);
        if !(MIN_TSIG_SECRET..=MAX_TSIG_SECRET).contains(&length) {
            return Err(format!("the secret has {length} bytes, of {MIN_TSIG_SECRET} to {MAX_TSIG_SECRET}"));
        }
        Ok(Self { name, algorithm, secret: bytes })
    }

    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({:?} {} [redacted])", self.algorithm, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_dig_takes_it() {
        for text in
            ["hmac-sha256:xfer.example.:MDEyMzQ1Njc4OWFiY2RlZg==", "HMAC-SHA256:XFER.example:MDEyMzQ1Njc4OWFiY2RlZg=="]
        {
            let key = TsigKey::parse(text).unwrap();
            assert_eq!(key.name, Name::parse("xfer.example.", None).unwrap());
            assert_eq!((key.algorithm, key.secret()), (TsigAlgorithm::HmacSha256, &b"0123456789abcdef"[..]));
            assert_eq!(format!("{key:?}"), "TsigKey(HmacSha256 xfer.example. [redacted])");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_its_secret() {
        for (text, reason) in [
            ("", "is no key"),
            ("hmac-sha256:name", "is no key"),
            ("hmac-md5:name:MDEyMzQ1Njc4OWFiY2RlZg==", "the algorithm"),
            ("hmac-sha256:a..b:MDEyMzQ1Njc4OWFiY2RlZg==", "the name"),
            ("hmac-sha256:name:MDEyMzQ1Njc4OWFiY2RlZg", "not Base64"),
            ("hmac-sha256:name:MDEyMzQ1", "has 6 bytes"),
        ] {
            let error = TsigKey::parse(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("MDEy"), "{text}: {error}");
        }
    }
}
