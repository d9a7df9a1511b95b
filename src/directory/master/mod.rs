//! Master files (RFC 1035 §5), with $TTL (RFC 2308 §4) and unknown types (RFC 3597 §5).
//!
//! No I/O is done here: $INCLUDE asks a loader that the caller brings. What is wrong is said with file and line.
//!
//! Deviations:
//! - `$INCLUDE` resolves relative to the file it stands in, as operators expect.
//! - Signatures, NSEC and NSEC3 records, zone digests, and the apex's DNSKEY, CDS and CDNSKEY are dropped: the service
//!   makes its own.
//! - TTLs that differ within an RRset are not an error: the lowest counts (RFC 2181 §5.2 deprecates them, and says so).

mod check;
mod parse;
mod signed;
#[cfg(test)]
mod tests;
pub(super) mod token;

use std::collections::BTreeMap;

use super::name::Name;
use super::rrset::{Rrset, Rtype};
use super::zone::SignedZone;
pub(super) use check::{check_contents, check_place};
use parse::{Reader, State};
pub use token::parse_seconds;

/// A zone as its master file says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneFile {
    pub apex: Name,
    pub records: BTreeMap<(Name, Rtype), Rrset>,
}

/// Where a master file is wrong, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct MasterError {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Reads a file for `$INCLUDE`: its path, to its text or to why there is none.
pub type Loader<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// The zone that `text` holds. `origin` is what relative names take until the first `$ORIGIN`; the apex is the owner of
/// the SOA record.
pub fn parse_zone(
    text: &str,
    file_name: &str,
    origin: Option<Name>,
    loader: &mut Loader<'_>,
) -> Result<ZoneFile, MasterError> {
    let mut reader = Reader::new(loader);
    reader.read(text, file_name, State::new(origin), 0)?;
    check::zone(reader, file_name)
}

/// The zone that `text` holds with its signatures and NSEC records, as somebody else made them; nothing of it is verified.
pub fn parse_signed_zone(
    text: &str,
    file_name: &str,
    origin: Option<Name>,
    loader: &mut Loader<'_>,
) -> Result<SignedZone, MasterError> {
    let mut reader = Reader::keeping_signatures(loader);
    reader.read(text, file_name, State::new(origin), 0)?;
    reader.signed().map_err(|message| MasterError { file: file_name.to_string(), line: 1, message })
}

/// The RRsets that record lines say: `www 300 A 192.0.2.1`, relative to `origin`. In errors the file is `record` and the
/// line is the place in the list.
pub fn parse_records(lines: &[String], origin: &Name, default_ttl: u32) -> Result<Vec<(Name, Rrset)>, MasterError> {
    let mut rrsets = BTreeMap::<(Name, Rtype), (u32, Vec<Vec<u8>>)>::new();
    for (at, line) in lines.iter().enumerate() {
        let fail = |message: String| MasterError { file: "record".into(), line: at + 1, message };
        if line.contains('\n') {
            return Err(fail("one record in each argument: this one has a line break".into()));
        }
        let mut entries = token::Entries::new(line.trim_start());
        let entry = entries.next_entry().map_err(|(_, message)| fail(message))?;
        let entry = entry.ok_or_else(|| fail("empty: write a record such as 'www 300 A 192.0.2.1'".into()))?;
        if entry.tokens.first().is_some_and(|token| token.text.starts_with('$') && !token.quoted) {
            return Err(fail("directives stand in files only: write a record such as 'www 300 A 192.0.2.1'".into()));
        }
        let mut state = State::new(Some(origin.clone()));
        state.default_ttl = Some(default_ttl);
        let record = state.record(&entry, false).map_err(fail)?;
        let parse::Data::Wire(rdata) = record.data else {
            return Err(fail(format!("{} records are made by the service: leave them out", record.rtype)));
        };
        let (ttl, rdatas) = rrsets.entry((record.name, record.rtype)).or_insert((record.ttl, Vec::new()));
        *ttl = record.ttl.min(*ttl);
        rdatas.push(rdata);
    }
    Ok(rrsets.into_iter().map(|((name, rtype), (ttl, rdatas))| (name, Rrset::new(rtype, ttl, rdatas))).collect())
}
