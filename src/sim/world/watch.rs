//! Clients, and looks at what everybody holds and shows.

use std::sync::Arc;

use super::{COMMITS, Event, PATIENCE, TICK, World};
use crate::committee::ReplicaSet;
use crate::crypto::digest::Digest;
use crate::replica::Replica;
use crate::replica::primary::Ballot;
use crate::sim::check::Sight;
use crate::sim::client::{self, Client};
use crate::sim::delays::MS;
use crate::sim::process::Input;

impl World {
    pub(super) fn client(&mut self, index: usize) {
        self.schedule(client::POLL, Event::Client(index));
        if let Some(digest) = self.clients[index].waits_for()
            && let Some(accepted) = self.outcome(&digest)
        {
            self.clients[index].answered(self.now, accepted);
        }
        let network = Arc::clone(&self.network);
        let Some((bytes, to, submitted)) = self.clients[index].act(self.now, &network) else { return };
        if let Some(submitted) = submitted {
            self.submitted += 1;
            self.check(&Sight::Submitted(&submitted));
        }
        for process in 0..self.processes.len() {
            if to.contains(self.processes[process].id) {
                self.input(process, Input::Submit(Arc::clone(&bytes)));
            }
        }
    }

    /// The outcome that a kernel shows; after the network healed, that all correct replicas show.
    fn outcome(&self, digest: &Digest) -> Option<bool> {
        let mut accepted = None;
        let mut shown = ReplicaSet::EMPTY;
        for (process, replica) in self.correct() {
            if let Some(outcome) = replica.snapshot().outcomes.get(digest) {
                shown.insert(self.processes[process].id);
                accepted = Some(outcome.result.is_ok());
            }
        }
        let all = || self.public.committee.ids().filter(|&id| self.plan.is_correct(id)).collect::<ReplicaSet>();
        let enough = if self.healed { shown == all() } else { self.public.committee.is_kernel(shown) };
        accepted.filter(|_| enough)
    }

    /// Whether nobody wants anything any more, and every correct replica runs and has executed all that was submitted.
    /// An owner who was answered before the network healed had the word of a kernel: the others may have been behind.
    pub(super) fn all_is_executed(&self) -> bool {
        let up_to_date = |replica: &Replica| {
            replica.machine().progress().position >= self.submitted && self.has_last_version(replica)
        };
        let behind = (0..self.processes.len())
            .filter(|&at| self.is_correct(at))
            .any(|at| !self.processes[at].core.as_ref().is_some_and(up_to_date));
        !behind && self.clients.iter().all(Client::is_done)
    }

    /// Looks at what everybody holds, and whether things go on.
    pub(super) fn look(&mut self) {
        self.schedule(TICK, Event::Look);
        let held: Vec<_> = self.correct().map(|(at, replica)| (self.processes[at].id, replica.usage())).collect();
        for (by, usage) in held {
            self.check(&Sight::Holds { by, usage: &usage });
        }
        if self.healed && !self.all_is_executed() {
            let commits = self.height() - self.healed_height.min(self.height());
            if self.now > self.plan.heal_at + PATIENCE {
                self.violate(
                    "validity",
                    format!(
                        "not everything is executed {} s after the network healed: {}",
                        PATIENCE / (1000 * MS),
                        self.describe()
                    ),
                );
            } else if commits > COMMITS * self.clients.len() as u64 * (1 + self.plan.acts as u64) {
                self.violate(
                    "validity",
                    format!(
                        "not everything is executed {commits} commits after the network healed: {}",
                        self.describe()
                    ),
                );
            }
        } else if self.healed && self.now > self.plan.heal_at + 2 * PATIENCE {
            self.violate("quiescence", format!("rounds or requests go on for ever: {}", self.describe()));
        }
    }

    /// What everybody shows in the end.
    pub(super) fn look_back(&mut self) {
        let shown: Vec<_> = self
            .correct()
            .filter(|(_, replica)| replica.machine().scheduler().pending() == 0)
            .map(|(at, replica)| (self.processes[at].id, replica.snapshot(), replica.view()))
            .collect();
        for (by, snapshot, view) in &shown {
            self.check(&Sight::Final { by: *by, snapshot, view });
        }
    }

    fn describe(&self) -> String {
        let each = self.processes.iter().enumerate().map(|(at, process)| {
            let who = if self.is_correct(at) { "" } else { " (corrupt)" };
            let Some(replica) = &process.core else { return format!("{}{who}: not running", process.id) };
            let machine = replica.machine();
            let (progress, pending) = (machine.progress(), machine.scheduler().pending());
            let (height, position) = (progress.height, progress.position);
            let apex = self.registry.as_ref().map(|registry| &registry.current().apex);
            let serial = apex.and_then(|apex| machine.ballot(apex)).map(Ballot::serial);
            format!(
                "{}{who}: round {}, height {height}, position {position}, {pending} to sign, primary's serial {serial:?}, {:?}",
                process.id,
                replica.round(),
                replica.usage()
            )
        });
        each.collect::<Vec<_>>().join("; ")
    }
}
