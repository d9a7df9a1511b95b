//! Reading: ask all replicas, again and again, until enough of them say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::transport::{Backoff, Transport};
use super::vote::Votes;
use super::{Agreed, Client, NotConfirmed};
use crate::committee::{Committee, ReplicaId};
use crate::directory::name::Name;
use crate::limits;
use crate::replica::report::{
    Answer, CertificateReport, ClusterStatus, HistoryReport, ReplicaStatus, StatusReport, TitleReport,
};

/// The state of the cluster, and what each replica says of itself.
#[derive(Clone, Debug)]
pub struct Status {
    pub cluster: Agreed<ClusterStatus>,
    /// For each replica its own word, which nothing vouches for; none if it did not answer.
    pub replicas: BTreeMap<ReplicaId, Option<ReplicaWord>>,
}

#[derive(Clone, Debug)]
pub struct ReplicaWord {
    pub height: u64,
    pub zones_as_agreed: bool,
    /// Cut to a size and alphabet in which a liar can do no harm on a terminal.
    pub status: ReplicaStatus,
}

impl ReplicaWord {
    fn new(height: u64, zones_as_agreed: bool, mut status: ReplicaStatus, committee: &Committee) -> Self {
        status.version = status.version.chars().filter(char::is_ascii_graphic).take(limits::MAX_VERSION_TEXT).collect();
        let peers: BTreeSet<u8> = status.peers_connected.drain(..).collect();
        status.peers_connected = peers.into_iter().filter(|&id| committee.contains(ReplicaId(id))).collect();
        let known = |what: &str| ["equivocation", "coin-share"].contains(&what);
        status.evidence.retain(|misdeed| committee.contains(ReplicaId(misdeed.culprit)) && known(&misdeed.what));
        status.evidence.truncate(limits::MAX_MISDEEDS_REPORTED);
        Self { height, zones_as_agreed, status }
    }
}

impl Client {
    /// The title of this name; none if nobody holds it.
    pub async fn title(&self, name: &Name) -> Result<Agreed<Option<TitleReport>>, NotConfirmed> {
        self.read(format!("/v1/titles/{}", escaped(name)), Some).await
    }

    pub async fn history(&self, name: &Name) -> Result<Agreed<Option<HistoryReport>>, NotConfirmed> {
        self.read(format!("/v1/titles/{}/history", escaped(name)), Some).await
    }

    /// The certificate that the operation at `position` asked for: waits until it is signed.
    pub async fn certificate(&self, position: u64) -> Result<Agreed<CertificateReport>, NotConfirmed> {
        self.read(format!("/v1/certificates/{position}"), |body: Option<CertificateReport>| body).await
    }

    /// The state of the cluster. Once it is agreed, waits a moment for the replicas that have not answered.
    pub async fn status(&self) -> Result<Status, NotConfirmed> {
        let deadline = Instant::now() + self.timeout;
        let mut votes = Votes::new(self.cluster.committee.clone(), self.seen.height());
        let mut words = BTreeMap::new();
        let mut questions: Questions<StatusReport> = self.ask_all("/v1/status".to_owned());
        let mut until = deadline;
        while let Ok(Some((id, answer))) = timeout_at(until, questions.answers.recv()).await {
            let Answer { height, agreed_time, body: StatusReport { cluster, replica } } = answer;
            words.insert(id, (height, cluster.clone(), replica));
            votes.cast(id, Answer { height, agreed_time, body: cluster });
            let all = words.len() == self.cluster.committee.len();
            if votes.settled().is_some() && all {
                break;
            }
            if votes.agreed().is_some() {
                until = until.min(Instant::now() + Duration::from_millis(limits::STRAGGLERS_MS));
            }
        }
        let cluster = votes.agreed().ok_or_else(|| self.not_confirmed(votes.why_not()))?;
        self.seen.raise(cluster.height);
        let mut word = |id| {
            let (height, said, status) = words.remove(&id)?;
            Some(ReplicaWord::new(height, said == cluster.body, status, &self.cluster.committee))
        };
        let replicas = self.cluster.committee.ids().map(|id| (id, word(id))).collect();
        Ok(Status { cluster, replicas })
    }

    /// Asks all replicas for `path`; `vote` says what in an answer counts, or that it does not.
    async fn read<T, V>(&self, path: String, vote: impl Fn(T) -> Option<V>) -> Result<Agreed<V>, NotConfirmed>
    where
        T: DeserializeOwned + Send + 'static,
        V: PartialEq + Clone,
    {
        let deadline = Instant::now() + self.timeout;
        let mut votes = Votes::new(self.cluster.committee.clone(), self.seen.height());
        let mut questions: Questions<T> = self.ask_all(path);
        let mut until = deadline;
        while let Ok(Some((id, answer))) = timeout_at(until, questions.answers.recv()).await {
            let Answer { height, agreed_time, body } = answer;
            if let Some(body) = vote(body) {
                votes.cast(id, Answer { height, agreed_time, body });
            }
            if votes.settled().is_some() {
                break;
            }
            if votes.agreed().is_some() {
                until = until.min(Instant::now() + Duration::from_millis(limits::STRAGGLERS_MS));
            }
        }
        let agreed = votes.agreed().ok_or_else(|| self.not_confirmed(votes.why_not()))?;
        self.seen.raise(agreed.height);
        Ok(agreed)
    }

    fn ask_all<T: DeserializeOwned + Send + 'static>(&self, path: String) -> Questions<T> {
        let (answered, answers) = mpsc::channel(self.cluster.committee.len());
        let mut tasks = JoinSet::new();
        let path: Arc<str> = path.into();
        for replica in &self.cluster.replicas {
            let (id, host) = (replica.id, replica.api.clone());
            tasks.spawn(ask(self.transport.clone(), id, host, path.clone(), answered.clone()));
        }
        Questions { answers, _tasks: tasks }
    }
}

/// Answers as they come. Dropping it ends the asking.
struct Questions<T> {
    answers: mpsc::Receiver<(ReplicaId, Answer<T>)>,
    _tasks: JoinSet<()>,
}

/// Asks one replica until nobody listens.
async fn ask<T: DeserializeOwned>(
    transport: Transport,
    id: ReplicaId,
    host: String,
    path: Arc<str>,
    answered: mpsc::Sender<(ReplicaId, Answer<T>)>,
) {
    let within = Duration::from_millis(limits::REQUEST_TIMEOUT_MS);
    let mut backoff = Backoff::new();
    loop {
        let answer = transport.get(&host, &path, limits::MAX_ANSWER, within).await;
        let known = answer.filter(|(status, _)| [StatusCode::OK, StatusCode::NOT_FOUND].contains(status));
        if let Some(answer) = known.and_then(|(_, body)| serde_json::from_slice(&body).ok())
            && answered.send((id, answer)).await.is_err()
        {
            return;
        }
        backoff.pause().await;
    }
}

/// A name as one segment of a path: everything but letters, digits, dots and hyphens percent-encoded.
fn escaped(name: &Name) -> String {
    let mut path = String::new();
    for byte in name.to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => path.push(char::from(byte)),
            b'.' if name.label_count() > 0 => path.push('.'),
            _ => path += &format!("%{byte:02X}"),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::report::Misdeed;

    #[test]
    fn a_replica_cannot_write_to_the_terminal() {
        let status = ReplicaStatus {
            id: 7,
            round: 0,
            pending_signatures: 0,
            peers_connected: vec![3, 200, 1, 3],
            evidence: vec![Misdeed { culprit: 1, round: 1, what: "\x1b[2J".into(), proven: true }],
            version: format!("0.1.0\x1b[2J\u{202e}{}", "x".repeat(1000)),
        };
        let word = ReplicaWord::new(0, true, status, &Committee::new(4).unwrap());
        assert_eq!(word.status.peers_connected, [1, 3]);
        assert!(word.status.evidence.is_empty());
        assert_eq!(word.status.version, "0.1.0[2Jxxxxxxxxxxxxxxxx");
    }

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        let escaped = |text: &str| escaped(&Name::parse(text, None).unwrap());
        assert_eq!(escaped("a-1.names.example."), "a-1.names.example.");
        assert_eq!(escaped("a/b?\\..example."), "a%2Fb%3F%5C..example.");
        assert_eq!(escaped("."), "%2E");
    }
}
