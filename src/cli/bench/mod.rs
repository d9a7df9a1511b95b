//! `torrens bench`: load, and what it costs.
//!
//! Latencies are percentiles of all samples of the measured seconds, after a warm-up. CPU is user and system time of the
//! replicas' processes by /proc, in microseconds for each operation; the load generator's own is told apart. Figures move
//! from run to run and machine to machine: compare within one run.

mod answer;
mod delays;
mod delays_model;
mod link;
mod network;
mod order;
mod order_node;
mod owner;
mod recovery;
mod recovery_node;
mod serve;
mod start;
mod update;
mod usage;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{Failure, Report};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Update(update::Args),
    Order(order::Args),
    Delays(delays::Args),
    Recovery(recovery::Args),
    Serve(serve::Args),
    Start(start::Args),
    #[command(hide = true)]
    OrderNode(order_node::Args),
}

impl Command {
    pub async fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Update(args) => args.run().await,
            Self::Order(args) => args.run().await,
            Self::Delays(args) => args.run().await,
            Self::Recovery(args) => args.run().await,
            Self::Serve(args) => args.run().await,
            Self::Start(args) => args.run().await,
            Self::OrderNode(args) => args.run().await,
        }
    }
}

/// Samples in order of size.
struct Spread(Vec<Duration>);

impl Spread {
    fn new(samples: impl IntoIterator<Item = Duration>) -> Self {
        let mut samples: Vec<Duration> = samples.into_iter().collect();
        samples.sort_unstable();
        Self(samples)
    }

    /// The smallest sample that `percent` of all samples do not exceed; none of none.
    fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied()
    }

    /// As milliseconds, for JSON: null if there are no samples.
    fn percentile_ms(&self, percent: usize) -> Option<f64> {
        self.percentile(percent).map(|duration| round(duration.as_secs_f64() * 1e3, 10.0))
    }
}

/// A figure with as many decimals as it has zeros in `to`.
fn round(figure: f64, to: f64) -> f64 {
    (figure * to).round() / to
}

/// A figure in a table.
fn cell(figure: Option<f64>) -> String {
    figure.map_or("–".to_owned(), |figure| figure.to_string())
}

/// A failure to run anything at all.
fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

/// A bar on standard error, for `steps` steps.
fn bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>4} [{bar:30}] {wide_msg}").expect("a sound template");
    ProgressBar::new(steps).with_style(style)
}

/// Waits for `seconds`, one step of the bar each.
async fn pass(seconds: u64, bar: &ProgressBar) {
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let spread = Spread::new((1..=200).rev().map(Duration::from_millis));
        assert_eq!([1, 50, 99, 100].map(|percent| spread.percentile_ms(percent)), [2.0, 100.0, 198.0, 200.0].map(Some));
        assert_eq!(Spread::new([]).percentile_ms(50), None);
        assert_eq!(Spread::new([Duration::from_micros(1260)]).percentile_ms(99), Some(1.3));
    }
}
