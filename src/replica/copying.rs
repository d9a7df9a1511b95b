//! When a replica copies the state of others ([`super::sync`]), and what it is meanwhile.

use std::sync::Arc;

use super::heads::SignedHead;
use super::sync::{Step, Sync};
use super::{Effect, Replica};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::limits::{SYNC_BEHIND_OPERATIONS, SYNC_BEHIND_ROUNDS, SYNC_ROWS_PER_OPERATION};
use crate::mutants::{Mutant, planted};

/// How far behind a signed checkpoint a replica copies the state instead of pulling the blocks between.
#[derive(Clone, Copy, Debug)]
pub struct FarBehind {
    pub rounds: u64,
    pub operations: u64,
    /// More operations, if the state is large: one for so many rows.
    pub rows_per_operation: u64,
}

impl Default for FarBehind {
    fn default() -> Self {
        Self {
            rounds: SYNC_BEHIND_ROUNDS,
            operations: SYNC_BEHIND_OPERATIONS,
            rows_per_operation: SYNC_ROWS_PER_OPERATION,
        }
    }
}

impl Replica {
    /// What is stored of the state is not what was written. It is copied from the others, at a signed checkpoint that may
    /// be below what was executed; until it is adopted, this replica takes no part in the order and shows what it has in
    /// memory. None if no checkpoint is known.
    pub fn repair(&mut self) -> Option<Vec<Effect>> {
        if self.sync.is_some() {
            return Some(Vec::new());
        }
        let newest = *self.newest_checkpoint()?;
        Some(self.begin_copy(newest))
    }

    /// What was copied did not stand the last look at it: it is copied again.
    pub fn copy_again(&mut self) -> Vec<Effect> {
        let signed = self.newest_checkpoint().or(self.sync.as_ref().map(Sync::signed)).copied();
        self.sync = None;
        signed.map_or_else(Vec::new, |signed| self.begin_copy(signed))
    }

    /// Whether the state was lost and none that the cluster signed has taken its place yet. Nothing of it may be shown.
    pub fn is_unproven(&self) -> bool {
        self.forgot && self.heads.newest().is_none()
    }

    fn newest_checkpoint(&self) -> Option<&SignedHead> {
        let known = [self.heads.checkpoint(), self.heads.ahead()];
        known.into_iter().flatten().max_by_key(|signed| signed.head.height)
    }

    /// Whether the signed checkpoint ahead is beyond what blocks can bring, or cheaper to copy than to catch up with.
    /// Who has nothing to show copies in any case.
    fn is_far_behind(&self, signed: &SignedHead) -> bool {
        if self.is_unproven() || planted(Mutant::AnyHeightAdopted) {
            return true;
        }
        let progress = self.machine.progress();
        let operations = signed.head.position.saturating_sub(progress.position);
        let many = self.far_behind.operations.max(signed.head.rows / self.far_behind.rows_per_operation);
        signed.head.round > progress.round + self.far_behind.rounds || operations > many
    }

    pub(super) fn copy_if_far_behind(&mut self) -> Vec<Effect> {
        let ahead = self.heads.ahead().filter(|signed| self.is_far_behind(signed)).copied();
        let Some(signed) = ahead.filter(|_| self.sync.is_none()) else { return Vec::new() };
        self.begin_copy(signed)
    }

    fn begin_copy(&mut self, signed: SignedHead) -> Vec<Effect> {
        let steps = match &mut self.sync {
            Some(sync) => sync.move_on(signed),
            None => {
                let (sync, steps) = Sync::begin(self.me, signed);
                self.sync = Some(sync);
                steps
            }
        };
        let mut effects = effects_of(steps);
        effects.extend(self.copy(Sync::ask));
        effects
    }

    pub(super) fn copy(&mut self, go_on: impl FnOnce(&mut Sync, ReplicaSet) -> Vec<Step>) -> Vec<Effect> {
        let peers = self.public.committee.ids().collect();
        self.sync.as_mut().map_or_else(Vec::new, |sync| effects_of(go_on(sync, peers)))
    }

    pub(super) fn copy_blocks(&mut self, from: ReplicaId, blocks: &[Vec<u8>]) -> Vec<Effect> {
        let public = Arc::clone(&self.public);
        self.copy(|sync, peers| sync.receive_blocks(from, blocks, &public, peers))
    }

    /// Asks again, and if nobody is left to ask, all of them anew; from the newest checkpoint, if there is a newer one.
    pub(super) fn copy_on_tick(&mut self) -> Vec<Effect> {
        let peers = self.public.committee.ids().collect();
        let newest = self.newest_checkpoint().copied();
        let Some(sync) = &mut self.sync else { return Vec::new() };
        let mut effects = Vec::new();
        if sync.is_alone(peers) {
            if let Some(newer) = newest.filter(|newer| newer.head.height > sync.signed().head.height) {
                return self.begin_copy(newer);
            }
            sync.forgive();
            let others = self.public.committee.ids().filter(|&peer| peer != self.me);
            effects.extend(others.flat_map(|peer| self.heads.greet(peer)));
        }
        effects.extend(self.copy(Sync::tick));
        effects
    }
}

fn effects_of(steps: Vec<Step>) -> Vec<Effect> {
    let effect = |step| match step {
        Step::Send { to, message } => Effect::Send { to, message },
        Step::Fault { culprit, what } => Effect::Fault { culprit, what },
        Step::Begin => Effect::BeginStaging,
        Step::Stage(batch) => Effect::Stage(batch),
        Step::Adopt => Effect::Adopt,
    };
    steps.into_iter().map(effect).collect()
}
