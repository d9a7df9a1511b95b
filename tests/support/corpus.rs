//! Replays the corpus of a fuzz target: every file as it is and with many small changes. `TORRENS_FUZZ` sets how many
//! changes of each, for longer runs, `TORRENS_SEED` which.

use std::fs;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// Gives `survive` every file of a corpus and changed copies of it.
pub fn replay(corpus: &str, usual: usize, mut survive: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(corpus);
    let changes = std::env::var("TORRENS_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let seed = std::env::var("TORRENS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        survive(&bytes);
        for _ in 0..changes {
            survive(&changed(&bytes, &mut rng));
        }
        files += 1;
    }
    assert!(files > 8, "{files} files");
    println!("{corpus}: {} inputs, seed {seed}", files * (changes + 1));
}

/// A copy with one to three small changes.
fn changed(bytes: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.next_u32() % 3 {
        let at = rng.next_u32() as usize % (bytes.len() + 1);
        match rng.next_u32() % 5 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u32() as u8),
            _ if at == bytes.len() => {}
            2 => drop(bytes.remove(at)),
            3 => bytes[at] ^= 1 << (rng.next_u32() % 8),
            _ => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.next_u32() as usize % 5],
        }
    }
    bytes
}
