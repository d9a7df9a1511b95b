//! What a replica does for those who serve its zones too: keys, the catalog, and word of each new version (NOTIFY, RFC 1996).
//!
//! Each secondary has a task and a socket of its own, so that none waits for another. A task tells of the versions that are
//! published now, waits for the replies, and tells again what was not replied to, at distances that double; versions that
//! come meanwhile are told of together, by the newest. Who does not reply in [`NOTIFY_TRIES`] tries is left alone until the next
//! version: it asks by itself when the SOA record's refresh time is over.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use rand_core::{OsRng, RngCore};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout_at};

use crate::access::TsigKey;
use crate::config::secondaries::Secondaries;
use crate::config::tsig_keys;
use crate::directory::name::Name;
use crate::directory::zone::SignedZone;
use crate::dns::notify::Notify;
use crate::dns::{self, ViewHandle, catalog, seconds_now};
use crate::limits::{MAX_QUERY, NOTIFY_BATCH, NOTIFY_DISTANCE, NOTIFY_TIMEOUT, NOTIFY_TRIES};
use crate::replica::genesis::Genesis;
use crate::store::view::View;

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
        let secondary = Secondary { address: notified.address, socket, key, told: BTreeMap::new() };
        tasks.spawn(secondary.keep_told(server.clone(), exposed.clone()));
    }
    Ok(tasks)
}

fn unspecified(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }
}

struct Secondary {
    address: SocketAddr,
    socket: UdpSocket,
    key: Option<Arc<TsigKey>>,
    /// The serials that it has replied to, or was told of in vain.
    told: BTreeMap<Name, u32>,
}

impl Secondary {
    async fn keep_told<T>(mut self, server: dns::Server, mut exposed: watch::Receiver<T>) {
        let mut tries = 0;
        loop {
            let news = self.news(&server.view, server.settings.catalog.as_ref());
            if news.is_empty() {
                tries = 0;
                if exposed.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let in_vain = self.tell(&news, NOTIFY_TIMEOUT * (1 << tries)).await;
            tries += 1;
            if in_vain.is_empty() {
                tries = 0;
                sleep(NOTIFY_DISTANCE).await;
            } else if tries == NOTIFY_TRIES {
                tries = 0;
                tracing::warn!(secondary = %self.address, zones = in_vain.len(), "no reply to NOTIFY");
                self.told.extend(in_vain);
            }
        }
    }

    /// Zones whose serial it was not told.
    fn news(&self, view: &ViewHandle, catalog: Option<&View>) -> Vec<Arc<SignedZone>> {
        let view = view.load();
        let zones = view.zones.values().chain(catalog.into_iter().flat_map(|catalog| catalog.zones.values()));
        let is_new =
            |zone: &&Arc<SignedZone>| zone.serial().is_some() && self.told.get(zone.apex()).copied() != zone.serial();
        zones.filter(is_new).take(NOTIFY_BATCH).cloned().collect()
    }

    /// Tells once of each of these, and takes replies until all are there or time is over. What was not replied to.
    async fn tell(&mut self, zones: &[Arc<SignedZone>], patience: Duration) -> BTreeMap<Name, u32> {
        let end = Instant::now() + patience;
        let first = OsRng.next_u32() as u16;
        let (mut waiting, mut unanswered) = (Vec::new(), BTreeMap::new());
        for (at, zone) in (0u16..).zip(zones) {
            let notify = Notify::new(zone, first.wrapping_add(at), self.key.as_ref(), seconds_now());
            let (Some((notify, message)), Some(serial)) = (notify, zone.serial()) else { continue };
            // Whether the secondary is there shows in its replies.
            let _ = self.socket.send(&message).await;
            unanswered.insert(zone.apex().clone(), serial);
            waiting.push((notify, zone.apex().clone(), serial));
        }
        let mut message = [0; MAX_QUERY];
        while !unanswered.is_empty() {
            match timeout_at(end, self.socket.recv(&mut message)).await {
                Ok(Ok(length)) => {
                    let now = seconds_now();
                    let reply = |it: &&(Notify, _, _)| it.0.reply(&message[..length], now).is_some();
                    if let Some((_, apex, serial)) = waiting.iter().find(reply) {
                        unanswered.remove(apex);
                        self.told.insert(apex.clone(), *serial);
                    }
                }
                // Nobody listens there, the system was told: it may come.
                Ok(Err(_)) => sleep_until(end).await,
                Err(_) => break,
            }
        }
        unanswered
    }
}
