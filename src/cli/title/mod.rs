//! `torrens title`: what owners do with names, and what anybody may know of them.

mod accept;
mod history;
mod register;
mod set;
mod show;
mod transfer;

use super::output::{Failure, Report};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Take a free name: your key becomes its owner
    Register(register::Args),
    /// Set or delete records at a name and beneath it
    Set(set::Args),
    /// Offer a name to another key; it stays yours until that key accepts
    Transfer(transfer::Args),
    /// Take a name that was offered to your key
    Accept(accept::Args),
    /// Show a name's owner and records
    Show(show::Args),
    /// List what was done with a name
    History(history::Args),
}

impl Command {
    pub async fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Register(args) => args.run().await,
            Self::Set(args) => args.run().await,
            Self::Transfer(args) => args.run().await,
            Self::Accept(args) => args.run().await,
            Self::Show(args) => args.run().await,
            Self::History(args) => args.run().await,
        }
    }
}
