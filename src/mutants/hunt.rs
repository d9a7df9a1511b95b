//! The hunt for planted bugs. `make mutants` prints the table.
//!
//! Each mutant is looked for with the ordinary simulators and their ordinary checkers, in this order:
//!
//! 1. where its [`clue`] says: with the corrupt replicas that make use of the mistake, or among the runs it breaks;
//! 2. universes of whole replicas, as `torrens simulate` runs them;
//! 3. clusters and drawn graphs of the order alone, which cost less and draw nastier schedules;
//! 4. races for a name: no single run shows that an order is unfair;
//! 5. scenarios of whole replicas and of graphs drawn by hand, each with its own claims.
//!
//! First of all, the correct code goes through all of that: nothing may be found in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Mutant, plant};
use crate::order::tests::mutants as order;
use crate::order::tests::mutants::{Behaviour, Bias};
use crate::replica::tests::mutants as replica;
use crate::sim::adversary::{STRATEGIES, Strategy};
use crate::sim::plan::Plan;
use crate::sim::{Keyring, Options, Primes, run};

/// Seeds of each kind of run after which a mutant counts as a survivor, and those that are run first.
const UNIVERSES: u64 = 120;
const UNIVERSES_FIRST: u64 = 30;
const CLUSTERS: u64 = 300;
const CLUSTERS_FIRST: u64 = 60;
/// Seeds of the runs that a clue names.
const DIRECTED: u64 = 60;

/// One run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Run {
    /// Whole replicas; with this adversary, or whatever the seed draws.
    Universe(u64, Option<&'static str>),
    /// The order alone.
    Cluster(u64, Bias),
    Races,
    /// By its place in [`scenarios`].
    Scenario(usize),
}

/// Scenarios by name: of whole replicas, and of the order.
fn scenarios() -> Vec<(&'static str, fn())> {
    replica::SCENARIOS.iter().chain(order::SCENARIOS).copied().collect()
}

/// Where to look first.
#[derive(Clone, Copy)]
enum Clue {
    /// Universes with this adversary.
    With(&'static str),
    Clusters(Bias),
    /// Of the drawn clusters, those from this seed on: few come to the point.
    ClustersFrom(u64),
    Races,
    Scenario(&'static str),
}

fn clue(mutant: Mutant) -> Option<Clue> {
    use Mutant as M;
    let clue = match mutant {
        M::HeadUnverified | M::DivergedByOne => Clue::With("bad-heads"),
        M::ChunkUnverified | M::ManifestUnverified => Clue::Scenario("a lying server"),
        M::AnyHeightAdopted => Clue::With("stale-heads"),
        M::ShareBeforeOrder => Clue::With("early-openings"),
        M::SignatureUnchecked => Clue::Clusters(Bias::Corrupt(Behaviour::Forge)),
        M::EpochUnchecked => Clue::Clusters(Bias::Corrupt(Behaviour::Replay)),
        M::ParentQuorumUnchecked | M::GapNotRequired | M::TwinParentsAllowed => {
            Clue::Clusters(Bias::Corrupt(Behaviour::Malformed))
        }
        M::CoinUnchecked | M::RoundBeforeCoin => Clue::Clusters(Bias::Corrupt(Behaviour::FalseShares)),
        M::TimeIsMaximum | M::TimeIsMean | M::TimeNotMonotone => Clue::Clusters(Bias::Corrupt(Behaviour::LieAboutTime)),
        M::FutureUnbounded | M::JoinsNoRound => Clue::Clusters(Bias::Corrupt(Behaviour::Flood)),
        M::BothTwinsEmitted | M::EvidenceRepeated => Clue::Clusters(Bias::Corrupt(Behaviour::Equivocate)),
        M::WantedTwinRefused | M::TwinsByArrival | M::PassedOverForgotten => {
            Clue::Clusters(Bias::Corrupt(Behaviour::Fork))
        }
        M::MissingAskedOnce => Clue::Clusters(Bias::Corrupt(Behaviour::Withhold)),
        M::CommitWithoutQuorum => Clue::ClustersFrom(230),
        M::WholeByKernel => Clue::ClustersFrom(205),
        M::SupportByArrival
        | M::CertificateWithoutSupport
        | M::CertificateByKernel
        | M::SkipWithoutQuorum
        | M::UndecidedAnchorPassed
        | M::AnchorTooNear
        | M::AnchorNeedsNoCertificate
        | M::OpenExtentIsArrived
        | M::ExtentByOwnGraph => Clue::Clusters(Bias::Graphs),
        M::FenceSkipped | M::FenceByKernel | M::ResumeAtNextRound | M::MissingRecordIsZero => {
            Clue::Clusters(Bias::LostDisks)
        }
        M::EmittedForgotten => Clue::Clusters(Bias::Cuts),
        M::LateLeaders => Clue::Races,
        M::OrderByOwnRound => Clue::ClustersFrom(119),
        M::CoinReleasedEarly
        | M::CoinWithoutRound
        | M::FixedAuthorPriority
        | M::KernelOffByOne
        | M::UnorderedForgotten => Clue::Clusters(Bias::None),
        M::VainChecksUnlimited => Clue::Scenario("a flood of junk"),
        M::EnvelopeUnchecked => Clue::Scenario("checks at the door"),
        M::EvidenceForgotten => Clue::Scenario("blame once"),
        M::VersionBelowKernel | M::PartUnverified => Clue::With("invented-zone"),
        M::VotesForgotten => Clue::With("empty-votes"),
        M::NonceTwice => Clue::With("silent"),
        M::SealedNotAwaited => Clue::Scenario("the thief"),
        _ => return None,
    };
    Some(clue)
}

fn cluster(seed: u64) -> Run {
    Run::Cluster(seed, Bias::None)
}

/// All runs for a mutant, each once, in the order they are made.
fn runs(mutant: Mutant) -> Vec<Run> {
    let scenario =
        |name| Run::Scenario(scenarios().iter().position(|(known, _)| *known == name).expect("a known name"));
    let mut runs: Vec<Run> = match clue(mutant) {
        Some(Clue::With(adversary)) => (0..DIRECTED).map(|seed| Run::Universe(seed, Some(adversary))).collect(),
        Some(Clue::Clusters(bias)) => (0..DIRECTED).map(|seed| Run::Cluster(seed, bias)).collect(),
        Some(Clue::ClustersFrom(first)) => (first..first + DIRECTED).map(cluster).collect(),
        Some(Clue::Races) => vec![Run::Races],
        Some(Clue::Scenario(name)) => vec![scenario(name)],
        None => Vec::new(),
    };
    let any = (0..UNIVERSES_FIRST).map(|seed| Run::Universe(seed, None));
    let any = any.chain((0..CLUSTERS_FIRST).map(cluster)).chain([Run::Races]);
    let any = any.chain((0..scenarios().len()).map(Run::Scenario));
    let any = any.chain((UNIVERSES_FIRST..UNIVERSES).map(|seed| Run::Universe(seed, None)));
    for run in any.chain((CLUSTERS_FIRST..CLUSTERS).map(cluster)) {
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    runs
}

impl Run {
    /// The checker that finds something, and what it says.
    fn find(self, mutant: Option<Mutant>, keyring: &Keyring) -> Option<(String, String)> {
        match self {
            Self::Universe(seed, adversary) => {
                let options =
                    Options { replicas: Some(4), adversary: adversary.and_then(Strategy::find), ..Options::default() };
                // Who is corrupt is drawn, and keys are dealt, without the mistake.
                plant(None);
                let plan = Plan::draw(seed, &options);
                plant(mutant);
                let violation = run::run_plan(plan, keyring).violation?;
                Some((violation.checker.into(), format!("seed {seed}: {}", violation.what)))
            }
            Self::Cluster(seed, bias) => order::cluster(seed, bias),
            Self::Races => order::races(),
            Self::Scenario(at) => {
                let (name, scenario) = scenarios()[at];
                let panic = catch_unwind(AssertUnwindSafe(scenario)).err()?;
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                Some((name.into(), text.into()))
            }
        }
    }

    /// What kind of run it is, for the table.
    fn kind(self) -> String {
        match self {
            Self::Universe(_, None) => "universe".into(),
            Self::Universe(_, Some(adversary)) => format!("universe, {adversary}"),
            Self::Cluster(_, Bias::None) => "cluster".into(),
            Self::Cluster(_, Bias::Corrupt(behaviour)) => format!("cluster, {behaviour:?}"),
            Self::Cluster(_, bias) => format!("cluster, {bias:?}"),
            Self::Races => "races".into(),
            Self::Scenario(_) => "scenario".into(),
        }
    }

    /// As `TORRENS_RUNS` names it.
    fn is_of(self, kinds: &str) -> bool {
        self.kind().split(',').next().is_some_and(|kind| kinds.split(',').any(|wanted| wanted == kind))
    }
}

/// What is looked for: a mutant, or nothing in a part of the runs of the correct code.
struct Hunt {
    mutant: Option<Mutant>,
    name: String,
    runs: Vec<Run>,
}

/// All hunts; `TORRENS_MUTANT` names those that are wanted, `TORRENS_RUNS` the kinds of runs.
fn hunts() -> Vec<Hunt> {
    let mut hunts = Vec::new();
    let correct = |name: &str, runs: Vec<Run>| Hunt { mutant: None, name: format!("(none) {name}"), runs };
    let strategies = (0..).zip(STRATEGIES).map(|(seed, strategy)| Run::Universe(seed, Some(strategy.name)));
    hunts.push(correct("clusters", (0..CLUSTERS).map(cluster).collect()));
    hunts.push(correct("universes", (0..UNIVERSES).map(|seed| Run::Universe(seed, None)).chain(strategies).collect()));
    hunts.push(correct("scenarios", (0..scenarios().len()).map(Run::Scenario).chain([Run::Races]).collect()));
    hunts.extend(Mutant::ALL.iter().map(|&mutant| Hunt {
        mutant: Some(mutant),
        name: format!("{mutant:?}"),
        runs: runs(mutant),
    }));
    if let Ok(wanted) = std::env::var("TORRENS_MUTANT") {
        hunts.retain(|hunt| {
            let name = hunt.mutant.map_or("None".into(), |mutant| format!("{mutant:?}"));
            wanted.split(',').any(|wanted| wanted == name)
        });
    }
    if let Ok(kinds) = std::env::var("TORRENS_RUNS") {
        hunts.iter_mut().for_each(|hunt| hunt.runs.retain(|run| run.is_of(&kinds)));
    }
    hunts
}

#[test]
fn no_planted_bug_survives() {
    let hunts = hunts();
    let in_detail = std::env::var_os("TORRENS_MUTANT").is_some();
    let keyring = Keyring::new(Primes::Fixture);
    let dealt =
        run::run_plan(Plan::draw(1, &Options { replicas: Some(4), steps: Some(1), ..Options::default() }), &keyring);
    assert_eq!(dealt.violation, None);
    replica::deal();
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:>7} {:<28} {:<22} {:<28} {:>5} {:>8}", "", "mutant", "killed by", "in", "runs", "seconds");
    let (next, done, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(Hunt { mutant, name, runs }) = hunts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            plant(*mutant);
            let found = runs.iter().enumerate().find_map(|(at, run)| Some((at, run, run.find(*mutant, &keyring)?)));
            plant(None);
            let seconds = start.elapsed().as_secs_f64();
            let (by, place, count) = match &found {
                Some((at, run, (checker, _))) => (checker.as_str(), run.kind(), at + 1),
                None if mutant.is_some() => ("SURVIVES", String::new(), runs.len()),
                None => ("-", String::new(), runs.len()),
            };
            let turn = format!("{}/{}", done.fetch_add(1, Ordering::Relaxed) + 1, hunts.len());
            println!("{turn:>7} {name:<28} {by:<22} {place:<28} {count:>5} {seconds:>8.1}");
            if let Some((_, run, (_, what))) = found.as_ref().filter(|_| in_detail || mutant.is_none()) {
                println!("        {run:?}: {}", what.chars().take(600).collect::<String>());
            }
            if found.is_some() == mutant.is_none() {
                wrong.lock().unwrap().push(name);
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let _ = std::panic::take_hook();
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:?}: a planted bug that survives, or something found where none is planted");
}
