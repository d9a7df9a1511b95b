//! Certification requests (PKCS#10, RFC 2986): a key, and the proof that the one who asks holds it.
//!
//! Deviations: subject, attributes and extensions are not even parsed; what the certificate says comes from state.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::certificate::{from_pem, signed_parts};
use super::public_key::{BadKey, KeyType, check_public_key};
use crate::limits::MAX_CSR;

/// All that is taken from a certification request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateRequest {
    /// SubjectPublicKeyInfo, DER; allowed in certificates, and its holder signed the request.
    pub spki_der: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CsrError {
    #[error("the request has more than {MAX_CSR} bytes: make one with fewer extensions, only its key counts")]
    TooLong,
    #[error("not a certification request (PKCS#10) in PEM or DER: make one with `openssl req -new`")]
    Malformed,
    #[error(transparent)]
    Key(#[from] BadKey),
    #[error("the request is signed in a way that is not known here: sign it with SHA-256")]
    Algorithm,
    #[error("the request is not signed by the key in it")]
    Signature,
}

impl CertificateRequest {
    /// The request in PEM or DER, if it is signed by its own key.
    pub fn parse(bytes: &[u8]) -> Result<Self, CsrError> {
        if bytes.len() > MAX_CSR {
            return Err(CsrError::TooLong);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN ") => {
                let der = from_pem(text, &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"]);
                Self::from_der(&der.ok_or(CsrError::Malformed)?)
            }
            _ => Self::from_der(bytes),
        }
    }

    /// The request in DER, if it is signed by its own key.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CsrError> {
        if bytes.len() > MAX_CSR {
            return Err(CsrError::TooLong);
        }
        let (info, algorithm, signature) = signed_parts(bytes).map_err(|_| CsrError::Malformed)?;
        let spki = public_key_of(info).map_err(|_| CsrError::Malformed)?;
        let key_type = check_public_key(spki)?.key_type();
        let verification = verification(key_type, algorithm.oid).ok_or(CsrError::Algorithm)?;
        let key = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| CsrError::Malformed)?;
        let signature = signature.as_bytes().ok_or(CsrError::Malformed)?;
        UnparsedPublicKey::new(verification, key.subject_public_key.raw_bytes())
            .verify(info, signature)
            .map_err(|_| CsrError::Signature)?;
        Ok(Self { spki_der: spki.to_vec() })
    }
}

/// SubjectPublicKeyInfo, the third field of CertificationRequestInfo (RFC 2986 §4.1).
fn public_key_of(info: &[u8]) -> x509_cert::der::Result<&[u8]> {
    let mut reader = SliceReader::new(info)?;
    reader.sequence(|inner| {
        let _version: u8 = inner.decode()?;
        let _subject = inner.tlv_bytes()?;
        let public_key = inner.tlv_bytes()?;
        while !inner.is_finished() {
            inner.tlv_bytes()?;
        }
        Ok(public_key)
    })
}

fn verification(key_type: KeyType, algorithm: ObjectIdentifier) -> Option<&'static dyn VerificationAlgorithm> {
    const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
    const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
    const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
    const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
    const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
    Some(match (key_type, algorithm) {
        (KeyType::Rsa, RSA_SHA256) => &RSA_PKCS1_2048_8192_SHA256,
        (KeyType::Rsa, RSA_SHA384) => &RSA_PKCS1_2048_8192_SHA384,
        (KeyType::Rsa, RSA_SHA512) => &RSA_PKCS1_2048_8192_SHA512,
        (KeyType::P256, ECDSA_SHA256) => &ECDSA_P256_SHA256_ASN1,
        (KeyType::P256, ECDSA_SHA384) => &ECDSA_P256_SHA384_ASN1,
        (KeyType::P384, ECDSA_SHA256) => &ECDSA_P384_SHA256_ASN1,
        (KeyType::P384, ECDSA_SHA384) => &ECDSA_P384_SHA384_ASN1,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::testing::golden;

    #[test]
    fn only_the_key_is_taken() {
        let csr = golden("csr");
        let request = CertificateRequest::parse(&csr).unwrap();
        assert_eq!(check_public_key(&request.spki_der).unwrap().key_type(), KeyType::P256);
        let pem = super::super::certificate::to_pem(&csr).replace("CERTIFICATE", "CERTIFICATE REQUEST");
        assert_eq!(CertificateRequest::parse(pem.as_bytes()), Ok(request));
    }

    #[test]
    fn a_changed_request_is_not_signed_by_its_key() {
        let csr = golden("csr");
        for at in 0..csr.len() {
            for bit in [1, 0x80] {
                let mut changed = csr.clone();
                changed[at] ^= bit;
                // The parameters of the outer algorithm alone are not signed; ECDSA has none to change.
                assert!(CertificateRequest::from_der(&changed).is_err(), "byte {at}");
            }
            assert_eq!(CertificateRequest::from_der(&csr[..at]), Err(CsrError::Malformed));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_words() {
        assert_eq!(CertificateRequest::parse(b""), Err(CsrError::Malformed));
        assert_eq!(CertificateRequest::parse(b"-----BEGIN CERTIFICATE REQUEST-----\n!"), Err(CsrError::Malformed));
        assert_eq!(CertificateRequest::parse(&golden("ca")), Err(CsrError::Malformed));
        assert_eq!(CertificateRequest::parse(&vec![0x30; MAX_CSR + 1]), Err(CsrError::TooLong));
        assert_eq!(CertificateRequest::parse(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), Err(CsrError::Malformed));
    }
}
