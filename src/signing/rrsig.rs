//! DNSSEC records in wire form: DNSKEY, DS, RRSIG, NSEC (RFC 4034), for Ed25519 (algorithm 15, RFC 8080).
//!
//! RDATA comes out canonical: names uncompressed and lower-case (RFC 4034 §6.2), as [`Name`] keeps them.

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::crypto::ed25519::{PublicKey, Signature};
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};

/// DNSSEC algorithm number of Ed25519 (RFC 8080 §5).
pub const ALGORITHM: u8 = 15;
/// Zone Key and Secure Entry Point (RFC 4034 §2.1.1): one key signs the zone and is what the parent's DS names.
pub const DNSKEY_FLAGS: u16 = 257;
/// DNSKEY protocol (RFC 4034 §2.1.2).
const PROTOCOL: u8 = 3;
/// DS digest type of SHA-256 (RFC 4509).
const SHA256: u8 = 2;
/// Class IN.
const CLASS: u16 = 1;
/// Bytes of RRSIG RDATA before the signer's name.
const FIXED: usize = 18;

/// A zone's DNSKEY RDATA (RFC 4034 §2.1, RFC 8080 §3).
pub fn dnskey_rdata(key: &PublicKey) -> Vec<u8> {
    let mut rdata = DNSKEY_FLAGS.to_be_bytes().to_vec();
    rdata.extend_from_slice(&[PROTOCOL, ALGORITHM]);
    rdata.extend_from_slice(&key.0);
    rdata
}

/// The DNSKEY RRset of a zone.
pub fn dnskey_rrset(key: &PublicKey, ttl: u32) -> Rrset {
    Rrset::new(Rtype::DNSKEY, ttl, vec![dnskey_rdata(key)])
}

/// Key tag of DNSKEY RDATA (RFC 4034 Appendix B).
pub fn key_tag(dnskey_rdata: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (at, &byte) in dnskey_rdata.iter().enumerate() {
        sum = sum.wrapping_add(if at % 2 == 0 { u32::from(byte) << 8 } else { u32::from(byte) });
    }
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}

/// DS RDATA with a SHA-256 digest (RFC 4034 §5.1.4, RFC 4509).
pub fn ds_rdata(zone: &Name, key: &PublicKey) -> Vec<u8> {
    let dnskey = dnskey_rdata(key);
    let digest = Sha256::new().chain_update(zone.as_wire()).chain_update(&dnskey).finalize();
    let mut rdata = key_tag(&dnskey).to_be_bytes().to_vec();
    rdata.extend_from_slice(&[ALGORITHM, SHA256]);
    rdata.extend_from_slice(&digest);
    rdata
}

/// The DNSKEY record as a line of a zone file (RFC 4034 §2.2).
pub fn dnskey_text(zone: &Name, key: &PublicKey, ttl: u32) -> String {
    format!("{zone} {ttl} IN DNSKEY {DNSKEY_FLAGS} {PROTOCOL} {ALGORITHM} {}", BASE64.encode(&key.0))
}

/// The DS record as a line of a zone file (RFC 4034 §5.3).
pub fn ds_text(zone: &Name, key: &PublicKey, ttl: u32) -> String {
    let rdata = ds_rdata(zone, key);
    let tag = u16::from_be_bytes([rdata[0], rdata[1]]);
    format!("{zone} {ttl} IN DS {tag} {ALGORITHM} {SHA256} {}", HEXLOWER.encode(&rdata[4..]))
}

/// When a signature holds, in seconds since the epoch modulo 2³² (RFC 4034 §3.1.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    pub inception: u32,
    pub expiration: u32,
}

/// What is signed for an RRset, and the RRSIG RDATA that the signature completes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToBeSigned {
    /// The data to sign (RFC 4034 §3.1.8.1): RRSIG RDATA without the signature, then the RRs in canonical form.
    pub message: Vec<u8>,
    /// Bytes of the RRSIG RDATA in front of it.
    prefix: usize,
}

impl ToBeSigned {
    /// RRSIG RDATA (RFC 4034 §3.1).
    pub fn rrsig_rdata(&self, signature: &Signature) -> Vec<u8> {
        [&self.message[..self.prefix], &signature.to_bytes()].concat()
    }
}

/// What the zone signs for `rrset` at `owner`.
pub fn to_be_signed(owner: &Name, rrset: &Rrset, zone: &Name, key_tag: u16, validity: Validity) -> ToBeSigned {
    let mut message = rrset.rtype.0.to_be_bytes().to_vec();
    message.push(ALGORITHM);
    // The asterisk of a wildcard does not count, nor does the root label (RFC 4034 §3.1.3).
    message.push((owner.label_count() - usize::from(owner.is_wildcard())) as u8);
    message.extend_from_slice(&rrset.ttl.to_be_bytes());
    message.extend_from_slice(&validity.expiration.to_be_bytes());
    message.extend_from_slice(&validity.inception.to_be_bytes());
    message.extend_from_slice(&key_tag.to_be_bytes());
    message.extend_from_slice(zone.as_wire());
    let prefix = message.len();
    append_records(&mut message, owner, rrset, rrset.ttl);
    ToBeSigned { message, prefix }
}

fn append_records(message: &mut Vec<u8>, owner: &Name, rrset: &Rrset, ttl: u32) {
    for rdata in rrset.rdatas() {
        message.extend_from_slice(owner.as_wire());
        message.extend_from_slice(&rrset.rtype.0.to_be_bytes());
        message.extend_from_slice(&CLASS.to_be_bytes());
        message.extend_from_slice(&ttl.to_be_bytes());
        let length = u16::try_from(rdata.len()).expect("RDATA is shorter than a message");
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(rdata);
    }
}

/// When the signature in RRSIG RDATA holds; none if it is not RRSIG RDATA.
pub fn validity_of(rrsig_rdata: &[u8]) -> Option<Validity> {
    let number = |at: usize| Some(u32::from_be_bytes(rrsig_rdata.get(at..at + 4)?.try_into().ok()?));
    (rrsig_rdata.len() > FIXED).then_some(())?;
    Some(Validity { expiration: number(8)?, inception: number(12)? })
}

/// Whether the RRSIG is the zone key's signature of this RRset at this owner (RFC 4035 §5.3, times apart). Wildcard
/// expansion is not undone: `owner` is the name the records are kept at.
#[must_use]
pub fn verify(owner: &Name, rrset: &Rrset, rrsig_rdata: &[u8], zone: &Name, key: &PublicKey) -> bool {
    let Some(validity) = validity_of(rrsig_rdata) else { return false };
    let signed = to_be_signed(owner, rrset, zone, key_tag(&dnskey_rdata(key)), validity);
    let Some((prefix, signature)) = rrsig_rdata.split_at_checked(signed.prefix) else { return false };
    let Ok(signature) = signature.try_into().map(Signature::from_bytes) else { return false };
    prefix == &signed.message[..signed.prefix] && key.verify(&signed.message, &signature)
}

/// NSEC RDATA (RFC 4034 §4.1): the next name of the chain, and the types at this one, in order.
pub fn nsec_rdata(next: &Name, types: &[Rtype]) -> Vec<u8> {
    let mut rdata = next.as_wire().to_vec();
    for window in types.chunk_by(|a, b| a.0 >> 8 == b.0 >> 8) {
        let mut bitmap = [0u8; 32];
        for rtype in window {
            let low = usize::from(rtype.0 & 0xff);
            bitmap[low / 8] |= 0x80 >> (low % 8);
        }
        let length = bitmap.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        rdata.extend_from_slice(&[(window[0].0 >> 8) as u8, length as u8]);
        rdata.extend_from_slice(&bitmap[..length]);
    }
    rdata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519::SecretKey;

    fn name(text: &str) -> Name {
        Name::parse(text, None).unwrap()
    }

    /// RFC 8080 §6.1 (with erratum 4935): key, DS and signature of example.com.
    #[test]
    fn the_example_of_rfc_8080_section_6_1_holds() {
        let seed = BASE64.decode(b"ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=").unwrap();
        let key = SecretKey::from_seed(seed.as_slice().try_into().unwrap());
        let zone = name("example.com.");
        assert_eq!(
            dnskey_text(&zone, &key.public(), 3600),
            "example.com. 3600 IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="
        );
        assert_eq!(
            ds_text(&zone, &key.public(), 3600),
            "example.com. 3600 IN DS 3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b"
        );
        let mut exchange = vec![0, 10];
        exchange.extend_from_slice(name("mail.example.com.").as_wire());
        let mx = Rrset::new(Rtype::MX, 3600, vec![exchange]);
        let validity = Validity { expiration: 1_440_021_600, inception: 1_438_207_200 };
        let signed = to_be_signed(&zone, &mx, &zone, 3613, validity);
        let signature = key.sign(&signed.message);
        assert_eq!(
            BASE64.encode(&signature.to_bytes()),
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg=="
        );
        let rrsig = signed.rrsig_rdata(&signature);
        assert_eq!(validity_of(&rrsig), Some(validity));
        assert!(verify(&zone, &mx, &rrsig, &zone, &key.public()));
        assert!(!verify(&name("a.example.com."), &mx, &rrsig, &zone, &key.public()));
    }

    #[test]
    fn malformed_rrsig_rdata_verifies_nothing() {
        let key = SecretKey::from_seed(&[1; 32]);
        let zone = name("example.");
        let a = Rrset::new(Rtype::A, 60, vec![vec![192, 0, 2, 1]]);
        let signed = to_be_signed(
            &zone,
            &a,
            &zone,
            key_tag(&dnskey_rdata(&key.public())),
            Validity { inception: 1, expiration: 2 },
        );
        let rrsig = signed.rrsig_rdata(&key.sign(&signed.message));
        assert!(verify(&zone, &a, &rrsig, &zone, &key.public()));
        for length in 0..rrsig.len() {
            assert!(!verify(&zone, &a, &rrsig[..length], &zone, &key.public()));
        }
        assert!(!verify(&zone, &a, &[&rrsig[..], &[0]].concat(), &zone, &key.public()));
    }

    #[test]
    fn labels_count_neither_the_root_nor_an_asterisk() {
        let validity = Validity { inception: 0, expiration: 0 };
        let labels = |owner: &str| {
            to_be_signed(&name(owner), &Rrset::new(Rtype::A, 0, vec![]), &Name::root(), 0, validity).message[3]
        };
        assert_eq!([".", "example.", "*.example.", "a.*.example.", "*."].map(labels), [0, 1, 1, 3, 0]);
    }

    /// RFC 4034 §4.3: host.example.com. with types A MX RRSIG NSEC TYPE1234.
    #[test]
    fn the_nsec_example_of_rfc_4034_section_4_3_holds() {
        let types = [Rtype::A, Rtype::MX, Rtype::RRSIG, Rtype::NSEC, Rtype(1234)];
        let mut expected = name("host.example.com.").as_wire().to_vec();
        expected.extend_from_slice(&[0x00, 0x06, 0x40, 0x01, 0x00, 0x00, 0x00, 0x03, 0x04, 0x1b]);
        expected.extend_from_slice(&[0; 26]);
        expected.push(0x20);
        assert_eq!(nsec_rdata(&name("host.example.com."), &types), expected);
    }
}
