//! `torrens title transfer`

use crate::cli::cluster::public_key;
use crate::cli::operation::{Done, OwnerArgs};
use crate::cli::output::{Failure, Report};
use crate::crypto::ed25519::PublicKey;
use crate::directory::operation::Action;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  torrens title transfer alice.names.example. --key alice.key \\\n      \
                        --to ed25519:BASE64 --cluster cluster.toml")]
pub struct Args {
    #[command(flatten)]
    owner: OwnerArgs,
    /// The new owner's public key, as `torrens key show` prints it
    #[arg(long, value_name = "PUBLIC", value_parser = public_key)]
    to: PublicKey,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let owner = self.owner.open()?;
        Ok(match owner.act(Action::Transfer { to: self.to }).await? {
            Done::Refused(report) => report,
            Done::Accepted(accepted) => {
                let (name, cluster) = (&owner.name, self.owner.cluster.cluster.display());
                accepted.report(&format!(
                    "{name} is offered to {}, and yours until it is accepted there:\n  torrens title accept {name} --key NEW --cluster {cluster}\n",
                    self.to
                ))
            }
        })
    }
}
