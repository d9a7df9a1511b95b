//! What a replica wants done, and how much it holds.

use super::heads::Head;
use super::message::{PeerMessage, StatePart};
use super::primary::mine::NotVotedFor;
use crate::committee::ReplicaId;
use crate::order::BlockRef;
use crate::store::Batch;

/// What the shell is to do, in this order.
#[must_use]
#[derive(Debug)]
pub enum Effect {
    /// Write, lazily.
    Write(Batch),
    /// Write and sync, then call [`Replica::persisted`] with the round.
    Persist {
        batch: Batch,
        round: u64,
    },
    Send {
        to: ReplicaId,
        message: PeerMessage,
    },
    Broadcast(PeerMessage),
    /// Answer a request for blocks, from the store.
    Serve {
        to: ReplicaId,
        refs: Vec<BlockRef>,
        above: u64,
    },
    /// Write what was said so far and sync, then call [`Replica::durable`] with the height.
    Sync {
        height: u64,
    },
    /// [`Store::keep_copy`](crate::store::Store::keep_copy), after all writes so far.
    KeepCopy {
        height: u64,
    },
    /// [`Store::release_copies`](crate::store::Store::release_copies).
    ReleaseCopies {
        below: u64,
    },
    /// Answer a request for a part of the state, from the copy of this height: [`sync::answer`].
    ServeState {
        to: ReplicaId,
        height: u64,
        part: StatePart,
    },
    /// [`Store::begin_staging`](crate::store::Store::begin_staging).
    BeginStaging,
    /// [`Store::stage`](crate::store::Store::stage).
    Stage(Batch),
    /// [`Store::adopt_staged`](crate::store::Store::adopt_staged); then this replica ends, and another starts from the
    /// store as after a restart.
    Adopt,
    /// Our state is not the cluster's. The replica says nothing any more; stop, and keep the files.
    Diverged {
        ours: Head,
        theirs: Head,
    },
    /// Readers can see something new. `zones`: a zone version was published.
    Expose {
        zones: bool,
    },
    /// Somebody did what no correct replica does.
    Fault {
        culprit: ReplicaId,
        what: String,
    },
    /// A zone that was handed to [`Replica::transferred`](super::Replica::transferred) and voted for is not voted for any
    /// more, since a version took effect meanwhile. For the operator.
    NotVotedFor(NotVotedFor),
}

/// How much a replica holds in memory that others can make it hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Blocks whose parents are missing.
    pub suspended_blocks: usize,
    /// Blocks with a payload that are not ordered yet.
    pub unordered: usize,
    /// Operations that wait to be ordered, and their bytes.
    pub pool: usize,
    pub pool_bytes: usize,
    /// Assignments not looked at yet.
    pub asked: usize,
    /// Shares that wait for a block.
    pub outbox: usize,
    /// Signatures that are due, by everybody.
    pub pending: usize,
}
