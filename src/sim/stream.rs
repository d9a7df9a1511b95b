//! Randomness by name: each part of a world draws from its own stream.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::crypto::digest::hash;

/// A stream of draws.
#[derive(Clone)]
pub struct Stream(ChaCha20Rng);

impl Stream {
    /// The stream `name` of `seed`; `index` tells those of several replicas or clients apart.
    pub fn new(seed: u64, name: &str, index: u64) -> Self {
        let parts: [&[u8]; 3] = [&seed.to_be_bytes(), name.as_bytes(), &index.to_be_bytes()];
        Self(ChaCha20Rng::from_seed(hash("torrens simulator stream", &parts).0))
    }

    /// Below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is below 2⁻³² for every bound in use.
        if bound == 0 { 0 } else { self.0.next_u64() % bound }
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `times` in `of` draws.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.below(among.len() as u64) as usize)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A generator for cryptography, seeded from here.
    pub fn generator(&mut self) -> ChaCha20Rng {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        ChaCha20Rng::from_seed(seed)
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_other_names_are_others_and_the_same_name_gives_the_same() {
        let draw = |name, index| Stream::new(7, name, index).below(u64::MAX);
        assert_eq!(draw("network", 0), draw("network", 0));
        assert_ne!(draw("network", 0), draw("faults", 0));
        assert_ne!(draw("network", 0), draw("network", 1));
    }
}
