//! The shell: the one place with threads, tasks, sockets, a disk and a clock.
//!
//! | thread or task | does | talks through |
//! |---|---|---|
//! | core (one OS thread) | owns [`Replica`](crate::replica::Replica) and the store: input → effects → disk, links, views | bounded channel in |
//! | links (tokio) | one task a link and direction | bounded queues, [`crate::peer`] |
//! | DNS workers (OS threads) | UDP, one socket each | the published view |
//! | DNS streams (tokio, of their own) | TCP, TLS, HTTPS, QUIC | the published view |
//! | HTTP (tokio) | the API | the published view and snapshot, the door |
//!
//! The core is the only writer. Readers see a [`View`](crate::store::view::View) and a
//! [`Snapshot`](crate::replica::machine::Snapshot), both immutable, exchanged whole.

mod api;
pub mod ceremony;
mod clock;
mod core;
mod descriptors;
mod metrics;
pub mod pace;
mod primaries;
pub mod run;
mod scrub;
mod secondaries;
mod state_service;
mod transports;
