//! One universe: processes, links and clients on one heap of events.

mod incidents;
mod lives;
mod network;
mod primary;
mod shell;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::order::OrderPublic;
use crate::replica::Replica;
use crate::sim::adversary::{Kind, Mind};
use crate::sim::check::{Checks, Sight, Violation};
use crate::sim::client::Client;
use crate::sim::delays::{Delays, MS, Micros};
use crate::sim::keys::Network;
use crate::sim::links::Links;
use crate::sim::plan::{Incident, Plan};
use crate::sim::process::{CheckOnce, Process};
use crate::sim::registry::Registry;
use crate::sim::stream::Stream;

/// Between two looks at what is missing.
const TICK: Micros = 250 * MS;
/// Without a message for so long the cluster counts as silent.
const SILENCE: Micros = 4 * TICK;
/// After the network healed everything submitted has to be executed within this time, and within so many commits.
const PATIENCE: Micros = 120_000 * MS;
const COMMITS: u64 = 400;
/// Copies of a disk that may fail later.
const MAX_COPIES: usize = 16;

enum Event {
    Deliver {
        from: usize,
        to: usize,
        epoch: u32,
        bytes: Arc<[u8]>,
    },
    /// What a liar kept back goes out.
    Emit {
        from: usize,
        life: u32,
        to: ReplicaId,
        bytes: Arc<[u8]>,
    },
    Tick {
        process: usize,
        life: u32,
    },
    Synced {
        process: usize,
        life: u32,
    },
    GoesOn {
        process: usize,
        life: u32,
    },
    FastDisk {
        process: usize,
    },
    Restart {
        process: usize,
    },
    LinkUp {
        a: usize,
        b: usize,
    },
    Incident(Incident),
    Client(usize),
    /// The registry's primary serves its next version.
    NextVersion,
    /// A process looks what the registry's primary serves.
    Transfer {
        process: usize,
    },
    Heal,
    Look,
}

impl Event {
    fn tag(&self) -> u8 {
        match self {
            Self::Deliver { .. } => 0,
            Self::Emit { .. } => 1,
            Self::Tick { .. } => 2,
            Self::Synced { .. } => 3,
            Self::GoesOn { .. } => 4,
            Self::FastDisk { .. } => 5,
            Self::Restart { .. } => 6,
            Self::LinkUp { .. } => 7,
            Self::Incident(_) => 8,
            Self::Client(_) => 9,
            Self::Heal => 10,
            Self::Look => 11,
            Self::NextVersion => 12,
            Self::Transfer { .. } => 13,
        }
    }
}

pub struct World {
    plan: Plan,
    network: Arc<Network>,
    public: Arc<OrderPublic>,
    verifier: Arc<CheckOnce>,
    pub now: Micros,
    queue: BTreeMap<(Micros, u64), Event>,
    scheduled: u64,
    processes: Vec<Process>,
    links: Links,
    delays: Delays,
    clients: Vec<Client>,
    registry: Option<Registry>,
    /// Operations handed in so far: each gets one position.
    submitted: u64,
    checks: Checks,
    network_rng: Stream,
    faults_rng: Stream,
    healed: bool,
    /// Highest height when the network healed.
    healed_height: u64,
    last_message: Micros,
    violation: Option<Violation>,
    trace: blake3::Hasher,
    pub steps: u64,
    /// How often each kind of incident, and each situation worth counting, came about.
    pub counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn new(plan: Plan, network: Arc<Network>) -> Self {
        let parameters = OrderPublic {
            wave: plan.wave,
            leaders_per_round: plan.leaders_per_round,
            depth: plan.depth,
            epoch: plan.epoch,
            ..network.order(plan.real)
        };
        let seed = plan.seed;
        let clients = (0..plan.clients).map(|index| Client::new(&plan, &network, index)).collect();
        let mut world = Self {
            public: Arc::new(parameters),
            verifier: Arc::default(),
            now: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            processes: Vec::new(),
            links: Links::new(plan.reorders),
            delays: Delays::new(plan.scheduler, plan.n, Stream::new(seed, "delays", 0)),
            clients,
            registry: Registry::new(&plan, &network),
            submitted: 0,
            checks: Checks::new(&plan),
            network_rng: Stream::new(seed, "network", 0),
            faults_rng: Stream::new(seed, "faults", 0),
            healed: false,
            healed_height: 0,
            last_message: 0,
            violation: None,
            trace: blake3::Hasher::new(),
            steps: 0,
            counts: BTreeMap::new(),
            plan,
            network,
        };
        world.create_processes();
        world.schedule_plan();
        world
    }

    fn create_processes(&mut self) {
        let mut ids: Vec<ReplicaId> = self.public.committee.ids().collect();
        let twins = self.plan.corrupt.iter().filter(|(_, strategy)| matches!(strategy.kind, Kind::Twins));
        ids.extend(twins.map(|(id, _)| *id));
        for (slot, id) in ids.into_iter().enumerate() {
            let store = self.network.empty_disk();
            let mut process = Process::new(id, store, Stream::new(self.plan.seed, "entropy", slot as u64));
            if let Some(strategy) = self.plan.corrupt.get(&id)
                && let Kind::Layer(make) = strategy.kind
            {
                let mut rng = Stream::new(self.plan.seed, "adversary", slot as u64);
                let conduct = make(&mut rng);
                let (public, verifier) = (Arc::clone(&self.public), Arc::clone(&self.verifier));
                let fellows = self.plan.corrupt.keys().copied().filter(|&fellow| fellow != id).collect();
                let mind = Mind::new(id, fellows, public, &self.network, self.plan.real, verifier, rng);
                process.adversary = Some((conduct, mind));
            }
            self.processes.push(process);
        }
    }

    fn schedule_plan(&mut self) {
        for process in 0..self.processes.len() {
            let absent = |id| self.plan.corrupt.get(&id).is_some_and(|strategy| matches!(strategy.kind, Kind::Absent));
            if !absent(self.processes[process].id) {
                let at = self.faults_rng.below(30 * MS);
                self.schedule(at, Event::Restart { process });
            }
        }
        for (at, incident) in std::mem::take(&mut self.plan.incidents) {
            self.schedule(at, Event::Incident(incident));
        }
        for client in 0..self.clients.len() {
            self.schedule(client as Micros, Event::Client(client));
        }
        self.schedule_registry();
        self.schedule(self.plan.heal_at, Event::Heal);
        self.schedule(TICK, Event::Look);
    }

    fn schedule(&mut self, after: Micros, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + after, self.scheduled), event);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Runs to the end, or to the first violation.
    pub fn run(&mut self) -> Option<Violation> {
        while self.violation.is_none() && self.steps < self.plan.max_steps {
            if self.is_over() {
                self.look_back();
                break;
            }
            self.step();
        }
        self.violation.take()
    }

    /// A digest of every event so far.
    pub fn trace(&self) -> Digest {
        Digest(*self.trace.finalize().as_bytes())
    }

    pub fn height(&self) -> u64 {
        self.correct().map(|(_, replica)| replica.machine().progress().height).max().unwrap_or(0)
    }

    pub fn rounds(&self) -> u64 {
        self.correct().map(|(_, replica)| replica.round()).max().unwrap_or(0)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Correct replicas that run.
    fn correct(&self) -> impl Iterator<Item = (usize, &Replica)> {
        let running = self.processes.iter().enumerate().filter_map(|(at, process)| Some((at, process.core.as_ref()?)));
        running.filter(|(at, _)| self.is_correct(*at))
    }

    fn is_correct(&self, process: usize) -> bool {
        self.plan.is_correct(self.processes[process].id)
    }

    fn violate(&mut self, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation { checker, what });
    }

    fn check(&mut self, sight: &Sight<'_>) {
        if let Err(violation) = self.checks.see(sight) {
            self.violation.get_or_insert(violation);
        }
    }

    /// Whether all is done that was asked for; and said, if nobody keeps the rounds going.
    fn is_over(&self) -> bool {
        if !self.healed || !self.all_is_executed() {
            return false;
        }
        let quiet = self.plan.corrupt.values().all(|strategy| strategy.is_quiet());
        !quiet || self.now > self.last_message + SILENCE
    }

    fn step(&mut self) {
        let Some(((at, number), event)) = self.queue.pop_first() else {
            return self.violate("simulator", "nothing is scheduled any more".into());
        };
        self.now = at;
        self.steps += 1;
        self.trace.update(&at.to_be_bytes()).update(&number.to_be_bytes()).update(&[event.tag()]);
        match event {
            Event::Deliver { from, to, epoch, bytes } => self.deliver(from, to, epoch, bytes),
            Event::Emit { from, life, to, bytes } => {
                if self.processes[from].life == life {
                    self.transmit(from, to, bytes);
                }
            }
            Event::Tick { process, life } => self.tick(process, life),
            Event::Synced { process, life } => self.synced(process, life),
            Event::GoesOn { process, life } => {
                if self.processes[process].life == life {
                    self.drain(process);
                }
            }
            Event::FastDisk { process } => self.processes[process].sync_takes = 0,
            Event::Restart { process } => self.restart(process),
            Event::LinkUp { a, b } => self.link_up(a, b),
            Event::Incident(incident) => self.incident(incident),
            Event::Client(client) => self.client(client),
            Event::NextVersion => self.next_version(),
            Event::Transfer { process } => self.transfer(process),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }
}
