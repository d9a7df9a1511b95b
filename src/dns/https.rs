//! DNS over HTTPS (RFC 8484): GET and POST at [`PATH`], over HTTP/2 (RFC 9113), HTTP/1.1 tolerated.
//!
//! An HTTP success carries whatever DNS says, errors included (§4.2.1). Of HTTP itself the client can hold what
//! `src/limits.rs` says: streams, bytes of headers, windows. More than that follows from two times, as on other
//! streams: the connection ends when no whole query comes for [`DNS_STREAM_IDLE_SECONDS`] (which a client that does not
//! read brings about: answers that it leaves keep their streams, and with all streams taken no query is read), and
//! after [`DNS_STREAM_TOTAL_SECONDS`] in any case. Streams that are reset as fast as they are opened (CVE-2023-44487),
//! frames without end or meaning (CVE-2024-27316) and what else has been found since are counted in `h2`: `deny.toml`
//! has the floor.
//!
//! Deviations: HEAD is 405. `Accept` is not looked at: there is one form of answer. No zone transfers.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::connections::{Activity, serve_connections};
use super::query::freshness;
use super::{Client, Replied, Server, Transport, padding, query, seconds_now, tls};
use crate::directory::name_ref::NameBuffer;
use crate::limits::{
    DNS_STREAM_IDLE_SECONDS, DNS_STREAM_WRITE_SECONDS, MAX_HTTPS_CONNECTION_WINDOW, MAX_HTTPS_EARLY_RESETS,
    MAX_HTTPS_HEADERS, MAX_HTTPS_STREAM_WINDOW, MAX_HTTPS_STREAMS, MAX_QUERY, MAX_STREAM_MESSAGE,
};

/// Where queries go; clients are told `https://HOST/dns-query{?dns}`.
pub const PATH: &str = "/dns-query";
/// HTTP in ALPN, the version preferred first.
pub const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

const HTTP2: &[u8] = b"h2";
const MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");

/// Serves DNS over HTTPS, until dropped; what it serves ends with it. `acceptor` speaks [`PROTOCOLS`].
pub async fn serve_https(listener: TcpListener, acceptor: TlsAcceptor, server: Server) {
    serve_connections(listener, |stream, client, activity| {
        let (server, acceptor) = (server.clone(), acceptor.clone());
        async move {
            let Some(stream) = tls::handshake(&acceptor, stream).await else { return };
            let version = stream.get_ref().1.alpn_protocol();
            let version = if version == Some(HTTP2) { Version::Two } else { Version::One };
            serve_http(stream, version, client, server, activity).await;
        }
    })
    .await;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    One,
    Two,
}

/// Serves one connection until the client ends it or oversteps a limit.
async fn serve_http<S>(stream: S, version: Version, client: IpAddr, server: Server, activity: Arc<Activity>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (server, counted) = (Arc::new(server), Arc::clone(&activity));
    let service = service_fn(move |request| {
        let (server, activity) = (Arc::clone(&server), Arc::clone(&counted));
        async move {
            let response = respond(request, client, &server).await;
            activity.now();
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(stream);
    match version {
        Version::Two => {
            let connection = http2_limits().serve_connection(stream, service);
            supervise(connection, |connection| connection.graceful_shutdown(), &activity).await;
        }
        Version::One => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(DNS_STREAM_IDLE_SECONDS))
                .max_buf_size(MAX_HTTPS_HEADERS)
                .serve_connection(stream, service);
            supervise(connection, |connection| connection.graceful_shutdown(), &activity).await;
        }
    }
}

fn http2_limits() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_HTTPS_STREAMS)
        .max_header_list_size(MAX_HTTPS_HEADERS as u32)
        .initial_stream_window_size(MAX_HTTPS_STREAM_WINDOW)
        .initial_connection_window_size(MAX_HTTPS_CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MAX_HTTPS_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_HTTPS_EARLY_RESETS)
        .max_send_buf_size(MAX_STREAM_MESSAGE + 1);
    builder
}

/// Runs a connection for as long as it may live, then gives it a moment to end as the protocol wants it.
async fn supervise<C>(connection: C, shut_down: impl FnOnce(Pin<&mut C>), activity: &Activity)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = activity.time_is_over() => {
            shut_down(connection.as_mut());
            timeout(Duration::from_secs(DNS_STREAM_WRITE_SECONDS), connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "DNS over HTTPS");
    }
}

/// The response to any request (RFC 8484 §4).
async fn respond<B>(request: Request<B>, client: IpAddr, server: &Server) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let message = match message_of(request).await {
        Ok(message) => message,
        Err(refusal) => return refusal.response(),
    };
    let view = server.view.load();
    let settings = &*server.settings;
    let (transport, now) = (Transport::Exchange, seconds_now());
    let client = Client::new(transport, client, now, settings);
    let mut answer = Vec::new();
    let mut name = NameBuffer::default();
    let parsed = query::parse(&message, &mut name);
    let is_padded = parsed.as_ref().is_ok_and(padding::is_asked);
    if server.reply(&view, &message, parsed, &client, &mut answer) == Replied::Not {
        return Refused::NoQuery.response();
    }
    if is_padded {
        padding::pad(&mut answer);
    }
    let age = format!("max-age={}", freshness(&answer).unwrap_or(0));
    let mut response = Response::new(Full::from(answer));
    response.headers_mut().insert(CONTENT_TYPE, MESSAGE);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_str(&age).expect("digits"));
    response
}

/// Why a request is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refused {
    NotFound,
    Method,
    MediaType,
    TooLarge,
    TooSlow,
    NoQuery,
}

impl Refused {
    fn response(self) -> Response<Full<Bytes>> {
        let (status, words) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "DNS queries go to /dns-query\n"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "DNS queries come by GET or POST\n"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/dns-message\n"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "a DNS query is not that long\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
            Self::NoQuery => {
                (StatusCode::BAD_REQUEST, "no DNS query: GET has it in ?dns=, base64url without padding\n")
            }
        };
        let mut response = Response::new(Full::from(words));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if self == Self::Method {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

async fn message_of<B>(request: Request<B>) -> Result<Vec<u8>, Refused>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if request.uri().path() != PATH {
        return Err(Refused::NotFound);
    }
    match *request.method() {
        Method::GET => message_in(request.uri().query().unwrap_or_default()),
        Method::POST => {
            let media_type = request.headers().get(CONTENT_TYPE);
            if !media_type.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(MESSAGE.as_bytes())) {
                return Err(Refused::MediaType);
            }
            read_body(request.into_body()).await
        }
        _ => Err(Refused::Method),
    }
}

/// The query in a URI's variables.
fn message_in(variables: &str) -> Result<Vec<u8>, Refused> {
    let mut variables = variables.split('&').filter_map(|variable| variable.strip_prefix("dns="));
    let (Some(text), None) = (variables.next(), variables.next()) else { return Err(Refused::NoQuery) };
    if text.len() > MAX_QUERY.div_ceil(3) * 4 {
        return Err(Refused::TooLarge);
    }
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Refused::NoQuery)
}

async fn read_body<B>(body: B) -> Result<Vec<u8>, Refused>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    // What is announced as too long is not read at all.
    if body.size_hint().lower() > MAX_QUERY as u64 {
        return Err(Refused::TooLarge);
    }
    let body = Limited::new(body, MAX_QUERY).collect();
    match timeout(Duration::from_secs(DNS_STREAM_IDLE_SECONDS), body).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refused::TooLarge),
        // The client is gone, and reads no answer.
        Ok(Err(_)) => Err(Refused::NoQuery),
        Err(_) => Err(Refused::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::directory::rrset::Rtype;
    use crate::dns::testing::{Ask, NEGATIVE_TTL, Reply, TTL, example_view, server_of};
    use crate::limits::DNS_STREAM_TOTAL_SECONDS;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn get(uri: &str) -> Request<Full<Bytes>> {
        Request::get(uri).body(Full::default()).unwrap()
    }

    fn get_message(message: &[u8]) -> Request<Full<Bytes>> {
        get(&format!("{PATH}?dns={}", BASE64URL_NOPAD.encode(message)))
    }

    fn post(media_type: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        Request::post(PATH).header(CONTENT_TYPE, media_type).body(Full::from(body)).unwrap()
    }

    async fn said(request: Request<Full<Bytes>>) -> (StatusCode, String, Vec<u8>) {
        let response = respond(request, CLIENT, &server_of(example_view())).await;
        let (head, body) = response.into_parts();
        let age = head.headers.get(CACHE_CONTROL).map_or("", |value| value.to_str().unwrap());
        (head.status, age.to_string(), body.collect().await.unwrap().to_bytes().into())
    }

    /// RFC 8484 §4.1, §5.1.
    #[tokio::test]
    async fn get_and_post_give_the_same_answer_with_its_freshness() {
        let server = server_of(example_view());
        for (name, rtype, age) in [
            ("www.example.", Rtype::A, TTL),
            ("nobody.example.", Rtype::A, NEGATIVE_TTL),
            ("www.example.", Rtype::AAAA, NEGATIVE_TTL),
            ("elsewhere.", Rtype::A, 0),
        ] {
            let message = Ask::new(name, rtype).dnssec().message();
            let got = said(get_message(&message)).await;
            assert_eq!(got, said(post("application/DNS-message", message.clone())).await);
            assert_eq!((got.0, got.1), (StatusCode::OK, format!("max-age={age}")), "{name} {rtype}");
            let mut expected = Vec::new();
            let client = crate::dns::testing::client(Transport::Exchange);
            crate::dns::respond(&server.view.load(), &message, &client, &mut expected);
            assert_eq!(got.2, expected);
        }
    }

    /// RFC 8484 §4.2.1: what DNS says of a query is no matter of HTTP.
    #[tokio::test]
    async fn errors_of_dns_are_successes_of_http() {
        let mut malformed = Ask::new("www.example.", Rtype::A).message();
        malformed.push(0);
        for (message, rcode) in [(malformed, 1), (Ask::new("example.", Rtype::AXFR).message(), 5)] {
            let (status, age, body) = said(get_message(&message)).await;
            assert_eq!((status, &*age, body[3] & 0xf), (StatusCode::OK, "max-age=0", rcode));
        }
    }

    #[tokio::test]
    async fn requests_that_are_no_queries_get_the_status_that_says_why() {
        let message = Ask::new("www.example.", Rtype::A).message();
        let mut reply = message.clone();
        reply[2] |= 0x80;
        let put = Request::put(PATH).body(Full::default()).unwrap();
        let text = BASE64URL_NOPAD.encode(&message);
        for (request, status) in [
            (get("/"), 404),
            (get("/dns-query/"), 404),
            (put, 405),
            (get(PATH), 400),
            (get(&format!("{PATH}?name=www.example")), 400),
            (get(&format!("{PATH}?dns={text}==")), 400),
            (get(&format!("{PATH}?dns={text}&dns={text}")), 400),
            (get_message(&reply), 400),
            (get_message(&[]), 400),
            (get_message(&[0; 2 * MAX_QUERY]), 413),
            (post("application/dns-message", vec![0; MAX_QUERY + 1]), 413),
            (post("application/json", message.clone()), 415),
            (Request::post(PATH).body(Full::from(message.clone())).unwrap(), 415),
        ] {
            let shown = format!("{request:?}");
            assert_eq!(said(request).await.0, status, "{shown}");
        }
    }

    /// A client's end of a connection being served.
    fn connect(version: Version) -> DuplexStream {
        let (client, stream) = tokio::io::duplex(64 * 1024);
        let activity = Arc::new(Activity::new(Instant::now()));
        tokio::spawn(serve_http(stream, version, CLIENT, server_of(example_view()), activity));
        client
    }

    /// RFC 9113 §4.1.
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END_HEADERS_AND_STREAM: u8 = 5;

    /// The client's preface (RFC 9113 §3.4).
    fn preface() -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
    }

    /// GET of a good query, in HPACK without tables (RFC 7541 §6.1, §6.2.2).
    fn request(stream: u32) -> Vec<u8> {
        let message = Ask::new("www.example.", Rtype::A).message();
        let path = format!("{PATH}?dns={}", BASE64URL_NOPAD.encode(&message));
        let mut block = vec![0x82, 0x87, 0x01, 1, b'a', 0x04, path.len() as u8];
        block.extend(path.as_bytes());
        frame(HEADERS, END_HEADERS_AND_STREAM, stream, &block)
    }

    struct Frame {
        kind: u8,
        payload: Vec<u8>,
    }

    async fn next_frame(client: &mut DuplexStream) -> Option<Frame> {
        let mut header = [0; 9];
        client.read_exact(&mut header).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
        client.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: header[3], payload })
    }

    /// The first frame of this kind.
    async fn next(client: &mut DuplexStream, kind: u8) -> Option<Vec<u8>> {
        loop {
            let frame = next_frame(client).await?;
            if frame.kind == kind {
                return Some(frame.payload);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_no_query_comes_and_when_it_is_old() {
        let start = Instant::now();
        let mut client = connect(Version::Two);
        client.write_all(&preface()).await.unwrap();
        assert!(next(&mut client, GOAWAY).await.is_some());
        assert_eq!(start.elapsed().as_secs(), DNS_STREAM_IDLE_SECONDS);
        // One that says nothing to GOAWAY either.
        while next_frame(&mut client).await.is_some() {}
        assert_eq!(start.elapsed().as_secs(), DNS_STREAM_IDLE_SECONDS + DNS_STREAM_WRITE_SECONDS);

        let start = Instant::now();
        let mut client = connect(Version::Two);
        client.write_all(&preface()).await.unwrap();
        for stream in 0.. {
            if client.write_all(&request(2 * stream + 1)).await.is_err() {
                break;
            }
            let Some(answer) = next(&mut client, DATA).await else { break };
            assert_eq!(Reply::read(&answer).answers(), ["www.example. A 192.0.2.1"]);
            sleep(Duration::from_secs(DNS_STREAM_IDLE_SECONDS / 2)).await;
        }
        let limit = DNS_STREAM_TOTAL_SECONDS + DNS_STREAM_IDLE_SECONDS + DNS_STREAM_WRITE_SECONDS;
        assert!((DNS_STREAM_TOTAL_SECONDS..=limit).contains(&start.elapsed().as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn http_1_is_served_and_ends_when_no_query_comes() {
        let start = Instant::now();
        let mut client = connect(Version::One);
        let message = BASE64URL_NOPAD.encode(&Ask::new("www.example.", Rtype::A).message());
        for _ in 0..2 {
            client.write_all(format!("GET {PATH}?dns={message} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        }
        client.write_all(b"GET /dns").await.unwrap();
        let mut text = Vec::new();
        client.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
        assert_eq!(start.elapsed().as_secs(), DNS_STREAM_IDLE_SECONDS);
    }

    /// Answers that nobody takes keep their streams; then no query is read any more.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_cut_off() {
        for version in [Version::One, Version::Two] {
            let start = Instant::now();
            let mut client = connect(version);
            let message = BASE64URL_NOPAD.encode(&Ask::new("www.example.", Rtype::A).message());
            let http_1 = format!("GET {PATH}?dns={message} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
            if version == Version::Two {
                client.write_all(&preface()).await.unwrap();
            }
            for stream in 0.. {
                let next = if version == Version::Two { request(2 * stream + 1) } else { http_1.clone() };
                if client.write_all(&next).await.is_err() {
                    break;
                }
            }
            let limit = DNS_STREAM_IDLE_SECONDS + DNS_STREAM_WRITE_SECONDS + 1;
            assert!(start.elapsed().as_secs() <= limit, "{version:?}");
        }
    }

    /// CVE-2023-44487, "rapid reset": each request is taken back as soon as it is made.
    #[tokio::test]
    async fn a_flood_of_requests_that_are_reset_ends_the_connection() {
        const ENHANCE_YOUR_CALM: u8 = 11;
        const CANCEL: [u8; 4] = [0, 0, 0, 8];
        let mut client = connect(Version::Two);
        let mut flood = preface();
        for stream in (1..2 * 1000).step_by(2) {
            flood.extend(request(stream));
            flood.extend(frame(RST_STREAM, 0, stream, &CANCEL));
        }
        let (mut reader, mut writer) = tokio::io::split(client);
        let flooding = tokio::spawn(async move { writer.write_all(&flood).await.map(|()| writer) });
        let mut said = Vec::new();
        let _ = reader.read_to_end(&mut said).await;
        let ended = flooding.await.unwrap();
        if let Ok(writer) = ended {
            client = reader.unsplit(writer);
            assert!(client.write_all(&preface()).await.is_err(), "the connection is still there");
        }
        let mut rest = &said[..];
        let mut last = None;
        while let Some((header, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            last = Some((header[3], after[..length].to_vec()));
            rest = &after[length..];
        }
        let (kind, payload) = last.expect("a frame");
        assert_eq!((kind, payload[7]), (GOAWAY, ENHANCE_YOUR_CALM));
    }
}
