//! The scrubber: reads all that is stored of the state again and again, slowly and from the disk, so that bytes that went
//! wrong there are found while the other replicas still have the right ones. It writes nothing.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};

use arc_swap::ArcSwap;

use super::core::Input;
use crate::limits::{ROWS_AT_A_TIME, SCRUB_PAUSE};
use crate::store::StoreError;
use crate::store::rocks::{RocksReader, Walk};

/// Reads until `stop` is closed; tells the core of what is damaged.
pub fn run(reader: &ArcSwap<RocksReader>, inputs: &SyncSender<Input>, stop: &Receiver<()>) {
    let mut walk = Walk::default();
    while stop.recv_timeout(SCRUB_PAUSE) == Err(RecvTimeoutError::Timeout) {
        match walk.step(&reader.load_full(), ROWS_AT_A_TIME) {
            Ok(()) => {}
            Err(error @ StoreError::Corrupt { .. }) => {
                // The core may have ended.
                let _ = inputs.send(Input::Damaged(error));
            }
            Err(error) => tracing::error!(%error, "the scrubber cannot read"),
        }
    }
}
