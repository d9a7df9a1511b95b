//! What has to hold in every run. Checkers stand apart from the replicas: they see what correct replicas put on the network
//! and what their shells were told to do, and nothing else.

mod agreement;
mod blame;
mod bounds;
mod primary;
mod served;
mod speech;

use std::sync::Arc;

use super::client::Submitted;
use super::plan::Plan;
use crate::committee::ReplicaId;
use crate::directory::master::ZoneFile;
use crate::order::VerifiedBlock;
use crate::replica::Usage;
use crate::replica::machine::Snapshot;
use crate::rows::Row;
use crate::store::view::View;

/// What a checker sees of a correct replica.
pub enum Sight<'a> {
    /// Its shell puts its own block on the links; `durable` is the round of the own record on the disk.
    Spoke { by: ReplicaId, block: &'a Arc<VerifiedBlock>, durable: u64 },
    /// Its shell is to write the rows of a commit.
    Wrote { by: ReplicaId, rows: &'a [Row] },
    /// It reports a fault.
    Blamed { by: ReplicaId, culprit: ReplicaId, what: &'a str },
    /// Readers see something new.
    Exposed { by: ReplicaId, snapshot: &'a Snapshot, view: &'a View },
    /// It starts, with its disk as it should be or not.
    Started { by: ReplicaId, remembers: bool },
    /// How much it holds in memory.
    Holds { by: ReplicaId, usage: &'a Usage },
    /// A client handed this in for the first time.
    Submitted(&'a Submitted),
    /// The registry's primary serves this from now on.
    PrimaryServes(&'a ZoneFile),
    /// The run is over; what a correct replica shows in the end.
    Final { by: ReplicaId, snapshot: &'a Snapshot, view: &'a View },
}

trait Checker: Send {
    fn name(&self) -> &'static str;
    /// An error says what does not hold.
    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String>;
}

/// Something did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    pub what: String,
}

/// All checkers of a run.
pub struct Checks(Vec<Box<dyn Checker>>);

impl Checks {
    pub fn new(plan: &Plan) -> Self {
        Self(vec![
            Box::new(agreement::Agreement::default()),
            Box::new(speech::Speech::default()),
            Box::new(blame::Blame::new(plan)),
            Box::new(bounds::Bounds::new(plan)),
            Box::new(served::Served::default()),
            Box::new(primary::Primary::default()),
        ])
    }

    pub fn see(&mut self, sight: &Sight<'_>) -> Result<(), Violation> {
        for checker in &mut self.0 {
            checker.see(sight).map_err(|what| Violation { checker: checker.name(), what })?;
        }
        Ok(())
    }
}
