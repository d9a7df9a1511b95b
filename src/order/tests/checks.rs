//! What must hold in every run, whatever the seed drew. The checkers see what replicas sent and executed, and judge it by
//! the sentences of the module's documentation, not by its code.

use std::collections::BTreeSet;

use super::world::{Behaviour, Entry, World};
use super::*;
use crate::limits::MAX_SUSPENDED_BLOCKS;

/// What a checker found: which, and what. Checkers panic with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub checker: &'static str,
    pub detail: String,
}

impl Failure {
    pub fn raise(checker: &'static str, detail: String) -> ! {
        // Those who hunt planted bugs read what is thrown.
        if !cfg!(feature = "mutants") {
            eprintln!("{checker}: {detail}");
        }
        std::panic::panic_any(Self { checker, detail });
    }
}

impl World {
    /// Panics with a [`Failure`] unless `holds`.
    pub fn require(&self, checker: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            let detail = format!("seed {}: {}", self.seed, detail());
            Failure::raise(checker, detail);
        }
    }

    /// A correct replica executed `entry`: the same as everybody at that height, no slot twice, only well-formed blocks, at
    /// a time that correct clocks have shown.
    pub fn check_commit(&mut self, replica: ReplicaId, entry: Entry) {
        if let Some(first) = self.history.get(entry.height as usize - 1) {
            let same = *first == entry;
            return self.require("agreement", same, || format!("replica {replica} differs at height {}", entry.height));
        }
        self.check_order(&entry);
        for block in &entry.blocks {
            let fresh = self.take_slot(block);
            self.require("one block of a slot", fresh, || format!("{block:?} is the second of its slot"));
            self.check_form(block);
        }
        self.check_time(&entry);
        self.history.push(entry);
    }

    /// Valid by the rules of [`Header`], read anew.
    fn check_form(&self, reference: &BlockRef) {
        let Some(block) = self.sent(reference) else { return };
        let (header, public) = (block.header(), &self.keys.public);
        let before: ReplicaSet =
            header.parents.iter().filter(|p| p.round + 1 == header.round).map(|p| p.author).collect();
        let slots: BTreeSet<_> = header.parents.iter().map(|parent| (parent.round, parent.author)).collect();
        let own = header.parents.iter().any(|parent| parent.author == header.author);
        let wrong = [
            (header.epoch != public.epoch, "of another epoch"),
            (header.round > 1 && !self.keys.public.committee.is_quorum(before), "without a quorum of parents"),
            (slots.len() < header.parents.len(), "twins are its parents"),
            (header.round > 1 && !own && !header.gap, "without its author's previous block"),
        ];
        let found = wrong.iter().find(|(wrong, _)| *wrong);
        self.require("well-formed blocks", found.is_none(), || format!("{reference:?}: {}", found.unwrap().1));
    }

    /// Agreed time never goes back, is not after all correct clocks, and not before the earliest stamp of a correct
    /// replica among the leader's parents.
    fn check_time(&self, entry: &Entry) {
        let time = entry.agreed_time;
        let last = self.history.last().map_or(Timestamp(0), |entry| entry.agreed_time);
        self.require("agreed time", time >= last, || format!("goes back to {time:?} from {last:?}"));
        self.require("agreed time", time.0 <= self.now(), || {
            format!("{time:?} is in the future of all correct clocks")
        });
        let Some(leader) = self.sent(&entry.leader) else { return };
        let parents = leader.header().parents.iter().filter(|parent| parent.round + 1 == entry.leader.round);
        let correct = parents.filter(|parent| self.behaviour(parent.author) == Behaviour::Correct);
        let earliest = correct.filter_map(|parent| Some(self.sent(parent)?.header().timestamp)).min();
        self.require("agreed time", earliest.is_none_or(|earliest| time >= earliest), || {
            format!("{time:?} is before the stamps of all correct parents")
        });
    }

    /// Only corrupt replicas are blamed, each misdeed once, and what is shown as evidence is evidence.
    pub fn check_fault(&mut self, reporter: ReplicaId, fault: &Fault) {
        let culprit = fault.culprit();
        let guilty = self.behaviour(culprit) != Behaviour::Correct;
        self.require("blame", guilty, || format!("replica {reporter} blames {culprit}: {fault}"));
        self.require("trust", !matches!(fault, Fault::TrustBroken { .. }), || fault.to_string());
        if let Fault::Equivocation { author, round, blocks: [one, other] } = fault {
            let slot = |block: &VerifiedBlock| (block.author(), block.round()) == (*author, *round);
            let evidence = slot(one) && slot(other) && one.reference() != other.reference();
            self.require("blame", evidence, || format!("no evidence: {fault}"));
            let first = self.note_report(reporter, *author, *round);
            self.require("evidence once", first, || format!("replica {reporter} reports again: {fault}"));
        }
    }

    /// "When anybody can know the leaders of r, f + 1 correct replicas each hold a quorum of votes": no correct block
    /// carries a share of a coin less than four rounds below it.
    pub fn check_share(&self, block: &VerifiedBlock) {
        let shares = &block.header().coin;
        if shares.is_empty() || !self.check_coins {
            return;
        }
        let public = &self.keys.public;
        let early = (block.round() - 3..=block.round() + 1)
            .find(|&round| public.coin.verify(block.author(), &public.coin_name(round), shares).is_some());
        self.require("secret coins", early.is_none(), || {
            format!("{block:?} shows a share of the coin of round {}", early.unwrap())
        });
    }

    /// Of each author no more blocks wait for their parents than its allowance.
    pub fn check_bounds(&self, replica: ReplicaId) {
        for author in self.keys.public.committee.ids() {
            let kept = self.kept_of(replica, author);
            self.require("bounded memory", kept <= MAX_SUSPENDED_BLOCKS, || {
                format!("replica {replica} keeps {kept} blocks of {author} whose parents are missing")
            });
        }
    }

    /// All operations of `expected` are executed by every correct replica that runs, each once.
    pub fn check_validity(&self, expected: &[Vec<u8>]) {
        for (replica, log) in self.running_correct() {
            let ordered: Vec<&Vec<u8>> = log.iter().flat_map(|entry| &entry.operations).collect();
            let distinct: BTreeSet<_> = ordered.iter().collect();
            self.require("validity", distinct.len() == ordered.len(), || {
                format!("replica {replica} executes one twice")
            });
            for operation in expected {
                let text = || format!("replica {replica} never executed {}", String::from_utf8_lossy(operation));
                self.require("validity", distinct.contains(&operation), text);
            }
        }
    }

    /// Nobody corrupt keeps rounds going and nothing is left to do: rounds have stopped.
    pub fn check_quiet(&self) {
        self.require("quiescence", self.is_quiet(), || "rounds go on".into());
    }

    /// Every correct replica executed a prefix of the longest log, no operation twice, time never backwards.
    pub fn assert_agreement(&self) {
        let longest = self.logs().max_by_key(|log| log.len()).unwrap();
        for log in self.logs() {
            assert_eq!(*log, longest[..log.len()], "seed {}: logs differ", self.seed);
        }
        let mut slots = BTreeSet::new();
        for entry in longest {
            for block in &entry.blocks {
                assert!(slots.insert((block.round, block.author)), "seed {}: {block:?} twice", self.seed);
            }
        }
        assert!(longest.windows(2).all(|pair| pair[0].agreed_time <= pair[1].agreed_time), "seed {}", self.seed);
    }

    /// Every running correct replica executed these operations.
    pub fn assert_ordered(&self, expected: &[Vec<u8>]) {
        for (id, log) in self.running_correct() {
            let ordered: BTreeSet<_> = log.iter().flat_map(|entry| &entry.operations).collect();
            for operation in expected {
                let text = String::from_utf8_lossy(operation);
                assert!(ordered.contains(operation), "seed {}: replica {id} never ordered {text}", self.seed);
            }
        }
    }
}
