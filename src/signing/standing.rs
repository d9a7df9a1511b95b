//! Who is trusted to sign in time: demotion of absent signers, and the probes that restore them.

use serde::{Deserialize, Serialize};

use super::task::TaskId;
use crate::limits::{MAX_PROBE_DOUBLINGS, PROBE_ROUNDS, STRIKE_DECAY_ROUNDS};

/// One replica's record as a signer.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    pub demoted: bool,
    /// Demotions, of which one is forgotten after [`STRIKE_DECAY_ROUNDS`] without another.
    strikes: u32,
    /// Round of the last demotion.
    demoted_at: u64,
    /// Probes since the last demotion.
    probes: u32,
    /// Round from which the next probe is due.
    next_probe: u64,
    /// The probe that waits for this replica's share.
    pub probe: Option<(TaskId, u32)>,
    /// Shares nobody asked for.
    pub unassigned: u64,
}

impl Standing {
    /// Takes the replica off the list of preferred signers. Whoever is demoted often is probed rarely, so that
    /// signing in probes and failing in earnest does not pay.
    pub fn demote(&mut self, round: u64) {
        if !self.demoted {
            let forgotten = round.saturating_sub(self.demoted_at) / STRIKE_DECAY_ROUNDS;
            self.strikes = self.strikes.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        }
        self.demoted = true;
        self.strikes = self.strikes.saturating_add(1);
        self.demoted_at = round;
        self.probes = 0;
        self.next_probe = round.saturating_add(self.spacing());
    }

    pub fn is_probe_due(&self, round: u64) -> bool {
        self.demoted && self.next_probe <= round
    }

    /// Notes a new probe; gives the one that it takes the place of.
    pub fn start_probe(&mut self, round: u64, task: TaskId, attempt: u32) -> Option<(TaskId, u32)> {
        self.probes = self.probes.saturating_add(1);
        self.next_probe = round.saturating_add(self.spacing());
        self.probe.replace((task, attempt))
    }

    /// The probe's share came and is good.
    pub fn restore(&mut self) {
        self.demoted = false;
        self.probes = 0;
        self.probe = None;
    }

    /// Rounds to the next probe: doubles with each strike and each probe not served.
    fn spacing(&self) -> u64 {
        let doublings = self.strikes.saturating_sub(1).saturating_add(self.probes);
        PROBE_ROUNDS << doublings.min(MAX_PROBE_DOUBLINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_become_rarer_with_each_strike_and_each_silence() {
        let mut standing = Standing::default();
        standing.demote(100);
        assert!(!standing.is_probe_due(100 + PROBE_ROUNDS - 1));
        assert!(standing.is_probe_due(100 + PROBE_ROUNDS));
        standing.start_probe(200, TaskId(0), 1);
        assert!(!standing.is_probe_due(200 + 2 * PROBE_ROUNDS - 1));
        assert!(standing.is_probe_due(200 + 2 * PROBE_ROUNDS));
        standing.restore();
        assert!(!standing.is_probe_due(u64::MAX));
        standing.demote(300);
        assert!(!standing.is_probe_due(300 + 2 * PROBE_ROUNDS - 1));
    }

    #[test]
    fn strikes_are_forgotten_after_long_good_service() {
        let mut standing = Standing::default();
        standing.demote(0);
        standing.restore();
        standing.demote(STRIKE_DECAY_ROUNDS);
        assert!(standing.is_probe_due(STRIKE_DECAY_ROUNDS + PROBE_ROUNDS));
    }
}
