//! Which names a title's holder may have certified.

use std::collections::BTreeSet;
use std::fmt;

use super::root::Authority;
use crate::directory::name::Name;
use crate::limits::MAX_SANS;

/// A name as a dNSName holds it: lower-case LDH labels (RFC 5890 §2.3.1), no trailing dot, `*` as leftmost label at
/// most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hostname(String);

/// Why a domain name is no hostname.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotHostname {
    #[error("the root has no hostname")]
    Root,
    #[error(
        "labels of a hostname are letters, digits and inner hyphens; names with an underscore and the like have no certificates"
    )]
    Label,
    #[error("labels with hyphens in third and fourth place must be A-labels, which start with xn--")]
    ReservedLabel,
    #[error("the last label is a number, so that clients would take the name for an address")]
    Number,
    #[error("a wildcard is the whole leftmost label, and another label must follow")]
    Wildcard,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAuthorized {
    #[error("no name is asked for: give the title's name, or names beneath it")]
    NoNames,
    #[error("{0} names are asked for: at most {MAX_SANS} fit in one certificate; ask for several certificates")]
    TooManyNames(usize),
    #[error("{0} is asked for twice: leave one out")]
    Repeated(Name),
    #[error("{name} is not beneath the title {title}: ask with the title it belongs to")]
    OutsideTitle { name: Name, title: Name },
    #[error("{0} is in no zone that this authority may certify")]
    OutsideZones(Name),
    #[error("{name}: {why}")]
    Hostname { name: Name, why: NotHostname },
}

/// The names to be certified, in the order asked for, if all of them may be.
pub fn authorize(authority: &Authority, title: &Name, names: &[Name]) -> Result<Vec<Hostname>, NotAuthorized> {
    if names.is_empty() {
        return Err(NotAuthorized::NoNames);
    }
    if names.len() > MAX_SANS {
        return Err(NotAuthorized::TooManyNames(names.len()));
    }
    let mut seen = BTreeSet::new();
    let mut hostnames = Vec::with_capacity(names.len());
    for name in names {
        if !seen.insert(name) {
            return Err(NotAuthorized::Repeated(name.clone()));
        }
        hostnames.push(authorize_one(authority, title, name)?);
    }
    Ok(hostnames)
}

fn authorize_one(authority: &Authority, title: &Name, name: &Name) -> Result<Hostname, NotAuthorized> {
    let hostname = Hostname::of(name).map_err(|why| NotAuthorized::Hostname { name: name.clone(), why })?;
    // A wildcard stands for names beneath its parent, so the parent must be the title's.
    let covered = if name.is_wildcard() { name.parent() } else { Some(name.clone()) };
    let covered = covered.expect("a wildcard has a parent");
    if title.is_root() || !covered.is_within(title) {
        return Err(NotAuthorized::OutsideTitle { name: name.clone(), title: title.clone() });
    }
    if !authority.permits(&covered) {
        return Err(NotAuthorized::OutsideZones(name.clone()));
    }
    Ok(hostname)
}

impl Hostname {
    pub fn of(name: &Name) -> Result<Self, NotHostname> {
        let mut labels: Vec<&[u8]> = name.labels().collect();
        let text = labels.join(&b'.');
        let last = labels.last().ok_or(NotHostname::Root)?;
        if last.iter().all(u8::is_ascii_digit) {
            return Err(NotHostname::Number);
        }
        if labels[0] == b"*" {
            labels.remove(0);
            if labels.is_empty() {
                return Err(NotHostname::Wildcard);
            }
        }
        for label in labels {
            check_label(label)?;
        }
        Ok(Self(String::from_utf8(text).expect("LDH labels are ASCII")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_label(label: &[u8]) -> Result<(), NotHostname> {
    if label.contains(&b'*') {
        return Err(NotHostname::Wildcard);
    }
    let is_ldh = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    if !label.iter().all(is_ldh) || label.starts_with(b"-") || label.ends_with(b"-") {
        return Err(NotHostname::Label);
    }
    if label.get(2..4) == Some(b"--") && !label.starts_with(b"xn") {
        return Err(NotHostname::ReservedLabel);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::testing::{authority, name};

    fn ask(names: &[&str]) -> Result<Vec<String>, NotAuthorized> {
        let names: Vec<Name> = names.iter().map(|text| name(text)).collect();
        let allowed = authorize(&authority(), &name("alice.names.example."), &names)?;
        Ok(allowed.iter().map(Hostname::to_string).collect())
    }

    #[test]
    fn the_title_and_names_beneath_it_may_be_certified_in_the_order_asked_for() {
        let asked =
            ["www.alice.names.example.", "ALICE.names.example.", "*.alice.names.example.", "*.b.alice.names.example."];
        let expected =
            ["www.alice.names.example", "alice.names.example", "*.alice.names.example", "*.b.alice.names.example"];
        assert_eq!(ask(&asked).unwrap(), expected);
        assert!(ask(&["xn--bcher-kva.alice.names.example."]).is_ok());
        assert!(ask(&["4.alice.names.example."]).is_ok());
    }

    #[test]
    fn names_of_others_may_not() {
        for other in
            ["bob.names.example.", "names.example.", "xalice.names.example.", "*.names.example.", "example.", "org."]
        {
            let refused = NotAuthorized::OutsideTitle { name: name(other), title: name("alice.names.example.") };
            assert_eq!(ask(&["alice.names.example.", other]), Err(refused));
        }
        // A title that looks like a wildcard is not a right to everybody's names.
        let wildcard = name("*.names.example.");
        assert!(matches!(
            authorize(&authority(), &wildcard, std::slice::from_ref(&wildcard)),
            Err(NotAuthorized::OutsideTitle { .. })
        ));
    }

    #[test]
    fn nothing_outside_the_name_constraints_is_certified_whatever_the_title() {
        let elsewhere = name("alice.other.example.");
        assert_eq!(
            authorize(&authority(), &elsewhere, std::slice::from_ref(&elsewhere)),
            Err(NotAuthorized::OutsideZones(elsewhere))
        );
        assert!(authorize(&authority(), &Name::root(), &[name("alice.names.example.")]).is_err());
    }

    #[test]
    fn names_that_are_no_hostnames_are_refused_with_the_reason() {
        for (text, why) in [
            (".", NotHostname::Root),
            ("_dmarc.alice.names.example.", NotHostname::Label),
            ("-a.alice.names.example.", NotHostname::Label),
            ("a-.alice.names.example.", NotHostname::Label),
            ("a\\000b.alice.names.example.", NotHostname::Label),
            ("a\\.b.alice.names.example.", NotHostname::Label),
            ("\\255.alice.names.example.", NotHostname::Label),
            ("a\\032b.alice.names.example.", NotHostname::Label),
            ("ab--c.alice.names.example.", NotHostname::ReservedLabel),
            ("a.*.alice.names.example.", NotHostname::Wildcard),
            ("*.*.alice.names.example.", NotHostname::Wildcard),
            ("w*.alice.names.example.", NotHostname::Wildcard),
            ("*.", NotHostname::Wildcard),
            ("1.2.3.4.", NotHostname::Number),
        ] {
            assert_eq!(ask(&[text]), Err(NotAuthorized::Hostname { name: name(text), why }), "{text}");
        }
    }

    #[test]
    fn no_names_too_many_names_and_repeated_names_are_refused() {
        assert_eq!(ask(&[]), Err(NotAuthorized::NoNames));
        let many: Vec<String> = (0..=MAX_SANS).map(|i| format!("h{i}.alice.names.example.")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(ask(&many), Err(NotAuthorized::TooManyNames(MAX_SANS + 1)));
        assert!(ask(&many[..MAX_SANS]).is_ok());
        assert_eq!(
            ask(&["a.alice.names.example.", "A.alice.names.example."]),
            Err(NotAuthorized::Repeated(name("a.alice.names.example.")))
        );
    }
}
