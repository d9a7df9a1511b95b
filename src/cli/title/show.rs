//! `torrens title show`

use std::fmt::Write;

use serde_json::json;

use crate::cli::cluster::{ClusterArgs, absolute_name};
use crate::cli::operation::no_such_title;
use crate::cli::output::{Failure, Report, date, table};
use crate::directory::name::Name;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  torrens title show alice.names.example. --cluster cluster.toml")]
pub struct Args {
    /// The name, with or without the last dot
    #[arg(value_parser = absolute_name)]
    name: Name,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let answer = self.cluster.client()?.title(&self.name).await?;
        let Some(title) = &answer.body else { return Ok(no_such_title(&self.name)) };
        let mut rows = vec![
            ["owner".to_owned(), title.owner.to_string()],
            ["since".to_owned(), date(title.since)],
            ["operations".to_owned(), format!("{} after the first", title.sequence)],
            ["last".to_owned(), title.head.to_string()],
            ["zone".to_owned(), title.zone.to_string()],
        ];
        if let Some(to) = title.offered_to {
            rows.insert(1, ["offered to".to_owned(), to.to_string()]);
        }
        let mut text = table(["title", &title.name.to_string()], rows);
        let _ = writeln!(text, "\n; {} records of the owner", title.records.len());
        for record in &title.records {
            let _ = writeln!(text, "{record}");
        }
        if title.omitted > 0 {
            let _ = writeln!(text, "; {} more RRsets are not shown: ask the zone's servers", title.omitted);
        }
        let _ = writeln!(text, "; at height {}, agreed time {}", answer.height, date(answer.agreed_time));
        Ok(Report::accepted(
            text,
            json!({ "height": answer.height, "agreed_time": answer.agreed_time, "title": title }),
        ))
    }
}
