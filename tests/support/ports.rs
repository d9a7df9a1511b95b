//! Ports of a testbed of its own for each test, on a machine where others run theirs.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

const FIRST: u16 = 21_000;
const LAST: u16 = 24_900;
/// Replica i uses base + 20·i to base + 20·i + 5; nine replicas and unbound fit.
const STEP: u16 = 200;
/// A port that no service has. Whoever listens there has taken the whole range.
const MARK: u16 = 199;

/// A range of ports, ours as long as this lives.
pub struct Ports {
    pub base: u16,
    _mark: TcpListener,
}

impl Ports {
    pub fn take() -> Self {
        // Different tests start looking at different places, so that they seldom meet.
        let ranges = (LAST - FIRST) / STEP;
        let start = std::process::id() as u16 % ranges;
        for at in 0..ranges {
            let base = FIRST + (start + at) % ranges * STEP;
            if let Some(mark) = bind(base + MARK)
                && (base..base + MARK).all(is_free)
            {
                return Self { base, _mark: mark };
            }
        }
        panic!("no free range of ports from {FIRST} to {LAST}");
    }
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

fn is_free(port: u16) -> bool {
    bind(port).is_some() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
