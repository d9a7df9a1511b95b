//! What happened on the links, for metrics and tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::committee::ReplicaId;

/// The links with one peer, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkCounters {
    /// Towards the peer, now.
    pub queued_bytes: usize,
    pub queued_messages: usize,
    /// Towards the peer, dropped because its queue was full.
    pub dropped: u64,
    pub sent: u64,
    pub received: u64,
    /// How often we reached it.
    pub connects: u64,
    /// Links closed because of what it sent.
    pub violations: u64,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MeshCounters {
    pub peers: BTreeMap<ReplicaId, LinkCounters>,
    /// Connections to us that did not become links: strangers, other networks, other versions, silence.
    pub refused: u64,
}

#[derive(Default)]
pub struct PeerCounts {
    pub sent: Count,
    pub received: Count,
    pub connects: Count,
    pub violations: Count,
}

#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Counts one; whether to say so in the log: the first, second, fourth, … time, so that nobody can fill the log.
    pub fn add_one_is_news(&self) -> bool {
        (self.0.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two()
    }
}
