//! Faults name the guilty only.

use std::collections::BTreeSet;

use super::{Checker, Sight};
use crate::committee::ReplicaId;
use crate::sim::plan::Plan;

pub struct Blame {
    guilty: BTreeSet<ReplicaId>,
}

impl Blame {
    pub fn new(plan: &Plan) -> Self {
        Self { guilty: plan.corrupt.keys().copied().collect() }
    }
}

impl Checker for Blame {
    fn name(&self) -> &'static str {
        "blame"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            // Its disk was set back: it may have contradicted itself.
            Sight::Started { by, remembers: false } => drop(self.guilty.insert(*by)),
            Sight::Blamed { by, culprit, what } if !self.guilty.contains(culprit) => {
                return Err(format!("{by} blames {culprit}, which is correct: {what}"));
            }
            _ => {}
        }
        Ok(())
    }
}
