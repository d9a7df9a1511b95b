//! What a replica holds in memory stays within the limits, whoever floods it.

use super::{Checker, Sight};
use crate::limits::{ACCEPT_WINDOW, MAX_POOL_BYTES, MAX_SUSPENDED_BLOCKS, MAX_UNUSED_NONCES};
use crate::sim::plan::Plan;

pub struct Bounds {
    replicas: usize,
    /// Rounds that may be in the graph: what is ordered but kept, and what is not ordered yet.
    rounds: u64,
}

impl Bounds {
    pub fn new(plan: &Plan) -> Self {
        Self { replicas: plan.n, rounds: plan.depth + 2 * ACCEPT_WINDOW }
    }
}

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Holds { by, usage } = sight else { return Ok(()) };
        let within = |what: &str, held: usize, limit: usize| {
            if held > limit { Err(format!("{by} holds {held} {what}, of {limit} allowed")) } else { Ok(()) }
        };
        within("suspended blocks", usage.suspended_blocks, self.replicas * MAX_SUSPENDED_BLOCKS)?;
        within("bytes of operations", usage.pool_bytes, MAX_POOL_BYTES)?;
        within("assignments", usage.asked, MAX_UNUSED_NONCES.max(usage.pending))?;
        // Twins are in the graph only if somebody built on them.
        let slots = self.replicas * usize::try_from(self.rounds).unwrap_or(usize::MAX);
        within("unordered blocks", usage.unordered, 2 * slots)
    }
}
