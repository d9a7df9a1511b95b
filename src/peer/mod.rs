//! Authenticated links between replicas. They carry bytes and know no protocol above.
//!
//! Each replica dials every other: on the link it dialled it only sends, on the links it accepted it only receives. A
//! link is mutual TLS 1.3 (RFC 8446) with Ed25519 raw public keys (RFC 7250), and each side accepts exactly the keys in
//! its configuration ([`tls`]). In it run frames ([`frame`]) that carry messages ([`message`]).
//!
//! A link promises little: messages arrive unaltered, from whom they say, in order, or not at all. What is dropped,
//! because a peer is slow or a link breaks, is pulled again by digest; whoever waits for an answer asks again when the
//! peer is connected again ([`mesh::PeerEvent::Connected`]).
//!
//! Memory is bounded for each peer, whatever it does: one queue towards it with a cap in bytes ([`outbox`]), a budget
//! of messages and bytes that it sent and the node has not yet dealt with ([`mesh::Slot`]), one frame being read.

mod accept;
mod backoff;
mod counters;
mod dial;
pub mod frame;
mod link;
pub mod mesh;
mod outbox;
#[cfg(test)]
mod tests;
mod tls;

pub use crate::replica::message::{MessageError, PeerMessage};
pub use counters::{LinkCounters, MeshCounters};
pub use mesh::{Mesh, MeshConfig, MeshError, MeshHandle, PeerAddress, PeerEvent, SendError, Sink, Slot};
