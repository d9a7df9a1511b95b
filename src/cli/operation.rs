//! What all commands that change something share: read the title, sign the next operation, submit, report.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::cluster::{ClusterArgs, absolute_name};
use super::output::{Exit, Failure, Report, date};
use crate::client::{Client, Confirmed, Submission, keyfile};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::operation::{Action, Operation, SignedOperation};
use crate::limits;
use crate::replica::report::{DoorRefusal, OperationResult};

#[derive(Debug, clap::Args)]
pub struct OwnerArgs {
    /// The name, with or without the last dot
    #[arg(value_parser = absolute_name)]
    pub name: Name,
    /// Your key file
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Encrypt it to the cluster: nobody can read what you ask for, and ask for it first, before your place in the order
    /// is fixed. Takes a little longer
    #[arg(long)]
    pub sealed: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl OwnerArgs {
    pub fn open(&self) -> Result<Owner, Failure> {
        let (key, client) = (keyfile::load(&self.key)?, self.cluster.client()?);
        Ok(Owner { key, client, name: self.name.clone(), sealed: self.sealed })
    }

    /// ` --key K --cluster C`, for the command to type next.
    pub fn repeated(&self) -> String {
        format!(" --key {} --cluster {}", self.key.display(), self.cluster.cluster.display())
    }
}

/// Somebody about to do something with a name.
pub struct Owner {
    pub key: SecretKey,
    pub client: Client,
    pub name: Name,
    /// Whether nobody is to know of it before it is ordered.
    pub sealed: bool,
}

/// How an operation went.
pub enum Done {
    Accepted(Accepted),
    /// Refused; the report says it all.
    Refused(Report),
}

pub struct Accepted {
    pub confirmed: Confirmed,
    pub zone: Name,
    pub serial: u32,
    pub certificate: Option<u64>,
}

impl Owner {
    /// Signs `action` as the title's next operation, submits it, waits for the outcome.
    pub async fn act(&self, action: Action) -> Result<Done, Failure> {
        let cluster = self.client.cluster();
        let Some(zone) = cluster.zone_for(&self.name).map(|zone| zone.name.clone()) else {
            let zones: Vec<String> = cluster.zones.iter().map(|zone| zone.name.to_string()).collect();
            return Err(Failure::Usage(format!("{} lies in no zone of this cluster: {}", self.name, zones.join(" "))));
        };
        let (sequence, previous, agreed_time) = if action == Action::Register {
            // Not the title: to ask for a free name would tell the replicas which one is about to be taken.
            (0, Digest::ZERO, self.client.status().await?.cluster.agreed_time)
        } else {
            let title = self.client.title(&self.name).await?;
            let Some(last) = &title.body else { return Ok(Done::Refused(no_such_title(&self.name))) };
            (last.sequence.saturating_add(1), last.head, title.agreed_time)
        };
        let now = agreed_time.max(local_time());
        let operation = Operation {
            network: cluster.network,
            zone,
            title: self.name.clone(),
            sequence,
            previous,
            valid_until: Timestamp(now.0.saturating_add(limits::OPERATION_VALIDITY_MS)),
            action,
        };
        self.submit(operation).await
    }

    async fn submit(&self, operation: Operation) -> Result<Done, Failure> {
        let valid_until = operation.valid_until;
        let signed = operation.sign(&self.key);
        let bytes = signed.to_bytes();
        if bytes.len() > limits::MAX_OPERATION {
            let refusal = DoorRefusal::TooLarge;
            return Ok(Done::Refused(Report::refused(refusal.code(), &refusal.to_string())));
        }
        let submission =
            if self.sealed { self.client.submit_sealed(&signed).await } else { self.client.submit(&signed).await };
        let submission = submission.map_err(|error| {
            let digest = SignedOperation::digest_of_bytes(&bytes);
            Failure::NotConfirmed(format!(
                "{error}\nOperation {digest} may still be executed until {}; `torrens title history {}` tells.",
                date(valid_until),
                self.name
            ))
        })?;
        Ok(match submission {
            Submission::Refused(refusal) => Done::Refused(Report::refused(refusal.code(), &refusal.to_string())),
            Submission::Confirmed(confirmed) => match confirmed.outcome.result.clone() {
                OperationResult::Accepted { zone, serial, certificate } => {
                    Done::Accepted(Accepted { confirmed, zone, serial, certificate })
                }
                OperationResult::Refused { code, message } => Done::Refused(refused_at(&confirmed, &code, &message)),
            },
        })
    }
}

impl Accepted {
    /// The report of an accepted operation; `next` is what its owner may want to do now.
    pub fn report(&self, next: &str) -> Report {
        let Self { confirmed, zone, serial, .. } = self;
        let mut text = format!("accepted at position {}, zone {zone} serial {serial}\n", confirmed.position);
        if !confirmed.visible {
            let _ = writeln!(text, "Not served yet: serial {serial} was still being signed when time ran out.");
        }
        text += next;
        Report { exit: Exit::Accepted, text, json: self.json() }
    }

    pub fn json(&self) -> Value {
        let mut json = json!(self.confirmed.outcome);
        json["visible"] = self.confirmed.visible.into();
        json
    }
}

fn refused_at(confirmed: &Confirmed, code: &str, message: &str) -> Report {
    let text = format!("refused at position {} ({code}): {message}\n", confirmed.position);
    Report { exit: Exit::Refused, text, json: json!(confirmed.outcome) }
}

pub fn no_such_title(name: &Name) -> Report {
    Report::refused("no-such-title", &format!("nobody holds {name}; `torrens title register {name}` takes it"))
}

pub fn local_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
