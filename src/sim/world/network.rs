//! Messages between processes, and what liars make of them.

use std::sync::Arc;

use super::{Event, World};
use crate::committee::ReplicaId;
use crate::order::Verifier;
use crate::replica::message::PeerMessage;
use crate::sim::adversary::{Conduct, Mind};
use crate::sim::process::Input;

impl World {
    pub(super) fn deliver(&mut self, from: usize, to: usize, epoch: u32, bytes: Arc<[u8]>) {
        if !self.links.is_up(from, to) || self.links.epoch(from, to) != epoch {
            return;
        }
        self.trace.update(&bytes);
        let from = self.processes[from].id;
        self.input(to, Input::Message { from, bytes });
    }

    /// Puts bytes on the links to `to`: to both of twins.
    pub(super) fn transmit(&mut self, from: usize, to: ReplicaId, bytes: Arc<[u8]>) {
        let block = match bytes.first() {
            Some(0) if self.delays.scheduler.reads_blocks() => self.verifier.verify(&self.public, &bytes[1..]).ok(),
            _ => None,
        };
        for process in 0..self.processes.len() {
            if self.processes[process].id != to || !self.links.is_up(from, process) {
                continue;
            }
            self.last_message = self.now;
            let copies = if self.network_rng.chance(self.plan.duplicates, 1000) { 2 } else { 1 };
            for _ in 0..copies {
                let delay = self.delays.draw(&self.public, self.processes[from].id, to, block.as_deref());
                let at = self.links.arrival(from, process, self.now + delay);
                let epoch = self.links.epoch(from, process);
                let event = Event::Deliver { from, to: process, epoch, bytes: Arc::clone(&bytes) };
                self.schedule(at - self.now, event);
            }
        }
    }

    /// The core of `from` wants this sent.
    pub(super) fn send(&mut self, from: usize, to: ReplicaId, message: PeerMessage) {
        if self.processes[from].adversary.is_some() {
            return self.lie(from, |conduct, mind| conduct.send(mind, to, message));
        }
        if let Some(bytes) = self.encode(&message) {
            self.transmit(from, to, bytes);
        }
    }

    /// What a replica itself says is within the limits.
    pub(super) fn encode(&mut self, message: &PeerMessage) -> Option<Arc<[u8]>> {
        let encoded = message.encode();
        if let Err(error) = &encoded {
            self.violate("bounds", format!("an own message is over its limits: {error}"));
        }
        encoded.ok().map(Arc::from)
    }

    /// Lets the liar at `process` act, and sends what it says.
    pub(super) fn lie<R>(&mut self, process: usize, act: impl FnOnce(&mut dyn Conduct, &mut Mind) -> R) -> R {
        let state = &mut self.processes[process];
        let life = state.life;
        let (conduct, mind) = state.adversary.as_mut().expect("asked of liars only");
        mind.now = self.now;
        let result = act(conduct.as_mut(), mind);
        for (delay, to, bytes) in mind.take_out() {
            if delay == 0 {
                self.transmit(process, to, bytes);
            } else {
                self.schedule(delay, Event::Emit { from: process, life, to, bytes });
            }
        }
        result
    }
}
