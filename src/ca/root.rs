//! The authority's own certificate: self-signed in the ceremony, and the limits that everybody who trusts it may
//! count on.
//!
//! Name constraints (RFC 5280 §4.2.1.10), critical. dNSName: the zones are permitted, and so nothing else; if the
//! root zone is among them every name is, so there is no such constraint. iPAddress: 0.0.0.0/0 and ::/0 are excluded.
//! E-mail and URI names: the host `invalid`, which cannot exist (RFC 6761 §6.4), is permitted, and so no other host;
//! then it is excluded as well. This odd pair closes both wherever it was tried: for OpenSSL an excluded `""` or `.`
//! excludes no e-mail address and no URI, and a permitted host alone still lets that host pass; rustls-webpki refuses
//! every name of these two kinds once the kind is constrained. directoryName is not constrained, because
//! rustls-webpki refuses every chain with such a constraint, whatever the subject. extKeyUsage serverAuth closes the
//! other uses (e-mail, code, clients).

use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::constraints::name::{GeneralSubtree, GeneralSubtrees};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, NameConstraints, SubjectKeyIdentifier,
};
use x509_cert::name::Name as DistinguishedName;

use super::authorize::{Hostname, NotHostname};
use super::certificate;
use super::profile::{BadTime, Period, Serial};
use super::public_key::{BadKey, KeyType, check_public_key};
use super::tbs::{self, Fields, ID_KP_SERVER_AUTH, KEY_IDENTIFIER_LENGTH};
use crate::crypto::digest::{Digest, hash};
use crate::directory::name::Name;
use crate::limits::{MAX_CONSTRAINED_ZONES, RSA_AUTHORITY_BYTES};

const SERIAL_DOMAIN: &str = "torrens v1 authority serial";

/// What the ceremony decides about the authority.
#[derive(Clone, Copy, Debug)]
pub struct RootFacts<'a> {
    /// Digest of the genesis: gives the authority its name.
    pub network: Digest,
    /// SubjectPublicKeyInfo of the threshold key, DER: see [`super::public_key::rsa_public_key_info`].
    pub public_key: &'a [u8],
    /// Apexes of the zones whose names may be certified.
    pub zones: &'a [Name],
    pub validity: Period,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthorityError {
    #[error("the key of the authority: {0}")]
    Key(#[from] BadKey),
    #[error("the authority needs an RSA key of 2048 bits")]
    KeyType,
    #[error("an authority needs 1 to {MAX_CONSTRAINED_ZONES} zones, not {0}")]
    Zones(usize),
    #[error("no certificates for the zone {0}: {1}")]
    ZoneName(Name, NotHostname),
    #[error(transparent)]
    Time(#[from] BadTime),
    #[error("not a certificate in DER")]
    Malformed,
    #[error("not the certificate of such an authority: it differs from the profile")]
    Profile,
    #[error("the authority's certificate is not signed by its own key")]
    Signature,
}

/// TBSCertificate of the authority, DER: to be signed by the key it names, then put together by
/// [`certificate::assemble`].
pub fn root_tbs(facts: &RootFacts) -> Result<Vec<u8>, AuthorityError> {
    let name = format!("CN=Torrens {} CA,O=Torrens", &facts.network.to_string()[..8]);
    let name = name.parse().expect("hexadecimal digits need no escape");
    tbs_named(&name, facts.public_key, facts.zones, facts.validity)
}

fn tbs_named(
    name: &DistinguishedName,
    public_key: &[u8],
    zones: &[Name],
    validity: Period,
) -> Result<Vec<u8>, AuthorityError> {
    if check_public_key(public_key)?.key_type() != KeyType::Rsa
        || rsa_key_bytes(public_key) != Some(RSA_AUTHORITY_BYTES)
    {
        return Err(AuthorityError::KeyType);
    }
    let extensions = vec![
        tbs::extension(true, &BasicConstraints { ca: true, path_len_constraint: Some(0) }),
        tbs::extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)),
        tbs::extension(false, &ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH])),
        tbs::extension(false, &SubjectKeyIdentifier(tbs::octets(&tbs::key_identifier(public_key)))),
        tbs::extension(true, &name_constraints(zones)?),
    ];
    let serial = Serial::from_digest(hash(SERIAL_DOMAIN, &[&tbs::der(name), public_key]));
    Ok(tbs::encode(&Fields {
        serial: serial.as_bytes(),
        issuer: name,
        validity,
        subject: name,
        public_key,
        extensions,
    }))
}

fn name_constraints(zones: &[Name]) -> Result<NameConstraints, AuthorityError> {
    if zones.is_empty() || zones.len() > MAX_CONSTRAINED_ZONES {
        return Err(AuthorityError::Zones(zones.len()));
    }
    let subtree = |base| GeneralSubtree { base, minimum: 0, maximum: None };
    let nowhere = || {
        let host = tbs::ia5("invalid");
        [GeneralName::Rfc822Name(host.clone()), GeneralName::UniformResourceIdentifier(host)].map(subtree)
    };
    let mut permitted: GeneralSubtrees = Vec::new();
    if !zones.iter().any(Name::is_root) {
        for zone in zones {
            if zone.is_wildcard() {
                return Err(AuthorityError::ZoneName(zone.clone(), NotHostname::Wildcard));
            }
            let host = Hostname::of(zone).map_err(|why| AuthorityError::ZoneName(zone.clone(), why))?;
            permitted.push(subtree(GeneralName::DnsName(tbs::ia5(host.as_str()))));
        }
    }
    permitted.extend(nowhere());
    let mut excluded: GeneralSubtrees = nowhere().into();
    // Address and mask, all zero: every address.
    excluded.extend([8, 32].map(|length| subtree(GeneralName::IpAddress(tbs::octets(&vec![0; length])))));
    Ok(NameConstraints { permitted_subtrees: Some(permitted), excluded_subtrees: Some(excluded) })
}

/// The authority, as its certificate has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    certificate: Vec<u8>,
    name: DistinguishedName,
    public_key: Vec<u8>,
    key_identifier: [u8; KEY_IDENTIFIER_LENGTH],
    validity: Period,
    zones: Vec<Name>,
}

impl Authority {
    /// The authority of a certificate in DER, if the certificate is one that [`root_tbs`] makes, signed by its own key.
    pub fn from_certificate(der: &[u8]) -> Result<Self, AuthorityError> {
        let parsed = Certificate::from_der(der).map_err(|_| AuthorityError::Malformed)?;
        let tbs = parsed.tbs_certificate();
        let public_key = tbs.subject_public_key_info().to_der().map_err(|_| AuthorityError::Malformed)?;
        let validity = tbs.validity();
        let validity = Period::new(
            validity.not_before.to_unix_duration().as_secs(),
            validity.not_after.to_unix_duration().as_secs(),
        )?;
        let zones = permitted_zones(tbs)?;
        // Writing it again from what was read checks all the rest of the profile at once.
        let written = tbs_named(tbs.subject(), &public_key, &zones, validity)?;
        let signature = parsed.signature().as_bytes().and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or(AuthorityError::Profile)?;
        if certificate::assemble(&written, signature) != der {
            return Err(AuthorityError::Profile);
        }
        let authority = Self {
            certificate: der.to_vec(),
            name: tbs.subject().clone(),
            key_identifier: tbs::key_identifier(&public_key),
            public_key,
            validity,
            zones,
        };
        if !certificate::verify_signature(der, &authority) {
            return Err(AuthorityError::Signature);
        }
        Ok(authority)
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub fn name(&self) -> &DistinguishedName {
        &self.name
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    pub fn key_identifier(&self) -> &[u8; KEY_IDENTIFIER_LENGTH] {
        &self.key_identifier
    }

    pub fn validity(&self) -> Period {
        self.validity
    }

    /// The zones whose names it may certify; the root zone alone if every name is permitted.
    pub fn zones(&self) -> &[Name] {
        &self.zones
    }

    /// Whether the name constraints let this name pass.
    pub fn permits(&self, name: &Name) -> bool {
        self.zones.iter().any(|zone| name.is_within(zone))
    }
}

fn permitted_zones(tbs: &x509_cert::TbsCertificate) -> Result<Vec<Name>, AuthorityError> {
    let Ok(Some((_, constraints))) = tbs.get_extension::<NameConstraints>() else {
        return Err(AuthorityError::Profile);
    };
    let mut zones = Vec::new();
    for subtree in constraints.permitted_subtrees.iter().flatten() {
        if let GeneralName::DnsName(zone) = &subtree.base {
            zones.push(Name::parse(zone.as_str(), None).map_err(|_| AuthorityError::Profile)?);
        }
    }
    if zones.is_empty() {
        zones.push(Name::root());
    }
    Ok(zones)
}

/// Bytes of the modulus of an RSA key that was checked.
fn rsa_key_bytes(public_key: &[u8]) -> Option<usize> {
    let info = x509_cert::spki::SubjectPublicKeyInfoRef::from_der(public_key).ok()?;
    let mut reader = SliceReader::new(info.subject_public_key.as_bytes()?).ok()?;
    let modulus = reader.sequence(|inner| {
        let modulus: x509_cert::der::asn1::UintRef = inner.decode()?;
        inner.tlv_bytes()?;
        Ok::<_, x509_cert::der::Error>(modulus.as_bytes().len())
    });
    modulus.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::testing::{P256_KEY, RSA_KEY, authority, golden, name};

    fn tbs_for(zones: &[&str], public_key: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let zones: Vec<Name> = zones.iter().map(|zone| name(zone)).collect();
        let validity = Period::new(1_767_225_600, 2_398_377_599).unwrap();
        root_tbs(&RootFacts { network: hash("test network", &[]), public_key, zones: &zones, validity })
    }

    fn constraints_for(zones: &[&str]) -> NameConstraints {
        let tbs = tbs_for(zones, &RSA_KEY).unwrap();
        let (critical, constraints) =
            x509_cert::TbsCertificate::from_der(&tbs).unwrap().get_extension().unwrap().unwrap();
        assert!(critical);
        constraints
    }

    fn dns_names(constraints: &NameConstraints) -> Vec<String> {
        let permitted = constraints.permitted_subtrees.iter().flatten();
        let dns = permitted.filter_map(|subtree| match &subtree.base {
            GeneralName::DnsName(name) => Some(name.to_string()),
            _ => None,
        });
        dns.collect()
    }

    #[test]
    fn the_authority_is_what_its_certificate_says() {
        let authority = authority();
        assert_eq!(authority.certificate(), golden("ca"));
        assert_eq!(authority.zones(), [name("names.example.")]);
        assert!(authority.name().to_string().starts_with("CN=Torrens "));
        assert!(authority.permits(&name("www.alice.names.example.")));
        assert!(!authority.permits(&name("xnames.example.")) && !authority.permits(&name("example.")));
        let facts = (authority.public_key(), authority.validity());
        let rewritten = root_tbs(&RootFacts {
            network: hash("test network", &[]),
            public_key: facts.0,
            zones: authority.zones(),
            validity: facts.1,
        });
        let (tbs, ..) = certificate::signed_parts(authority.certificate()).unwrap();
        assert_eq!(rewritten.unwrap(), tbs);
    }

    #[test]
    fn the_zones_are_permitted_and_the_root_zone_lifts_the_constraint() {
        assert_eq!(dns_names(&constraints_for(&["names.example.", "other."])), ["names.example", "other"]);
        assert!(dns_names(&constraints_for(&["."])).is_empty());
        assert!(dns_names(&constraints_for(&["names.example.", "."])).is_empty());
    }

    #[test]
    fn an_authority_without_a_fitting_key_or_fitting_zones_is_refused() {
        assert_eq!(tbs_for(&["a."], &P256_KEY), Err(AuthorityError::KeyType));
        assert!(matches!(tbs_for(&["a."], &RSA_KEY[1..]), Err(AuthorityError::Key(_))));
        assert_eq!(tbs_for(&[], &RSA_KEY), Err(AuthorityError::Zones(0)));
        let many = vec!["a."; MAX_CONSTRAINED_ZONES + 1];
        assert_eq!(tbs_for(&many, &RSA_KEY), Err(AuthorityError::Zones(many.len())));
        for (zone, why) in [("_a.b.", NotHostname::Label), ("*.b.", NotHostname::Wildcard), ("4.", NotHostname::Number)]
        {
            assert_eq!(tbs_for(&[zone], &RSA_KEY), Err(AuthorityError::ZoneName(name(zone), why)));
        }
    }

    #[test]
    fn a_certificate_that_differs_from_the_profile_or_is_not_self_signed_is_no_authority() {
        let tbs = tbs_for(&["names.example."], &RSA_KEY).unwrap();
        let unsigned = certificate::assemble(&tbs, &[1; RSA_AUTHORITY_BYTES]);
        assert_eq!(Authority::from_certificate(&unsigned), Err(AuthorityError::Signature));
        // pathLenConstraint 1 for 0.
        let at = unsigned.windows(6).position(|bytes| bytes == [1, 1, 0xff, 2, 1, 0]).unwrap() + 5;
        let mut deeper = unsigned.clone();
        deeper[at] = 1;
        assert_eq!(Authority::from_certificate(&deeper), Err(AuthorityError::Profile));
        for length in 0..unsigned.len() {
            assert!(Authority::from_certificate(&unsigned[..length]).is_err());
        }
        assert_eq!(Authority::from_certificate(&[&golden("ca")[..], &[0]].concat()), Err(AuthorityError::Malformed));
    }
}
