//! One process: a replica, its disk, its clock. What is around the replica does what `node::core` does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::adversary::{Conduct, Mind};
use super::delays::Micros;
use super::keys::START_MS;
use super::stream::Stream;
use crate::committee::ReplicaId;
use crate::directory::Timestamp;
use crate::directory::master::ZoneFile;
use crate::order::{BlockFault, OrderPublic, VerifiedBlock, Verifier};
use crate::replica::door::{self, Submission};
use crate::replica::{Effect, Replica};
use crate::store::Batch;
use crate::store::memory::MemoryStore;

/// Checks each block, and each envelope at the door, once for all replicas of a world. Blocks that are not valid are looked
/// at each time.
#[derive(Default)]
pub struct CheckOnce {
    /// By the end of their bytes: the signature is of all the others.
    blocks: Mutex<BTreeMap<[u8; TAIL], Arc<VerifiedBlock>>>,
    envelopes: Mutex<BTreeMap<Arc<[u8]>, Option<Submission>>>,
}

/// So many bytes tell blocks apart.
const TAIL: usize = 16;

impl Verifier for CheckOnce {
    fn verify(&self, public: &OrderPublic, bytes: &[u8]) -> Result<Arc<VerifiedBlock>, BlockFault> {
        let Some(tail) = bytes.last_chunk() else { return Err(BlockFault::Encoding) };
        let mut known = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = known.get(tail).filter(|block| block.bytes() == bytes) {
            return Ok(Arc::clone(block));
        }
        let block = Arc::new(VerifiedBlock::verify(public, bytes.to_vec())?);
        known.insert(*tail, Arc::clone(&block));
        Ok(block)
    }
}

impl CheckOnce {
    /// As [`door::check_envelope`].
    pub fn envelope(&self, bytes: &Arc<[u8]>) -> Option<Submission> {
        let mut known = self.envelopes.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(Arc::clone(bytes)).or_insert_with(|| door::check_envelope(bytes).ok()).clone()
    }
}

/// What reaches the core.
#[derive(Clone)]
pub enum Input {
    Message {
        from: ReplicaId,
        bytes: Arc<[u8]>,
    },
    Connected(ReplicaId),
    Retry,
    Submit(Arc<[u8]>),
    /// What the registry's primary serves, or a corrupt process is told.
    Transferred(Arc<ZoneFile>),
}

/// A write that is being synced, and what follows it.
pub struct Sync {
    pub batch: Batch,
    pub round: u64,
}

pub struct Process {
    pub id: ReplicaId,
    /// Counts starts and crashes.
    pub life: u32,
    pub core: Option<Replica>,
    pub store: MemoryStore,
    /// Writes that may wait for the next sync.
    pub pending: Batch,
    /// Effects still to be done.
    pub todo: VecDeque<Effect>,
    pub sync: Option<Sync>,
    /// What came while the process was busy.
    pub inbox: VecDeque<Input>,
    /// Effects until the crash that was decided on, and the time until the restart after it.
    pub fuse: Option<(u32, Micros)>,
    /// What a sync takes.
    pub sync_takes: Micros,
    pub stands_still_until: Micros,
    /// By how much the clock is wrong, in milliseconds.
    pub clock_error: i64,
    /// Copies of the disk that it may be set back to.
    pub copies: Vec<(Micros, MemoryStore)>,
    /// Draws for each start's entropy.
    pub entropy: Stream,
    /// A corrupt process says and hears what this makes of it.
    pub adversary: Option<(Box<dyn Conduct>, Mind)>,
}

impl Process {
    pub fn new(id: ReplicaId, store: MemoryStore, entropy: Stream) -> Self {
        Self {
            id,
            life: 0,
            core: None,
            store,
            pending: Batch::default(),
            todo: VecDeque::new(),
            sync: None,
            inbox: VecDeque::new(),
            fuse: None,
            sync_takes: 0,
            stands_still_until: 0,
            clock_error: 0,
            copies: Vec::new(),
            entropy,
            adversary: None,
        }
    }

    pub fn is_busy(&self, now: Micros) -> bool {
        self.sync.is_some() || now < self.stands_still_until
    }

    /// The local clock.
    pub fn clock(&self, now: Micros) -> Timestamp {
        Timestamp((START_MS + now / 1000).saturating_add_signed(self.clock_error))
    }

    /// The process is gone with all it had in memory; the disk keeps what was synced, and of the rest as much as `luck`
    /// says, the oldest first.
    pub fn crash(&mut self, luck: &mut Stream) {
        self.life += 1;
        self.core = None;
        self.todo.clear();
        self.inbox.clear();
        self.fuse = None;
        self.stands_still_until = 0;
        let pending = std::mem::take(&mut self.pending);
        if let Some(sync) = self.sync.take() {
            if luck.chance(1, 2) {
                // The write got through, but nobody was told.
                self.commit(sync.batch, true);
            }
        } else if luck.chance(1, 2) && !pending.is_empty() {
            self.commit(pending, false);
        }
        let lazy = self.store.not_durable() as u64;
        self.store.power_cut(luck.below(lazy + 1) as usize);
    }

    pub fn commit(&mut self, batch: Batch, sync: bool) {
        use crate::store::{Durability, Store};
        let durability = if sync { Durability::Sync } else { Durability::Lazy };
        self.store.commit(batch, durability).expect("the replica's writes follow each other");
    }

    pub fn flush(&mut self) {
        if !self.pending.is_empty() {
            let batch = std::mem::take(&mut self.pending);
            self.commit(batch, false);
        }
    }
}
