//! The endpoints.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::problem::{Absent, Problem};
use super::{Backend, Unreadable, Until};
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::name::Name;
use crate::limits;
use crate::replica::report::{Answer, DoorRefusal, HeadReport, OutcomeReport, Proof, Received, StatusReport};

/// The API over a replica. [`super::serve`] puts it on a socket with its limits on connections.
pub fn router<B: Backend>(backend: Arc<B>) -> Router {
    let state = Shared { backend, waiting: Arc::new(Semaphore::new(limits::MAX_HTTP_WAITING)) };
    let of_the_state = Router::new()
        .route("/v1/operations/{digest}", get(outcome::<B>))
        .route("/v1/titles/{name}", get(title::<B>))
        .route("/v1/titles/{name}/history", get(history::<B>))
        .route("/v1/certificates/{position}", get(certificate::<B>))
        .route("/v1/head", get(head::<B>))
        .route_layer(middleware::from_fn_with_state(state.clone(), shown::<B>));
    Router::new()
        .merge(of_the_state)
        .route("/v1/operations", post(submit::<B>))
        .route("/v1/sealed", post(submit_sealed::<B>))
        .route("/v1/status", get(status::<B>))
        .route("/v1/evidence/{culprit}/{round}", get(evidence::<B>))
        .route("/metrics", get(metrics::<B>))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<B>))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "no-such-endpoint", "see /v1/status, /metrics") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this endpoint has another method")
        })
        .with_state(state)
}

struct Shared<B> {
    backend: Arc<B>,
    /// Permits for requests that wait.
    waiting: Arc<Semaphore>,
}

impl<B> Clone for Shared<B> {
    fn clone(&self) -> Self {
        Self { backend: self.backend.clone(), waiting: self.waiting.clone() }
    }
}

async fn submit<B: Backend>(State(shared): State<Shared<B>>, request: Request) -> Result<Response, Problem> {
    let operation = read_operation(request, limits::MAX_OPERATION).await?;
    Ok(received(shared.backend.submit(operation).await?))
}

async fn submit_sealed<B: Backend>(State(shared): State<Shared<B>>, request: Request) -> Result<Response, Problem> {
    let envelope = read_operation(request, limits::MAX_ENVELOPE).await?;
    Ok(received(shared.backend.submit_sealed(envelope).await?))
}

fn received(digest: Digest) -> Response {
    let location = format!("/v1/operations/{digest}");
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(Received { digest })).into_response()
}

async fn read_operation(request: Request, limit: usize) -> Result<Vec<u8>, Problem> {
    if let Some(kind) = request.headers().get(header::CONTENT_TYPE)
        && kind != "application/octet-stream"
    {
        let detail = "an operation is sent as application/octet-stream";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let body = Limited::new(request.into_body(), limit).collect();
    let within = Duration::from_secs(limits::HTTP_BODY_TIMEOUT_S);
    let Ok(read) = tokio::time::timeout(within, body).await else {
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body did not come in time"));
    };
    match read {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(DoorRefusal::TooLarge.into()),
        Err(_) => Err(Problem::bad_request("broken-body", "the body broke off")),
    }
}

#[derive(Deserialize)]
struct OutcomeQuery {
    #[serde(default)]
    wait_ms: u64,
    #[serde(default)]
    until: Until,
}

async fn outcome<B: Backend>(
    State(shared): State<Shared<B>>,
    Path(digest): Path<String>,
    query: Result<Query<OutcomeQuery>, QueryRejection>,
) -> Result<Json<OutcomeReport>, Problem> {
    let digest = Digest::parse(&digest)
        .ok_or_else(|| Problem::bad_request("bad-digest", "the digest of an operation is 64 hexadecimal digits"))?;
    let Query(query) = query.map_err(|_| {
        Problem::bad_request("bad-query", "wait_ms is a number of milliseconds, until is ordered or visible")
    })?;
    let wait = Duration::from_millis(query.wait_ms.min(limits::MAX_HTTP_WAIT_MS));
    let _permit = if wait.is_zero() {
        None
    } else {
        let detail = "too many requests are waiting for outcomes: come again in a moment";
        let full = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        Some(shared.waiting.clone().try_acquire_owned().map_err(|_| full())?)
    };
    let outcome = shared.backend.outcome(digest, wait, query.until).await;
    outcome.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "no-such-operation", "no operation with this digest was executed here")
    })
}

async fn title<B: Backend>(State(shared): State<Shared<B>>, Path(name): Path<String>) -> Response {
    match parse_name(&name) {
        Ok(name) => found(shared.backend.title(&name), "no-such-title", || format!("nobody holds {name}")),
        Err(problem) => problem.into_response(),
    }
}

async fn history<B: Backend>(State(shared): State<Shared<B>>, Path(name): Path<String>) -> Response {
    match parse_name(&name) {
        Ok(name) => match shared.backend.history(&name) {
            Ok(answer) => found(answer, "no-such-title", || format!("nobody holds {name}")),
            Err(Unreadable) => {
                let detail = "this is damaged here, and is being copied from other replicas: ask one of them";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "damaged", detail).into_response()
            }
        },
        Err(problem) => problem.into_response(),
    }
}

async fn certificate<B: Backend>(State(shared): State<Shared<B>>, Path(position): Path<String>) -> Response {
    match position.parse::<u64>() {
        Ok(position) => found(shared.backend.certificate(position), "no-such-certificate", || {
            format!("no certificate was signed for the operation at position {position}, or not yet")
        }),
        Err(_) => Problem::bad_request("bad-position", "a position is a number").into_response(),
    }
}

fn parse_name(text: &str) -> Result<Name, Problem> {
    Name::parse(text, None).map_err(|error| Problem::bad_request("bad-name", error.to_string()))
}

fn found<T: Serialize>(answer: Answer<Option<T>>, code: &'static str, detail: impl FnOnce() -> String) -> Response {
    let Answer { height, agreed_time, body } = answer;
    match body {
        Some(body) => Json(Answer { height, agreed_time, body }).into_response(),
        None => Absent::new(code, detail(), Answer { height, agreed_time, body: () }).into_response(),
    }
}

async fn head<B: Backend>(State(shared): State<Shared<B>>) -> Result<Json<HeadReport>, Problem> {
    let detail = "no head was signed yet: one is, soon after the first change";
    shared.backend.head().map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no-such-head", detail))
}

async fn status<B: Backend>(State(shared): State<Shared<B>>) -> Json<Answer<StatusReport>> {
    Json(shared.backend.status())
}

async fn evidence<B: Backend>(
    State(shared): State<Shared<B>>,
    Path((culprit, round)): Path<(String, String)>,
) -> Result<Json<Vec<Proof>>, Problem> {
    let (Ok(culprit), Ok(round)) = (culprit.parse(), round.parse()) else {
        return Err(Problem::bad_request("bad-evidence", "evidence is named by the number of a replica and a round"));
    };
    let proofs = shared.backend.evidence(ReplicaId(culprit), round);
    if proofs.is_empty() {
        let detail = format!("no proof is kept here against replica {culprit} in round {round}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-evidence", detail));
    }
    Ok(Json(proofs))
}

async fn metrics<B: Backend>(State(shared): State<Shared<B>>) -> Response {
    let mut text = shared.backend.metrics();
    if !text.ends_with("# EOF\n") {
        text.push_str("# EOF\n");
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// Lets a request through to the state, if there is one that may be shown.
async fn shown<B: Backend>(State(shared): State<Shared<B>>, request: Request, next: Next) -> Response {
    match shared.backend.withheld() {
        Some(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why).into_response(),
        None => next.run(request).await,
    }
}

async fn ready<B: Backend>(State(shared): State<Shared<B>>) -> Result<&'static str, Problem> {
    let not_ready = |why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why);
    shared.backend.ready().map_err(not_ready).map(|()| "ok\n")
}
