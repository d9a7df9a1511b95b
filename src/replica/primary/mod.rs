//! Zones that come from a registry's primary server: a kernel votes for what each has transferred, the order carries
//! the changes.
//!
//! The registry has a database and a primary server of its own, which no resolver needs to see (a hidden primary, RFC
//! 8499 §6). A transfer is authenticated by a secret that both ends know (TSIG, RFC 8945), so what one replica shows of
//! it proves nothing to another: one corrupt replica could invent a zone. So every replica transfers for itself, with a
//! key of its own:
//!
//! 1. A replica compares what it transferred with what the state has of the zone, and cuts the changes
//!    ([`crate::directory::primary::Changes`]) into parts. It **votes**, in its next block, for the primary's serial, the
//!    digests of the parts, and the number of versions taken before, since changes hold from one content only.
//! 2. A **candidate** that a kernel votes for is one that a correct replica transferred. Of several the newest serial
//!    counts.
//! 3. Those who voted for it put the parts that are not ordered yet into their blocks, each part one of them; after
//!    some rounds another does ([`mine`]). A part counts if the candidate that counts names its digest; no other bytes
//!    are kept.
//! 4. The version **takes effect** at the end of the commit that brings its last part: what changed is applied and
//!    signed like what owners change, nothing else is. Votes and parts of that zone are void from then on.
//!
//! # Why the changes ride in the order
//!
//! The other way is to order acknowledgements of a quorum that holds them, and let the rest pull. But of a quorum `f`
//! may be corrupt, and then `f` correct replicas are still without the bytes at the commit that applies them. They
//! cannot execute it, nor anything after it: the number of the next signing task depends on it. So few may be left that
//! no head is signed, and the state cannot be copied either. In the order, what a commit needs is there when the commit
//! is, at everybody, after every crash; and a copy of the state holds whatever is pending. It costs one sending of the
//! *changes*: 10 to 50 KiB for a version of the root zone.
//!
//! # What a corrupt replica can do
//!
//! * Vote for an invented zone, or for digests of which nobody has the bytes: it counts when a correct replica votes
//!   the same, never. With `f` others it makes no kernel.
//! * Vote a million serials: its latest [`MAX_VOTES_PER_ZONE`] count. Serials that are not after the zone's own
//!   (RFC 1982) count as nothing, as do those on a content that is past.
//! * Vote for what a correct replica transferred and withhold the parts, or withdraw its vote: the correct ones among
//!   the voters carry them. If these crash, later ones transfer a newer serial and vote for that. What a kernel votes
//!   for later replaces what was voted for before if its serial is newer, so the last version of a registry that rests
//!   gets through when a kernel of correct replicas has it.
//! * Order parts: those of the candidate that counts only help. Others are dropped where they are ordered.
//!
//! So the state holds, for each zone, at most one candidate's parts, which a correct replica made within
//! [`MAX_CHANGES`], and votes of 4 KiB each.
//!
//! A correct replica does not vote for a zone that the rules do not take; execution asks the same rules, in the same
//! state. Should a kernel have voted for such changes all the same, they are dropped, and the next version can come.
//!
//! The published serial is not the primary's: renewals and heartbeats are versions too. Serials of the primary only say
//! which of its versions is newer.

pub(super) mod mine;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::genesis::GenesisZone;
use crate::codec;
use crate::committee::{Committee, ReplicaId, ReplicaSet};
use crate::crypto::digest::{Digest, hash};
use crate::directory::Directory;
use crate::directory::name::Name;
use crate::directory::primary::{Changes, ContentError, Update};
use crate::limits::{CHANGE_PART, MAX_CHANGE_PARTS, MAX_CHANGES, MAX_META_ROW, MAX_VOTES_PER_ZONE};
use crate::mutants::{Mutant, planted};
use crate::rows::{Row, Table};
use crate::signing::heartbeat;

/// What a replica says that it has transferred.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    pub zone: Name,
    /// How many versions were taken from the primary before.
    pub base: u64,
    pub candidate: Candidate,
}

/// A version of a primary's zone, by its changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// The primary's serial.
    pub serial: u32,
    /// Digests of the parts of the changes, in order: at least one.
    pub parts: Vec<Digest>,
}

/// A part of the changes that some candidate of a zone names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    pub zone: Name,
    pub bytes: Vec<u8>,
}

impl Candidate {
    /// Cuts changes into parts; none if they are too many.
    pub fn cut(serial: u32, changes: &Changes) -> Option<(Self, Vec<Vec<u8>>)> {
        let bytes = changes.to_bytes();
        let parts: Vec<Vec<u8>> = bytes.chunks(CHANGE_PART).map(<[u8]>::to_vec).collect();
        let candidate = Self { serial, parts: parts.iter().map(|part| digest_of(part)).collect() };
        candidate.is_bounded().then_some((candidate, parts))
    }

    /// Whether it has so many parts as a vote may name.
    pub fn is_bounded(&self) -> bool {
        (1..=MAX_CHANGE_PARTS).contains(&self.parts.len())
    }
}

pub fn digest_of(part: &[u8]) -> Digest {
    hash("torrens v1 zone changes", &[part])
}

/// Whether `serial` is after `other` (RFC 1982 §3.2).
pub fn is_newer(serial: u32, other: u32) -> bool {
    (1..1 << 31).contains(&serial.wrapping_sub(other))
}

/// A version that a kernel voted for and whose parts are all there.
pub(super) struct Taken {
    pub candidate: Candidate,
    pub voters: ReplicaSet,
    pub judged: Result<Update, ContentError>,
}

/// The versions of one zone that are being voted on. Agreed state.
pub struct Ballot {
    apex: Name,
    /// Nothing from the primary may stand there.
    reserved: Option<Name>,
    /// Versions taken so far.
    taken: u64,
    /// Serial that the primary gave to what the zone has now.
    serial: u32,
    /// Of each replica, its latest votes, the last one at the end.
    votes: BTreeMap<ReplicaId, Vec<Candidate>>,
    /// What counts, and who votes for it.
    chosen: Option<(Candidate, ReplicaSet)>,
    /// Of what counts.
    parts: BTreeMap<Digest, Vec<u8>>,
}

impl Ballot {
    pub fn new(zone: &GenesisZone) -> Self {
        let reserved = zone.policy.heartbeat.and_then(|_| heartbeat::name(&zone.apex));
        let (votes, parts) = Default::default();
        Self { apex: zone.apex.clone(), reserved, taken: 0, serial: zone.serial(), votes, chosen: None, parts }
    }

    /// How many versions were taken from the primary.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Serial of the primary's version that the zone has.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether this vote of `id` counts.
    pub fn has_vote(&self, id: ReplicaId, candidate: &Candidate) -> bool {
        self.votes.get(&id).is_some_and(|votes| votes.contains(candidate))
    }

    /// What a kernel votes for, and who does.
    pub fn chosen(&self) -> Option<(&Candidate, ReplicaSet)> {
        self.chosen.as_ref().map(|(candidate, voters)| (candidate, *voters))
    }

    /// Places of the parts of what is voted for that are not ordered yet.
    pub fn missing(&self) -> impl Iterator<Item = usize> {
        let parts = self.chosen.iter().flat_map(|(candidate, _)| candidate.parts.iter().enumerate());
        parts.filter(|(_, digest)| !self.parts.contains_key(digest)).map(|(at, _)| at)
    }

    /// What the changes make of the zone, if the rules take it.
    pub fn judge(&self, directory: &Directory, changes: &Changes) -> Result<Update, ContentError> {
        directory.judge_changes(&self.apex, changes, self.reserved.as_ref())
    }

    /// A vote as it is ordered.
    pub(super) fn vote(&mut self, author: ReplicaId, vote: Vote, committee: &Committee, rows: &mut Vec<Row>) {
        let Vote { base, candidate, .. } = vote;
        if base != self.taken || !is_newer(candidate.serial, self.serial) || self.has_vote(author, &candidate) {
            return;
        }
        let votes = self.votes.entry(author).or_default();
        votes.retain(|earlier| earlier.serial != candidate.serial);
        votes.push(candidate);
        votes.drain(..votes.len().saturating_sub(MAX_VOTES_PER_ZONE));
        rows.push(Row::put(Table::Meta, votes_key(&self.apex, author), codec::encode(votes)));
        self.choose(committee);
        let named = self.named();
        let gone = self.parts.extract_if(.., |digest, _| !named.contains(digest));
        rows.extend(gone.map(|(digest, _)| Row::delete(Table::Meta, part_key(&self.apex, &digest))));
    }

    /// A part as it is ordered.
    pub(super) fn part(&mut self, bytes: Vec<u8>, rows: &mut Vec<Row>) {
        let digest = match self.missing().next() {
            Some(at) if planted(Mutant::PartUnverified) => {
                self.chosen.as_ref().map_or(Digest::ZERO, |(candidate, _)| candidate.parts[at])
            }
            _ => digest_of(&bytes),
        };
        if self.named().contains(&digest) && !self.parts.contains_key(&digest) {
            rows.push(Row::put(Table::Meta, part_key(&self.apex, &digest), bytes.clone()));
            self.parts.insert(digest, bytes);
        }
    }

    /// The version whose last part is there, if one is: what it makes of the zone, or why nothing. It is over with its
    /// votes and parts in both cases.
    pub(super) fn take(&mut self, directory: &Directory, rows: &mut Vec<Row>) -> Option<Taken> {
        let whole = self.missing().next().is_none();
        let (candidate, voters) = self.chosen.take_if(|_| whole)?;
        let bytes: Vec<u8> = candidate.parts.iter().flat_map(|part| &self.parts[part]).copied().collect();
        let judged = Changes::from_bytes(&bytes).and_then(|changes| self.judge(directory, &changes));
        let judged = judged.and_then(|update| match update.serial() {
            serial if serial == candidate.serial => Ok(update),
            _ => Err(ContentError::NotCanonical),
        });
        self.taken += 1;
        rows.push(Row::put(Table::Meta, taken_key(&self.apex), codec::encode(&self.taken)));
        let votes = std::mem::take(&mut self.votes).into_keys().map(|id| votes_key(&self.apex, id));
        let parts = std::mem::take(&mut self.parts).into_keys().map(|digest| part_key(&self.apex, &digest));
        rows.extend(votes.chain(parts).map(|key| Row::delete(Table::Meta, key)));
        if let Ok(update) = &judged {
            self.serial = update.serial();
        }
        Some(Taken { candidate, voters, judged })
    }

    /// Finds what counts: of all that a kernel votes for, what is newest.
    fn choose(&mut self, committee: &Committee) {
        let mut voters = BTreeMap::<&Candidate, ReplicaSet>::new();
        for (&id, votes) in &self.votes {
            for candidate in votes {
                voters.entry(candidate).or_insert(ReplicaSet::EMPTY).insert(id);
            }
        }
        let lacks_one = |voters: ReplicaSet| {
            planted(Mutant::VersionBelowKernel)
                && committee.ids().any(|id| committee.is_kernel(voters.union([id].into_iter().collect())))
        };
        let is_backed = |voters: ReplicaSet| committee.is_kernel(voters) || lacks_one(voters);
        let backed = voters.into_iter().filter(|(_, voters)| is_backed(*voters));
        let newest = backed.min_by_key(|(it, _)| (Reverse(it.serial.wrapping_sub(self.serial)), *it));
        self.chosen = newest.map(|(candidate, voters)| (candidate.clone(), voters));
    }

    fn named(&self) -> BTreeSet<Digest> {
        self.chosen.iter().flat_map(|(candidate, _)| candidate.parts.iter().copied()).collect()
    }

    /// Reads back what was stored. None if the rows are not those of such a state.
    pub(super) fn load(
        &mut self,
        meta: &BTreeMap<Vec<u8>, Vec<u8>>,
        directory: &Directory,
        committee: &Committee,
    ) -> Option<()> {
        self.serial = directory.zones().get(&self.apex)?.serial();
        if let Some(taken) = meta.get(&taken_key(&self.apex)) {
            self.taken = codec::decode(taken, MAX_META_ROW).ok()?;
        }
        for id in committee.ids() {
            if let Some(votes) = meta.get(&votes_key(&self.apex, id)).filter(|_| !planted(Mutant::VotesForgotten)) {
                self.votes.insert(id, codec::decode(votes, MAX_META_ROW).ok()?);
            }
        }
        self.choose(committee);
        for digest in self.named() {
            if let Some(part) = meta.get(&part_key(&self.apex, &digest)) {
                self.parts.insert(digest, part.clone());
            }
        }
        Some(())
    }
}

const _: () =
    assert!(MAX_VOTES_PER_ZONE * (5 + 2 + 32 * MAX_CHANGE_PARTS) < MAX_META_ROW && CHANGE_PART < MAX_META_ROW);
const _: () = assert!(MAX_CHANGES == MAX_CHANGE_PARTS * CHANGE_PART);

fn taken_key(apex: &Name) -> Vec<u8> {
    [b"taken/", apex.as_wire()].concat()
}

fn votes_key(apex: &Name, id: ReplicaId) -> Vec<u8> {
    [b"votes/", apex.as_wire(), &[id.0]].concat()
}

fn part_key(apex: &Name, part: &Digest) -> Vec<u8> {
    [b"changes/", apex.as_wire(), &part.0].concat()
}
