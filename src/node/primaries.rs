//! What a replica does for zones that come from a registry's primary: it looks there for a newer serial, and transfers
//! the zone.
//!
//! As a secondary does (RFC 1035 §4.3.5): when the SOA record's refresh time is over, at word of a new version
//! ([`crate::dns::notified`]), or a while after a try that failed, it asks for the SOA record; if the serial is another
//! than it saw last, for the zone, over the same connection. What it transferred it hands to the core, which compares it
//! with the state and votes ([`crate::replica::primary`]).

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use anyhow::{Context, anyhow, bail};
use rand_core::{OsRng, RngCore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use super::core::Input;
use crate::access::TsigKey;
use crate::config::primaries::Primary;
use crate::directory::master::ZoneFile;
use crate::directory::primary::ZoneSource;
use crate::directory::rrset::Rtype;
use crate::dns::notified;
use crate::dns::primary::{Exchange, Record, serial_and_refresh};
use crate::dns::{Settings, seconds_now};
use crate::limits::{PRIMARY_REFRESH, PRIMARY_RETRY, PRIMARY_TIMEOUT, RETRY_INTERVAL};
use crate::replica::genesis::Genesis;

/// Follows all primaries, as long as the set lives.
pub fn follow(
    primaries: &[Primary],
    genesis: &Genesis,
    settings: &Settings,
    inputs: &SyncSender<Input>,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for zone in genesis.zones.iter().filter(|zone| zone.policy.source == ZoneSource::Primary) {
        if primaries.iter().all(|primary| primary.zone != zone.apex) {
            tracing::warn!(zone = %zone.apex, "replica.toml names no primary of it: this replica has no vote on its versions");
        }
    }
    for primary in primaries {
        let zone = genesis.zones.iter().find(|zone| zone.apex == primary.zone);
        if zone.is_none_or(|zone| zone.policy.source != ZoneSource::Primary) {
            bail!("replica.toml: {} is no zone of this network that comes from a primary", primary.zone);
        }
        let key = settings.keys.iter().find(|key| key.name == primary.key).cloned();
        let key = key.with_context(|| format!("replica.toml: the file of tsig_keys has no key {}", primary.key))?;
        let word =
            settings.primaries.iter().find(|heard| heard.zone == primary.zone).map(|heard| Arc::clone(&heard.word));
        let word = word.with_context(|| format!("nobody listens for a NOTIFY of {}", primary.zone))?;
        let follower = Follower { primary: primary.clone(), key, word, inputs: inputs.clone(), seen: None };
        tasks.spawn(follower.follow());
    }
    Ok(tasks)
}

/// Whose NOTIFY counts.
pub fn heard(primaries: &[Primary]) -> Vec<notified::Primary> {
    let heard = |primary: &Primary| notified::Primary {
        zone: primary.zone.clone(),
        key: primary.key.clone(),
        word: Arc::default(),
    };
    primaries.iter().map(heard).collect()
}

struct Follower {
    primary: Primary,
    key: Arc<TsigKey>,
    /// Of a new version.
    word: Arc<Notify>,
    inputs: SyncSender<Input>,
    /// Serial of the last version that was handed to the core.
    seen: Option<u32>,
}

impl Follower {
    async fn follow(mut self) {
        loop {
            let wait = match self.look().await {
                Ok(refresh) => refresh.clamp(*PRIMARY_REFRESH.start(), *PRIMARY_REFRESH.end()),
                Err(error) => {
                    let Primary { zone, address, .. } = &self.primary;
                    tracing::warn!(%zone, %address, "primary: {error:#}");
                    PRIMARY_RETRY
                }
            };
            let least = u64::from(*PRIMARY_REFRESH.start());
            sleep(Duration::from_secs(least)).await;
            let rest = Duration::from_secs(u64::from(wait).saturating_sub(least));
            // Whether it is over or there was word, the primary is asked.
            let _ = timeout(rest, self.word.notified()).await;
        }
    }

    /// Looks for a new version; seconds until the next look.
    async fn look(&mut self) -> anyhow::Result<u32> {
        let Primary { zone, address, .. } = &self.primary;
        let mut stream = timeout(PRIMARY_TIMEOUT, TcpStream::connect(address)).await.context("no connection")??;
        let soa = self.ask(&mut stream, Rtype::SOA).await?;
        let soa = soa.first().and_then(|(.., rdata)| serial_and_refresh(rdata)).context("its SOA record is damaged")?;
        let (serial, refresh) = soa;
        if self.seen == Some(serial) {
            return Ok(refresh);
        }
        let records = self.ask(&mut stream, Rtype::AXFR).await?;
        drop(stream);
        let (apex, count) = (zone.clone(), records.len());
        let file = tokio::task::spawn_blocking(move || ZoneFile::from_records(apex, records)).await??;
        let transferred = file.serial();
        tracing::info!(%zone, serial = transferred, records = count, "transferred from the primary");
        self.hand_over(file).await?;
        self.seen = Some(transferred);
        Ok(refresh)
    }

    /// Gives a version to the core. What the core does not vote for is said once: the next serial may be better.
    async fn hand_over(&self, file: ZoneFile) -> anyhow::Result<()> {
        let (reply, answer) = oneshot::channel();
        let mut input = Input::Transferred(Box::new(file), reply);
        loop {
            input = match self.inputs.try_send(input) {
                Ok(()) => break,
                Err(TrySendError::Full(input)) => input,
                Err(TrySendError::Disconnected(_)) => bail!("the core has ended"),
            };
            sleep(RETRY_INTERVAL).await;
        }
        if let Err(error) = answer.await.map_err(|_| anyhow!("the core has ended"))? {
            tracing::warn!("not voted for: {error}");
        }
        Ok(())
    }

    /// The records of the answer, signed with the key.
    async fn ask(&self, stream: &mut TcpStream, rtype: Rtype) -> anyhow::Result<Vec<Record>> {
        let (id, now) = (OsRng.next_u32() as u16, seconds_now());
        let (mut exchange, message) = Exchange::new(&self.primary.zone, rtype, id, &self.key, now);
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        timeout(PRIMARY_TIMEOUT, stream.write_all(&framed)).await.context("the question is not taken")??;
        let mut message = Vec::new();
        loop {
            timeout(PRIMARY_TIMEOUT, receive(stream, &mut message)).await.context("no answer")??;
            if let Some(records) = exchange.take(&message, seconds_now())? {
                return Ok(records);
            }
        }
    }
}

async fn receive(stream: &mut TcpStream, message: &mut Vec<u8>) -> std::io::Result<()> {
    let length = stream.read_u16().await?;
    message.resize(length.into(), 0);
    stream.read_exact(message).await?;
    Ok(())
}
