//! Whether a reply proves what it says is not there (RFC 4035 §5.4), by its NSEC records alone.

use torrens::directory::name::Name;

use super::reply::{Nsec, Question, Reply};

const CNAME: u16 = 5;
const NS: u16 = 2;
const DNAME: u16 = 39;
const DS: u16 = 43;

/// What is not proven; none if nothing is missing.
pub fn missing(question: &Question, reply: &Reply) -> Option<String> {
    let last = reply.last_name(&Name::parse(&question.name, None).unwrap());
    let name = &last;
    for (owner, labels) in &reply.expanded {
        if !reply.nsecs.iter().any(|nsec| covers(nsec, owner)) {
            return Some(format!("that there is no {owner}, answered from a wildcard of {labels} labels"));
        }
    }
    if reply.is_referral() {
        let cut = reply.cut()?;
        let insecure = |nsec: &Nsec| nsec.owner == cut && nsec.types.contains(&NS) && !nsec.types.contains(&DS);
        let secure = reply.authorities.iter().any(|(_, _, rtype, _)| *rtype == DS);
        return (!secure && !reply.nsecs.iter().any(insecure)).then(|| format!("that {cut} has no DS"));
    }
    if !reply.has_soa() {
        return None;
    }
    let encloser = encloser(reply, name);
    let wildcard = encloser.child(b"*").ok();
    let any = |proves: &dyn Fn(&Nsec) -> bool| reply.nsecs.iter().any(proves);
    let lacks = |nsec: &Nsec| !nsec.types.contains(&question.rtype) && !nsec.types.contains(&CNAME);
    let is_empty = |name: &Name| any(&|nsec| covers(nsec, name) && nsec.next.is_within(name));
    let absent = any(&|nsec| covers(nsec, name) && !nsec.next.is_within(name));
    let proven = if reply.rcode == 3 {
        absent && wildcard.is_none_or(|wildcard| any(&|nsec| covers(nsec, &wildcard)))
    } else {
        let here = any(&|nsec| nsec.owner == *name && lacks(nsec)) || is_empty(name);
        let at_wildcard =
            wildcard.is_some_and(|wildcard| any(&|nsec| nsec.owner == wildcard && lacks(nsec)) || is_empty(&wildcard));
        here || absent && at_wildcard
    };
    (!proven).then(|| format!("code {} for {name}", reply.rcode))
}

/// Whether the name lies between the owner and the next name (RFC 4034 §4.1.1: the last one's next is the apex), and not
/// beneath a cut or DNAME that the owner is.
fn covers(nsec: &Nsec, name: &Name) -> bool {
    let hides = (nsec.types.contains(&NS) && !nsec.types.contains(&6)) || nsec.types.contains(&DNAME);
    let between = nsec.owner < *name && (*name < nsec.next || nsec.next <= nsec.owner);
    between && !(hides && name.is_within(&nsec.owner))
}

/// The closest ancestor of the name that the NSEC records around it show to exist.
fn encloser(reply: &Reply, name: &Name) -> Name {
    let around = reply.nsecs.iter().filter(|nsec| covers(nsec, name)).flat_map(|nsec| [&nsec.owner, &nsec.next]);
    let shared = around.map(|other| name.as_ref().shared_labels(other.as_ref())).max().unwrap_or(0);
    name.suffix(shared).unwrap()
}
