//! Mutual TLS 1.3 (RFC 8446) with raw public keys (RFC 7250): no names, no dates, no authorities.
//!
//! Each replica has an Ed25519 key for links and nothing else. The side that dials accepts the one key of the replica
//! it wants; the side that accepts takes the keys of all other replicas and knows by the key who is there. Sessions are
//! never resumed, so that each link proves its key anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme, version,
};

use crate::committee::ReplicaId;
use crate::crypto::ed25519::{PublicKey, SecretKey};

/// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

type Spki = [u8; 44];

/// The keys that may be at the other end, and whose they are.
#[derive(Debug)]
pub struct Pinned {
    members: BTreeMap<Spki, ReplicaId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    pub fn new(members: impl IntoIterator<Item = (ReplicaId, PublicKey)>) -> Self {
        let members = members.into_iter().map(|(id, key)| (spki(&key), id)).collect();
        Self { members, algorithms: ring::default_provider().signature_verification_algorithms }
    }

    /// Whose key was shown. TLS has checked that the other side holds it.
    pub fn member(&self, shown: Option<&[CertificateDer<'_>]>) -> Option<ReplicaId> {
        match shown? {
            [key] => self.members.get(key.as_ref()).copied(),
            _ => None,
        }
    }

    fn check(&self, key: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        if others.is_empty() && self.members.contains_key(key.as_ref()) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(key, &[])?;
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon));
        }
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// For the side that dials the replica which holds `peer`.
pub fn client_config(link_key: &SecretKey, peer: Pinned) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .expect("ring has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(peer))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(link_key))));
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
}

/// For the side that accepts the replicas in `members`.
pub fn server_config(link_key: &SecretKey, members: Arc<Pinned>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .expect("ring has suites of TLS 1.3")
        .with_client_cert_verifier(members)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(link_key))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// Any name: the key says who it is.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("replica").expect("a host name")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certified(link_key: &SecretKey) -> Arc<CertifiedKey> {
    let private = link_key.to_pkcs8();
    let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(private.as_slice()))
        .expect("PKCS #8 of an Ed25519 key as RFC 8410 writes it");
    let public = CertificateDer::from(spki(&link_key.public()).to_vec());
    Arc::new(CertifiedKey::new(vec![public], signer))
}

fn spki(key: &PublicKey) -> Spki {
    let mut bytes = [0; 44];
    bytes[..12].copy_from_slice(&SPKI_PREFIX);
    bytes[12..].copy_from_slice(&key.0);
    bytes
}
