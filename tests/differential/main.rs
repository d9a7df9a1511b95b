//! Our answers beside NSD's and Knot's: random zones with all features, every name by every type, with and without DO.
//!
//! A difference is a failure, unless [`differences`] explains it with an RFC. 5,000 questions;
//! `TORRENS_DIFFERENTIAL=100000` for nights. A failure names zone and question; the number of the zone makes it again.

mod differences;
mod proof;
mod reply;
#[path = "../support/mod.rs"]
mod support;
mod zones;

mod servers;

use std::collections::BTreeMap;

use reply::{Question, Reply};
use servers::{Server, sign};
use zones::{Dice, Zone};

const QUESTIONS: usize = 5_000;
/// Zones of one run of the servers.
const TOGETHER: u64 = 8;

const TYPES: [u16; 17] = [1, 2, 5, 6, 12, 15, 16, 25, 28, 33, 39, 43, 46, 47, 48, 65, 65280];

#[test]
fn nsd_and_knot_give_the_same_answers_or_the_difference_is_explained() {
    let wanted = std::env::var("TORRENS_DIFFERENTIAL").map_or(QUESTIONS, |count| count.parse().expect("a number"));
    let mut tally = Tally::default();
    let mut first = 0;
    while tally.asked < wanted {
        compare(first, wanted, &mut tally);
        first += TOGETHER;
    }
    eprintln!("{} questions, of which explained:", tally.asked);
    for ((server, why), count) in &tally.explained {
        eprintln!("{count:7} {server}: {why}");
    }
    assert!(tally.unexplained.is_empty(), "{} differences, such as\n{}", tally.count, tally.unexplained.join("\n"));
}

#[derive(Default)]
struct Tally {
    asked: usize,
    explained: BTreeMap<(&'static str, &'static str), usize>,
    count: usize,
    /// The first ones.
    unexplained: Vec<String>,
}

impl Tally {
    fn fail(&mut self, what: String) {
        const SHOWN: usize = 20;
        self.count += 1;
        if self.unexplained.len() < SHOWN {
            self.unexplained.push(what);
        }
    }
}

/// Asks about the zones from number `first` on until enough is asked.
fn compare(first: u64, wanted: usize, tally: &mut Tally) {
    let folder = tempfile::tempdir().unwrap();
    let zones: Vec<Zone> = (first..first + TOGETHER).flat_map(zones::zones).collect();
    let signed = sign(folder.path(), &zones);
    let ports = support::ports::Ports::take();
    let mut ours = Server::ours(folder.path(), &signed, ports.base);
    let nsd = Server::nsd(folder.path(), &signed, ports.base + 1);
    let mut peers = [nsd, Server::knot(folder.path(), &signed, ports.base + 2)];
    let mut questions: Vec<Question> = zones.iter().flat_map(questions).collect();
    shuffle(&mut questions, first);
    questions.truncate(wanted - tally.asked);
    for question in questions {
        tally.asked += 1;
        let query = question.message();
        let mine = Reply::read(&ours.ask(&query));
        if question.dnssec
            && let Some(missing) = proof::missing(&question, &mine)
        {
            tally.fail(format!("{question}\n  ours does not prove {missing}: {mine}"));
        }
        for peer in &mut peers {
            let theirs = Reply::read(&peer.ask(&query));
            if mine == theirs {
                continue;
            }
            match differences::explain(&question, &mine, &theirs, peer.name) {
                Some(why) => *tally.explained.entry((peer.name, why)).or_default() += 1,
                None => tally.fail(format!("{question}\n  ours {mine}\n  {} {theirs}", peer.name)),
            }
        }
    }
}

/// Every name and some around it, by every type, with and without DO.
fn questions(zone: &Zone) -> Vec<Question> {
    let mut names = zone.names.clone();
    for name in &zone.names {
        names.insert(format!("no-such.{name}"));
        names.insert(format!("a.b.c.{name}"));
        names.insert(format!("*.{name}"));
    }
    let by_type = |name: &String| {
        let name = name.clone();
        let both = move |rtype| [false, true].map(|dnssec| Question { name: name.clone(), rtype, dnssec });
        TYPES.into_iter().flat_map(both).collect::<Vec<_>>()
    };
    names.iter().flat_map(by_type).collect()
}

fn shuffle(questions: &mut [Question], seed: u64) {
    let mut dice = Dice::new(seed + 1_000_000);
    for at in (1..questions.len()).rev() {
        questions.swap(at, dice.below(at + 1));
    }
}
