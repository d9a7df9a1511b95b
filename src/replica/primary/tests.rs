use super::*;

fn apex() -> Name {
    Name::parse("z.", None).unwrap()
}

fn ballot(serial: u32) -> Ballot {
    let (votes, parts) = Default::default();
    Ballot { apex: apex(), reserved: None, taken: 3, serial, votes, chosen: None, parts }
}

struct Scene {
    ballot: Ballot,
    committee: Committee,
    rows: Vec<Row>,
}

impl Scene {
    fn new(serial: u32) -> Self {
        Self { ballot: ballot(serial), committee: Committee::new(4).unwrap(), rows: Vec::new() }
    }

    fn votes(&mut self, author: u8, base: u64, serial: u32, part: &[u8]) {
        let vote = Vote { zone: apex(), base, candidate: candidate(serial, part) };
        self.ballot.vote(ReplicaId(author), vote, &self.committee, &mut self.rows);
    }

    fn chosen(&self) -> Option<u32> {
        self.ballot.chosen().map(|(candidate, _)| candidate.serial)
    }

    /// What a replica that reads the rows back has.
    fn reloaded(&self) -> (BTreeMap<ReplicaId, Vec<Candidate>>, BTreeSet<Vec<u8>>) {
        let mut meta = BTreeMap::new();
        for row in &self.rows {
            match &row.value {
                Some(value) => _ = meta.insert(row.key.clone(), value.clone()),
                None => _ = meta.remove(&row.key),
            }
        }
        let votes = self
            .committee
            .ids()
            .filter_map(|id| Some((id, codec::decode(meta.get(&votes_key(&apex(), id))?, MAX_META_ROW).unwrap())));
        let votes = votes.collect();
        let parts = meta.into_iter().filter(|(key, _)| key.starts_with(b"changes/")).map(|(_, value)| value);
        (votes, parts.collect())
    }
}

fn candidate(serial: u32, part: &[u8]) -> Candidate {
    Candidate { serial, parts: vec![digest_of(part)] }
}

#[test]
fn serials_are_compared_around_zero() {
    assert!(is_newer(1, 0) && is_newer(0, u32::MAX) && is_newer(5, u32::MAX - 5) && is_newer((1 << 31) - 1, 0));
    assert!(!is_newer(0, 0) && !is_newer(0, 1) && !is_newer(1 << 31, 0) && !is_newer(u32::MAX, 0));
    let mut scene = Scene::new(u32::MAX - 1);
    for serial in [u32::MAX, 2, u32::MAX - 1, 7u32.wrapping_sub(1 << 31)] {
        scene.votes(0, 3, serial, b"a");
        scene.votes(1, 3, serial, b"a");
    }
    assert_eq!(scene.chosen(), Some(2), "the newest, which is beyond zero");
    assert_eq!(scene.ballot.votes[&ReplicaId(0)].len(), 2, "those before, and those half the circle away, are none");
}

#[test]
fn a_kernel_of_votes_for_the_same_digests_counts_and_one_replica_is_none() {
    let mut scene = Scene::new(10);
    for serial in 11..100_000 {
        scene.votes(3, 3, serial, b"invented");
    }
    assert_eq!((scene.chosen(), scene.ballot.votes[&ReplicaId(3)].len()), (None, MAX_VOTES_PER_ZONE));
    scene.votes(0, 2, 99_999, b"invented");
    scene.votes(0, 4, 99_999, b"invented");
    assert_eq!(scene.chosen(), None, "changes from another content");
    scene.votes(0, 3, 99_999, b"other");
    assert_eq!(scene.chosen(), None, "the same serial of another zone");
    scene.votes(0, 3, 99_999, b"invented");
    assert_eq!(scene.chosen(), Some(99_999));
    assert_eq!(scene.ballot.votes[&ReplicaId(0)].len(), 1, "for one serial a replica has one vote");
}

#[test]
fn parts_count_while_what_names_them_does_and_no_others_are_kept() {
    let mut scene = Scene::new(10);
    scene.ballot.part(b"early".to_vec(), &mut scene.rows);
    scene.votes(0, 3, 11, b"early");
    scene.votes(1, 3, 11, b"early");
    assert_eq!(scene.ballot.missing().collect::<Vec<_>>(), [0], "what came before it was chosen was not kept");
    scene.ballot.part(b"other".to_vec(), &mut scene.rows);
    scene.ballot.part(b"early".to_vec(), &mut scene.rows);
    scene.ballot.part(b"early".to_vec(), &mut scene.rows);
    assert_eq!((scene.ballot.parts.len(), scene.ballot.missing().count()), (1, 0));
    assert_eq!(scene.reloaded(), (scene.ballot.votes.clone(), [b"early".to_vec()].into()));
    for author in [1, 2] {
        scene.votes(author, 3, 12, b"late");
    }
    assert_eq!((scene.chosen(), scene.ballot.parts.len()), (Some(12), 0));
    assert_eq!(scene.reloaded(), (scene.ballot.votes.clone(), BTreeSet::new()));
}

#[test]
fn changes_are_cut_into_parts_and_too_many_are_not() {
    let (made, parts) = Candidate::cut(7, &Changes::default()).unwrap();
    assert_eq!((made.parts.len(), parts.len()), (1, 1));
    assert!(!Candidate { serial: 1, parts: Vec::new() }.is_bounded());
    assert!(!Candidate { serial: 1, parts: vec![Digest::ZERO; MAX_CHANGE_PARTS + 1] }.is_bounded());
}
