//! What is to be signed, and who has been asked: values only.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::nonces::NonceRef;
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::frost::{CheckedCommitment, Commitments, FrostShare};
use crate::directory::name::Name;

/// Which key signs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum KeyId {
    /// The zone's FROST Ed25519 key.
    Zone(Name),
    /// The certificate authority's threshold RSA key.
    Authority,
}

/// A task's ordinal, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TaskId(pub u64);

/// A share of a signature as it rides in a block. Its author is the block's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShareEntry {
    pub task: TaskId,
    pub attempt: u32,
    pub share: Share,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Share {
    Frost(FrostShare),
    /// What the RSA scheme calls a share, its proof included: opaque here.
    Rsa(Vec<u8>),
}

/// One request to sign, as it follows from the order. Only the scheduler makes one, so a [`super::Signer`] cannot be handed
/// bytes of anybody's choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    pub(super) key: KeyId,
    pub(super) message: Arc<[u8]>,
    pub(super) role: Role,
}

/// Who is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Each signer with the nonce it is to use: all of them, or the package is worth nothing.
    Frost(BTreeMap<ReplicaId, (NonceRef, CheckedCommitment)>),
    /// Any kernel of these.
    Rsa(ReplicaSet),
}

impl Assignment {
    pub fn task(&self) -> TaskId {
        self.task
    }

    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    pub fn key(&self) -> &KeyId {
        &self.key
    }

    pub fn message(&self) -> &Arc<[u8]> {
        &self.message
    }

    pub fn role(&self) -> &Role {
        &self.role
    }

    pub fn signers(&self) -> ReplicaSet {
        match &self.role {
            Role::Frost(signers) => signers.keys().copied().collect(),
            Role::Rsa(asked) => *asked,
        }
    }
}

/// A message to be signed, fixed when the task is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Task {
    pub key: KeyId,
    pub message: Arc<[u8]>,
    /// Attempts made so far; the next one has this number.
    pub attempts_made: u32,
    pub state: State,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// No attempt counts on anybody at present: to be assigned at the end of this commit, or once there are nonces.
    Frost(FrostState),
    Rsa(RsaState),
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct FrostState {
    /// The attempt that the deadline counts for; none if the task waits to be assigned.
    pub current: Option<u32>,
    /// Attempts that may still complete: the current one, overdue ones, probes.
    pub live: BTreeMap<u32, Attempt>,
    /// The signature is known. The task stays for the probes among its attempts that nobody has answered yet.
    pub done: bool,
}

/// One package: its signers, their nonces, and what they answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    pub signers: BTreeMap<ReplicaId, (NonceRef, CheckedCommitment)>,
    pub shares: BTreeMap<ReplicaId, OrderedShare<FrostShare>>,
    /// Round from which missing shares are overdue; none for an attempt that nobody waits for.
    pub deadline: Option<u64>,
    /// The demoted replica that this attempt gives a chance to serve.
    pub probe_of: Option<ReplicaId>,
}

/// A share and the round of the block it rode in, so that the block can be named as evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct OrderedShare<S> {
    pub round: u64,
    pub share: S,
}

#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct RsaState {
    /// Replicas asked, with the number of the attempt that asked them.
    pub asked: BTreeMap<ReplicaId, u32>,
    pub shares: BTreeMap<ReplicaId, OrderedShare<Vec<u8>>>,
    /// Whose share was proved bad.
    pub refuted: ReplicaSet,
    /// Round from which the missing are overdue and everybody is asked.
    pub deadline: Option<u64>,
}

impl Attempt {
    pub fn commitments(&self) -> Commitments {
        self.signers.iter().map(|(&id, (_, commitment))| (id, *commitment)).collect()
    }

    pub fn owes(&self, id: ReplicaId) -> bool {
        self.signers.contains_key(&id) && !self.shares.contains_key(&id)
    }

    pub fn missing(&self) -> impl Iterator<Item = ReplicaId> {
        self.signers.keys().copied().filter(|id| !self.shares.contains_key(id))
    }

    pub fn is_complete(&self) -> bool {
        self.shares.len() == self.signers.len()
    }
}

impl RsaState {
    pub fn asked_set(&self) -> ReplicaSet {
        self.asked.keys().copied().collect()
    }

    pub fn missing(&self) -> ReplicaSet {
        self.asked_set().difference(self.shares.keys().copied().collect()).difference(self.refuted)
    }
}
