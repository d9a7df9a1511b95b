//! `torrens bench serve`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rand_core::{OsRng, RngCore};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::broken;
use crate::cli::output::{Failure, Report};
use crate::directory::master::parse_signed_zone;
use crate::directory::name::Name;
use crate::directory::rrset::{Rrset, Rtype};
use crate::directory::zone::{RrsetRef, SignedRrset, SignedZone};
use crate::dns;
use crate::store::view::View;

/// The DNS server alone, over zones that somebody else signed: what is set beside Knot and NSD
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything but the zone's origin is what a replica runs: the view, the answers, the sockets. Whoever is on this machine may
transfer the zones. It ends on SIGTERM.

Examples:
  torrens bench serve --zone example.signed --listen 127.0.0.1:5300
  torrens bench serve --zone root.zone --origin . --listen 127.0.0.1:5300 --workers 2
  torrens bench serve --zone example.signed --listen 127.0.0.1:5300 --updates 500")]
pub struct Args {
    /// Master file of a zone, with RRSIG and NSEC records; several are served together
    #[arg(long, value_name = "FILE", required = true)]
    zone: Vec<PathBuf>,
    /// What relative names in the files are relative to
    #[arg(long, value_name = "NAME", default_value = ".", value_parser = origin)]
    origin: Name,
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Sockets and threads for UDP
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Versions published a second meanwhile, each with one name changed; signatures are not made anew
    #[arg(long, value_name = "N", default_value_t = 0)]
    updates: u32,
}

/// Publishes versions at an even pace for as long as the process lives: each has another of the zone's address records,
/// and the next serial.
fn update(view: &dns::ViewHandle, a_second: u32) {
    let pause = Duration::from_secs(1) / a_second;
    let mut due = Instant::now();
    for number in 0u64.. {
        due += pause;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut next = View::clone(&view.load());
        let Some(zone) = next.zones.values_mut().next() else { return };
        let mut zone = SignedZone::clone(zone);
        // Far from the one before, each once.
        const STRIDE: u64 = 7919;
        let rank = (number * STRIDE % zone.len() as u64) as usize;
        let address = (number as u32).to_be_bytes().to_vec();
        if let Some((name, addresses)) = zone.at(rank).and_then(|node| Some((node.owner(), node.get(Rtype::A)?))) {
            let (name, rrsig) = (name.to_name(), addresses.rrsig().map(<[u8]>::to_vec));
            zone.put(&name, SignedRrset { rrset: Rrset::new(Rtype::A, addresses.ttl, vec![address]), rrsig });
        }
        advance_serial(&mut zone);
        next.zones.insert(zone.apex().clone(), Arc::new(zone));
        view.store(Arc::new(next));
    }
}

fn advance_serial(zone: &mut SignedZone) {
    let Some(soa) = zone.top().and_then(|apex| apex.get(Rtype::SOA)).map(RrsetRef::to_signed) else { return };
    let (mut rdata, serial) = (soa.rrset.rdatas()[0].clone(), zone.serial().unwrap_or(0).wrapping_add(1));
    let at = rdata.len() - 20;
    rdata[at..at + 4].copy_from_slice(&serial.to_be_bytes());
    let rrset = Rrset::new(Rtype::SOA, soa.rrset.ttl, vec![rdata]);
    zone.put(&zone.apex().clone(), SignedRrset { rrset, rrsig: soa.rrsig });
}

pub(super) fn origin(text: &str) -> Result<Name, String> {
    Name::parse(text, Some(&Name::root())).map_err(|error| error.to_string())
}

pub(super) fn read(path: &Path, origin: &Name) -> Result<SignedZone, Failure> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| broken(format!("{file}: {error}")))?;
    let mut loader = |path: &str| std::fs::read_to_string(path).map_err(|error| error.to_string());
    parse_signed_zone(&text, &file, Some(origin.clone()), &mut loader).map_err(broken)
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let begin = Instant::now();
        let zones = self.zone.iter().map(|file| read(file, &self.origin)).collect::<Result<Vec<_>, _>>()?;
        let names: usize = zones.iter().map(SignedZone::len).sum();
        let served = format!(
            "{} with {names} names",
            zones.iter().map(|zone| zone.apex().to_string()).collect::<Vec<_>>().join(" ")
        );
        let zones = zones.into_iter().map(|zone| (zone.apex().clone(), Arc::new(zone))).collect();
        let view = View { zones, ..View::default() };
        let mut cookie_secret = [0; 16];
        OsRng.fill_bytes(&mut cookie_secret);
        let mut settings = dns::Settings::new("bench", cookie_secret);
        settings.transfers = ["127.0.0.0/8", "::1"]
            .map(|network| network.parse::<crate::access::Network>().expect("a network").into())
            .into();
        let server = dns::Server::new(Arc::new(ArcSwap::from_pointee(view)), settings);
        if let Some(a_second) = Some(self.updates).filter(|updates| *updates > 0) {
            let view = Arc::clone(&server.view);
            std::thread::spawn(move || update(&view, a_second));
        }
        let mut stop = signal(SignalKind::terminate()).map_err(broken)?;
        let udp = dns::udp::UdpServer::start(self.listen, self.workers, &server).map_err(broken)?;
        let listener = TcpListener::bind(udp.address()).await.map_err(broken)?;
        let tcp = tokio::spawn(dns::stream::serve_tcp(listener, server));
        eprintln!("{served} at {} after {:.1} s", udp.address(), begin.elapsed().as_secs_f64());
        stop.recv().await;
        tcp.abort();
        Ok(Report::accepted("", serde_json::Value::Null))
    }
}
