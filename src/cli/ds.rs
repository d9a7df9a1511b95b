//! `torrens ds`: what the parent of a zone is to publish.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::cluster::absolute_name;
use super::output::{Failure, Report};
use crate::client::Cluster;
use crate::client::cluster::Zone;
use crate::crypto::ed25519::PublicKey;
use crate::directory::name::Name;
use crate::limits::DNSKEY_TTL;
use crate::signing::rrsig::{dnskey_text, ds_text};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  torrens ds --cluster cluster.toml
  torrens ds names.example. --cluster cluster.toml >> db.example
  torrens ds names.example. --dnskey --cluster cluster.toml > names.example.key

The DS record goes into the parent zone, beside the NS records of the delegation; the parent may choose another TTL.
The DNSKEY record is for validators that trust the zone itself, as a trust-anchor-file of unbound.")]
pub struct Args {
    /// One zone of the cluster; all of them if none is named
    #[arg(value_name = "ZONE", value_parser = absolute_name)]
    zone: Option<Name>,
    /// The cluster's file: its zones and their keys
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// Print the DNSKEY record instead
    #[arg(long)]
    dnskey: bool,
}

impl Args {
    pub fn run(self) -> Result<Report, Failure> {
        let cluster = Cluster::load(&self.cluster)?;
        let zones: Vec<&Zone> = match &self.zone {
            None => cluster.zones.iter().collect(),
            Some(name) => vec![named(&cluster, name)?],
        };
        let line = if self.dnskey { dnskey_text } else { ds_text };
        let text: String =
            zones.iter().map(|zone| line(&zone.name, &PublicKey(zone.dnskey), DNSKEY_TTL) + "\n").collect();
        Ok(Report::accepted(text, json!({ "zones": zones.into_iter().map(to_json).collect::<Vec<_>>() })))
    }
}

/// The zone of exactly this name.
pub fn named<'a>(cluster: &'a Cluster, name: &Name) -> Result<&'a Zone, Failure> {
    cluster.zones.iter().find(|zone| zone.name == *name).ok_or_else(|| {
        let zones: Vec<String> = cluster.zones.iter().map(|zone| zone.name.to_string()).collect();
        Failure::Usage(format!("{name} is no zone of this cluster: name one of {}", zones.join(", ")))
    })
}

fn to_json(zone: &Zone) -> Value {
    let key = PublicKey(zone.dnskey);
    json!({
        "zone": zone.name.to_string(),
        "ds": ds_text(&zone.name, &key, DNSKEY_TTL),
        "dnskey": dnskey_text(&zone.name, &key, DNSKEY_TTL),
    })
}
