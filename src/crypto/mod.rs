//! Schemes only: no protocol, no I/O. Randomness is an argument.
//!
//! One key per purpose, and a type per purpose: DNSSEC and X.509 bytes cannot carry a domain tag, so a key that signs
//! them signs nothing else. Every other signed or hashed byte string starts with its domain ([`digest::hash`]).

pub mod bls;
pub mod coin;
pub mod digest;
pub mod ed25519;
pub mod frost;
pub mod lsss;
mod memory;
pub mod shoup;
