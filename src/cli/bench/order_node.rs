//! `torrens bench order-node`: one replica of the ordering alone, with the load that it makes for itself.
//!
//! Real are the blocks, the coin, the links with their TLS, and the store with a sync for each own block; there is no
//! directory, nothing is signed but blocks, and no owner's signature is checked. An operation is `size` bytes, of which
//! the first eight are the microseconds from the node's start to when it was due: the load does not wait for the order,
//! so a backlog shows as latency.

use std::collections::VecDeque;
use std::io::{BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::broken;
use super::usage::{Cpu, resident_kib};
use crate::cli::operation::local_time;
use crate::cli::output::{Failure, Report};
use crate::codec;
use crate::committee::{Committee, ReplicaId};
use crate::crypto::coin::{CoinPublic, CoinSecret};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::{PublicKey, SecretKey};
use crate::limits::{
    BENCH_LATENCIES, BENCH_TICK, BENCH_WARM_UP_S, CORE_BATCH, CORE_INPUTS, FLUSH_INTERVAL, MAX_BLOCKS_ANSWER,
    MAX_STARTUP_ANSWER, PAYLOAD_FOR_OPERATIONS, RETRY_INTERVAL,
};
use crate::node::pace::Pace;
use crate::order::startup::{Question, Startup};
use crate::order::{Commit, Effect, Order, OrderPublic, Recovered, VerifiedBlock};
use crate::peer::{Mesh, MeshConfig, MeshHandle, PeerAddress, PeerEvent, PeerMessage};
use crate::store::rocks::RocksStore;
use crate::store::{Batch, Durability, OwnRecord, Read as _, Store};

/// Takes what it is to be on standard input, as one line, prints what it measured as one, ends with its input.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What one node is told. Test keys: they order nothing but filler.
#[derive(Serialize, Deserialize)]
pub struct Setup {
    pub me: u8,
    pub identities: Vec<PublicKey>,
    pub links: Vec<PublicKey>,
    pub identity: [u8; 32],
    pub link: [u8; 32],
    pub coin: CoinPublic,
    pub coin_share: Vec<u8>,
    pub folder: PathBuf,
    pub port_base: u16,
    /// Bytes of an operation.
    pub size: usize,
    /// Of everything this node sends, one way.
    pub link_delay_ms: u64,
    /// Operations a second, of this node.
    pub rate: f64,
    /// What it waits after each message, if it is to be slow.
    pub pause: Option<Duration>,
    pub seconds: u64,
}

/// What one node measured.
#[derive(Default, Serialize, Deserialize)]
pub struct Measured {
    /// Of this node's own operations that were ordered in the measured seconds, evenly chosen if they are many.
    pub latencies_us: Vec<u32>,
    /// Operations of all nodes that this one saw ordered.
    pub ordered: u64,
    pub rounds: u64,
    /// From each own block with operations to the highest complete round when it was ordered, added up; and how many
    /// blocks.
    pub rounds_to_commit: [u64; 2],
    pub commits: u64,
    pub cpu: Cpu,
    /// At the start of the measured seconds and after each tenth of them.
    pub resident_kib: Vec<u64>,
}

impl Args {
    pub async fn run(self) -> Result<Report, Failure> {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(broken)?;
        let setup: Setup = serde_json::from_str(&line).map_err(broken)?;
        // Whatever it does, it ends with its parent.
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        let network = Digest([0x62; 32]);
        let (inputs, received) = sync_channel(CORE_INPUTS);
        let events = Arc::new(move |event| inputs.send(event).is_ok());
        let mesh = Mesh::start_thread(mesh_config(&setup, network), events).await.map_err(broken)?;
        let mut node = Node::new(setup, network, mesh).map_err(|error| broken(format!("{error:#}")))?;
        let core = tokio::task::spawn_blocking(move || node.run(&received));
        let ended = core.await.map_err(|_| broken("the node panicked"))?;
        ended.map_err(|error| broken(format!("{error:#}")))?;
        Ok(Report::accepted("", Value::Null))
    }
}

/// Node `id` listens for peers where a testbed's replica would.
fn address(port_base: u16, id: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port_base + 20 * u16::from(id) + 5))
}

fn mesh_config(setup: &Setup, network: Digest) -> MeshConfig {
    let peers = (0u8..).zip(&setup.links).filter(|(id, _)| *id != setup.me).map(|(id, &link_key)| PeerAddress {
        id: ReplicaId(id),
        address: address(setup.port_base, id).to_string(),
        link_key,
    });
    MeshConfig {
        me: ReplicaId(setup.me),
        link_key: SecretKey::from_seed(&setup.link),
        listen: address(setup.port_base, setup.me),
        peers: peers.collect(),
        network,
        link_delay: Duration::from_millis(setup.link_delay_ms),
    }
}

struct Node {
    public: Arc<OrderPublic>,
    order: Order,
    startup: Startup,
    store: RocksStore,
    pending: Batch,
    mesh: MeshHandle,
    load: Load,
    pace: Pace,
    pause: Option<Duration>,
}

impl Node {
    fn new(setup: Setup, network: Digest, mesh: MeshHandle) -> anyhow::Result<Self> {
        let committee = Committee::new(setup.identities.len())?;
        let me = ReplicaId(setup.me);
        let public = Arc::new(OrderPublic::new(committee, network, 0, setup.identities.clone(), setup.coin.clone())?);
        let coin = CoinSecret::from_bytes(&setup.coin_share).context("no coin share")?;
        let identity = Arc::new(SecretKey::from_seed(&setup.identity));
        let (mut order, _) = Order::new(Arc::clone(&public), me, identity, coin, Recovered::empty());
        let startup = order.begin_start(Some(0), [setup.me; 32]);
        let store = RocksStore::create(&setup.folder, network, b"")?;
        let (load, pace, pause) = (Load::new(me, &setup), Pace::default(), setup.pause);
        Ok(Self { public, order, startup, store, pending: Batch::default(), mesh, load, pace, pause })
    }

    fn run(&mut self, inputs: &Receiver<PeerEvent>) -> anyhow::Result<()> {
        let (mut last_retry, mut last_flush) = (Instant::now(), Instant::now());
        loop {
            let wait = self.must_wait().map_or(BENCH_TICK, |wait| wait.min(BENCH_TICK));
            let first = match inputs.recv_timeout(wait) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            for event in first.into_iter().chain(inputs.try_iter().take(CORE_BATCH)) {
                self.take(event)?;
                if let Some(pause) = self.pause {
                    std::thread::sleep(pause);
                }
            }
            if last_retry.elapsed() >= RETRY_INTERVAL {
                last_retry = Instant::now();
                let effects = self.order.retry();
                self.perform(effects)?;
            }
            self.load.tick(&self.order);
            self.propose()?;
            if last_flush.elapsed() >= FLUSH_INTERVAL {
                last_flush = Instant::now();
                self.flush()?;
            }
        }
    }

    fn must_wait(&self) -> Option<Duration> {
        self.pace.wait(self.order.unordered_bytes(), Instant::now())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.pending.is_empty() {
            self.store.commit(std::mem::take(&mut self.pending), Durability::Lazy)?;
        }
        Ok(())
    }

    /// The next block, if a round is due: as [`crate::replica::Replica::advance`] has it.
    fn propose(&mut self) -> anyhow::Result<()> {
        let due = self.load.has_due() || self.order.unfinished();
        if !due || self.order.next_round().is_none() || self.must_wait().is_some() {
            return Ok(());
        }
        self.pace.block_made(Instant::now());
        let effects = self.order.propose(local_time(), &self.load.payload()).into_iter().collect();
        self.perform(effects)
    }

    fn take(&mut self, event: PeerEvent) -> anyhow::Result<()> {
        let effects = match event {
            PeerEvent::Connected(peer) => {
                if self.startup.unanswered().contains(peer) {
                    self.mesh.send(peer, &PeerMessage::StartupQuery { nonce: self.startup.question().nonce })?;
                }
                self.order.connected(peer)
            }
            PeerEvent::Disconnected(_) => Vec::new(),
            PeerEvent::Message { from, message, slot } => {
                let effects = self.receive(from, message)?;
                drop(slot);
                effects
            }
        };
        self.perform(effects)
    }

    fn receive(&mut self, from: ReplicaId, message: PeerMessage) -> anyhow::Result<Vec<Effect>> {
        let mut effects = Vec::new();
        match message {
            PeerMessage::Block(bytes) => {
                effects = self.order.receive(from, VerifiedBlock::verify(&self.public, bytes)?);
            }
            PeerMessage::Blocks(blocks) => {
                for bytes in blocks {
                    effects.extend(self.order.receive(from, VerifiedBlock::verify(&self.public, bytes)?));
                }
                effects.extend(self.order.fetched(from));
            }
            PeerMessage::Fetch { refs, above } => {
                let (blocks, on_disk) = self.order.serve(&refs, above, MAX_BLOCKS_ANSWER / 2);
                self.flush()?;
                let mut bytes: Vec<Vec<u8>> = Vec::new();
                for block in on_disk {
                    bytes.extend(self.store.block(block.round, block.author, &block.digest)?);
                }
                bytes.extend(blocks.iter().map(|block| block.bytes().to_vec()));
                self.mesh.send(from, &PeerMessage::blocks(bytes))?;
            }
            PeerMessage::StartupQuery { nonce } => {
                let answer = self.order.answer_start(Question { asker: from, nonce });
                self.mesh.send(from, &PeerMessage::StartupAnswer(codec::encode(&answer)))?;
            }
            PeerMessage::StartupAnswer(bytes) => {
                self.startup.receive(&codec::decode(&bytes, MAX_STARTUP_ANSWER)?)?;
                if let Some(outcome) = self.startup.outcome() {
                    self.order.start(outcome);
                    self.load.start();
                }
            }
            // There is no state, and nobody's operations but the node's own.
            _ => {}
        }
        Ok(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> anyhow::Result<()> {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Store(block) => self.pending.blocks.push(stored(&block)),
                Effect::Persist(block) => {
                    self.pending.blocks.push(stored(&block));
                    self.pending.own = Some(OwnRecord { round: block.round() });
                    self.store.commit(std::mem::take(&mut self.pending), Durability::Sync)?;
                    queue.extend(self.order.persisted(block.round()));
                }
                Effect::Broadcast(block) => self.mesh.broadcast(&PeerMessage::Block(block.bytes().to_vec()))?,
                Effect::Send { to, block } => self.mesh.send(to, &PeerMessage::Block(block.bytes().to_vec()))?,
                Effect::Fetch { from, refs, above } => self.mesh.send(from, &PeerMessage::Fetch { refs, above })?,
                Effect::Commit(commit) => {
                    self.load.ordered(&commit, self.order.quorum_round());
                    self.pending.rows.extend(commit.rows);
                }
                Effect::Keep(rows) => self.pending.rows.extend(rows),
                Effect::Fault(fault) => anyhow::bail!("{}: {fault}", fault.culprit()),
            }
        }
        Ok(())
    }
}

fn stored(block: &VerifiedBlock) -> (u64, ReplicaId, Digest, Vec<u8>) {
    (block.round(), block.author(), block.reference().digest, block.bytes().to_vec())
}

/// Looks at the memory in a measurement, but for the one at its start.
const TENTHS: u32 = 10;

/// Makes operations at a steady rate, and measures when they are ordered.
struct Load {
    me: ReplicaId,
    size: usize,
    rate: f64,
    seconds: u64,
    /// Since when operations are due; none before the start-up rule allows to propose.
    since: Option<Instant>,
    /// Operations that went into blocks.
    sent: u64,
    /// One latency in so many is kept, so that a long run measures the order's memory and not its own.
    stride: usize,
    /// At the start of the measured seconds: rounds, commits, CPU.
    before: Option<(u64, u64, Cpu)>,
    measured: Measured,
    printed: bool,
}

impl Load {
    fn new(me: ReplicaId, setup: &Setup) -> Self {
        let Setup { size, rate, seconds, .. } = *setup;
        let (since, before, measured) = (None, None, Measured::default());
        let stride = (rate * seconds as f64) as usize / BENCH_LATENCIES + 1;
        Self { me, size: size.max(8), rate, seconds, since, sent: 0, stride, before, measured, printed: false }
    }

    fn start(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn elapsed(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Operations that are due and not in a block yet.
    fn due(&self) -> u64 {
        ((self.elapsed().as_secs_f64() * self.rate) as u64).saturating_sub(self.sent)
    }

    fn has_due(&self) -> bool {
        self.due() > 0
    }

    /// What is due, as much as one block carries.
    fn payload(&mut self) -> Vec<u8> {
        let count = self.due().min((PAYLOAD_FOR_OPERATIONS / self.size) as u64);
        let mut payload = Vec::with_capacity(count as usize * self.size);
        for _ in 0..count {
            // As `due` counts: the first operation is due one interval after the start.
            let due_us = ((self.sent + 1) as f64 / self.rate * 1e6) as u64;
            payload.extend_from_slice(&due_us.to_le_bytes());
            payload.resize(payload.len() + self.size - 8, 0x5a);
            self.sent += 1;
        }
        payload
    }

    fn is_measuring(&self) -> bool {
        self.before.is_some() && !self.printed
    }

    fn ordered(&mut self, commit: &Commit, top: u64) {
        if !self.is_measuring() {
            return;
        }
        let now_us = self.elapsed().as_micros() as u64;
        for block in &commit.blocks {
            let operations = block.payload().chunks_exact(self.size);
            self.measured.ordered += operations.len() as u64;
            if block.author() == self.me && operations.len() > 0 {
                let [rounds, blocks] = self.measured.rounds_to_commit;
                self.measured.rounds_to_commit = [rounds + top - block.round(), blocks + 1];
                let kept = operations.step_by(self.stride);
                let due_us = kept.map(|bytes| u64::from_le_bytes(*bytes.first_chunk().expect("eight at least")));
                self.measured.latencies_us.extend(due_us.map(|due_us| now_us.saturating_sub(due_us) as u32));
            }
        }
    }

    /// Starts and ends the measured seconds, and looks at the memory on the way.
    fn tick(&mut self, order: &Order) {
        let Some(elapsed) = self.elapsed().checked_sub(Duration::from_secs(BENCH_WARM_UP_S)) else { return };
        let of_order = || (order.own_last_round(), order.height(), Cpu::of_this_process());
        let before = *self.before.get_or_insert_with(of_order);
        let tenth = self.measured.resident_kib.len() as u32;
        if elapsed < Duration::from_secs(self.seconds) * tenth / TENTHS || self.printed {
            return;
        }
        self.measured.resident_kib.push(resident_kib(std::process::id()));
        if tenth < TENTHS {
            return;
        }
        self.printed = true;
        let (rounds, commits, cpu) = of_order();
        self.measured.rounds = rounds - before.0;
        self.measured.commits = commits - before.1;
        self.measured.cpu = cpu - before.2;
        let line = serde_json::to_string(&self.measured).expect("plain figures");
        // The parent may be gone.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
