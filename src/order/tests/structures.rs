//! The order under failure structures that are no threshold: both examples of Cachin, §4.3, with each maximal set that may
//! fail corrupt; far more replicas than any threshold would stand.

use super::network::Schedule;
use super::simulation::run;
use super::world::Behaviour;
use super::*;
use crate::committee::FailProne;

fn committee(n: usize, family: &str) -> Committee {
    Committee::general(n, FailProne::parse(family, &|_| None).unwrap()).unwrap()
}

fn nine() -> Committee {
    committee(9, "any 2 replicas or any 1 of [0 1 2 3, 4 5, 6 7, 8]")
}

fn sixteen() -> Committee {
    let (sites, systems) = ("[0 1 2 3, 4 5 6 7, 8 9 10 11, 12 13 14 15]", "[0 4 8 12, 1 5 9 13, 2 6 10 14, 3 7 11 15]");
    committee(16, &format!("any 1 of {sites} and any 1 of {systems}"))
}

/// All members of `failed` behave in ways drawn by the seed, silent ones among them.
fn survives(committee: &Committee, failed: crate::committee::ReplicaSet, seed: u64, schedule: Schedule) {
    let ways = [Behaviour::Dead, Behaviour::Equivocate, Behaviour::Withhold];
    let behaviours: Vec<_> = failed.iter().map(|id| (id.0, ways[(seed as usize + id.index()) % ways.len()])).collect();
    run(seed, Keys::of(committee.clone(), WaveLength::Five, 10_000), schedule, &behaviours, 2);
}

#[test]
fn nine_servers_go_on_with_any_two_or_a_whole_class_corrupt() {
    let committee = nine();
    for (seed, &failed) in committee.fail_prone_sets().unwrap().iter().enumerate() {
        survives(&committee, failed, seed as u64, if seed % 2 == 0 { Schedule::Wild } else { Schedule::Uniform });
    }
}

#[test]
fn sixteen_servers_go_on_with_a_whole_site_and_a_whole_operating_system_corrupt() {
    let committee = sixteen();
    for (seed, &failed) in committee.fail_prone_sets().unwrap().iter().enumerate() {
        assert_eq!(failed.len(), 7);
        survives(&committee, failed, seed as u64, Schedule::Uniform);
    }
}

#[test]
fn a_whole_class_dead_stops_nothing() {
    let dead = |ids: &[u8]| ids.iter().map(|&id| (id, Behaviour::Dead)).collect::<Vec<_>>();
    let keys = |committee| Keys::of(committee, WaveLength::Five, 10_000);
    run(1, keys(nine()), Schedule::Wild, &dead(&[0, 1, 2, 3]), 4);
    run(2, keys(sixteen()), Schedule::Uniform, &dead(&[4, 5, 6, 7, 2, 10, 14]), 2);
    let weighted = Committee::weighted(&[2, 2, 2, 1, 1, 1], 2).unwrap();
    run(3, keys(weighted.clone()), Schedule::Wild, &dead(&[3, 5]), 4);
    run(4, keys(weighted), Schedule::Wild, &dead(&[1]), 4);
}
