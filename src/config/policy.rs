//! `policy.toml`: how fresh zones are kept, for the ceremony. `config/policy.toml` in the sources has every option with its
//! default; a table for a zone says what differs there.
//!
//! ```toml
//! [default]
//! validity = "7d"
//! heartbeat = "10m"
//!
//! [zone."names.example."]
//! heartbeat = "off"
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, file};
use crate::directory::master::{ZoneFile, parse_seconds};
use crate::directory::name::Name;
use crate::directory::primary::{TitleTooLarge, ZoneSource};
use crate::signing::policy::Policy;

/// Policies by zone, and one for all others.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Policies {
    default: Policy,
    zones: BTreeMap<Name, Policy>,
}

/// Why policies and zones do not go together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AssignError {
    #[error("the policy has a table for {0}, which is none of the zones: correct its name, or remove it")]
    NoSuchZone(Name),
    #[error("zone {zone}: {error}")]
    TitleTooLarge { zone: Name, error: TitleTooLarge },
}

impl Policies {
    /// Gives each zone its policy.
    pub fn assign(mut self, zones: Vec<ZoneFile>) -> Result<Vec<(ZoneFile, Policy)>, AssignError> {
        let mut assigned = Vec::new();
        for zone in zones {
            let policy = self.zones.remove(&zone.apex).unwrap_or(self.default);
            if policy.source == ZoneSource::Titles {
                zone.check_titles().map_err(|error| AssignError::TitleTooLarge { zone: zone.apex.clone(), error })?;
            }
            assigned.push((zone, policy));
        }
        match self.zones.into_keys().next() {
            Some(name) => Err(AssignError::NoSuchZone(name)),
            None => Ok(assigned),
        }
    }
}

/// The policies that a file describes. Refused unless every one of them can be kept.
pub fn read(path: &Path) -> Result<Policies, ConfigError> {
    let (written, text): (Written, _) = file::read_toml(path)?;
    written.meant().map_err(|(span, what)| ConfigError::new(path, span.map(|span| file::line_of(&text, &span)), what))
}

/// The file as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    default: Option<Spanned<Options>>,
    #[serde(default)]
    zone: BTreeMap<String, Spanned<Options>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    validity: Option<Spanned<Time>>,
    renewal: Option<Spanned<Time>>,
    jitter: Option<Spanned<Time>>,
    backdating: Option<Spanned<Time>>,
    max_ttl: Option<Spanned<Time>>,
    heartbeat: Option<Spanned<Time>>,
    zonemd_names: Option<u32>,
    version_interval: Option<Spanned<Time>>,
    source: Option<ZoneSource>,
}

/// A time as people write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(u32),
    Text(String),
}

type Fault = (Option<Range<usize>>, String);

impl Written {
    fn meant(self) -> Result<Policies, Fault> {
        let default = self.default.map_or(Ok(Policy::default()), |options| meant(options, Policy::default()))?;
        let mut zones = BTreeMap::new();
        for (text, options) in self.zone {
            let span = options.span();
            let name = Name::parse(&text, None).map_err(|error| (Some(span.clone()), format!("{text}: {error}")))?;
            if zones.insert(name.clone(), meant(options, default)?).is_some() {
                return Err((Some(span), format!("a second table for {name}: remove one")));
            }
        }
        Ok(Policies { default, zones })
    }
}

/// What the options make of the policy that holds without them.
fn meant(options: Spanned<Options>, base: Policy) -> Result<Policy, Fault> {
    let span = options.span();
    let Options { validity, renewal, jitter, backdating, max_ttl, heartbeat, zonemd_names, version_interval, source } =
        options.into_inner();
    let heartbeat = match heartbeat {
        Some(time) if matches!(time.get_ref(), Time::Text(text) if text == "off") => None,
        Some(time) => Some(seconds(Some(time), 0)?),
        None => base.heartbeat,
    };
    let policy = Policy {
        validity: seconds(validity, base.validity)?,
        renewal: seconds(renewal, base.renewal)?,
        jitter: seconds(jitter, base.jitter)?,
        backdating: seconds(backdating, base.backdating)?,
        max_ttl: seconds(max_ttl, base.max_ttl)?,
        heartbeat,
        zonemd_names: zonemd_names.unwrap_or(base.zonemd_names),
        version_interval: seconds(version_interval, base.version_interval)?,
        source: source.unwrap_or(base.source),
    };
    policy.check().map_err(|error| (Some(span), error.to_string()))?;
    Ok(policy)
}

fn seconds(time: Option<Spanned<Time>>, otherwise: u32) -> Result<u32, Fault> {
    let Some(time) = time else { return Ok(otherwise) };
    match time.get_ref() {
        Time::Seconds(seconds) => Ok(*seconds),
        Time::Text(text) => parse_seconds(text)
            .filter(|_| !text.is_empty())
            .ok_or_else(|| (Some(time.span()), format!("{text:?} is no time: write seconds, or a time such as 1h30m"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Policies, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        fs::write(&path, text).unwrap();
        let prefix = directory.path().display().to_string() + "/";
        super::read(&path).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    fn zone(apex: &str) -> ZoneFile {
        ZoneFile { apex: Name::parse(apex, None).unwrap(), records: BTreeMap::new() }
    }

    #[test]
    fn the_file_in_the_sources_says_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policy.toml");
        assert_eq!(super::read(&path).unwrap(), Policies::default());
        assert_eq!(read("").unwrap(), Policies::default());
    }

    #[test]
    fn a_zone_has_its_own_policy_or_that_of_all() {
        let text = "[default]\nheartbeat = 30\n[zone.\"a.example\"]\nvalidity = \"14d\"\n[zone.\"b.example.\"]\nheartbeat = \"off\"\n";
        let policies = read(text).unwrap();
        let zones = ["a.example.", "b.example.", "c.example."].map(zone).to_vec();
        let assigned: Vec<Policy> =
            policies.clone().assign(zones).unwrap().into_iter().map(|(_, policy)| policy).collect();
        let all = Policy { heartbeat: Some(30), ..Policy::default() };
        let expected = [Policy { validity: 14 * 24 * 3600, ..all }, Policy { heartbeat: None, ..all }, all];
        assert_eq!(assigned, expected);
        let missing = policies.assign(vec![zone("a.example.")]).unwrap_err();
        assert_eq!(missing, AssignError::NoSuchZone(Name::parse("b.example.", None).unwrap()));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_line() {
        for (text, expected) in [
            ("[default]\nvalidity = \"soon\"", "policy.toml:2: \"soon\" is no time"),
            ("[default]\nvalidity = \"\"", "policy.toml:2: \"\" is no time"),
            ("[default]\nmax-ttl = \"off\"", "policy.toml:2: \"off\" is no time"),
            ("\n[default]\nmax-ttl = \"1w\"", "policy.toml:2: TTLs of up to 604800 s"),
            ("[zone.\"a..b\"]\nvalidity = 1", "policy.toml:1: a..b: "),
            ("[zone.a]\nvalidity = \"1d\"", "policy.toml:1: signatures valid for 86400 s and renewed after 86400 s"),
            ("[default]\nvalid = 1", "policy.toml:2: unknown field `valid`"),
            ("[zone.a]\n[zone.\"A.\"]", "policy.toml:"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
