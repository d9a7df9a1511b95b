//! What one seed draws: the committee, who is corrupt and how, the network, what breaks when, what clients want.

use std::collections::BTreeMap;

use super::adversary::{self, Strategy};
use super::delays::{MS, Micros, Scheduler};
use super::stream::Stream;
use crate::committee::{Committee, FailProne, ReplicaId, ReplicaSet};
use crate::order::WaveLength;
use crate::replica::FarBehind;

/// What is asked for from outside; whatever is left open is drawn.
#[derive(Clone, Default, Debug)]
pub struct Options {
    pub replicas: Option<usize>,
    /// The strategy of every corrupt replica.
    pub adversary: Option<&'static Strategy>,
    /// Events after which the run ends, whatever has come of it.
    pub steps: Option<u64>,
    /// Who may fail together, and the file that says so.
    pub structure: Option<(String, Committee)>,
    /// Nothing in place of costly cryptography.
    pub real: bool,
}

/// One seed in so many takes real signatures under heads, and checks every share at every replica.
pub const REAL_EVERY: u64 = 50;

/// One universe in so many has a zone that comes from a registry's primary.
pub const REGISTRY_EVERY: u64 = 16;

/// Coins have this many sequences: one made each universe alike, and fresh ones for each would have to be computed.
const EPOCHS: u64 = 16;

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
    pub committee: Committee,
    pub n: usize,
    /// Whether all cryptography is real ([`super::heads`]), and all of it is done by each replica.
    pub real: bool,
    pub epoch: u64,
    /// Milliseconds between two heads.
    pub head_interval_ms: u64,
    pub far_behind: FarBehind,
    /// Whether some owners seal their registrations. Checking an envelope takes every replica milliseconds: most universes
    /// are better spent on more rounds.
    pub sealing: bool,
    /// Whether each version of the zone has a digest of itself: it is signed when all else is, which takes as many rounds
    /// again.
    pub zonemd: bool,
    /// Whether there is a second zone, which comes from a registry's primary.
    pub registry: bool,
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
        let committee = draw_committee(rng, options);
        let n = committee.len();
        // A set of replicas that may be lost together: one of them may be correct and forgetful, the others are corrupt.
        let mut prone = draw_fail_prone(rng, &committee);
        let forgets = !prone.is_empty() && options.adversary.is_none() && rng.chance(1, 3);
        let forgetful = prone.pop_if(|_| forgets);
        let mut corrupt = draw_corrupt(rng, prone, options, seed);
        let registry = draw_registry(seed, n, options, &mut corrupt);
        // Most go wrong early or not at all: many short universes find more than a few long ones.
        let heal_at = if rng.chance(1, 4) { rng.between(2000, 5000) } else { rng.between(1000, 2000) } * MS;
        let mut plan = Self {
            seed,
            n,
            real: options.real || seed.is_multiple_of(REAL_EVERY),
            epoch: Stream::new(seed, "epoch", 0).below(EPOCHS),
            head_interval_ms: Stream::new(seed, "heads", 0).between(100, 2000),
            far_behind: draw_far_behind(seed, corrupt.values().any(|strategy| strategy.wants_copies())),
            sealing: Stream::new(seed, "sealing", 0).chance(1, 8)
                || corrupt.values().any(|strategy| strategy.wants_sealed()),
            zonemd: Stream::new(seed, "zonemd", 0).chance(1, 4),
            registry,
            wave: if rng.chance(1, 4) && committee.is_threshold() { WaveLength::Four } else { WaveLength::Five },
            committee,
            leaders_per_round: rng.between(1, 3) as usize,
            depth: if rng.chance(1, 3) { rng.between(12, 60) } else { 10_000 },
            nonces_ahead: rng.between(2, 8) as usize,
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
        if registry {
            // Two zones are to be signed: owners ask for less.
            (plan.clients, plan.acts) = (1, plan.acts.min(2));
        }
        plan.incidents = draw_incidents(&plan);
        plan
    }

    pub fn is_correct(&self, id: ReplicaId) -> bool {
        !self.corrupt.contains_key(&id)
    }
}

/// Mostly small ones, and now and then an example of Cachin, *Distributing Trust on the Internet*, §4.3.
fn draw_committee(rng: &mut Stream, options: &Options) -> Committee {
    let drawn = rng.below(512);
    let by_number = |n| Committee::new(n).expect("there are committees of this size");
    match (&options.structure, options.replicas) {
        (Some((_, committee)), _) => committee.clone(),
        (None, Some(n)) => by_number(n),
        (None, None) => match drawn {
            0 => sixteen(),
            1..=4 => nine(),
            5..=10 => by_number(10),
            11..=34 => by_number(7),
            35..=50 => by_number(5),
            _ => by_number(4),
        },
    }
}

/// Nine servers of four classes: any two, or all of one class, may fail. As `config/classes-9.toml`.
pub fn nine() -> Committee {
    general(9, "any 2 replicas or any 1 of [0 1 2 3, 4 5, 6 7, 8]")
}

/// Sixteen servers, four sites with four operating systems: one of each may fail. As `config/sites-and-systems-16.toml`.
pub fn sixteen() -> Committee {
    let (sites, systems) = ("[0 1 2 3, 4 5 6 7, 8 9 10 11, 12 13 14 15]", "[0 4 8 12, 1 5 9 13, 2 6 10 14, 3 7 11 15]");
    general(16, &format!("any 1 of {sites} and any 1 of {systems}"))
}

fn general(n: usize, family: &str) -> Committee {
    let family = FailProne::parse(family, &|_| None).expect("the family is well formed");
    Committee::general(n, family).expect("the structure satisfies Q3")
}

/// A largest set of replicas that may fail together, in some order.
fn draw_fail_prone(rng: &mut Stream, committee: &Committee) -> Vec<ReplicaId> {
    let mut everybody: Vec<ReplicaId> = committee.ids().collect();
    rng.shuffle(&mut everybody);
    let Some(sets) = committee.fail_prone_sets() else {
        // By number, or by weight: as many of them, in turn, as leave the others a quorum.
        let mut failed = ReplicaSet::EMPTY;
        let fails = |id: &ReplicaId| {
            let mut more = failed;
            more.insert(*id);
            let may_fail = committee.is_quorum(committee.everybody().difference(more));
            failed = if may_fail { more } else { failed };
            may_fail
        };
        return everybody.into_iter().filter(fails).collect();
    };
    let set = *rng.pick(sets).expect("a structure has sets that may fail");
    everybody.retain(|id| set.contains(*id));
    everybody
}

/// Each on its own account, or all together.
fn draw_corrupt(
    rng: &mut Stream,
    prone: Vec<ReplicaId>,
    options: &Options,
    seed: u64,
) -> BTreeMap<ReplicaId, &'static Strategy> {
    if options.adversary.is_none() && rng.chance(1, 8) {
        return BTreeMap::new();
    }
    let (joint, alone): (Vec<&Strategy>, Vec<&Strategy>) =
        adversary::STRATEGIES.iter().filter(|it| !it.wants_registry()).partition(|strategy| strategy.is_joint());
    let company = &mut Stream::new(seed, "company", 0);
    let together = company.pick(&joint).filter(|_| prone.len() > 1 && company.chance(1, 6));
    let strategy = |rng: &mut Stream| {
        let drawn = rng.pick(&alone).expect("there are some");
        options.adversary.unwrap_or(together.unwrap_or(drawn))
    };
    prone.into_iter().map(|id| (id, strategy(rng))).collect()
}

/// Whether there is a zone with a primary; if so, whoever is corrupt mostly lies about that.
fn draw_registry(seed: u64, n: usize, options: &Options, corrupt: &mut BTreeMap<ReplicaId, &'static Strategy>) -> bool {
    let rng = &mut Stream::new(seed, "registry", 0);
    let is_drawn = rng.chance(1, REGISTRY_EVERY) && n <= 7;
    if is_drawn && options.adversary.is_none() && rng.chance(3, 4) {
        let strategies: Vec<_> = adversary::STRATEGIES.iter().filter(|strategy| strategy.wants_registry()).collect();
        let strategy = *rng.pick(&strategies).expect("there are some");
        corrupt.values_mut().for_each(|it| *it = strategy);
    }
    is_drawn || corrupt.values().any(|strategy| strategy.wants_registry())
}

/// Universes are short: in half of them a replica that is a few rounds behind copies the state already.
fn draw_far_behind(seed: u64, sooner: bool) -> FarBehind {
    let rng = &mut Stream::new(seed, "far behind", 0);
    if rng.chance(1, 2) || sooner {
        FarBehind { rounds: rng.between(1, 12), ..FarBehind::default() }
    } else {
        FarBehind::default()
    }
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
