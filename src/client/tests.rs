//! The client against fake replicas on loopback: honest, dead, silent, endless, garbled, lying, stale.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::cluster::tests::cluster_of;
use super::*;
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::SecretKey;
use crate::directory::Timestamp;
use crate::directory::name::Name;
use crate::directory::operation::{Action, Operation, SignedOperation};
use crate::replica::report::{DoorRefusal, OperationResult, OutcomeReport, Received};

/// What a replica does instead of its duty.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    /// Nothing listens.
    Dead,
    /// Accepts connections and never says a word.
    Silent,
    /// Starts an answer and never ends it.
    Endless,
    /// Answers at once, with JSON that is no answer.
    Garbage,
    /// Acknowledges operations and drops them; knows no outcome.
    Forgetful,
    /// Reports another position.
    OtherPosition,
    /// Reports a refusal.
    OtherOutcome,
    /// Refuses everything at the door.
    DoorKeeper,
    /// Executes, but has not published.
    Unpublished,
    /// Reads: says something else, at an absurd height.
    OtherAnswer,
    /// Reads: says the right thing at height 0 and time 0.
    Backdated,
    /// Reads: answers from long ago.
    Stale,
}

const LIES: [Fault; 11] = [
    Fault::Dead,
    Fault::Silent,
    Fault::Endless,
    Fault::Garbage,
    Fault::Forgetful,
    Fault::OtherPosition,
    Fault::OtherOutcome,
    Fault::DoorKeeper,
    Fault::OtherAnswer,
    Fault::Backdated,
    Fault::Stale,
];

/// What the honest replicas have executed: each operation at the next position.
#[derive(Clone)]
struct World(Arc<Executed>);

struct Executed {
    outcomes: Mutex<BTreeMap<Digest, OutcomeReport>>,
    changed: watch::Sender<()>,
}

impl World {
    fn new() -> Self {
        Self(Arc::new(Executed { outcomes: Mutex::default(), changed: watch::Sender::new(()) }))
    }

    fn execute(&self, digest: Digest) {
        let mut outcomes = self.0.outcomes.lock().unwrap();
        let position = outcomes.len() as u64 + 1;
        outcomes.entry(digest).or_insert(OutcomeReport {
            digest,
            position,
            height: 20 + position,
            agreed_time: Timestamp(1000),
            result: OperationResult::Accepted { zone: name("names.example."), serial: 7, certificate: None },
            visible: true,
        });
        drop(outcomes);
        self.0.changed.send_replace(());
    }

    async fn outcome(&self, digest: Digest) -> OutcomeReport {
        let mut changed = self.0.changed.subscribe();
        loop {
            if let Some(report) = self.0.outcomes.lock().unwrap().get(&digest) {
                return report.clone();
            }
            changed.changed().await.unwrap();
        }
    }
}

fn name(text: &str) -> Name {
    Name::parse(text, None).unwrap()
}

async fn submit(State((world, fault)): State<(World, Fault)>, body: Bytes) -> (StatusCode, Json<Value>) {
    let digest = SignedOperation::digest_of_bytes(&body);
    match fault {
        Fault::Garbage => return (StatusCode::OK, Json(json!({ "digest": 7 }))),
        Fault::DoorKeeper => return (StatusCode::FORBIDDEN, Json(json!({ "code": "bad-signature" }))),
        Fault::Forgetful => {}
        _ => world.execute(digest),
    }
    (StatusCode::ACCEPTED, Json(json!(Received { digest })))
}

async fn outcome(
    State((world, fault)): State<(World, Fault)>,
    Path(digest): Path<String>,
) -> Result<Json<OutcomeReport>, StatusCode> {
    let digest = Digest::parse(&digest).unwrap();
    // A liar does not wait for anything to happen.
    let lie = |position, result| {
        Ok(Json(OutcomeReport { digest, position, height: u64::MAX, agreed_time: Timestamp(0), result, visible: true }))
    };
    match fault {
        Fault::Garbage | Fault::Forgetful | Fault::DoorKeeper => Err(StatusCode::NOT_FOUND),
        Fault::OtherPosition => {
            lie(999, OperationResult::Accepted { zone: name("names.example."), serial: 7, certificate: None })
        }
        Fault::OtherOutcome => lie(1, OperationResult::Refused { code: "name-taken".into(), message: "no".into() }),
        Fault::Unpublished => {
            let report = world.outcome(digest).await;
            Ok(Json(OutcomeReport { visible: false, ..report }))
        }
        _ => Ok(Json(world.outcome(digest).await)),
    }
}

async fn history(State((_, fault)): State<(World, Fault)>, Path(of): Path<String>) -> (StatusCode, Json<Value>) {
    let body = json!({ "name": of, "omitted": 3, "entries": [] });
    match fault {
        Fault::Garbage => (StatusCode::OK, Json(json!([1, 2]))),
        Fault::OtherAnswer => (
            StatusCode::OK,
            Json(json!({ "height": u64::MAX, "agreed_time": u64::MAX,
                         "body": { "name": of, "omitted": 4, "entries": [] } })),
        ),
        Fault::OtherOutcome => {
            (StatusCode::NOT_FOUND, Json(json!({ "height": 10, "agreed_time": 1000, "body": null })))
        }
        Fault::Backdated => (StatusCode::OK, Json(json!({ "height": 0, "agreed_time": 0, "body": body }))),
        Fault::Stale => (
            StatusCode::OK,
            Json(json!({ "height": 5, "agreed_time": 500, "body": { "name": of, "omitted": 1, "entries": [] } })),
        ),
        _ => (StatusCode::OK, Json(json!({ "height": 10, "agreed_time": 1000, "body": body }))),
    }
}

async fn status(State((_, fault)): State<(World, Fault)>) -> Json<Value> {
    let zones = if fault == Fault::OtherAnswer { json!([{ "zone": ".", "serial": 1, "names": 1 }]) } else { json!([]) };
    Json(json!({
        "height": 10,
        "agreed_time": 1000,
        "body": {
            "cluster": { "network": "11".repeat(32), "zones": zones },
            "replica": { "id": 0, "round": 4, "pending_signatures": 0, "peers_connected": [], "version": "0.1.0" },
        },
    }))
}

/// Starts one replica; gives its address.
async fn start(world: &World, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    match fault {
        Fault::Dead => {}
        Fault::Silent | Fault::Endless => {
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    if fault == Fault::Endless {
                        tokio::spawn(babble(stream));
                    } else {
                        held.push(stream);
                    }
                }
            });
        }
        fault => {
            let router = Router::new()
                .route("/v1/operations", post(submit))
                .route("/v1/operations/{digest}", get(outcome))
                .route("/v1/titles/{name}/history", get(history))
                .route("/v1/status", get(status))
                .with_state((world.clone(), fault));
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
    }
    address
}

async fn babble(mut stream: tokio::net::TcpStream) {
    let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    while written.is_ok() {
        written = stream.write_all(b"10\r\n{\"digest\":      \r\n").await;
        tokio::task::yield_now().await;
    }
}

async fn client(faults: &[Fault]) -> Client {
    let world = World::new();
    let mut apis = Vec::new();
    for &fault in faults {
        apis.push(start(&world, fault).await);
    }
    Client::new(cluster_of(&apis), Seen::in_memory())
}

/// A different operation for each number, so that each chooses its own first replicas.
fn operation(number: u64) -> SignedOperation {
    Operation {
        network: Digest([0x11; 32]),
        zone: name("names.example."),
        title: name("alice.names.example."),
        sequence: number,
        previous: Digest::ZERO,
        valid_until: Timestamp(1),
        action: Action::Register,
    }
    .sign(&SecretKey::from_seed(&[1; 32]))
}

fn impatient(client: Client) -> Client {
    client.with_timeout(Duration::from_millis(700))
}

#[tokio::test]
async fn an_operation_is_confirmed_whichever_replica_is_at_fault() {
    for fault in LIES {
        for at in 0..4 {
            let mut faults = [Fault::None; 4];
            faults[at] = fault;
            let client = client(&faults).await;
            let done = client.submit(&operation(at as u64)).await;
            let Ok(Submission::Confirmed(confirmed)) = done else { panic!("{fault:?} at {at}: {done:?}") };
            assert_eq!((confirmed.position, confirmed.visible), (1, true), "{fault:?} at {at}");
            assert_eq!(client.seen.height(), 21, "{fault:?} at {at}");
        }
    }
}

#[tokio::test]
async fn an_operation_that_only_one_replica_knows_is_not_confirmed() {
    let faults = [Fault::None, Fault::Dead, Fault::Forgetful, Fault::Garbage];
    let client = impatient(client(&faults).await);
    let error = client.submit(&operation(0)).await.unwrap_err();
    assert!(error.to_string().starts_with("not confirmed within 0.7 s: "), "{error}");
    assert_eq!(client.seen.height(), 0);
}

#[tokio::test]
async fn two_different_lies_confirm_nothing() {
    let faults = [Fault::OtherPosition, Fault::OtherOutcome, Fault::Silent, Fault::Endless];
    assert!(impatient(client(&faults).await).submit(&operation(0)).await.is_err());
}

#[tokio::test]
async fn what_is_ordered_but_not_served_is_confirmed_without_being_visible() {
    let client = impatient(client(&[Fault::Unpublished; 4]).await);
    let Ok(Submission::Confirmed(confirmed)) = client.submit(&operation(0)).await else { panic!("ordered") };
    assert_eq!((confirmed.position, confirmed.visible), (1, false));
}

#[tokio::test]
async fn refusals_at_the_door_count_when_a_kernel_gives_the_same() {
    let faults = [Fault::DoorKeeper, Fault::DoorKeeper, Fault::Dead, Fault::Silent];
    let done = client(&faults).await.submit(&operation(0)).await;
    assert_eq!(done, Ok(Submission::Refused(DoorRefusal::BadSignature)));
}

#[tokio::test]
async fn a_read_is_right_whichever_replica_is_at_fault() {
    for fault in LIES {
        for at in 0..4 {
            let mut faults = [Fault::None; 4];
            faults[at] = fault;
            let client = client(&faults).await;
            let answer = client.history(&name("alice.names.example.")).await;
            let Ok(answer) = answer else { panic!("{fault:?} at {at}: {answer:?}") };
            assert_eq!((answer.height, answer.agreed_time), (10, Timestamp(1000)), "{fault:?} at {at}");
            assert_eq!(answer.body.unwrap().omitted, 3, "{fault:?} at {at}");
            assert_eq!(client.seen.height(), 10);
        }
    }
}

#[tokio::test]
async fn a_read_never_goes_back_behind_a_height_seen() {
    let client = impatient(client(&[Fault::None; 4]).await);
    client.seen.raise(11);
    let error = client.history(&name("alice.names.example.")).await.unwrap_err();
    assert!(error.why.contains("height 11 was seen before"), "{error}");
    assert_eq!(client.seen.height(), 11);
}

#[tokio::test]
async fn stale_replicas_do_not_outvote_the_height_seen() {
    let client = client(&[Fault::Stale, Fault::Stale, Fault::None, Fault::None]).await;
    client.seen.raise(10);
    assert_eq!(client.history(&name("alice.names.example.")).await.unwrap().body.unwrap().omitted, 3);
}

#[tokio::test]
async fn one_answer_and_three_silences_are_no_answer() {
    let client = impatient(client(&[Fault::None, Fault::Silent, Fault::Dead, Fault::Garbage]).await);
    assert!(client.history(&name("alice.names.example.")).await.is_err());
}

#[tokio::test]
async fn status_tells_what_is_agreed_from_what_each_replica_says() {
    let client = client(&[Fault::OtherAnswer, Fault::None, Fault::Dead, Fault::None]).await;
    let status = client.status().await.unwrap();
    assert_eq!((status.cluster.height, status.cluster.body.zones.len()), (10, 0));
    let agrees: Vec<Option<bool>> =
        status.replicas.values().map(|word| word.as_ref().map(|word| word.zones_as_agreed)).collect();
    assert_eq!(agrees, [Some(false), Some(true), None, Some(true)]);
}
