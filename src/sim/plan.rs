//! What one seed draws: the committee, who is corrupt and how, the network, what breaks when, what clients want.

use std::collections::BTreeMap;

use super::adversary::{self, Strategy};
use super::delays::{MS, Micros, Scheduler};
use super::stream::Stream;
use crate::committee::{Committee, ReplicaId};
use crate::order::WaveLength;

const SECOND: Micros = 1000 * MS;

/// What is asked for from outside; whatever is left open is drawn.
#[derive(Clone, Default, Debug)]
pub struct Options {
    pub replicas: Option<usize>,
    /// The strategy of every corrupt replica.
    pub adversary: Option<&'static Strategy>,
    /// Events after which the run ends, whatever has come of it.
    pub steps: Option<u64>,
}

/// How a disk fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFault {
    Lost,
    /// Set back to a copy made this long ago, at least.
    SetBack(Micros),
    /// One stored value reads wrong.
    Damaged,
}

/// Something that happens to the cluster. Numbers are processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incident {
    /// After so many more effects, wherever that falls: before a write, between write and send, amid a broadcast.
    Crash {
        process: usize,
        effects: u32,
        back_after: Micros,
    },
    /// Everybody at once.
    PowerCut {
        back_after: Micros,
    },
    Disk {
        process: usize,
        fault: DiskFault,
        back_after: Micros,
    },
    /// Syncs take this long for a while.
    SlowDisk {
        process: usize,
        sync: Micros,
        lasts: Micros,
    },
    /// The process stands still and goes on.
    Pause {
        process: usize,
        lasts: Micros,
    },
    /// The clock is set, in milliseconds.
    ClockJump {
        process: usize,
        by: i64,
    },
    /// A link breaks and loses what is under way.
    Reset {
        between: (usize, usize),
        back_after: Micros,
    },
    /// No links between the two sides; what was under way is lost.
    Partition {
        side: Vec<usize>,
        lasts: Micros,
    },
    /// Nothing arrives from one side at the other, until it does.
    Hold {
        from: Vec<usize>,
        to: Vec<usize>,
        lasts: Micros,
    },
}

impl Incident {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::PowerCut { .. } => "power-cut",
            Self::Disk { fault: DiskFault::Lost, .. } => "lost-disk",
            Self::Disk { fault: DiskFault::SetBack(_), .. } => "disk-set-back",
            Self::Disk { fault: DiskFault::Damaged, .. } => "damaged-disk",
            Self::SlowDisk { .. } => "slow-disk",
            Self::Pause { .. } => "pause",
            Self::ClockJump { .. } => "clock-jump",
            Self::Reset { .. } => "link-reset",
            Self::Partition { .. } => "partition",
            Self::Hold { .. } => "hold",
        }
    }
}

/// Everything that is drawn beforehand.
pub struct Plan {
    pub seed: u64,
    pub n: usize,
    pub wave: WaveLength,
    pub leaders_per_round: usize,
    pub depth: u64,
    pub nonces_ahead: usize,
    pub corrupt: BTreeMap<ReplicaId, &'static Strategy>,
    /// The one correct replica whose disk may fail: it counts within f.
    pub forgetful: Option<ReplicaId>,
    pub scheduler: Scheduler,
    pub reorders: bool,
    /// Of a thousand messages, how many arrive twice.
    pub duplicates: u64,
    pub incidents: Vec<(Micros, Incident)>,
    pub heal_at: Micros,
    pub clients: usize,
    pub acts: usize,
    /// Of a hundred acts, how many ask for a certificate.
    pub certificates: u64,
    pub max_steps: u64,
}

impl Plan {
    pub fn draw(seed: u64, options: &Options) -> Self {
        let rng = &mut Stream::new(seed, "plan", 0);
        let n = options.replicas.unwrap_or_else(|| match rng.below(32) {
            0 => 10,
            1 | 2 => 7,
            3 => 5,
            _ => 4,
        });
        let faults = Committee::new(n).map_or(0, |committee| committee.faults());
        let forgetful = (faults > 0 && options.adversary.is_none() && rng.chance(1, 3))
            .then(|| ReplicaId(rng.below(n as u64) as u8));
        let room = faults - usize::from(forgetful.is_some());
        let corrupt = draw_corrupt(rng, n, room, forgetful, options);
        let heal_at = rng.between(2, 5) * SECOND;
        let mut plan = Self {
            seed,
            n,
            wave: if rng.chance(1, 4) { WaveLength::Four } else { WaveLength::Five },
            leaders_per_round: rng.between(1, 3) as usize,
            depth: if rng.chance(1, 3) { rng.between(12, 60) } else { 10_000 },
            nonces_ahead: rng.between(4, 24) as usize,
            corrupt,
            forgetful,
            scheduler: *rng.pick(&Scheduler::ALL).expect("there are some"),
            reorders: rng.chance(1, 2),
            duplicates: if rng.chance(1, 3) { rng.between(1, 200) } else { 0 },
            incidents: Vec::new(),
            heal_at,
            clients: rng.between(1, 3) as usize,
            acts: rng.between(1, 4) as usize,
            certificates: if rng.chance(1, 16) { 50 } else { 0 },
            max_steps: options.steps.unwrap_or(400_000),
        };
        plan.incidents = draw_incidents(&plan);
        plan
    }

    pub fn is_correct(&self, id: ReplicaId) -> bool {
        !self.corrupt.contains_key(&id)
    }
}

fn draw_corrupt(
    rng: &mut Stream,
    n: usize,
    room: usize,
    forgetful: Option<ReplicaId>,
    options: &Options,
) -> BTreeMap<ReplicaId, &'static Strategy> {
    let mut others: Vec<ReplicaId> = (0..n as u8).map(ReplicaId).filter(|id| Some(*id) != forgetful).collect();
    rng.shuffle(&mut others);
    let count = if options.adversary.is_some() || rng.chance(7, 8) { room } else { 0 };
    let strategy = |rng: &mut Stream| {
        let drawn = rng.pick(adversary::STRATEGIES).expect("there are some");
        options.adversary.unwrap_or(drawn)
    };
    others.into_iter().take(count).map(|id| (id, strategy(rng))).collect()
}

/// Each kind of incident is on or off in a run.
fn draw_incidents(plan: &Plan) -> Vec<(Micros, Incident)> {
    let rng = &mut Stream::new(plan.seed, "incidents", 0);
    let correct: Vec<usize> = (0..plan.n).filter(|&id| plan.is_correct(ReplicaId(id as u8))).collect();
    let mut incidents = Vec::new();
    let until = plan.heal_at;
    for kind in 0..9 {
        if !rng.chance(1, 4) {
            continue;
        }
        for _ in 0..rng.between(1, 4) {
            let at = rng.between(50 * MS, until - 1);
            let process = *rng.pick(&correct).expect("some are correct");
            let incident = match kind {
                0 => Incident::Crash { process, effects: rng.below(40) as u32, back_after: rng.between(1, 1500) * MS },
                1 => Incident::PowerCut { back_after: rng.between(1, 500) * MS },
                2 => {
                    let Some(forgetful) = plan.forgetful else { continue };
                    let fault = match rng.below(3) {
                        0 => DiskFault::Lost,
                        1 => DiskFault::SetBack(rng.between(200, 2000) * MS),
                        _ => DiskFault::Damaged,
                    };
                    Incident::Disk { process: forgetful.index(), fault, back_after: rng.between(10, 1500) * MS }
                }
                3 => {
                    let (sync, lasts) = (rng.between(5, 400) * MS, rng.between(100, 2000) * MS);
                    Incident::SlowDisk { process, sync, lasts }
                }
                4 => Incident::Pause { process, lasts: rng.between(50, 2500) * MS },
                5 => Incident::ClockJump { process, by: rng.between(0, 240_000) as i64 - 120_000 },
                6 => {
                    let other = (process + rng.between(1, plan.n as u64 - 1) as usize) % plan.n;
                    Incident::Reset { between: (process, other), back_after: rng.between(1, 1500) * MS }
                }
                7 => Incident::Partition { side: some(rng, plan.n), lasts: rng.between(50, 2000) * MS },
                _ => {
                    let (from, to) = (some(rng, plan.n), some(rng, plan.n));
                    Incident::Hold { from, to, lasts: rng.between(50, 2000) * MS }
                }
            };
            incidents.push((at, incident));
        }
    }
    if rng.chance(1, 12) {
        // Each replica in turn is cut off.
        let lasts = until / plan.n as u64;
        let rolling = |process| (process as u64 * lasts, Incident::Partition { side: vec![process], lasts });
        incidents.extend((0..plan.n).map(rolling));
    }
    incidents
}

/// Some of the processes, not all.
fn some(rng: &mut Stream, n: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut all);
    all.truncate(rng.between(1, n as u64 - 1) as usize);
    all
}
