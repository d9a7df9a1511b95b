//! One request to one replica, bounded in bytes and time whatever comes back.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::limits;

#[derive(Clone)]
pub struct Transport(Client<HttpConnector, Full<Bytes>>);

impl Transport {
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(limits::CONNECT_TIMEOUT_MS)));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Well before the server closes it: a request never meets a connection that is just going away.
            .pool_idle_timeout(Duration::from_secs(limits::HTTP_HEAD_TIMEOUT_S / 2))
            .http1_max_buf_size(limits::MAX_HTTP_HEAD)
            .build(connector);
        Self(client)
    }

    /// GET `path` of `host`. None if it fails, takes longer than `within`, or brings more than `cap` bytes: what went
    /// wrong with one replica changes nothing for the client.
    pub async fn get(&self, host: &str, path: &str, cap: usize, within: Duration) -> Option<(StatusCode, Bytes)> {
        let request = Request::get(format!("http://{host}{path}")).body(Full::default()).ok()?;
        self.send(request, cap, within).await
    }

    /// POST `body` as bytes.
    pub async fn post(&self, host: &str, path: &str, body: Bytes, within: Duration) -> Option<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{host}{path}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body))
            .ok()?;
        self.send(request, limits::MAX_OUTCOME_ANSWER, within).await
    }

    async fn send(&self, request: Request<Full<Bytes>>, cap: usize, within: Duration) -> Option<(StatusCode, Bytes)> {
        let uri = request.uri().clone();
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), cap).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::debug!(%uri, error, "no answer");
                None
            }
            Err(_) => {
                tracing::debug!(%uri, "no answer in time");
                None
            }
        }
    }
}

/// Times between requests to one replica: doubling, so that one which answers nonsense at once is not hammered.
pub struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(Duration::from_millis(limits::RETRY_MS.0))
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_millis(limits::RETRY_MS.1));
    }
}
