//! Sealed operations: ordered first, opened then, executed where they were ordered.
//!
//! Secure causal atomic broadcast (Cachin, Kursawe, Petzold, Shoup, *Secure and Efficient Asynchronous Broadcast
//! Protocols*, CRYPTO 2001, §5): clients encrypt to the cluster, the order is made of ciphertexts, and only when the
//! place of one is fixed do replicas give shares of its decryption, in their next blocks. A kernel of valid shares opens.
//!
//! - An envelope ([`super::envelope`]) is checked before it counts as ordered: without that, whoever got decryptions of
//!   ciphertexts of his own making could read others'. One that fails the check gets no ticket and no share, and is
//!   evidence against the block's author, since correct replicas check at the door.
//! - One that passes gets the next *ticket* where it is ordered first, whoever carried it. The same envelope later is a
//!   duplicate. So a replica that copies an envelope, and has its copy ordered before the original, has only helped the
//!   owner: the operation inside is his.
//! - A replica gives its share once its own state has the ticket. The block with the share is thus ordered in a later
//!   commit than the envelope, at everybody: a share for a ticket that is not given out yet proves its author corrupt.
//!   Of one author and ticket the first share counts, bad or good; a bad one is evidence. Shares that come after the
//!   opening are no fault: not all of them are needed.
//! - Execution follows the order of commits: a commit with tickets that are not opened waits, whole, and all later ones
//!   behind it ([`backlog`]). What waits is state, in rows.
//!
//! # What it costs, and its bounds
//!
//! CPU time of the steps (release build, both cores busy): to decode an envelope 1.0 ms; to check it 4.0 ms alone and
//! 2.7 ms in a batch of 16, of which hashing to the curve is 1.9; a share 0.1 ms; an opening 2.1 ms, as the combination
//! is checked and not each share. That is 6 ms for an envelope at each replica. So
//! [`MAX_SEALED_PER_BLOCK`](crate::limits::MAX_SEALED_PER_BLOCK) is 4: full blocks of 4 replicas cost a round 100 ms at
//! everybody, and a liar alone 25 ms; sealing is for registrations, not for every update. What is checked at this
//! replica's own door is not checked again when it is ordered. Nothing is checked before it is ordered or at the door:
//! blocks that are never ordered cost nothing.
//!
//! An author has at most [`MAX_SEALED_WAITING`](crate::limits::MAX_SEALED_WAITING) tickets open and
//! [`MAX_BACKLOG_BYTES`](crate::limits::MAX_BACKLOG_BYTES) bytes waiting; beyond, what it carries counts as not ordered.
//! Every replica finds the same, and a correct replica that holds such an operation for an owner proposes it again.

pub mod backlog;
pub mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, digest_of_bytes};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::bls::sealing::NotOpened;
use crate::crypto::bls::{Ciphertext, DecryptionShare, SealingPublic, VerifiedCiphertext};
use crate::crypto::digest::Digest;
use crate::limits::{MAX_CHECKED_ENVELOPES, MAX_SEALED_WAITING};
use crate::mutants::{Mutant, planted};

/// Ordinal of an envelope among those that passed their check, in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// A share of the decryption of the envelope with this ticket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opening {
    pub ticket: Ticket,
    pub share: DecryptionShare,
}

/// Envelopes that are ordered and whose operations are not executed.
pub struct Sealed {
    key: Arc<SealingPublic>,
    next: Ticket,
    waiting: BTreeMap<Ticket, Waiting>,
    by_digest: BTreeMap<Digest, Ticket>,
    /// Changed since the rows were last taken.
    dirty: BTreeSet<Ticket>,
    /// Checked at the door of this replica and not ordered yet. No state: it only saves work.
    checked: BTreeMap<Digest, VerifiedCiphertext>,
}

struct Waiting {
    /// Whose block it came in.
    author: ReplicaId,
    envelope: Envelope,
    state: State,
}

enum State {
    Sealed {
        shares: BTreeMap<ReplicaId, DecryptionShare>,
        /// Whose shares were bad.
        bad: ReplicaSet,
    },
    Opened(Vec<u8>),
}

/// A misdeed, in words.
pub type Misdeed = (ReplicaId, String);

impl Sealed {
    pub fn new(key: SealingPublic) -> Self {
        Self {
            key: Arc::new(key),
            next: Ticket(0),
            waiting: BTreeMap::new(),
            by_digest: BTreeMap::new(),
            dirty: BTreeSet::new(),
            checked: BTreeMap::new(),
        }
    }

    /// The ticket of the next envelope.
    pub fn next(&self) -> Ticket {
        self.next
    }

    /// Whether this envelope is ordered and waits for its execution.
    pub fn has(&self, envelope: &Digest) -> bool {
        self.by_digest.contains_key(envelope)
    }

    /// Envelopes that are ordered and not opened. Rounds are due while there are any.
    pub fn unopened(&self) -> usize {
        self.waiting.values().filter(|waiting| matches!(waiting.state, State::Sealed { .. })).count()
    }

    pub fn is_unopened(&self, ticket: Ticket) -> bool {
        self.waiting.get(&ticket).is_some_and(|waiting| matches!(waiting.state, State::Sealed { .. }))
    }

    pub fn is_open(&self, ticket: Ticket) -> bool {
        self.waiting.get(&ticket).is_some_and(|waiting| matches!(waiting.state, State::Opened(_)))
    }

    /// Tickets for which no share of `me` is ordered yet, with what to make it of. They follow from the state: after a
    /// restart they are the same.
    pub fn owed_by(&self, me: ReplicaId) -> impl Iterator<Item = (Ticket, &VerifiedCiphertext)> {
        let early = self.checked.values().next().filter(|_| planted(Mutant::ShareBeforeOrder));
        let owed = self.waiting.iter().filter_map(move |(&ticket, waiting)| match &waiting.state {
            State::Sealed { shares, bad } if !shares.contains_key(&me) && !bad.contains(me) => {
                Some((ticket, &waiting.envelope.ciphertext))
            }
            _ => None,
        });
        owed.chain(early.map(|ciphertext| (self.next, ciphertext)))
    }

    /// Spares the check of an envelope when it is ordered.
    pub fn checked_at_the_door(&mut self, envelope: &Envelope) {
        if self.checked.len() >= MAX_CHECKED_ENVELOPES {
            self.checked.pop_first();
        }
        self.checked.insert(envelope.digest, envelope.ciphertext.clone());
    }

    /// The openings of a block, before the envelopes of its commit get their tickets.
    pub fn on_openings(&mut self, author: ReplicaId, openings: Vec<Opening>) -> Vec<Misdeed> {
        let mut misdeeds = Vec::new();
        let mut early = None;
        for Opening { ticket, share } in openings {
            if ticket >= self.next {
                early = Some(ticket);
            } else if let Some(waiting) = self.waiting.get_mut(&ticket)
                && waiting.take(author, share)
            {
                self.dirty.insert(ticket);
                let culprits = waiting.try_to_open(&self.key);
                misdeeds
                    .extend(culprits.iter().map(|id| (id, format!("bad decryption share for ticket {}", ticket.0))));
            }
        }
        misdeeds
            .extend(early.map(|ticket| (author, format!("decryption share before ticket {} was given out", ticket.0))));
        misdeeds
    }

    /// The envelopes of a commit, in its order, each with its block's author: the tickets of those that get one.
    /// `is_known` tells which were executed before.
    pub fn on_envelopes(
        &mut self,
        envelopes: Vec<(ReplicaId, Vec<u8>)>,
        is_known: impl Fn(&Digest) -> bool,
    ) -> (Vec<Option<Ticket>>, Vec<Misdeed>) {
        let named = envelopes.into_iter().map(|(author, bytes)| (author, digest_of_bytes(&bytes), bytes));
        let named: Vec<(ReplicaId, Digest, Vec<u8>)> = named.collect();
        let verdicts = self.check(named.iter().filter(|(_, digest, _)| !is_known(digest)));
        let mut misdeeds = Vec::new();
        let mut tickets = Vec::new();
        for (author, digest, _) in &named {
            tickets.push(match verdicts.get(digest) {
                Some(Some(ciphertext)) if !self.has(digest) && self.has_room(*author) => {
                    let envelope = Envelope { digest: *digest, ciphertext: ciphertext.clone() };
                    Some(self.issue(*author, envelope))
                }
                Some(None) => {
                    misdeeds.push((*author, format!("envelope {digest} fails its check")));
                    None
                }
                Some(Some(_)) | None => None,
            });
        }
        (tickets, misdeeds)
    }

    /// For each of these that is not waiting already: its ciphertext, if it is a valid one.
    fn check<'a>(
        &mut self,
        envelopes: impl Iterator<Item = &'a (ReplicaId, Digest, Vec<u8>)>,
    ) -> BTreeMap<Digest, Option<VerifiedCiphertext>> {
        let mut verdicts = BTreeMap::new();
        let (mut digests, mut unchecked) = (Vec::new(), Vec::new());
        for (_, digest, bytes) in envelopes {
            if self.has(digest) || verdicts.contains_key(digest) {
                continue;
            }
            let checked = self.checked.remove(digest);
            if checked.is_none()
                && let Some(ciphertext) = Ciphertext::from_bytes(bytes)
            {
                digests.push(*digest);
                unchecked.push(ciphertext);
            }
            verdicts.insert(*digest, checked);
        }
        verdicts.extend(digests.into_iter().zip(Ciphertext::check_all(unchecked)));
        verdicts
    }

    fn has_room(&self, author: ReplicaId) -> bool {
        self.waiting.values().filter(|waiting| waiting.author == author).count() < MAX_SEALED_WAITING
    }

    fn issue(&mut self, author: ReplicaId, envelope: Envelope) -> Ticket {
        let ticket = self.next;
        self.next.0 += 1;
        self.by_digest.insert(envelope.digest, ticket);
        let state = State::Sealed { shares: BTreeMap::new(), bad: ReplicaSet::EMPTY };
        self.waiting.insert(ticket, Waiting { author, envelope, state });
        self.dirty.insert(ticket);
        ticket
    }

    /// An opened envelope, to be executed: its digest and message.
    pub fn take(&mut self, ticket: Ticket) -> (Digest, Vec<u8>) {
        let Some(Waiting { envelope, state: State::Opened(message), .. }) = self.waiting.remove(&ticket) else {
            unreachable!("a commit is executed when all its tickets are opened, once");
        };
        self.by_digest.remove(&envelope.digest);
        self.dirty.insert(ticket);
        (envelope.digest, message)
    }
}

impl Waiting {
    /// Whether the share is the author's first for this ticket, and may be of use.
    fn take(&mut self, author: ReplicaId, share: DecryptionShare) -> bool {
        let State::Sealed { shares, bad } = &mut self.state else { return false };
        if bad.contains(author) || shares.contains_key(&author) {
            return false;
        }
        shares.insert(author, share);
        true
    }

    /// Opens, if the shares are those of a kernel and good; gives whose were bad.
    fn try_to_open(&mut self, key: &SealingPublic) -> ReplicaSet {
        let State::Sealed { shares, bad } = &mut self.state else { return ReplicaSet::EMPTY };
        let given: Vec<(ReplicaId, DecryptionShare)> =
            shares.iter().map(|(&author, share)| (author, share.clone())).collect();
        match key.open(&self.envelope.ciphertext, &given) {
            Ok(message) => self.state = State::Opened(message),
            Err(NotOpened::TooFew) => {}
            Err(NotOpened::Bad(culprits)) => {
                for &culprit in &culprits {
                    shares.remove(&culprit);
                    bad.insert(culprit);
                }
                return culprits.into_iter().collect();
            }
        }
        ReplicaSet::EMPTY
    }
}
