//! `torrens simulate`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::output::{Exit, Failure, Report, table};
use crate::config;
use crate::sim::adversary::{STRATEGIES, Strategy};
use crate::sim::run::{self, Totals, run_many};
use crate::sim::{Keyring, Options, Primes, twins};

/// Run whole replicas under virtual time, with everything that can go wrong drawn from a seed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  torrens simulate --seed 7                        one universe, in detail
  torrens simulate --seed 0 --seeds 2000           many; the first that fails prints the line that replays it
  torrens simulate --seed 0 --minutes 60           as many as an hour holds
  torrens simulate --seed 7 --adversary twins      with this kind of corrupt replica
  torrens simulate --seed 7 --structure config/classes-9.toml
                                                   one of its fail-prone sets is corrupt
  torrens simulate --twins --count 5000            scenarios of the Twins family, drawn by the seed
  torrens simulate --twins --from 0 --count 50000  those with these numbers
  torrens simulate --list                          what kinds there are")]
pub struct Args {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1, conflicts_with = "minutes")]
    seeds: u64,
    /// Go on for so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Replicas; drawn from the seed if left out
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    replicas: Option<u8>,
    /// Which replicas there are, and which may fail together; corrupt are those of one such set
    #[arg(long, value_name = "FILE", conflicts_with = "replicas")]
    structure: Option<PathBuf>,
    /// Real signatures under heads, and every share checked by every replica, as one seed in fifty has them
    #[arg(long)]
    real: bool,
    /// The strategy of every corrupt replica; drawn from the seed if left out
    #[arg(long, value_parser = strategy)]
    adversary: Option<&'static Strategy>,
    /// End each run after so many events
    #[arg(long)]
    steps: Option<u64>,
    /// Scenarios of the Twins family instead: four replicas and a twin of one, partitions in three rounds, all coins
    #[arg(long, conflicts_with_all = ["replicas", "structure", "real", "adversary", "steps", "seeds"])]
    twins: bool,
    /// The first scenario's number, and those that follow it; drawn from the seed if left out
    #[arg(long, value_name = "NUMBER", requires = "twins")]
    from: Option<u64>,
    /// How many scenarios
    #[arg(long, default_value_t = 1000, requires = "twins")]
    count: u64,
    /// Threads; as many as the machine has cores if left out
    #[arg(long)]
    threads: Option<usize>,
    /// List the strategies of corrupt replicas
    #[arg(long)]
    list: bool,
}

fn strategy(name: &str) -> Result<&'static Strategy, String> {
    Strategy::find(name).ok_or_else(|| "no strategy of this name: see `torrens simulate --list`".to_owned())
}

impl Args {
    pub fn run(&self) -> Result<Report, Failure> {
        if self.list {
            return Ok(list());
        }
        if self.twins {
            return Ok(self.many_twins());
        }
        let structure = |path: &PathBuf| {
            let committee = config::structure::read(path).map_err(|error| Failure::Usage(error.to_string()))?;
            Ok::<_, Failure>((path.display().to_string(), committee))
        };
        let options = Options {
            replicas: self.replicas.map(usize::from),
            adversary: self.adversary,
            steps: self.steps,
            structure: self.structure.as_ref().map(structure).transpose()?,
            real: self.real,
        };
        let keyring = self.keyring();
        if self.seeds == 1 && self.minutes.is_none() {
            return Ok(one(&run::run_checked(self.seed, &options, &keyring), &options));
        }
        let started = Instant::now();
        let totals = self.many(&options, &keyring, started);
        Ok(many(&totals, &options, started.elapsed()))
    }

    /// Keys of simulated networks. Without primes at hand the first network takes minutes, and says so.
    fn keyring(&self) -> Keyring {
        let primes = Primes::at_hand();
        if primes.take_long() {
            let _ = writeln!(
                std::io::stderr(),
                "looking for two safe primes for the keys of the simulated networks: some minutes, once"
            );
        }
        Keyring::new(primes)
    }

    /// Scenarios in turn, or drawn by the seed.
    fn many_twins(&self) -> Report {
        let keyring = self.keyring();
        let started = Instant::now();
        let bar = ProgressBar::new(self.limit().map_or(self.count, |limit| limit.as_secs()));
        bar.set_style(self.style("scenarios"));
        std::panic::set_hook(Box::new(|_| {}));
        let enough = |outcomes: &twins::Outcomes, given: u64| {
            bar.set_position(self.limit().map_or(outcomes.scenarios, |_| started.elapsed().as_secs()));
            bar.set_message(format!("{} scenarios, {} commits", outcomes.scenarios, outcomes.commits));
            self.limit().map_or(given >= self.count, |limit| started.elapsed() >= limit)
        };
        let from = self.from.map_or(twins::Numbers::Drawn { seed: self.seed }, twins::Numbers::From);
        let outcomes = twins::run_many(from, self.threads(), &keyring, &enough);
        let _ = std::panic::take_hook();
        bar.finish_and_clear();
        twins_report(&outcomes, started.elapsed())
    }

    fn limit(&self) -> Option<Duration> {
        self.minutes.map(|minutes| Duration::from_secs(60 * minutes))
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get))
    }

    /// A bar over seconds, or over so many `things`.
    fn style(&self, things: &str) -> ProgressStyle {
        let unit = if self.minutes.is_some() { "s" } else { things };
        let template = format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{msg}}");
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }

    fn many(&self, options: &Options, keyring: &Keyring, started: Instant) -> Totals {
        let limit = self.limit();
        let bar = ProgressBar::new(limit.map_or(self.seeds, |limit| limit.as_secs()));
        bar.set_style(self.style("seeds"));
        // A panic inside a run is its result, not something to print in the middle of the bar.
        std::panic::set_hook(Box::new(|_| {}));
        let enough = |totals: &Totals, given: u64| {
            bar.set_position(limit.map_or(totals.seeds, |_| started.elapsed().as_secs()));
            bar.set_message(format!(
                "{} seeds, {} events, {} virtual, {} failed",
                totals.seeds,
                totals.events,
                hours(totals.virtual_ms),
                totals.failed.len()
            ));
            limit.map_or(given >= self.seeds, |limit| started.elapsed() >= limit)
        };
        let totals = run_many(self.seed, self.threads(), options, keyring, &enough);
        let _ = std::panic::take_hook();
        bar.finish_and_clear();
        totals
    }
}

fn twins_report(outcomes: &twins::Outcomes, took: Duration) -> Report {
    let mut text = format!(
        "{} scenarios of {} in {:.1} s: {} commits, {} blocks ordered, the twins accused in {}\n",
        outcomes.scenarios,
        twins::SCENARIOS,
        took.as_secs_f64(),
        outcomes.commits,
        outcomes.blocks,
        outcomes.equivocations
    );
    let replay = |number: u64| format!("torrens simulate --twins --from {number} --count 1");
    for (number, what) in &outcomes.failed {
        let _ = write!(text, "FAILED scenario {number}: {what}\nreplay: {}\n", replay(*number));
    }
    let failed = outcomes.failed.iter();
    let failed = failed.map(|(number, what)| json!({ "scenario": number, "what": what, "replay": replay(*number) }));
    let json = json!({
        "scenarios": outcomes.scenarios,
        "of": twins::SCENARIOS,
        "seconds": took.as_secs_f64(),
        "commits": outcomes.commits,
        "blocks": outcomes.blocks,
        "accused": outcomes.equivocations,
        "failed": failed.collect::<Vec<_>>(),
    });
    let exit = if outcomes.failed.is_empty() { Exit::Accepted } else { Exit::Refused };
    Report { exit, text, json }
}

/// Hours, minutes and seconds.
fn hours(ms: u64) -> String {
    let seconds = ms / 1000;
    format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn list() -> Report {
    let text = table(["strategy", "what it does"], STRATEGIES.iter().map(|s| [s.name.to_owned(), s.about.to_owned()]));
    let json = STRATEGIES.iter().map(|s| json!({ "name": s.name, "about": s.about })).collect::<Vec<_>>();
    Report::accepted(text, Value::Array(json))
}

fn one(report: &run::Report, options: &Options) -> Report {
    let mut text = format!("seed {}: {} replicas, ", report.seed, report.replicas);
    let _ = match report.adversaries.as_slice() {
        [] => writeln!(text, "none corrupt, {} network", report.scheduler),
        names => writeln!(text, "corrupt: {}, {} network", names.join(", "), report.scheduler),
    };
    let _ = writeln!(
        text,
        "{} events in {}.{:03} s of virtual time, {} rounds, {} commits",
        report.events,
        report.virtual_ms / 1000,
        report.virtual_ms % 1000,
        report.rounds,
        report.commits
    );
    for (what, times) in &report.counts {
        let _ = writeln!(text, "{what}: {times}");
    }
    let _ = writeln!(text, "trace {}", report.trace);
    let failure = report.violation.as_ref().map(|_| failed(report, options));
    text.extend(failure);
    let exit = if report.violation.is_none() { Exit::Accepted } else { Exit::Refused };
    Report { exit, text, json: to_json(report, options) }
}

/// What did not hold, and the line that replays it.
fn failed(report: &run::Report, options: &Options) -> String {
    let Some(violation) = &report.violation else { return String::new() };
    format!("FAILED {}: {}\nreplay: {}\n", violation.checker, violation.what, report.replay(options))
}

fn to_json(report: &run::Report, options: &Options) -> Value {
    let violation = report.violation.as_ref();
    json!({
        "seed": report.seed,
        "replicas": report.replicas,
        "adversaries": report.adversaries,
        "scheduler": report.scheduler,
        "events": report.events,
        "virtual_ms": report.virtual_ms,
        "rounds": report.rounds,
        "commits": report.commits,
        "counts": report.counts,
        "trace": report.trace.to_string(),
        "violation": violation.map(|v| json!({ "checker": v.checker, "what": v.what })),
        "replay": report.replay(options),
    })
}

fn many(totals: &Totals, options: &Options, took: Duration) -> Report {
    let mut text = format!(
        "{} seeds in {:.1} s: {} events, {} of virtual time, {} rounds, {} commits\n",
        totals.seeds,
        took.as_secs_f64(),
        totals.events,
        hours(totals.virtual_ms),
        totals.rounds,
        totals.commits
    );
    let sizes =
        totals.sizes.iter().map(|(size, times)| (format!("{size} replicas"), *times)).collect::<BTreeMap<_, _>>();
    let named = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(what, times)| ((*what).to_owned(), *times)).collect::<BTreeMap<_, _>>()
    };
    let groups = [
        ("committee", sizes),
        ("network", named(&totals.schedulers)),
        ("what happened", named(&totals.counts)),
        ("corrupt", named(&totals.adversaries)),
    ];
    for (what, counts) in &groups {
        let rows = counts.iter().map(|(what, times)| [what.clone(), times.to_string()]);
        text += &format!("\n{}", table([*what, "times"], rows));
    }
    for report in &totals.failed {
        let _ = write!(text, "\n{}", failed(report, options));
    }
    let json = json!({
        "seeds": totals.seeds,
        "seconds": took.as_secs_f64(),
        "events": totals.events,
        "virtual_ms": totals.virtual_ms,
        "rounds": totals.rounds,
        "commits": totals.commits,
        "sizes": totals.sizes.iter().map(|(size, times)| (size.to_string(), *times)).collect::<BTreeMap<_, _>>(),
        "schedulers": totals.schedulers,
        "counts": totals.counts,
        "adversaries": totals.adversaries,
        "failed": totals.failed.iter().map(|report| to_json(report, options)).collect::<Vec<_>>(),
    });
    let exit = if totals.failed.is_empty() { Exit::Accepted } else { Exit::Refused };
    Report { exit, text, json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan;

    #[test]
    fn the_structures_that_seeds_draw_are_those_of_the_ready_configurations() {
        let read = |name| config::structure::read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name));
        let same = |name, drawn: crate::committee::Committee| {
            let read = read(name).unwrap();
            assert!(read.fail_prone_sets() == drawn.fail_prone_sets() && read.len() == drawn.len());
        };
        same("classes-9.toml", plan::nine());
        same("sites-and-systems-16.toml", plan::sixteen());
    }
}
