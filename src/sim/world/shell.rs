//! The shell around each replica: what `node::core` does, with every effect a place where the process may die.

use std::sync::Arc;

use super::{Event, MAX_COPIES, TICK, World};
use crate::order::{VerifiedBlock, Verifier};
use crate::replica::message::PeerMessage;
use crate::replica::{Effect, Replica, door, sync};
use crate::sim::check::Sight;
use crate::sim::process::{Input, Sync};
use crate::store::serve::StateServer;
use crate::store::{Batch, Durability, Store};

impl World {
    pub(super) fn input(&mut self, process: usize, input: Input) {
        let state = &mut self.processes[process];
        if state.core.is_none() {
            return;
        }
        if state.is_busy(self.now) {
            state.inbox.push_back(input);
            return;
        }
        self.take(process, input);
        self.advance(process);
    }

    pub(super) fn take(&mut self, process: usize, input: Input) {
        let effects = match input {
            Input::Message { from, bytes } => {
                // A link breaks on what is no message.
                let Ok(message) = PeerMessage::decode(&bytes) else { return };
                if self.processes[process].adversary.is_some() {
                    let heard = self.lie(process, |conduct, mind| {
                        mind.note(&message);
                        conduct.hear(mind, from, &message)
                    });
                    if !heard {
                        return;
                    }
                }
                self.core(process).receive(from, message)
            }
            Input::Connected(peer) => self.core(process).connected(peer),
            Input::Retry => self.core(process).retry(),
            Input::Submit(bytes) => {
                let (network, verifier) = (self.public.network, Arc::clone(&self.verifier));
                let core = self.core(process);
                let checked = door::check(&bytes, network, &core.snapshot().directory);
                if let Some(submission) = checked.ok().or_else(|| verifier.envelope(&bytes)) {
                    // A full pool is no fault: the client asks again.
                    let _ = core.submit(&submission);
                }
                Vec::new()
            }
            Input::Transferred(file) => {
                if self.core(process).transferred((*file).clone()).is_err() {
                    self.count("not voted for");
                }
                Vec::new()
            }
        };
        self.processes[process].todo.extend(effects);
        self.work(process);
    }

    fn core(&mut self, process: usize) -> &mut Replica {
        self.processes[process].core.as_mut().expect("asked while it runs")
    }

    /// Makes the blocks that are due.
    pub(super) fn advance(&mut self, process: usize) {
        loop {
            let state = &self.processes[process];
            if state.core.is_none() || state.is_busy(self.now) {
                return;
            }
            let clock = state.clock(self.now);
            let effects = self.core(process).advance(clock);
            if effects.is_empty() {
                break;
            }
            self.processes[process].todo.extend(effects);
            self.work(process);
        }
        // Sometimes what waits stays unwritten for a while.
        if self.faults_rng.chance(1, 2) {
            self.processes[process].flush();
        }
    }

    /// Does what is to be done, up to the next sync that takes time.
    pub(super) fn work(&mut self, process: usize) {
        while let Some(effect) = self.processes[process].todo.pop_front() {
            if self.burns_down(process) {
                return;
            }
            match effect {
                Effect::Write(batch) => {
                    if self.is_correct(process) && !batch.rows.is_empty() {
                        let by = self.processes[process].id;
                        self.check(&Sight::Wrote { by, rows: &batch.rows });
                    }
                    self.processes[process].pending.append(batch);
                }
                Effect::Persist { batch, round } => {
                    let state = &mut self.processes[process];
                    state.pending.append(batch);
                    let batch = std::mem::take(&mut state.pending);
                    state.sync = Some(Sync { batch, round });
                    let (takes, life) = (state.sync_takes, state.life);
                    if takes > 0 {
                        return self.schedule(takes, Event::Synced { process, life });
                    }
                    self.persisted(process);
                }
                Effect::Send { to, message } => self.send(process, to, message),
                Effect::Broadcast(message) => self.broadcast(process, &message),
                Effect::Serve { to, refs, above } => {
                    self.processes[process].flush();
                    let state = &self.processes[process];
                    let replica = state.core.as_ref().expect("it runs");
                    match replica.answer_fetch(&refs, above, &state.store) {
                        Ok(answer) => self.send(process, to, answer),
                        Err(_) => return self.replace_disk(process),
                    }
                }
                Effect::Expose { zones: _ } => self.expose(process),
                Effect::Sync { height } => {
                    let state = &mut self.processes[process];
                    let batch = std::mem::take(&mut state.pending);
                    state.store.commit(batch, Durability::Sync).expect("the model takes every batch");
                    let effects = self.core(process).durable(height);
                    self.processes[process].todo.extend(effects);
                }
                Effect::KeepCopy { height } => {
                    self.processes[process].flush();
                    self.processes[process].store.keep_copy(height).expect("the model keeps every copy");
                }
                Effect::ReleaseCopies { below } => {
                    self.processes[process].store.release_copies(below).expect("the model lets go of every copy");
                }
                Effect::ServeState { to, height, part } => {
                    let copy = self.processes[process]
                        .store
                        .copy(height)
                        .and_then(|copy| copy.map(StateServer::new).transpose());
                    match copy.and_then(|server| sync::answer(server.as_ref(), height, part)) {
                        Ok(answer) => self.send(process, to, answer),
                        Err(_) => return self.replace_disk(process),
                    }
                }
                Effect::BeginStaging => {
                    self.processes[process].store.begin_staging().expect("the model always has room");
                }
                Effect::Stage(batch) => {
                    self.processes[process].store.stage(batch).expect("staging was begun");
                }
                Effect::Adopt => {
                    self.count("joined at a signed head");
                    let state = &mut self.processes[process];
                    state.store.adopt_staged().expect("all was staged");
                    state.pending = Batch::default();
                    state.todo.clear();
                    let before = state.core.take().expect("it copied the state");
                    self.restart(process);
                    if let Some(core) = &mut self.processes[process].core {
                        let effects = core.inherit(before);
                        self.processes[process].todo.extend(effects);
                        self.work(process);
                    }
                    return;
                }
                Effect::Diverged { ours, theirs } => {
                    assert!(!self.is_correct(process), "the state of a correct replica differs: {ours:?}, {theirs:?}");
                }
                Effect::NotVotedFor(_) => self.count("not voted for any more"),
                Effect::Fault { culprit, what } => {
                    self.count("fault reported");
                    if self.is_correct(process) {
                        let by = self.processes[process].id;
                        self.check(&Sight::Blamed { by, culprit, what: &what });
                    }
                }
            }
        }
    }

    /// Whether the crash that was decided on comes now.
    fn burns_down(&mut self, process: usize) -> bool {
        match &mut self.processes[process].fuse {
            Some((0, back_after)) => {
                let back_after = *back_after;
                self.crash(process, back_after);
                true
            }
            Some((left, _)) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn broadcast(&mut self, process: usize, message: &PeerMessage) {
        let me = self.processes[process].id;
        if let PeerMessage::Block(bytes) = message {
            let Ok(block) = self.verifier.verify(&self.public, bytes) else {
                return self.violate("speech", format!("{me} broadcasts what is no valid block"));
            };
            if self.is_correct(process) {
                self.spoke(process, &block);
            }
            if self.processes[process].adversary.is_some() {
                return self.lie(process, |conduct, mind| {
                    mind.note(message);
                    conduct.block(mind, &block);
                });
            }
        }
        let Some(bytes) = self.encode(message) else { return };
        for to in self.public.committee.clone().ids().filter(|&to| to != me) {
            // Each copy is a boundary at which the process may die.
            if self.burns_down(process) {
                return;
            }
            if self.processes[process].adversary.is_some() {
                self.send(process, to, message.clone());
            } else {
                self.transmit(process, to, Arc::clone(&bytes));
            }
        }
    }

    fn spoke(&mut self, process: usize, block: &Arc<VerifiedBlock>) {
        use crate::store::Read;
        let state = &self.processes[process];
        let (by, durable) = (state.id, state.store.own_last().map_or(0, |own| own.round));
        self.check(&Sight::Spoke { by, block, durable });
    }

    /// The sync that `work` began is done.
    fn persisted(&mut self, process: usize) {
        let state = &mut self.processes[process];
        let Some(Sync { batch, round }) = state.sync.take() else { return };
        state.commit(batch, true);
        let effects = self.core(process).persisted(round);
        self.processes[process].todo.extend(effects);
    }

    pub(super) fn synced(&mut self, process: usize, life: u32) {
        if self.processes[process].life != life {
            return;
        }
        self.persisted(process);
        self.work(process);
        self.drain(process);
    }

    /// Takes what came meanwhile, as one batch.
    pub(super) fn drain(&mut self, process: usize) {
        while self.processes[process].core.is_some()
            && !self.processes[process].is_busy(self.now)
            && let Some(input) = self.processes[process].inbox.pop_front()
        {
            self.take(process, input);
        }
        self.advance(process);
    }

    fn expose(&mut self, process: usize) {
        self.processes[process].flush();
        if self.is_correct(process) {
            let state = &self.processes[process];
            let (by, core) = (state.id, state.core.as_ref().expect("it runs"));
            let (snapshot, view) = (core.snapshot(), core.view());
            self.check(&Sight::Exposed { by, snapshot: &snapshot, view: &view });
        }
    }

    pub(super) fn tick(&mut self, process: usize, life: u32) {
        if self.processes[process].life != life {
            return;
        }
        if self.processes[process].adversary.is_some() {
            let error = self.lie(process, |conduct, mind| {
                conduct.tick(mind);
                conduct.clock_error(mind)
            });
            if let Some(error) = error {
                self.processes[process].clock_error = error;
            }
        }
        self.input(process, Input::Retry);
        let state = &mut self.processes[process];
        if state.life == life {
            if self.plan.forgetful == Some(state.id) && state.copies.len() < MAX_COPIES {
                state.copies.push((self.now, state.store.durable_copy()));
            }
            self.schedule(TICK, Event::Tick { process, life });
        }
    }
}
