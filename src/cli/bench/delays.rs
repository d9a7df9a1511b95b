//! `torrens bench delays`

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

use super::delays_model::{DELAY, Links, Model, Ordered, Scheduler};
use super::{bar, broken, cell, round};
use crate::cli::output::{Failure, Report, table};
use crate::committee::Committee;
use crate::order::WaveLength;

/// Message delays to commit, of the ordering rule alone, in virtual time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Blocks, coin and rule are the real ones; computing, disks and bandwidth cost nothing, so what is left is the number of
messages that wait for each other. Each message takes 0.5 to 1.5 delays. Each replica is given one operation in ten
delays; an operation counts from when it came in at a replica until it was ordered there.

crashed: f replicas never run.  slow: all that f replicas send takes five times as long.
starved: a scheduler holds back, for 30 delays, the block that would lead if leaders took turns.
expected: the mean without faults of an idealised model of the same rule, and with f crashed.
With --regions the replicas are spread over five cloud regions, and figures are milliseconds.

Examples:
  torrens bench delays
  torrens bench delays --replicas 7 --wave 5 --seeds 20
  torrens bench delays --regions five")]
pub struct Args {
    /// Replicas; several are measured in turn
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "4,7,10,16")]
    replicas: Vec<usize>,
    /// Rounds of a wave: 4 or 5; both are measured in turn
    #[arg(long, value_name = "ROUNDS", value_delimiter = ',', default_value = "5,4", value_parser = wave)]
    wave: Vec<WaveLength>,
    /// Leaders in a round
    #[arg(long, value_name = "N", default_value_t = 2)]
    leaders: usize,
    /// Replicas that crashed, or are slow, instead of f
    #[arg(long, value_name = "N")]
    crashed: Option<usize>,
    /// Latencies between regions instead of uniform ones
    #[arg(long, value_name = "WHICH")]
    regions: Option<Regions>,
    /// Runs of each, with seeds from 1
    #[arg(long, value_name = "N", default_value_t = 2)]
    seeds: u64,
    /// Delays that operations come in for, in each run
    #[arg(long, value_name = "DELAYS", default_value_t = 600)]
    length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Regions {
    /// Virginia, California, Stockholm, Tokyo, Sydney
    Five,
}

fn wave(rounds: &str) -> Result<WaveLength, String> {
    match rounds {
        "4" => Ok(WaveLength::Four),
        "5" => Ok(WaveLength::Five),
        _ => Err("a wave has 4 or 5 rounds".into()),
    }
}

const SCHEDULERS: [(&str, Scheduler); 4] = [
    ("all", Scheduler::Fair),
    ("crashed", Scheduler::Crashed),
    ("slow", Scheduler::Slow),
    ("starved", Scheduler::AgainstTurns),
];

/// One line of the table.
struct Row {
    replicas: usize,
    wave: WaveLength,
    /// By [`SCHEDULERS`].
    ordered: Vec<Ordered>,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        if self.seeds == 0 || self.length == 0 || self.leaders == 0 {
            return Err(Failure::Usage("seeds, length and leaders are above 0".into()));
        }
        let measured = tokio::task::spawn_blocking(move || self.measure().map(|rows| self.report(&rows)));
        measured.await.map_err(broken)?
    }

    fn measure(&self) -> Result<Vec<Row>, Failure> {
        let bar = bar((self.wave.len() * self.replicas.len() * SCHEDULERS.len()) as u64);
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut rows = Vec::new();
        for &wave in &self.wave {
            for &replicas in &self.replicas {
                let committee = Committee::new(replicas).map_err(broken)?;
                let affected = self.crashed.unwrap_or(committee.faults());
                if affected > committee.faults() {
                    return Err(Failure::Usage(format!("{replicas} replicas stand {} faults", committee.faults())));
                }
                let mut ordered = Vec::new();
                for (name, scheduler) in SCHEDULERS {
                    bar.set_message(format!("{replicas} replicas, waves of {} rounds, {name}", rounds(wave)));
                    let runs = (1..=self.seeds).map(|seed| {
                        let rng = ChaCha20Rng::seed_from_u64(seed);
                        let links = if self.regions.is_some() { Links::FiveRegions } else { Links::Uniform };
                        Model::new(&committee, wave, self.leaders, links, scheduler, affected, rng).run(self.length)
                    });
                    ordered.push(runs.fold(Ordered::default(), Ordered::and));
                    bar.inc(1);
                }
                rows.push(Row { replicas, wave, ordered });
            }
        }
        bar.finish_and_clear();
        Ok(rows)
    }

    fn report(&self, rows: &[Row]) -> Report {
        let header = [
            "wave",
            "replicas",
            "mean",
            "expected",
            "p99",
            "rounds",
            "crashed",
            "expected",
            "p99",
            "slow",
            "starved",
            "delivered %",
        ];
        let text = table(header, rows.iter().map(|row| self.row(row)));
        let rows: Vec<Value> = rows.iter().map(|row| self.json(row)).collect();
        let unit = if self.regions.is_some() { "milliseconds" } else { "delays" };
        let json = json!({ "unit": unit, "seeds": self.seeds, "length": self.length, "rows": rows });
        Report::accepted(text, json)
    }

    /// A virtual time in the unit of the table.
    fn figure(&self, time: Option<f64>) -> Option<f64> {
        let unit = if self.regions.is_some() { 1000.0 } else { DELAY as f64 };
        time.map(|time| round(time / unit, if self.regions.is_some() { 1.0 } else { 100.0 }))
    }

    fn row(&self, row: &Row) -> [String; 12] {
        let [all, crashed, slow, starved] = &row.ordered[..] else { unreachable!("one for each scheduler") };
        let expected = if self.regions.is_none() { expected(row.wave, row.replicas) } else { None };
        let least = row.ordered.iter().map(Ordered::delivered_percent).fold(100.0, f64::min);
        [
            rounds(row.wave).to_string(),
            row.replicas.to_string(),
            cell(self.figure(all.mean())),
            cell(expected.map(|(mean, _)| mean)),
            cell(self.figure(all.percentile(99))),
            cell(all.rounds_to_commit().map(|rounds| round(rounds, 100.0))),
            cell(self.figure(crashed.mean())),
            cell(expected.map(|(_, crashed)| crashed)),
            cell(self.figure(crashed.percentile(99))),
            cell(self.figure(slow.mean())),
            cell(self.figure(starved.mean())),
            cell(Some(round(least, 100.0))),
        ]
    }

    fn json(&self, row: &Row) -> Value {
        let runs = SCHEDULERS.iter().zip(&row.ordered).map(|((name, _), ordered)| {
            let figures = json!({
                "mean": self.figure(ordered.mean()),
                "p50": self.figure(ordered.percentile(50)),
                "p99": self.figure(ordered.percentile(99)),
                "rounds_to_commit": ordered.rounds_to_commit().map(|rounds| round(rounds, 100.0)),
                "delivered_percent": ordered.delivered_percent(),
            });
            ((*name).to_owned(), figures)
        });
        let runs: serde_json::Map<String, Value> = runs.collect();
        json!({ "wave": rounds(row.wave), "replicas": row.replicas, "runs": runs })
    }
}

fn rounds(wave: WaveLength) -> u64 {
    match wave {
        WaveLength::Four => 4,
        WaveLength::Five => 5,
    }
}

/// What a model of the rule without blocks, keys or memory limits gave: the mean with all replicas, and with f crashed. Its
/// waves of four rounds have the share one round later, as ours.
fn expected(wave: WaveLength, replicas: usize) -> Option<(f64, f64)> {
    match (wave, replicas) {
        (WaveLength::Five, 4) => Some((6.0, 7.5)),
        (WaveLength::Five, 7) => Some((6.8, 8.5)),
        (WaveLength::Five, 10) => Some((7.1, 9.0)),
        (WaveLength::Five, 16) => Some((7.3, 9.4)),
        (WaveLength::Four, 4) => Some((6.1, 7.4)),
        (WaveLength::Four, 7) => Some((6.8, 8.5)),
        (WaveLength::Four, 10) => Some((7.1, 9.0)),
        (WaveLength::Four, 16) => Some((7.3, 9.4)),
        _ => None,
    }
}
