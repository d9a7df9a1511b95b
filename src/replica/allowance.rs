//! What one peer may cost this replica between two ticks.
//!
//! Links bound the bytes that a peer sends; these bounds are on the work that they cause: signatures checked in vain,
//! blocks read from the disk, start-up answers signed. A correct peer stays far below them. One that does not is not
//! heard until the next tick, and nothing is lost by it: whoever misses blocks or an answer asks again at each tick,
//! and of a peer whose blocks were dropped unseen everything is asked for that it has ([`Allowances::refill`]).

use crate::committee::{ReplicaId, ReplicaSet};
use crate::limits::{
    COST_OF_DEEP_FETCH, LOOKUPS_PER_FETCH_COST, MAX_FETCH_COST, MAX_HANDED_ON_CHECKS, MAX_STARTUP_ANSWERS,
    MAX_VAIN_CHECKS,
};
use crate::mutants::{Mutant, planted};

#[derive(Clone)]
struct Allowance {
    checks: u32,
    fetches: u32,
    startup_answers: u32,
    operations: u32,
}

impl Allowance {
    const FULL: Self = Self {
        checks: MAX_VAIN_CHECKS,
        fetches: MAX_FETCH_COST,
        startup_answers: MAX_STARTUP_ANSWERS,
        operations: MAX_HANDED_ON_CHECKS,
    };
}

/// The allowances of all peers.
pub struct Allowances {
    peers: Vec<Allowance>,
    /// Who sent blocks that nobody looked at.
    unheard: ReplicaSet,
}

impl Allowances {
    pub fn new(replicas: usize) -> Self {
        Self { peers: vec![Allowance::FULL; replicas], unheard: ReplicaSet::EMPTY }
    }

    /// Whether a block that `from` sent may be checked. It counts as in vain until [`Self::was_useful`].
    pub fn may_check(&mut self, from: ReplicaId) -> bool {
        let may = take(&mut self.peers[from.index()].checks, 1) || planted(Mutant::VainChecksUnlimited);
        if !may {
            self.unheard.insert(from);
        }
        may
    }

    /// The block just checked entered the graph.
    pub fn was_useful(&mut self, from: ReplicaId) {
        self.peers[from.index()].checks += 1;
    }

    /// Whether a request is served that takes `lookups` on the disk; `deep`: its answer may fill a message.
    pub fn may_fetch(&mut self, from: ReplicaId, lookups: usize, deep: bool) -> bool {
        let base = if deep { COST_OF_DEEP_FETCH } else { 1 };
        let lookups = u32::try_from(lookups / LOOKUPS_PER_FETCH_COST).unwrap_or(u32::MAX);
        take(&mut self.peers[from.index()].fetches, base.saturating_add(lookups).min(MAX_FETCH_COST))
    }

    /// Whether a start-up question is answered.
    pub fn may_ask(&mut self, from: ReplicaId) -> bool {
        take(&mut self.peers[from.index()].startup_answers, 1)
    }

    /// Whether an operation that `from` handed on is looked at, which costs as much as `cost` open ones. It is handed on
    /// again if nobody proposes it.
    pub fn may_hand_on(&mut self, from: ReplicaId, cost: u32) -> bool {
        take(&mut self.peers[from.index()].operations, cost)
    }

    /// Blocks of all peers were dropped unseen.
    pub fn heard_nobody(&mut self, peers: ReplicaSet) {
        self.unheard = peers;
    }

    /// For the tick: all may cost as much again. Returns who was not heard since the last tick.
    pub fn refill(&mut self) -> ReplicaSet {
        self.peers.fill(Allowance::FULL);
        std::mem::replace(&mut self.unheard, ReplicaSet::EMPTY)
    }
}

/// Takes `cost`, if there is as much.
fn take(left: &mut u32, cost: u32) -> bool {
    let rest = left.checked_sub(cost);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}
