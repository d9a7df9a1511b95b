//! `torrens status`

use std::fmt::Write;

use serde_json::{Value, json};

use super::cluster::ClusterArgs;
use super::output::{Failure, Report, date, table};
use crate::client::{ReplicaWord, Status};
use crate::committee::ReplicaId;
use crate::replica::report::Misdeed;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  torrens status --cluster cluster.toml")]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let client = self.cluster.client()?;
        let status = client.status().await?;
        let expected = client.cluster().network;
        if status.cluster.body.network != expected {
            return Err(Failure::Usage(format!(
                "{}: the replicas serve network {}, not the one in this file",
                self.cluster.cluster.display(),
                status.cluster.body.network
            )));
        }
        Ok(Report::accepted(text(&status), to_json(&status)))
    }
}

fn text(status: &Status) -> String {
    let agreed = &status.cluster;
    let (height, time) = (agreed.height, date(agreed.agreed_time));
    let mut text = format!("network {}, height {height}, agreed time {time}\n\n", agreed.body.network);
    let zones = &agreed.body.zones;
    let rows = zones.iter().map(|zone| [zone.zone.to_string(), zone.serial.to_string(), zone.names.to_string()]);
    text += &table(["zone", "serial", "names"], rows);
    text += "\nEach replica by its own word:\n";
    let header = ["replica", "zones", "height", "round", "peers", "to sign", "version"];
    text += &table(header, status.replicas.iter().map(|(id, word)| row(*id, word.as_ref())));
    text += &misdeeds(status);
    let silent = status.replicas.values().filter(|word| word.is_none()).count();
    if silent > 0 {
        let _ = writeln!(text, "; {silent} did not answer");
    }
    text
}

/// What the replicas say of each other. With proof, it can be checked: see the HTTP API.
fn misdeeds(status: &Status) -> String {
    let words = status.replicas.iter().filter_map(|(id, word)| Some((id, word.as_ref()?)));
    let said = words.flat_map(|(id, word)| word.status.evidence.iter().map(move |misdeed| (id, misdeed)));
    let rows: Vec<[String; 5]> = said
        .map(|(id, misdeed)| {
            let proof = if misdeed.proven { "kept" } else { "-" };
            let Misdeed { culprit, round, what, .. } = misdeed;
            [id.0.to_string(), culprit.to_string(), round.to_string(), what.clone(), proof.into()]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\nMisdeeds that replicas saw:\n{}",
        table(["seen by", "culprit", "round", "what", "proof"], rows.into_iter())
    )
}

fn row(id: ReplicaId, word: Option<&ReplicaWord>) -> [String; 7] {
    let Some(word) = word else {
        let nothing = || "-".to_owned();
        return [id.0.to_string(), "no answer".into(), nothing(), nothing(), nothing(), nothing(), nothing()];
    };
    let said = &word.status;
    [
        id.0.to_string(),
        if word.zones_as_agreed { "as above" } else { "others" }.to_owned(),
        word.height.to_string(),
        said.round.to_string(),
        said.peers_connected.len().to_string(),
        said.pending_signatures.to_string(),
        said.version.clone(),
    ]
}

fn to_json(status: &Status) -> Value {
    let replicas: Vec<Value> = status
        .replicas
        .iter()
        .map(|(id, word)| match word {
            None => json!({ "id": id.0, "answered": false }),
            Some(word) => json!({
                "id": id.0,
                "answered": true,
                "zones_as_agreed": word.zones_as_agreed,
                "own_word": { "height": word.height, "status": word.status },
            }),
        })
        .collect();
    let agreed = &status.cluster;
    json!({
        "height": agreed.height,
        "agreed_time": agreed.agreed_time,
        "cluster": agreed.body,
        "replicas": replicas,
    })
}
