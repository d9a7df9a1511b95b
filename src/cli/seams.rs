//! Where the command line meets record and request syntax.

use crate::ca::csr::{CertificateRequest, CsrError};
pub use crate::directory::master::parse_records;
pub use crate::directory::rdata::rtype_from_text;

/// SubjectPublicKeyInfo of a certificate request, PEM or DER, whose own signature holds.
pub fn csr_public_key(bytes: &[u8]) -> Result<Vec<u8>, CsrError> {
    CertificateRequest::parse(bytes).map(|request| request.spki_der)
}
