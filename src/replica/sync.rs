//! Copying the state: how a replica that is too far behind joins at a signed head.
//!
//! It holds a signed checkpoint ([`super::heads`]) that is further ahead than blocks can bring it. From its peers it asks:
//!
//! 1. the *manifest* ([`crate::store::serve`]), and checks it against the signed root;
//! 2. the rows, bucket by bucket, from all peers at once, and checks each bucket against the manifest before anything of
//!    it is written, and then only to the staged store, beside the one that is served;
//! 3. the blocks of the last two rounds up to the head, by the digests that the rows give: agreed time of the next commits
//!    is read off their timestamps. Blocks that are not ordered yet are parents of those above and are pulled like any
//!    others.
//!
//! Then the staged store takes the place of the old one, in one step, and the replica starts from it as after any restart.
//! Until then it serves what it had. It takes no part in the order meanwhile, and drops the blocks it is sent: they are
//! pulled again by digest.
//!
//! Nothing depends on any one peer. What it sends is judged by the signed root alone; a piece that is wrong, or too short,
//! or does not come in time, ends this peer's part in this copy, and another is asked for the piece. When nobody is
//! left, all are asked anew; if a newer checkpoint was signed meanwhile, from that one. A checkpoint lower than one
//! seen counts for nothing. All lengths follow from the manifest, so no answer is endless.
//!
//! What was staged before a crash counts after it, and what was staged from a checkpoint that nobody keeps any longer
//! counts for the next: buckets that are the same in the manifest are not asked for again. Rows of the others go when
//! the new ones of their bucket come, so that nothing is left over; their keys are held in memory meanwhile.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::heads::SignedHead;
use super::message::{PeerMessage, StatePart};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::digest::Digest;
use crate::limits::{MAX_FETCH, SYNC_CHUNK, SYNC_PATIENCE, SYNC_ROWS_INDEXED_PER_TICK};
use crate::mutants::{Mutant, planted};
use crate::order::{BlockRef, OrderPublic, VerifiedBlock, settled_block};
use crate::rows::{Row, Table};
use crate::store::serve::{StateServer, for_each_row, read_manifest, starts, tree_of};
use crate::store::tree::{BUCKETS, BucketDigest, RowDigests, read_rows, root_of, write_row};
use crate::store::{Batch, Local, Read, Store, StoreError};

/// What is to be done for a copy.
#[derive(Debug)]
pub(super) enum Step {
    Send {
        to: ReplicaId,
        message: PeerMessage,
    },
    Fault {
        culprit: ReplicaId,
        what: String,
    },
    /// Begin an empty staged store.
    Begin,
    Stage(Batch),
    /// All is there.
    Adopt,
}

/// What an earlier process staged.
#[derive(Clone, Debug)]
pub struct Staged {
    signed: SignedHead,
    buckets: StagedBuckets,
}

type StagedBuckets = BTreeMap<usize, StagedBucket>;

/// What is staged of one bucket.
#[derive(Clone, Debug)]
struct StagedBucket {
    digest: BucketDigest,
    /// Its rows without their values, as [`write_row`] writes them.
    keys: Vec<u8>,
    /// Names of the blocks that its rows call for.
    blocks: Vec<BlockRef>,
}

/// How far a copy has come, in bytes of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncProgress {
    pub height: u64,
    pub done: u64,
    pub total: u64,
}

/// One copy under way.
pub(super) struct Sync {
    me: ReplicaId,
    signed: SignedHead,
    staged: StagedBuckets,
    layout: Option<Layout>,
    /// Runs of buckets that nobody is asked for.
    waiting: VecDeque<Range<usize>>,
    jobs: BTreeMap<ReplicaId, Job>,
    /// Peers that gave a piece of this state.
    answered: ReplicaSet,
    /// Peers that take no part any more.
    given_up: ReplicaSet,
    /// Blocks to come.
    frontier: Vec<BlockRef>,
    done: u64,
    tick: u64,
    /// All is there, and the shell was told.
    finished: bool,
}

/// What the manifest says.
struct Layout {
    buckets: Vec<BucketDigest>,
    starts: Vec<u64>,
}

/// What a peer was asked for.
struct Job {
    what: Asked,
    /// Tick by which the next piece has to be there.
    until: u64,
}

enum Asked {
    Manifest,
    /// A run of buckets, and what has come of it.
    Buckets {
        run: Range<usize>,
        bytes: Vec<u8>,
    },
    Blocks,
}

impl Staged {
    /// What `store` holds of a copy, if it was begun.
    pub fn read(store: &dyn Read) -> Result<Option<Self>, StoreError> {
        let Some(signed) = store.local(Local::Checkpoint)?.and_then(|bytes| SignedHead::from_bytes(&bytes)) else {
            return Ok(None);
        };
        let mut digests = RowDigests::default();
        let mut buckets = StagedBuckets::new();
        for_each_row(store, |table, key, value| {
            let bucket = digests.add(table, key, value);
            buckets.entry(bucket).or_default().add(table, key, value, signed.head.round);
        })?;
        for (index, digest) in digests.bucket_digests().into_iter().enumerate() {
            if let Some(bucket) = buckets.get_mut(&index) {
                bucket.digest = digest;
            }
        }
        Ok(Some(Self { signed, buckets }))
    }
}

impl StagedBucket {
    /// Notes a row of the state at a head of this round.
    fn add(&mut self, table: Table, key: &[u8], value: &[u8], round: u64) {
        write_row(&mut self.keys, table, key, &[]);
        if table == Table::Emitted {
            self.blocks.extend(settled_block(key, value).filter(|block| is_read_again(block, round)));
        }
    }

    /// What takes its rows away again.
    fn delete(&self) -> impl Iterator<Item = Row> {
        let rows = read_rows(&self.keys).expect("written by `write_row`");
        rows.into_iter().map(|(table, key, _)| Row::delete(table, key))
    }
}

impl Default for StagedBucket {
    fn default() -> Self {
        let digest = BucketDigest { bytes: 0, content: Digest::ZERO };
        Self { digest, keys: Vec::new(), blocks: Vec::new() }
    }
}

/// Whether agreed time after a head of this round is read off the block.
fn is_read_again(block: &BlockRef, round: u64) -> bool {
    block.round + 1 >= round
}

/// The answer to a request for a part of the state. `server` holds the copy of `height`, if there is one.
pub fn answer<R: Read>(
    server: Option<&StateServer<R>>,
    height: u64,
    part: StatePart,
) -> Result<PeerMessage, StoreError> {
    let Some(server) = server else { return Ok(PeerMessage::StateRefusal { height }) };
    let bytes = match part {
        StatePart::Manifest => server.manifest().to_vec(),
        StatePart::Range { offset, length } => server.range(offset, (length as usize).min(SYNC_CHUNK))?,
    };
    Ok(PeerMessage::StateAnswer { height, part, bytes })
}

/// Whether the staged store holds the whole state that its signed head names: read back once more before it counts.
pub fn is_whole<S: Store>(store: &S) -> Result<bool, StoreError> {
    let Some(staged) = store.staged() else { return Ok(false) };
    let signed = staged.local(Local::Checkpoint)?.and_then(|bytes| SignedHead::from_bytes(&bytes));
    let Some(signed) = signed else { return Ok(false) };
    Ok(tree_of(staged)?.root() == signed.head.root)
}

impl Sync {
    /// Begins a copy of the state at a signed head.
    pub fn begin(me: ReplicaId, signed: SignedHead) -> (Self, Vec<Step>) {
        (Self::at(me, signed, StagedBuckets::new()), vec![Step::Begin, Step::Stage(first_batch(&signed))])
    }

    /// Goes on with what an earlier process staged.
    pub fn resume(me: ReplicaId, staged: Staged) -> Self {
        Self::at(me, staged.signed, staged.buckets)
    }

    /// Begins anew at a newer head, with what is staged so far.
    pub fn move_on(&mut self, signed: SignedHead) -> Vec<Step> {
        *self = Self::at(self.me, signed, std::mem::take(&mut self.staged));
        vec![Step::Stage(first_batch(&signed))]
    }

    fn at(me: ReplicaId, signed: SignedHead, staged: StagedBuckets) -> Self {
        Self {
            me,
            signed,
            staged,
            layout: None,
            waiting: VecDeque::new(),
            jobs: BTreeMap::new(),
            answered: ReplicaSet::EMPTY,
            given_up: ReplicaSet::EMPTY,
            frontier: Vec::new(),
            done: 0,
            tick: 0,
            finished: false,
        }
    }

    pub fn signed(&self) -> &SignedHead {
        &self.signed
    }

    pub fn progress(&self) -> SyncProgress {
        let total = self.layout.as_ref().map_or(0, |layout| layout.starts[BUCKETS]);
        SyncProgress { height: self.signed.head.height, done: self.done, total }
    }

    /// Whether all peers but ourselves were given up.
    pub fn is_alone(&self, peers: ReplicaSet) -> bool {
        !self.finished && peers.difference(self.given_up).difference(ReplicaSet::from_iter([self.me])).is_empty()
    }

    /// Asks everybody anew.
    pub fn forgive(&mut self) {
        self.given_up = ReplicaSet::EMPTY;
    }

    /// The shell's tick: gives up who let us wait, and asks the others.
    pub fn tick(&mut self, peers: ReplicaSet) -> Vec<Step> {
        self.tick += 1;
        let late: Vec<ReplicaId> =
            self.jobs.iter().filter(|(_, job)| job.until < self.tick).map(|(peer, _)| *peer).collect();
        for peer in late {
            self.give_up(peer);
        }
        self.go_on(peers)
    }

    /// What is next, or that nothing is: every way that a job ends comes by here.
    fn go_on(&mut self, peers: ReplicaSet) -> Vec<Step> {
        let mut steps = self.ask(peers);
        steps.extend(self.finish());
        steps
    }

    /// Gives each idle peer something to do.
    pub fn ask(&mut self, peers: ReplicaSet) -> Vec<Step> {
        let mut steps = Vec::new();
        for peer in peers.difference(self.given_up).iter() {
            if peer == self.me || self.jobs.contains_key(&peer) {
                continue;
            }
            let Some(what) = self.next_job() else { break };
            steps.push(Step::Send { to: peer, message: self.request(&what) });
            let indexes =
                if self.answered.contains(peer) { 0 } else { self.signed.head.rows / SYNC_ROWS_INDEXED_PER_TICK };
            self.jobs.insert(peer, Job { what, until: self.tick + SYNC_PATIENCE + indexes });
        }
        steps
    }

    fn next_job(&mut self) -> Option<Asked> {
        if self.layout.is_none() {
            // One is asked at a time: it is the same for all, and checked as a whole.
            return self.jobs.is_empty().then_some(Asked::Manifest);
        }
        if let Some(run) = self.waiting.pop_front() {
            return Some(Asked::Buckets { run, bytes: Vec::new() });
        }
        (self.jobs.is_empty() && !self.frontier.is_empty()).then_some(Asked::Blocks)
    }

    fn request(&self, what: &Asked) -> PeerMessage {
        let height = self.signed.head.height;
        match what {
            Asked::Manifest => PeerMessage::StateQuery { height, part: StatePart::Manifest },
            Asked::Buckets { run, bytes } => {
                let starts = &self.layout.as_ref().expect("runs are cut from the manifest").starts;
                let offset = starts[run.start] + bytes.len() as u64;
                let length = (starts[run.end] - offset).min(SYNC_CHUNK as u64) as u32;
                PeerMessage::StateQuery { height, part: StatePart::Range { offset, length } }
            }
            Asked::Blocks => {
                let refs = self.frontier.iter().take(MAX_FETCH).copied().collect();
                PeerMessage::Fetch { refs, above: u64::MAX }
            }
        }
    }

    /// A peer takes no part any more; what it was asked for is somebody else's.
    fn give_up(&mut self, peer: ReplicaId) {
        self.given_up.insert(peer);
        if let Some(Job { what: Asked::Buckets { run, .. }, .. }) = self.jobs.remove(&peer) {
            self.waiting.push_front(run);
        }
    }

    /// A piece of the state, as answered by `from`.
    pub fn receive(
        &mut self,
        from: ReplicaId,
        height: u64,
        part: StatePart,
        piece: &[u8],
        peers: ReplicaSet,
    ) -> Vec<Step> {
        let Some(job) = self.jobs.get_mut(&from).filter(|_| height == self.signed.head.height) else {
            return Vec::new();
        };
        self.answered.insert(from);
        let judged = match (&mut job.what, part) {
            (Asked::Manifest, StatePart::Manifest) => {
                self.jobs.remove(&from);
                self.take_manifest(piece)
            }
            (Asked::Buckets { run, bytes }, StatePart::Range { offset, .. }) => {
                let starts = &self.layout.as_ref().expect("runs are cut from the manifest").starts;
                let expected = starts[run.start] + bytes.len() as u64;
                let left = starts[run.end] - expected;
                if offset != expected {
                    // An answer to what was asked before.
                    return Vec::new();
                }
                if piece.len() as u64 != left.min(SYNC_CHUNK as u64) {
                    Err("a piece of the state that is too short or too long".to_owned())
                } else if (piece.len() as u64) < left {
                    bytes.extend_from_slice(piece);
                    job.until = self.tick + SYNC_PATIENCE;
                    let job = self.jobs.remove(&from).expect("just there");
                    let message = self.request(&job.what);
                    self.jobs.insert(from, job);
                    return vec![Step::Send { to: from, message }];
                } else {
                    bytes.extend_from_slice(piece);
                    let (run, bytes) = (run.clone(), std::mem::take(bytes));
                    let checked = self.check(&run, &bytes);
                    if checked.is_ok() {
                        self.jobs.remove(&from);
                        self.done += bytes.len() as u64;
                    }
                    checked
                }
            }
            _ => return Vec::new(),
        };
        let mut steps = match judged {
            Ok(batch) => batch.into_iter().map(Step::Stage).collect(),
            Err(what) => {
                self.give_up(from);
                vec![Step::Fault { culprit: from, what }]
            }
        };
        steps.extend(self.go_on(peers));
        steps
    }

    /// `from` does not have the state of this height, or no longer.
    pub fn refused(&mut self, from: ReplicaId, height: u64, peers: ReplicaSet) -> Vec<Step> {
        if height == self.signed.head.height && self.jobs.contains_key(&from) {
            self.give_up(from);
        }
        self.go_on(peers)
    }

    fn take_manifest(&mut self, bytes: &[u8]) -> Result<Option<Batch>, String> {
        let is_signed = |buckets: &_| root_of(buckets) == Some(self.signed.head.root);
        let sound = read_manifest(bytes).filter(|buckets| is_signed(buckets) || planted(Mutant::ManifestUnverified));
        let layout = sound.and_then(|buckets| Some(Layout { starts: starts(&buckets)?, buckets }));
        let layout = layout.ok_or("a manifest that does not lead to the signed root")?;
        self.waiting.clear();
        let mut left_over = Batch::default();
        let mut run: Option<Range<usize>> = None;
        for bucket in 0..BUCKETS {
            let staged = self.staged.get(&bucket);
            let there = staged.is_some_and(|staged| staged.digest == layout.buckets[bucket]);
            if let Some(staged) = staged.filter(|_| there) {
                self.done += staged.digest.bytes;
                let round = self.signed.head.round;
                self.frontier.extend(staged.blocks.iter().filter(|block| is_read_again(block, round)));
            } else if layout.buckets[bucket].bytes == 0 {
                left_over.rows.extend(self.staged.remove(&bucket).iter().flat_map(StagedBucket::delete));
            }
            let fits = run
                .as_ref()
                .is_some_and(|run| layout.starts[bucket + 1] - layout.starts[run.start] <= SYNC_CHUNK as u64);
            if there || !fits {
                self.waiting.extend(run.take());
            }
            if !there && layout.buckets[bucket].bytes > 0 {
                run = Some(run.map_or(bucket, |run| run.start)..bucket + 1);
            }
        }
        self.waiting.extend(run);
        self.layout = Some(layout);
        Ok((!left_over.is_empty()).then_some(left_over))
    }

    /// The rows of a run of buckets, if they are what the manifest says.
    fn check(&mut self, run: &Range<usize>, bytes: &[u8]) -> Result<Option<Batch>, String> {
        let layout = self.layout.as_ref().expect("runs are cut from the manifest");
        let mut batch = Batch::default();
        let mut staged = Vec::new();
        let begin = layout.starts[run.start];
        let round = self.signed.head.round;
        for bucket in run.clone() {
            let of_bucket = (layout.starts[bucket] - begin) as usize..(layout.starts[bucket + 1] - begin) as usize;
            let rows = read_rows(&bytes[of_bucket]);
            let digest = rows.as_ref().and_then(|rows| BucketDigest::of_rows(bucket, rows.iter().copied()));
            let expected = layout.buckets[bucket];
            if digest != Some(expected) && !planted(Mutant::ChunkUnverified) {
                return Err(format!("rows of the state that are not those of bucket {bucket}"));
            }
            batch.rows.extend(self.staged.get(&bucket).into_iter().flat_map(StagedBucket::delete));
            let mut there = StagedBucket { digest: expected, ..StagedBucket::default() };
            for (table, key, value) in rows.into_iter().flatten() {
                there.add(table, key, value, round);
                batch.rows.push(Row::put(table, key, value.to_vec()));
            }
            self.frontier.extend(&there.blocks);
            staged.push((bucket, there));
        }
        self.staged.extend(staged);
        Ok(Some(batch))
    }

    /// Blocks that `from` sent: those that are waited for are staged.
    pub fn receive_blocks(
        &mut self,
        from: ReplicaId,
        blocks: &[Vec<u8>],
        public: &OrderPublic,
        peers: ReplicaSet,
    ) -> Vec<Step> {
        let mut batch = Batch::default();
        for bytes in blocks {
            let Some(reference) = VerifiedBlock::peek(public, bytes) else { continue };
            let Some(at) = self.frontier.iter().position(|wanted| *wanted == reference) else { continue };
            // Its digest is in the signed state: no other bytes have it.
            self.frontier.swap_remove(at);
            batch.blocks.push((reference.round, reference.author, reference.digest, bytes.clone()));
        }
        if !matches!(self.jobs.get(&from), Some(Job { what: Asked::Blocks, .. })) && batch.is_empty() {
            return Vec::new();
        }
        if batch.is_empty() {
            self.give_up(from);
        } else if matches!(self.jobs.get(&from), Some(Job { what: Asked::Blocks, .. })) {
            self.jobs.remove(&from);
        }
        let mut steps = Vec::new();
        if !batch.is_empty() {
            steps.push(Step::Stage(batch));
        }
        steps.extend(self.go_on(peers));
        steps
    }

    fn finish(&mut self) -> Option<Step> {
        let all = self.layout.is_some() && self.waiting.is_empty() && self.jobs.is_empty() && self.frontier.is_empty();
        let told = std::mem::replace(&mut self.finished, all);
        (all && !told).then_some(Step::Adopt)
    }
}

/// What a staged store says of itself. Blocks that an earlier head called for are of no use any more.
fn first_batch(signed: &SignedHead) -> Batch {
    let local = [(Local::Checkpoint, signed.to_bytes()), (Local::Head, signed.to_bytes())].into();
    Batch { local, prune_blocks_below: Some(signed.head.round.saturating_sub(1)), ..Batch::default() }
}
