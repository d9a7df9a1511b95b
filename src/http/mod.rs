//! The HTTP API of a replica: operations in, what follows from them out.
//!
//! ```text
//! POST /v1/operations                        a signed operation (application/octet-stream) → 202 { digest }
//! POST /v1/sealed                            a sealed operation, likewise; its digest is the envelope's
//! GET  /v1/operations/{digest}               its outcome; ?wait_ms=&until=ordered|visible holds the answer back
//! GET  /v1/titles/{name}                     Answer<TitleReport>
//! GET  /v1/titles/{name}/history             Answer<HistoryReport>
//! GET  /v1/certificates/{position}           Answer<CertificateReport>
//! GET  /v1/head                              HeadReport: the newest signed head
//! GET  /v1/status                            Answer<StatusReport>
//! GET  /v1/evidence/{culprit}/{round}        [Proof]: signed blocks that show a misdeed
//! GET  /metrics                              OpenMetrics 1.0 text
//! GET  /livez, /readyz                       200 or 503
//! ```
//!
//! Everything that fails is a problem document (RFC 9457) with a stable `code`. The values are those of
//! [`crate::replica::report`]. Heads and evidence are signed; all other answers are a replica's own word. Clients
//! compare those of several replicas ([`crate::replica::report`] says how).
//!
//! This module knows nothing of the order or the store: [`Backend`] is the door to the replica.

mod api;
mod problem;
mod serve;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::name::Name;
use crate::replica::report::{
    Answer, CertificateReport, DoorRefusal, HeadReport, HistoryReport, OutcomeReport, Proof, StatusReport, TitleReport,
};

pub use api::router;
pub use serve::serve;

/// What the API needs of a replica. Reads are of one immutable state, so they do not wait.
///
/// The height of an answer counts commits executed, whether or not anything was published for them, and is never below
/// that of an outcome which this replica reported before: clients refuse what is older than they have seen.
pub trait Backend: Send + Sync + 'static {
    /// Takes a signed operation in, to be ordered. Its digest names it from then on; the same bytes twice are one
    /// operation.
    fn submit(&self, operation: Vec<u8>) -> impl Future<Output = Result<Digest, DoorRefusal>> + Send;

    /// Takes a sealed operation in. Its digest is that of the envelope, and the outcome can be asked for by it.
    fn submit_sealed(&self, envelope: Vec<u8>) -> impl Future<Output = Result<Digest, DoorRefusal>> + Send;

    /// What became of an operation: waits up to `wait` for it to get as far as `until`, then says how far it got.
    /// None if it was not executed. The future is dropped when the client goes away.
    fn outcome(
        &self,
        digest: Digest,
        wait: Duration,
        until: Until,
    ) -> impl Future<Output = Option<OutcomeReport>> + Send;

    fn title(&self, name: &Name) -> Answer<Option<TitleReport>>;

    fn history(&self, name: &Name) -> Result<Answer<Option<HistoryReport>>, Unreadable>;

    /// The certificate that the operation at `position` asked for, once it is signed.
    fn certificate(&self, position: u64) -> Answer<Option<CertificateReport>>;

    /// The newest signed head, if there is one.
    fn head(&self) -> Option<HeadReport>;

    fn status(&self) -> Answer<StatusReport>;

    /// The blocks that prove what `culprit` did in `round`, if any are kept.
    fn evidence(&self, culprit: ReplicaId, round: u64) -> Vec<Proof>;

    /// Metric families in OpenMetrics text.
    fn metrics(&self) -> String;

    /// Why nothing of the state may be shown, if so: it was lost, and the cluster's is not here yet.
    fn withheld(&self) -> Option<String> {
        None
    }

    /// Whether this replica has caught up and serves signed answers; if not, what it waits for.
    fn ready(&self) -> Result<(), String>;
}

/// What is stored is not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

/// How far an operation is to come before its outcome is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// Executed, with a position.
    #[default]
    Ordered,
    /// Published: [`OutcomeReport::visible`].
    Visible,
}
