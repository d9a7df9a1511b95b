//! `torrens title accept`

use crate::cli::operation::{Done, OwnerArgs};
use crate::cli::output::{Failure, Report};
use crate::directory::operation::Action;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  torrens title accept alice.names.example. --key bob.key --cluster cluster.toml")]
pub struct Args {
    #[command(flatten)]
    owner: OwnerArgs,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let owner = self.owner.open()?;
        Ok(match owner.act(Action::Accept).await? {
            Done::Refused(report) => report,
            Done::Accepted(accepted) => {
                let (name, cluster) = (&owner.name, self.owner.cluster.cluster.display());
                accepted.report(&format!(
                    "{name} belongs to {}. Its records are as they were:\n  torrens title show {name} --cluster {cluster}\n",
                    owner.key.public()
                ))
            }
        })
    }
}
