//! The links between processes: up or down, in order or not, held or cut.

use std::collections::BTreeMap;

use super::delays::Micros;

/// One side of a link, as the other sees it: all state is kept for pairs of processes.
#[derive(Clone, Default)]
struct Link {
    is_up: bool,
    /// Counts the breaks: what was under way at a break is lost.
    epoch: u32,
    /// Nothing arrives before this, from the lower process to the higher one and back.
    held_until: [Micros; 2],
    /// When the last message arrives: links keep the order.
    last: [Micros; 2],
}

/// All links, by pair of processes.
pub struct Links {
    by_pair: BTreeMap<(usize, usize), Link>,
    /// Whether later messages may overtake earlier ones.
    reorders: bool,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Links {
    pub fn new(reorders: bool) -> Self {
        Self { by_pair: BTreeMap::new(), reorders }
    }

    fn link(&mut self, a: usize, b: usize) -> &mut Link {
        self.by_pair.entry(pair(a, b)).or_default()
    }

    pub fn is_up(&self, a: usize, b: usize) -> bool {
        self.by_pair.get(&pair(a, b)).is_some_and(|link| link.is_up)
    }

    /// Which epoch of the link is running; messages of another are lost.
    pub fn epoch(&self, a: usize, b: usize) -> u32 {
        self.by_pair.get(&pair(a, b)).map_or(0, |link| link.epoch)
    }

    pub fn up(&mut self, a: usize, b: usize) {
        self.link(a, b).is_up = true;
    }

    /// Breaks the link: what is under way on it is lost.
    pub fn down(&mut self, a: usize, b: usize) {
        let link = self.link(a, b);
        link.is_up = false;
        link.epoch += 1;
    }

    /// Nothing from `from` arrives at `to` before `until`; nothing is lost.
    pub fn hold(&mut self, from: usize, to: usize, until: Micros) {
        let held = &mut self.link(from, to).held_until[usize::from(from > to)];
        *held = until.max(*held);
    }

    pub fn release_all(&mut self) {
        for link in self.by_pair.values_mut() {
            link.held_until = [0; 2];
        }
    }

    /// When a message arrives that would arrive at `at`, left to itself.
    pub fn arrival(&mut self, from: usize, to: usize, at: Micros) -> Micros {
        let (reorders, side) = (self.reorders, usize::from(from > to));
        let link = self.link(from, to);
        let mut at = at.max(link.held_until[side]);
        if !reorders {
            at = at.max(link.last[side]);
            link.last[side] = at;
        }
        at
    }
}
