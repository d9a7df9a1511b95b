//! One connection to one replica's HTTP API, kept open: what a load generator needs and no more.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::crypto::digest::Digest;
use crate::http::Until;
use crate::limits;
use crate::replica::report::OutcomeReport;

pub struct Link {
    host: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Link {
    /// `host`: host and port of the API.
    pub fn new(host: String) -> Self {
        Self { host, connection: None }
    }

    /// Hands in a signed operation.
    pub async fn submit(&mut self, operation: Bytes) -> Result<(), String> {
        let (status, body) = self.exchange(Method::POST, "/v1/operations", operation, Duration::ZERO).await?;
        if status.is_success() { Ok(()) } else { Err(String::from_utf8_lossy(&body).into_owned()) }
    }

    /// Waits until the operation has come as far as `until`, by long polls.
    pub async fn outcome(&mut self, digest: &Digest, until: Until, deadline: Instant) -> Result<OutcomeReport, String> {
        let wait = Duration::from_millis(limits::POLL_WAIT_MS);
        let word = if until == Until::Visible { "visible" } else { "ordered" };
        let path = format!("/v1/operations/{digest}?wait_ms={}&until={word}", wait.as_millis());
        while Instant::now() < deadline {
            let (status, body) = self.exchange(Method::GET, &path, Bytes::new(), wait).await?;
            match status {
                StatusCode::OK => {
                    let report: OutcomeReport = parse(&body)?;
                    if until == Until::Ordered || report.visible {
                        return Ok(report);
                    }
                }
                // Not executed yet.
                StatusCode::NOT_FOUND => {}
                _ => return Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
            }
        }
        Err(format!("not {word} in time"))
    }

    pub async fn read<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, String> {
        let (status, body) = self.exchange(Method::GET, path, Bytes::new(), Duration::ZERO).await?;
        if status == StatusCode::OK { parse(&body) } else { Err(format!("{path}: {status}")) }
    }

    /// One request, on a new connection if the last one is gone. All requests may be sent twice.
    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let within = wait + Duration::from_millis(limits::REQUEST_TIMEOUT_MS);
        let kept = self.connection.is_some();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let first = timeout(within, self.send(request.clone())).await;
        match first {
            Ok(Ok(answer)) => Ok(answer),
            // The replica may have closed the idle connection at this very moment.
            Ok(Err(_)) if kept => timeout(within, self.send(request)).await.map_err(|_| self.late())?,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.late()),
        }
    }

    fn late(&mut self) -> String {
        self.connection = None;
        format!("{}: no answer in time", self.host)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.host).await?,
        };
        connection.ready().await.map_err(|error| error.to_string())?;
        let response = connection.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits::MAX_OUTCOME_ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        self.connection = Some(connection);
        Ok((status, body))
    }
}

async fn connect(host: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(host).await.map_err(|error| format!("{host}: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("an answer that cannot be read: {error}"))
}
