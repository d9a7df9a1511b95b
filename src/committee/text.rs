//! What may fail together, in words.
//!
//! ```text
//! family = term ("or" term)*          one of the terms
//! term   = part ("and" part)*         all parts at once
//! part   = "any" NUMBER "replicas"    any so many replicas
//!        | "any" NUMBER CLASS         so many whole classes of an attribute: "any 1 site"
//!        | "all of" NUMBER CLASS      the same
//!        | "any" NUMBER "of" "[" IDS ("," IDS)* "]"     so many of the classes listed: "any 1 of [0 1 2 3, 4 5, 6 7, 8]"
//! ```
//!
//! A number may be a word, up to ten, and a class may be in the plural: "any two replicas or all of one class".

use std::fmt;

use super::{Committee, FailProne, Part, ReplicaId, ReplicaSet, Structure};
use crate::limits::{MAX_REPLICAS, MAX_STRUCTURE_TEXT};

const NUMBERS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

impl FailProne {
    /// The family that `text` names. `classes` gives the classes of an attribute, if there is such an attribute.
    pub fn parse(text: &str, classes: &dyn Fn(&str) -> Option<Vec<ReplicaSet>>) -> Result<Self, String> {
        if text.len() > MAX_STRUCTURE_TEXT {
            return Err(format!("longer than {MAX_STRUCTURE_TEXT} bytes"));
        }
        let spaced =
            ["[", "]", ","].iter().fold(text.to_owned(), |text, mark| text.replace(mark, &format!(" {mark} ")));
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let terms = words.split(|word| *word == "or").map(|term| {
            let parts = term.split(|word| *word == "and").map(|part| parse_part(part, classes));
            parts.collect::<Result<Vec<_>, _>>()
        });
        Ok(Self(terms.collect::<Result<_, _>>()?))
    }
}

fn parse_part(words: &[&str], classes: &dyn Fn(&str) -> Option<Vec<ReplicaSet>>) -> Result<Part, String> {
    let form = "write \"any 2 replicas\", \"any 1 site\" or \"any 1 of [0 1, 2 3]\", joined by \"and\" or \"or\"";
    let (count, what) = match words {
        ["any", count, what @ ..] | ["all", "of", count, what @ ..] if !what.is_empty() => (*count, what),
        _ => return Err(format!("\"{}\" names nothing that may fail: {form}", words.join(" "))),
    };
    let count = number(count).ok_or_else(|| format!("\"{count}\" is no number of {}: {form}", what.join(" ")))?;
    match what {
        ["replica" | "replicas"] => Ok(Part::Replicas(count)),
        ["of", "[", listed @ .., "]"] => {
            let listed = listed.split(|word| *word == ",").map(listed_class);
            Ok(Part::Classes { count, classes: listed.collect::<Result<_, _>>()? })
        }
        [attribute] => {
            let found = classes(attribute).or_else(|| classes(attribute.strip_suffix('s')?));
            let found = found.or_else(|| classes(attribute.strip_suffix("es")?));
            let classes = found.ok_or_else(|| format!("no replica has an attribute \"{attribute}\""))?;
            Ok(Part::Classes { count, classes })
        }
        _ => Err(format!("\"{}\" is no class: {form}", what.join(" "))),
    }
}

fn number(word: &str) -> Option<u8> {
    let written = NUMBERS.iter().position(|number| *number == word).map(|at| at as u8 + 1);
    written.or_else(|| word.parse().ok()).filter(|&number| number > 0)
}

fn listed_class(ids: &[&str]) -> Result<ReplicaSet, String> {
    let id = |word: &&str| {
        let id = word.parse::<u8>().ok().filter(|&id| usize::from(id) < MAX_REPLICAS);
        id.map(ReplicaId).ok_or_else(|| format!("\"{word}\" is no number of a replica"))
    };
    ids.iter().map(id).collect()
}

impl Committee {
    /// The keys that say in a TOML file what may fail together, beside the replicas: `faults`, with `weights` or
    /// without, or `fail-prone`.
    pub fn to_toml(&self) -> String {
        match &self.structure {
            Structure::Threshold { faults } => format!("faults = {faults}"),
            Structure::Weights { weights, faults } => format!("weights = {weights:?}\nfaults = {faults}"),
            Structure::General(general) => format!("fail-prone = \"{}\"", general.written),
        }
    }
}

/// In the form that [`FailProne::parse`] reads, with classes listed.
impl fmt::Display for FailProne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.0.iter().map(|term| term.iter().map(Part::to_string).collect::<Vec<_>>().join(" and "));
        f.write_str(&terms.collect::<Vec<_>>().join(" or "))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicas(count) => write!(f, "any {count} replicas"),
            Self::Classes { count, classes } => {
                let ids = |class: &ReplicaSet| class.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ");
                write!(f, "any {count} of [{}]", classes.iter().map(ids).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
