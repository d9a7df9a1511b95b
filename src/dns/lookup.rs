//! Where a name stands in a zone: the one place for cut logic (RFC 1034 §4.3.2 step 3, RFC 4592 §3.3, RFC 6672 §3.2).
//!
//! One search of the zone for the name, one for each existing ancestor beneath the apex, and, if the name does not
//! exist, one for the wildcard. No ancestor exists that is not an ancestor of a neighbour in canonical order, so the
//! closest encloser is what the name shares with the nearer one.
//!
//! Deviation: NS and DNAME records at a wildcard are data like any other; RFC 4592 §4.2 and §4.4 leave both open.

use std::ptr;

use arrayvec::ArrayVec;

use super::query::{Query, Refusal};
use crate::directory::name_ref::{NameBuffer, NameRef};
use crate::directory::rrset::Rtype;
use crate::directory::zone::{Around, NodeRef, RrsetRef, SignedZone};
use crate::limits::UDP_BATCH;
use crate::store::view::View;

#[derive(Debug)]
pub enum Place<'v> {
    /// The name has records, and the zone answers for them.
    Here(NodeRef<'v>),
    /// Only names beneath it have records.
    EmptyNonTerminal { before: Before<'v> },
    /// The name is a zone cut, or lies beneath it.
    Delegated { cut: NodeRef<'v> },
    /// The name lies beneath the owner of a DNAME record.
    Redirected { owner: NameRef<'v>, dname: RrsetRef<'v> },
    /// There is no such name. `wildcard`: that of its closest ancestor that exists.
    Missing { before: Before<'v>, wildcard: Wildcard<'v> },
}

/// The last name with records before the one looked up, where a proof begins.
pub type Before<'v> = Option<NodeRef<'v>>;

/// The source of synthesis (RFC 4592 §3.3.1).
#[derive(Clone, Copy, Debug)]
pub enum Wildcard<'v> {
    /// There is none; `before`: the last name with records before it.
    None {
        before: Before<'v>,
    },
    /// The wildcard is an empty non-terminal: it matches, and holds nothing.
    Empty {
        before: Before<'v>,
    },
    Node(NodeRef<'v>),
}

/// `name` must lie within the zone.
pub fn place<'v>(zone: &'v SignedZone, name: NameRef<'_>) -> Place<'v> {
    let around = zone.around(name);
    let labels = name.label_count();
    let apex = zone.apex().label_count();
    let existing = if around.exact { labels } else { encloser_labels(apex, name, around) };
    for depth in apex..=existing {
        let ancestor = match depth {
            _ if depth == labels => around.here(),
            _ if depth == apex => zone.top(),
            _ => zone.find(name.suffix(depth)),
        };
        let Some(node) = ancestor else { continue };
        if depth > apex && node.has(Rtype::NS) && !node.owner().is_wildcard() {
            return Place::Delegated { cut: node };
        }
        if depth < labels
            && let Some(dname) = node.get(Rtype::DNAME)
        {
            return Place::Redirected { owner: node.owner(), dname };
        }
    }
    let before = around.at_or_before;
    match around.here() {
        Some(node) => Place::Here(node),
        None if existing == labels => Place::EmptyNonTerminal { before },
        None => Place::Missing { before, wildcard: wildcard(zone, name.suffix(existing)) },
    }
}

/// Asks for the memory that the answers to these queries will be read from, all at once: a hint, for whoever has many
/// to answer.
pub fn fetch(view: &View, parsed: &[Result<Query<'_>, Refusal>]) {
    let mut names: ArrayVec<NameRef<'_>, UDP_BATCH> = ArrayVec::new();
    let mut zone = None;
    for query in parsed.iter().flatten().take(UDP_BATCH) {
        let name = query.name;
        let its = view.zone_above(name);
        if zone.map(ptr::from_ref) != its.map(ptr::from_ref) {
            zone.inspect(|zone: &&SignedZone| zone.fetch(&names));
            names.clear();
            zone = its;
        }
        names.push(name);
    }
    zone.inspect(|zone| zone.fetch(&names));
}

/// Labels of the longest ancestor of `name` (or of the name itself) that exists.
fn encloser_labels(apex: usize, name: NameRef<'_>, around: Around<'_>) -> usize {
    let neighbours = [around.at_or_before, around.after].into_iter().flatten();
    let shared = neighbours.map(|neighbour| name.shared_labels(neighbour.owner()));
    shared.fold(apex, usize::max)
}

fn wildcard<'v>(zone: &'v SignedZone, encloser: NameRef<'_>) -> Wildcard<'v> {
    // A wildcard that would be too long to be a name does not exist.
    let Ok(wildcard) = NameBuffer::wildcard(encloser) else { return Wildcard::None { before: None } };
    let around = zone.around(wildcard.as_ref());
    let before = around.at_or_before;
    match around.at_or_after() {
        Some(node) if around.exact => Wildcard::Node(node),
        Some(node) if node.owner().is_within(wildcard.as_ref()) => Wildcard::Empty { before },
        _ => Wildcard::None { before },
    }
}
