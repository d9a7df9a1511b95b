//! What a replica reads back from its disk when it starts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::genesis::Genesis;
use super::heads::{Head, SCHEDULE_KEY, Schedule, SignedHead, Stored};
use super::machine::{DamagedState, Machine, PROGRESS_ROW};
use super::published;
use super::sync::Staged;
use crate::codec;
use crate::committee::ReplicaId;
use crate::directory::name::Name;
use crate::directory::zone::SignedZone;
use crate::limits::MAX_HEAD_MESSAGE;
use crate::order::evidence::ACCUSATIONS;
use crate::order::{BlockFault, BlockRef, CURSOR_KEY, OrderPublic, Recovered, RecoveryError, VerifiedBlock};
use crate::rows::Table;
use crate::store::serve::for_each_row_of;
use crate::store::tree::{RowDigests, StateTree};
use crate::store::view::View;
use crate::store::{Batch, Durability, Local, Store, StoreError};

/// State and order as the disk has them, executed up to where it was written down.
pub struct Recovery {
    pub machine: Machine,
    pub order: Recovered,
    /// Round of the last own block by the own record; `None` if it was lost with an earlier disk.
    pub own_last: Option<u64>,
    /// Whether the state was lost, or given up, and began anew.
    pub forgot: bool,
    /// Number of this start, above all that the order knows.
    pub boot: u64,
    pub heads: Stored,
    /// A copy of the state that an earlier process began.
    pub staged: Option<Staged>,
}

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] DamagedState),
    #[error(transparent)]
    Order(#[from] RecoveryError),
    #[error("a stored block is damaged: {0}")]
    Block(#[from] BlockFault),
    #[error(
        "this replica stopped before because its state is not the cluster's: at height {} its root was {}, and the others \
         signed {}. Keep a copy of the data directory, report it, and start this replica once with --lost-disk",
        ours.height, ours.root, theirs.root
    )]
    Diverged { ours: Box<Head>, theirs: Box<Head> },
}

impl RecoverError {
    /// Whether what is stored is not what was written, so that it is to be had from others.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::Corrupt { .. }),
            Self::State(_) | Self::Order(_) | Self::Block(_) => true,
            Self::Diverged { .. } => false,
        }
    }
}

/// Reads everything back, or writes the genesis if nothing was written yet. Counts one more start. `show` is given what
/// readers may see meanwhile, as soon as it is read.
pub fn recover<S: Store>(
    me: ReplicaId,
    genesis: &Genesis,
    public: &OrderPublic,
    store: &mut S,
    show: &mut dyn FnMut(View),
) -> Result<Recovery, RecoverError> {
    // A mark that is damaged is damage: what is given up then is not shown again either.
    if let Some(mark) = store.local(Local::Diverged)? {
        let heads = codec::decode(&mark, MAX_HEAD_MESSAGE);
        let (ours, theirs) = heads.map_err(|_| DamagedState("heads of a divergence: unreadable".into()))?;
        return Err(RecoverError::Diverged { ours: Box::new(ours), theirs: Box::new(theirs) });
    }
    let own = store.own_last()?.round;
    let disk_was_lost = store.local(Local::Lost)?.is_some();
    let own_last = (own > 0 || !disk_was_lost).then_some(own);
    let forgot = disk_was_lost || store.local(Local::GivenUp)?.is_some();
    let mut heads = read_heads(store)?;
    // The genesis was written in one batch, with its sum, before anything was said.
    let was_begun = heads.newest.is_some() || store.local(Local::Sum)?.is_some() || own > 0 && !forgot;
    if was_begun && store.get(Table::Meta, PROGRESS_ROW)?.is_none() {
        return Err(DamagedState("progress: missing".into()).into());
    }
    let early = published::read(genesis, store)?;
    // Whose state was lost shows nothing before the cluster signed one: what is there may be older than it knows.
    if early.is_whole && (!forgot || heads.newest.is_some()) {
        show(early.view.clone());
    }
    let zones = early.view.zones;
    let machine = match load(genesis, zones, store, &mut heads)? {
        Some(machine) => machine,
        None => {
            let (machine, rows) = Machine::genesis(genesis)?;
            rows.iter().for_each(|row| heads.tree.apply(row));
            let local = heads.tree.local_sums().into();
            store.commit(Batch { rows, local, ..Batch::default() }, Durability::Sync)?;
            machine
        }
    };
    // A replica that lost its disk counts on from what the others know of it.
    let boot = store.next_boot()?.max(machine.scheduler().boot_of(me).map_or(1, |boot| boot + 1));
    let order = recover_order(public, store)?;
    let staged = match store.staged().map(Staged::read) {
        // It is copied anew, if need be.
        Some(Err(StoreError::Corrupt { .. })) => None,
        staged => staged.transpose()?.flatten(),
    };
    Ok(Recovery { machine, order, own_last, forgot, boot, heads, staged })
}

fn read_heads<S: Store>(store: &S) -> Result<Stored, RecoverError> {
    let signed = |local| -> Result<Option<SignedHead>, StoreError> {
        Ok(store.local(local)?.and_then(|bytes| SignedHead::from_bytes(&bytes)))
    };
    let schedule = store.get(Table::Meta, SCHEDULE_KEY)?;
    let schedule = Schedule::from_row(schedule.as_deref());
    Ok(Stored {
        tree: StateTree::default(),
        schedule: schedule.ok_or_else(|| DamagedState("schedule of heads".into()))?,
        newest: signed(Local::Head)?,
        checkpoint: signed(Local::Checkpoint)?,
        first_block: store.next_round(0)?.unwrap_or(0),
        due: store.local(Local::Due)?.and_then(|bytes| codec::decode(&bytes, MAX_HEAD_MESSAGE).ok()),
    })
}

/// Reads all rows. They must be those that were written: their sum says so, or, of a state that was copied, the root.
fn load<S: Store>(
    genesis: &Genesis,
    zones: BTreeMap<Name, Arc<SignedZone>>,
    store: &S,
    heads: &mut Stored,
) -> Result<Option<Machine>, RecoverError> {
    let failed = RefCell::new(None);
    let digests = RefCell::new(RowDigests::default());
    let seen = RefCell::new(Vec::new());
    let loaded = Machine::load(genesis, zones, |table| {
        let is_new = !seen.borrow().contains(&table);
        seen.borrow_mut().push(table);
        let mut rows = Vec::new();
        let read = for_each_row_of(store, table, |key, value| {
            if is_new {
                digests.borrow_mut().add(table, key, value);
            }
            rows.push((key.to_vec(), value.to_vec()));
        });
        if let Err(error) = read {
            *failed.borrow_mut() = Some(error);
            rows.clear();
        }
        rows
    });
    if let Some(error) = failed.into_inner() {
        return Err(error.into());
    }
    let Some(machine) = loaded? else { return Ok(None) };
    let mut digests = digests.into_inner();
    for table in Table::STATE.into_iter().filter(|table| !seen.borrow().contains(table)) {
        for_each_row_of(store, table, |key, value| {
            digests.add(table, key, value);
        })?;
    }
    heads.tree = digests.tree();
    let copied = heads.checkpoint.filter(|signed| signed.head.height == machine.progress().height);
    let sound = match store.local(Local::Sum)? {
        Some(sum) => sum == heads.tree.sum().0,
        None => copied.is_some_and(|signed| signed.head.root == heads.tree.root()),
    };
    if sound { Ok(Some(machine)) } else { Err(DamagedState("rows are not those that were written".into()).into()) }
}

/// Blocks that the order still needs, verified again: the disk is not trusted either.
fn recover_order<S: Store>(public: &OrderPublic, store: &S) -> Result<Recovered, RecoverError> {
    const ROUNDS_AT_A_TIME: u64 = 256;
    let cursor = store.get(Table::Meta, CURSOR_KEY)?;
    let mut recovered = Recovered::from_rows(public.depth, cursor.as_deref(), &store.scan(Table::Emitted, &[])?)?
        .with_accusations(&store.scan(Table::Evidence, &ACCUSATIONS)?)?;
    let mut next = store.next_round(recovered.floor() + 1)?;
    while let Some(from) = next {
        for stored in store.blocks_in(from..from + ROUNDS_AT_A_TIME)? {
            let reference = BlockRef { round: stored.round, author: stored.author, digest: stored.digest };
            if recovered.wants(&reference) {
                recovered.offer(VerifiedBlock::verify(public, stored.bytes)?);
            }
        }
        next = store.next_round(from + ROUNDS_AT_A_TIME)?;
    }
    recovered.check()?;
    Ok(recovered)
}
