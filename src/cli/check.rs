//! `torrens check`

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::cluster::absolute_name;
use super::ds;
use super::operation::local_time;
use super::output::{Exit, Failure, Report, date, table};
use crate::client::check::{Finding, Server, Verdict, replicas};
use crate::client::seen::Seen;
use crate::client::{Client, Cluster};
use crate::directory::Timestamp;
use crate::directory::name::Name;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  torrens check names.example. --trust cluster.toml
  torrens check names.example. --trust cluster.toml --json | jq -r .verdict
  torrens check names.example. --trust cluster.toml --server 192.0.2.1:53

All replicas are asked for the zone's SOA record and heartbeat over DNS, verified here under the zone's key, and over HTTP
their newest signed head, with the root over their state, and how far they have come by their own word. With --server,
secondaries are compared with them.

healthy      shows the newest version, with a fresh heartbeat
silent       does not answer
lagging      what it shows is proven, but old; if all lag, the cluster stands still
withholding  answers, but does not show what it says it has
forging      shows what the zone's or the cluster's key did not sign, or denies what others prove
divergent    its signed head and another's are of no one order: stop, and keep what --json shows: it is proof

Exit codes: 0 all are healthy; of the others the worst: 4 silent, 5 lagging, 6 withholding, 7 forging, 8 divergent; 2
wrong usage or input file")]
pub struct Args {
    /// A zone of the cluster
    #[arg(value_name = "ZONE", value_parser = absolute_name)]
    zone: Name,
    /// Whom to ask and which key to trust: the cluster's file
    #[arg(long, value_name = "FILE", alias = "cluster")]
    trust: PathBuf,
    /// Another server of the zone to compare; repeat for several
    #[arg(long = "server", value_name = "ADDRESS:PORT")]
    servers: Vec<SocketAddr>,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let cluster = Cluster::load(&self.trust)?;
        let zone = ds::named(&cluster, &self.zone)?.clone();
        let mut servers = replicas(&cluster);
        servers.extend(self.servers.iter().map(|dns| Server { label: dns.to_string(), dns: *dns, api: None }));
        let client = Client::new(cluster, Seen::in_memory());
        let findings = client.check(&zone, servers, local_time).await;
        let now = local_time();
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Silent);
        Ok(Report {
            exit: exit(verdict),
            text: text(&findings, now),
            json: to_json(&self.zone, verdict, &findings, now),
        })
    }
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Healthy => Exit::Accepted,
        Verdict::Silent => Exit::Silent,
        Verdict::Lagging => Exit::Lagging,
        Verdict::Withholding => Exit::Withholding,
        Verdict::Forging => Exit::Forging,
        Verdict::Divergent => Exit::Divergent,
    }
}

fn text(findings: &[Finding], now: Timestamp) -> String {
    let header =
        ["server", "verdict", "serial", "heartbeat", "age", "height", "signed for", "signed head", "own word", "why"];
    table(header, findings.iter().map(|finding| row(finding, now)))
}

fn row(finding: &Finding, now: Timestamp) -> [String; 10] {
    let Finding { server, verdict, why, shown, word, head } = finding;
    let dash = || "-".to_owned();
    let beat = shown.and_then(|shown| shown.heartbeat);
    [
        server.label.clone(),
        verdict.as_str().to_owned(),
        shown.map_or_else(dash, |shown| shown.serial.to_string()),
        beat.map_or_else(dash, |beat| date(beat.time)),
        beat.map_or_else(dash, |beat| format!("{} s", age(beat.time, now))),
        beat.map_or_else(dash, |beat| beat.height.to_string()),
        shown.map_or_else(dash, |shown| format!("{} s", left(shown.expiration, now))),
        head.map_or_else(dash, |signed| format!("height {}", signed.head.height)),
        word.map_or_else(dash, |word| format!("height {}", word.height)),
        why.clone(),
    ]
}

fn age(time: Timestamp, now: Timestamp) -> u64 {
    now.seconds().saturating_sub(time.seconds())
}

/// Seconds until then, modulo 2³² (RFC 1982); below zero if it is over.
fn left(expiration: u32, now: Timestamp) -> i32 {
    expiration.wrapping_sub(now.seconds() as u32) as i32
}

fn to_json(zone: &Name, verdict: Verdict, findings: &[Finding], now: Timestamp) -> Value {
    let server = |finding: &Finding| {
        let Finding { server, verdict, why, shown, word, head } = finding;
        json!({
            "server": server.label,
            "dns": server.dns.to_string(),
            "verdict": verdict.as_str(),
            "why": why,
            "serial": shown.map(|shown| shown.serial),
            "signature_seconds_left": shown.map(|shown| left(shown.expiration, now)),
            "heartbeat": shown.and_then(|shown| shown.heartbeat).map(|beat| json!({
                "height": beat.height,
                "time": beat.time.seconds(),
                "interval": beat.interval,
                "age_seconds": age(beat.time, now),
            })),
            "signed_head": head.map(|signed| json!({
                "height": signed.head.height,
                "agreed_time": signed.head.agreed_time,
                "position": signed.head.position,
                "root": signed.head.root.to_string(),
                "signed_base64": data_encoding::BASE64.encode(&signed.to_bytes()),
            })),
            "own_word": word.map(|word| json!({
                "height": word.height,
                "agreed_time": word.agreed_time,
                "serial": word.serial,
            })),
        })
    };
    json!({
        "zone": zone.to_string(),
        "verdict": verdict.as_str(),
        "servers": findings.iter().map(server).collect::<Vec<_>>(),
    })
}
