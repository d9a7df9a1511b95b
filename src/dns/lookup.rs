//! Where a name stands in a zone: the one place for cut logic (RFC 1034 §4.3.2 step 3, RFC 4592 §3.3, RFC 6672 §3.2).
//!
//! Everything takes O(log n) searches of the zone: one for the name, one for each existing ancestor, and, if the name
//! does not exist, three for its neighbours. No ancestor exists that is not an ancestor of a neighbour in canonical
//! order, so the closest encloser is what the name shares with the nearer one.
//!
//! Deviation: NS and DNAME records at a wildcard are data like any other; RFC 4592 §4.2 and §4.4 leave both open.

use crate::directory::name::Name;
use crate::directory::name_ref::{NameBuffer, NameRef};
use crate::directory::rrset::Rtype;
use crate::directory::zone::{Node, SignedRrset, SignedZone};

#[derive(Debug)]
pub enum Place<'v, 'n> {
    /// The name has records, and the zone answers for them.
    Here(&'v Node),
    /// Only names beneath it have records.
    EmptyNonTerminal { before: Before<'v> },
    /// The name is a zone cut, or lies beneath it.
    Delegated { cut: &'v Name, node: &'v Node },
    /// The name lies beneath the owner of a DNAME record.
    Redirected { owner: &'v Name, dname: &'v SignedRrset },
    /// There is no such name. `encloser`: its closest ancestor that exists.
    Missing { before: Before<'v>, encloser: NameRef<'n>, wildcard: Wildcard<'v> },
}

/// The last name with records before the one looked up, where a proof begins.
pub type Before<'v> = Option<(&'v Name, &'v Node)>;

/// The source of synthesis (RFC 4592 §3.3.1).
#[derive(Clone, Copy, Debug)]
pub enum Wildcard<'v> {
    None,
    /// The wildcard is an empty non-terminal: it matches, and holds nothing.
    Empty,
    Node(&'v Node),
}

/// `name` must lie within the zone.
pub fn place<'v, 'n>(zone: &'v SignedZone, name: NameRef<'n>) -> Place<'v, 'n> {
    let exact = zone.find(name);
    let labels = name.label_count();
    let (before, existing) = match exact {
        Some(_) => (None, labels),
        None => encloser_labels(zone, name),
    };
    let apex = zone.apex().label_count();
    for depth in apex..=existing {
        let ancestor = if depth == labels { exact } else { zone.find(name.suffix(depth)) };
        let Some((owner, node)) = ancestor else { continue };
        if depth > apex && node.get(Rtype::NS).is_some() && !owner.is_wildcard() {
            return Place::Delegated { cut: owner, node };
        }
        if depth < labels
            && let Some(dname) = node.get(Rtype::DNAME)
        {
            return Place::Redirected { owner, dname };
        }
    }
    match exact {
        Some((_, node)) => Place::Here(node),
        None if existing == labels => Place::EmptyNonTerminal { before },
        None => {
            let encloser = name.suffix(existing);
            Place::Missing { before, encloser, wildcard: wildcard(zone, encloser) }
        }
    }
}

/// The name before, and the labels of the longest ancestor of `name` (or of the name itself) that exists.
fn encloser_labels<'v>(zone: &'v SignedZone, name: NameRef<'_>) -> (Before<'v>, usize) {
    let before = zone.at_or_before(name);
    let neighbours = [before, zone.at_or_after(name)].into_iter().flatten();
    let shared = neighbours.map(|(neighbour, _)| name.shared_labels(neighbour.as_ref()));
    (before, shared.fold(zone.apex().label_count(), usize::max))
}

fn wildcard<'v>(zone: &'v SignedZone, encloser: NameRef<'_>) -> Wildcard<'v> {
    // A wildcard that would be too long to be a name does not exist.
    let Ok(wildcard) = NameBuffer::wildcard(encloser) else { return Wildcard::None };
    match zone.at_or_after(wildcard.as_ref()) {
        Some((found, node)) if found.as_ref() == wildcard.as_ref() => Wildcard::Node(node),
        Some((found, _)) if found.as_ref().is_within(wildcard.as_ref()) => Wildcard::Empty,
        _ => Wildcard::None,
    }
}
