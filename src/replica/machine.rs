//! The replicated state machine: commits in, state and duties out. Pure and deterministic.
//!
//! For each commit, in this order:
//!
//! 1. height and agreed time move on;
//! 2. every block's payload, in the order of the commit: nonce commitments, signature shares, operations. A share that
//!    completes a signature makes it a fact here; an operation is decided and applied, once, where it stands first;
//! 3. zone versions whose last due signature is a fact are published, whole; zones with gathered changes or due
//!    renewals start their next version;
//! 4. open signing tasks are assigned by the commit's coin.
//!
//! Whatever bytes are ordered, there is an answer: nothing here panics on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::certificates::Certificates;
use super::genesis::Genesis;
use super::outcome::{Accepted, Outcome, Outcomes};
use super::payload::Payload;
use super::rsa::AuthorityKey;
use super::zones::ZoneMachine;
use crate::ca;
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::coin::CoinValue;
use crate::crypto::digest::Digest;
use crate::directory::decide::{Context, admit, decide};
use crate::directory::name::Name;
use crate::directory::operation::VerifiedOperation;
use crate::directory::refusal::Refusal;
use crate::directory::state::ZONES_ROW;
use crate::directory::{Directory, Timestamp};
use crate::limits::{MAX_META_ROW, MAX_OPERATION_VALIDITY_MS, OUTCOME_KEPT_MS};
use crate::order::Commit;
use crate::rows::{Row, Table, TableRows};
use crate::signing::stored::META_KEY as SIGNING_ROW;
use crate::signing::{Assignment, Event, KeyId, Scheduler};
use crate::store::view::View;

pub struct Machine {
    network: Digest,
    authority: Arc<ca::Authority>,
    progress: Progress,
    directory: Directory,
    outcomes: Outcomes,
    certificates: Certificates,
    scheduler: Scheduler,
    zones: BTreeMap<Name, ZoneMachine>,
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
}

#[derive(Debug, thiserror::Error)]
#[error("stored state is damaged ({0}): keep a copy of the data directory and let this replica rejoin as a new disk")]
pub struct DamagedState(pub String);

const PROGRESS_ROW: &[u8] = b"progress";

impl Machine {
    /// The state that the genesis gives, and its rows.
    pub fn genesis(genesis: &Genesis) -> Result<(Self, Vec<Row>), DamagedState> {
        let damaged = |error: &dyn std::fmt::Display| DamagedState(format!("genesis: {error}"));
        let files = genesis.zones.iter().map(|zone| zone.to_file()).collect();
        let (directory, rows) =
            Directory::genesis(files, genesis.registry, genesis.created).map_err(|error| damaged(&error))?;
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
        Ok(Self {
            network: genesis.network(),
            authority: Arc::new(authority),
            progress: Progress::default(),
            directory,
            outcomes: Outcomes::default(),
            certificates: Certificates::default(),
            scheduler: Scheduler::new(genesis.committee.clone(), keys, Some(combiner)),
            zones: zones.collect(),
        })
    }

    /// The state as it was stored, or none if nothing was. `table` gives all rows of a table.
    pub fn load(genesis: &Genesis, table: impl Fn(Table) -> TableRows) -> Result<Option<Self>, DamagedState> {
        let meta: BTreeMap<Vec<u8>, Vec<u8>> = table(Table::Meta).into_iter().collect();
        let Some(progress) = meta.get(PROGRESS_ROW) else { return Ok(None) };
        let missing = |what: &str| DamagedState(format!("{what}: missing or unreadable"));
        let zones = meta.get(ZONES_ROW).ok_or_else(|| missing("zones"))?;
        let directory =
            Directory::load(zones, &table(Table::Title)).map_err(|error| DamagedState(error.to_string()))?;
        let mut machine = Self::with(genesis, directory)?;
        machine.progress = codec::decode(progress, MAX_META_ROW).map_err(|_| missing("progress"))?;
        machine.outcomes = Outcomes::load(&table(Table::Outcome)).ok_or_else(|| missing("outcomes"))?;
        machine.certificates = Certificates::load(&table(Table::Certificate)).ok_or_else(|| missing("certificates"))?;
        machine
            .scheduler
            .load(meta.get(SIGNING_ROW).map(Vec::as_slice), &table(Table::Task), &table(Table::Nonces))
            .map_err(|error| DamagedState(error.to_string()))?;
        let (signed, versions) = (table(Table::Signed), table(Table::Version));
        for zone in machine.zones.values_mut() {
            zone.load(&meta, &signed, &versions, machine.progress.agreed_time)
                .ok_or_else(|| missing("zone version"))?;
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

    pub fn network(&self) -> Digest {
        self.network
    }

    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Whether signatures are due, now that agreed time has come to `now`.
    pub fn has_work(&self, now: Timestamp) -> bool {
        self.scheduler.pending() > 0 || self.next_renewal().is_some_and(|due| due <= now)
    }

    /// When the next signature is to be renewed.
    pub fn next_renewal(&self) -> Option<Timestamp> {
        self.zones.values().filter_map(ZoneMachine::next_renewal).min()
    }

    pub fn view(&self) -> View {
        let Progress { height, agreed_time, .. } = self.progress;
        let published = self.zones.iter().filter(|(_, zone)| zone.serial().is_some());
        let zones = published.map(|(apex, zone)| (apex.clone(), zone.published().clone()));
        View { height, agreed_time, zones: zones.collect() }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            progress: self.progress,
            directory: self.directory.clone(),
            outcomes: self.outcomes.clone(),
            certificates: self.certificates.clone(),
            serials: self.zones.iter().map(|(apex, zone)| (apex.clone(), zone.serial())).collect(),
            pending: self.scheduler.pending(),
        }
    }

    pub fn execute(&mut self, commit: &Commit) -> Executed {
        let mut executed = Executed::default();
        self.progress.height = commit.height;
        self.progress.agreed_time = commit.agreed_time;
        self.progress.round = commit.round;
        for block in &commit.blocks {
            let author = block.author();
            match Payload::from_bytes(block.payload()) {
                Ok(payload) => self.execute_payload(author, block.round(), payload, &commit.coin, &mut executed),
                Err(error) => executed.faults.push((author, format!("payload in round {}: {error}", block.round()))),
            }
        }
        self.publish_versions(&mut executed);
        self.start_versions(&mut executed);
        let step = self.scheduler.step(commit.round, &commit.coin.0, commit.alive);
        executed.assignments = step.assignments;
        self.note(step.events, &mut executed);
        executed.rows.extend(self.outcomes.expire(commit.agreed_time));
        self.finish(&mut executed);
        executed
    }

    fn execute_payload(
        &mut self,
        author: ReplicaId,
        round: u64,
        payload: Payload,
        coin: &CoinValue,
        executed: &mut Executed,
    ) {
        if let Some(batch) = payload.nonces {
            let events = self.scheduler.on_nonces(author, round, batch);
            self.note(events, executed);
        }
        if !payload.shares.is_empty() {
            let events = self.scheduler.on_shares(author, round, payload.shares);
            self.note(events, executed);
        }
        for bytes in payload.operations {
            self.execute_operation(&bytes, coin, executed);
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

    /// Operations that nobody signed leave no trace: a correct replica lets none of them in.
    fn execute_operation(&mut self, bytes: &[u8], coin: &CoinValue, executed: &mut Executed) {
        let Ok(verified) = admit(bytes) else { return };
        let digest = verified.digest();
        executed.operations.push(digest);
        if self.outcomes.get(&digest).is_some() {
            return;
        }
        self.progress.position += 1;
        let result = self.judge(&verified, coin, executed);
        let outcome = Outcome {
            position: self.progress.position,
            height: self.progress.height,
            time: self.progress.agreed_time,
            expires: self.expiry(verified.operation().valid_until),
            result,
        };
        executed.rows.push(self.outcomes.insert(digest, outcome));
        executed.changed = true;
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
            if let Some(rows) = zone.publish() {
                executed.rows.extend(rows);
                executed.published = true;
                executed.changed = true;
            }
        }
    }

    fn start_versions(&mut self, executed: &mut Executed) {
        for zone in self.zones.values_mut() {
            let rows = zone.start(&self.directory, self.progress.agreed_time, &mut self.scheduler);
            executed.rows.extend(rows);
        }
    }

    fn finish(&mut self, executed: &mut Executed) {
        executed.rows.extend(self.scheduler.take_rows());
        executed.rows.push(Row::put(Table::Meta, PROGRESS_ROW, codec::encode(&self.progress)));
    }
}
