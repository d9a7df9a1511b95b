//! The door in: what is refused before it costs anybody anything. What depends on state is refused when the operation
//! is executed, with a position in the order.

use std::sync::Arc;

use super::envelope::{self, Envelope};
use super::pool::Kind;
use super::report::DoorRefusal;
use crate::codec::CodecError;
use crate::crypto::digest::Digest;
use crate::directory::Directory;
use crate::directory::Timestamp;
use crate::directory::operation::SignedOperation;

/// An operation, open or sealed, that may wait to be ordered. Made by [`check`] and [`check_envelope`] only.
#[derive(Clone, Debug)]
pub struct Submission {
    digest: Digest,
    bytes: Arc<[u8]>,
    content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    Operation { valid_until: Timestamp },
    Envelope(Box<Envelope>),
}

impl Content {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Operation { valid_until } => Kind::Operation { valid_until: *valid_until },
            Self::Envelope(_) => Kind::Envelope { seen_at: None },
        }
    }
}

impl Submission {
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
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
    if directory.primary_zone_of(&signed.operation.title).is_some() {
        return Err(DoorRefusal::NamesOfRegistry);
    }
    let valid_until = signed.operation.valid_until;
    let verified = signed.verify().ok_or(DoorRefusal::BadSignature)?;
    Ok(Submission { digest: verified.digest(), bytes: bytes.into(), content: Content::Operation { valid_until } })
}

/// The same for a sealed operation: nobody can look into it, but an envelope that its maker could not open himself, or that
/// was changed on its way, is refused. Takes milliseconds.
pub fn check_envelope(bytes: &[u8]) -> Result<Submission, DoorRefusal> {
    let envelope = envelope::check(bytes)?;
    Ok(Submission { digest: envelope.digest, bytes: bytes.into(), content: Content::Envelope(Box::new(envelope)) })
}
