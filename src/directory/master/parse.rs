//! Entries to records: directives, and what an entry may leave out.

use std::collections::BTreeMap;
use std::path::Path;

use super::signed::Builder;
use super::token::{Entries, Entry, Token, parse_seconds};
use super::{Loader, MasterError};
use crate::directory::name::Name;
use crate::directory::rdata::{parse_name, rdata_from_tokens, rtype_from_text};
use crate::directory::rrset::Rtype;
use crate::directory::zone::SignedZone;
use crate::limits::{MAX_INCLUDE_DEPTH, MAX_INCLUDED_FILES, MAX_TTL, MAX_ZONE_RECORDS};

/// The records of an RRset as they come, and where the first of them stands.
pub(super) struct Collected {
    pub ttl: u32,
    pub rdatas: Vec<Vec<u8>>,
    pub file: usize,
    pub line: usize,
}

/// Reads a file and those that it includes.
pub(super) struct Reader<'a, 'b> {
    loader: &'a mut Loader<'b>,
    /// Where records go if signatures, NSEC records and zone digests are kept.
    signed: Option<Builder>,
    /// Names of the files read so far: places are indices into it.
    pub files: Vec<String>,
    pub rrsets: BTreeMap<(Name, Rtype), Collected>,
    records: usize,
}

/// What an entry takes from those before it.
#[derive(Clone)]
pub(super) struct State {
    origin: Option<Name>,
    owner: Option<Name>,
    /// From `$TTL`.
    pub default_ttl: Option<u32>,
    last_ttl: Option<u32>,
}

pub(super) struct Record {
    pub name: Name,
    pub ttl: u32,
    pub rtype: Rtype,
    pub data: Data,
}

pub(super) enum Data {
    Wire(Vec<u8>),
    /// Of a type that is dropped wherever it stands; not looked at.
    Dropped,
}

impl<'a, 'b> Reader<'a, 'b> {
    pub(super) fn new(loader: &'a mut Loader<'b>) -> Self {
        Self { loader, signed: None, files: Vec::new(), rrsets: BTreeMap::new(), records: 0 }
    }

    /// Of a zone that somebody else signed.
    pub(super) fn keeping_signatures(loader: &'a mut Loader<'b>) -> Self {
        Self { signed: Some(Builder::default()), ..Self::new(loader) }
    }

    /// The zone that somebody else signed.
    pub(super) fn signed(self) -> Result<SignedZone, String> {
        self.signed.unwrap_or_default().finish()
    }

    pub(super) fn read(&mut self, text: &str, file: &str, mut state: State, depth: usize) -> Result<(), MasterError> {
        let at = self.files.len();
        self.files.push(file.to_string());
        let fail = |(line, message)| MasterError { file: file.to_string(), line, message };
        let mut entries = Entries::new(text);
        while let Some(entry) = entries.next_entry().map_err(fail)? {
            let line = entry.line;
            let first =
                entry.tokens.first().filter(|token| !token.quoted && token.text.as_bytes().first() == Some(&b'$'));
            match first.map(|token| token.text.to_ascii_uppercase()).as_deref() {
                Some("$INCLUDE") => self.include(&entry, file, &state, depth)?,
                Some(directive) => state.directive(directive, &entry.tokens[1..]).map_err(|m| fail((line, m)))?,
                None => {
                    let record =
                        state.record(&entry, self.signed.is_some()).map_err(|message| fail((line, message)))?;
                    self.collect(record, at, line).map_err(|message| fail((line, message)))?;
                }
            }
        }
        Ok(())
    }

    /// `$INCLUDE file [origin]`: read in place; origin and owner are afterwards what they were (RFC 1035 §5.1).
    fn include(&mut self, entry: &Entry<'_>, file: &str, state: &State, depth: usize) -> Result<(), MasterError> {
        let fail = |message: String| MasterError { file: file.to_string(), line: entry.line, message };
        let mut inner = state.clone();
        let path = match &entry.tokens[1..] {
            [path] => path,
            [path, origin] => {
                inner.origin = Some(parse_name(origin, state.origin.as_ref()).map_err(|error| fail(error.0))?);
                path
            }
            _ => return Err(fail("write $INCLUDE FILE, or $INCLUDE FILE ORIGIN".into())),
        };
        if depth == MAX_INCLUDE_DEPTH || self.files.len() >= MAX_INCLUDED_FILES {
            return Err(fail(format!(
                "files are included more than {MAX_INCLUDE_DEPTH} deep, or more than {MAX_INCLUDED_FILES} of them: \
                 does one include itself?"
            )));
        }
        let path = Path::new(file).parent().unwrap_or(Path::new("")).join(path.text).to_string_lossy().into_owned();
        let text = (self.loader)(&path).map_err(|error| fail(format!("cannot read {path}: {error}")))?;
        self.read(&text, &path, inner, depth + 1)
    }

    fn collect(&mut self, record: Record, file: usize, line: usize) -> Result<(), String> {
        let Data::Wire(rdata) = record.data else { return Ok(()) };
        self.records += 1;
        if self.records > MAX_ZONE_RECORDS {
            return Err(format!("more than {MAX_ZONE_RECORDS} records: delegate a part of the zone"));
        }
        if let Some(signed) = &mut self.signed {
            return signed.add(record.name, record.rtype, record.ttl, rdata);
        }
        let key = (record.name, record.rtype);
        let collected = self.rrsets.entry(key).or_insert(Collected { ttl: record.ttl, rdatas: Vec::new(), file, line });
        if record.rtype == Rtype::SOA && collected.rdatas.first().is_some_and(|first| *first != rdata) {
            return Err(format!("a second SOA record, the first is on line {}: remove one", collected.line));
        }
        collected.ttl = collected.ttl.min(record.ttl);
        collected.rdatas.push(rdata);
        Ok(())
    }
}

impl State {
    pub(super) fn new(origin: Option<Name>) -> Self {
        Self { origin, owner: None, default_ttl: None, last_ttl: None }
    }

    fn directive(&mut self, directive: &str, arguments: &[Token<'_>]) -> Result<(), String> {
        match (directive, arguments) {
            ("$ORIGIN", [origin]) => {
                self.origin = Some(parse_name(origin, self.origin.as_ref()).map_err(|error| error.0)?);
            }
            ("$ORIGIN", _) => return Err("write $ORIGIN NAME.".into()),
            ("$TTL", [ttl]) => self.default_ttl = Some(parse_ttl(ttl.text).ok_or_else(|| wrong_ttl(ttl.text))??),
            ("$TTL", _) => return Err("write $TTL 3600, or $TTL 1h".into()),
            _ => return Err(format!("{directive} is not a directive: there are $ORIGIN, $TTL and $INCLUDE")),
        }
        Ok(())
    }

    /// `[owner] [TTL] [class] type RDATA`, TTL and class in either order.
    pub(super) fn record(&mut self, entry: &Entry<'_>, keeps_signatures: bool) -> Result<Record, String> {
        let mut rest = entry.tokens.as_slice();
        let name = self.owner(entry.starts_blank, &mut rest)?;
        let (mut ttl, mut class_seen) = (None, false);
        let rtype = loop {
            let (token, more) =
                rest.split_first().ok_or("the type is missing: write a record such as www 300 IN A 192.0.2.1")?;
            rest = more;
            if !class_seen && let Some(class) = parse_class(token.text) {
                class_seen = true;
                if class != 1 {
                    return Err(format!("the class {} is not served: write IN or nothing", token.text));
                }
            } else if ttl.is_none()
                && let Some(seconds) = parse_ttl(token.text)
            {
                ttl = Some(seconds?);
            } else {
                let unknown = || format!("{:?} is not a record type: write A, AAAA, TXT, … or TYPEnnn", token.text);
                break rtype_from_text(token.text).filter(|_| !token.quoted).ok_or_else(unknown)?;
            }
        };
        self.last_ttl = ttl.or(self.last_ttl);
        let dropped = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3, Rtype::NSEC3PARAM, Rtype::ZONEMD];
        if dropped.contains(&rtype) && !keeps_signatures {
            return Ok(Record { name, ttl: ttl.unwrap_or(0), rtype, data: Data::Dropped });
        }
        let rdata =
            rdata_from_tokens(rtype, rest, self.origin.as_ref()).map_err(|error| format!("{rtype}: {error}"))?;
        // Without a TTL: $TTL (RFC 2308 §4), else the last one stated (RFC 1035 §5.1); for the SOA record its minimum.
        let minimum = || soa_minimum(&rdata).filter(|_| rtype == Rtype::SOA);
        let ttl = ttl.or(self.default_ttl).or(self.last_ttl).or_else(minimum);
        let ttl = ttl.ok_or("no TTL is known: write one before the type, or $TTL 3600 on a line above")?;
        Ok(Record { name, ttl, rtype, data: Data::Wire(rdata) })
    }

    fn owner(&mut self, starts_blank: bool, rest: &mut &[Token<'_>]) -> Result<Name, String> {
        if !starts_blank && let Some((token, more)) = rest.split_first() {
            *rest = more;
            self.owner = Some(parse_name(token, self.origin.as_ref()).map_err(|error| error.0)?);
        }
        let missing = "the line starts with a blank, but no record before it has an owner: write the name first";
        self.owner.clone().ok_or_else(|| missing.to_string())
    }
}

/// A TTL, if the word is one; an error if it is one that is too large.
fn parse_ttl(text: &str) -> Option<Result<u32, String>> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_err() {
        return Some(Err(ttl_too_large(text)));
    }
    let seconds = parse_seconds(text)?;
    Some(if seconds > MAX_TTL { Err(ttl_too_large(text)) } else { Ok(seconds) })
}

fn ttl_too_large(text: &str) -> String {
    format!("the TTL {text} is over {MAX_TTL} seconds: write at most that")
}

fn wrong_ttl(text: &str) -> String {
    format!("{text:?} is not a TTL: write seconds, or a time such as 1h30m")
}

/// IN, CH, HS or CLASSnnn (RFC 3597 §5).
fn parse_class(text: &str) -> Option<u16> {
    let is = |class: &str| text.eq_ignore_ascii_case(class);
    match text {
        _ if is("IN") => Some(1),
        _ if is("CH") => Some(3),
        _ if is("HS") => Some(4),
        _ => {
            let (class, digits) = text.split_at_checked("CLASS".len())?;
            class.eq_ignore_ascii_case("CLASS").then_some(())?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        }
    }
}

fn soa_minimum(rdata: &[u8]) -> Option<u32> {
    rdata.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
