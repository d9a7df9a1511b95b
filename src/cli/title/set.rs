//! `torrens title set`

use crate::cli::operation::{Done, OwnerArgs};
use crate::cli::output::{Failure, Report};
use crate::cli::seams;
use crate::client::Cluster;
use crate::directory::name::Name;
use crate::directory::operation::{Action, RecordChange};
use crate::directory::rrset::Rtype;

/// Seconds that a record is cached if its line does not say.
const DEFAULT_TTL: u32 = 3600;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Records are written as in a zone file; names without a last dot are relative to NAME, and @ is NAME itself. The records \
given replace all others of the same name and type; what is not named stays as it is.

Examples:
  torrens title set alice.names.example. --key alice.key --cluster cluster.toml \\
      '@ 300 A 192.0.2.1' '@ 300 AAAA 2001:db8::1' 'www 300 CNAME alice.names.example.'
  torrens title set alice.names.example. --key alice.key --cluster cluster.toml --delete www CNAME
  torrens title set alice.names.example. --key alice.key --cluster cluster.toml --sealed '@ 300 A 192.0.2.9'")]
pub struct Args {
    #[command(flatten)]
    owner: OwnerArgs,
    /// A record, such as 'www 300 A 192.0.2.1'
    #[arg(value_name = "RECORD", required_unless_present = "delete")]
    records: Vec<String>,
    /// Delete the records of this name and type; may be given several times
    #[arg(long, num_args = 2, value_names = ["NAME", "TYPE"], action = clap::ArgAction::Append)]
    delete: Vec<String>,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let owner = self.owner.open()?;
        let changes = match changes(&self.records, &self.delete, &owner.name) {
            Ok(changes) => changes,
            Err(what) => return Ok(Report::refused("bad-record", &what)),
        };
        let next = look_up(&changes, owner.client.cluster());
        Ok(match owner.act(Action::Set { changes }).await? {
            Done::Refused(report) => report,
            Done::Accepted(accepted) => accepted.report(&next),
        })
    }
}

fn changes(records: &[String], delete: &[String], title: &Name) -> Result<Vec<RecordChange>, String> {
    let puts = seams::parse_records(records, title, DEFAULT_TTL).map_err(|error| error.to_string())?;
    let mut changes: Vec<RecordChange> =
        puts.into_iter().map(|(name, rrset)| RecordChange::Put { name, rrset }).collect();
    for pair in delete.chunks_exact(2) {
        let name = Name::parse(&pair[0], Some(title)).map_err(|error| format!("{}: {error}", pair[0]))?;
        let rtype = seams::rtype_from_text(&pair[1])
            .ok_or_else(|| format!("{}: not a record type; write A, MX or TYPE65280", pair[1]))?;
        changes.push(RecordChange::Delete { name, rtype });
    }
    Ok(changes)
}

/// How to see the first change in the DNS.
fn look_up(changes: &[RecordChange], cluster: &Cluster) -> String {
    let (Some(change), Some(replica)) = (changes.first(), cluster.replicas.first()) else { return String::new() };
    let (name, rtype): (&Name, Rtype) = match change {
        RecordChange::Put { name, rrset } => (name, rrset.rtype),
        RecordChange::Delete { name, rtype } => (name, *rtype),
    };
    let (address, port) = (replica.dns.ip(), replica.dns.port());
    format!("See it, signed:\n  dig @{address} -p {port} +dnssec {name} {rtype}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn records_and_deletions_are_relative_to_the_title() {
        let title = Name::parse("alice.names.example.", None).unwrap();
        let records = strings(&["@ 300 A 192.0.2.1", "www A 192.0.2.2", "www 3600 A 192.0.2.3"]);
        let changes = changes(&records, &strings(&["old", "TXT", "alice.names.example.", "type99"]), &title).unwrap();
        let shown: Vec<String> = changes
            .iter()
            .map(|change| match change {
                RecordChange::Put { name, rrset } => {
                    format!("{name} {} {} ×{}", rrset.ttl, rrset.rtype, rrset.rdatas().len())
                }
                RecordChange::Delete { name, rtype } => format!("delete {name} {}", rtype.0),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "alice.names.example. 300 A ×1",
                "www.alice.names.example. 3600 A ×2",
                "delete old.alice.names.example. 16",
                "delete alice.names.example. 99"
            ]
        );
    }

    #[test]
    fn a_record_that_cannot_be_read_is_refused_with_its_text() {
        let title = Name::parse("alice.names.example.", None).unwrap();
        assert!(changes(&strings(&["@ A 192.0.2.1.7"]), &[], &title).is_err());
        assert!(changes(&[], &strings(&["@", "NOTYPE"]), &title).unwrap_err().contains("NOTYPE"));
    }
}
