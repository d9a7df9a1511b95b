//! An owner under load: signs, submits, waits for the outcome and for the signed answer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::task::JoinSet;

use super::answer::Resolver;
use super::link::Link;
use crate::cli::operation::local_time;
use crate::client::Cluster;
use crate::client::cluster::Zone;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::operation::{Action, Operation, RecordChange, SignedOperation};
use crate::directory::rrset::{Rrset, Rtype};
use crate::http::Until;
use crate::limits;
use crate::replica::pool::rank;
use crate::replica::report::{OperationResult, OutcomeReport};

/// Seconds that the records may be cached.
const TTL: u32 = 300;

/// A title, with what its owner must know to change it.
pub struct Title {
    pub name: Name,
    key: SecretKey,
    /// Sequence number and digest of the last operation; none before the registration.
    last: Option<(u64, Digest)>,
}

impl Title {
    pub fn new(name: Name, key: SecretKey) -> Self {
        Self { name, key, last: None }
    }
}

/// How long one update took, from its submission.
pub struct Sample {
    /// When it was over.
    pub at: Instant,
    /// Until f + 1 replicas reported the same outcome.
    pub ordered: Duration,
    /// Until the new answer was there and its signature verified.
    pub answered: Duration,
}

/// One worker: a connection to each replica and a resolver.
pub struct Owner {
    cluster: Arc<Cluster>,
    zone: Zone,
    links: BTreeMap<ReplicaId, Link>,
    resolver: Resolver,
}

impl Owner {
    pub async fn new(cluster: Arc<Cluster>, zone: Zone) -> std::io::Result<Self> {
        let links = cluster.replicas.iter().map(|replica| (replica.id, Link::new(replica.api.clone())));
        Ok(Self { links: links.collect(), cluster, zone, resolver: Resolver::new().await? })
    }

    /// Takes the title.
    pub async fn register(&mut self, title: &mut Title) -> Result<(), String> {
        self.act(title, Action::Register).await.map(|_| ())
    }

    /// Replaces the title's A record and waits until it is served.
    pub async fn update(&mut self, title: &mut Title, address: Ipv4Addr) -> Result<Sample, String> {
        let rrset = Rrset::new(Rtype::A, TTL, vec![address.octets().to_vec()]);
        let change = RecordChange::Put { name: title.name.clone(), rrset };
        let Ordered { started, ordered, digest, by } = self.act(title, Action::Set { changes: vec![change] }).await?;
        let deadline = started + deadline();
        let link = self.links.get_mut(&by).expect("it was just used");
        link.outcome(&digest, Until::Visible, deadline).await?;
        let server = self.cluster.replicas[by.index()].dns;
        while self.resolver.addresses(server, &self.zone, &title.name).await? != [address] {
            if Instant::now() > deadline {
                return Err(format!("{}: said to be visible, but {server} does not serve it", title.name));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Sample { at: Instant::now(), ordered, answered: started.elapsed() })
    }

    /// Signs and submits the title's next operation, to f + 1 replicas by the operation's own ranking and to the next one
    /// for each that fails; waits until f + 1 report the same.
    async fn act(&mut self, title: &mut Title, action: Action) -> Result<Ordered, String> {
        let signed = self.sign(title, action);
        let sequence = signed.operation.sequence;
        let bytes = Bytes::from(signed.to_bytes());
        let digest = SignedOperation::digest_of_bytes(&bytes);
        let committee = &self.cluster.committee;
        let mut ranked: Vec<ReplicaId> = committee.ids().collect();
        ranked.sort_by_key(|&id| std::cmp::Reverse(rank(committee, &digest, id)));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        let mut reports: Vec<(ReplicaId, OutcomeReport)> = Vec::new();
        let mut why = String::new();
        loop {
            while tasks.len() + reports.len() < committee.kernel_threshold() {
                let Some(id) = ranked.pop() else { return Err(why) };
                let fresh = || Link::new(self.cluster.replicas[id.index()].api.clone());
                let link = self.links.remove(&id).unwrap_or_else(fresh);
                tasks.spawn(carry(id, link, bytes.clone(), digest, started + deadline()));
            }
            let Some(Ok((id, link, report))) = tasks.join_next().await else { return Err("a task broke".into()) };
            self.links.insert(id, link);
            match report {
                Ok(report) => reports.push((id, report)),
                Err(error) => why = error,
            }
            if reports.len() == committee.kernel_threshold() {
                break;
            }
        }
        let ordered = started.elapsed();
        let (by, first) = &reports[0];
        if reports.iter().any(|(_, report)| report.agreed() != first.agreed()) {
            return Err("replicas report different outcomes".into());
        }
        if let OperationResult::Refused { code, .. } = &first.result {
            return Err(format!("refused: {code}"));
        }
        title.last = Some((sequence, digest));
        Ok(Ordered { started, ordered, digest, by: *by })
    }

    fn sign(&self, title: &Title, action: Action) -> SignedOperation {
        let (sequence, previous) = title.last.map_or((0, Digest::ZERO), |(sequence, digest)| (sequence + 1, digest));
        let operation = Operation {
            network: self.cluster.network,
            zone: self.zone.name.clone(),
            title: title.name.clone(),
            sequence,
            previous,
            valid_until: Timestamp(local_time().0 + limits::OPERATION_VALIDITY_MS),
            action,
        };
        operation.sign(&title.key)
    }
}

struct Ordered {
    started: Instant,
    ordered: Duration,
    digest: Digest,
    /// A replica that reported it.
    by: ReplicaId,
}

fn deadline() -> Duration {
    Duration::from_millis(limits::CLIENT_TIMEOUT_MS)
}

async fn carry(
    id: ReplicaId,
    mut link: Link,
    bytes: Bytes,
    digest: Digest,
    deadline: Instant,
) -> (ReplicaId, Link, Result<OutcomeReport, String>) {
    let report = match link.submit(bytes).await {
        Ok(()) => link.outcome(&digest, Until::Ordered, deadline).await,
        Err(error) => Err(error),
    };
    (id, link, report)
}
