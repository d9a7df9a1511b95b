//! Fair order, read off what correct replicas execute and everybody sent: by the sentences of
//! [`super::super::sequence`], not by its code. Where an author made twins, and in worlds that forget soon, nothing is
//! said.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Entry, World};
use super::*;

/// Of the standard normal distribution less than one in a million is beyond it.
const BOUND: f64 = 5.0;

/// Choices between two blocks that were left to the coin, at most one of each commit: how often the lower number was first.
#[derive(Default)]
pub struct Choices {
    lower: u64,
    all: u64,
}

impl World {
    /// A block's own round gives no priority: blocks of one commit are in the order of their arrival rounds.
    pub fn check_order(&mut self, entry: &Entry) {
        let Some(history) = self.unsettled_past(entry.leader).filter(|_| self.keys.public.depth >= 1000) else {
            return;
        };
        let arrival = |block: &BlockRef| self.arrival_round(block, &history).unwrap_or(entry.leader.round);
        let arrivals: Vec<u64> = entry.blocks.iter().map(arrival).collect();
        self.require("fair order", arrivals.is_sorted(), || {
            let blocks = entry.blocks.iter().zip(&arrivals);
            let blocks: Vec<String> = blocks.map(|(block, arrival)| format!("{block:?} of {arrival}")).collect();
            format!("not by arrival rounds at height {}: {}", entry.height, blocks.join(", "))
        });
        // The second was ready when the first was taken.
        let free = |[first, second]: &[BlockRef; 2]| {
            let leads = self.sent(second).is_some_and(|second| second.header().parents.contains(first));
            first.author != second.author && !leads
        };
        let pairs = entry.blocks.windows(2).zip(arrivals.windows(2)).filter(|(_, arrivals)| arrivals[0] == arrivals[1]);
        let chosen = pairs.filter_map(|(pair, _)| pair.first_chunk::<2>().copied()).find(free);
        if let Some([first, second]) = chosen {
            self.choices.all += 1;
            self.choices.lower += u64::from(first.author < second.author);
        }
    }

    /// Between equals the coin decides, and not the number of a replica.
    pub fn check_choices(&self) {
        let Choices { lower, all } = self.choices;
        let excess = (2.0 * lower as f64 - all as f64).abs();
        self.require("fair order", excess <= BOUND * (all as f64).sqrt(), || {
            format!("of {all} choices between two equals, {lower} are for the lower number")
        });
    }

    /// The past of a leader that nobody has executed yet, by name; nothing if there are twins in it.
    fn unsettled_past(&self, leader: BlockRef) -> Option<BTreeSet<BlockRef>> {
        let mut history = BTreeSet::new();
        let mut due = vec![leader];
        while let Some(name) = due.pop() {
            if self.sent_at(name.round, name.author).len() > 1 {
                return None;
            }
            if !self.is_executed(&name) && history.insert(name) {
                due.extend(&self.sent(&name)?.header().parents);
            }
        }
        Some(history)
    }

    /// The lowest round by which a kernel made blocks that lead to this one.
    fn arrival_round(&self, block: &BlockRef, history: &BTreeSet<BlockRef>) -> Option<u64> {
        let mut led = BTreeSet::from([*block]);
        let mut rounds: BTreeMap<ReplicaId, u64> = BTreeMap::new();
        // Names are sorted by round: parents first.
        for name in history {
            if name != block && self.sent(name)?.header().parents.iter().any(|parent| led.contains(parent)) {
                led.insert(*name);
                rounds.entry(name.author).or_insert(name.round);
            }
        }
        let by = |round: u64| rounds.iter().filter(|(_, first)| **first <= round).map(|(&author, _)| author).collect();
        let mut reached: Vec<u64> = rounds.values().copied().collect();
        reached.sort_unstable();
        reached.into_iter().find(|&round| self.keys.public.committee.is_kernel(by(round)))
    }
}
