//! What is kept of misdeeds: each is said once, also across restarts, and the first few of each culprit with the signed
//! blocks that prove it.
//!
//! ```text
//! key in Table::Evidence                                       value
//! 0 ‖ culprit ‖ round u64 big-endian ‖ misdeed                 Accusation
//! 1 ‖ culprit ‖ round u64 big-endian ‖ misdeed ‖ digest 32     bytes of a block
//! ```
//!
//! An accusation without a proof only keeps the same misdeed from being said again, and goes when its round falls below
//! the floor: later blocks of that round are not looked at. This is no part of the agreed state: each replica has
//! seen what it has seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::block::VerifiedBlock;
use super::fault::Fault;
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::limits::MAX_PROOFS_PER_CULPRIT;
use crate::mutants::{Mutant, planted};
use crate::rows::{Row, Table, TableRows};

const ACCUSATION: u8 = 0;
const PROOF: u8 = 1;

/// Key prefix of all accusations.
pub const ACCUSATIONS: [u8; 1] = [ACCUSATION];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Misdeed {
    /// Two signed blocks for one round.
    Equivocation,
    /// A signed block with a coin share that is not its author's.
    CoinShare,
}

/// One misdeed of one replica, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accusation {
    pub culprit: ReplicaId,
    pub round: u64,
    pub misdeed: Misdeed,
    /// Names of the blocks that show it.
    pub blocks: Vec<Digest>,
    /// Whether these blocks are kept.
    pub proven: bool,
}

impl Accusation {
    pub fn decode(value: &[u8]) -> Option<Self> {
        codec::decode(value, 256).ok()
    }
}

/// Key prefix of the blocks that prove what `culprit` did in `round`.
pub fn proofs_of(culprit: ReplicaId, round: u64) -> Vec<u8> {
    key(PROOF, culprit, round)
}

fn key(kind: u8, culprit: ReplicaId, round: u64) -> Vec<u8> {
    [[kind, culprit.0].as_slice(), &round.to_be_bytes()].concat()
}

/// What was said of whom.
#[derive(Default, Debug)]
pub(super) struct Evidence {
    /// By round; whether it is proven.
    said: BTreeMap<(u64, ReplicaId, Misdeed), bool>,
    /// How many proofs are kept, by culprit.
    proofs: BTreeMap<u8, usize>,
}

impl Evidence {
    /// From the stored accusations, of which those up to `floor` count only if they are proven; none if one is damaged.
    pub fn load(accusations: &TableRows, floor: u64) -> Option<Self> {
        let mut evidence = Self::default();
        for (_, value) in accusations {
            let Accusation { culprit, round, misdeed, proven, .. } = Accusation::decode(value)?;
            *evidence.proofs.entry(culprit.0).or_default() += usize::from(proven);
            if round > floor || !proven {
                evidence.said.insert((round, culprit, misdeed), proven);
            }
        }
        Some(evidence)
    }

    pub fn was_said(&self, round: u64, culprit: ReplicaId, misdeed: Misdeed) -> bool {
        self.said.contains_key(&(round, culprit, misdeed)) && !planted(Mutant::EvidenceRepeated)
    }

    /// The rows to keep of a fault that is new; none if it was said before.
    pub fn note(&mut self, fault: &Fault) -> Option<Vec<Row>> {
        let (misdeed, blocks): (_, Vec<&VerifiedBlock>) = match fault {
            Fault::Equivocation { blocks: [one, other], .. } => (Misdeed::Equivocation, vec![one, other]),
            Fault::CoinShare { block } => (Misdeed::CoinShare, vec![block]),
            Fault::TrustBroken { .. } => return Some(Vec::new()),
        };
        let (culprit, round) = (blocks[0].author(), blocks[0].round());
        if self.was_said(round, culprit, misdeed) {
            return None;
        }
        let proofs = self.proofs.entry(culprit.0).or_default();
        let proven = *proofs < MAX_PROOFS_PER_CULPRIT;
        *proofs += usize::from(proven);
        self.said.insert((round, culprit, misdeed), proven);
        let names = blocks.iter().map(|block| block.reference().digest).collect();
        let accusation = Accusation { culprit, round, misdeed, blocks: names, proven };
        let mut rows =
            vec![Row::put(Table::Evidence, accusation_key(culprit, round, misdeed), codec::encode(&accusation))];
        if proven {
            rows.extend(blocks.iter().map(|block| {
                let mut key = key(PROOF, culprit, round);
                key.push(misdeed as u8);
                key.extend(block.reference().digest.0);
                Row::put(Table::Evidence, key, block.bytes().to_vec())
            }));
        }
        Some(rows)
    }

    /// Rounds up to `floor` are gone: the rows that are not needed any more.
    pub fn raise_floor(&mut self, floor: u64) -> Vec<Row> {
        let above = self.said.split_off(&(floor + 1, ReplicaId(0), Misdeed::Equivocation));
        let below = std::mem::replace(&mut self.said, above);
        let unproven = below.into_iter().filter(|(_, proven)| !proven);
        unproven
            .map(|((round, culprit, misdeed), _)| Row::delete(Table::Evidence, accusation_key(culprit, round, misdeed)))
            .collect()
    }
}

fn accusation_key(culprit: ReplicaId, round: u64, misdeed: Misdeed) -> Vec<u8> {
    let mut key = key(ACCUSATION, culprit, round);
    key.push(misdeed as u8);
    key
}
