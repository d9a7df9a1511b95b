//! A registry with a primary server of its own: versions of its zone at random moments, and who transfers them when.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::delays::{MS, Micros};
use super::keys::Network;
use super::plan::Plan;
use super::stream::Stream;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::directory::master::{ZoneFile, parse_zone};
use crate::directory::name::Name;
use crate::directory::primary::ZoneSource;
use crate::directory::rrset::{Rrset, Rtype};
use crate::limits::CHANGE_PART;

/// Its zone in the genesis: the serials of later versions go round zero (RFC 1982).
pub const ZONE: &str = "$ORIGIN registry.example.\n$TTL 1h\n@ SOA ns hostmaster ( 4294967290 3h 1h 2w 5m )\n  NS ns\nns A \
                        192.0.2.53\n";
const SERIAL: u32 = 4_294_967_290;

/// Bytes of RDATA in one record of a large version.
const LARGE: usize = 12_000;

/// The primary server, and what each process has seen of it.
pub struct Registry {
    current: Arc<ZoneFile>,
    upcoming: VecDeque<(Micros, ZoneFile)>,
    /// Correct replicas that transfer: a kernel at least.
    followers: ReplicaSet,
    /// Serial of what each process transferred last.
    seen: BTreeMap<usize, u32>,
    rng: Stream,
}

impl Registry {
    /// None if the network has no zone with a primary.
    pub fn new(plan: &Plan, network: &Network) -> Option<Self> {
        let zone = network.genesis.zones.iter().find(|zone| zone.policy.source == ZoneSource::Primary)?;
        let mut rng = Stream::new(plan.seed, "primary", 0);
        let correct: Vec<ReplicaId> = plan.committee.ids().filter(|&id| plan.is_correct(id)).collect();
        let followers = draw_followers(&mut rng, plan, correct);
        let (mut upcoming, mut serial, mut time) = (VecDeque::new(), SERIAL, rng.below(plan.heal_at / 2));
        for at in 0..rng.between(1, 3) as usize {
            // Some follow on each other faster than they take effect.
            time += if rng.chance(1, 2) { rng.below(100 * MS) } else { rng.below(plan.heal_at / 4) };
            serial = serial.wrapping_add(rng.between(1, 4) as u32);
            let is_large = rng.chance(1, 12);
            upcoming.push_back((time, version(serial, at, is_large)));
        }
        Some(Self { current: Arc::new(zone.to_file()), upcoming, followers, seen: BTreeMap::new(), rng })
    }

    /// What it serves now.
    pub fn current(&self) -> &Arc<ZoneFile> {
        &self.current
    }

    /// When the next version is due.
    pub fn next_at(&self) -> Option<Micros> {
        self.upcoming.front().map(|(at, _)| *at)
    }

    /// Serves the next version.
    pub fn go_on(&mut self) {
        if let Some((_, file)) = self.upcoming.pop_front() {
            self.current = Arc::new(file);
        }
    }

    /// Whether the version that is served is the last, and this its serial.
    pub fn ends_with(&self, serial: u32) -> bool {
        self.upcoming.is_empty() && self.current.serial() == serial
    }

    pub fn is_followed_by(&self, id: ReplicaId) -> bool {
        self.followers.contains(id)
    }

    /// A process looks, if it `follows`: what it transfers, and after how long it looks again.
    pub fn look(&mut self, process: usize, follows: bool) -> (Option<Arc<ZoneFile>>, Micros) {
        let serial = self.current.serial();
        let is_new = follows && self.seen.insert(process, serial) != Some(serial);
        (is_new.then(|| Arc::clone(&self.current)), self.rng.between(20, 400) * MS)
    }

    /// A process ended, with what it knew.
    pub fn forget(&mut self, process: usize) {
        self.seen.remove(&process);
    }
}

/// All correct replicas, or fewer that are still a kernel.
fn draw_followers(rng: &mut Stream, plan: &Plan, mut correct: Vec<ReplicaId>) -> ReplicaSet {
    rng.shuffle(&mut correct);
    let mut followers: ReplicaSet = correct.iter().copied().collect();
    if rng.chance(1, 2) {
        for id in correct {
            let mut fewer = followers;
            fewer.remove(id);
            followers = if plan.committee.is_kernel(fewer) { fewer } else { followers };
        }
    }
    followers
}

/// The zone's version number `at`: a name of its own beside one that the version before has too. A large one has changes
/// of more than one part.
fn version(serial: u32, at: usize, is_large: bool) -> ZoneFile {
    let next = at + 1;
    let lines = format!("n{at} A 192.0.2.{next}\nn{next} A 192.0.2.{next}\nversion TXT {next}\n");
    let text = ZONE.replace(&SERIAL.to_string(), &serial.to_string()) + &lines;
    let file = parse_zone(&text, "registry.example.zone", None, &mut |_| Err("no includes".into()));
    let mut file = file.expect("the zone is sound");
    let titles = if is_large { 1 + CHANGE_PART / (4 * LARGE) } else { 0 };
    for title in 0..titles {
        let name = Name::parse(&format!("large{title}"), Some(&file.apex)).expect("a sound label");
        let rdatas = (0..4).map(|record| vec![record; LARGE]).collect();
        file.records.insert((name, Rtype(65280)), Rrset::new(Rtype(65280), 300, rdatas));
    }
    file
}

/// The zone with another serial.
pub fn with_serial(mut file: ZoneFile, serial: u32) -> ZoneFile {
    if let Some(soa) = file.records.get_mut(&(file.apex.clone(), Rtype::SOA)) {
        let mut rdata = soa.rdatas()[0].clone();
        let at = rdata.len() - 20;
        rdata[at..at + 4].copy_from_slice(&serial.to_be_bytes());
        *soa = Rrset::new(Rtype::SOA, soa.ttl, vec![rdata]);
    }
    file
}
