//! Problem documents (RFC 9457). The member `code` is ours: stable, for programs.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::replica::report::{Answer, DoorRefusal};

#[derive(Debug, Serialize)]
pub struct Problem {
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { title, status: status.as_u16(), code, detail: detail.into() }
    }

    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }
}

impl From<DoorRefusal> for Problem {
    fn from(refusal: DoorRefusal) -> Self {
        let status = match refusal {
            DoorRefusal::Malformed | DoorRefusal::WrongNetwork | DoorRefusal::UnknownZone => StatusCode::BAD_REQUEST,
            DoorRefusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            DoorRefusal::BadSignature | DoorRefusal::BadSeal | DoorRefusal::NamesOfRegistry => StatusCode::FORBIDDEN,
            DoorRefusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.code(), refusal.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("made from a StatusCode");
        respond(status, &self)
    }
}

/// An answer that there is no such thing: a problem with the members of an answer, so that absence too can be compared.
#[derive(Debug, Serialize)]
pub struct Absent {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    answer: Answer<()>,
}

impl Absent {
    pub fn new(code: &'static str, detail: impl Into<String>, answer: Answer<()>) -> Self {
        Self { problem: Problem::new(StatusCode::NOT_FOUND, code, detail), answer }
    }
}

impl IntoResponse for Absent {
    fn into_response(self) -> Response {
        respond(StatusCode::NOT_FOUND, &self)
    }
}

fn respond(status: StatusCode, document: &impl Serialize) -> Response {
    let body = serde_json::to_vec(document).expect("documents of our own types always encode");
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
