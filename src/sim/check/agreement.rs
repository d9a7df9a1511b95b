//! Agreement and total order: equal heights have equal rows, no slot is ordered twice, heights have no gaps.

use std::collections::BTreeMap;

use super::{Checker, Sight};
use crate::codec;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::Timestamp;
use crate::order::CURSOR_KEY;
use crate::rows::{Row, Table};

/// What the first replica wrote at a height.
struct First {
    by: ReplicaId,
    time: Timestamp,
    rows: Vec<Row>,
}

#[derive(Default)]
pub struct Agreement {
    commits: BTreeMap<u64, First>,
    /// By slot: at which height its block was ordered, and which.
    slots: BTreeMap<Vec<u8>, (u64, Digest)>,
    /// By replica: the height it executed last.
    heights: BTreeMap<ReplicaId, u64>,
}

impl Checker for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Wrote { by, rows } => match cursor(rows)? {
                Some((height, time)) => self.commit(*by, height, time, rows),
                None => Ok(()),
            },
            // What was not durable is executed again.
            Sight::Started { by, .. } => {
                self.heights.remove(by);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Height and agreed time, if these rows are those of a commit.
fn cursor(rows: &[Row]) -> Result<Option<(u64, Timestamp)>, String> {
    let Some(row) = rows.iter().find(|row| row.table == Table::Meta && row.key == CURSOR_KEY) else { return Ok(None) };
    let value = row.value.as_deref().ok_or("the order's cursor is deleted")?;
    let (height, _, _, time): (u64, u64, u8, Timestamp) =
        codec::decode(value, 64).map_err(|error| format!("the order's cursor: {error}"))?;
    Ok(Some((height, time)))
}

impl Agreement {
    fn commit(&mut self, by: ReplicaId, height: u64, time: Timestamp, rows: &[Row]) -> Result<(), String> {
        if let Some(last) = self.heights.insert(by, height)
            && height != last + 1
        {
            return Err(format!("{by} executes height {height} after {last}"));
        }
        // What a replica saw of misdeeds is its own, and no part of the state.
        let shared = || rows.iter().filter(|row| row.table != Table::Evidence);
        if let Some(first) = self.commits.get(&height) {
            if !shared().eq(&first.rows) {
                let difference = difference(&shared().cloned().collect::<Vec<_>>(), &first.rows);
                return Err(format!("{by} and {} differ at height {height}: {difference}", first.by));
            }
            return Ok(());
        }
        if let Some((_, before)) = self.commits.range(..height).next_back()
            && before.time > time
        {
            return Err(format!("agreed time goes back at height {height}"));
        }
        self.commits.insert(height, First { by, time, rows: shared().cloned().collect() });
        self.slots(height, rows)
    }

    /// Each slot (round, author) is ordered at one height at most.
    fn slots(&mut self, height: u64, rows: &[Row]) -> Result<(), String> {
        const SLOT: usize = 9;
        let emitted = rows.iter().filter(|row| row.table == Table::Emitted && row.key.len() == SLOT);
        for row in emitted {
            let Some(value) = &row.value else { continue };
            let (at, digest): (u64, Digest) = codec::decode(value, 64).map_err(|error| error.to_string())?;
            if let Some((earlier, block)) = self.slots.insert(row.key.clone(), (at, digest)) {
                return Err(format!("slot {:?} is ordered at {earlier} ({block}) and at {height} ({digest})", row.key));
            }
        }
        Ok(())
    }
}

/// Where two lists of rows differ first.
fn difference(left: &[Row], right: &[Row]) -> String {
    let show = |row: Option<&Row>| {
        row.map_or("nothing".to_owned(), |row| {
            let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            format!("{:?} {} = {:?}", row.table, hex(&row.key), row.value.as_deref().map(hex))
        })
    };
    let at = (0..left.len().max(right.len())).find(|&at| left.get(at) != right.get(at)).unwrap_or(0);
    format!("row {at} of {} and {}: {} and {}", left.len(), right.len(), show(left.get(at)), show(right.get(at)))
}
