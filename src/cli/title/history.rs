//! `torrens title history`

use std::fmt::Write;

use serde_json::json;

use crate::cli::cluster::{ClusterArgs, absolute_name};
use crate::cli::operation::no_such_title;
use crate::cli::output::{Failure, Report, date, table};
use crate::directory::name::Name;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  torrens title history alice.names.example. --cluster cluster.toml")]
pub struct Args {
    /// The name, with or without the last dot
    #[arg(value_parser = absolute_name)]
    name: Name,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let answer = self.cluster.client()?.history(&self.name).await?;
        let Some(history) = &answer.body else { return Ok(no_such_title(&self.name)) };
        let rows = history.entries.iter().map(|entry| {
            [entry.sequence.to_string(), entry.position.to_string(), date(entry.time), entry.event.clone()]
        });
        let mut text = table(["sequence", "position", "agreed time", "event"], rows);
        if history.omitted > 0 {
            let _ = writeln!(text, "; {} earlier operations are not shown", history.omitted);
        }
        let _ = writeln!(text, "; at height {}, agreed time {}", answer.height, date(answer.agreed_time));
        let json = json!({ "height": answer.height, "agreed_time": answer.agreed_time, "history": history });
        Ok(Report::accepted(text, json))
    }
}
