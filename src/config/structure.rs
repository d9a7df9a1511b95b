//! `structure.toml`: which replicas a network has, and which of them may fail together. One of three forms.
//!
//! Any so many replicas:
//! ```toml
//! threshold = { n = 7, f = 2 }
//! ```
//! Any whose weights add up to no more than so much:
//! ```toml
//! weights = { of = [2, 2, 2, 1, 1, 1], f = 2 }      # by replica
//! ```
//! A family named by attributes of the replicas, all of which every replica has:
//! ```toml
//! fail-prone = "any one site and any one os"        # or "any two replicas or all of one class"
//!
//! [[replica]]
//! site = "zurich"
//! os = "linux"
//! operator = "example"
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, file};
use crate::committee::{Committee, FailProne, ReplicaId, ReplicaSet};

/// The committee that a file describes. Refused unless Q3 holds and the order makes progress on it.
pub fn read(path: &Path) -> Result<Committee, ConfigError> {
    let (written, text): (Written, _) = file::read_toml(path)?;
    written.meant().map_err(|(span, what)| ConfigError::new(path, span.map(|span| file::line_of(&text, &span)), what))
}

/// The file as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    threshold: Option<Spanned<Threshold>>,
    weights: Option<Spanned<Weights>>,
    #[serde(rename = "fail-prone")]
    fail_prone: Option<Spanned<String>>,
    #[serde(default)]
    replica: Vec<Spanned<Attributes>>,
}

type Attributes = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Threshold {
    n: usize,
    f: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    of: Vec<u8>,
    f: u16,
}

type Fault = (Option<Range<usize>>, String);

impl Written {
    fn meant(self) -> Result<Committee, Fault> {
        let forms = "say what may fail together in one way: threshold = { n = 7, f = 2 }, weights = { of = [2, 1, 1, 1], \
                     f = 1 }, or fail-prone = \"any one site\" with a [[replica]] for each";
        if let (Some(first), true) = (self.replica.first(), self.fail_prone.is_none()) {
            return Err((Some(first.span()), forms.into()));
        }
        let wrong = |span: Range<usize>| move |error: crate::committee::CommitteeError| (Some(span), error.to_string());
        match (self.threshold, self.weights, self.fail_prone) {
            (Some(threshold), None, None) => {
                let Threshold { n, f } = *threshold.get_ref();
                Committee::threshold(n, f).map_err(wrong(threshold.span()))
            }
            (None, Some(weights), None) => {
                let Weights { of, f } = weights.get_ref();
                Committee::weighted(of, *f).map_err(wrong(weights.span()))
            }
            (None, None, Some(text)) => {
                check_attributes(&self.replica)?;
                let classes = |attribute: &str| classes(&self.replica, attribute);
                let family = FailProne::parse(text.get_ref(), &classes).map_err(|what| (Some(text.span()), what))?;
                let committee = Committee::general(self.replica.len(), family).map_err(wrong(text.span()))?;
                committee.check_progress().map_err(wrong(text.span()))?;
                Ok(committee)
            }
            _ => Err((None, forms.into())),
        }
    }
}

/// A replica without an attribute that others have would quietly be in no class.
fn check_attributes(replicas: &[Spanned<Attributes>]) -> Result<(), Fault> {
    let Some(first) = replicas.first() else { return Ok(()) };
    for (at, replica) in replicas.iter().enumerate() {
        if !replica.get_ref().keys().eq(first.get_ref().keys()) {
            return Err((Some(replica.span()), format!("replica {at} has not the same attributes as replica 0")));
        }
    }
    Ok(())
}

/// The replicas that share a value of `attribute`, by value. `None` if there is no such attribute.
fn classes(replicas: &[Spanned<Attributes>], attribute: &str) -> Option<Vec<ReplicaSet>> {
    let mut classes: BTreeMap<&str, ReplicaSet> = BTreeMap::new();
    for (at, replica) in replicas.iter().enumerate() {
        let id = ReplicaId(u8::try_from(at).ok()?);
        classes.entry(replica.get_ref().get(attribute)?).or_default().insert(id);
    }
    (!classes.is_empty()).then(|| classes.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Committee, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("structure.toml");
        std::fs::write(&path, text).unwrap();
        let prefix = path.display().to_string() + ":";
        read(&path).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    fn shipped(name: &str) -> Committee {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
    }

    fn set(ids: &[u8]) -> ReplicaSet {
        ids.into()
    }

    #[test]
    fn nine_servers_of_four_classes_stand_any_two_or_all_of_one_class() {
        let committee = shipped("classes-9.toml");
        assert_eq!(committee.len(), 9);
        assert_eq!(committee.to_string(), "any 2 replicas or any 1 of [0 1 2 3, 4 5, 6 7, 8]");
        assert!(!committee.is_kernel(set(&[0, 1, 2, 3])));
        assert!(committee.is_quorum(set(&[4, 5, 6, 7, 8])));
        assert!(!committee.is_kernel(set(&[3, 8])));
        assert!(committee.is_kernel(set(&[0, 1, 4])));
        assert_eq!((committee.fail_prone_sets().unwrap().len(), committee.signing_threshold()), (31, 5));
    }

    #[test]
    fn sixteen_servers_stand_a_whole_site_and_a_whole_operating_system() {
        let committee = shipped("sites-and-systems-16.toml");
        assert_eq!((committee.len(), committee.fail_prone_sets().unwrap().len(), committee.faults()), (16, 16, 7));
        assert!(!committee.is_kernel(set(&[0, 1, 2, 3, 4, 8, 12])));
        assert!(committee.is_quorum(set(&[5, 6, 7, 9, 10, 11, 13, 14, 15])));
        assert!(committee.is_kernel(set(&[0, 5, 10])));
        assert!(!committee.is_quorum(set(&[4, 5, 6, 7, 9, 10, 11, 13])));
    }

    #[test]
    fn thresholds_and_weights_are_read() {
        assert_eq!(read_text("threshold = { n = 7, f = 2 }"), Ok(Committee::new(7).unwrap()));
        let weighted = read_text("weights = { of = [2, 2, 2, 1, 1, 1], f = 2 }").unwrap();
        assert!(weighted.is_kernel(set(&[0, 5])) && !weighted.is_kernel(set(&[0])));
        assert!(weighted.is_quorum(set(&[0, 1, 2, 3])) && !weighted.is_quorum(set(&[0, 1, 5])));
    }

    #[test]
    fn what_violates_q3_is_refused_with_three_sets_that_cover_everyone() {
        let refused = read_text("threshold = { n = 6, f = 2 }").unwrap_err();
        assert!(refused.starts_with("1: three sets that may fail together cover every replica"), "{refused}");
        assert!(refused.contains("{r0, r1}, {r2, r3} and {r4, r5}"), "{refused}");
        let sites = "fail-prone = \"any one site\"\n".to_owned()
            + &["a", "a", "b", "b", "c"].map(|site| format!("[[replica]]\nsite = \"{site}\"\n")).concat();
        assert!(read_text(&sites).unwrap_err().contains("{r0, r1}, {r2, r3} and {r4}"));
        assert!(read_text("weights = { of = [2, 1, 1, 1], f = 2 }").unwrap_err().contains("cover every replica"));
    }

    #[test]
    fn a_broken_file_is_told_by_line() {
        let refused = |text: &str| read_text(text).unwrap_err();
        assert!(refused("").contains("in one way"));
        assert!(refused("threshold = { n = 7, f = 2 }\nweights = { of = [1], f = 1 }").contains("in one way"));
        assert!(refused("\nthreshold = { n = 3, f = 1 }").starts_with("2: 3 replicas"));
        assert!(refused("fail-prone = \"any one planet\"\n[[replica]]\nsite = \"a\"").contains("attribute \"planet\""));
        assert!(refused("fail-prone = \"most sites\"").contains("names nothing that may fail"));
        let uneven = "fail-prone = \"any one site\"\n[[replica]]\nsite = \"a\"\n[[replica]]\nos = \"b\"\n";
        assert!(refused(uneven).contains("replica 1 has not the same attributes"));
    }
}
