//! For owners and applications: submit operations, read titles, believe no single replica.
//!
//! A [`Client`] speaks HTTP to all replicas of a [`Cluster`] and believes what a kernel of them (f + 1, so at least one
//! correct replica) say alike. Nothing that fewer say is ever returned, and no replica that is dead, slow or lying
//! holds an answer up: every replica is followed by a task of its own, and bounded in bytes and time.
//!
//! - [`Client::submit`] carries a signed operation to enough replicas and waits for its outcome; [`Client::submit_sealed`]
//!   does so without anybody knowing what it is before it is ordered.
//! - [`Client::title`], [`Client::history`], [`Client::certificate`], [`Client::status`] read.
//! - [`Client::check`] asks each server of a zone over DNS and each replica for its signed head, and tells which lag,
//!   withhold, forge or contradict each other.
//! - [`seen::Seen`] remembers how far the directory had come, so that no later read goes back behind it.
//!
//! Deviations: heights and times are not part of what is compared, since replicas are asked at different moments; what
//! is returned as height is the greatest that a kernel claims to have reached with that very answer. The HTTP links are
//! neither encrypted nor authenticated: who controls the network between a client and f + 1 replicas can answer for
//! them. A time limit ends waiting and is the only use of the local clock, besides the validity of new operations.

pub mod check;
pub mod cluster;
pub mod head;
pub mod input;
pub mod keyfile;
pub mod probe;
mod question;
mod read;
pub mod seen;
mod submit;
mod transport;
mod vote;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use cluster::Cluster;
pub use read::{ReplicaWord, Status};
pub use submit::{Confirmed, Submission};
pub use vote::Agreed;

use crate::limits;
use seen::Seen;
use transport::Transport;

/// A cluster as one of its clients reaches it. Cheap to share: all methods take `&self`.
pub struct Client {
    cluster: Arc<Cluster>,
    transport: Transport,
    seen: Seen,
    timeout: Duration,
}

/// Too few replicas said the same in time. What was asked for may still have happened, or happen yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not confirmed within {} s: {why}", timeout.as_secs_f32())]
pub struct NotConfirmed {
    pub timeout: Duration,
    /// What was missing, in figures.
    pub why: String,
}

impl Client {
    pub fn new(cluster: Cluster, seen: Seen) -> Self {
        Self {
            cluster: Arc::new(cluster),
            transport: Transport::new(),
            seen,
            timeout: Duration::from_millis(limits::CLIENT_TIMEOUT_MS),
        }
    }

    /// Waits this long for agreement.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn not_confirmed(&self, why: String) -> NotConfirmed {
        NotConfirmed { timeout: self.timeout, why }
    }
}
