//! Operations that wait to be ordered, open or sealed.
//!
//! A client hands its operation to a kernel of replicas. Its digest ranks the replicas: rank 0 proposes at once, and
//! each further rank only if it has not seen the operation in its DAG [`BACKUP_ROUNDS`] rounds later, so that one
//! correct replica that holds an operation suffices and copies are rare. An operation stays here until it has an
//! outcome: if the block that carried it fell behind the horizon, it is proposed again.
//!
//! An owner may have given it to one correct replica only, whose blocks come so late that they are never ordered. Hence a
//! replica hands on what it was given and has not seen in the DAG some ticks later ([`Pool::hand_on`]), at distances that
//! double: the message need only arrive. What was handed on to it a replica proposes like its own, and does not hand on;
//! each peer has its own part of the pool for that.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::committee::{Committee, ReplicaId};
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::limits::{
    BACKUP_ROUNDS, HAND_ON_TICKS, MAX_HAND_ON_TICKS, MAX_HANDED_ON_AT_ONCE, MAX_HANDED_ON_BYTES,
    MAX_OPERATION_VALIDITY_MS, MAX_OPERATIONS_PER_BLOCK, MAX_POOL_BYTES, MAX_SEALED_PER_BLOCK, REPROPOSE_ROUNDS,
};

pub struct Pool {
    committee: Committee,
    me: ReplicaId,
    waiting: BTreeMap<Digest, Waiting>,
    bytes: usize,
    /// Of these, by the peer that handed them on.
    bytes_of: Vec<usize>,
    /// Ticks so far.
    tick: u64,
    /// Operations in blocks of my DAG that are not executed yet, with the last round they were seen in.
    in_dag: BTreeMap<Digest, u64>,
}

/// What waits, and until when it may count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Operation {
        valid_until: Timestamp,
    },
    /// Nobody knows how long what is inside is valid, but from the first agreed time that is seen after it came in it is
    /// no longer than any operation.
    Envelope {
        seen_at: Option<Timestamp>,
    },
}

impl Kind {
    /// The latest agreed time at which it may still be accepted.
    fn valid_until(&mut self, now: Timestamp) -> Timestamp {
        match self {
            Self::Operation { valid_until } => *valid_until,
            Self::Envelope { seen_at } => {
                Timestamp(seen_at.get_or_insert(now).0.saturating_add(MAX_OPERATION_VALIDITY_MS))
            }
        }
    }
}

/// What is proposed in one block.
#[derive(Debug, Default)]
pub struct Taken {
    pub operations: Vec<Vec<u8>>,
    pub sealed: Vec<Vec<u8>>,
}

impl Taken {
    /// Where bytes of this kind go, if there is room for more of them.
    fn list(&mut self, kind: Kind) -> Option<&mut Vec<Vec<u8>>> {
        let (list, limit) = match kind {
            Kind::Operation { .. } => (&mut self.operations, MAX_OPERATIONS_PER_BLOCK),
            Kind::Envelope { .. } => (&mut self.sealed, MAX_SEALED_PER_BLOCK),
        };
        (list.len() < limit).then_some(list)
    }
}

struct Waiting {
    bytes: Arc<[u8]>,
    kind: Kind,
    /// Round from which this replica may propose it.
    from_round: u64,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its owner, here. Handed on at the tick `next`, and `distance` ticks later again.
    Owner {
        next: u64,
        distance: u64,
    },
    Peer(ReplicaId),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{MAX_POOL_BYTES} bytes of operations wait already: try again in a moment")]
pub struct PoolFull;

impl Pool {
    pub fn new(committee: Committee, me: ReplicaId) -> Self {
        let bytes_of = vec![0; committee.len()];
        Self { committee, me, waiting: BTreeMap::new(), bytes: 0, bytes_of, tick: 0, in_dag: BTreeMap::new() }
    }

    /// Keeps an operation that passed the door. `round`: the round that would be proposed next.
    pub fn add(&mut self, digest: Digest, bytes: Arc<[u8]>, kind: Kind, round: u64) -> Result<(), PoolFull> {
        let source = Source::Owner { next: self.tick + HAND_ON_TICKS, distance: HAND_ON_TICKS };
        self.insert(digest, bytes, kind, round, source)
    }

    /// Keeps an operation that passed the door and that `peer` handed on; what is over the peer's part is let go.
    pub fn add_handed_on(&mut self, peer: ReplicaId, digest: Digest, bytes: Arc<[u8]>, kind: Kind, round: u64) {
        let part = &mut self.bytes_of[peer.index()];
        if self.waiting.contains_key(&digest) || *part + bytes.len() > MAX_HANDED_ON_BYTES {
            return;
        }
        let size = bytes.len();
        if self.insert(digest, bytes, kind, round, Source::Peer(peer)).is_ok() {
            self.bytes_of[peer.index()] += size;
        }
    }

    fn insert(
        &mut self,
        digest: Digest,
        bytes: Arc<[u8]>,
        kind: Kind,
        round: u64,
        source: Source,
    ) -> Result<(), PoolFull> {
        if self.waiting.contains_key(&digest) {
            return Ok(());
        }
        if self.bytes + bytes.len() > MAX_POOL_BYTES {
            return Err(PoolFull);
        }
        self.bytes += bytes.len();
        let from_round = round + rank(&self.committee, &digest, self.me) * BACKUP_ROUNDS;
        self.waiting.insert(digest, Waiting { bytes, kind, from_round, source });
        Ok(())
    }

    pub fn contains(&self, digest: &Digest) -> bool {
        self.waiting.contains_key(digest)
    }

    /// For the tick: the operations to hand on to the others now.
    pub fn hand_on(&mut self) -> Vec<(Kind, Arc<[u8]>)> {
        self.tick += 1;
        let mut handed_on = Vec::new();
        let mut size = 0;
        for (digest, waiting) in &mut self.waiting {
            let Source::Owner { next, distance } = &mut waiting.source else { continue };
            if self.tick < *next || self.in_dag.contains_key(digest) {
                continue;
            }
            size += waiting.bytes.len();
            if size > MAX_HANDED_ON_AT_ONCE && !handed_on.is_empty() {
                break;
            }
            *distance = (2 * *distance).min(MAX_HAND_ON_TICKS);
            *next = self.tick + *distance;
            handed_on.push((waiting.kind, Arc::clone(&waiting.bytes)));
        }
        handed_on
    }

    /// What its owners gave to this replica.
    pub fn into_given(self) -> impl Iterator<Item = (Digest, Arc<[u8]>, Kind)> {
        let given = |waiting: &Waiting| matches!(waiting.source, Source::Owner { .. });
        let waiting = self.waiting.into_iter().filter(move |(_, waiting)| given(waiting));
        waiting.map(|(digest, Waiting { bytes, kind, .. })| (digest, bytes, kind))
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of the operations that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// An operation was seen in a block of `round`.
    pub fn seen(&mut self, digest: Digest, round: u64) {
        let last = self.in_dag.entry(digest).or_default();
        *last = round.max(*last);
    }

    /// An operation was executed.
    pub fn executed(&mut self, digest: &Digest) {
        self.in_dag.remove(digest);
        if let Some(waiting) = self.waiting.remove(digest) {
            self.bytes -= waiting.bytes.len();
            if let Source::Peer(peer) = waiting.source {
                self.bytes_of[peer.index()] -= waiting.bytes.len();
            }
        }
    }

    /// Operations to propose in `round`, together at most `limit` bytes.
    pub fn take(&mut self, round: u64, limit: usize) -> Taken {
        let mut taken = Taken::default();
        let mut size = 0;
        for (digest, waiting) in &mut self.waiting {
            if size + waiting.bytes.len() > limit {
                break;
            }
            let Some(list) = taken.list(waiting.kind) else { continue };
            let seen = self.in_dag.get(digest).is_some_and(|&last| round < last + REPROPOSE_ROUNDS);
            if seen || round < waiting.from_round {
                continue;
            }
            size += waiting.bytes.len() + 4;
            waiting.from_round = round + REPROPOSE_ROUNDS;
            list.push(waiting.bytes.to_vec());
        }
        taken
    }

    /// Forgets what can no longer be accepted, and traces of blocks that fell behind `horizon`. What came too late by less
    /// than the longest validity is kept, to be ordered and refused: its owner waits for an outcome, and is to hear why.
    pub fn expire(&mut self, now: Timestamp, horizon: u64) {
        let (bytes, bytes_of) = (&mut self.bytes, &mut self.bytes_of);
        self.waiting.retain(|_, waiting| {
            let valid_until = waiting.kind.valid_until(now);
            let keep = now.0 <= valid_until.0.saturating_add(MAX_OPERATION_VALIDITY_MS);
            if !keep {
                *bytes -= waiting.bytes.len();
                if let Source::Peer(peer) = waiting.source {
                    bytes_of[peer.index()] -= waiting.bytes.len();
                }
            }
            keep
        });
        self.in_dag.retain(|_, last| *last >= horizon);
    }
}

/// Turn of `replica` to propose an operation, from 0. Clients send to the lowest ranks first.
pub fn rank(committee: &Committee, digest: &Digest, replica: ReplicaId) -> u64 {
    let n = committee.len() as u64;
    let first = u64::from(u16::from_le_bytes([digest.0[0], digest.0[1]])) % n;
    (u64::from(replica.0) + n - first) % n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(me: u8) -> Pool {
        Pool::new(Committee::new(4).unwrap(), ReplicaId(me))
    }

    const KIND: Kind = Kind::Operation { valid_until: Timestamp(1000) };

    fn add(pool: &mut Pool, digest: Digest) {
        pool.add(digest, Arc::from(&b"operation"[..]), KIND, 10).unwrap();
    }

    #[test]
    fn rank_0_proposes_at_once_and_the_others_as_backup() {
        let digest = Digest([0; 32]);
        let (mut first, mut second) = (pool(0), pool(1));
        add(&mut first, digest);
        add(&mut second, digest);
        assert_eq!(first.take(10, 100).operations.len(), 1);
        assert_eq!(second.take(10, 100).operations.len(), 0);
        assert_eq!(second.take(10 + BACKUP_ROUNDS, 100).operations.len(), 1);
    }

    #[test]
    fn what_is_in_the_dag_is_not_proposed_again_until_it_lags() {
        let digest = Digest([0; 32]);
        let mut pool = pool(1);
        add(&mut pool, digest);
        pool.seen(digest, 11);
        assert_eq!(pool.take(10 + BACKUP_ROUNDS, 100).operations.len(), 0);
        assert_eq!(pool.take(11 + REPROPOSE_ROUNDS, 100).operations.len(), 1);
    }

    #[test]
    fn an_operation_that_is_not_in_the_dag_is_handed_on_less_and_less_often() {
        let mut pool = pool(0);
        add(&mut pool, Digest([0; 32]));
        add(&mut pool, Digest([4; 32]));
        pool.seen(Digest([4; 32]), 10);
        let ticks: Vec<u64> = (1..=40).filter(|_| !pool.hand_on().is_empty()).collect();
        assert_eq!(ticks, [2, 6, 14, 30], "only the one that nobody has proposed");
    }

    #[test]
    fn each_peer_has_its_part_of_the_pool_and_what_it_hands_on_goes_no_further() {
        let mut pool = pool(0);
        let bytes: Arc<[u8]> = vec![0; MAX_HANDED_ON_BYTES / 4].into();
        for i in 0..10 {
            pool.add_handed_on(ReplicaId(3), Digest([i; 32]), Arc::clone(&bytes), KIND, 10);
        }
        assert_eq!(pool.len(), 4);
        pool.add_handed_on(ReplicaId(2), Digest([20; 32]), bytes, KIND, 10);
        assert_eq!(pool.len(), 5, "another's part is its own");
        assert!((0..40).all(|_| pool.hand_on().is_empty()));
        pool.executed(&Digest([0; 32]));
        pool.expire(Timestamp(1001 + MAX_OPERATION_VALIDITY_MS), 0);
        assert!(pool.bytes == 0 && pool.bytes_of.iter().all(|&bytes| bytes == 0));
    }

    #[test]
    fn executed_and_expired_operations_leave() {
        let mut pool = pool(0);
        add(&mut pool, Digest([0; 32]));
        add(&mut pool, Digest([4; 32]));
        pool.executed(&Digest([0; 32]));
        assert_eq!(pool.len(), 1);
        pool.expire(Timestamp(1001), 0);
        assert_eq!(pool.len(), 1, "its owner is to be told");
        pool.expire(Timestamp(1001 + MAX_OPERATION_VALIDITY_MS), 0);
        assert!(pool.is_empty() && pool.bytes == 0);
    }
    #[test]
    fn envelopes_have_their_own_room_in_a_block_and_expire_by_when_they_were_seen() {
        let mut pool = pool(0);
        for at in 0..2 * MAX_SEALED_PER_BLOCK as u8 {
            let kind = Kind::Envelope { seen_at: None };
            pool.add(Digest([4 * at; 32]), Arc::from([at; 10]), kind, 10).unwrap();
        }
        add(&mut pool, Digest([0xfc; 32]));
        let taken = pool.take(10, 1000);
        assert_eq!((taken.sealed.len(), taken.operations.len()), (MAX_SEALED_PER_BLOCK, 1));
        assert_eq!(pool.take(11, 1000).sealed.len(), MAX_SEALED_PER_BLOCK);
        // Agreed time may have stood still for long before.
        let now = 1 << 40;
        pool.expire(Timestamp(now), 0);
        assert_eq!(pool.len(), 2 * MAX_SEALED_PER_BLOCK);
        pool.expire(Timestamp(now + 2 * MAX_OPERATION_VALIDITY_MS + 1), 0);
        assert!(pool.is_empty());
    }
}
