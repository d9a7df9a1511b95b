//! A zone's versions (design: *Zones change by versions*).
//!
//! Changes gather while one version is being signed; the next takes all of them, adds one to the serial and is
//! published whole, in order, when its last due signature is a fact. Renewals of signatures are versions too, and so are
//! heartbeats. What a version puts and deletes is fixed when it starts, RRSIG times included.
//!
//! A version with a digest (RFC 8976) takes one step more: the digest is over all other signatures, so it is made, and
//! its own signature is asked for, in the commit in which the last of these is a fact. It is fixed from then on like
//! everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::genesis::GenesisZone;
use super::machine::Progress;
use crate::codec;
use crate::crypto::ed25519::Signature;
use crate::directory::differences::{Before, Differences};
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, RrsetId, Rtype};
use crate::directory::zone::{RrsetRef, SignedRrset, SignedZone};
use crate::directory::{Directory, Timestamp};
use crate::limits::{DNSKEY_TTL, MAX_GENESIS, MAX_META_ROW, MAX_RENEWALS_PER_VERSION};
use crate::rows::{Row, Table, TableRows};
use crate::signing::heartbeat::{self, Heartbeat};
use crate::signing::policy::Policy;
use crate::signing::renewal::Renewals;
use crate::signing::rrsig::{ToBeSigned, dnskey_rrset, key_tag, to_be_signed, validity_of};
use crate::signing::version::{self, Change, VersionPlan};
use crate::signing::zonemd;
use crate::signing::{KeyId, Scheduler, TaskId};

pub struct ZoneMachine {
    apex: Name,
    dnskey: Rrset,
    key_tag: u16,
    policy: Policy,
    /// Where the heartbeat stands, if the policy has one.
    heartbeat: Option<Name>,
    /// Agreed time of the last one that was published or started.
    last_heartbeat: Option<Timestamp>,
    /// Agreed time at which the last version started, if the policy has an interval.
    last_start: Option<Timestamp>,
    published: Arc<SignedZone>,
    differences: Differences,
    /// Serial of the last version that was published or started.
    serial: u32,
    /// Names changed since the last version started.
    gathered: BTreeSet<Name>,
    gathered_changed: bool,
    version: Option<Version>,
    renewals: Renewals,
}

/// A version that is being signed.
struct Version {
    plan: Plan,
    /// Index in `plan.puts` of what a task signs.
    waiting: BTreeMap<TaskId, u32>,
    /// RRSIG RDATA by index in `plan.puts`.
    signed: BTreeMap<u32, Vec<u8>>,
    /// The zone that it makes, but for the digest, once that is being signed.
    digested: Option<SignedZone>,
}

/// What a version changes, as stored when it starts.
#[derive(Clone, Serialize, Deserialize)]
struct Plan {
    serial: u32,
    started: Timestamp,
    /// Whether it is to have a digest: the last of the puts, once there is one.
    zonemd: bool,
    puts: Vec<Put>,
    deletes: Vec<(Name, Rtype)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Put {
    name: Name,
    rrset: Rrset,
    /// The task that signs it, if it is signed.
    task: Option<TaskId>,
}

impl ZoneMachine {
    /// A zone of which nothing is published yet: its first version will have the file's serial.
    pub fn new(zone: &GenesisZone) -> Self {
        let dnskey = zone.policy.published(dnskey_rrset(&zone.key.public_key(), DNSKEY_TTL));
        Self {
            apex: zone.apex.clone(),
            key_tag: key_tag(&dnskey.rdatas()[0]),
            dnskey,
            policy: zone.policy,
            heartbeat: zone.policy.heartbeat.and_then(|_| heartbeat::name(&zone.apex)),
            last_heartbeat: None,
            last_start: None,
            published: Arc::new(SignedZone::new(zone.apex.clone())),
            differences: Differences::default(),
            serial: zone.serial().wrapping_sub(1),
            gathered: BTreeSet::new(),
            gathered_changed: false,
            version: None,
            renewals: Renewals::new(zone.policy),
        }
    }

    /// The published version.
    pub fn published(&self) -> &Arc<SignedZone> {
        &self.published
    }

    /// What the versions before the published one were.
    pub fn differences(&self) -> &Differences {
        &self.differences
    }

    /// Serial of the published version; none before the first.
    pub fn serial(&self) -> Option<u32> {
        self.published.serial()
    }

    /// Serial of the version that shows everything gathered so far.
    pub fn last_serial(&self) -> u32 {
        if self.gathered.is_empty() { self.serial } else { self.serial.wrapping_add(1) }
    }

    /// When the next version is due to start: for what is gathered, a renewal or a heartbeat. None while one is being
    /// signed.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.version.is_some() {
            return None;
        }
        let gathered = (!self.gathered.is_empty()).then_some(Timestamp(0));
        let due = [gathered, self.renewals.earliest(), self.next_heartbeat()].into_iter().flatten().min();
        due.map(|due| due.max(self.next_start()))
    }

    /// The policy lets no version start before.
    fn next_start(&self) -> Timestamp {
        let interval = u64::from(self.policy.version_interval) * 1000;
        self.last_start.map_or(Timestamp(0), |last| Timestamp(last.0.saturating_add(interval)))
    }

    fn next_heartbeat(&self) -> Option<Timestamp> {
        let interval = self.policy.heartbeat.filter(|_| self.heartbeat.is_some())?;
        let next = |last: Timestamp| Timestamp(last.0.saturating_add(u64::from(interval) * 1000));
        Some(self.last_heartbeat.map_or(Timestamp(0), next))
    }

    /// Notes names whose RRsets changed. The serial of the version that will show them.
    pub(super) fn gather(&mut self, names: impl IntoIterator<Item = Name>) -> u32 {
        self.gathered.extend(names);
        self.gathered_changed = true;
        self.last_serial()
    }

    /// Takes the signature of `task`, if it is of this zone's version.
    pub(super) fn signed(&mut self, task: TaskId, signature: &[u8]) -> Option<Row> {
        let version = self.version.as_mut()?;
        let index = version.waiting.remove(&task)?;
        let put = &version.plan.puts[index as usize];
        let signature = signature.try_into().map(Signature::from_bytes).expect("Ed25519 signatures have 64 bytes");
        let rrsig = unsigned(&self.apex, self.key_tag, self.policy, &put.name, &put.rrset, version.plan.started)
            .rrsig_rdata(&signature);
        let row = Row::put(Table::Version, version_key(&self.apex, index), rrsig.clone());
        version.signed.insert(index, rrsig);
        Some(row)
    }

    /// Starts the next version, if something is gathered or due and none is being signed.
    pub(super) fn start(&mut self, directory: &Directory, progress: Progress, scheduler: &mut Scheduler) -> Vec<Row> {
        let mut rows = Vec::new();
        let now = progress.agreed_time;
        if self.version.is_none() && self.next_start() <= now {
            let due = self.renewals.due(now, MAX_RENEWALS_PER_VERSION);
            let renew: BTreeSet<(Name, Rtype)> = due.map(|(name, rtype)| (name.clone(), rtype)).collect();
            let beats = self.next_heartbeat().is_some_and(|due| due <= now);
            if !self.gathered.is_empty() || !renew.is_empty() || beats {
                let interval = self.policy.heartbeat.filter(|_| beats);
                let heartbeat = interval.map(|interval| Heartbeat { height: progress.height, time: now, interval });
                let zonemd = self.wants_digest();
                let plan = self.plan(directory, &renew, heartbeat, zonemd);
                rows.push(self.open(plan, zonemd, now, scheduler));
                if self.policy.version_interval > 0 {
                    self.last_start = Some(now);
                    rows.push(Row::put(Table::Meta, start_key(&self.apex), codec::encode(&now)));
                }
                if beats {
                    self.last_heartbeat = Some(now);
                    rows.push(Row::put(Table::Meta, heartbeat_key(&self.apex), codec::encode(&now)));
                }
            }
        }
        if std::mem::take(&mut self.gathered_changed) {
            let value = (!self.gathered.is_empty()).then(|| codec::encode(&self.gathered));
            rows.push(Row { table: Table::Meta, key: gathered_key(&self.apex), value });
        }
        rows
    }

    /// Whether the next version is to have a digest. Of the first version only the names are known, as gathered; later ones
    /// may grow beyond the limit by what is gathered, once.
    fn wants_digest(&self) -> bool {
        let names = self.published.len().max(self.gathered.len());
        names <= self.policy.zonemd_names as usize
    }

    fn plan(
        &mut self,
        directory: &Directory,
        renew: &BTreeSet<(Name, Rtype)>,
        heartbeat: Option<Heartbeat>,
        zonemd: bool,
    ) -> VersionPlan {
        let registry = &directory.zones()[&self.apex];
        let soa = registry.records.get(&Rtype::SOA).expect("every zone of the genesis has an SOA record");
        self.serial = self.serial.wrapping_add(1);
        let mut dirty = std::mem::take(&mut self.gathered);
        self.gathered_changed = true;
        let beat = self.heartbeat.as_ref().zip(heartbeat);
        dirty.extend(beat.map(|(name, _)| name.clone()));
        let desired = |name: &Name| match beat {
            Some((at, heartbeat)) if at == name => vec![self.policy.published(heartbeat.rrset())],
            _ => directory.rrsets_at(&self.apex, name).into_iter().map(|rrset| self.policy.published(rrset)).collect(),
        };
        version::plan(
            &self.published,
            &Change {
                dirty: &dirty,
                desired: &desired,
                soa: &self.policy.published(soa.clone()),
                dnskey: &self.dnskey,
                serial: self.serial,
                zonemd,
                renew,
            },
        )
    }

    /// Opens a task for each signature that the plan needs.
    fn open(&mut self, plan: VersionPlan, zonemd: bool, now: Timestamp, scheduler: &mut Scheduler) -> Row {
        let mut waiting = BTreeMap::new();
        let mut puts = Vec::with_capacity(plan.puts.len());
        for (index, put) in (0u32..).zip(plan.puts) {
            let version::Put { name, rrset, needs_signature } = put;
            let task = needs_signature.then(|| self.ask(&name, &rrset, now, scheduler));
            waiting.extend(task.map(|task| (task, index)));
            puts.push(Put { name, rrset, task });
        }
        let plan = Plan { serial: plan.serial, started: now, zonemd, puts, deletes: plan.deletes };
        let row = Row::put(Table::Meta, plan_key(&self.apex), codec::encode(&plan));
        self.version = Some(Version { plan, waiting, signed: BTreeMap::new(), digested: None });
        row
    }

    /// Asks for the signature of an RRset in a version started at `started`.
    fn ask(&self, name: &Name, rrset: &Rrset, started: Timestamp, scheduler: &mut Scheduler) -> TaskId {
        let message = unsigned(&self.apex, self.key_tag, self.policy, name, rrset, started).message;
        let task = scheduler.open(KeyId::Zone(self.apex.clone()), message);
        task.expect("the scheduler was made with the keys of all zones")
    }

    /// Makes the version's digest, if all is signed that it is over, and asks for its signature. The row that fixes it.
    pub(super) fn make_digest(&mut self, scheduler: &mut Scheduler) -> Option<Row> {
        let mut version = self.version.take_if(|version| version.lacks_digest(&self.apex))?;
        let mut zone = SignedZone::clone(&self.published);
        version.apply(&mut zone);
        let rrset = zonemd::rrset(&zone);
        let task = self.ask(&self.apex, &rrset, version.plan.started, scheduler);
        let put = Put { name: self.apex.clone(), rrset, task: Some(task) };
        let row = Row::put(Table::Meta, digest_key(&self.apex), codec::encode(&put));
        version.waiting.insert(task, version.plan.puts.len() as u32);
        version.plan.puts.push(put);
        version.digested = Some(zone);
        self.version = Some(version);
        Some(row)
    }

    /// Publishes the version if its last signature is there, that of its digest included. The rows that say so.
    pub(super) fn publish(&mut self) -> Option<Vec<Row>> {
        let is_signed = |version: &mut Version| version.waiting.is_empty() && !version.lacks_digest(&self.apex);
        let mut version = self.version.take_if(is_signed)?;
        let zone = match version.digested.take() {
            Some(mut zone) => {
                version.apply_put(&mut zone, version.plan.puts.len() - 1);
                zone
            }
            None => {
                let mut zone = SignedZone::clone(&self.published);
                version.apply(&mut zone);
                zone
            }
        };
        let Version { plan, mut signed, .. } = version;
        let mut rows = vec![Row::delete(Table::Meta, plan_key(&self.apex))];
        rows.extend(plan.zonemd.then(|| Row::delete(Table::Meta, digest_key(&self.apex))));
        self.note_difference(&plan, &mut rows);
        for (name, rtype) in plan.deletes {
            rows.push(Row::delete(Table::Signed, signed_key(&self.apex, &name, rtype)));
            self.no_renewal(&name, rtype, plan.started);
        }
        for (index, put) in (0u32..).zip(plan.puts) {
            let Put { name, rrset, .. } = put;
            let key = signed_key(&self.apex, &name, rrset.rtype);
            let rrsig = signed.remove(&index);
            self.no_renewal(&name, rrset.rtype, plan.started);
            if let Some(validity) = rrsig.as_deref().and_then(validity_of) {
                self.renewals.insert(name, rrset.rtype, validity, plan.started);
            }
            if rrsig.is_some() {
                rows.push(Row::delete(Table::Version, version_key(&self.apex, index)));
            }
            rows.push(Row::put(Table::Signed, key, codec::encode(&SignedRrset { rrset, rrsig })));
        }
        self.published = Arc::new(zone);
        Some(rows)
    }

    /// The signature that the published version has of this RRset, if it has one, will not be renewed.
    fn no_renewal(&mut self, name: &Name, rtype: Rtype, now: Timestamp) {
        let rrsig = self.published.rrset(name, rtype).and_then(RrsetRef::rrsig);
        if let Some(validity) = rrsig.and_then(validity_of) {
            self.renewals.remove(name, rtype, validity, now);
        }
    }

    /// Keeps what the version is about to change, for those who have the one before.
    fn note_difference(&mut self, plan: &Plan, rows: &mut Vec<Row>) {
        if self.serial().is_none() {
            return;
        }
        let puts = plan.puts.iter().map(|put| (put.name.clone(), put.rrset.rtype));
        let touched = puts.chain(plan.deletes.iter().cloned());
        let before = touched.map(|(name, rtype)| Before::of(&self.published, name, rtype));
        let first = plan.serial.wrapping_sub(self.differences.len() as u32);
        let (difference, gone) = self.differences.push(before);
        rows.extend(difference.map(|it| Row::put(Table::Difference, difference_key(&self.apex, plan.serial), it)));
        let gone = (0..gone as u32).map(|at| difference_key(&self.apex, first.wrapping_add(at)));
        rows.extend(gone.map(|key| Row::delete(Table::Difference, key)));
    }

    /// Reads back what was stored of this zone.
    pub(super) fn load(
        &mut self,
        meta: &BTreeMap<Vec<u8>, Vec<u8>>,
        published: Arc<SignedZone>,
        version: &TableRows,
        differences: &TableRows,
        now: Timestamp,
    ) -> Option<()> {
        if let Some(serial) = published.serial() {
            self.serial = serial;
        }
        self.renewals = Renewals::of(self.policy, &published, now);
        self.published = published;
        self.load_differences(differences)?;
        if let Some(time) = meta.get(&heartbeat_key(&self.apex)) {
            self.last_heartbeat = Some(codec::decode(time, MAX_META_ROW).ok()?);
        }
        if let Some(time) = meta.get(&start_key(&self.apex)) {
            self.last_start = Some(codec::decode(time, MAX_META_ROW).ok()?);
        }
        if let Some(gathered) = meta.get(&gathered_key(&self.apex)) {
            self.gathered = codec::decode(gathered, MAX_GENESIS).ok()?;
        }
        if let Some(plan) = meta.get(&plan_key(&self.apex)) {
            let mut plan: Plan = codec::decode(plan, MAX_GENESIS).ok()?;
            if let Some(digest) = meta.get(&digest_key(&self.apex)) {
                plan.puts.push(codec::decode(digest, MAX_META_ROW).ok()?);
            }
            self.load_version(plan, version)?;
        }
        Some(())
    }

    /// Their serials end with that of the published version, without a gap.
    fn load_differences(&mut self, rows: &TableRows) -> Option<()> {
        let rows: BTreeMap<&[u8], &[u8]> =
            within(rows, &self.apex).map(|(key, value)| (key, value.as_slice())).collect();
        let serial = self.serial().unwrap_or_default();
        let first = serial.wrapping_sub(rows.len() as u32).wrapping_add(1);
        let keys = (0..rows.len() as u32).map(|at| first.wrapping_add(at).to_be_bytes());
        let rows: Vec<&[u8]> = keys.map(|key| rows.get(&key[..]).copied()).collect::<Option<_>>()?;
        self.differences = Differences::load(rows.into_iter())?;
        Some(())
    }

    fn load_version(&mut self, plan: Plan, rows: &TableRows) -> Option<()> {
        let mut signed = BTreeMap::new();
        for (key, value) in within(rows, &self.apex) {
            signed.insert(u32::from_be_bytes(key.try_into().ok()?), value.clone());
        }
        let tasks = (0u32..).zip(&plan.puts).filter_map(|(index, put)| Some((put.task?, index)));
        let waiting = tasks.filter(|(_, index)| !signed.contains_key(index)).collect();
        self.serial = plan.serial;
        self.version = Some(Version { plan, waiting, signed, digested: None });
        Some(())
    }
}

impl Version {
    /// Whether all is signed but the digest, which is not made yet.
    fn lacks_digest(&self, apex: &Name) -> bool {
        let is_digest = |put: &Put| put.rrset.rtype == Rtype::ZONEMD && put.name == *apex;
        self.plan.zonemd && self.waiting.is_empty() && !self.plan.puts.last().is_some_and(is_digest)
    }

    /// Makes of the version before what this one is to be.
    fn apply(&self, zone: &mut SignedZone) {
        for (name, rtype) in &self.plan.deletes {
            zone.delete(name, *rtype);
        }
        for index in 0..self.plan.puts.len() {
            self.apply_put(zone, index);
        }
    }

    fn apply_put(&self, zone: &mut SignedZone, index: usize) {
        let Put { name, rrset, .. } = &self.plan.puts[index];
        let rrsig = self.signed.get(&(index as u32)).cloned();
        zone.put(name, SignedRrset { rrset: rrset.clone(), rrsig });
    }
}

/// What the zone's key signs for an RRset in a version started at `started`.
fn unsigned(apex: &Name, key_tag: u16, policy: Policy, name: &Name, rrset: &Rrset, started: Timestamp) -> ToBeSigned {
    let id = RrsetId { zone: apex.clone(), name: name.clone(), rtype: rrset.rtype };
    to_be_signed(name, rrset, apex, key_tag, policy.validity(&id, started))
}

/// Rows of one zone: keys start with its name in wire form, which is never the start of another's.
fn within<'a>(rows: &'a TableRows, apex: &'a Name) -> impl Iterator<Item = (&'a [u8], &'a Vec<u8>)> {
    rows.iter().filter_map(|(key, value)| Some((key.strip_prefix(apex.as_wire())?, value)))
}

/// Of [`Table::Signed`].
pub fn signed_key(apex: &Name, name: &Name, rtype: Rtype) -> Vec<u8> {
    [apex.as_wire(), name.as_wire(), &rtype.0.to_be_bytes()].concat()
}

fn version_key(apex: &Name, index: u32) -> Vec<u8> {
    [apex.as_wire(), &index.to_be_bytes()].concat()
}

fn difference_key(apex: &Name, serial: u32) -> Vec<u8> {
    [apex.as_wire(), &serial.to_be_bytes()].concat()
}

fn plan_key(apex: &Name) -> Vec<u8> {
    [b"version/", apex.as_wire()].concat()
}

fn gathered_key(apex: &Name) -> Vec<u8> {
    [b"gathered/", apex.as_wire()].concat()
}

/// Of the digest of the version that is being signed.
fn digest_key(apex: &Name) -> Vec<u8> {
    [b"digest/", apex.as_wire()].concat()
}

fn start_key(apex: &Name) -> Vec<u8> {
    [b"started/", apex.as_wire()].concat()
}

fn heartbeat_key(apex: &Name) -> Vec<u8> {
    [b"heartbeat/", apex.as_wire()].concat()
}
