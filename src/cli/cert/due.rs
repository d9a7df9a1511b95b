//! Whether a certificate is to be issued anew: `torrens cert issue --if-due`, for timers.
//!
//! It is due when less than a third of its validity is left (a part of the validity, as RFC 9773 §1 describes ACME
//! clients), or when what is there cannot be used for what is asked for. Certificates of the network's authority hold
//! six days: two of them are in reserve, and an hourly timer has some fifty tries.

use std::collections::BTreeSet;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Authority;
use crate::client::input;
use crate::directory::Timestamp;
use crate::directory::name::Name;

/// A certificate that is good for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The last second of its validity.
    pub until: Timestamp,
    /// From then on it is due.
    pub due: Timestamp,
}

/// The certificate in the file `chain`, if it is for this key and these names and no others and is not due; else, why
/// not.
pub fn standing(
    chain: &Path,
    authority: &Authority,
    public_key: &[u8],
    names: &[Name],
    now: Timestamp,
) -> Result<Standing, String> {
    let of = |what: String| format!("{}: the certificate {what}", chain.display());
    let text = input::read(chain).map_err(|error| error.to_string())?;
    let leaf = CertificateDer::from_pem_slice(&text).map_err(|error| of(format!("cannot be read: {error}")))?;
    authority.check(&leaf, public_key, names, now).map_err(of)?;
    let parsed = x509_cert::Certificate::from_der(&leaf).map_err(|error| of(format!("cannot be read: {error}")))?;
    let wanted: BTreeSet<String> = names.iter().map(|name| name.to_string().trim_end_matches('.').to_owned()).collect();
    if held(&parsed) != Some(wanted) {
        return Err(of("is for other names".to_owned()));
    }
    let validity = parsed.tbs_certificate().validity();
    let first = validity.not_before.to_unix_duration().as_secs();
    let last = validity.not_after.to_unix_duration().as_secs();
    let due = last.saturating_sub(last.saturating_sub(first) / 3);
    if now.seconds() >= due {
        return Err(of("has less than a third of its time left".to_owned()));
    }
    let at = |seconds: u64| Timestamp(seconds.saturating_mul(1000));
    Ok(Standing { until: at(last), due: at(due) })
}

/// The names that it is for, if all are host names.
fn held(certificate: &x509_cert::Certificate) -> Option<BTreeSet<String>> {
    let (_, SubjectAltName(names)) = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    let host = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    };
    names.iter().map(host).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::seams::csr_public_key;

    const FIRST: u64 = 1_795_233_949;
    const LAST: u64 = 4_940_193_949;

    #[test]
    fn a_certificate_is_due_in_the_last_third_of_its_time_or_when_it_is_not_what_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, ca) = (folder.path().join("chain.pem"), folder.path().join("ca.pem"));
        let (leaf, trusted) = (include_str!("../testdata/leaf.pem"), include_str!("../testdata/ca.pem"));
        fs::write(&chain, [leaf, trusted].concat()).unwrap();
        fs::write(&ca, trusted).unwrap();
        let authority = Authority::load(&ca).unwrap();
        let key = csr_public_key(include_bytes!("../testdata/alice.csr")).unwrap();
        let names = ["alice.names.example.", "www.alice.names.example."].map(|name| Name::parse(name, None).unwrap());
        let at = |seconds: u64| standing(&chain, &authority, &key, &names, Timestamp(seconds * 1000));
        let due = LAST - (LAST - FIRST) / 3;
        let sound = Standing { until: Timestamp(LAST * 1000), due: Timestamp(due * 1000) };
        assert_eq!((at(FIRST), at(due - 1)), (Ok(sound), Ok(sound)));
        assert!(at(due).unwrap_err().contains("less than a third"));
        assert!(at(LAST).is_err() && at(LAST + 1).is_err() && at(FIRST - 1).is_err());

        let now = Timestamp(FIRST * 1000);
        let why = |key: &[u8], names: &[Name]| standing(&chain, &authority, key, names, now).unwrap_err();
        assert!(why(&key[1..], &names).contains("for another key"));
        assert!(why(&key, &names[..1]).contains("for other names"), "one more than is asked for");
        let mail = [names[0].clone(), Name::parse("mail.alice.names.example.", None).unwrap()];
        assert!(why(&key, &mail).contains("is not for mail"));
        let wildcard = [names[0].clone(), names[1].clone(), Name::parse("*.alice.names.example.", None).unwrap()];
        assert!(why(&key, &wildcard).contains("for other names"));
        fs::write(&chain, trusted).unwrap();
        assert!(why(&key, &names).contains("chain.pem: the certificate"));
        fs::write(&chain, "nonsense").unwrap();
        assert!(why(&key, &names).contains("cannot be read"));
        fs::remove_file(&chain).unwrap();
        assert!(why(&key, &names).contains("cannot be read"));
    }
}
