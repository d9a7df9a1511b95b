//! The start-up rule under all schedules, at n = 4 and f = 1, for a few rounds (checked with `stateright`).
//!
//! The model has what the rule is about and nothing else: who made a block of which round, who holds the asker's
//! blocks, who asks and who has answered. Replica 0, the asker, may be cut at any point; its blocks from before and
//! after count as two sources, so that a round in which both have a block is a contradiction. A block of round r can be
//! made when a quorum has one of round r − 1; whoever needs the asker's for this holds it from then on, with those
//! before, and others may come to hold it or not. All a cut leaves on a disk is the own blocks and the rounds before
//! the last of them. Everything only grows, so every schedule ends, and a deadlock is an end at which no quorum has
//! made the last round.

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::startup::{Outcome, rule};

const REPLICAS: usize = 4;
/// The blocks that the asker makes after its cut.
const SECOND_LIFE: usize = REPLICAS;

/// A set of rounds, or of replicas.
type Bits = u8;

/// What happens to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The asker is cut and its disk is gone.
    LostDisk,
    /// The asker is cut and comes back with an older copy of its disk.
    OlderCopy,
    /// The asker is cut and restarts, with another dead from the first.
    OneDead,
    /// All are cut at once.
    AllCut,
}

/// How a replica that starts goes about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Conduct {
    AsSpecified,
    /// Wrong: resumes one round above the highest answer.
    OneAbove,
    /// Wrong: believes its disk and asks nobody.
    AsksNobody,
    /// Wrong: waits for a quorum of answers besides its own.
    QuorumOfOthers,
    /// Wrong: resumes above the highest answer whenever somebody is ahead.
    AlwaysAbove,
    /// Wrong: goes on with any record, whatever the others hold.
    IgnoresHeld,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Running { first: u8 },
    Asking { record: Option<u8>, answered: Bits, highest: u8, held: u8 },
    Dead,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    /// Rounds in which each source has a block that exists anywhere but on a disk that is gone.
    made: [Bits; REPLICAS + 1],
    /// Rounds of the asker's first life that each replica holds. Replica 0: those that came back to it.
    holds: [Bits; REPLICAS],
    phase: [Phase; REPLICAS],
    was_cut: bool,
    /// Rounds of the asker's first life that a kernel of others held when it was cut.
    in_kernel: Bits,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Make {
        maker: usize,
        round: u8,
    },
    /// Comes to hold the asker's next block.
    Take {
        by: usize,
        round: u8,
    },
    /// The asker is cut. Its disk remembers rounds up to `record`; what was under way is lost or comes late.
    Cut {
        record: Option<u8>,
        loses_messages: bool,
    },
    CutAll,
    Answer {
        asker: usize,
        by: usize,
    },
}

struct Starts {
    fate: Fate,
    conduct: Conduct,
    /// The last round of the model.
    last: u8,
}

fn highest(rounds: Bits) -> u8 {
    if rounds == 0 { 0 } else { 7 - rounds.leading_zeros() as u8 }
}

/// All rounds up to `round`.
fn up_to(round: u8) -> Bits {
    ((1u16 << (round + 1)) - 1) as Bits
}

fn bit(round: u8) -> Bits {
    1 << round
}

impl State {
    /// How many authors besides the first life of the asker have a block of `round`.
    fn authors(&self, round: u8) -> usize {
        self.made[1..].iter().filter(|rounds| *rounds & bit(round) != 0).count()
    }

    /// Whether a quorum has blocks of `round`; round 0 needs none.
    fn is_complete(&self, round: u8) -> bool {
        let first_life = (self.made[0] & !self.made[SECOND_LIFE] & bit(round)) != 0;
        round == 0 || self.authors(round) + usize::from(first_life) >= 3
    }

    /// Where the blocks go that `replica` makes now.
    fn source(&self, replica: usize) -> usize {
        if replica == 0 && self.was_cut { SECOND_LIFE } else { replica }
    }

    /// Round of the last own block that the replica knows of.
    fn own_last(&self, replica: usize) -> u8 {
        let record = match self.phase[replica] {
            Phase::Asking { record, .. } => record.unwrap_or(0),
            _ => 0,
        };
        let came_back = if replica == 0 { self.holds[0] } else { 0 };
        record.max(highest(self.made[self.source(replica)] | came_back))
    }

    fn ask(&mut self, replica: usize, record: Option<u8>) {
        self.phase[replica] = Phase::Asking { record, answered: 1 << replica, highest: record.unwrap_or(0), held: 0 };
    }
}

impl Starts {
    /// The first round that the replica may make a block of.
    fn first_round(&self, state: &State, replica: usize) -> Option<u8> {
        let (record, answered, highest, held) = match state.phase[replica] {
            Phase::Running { first } => return Some(first),
            Phase::Dead => return None,
            Phase::Asking { record, answered, highest, held } => (record, answered, highest, held),
        };
        let needed = match self.conduct {
            Conduct::AsksNobody => return Some(record.unwrap_or(0) + 1),
            Conduct::QuorumOfOthers => 4,
            _ => 3,
        };
        if answered.count_ones() < needed {
            return None;
        }
        let outcome = match self.conduct {
            Conduct::IgnoresHeld if record.is_some() => rule(record.map(u64::from), 0, highest.into()),
            Conduct::AlwaysAbove if record < Some(highest) => Outcome::Resume { round: u64::from(highest) + 2 },
            _ => rule(record.map(u64::from), held.into(), highest.into()),
        };
        Some(match outcome {
            Outcome::GoOn { last } => last as u8 + 1,
            Outcome::Resume { round } if self.conduct == Conduct::OneAbove => round as u8 - 1,
            Outcome::Resume { round } => round as u8,
        })
    }

    fn blocks_to_make(&self, state: &State, maker: usize, steps: &mut Vec<Step>) {
        let Some(first) = self.first_round(state, maker) else { return };
        let rounds = first.max(state.own_last(maker) + 1)..=self.last;
        steps.extend(rounds.filter(|round| state.is_complete(round - 1)).map(|round| Step::Make { maker, round }));
    }

    /// The asker's blocks come in the order of their rounds, each with its past; to itself they come back once it was cut.
    fn blocks_to_take(state: &State, by: usize, steps: &mut Vec<Step>) {
        let missing = state.made[0] & !state.holds[by];
        if missing != 0 && state.phase[by] != Phase::Dead && (by != 0 || state.was_cut) {
            steps.push(Step::Take { by, round: missing.trailing_zeros() as u8 });
        }
    }

    fn cuts(&self, state: &State, steps: &mut Vec<Step>) {
        let last = highest(state.made[0]);
        if state.was_cut || last == self.last {
            return;
        }
        match self.fate {
            Fate::AllCut => steps.push(Step::CutAll),
            Fate::OneDead => steps.push(Step::Cut { record: Some(last), loses_messages: true }),
            Fate::LostDisk | Fate::OlderCopy => {
                for loses_messages in [false, true] {
                    let older = (0..last).filter(|&round| round == 0 || state.made[0] & bit(round) != 0);
                    match self.fate {
                        Fate::LostDisk => steps.push(Step::Cut { record: None, loses_messages }),
                        _ => steps.extend(older.map(|round| Step::Cut { record: Some(round), loses_messages })),
                    }
                }
            }
        }
    }
}

impl Model for Starts {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut phase = [Phase::Running { first: 1 }; REPLICAS];
        if self.fate == Fate::OneDead {
            phase[3] = Phase::Dead;
        }
        vec![State { made: [0; REPLICAS + 1], holds: [0; REPLICAS], phase, was_cut: false, in_kernel: 0 }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for replica in 0..REPLICAS {
            self.blocks_to_make(state, replica, steps);
            // What others hold of a replica whose disk is intact never is more than its own record says.
            if self.fate != Fate::AllCut {
                Self::blocks_to_take(state, replica, steps);
            }
            if let Phase::Asking { answered, .. } = state.phase[replica] {
                let others = (0..REPLICAS).filter(|other| answered & (1 << other) == 0);
                let alive = others.filter(|&other| state.phase[other] != Phase::Dead);
                // With all disks intact, what comes after a quorum of answers says nothing new.
                let alive = alive.filter(|_| self.fate != Fate::AllCut || answered.count_ones() < 3);
                steps.extend(alive.map(|by| Step::Answer { asker: replica, by }));
            }
        }
        self.cuts(state, steps);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Make { maker, round } => {
                // Answers that come later see this block.
                state.phase[maker] = Phase::Running { first: self.first_round(last, maker)? };
                if round > 1 && last.authors(round - 1) < 3 {
                    state.holds[maker] |= last.made[0] & up_to(round - 1);
                }
                state.made[last.source(maker)] |= bit(round);
            }
            Step::Take { by, round } => state.holds[by] |= bit(round),
            Step::Cut { record, loses_messages } => {
                let held = |round| (1..REPLICAS).filter(|&other| last.holds[other] & bit(round) != 0).count();
                let in_kernel = (1..=self.last).filter(|&round| held(round) >= 2);
                state.in_kernel = in_kernel.fold(0, |rounds, round| rounds | bit(round));
                if loses_messages {
                    let elsewhere = last.holds[1] | last.holds[2] | last.holds[3];
                    state.made[0] &= elsewhere | record.map_or(0, up_to);
                }
                state.was_cut = true;
                state.holds[0] = state.made[0] & record.map_or(0, up_to);
                state.ask(0, record);
            }
            Step::CutAll => {
                state.was_cut = true;
                state.holds[0] = state.made[0];
                for replica in 0..REPLICAS {
                    let own_last = highest(last.made[replica]);
                    if replica > 0 {
                        state.holds[replica] &= up_to(own_last.saturating_sub(1));
                    }
                    state.ask(replica, Some(own_last));
                }
            }
            Step::Answer { asker, by } => {
                let theirs = if asker == 0 { highest(last.holds[by]) } else { 0 };
                let own_last = last.own_last(by);
                if let Phase::Asking { answered, highest, held, .. } = &mut state.phase[asker] {
                    *answered |= 1 << by;
                    *highest = own_last.max(theirs).max(*highest);
                    *held = theirs.max(*held);
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing said is contradicted", |model, state: &State| {
                let at_stake = if model.fate == Fate::OlderCopy { state.in_kernel } else { state.made[0] };
                at_stake & state.made[SECOND_LIFE] == 0
            }),
            Property::always("nobody waits for ever", |model, state: &State| {
                let mut steps = Vec::new();
                model.actions(state, &mut steps);
                !steps.is_empty() || state.is_complete(model.last)
            }),
        ]
    }
}

/// The properties that do not hold.
fn broken(fate: Fate, conduct: Conduct) -> Vec<&'static str> {
    // All of them asking at once have many more states.
    let last = if fate == Fate::AllCut { 2 } else { 3 };
    let checker = Starts { fate, conduct, last }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checked = checker.spawn_bfs().join();
    println!("{fate:?}, {conduct:?}: {} states, {:?}", checked.unique_state_count(), checked.discoveries().keys());
    checked.discoveries().into_keys().collect()
}

const CONTRADICTION: &str = "nothing said is contradicted";
const DEADLOCK: &str = "nobody waits for ever";

#[test]
fn a_lost_disk_contradicts_nothing_and_stops_nobody() {
    assert!(broken(Fate::LostDisk, Conduct::AsSpecified).is_empty());
}

#[test]
fn an_older_copy_contradicts_nothing_that_a_kernel_held() {
    assert!(broken(Fate::OlderCopy, Conduct::AsSpecified).is_empty());
}

#[test]
fn with_one_dead_for_good_another_restarts() {
    assert!(broken(Fate::OneDead, Conduct::AsSpecified).is_empty());
}

#[test]
fn all_cut_at_once_go_on() {
    assert!(broken(Fate::AllCut, Conduct::AsSpecified).is_empty());
}

#[test]
fn the_checker_finds_what_is_wrong_with_broken_rules() {
    for (fate, conduct, property) in [
        (Fate::LostDisk, Conduct::OneAbove, CONTRADICTION),
        (Fate::LostDisk, Conduct::AsksNobody, CONTRADICTION),
        (Fate::OlderCopy, Conduct::IgnoresHeld, CONTRADICTION),
        (Fate::OneDead, Conduct::QuorumOfOthers, DEADLOCK),
        (Fate::AllCut, Conduct::AlwaysAbove, DEADLOCK),
    ] {
        assert!(broken(fate, conduct).contains(&property), "{fate:?}, {conduct:?}");
    }
}
