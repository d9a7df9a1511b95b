//! When messages arrive: drawn, or as a hostile scheduler wants it. All of them arrive.

use super::world::{DELAY, Event, Message, World};
use super::*;

/// How messages are delayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    /// Uniformly between half a delay and one and a half.
    Uniform,
    /// From nothing to ten delays.
    Wild,
    /// As uniform, but the block of whoever leads if leaders took turns comes thirty delays late.
    AgainstTurns,
    /// As uniform, but everything from and to the last replica takes ten times as long.
    SlowLast,
    /// As uniform, but everything from and to the last replica takes three times as long: it trails by a round or two.
    Trailing,
    /// Each block reaches a drawn half of the others soon and the rest some rounds later, so that votes are divided.
    Divided,
    /// Everybody hears of a quorum before each own block and of no more; the others come some rounds later. Whose, is
    /// drawn. What is asked for comes at once: who gets a block gets its past.
    Quorums,
}

/// What the scheduler does beside its schedule.
#[derive(Clone, Copy)]
pub struct Network {
    pub schedule: Schedule,
    /// When a replica is cut, what it sent and nobody has yet comes so much later.
    pub hold_back: u64,
    /// Who knows least answers a start-up question at once, everybody else twenty delays later.
    pub ignorant_first: bool,
    /// Those who date back show their blocks at multiples of this.
    pub shown_every: u64,
}

impl Network {
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, hold_back: 0, ignorant_first: false, shown_every: 30 * DELAY }
    }
}

impl World {
    pub fn delay(&mut self, from: ReplicaId, to: ReplicaId, message: &Message) -> u64 {
        let usual = DELAY / 2 + self.random(DELAY);
        let n = self.keys.public.committee.len() as u64;
        let with_last = [from, to].contains(&r(n as u8 - 1));
        match (self.network.schedule, message) {
            (_, Message::Question(_)) if self.network.ignorant_first => self.random(10),
            (_, Message::Answer(_)) if self.network.ignorant_first => match self.knows_least(from, to) {
                true => self.random(10),
                false => usual + 20 * DELAY,
            },
            (Schedule::Wild, _) => self.random(10 * DELAY),
            (Schedule::AgainstTurns, Message::Block(block)) if block.round() % n == u64::from(block.author().0) => {
                usual + 30 * DELAY
            }
            (Schedule::SlowLast, _) if with_last => 10 * usual,
            (Schedule::Trailing, _) if with_last => 3 * usual,
            (Schedule::Divided, Message::Block(_)) if self.random(2) == 0 => usual + self.random(6) * DELAY,
            (Schedule::Quorums, Message::Block(block)) if self.hears(to, block) => DELAY + self.random(DELAY / 8),
            (Schedule::Quorums, Message::Block(_)) => DELAY + usual + self.random(5) * DELAY,
            (Schedule::Quorums, Message::Fetch { .. } | Message::Blocks(_)) => 1 + self.random(10),
            _ => usual,
        }
    }

    /// Whether `block` is of those that `to` is to hear of before its next block. It leaves out as many authors as may
    /// fail, half of the time one and the same for some rounds.
    fn hears(&self, to: ReplicaId, block: &VerifiedBlock) -> bool {
        let committee = &self.keys.public.committee;
        let (n, round) = (committee.len(), block.round());
        let drawn = |what: u64, who: u8| hash("hears", &[&self.seed.to_be_bytes(), &what.to_be_bytes(), &[who]]).0;
        let (dice, hidden) = (drawn(round, to.0), drawn(round / 4, u8::MAX)[0]);
        (1..=n - committee.quorum_threshold()).all(|i| {
            let left_out = if i == 1 && dice[0] % 2 == 0 { hidden } else { dice[i] };
            usize::from(left_out) % n != block.author().index()
        })
    }

    /// Whether nobody but the asker is behind `answerer`.
    fn knows_least(&self, answerer: ReplicaId, asker: ReplicaId) -> bool {
        let last = |id: ReplicaId| self.running(id).map_or(u64::MAX, Order::own_last_round);
        let others = self.keys.public.committee.ids().filter(|&id| id != asker);
        others.map(last).min() == Some(last(answerer))
    }

    /// `replica` was cut: what it sent last is held back.
    pub fn hold_back(&mut self, replica: ReplicaId) {
        let held = self.take_events(|event| matches!(event, Event::Deliver { from, .. } if *from == replica));
        for (at, event) in held {
            self.schedule_at(at + self.network.hold_back, event);
        }
    }
}
