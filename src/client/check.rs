//! Whether the servers of a zone show what the cluster agreed on, lately: all are asked, nobody is believed.
//!
//! Of each server the SOA record and the heartbeat ([`crate::signing::heartbeat`]) are asked for over DNS, and verified
//! under the zone's key; of a replica also its newest signed head ([`super::head`]), which names the root over its
//! whole state, and how far it has come by its own word, over HTTP. The newest proven version and head are the measure
//! for the others: what was signed once cannot be taken back, and no server can make it up. So a server is found
//!
//! * **divergent**: its signed head and another's are of no one order: the cluster signed two states;
//! * **forging**: it shows what was not signed, or denies what others prove;
//! * **withholding**: it answers, and knows more by its own word than it shows; or serves nothing of the zone;
//! * **lagging**: what it shows is proven, and old: another shows a newer version or head, or the next heartbeat is
//!   overdue, or a signature has expired. If all lag, the cluster stands still;
//! * **silent**: no answer at all.
//!
//! Versions and heads reach the replicas within milliseconds of each other; whoever is behind is asked once more a
//! moment later before anything is said of it. Who shows no signed head of its own accord, though it answers, is behind
//! as well.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;

use super::cluster::Zone;
use super::head::{self, HeadReply};
use super::question::{Proven, Reply, ask};
use super::transport::Transport;
use super::{Client, Cluster};
use crate::crypto::ed25519::PublicKey;
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::limits::{CHECK_AGAIN_MS, HEARTBEAT_GRACE, MAX_ANSWER, REQUEST_TIMEOUT_MS};
use crate::replica::heads::{Head, SignedHead};
use crate::replica::report::{Answer, StatusReport};
use crate::signing::heartbeat::{self, Heartbeat};

/// Who is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// As people know it: `replica-0`, or its address.
    pub label: String,
    pub dns: SocketAddr,
    /// Host and port of the API, of a replica.
    pub api: Option<String>,
}

/// What one server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    pub soa: Reply,
    pub heartbeat: Reply,
    /// Over HTTP, if it answered.
    pub word: Option<Word>,
    /// Over HTTP.
    pub head: HeadReply,
}

/// What a replica says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    pub height: u64,
    pub agreed_time: Timestamp,
    /// Serial of the version that it says it serves.
    pub serial: Option<u32>,
}

/// What a server proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    pub serial: u32,
    pub heartbeat: Option<Heartbeat>,
    /// When the first of the signatures seen expires, in seconds modulo 2³².
    pub expiration: u32,
}

/// From sound to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    Healthy,
    Silent,
    Lagging,
    Withholding,
    Forging,
    Divergent,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Silent => "silent",
            Self::Lagging => "lagging",
            Self::Withholding => "withholding",
            Self::Forging => "forging",
            Self::Divergent => "divergent",
        }
    }
}

/// What is found of one server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub server: Server,
    pub verdict: Verdict,
    /// Why it is not healthy; nothing if it is.
    pub why: String,
    pub shown: Option<Shown>,
    pub word: Option<Word>,
    /// Its newest signed head, if it proved one.
    pub head: Option<SignedHead>,
}

/// The replicas of a cluster, as servers of its zones.
pub fn replicas(cluster: &Cluster) -> Vec<Server> {
    let server = |replica: &super::cluster::Replica| Server {
        label: replica.id.to_string(),
        dns: replica.dns,
        api: Some(replica.api.clone()),
    };
    cluster.replicas.iter().map(server).collect()
}

impl Client {
    /// Asks all servers about a zone, and says what is found of each, in their order. `now` is the local clock.
    pub async fn check(&self, zone: &Zone, servers: Vec<Server>, now: impl Fn() -> Timestamp) -> Vec<Finding> {
        let mut observations = self.observe_all(zone, &servers).await;
        let newest = Newest::of(&observations);
        let behind = |seen: &Observation| newest.is_ahead_of(shown(seen)) || newest.has_head_above(seen);
        if observations.iter().any(behind) {
            tokio::time::sleep(Duration::from_millis(CHECK_AGAIN_MS)).await;
            for (seen, server) in observations.iter_mut().zip(&servers) {
                if behind(seen) {
                    *seen = observe(&self.transport, &self.cluster, zone, server).await;
                }
            }
        }
        judge(newest, &observations, servers, now())
    }

    /// All at once; in their order.
    async fn observe_all(&self, zone: &Zone, servers: &[Server]) -> Vec<Observation> {
        let mut tasks = tokio::task::JoinSet::new();
        for (at, server) in servers.iter().cloned().enumerate() {
            let (transport, cluster, zone) = (self.transport.clone(), self.cluster.clone(), zone.clone());
            tasks.spawn(async move { (at, observe(&transport, &cluster, &zone, &server).await) });
        }
        tasks.join_all().await.into_iter().collect::<BTreeMap<_, _>>().into_values().collect()
    }
}

async fn observe(transport: &Transport, cluster: &Cluster, zone: &Zone, server: &Server) -> Observation {
    let key = PublicKey(zone.dnskey);
    // Its word first: what it knows before it is asked to show it.
    let (word, head) = match &server.api {
        Some(api) => (ask_word(transport, api, &zone.name).await, head::ask(transport, api, cluster).await),
        None => (None, HeadReply::Silent),
    };
    let soa = ask(server.dns, &zone.name, &key, &zone.name, Rtype::SOA).await;
    let heartbeat = match heartbeat::name(&zone.name) {
        Some(name) if soa != Reply::Silent => ask(server.dns, &zone.name, &key, &name, Rtype::TXT).await,
        _ => Reply::Silent,
    };
    Observation { soa, heartbeat, word, head }
}

async fn ask_word(transport: &Transport, api: &str, zone: &Name) -> Option<Word> {
    let within = Duration::from_millis(REQUEST_TIMEOUT_MS);
    let (status, body) = transport.get(api, "/v1/status", MAX_ANSWER, within).await?;
    let answer: Answer<StatusReport> = serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK)?;
    let serial = answer.body.cluster.zones.iter().find(|it| it.zone == *zone).map(|it| it.serial);
    Some(Word { height: answer.height, agreed_time: answer.agreed_time, serial })
}

/// What a server proved, if it proved its SOA record.
fn shown(seen: &Observation) -> Option<Shown> {
    let Reply::Proven(soa) = &seen.soa else { return None };
    let numbers = soa.rrset.rdatas().first()?.last_chunk::<20>()?;
    let serial = u32::from_be_bytes(*numbers.first_chunk()?);
    let beat = proven_heartbeat(&seen.heartbeat);
    let expirations =
        [Some(soa), beat.map(|(proven, _)| proven)].into_iter().flatten().map(|it| it.validity.expiration);
    let expiration = expirations.reduce(|a, b| if is_older(a, b) { a } else { b })?;
    Some(Shown { serial, heartbeat: beat.map(|(_, heartbeat)| heartbeat), expiration })
}

fn proven_heartbeat(reply: &Reply) -> Option<(&Proven, Heartbeat)> {
    let Reply::Proven(proven) = reply else { return None };
    Some((proven, Heartbeat::read(proven.rrset.rdatas().first()?)?))
}

/// Whether `a` comes before `b` in the circle of 32-bit numbers (RFC 1982 §3.2).
fn is_older(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

/// The newest that anybody proved.
#[derive(Clone, Copy)]
struct Newest {
    serial: Option<u32>,
    /// Height of a signed head.
    height: Option<u64>,
}

impl Newest {
    fn of(observations: &[Observation]) -> Self {
        let serials = observations.iter().filter_map(|seen| Some(shown(seen)?.serial));
        let heights = observations.iter().filter_map(|seen| Some(seen.head.proven()?.head.height));
        Self { serial: serials.reduce(|a, b| if is_older(a, b) { b } else { a }), height: heights.max() }
    }

    fn is_ahead_of(&self, shown: Option<Shown>) -> bool {
        shown.is_some_and(|shown| self.serial.is_some_and(|newest| is_older(shown.serial, newest)))
    }

    /// Of a replica that answers.
    fn has_head_above(&self, seen: &Observation) -> bool {
        let answers = seen.word.is_some() && seen.head != HeadReply::Forged;
        answers && seen.head.proven().map(|signed| signed.head.height) < self.height
    }
}

fn judge(newest: Newest, observations: &[Observation], servers: Vec<Server>, now: Timestamp) -> Vec<Finding> {
    let beats = observations.iter().any(|seen| proven_heartbeat(&seen.heartbeat).is_some());
    let finding = |(seen, server): (&Observation, Server)| {
        let shown = shown(seen);
        let signed = seen.head.proven();
        let (verdict, why) = match signed.and_then(|signed| divergence(&signed.head, observations)) {
            Some(why) => (Verdict::Divergent, why),
            None => verdict(newest, beats, seen, shown, now),
        };
        Finding { server, verdict, why, shown, word: seen.word, head: signed.copied() }
    };
    observations.iter().zip(servers).map(finding).collect()
}

/// How a signed head contradicts another that somebody showed.
fn divergence(head: &Head, observations: &[Observation]) -> Option<String> {
    let others = observations.iter().filter_map(|other| Some(&other.head.proven()?.head));
    let other = others.into_iter().find(|other| head::contradict(head, other))?;
    let of = |head: &Head| format!("height {} with root {}", head.height, head.root);
    Some(format!("the cluster's key signed {}, and {}: no one order has both", of(head), of(other)))
}

/// What is to be thought of a server, given the newest that anybody proved, and whether anybody proved a heartbeat.
fn verdict(newest: Newest, beats: bool, seen: &Observation, shown: Option<Shown>, now: Timestamp) -> (Verdict, String) {
    let forged = [&seen.soa, &seen.heartbeat].into_iter().find_map(|reply| match reply {
        Reply::Forged(why) => Some(why.clone()),
        _ => None,
    });
    if let Some(why) = forged {
        return (Verdict::Forging, why);
    }
    if seen.head == HeadReply::Forged {
        return (Verdict::Forging, "a head that the cluster's key did not sign".into());
    }
    match (&seen.soa, &seen.heartbeat) {
        (Reply::Nothing(what), _) => return (Verdict::Forging, format!("{what}: it denies the zone's SOA record")),
        (_, Reply::Nothing(what)) if beats => {
            return (Verdict::Forging, format!("{what}: it denies the heartbeat, which others prove"));
        }
        (Reply::NotServed(what), _) => return (Verdict::Withholding, format!("does not serve the zone: {what}")),
        (Reply::Silent, _) if seen.word.is_some() => {
            return (Verdict::Withholding, "answers over HTTP, not over DNS".into());
        }
        (Reply::Silent, _) => return (Verdict::Silent, "no answer".into()),
        (_, Reply::NotServed(_) | Reply::Silent) if beats => {
            return (Verdict::Withholding, "shows its SOA record, not its heartbeat".into());
        }
        _ => {}
    }
    let Some(shown) = shown else { return (Verdict::Forging, "an SOA record that is none".into()) };
    if let Some(newest) = newest.serial.filter(|newest| is_older(shown.serial, *newest)) {
        let knows = seen.word.and_then(|word| word.serial).is_some_and(|said| !is_older(said, newest));
        let behind = format!("serial {}, while {newest} is published", shown.serial);
        return match knows {
            true => (Verdict::Withholding, format!("{behind} and it says that it has it")),
            false => (Verdict::Lagging, behind),
        };
    }
    if newest.has_head_above(seen) {
        let has =
            seen.head.proven().map_or("no signed head".into(), |head| format!("a signed head of {}", head.head.height));
        let height = newest.height.expect("it is above another");
        return (Verdict::Lagging, format!("{has}, while height {height} is signed"));
    }
    let seconds = now.seconds();
    if is_older(shown.expiration, seconds as u32) {
        return (Verdict::Lagging, "a signature has expired".into());
    }
    let overdue = shown.heartbeat.and_then(|beat| {
        let latest = beat.time.seconds().saturating_add(u64::from(beat.interval)).saturating_add(HEARTBEAT_GRACE);
        seconds.checked_sub(latest).filter(|late| *late > 0)
    });
    match overdue {
        Some(late) => (Verdict::Lagging, format!("the heartbeat is {} s overdue", late + HEARTBEAT_GRACE)),
        None => (Verdict::Healthy, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::head::tests::{head, signed};
    use crate::crypto::digest::Digest;
    use crate::directory::rrset::Rrset;
    use crate::signing::rrsig::Validity;

    const NOW: u64 = 1_800_000_000;

    fn soa(serial: u32, expires_in: i64) -> Reply {
        let mut rdata = vec![0, 0];
        for number in [serial, 1, 1, 1, 1] {
            rdata.extend(u32::to_be_bytes(number));
        }
        proven(Rrset::new(Rtype::SOA, 60, vec![rdata]), expires_in)
    }

    fn beat(age: u64) -> Reply {
        let beat = Heartbeat { height: 9, time: Timestamp((NOW - age) * 1000), interval: 600 };
        proven(beat.rrset(), 86_400)
    }

    fn proven(rrset: Rrset, expires_in: i64) -> Reply {
        let expiration = NOW.saturating_add_signed(expires_in) as u32;
        Reply::Proven(Proven { rrset, validity: Validity { inception: 0, expiration } })
    }

    fn word(serial: u32) -> Option<Word> {
        Some(Word { height: 10, agreed_time: Timestamp(NOW * 1000), serial: Some(serial) })
    }

    fn found(observations: &[Observation]) -> Vec<Verdict> {
        let server = Server { label: "x".into(), dns: ([127, 0, 0, 1], 53).into(), api: None };
        let servers = vec![server; observations.len()];
        let findings = judge(Newest::of(observations), observations, servers, Timestamp(NOW * 1000));
        assert!(findings.iter().all(|it| it.why.is_empty() == (it.verdict == Verdict::Healthy)), "{findings:?}");
        findings.into_iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn each_kind_of_misbehaviour_has_its_name() {
        let signed = |height| HeadReply::Proven(signed(head(height)).into());
        let sound = Observation { soa: soa(7, 86_400), heartbeat: beat(5), word: word(7), head: signed(7) };
        let nothing = |what: &str| Reply::Nothing(what.into());
        let cases = [
            (Observation { word: None, ..sound.clone() }, Verdict::Healthy),
            (Observation { soa: Reply::Forged("x".into()), ..sound.clone() }, Verdict::Forging),
            (Observation { heartbeat: Reply::Forged("x".into()), ..sound.clone() }, Verdict::Forging),
            (Observation { heartbeat: nothing("no such name"), ..sound.clone() }, Verdict::Forging),
            (Observation { soa: nothing("no such name"), ..sound.clone() }, Verdict::Forging),
            (Observation { soa: Reply::NotServed("SERVFAIL".into()), ..sound.clone() }, Verdict::Withholding),
            (Observation { soa: Reply::Silent, heartbeat: Reply::Silent, ..sound.clone() }, Verdict::Withholding),
            (Observation { heartbeat: Reply::Silent, ..sound.clone() }, Verdict::Withholding),
            (Observation { soa: soa(6, 86_400), ..sound.clone() }, Verdict::Withholding),
            (Observation { soa: soa(6, 86_400), word: word(6), ..sound.clone() }, Verdict::Lagging),
            (Observation { soa: soa(6, 86_400), word: None, ..sound.clone() }, Verdict::Lagging),
            (Observation { soa: soa(7, -1), ..sound.clone() }, Verdict::Lagging),
            (Observation { heartbeat: beat(600 + HEARTBEAT_GRACE + 1), ..sound.clone() }, Verdict::Lagging),
            (Observation { heartbeat: beat(600 + HEARTBEAT_GRACE), ..sound.clone() }, Verdict::Healthy),
            (Observation { head: HeadReply::Forged, ..sound.clone() }, Verdict::Forging),
            (Observation { head: signed(6), ..sound.clone() }, Verdict::Lagging),
            (Observation { head: HeadReply::Nothing, ..sound.clone() }, Verdict::Lagging),
            (Observation { head: HeadReply::Silent, ..sound.clone() }, Verdict::Lagging),
            (Observation { head: HeadReply::Silent, word: None, ..sound.clone() }, Verdict::Healthy),
            (
                Observation { soa: Reply::Silent, heartbeat: Reply::Silent, word: None, head: HeadReply::Silent },
                Verdict::Silent,
            ),
        ];
        for (case, expected) in cases {
            assert_eq!(found(&[sound.clone(), case.clone()]), [Verdict::Healthy, expected], "{case:?}");
        }
    }

    #[test]
    fn two_signed_heads_that_no_order_has_are_found_at_all_who_show_them() {
        let of = |head| Observation {
            soa: soa(7, 86_400),
            heartbeat: beat(5),
            word: word(7),
            head: HeadReply::Proven(signed(head).into()),
        };
        let other = || of(Head { root: Digest([8; 32]), ..head(7) });
        assert_eq!(found(&[of(head(7)), of(head(7))]), [Verdict::Healthy; 2]);
        assert_eq!(found(&[of(head(7)), other(), of(head(7))]), [Verdict::Divergent; 3]);
        assert_eq!(found(&[of(head(9)), other(), of(head(7))])[0], Verdict::Healthy);
        let forging = Observation { soa: Reply::Forged("x".into()), ..other() };
        assert_eq!(found(&[of(head(7)), forging]), [Verdict::Divergent; 2], "the worst is told");
    }

    #[test]
    fn a_zone_whose_policy_has_no_heartbeat_is_judged_by_serials() {
        let nothing = || Reply::Nothing("no such name".into());
        let newer = Observation { soa: soa(0, 86_400), heartbeat: nothing(), word: None, head: HeadReply::Silent };
        let older = Observation { soa: soa(u32::MAX, 86_400), ..newer.clone() };
        assert_eq!(found(&[newer, older]), [Verdict::Healthy, Verdict::Lagging], "serials wrap");
    }
}
