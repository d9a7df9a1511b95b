//! The published zones, read back from the disk before all else of the state: readers have answers from them while the
//! rest is read.
//!
//! They are shown only if none of their rows is missing or of an older time: a sum over them is written with every batch
//! ([`StateTree::published_sum`](crate::store::tree::StateTree::published_sum)), as one over all rows is, which is compared
//! once these are read ([`super::recovery`]).

use std::ops::ControlFlow;
use std::sync::Arc;

use super::genesis::Genesis;
use super::machine::{DamagedState, PROGRESS_ROW, Progress};
use super::recovery::RecoverError;
use crate::codec;
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::{Gathering, SignedRrset, SignedZone};
use crate::limits::{MAX_GENESIS, MAX_META_ROW};
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

fn read_zone<R: Read>(apex: &Name, store: &R, sum: &mut RowSum) -> Result<SignedZone, RecoverError> {
    let mut rows = Rows { apex, gathering: Gathering::new(apex.clone()), name: None };
    let mut is_readable = true;
    store.for_each_row(Table::Signed, apex.as_wire(), &mut |key, value| {
        sum.add(Table::Signed, key, value);
        is_readable = rows.add(key, value).is_some();
        if is_readable { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if !is_readable {
        return Err(DamagedState(format!("a published RRset of {apex} is unreadable")).into());
    }
    Ok(rows.zone())
}

/// Rows of a zone, as they come: those of a name follow each other, by type; names stand in no order of theirs.
struct Rows<'a> {
    apex: &'a Name,
    gathering: Gathering,
    /// The last name, and what came of it so far.
    name: Option<(Name, Vec<SignedRrset>)>,
}

impl Rows<'_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (owner, signed) = read_row(self.apex, key, value)?;
        match &mut self.name {
            Some((name, rrsets)) if name.as_wire() == owner => rrsets.push(signed),
            _ => {
                let name = Name::from_wire(owner).ok().filter(|name| name.is_within(self.apex))?;
                self.end_name();
                self.name = Some((name, vec![signed]));
            }
        }
        Some(())
    }

    fn end_name(&mut self) {
        if let Some((name, rrsets)) = self.name.take() {
            self.gathering.add(&name, &rrsets);
        }
    }

    fn zone(mut self) -> SignedZone {
        self.end_name();
        self.gathering.zone()
    }
}

/// The owner in wire form, and the RRset.
fn read_row<'r>(apex: &Name, key: &'r [u8], value: &[u8]) -> Option<(&'r [u8], SignedRrset)> {
    let (owner, rtype) = key.strip_prefix(apex.as_wire())?.split_last_chunk::<2>()?;
    let signed: SignedRrset = codec::decode(value, MAX_GENESIS).ok()?;
    (Rtype(u16::from_be_bytes(*rtype)) == signed.rrset.rtype).then_some((owner, signed))
}
