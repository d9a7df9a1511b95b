//! How long to wait before the next attempt to reach a peer.

use std::time::Duration;

use rand_core::RngCore;

use crate::limits::{RECONNECT_FIRST_MS, RECONNECT_LAST_MS};

/// Doubles from attempt to attempt; the upper half of each delay is random, so that replicas that lost each other at
/// once do not dial at once.
pub struct Backoff {
    delay_ms: u64,
}

impl Backoff {
    pub fn new() -> Self {
        Self { delay_ms: RECONNECT_FIRST_MS }
    }

    pub fn next(&mut self, rng: &mut impl RngCore) -> Duration {
        let half = self.delay_ms / 2;
        let delay = half + rng.next_u64() % (half + 1);
        self.delay_ms = (self.delay_ms * 2).min(RECONNECT_LAST_MS);
        Duration::from_millis(delay)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn delays_double_up_to_the_last_one() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::new();
        let mut expected = RECONNECT_FIRST_MS;
        for _ in 0..12 {
            let delay = backoff.next(&mut rng).as_millis() as u64;
            assert!((expected / 2..=expected).contains(&delay));
            expected = (expected * 2).min(RECONNECT_LAST_MS);
        }
        assert_eq!(expected, RECONNECT_LAST_MS);
    }
}
