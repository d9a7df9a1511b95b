//! The connections of one listener: how many there may be, of whom, and which gives way.
//!
//! What a client can hold is bounded: connections per client (an IPv6 client is a /64) and in all. At the limit in all,
//! clients have equal shares: who has his gets no more, and for who has not, a connection of the client that has most
//! gives way, the one longest without a query. So clients that hold many, or come again as soon as they are cut off,
//! keep out only each other; to keep out one that holds none takes as many addresses as there are places.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::limits::{
    DNS_STREAM_IDLE_SECONDS, DNS_STREAM_TOTAL_SECONDS, MAX_DNS_CONNECTIONS, MAX_DNS_CONNECTIONS_PER_CLIENT,
};

/// Accepts connections and has each served, until dropped; what is served ends with it.
pub async fn serve_connections<F>(listener: TcpListener, serve: impl Fn(TcpStream, IpAddr, Arc<Activity>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Answers are written whole: waiting to fill a segment only delays them.
                    let _ = stream.set_nodelay(true);
                    connections.admit(peer.ip(), |activity| serve(stream, peer.ip(), activity));
                }
                // No descriptors left, or the client is gone already: either passes.
                Err(error) => {
                    tracing::debug!(%error, "accepting a DNS connection");
                    sleep(Duration::from_millis(20)).await;
                }
            },
            () = connections.one_ends() => {}
        }
    }
}

/// When a connection's last query came, in milliseconds since an arbitrary start.
pub struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    pub fn new(start: Instant) -> Self {
        let activity = Self { start, last: AtomicU64::new(0) };
        activity.now();
        activity
    }

    pub fn now(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Ends when no query came for a while, or the connection is old: it is as old as this wait.
    pub async fn time_is_over(&self) {
        let end = Instant::now() + Duration::from_secs(DNS_STREAM_TOTAL_SECONDS);
        loop {
            let last = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let next = (last + Duration::from_secs(DNS_STREAM_IDLE_SECONDS)).min(end);
            if next <= Instant::now() {
                return;
            }
            sleep_until(next).await;
        }
    }
}

/// The connections being served.
pub struct Connections {
    start: Instant,
    tasks: JoinSet<()>,
    open: BTreeMap<Id, Open>,
    clients: BTreeMap<IpAddr, usize>,
}

struct Open {
    client: IpAddr,
    activity: Arc<Activity>,
    task: AbortHandle,
}

impl Default for Connections {
    fn default() -> Self {
        Self { start: Instant::now(), tasks: JoinSet::new(), open: BTreeMap::new(), clients: BTreeMap::new() }
    }
}

impl Connections {
    /// Starts serving, unless this client has its share of connections already.
    pub fn admit<F>(&mut self, peer: IpAddr, serve: impl FnOnce(Arc<Activity>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let client = client_of(peer);
        let held = self.clients.get(&client).copied().unwrap_or_default();
        if held >= MAX_DNS_CONNECTIONS_PER_CLIENT {
            return;
        }
        if self.open.len() >= MAX_DNS_CONNECTIONS {
            let share = (MAX_DNS_CONNECTIONS / self.clients.len()).max(1);
            if held >= share {
                return;
            }
            self.make_room();
        }
        let activity = Arc::new(Activity::new(self.start));
        let task = self.tasks.spawn(serve(Arc::clone(&activity)));
        *self.clients.entry(client).or_default() += 1;
        self.open.insert(task.id(), Open { client, activity, task });
    }

    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Waits until a connection is over, for ever if there is none.
    pub async fn one_ends(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => self.forget(id),
            Some(Err(error)) => self.forget(error.id()),
            None => std::future::pending().await,
        }
    }

    fn make_room(&mut self) {
        let least_missed = self.open.iter().max_by_key(|(id, open)| {
            let last = open.activity.last.load(Ordering::Relaxed);
            (self.clients.get(&open.client), Reverse(last), Reverse(**id))
        });
        if let Some((&id, open)) = least_missed {
            open.task.abort();
            self.forget(id);
        }
    }

    fn forget(&mut self, id: Id) {
        let Some(open) = self.open.remove(&id) else { return };
        if let Some(count) = self.clients.get_mut(&open.client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&open.client);
            }
        }
    }
}

/// The address that connections are counted by: one IPv6 client has a whole /64.
fn client_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0 << 64).into(),
        ipv4 => ipv4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_client_has_its_share_and_idle_connections_give_way() {
        let mut connections = Connections::default();
        let greedy = "192.0.2.1".parse().unwrap();
        for _ in 0..2 * MAX_DNS_CONNECTIONS_PER_CLIENT {
            connections.admit(greedy, |_| std::future::pending());
        }
        assert_eq!(connections.open.len(), MAX_DNS_CONNECTIONS_PER_CLIENT);
        for client in 0..2 * MAX_DNS_CONNECTIONS {
            let peer = Ipv6Addr::from_bits((client as u128 + 1) << 64 | 7);
            connections.admit(peer.into(), |_| std::future::pending());
        }
        assert_eq!(connections.open.len(), MAX_DNS_CONNECTIONS);
        assert_eq!(connections.clients.values().sum::<usize>(), MAX_DNS_CONNECTIONS);
        assert!(!connections.clients.contains_key(&greedy));
    }

    #[tokio::test]
    async fn clients_that_come_again_and_again_keep_out_only_each_other() {
        let mut connections = Connections::default();
        let attack = |connections: &mut Connections| {
            for round in 0..20 * MAX_DNS_CONNECTIONS {
                let peer = IpAddr::from([192, 0, 2, (round % 100) as u8]);
                connections.admit(peer, |_| std::future::pending());
            }
        };
        attack(&mut connections);
        let quiet: IpAddr = "198.51.100.1".parse().unwrap();
        for held in 1..=3 {
            connections.admit(quiet, |_| std::future::pending());
            attack(&mut connections);
            assert_eq!(connections.clients[&quiet], held);
        }
        assert_eq!(connections.open.len(), MAX_DNS_CONNECTIONS);
    }

    #[test]
    fn a_64_is_one_client() {
        let client = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1:1:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }
}
