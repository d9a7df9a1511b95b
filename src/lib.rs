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
//! | module | what it is |
//! |---|---|
//! | [`limits`], [`committee`], [`codec`], [`rows`] | every bound; quorums and kernels; canonical bytes; rows to store |
//! | [`access`] | networks of clients, as operators write them |
//! | [`mutants`] | planted bugs, in test builds only: what the simulators have to find |
//! | [`crypto`] | schemes only: coin, FROST, threshold RSA, BLS12-381 (heads, sealing), Ed25519, digests |
//! | [`order`] | the DAG, its commit rule, coin-drawn leaders, start-up and recovery |
//! | [`directory`] | names, titles, operations, the rules, zone files, what is published |
//! | [`ca`] | certificates from state: authorize, build, lint |
//! | [`signing`] | which signature is due, who signs it, shares → signature; zone versions, renewals |
//! | [`store`] | RocksDB and memory behind one trait; the root over all rows; the [`View`](store::view::View) that readers see |
//! | [`replica`] | the whole node as a value: inputs → effects; the replicated state machine; votes on registries' zones |
//! | [`peer`], [`dns`], [`http`] | links between replicas; answers to resolvers; the owners' API |
//! | [`client`] | for owners: submit, vote, believe no single replica |
//! | [`sim`] | whole replicas under virtual time: one seed, one universe |
//! | [`node`], [`config`] | the shell: threads, disk, clock, the dealing ceremony; its files |
//! | [`cli`] | one file for each command |
//!
//! Invariants, each with the module that argues it: a replica's own block is durable before anybody sees it ([`store`],
//! [`replica`]); commits are a function of the graph ([`order`]); whatever is ordered has an answer and nothing panics
//! on it ([`replica::machine`]); a nonce answers once ([`signing`]); only linted bytes are signed as certificates
//! ([`ca`]); equal serials are equal zones, to the byte ([`replica::zones`]); a head is signed only when it is durable
//! ([`replica::heads`]), and nothing that is not under a signed root becomes state ([`replica::sync`]).
//!
//! Functional core: `order`, `directory`, `ca`, `signing`, `replica` take values and give values; they have no clock,
//! socket, disk, thread or hash-map order. Start reading at [`order`], then [`directory`], then [`replica`].

pub mod access;
pub mod ca;
pub mod cli;
pub mod client;
pub mod codec;
pub mod committee;
pub mod config;
pub mod crypto;
pub mod directory;
pub mod dns;
pub mod http;
pub mod limits;
pub mod mutants;
pub mod node;
pub mod order;
pub mod peer;
pub mod replica;
pub mod rows;
pub mod signing;
pub mod sim;
pub mod store;
