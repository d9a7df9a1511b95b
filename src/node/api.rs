//! The HTTP API's door to the replica: the published snapshot to read, the core's channel to submit.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};

use super::core::Input;
use super::metrics;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::name::Name;
use crate::directory::rdata::rdata_to_text;
use crate::directory::title::{HistoryEntry, Title};
use crate::dns;
use crate::http::{Backend, Unreadable, Until};
use crate::order::evidence::{ACCUSATIONS, Accusation, proofs_of};
use crate::peer::MeshHandle;
use crate::replica::door::{self, Submission};
use crate::replica::machine::Snapshot;
use crate::replica::outcome::Outcome;
use crate::replica::report::{
    Answer, CertificateReport, ClusterStatus, DoorRefusal, HeadReport, HistoryReport, Misdeed, OperationResult,
    OutcomeReport, Proof, ReplicaStatus, StatusReport, TitleReport, ZoneStatus,
};
use crate::rows::{Table, TableRows};
use crate::store::rocks::RocksReader;
use crate::store::view::View;
use crate::store::{Local, Read};
use crate::{codec, limits};

pub struct Api {
    pub me: ReplicaId,
    pub network: Digest,
    pub inputs: SyncSender<Input>,
    pub exposed: watch::Receiver<Arc<Snapshot>>,
    pub view: Arc<arc_swap::ArcSwap<View>>,
    pub reader: Arc<arc_swap::ArcSwap<RocksReader>>,
    pub mesh: MeshHandle,
    pub settings: Arc<dns::Settings>,
    /// Permits to check an envelope.
    pub envelope_checks: Semaphore,
}

impl Api {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.exposed.borrow().clone()
    }

    fn answer<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Answer<T> {
        let snapshot = self.snapshot();
        let body = read(&snapshot);
        Answer { height: snapshot.progress.height, agreed_time: snapshot.progress.agreed_time, body }
    }

    /// Hands the core what passed the door.
    async fn take_in(&self, submission: Submission) -> Result<Digest, DoorRefusal> {
        let digest = submission.digest();
        let (reply, answer) = oneshot::channel();
        self.inputs.try_send(Input::Submit(submission, reply)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => DoorRefusal::Busy,
        })?;
        answer.await.map_err(|_| DoorRefusal::Busy)??;
        Ok(digest)
    }

    fn misdeeds(&self) -> Vec<Misdeed> {
        let rows = self.kept(&ACCUSATIONS, limits::MAX_MISDEEDS_REPORTED);
        rows.iter().filter_map(|(_, value)| Some(Misdeed::from(&Accusation::decode(value)?))).collect()
    }

    fn kept(&self, prefix: &[u8], limit: usize) -> TableRows {
        self.reader.load().page(Table::Evidence, prefix, None, limit).unwrap_or_else(|error| {
            tracing::error!(%error, "evidence cannot be read");
            Vec::new()
        })
    }

    /// A title's history, oldest first. The store may be ahead of the snapshot; behind it only when the state was copied in
    /// the place of a later one that was damaged, until the replica has caught up.
    fn entries(&self, title: &Title) -> Result<Vec<HistoryEntry>, Unreadable> {
        let rows = self.reader.load().scan(Table::History, &crate::directory::state::title_key(&title.name));
        let rows = rows.map_err(|error| {
            tracing::error!(%error, "history cannot be read");
            // If the core has no time to hear it now, the scrubber will say it again.
            let _ = self.inputs.try_send(Input::Damaged(error));
            Unreadable
        })?;
        let entries = rows.iter().filter_map(|(_, value)| codec::decode(value, limits::MAX_OPERATION).ok());
        let entries: Vec<_> = entries.filter(|entry: &HistoryEntry| entry.sequence <= title.sequence).collect();
        let is_whole = entries.last().is_some_and(|entry| entry.sequence == title.sequence);
        if is_whole { Ok(entries) } else { Err(Unreadable) }
    }
}

impl Backend for Api {
    async fn submit(&self, operation: Vec<u8>) -> Result<Digest, DoorRefusal> {
        self.take_in(door::check(&operation, self.network, &self.snapshot().directory)?).await
    }

    async fn submit_sealed(&self, envelope: Vec<u8>) -> Result<Digest, DoorRefusal> {
        // Checked before the permit, for nothing: what can be told from the length.
        if envelope.len() > limits::MAX_ENVELOPE {
            return Err(DoorRefusal::TooLarge);
        }
        let permit = self.envelope_checks.acquire().await.map_err(|_| DoorRefusal::Busy)?;
        let checked = tokio::task::spawn_blocking(move || door::check_envelope(&envelope)).await;
        drop(permit);
        self.take_in(checked.map_err(|_| DoorRefusal::Busy)??).await
    }

    async fn outcome(&self, digest: Digest, wait: Duration, until: Until) -> Option<OutcomeReport> {
        let mut exposed = self.exposed.clone();
        // Looked at by every waiting request for every commit, under the channel's lock: nothing is copied here.
        let reached = |snapshot: &Arc<Snapshot>| {
            let outcome = snapshot.outcomes.get(&digest);
            outcome.is_some_and(|outcome| until == Until::Ordered || is_visible(snapshot, outcome))
        };
        // At the deadline, the answer is what there is.
        let _ = tokio::time::timeout(wait, exposed.wait_for(reached)).await;
        report(&self.snapshot(), digest)
    }

    fn title(&self, name: &Name) -> Answer<Option<TitleReport>> {
        self.answer(|snapshot| {
            let title = snapshot.directory.title(name)?;
            let (records, omitted) = records(title);
            Some(TitleReport::new(title, records, omitted))
        })
    }

    fn history(&self, name: &Name) -> Result<Answer<Option<HistoryReport>>, Unreadable> {
        let Answer { height, agreed_time, body } = self.answer(|snapshot| {
            let title = snapshot.directory.title(name)?;
            Some(self.entries(title).map(|entries| HistoryReport::new(name.clone(), &entries)))
        });
        Ok(Answer { height, agreed_time, body: body.transpose()? })
    }

    fn certificate(&self, position: u64) -> Answer<Option<CertificateReport>> {
        self.answer(|snapshot| {
            let der = snapshot.certificates.issued(position)?;
            Some(CertificateReport { der: der.to_vec() })
        })
    }

    fn head(&self) -> Option<HeadReport> {
        let stored = self.reader.load().local(Local::Head).unwrap_or_else(|error| {
            tracing::error!(%error, "the signed head cannot be read");
            None
        });
        stored.map(|head| HeadReport { head })
    }

    fn status(&self) -> Answer<StatusReport> {
        let view = self.view.load_full();
        self.answer(|snapshot| {
            let zones = view.zones.iter().map(|(apex, zone)| ZoneStatus {
                zone: apex.clone(),
                serial: zone.serial().unwrap_or_default(),
                names: zone.len() as u64,
            });
            StatusReport {
                cluster: ClusterStatus { network: self.network, zones: zones.collect() },
                replica: ReplicaStatus {
                    id: self.me.0,
                    round: snapshot.progress.round,
                    pending_signatures: snapshot.pending as u64,
                    peers_connected: self.mesh.connected().iter().map(|peer| peer.0).collect(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    evidence: self.misdeeds(),
                },
            }
        })
    }

    fn evidence(&self, culprit: ReplicaId, round: u64) -> Vec<Proof> {
        let rows = self.kept(&proofs_of(culprit, round), limits::MAX_PROOF_BLOCKS);
        rows.into_iter().map(|(_, block)| Proof { block }).collect()
    }

    fn metrics(&self) -> String {
        metrics::render(&self.snapshot(), &self.view.load(), &self.mesh, &self.settings.transferred)
    }

    fn withheld(&self) -> Option<String> {
        let withheld = self.view.load().withheld;
        withheld
            .then(|| "the state of this replica was lost, and is being copied from the others: ask one of them".into())
    }

    fn ready(&self) -> Result<(), String> {
        if let Some(why) = self.withheld() {
            return Err(why);
        }
        let snapshot = self.snapshot();
        match snapshot.serials.iter().find(|(_, serial)| serial.is_none()) {
            Some((zone, _)) => Err(format!("zone {zone} is being signed, {} signatures are due", snapshot.pending)),
            None => Ok(()),
        }
    }
}

/// The title's records, one to a line: as many as an owner could set. How many RRsets are left then.
fn records(title: &Title) -> (Vec<String>, u64) {
    let shown = title.first_records();
    let lines = shown.iter().flat_map(|((name, rtype), rrset)| {
        let line = move |rdata: &Vec<u8>| format!("{name} {} IN {rtype} {}", rrset.ttl, rdata_to_text(*rtype, rdata));
        rrset.rdatas().iter().map(line)
    });
    (lines.collect(), (title.records.len() - shown.len()) as u64)
}

fn report(snapshot: &Snapshot, digest: Digest) -> Option<OutcomeReport> {
    let outcome = snapshot.outcomes.get(&digest)?;
    let Outcome { position, height, time, .. } = *outcome;
    let result = match &outcome.result {
        Ok(accepted) => {
            let certificate = accepted.certificate.then_some(position);
            OperationResult::Accepted { zone: accepted.zone.clone(), serial: accepted.serial, certificate }
        }
        Err(refusal) => OperationResult::Refused { code: refusal.code().into(), message: refusal.to_string() },
    };
    let visible = is_visible(snapshot, outcome);
    Some(OutcomeReport { digest, position, height, agreed_time: time, result, visible })
}

/// Whether what follows from the outcome is published: at once, if it was refused.
fn is_visible(snapshot: &Snapshot, outcome: &Outcome) -> bool {
    let Ok(accepted) = &outcome.result else { return true };
    let published = snapshot.serials.get(&accepted.zone).copied().flatten();
    published.is_some_and(|serial| reached(serial, accepted.serial))
        && (!accepted.certificate || snapshot.certificates.issued(outcome.position).is_some())
}

/// Whether a published serial is `wanted` or later (RFC 1982 §3.2).
fn reached(published: u32, wanted: u32) -> bool {
    published.wrapping_sub(wanted) < 1 << 31
}
