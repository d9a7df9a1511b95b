//! The scrubber: reads all stored rows again and again, slowly, so that bytes that went wrong on the disk are found while
//! the other replicas still have the right ones.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};

use arc_swap::ArcSwap;

use super::core::Input;
use crate::limits::{ROWS_AT_A_TIME, SCRUB_PAUSE};
use crate::rows::Table;
use crate::store::rocks::RocksReader;
use crate::store::{Read, StoreError};

/// Reads until `stop` is closed; tells the core of what is damaged.
pub fn run(reader: &ArcSwap<RocksReader>, inputs: &SyncSender<Input>, stop: &Receiver<()>) {
    let mut at: (usize, Option<Vec<u8>>) = (0, None);
    while stop.recv_timeout(SCRUB_PAUSE) == Err(RecvTimeoutError::Timeout) {
        let reader: Arc<RocksReader> = reader.load_full();
        match reader.page(Table::STATE[at.0], &[], at.1.as_deref(), ROWS_AT_A_TIME) {
            Ok(page) => {
                at = match page.into_iter().last() {
                    Some((last, _)) => (at.0, Some(last)),
                    None => ((at.0 + 1) % Table::STATE.len(), None),
                };
            }
            Err(error @ StoreError::Corrupt { .. }) => {
                at = (0, None);
                // The core may have ended.
                let _ = inputs.send(Input::Damaged(error));
            }
            Err(error) => tracing::error!(%error, "the scrubber cannot read"),
        }
    }
}
