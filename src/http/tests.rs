//! The API over a fake replica, spoken to over loopback as bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::directory::Timestamp;
use crate::limits;
use crate::replica::report::{ClusterStatus, OperationResult, ReplicaStatus};

#[derive(Default)]
struct Fake {
    withheld: bool,
}

impl Backend for Fake {
    async fn submit(&self, operation: Vec<u8>) -> Result<Digest, DoorRefusal> {
        match operation.first() {
            Some(b'!') => Err(DoorRefusal::BadSignature),
            Some(b'#') => Err(DoorRefusal::Busy),
            _ => Ok(Digest([operation.len() as u8; 32])),
        }
    }

    async fn submit_sealed(&self, envelope: Vec<u8>) -> Result<Digest, DoorRefusal> {
        match envelope.first() {
            Some(b'!') => Err(DoorRefusal::BadSeal),
            _ => Ok(Digest([0xee; 32])),
        }
    }

    async fn outcome(&self, digest: Digest, wait: Duration, until: Until) -> Option<OutcomeReport> {
        (digest != Digest::ZERO).then(|| OutcomeReport {
            digest,
            position: wait.as_millis() as u64,
            height: 1,
            agreed_time: Timestamp(2),
            result: OperationResult::Refused { code: "x".into(), message: "y".into() },
            visible: until == Until::Visible,
        })
    }

    fn title(&self, _: &Name) -> Answer<Option<TitleReport>> {
        Answer { height: 7, agreed_time: Timestamp(8), body: None }
    }

    fn history(&self, name: &Name) -> Result<Answer<Option<HistoryReport>>, Unreadable> {
        let body = Some(HistoryReport::new(name.clone(), &[]));
        let damaged = name.to_string().starts_with("damaged");
        if damaged { Err(Unreadable) } else { Ok(Answer { height: 7, agreed_time: Timestamp(8), body }) }
    }

    fn certificate(&self, position: u64) -> Answer<Option<CertificateReport>> {
        let body = (position == 3).then(|| CertificateReport { der: vec![1, 2, 3] });
        Answer { height: 7, agreed_time: Timestamp(8), body }
    }

    fn head(&self) -> Option<HeadReport> {
        (!self.withheld).then(|| HeadReport { head: vec![1, 2, 3] })
    }

    fn status(&self) -> Answer<StatusReport> {
        let replica = ReplicaStatus {
            id: 2,
            round: 9,
            pending_signatures: 0,
            peers_connected: vec![0],
            version: "0.1.0".into(),
            evidence: Vec::new(),
        };
        let cluster = ClusterStatus { network: Digest::ZERO, zones: Vec::new() };
        Answer { height: 7, agreed_time: Timestamp(8), body: StatusReport { cluster, replica } }
    }

    fn evidence(&self, culprit: ReplicaId, round: u64) -> Vec<Proof> {
        if (culprit, round) == (ReplicaId(1), 7) { vec![Proof { block: vec![1, 2, 3] }] } else { Vec::new() }
    }

    fn metrics(&self) -> String {
        "# TYPE torrens_peers_up gauge\ntorrens_peers_up 3\n".into()
    }

    fn withheld(&self) -> Option<String> {
        self.withheld.then(|| "lost".into())
    }

    fn ready(&self) -> Result<(), String> {
        Err("catching up".into())
    }
}

async fn started() -> TcpStream {
    started_as(Fake::default()).await
}

async fn started_as(fake: Fake) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router(Arc::new(fake)), std::future::pending()));
    TcpStream::connect(address).await.unwrap()
}

/// What comes back for raw request bytes, until the server closes the connection.
async fn exchange(request: impl AsRef<[u8]>) -> String {
    exchange_over(started().await, request).await
}

async fn exchange_over(mut stream: TcpStream, request: impl AsRef<[u8]>) -> String {
    stream.write_all(request.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    // A server that stops reading may reset the connection after its answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn get(path: &str) -> String {
    exchange(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

async fn post(body: &[u8]) -> String {
    post_to("/v1/operations", body).await
}

async fn post_to(path: &str, body: &[u8]) -> String {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    request.extend_from_slice(body);
    exchange(request).await
}

fn assert_problem(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
}

#[tokio::test]
async fn an_operation_is_taken_in_and_named_by_its_digest() {
    let answer = post(b"operation").await;
    let digest = "09".repeat(32);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(answer.contains(&format!("location: /v1/operations/{digest}")), "{answer}");
    assert!(answer.ends_with(&format!("{{\"digest\":\"{digest}\"}}")), "{answer}");
}

#[tokio::test]
async fn the_door_says_why_it_refuses() {
    assert_problem(&post(b"!").await, 403, "bad-signature");
    let busy = post(b"#").await;
    assert_problem(&busy, 503, "busy");
    assert!(busy.contains("retry-after: 1"), "{busy}");
}

#[tokio::test]
async fn a_replica_that_lost_its_state_tells_nothing_of_it_and_takes_operations_in() {
    let ask = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        exchange_over(started_as(Fake { withheld: true }).await, request).await
    };
    let digest = "09".repeat(32);
    for path in ["titles/x.", "titles/x./history", "certificates/3", "head", &format!("operations/{digest}")] {
        assert_problem(&ask(&format!("/v1/{path}")).await, 503, "not-ready");
    }
    assert!(ask("/v1/status").await.starts_with("HTTP/1.1 200 "));
    let submission = "POST /v1/operations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";
    let answer = exchange_over(started_as(Fake { withheld: true }).await, submission).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::test]
async fn a_damaged_history_is_no_history() {
    assert_problem(&get("/v1/titles/damaged.example./history").await, 503, "damaged");
}

#[tokio::test]
async fn a_sealed_operation_has_a_door_of_its_own() {
    let answer = post_to("/v1/sealed", b"envelope").await;
    assert!(answer.contains(&format!("location: /v1/operations/{}", "ee".repeat(32))), "{answer}");
    assert_problem(&post_to("/v1/sealed", b"!").await, 403, "bad-seal");
    assert_problem(&post_to("/v1/sealed", &vec![0; limits::MAX_ENVELOPE + 1]).await, 413, "too-large");
    assert!(post_to("/v1/sealed", &vec![0; limits::MAX_ENVELOPE]).await.starts_with("HTTP/1.1 202 "));
}

#[tokio::test]
async fn an_oversize_operation_is_refused_before_it_is_read_whole() {
    assert_problem(&post(&vec![0; limits::MAX_OPERATION + 1]).await, 413, "too-large");
    assert!(post(&vec![0; limits::MAX_OPERATION]).await.starts_with("HTTP/1.1 202 "));
}

#[tokio::test]
async fn an_operation_in_another_media_type_is_refused() {
    let request = "POST /v1/operations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 1\r\n\r\nx";
    assert_problem(&exchange(request).await, 415, "unsupported-media-type");
}

#[tokio::test]
async fn an_outcome_waits_no_longer_than_the_cap() {
    let path = |query: &str| format!("/v1/operations/{}{query}", "01".repeat(32));
    let answer = get(&path("?wait_ms=99999999&until=visible")).await;
    assert!(answer.contains(&format!("\"position\":{}", limits::MAX_HTTP_WAIT_MS)), "{answer}");
    assert!(answer.contains("\"visible\":true"), "{answer}");
    assert!(get(&path("")).await.contains("\"position\":0"));
    assert_problem(&get(&path("?wait_ms=soon")).await, 400, "bad-query");
    assert_problem(&get(&path("?until=never")).await, 400, "bad-query");
    assert_problem(&get("/v1/operations/77").await, 400, "bad-digest");
    assert_problem(&get(&format!("/v1/operations/{}", "00".repeat(32))).await, 404, "no-such-operation");
}

#[tokio::test]
async fn absence_is_an_answer_at_a_height() {
    let answer = get("/v1/titles/alice.names.example.").await;
    assert_problem(&answer, 404, "no-such-title");
    assert!(answer.ends_with("\"height\":7,\"agreed_time\":8,\"body\":null}"), "{answer}");
    assert_problem(&get("/v1/certificates/4").await, 404, "no-such-certificate");
    assert_problem(&get("/v1/certificates/x").await, 400, "bad-position");
    assert_problem(&get("/v1/evidence/1/8").await, 404, "no-such-evidence");
    assert_problem(&get("/v1/evidence/1/x").await, 400, "bad-evidence");
    assert!(get("/v1/evidence/1/7").await.ends_with(r#"[{"block_base64":"AQID"}]"#));
    assert!(get("/v1/head").await.ends_with(r#"{"head_base64":"AQID"}"#));
    assert_problem(&get("/v1/titles/a..b").await, 400, "bad-name");
}

#[tokio::test]
async fn reads_answer_with_height_and_agreed_time() {
    let history = get("/v1/titles/a%5C.b.example./history").await;
    assert!(
        history.ends_with(r#"{"height":7,"agreed_time":8,"body":{"name":"a\\.b.example.","omitted":0,"entries":[]}}"#)
    );
    let certificate = get("/v1/certificates/3").await;
    assert!(certificate.ends_with(r#"{"height":7,"agreed_time":8,"body":{"der_base64":"AQID"}}"#), "{certificate}");
    let status = get("/v1/status").await;
    assert!(status.contains(r#""replica":{"id":2,"round":9"#), "{status}");
}

#[tokio::test]
async fn metrics_end_as_openmetrics_demands() {
    let metrics = get("/metrics").await;
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(metrics.ends_with("torrens_peers_up 3\n# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn health() {
    assert!(get("/livez").await.starts_with("HTTP/1.1 200 "));
    let ready = get("/readyz").await;
    assert_problem(&ready, 503, "not-ready");
    assert!(ready.contains("catching up"));
    assert_problem(&get("/nothing").await, 404, "no-such-endpoint");
    assert_problem(&get("/v1/operations").await, 405, "method-not-allowed");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let endless = format!("GET /livez HTTP/1.1\r\nx: {}", "a".repeat(limits::MAX_HTTP_HEAD + 1));
    assert!(exchange(endless).await.starts_with("HTTP/1.1 431 "));
}
