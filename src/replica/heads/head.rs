//! A head, and when the next one is due.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::crypto::bls::{HeadKey, HeadSignature};
use crate::crypto::digest::{Digest, hash};
use crate::directory::Timestamp;
use crate::limits::{CHECKPOINT_INTERVAL_MS, CHECKPOINT_OPERATIONS, CHECKPOINT_PAUSE_MS, MAX_HEAD_MESSAGE};
use crate::replica::machine::Progress;

/// What the state is at one height.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    pub network: Digest,
    pub epoch: u64,
    /// Commits executed.
    pub height: u64,
    /// Round of the last commit's leader.
    pub round: u64,
    pub agreed_time: Timestamp,
    /// Operations executed.
    pub position: u64,
    /// Rows under the root.
    pub rows: u64,
    /// Whether the rows of this height are kept to be copied.
    pub checkpoint: bool,
    pub root: Digest,
}

/// A head that a quorum signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedHead {
    pub head: Head,
    pub signature: HeadSignature,
}

impl Head {
    pub fn digest(&self) -> Digest {
        hash("torrens v1 head", &[&codec::encode(self)])
    }
}

impl SignedHead {
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The head that `bytes` hold. See [`SignedHead::verify`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        codec::decode(bytes, MAX_HEAD_MESSAGE).ok()
    }

    pub fn verify(&self, key: &HeadKey, network: Digest) -> bool {
        self.head.network == network && key.verify(&self.head.digest(), &self.signature)
    }
}

/// Key of the schedule in [`Table::Meta`].
pub const SCHEDULE_KEY: &[u8] = b"heads";

/// When heads were due: a row of the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// Of the last head that was due.
    height: u64,
    agreed_time: Timestamp,
    checkpoint_time: Timestamp,
    checkpoint_position: u64,
    /// Whether something changed since.
    pub(super) changed: bool,
}

impl Schedule {
    pub fn from_row(value: Option<&[u8]>) -> Option<Self> {
        value.map_or(Some(Self::default()), |value| codec::decode(value, MAX_HEAD_MESSAGE).ok())
    }

    /// Moves on by one commit; whether a head is due, and if so whether it is a checkpoint.
    pub(super) fn step(&mut self, progress: &Progress, changed: bool, interval_ms: u64) -> Option<bool> {
        self.changed |= changed;
        let Progress { height, agreed_time, position, .. } = *progress;
        if !self.changed || agreed_time.0 < self.next(interval_ms) {
            return None;
        }
        let passed = agreed_time.0.saturating_sub(self.checkpoint_time.0);
        let busy = position >= self.checkpoint_position + CHECKPOINT_OPERATIONS && passed >= CHECKPOINT_PAUSE_MS;
        let checkpoint = busy || passed >= CHECKPOINT_INTERVAL_MS;
        if checkpoint {
            (self.checkpoint_time, self.checkpoint_position) = (agreed_time, position);
        }
        (self.height, self.agreed_time, self.changed) = (height, agreed_time, false);
        Some(checkpoint)
    }

    /// Agreed time, in milliseconds, from which on a change makes a head due.
    pub(super) fn next(&self, interval_ms: u64) -> u64 {
        self.agreed_time.0.saturating_add(interval_ms)
    }
}
