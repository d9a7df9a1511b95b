//! Torrens: a register of names that no single server can forge.
//!
//! Two doors: owners submit signed operations ([`client`], [`http`]); resolvers and TLS clients read what follows from
//! them ([`dns`], [`ca`]). Between the doors lies one total order of operations, made by `n = 3f + 1` replicas that
//! do not trust each other.
//!
//! ```text
//! owner ─ operation ─▶ http ─▶ replica ─▶ order (DAG, coin) ─▶ Commit ─▶ directory (pure) ─▶ signing: what is due
//!                                ▲                                                             │
//!                                └────────── signature shares ride in later blocks ◀───────────┘
//!                                                                                              ▼
//! resolver ◀─ dns::answer(&View, &Query) ◀─ View: immutable zones at a height ◀─ RRset + threshold RRSIG
//! ```
//!
//! Imports go downwards only (`tests/layers.rs` checks it):
//! `cli → node, sim → http, dns, peer, client → replica → store → order | directory, ca, signing → crypto → committee,
//! codec, limits, rows`.
//!
//! Functional core: `order`, `directory`, `ca`, `signing`, `replica` take values and give values; they have no clock,
//! socket, disk, thread or hash-map order. Start reading at [`order`], then [`directory`], then [`replica`].

pub mod codec;
pub mod committee;
pub mod crypto;
pub mod directory;
pub mod limits;
pub mod rows;
pub mod store;
