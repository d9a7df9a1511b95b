//! What a replica reads back from its disk when it starts.

use std::cell::RefCell;

use super::genesis::Genesis;
use super::machine::{DamagedState, Machine};
use crate::committee::ReplicaId;
use crate::order::evidence::ACCUSATIONS;
use crate::order::{BlockFault, BlockRef, CURSOR_KEY, OrderPublic, Recovered, RecoveryError, VerifiedBlock};
use crate::rows::Table;
use crate::store::{Batch, Durability, Store, StoreError};

/// State and order as the disk has them, executed up to where it was written down.
pub struct Recovery {
    pub machine: Machine,
    pub order: Recovered,
    /// Round of the last own block by the own record.
    pub own_last: u64,
    /// Number of this start, above all that the order knows.
    pub boot: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] DamagedState),
    #[error(transparent)]
    Order(#[from] RecoveryError),
    #[error(
        "a stored block is damaged: {0}. Keep a copy of the data directory and let this replica rejoin as a new disk"
    )]
    Block(#[from] BlockFault),
}

/// Reads everything back, or writes the genesis if nothing was written yet. Counts one more start.
pub fn recover<S: Store>(
    me: ReplicaId,
    genesis: &Genesis,
    public: &OrderPublic,
    store: &mut S,
) -> Result<Recovery, RecoverError> {
    let own_last = store.own_last()?.round;
    let machine = match load(genesis, store)? {
        Some(machine) => machine,
        None => {
            let (machine, rows) = Machine::genesis(genesis)?;
            store.commit(Batch { rows, ..Batch::default() }, Durability::Sync)?;
            machine
        }
    };
    // A replica that lost its disk counts on from what the others know of it.
    let boot = store.next_boot()?.max(machine.scheduler().boot_of(me).map_or(1, |boot| boot + 1));
    let order = recover_order(public, store)?;
    Ok(Recovery { machine, order, own_last, boot })
}

fn load<S: Store>(genesis: &Genesis, store: &S) -> Result<Option<Machine>, RecoverError> {
    let failed = RefCell::new(None);
    let loaded = Machine::load(genesis, |table| {
        store.scan(table, &[]).unwrap_or_else(|error| {
            *failed.borrow_mut() = Some(error);
            Vec::new()
        })
    });
    match failed.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(loaded?),
    }
}

/// Blocks that the order still needs, verified again: the disk is not trusted either.
fn recover_order<S: Store>(public: &OrderPublic, store: &S) -> Result<Recovered, RecoverError> {
    const ROUNDS_AT_A_TIME: u64 = 256;
    let cursor = store.get(Table::Meta, CURSOR_KEY)?;
    let mut recovered = Recovered::from_rows(public.depth, cursor.as_deref(), &store.scan(Table::Emitted, &[])?)?
        .with_accusations(&store.scan(Table::Evidence, &ACCUSATIONS)?)?;
    let mut from = recovered.floor() + 1;
    loop {
        let blocks = store.blocks_in(from..from + ROUNDS_AT_A_TIME)?;
        if blocks.is_empty() {
            return Ok(recovered);
        }
        for stored in blocks {
            let reference = BlockRef { round: stored.round, author: stored.author, digest: stored.digest };
            if recovered.wants(&reference) {
                recovered.offer(VerifiedBlock::verify(public, stored.bytes)?);
            }
        }
        from += ROUNDS_AT_A_TIME;
    }
}
