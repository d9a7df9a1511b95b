//! Submitting: carry a signed operation to enough replicas, then wait until enough of them report the same outcome.
//!
//! First to a kernel (f + 1 replicas), so that a correct one has it; which ones follows from its digest, so that load
//! spreads. If one of them fails, or there is no confirmation within a second, to all the others as well. Every replica
//! is asked for the outcome from the start, by long polls: whoever ordered it can tell.
//!
//! A sealed operation goes the same way and is asked for by the digest of its envelope, so that no replica learns anything
//! of what is inside, not even a digest to try guesses against, before its place in the order is fixed.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use rand_core::OsRng;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::cluster::Replica;
use super::transport::{Backoff, Transport};
use super::{Client, NotConfirmed};
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::digest::Digest;
use crate::directory::operation::SignedOperation;
use crate::limits;
use crate::replica::envelope;
use crate::replica::pool::rank;
use crate::replica::report::{DoorRefusal, OperationResult, OutcomeReport, Received};

/// What became of a submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Submission {
    /// It was executed: accepted or refused, at a position.
    Confirmed(Confirmed),
    /// A kernel of replicas did not take it in, for the same reason.
    Refused(DoorRefusal),
}

/// An outcome that a kernel of replicas reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Confirmed {
    /// What the outcome was asked for by: the operation's, or its envelope's if it was sealed.
    pub digest: Digest,
    pub position: u64,
    pub outcome: OutcomeReport,
    /// Whether a kernel of replicas serves what follows from it. False only if time ran out before.
    pub visible: bool,
}

impl Client {
    /// Submits an operation and waits until it is confirmed and, if accepted, visible.
    pub async fn submit(&self, signed: &SignedOperation) -> Result<Submission, NotConfirmed> {
        let bytes = Bytes::from(signed.to_bytes());
        let digest = SignedOperation::digest_of_bytes(&bytes);
        self.carry(bytes, digest, "/v1/operations").await
    }

    /// The same, unreadable for everybody before its place in the order is fixed. What was refused at the door may be
    /// submitted again: it is sealed anew.
    pub async fn submit_sealed(&self, signed: &SignedOperation) -> Result<Submission, NotConfirmed> {
        let envelope = Bytes::from(envelope::seal(&signed.to_bytes(), &self.cluster.sealing, &mut OsRng));
        let digest = envelope::digest_of_bytes(&envelope);
        self.carry(envelope, digest, "/v1/sealed").await
    }

    async fn carry(&self, bytes: Bytes, digest: Digest, path: &'static str) -> Result<Submission, NotConfirmed> {
        let deadline = Instant::now() + self.timeout;
        let mut escalate_at = Instant::now() + Duration::from_millis(limits::ESCALATE_AFTER_MS);
        let (told, mut events) = mpsc::channel(4 * self.cluster.committee.len());
        // Dropped on return, which ends every task.
        let mut tasks = JoinSet::new();
        let carrier = |id: ReplicaId| Carrier {
            transport: self.transport.clone(),
            replica: self.cluster.replicas[id.index()].clone(),
            digest,
            path,
            told: told.clone(),
        };
        for id in self.cluster.committee.ids() {
            tasks.spawn(carrier(id).poll(deadline));
        }
        let mut order = ranked(&self.cluster.committee, &digest);
        let rest = order.split_off(first_kernel(&self.cluster.committee, &order));
        for id in order {
            tasks.spawn(carrier(id).deliver(bytes.clone()));
        }
        let mut rest = Some(rest);
        let mut tally = Tally::new(self.cluster.committee.clone());
        loop {
            tokio::select! {
                Some((id, event)) = events.recv() => {
                    if matches!(event, Event::Undelivered | Event::Refused(_)) {
                        escalate_at = Instant::now();
                    }
                    tally.count(id, event);
                    if let Some(done) = tally.done() {
                        return Ok(self.remember(done));
                    }
                }
                () = sleep_until(escalate_at), if rest.is_some() => {
                    for id in rest.take().into_iter().flatten() {
                        tasks.spawn(carrier(id).deliver(bytes.clone()));
                    }
                }
                () = sleep_until(deadline) => {
                    let done = tally.confirmed(false).map(Submission::Confirmed);
                    return done.map(|done| self.remember(done)).ok_or_else(|| self.not_confirmed(tally.why_not()));
                }
            }
        }
    }

    fn remember(&self, done: Submission) -> Submission {
        if let Submission::Confirmed(confirmed) = &done {
            self.seen.raise(confirmed.outcome.height);
        }
        done
    }
}

/// All replicas, by their turn to propose the operation: the first that hold it propose it at once.
fn ranked(committee: &Committee, digest: &Digest) -> Vec<ReplicaId> {
    let mut ids: Vec<ReplicaId> = committee.ids().collect();
    ids.sort_by_key(|&id| rank(committee, digest, id));
    ids
}

/// How many of `order`, from its beginning, are a kernel.
fn first_kernel(committee: &Committee, order: &[ReplicaId]) -> usize {
    let mut taken = ReplicaSet::EMPTY;
    let before = order.iter().take_while(|&&id| {
        let enough = committee.is_kernel(taken);
        taken.insert(id);
        !enough
    });
    before.count()
}

/// What a replica was found to say.
enum Event {
    Acknowledged,
    Undelivered,
    Refused(DoorRefusal),
    Outcome(OutcomeReport),
}

/// Speaks with one replica about one operation.
struct Carrier {
    transport: Transport,
    replica: Replica,
    digest: Digest,
    /// Where it is submitted.
    path: &'static str,
    told: mpsc::Sender<(ReplicaId, Event)>,
}

impl Carrier {
    /// Submits until the replica acknowledges or refuses.
    async fn deliver(self, bytes: Bytes) {
        let within = Duration::from_millis(limits::REQUEST_TIMEOUT_MS);
        let mut backoff = Backoff::new();
        loop {
            let answer = self.transport.post(&self.replica.api, self.path, bytes.clone(), within).await;
            let event = answer.map_or(Event::Undelivered, |(status, body)| self.understand(status, &body));
            let settled = matches!(event, Event::Acknowledged | Event::Refused(_));
            if self.told.send((self.replica.id, event)).await.is_err() || settled {
                return;
            }
            backoff.pause().await;
        }
    }

    fn understand(&self, status: StatusCode, body: &[u8]) -> Event {
        #[derive(Deserialize)]
        struct Problem {
            code: String,
        }
        if status.is_success() {
            let received = serde_json::from_slice::<Received>(body);
            let ours = received.is_ok_and(|received| received.digest == self.digest);
            return if ours { Event::Acknowledged } else { Event::Undelivered };
        }
        let problem = serde_json::from_slice::<Problem>(body).ok();
        match problem.and_then(|problem| DoorRefusal::from_code(&problem.code)) {
            Some(DoorRefusal::Busy) | None => Event::Undelivered,
            Some(refusal) => Event::Refused(refusal),
        }
    }

    /// Asks for the outcome until it is final.
    async fn poll(self, deadline: Instant) {
        let mut backoff = Backoff::new();
        loop {
            let asked = Instant::now();
            // The last poll comes back before time runs out, with an outcome that is not visible yet.
            let left = deadline.saturating_duration_since(asked).saturating_sub(Duration::from_millis(500));
            let wait = left.min(Duration::from_millis(limits::POLL_WAIT_MS));
            let path = format!("/v1/operations/{}?wait_ms={}&until=visible", self.digest, wait.as_millis());
            let within = wait + Duration::from_millis(limits::REQUEST_TIMEOUT_MS);
            let answer = self.transport.get(&self.replica.api, &path, limits::MAX_OUTCOME_ANSWER, within).await;
            let body = answer.filter(|(status, _)| *status == StatusCode::OK).map(|(_, body)| body);
            let report = body.and_then(|body| serde_json::from_slice::<OutcomeReport>(&body).ok());
            if let Some(report) = report.filter(|report| report.digest == self.digest) {
                let last = report.visible;
                if self.told.send((self.replica.id, Event::Outcome(report))).await.is_err() || last {
                    return;
                }
            }
            if asked.elapsed() > Duration::from_millis(limits::RETRY_MS.1) {
                backoff = Backoff::new();
            }
            backoff.pause().await;
        }
    }
}

/// What the replicas said, each counted once, by its last word.
struct Tally {
    committee: Committee,
    acknowledged: ReplicaSet,
    refused: BTreeMap<ReplicaId, DoorRefusal>,
    outcomes: BTreeMap<ReplicaId, OutcomeReport>,
}

impl Tally {
    fn new(committee: Committee) -> Self {
        let (refused, outcomes) = (BTreeMap::new(), BTreeMap::new());
        Self { committee, acknowledged: ReplicaSet::EMPTY, refused, outcomes }
    }

    fn count(&mut self, id: ReplicaId, event: Event) {
        match event {
            Event::Acknowledged => _ = self.acknowledged.insert(id),
            Event::Undelivered => {}
            Event::Refused(refusal) => _ = self.refused.insert(id, refusal),
            Event::Outcome(report) => _ = self.outcomes.insert(id, report),
        }
    }

    fn done(&self) -> Option<Submission> {
        if let Some(confirmed) = self.confirmed(true) {
            return Some(Submission::Confirmed(confirmed));
        }
        let refusals = self.refused.values();
        let alike = |refusal: DoorRefusal| {
            self.refused.iter().filter(|(_, other)| **other == refusal).map(|(&id, _)| id).collect()
        };
        refusals.copied().find(|&refusal| self.committee.is_kernel(alike(refusal))).map(Submission::Refused)
    }

    /// The outcome that a kernel reports; with `visible`, only once a kernel serves it or it was refused.
    fn confirmed(&self, visible: bool) -> Option<Confirmed> {
        self.outcomes.values().find_map(|report| {
            let agreed = report.agreed();
            let same = self.outcomes.iter().filter(|(_, other)| other.agreed() == agreed);
            let all: ReplicaSet = same.clone().map(|(&id, _)| id).collect();
            let serving: ReplicaSet = same.filter(|(_, other)| other.visible).map(|(&id, _)| id).collect();
            let refused = matches!(agreed.result, OperationResult::Refused { .. });
            let seen = refused || self.committee.is_kernel(serving);
            let enough = self.committee.is_kernel(all) && (seen || !visible);
            enough.then_some(Confirmed {
                digest: agreed.digest,
                position: agreed.position,
                outcome: agreed,
                visible: seen,
            })
        })
    }

    fn why_not(&self) -> String {
        let replicas = self.committee.len();
        format!(
            "{} of {replicas} replicas took the operation in, {} refused it, {} reported an outcome, and no {} said the same",
            self.acknowledged.len(),
            self.refused.len(),
            self.outcomes.len(),
            self.committee.kernel_in_words(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Timestamp;

    fn outcome(position: u64, visible: bool) -> OutcomeReport {
        OutcomeReport {
            digest: Digest([9; 32]),
            position,
            height: 3,
            agreed_time: Timestamp(4),
            result: OperationResult::Accepted {
                zone: crate::directory::name::Name::root(),
                serial: 1,
                certificate: None,
            },
            visible,
        }
    }

    fn tally() -> Tally {
        Tally::new(Committee::new(4).unwrap())
    }

    #[test]
    fn an_outcome_counts_when_a_kernel_reports_it_at_the_same_position() {
        let mut tally = tally();
        tally.count(ReplicaId(0), Event::Outcome(outcome(1, true)));
        tally.count(ReplicaId(0), Event::Outcome(outcome(1, true)));
        tally.count(ReplicaId(1), Event::Outcome(outcome(2, true)));
        assert_eq!(tally.done(), None);
        tally.count(ReplicaId(2), Event::Outcome(outcome(2, true)));
        let Some(Submission::Confirmed(confirmed)) = tally.done() else { panic!("a kernel agrees") };
        assert_eq!((confirmed.position, confirmed.visible), (2, true));
    }

    #[test]
    fn one_replica_alone_does_not_make_an_outcome_visible() {
        let mut tally = tally();
        tally.count(ReplicaId(0), Event::Outcome(outcome(1, true)));
        tally.count(ReplicaId(1), Event::Outcome(outcome(1, false)));
        tally.count(ReplicaId(2), Event::Outcome(outcome(1, false)));
        assert_eq!(tally.done(), None);
        assert!(!tally.confirmed(false).unwrap().visible);
        tally.count(ReplicaId(1), Event::Outcome(outcome(1, true)));
        assert!(tally.done().is_some());
    }

    #[test]
    fn one_refusal_at_the_door_is_not_a_refusal() {
        let mut tally = tally();
        tally.count(ReplicaId(0), Event::Refused(DoorRefusal::BadSignature));
        tally.count(ReplicaId(1), Event::Refused(DoorRefusal::Malformed));
        assert_eq!(tally.done(), None);
        tally.count(ReplicaId(2), Event::Refused(DoorRefusal::Malformed));
        assert_eq!(tally.done(), Some(Submission::Refused(DoorRefusal::Malformed)));
    }

    #[test]
    fn the_replicas_asked_first_are_those_that_propose_first() {
        for replicas in [4, 7, 10] {
            let committee = Committee::new(replicas).unwrap();
            let firsts: std::collections::BTreeSet<_> =
                (0..64).map(|byte| ranked(&committee, &Digest([byte; 32]))[0]).collect();
            assert_eq!(firsts.len(), replicas);
            let digest = Digest([77; 32]);
            let order = ranked(&committee, &digest);
            assert!(order.iter().enumerate().all(|(turn, &id)| rank(&committee, &digest, id) == turn as u64));
        }
    }
}
