//! Corrupt replicas: an honest core, and a liar between it and the network.
//!
//! The liar holds its own replica's keys and no others. It sees what the core wants to say and what arrives, and sends
//! what it likes, whenever it likes. Strategies have names; a run draws one for each corrupt replica.

mod blocks;
mod collusion;
mod floods;
mod heads;
mod lies;
mod openings;
mod timing;
mod votes;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::delays::Micros;
use super::keys::Network;
use super::stream::Stream;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::bls::SealingSecret;
use crate::crypto::coin::CoinSecret;
use crate::crypto::ed25519::SecretKey;
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::order::{BlockRef, Header, OrderPublic, VerifiedBlock, Verifier};
use crate::replica::heads::HeadSigning;
use crate::replica::message::PeerMessage;

/// A way to misbehave.
#[derive(Debug)]
pub struct Strategy {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Never runs.
    Absent,
    /// Two honest copies of one key, neither knowing of the other.
    Twins,
    /// What this makes of an honest core.
    Layer(fn(&mut Stream) -> Box<dyn Conduct>),
}

impl Strategy {
    /// Whether rounds may go on for ever because of it: nobody waits for silence then.
    pub fn is_quiet(&self) -> bool {
        matches!(self.kind, Kind::Absent)
    }

    /// Whether it takes several corrupt replicas.
    pub fn is_joint(&self) -> bool {
        self.name == "colluders"
    }

    /// Whether it is about sealed operations: there should be some.
    pub fn wants_sealed(&self) -> bool {
        self.name.ends_with("-openings")
    }

    /// Whether it is about those who copy the state: there should be some.
    pub fn wants_copies(&self) -> bool {
        matches!(self.name, "lying-state" | "stale-heads" | "bad-heads")
    }

    /// Whether it is about zones that come from a registry's primary: there should be one.
    pub fn wants_registry(&self) -> bool {
        matches!(self.name, "invented-zone" | "empty-votes")
    }

    pub fn find(name: &str) -> Option<&'static Self> {
        STRATEGIES.iter().find(|strategy| strategy.name == name)
    }
}

macro_rules! strategies {
    ($($name:literal, $about:literal, $kind:expr;)*) => {
        /// All strategies, by name.
        pub const STRATEGIES: &[Strategy] = &[$(Strategy { name: $name, about: $about, kind: $kind }),*];
    };
}

macro_rules! layer {
    ($new:expr) => {
        Kind::Layer(|rng| Box::new($new(rng)))
    };
}

strategies! {
    "silent", "never says anything", Kind::Absent;
    "twins", "two honest copies of one key", Kind::Twins;
    "flapper", "there and gone in turns", layer!(timing::Flapper::new);
    "selective", "its blocks go to some only, for whole stretches", layer!(timing::Selective::new);
    "late", "each block comes when the others are rounds ahead", layer!(timing::Late::new);
    "withholder", "keeps its blocks back, then shows them all at once", layer!(timing::Withholder::new);
    "deaf", "hears nothing from one replica, and passes nothing on", layer!(timing::Deaf::new);
    "equivocate-halves", "one block to one half, another to the other", layer!(blocks::Equivocator::halves);
    "equivocate-victim", "one replica gets another block than the rest", layer!(blocks::Equivocator::victim);
    "equivocate-all", "everybody gets a block of its own", layer!(blocks::Equivocator::all);
    "bad-coin", "coin shares that are none", layer!(blocks::Tamperer::coin);
    "early-coin", "the coin share of a later round", layer!(blocks::Tamperer::early_coin);
    "bad-shares", "signature shares that are none", layer!(blocks::Tamperer::shares);
    "bad-openings", "decryption shares that are none", layer!(blocks::Tamperer::openings);
    "early-openings", "its decryption share of every envelope it sees, before that is ordered", layer!(openings::EarlyOpener::new);
    "nonce-replayer", "commitments that were used before", layer!(blocks::Tamperer::nonces);
    "garbage-payload", "payloads that mean nothing", layer!(blocks::Tamperer::garbage);
    "censor", "no operations, and no parents by one replica", layer!(blocks::Tamperer::censor);
    "operation-replayer", "every operation it ever saw, again", layer!(blocks::OperationReplayer::new);
    "mutator", "one field of a block is off by a little", layer!(blocks::Tamperer::mutate);
    "bit-flipper", "one bit of a message is wrong", layer!(blocks::BitFlipper::new);
    "invented-parents", "parents that nobody ever made", layer!(floods::InventedParents::new);
    "future-spammer", "blocks at the edge of the window and beyond", layer!(floods::FutureSpammer::new);
    "stale-flooder", "old blocks, over and over", layer!(floods::StaleFlooder::new);
    "valid-flooder", "everything several times", layer!(floods::ValidFlooder::new);
    "fetch-flooder", "asks for everything without end", layer!(floods::FetchFlooder::new);
    "oversize", "messages beyond every limit, and bytes that are none", layer!(floods::Oversize::new);
    "epoch-replayer", "blocks of another epoch and of another network", layer!(floods::EpochReplayer::new);
    "lying-startup", "wrong answers to those who start", layer!(lies::LyingStartup::new);
    "lying-server", "wrong answers to those who lack blocks", layer!(lies::LyingServer::new);
    "bad-heads", "wrong shares of heads, shares of wrong heads, heads that nobody signed", layer!(heads::BadHeads::new);
    "no-heads", "gives no shares of heads and shows none", layer!(heads::NoHeads::new);
    "stale-heads", "shows the oldest head it has, and shares of old ones", layer!(heads::StaleHeads::new);
    "lying-state", "wrong pieces of state for those who copy it, wrong lists of pieces, or none", layer!(heads::LyingState::new);
    "clock-liar", "timestamps from another year", layer!(lies::ClockLiar::new);
    "back-dater", "blocks of rounds long past", layer!(lies::BackDater::new);
    "colluders", "together: one shows one replica a chain that hangs on another's hidden block, all crowd the rest", layer!(collusion::Colluder::new);
    "invented-zone", "votes for a zone that the registry never served, and orders parts of nothing", layer!(votes::InventedZone::new);
    "empty-votes", "votes as others do and for digests of nothing, and gives no parts", layer!(votes::EmptyVotes::new);
}

/// What a corrupt replica does with what its honest core wants to say, and with what arrives.
pub trait Conduct: Send {
    /// The core made a block.
    fn block(&mut self, mind: &mut Mind, block: &Arc<VerifiedBlock>) {
        mind.broadcast(&PeerMessage::Block(block.bytes().to_vec()));
    }

    /// The core sends something else, or a block to one replica.
    fn send(&mut self, mind: &mut Mind, to: ReplicaId, message: PeerMessage) {
        mind.send(to, &message);
    }

    /// Something arrived. Whether the core hears it.
    fn hear(&mut self, _mind: &mut Mind, _from: ReplicaId, _message: &PeerMessage) -> bool {
        true
    }

    /// The registry's primary serves this. What the core is told that it serves.
    fn transfer(&mut self, _mind: &mut Mind, file: &ZoneFile) -> Option<ZoneFile> {
        Some(file.clone())
    }

    /// Four times a second.
    fn tick(&mut self, _mind: &mut Mind) {}

    /// Milliseconds by which the core's clock is wrong.
    fn clock_error(&mut self, _mind: &mut Mind) -> Option<i64> {
        None
    }
}

/// What a liar knows and can do.
pub struct Mind {
    pub me: ReplicaId,
    /// The other corrupt replicas.
    pub fellows: ReplicaSet,
    pub public: Arc<OrderPublic>,
    pub rng: Stream,
    pub now: Micros,
    identity: SecretKey,
    pub coin: CoinSecret,
    pub sealing: SealingSecret,
    pub heads: Box<dyn HeadSigning>,
    /// The zone that comes from a primary, if there is one.
    pub primary_zone: Option<Name>,
    verifier: Arc<dyn Verifier>,
    /// Valid blocks that were seen, own ones too: of the last rounds, the first of each author.
    pub seen: BTreeMap<u64, BTreeMap<ReplicaId, Arc<VerifiedBlock>>>,
    /// The last block that came, if it was valid.
    pub heard: Option<Arc<VerifiedBlock>>,
    /// What goes out: after how long, to whom.
    out: Vec<(Micros, ReplicaId, Arc<[u8]>)>,
}

/// Rounds that a liar remembers.
const MEMORY: u64 = 200;

impl Mind {
    pub fn new(
        me: ReplicaId,
        fellows: ReplicaSet,
        public: Arc<OrderPublic>,
        network: &Network,
        real: bool,
        verifier: Arc<dyn Verifier>,
        rng: Stream,
    ) -> Self {
        Self {
            me,
            fellows,
            public,
            rng,
            now: 0,
            identity: network.identity(me, real),
            coin: network.coin(me, real),
            sealing: network.sealing(me),
            heads: network.heads(me, real),
            primary_zone: network.genesis.zones.get(1).map(|zone| zone.apex.clone()),
            verifier,
            seen: BTreeMap::new(),
            heard: None,
            out: Vec::new(),
        }
    }

    pub fn peers(&self) -> Vec<ReplicaId> {
        self.public.committee.ids().filter(|&id| id != self.me).collect()
    }

    pub fn send(&mut self, to: ReplicaId, message: &PeerMessage) {
        self.send_after(0, to, message);
    }

    pub fn send_after(&mut self, delay: Micros, to: ReplicaId, message: &PeerMessage) {
        // What is over the limits goes out through `send_bytes` only.
        if let Ok(bytes) = message.encode() {
            self.out.push((delay, to, bytes.into()));
        }
    }

    pub fn send_bytes(&mut self, to: ReplicaId, bytes: Vec<u8>) {
        self.out.push((0, to, bytes.into()));
    }

    pub fn broadcast(&mut self, message: &PeerMessage) {
        for to in self.peers() {
            self.send(to, message);
        }
    }

    pub fn take_out(&mut self) -> Vec<(Micros, ReplicaId, Arc<[u8]>)> {
        std::mem::take(&mut self.out)
    }

    /// Notes the valid blocks in a message.
    pub fn note(&mut self, message: &PeerMessage) {
        match message {
            PeerMessage::Block(bytes) => self.note_block(bytes),
            PeerMessage::Blocks(blocks) => blocks.iter().for_each(|bytes| self.note_block(bytes)),
            _ => {}
        }
    }

    fn note_block(&mut self, bytes: &[u8]) {
        self.heard = self.verifier.verify(&self.public, bytes).ok();
        if let Some(block) = self.heard.clone() {
            self.seen.entry(block.round()).or_default().entry(block.author()).or_insert(block);
            let top = self.seen.last_key_value().map_or(0, |(&round, _)| round);
            self.seen = self.seen.split_off(&top.saturating_sub(MEMORY));
        }
    }

    /// The highest round with blocks of a quorum.
    pub fn quorum_round(&self) -> u64 {
        let complete = |blocks: &BTreeMap<ReplicaId, _>| {
            self.public.committee.is_quorum(blocks.keys().copied().collect::<ReplicaSet>())
        };
        self.seen.iter().rev().find(|(_, blocks)| complete(blocks)).map_or(0, |(&round, _)| round)
    }

    /// Names of the blocks of a round, in order of authors.
    pub fn references(&self, round: u64) -> Vec<BlockRef> {
        self.seen.get(&round).into_iter().flat_map(BTreeMap::values).map(|block| block.reference()).collect()
    }

    /// A header that is valid, if the parents are.
    pub fn header(&self, round: u64, mut parents: Vec<BlockRef>, now_ms: u64) -> Header {
        parents.sort_unstable();
        let linked = parents.iter().any(|parent| parent.author == self.me);
        Header {
            epoch: self.public.epoch,
            round,
            author: self.me,
            parents,
            coin: self.public.share_name(round).map(|name| self.coin.shares(&name)).unwrap_or_default(),
            timestamp: crate::directory::Timestamp(now_ms),
            gap: round > 1 && !linked,
        }
    }

    /// The bytes of a block of this replica's, valid or not.
    pub fn forge(&self, header: Header, payload: &[u8]) -> Vec<u8> {
        VerifiedBlock::forge(&self.public, header, payload, &self.identity)
    }

    /// As [`Self::forge`], under other parameters.
    pub fn forge_under(&self, public: &OrderPublic, header: Header, payload: &[u8]) -> Vec<u8> {
        VerifiedBlock::forge(public, header, payload, &self.identity)
    }

    /// The same block once more, with something else in it.
    pub fn alter(&self, block: &VerifiedBlock, change: impl FnOnce(&mut Header, &mut Vec<u8>)) -> Vec<u8> {
        let (mut header, mut payload) = (block.header().clone(), block.payload().to_vec());
        change(&mut header, &mut payload);
        self.forge(header, &payload)
    }
}
