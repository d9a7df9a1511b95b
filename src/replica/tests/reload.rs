use super::fixture::{Owner, fixture};
use super::sealed::sealed;
use super::world::World;
use crate::codec;
use crate::crypto::digest::Digest;
use crate::directory::operation::Action;
use crate::replica::heads::Head;
use crate::replica::machine::{Machine, PROGRESS_ROW};
use crate::replica::published;
use crate::rows::{Row, Table};
use crate::store::memory::MemoryStore;
use crate::store::{Batch, Durability, Local, Read, Store};

struct Disk(MemoryStore);

impl Disk {
    fn write(&mut self, rows: &[Row]) {
        self.0.commit(Batch { rows: rows.to_vec(), ..Batch::default() }, Durability::Lazy).unwrap();
    }

    fn load(&self) -> Machine {
        let genesis = &fixture().genesis;
        let zones = published::read(genesis, &self.0).unwrap().view.zones;
        Machine::load(genesis, zones, |table| self.0.scan(table, &[]).unwrap()).unwrap().unwrap()
    }
}

/// A restart after any commit is as if there had been none: what is stored is the whole state.
#[test]
fn a_machine_read_back_after_any_commit_goes_on_as_the_one_that_wrote_the_rows() {
    let mut world = World::new(7, &[0, 1, 2, 3]);
    let mut alice = Owner::new("alice");
    let acts =
        [alice.act(Action::Register), alice.set("www 300 A 192.0.2.7"), alice.certify(), alice.set("@ 60 TXT x")];
    for (at, act) in (0..).zip(&acts) {
        world.submit(200 + 150 * at, 1, act);
        world.submit(200 + 150 * at, 2, act);
    }
    for (at, label) in (0..).zip(["bob", "carol"]) {
        world.submit(250 + 100 * at, 1, &sealed(&Owner::new(label).act(Action::Register), at));
    }
    world.crash(500, 3, Some(300));
    world.run_until_quiet();
    let commits = &world.replica(0).commits;
    assert!(commits.len() > 20);

    let (mut steady, rows) = Machine::genesis(&fixture().genesis).unwrap();
    let mut disk = Disk(MemoryStore::create(fixture().genesis.network(), &[]));
    disk.write(&rows);
    let mut waited = 0;
    for commit in commits {
        let mut restarted = disk.load();
        let (expected, found) = (steady.execute(commit), restarted.execute(commit));
        disk.write(&expected.rows);
        assert_eq!(found.rows, expected.rows, "height {}", commit.height);
        assert_eq!(found.assignments, expected.assignments, "height {}", commit.height);
        assert_eq!((found.published, found.changed), (expected.published, expected.changed));
        assert_eq!((&found.operations, &found.faults), (&expected.operations, &expected.faults));
        let (found, expected) = (restarted.snapshot(), steady.snapshot());
        assert_eq!((found.progress, found.pending), (expected.progress, expected.pending));
        assert_eq!((found.unopened, found.held), (expected.unopened, expected.held));
        waited += expected.held;
        assert_eq!((found.serials, found.outcomes.digests()), (expected.serials, expected.outcomes.digests()));
        assert!(restarted.view().zones == steady.view().zones, "height {}", commit.height);
        assert_eq!(restarted.next_due(), steady.next_due());
    }
    assert!(waited > 0, "nothing ever waited for an opening");
}

/// What it shows is held against the whole state in the world's `boot`; one whose disk was lost shows nothing, since what
/// it has read is not proven.
#[test]
fn a_replica_that_starts_shows_its_zones_before_it_has_read_all_else() {
    let mut world = World::new(8, &[0, 1, 2, 3]);
    world.submit(200, 1, &Owner::new("alice").act(Action::Register));
    world.run_until_quiet();
    assert_eq!(world.shown_early, 0, "nothing was on the disks");
    world.crash(1, 3, Some(300));
    world.run_until_quiet();
    assert_eq!(world.shown_early, 1);
    world.assert_agreement();
}

#[test]
fn a_zone_of_which_a_row_has_vanished_is_damage_and_never_shown() {
    let mut world = one_down();
    let (recovered, shown) = world.recover_after(3, |store| {
        let (key, _) = store.scan(Table::Signed, &[]).unwrap().swap_remove(3);
        let batch = Batch { rows: vec![Row::delete(Table::Signed, key)], ..Batch::default() };
        store.commit(batch, Durability::Sync).unwrap();
    });
    let error = recovered.err().expect("a row is missing");
    assert!(error.is_damage() && error.to_string().contains("published RRsets"), "{error}");
    assert!(shown.is_empty());
}

/// A name is registered, and a replica of four is down.
fn one_down() -> World {
    let mut world = World::new(9, &[0, 1, 2, 3]);
    world.submit(200, 1, &Owner::new("alice").act(Action::Register));
    world.run_until_quiet();
    world.crash(1, 3, None);
    world.run_until_quiet();
    world
}

/// It stopped because a kernel signed another state. A supervisor that starts it again must not bring that state back.
#[test]
fn a_replica_that_stopped_as_diverged_does_not_start_again() {
    let mut world = one_down();
    let ours = world.replica(0).head().unwrap().head;
    let theirs = Head { root: Digest([9; 32]), ..ours };
    let (recovered, shown) = world.recover_after(3, |store| {
        let local = [(Local::Diverged, codec::encode(&(ours, theirs)))].into();
        store.commit(Batch { local, ..Batch::default() }, Durability::Sync).unwrap();
    });
    let error = recovered.err().expect("it diverged");
    assert!(!error.is_damage() && error.to_string().contains("--lost-disk"), "{error}");
    assert!(shown.is_empty());
}

/// What a disk held before the first head was signed.
fn without_heads(store: &MemoryStore) -> Batch {
    let rows = Table::STATE.into_iter().flat_map(|table| {
        let rows = store.scan(table, &[]).unwrap();
        rows.into_iter().map(move |(key, value)| Row::put(table, key, value))
    });
    let blocks = store.blocks_from(0).unwrap();
    let blocks = blocks.into_iter().map(|stored| (stored.round, stored.author, stored.digest, stored.bytes));
    let local = [Local::Sum, Local::Published].map(|sum| (sum, store.local(sum).unwrap().unwrap()));
    let own = Some(store.own_last().unwrap());
    Batch { rows: rows.collect(), blocks: blocks.collect(), local: local.into(), own, ..Batch::default() }
}

/// It would begin at the genesis again, with the order's place and other rows of a later time.
#[test]
fn a_row_of_progress_that_vanished_is_damage_also_before_the_first_signed_head() {
    let mut world = one_down();
    let (recovered, shown) = world.recover_after(3, |store| {
        let mut young = without_heads(store);
        young.rows.retain(|row| (row.table, &row.key[..]) != (Table::Meta, PROGRESS_ROW));
        *store = MemoryStore::create(fixture().public.network, &store.genesis().unwrap());
        store.commit(young, Durability::Sync).unwrap();
    });
    let error = recovered.err().expect("a row is missing");
    assert!(error.is_damage() && error.to_string().contains("progress"), "{error}");
    assert!(shown.is_empty());
}

/// What it executed again from blocks may be older than what its readers saw, also after another start.
#[test]
fn a_state_that_was_given_up_is_not_shown_before_the_cluster_signed_one() {
    let mut world = one_down();
    let (recovered, shown) = world.recover_after(3, |store| {
        let young = without_heads(store);
        store.give_up_state().unwrap();
        store.commit(Batch { own: None, ..young }, Durability::Sync).unwrap();
    });
    let recovery = recovered.unwrap();
    assert!(recovery.forgot && recovery.heads.newest.is_none() && recovery.machine.progress().height > 0);
    assert!(shown.is_empty());
}
