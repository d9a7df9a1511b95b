//! `torrens title register`

use crate::cli::operation::{Done, OwnerArgs};
use crate::cli::output::{Failure, Report};
use crate::directory::operation::Action;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --sealed nobody, not even a replica, learns which name you want before your place in the order is fixed. If somebody \
asked for it before that, you are refused and the name is his; afterwards nobody can take it.

Examples:
  torrens title register alice.names.example. --key alice.key --cluster cluster.toml
  torrens title register alice.names.example. --key alice.key --cluster cluster.toml --sealed")]
pub struct Args {
    #[command(flatten)]
    owner: OwnerArgs,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let owner = self.owner.open()?;
        Ok(match owner.act(Action::Register).await? {
            Done::Refused(report) => report,
            Done::Accepted(accepted) => {
                let (name, repeated) = (&owner.name, self.owner.repeated());
                accepted.report(&format!(
                    "{name} belongs to {}. Now give it records:\n  torrens title set {name}{repeated} '{name} 300 A 192.0.2.1'\n",
                    owner.key.public()
                ))
            }
        })
    }
}
