//! What readers see follows from what was ordered.
//!
//! - Zones of equal serial are equal to the byte, whoever shows them.
//! - Every operation has one outcome, the same everywhere, and nothing has an outcome that nobody submitted.
//! - A model of its own decides the operations again, in the order of their positions: it has to come to the same
//!   outcomes, and in the end every replica shows the addresses that the model says.

use std::collections::BTreeMap;

use super::{Checker, Sight};
use crate::committee::ReplicaId;
use crate::crypto::digest::{Digest, hash};
use crate::directory::name::Name;
use crate::directory::rrset::Rtype;
use crate::directory::zone::NodeRef;
use crate::replica::machine::Snapshot;
use crate::replica::outcome::Outcome;
use crate::sim::client::{Act, Submitted};
use crate::store::view::View;

#[derive(Default)]
pub struct Served {
    zones: BTreeMap<(Name, u32), (ReplicaId, Digest)>,
    outcomes: BTreeMap<Digest, Outcome>,
    submitted: BTreeMap<Digest, Submitted>,
    /// What was in each envelope.
    envelopes: BTreeMap<Digest, Digest>,
}

impl Checker for Served {
    fn name(&self) -> &'static str {
        "served"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Submitted(submitted) => {
                self.envelopes.extend(submitted.envelope.map(|envelope| (envelope, submitted.digest)));
                self.submitted.insert(submitted.digest, (*submitted).clone());
            }
            Sight::Exposed { by, snapshot, view } => {
                self.zones(*by, view)?;
                self.outcomes(*by, snapshot)?;
            }
            Sight::Final { by, snapshot, view } => {
                self.zones(*by, view)?;
                self.outcomes(*by, snapshot)?;
                self.model(*by, view)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the model knows of a title.
struct Title {
    owner: [u8; 32],
    sequence: u64,
    www: Option<u8>,
}

impl Served {
    fn zones(&mut self, by: ReplicaId, view: &View) -> Result<(), String> {
        for (apex, zone) in &view.zones {
            let Some(serial) = zone.serial() else { return Err(format!("{by} shows {apex} without a serial")) };
            let nodes: Vec<&[u8]> = zone.nodes().map(NodeRef::as_bytes).collect();
            let digest = hash("torrens simulated zone", &nodes);
            let (first, expected) = *self.zones.entry((apex.clone(), serial)).or_insert((by, digest));
            if expected != digest {
                return Err(format!("{by} and {first} show different zones {apex} of serial {serial}"));
            }
        }
        Ok(())
    }

    fn outcomes(&mut self, by: ReplicaId, snapshot: &Snapshot) -> Result<(), String> {
        for digest in snapshot.outcomes.digests() {
            let outcome = snapshot.outcomes.get(&digest).ok_or("an outcome without itself")?;
            if let Some(inside) = self.envelopes.get(&digest) {
                if snapshot.outcomes.get(inside) != Some(outcome) {
                    return Err(format!("{by} has another outcome for envelope {digest} than for what was in it"));
                }
                continue;
            }
            if !self.submitted.contains_key(&digest) {
                return Err(format!("{by} executed operation {digest}, which nobody submitted"));
            }
            let first = self.outcomes.entry(digest).or_insert_with(|| outcome.clone());
            if first != outcome {
                return Err(format!("{by} has {outcome:?} for {digest}, another has {first:?}"));
            }
        }
        Ok(())
    }

    /// Decides everything again and compares with what `by` shows.
    fn model(&self, by: ReplicaId, view: &View) -> Result<(), String> {
        let ordered: BTreeMap<u64, (&Submitted, bool)> = self
            .outcomes
            .iter()
            .map(|(digest, outcome)| (outcome.position, (&self.submitted[digest], outcome.result.is_ok())))
            .collect();
        if ordered.len() != self.outcomes.len() || !ordered.keys().copied().eq(1..=ordered.len() as u64) {
            return Err(format!("positions {:?} are not 1, 2, 3, …", ordered.keys()));
        }
        let mut titles: BTreeMap<&Name, Title> = BTreeMap::new();
        for (position, (submitted, accepted)) in ordered {
            if decide(&mut titles, submitted) != accepted {
                return Err(format!("position {position}, {:?}: accepted is {accepted}", submitted.act));
            }
        }
        for (name, title) in titles {
            let shown = address(view, name);
            if shown != title.www {
                return Err(format!("{by} shows www.{name} {shown:?}, ordered is {:?}", title.www));
            }
        }
        Ok(())
    }
}

/// Whether the operation is accepted; it is applied then.
fn decide<'a>(titles: &mut BTreeMap<&'a Name, Title>, submitted: &'a Submitted) -> bool {
    let Submitted { title, owner, act, sequence, .. } = submitted;
    match (titles.get_mut(title), act) {
        (None, Act::Register) => {
            titles.insert(title, Title { owner: *owner, sequence: 0, www: None });
            true
        }
        (Some(found), Act::Set(_) | Act::Certify) if found.owner == *owner && found.sequence + 1 == *sequence => {
            found.sequence = *sequence;
            if let Act::Set(last) = act {
                found.www = Some(*last);
            }
            true
        }
        _ => false,
    }
}

/// The last number of the address of `www` beneath a title.
fn address(view: &View, title: &Name) -> Option<u8> {
    let www = Name::parse("www", Some(title)).ok()?;
    let set = view.zone_for(&www)?.rrset(&www, Rtype::A)?;
    set.rdatas().next()?.last().copied()
}
