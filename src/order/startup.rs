//! The start-up rule: how a replica that starts makes sure that it does not contradict what it said before.
//!
//! A replica's own block is durable before anybody sees it, so an intact disk knows the last one. A lost disk or one that
//! was set back to an older copy does not. Hence at *every* start the replica asks the others, with a fresh nonce, and
//! proposes nothing until the answers together with itself come from a quorum. Each answer is signed, is bound to network,
//! epoch, asker and nonce, and gives (a) the round of the answerer's own last block and (b) the asker's highest block that
//! the answerer has at hand: the block itself, since a mere number would let one liar silence every replica that starts.
//!
//! - Own record there, and nobody holds more of the asker's blocks: go on.
//! - Own record missing, or behind what somebody holds: resume two rounds above the highest round answered, with a block
//!   marked as a gap.
//!
//! **A lost record contradicts nothing.** Let the asker have made a block of round x that it no longer knows. That
//! block has a quorum of parents of round x − 1. Answerers and asker are a quorum too, so the two share a member that
//! is outside the failing set, which an asker with a lost disk belongs to until its gap block is ordered. This member
//! is another replica with an intact record, it made a block of round x − 1 before the asker made its own, and its
//! answer, given to a nonce of this start, comes after: it says at least x − 1. So x is at most one above the highest
//! answer, and the resumed replica's first round, two above, is fresh. Answers that are too high only make it wait for
//! rounds that the others reach without it: they are a quorum as long as lost disks count within f.
//!
//! **An intact record contradicts nothing**: nothing is forgotten, and a block that was made durable is sent again.
//!
//! **A disk set back to an older copy** has a record, but a forgotten block of round x above it. If a kernel of the others
//! holds that block, every quorum of answers includes one of them, and the rule resumes as for a lost disk. So nothing is
//! contradicted that a kernel of others held when they answered, whatever the copy's age. What remains is a block that
//! was persisted and then reached nobody, which harms nobody, or reached a few who do not answer: then the replica may make
//! another block of that round. This cannot be closed without a place outside the disk: to the answerers, a slow
//! replica with an intact disk looks the same, and if it had to wait for more than a quorum then one dead replica would
//! silence it, and if it had to resume above what others made then all of them, cut at once, would wait for each other
//! (both are in the model below, and are found). Such a replica counts within f like any corrupt one, since the order
//! stands f equivocators: a block that at most f others held has no certificate. And the rest is kept small: late answers,
//! and its own blocks when they come back from others, still stop it. An answer that arrives before its first block is
//! taken into account, and no round at or below an own block that was seen is ever proposed in.
//!
//! **It does not deadlock.** All replicas cut at once restart with intact records, answer each other while they are still
//! asking themselves, and all go on; answering needs nothing but the own record. With one dead for good and one
//! restarting, the n − f − 1 others and the asker are a quorum, and an intact record goes on at once. A missing record
//! waits for rounds that the others make: with lost disks counted within f there is a quorum without them.
//!
//! These claims are checked at n = 4 for all schedules of a few rounds (`startup_model`, a test): the asker cut at any
//! point with its disk intact, lost or set back, messages in flight lost or late, all cut at once, one dead. The same
//! checker finds what is wrong with five broken rules.
//!
//! A replica that never ran has the record "round 0", written by the ceremony that dealt its keys and by nothing else: a
//! missing record always means a lost disk.
//!
//! A corrupt answerer cannot keep a replica with an intact record from going on: the asker's blocks carry the asker's own
//! signature.
//!
//! Known limit: a corrupt answerer can claim an own round that nobody reaches, and so keep a replica *that lost its
//! disk* silent. Safety is not touched, and the others are a quorum without it. The claim has to be the single highest
//! to be safe, so it cannot be cut down to what a kernel confirms; a proof of the claimed round (the headers of a
//! quorum of the round before) would close this, and has its place in [`Answer`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block::VerifiedBlock;
use super::public::OrderPublic;
use crate::codec;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::hash;
use crate::crypto::ed25519::{SecretKey, Signature};
use crate::limits::MAX_ROUND;
use crate::mutants::{Mutant, planted};

/// "I start; where were we?"
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Question {
    pub asker: ReplicaId,
    /// Drawn at random at each start.
    pub nonce: [u8; 32],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Claim {
    answerer: ReplicaId,
    question: Question,
    /// Round of the answerer's own last block; 0 if it never made one or does not know.
    own_last: u64,
}

/// The signed answer to a [`Question`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    claim: Claim,
    /// The asker's highest block that the answerer has at hand. The asker's signature on it is all the proof it needs.
    held_of_asker: Option<Vec<u8>>,
    signature: Signature,
}

/// What the replica may do once it knows where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing is forgotten: the next own block is of a round above `last`.
    GoOn { last: u64 },
    /// Propose no block below this round, and mark the first as a gap.
    Resume { round: u64 },
}

/// Why an answer does not count; the answerer misbehaves, or the answer is to an earlier question.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnswerFault {
    #[error("an answer to another question")]
    Question,
    #[error("{0} is not another replica of this committee")]
    Answerer(ReplicaId),
    #[error("no block has round {0}")]
    Round(u64),
    #[error("the signature is not {0}'s")]
    Signature(ReplicaId),
    #[error("what is held of the asker is no block of the asker")]
    Held,
}

impl Answer {
    /// `me` answers `question`: `own_last` is the round of its own last block. A replica answers at any time, also
    /// while it asks itself. See [`super::Order::answer_start`].
    pub fn new(
        public: &OrderPublic,
        me: ReplicaId,
        identity: &SecretKey,
        question: Question,
        own_last: u64,
        held_of_asker: Option<&VerifiedBlock>,
    ) -> Self {
        let claim = Claim { answerer: me, question, own_last };
        let signature = identity.sign(&signed_message(public, &claim));
        Self { claim, held_of_asker: held_of_asker.map(|block| block.bytes().to_vec()), signature }
    }

    pub fn answerer(&self) -> ReplicaId {
        self.claim.answerer
    }

    #[cfg(test)]
    pub(super) fn holding(self, held: Vec<u8>) -> Self {
        Self { held_of_asker: Some(held), ..self }
    }
}

/// One start of one replica.
#[derive(Debug)]
pub struct Startup {
    public: Arc<OrderPublic>,
    question: Question,
    /// Round of the own last block by the own record; `None` if the record is missing.
    record: Option<u64>,
    answered: ReplicaSet,
    /// Highest round that any answer mentions.
    highest: u64,
    /// Highest own round that somebody holds.
    held: u64,
}

impl Startup {
    /// See [`super::Order::begin_start`].
    pub(super) fn new(public: Arc<OrderPublic>, me: ReplicaId, record: Option<u64>, nonce: [u8; 32]) -> Self {
        let question = Question { asker: me, nonce };
        let answered = ReplicaSet::from_iter([me]);
        Self { public, question, record, answered, highest: record.unwrap_or(0), held: 0 }
    }

    pub fn receive(&mut self, answer: &Answer) -> Result<(), AnswerFault> {
        let Answer { claim, held_of_asker, signature } = answer;
        let answerer = claim.answerer;
        if claim.question != self.question {
            return Err(AnswerFault::Question);
        }
        if !self.public.committee.contains(answerer) || answerer == self.question.asker {
            return Err(AnswerFault::Answerer(answerer));
        }
        if claim.own_last > MAX_ROUND {
            return Err(AnswerFault::Round(claim.own_last));
        }
        if !self.public.identities[answerer.index()].verify(&signed_message(&self.public, claim), signature) {
            return Err(AnswerFault::Signature(answerer));
        }
        let held = held_of_asker.as_deref().map_or(Ok(0), |bytes| self.own_round(bytes))?;
        self.answered.insert(answerer);
        self.highest = self.highest.max(claim.own_last).max(held);
        self.held = self.held.max(held);
        Ok(())
    }

    /// The round of a block that is the asker's own.
    fn own_round(&self, bytes: &[u8]) -> Result<u64, AnswerFault> {
        let block = VerifiedBlock::verify(&self.public, bytes.to_vec()).map_err(|_| AnswerFault::Held)?;
        if block.author() == self.question.asker { Ok(block.round()) } else { Err(AnswerFault::Held) }
    }

    /// To be sent again to those who did not answer, when they connect.
    pub fn question(&self) -> Question {
        self.question
    }

    /// Who has not answered yet.
    pub fn unanswered(&self) -> ReplicaSet {
        self.public.committee.ids().collect::<ReplicaSet>().difference(self.answered)
    }

    /// The outcome, once answers and asker are a quorum. It may turn from going on to resuming when a late answer comes;
    /// hand each to [`super::Order::start`].
    pub fn outcome(&self) -> Option<Outcome> {
        let fewer = planted(Mutant::FenceByKernel) && self.public.committee.is_kernel(self.answered);
        if !self.public.committee.is_quorum(self.answered) && !fewer {
            return None;
        }
        Some(rule(self.record, self.held, self.highest))
    }
}

/// The rule, once answers and asker are a quorum. `record`: round of the own last block by the own record; `held`: highest
/// own round that somebody holds; `highest`: highest round that anything of this mentions.
pub(super) fn rule(record: Option<u64>, held: u64, highest: u64) -> Outcome {
    match record {
        Some(record) if record >= held => Outcome::GoOn { last: record },
        _ => Outcome::Resume { round: highest + 2 - u64::from(planted(Mutant::ResumeAtNextRound)) },
    }
}

fn signed_message(public: &OrderPublic, claim: &Claim) -> Vec<u8> {
    let epoch = public.epoch.to_be_bytes();
    let digest = hash("torrens v1 start-up answer", &[&public.network.0, &epoch, &codec::encode(claim)]);
    [b"torrens v1 start-up answer\0".as_slice(), &digest.0].concat()
}
