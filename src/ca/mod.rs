//! The certificate authority: which certificates the order calls for, to the byte. Pure.
//!
//! Protocol: X.509 certificates and their profile as RFC 5280, server names as RFC 6125 and RFC 9525, the subscriber
//! profile of the CA/Browser Forum's Baseline Requirements (BR) §7.1.2.7 where it can apply to a private root,
//! `sha256WithRSAEncryption` as RFC 8017 §8.2. The life of a certificate:
//!
//! 1. An owner asks in a signed operation: a public key ([`csr`] takes it from a CSR, on the owner's side) and names.
//! 2. When the operation is executed, [`issue`] decides ([`authorize`], [`public_key`]), builds the to-be-signed bytes
//!    from state ([`tbs`], [`profile`]), and lets [`lint`] parse them again.
//! 3. Only lint makes an [`Issuable`], and only an [`Issuable`] opens a signing task. The rule is Boulder's, its
//!    single use kept by move instead of by lock.
//! 4. The combined threshold signature and the bytes give the certificate ([`certificate`]).
//!
//! Deviations:
//! - Nothing of a CSR is taken but its key: names, extensions and attributes are neither checked nor copied.
//! - The subject has the first name as its common name where it fits, which the BR allow and do not recommend
//!   (§7.1.2.7.2). No client of ours needs it; but kdig 3.2 wants to print the subject of a certificate and gives the
//!   connection up if there is none (GnuTLS itself verifies it), and other old software does likewise.
//! - No CRL or OCSP pointers (BR §7.1.2.11.2 makes them optional for certificates of at most seven days).
//! - The key identifiers are those of RFC 7093 §2 (SHA-256, leftmost 160 bits), not SHA-1.
//! - The root carries nameConstraints and extKeyUsage, which the BR keep for subordinate CAs: here the root issues by
//!   itself, and what it may not vouch for must hold for everybody who trusts it.

pub mod authorize;
pub mod certificate;
pub mod csr;
pub mod lint;
pub mod profile;
pub mod public_key;
pub mod root;
pub mod tbs;

pub use lint::Issuable;
pub use root::Authority;

use crate::directory::Timestamp;
use crate::directory::name::Name;

/// What an owner asks for. That the owner holds the title is the directory's to know.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub title: &'a Name,
    /// dNSNames in the order they are to appear.
    pub names: &'a [Name],
    /// SubjectPublicKeyInfo, DER.
    pub public_key: &'a [u8],
    /// When the title expires, if it does: no certificate outlives it.
    pub title_expires: Option<Timestamp>,
}

/// Where in the order the request was executed.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The coin of the commit, unpredictable when the operation was submitted.
    pub coin: &'a [u8],
    /// Ordinal of the operation.
    pub position: u64,
    pub agreed_time: Timestamp,
}

/// Why no certificate follows from a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotIssued {
    #[error(transparent)]
    Name(#[from] authorize::NotAuthorized),
    #[error(transparent)]
    Key(#[from] public_key::BadKey),
    #[error(transparent)]
    Time(#[from] profile::BadTime),
    /// Never seen: the builder made what the linter does not know. Nothing is signed then.
    #[error("the certificate would not be within the profile: {0}")]
    Lint(#[from] lint::LintError),
}

/// The to-be-signed certificate that `request` calls for, executed at `place`: the same bytes at every replica.
pub fn issue(authority: &Authority, request: &Request, place: &Place) -> Result<Issuable, NotIssued> {
    let names = authorize::authorize(authority, request.title, request.names)?;
    let public_key = public_key::check_public_key(request.public_key)?;
    let validity = profile::validity(authority, place.agreed_time, request.title_expires)?;
    let bytes = tbs::build(&tbs::IssuanceFacts {
        authority,
        serial: profile::serial(place.coin, place.position),
        validity,
        public_key,
        names: &names,
    });
    let context = lint::Context {
        authority,
        title: request.title,
        agreed_time: place.agreed_time,
        title_expires: request.title_expires,
    };
    Ok(lint::lint(bytes, &context)?)
}

#[cfg(test)]
pub(crate) mod testing;
