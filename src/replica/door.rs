//! The door in: what is refused before it costs anybody anything. What depends on state is refused when the operation
//! is executed, with a position in the order.

use std::sync::Arc;

use super::report::DoorRefusal;
use crate::codec::CodecError;
use crate::crypto::digest::Digest;
use crate::directory::Directory;
use crate::directory::Timestamp;
use crate::directory::operation::SignedOperation;

/// An operation that may wait to be ordered. Made by [`check`] only.
#[derive(Clone, Debug)]
pub struct Submission {
    digest: Digest,
    bytes: Arc<[u8]>,
    valid_until: Timestamp,
}

impl Submission {
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    pub(super) fn valid_until(&self) -> Timestamp {
        self.valid_until
    }
}

/// Checks that follow from the bytes and the genesis alone, cheapest first: correct replicas refuse alike.
pub fn check(bytes: &[u8], network: Digest, directory: &Directory) -> Result<Submission, DoorRefusal> {
    let signed = SignedOperation::from_bytes(bytes).map_err(|error| match error {
        CodecError::TooLong { .. } => DoorRefusal::TooLarge,
        CodecError::Malformed | CodecError::NotCanonical => DoorRefusal::Malformed,
    })?;
    if signed.operation.network != network {
        return Err(DoorRefusal::WrongNetwork);
    }
    if directory.zone_of(&signed.operation.title).is_none() {
        return Err(DoorRefusal::UnknownZone);
    }
    let valid_until = signed.operation.valid_until;
    let verified = signed.verify().ok_or(DoorRefusal::BadSignature)?;
    Ok(Submission { digest: verified.digest(), bytes: bytes.into(), valid_until })
}
