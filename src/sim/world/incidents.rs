//! What befalls processes, disks, clocks and links, and the end of it.

use super::{Event, World};
use crate::sim::check::Sight;
use crate::sim::delays::{MS, Micros};
use crate::sim::plan::{DiskFault, Incident};

impl World {
    pub(super) fn incident(&mut self, incident: Incident) {
        self.count(incident.kind());
        match incident {
            Incident::Crash { process, effects, back_after } => {
                self.processes[process].fuse = Some((effects, back_after));
            }
            Incident::PowerCut { back_after } => {
                for process in 0..self.processes.len() {
                    let after = back_after + self.faults_rng.below(100 * MS);
                    self.crash(process, after);
                }
            }
            Incident::Disk { process, fault, back_after } => self.disk_fault(process, fault, back_after),
            Incident::SlowDisk { process, sync, lasts } => {
                self.processes[process].sync_takes = sync;
                self.schedule(lasts, Event::FastDisk { process });
            }
            Incident::Pause { process, lasts } => {
                let until = self.now + lasts;
                let state = &mut self.processes[process];
                if state.core.is_some() {
                    state.stands_still_until = until.max(state.stands_still_until);
                    let life = state.life;
                    self.schedule(lasts, Event::GoesOn { process, life });
                }
            }
            Incident::ClockJump { process, by } => self.processes[process].clock_error = by,
            Incident::Reset { between: (a, b), back_after } => self.cut(a, b, back_after),
            Incident::Partition { side, lasts } => {
                for a in 0..self.processes.len() {
                    for b in 0..a {
                        if side.contains(&a) != side.contains(&b) {
                            self.cut(a, b, lasts);
                        }
                    }
                }
            }
            Incident::Hold { from, to, lasts } => {
                for &a in &from {
                    for &b in to.iter().filter(|&&b| b != a) {
                        self.links.hold(a, b, self.now + lasts);
                    }
                }
            }
        }
    }

    fn cut(&mut self, a: usize, b: usize, back_after: Micros) {
        if self.links.is_up(a, b) {
            self.links.down(a, b);
            self.schedule(back_after, Event::LinkUp { a, b });
        }
    }

    fn disk_fault(&mut self, process: usize, fault: DiskFault, back_after: Micros) {
        self.crash(process, back_after);
        match fault {
            DiskFault::Lost => {
                self.processes[process].store = self.network.disk_after_loss();
                self.processes[process].copies.clear();
            }
            DiskFault::SetBack(age) => {
                let before = self.now.saturating_sub(age);
                let state = &mut self.processes[process];
                let copies = std::mem::take(&mut state.copies);
                if let Some((_, copy)) = copies.into_iter().rev().find(|(at, _)| *at <= before) {
                    state.store = copy;
                    let by = state.id;
                    self.check(&Sight::Started { by, remembers: false });
                }
            }
            DiskFault::Damaged => {
                let which = self.faults_rng.below(1 << 20);
                self.processes[process].store.damage(which as usize);
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.healed_height = self.height();
        self.delays.heal();
        self.links.release_all();
        for process in 0..self.processes.len() {
            let state = &mut self.processes[process];
            state.fuse = None;
            state.sync_takes = 0;
            state.clock_error = if state.adversary.is_some() { state.clock_error } else { 0 };
            for peer in 0..process {
                let after = self.network_rng.between(1, 20) * MS;
                self.schedule(after, Event::LinkUp { a: process, b: peer });
            }
        }
        for client in &mut self.clients {
            client.hurry(self.now);
        }
    }
}
