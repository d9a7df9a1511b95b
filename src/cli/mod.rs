//! The `torrens` command: one file for each subcommand.
//!
//! Exit codes: 0 done or accepted; 1 refused, with the reason; 2 wrong usage or a broken input file; 3 not confirmed by
//! enough replicas in time; 4 to 8 what `check` found. Results go to stdout, as text or with `--json` as one JSON
//! object; everything else to stderr.

mod bench;
mod cert;
mod check;
mod cluster;
mod ds;
mod key;
mod operation;
mod output;
mod replica;
mod seams;
mod simulate;
mod status;
mod testbed;
mod title;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use output::{Exit, Failure, Report};

/// A register of names that no single server can forge.
#[derive(Debug, Parser)]
#[command(name = "torrens", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 accepted, 1 refused, 2 wrong usage or input file, 3 not confirmed in time";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make and show the keys that own names
    #[command(subcommand)]
    Key(key::Command),
    /// Register names, set their records, hand them over, look them up
    #[command(subcommand)]
    Title(title::Command),
    /// Get certificates for names
    #[command(subcommand)]
    Cert(cert::Command),
    /// Ask all servers of a zone, and say which lag, withhold, forge or contradict each other
    Check(check::Args),
    /// Print the DS records that parents of the cluster's zones publish
    Ds(ds::Args),
    /// Show the state of a cluster
    Status(status::Args),
    /// Put load on a cluster, or on the ordering alone, and measure
    #[command(subcommand)]
    Bench(bench::Command),
    Simulate(simulate::Args),
    Testbed(testbed::TestbedArgs),
    Replica(replica::ReplicaArgs),
}

impl Command {
    async fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Key(command) => command.run(),
            Self::Title(command) => command.run().await,
            Self::Cert(command) => command.run().await,
            Self::Check(args) => args.run().await,
            Self::Ds(args) => args.run(),
            Self::Status(args) => args.run().await,
            Self::Bench(command) => command.run().await,
            Self::Simulate(args) => args.run(),
            Self::Testbed(_) | Self::Replica(_) => unreachable!("servers are run by `main`"),
        }
    }
}

/// Parses the command line, runs the command, prints its result.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    output::log_to_stderr();
    let command = match cli.command {
        Command::Testbed(args) => return output::print_served(args.run()),
        Command::Replica(args) => return output::print_served(args.run()),
        command => command,
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return output::print(Err(Failure::Usage(format!("no threads to run on: {error}"))), cli.json),
    };
    let result = runtime.block_on(command.run());
    // Whatever still waits for a replica is not worth waiting for.
    runtime.shutdown_background();
    output::print(result, cli.json)
}
