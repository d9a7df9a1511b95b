//! The replicated state machine: commits in, state and duties out. Pure and deterministic.
//!
//! When a commit is ordered, the decryption shares in it open what was sealed before, and its own envelopes get their
//! tickets ([`super::sealed`]). It is executed at once, unless something sealed stands in it or before it: then it waits
//! until all that is opened. A commit is executed in this order:
//!
//! 1. height and agreed time move on, to the commit's own;
//! 2. every block's payload, in the order of the commit: nonce commitments, signature shares, sealed operations,
//!    operations. A share that completes a signature makes it a fact here; an operation is decided and applied, once, where
//!    it stands first;
//! 3. versions of zones from primaries that are voted for and whole take effect ([`super::primary`]);
//! 4. zone versions whose last due signature is a fact get their digest, if they are to have one, or are published,
//!    whole; zones with gathered changes, due renewals or a due heartbeat start their next version;
//! 5. open signing tasks are assigned by the commit's coin. Their deadlines count from the round of the commit that was
//!    ordered last: nobody could know of them earlier.
//!
//! Whatever bytes are ordered, there is an answer: nothing here panics on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::certificates::Certificates;
use super::envelope::operation_of;
use super::genesis::Genesis;
use super::outcome::{Accepted, Outcome, Outcomes};
use super::payload::Payload;
use super::primary::{Ballot, Candidate, Part, Taken, Vote};
use super::rsa::AuthorityKey;
use super::sealed::backlog::{Backlog, Held, HeldBlock};
use super::sealed::stored::TICKET_ROW;
use super::sealed::{Sealed, Ticket};
use super::zones::ZoneMachine;
use crate::ca;
use crate::codec;
use crate::committee::{Committee, ReplicaId};
use crate::crypto::coin::CoinValue;
use crate::crypto::digest::Digest;
use crate::directory::decide::{Context, admit, decide};
use crate::directory::name::Name;
use crate::directory::operation::{SignedOperation, VerifiedOperation};
use crate::directory::primary::ZoneSource;
use crate::directory::refusal::Refusal;
use crate::directory::state::ZONES_ROW;
use crate::directory::zone::SignedZone;
use crate::directory::{Directory, Timestamp};
use crate::limits::{MAX_META_ROW, MAX_OPERATION_VALIDITY_MS, OUTCOME_KEPT_MS};
use crate::mutants::{Mutant, planted};
use crate::order::Commit;
use crate::rows::{Row, Table, TableRows};
use crate::signing::stored::META_KEY as SIGNING_ROW;
use crate::signing::{Assignment, Event, KeyId, Scheduler};
use crate::store::view::View;

pub struct Machine {
    network: Digest,
    committee: Committee,
    authority: Arc<ca::Authority>,
    progress: Progress,
    directory: Directory,
    outcomes: Outcomes,
    certificates: Certificates,
    scheduler: Scheduler,
    zones: BTreeMap<Name, ZoneMachine>,
    /// Of the zones that come from primaries.
    ballots: BTreeMap<Name, Ballot>,
    sealed: Sealed,
    backlog: Backlog,
}

/// How far the machine has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Commits executed.
    pub height: u64,
    pub agreed_time: Timestamp,
    /// Operations executed.
    pub position: u64,
    /// Round of the last commit's leader.
    pub round: u64,
}

impl Progress {
    /// The progress that these rows write down, if they do.
    pub fn in_rows(rows: &[Row]) -> Option<Self> {
        let row = rows.iter().rfind(|row| row.table == Table::Meta && row.key == PROGRESS_ROW)?;
        codec::decode(row.value.as_deref()?, MAX_META_ROW).ok()
    }
}

/// What a commit did that others care about.
#[must_use]
#[derive(Default, Debug)]
pub struct Executed {
    /// Changed state, to be stored together.
    pub rows: Vec<Row>,
    /// Signing tasks given out, to all signers.
    pub assignments: Vec<Assignment>,
    /// Operations that were ordered: they need not be proposed again.
    pub operations: Vec<Digest>,
    /// Versions from primaries that were taken, or refused, by zone.
    pub taken: BTreeMap<Name, Candidate>,
    /// Whether a zone version was published.
    pub published: bool,
    /// Whether anything that a reader can see is new.
    pub changed: bool,
    pub faults: Vec<(ReplicaId, String)>,
}

/// Everything a reader may see at a height; cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    pub progress: Progress,
    pub directory: Directory,
    pub outcomes: Outcomes,
    pub certificates: Certificates,
    /// Serial of each zone as published; none while the genesis is being signed.
    pub serials: BTreeMap<Name, Option<u32>>,
    /// Signatures still due.
    pub pending: usize,
    /// Sealed operations still to be opened, and commits that wait for that.
    pub unopened: usize,
    pub held: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("stored state is damaged: {0}")]
pub struct DamagedState(pub String);

pub(super) const PROGRESS_ROW: &[u8] = b"progress";

impl Machine {
    /// The state that the genesis gives, and its rows.
    pub fn genesis(genesis: &Genesis) -> Result<(Self, Vec<Row>), DamagedState> {
        let damaged = |error: &dyn std::fmt::Display| DamagedState(format!("genesis: {error}"));
        let files = genesis.zones.iter().map(|zone| zone.to_file()).collect();
        let (mut directory, mut rows) =
            Directory::genesis(files, genesis.registry, genesis.created).map_err(|error| damaged(&error))?;
        for zone in genesis.zones.iter().filter(|zone| zone.policy.source == ZoneSource::Primary) {
            rows.extend(directory.leave_to_primary(&zone.apex));
        }
        let mut machine = Self::with(genesis, directory)?;
        machine.progress.agreed_time = genesis.created;
        for (apex, zone) in &mut machine.zones {
            zone.gather(machine.directory.names(apex));
            zone.gather([apex.clone()]);
        }
        let mut executed = Executed { rows, ..Executed::default() };
        machine.start_versions(&mut executed);
        machine.finish(&mut executed);
        Ok((machine, executed.rows))
    }

    fn with(genesis: &Genesis, directory: Directory) -> Result<Self, DamagedState> {
        let authority = ca::Authority::from_certificate(&genesis.authority.certificate)
            .map_err(|error| DamagedState(format!("certificate of the authority: {error}")))?;
        let keys = genesis.zones.iter().map(|zone| (zone.apex.clone(), zone.key.clone())).collect();
        let combiner = Arc::new(AuthorityKey(genesis.authority.key.clone()));
        let zones = genesis.zones.iter().map(|zone| (zone.apex.clone(), ZoneMachine::new(zone)));
        let from_primary = genesis.zones.iter().filter(|zone| zone.policy.source == ZoneSource::Primary);
        let ballots = from_primary.map(|zone| (zone.apex.clone(), Ballot::new(zone)));
        Ok(Self {
            network: genesis.network(),
            committee: genesis.committee.clone(),
            authority: Arc::new(authority),
            progress: Progress::default(),
            directory,
            outcomes: Outcomes::default(),
            certificates: Certificates::default(),
            scheduler: Scheduler::new(genesis.committee.clone(), keys, Some(combiner)),
            zones: zones.collect(),
            ballots: ballots.collect(),
            sealed: Sealed::new(genesis.sealing.clone()),
            backlog: Backlog::default(),
        })
    }

    /// The state as it was stored, or none if nothing was. `zones`: as [`super::published`] reads them; `table` gives all
    /// rows of another table.
    pub fn load(
        genesis: &Genesis,
        mut zones: BTreeMap<Name, Arc<SignedZone>>,
        table: impl Fn(Table) -> TableRows,
    ) -> Result<Option<Self>, DamagedState> {
        let meta: BTreeMap<Vec<u8>, Vec<u8>> = table(Table::Meta).into_iter().collect();
        let Some(progress) = meta.get(PROGRESS_ROW) else { return Ok(None) };
        let missing = |what: &str| DamagedState(format!("{what}: missing or unreadable"));
        let registries = meta.get(ZONES_ROW).ok_or_else(|| missing("zones"))?;
        let directory =
            Directory::load(registries, &table(Table::Title)).map_err(|error| DamagedState(error.to_string()))?;
        let mut machine = Self::with(genesis, directory)?;
        machine.progress = codec::decode(progress, MAX_META_ROW).map_err(|_| missing("progress"))?;
        machine.outcomes = Outcomes::load(&table(Table::Outcome)).ok_or_else(|| missing("outcomes"))?;
        machine.certificates = Certificates::load(&table(Table::Certificate)).ok_or_else(|| missing("certificates"))?;
        machine
            .scheduler
            .load(meta.get(SIGNING_ROW).map(Vec::as_slice), &table(Table::Task), &table(Table::Nonces))
            .map_err(|error| DamagedState(error.to_string()))?;
        let next = meta.get(TICKET_ROW).map(Vec::as_slice);
        machine.sealed = Sealed::load(genesis.sealing.clone(), next, &table(Table::Sealed))
            .ok_or_else(|| missing("sealed operations"))?;
        machine.backlog = Backlog::load(&table(Table::Backlog)).ok_or_else(|| missing("waiting commits"))?;
        let (versions, differences) = (table(Table::Version), table(Table::Difference));
        for (apex, zone) in &mut machine.zones {
            let published = zones.remove(apex).ok_or_else(|| missing("published zone"))?;
            zone.load(&meta, published, &versions, &differences, machine.progress.agreed_time)
                .ok_or_else(|| missing("zone version"))?;
        }
        for ballot in machine.ballots.values_mut() {
            let loaded = ballot.load(&meta, &machine.directory, &machine.committee);
            loaded.ok_or_else(|| missing("votes on a zone"))?;
        }
        Ok(Some(machine))
    }

    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether this operation was executed already.
    pub fn knows(&self, operation: &Digest) -> bool {
        self.outcomes.get(operation).is_some()
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn network(&self) -> Digest {
        self.network
    }

    /// What is being voted on of a zone that comes from a primary.
    pub fn ballot(&self, zone: &Name) -> Option<&Ballot> {
        self.ballots.get(zone)
    }

    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    pub(super) fn sealed_mut(&mut self) -> &mut Sealed {
        &mut self.sealed
    }

    /// Whether signatures, openings or a heartbeat are due, now that agreed time has come to `now`.
    pub fn has_work(&self, now: Timestamp) -> bool {
        self.sealed.unopened() > 0 || self.scheduler.pending() > 0 || self.next_due().is_some_and(|due| due <= now)
    }

    /// When the next signature is to be renewed, or the next heartbeat is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.zones.values().filter_map(ZoneMachine::next_due).min()
    }

    pub fn view(&self) -> View {
        let Progress { height, agreed_time, .. } = self.progress;
        let published = self.zones.iter().filter(|(_, zone)| zone.serial().is_some());
        let zones = published.map(|(apex, zone)| (apex.clone(), zone.published().clone()));
        let differences = self.zones.iter().map(|(apex, zone)| (apex.clone(), zone.differences().clone()));
        View { height, agreed_time, zones: zones.collect(), differences: differences.collect(), ..View::default() }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            progress: self.progress,
            directory: self.directory.clone(),
            outcomes: self.outcomes.clone(),
            certificates: self.certificates.clone(),
            serials: self.zones.iter().map(|(apex, zone)| (apex.clone(), zone.serial())).collect(),
            pending: self.scheduler.pending(),
            unopened: self.sealed.unopened(),
            held: self.backlog.len(),
        }
    }

    /// The next commit of the order. Executes it and those that waited, as far as nothing sealed stands before them.
    pub fn execute(&mut self, commit: &Commit) -> Executed {
        let mut executed = Executed::default();
        let held = self.take_in(commit, &mut executed);
        let is_first = self.backlog.is_empty() || planted(Mutant::SealedNotAwaited);
        if is_first && held.tickets().next().is_none() {
            self.run(held, commit.round, &mut executed);
        } else {
            self.backlog.push(held, &mut executed.rows);
        }
        while let Some(held) = self.backlog.pop_if(|held| held.tickets().all(|ticket| self.sealed.is_open(ticket))) {
            executed.rows.push(held.deletion());
            self.run(held, commit.round, &mut executed);
        }
        self.finish(&mut executed);
        executed
    }

    /// Openings and tickets of a commit, and what is left of it to be executed.
    fn take_in(&mut self, commit: &Commit, executed: &mut Executed) -> Held {
        let (mut blocks, mut envelopes, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for block in &commit.blocks {
            let (author, round) = (block.author(), block.round());
            match Payload::from_bytes(block.payload()) {
                Ok(Payload { operations, nonces, shares, sealed, openings, votes, parts }) => {
                    executed.faults.extend(self.sealed.on_openings(author, openings));
                    counts.push(sealed.len());
                    envelopes.extend(sealed.into_iter().map(|envelope| (author, envelope)));
                    let sealed = Vec::new();
                    blocks.push(HeldBlock { author, round, nonces, shares, sealed, operations, votes, parts });
                }
                Err(error) => executed.faults.push((author, format!("payload in round {round}: {error}"))),
            }
        }
        let (tickets, misdeeds) = self.sealed.on_envelopes(envelopes, |envelope| self.outcomes.get(envelope).is_some());
        executed.faults.extend(misdeeds);
        let mut tickets = tickets.into_iter();
        for (block, count) in blocks.iter_mut().zip(counts) {
            block.sealed = tickets.by_ref().take(count).flatten().collect();
        }
        let Commit { height, round, agreed_time, coin, alive, .. } = *commit;
        Held { height, round, agreed_time, coin, alive, blocks }
    }

    /// Executes a commit, now that the order has come to `round`.
    fn run(&mut self, held: Held, round: u64, executed: &mut Executed) {
        let Held { height, agreed_time, coin, alive, blocks, .. } = held;
        self.progress = Progress { height, agreed_time, round: held.round, ..self.progress };
        for block in blocks {
            self.execute_block(block, &coin, executed);
        }
        self.take_from_primaries(executed);
        self.publish_versions(executed);
        self.start_versions(executed);
        let step = self.scheduler.step(round, &coin.0, alive);
        executed.assignments.extend(step.assignments);
        self.note(step.events, executed);
        executed.rows.extend(self.outcomes.expire(agreed_time));
    }

    fn execute_block(&mut self, block: HeldBlock, coin: &CoinValue, executed: &mut Executed) {
        let HeldBlock { author, round, nonces, shares, sealed, operations, votes, parts } = block;
        if let Some(batch) = nonces {
            let events = self.scheduler.on_nonces(author, round, batch);
            self.note(events, executed);
        }
        if !shares.is_empty() {
            let events = self.scheduler.on_shares(author, round, shares);
            self.note(events, executed);
        }
        for ticket in sealed {
            self.execute_sealed(ticket, coin, executed);
        }
        for bytes in operations {
            // Known by its bytes, before its signature is verified once more.
            let digest = SignedOperation::digest_of_bytes(&bytes);
            if self.knows(&digest) {
                executed.operations.push(digest);
                continue;
            }
            // Operations that nobody signed leave no trace: a correct replica lets none of them in.
            if let Ok(verified) = admit(&bytes) {
                self.execute_operation(&verified, coin, executed);
            }
        }
        self.count_votes(author, votes, parts, executed);
    }

    fn count_votes(&mut self, author: ReplicaId, votes: Vec<Vote>, parts: Vec<Part>, executed: &mut Executed) {
        for vote in votes {
            match self.ballots.get_mut(&vote.zone) {
                Some(ballot) => ballot.vote(author, vote, &self.committee, &mut executed.rows),
                None => executed.faults.push((author, format!("vote on {}, which has no primary", vote.zone))),
            }
        }
        for Part { zone, bytes } in parts {
            if let Some(ballot) = self.ballots.get_mut(&zone) {
                ballot.part(bytes, &mut executed.rows);
            }
        }
    }

    /// Applies the versions from primaries that are voted for and whole.
    fn take_from_primaries(&mut self, executed: &mut Executed) {
        let Progress { agreed_time: now, position, .. } = self.progress;
        for (apex, ballot) in &mut self.ballots {
            let Some(Taken { candidate, voters, judged }) = ballot.take(&self.directory, &mut executed.rows) else {
                continue;
            };
            executed.taken.insert(apex.clone(), candidate);
            match judged {
                Ok(update) => {
                    let (dirty, rows) = self.directory.apply_changes(update, now, position);
                    executed.rows.extend(rows);
                    executed.changed = true;
                    self.zones.get_mut(apex).expect("ballots are on zones of the genesis").gather(dirty);
                }
                Err(error) => executed.faults.extend(voters.iter().map(|voter| (voter, format!("vote for {error}")))),
            }
        }
    }

    fn note(&mut self, events: Vec<Event>, executed: &mut Executed) {
        for event in events {
            match event {
                Event::Signed { task, signature } => {
                    let zones = self.zones.values_mut();
                    let row = zones.into_iter().find_map(|zone| zone.signed(task, &signature));
                    let row = row.or_else(|| {
                        executed.changed = true;
                        self.certificates.signed(task, &signature)
                    });
                    executed.rows.extend(row);
                }
                Event::Fault(fault) => executed.faults.push((fault.culprit, format!("{:?}", fault.kind))),
            }
        }
    }

    /// Executes what was in an envelope. Its outcome is kept under both digests: that of the operation, which its owner
    /// alone knows before, and that of the envelope.
    fn execute_sealed(&mut self, ticket: Ticket, coin: &CoinValue, executed: &mut Executed) {
        let (envelope, message) = self.sealed.take(ticket);
        executed.operations.push(envelope);
        let outcome = match operation_of(&message).ok_or(Refusal::NotAnOperation).and_then(admit) {
            Ok(verified) => self.execute_operation(&verified, coin, executed),
            Err(refusal) => {
                self.progress.position += 1;
                self.outcome(Timestamp(0), Err(refusal))
            }
        };
        executed.rows.push(self.outcomes.insert(envelope, outcome));
        executed.changed = true;
    }

    /// Decides an operation, unless it was executed before, and applies it. Gives what became of it.
    fn execute_operation(
        &mut self,
        verified: &VerifiedOperation,
        coin: &CoinValue,
        executed: &mut Executed,
    ) -> Outcome {
        let digest = verified.digest();
        executed.operations.push(digest);
        if let Some(outcome) = self.outcomes.get(&digest) {
            return outcome.clone();
        }
        self.progress.position += 1;
        let result = self.judge(verified, coin, executed);
        let outcome = self.outcome(verified.operation().valid_until, result);
        executed.rows.push(self.outcomes.insert(digest, outcome.clone()));
        executed.changed = true;
        outcome
    }

    fn outcome(&self, valid_until: Timestamp, result: Result<Accepted, Refusal>) -> Outcome {
        let Progress { height, agreed_time: time, position, .. } = self.progress;
        Outcome { position, height, time, expires: self.expiry(valid_until), result }
    }

    /// Until when the outcome is kept: as long as the operation could count, and long enough to be asked for.
    fn expiry(&self, valid_until: Timestamp) -> Timestamp {
        let now = self.progress.agreed_time.0;
        Timestamp(valid_until.0.clamp(now + OUTCOME_KEPT_MS, now + MAX_OPERATION_VALIDITY_MS))
    }

    fn judge(
        &mut self,
        verified: &VerifiedOperation,
        coin: &CoinValue,
        executed: &mut Executed,
    ) -> Result<Accepted, Refusal> {
        let Progress { agreed_time: now, position, .. } = self.progress;
        let change = decide(&self.directory, verified, Context { network: self.network, now, position })?;
        let issuable = match change.certificate() {
            Some(asked) => Some(
                ca::issue(
                    &self.authority,
                    &ca::Request {
                        title: &asked.title,
                        names: &asked.names,
                        public_key: &asked.public_key,
                        title_expires: None,
                    },
                    &ca::Place { coin: &coin.0, position, agreed_time: now },
                )
                .map_err(|error| Refusal::NotIssued { reason: error.to_string() })?,
            ),
            None => None,
        };
        let applied = self.directory.apply(change);
        executed.rows.extend(applied.rows);
        let certificate = issuable.is_some();
        if let Some(issuable) = issuable {
            let to_be_signed = issuable.into_tbs();
            let task = self
                .scheduler
                .open(KeyId::Authority, to_be_signed.clone())
                .expect("the scheduler was made with the authority's key");
            executed.rows.push(self.certificates.wait(position, task, to_be_signed));
        }
        let zone = self.zones.get_mut(&applied.zone).expect("titles lie in zones of the genesis");
        let serial = if applied.dirty.is_empty() { zone.last_serial() } else { zone.gather(applied.dirty) };
        Ok(Accepted { zone: applied.zone, serial, certificate })
    }

    fn publish_versions(&mut self, executed: &mut Executed) {
        for zone in self.zones.values_mut() {
            executed.rows.extend(zone.make_digest(&mut self.scheduler));
            if let Some(rows) = zone.publish() {
                executed.rows.extend(rows);
                executed.published = true;
                executed.changed = true;
            }
        }
    }

    fn start_versions(&mut self, executed: &mut Executed) {
        for zone in self.zones.values_mut() {
            let rows = zone.start(&self.directory, self.progress, &mut self.scheduler);
            executed.rows.extend(rows);
        }
    }

    fn finish(&mut self, executed: &mut Executed) {
        executed.rows.extend(self.sealed.take_rows());
        executed.rows.extend(self.scheduler.take_rows());
        executed.rows.push(Row::put(Table::Meta, PROGRESS_ROW, codec::encode(&self.progress)));
    }
}
