//! From signed bytes to certificates, and back.

use data_encoding::BASE64;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use x509_cert::der::asn1::{BitString, BitStringRef};
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

use super::root::Authority;
use super::tbs::{der, sequence, signature_algorithm};
use crate::limits::RSA_AUTHORITY_BYTES;

/// A signature of the authority: PKCS#1 v1.5 over SHA-256 of the to-be-signed bytes (RFC 8017 §8.2), big-endian.
pub type RsaSignature = [u8; RSA_AUTHORITY_BYTES];

/// Certificate (RFC 5280 §4.1), DER, of to-be-signed bytes and a signature over them. Whether it verifies is not asked.
pub fn assemble(tbs: &[u8], signature: &RsaSignature) -> Vec<u8> {
    let signature = BitString::from_bytes(signature).expect("256 bytes are below the length limit of DER");
    sequence(&[tbs.to_vec(), der(&signature_algorithm()), der(&signature)])
}

/// Whether the certificate, DER, is signed by the authority. Its contents are not judged.
#[must_use]
pub fn verify_signature(certificate: &[u8], authority: &Authority) -> bool {
    let Ok((tbs, algorithm, signature)) = signed_parts(certificate) else { return false };
    let Ok(key) = SubjectPublicKeyInfoRef::from_der(authority.public_key()) else { return false };
    let (Some(key), Some(signature)) = (key.subject_public_key.as_bytes(), signature.as_bytes()) else { return false };
    algorithm == signature_algorithm()
        && UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(tbs, signature).is_ok()
}

/// The three parts of anything signed in the way of X.509 (RFC 5280 §4.1.1, RFC 2986 §4.2): the bytes signed as they
/// stand, the algorithm, the signature. Nothing may follow.
pub(super) fn signed_parts(
    bytes: &[u8],
) -> x509_cert::der::Result<(&[u8], AlgorithmIdentifierOwned, BitStringRef<'_>)> {
    let mut reader = SliceReader::new(bytes)?;
    let parts = reader.sequence(|inner| {
        let parts = (inner.tlv_bytes()?, inner.decode()?, inner.decode()?);
        Ok::<_, x509_cert::der::Error>(parts)
    })?;
    reader.finish()?;
    Ok(parts)
}

/// A certificate in PEM (RFC 7468 §5).
pub fn to_pem(certificate: &[u8]) -> String {
    let base64 = BASE64.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in base64.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// What a TLS server sends: the leaf, then the authority, which those who hold it may ignore (RFC 8446 §4.4.2).
pub fn chain_pem(leaf: &[u8], authority: &Authority) -> String {
    to_pem(leaf) + &to_pem(authority.certificate())
}

/// The first block of PEM text labelled with one of `labels`, decoded; none if there is none.
pub fn from_pem(text: &str, labels: &[&str]) -> Option<Vec<u8>> {
    let mut lines = text.lines().map(str::trim);
    let label = lines.by_ref().find_map(|line| {
        let label = line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
        labels.contains(&label).then_some(label)
    })?;
    let end = format!("-----END {label}-----");
    let mut base64 = String::new();
    for line in lines {
        if line == end {
            return BASE64.decode(base64.as_bytes()).ok();
        }
        base64.push_str(line);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::testing::{authority, golden};

    #[test]
    fn the_authority_verifies_under_its_own_key_and_only_as_it_stands() {
        let authority = authority();
        let root = authority.certificate();
        assert!(verify_signature(root, &authority));
        for at in 0..root.len() {
            let mut changed = root.to_vec();
            changed[at] ^= 1;
            assert!(!verify_signature(&changed, &authority), "byte {at}");
            assert!(!verify_signature(&root[..at], &authority));
            assert!(Authority::from_certificate(&changed).is_err());
        }
        assert!(!verify_signature(&[root, &[0]].concat(), &authority));
    }

    #[test]
    fn pem_decodes_to_what_was_encoded() {
        let root = golden("ca");
        let text = to_pem(&root);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(from_pem(&format!("some text\n{text}"), &["CERTIFICATE"]), Some(root.clone()));
        assert_eq!(from_pem(&text.replace('\n', "\r\n"), &["CERTIFICATE"]), Some(root));
        assert_eq!(from_pem(&text, &["CERTIFICATE REQUEST"]), None);
        assert_eq!(from_pem(&text[..200], &["CERTIFICATE"]), None);
        assert_eq!(from_pem("", &["CERTIFICATE"]), None);
    }
}
