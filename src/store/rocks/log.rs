//! RocksDB's log and its manifest, looked at before RocksDB reads them.
//!
//! Both are files of records. RocksDB replays its log up to the first record that is bad (point in time recovery), but
//! looks for good ones behind it, and the search of its release 11.8 does not end at a record whose type byte says that
//! it is of a recycled log, in a log that began otherwise (`ReadPhysicalRecord` in `db/log_reader.cc` returns without a
//! step forward): one flipped bit of a type byte is enough. So:
//!
//! - Each log is cut off behind the beginning of its first bad record. Nothing that counts is lost by this, and RocksDB
//!   still sees that something is missing, so that a later log does not count either unless it goes on exactly there.
//!   Whether what is missing was durable is judged afterwards, by the mark. Until then a copy of the log is kept beside
//!   it.
//! - A manifest with a bad record is refused, as RocksDB would do if it came to its end.
//!
//! What a power cut leaves at the end of a file, half a header or half a record, is left to RocksDB.
//!
//! ```text
//! file   = blocks of 32,768 bytes, the last one perhaps shorter
//! block  = records, and fewer bytes than a header takes at its end
//! record = checksum (4) ‖ length (2) ‖ type (1) ‖ payload
//! ```
//!
//! Numbers are little-endian; the checksum is CRC-32C over type and payload, masked (RocksDB, `db/log_format.h`). Logs
//! are never recycled here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;

/// A file's first record that is not as it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bad {
    /// Where it begins.
    at: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The file ends within it.
    Torn,
    /// Nothing but zeros up to the end of the file.
    Zeros,
    Damaged,
}

/// Logs that were cut off, until it is clear whether anything that counted was lost.
#[must_use]
#[derive(Debug)]
pub(super) struct SetAside(Vec<PathBuf>);

impl SetAside {
    /// Nothing that counted was lost: the copies can go.
    pub(super) fn forget(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(fs::remove_file)
    }
}

/// Makes the logs in `database` such that RocksDB comes to their end. The caller has the database for itself.
pub(super) fn cut_off_damage(database: &Path) -> io::Result<SetAside> {
    let mut aside = Vec::new();
    for log in logs(database)? {
        let Some(bad) = first_bad(&log)?.filter(|bad| bad.kind != Kind::Torn) else { continue };
        let copy = beside(&log);
        fs::copy(&log, &copy)?;
        let file = File::options().write(true).open(&log)?;
        // Not quite a header: RocksDB takes it for a torn record.
        file.set_len((bad.at + HEADER as u64 - 1).min(file.metadata()?.len()))?;
        file.sync_all()?;
        aside.push(copy);
    }
    Ok(SetAside(aside))
}

/// What RocksDB's manifest in `database`, and with `logs_too` its logs, were damaged in; none if it can read them.
pub(super) fn damaged_file(database: &Path, logs_too: bool) -> io::Result<Option<PathBuf>> {
    // If `CURRENT` names no manifest, RocksDB says so.
    let current = fs::read_to_string(database.join("CURRENT")).unwrap_or_default();
    let manifest = Some(database.join(current.trim())).filter(|manifest| manifest.is_file());
    let logs = if logs_too { logs(database)? } else { Vec::new() };
    for file in manifest.into_iter().chain(logs) {
        if first_bad(&file)?.is_some_and(|bad| bad.kind == Kind::Damaged) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn beside(log: &Path) -> PathBuf {
    let mut name = OsString::from(log);
    name.push(".damaged");
    name.into()
}

/// Files NUMBER.log.
fn logs(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if number.is_some() && path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    Ok(logs)
}

fn first_bad(path: &Path) -> io::Result<Option<Bad>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    for start in (0..length).step_by(BLOCK) {
        let last = length - start <= BLOCK as u64;
        let block = if last { &mut block[..(length - start) as usize] } else { &mut block[..] };
        file.read_exact_at(block, start)?;
        let Some((at, kind)) = first_bad_in(block, last) else { continue };
        let kind = match kind {
            Kind::Zeros if !zeros_from(&file, start + at as u64, length)? => Kind::Damaged,
            kind => kind,
        };
        return Ok(Some(Bad { at: start + at as u64, kind }));
    }
    Ok(None)
}

/// The first bad record of a block. `last` if the file ends with it; then fewer bytes than a header are a torn one.
fn first_bad_in(block: &[u8], last: bool) -> Option<(usize, Kind)> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER) {
        let length = HEADER + usize::from(u16::from_le_bytes([header[4], header[5]]));
        let plain = matches!(header[6], 1..=4 | 9 | 10 | 130);
        match block.get(at..at + length) {
            _ if header == [0; HEADER] => return Some((at, Kind::Zeros)),
            None if last && plain => return Some((at, Kind::Torn)),
            Some(record) if plain && checksum(&record[HEADER - 1..]) == record[..4] => at += length,
            _ => return Some((at, Kind::Damaged)),
        }
    }
    (last && at < block.len() && block.len() < BLOCK).then_some((at, Kind::Torn))
}

fn zeros_from(file: &File, from: u64, length: u64) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    for start in (from..length).step_by(BLOCK) {
        let block = &mut block[..BLOCK.min((length - start) as usize)];
        file.read_exact_at(block, start)?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// RocksDB masks checksums that are stored among the bytes that they are of (`util/crc32c.h`).
fn checksum(checked: &[u8]) -> [u8; 4] {
    crc32c::crc32c(checked).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
