//! The API on a socket: bounded connections, bounded time for every step a client can drag out.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::limits;

/// Serves `router` until `shutdown`, then lets no request finish that still waits: clients ask another replica.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let gate = Arc::new(Gate::default());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if let Some(pass) = gate.admit(from) {
                        connections.spawn(connection(stream, router.clone(), pass));
                    }
                }
                Err(error) => {
                    // Out of descriptors, mostly: those in use come back as connections end.
                    tracing::warn!(%error, "accepting a connection on the HTTP API");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, router: Router, _pass: Pass) {
    // Answers are small and whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Impatient { stream, stalled: None });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::HTTP_HEAD_TIMEOUT_S))
        .max_buf_size(limits::MAX_HTTP_HEAD)
        .serve_connection(io, TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection");
    }
}

/// Counts connections, in all and by address.
#[derive(Default)]
struct Gate(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    total: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Gate {
    fn admit(self: &Arc<Self>, from: SocketAddr) -> Option<Pass> {
        let mut counts = self.0.lock().expect("never poisoned: nothing panics while it is held");
        if counts.total >= limits::MAX_HTTP_CONNECTIONS {
            return None;
        }
        let address = counts.by_address.entry(from.ip()).or_default();
        if *address >= limits::MAX_HTTP_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *address += 1;
        counts.total += 1;
        Some(Pass { gate: self.clone(), address: from.ip() })
    }
}

/// One connection's place; given back when dropped.
struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.gate.0.lock().expect("never poisoned: nothing panics while it is held");
        counts.total -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// A stream that gives up on a peer which does not read what it asked for.
struct Impatient {
    stream: TcpStream,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = Duration::from_secs(limits::HTTP_WRITE_TIMEOUT_S);
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unless_stalled(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_connection() {
        let gate = Arc::new(Gate::default());
        let greedy: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let held: Vec<_> = std::iter::from_fn(|| gate.admit(greedy)).collect();
        assert_eq!(held.len(), limits::MAX_HTTP_CONNECTIONS_PER_ADDRESS);
        assert!(gate.admit("192.0.2.2:1".parse().unwrap()).is_some());
        drop(held);
        assert!(gate.admit(greedy).is_some());
    }
}
