//! What an ordered share does: nothing, a signature, or a fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assign::AT_ONCE;
use super::scheduler::{Event, Fault, FaultKind, Scheduler};
use super::task::{Attempt, KeyId, OrderedShare, RsaState, Share, ShareEntry, State, TaskId};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::ed25519::Signature;
use crate::crypto::frost::{self, FrostPublic, FrostShare};
use crate::limits::MAX_RSA_SHARE;

/// What became of an attempt when a share was put in.
enum Outcome {
    Waiting,
    /// The demoted replica that the attempt is a probe of has served.
    Served,
    Signed(Signature),
    /// Shares that are bad, with their authors; none if new nonces are all that is needed.
    Spoilt(Vec<(ReplicaId, OrderedShare<FrostShare>)>),
}

impl Scheduler {
    /// Ordered shares, from the block of `author` in `round`.
    pub fn on_shares(&mut self, author: ReplicaId, round: u64, entries: Vec<ShareEntry>) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.committee.contains(author) {
            return events;
        }
        for ShareEntry { task, attempt, share } in entries {
            let asked = self.book.owed[&author].contains(&(task, attempt));
            let is_frost = self.book.frost(task).is_some();
            match share {
                Share::Frost(share) if asked && is_frost => {
                    self.on_frost_share(author, task, attempt, OrderedShare { round, share }, &mut events);
                }
                Share::Rsa(share) if asked && !is_frost => {
                    self.on_rsa_share(author, task, attempt, OrderedShare { round, share }, &mut events);
                }
                _ => self.on_unassigned_share(author, task, attempt),
            }
        }
        events
    }

    /// Late answers to what is settled by now are nothing special; the rest nobody can have asked for.
    fn on_unassigned_share(&mut self, author: ReplicaId, task: TaskId, attempt: u32) {
        let may_be_late = match self.book.tasks.get(&task) {
            Some(task) => attempt < task.attempts_made,
            None => task.0 < self.book.next_task,
        };
        if !may_be_late {
            let standing = self.book.standing(author);
            standing.unassigned = standing.unassigned.saturating_add(1);
            self.dirty.cursors = true;
        }
    }

    /// A share that `author` owes.
    fn on_frost_share(
        &mut self,
        author: ReplicaId,
        id: TaskId,
        number: u32,
        ordered: OrderedShare<FrostShare>,
        events: &mut Vec<Event>,
    ) {
        self.dirty.tasks.insert(id);
        self.book.settle(author, id, number);
        let task = self.book.tasks.get_mut(&id).expect("shares are owed to tasks that exist");
        let (KeyId::Zone(zone), State::Frost(state)) = (&task.key, &mut task.state) else {
            unreachable!("the caller saw a zone task")
        };
        let attempt = state.live.get_mut(&number).expect("shares are owed to live attempts");
        match attempt.put(&self.keys[zone], &task.message, author, ordered, state.done) {
            Outcome::Waiting => {}
            Outcome::Served => self.restore(author, id, number),
            Outcome::Signed(signature) => {
                self.restore(author, id, number);
                self.book.finish_frost(id);
                events.push(Event::Signed { task: id, signature: signature.to_bytes().to_vec() });
            }
            Outcome::Spoilt(culprits) => {
                self.book.remove_attempt(id, number);
                self.book.release_probe(id, number);
                for (culprit, OrderedShare { round, share }) in culprits {
                    self.to_demote.insert(culprit);
                    events.push(bad_share(culprit, round, (id, number), share.0.to_vec()));
                }
            }
        }
    }

    /// The author of a good share is restored if it was its probe: the last one only, so that answers cannot be hoarded.
    fn restore(&mut self, author: ReplicaId, id: TaskId, number: u32) {
        if self.book.standing(author).probe != Some((id, number)) {
            return;
        }
        self.book.standing(author).restore();
        self.dirty.cursors = true;
        self.book.release_probe(id, number);
    }

    /// A share that `author` owes.
    fn on_rsa_share(
        &mut self,
        author: ReplicaId,
        id: TaskId,
        number: u32,
        ordered: OrderedShare<Vec<u8>>,
        events: &mut Vec<Event>,
    ) {
        self.dirty.tasks.insert(id);
        self.book.settle(author, id, number);
        let task = self.book.tasks.get_mut(&id).expect("shares are owed to tasks that exist");
        let State::Rsa(state) = &mut task.state else { unreachable!("the caller saw a certificate task") };
        let too_long = ordered.share.len() > MAX_RSA_SHARE;
        state.shares.insert(author, ordered);
        let culprits = if too_long {
            vec![author]
        } else {
            let present: ReplicaSet = state.shares.keys().copied().collect();
            if !self.committee.can_sign(present) {
                return;
            }
            let combiner = Arc::clone(self.authority.as_ref().expect("certificate tasks open only if there is one"));
            match combiner.combine(&task.message, &state.plain_shares()) {
                Ok(signature) => {
                    self.book.finish_rsa(id);
                    events.push(Event::Signed { task: id, signature });
                    return;
                }
                Err(culprits) => culprits,
            }
        };
        for culprit in culprits {
            let Some(OrderedShare { round, share }) = state.shares.remove(&culprit) else { continue };
            state.refuted.insert(culprit);
            self.to_demote.insert(culprit);
            let evidence = if share.len() > MAX_RSA_SHARE { Vec::new() } else { share };
            events.push(bad_share(culprit, round, (id, state.asked[&culprit]), evidence));
        }
        // Everybody else is asked at the end of this commit. Once that is done, there is no deadline any more.
        if let Some(deadline) = state.deadline.replace(AT_ONCE) {
            self.book.deadlines.remove(&(deadline, id));
            self.book.deadlines.insert((AT_ONCE, id));
        } else {
            state.deadline = None;
        }
    }
}

impl RsaState {
    fn plain_shares(&self) -> BTreeMap<ReplicaId, Vec<u8>> {
        self.shares.iter().map(|(&id, ordered)| (id, ordered.share.clone())).collect()
    }
}

impl Attempt {
    /// Puts in a share of one of the signers. `done`: the signature is known already, and only a probe is of interest.
    fn put(
        &mut self,
        key: &FrostPublic,
        message: &[u8],
        author: ReplicaId,
        ordered: OrderedShare<FrostShare>,
        done: bool,
    ) -> Outcome {
        let share = ordered.share;
        let is_probe = self.probe_of == Some(author);
        let is_good = share.is_canonical()
            && (!is_probe || frost::verify_share(key, &self.commitments(), message, author, &share));
        if !is_good {
            return Outcome::Spoilt(vec![(author, ordered)]);
        }
        self.shares.insert(author, ordered);
        if done || !self.is_complete() {
            return if is_probe { Outcome::Served } else { Outcome::Waiting };
        }
        let plain = self.shares.iter().map(|(&id, ordered)| (id, ordered.share)).collect();
        match frost::aggregate(key, &self.commitments(), message, &plain) {
            Ok(signature) => Outcome::Signed(signature),
            Err(culprits) => Outcome::Spoilt(culprits.into_iter().map(|id| (id, self.shares[&id].clone())).collect()),
        }
    }
}

fn bad_share(culprit: ReplicaId, round: u64, answer_to: (TaskId, u32), bytes: Vec<u8>) -> Event {
    Event::Fault(Fault { culprit, kind: FaultKind::BadShare, round, answer_to: Some(answer_to), bytes })
}
