//! Operations: what an owner signs, and what makes a signed one count.
//!
//! The signed bytes carry network, zone, name, sequence, hash of the previous operation and a validity limit, so an
//! operation cannot be replayed on another network, another title, a second time, or long after it was made.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::name::Name;
use super::rrset::{Rrset, Rtype};
use crate::codec::{self, CodecError};
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::{PublicKey, SecretKey, Signature};
use crate::limits;

/// What an owner asks for, before it is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Digest of the genesis: one for each cluster.
    pub network: Digest,
    pub zone: Name,
    /// The title that is operated on.
    pub title: Name,
    /// 0 registers; then one more than the title's.
    pub sequence: u64,
    /// Digest of the signed operation before this one; [`Digest::ZERO`] to register.
    pub previous: Digest,
    /// Agreed time after which it is void.
    pub valid_until: Timestamp,
    pub action: Action,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Take a free name. The signer becomes its owner.
    Register,
    /// Replace the RRsets named here; those with no records left are deleted.
    Set { changes: Vec<RecordChange> },
    /// Offer the title to another key. It stays with the signer until that key accepts.
    Transfer { to: PublicKey },
    /// Take an offered title. Signed by the key it was offered to.
    Accept,
    /// Ask for a certificate for the title's name and names beneath it.
    IssueCertificate {
        /// SubjectPublicKeyInfo in DER: all that is taken from a CSR.
        public_key: Vec<u8>,
        /// dNSNames in the order they are to appear; each the title or beneath it.
        names: Vec<Name>,
    },
}

/// One RRset under the title: its new records, or none to delete it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordChange {
    Put { name: Name, rrset: Rrset },
    Delete { name: Name, rtype: Rtype },
}

impl RecordChange {
    /// The RRset that it is about.
    pub fn place(&self) -> (Name, Rtype) {
        match self {
            Self::Put { name, rrset } => (name.clone(), rrset.rtype),
            Self::Delete { name, rtype } => (name.clone(), *rtype),
        }
    }
}

/// An operation with its signature, not yet checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedOperation {
    pub operation: Operation,
    pub signer: PublicKey,
    pub signature: Signature,
}

const SIGN_DOMAIN: &str = "torrens v1 operation signature";
const DIGEST_DOMAIN: &str = "torrens v1 signed operation";

impl Operation {
    fn signed_digest(&self, signer: &PublicKey) -> Digest {
        hash(SIGN_DOMAIN, &[&signer.0, &codec::encode(self)])
    }

    pub fn sign(self, key: &SecretKey) -> SignedOperation {
        let signer = key.public();
        let signature = key.sign(&self.signed_digest(&signer).0);
        SignedOperation { operation: self, signer, signature }
    }
}

impl SignedOperation {
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, limits::MAX_OPERATION)
    }

    /// The name of this operation: digest of its bytes.
    pub fn digest_of_bytes(bytes: &[u8]) -> Digest {
        hash(DIGEST_DOMAIN, &[bytes])
    }

    /// The operation as one whose signature holds, if it does.
    pub fn verify(self) -> Option<VerifiedOperation> {
        let digest = Self::digest_of_bytes(&self.to_bytes());
        let signed = self.operation.signed_digest(&self.signer);
        self.signer.verify(&signed.0, &self.signature).then_some(VerifiedOperation {
            operation: self.operation,
            signer: self.signer,
            digest,
        })
    }
}

/// An operation that its signer did sign. Made by [`SignedOperation::verify`] only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedOperation {
    operation: Operation,
    signer: PublicKey,
    digest: Digest,
}

impl VerifiedOperation {
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }
}
