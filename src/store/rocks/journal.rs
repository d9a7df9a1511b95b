//! The database's log, looked at before the database reads it.
//!
//! RocksDB replays its log up to the first record that is bad (point in time recovery), but it looks for good ones behind that,
//! and with some damage its search does not end (seen with 11.8). So what follows the last good record is cut off first. What
//! was durable is judged afterwards, by the mark: a log that a power cut tore loses nothing by this, and one that was damaged
//! is refused. The damaged file is kept aside.
//!
//! ```text
//! log    = blocks of 32,768 bytes, the last one perhaps shorter
//! block  = records, and fewer bytes than a header takes at its end
//! record = checksum (4) ‖ length (2) ‖ type (1) ‖ payload; of recyclable types with the log's number (4) before the payload
//! ```
//!
//! Numbers are little-endian; the checksum is CRC-32C over type, number and payload, masked (RocksDB, `db/log_format.h`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
const RECYCLABLE_HEADER: usize = 11;

/// What a record is to the batch that it carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Full,
    First,
    Middle,
    Last,
    /// Of the log's own.
    Apart,
}

/// Cuts each log in `database` off behind its last whole good batch, if something bad follows, and empties the logs after that
/// one. The logs that were changed; each was copied to a file with `.damaged` added to its name.
pub(super) fn cut_off_damage(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut cut = Vec::new();
    for log in logs(database)? {
        let bytes = fs::read(&log)?;
        let good = if cut.is_empty() { good_bytes(&bytes) } else { 0 };
        if good == bytes.len() {
            continue;
        }
        let mut aside = log.clone().into_os_string();
        aside.push(".damaged");
        fs::copy(&log, aside)?;
        let file = fs::File::options().write(true).open(&log)?;
        file.set_len(good as u64)?;
        file.sync_all()?;
        cut.push(log);
    }
    Ok(cut)
}

/// Files NUMBER.log in order of their numbers.
fn logs(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let Some(number) = stem.filter(|_| path.extension().is_some_and(|extension| extension == "log")) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// How many bytes from the beginning are whole good batches.
fn good_bytes(log: &[u8]) -> usize {
    let (mut at, mut good, mut inside) = (0, 0, false);
    while at < log.len() {
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            at += left;
            continue;
        }
        let Some((part, length)) = record(&log[at..log.len().min(at + left)]) else { break };
        inside = match (part, inside) {
            (Part::Full, false) | (Part::Last, true) => false,
            (Part::First, false) | (Part::Middle, true) => true,
            (Part::Apart, _) => inside,
            _ => break,
        };
        at += length;
        if !inside {
            good = at;
        }
    }
    // Padding at the end of a block belongs to what stands before it.
    if at >= log.len() && !inside { log.len() } else { good }
}

/// What record stands at the beginning, and how many bytes it takes; none if it is bad.
fn record(block: &[u8]) -> Option<(Part, usize)> {
    let header = block.get(..HEADER)?;
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let (part, header_length) = match header[6] {
        1 => (Part::Full, HEADER),
        2 => (Part::First, HEADER),
        3 => (Part::Middle, HEADER),
        4 => (Part::Last, HEADER),
        5 => (Part::Full, RECYCLABLE_HEADER),
        6 => (Part::First, RECYCLABLE_HEADER),
        7 => (Part::Middle, RECYCLABLE_HEADER),
        8 => (Part::Last, RECYCLABLE_HEADER),
        9 | 10 | 130 => (Part::Apart, HEADER),
        11 | 131 => (Part::Apart, RECYCLABLE_HEADER),
        _ => return None,
    };
    let checked = block.get(HEADER - 1..header_length + length)?;
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    (masked(crc32c::crc32c(checked)) == stored).then_some((part, header_length + length))
}

/// RocksDB masks checksums that are stored among the bytes that they are of (`util/crc32c.h`).
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
