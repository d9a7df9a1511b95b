//! A zone from its names in any order. They are sorted once, so that the tree is filled from its left to its right: all its
//! pages are full, and none is looked for.

use super::node::Node;
use super::{Key, SignedRrset, SignedZone};
use crate::directory::name::Name;

/// Names with their records, until all are there.
pub struct Gathering {
    apex: Name,
    /// With the numbers of their names.
    nodes: Vec<(u64, Node)>,
}

impl Gathering {
    pub fn new(apex: Name) -> Self {
        Self { apex, nodes: Vec::new() }
    }

    /// Adds a name with its RRsets in order of type. Of a name that comes twice the last counts.
    ///
    /// # Panics
    /// If `name` is not within the zone.
    pub fn add(&mut self, name: &Name, rrsets: &[SignedRrset]) {
        assert!(name.is_within(&self.apex), "a zone has names within it only");
        let key = Key::new(name.as_ref(), self.apex.as_wire().len());
        self.nodes.push((key.number(), Node::new(name.as_ref(), rrsets)));
    }

    pub fn zone(mut self) -> SignedZone {
        self.nodes
            .sort_by(|(number, node), (other, after)| number.cmp(other).then_with(|| node.owner().cmp(&after.owner())));
        let mut zone = SignedZone::new(self.apex);
        for (_, node) in self.nodes {
            let place = node.clone();
            zone.nodes.put(Key::new(place.owner(), zone.apex.as_wire().len()), node);
        }
        zone.top = zone
            .key(zone.apex.as_ref())
            .map(|key| zone.nodes.seek(key))
            .filter(|found| found.exact)
            .and_then(|found| found.at_or_before.cloned());
        zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::rrset::{Rrset, Rtype};

    #[test]
    fn names_in_any_order_make_the_zone_that_putting_each_makes() {
        let apex = Name::parse("example.", None).unwrap();
        let names = ["b", "*", "a.b", "B.a.b", "zzzzzzzzzzzzz", "zzzzzzzzzzzza", "a", "b.zzzzzzzzzzzza"];
        let mut names: Vec<Name> = names.iter().map(|name| Name::parse(name, Some(&apex)).unwrap()).collect();
        names.push(apex.clone());
        names.extend(
            (0..500u32).map(|n| apex.child(format!("{:x}", n.wrapping_mul(2_654_435_761)).as_bytes()).unwrap()),
        );
        let rrsets = |name: &Name| {
            let rrset = |rtype, rdata: &[u8]| Rrset::new(rtype, 60, vec![rdata.to_vec()]);
            let address = SignedRrset { rrset: rrset(Rtype::A, &[1, 2, 3, 4]), rrsig: Some(vec![7; 30]) };
            let text = SignedRrset { rrset: rrset(Rtype::TXT, name.as_wire()), rrsig: None };
            vec![address, text]
        };
        let (mut gathering, mut zone) = (Gathering::new(apex.clone()), SignedZone::new(apex.clone()));
        for name in &names {
            gathering.add(name, &rrsets(name));
            zone.put_name(name, &rrsets(name));
        }
        gathering.add(&names[0], &rrsets(&names[0]));
        let gathered = gathering.zone();
        assert_eq!(gathered, zone);
        assert_eq!(gathered.top().map(|top| top.owner().to_name()), Some(apex.clone()));
        assert!(Gathering::new(apex).zone().top().is_none());
    }
}
