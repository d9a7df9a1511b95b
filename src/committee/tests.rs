//! Quorums, kernels, and which structures are refused.

use super::*;
use proptest::prelude::*;

fn set(ids: &[u8]) -> ReplicaSet {
    ids.iter().copied().map(ReplicaId).collect()
}

#[test]
fn any_two_quorums_share_a_kernel() {
    for n in 4..=13usize {
        let committee = Committee::new(n).unwrap();
        let overlap = 2 * committee.quorum_threshold() - n;
        assert!(overlap >= committee.kernel_threshold(), "n = {n}");
    }
}

#[test]
fn four_replicas_stand_one_fault() {
    let committee = Committee::new(4).unwrap();
    assert!(committee.is_quorum(set(&[0, 1, 3])));
    assert!(!committee.is_quorum(set(&[0, 3])));
    assert!(committee.is_kernel(set(&[0, 3])));
    assert!(!committee.is_kernel(set(&[2])));
}

#[test]
fn fewer_than_four_replicas_are_refused() {
    assert_eq!(Committee::new(3), Err(CommitteeError::Size(3)));
}

fn sets(lists: &[&[u8]]) -> Vec<ReplicaSet> {
    lists.iter().map(|ids| set(ids)).collect()
}

fn any_one_of(classes: Vec<ReplicaSet>) -> FailProne {
    FailProne(vec![vec![Part::Classes { count: 1, classes }]])
}

fn from_bits(bits: u64, n: usize) -> ReplicaSet {
    (0..n as u8).filter(|at| bits >> at & 1 == 1).map(ReplicaId).collect()
}

/// Two files in `config` as families: nine servers in four classes, and four sites with four systems.
fn examples() -> [Committee; 2] {
    let classes = sets(&[&[0, 1, 2, 3], &[4, 5], &[6, 7], &[8]]);
    let nine = FailProne(vec![vec![Part::Replicas(2)], vec![Part::Classes { count: 1, classes }]]);
    let lines = |line: &dyn Fn(u8, u8) -> u8| -> Vec<ReplicaSet> {
        (0..4).map(|at| (0..4).map(|other| ReplicaId(line(at, other))).collect()).collect()
    };
    let sites = Part::Classes { count: 1, classes: lines(&|site, system| 4 * site + system) };
    let systems = Part::Classes { count: 1, classes: lines(&|system, site| 4 * site + system) };
    [Committee::general(9, nine).unwrap(), Committee::general(16, FailProne(vec![vec![sites, systems]])).unwrap()]
}

/// The formulas say of every set what the predicates say.
fn assert_formulas(committee: &Committee) {
    let (kernels, quorums) = (committee.kernel_formula(), committee.quorum_formula());
    for bits in 0..1u64 << committee.len() {
        let set = from_bits(bits, committee.len());
        assert_eq!(kernels.is_satisfied(set), committee.is_kernel(set), "{set:?}");
        assert_eq!(quorums.is_satisfied(set), committee.is_quorum(set), "{set:?}");
    }
}

#[test]
fn formulas_and_predicates_agree() {
    for committee in examples() {
        assert_formulas(&committee);
    }
    assert_formulas(&Committee::weighted(&[2, 2, 2, 1, 1, 1], 2).unwrap());
    let overlapping = any_one_of(sets(&[&[0, 1], &[1, 2], &[3, 4], &[5]]));
    assert_formulas(&Committee::general(9, overlapping).unwrap());
    let site_and_any = FailProne(vec![vec![
        Part::Classes { count: 1, classes: sets(&[&[0, 1], &[2, 3], &[4, 5], &[6, 7], &[8, 9]]) },
        Part::Replicas(1),
    ]]);
    assert_formulas(&Committee::general(10, site_and_any).unwrap());
}

#[test]
fn secrets_are_shared_in_few_parts() {
    let rows = examples().map(|committee| committee.quorum_formula().leaves().len());
    assert_eq!(rows, [18, 48]);
}

#[test]
fn both_examples_of_the_paper_make_progress() {
    for committee in examples() {
        assert_eq!(committee.check_progress(), Ok(()));
    }
}

#[test]
fn a_structure_that_no_counting_argument_covers_makes_progress() {
    // The complements of the lines of the Fano plane, and an eighth replica.
    let line = |at: u8| [0, 1, 3].map(|step| ReplicaId((at + step) % 7)).into_iter().collect();
    let mut family: Vec<_> = (0..7).map(|at| ReplicaSet::first(7).difference(line(at))).collect();
    family.push(set(&[7]));
    assert_eq!(check::q3(ReplicaSet::first(8), &family), Ok(()));
    assert_eq!(check::core(ReplicaSet::first(8), &family), Ok(()));
}

#[test]
fn a_scheduler_that_can_spoil_every_leader_is_found() {
    for (n, f) in [(4, 2), (5, 2), (6, 2)] {
        let any = FailProne(vec![vec![Part::Replicas(f)]]).maximal_sets(ReplicaSet::first(n)).unwrap();
        assert!(matches!(check::core(ReplicaSet::first(n), &any), Err(CommitteeError::NoCore { .. })), "{f} of {n}");
    }
}

#[test]
fn too_much_is_refused() {
    let of_sixteen = |count| FailProne(vec![vec![Part::Replicas(count)], vec![Part::Replicas(1)]]);
    assert!(matches!(Committee::general(16, of_sixteen(4)), Err(CommitteeError::TooMany { .. })));
    assert!(matches!(Committee::general(64, of_sixteen(20)), Err(CommitteeError::TooMany { .. })));
    let stranger = any_one_of(sets(&[&[0], &[9]]));
    assert_eq!(Committee::general(5, stranger), Err(CommitteeError::Stranger(ReplicaId(9), 4)));
    assert_eq!(Committee::threshold(4, 0), Err(CommitteeError::NothingFails));
    assert_eq!(Committee::weighted(&[1, 1, 1, 0, 1], 1), Err(CommitteeError::Weight(0)));
    // Ten of thirteen may fail in one way only; signatures by number would need eleven of the three that are left.
    let lopsided = any_one_of(sets(&[&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[10], &[11], &[12]]));
    let Err(CommitteeError::Signing { needed, left, .. }) = Committee::general(13, lopsided) else { panic!() };
    assert_eq!((needed, left), (11, 3));
}

#[test]
fn committees_come_back_from_their_bytes_and_impossible_ones_do_not() {
    let committees = examples().into_iter().chain([Committee::new(7).unwrap()]);
    for committee in committees.chain([Committee::weighted(&[2, 2, 1, 1, 1], 2).unwrap()]) {
        assert_eq!(postcard::from_bytes(&postcard::to_allocvec(&committee).unwrap()), Ok(committee));
    }
    assert_eq!(postcard::to_allocvec(&Committee::new(7).unwrap()).unwrap(), [0, 7, 2]);
    assert!(postcard::from_bytes::<Committee>(&[0, 7, 3]).is_err());
    assert!(postcard::from_bytes::<Committee>(&[0, 200, 3]).is_err());
    assert!(postcard::from_bytes::<Committee>(&[2, 4, 1, 1, 0, 2]).is_err());
}

proptest! {
    #[test]
    fn of_random_structures_exactly_those_without_q3_are_refused(
        n in 5usize..=8,
        raw in prop::collection::vec(any::<u64>(), 2..7),
        sparse in prop::collection::vec(any::<u64>(), 7),
    ) {
        let everybody = ReplicaSet::first(n);
        let family: Vec<_> = raw.iter().zip(&sparse).map(|(a, b)| from_bits(a & b, n)).collect();
        let covers = |a: &ReplicaSet, b: &ReplicaSet, c: &ReplicaSet| a.union(*b).union(*c) == everybody;
        let broken = family.iter().any(|a| family.iter().any(|b| family.iter().any(|c| covers(a, b, c))));
        let nonempty: Vec<_> = family.into_iter().filter(|set| !set.is_empty()).collect();
        prop_assume!(!nonempty.is_empty());
        match Committee::general(n, any_one_of(nonempty)) {
            Err(CommitteeError::NotQ3(a, b, c)) => prop_assert!(broken && covers(&a, &b, &c)),
            // Sound, but shared by number nobody could sign.
            Err(CommitteeError::Signing { .. }) => prop_assert!(!broken),
            Err(error) => prop_assert!(false, "{error}"),
            Ok(committee) => {
                prop_assert!(!broken);
                assert_formulas(&committee);
                let quorums = (0..1u64 << n).map(|bits| from_bits(bits, n)).filter(|set| committee.is_quorum(*set));
                let quorums: Vec<_> = quorums.collect();
                let meet = quorums.iter().all(|a| quorums.iter().all(|b| committee.is_kernel(a.intersection(*b))));
                prop_assert!(meet, "two quorums share a correct replica");
                prop_assert_eq!(committee.check_progress(), Ok(()));
            }
        }
    }
}
