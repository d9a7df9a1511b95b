//! What this replica transferred from primaries itself, and what it says about it in its blocks. No agreed state: after
//! a restart it is transferred again.

use std::collections::{BTreeMap, VecDeque};

use super::{Ballot, Candidate, Part, Vote, is_newer};
use crate::committee::ReplicaId;
use crate::directory::Directory;
use crate::directory::master::ZoneFile;
use crate::directory::name::Name;
use crate::directory::primary::{Changes, ContentError};
use crate::limits::{
    MAX_CHANGE_PARTS_PER_BLOCK, MAX_CHANGES, MAX_VOTES_PER_BLOCK, MAX_VOTES_PER_ZONE, REPROPOSE_ROUNDS,
};
use crate::replica::machine::Machine;

/// Why a transferred zone is not voted for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotVotedFor {
    #[error(
        "{zone} comes from its primary with serial {serial}, which is not after {current}: raise it there (RFC 1982), or \
         nothing of it is taken"
    )]
    NotNewer { zone: Name, serial: u32, current: u32 },
    #[error(
        "{zone} with serial {serial} was transferred with other content by the replicas whose version took effect: see \
         that all servers of the registry serve the same under one serial, and raise it"
    )]
    OtherContent { zone: Name, serial: u32 },
    #[error("{zone} as its primary serves it: {error}")]
    Content { zone: Name, error: ContentError },
    #[error("{zone} changes by more than {MAX_CHANGES} bytes at once: have its primary serve versions in between")]
    TooManyChanges { zone: Name },
}

/// The zones that this replica has transferred.
#[derive(Default)]
pub struct Mine {
    zones: BTreeMap<Name, Transferred>,
    /// What a corrupt replica says in its next block.
    #[cfg(test)]
    pub invented: (Vec<Vote>, Vec<Part>),
}

/// A candidate and its parts.
type Cut = (Candidate, Vec<Vec<u8>>);

/// What was transferred of one zone and is not in effect.
struct Transferred {
    /// The last version.
    file: ZoneFile,
    /// Versions taken when it was compared.
    base: u64,
    /// The latest versions, by their changes from there; the last one at the end.
    candidates: VecDeque<Cut>,
    /// Round of the own block with the vote for the last one.
    voted: Option<u64>,
    /// What was chosen when parts were last due, and in which round that began.
    since: Option<(Candidate, u64)>,
    /// In which turn each part was given.
    given: BTreeMap<usize, u64>,
}

impl Mine {
    /// A whole zone was transferred.
    pub fn transferred(&mut self, machine: &Machine, file: ZoneFile) -> Result<(), NotVotedFor> {
        let zone = file.apex.clone();
        let refused = |error| NotVotedFor::Content { zone: zone.clone(), error };
        let ballot = machine.ballot(&zone).ok_or_else(|| refused(ContentError::NoPrimary(zone.clone())))?;
        let (serial, current) = (file.serial(), ballot.serial());
        if !is_newer(serial, current) {
            let is_same = serial == current && Changes::between(machine.directory(), &file).is_empty();
            return if is_same { Ok(()) } else { Err(NotVotedFor::NotNewer { zone, serial, current }) };
        }
        let made = compare(ballot, machine.directory(), &file)?;
        let base = ballot.taken();
        match self.zones.get_mut(&zone).filter(|kept| kept.base == base) {
            Some(kept) => kept.replace(file, made),
            None => {
                let new = Transferred {
                    file,
                    base,
                    candidates: [made].into(),
                    voted: None,
                    since: None,
                    given: BTreeMap::new(),
                };
                self.zones.insert(zone, new);
            }
        }
        Ok(())
    }

    /// After versions took effect, of which these were `taken` just now: what is left to be voted for is compared with
    /// them. What is not voted for any more, and why.
    pub fn rebase(&mut self, machine: &Machine, taken: &BTreeMap<Name, Candidate>) -> Vec<NotVotedFor> {
        let mut dropped = Vec::new();
        let stale = |name: &Name, base: u64| machine.ballot(name).is_none_or(|ballot| ballot.taken() != base);
        let stale: Vec<Name> =
            self.zones.iter().filter(|(name, it)| stale(name, it.base)).map(|(name, _)| name.clone()).collect();
        for name in stale {
            let Some(Transferred { file, candidates, .. }) = self.zones.remove(&name) else { continue };
            let serial = file.serial();
            let others = taken.get(&name).filter(|it| it.serial == serial);
            if machine.ballot(&name).is_some_and(|ballot| is_newer(serial, ballot.serial())) {
                dropped.extend(self.transferred(machine, file).err());
            } else if others.is_some_and(|others| candidates.back().is_none_or(|(mine, _)| mine != others)) {
                dropped.push(NotVotedFor::OtherContent { zone: name, serial });
            }
        }
        dropped
    }

    /// Whether a round is due for a vote that does not count yet, or for parts that are missing and held here.
    pub fn wants_round(&self, machine: &Machine, me: ReplicaId) -> bool {
        #[cfg(test)]
        if !self.invented.0.is_empty() || !self.invented.1.is_empty() {
            return true;
        }
        self.zones.iter().any(|(name, it)| {
            let Some(ballot) = machine.ballot(name) else { return false };
            it.owes_vote(ballot, me).is_some()
                || (chosen(&it.candidates, it.base, ballot).is_some() && ballot.missing().next().is_some())
        })
    }

    /// The votes for the next block; again those that are not ordered a while later.
    pub fn votes(&mut self, machine: &Machine, me: ReplicaId, round: u64) -> Vec<Vote> {
        let mut votes = Vec::new();
        #[cfg(test)]
        votes.append(&mut self.invented.0);
        for (name, it) in &mut self.zones {
            let Some(ballot) = machine.ballot(name) else { continue };
            let is_due = it.voted.is_none_or(|voted| round >= voted + REPROPOSE_ROUNDS);
            if let Some(candidate) = it.owes_vote(ballot, me).filter(|_| is_due && votes.len() < MAX_VOTES_PER_BLOCK) {
                votes.push(Vote { zone: name.clone(), base: it.base, candidate: candidate.clone() });
                it.voted = Some(round);
            }
        }
        votes
    }

    /// The parts for the next block, in `room` bytes: of those missing the ones whose turn it is for this replica to
    /// give. The voters share the parts out; when they are not ordered some rounds later, each gets those of the one
    /// before.
    pub fn parts(&mut self, machine: &Machine, me: ReplicaId, round: u64, mut room: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        #[cfg(test)]
        parts.append(&mut self.invented.1);
        for (name, it) in &mut self.zones {
            let Some(ballot) = machine.ballot(name) else { continue };
            let Some((candidate, voters)) = ballot.chosen() else { continue };
            let Some(held) = chosen(&it.candidates, it.base, ballot) else { continue };
            let began = match &it.since {
                Some((chosen, began)) if chosen == candidate => *began,
                _ => {
                    it.given.clear();
                    round
                }
            };
            let turn = round.saturating_sub(began) / REPROPOSE_ROUNDS;
            let voters: Vec<ReplicaId> = voters.iter().collect();
            for at in ballot.missing() {
                let giver = voters.get(((at as u64 + turn) % voters.len() as u64) as usize);
                let size = held[at].len() + name.as_wire().len() + 8;
                let is_due = giver == Some(&me) && it.given.get(&at) != Some(&turn) && size <= room;
                if is_due && parts.len() < MAX_CHANGE_PARTS_PER_BLOCK {
                    room -= size;
                    it.given.insert(at, turn);
                    parts.push(Part { zone: name.clone(), bytes: held[at].clone() });
                }
            }
            it.since = Some((candidate.clone(), began));
        }
        parts
    }
}

impl Transferred {
    /// The last version, if the vote for it does not count yet.
    fn owes_vote(&self, ballot: &Ballot, me: ReplicaId) -> Option<&Candidate> {
        let (candidate, _) = self.candidates.back().filter(|_| self.base == ballot.taken())?;
        (!ballot.has_vote(me, candidate)).then_some(candidate)
    }

    /// A later transfer, from the same base.
    fn replace(&mut self, file: ZoneFile, made: Cut) {
        if self.candidates.back() != Some(&made) {
            self.candidates.retain(|(candidate, _)| candidate.serial != made.0.serial);
            self.candidates.push_back(made);
            self.candidates.drain(..self.candidates.len().saturating_sub(MAX_VOTES_PER_ZONE));
            self.voted = None;
        }
        self.file = file;
    }
}

/// The parts of what a kernel votes for, if they are among these candidates, which hold from `base`.
fn chosen<'a>(candidates: &'a VecDeque<Cut>, base: u64, ballot: &Ballot) -> Option<&'a [Vec<u8>]> {
    let (chosen, _) = ballot.chosen().filter(|_| base == ballot.taken())?;
    candidates.iter().find(|(candidate, _)| candidate == chosen).map(|(_, parts)| parts.as_slice())
}

fn compare(ballot: &Ballot, directory: &Directory, file: &ZoneFile) -> Result<Cut, NotVotedFor> {
    let zone = || file.apex.clone();
    let changes = Changes::between(directory, file);
    ballot.judge(directory, &changes).map_err(|error| NotVotedFor::Content { zone: zone(), error })?;
    Candidate::cut(file.serial(), &changes).ok_or_else(|| NotVotedFor::TooManyChanges { zone: zone() })
}
