//! What the registry's primary serves, and who transfers it.

use std::sync::Arc;

use super::{Event, World};
use crate::replica::Replica;
use crate::sim::check::Sight;
use crate::sim::process::Input;
use crate::sim::registry::Registry;

impl World {
    pub(super) fn schedule_registry(&mut self) {
        let Some(registry) = &self.registry else { return };
        let genesis = Arc::clone(registry.current());
        self.check(&Sight::PrimaryServes(&genesis));
        self.schedule_version();
        for process in 0..self.processes.len() {
            self.schedule(0, Event::Transfer { process });
        }
    }

    fn schedule_version(&mut self) {
        if let Some(at) = self.registry.as_ref().and_then(Registry::next_at) {
            self.schedule(at.saturating_sub(self.now), Event::NextVersion);
        }
    }

    pub(super) fn next_version(&mut self) {
        let Some(registry) = &mut self.registry else { return };
        registry.go_on();
        let served = Arc::clone(registry.current());
        self.count("version of the registry");
        self.check(&Sight::PrimaryServes(&served));
        self.schedule_version();
    }

    /// A process that runs looks for a new version; a corrupt one is told what its liar likes.
    pub(super) fn transfer(&mut self, process: usize) {
        let (is_correct, runs) = (self.is_correct(process), self.processes[process].core.is_some());
        let id = self.processes[process].id;
        let Some(registry) = &mut self.registry else { return };
        let follows = runs && (!is_correct || registry.is_followed_by(id));
        let (served, after) = registry.look(process, follows);
        self.schedule(after, Event::Transfer { process });
        let Some(served) = served else { return };
        let told = match self.processes[process].adversary {
            Some(_) => self.lie(process, |conduct, mind| conduct.transfer(mind, &served)).map(Arc::new),
            None => Some(served),
        };
        if let Some(file) = told {
            self.input(process, Input::Transferred(file));
        }
    }

    /// Whether the state has the last version of the registry.
    pub(super) fn has_last_version(&self, replica: &Replica) -> bool {
        self.registry.as_ref().is_none_or(|registry| {
            let ballot = replica.machine().ballot(&registry.current().apex);
            ballot.is_some_and(|ballot| registry.ends_with(ballot.serial()))
        })
    }
}
