//! Arguments that say which cluster, and how long to wait for it.

use std::path::PathBuf;
use std::time::Duration;

use super::output::Failure;
use crate::client::seen::Seen;
use crate::client::{Client, Cluster};
use crate::crypto::ed25519::PublicKey;
use crate::directory::name::Name;

#[derive(Debug, clap::Args)]
pub struct ClusterArgs {
    /// The cluster's file: its replicas and public keys
    #[arg(long, value_name = "FILE")]
    pub cluster: PathBuf,
    /// Seconds to wait for enough replicas to agree, at each step
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Where to remember how far the cluster had come [default: $XDG_STATE_HOME/torrens or ~/.local/state/torrens]
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
}

impl ClusterArgs {
    pub fn client(&self) -> Result<Client, Failure> {
        let cluster = Cluster::load(&self.cluster)?;
        let seen = match &self.state {
            Some(folder) => Seen::in_folder(folder, &cluster.network),
            None => Seen::of_user(&cluster.network),
        };
        Ok(Client::new(cluster, seen).with_timeout(self.timeout))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds, such as 30 or 0.5".to_owned())?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("from 0.1 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A name as people write it: always absolute, with or without its last dot.
pub fn absolute_name(text: &str) -> Result<Name, String> {
    Name::parse(text, None).map_err(|error| error.to_string())
}

pub fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).ok_or_else(|| "write it as `torrens key show` prints it: ed25519:BASE64".to_owned())
}
