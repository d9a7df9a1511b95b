//! How fast rounds follow each other.
//!
//! A round costs what it costs, however much it carries: signatures, shares of the coin, a sync. With little to order the
//! next round begins as soon as it can, since that is when an operation is ordered. With much to order, blocks that wait
//! for [`ROUND_DISTANCE`] carry what gathers meanwhile, and the replicas have more of their time for operations.
//!
//! How much there is to order is read off the graph ([`crate::order::Order::unordered_bytes`]), which is about the same for
//! all, and not off what this replica was given: one that waits alone falls behind the others. No progress depends on the
//! clock here. To the order a replica that waits is a slower one; every wait ends by itself.

use std::time::{Duration, Instant};

use crate::limits::{PACED_ABOVE, ROUND_DISTANCE};

/// When the own last block was made.
#[derive(Default)]
pub struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// How long the next own block should wait, with so many bytes of blocks to be ordered; `None` if it should not.
    pub fn wait(&self, unordered_bytes: usize, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.last?);
        ROUND_DISTANCE.checked_sub(since).filter(|rest| unordered_bytes > PACED_ABOVE && !rest.is_zero())
    }

    /// An own block is made now.
    pub fn block_made(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_distance_only_while_there_is_much_to_order() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(usize::MAX, start), None, "nothing to keep a distance from");
        pace.block_made(start);
        assert_eq!(pace.wait(PACED_ABOVE, start), None);
        assert_eq!(pace.wait(PACED_ABOVE + 1, start), Some(ROUND_DISTANCE));
        assert_eq!(pace.wait(PACED_ABOVE + 1, start + ROUND_DISTANCE / 2), Some(ROUND_DISTANCE / 2));
        assert_eq!(pace.wait(PACED_ABOVE + 1, start + ROUND_DISTANCE), None);
    }
}
