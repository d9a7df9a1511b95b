//! Which leaders are committed, and how much of its history each of them orders: the decision rule of Mahi-Mahi (arXiv
//! 2410.08670, §3; the same as Mysticeti's), over quorum predicates.
//!
//! The slots of round r are the authors drawn by the coin of r, in the order drawn. For a slot:
//! - *certificate*: a block of the decision round that has, among its parents of the vote round, blocks of a quorum of
//!   authors that support one and the same block of the slot;
//! - *direct skip*: a quorum of authors has blocks of the vote round that support no block of the slot;
//! - *direct commit*: a quorum of authors has certificates for one block of the slot;
//! - *indirect*: otherwise, take the first slot of round r + wave or later that is not skipped, the anchor. If it is
//!   undecided, so is this slot. If it is committed, the slot's block that has a certificate in the anchor's history is
//!   committed; without such a certificate the slot is skipped.
//!
//! Why replicas agree. (1) Certificates for twins of a slot would need two quorums of voters, which share a correct
//! author, whose one block supports one block of the slot. (2) The same for a quorum of skips and a certificate. (3) A
//! block of round r + wave or later has a quorum of parents in the decision round; if a quorum there are certificates
//! (direct commit), the two share a correct author, whose one block of that round is a certificate and in the history of
//! every anchor: nobody skips the slot, and by (1) nobody commits its twin. (4) Slots are decided in order, so by
//! induction replicas take the same anchor, whose history is the same everywhere since blocks name their parents by
//! digest. (5) A decision is never changed by more blocks: quorums only grow, and histories do not change.
//!
//! An anchor must be *decided*, not only likely: a rule that passes over undecided slots breaks agreement, because
//! they may still be committed and then be the anchor elsewhere.
//!
//! *Extent* (ours, for fair order: [`super::sequence`]). A committed leader that came in time orders its whole history, one
//! that came late only what arrived two rounds before it. A vote says which: it finds the block that it supports
//! *timely* or not ([`super::dag`]). The rule is the same once more, with timely votes in the place of votes:
//! - *timely certificate*: a certificate whose quorum of supporting votes all find the block timely;
//! - whole, directly: a quorum of authors has timely certificates for the block;
//! - what arrived, directly: a quorum of authors has blocks of the vote round that do not find the block timely;
//! - otherwise as the anchor has it: whole, if a timely certificate is in the anchor's history.
//!
//! Replicas agree on it by (2), (3) and (5) above, read with timely certificates. An anchor need only be committed,
//! whatever its own extent: so lateness holds up no decision, and liveness is that of the rule without it ([`super`]).
//! A corrupt leader can make votes differ about it; then what it orders waits for its anchor, as for an undecided
//! slot's.

use std::collections::BTreeMap;

use super::dag::{Dag, Handle};
use super::public::OrderPublic;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::mutants::{Mutant, planted};

/// A leader's place in the order of leaders: round, then place within the round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot {
    pub round: u64,
    pub index: usize,
}

/// What a committed leader orders of its history that is not ordered yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extent {
    /// All of it: the leader came in time.
    Whole,
    /// The blocks with an arrival round two below the leader's or lower.
    Arrived,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    /// The extent may be open longer than the commit.
    Commit(Handle, Option<Extent>),
    Skip,
    Undecided,
}

impl Decision {
    fn is_final(self) -> bool {
        matches!(self, Self::Commit(_, Some(_)) | Self::Skip)
    }
}

/// Two different blocks of one slot are certified: more replicas are corrupt than the committee stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TrustBroken {
    pub round: u64,
    pub author: ReplicaId,
}

/// The leaders of the rounds whose coin is known, and what is decided of them.
#[derive(Default)]
pub(super) struct Decisions {
    leaders: BTreeMap<Slot, ReplicaId>,
    /// None of them undecided.
    decided: BTreeMap<Slot, Decision>,
}

impl Decisions {
    /// The leaders of a round from the slot `first` on.
    pub fn add_leaders(&mut self, first: Slot, leaders: Vec<ReplicaId>) {
        let slots = (first.index..).map(|index| Slot { round: first.round, index });
        self.leaders.extend(slots.zip(leaders));
    }

    /// Decides what can be decided, from the highest slot down, since anchors are above.
    pub fn update(&mut self, public: &OrderPublic, dag: &Dag) -> Result<(), TrustBroken> {
        let open: Vec<(Slot, ReplicaId)> = self.leaders.iter().rev().map(|(slot, leader)| (*slot, *leader)).collect();
        for (slot, leader) in open {
            if self.decided.get(&slot).is_some_and(|decision| decision.is_final()) {
                continue;
            }
            let rule = Rule { public, dag, round: slot.round, leader };
            let decision = match rule.direct()? {
                direct if direct.is_final() => direct,
                direct => self.indirect(&rule)?.unwrap_or(direct),
            };
            if decision != Decision::Undecided {
                self.decided.insert(slot, decision);
            }
        }
        Ok(())
    }

    /// What the anchor says, if it is decided.
    fn indirect(&self, rule: &Rule) -> Result<Option<Decision>, TrustBroken> {
        let nearer = u64::from(planted(Mutant::AnchorTooNear));
        let first = Slot { round: rule.round + rule.public.wave.anchor_offset() - nearer, index: 0 };
        for slot in self.leaders.range(first..).map(|(slot, _)| slot) {
            match self.decided.get(slot) {
                Some(Decision::Skip) => {}
                Some(Decision::Commit(anchor, _)) => return rule.under_anchor(*anchor).map(Some),
                Some(Decision::Undecided) | None if planted(Mutant::UndecidedAnchorPassed) => {}
                Some(Decision::Undecided) | None => break,
            }
        }
        Ok(None)
    }

    /// Takes the first slot if it is decided to the end; with its leader and the leader's extent, if it is committed.
    pub fn take_first(&mut self) -> Option<(Slot, Option<(Handle, Extent)>)> {
        let (&slot, _) = self.leaders.first_key_value()?;
        let taken = match *self.decided.get(&slot)? {
            Decision::Commit(leader, Some(extent)) => Some((leader, extent)),
            Decision::Skip => None,
            Decision::Commit(leader, None) if planted(Mutant::OpenExtentIsArrived) => Some((leader, Extent::Arrived)),
            Decision::Commit(_, None) | Decision::Undecided => return None,
        };
        self.decided.remove(&slot);
        self.leaders.remove(&slot);
        Some((slot, taken))
    }
}

/// The rule for one slot over the graph as it is.
struct Rule<'a> {
    public: &'a OrderPublic,
    dag: &'a Dag,
    round: u64,
    leader: ReplicaId,
}

impl Rule<'_> {
    fn vote_round(&self) -> u64 {
        self.round + self.public.wave.vote_offset()
    }

    fn decision_round(&self) -> u64 {
        self.round + self.public.wave.decision_offset()
    }

    fn direct(&self) -> Result<Decision, TrustBroken> {
        let committee = &self.public.committee;
        let against = self.authors(self.vote_round(), |voter| self.support(voter).is_none());
        if committee.is_quorum(against) || planted(Mutant::SkipWithoutQuorum) && committee.is_kernel(against) {
            return Ok(Decision::Skip);
        }
        let certified = |block| {
            let certificates = self.authors(self.decision_round(), |certificate| self.certifies(certificate, block));
            let kernel = planted(Mutant::CommitWithoutQuorum) && committee.is_kernel(certificates);
            committee.is_quorum(certificates) || kernel
        };
        let found = self.the_one(self.dag.twins(self.round, self.leader).filter(|&block| certified(block)))?;
        Ok(found.map_or(Decision::Undecided, |block| Decision::Commit(block, self.direct_extent(block))))
    }

    fn direct_extent(&self, block: Handle) -> Option<Extent> {
        let committee = &self.public.committee;
        let timely = self.authors(self.decision_round(), |certificate| self.certifies_timely(certificate, block));
        if committee.is_quorum(timely) || planted(Mutant::WholeByKernel) && committee.is_kernel(timely) {
            return Some(Extent::Whole);
        }
        let late = self.authors(self.vote_round(), |voter| !self.finds_timely(voter, block));
        committee.is_quorum(late).then_some(Extent::Arrived)
    }

    fn under_anchor(&self, anchor: Handle) -> Result<Decision, TrustBroken> {
        let history = self.dag.past([anchor], |block| block.round >= self.decision_round());
        let certificates: Vec<Handle> =
            history.into_iter().take_while(|block| block.round == self.decision_round()).collect();
        let certified = |block| certificates.iter().any(|&certificate| self.certifies(certificate, block));
        let uncertified = planted(Mutant::AnchorNeedsNoCertificate) && !certificates.is_empty();
        let certified = |block| certified(block) || uncertified;
        let found = self.the_one(self.dag.twins(self.round, self.leader).filter(|&block| certified(block)))?;
        let Some(block) = found else { return Ok(Decision::Skip) };
        let all = || self.authors(self.decision_round(), |certificate| self.certifies_timely(certificate, block));
        let timely = match planted(Mutant::ExtentByOwnGraph) {
            true => !all().is_empty(),
            false => certificates.iter().any(|&certificate| self.certifies_timely(certificate, block)),
        };
        Ok(Decision::Commit(block, Some(if timely { Extent::Whole } else { Extent::Arrived })))
    }

    fn the_one(&self, mut certified: impl Iterator<Item = Handle>) -> Result<Option<Handle>, TrustBroken> {
        let first = certified.next();
        match certified.next() {
            Some(_) => Err(TrustBroken { round: self.round, author: self.leader }),
            None => Ok(first),
        }
    }

    fn support(&self, voter: Handle) -> Option<Handle> {
        self.dag.support(voter, self.round, self.leader)
    }

    fn finds_timely(&self, voter: Handle, block: Handle) -> bool {
        self.support(voter) == Some(block) && self.dag.finds_timely(voter, self.round, self.leader)
    }

    fn certifies(&self, certificate: Handle, block: Handle) -> bool {
        let anything = planted(Mutant::CertificateWithoutSupport);
        self.voters_are_quorum(certificate, |voter| self.support(voter) == Some(block) || anything)
    }

    fn certifies_timely(&self, certificate: Handle, block: Handle) -> bool {
        self.voters_are_quorum(certificate, |voter| self.finds_timely(voter, block))
    }

    /// Whether the parents in the vote round for which `holds` holds are of a quorum of authors.
    fn voters_are_quorum(&self, certificate: Handle, holds: impl Fn(Handle) -> bool) -> bool {
        let Some(body) = self.dag.body(certificate) else { return false };
        let voters = body.parents.iter().filter(|parent| parent.round == self.vote_round());
        let authors = voters.filter(|&&voter| holds(voter)).map(|voter| voter.author).collect();
        let kernel = planted(Mutant::CertificateByKernel) && self.public.committee.is_kernel(authors);
        self.public.committee.is_quorum(authors) || kernel
    }

    /// Authors with a block of `round` for which `holds` holds.
    fn authors(&self, round: u64, holds: impl Fn(Handle) -> bool) -> ReplicaSet {
        self.dag.blocks_at(round).filter(|&block| holds(block)).map(|block| block.author).collect()
    }
}
