//! Starts and ends of processes, and their links.

use std::sync::Arc;

use super::{Event, TICK, World};
use crate::order::{Verifier, VerifyEach};
use crate::replica::heads::HeadKeys;
use crate::replica::recovery::{self, RecoverError, Recovery};
use crate::replica::{Parts, Replica};
use crate::sim::check::Sight;
use crate::sim::delays::{MS, Micros};
use crate::sim::process::{CheckOnce, Input};
use crate::store::Store;

impl World {
    pub(super) fn restart(&mut self, process: usize) {
        if self.processes[process].core.is_some() {
            return;
        }
        let (network, public) = (Arc::clone(&self.network), Arc::clone(&self.public));
        let once: Arc<dyn Verifier> = Arc::<CheckOnce>::clone(&self.verifier);
        let verifier = if self.plan.real { Arc::new(VerifyEach) } else { once };
        let state = &mut self.processes[process];
        let id = state.id;
        let recovered = recovery::recover(id, network.genesis(self.plan.real), &public, &mut state.store, &mut |_| {});
        let Recovery { machine, order, own_last, forgot, boot, heads, staged } = match recovered {
            Ok(recovery) => recovery,
            // It stopped for good.
            Err(RecoverError::Diverged { .. }) => return,
            Err(_) if (state.life / 2).is_multiple_of(2) => return self.replace_disk(process),
            Err(_) => return self.give_up_state(process),
        };
        let (replica, effects) = Replica::start(Parts {
            me: id,
            public: Arc::clone(&public),
            identity: network.identity(id, self.plan.real),
            coin: network.coin(id, self.plan.real),
            sealing: network.sealing(id),
            recovered: order,
            machine,
            heads,
            head_keys: HeadKeys { signing: network.heads(id, self.plan.real), interval_ms: self.plan.head_interval_ms },
            staged,
            far_behind: self.plan.far_behind,
            signer: network.signer(id, boot),
            own_last,
            forgot,
            nonces_ahead: self.plan.nonces_ahead,
            verifier,
            rng: state.entropy.generator(),
        });
        state.core = Some(replica);
        state.life += 1;
        let life = state.life;
        state.todo.extend(effects);
        if self.is_correct(process) {
            self.check(&Sight::Started { by: id, remembers: true });
        }
        self.work(process);
        self.advance(process);
        for peer in 0..self.processes.len() {
            if self.processes[peer].id != id {
                let after = self.network_rng.between(1, 50) * MS;
                self.schedule(after, Event::LinkUp { a: process, b: peer });
            }
        }
        let first = 1 + self.faults_rng.below(TICK);
        self.schedule(first, Event::Tick { process, life });
    }

    pub(super) fn crash(&mut self, process: usize, back_after: Micros) {
        if self.processes[process].core.is_none() {
            return;
        }
        self.count("process ended");
        if let Some(registry) = &mut self.registry {
            registry.forget(process);
        }
        let mut luck = self.faults_rng.clone();
        self.processes[process].crash(&mut luck);
        self.faults_rng = luck;
        for peer in 0..self.processes.len() {
            if self.links.is_up(process, peer) {
                self.links.down(process, peer);
            }
        }
        self.schedule(back_after, Event::Restart { process });
    }

    /// What is on the disk is wrong: the replica goes on without its state, as `node::run` does, and knows that it has none.
    fn give_up_state(&mut self, process: usize) {
        if !self.may_be_damaged(process) {
            return;
        }
        self.count("state given up");
        self.processes[process].store.give_up_state().expect("memory takes it");
        self.schedule(20 * MS, Event::Restart { process });
    }

    fn may_be_damaged(&mut self, process: usize) -> bool {
        let may = self.plan.forgetful == Some(self.processes[process].id);
        if !may {
            self.violate("simulator", format!("the disk of process {process} is damaged, and nobody did it"));
        }
        may
    }

    /// What is on the disk is wrong: the replica comes back with an empty one, and knows that it forgot.
    pub(super) fn replace_disk(&mut self, process: usize) {
        if !self.may_be_damaged(process) {
            return;
        }
        self.count("disk replaced");
        if self.processes[process].core.is_some() {
            self.crash(process, 20 * MS);
        } else {
            self.schedule(20 * MS, Event::Restart { process });
        }
        let state = &mut self.processes[process];
        state.store = self.network.disk_after_loss();
        state.copies.clear();
    }

    pub(super) fn link_up(&mut self, a: usize, b: usize) {
        let both = self.processes[a].core.is_some() && self.processes[b].core.is_some();
        if !both || self.links.is_up(a, b) {
            return;
        }
        self.links.up(a, b);
        let (id_a, id_b) = (self.processes[a].id, self.processes[b].id);
        self.input(a, Input::Connected(id_b));
        self.input(b, Input::Connected(id_a));
    }
}
