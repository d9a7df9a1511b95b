//! One seed, or many.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::check::Violation;
use super::keys::{Keyring, Zones};
use super::plan::{Options, Plan};
use super::world::World;
use crate::crypto::digest::Digest;

/// What came of one seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub seed: u64,
    pub replicas: usize,
    /// Names of the corrupt replicas' strategies.
    pub adversaries: Vec<&'static str>,
    pub scheduler: &'static str,
    pub events: u64,
    pub virtual_ms: u64,
    pub rounds: u64,
    pub commits: u64,
    /// How often each kind of incident came about.
    pub counts: BTreeMap<&'static str, u64>,
    /// A digest of all events: equal for equal seeds.
    pub trace: Digest,
    pub violation: Option<Violation>,
}

impl Report {
    /// The command that runs this seed again.
    pub fn replay(&self, options: &Options) -> String {
        let mut line = format!("torrens simulate --seed {}", self.seed);
        if let Some(replicas) = options.replicas {
            line += &format!(" --replicas {replicas}");
        }
        if let Some((file, _)) = &options.structure {
            line += &format!(" --structure {file}");
        }
        if options.real {
            line += " --real";
        }
        if let Some(adversary) = options.adversary {
            line += &format!(" --adversary {}", adversary.name);
        }
        if let Some(steps) = options.steps {
            line += &format!(" --steps {steps}");
        }
        line
    }
}

/// Runs the universe of one seed. A panic in it is a violation.
pub fn run(seed: u64, options: &Options, keyring: &Keyring) -> Report {
    run_plan(Plan::draw(seed, options), keyring)
}

/// As [`run`], with what was drawn.
pub(crate) fn run_plan(plan: Plan, keyring: &Keyring) -> Report {
    let seed = plan.seed;
    let network = keyring.network(&plan.committee, Zones { zonemd: plan.zonemd, registry: plan.registry });
    let mut world = World::new(plan, network);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation =
        ended.unwrap_or_else(|panic| Some(Violation { checker: "panic", what: panic_message(panic.as_ref()) }));
    let plan = world.plan();
    Report {
        seed,
        replicas: plan.n,
        adversaries: plan.corrupt.values().map(|strategy| strategy.name).collect(),
        scheduler: plan.scheduler.name(),
        events: world.steps,
        virtual_ms: world.now / 1000,
        rounds: world.rounds(),
        commits: world.height(),
        counts: world.counts.clone(),
        trace: world.trace(),
        violation,
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

/// Every so many seeds one is run twice: seldom one of those whose cryptography is real ([`super::plan::REAL_EVERY`]), which
/// take several times as long.
const TWICE: u64 = 33;

/// As [`run`]; now and then twice, to see that the same comes of it.
pub fn run_checked(seed: u64, options: &Options, keyring: &Keyring) -> Report {
    let mut report = run(seed, options, keyring);
    if seed.is_multiple_of(TWICE) && report.violation.is_none() {
        let again = run(seed, options, keyring);
        if again != report {
            let what = format!("the same seed gave trace {} and then {}", report.trace, again.trace);
            report.violation = Some(Violation { checker: "determinism", what });
        }
    }
    report
}

/// Sums over many seeds.
#[derive(Default, Debug)]
pub struct Totals {
    pub seeds: u64,
    pub events: u64,
    pub virtual_ms: u64,
    pub rounds: u64,
    pub commits: u64,
    pub counts: BTreeMap<&'static str, u64>,
    pub adversaries: BTreeMap<&'static str, u64>,
    pub schedulers: BTreeMap<&'static str, u64>,
    pub sizes: BTreeMap<usize, u64>,
    pub failed: Vec<Report>,
}

impl Totals {
    pub fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.virtual_ms += report.virtual_ms;
        self.rounds += report.rounds;
        self.commits += report.commits;
        for (what, times) in &report.counts {
            *self.counts.entry(what).or_default() += times;
        }
        for name in &report.adversaries {
            *self.adversaries.entry(name).or_default() += 1;
        }
        *self.schedulers.entry(report.scheduler).or_default() += 1;
        *self.sizes.entry(report.replicas).or_default() += 1;
        if report.violation.is_some() {
            self.failed.push(report);
        }
    }
}

/// Failed seeds after which it is time to look into them.
const ENOUGH_FAILED: usize = 10;

/// Runs seeds from `first` on, on `threads` threads, until `enough` says so of the totals and of the number of seeds given
/// out, or many have failed.
pub fn run_many(
    first: u64,
    threads: usize,
    options: &Options,
    keyring: &Keyring,
    enough: &(dyn Fn(&Totals, u64) -> bool + Sync),
) -> Totals {
    let enough = |totals: &Totals, given| enough(totals, given) || totals.failed.len() >= ENOUGH_FAILED;
    in_threads(threads, &enough, |given| run_checked(first + given, options, keyring), Totals::add)
}

/// Runs 0, 1, 2, … on `threads` threads, and sums up what comes of them, until it is enough.
pub(super) fn in_threads<T: Default + Send, R>(
    threads: usize,
    enough: &(dyn Fn(&T, u64) -> bool + Sync),
    run: impl Fn(u64) -> R + Sync,
    add: impl Fn(&mut T, R) + Sync,
) -> T {
    let next = AtomicU64::new(0);
    let totals = Mutex::new(T::default());
    let lock = || totals.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let given = next.fetch_add(1, Ordering::Relaxed);
            if enough(&lock(), given) {
                return;
            }
            let result = run(given);
            add(&mut lock(), result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    totals.into_inner().unwrap_or_else(PoisonError::into_inner)
}
