//! Where servers may differ, and what allows it. Our own proofs are checked apart ([`super::proof`]), so that what a peer
//! proves otherwise is its own affair.

use super::reply::{Question, Reply};

const MX: u16 = 15;
const SRV: u16 = 33;
const DS: u16 = 43;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;

/// Why two different replies are both right, or only ours is; none if nothing says so.
pub fn explain(question: &Question, ours: &Reply, theirs: &Reply, server: &str) -> Option<&'static str> {
    if [MX, SRV].contains(&question.rtype) && server == "Knot" && adds_addresses(ours, theirs) {
        return Some("RFC 1034 §4.3.2 step 6: addresses for MX and SRV are useful, not needed; Knot adds them");
    }
    let mut same_authority = theirs.clone();
    (same_authority.authorities, same_authority.nsecs) = (ours.authorities.clone(), ours.nsecs.clone());
    let proofs_differ = same_but_for_proofs(ours, theirs);
    if question.rtype == RRSIG && (proofs_differ || only_signatures_differ(ours, theirs)) {
        return Some("RFC 4034 §3: RRSIG records belong to the RRsets they cover, and which are given alone is open");
    }
    if proofs_differ && server == "NSD" {
        return Some(
            "RFC 4035 §3.1.3.2: the NSEC record that covers the wildcard; NSD gives the one before its empty sibling, or, \
             for the target of an alias, none",
        );
    }
    if proofs_differ && server == "Knot" {
        return Some(
            "RFC 4035 §3.1.3.4: the NSEC record that shows the wildcard to be an empty non-terminal; Knot leaves it out \
             where an alias led to it",
        );
    }
    if question.rtype == DS && !ours.answers.is_empty() && ours.has_soa() && same_authority == *ours {
        return Some(
            "RFC 4035 §3.1.4.1: DS at an apex that an alias leads to: of the child, as ours and Knot say, or parent",
        );
    }
    None
}

/// Whether the replies differ in NSEC records and their signatures only.
fn same_but_for_proofs(ours: &Reply, theirs: &Reply) -> bool {
    let strip = |reply: &Reply| {
        let mut reply = reply.clone();
        reply.authorities.retain(|(_, _, rtype, data)| {
            let covers_nsec = *rtype == RRSIG && data.starts_with("002f");
            *rtype != NSEC && !covers_nsec
        });
        reply.nsecs.clear();
        reply
    };
    strip(ours) == strip(theirs)
}

/// Whether theirs is ours with more in the additional section.
fn adds_addresses(ours: &Reply, theirs: &Reply) -> bool {
    let same = Reply { additionals: ours.additionals.clone(), ..theirs.clone() };
    same == *ours && ours.additionals.is_subset(&theirs.additionals)
}

fn only_signatures_differ(ours: &Reply, theirs: &Reply) -> bool {
    let strip = |reply: &Reply| {
        let mut reply = reply.clone();
        for section in [&mut reply.answers, &mut reply.authorities, &mut reply.additionals] {
            section.retain(|(_, _, rtype, _)| *rtype != RRSIG && *rtype != NSEC);
        }
        reply.nsecs.clear();
        reply.expanded.clear();
        reply
    };
    strip(ours) == strip(theirs)
}
