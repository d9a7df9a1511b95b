//! What a replica does for those who serve its zones too: keys, the catalog, and word of each new version (NOTIFY, RFC
//! 1996).
//!
//! Each secondary has a task and a socket of its own, so that none waits for another; nor does a zone for another,
//! which the secondary may not know. It is told of the version that is published now, and again if it does not reply,
//! at distances that double; versions that come meanwhile are told of together, by the newest. A zone for which no
//! reply came in [`NOTIFY_TRIES`] tries is left alone until its next version: the secondary asks by itself when the SOA
//! record's refresh time is over.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use rand_core::{OsRng, RngCore};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until};

use super::clock;
use crate::access::TsigKey;
use crate::config::secondaries::Secondaries;
use crate::config::tsig_keys;
use crate::directory::name::Name;
use crate::dns::notify::Notify;
use crate::dns::{self, catalog, seconds_now};
use crate::limits::{MAX_QUERY, NOTIFY_BATCH, NOTIFY_DISTANCE_MS, NOTIFY_TIMEOUT, NOTIFY_TRIES};
use crate::replica::genesis::Genesis;

/// The keys in the file that the configuration names, if it has all that are wanted.
fn keys(config: &Secondaries) -> anyhow::Result<Vec<Arc<TsigKey>>> {
    let Some(path) = &config.tsig_keys else { return Ok(Vec::new()) };
    let keys = tsig_keys::read(path)?;
    let of_transfers = config.transfers.iter().filter_map(|access| access.key.as_ref());
    let of_notify = config.notify.iter().filter_map(|notified| notified.key.as_ref());
    if let Some(name) = of_transfers.chain(of_notify).find(|&name| keys.iter().all(|key| key.name != *name)) {
        bail!("{}: has no key {name}, which replica.toml names", path.display());
    }
    Ok(keys)
}

/// Puts what secondaries need into the settings of the server.
pub fn configure(config: &Secondaries, genesis: &Genesis, settings: &mut dns::Settings) -> anyhow::Result<()> {
    settings.transfers.clone_from(&config.transfers);
    settings.keys = keys(config)?;
    if let Some(apex) = &config.catalog {
        if let Some(zone) = genesis.zones.iter().find(|zone| zone.apex.is_within(apex)) {
            bail!("replica.toml: zone {} lies within catalog {apex}: choose a name beside all zones", zone.apex);
        }
        let view = catalog::view(apex, genesis.created.seconds() as u32, genesis.zones.iter().map(|zone| &zone.apex));
        settings.catalog = Some(view.with_context(|| format!("catalog {apex}"))?);
    }
    Ok(())
}

/// Tells all secondaries of each new version, as long as the set lives. `exposed` changes when something was published.
/// `from`: the address that secondaries know this replica by.
pub async fn notify<T: Send + Sync + 'static>(
    config: &Secondaries,
    from: IpAddr,
    server: &dns::Server,
    exposed: &watch::Receiver<T>,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for notified in &config.notify {
        let wanted = |key: &&Arc<TsigKey>| Some(&key.name) == notified.key.as_ref();
        let key = server.settings.keys.iter().find(wanted).cloned();
        let from = if from.is_ipv4() == notified.address.is_ipv4() { from } else { unspecified(notified.address) };
        let socket = UdpSocket::bind((from, 0)).await.with_context(|| format!("cannot send NOTIFY from {from}"))?;
        socket.connect(notified.address).await.with_context(|| format!("cannot notify {}", notified.address))?;
        let secondary = Secondary { address: notified.address, socket, key, zones: BTreeMap::new() };
        tasks.spawn(secondary.keep_told(server.clone(), exposed.clone()));
    }
    Ok(tasks)
}

fn unspecified(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }
}

/// The first of the moments after `wait` at which all replicas tell of what is new, by their clocks: so a secondary that all
/// of them tell has time between two versions, also if they are told of the first at different times: after a pause, or
/// because it did not reply.
fn moment_after(wait: Duration) -> Instant {
    let then = clock::now().0 + wait.as_millis() as u64;
    Instant::now() + wait + Duration::from_millis(NOTIFY_DISTANCE_MS - then % NOTIFY_DISTANCE_MS)
}

fn next_moment() -> Instant {
    moment_after(Duration::ZERO)
}

struct Secondary {
    address: SocketAddr,
    socket: UdpSocket,
    key: Option<Arc<TsigKey>>,
    zones: BTreeMap<Name, Told>,
}

/// What a secondary was told of one zone.
struct Told {
    /// The serial that it replied to, or was told of in vain.
    serial: Option<u32>,
    /// What it is being told, and the serial in that.
    waiting: Option<(Notify, u32)>,
    tries: u32,
    /// When it is told, if there is something to tell.
    next: Option<Instant>,
}

impl Secondary {
    async fn keep_told<T>(mut self, server: dns::Server, mut exposed: watch::Receiver<T>) {
        let mut message = [0; MAX_QUERY];
        loop {
            let wake = self.tell(&server).await;
            tokio::select! {
                received = self.socket.recv(&mut message) => match received {
                    Ok(length) => self.take(&message[..length]),
                    // Nobody listens there, as the system was told: one may come.
                    Err(error) => tracing::debug!(secondary = %self.address, %error, "NOTIFY"),
                },
                changed = exposed.changed() => if changed.is_err() {
                    return;
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Tells of what is due. When something else will be, if nothing changes.
    async fn tell(&mut self, server: &dns::Server) -> Option<Instant> {
        let (now, mut wake) = (Instant::now(), None::<Instant>);
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        let view = server.view.load_full();
        let catalog = server.settings.catalog.iter().flat_map(|catalog| catalog.zones.values());
        let mut sent = 0;
        for zone in view.zones.values().chain(catalog) {
            let untold = || Told { serial: None, waiting: None, tries: 0, next: None };
            let told = self.zones.entry(zone.apex().clone()).or_insert_with(untold);
            let Some(serial) = zone.serial().filter(|serial| told.serial != Some(*serial)) else { continue };
            let next = *told.next.get_or_insert_with(next_moment);
            if now < next {
                sooner(next);
            } else if told.tries == NOTIFY_TRIES {
                tracing::warn!(secondary = %self.address, zone = %zone.apex(), "no reply to NOTIFY");
                *told = Told { serial: Some(serial), ..untold() };
            } else if sent == NOTIFY_BATCH {
                sooner(next_moment());
            } else if let Some((notify, message)) =
                Notify::new(zone, OsRng.next_u32() as u16, self.key.as_ref(), seconds_now())
            {
                // Whether the secondary is there shows in its reply.
                let _ = self.socket.send(&message).await;
                sent += 1;
                let again = moment_after(NOTIFY_TIMEOUT * (1 << told.tries));
                told.next = Some(again);
                told.tries += 1;
                told.waiting = Some((notify, serial));
                sooner(again);
            }
        }
        wake
    }

    fn take(&mut self, message: &[u8]) {
        let now = seconds_now();
        for told in self.zones.values_mut() {
            if let Some((_, serial)) = told.waiting.take_if(|(notify, _)| notify.reply(message, now).is_some()) {
                *told = Told { serial: Some(serial), waiting: None, tries: 0, next: None };
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use tokio::time::timeout;

    use super::*;
    use crate::directory::rrset::{Rrset, Rtype};
    use crate::directory::zone::{SignedRrset, SignedZone};
    use crate::store::view::View;

    fn zone(apex: &str, serial: u32) -> (Name, Arc<SignedZone>) {
        let apex = Name::parse(apex, None).unwrap();
        let soa = [&[0, 0], &serial.to_be_bytes()[..], &[0; 16]].concat();
        let mut zone = SignedZone::new(apex.clone());
        zone.put(&apex, SignedRrset { rrset: Rrset::new(Rtype::SOA, 60, vec![soa]), rrsig: None });
        (apex, Arc::new(zone))
    }

    /// First label of the zone that the next NOTIFY is of, and the serial in it; replied to if `replies`.
    async fn told(secondary: &UdpSocket, replies: bool) -> (u8, u32) {
        let mut message = [0; 512];
        let received = timeout(Duration::from_secs(60), secondary.recv_from(&mut message)).await;
        let (length, from) = received.expect("a NOTIFY").unwrap();
        let serial = u32::from_be_bytes(message[length - 20..length - 16].try_into().unwrap());
        let label = message[13];
        if replies {
            message[2] |= 0x80;
            secondary.send_to(&message[..length], from).await.unwrap();
        }
        (label, serial)
    }

    /// RFC 1996 §3.6; what is not replied to holds up nothing else.
    #[tokio::test]
    async fn each_version_is_told_until_there_is_a_reply() {
        let secondary = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let config = Secondaries {
            notify: vec![crate::config::secondaries::Notified { address: secondary.local_addr().unwrap(), key: None }],
            ..Secondaries::default()
        };
        let view = |serials: [u32; 2]| View {
            zones: [zone("a.", serials[0]), zone("b.", serials[1])].into(),
            ..View::default()
        };
        let handle = Arc::new(ArcSwap::from_pointee(view([1, 1])));
        let server = dns::Server::new(Arc::clone(&handle), dns::Settings::new("one", [7; 16]));
        let (publish, exposed) = watch::channel(());
        let _tasks = notify(&config, [127, 0, 0, 1].into(), &server, &exposed).await.unwrap();
        // One that is never replied to, and one that always is.
        assert_eq!(told(&secondary, false).await, (b'a', 1));
        assert_eq!(told(&secondary, true).await, (b'b', 1));
        for serial in 2..5 {
            handle.store(Arc::new(view([1, serial])));
            publish.send_replace(());
            loop {
                match told(&secondary, true).await {
                    (b'b', told) if told == serial => break,
                    other => assert_eq!(other, (b'a', 1)),
                }
            }
        }
    }
}
