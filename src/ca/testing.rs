//! What the unit tests of this module share. The private keys of these fixtures were thrown away.

use std::sync::LazyLock;

use super::{Authority, Issuable, Place, Request};
use crate::directory::Timestamp;
use crate::directory::name::Name;

/// 2026-11-21T00:00:00Z.
pub const NOW: Timestamp = Timestamp(1_795_219_200_000);

pub static RSA_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| golden("rsa_key"));
pub static P256_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| golden("p256_key"));
pub static P384_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| golden("p384_key"));

pub fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

/// Bytes of `tests/golden/ca/NAME.hex`.
pub fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/ca/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let digits: String = text.split_whitespace().collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
}

/// An authority for the zone `names.example.`, valid from 2026 to 2046.
pub fn authority() -> Authority {
    Authority::from_certificate(&golden("ca")).unwrap()
}

/// What is issued for the title `alice.names.example.` with a P-256 key.
pub fn issued(names: &[&str]) -> Issuable {
    let names: Vec<Name> = names.iter().map(|text| name(text)).collect();
    let title = name("alice.names.example.");
    let request = Request { title: &title, names: &names, public_key: &P256_KEY, title_expires: None };
    let place = Place { coin: &[7; 32], position: 42, agreed_time: NOW };
    super::issue(&authority(), &request, &place).unwrap()
}
