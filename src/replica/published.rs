//! The published zones, read back from the disk before all else of the state: readers have answers from them while the
//! rest is read.
//!
//! They are shown only if none of their rows is missing or of an older time: a sum over them is written with every batch
//! ([`StateTree::published_sum`](crate::store::tree::StateTree::published_sum)), as one over all rows is, which is compared
//! once these are read ([`super::recovery`]).

use std::sync::Arc;

use super::genesis::Genesis;
use super::machine::{DamagedState, PROGRESS_ROW, Progress};
use super::recovery::RecoverError;
use crate::codec;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::{Gathering, SignedRrset, SignedZone};
use crate::limits::{MAX_GENESIS, MAX_META_ROW, ROWS_AT_A_TIME};
use crate::rows::Table;
use crate::store::tree::RowSum;
use crate::store::view::View;
use crate::store::{Local, Read};

/// All zones of the network as they were published last; those that never were are empty.
pub struct Published {
    /// What readers may see until all is read.
    pub view: View,
    /// They are all that was written. Of a state that was copied this is not known: its root says so.
    pub is_whole: bool,
}

pub fn read<R: Read>(genesis: &Genesis, store: &R) -> Result<Published, RecoverError> {
    let mut view = View::starting(genesis.zones.iter().map(|zone| zone.apex.clone()));
    if let Some(progress) = store.get(Table::Meta, PROGRESS_ROW)? {
        let progress: Progress =
            codec::decode(&progress, MAX_META_ROW).map_err(|_| DamagedState("progress: unreadable".into()))?;
        (view.height, view.agreed_time) = (progress.height, progress.agreed_time);
    }
    let mut found = RowSum::default();
    for (apex, zone) in &mut view.zones {
        *zone = Arc::new(read_zone(apex, store, &mut found)?);
    }
    let written = store.local(Local::Published)?;
    let is_whole = match &written {
        Some(written) if *written != found.digest().0 => {
            return Err(DamagedState("published RRsets are not those that were written".into()).into());
        }
        written => written.is_some(),
    };
    Ok(Published { view, is_whole })
}

/// The rows of a name follow each other, by type; names stand in no order of theirs.
fn read_zone<R: Read>(apex: &Name, store: &R, sum: &mut RowSum) -> Result<SignedZone, RecoverError> {
    let damaged = || DamagedState(format!("a published RRset of {apex} is unreadable"));
    let mut gathering = Gathering::new(apex.clone());
    let mut at: Option<(Name, Vec<SignedRrset>)> = None;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = store.page(Table::Signed, apex.as_wire(), after.as_deref(), ROWS_AT_A_TIME)?;
        for (key, value) in &rows {
            sum.add(Table::Signed, key, value);
            let (owner, signed) = read_row(apex, key, value).ok_or_else(damaged)?;
            match &mut at {
                Some((name, rrsets)) if name.as_wire() == owner => rrsets.push(signed),
                _ => {
                    let name = Name::from_wire(owner).ok().filter(|name| name.is_within(apex)).ok_or_else(damaged)?;
                    if let Some((before, rrsets)) = at.replace((name, vec![signed])) {
                        gathering.add(&before, &rrsets);
                    }
                }
            }
        }
        after = rows.into_iter().next_back().map(|(key, _)| key);
        if after.is_none() {
            break;
        }
    }
    if let Some((name, rrsets)) = at {
        gathering.add(&name, &rrsets);
    }
    Ok(gathering.zone())
}

/// The owner in wire form, and the RRset.
fn read_row<'r>(apex: &Name, key: &'r [u8], value: &[u8]) -> Option<(&'r [u8], SignedRrset)> {
    let (owner, rtype) = key.strip_prefix(apex.as_wire())?.split_last_chunk::<2>()?;
    let signed: SignedRrset = codec::decode(value, MAX_GENESIS).ok()?;
    (Rtype(u16::from_be_bytes(*rtype)) == signed.rrset.rtype).then_some((owner, signed))
}
