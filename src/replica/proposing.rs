//! The next block: when it is due, and what it carries.

use super::machine::Progress;
use super::payload::Payload;
use super::pool::Taken;
use super::sealed::Opening;
use super::{Effect, Replica};
use crate::codec;
use crate::directory::Timestamp;
use crate::limits::{
    COST_OF_CERTIFICATE_SHARE, MAX_CLOCK_AHEAD_MS, MAX_OPENINGS_PER_BLOCK, MAX_PAYLOAD, MAX_SHARES_PER_BLOCK,
    MAX_SIGNED_AT_ONCE, MAX_UNUSED_NONCES, PAYLOAD_FOR_OPERATIONS, QUIET_MS, REPROPOSE_ROUNDS,
};
use crate::signing::{KeyId, NonceBatch, ShareEntry};

impl Replica {
    /// After each batch of inputs: proposes the next block if a round is due. `now` is the local clock, which goes into
    /// the block's timestamp and decides whether a renewal or heartbeat is due, nothing else.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Effect> {
        if !self.started || self.sync.is_some() || self.heads.diverged() {
            return Vec::new();
        }
        self.answer_assignments();
        self.compare_clocks(now);
        let due = self.is_due(now);
        let Some(round) = self.order.next_round() else { return Vec::new() };
        if !due {
            return Vec::new();
        }
        self.held_back = !self.held_back && self.is_after_quiet(now);
        let payload = if self.held_back { Payload::default() } else { self.payload(round) };
        let effects = self.order.propose(now, &payload.to_bytes()).into_iter().collect();
        self.perform(effects)
    }

    /// Whether what the round before would make agreed time lags the clock by so much that nothing should be executed by
    /// it. A clock that is ahead of the others' never says otherwise: no two blocks in a row are held back.
    fn is_after_quiet(&self, now: Timestamp) -> bool {
        let agreed = self.order.time_of_round_before();
        agreed.is_none_or(|agreed| agreed.0.saturating_add(QUIET_MS) < now.0)
    }

    /// Notes by how much the local clock is ahead of agreed time, when a commit brings one. It is not woken by its own
    /// clock alone then: one that is fast would otherwise have everybody make rounds until agreed time has come as far,
    /// at each heartbeat. While it catches up, agreed time is long ago; so this is bounded.
    fn compare_clocks(&mut self, now: Timestamp) {
        let Progress { height, agreed_time, .. } = self.machine.progress();
        if height > self.compared_at {
            self.compared_at = height;
            self.ahead = now.0.saturating_sub(agreed_time.0).min(MAX_CLOCK_AHEAD_MS);
        }
    }

    /// Whether the next round is due.
    fn is_due(&self, now: Timestamp) -> bool {
        !self.pool.is_empty()
            || !self.outbox.is_empty()
            || !self.asked.is_empty()
            || self.machine.has_work(Timestamp(now.0.saturating_sub(self.ahead)))
            || self.heads.wants_round(now)
            || self.transferred.wants_round(&self.machine, self.me)
            || self.order.unfinished()
    }

    /// As much of what waits as a block holds: operations have their part, shares take what is left.
    pub(super) fn payload(&mut self, round: u64) -> Payload {
        let Taken { operations, sealed } = self.pool.take(round, PAYLOAD_FOR_OPERATIONS);
        let (nonces, openings) = (self.refill(), self.openings(round));
        let votes = self.transferred.votes(&self.machine, self.me, round);
        let (shares, parts) = Default::default();
        let mut payload = Payload { operations, nonces, shares, sealed, openings, votes, parts };
        let room = MAX_PAYLOAD.saturating_sub(payload.size_bound());
        payload.parts = self.transferred.parts(&self.machine, self.me, round, room);
        let mut room = MAX_PAYLOAD.saturating_sub(payload.size_bound());
        let fits = |share: &&ShareEntry| {
            let size = codec::encode(*share).len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        };
        let count = self.outbox.iter().take(MAX_SHARES_PER_BLOCK).take_while(fits).count();
        payload.shares = self.outbox.drain(..count).collect();
        payload
    }

    /// Shares of what is ordered and sealed; again if they are not ordered a while later. Only the state says what that
    /// is: a share for an envelope that is not ordered yet would let others read it in time to be first.
    fn openings(&mut self, round: u64) -> Vec<Opening> {
        let sealed = self.machine.sealed();
        self.given.retain(|&ticket, _| sealed.is_unopened(ticket));
        if self.order.is_behind() {
            return Vec::new();
        }
        let given = &mut self.given;
        let due = sealed
            .owed_by(self.me)
            .filter(|(ticket, _)| given.get(ticket).is_none_or(|given| round >= given + REPROPOSE_ROUNDS));
        let owed: Vec<_> = due.take(MAX_OPENINGS_PER_BLOCK).collect();
        given.extend(owed.iter().map(|(ticket, _)| (*ticket, round)));
        let opening = |(ticket, ciphertext)| Opening { ticket, share: self.sealing.share(ciphertext) };
        owed.into_iter().map(opening).collect()
    }

    /// Signs what is still owed, some of it at a time. Not while behind: most of what an old commit asked for is settled by
    /// now, and a certificate share costs milliseconds.
    fn answer_assignments(&mut self) {
        if self.order.is_behind() {
            return;
        }
        let mut signed = 0;
        while signed < MAX_SIGNED_AT_ONCE
            && let Some(assignment) = self.asked.pop_front()
        {
            if self.machine.scheduler().owes(self.me, assignment.task(), assignment.attempt()) {
                self.outbox.extend(self.signer.sign(&assignment, &mut self.rng));
                signed += if *assignment.key() == KeyId::Authority { COST_OF_CERTIFICATE_SHARE } else { 1 };
            }
        }
    }

    /// Commitments for the next signatures, if few are left. They ride along: they never make a round due.
    fn refill(&mut self) -> Option<NonceBatch> {
        let scheduler = self.machine.scheduler();
        let wanted = self.nonces_ahead.max(scheduler.pending().min(MAX_UNUSED_NONCES));
        self.signer.refill(scheduler, wanted, &mut self.rng)
    }
}
