//! The authority's threshold RSA key as scheduler and signer use it: shares are opaque bytes to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_core::CryptoRngCore;

use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::shoup::{RsaPublic, RsaSecret, RsaShare};
use crate::limits::MAX_RSA_SHARE;
use crate::signing::{RsaCombiner, RsaSigner};

/// The public side: combines ordered shares.
pub struct AuthorityKey(pub RsaPublic);

impl RsaCombiner for AuthorityKey {
    fn combine(&self, message: &[u8], shares: &BTreeMap<ReplicaId, Vec<u8>>) -> Result<Vec<u8>, Vec<ReplicaId>> {
        let mut parsed = BTreeMap::new();
        let mut culprits = Vec::new();
        for (&author, bytes) in shares {
            match codec::decode::<RsaShare>(bytes, MAX_RSA_SHARE) {
                Ok(share) => drop(parsed.insert(author, share)),
                Err(_) => culprits.push(author),
            }
        }
        match self.0.combine(message, &parsed) {
            Ok(combined) => Ok(combined.signature.to_vec()),
            Err(error) => {
                culprits.extend(error.culprits);
                Err(culprits)
            }
        }
    }
}

/// The secret side: this replica's share of the key.
pub struct AuthorityShare {
    pub public: Arc<RsaPublic>,
    pub secret: RsaSecret,
}

impl RsaSigner for AuthorityShare {
    fn sign_share(&self, message: &[u8], rng: &mut dyn CryptoRngCore) -> Option<Vec<u8>> {
        let mut rng = rng;
        let share = self.secret.share(&self.public, message, &mut rng).ok()?;
        Some(codec::encode(&share))
    }
}
