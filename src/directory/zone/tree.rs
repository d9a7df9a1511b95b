//! The nodes of a zone in canonical order: a persistent B+-tree.
//!
//! A version shares all pages with the one before but those on the way to what changed. Beside each entry stands a number
//! made of the first bytes of its name ([`sort_key`]), so that a search compares numbers that lie side by side and reads
//! one name at its end, where it has to be read for the answer anyway; names are compared only among equal numbers. The
//! search of a page is five steps without a branch that depends on what is found.
//!
//! A search waits for memory at each level, some hundred times as long as it computes. [`Tree::fetch`] lets the
//! searches for many names wait together: it takes all of them down level by level, and the processor, which has no
//! branch to guess, asks for the pages of several names at once.

use std::cmp::Ordering;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::node::Node;
use crate::directory::name_ref::NameRef;

/// Entries of a page: four lines of cache with their keys.
const FANOUT: usize = 32;
/// Names whose memory is asked for together.
pub(super) const FETCHED: usize = 64;
/// Lines of cache of a node that most answers are within.
const ANSWER: usize = 6;
/// A page with fewer entries is merged with its neighbour, if both fit into one.
const FEW: usize = FANOUT / 4;

/// Where a name stands in canonical order.
#[derive(Clone, Copy)]
pub(super) struct Key<'n> {
    number: u64,
    name: NameRef<'n>,
}

impl<'n> Key<'n> {
    /// `name` must lie within the zone, whose apex has `apex` bytes.
    pub fn new(name: NameRef<'n>, apex: usize) -> Self {
        Self { number: sort_key(&name.as_wire()[..name.as_wire().len() - apex]), name }
    }

    /// Never descends where names ascend.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn cmp_name(&self, node: &Node) -> Ordering {
        self.name.cmp(&node.owner())
    }
}

/// Names in canonical order (RFC 4034 §6.1) have numbers in ascending order, equal ones among them. `labels`: what stands
/// before the apex. It is read from the right; 0 ends a label. Since a label's own 0 has to stand above that, it counts as
/// 1, and as nothing comes between those two, the number ends there.
fn sort_key(labels: &[u8]) -> u64 {
    const MAX_LABELS: usize = 128;
    // Most names are one label beneath the apex.
    if let Some((&length, label)) = labels.split_first()
        && usize::from(length) == label.len()
        && let Some(first) = first_bytes(label)
    {
        return first;
    }
    let (mut begins, mut count, mut at) = ([0u8; MAX_LABELS], 0, 0);
    while at < labels.len() {
        begins[count] = at as u8;
        count += 1;
        at += 1 + usize::from(labels[at]);
    }
    let (mut key, mut filled) = ([0; 8], 0);
    for &begin in begins[..count].iter().rev() {
        let begin = usize::from(begin);
        for &byte in &labels[begin + 1..][..usize::from(labels[begin])] {
            if filled == key.len() {
                return u64::from_be_bytes(key);
            }
            key[filled] = byte.max(1);
            if byte <= 1 {
                return u64::from_be_bytes(key);
            }
            filled += 1;
        }
        filled += 1;
        if filled >= key.len() {
            break;
        }
    }
    u64::from_be_bytes(key)
}

/// The first eight bytes of a label, or all and zeros; none if one of them is 0 or 1.
fn first_bytes(label: &[u8]) -> Option<u64> {
    let mut key = [0; 8];
    let length = label.len().min(8);
    key[..length].copy_from_slice(&label[..length]);
    key[..length].iter().all(|&byte| byte > 1).then_some(u64::from_be_bytes(key))
}

/// What stands around a name.
#[derive(Clone, Copy)]
pub(super) struct Seek<'z> {
    /// The last node that is not after the name.
    pub at_or_before: Option<&'z Node>,
    /// The first node after that one.
    pub after: Option<&'z Node>,
    /// The first of them is the name's own.
    pub exact: bool,
}

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "most pages are leaves, whose keys are to lie where the pointer points")]
enum Page {
    Leaf(Leaf),
    Inner(Box<Inner>),
}

/// Numbers of a page's entries, ascending.
#[derive(Clone)]
struct Keys {
    /// Behind the last entry, the greatest number.
    numbers: [u64; FANOUT],
    length: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { numbers: [u64::MAX; FANOUT], length: 0 }
    }
}

impl Keys {
    fn as_slice(&self) -> &[u64] {
        &self.numbers[..self.length]
    }

    /// How many are less than `number`.
    fn less_than(&self, number: u64) -> usize {
        let mut at = 0;
        let mut step = FANOUT / 2;
        while step > 0 {
            at += step * usize::from(self.numbers[(at + step - 1) % FANOUT] < number);
            step /= 2;
        }
        at + usize::from(self.numbers[at % FANOUT] < number)
    }

    /// Reads a number of each of the lines of cache that they take.
    fn touch(&self) -> u64 {
        const LINE: usize = 8;
        self.numbers.iter().step_by(LINE).fold(0, |sum, number| sum ^ number)
    }

    /// How many are at most `number`.
    fn less_or_equal(&self, number: u64) -> usize {
        number.checked_add(1).map_or(self.length, |above| self.less_than(above))
    }

    fn insert(&mut self, at: usize, number: u64) {
        assert!(at <= self.length && self.length < FANOUT, "a full page is split first");
        self.numbers.copy_within(at..self.length, at + 1);
        self.numbers[at] = number;
        self.length += 1;
    }

    fn remove(&mut self, at: usize) {
        self.numbers.copy_within(at + 1..self.length, at);
        self.length -= 1;
        self.numbers[self.length] = u64::MAX;
    }

    /// Takes out those from `at` on.
    fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::default();
        self.as_slice()[at..].iter().for_each(|&number| right.insert(right.length, number));
        self.numbers[at..].fill(u64::MAX);
        self.length = at;
        right
    }
}

const _: () = assert!(FANOUT.is_power_of_two());

#[derive(Clone, Default)]
struct Leaf {
    keys: Keys,
    nodes: ArrayVec<Node, FANOUT>,
}

#[derive(Clone, Default)]
struct Inner {
    /// Of the first node of each page.
    keys: Keys,
    firsts: ArrayVec<Node, FANOUT>,
    /// Nodes in each page.
    counts: ArrayVec<usize, FANOUT>,
    pages: ArrayVec<Arc<Page>, FANOUT>,
}

#[derive(Clone)]
pub(super) struct Tree(Arc<Page>);

impl Tree {
    pub fn new() -> Self {
        Self(Arc::new(Page::Leaf(Leaf::default())))
    }

    pub fn len(&self) -> usize {
        self.0.count()
    }

    pub fn seek(&self, key: Key<'_>) -> Seek<'_> {
        let (mut page, mut after) = (&*self.0, None);
        loop {
            match page {
                Page::Inner(inner) => {
                    let child = not_after(&inner.keys, &inner.firsts, key).saturating_sub(1);
                    after = inner.firsts.get(child + 1).or(after);
                    page = &inner.pages[child];
                }
                Page::Leaf(leaf) => {
                    let position = not_after(&leaf.keys, &leaf.nodes, key);
                    let at_or_before = position.checked_sub(1).map(|last| &leaf.nodes[last]);
                    let exact = at_or_before.is_some_and(|node| node.owner() == key.name);
                    let after = leaf.nodes.get(position).or(after);
                    return Seek { at_or_before, after, exact };
                }
            }
        }
    }

    /// How many nodes are not after the name.
    pub fn rank(&self, key: Key<'_>) -> usize {
        let (mut page, mut rank) = (&*self.0, 0);
        loop {
            match page {
                Page::Inner(inner) => {
                    let child = not_after(&inner.keys, &inner.firsts, key).saturating_sub(1);
                    rank += inner.counts[..child].iter().sum::<usize>();
                    page = &inner.pages[child];
                }
                Page::Leaf(leaf) => return rank + not_after(&leaf.keys, &leaf.nodes, key),
            }
        }
    }

    /// Asks for the memory that searches for these names, [`FETCHED`] at most, and answers from what they find, will read:
    /// whoever asks next for one of them waits less.
    pub fn fetch(&self, keys: &[Key<'_>]) {
        let mut pages: ArrayVec<&Page, FETCHED> = keys.iter().map(|_| &*self.0).take(FETCHED).collect();
        // What is read is put together and thrown away: only that it was read counts.
        let mut touched = 0;
        let mut inner = true;
        while inner {
            inner = false;
            touched ^= pages.iter().fold(0, |sum, page| sum ^ page.keys().touch());
            for (page, key) in pages.iter_mut().zip(keys) {
                if let Page::Inner(there) = page {
                    // Where several names have the number of this one, it may be the page before.
                    *page = &there.pages[there.keys.less_or_equal(key.number).saturating_sub(1)];
                    inner = true;
                }
            }
        }
        let mut nodes: ArrayVec<(&Node, usize), { 2 * FETCHED }> = ArrayVec::new();
        for (page, key) in pages.iter().zip(keys) {
            let Page::Leaf(leaf) = page else { continue };
            let behind = leaf.keys.less_or_equal(key.number);
            let before = behind.saturating_sub(1);
            nodes.extend(leaf.nodes.get(before).map(|node| (node, ANSWER)));
            if leaf.keys.numbers[before % FANOUT] != key.number {
                // There is no such name: what follows says what the closest one is.
                nodes.extend(leaf.nodes.get(behind).map(|node| (node, 1)));
            }
        }
        touched ^= nodes.iter().fold(0, |sum, (node, _)| sum ^ node.touch(1));
        touched ^= nodes.iter().fold(0, |sum, (node, lines)| sum ^ node.touch(*lines));
        std::hint::black_box(touched);
    }

    /// The node that has `rank` others before it.
    pub fn at(&self, mut rank: usize) -> Option<&Node> {
        let mut page = &*self.0;
        loop {
            match page {
                Page::Inner(inner) => {
                    let mut child = 0;
                    while rank >= *inner.counts.get(child)? {
                        rank -= inner.counts[child];
                        child += 1;
                    }
                    page = &inner.pages[child];
                }
                Page::Leaf(leaf) => return leaf.nodes.get(rank),
            }
        }
    }

    /// Puts `node` in its place, whose key is `key`.
    pub fn put(&mut self, key: Key<'_>, node: Node) {
        if let Some(right) = Page::put(&mut self.0, key, node) {
            let mut root = Inner::default();
            root.push(Arc::clone(&self.0));
            root.push(right);
            self.0 = Arc::new(Page::Inner(Box::new(root)));
        }
    }

    /// Takes out the node of this name, if there is one.
    pub fn remove(&mut self, key: Key<'_>) {
        if !self.seek(key).exact {
            return;
        }
        Page::remove(&mut self.0, key);
        while let Page::Inner(inner) = &*self.0
            && inner.pages.len() == 1
        {
            self.0 = Arc::clone(&inner.pages[0]);
        }
    }
}

/// How many of these entries are not after the name.
fn not_after(keys: &Keys, nodes: &[Node], key: Key<'_>) -> usize {
    let less = keys.less_than(key.number).min(keys.length);
    let equal = keys.as_slice()[less..].iter().take_while(|&&number| number == key.number).count();
    less + nodes[less..less + equal].partition_point(|node| key.cmp_name(node).is_ge())
}

impl Page {
    fn keys(&self) -> &Keys {
        match self {
            Self::Leaf(leaf) => &leaf.keys,
            Self::Inner(inner) => &inner.keys,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.nodes.len(),
            Self::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    fn entries(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.nodes.len(),
            Self::Inner(inner) => inner.pages.len(),
        }
    }

    /// Key and node of the first entry; none only of the empty root.
    fn first(&self) -> Option<(u64, &Node)> {
        match self {
            Self::Leaf(leaf) => Some((leaf.keys.numbers[0], leaf.nodes.first()?)),
            Self::Inner(inner) => Some((inner.keys.numbers[0], inner.firsts.first()?)),
        }
    }

    /// The page to the right of this one, if it had to be split.
    fn put(page: &mut Arc<Self>, key: Key<'_>, node: Node) -> Option<Arc<Self>> {
        match Arc::make_mut(page) {
            Self::Leaf(leaf) => leaf.put(key, node).map(|right| Arc::new(Self::Leaf(right))),
            Self::Inner(inner) => {
                let child = not_after(&inner.keys, &inner.firsts, key).saturating_sub(1);
                let split = Self::put(&mut inner.pages[child], key, node);
                inner.refresh(child);
                inner.insert(child + 1, split?).map(|right| Arc::new(Self::Inner(Box::new(right))))
            }
        }
    }

    /// Takes out the node, which is there.
    fn remove(page: &mut Arc<Self>, key: Key<'_>) {
        match Arc::make_mut(page) {
            Self::Leaf(leaf) => {
                let position = not_after(&leaf.keys, &leaf.nodes, key) - 1;
                leaf.keys.remove(position);
                leaf.nodes.remove(position);
            }
            Self::Inner(inner) => {
                let child = not_after(&inner.keys, &inner.firsts, key) - 1;
                Self::remove(&mut inner.pages[child], key);
                inner.tidy(child);
            }
        }
    }

    /// Appends the entries of `right`, which is the next page of the same level; both fit into one.
    fn append(&mut self, right: &Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                right.keys.as_slice().iter().for_each(|&number| left.keys.insert(left.keys.length, number));
                left.nodes.extend(right.nodes.iter().cloned());
            }
            (Self::Inner(left), Self::Inner(right)) => right.pages.iter().for_each(|page| left.push(Arc::clone(page))),
            _ => unreachable!("all pages of a level are of one kind"),
        }
    }
}

impl Leaf {
    /// What had to go to a new page on the right.
    fn put(&mut self, key: Key<'_>, node: Node) -> Option<Self> {
        let position = not_after(&self.keys, &self.nodes, key);
        if let Some(last) = position.checked_sub(1)
            && self.nodes[last].owner() == key.name
        {
            self.nodes[last] = node;
            return None;
        }
        let mut right = None;
        if self.nodes.is_full() {
            // Zones are loaded in order: what comes at the end leaves full pages behind.
            let at = if position == FANOUT { FANOUT } else { FANOUT / 2 };
            right = Some(Self { keys: self.keys.split_off(at), nodes: self.nodes.drain(at..).collect() });
        }
        match &mut right {
            Some(right) if position > self.nodes.len() || self.nodes.is_full() => {
                right.insert(position - self.nodes.len(), key.number, node);
            }
            _ => self.insert(position, key.number, node),
        }
        right
    }

    fn insert(&mut self, position: usize, number: u64, node: Node) {
        self.keys.insert(position, number);
        self.nodes.insert(position, node);
    }
}

impl Inner {
    fn push(&mut self, page: Arc<Page>) {
        let at = self.pages.len();
        self.insert_here(at, page);
    }

    fn insert_here(&mut self, at: usize, page: Arc<Page>) {
        let (number, first) = page.first().expect("only an empty zone has an empty page, and that is the root");
        self.keys.insert(at, number);
        self.firsts.insert(at, first.clone());
        self.counts.insert(at, page.count());
        self.pages.insert(at, page);
    }

    /// What had to go to a new page on the right.
    fn insert(&mut self, at: usize, page: Arc<Page>) -> Option<Self> {
        if !self.pages.is_full() {
            self.insert_here(at, page);
            return None;
        }
        let middle = if at == FANOUT { FANOUT } else { FANOUT / 2 };
        let mut right = Self {
            keys: self.keys.split_off(middle),
            firsts: self.firsts.drain(middle..).collect(),
            counts: self.counts.drain(middle..).collect(),
            pages: self.pages.drain(middle..).collect(),
        };
        if at > middle || middle == FANOUT {
            right.insert_here(at - middle, page)
        } else {
            self.insert_here(at, page)
        }
        Some(right)
    }

    /// The page at `child` has changed.
    fn refresh(&mut self, child: usize) {
        let page = &self.pages[child];
        let (number, first) = page.first().expect("only an empty zone has an empty page, and that is the root");
        self.keys.numbers[child] = number;
        self.firsts[child] = first.clone();
        self.counts[child] = page.count();
    }

    fn forget(&mut self, child: usize) {
        self.keys.remove(child);
        self.firsts.remove(child);
        self.counts.remove(child);
        self.pages.remove(child);
    }

    /// The page at `child` has lost an entry: it goes if it is empty, and into its neighbour if it is small.
    fn tidy(&mut self, child: usize) {
        let entries = self.pages[child].entries();
        if entries == 0 {
            return self.forget(child);
        }
        self.refresh(child);
        let left = if child + 1 < self.pages.len() { Some(child) } else { child.checked_sub(1) };
        let Some(left) = left.filter(|_| entries < FEW) else { return };
        if self.pages[left].entries() + self.pages[left + 1].entries() <= FANOUT {
            let right = Arc::clone(&self.pages[left + 1]);
            Arc::make_mut(&mut self.pages[left]).append(&right);
            self.forget(left + 1);
            self.refresh(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::directory::name::Name;

    fn name() -> impl Strategy<Value = Name> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(b'*'), Just(b'a'), Just(b'b'), Just(255), any::<u8>()];
        let label = prop::collection::vec(byte, 1..4);
        let labels = prop_oneof![prop::collection::vec(label.clone(), 0..4), prop::collection::vec(label, 1..2)];
        labels.prop_map(|labels| {
            let apex = Name::parse("zone.example.", None).unwrap();
            labels.iter().fold(apex, |name, label| name.child(label).unwrap())
        })
    }

    const APEX: usize = 14;

    fn key(name: &Name) -> Key<'_> {
        Key::new(name.as_ref(), APEX)
    }

    proptest! {
        #[test]
        fn the_numbers_of_names_ascend_in_canonical_order(a in name(), b in name()) {
            if a <= b {
                prop_assert!(key(&a).number <= key(&b).number);
            }
        }

        /// What an ordered map of the standard library does, step by step; and what was cloned before stays as it was.
        #[test]
        fn it_behaves_as_an_ordered_map(steps in prop::collection::vec((name(), 0..3u8), 1..400), asked in prop::collection::vec(name(), 20)) {
            let (mut tree, mut map) = (Tree::new(), std::collections::BTreeSet::new());
            let mut before = (tree.clone(), map.clone());
            for (step, (name, what)) in steps.iter().enumerate() {
                if *what > 0 {
                    tree.put(key(name), Node::new(name.as_ref(), &[]));
                    map.insert(name.clone());
                } else {
                    tree.remove(key(name));
                    map.remove(name);
                }
                if step == steps.len() / 2 {
                    before = (tree.clone(), map.clone());
                }
            }
            for (tree, map) in [(tree, map), before] {
                prop_assert_eq!(tree.len(), map.len());
                for (rank, name) in map.iter().enumerate() {
                    prop_assert_eq!(tree.at(rank).map(|node| node.owner()), Some(name.as_ref()));
                }
                prop_assert!(tree.at(map.len()).is_none());
                for name in asked.iter().chain(&map) {
                    let found = tree.seek(key(name));
                    let owner = |node: Option<&Node>| node.map(|node| node.owner().as_wire().to_vec());
                    let wire = |name: Option<&Name>| name.map(|name| name.as_wire().to_vec());
                    prop_assert_eq!(owner(found.at_or_before), wire(map.range(..=name.clone()).next_back()));
                    prop_assert_eq!(owner(found.after), wire(map.range(name.clone()..).find(|it| *it != name)));
                    prop_assert_eq!(found.exact, map.contains(name));
                    prop_assert_eq!(tree.rank(key(name)), map.range(..=name.clone()).count());
                }
            }
        }
    }

    #[test]
    fn thousands_of_names_come_and_go_in_any_order() {
        let apex = Name::parse("zone.example.", None).unwrap();
        let names: Vec<Name> = (0..5000u32)
            .map(|n| apex.child(format!("n{:08x}", n.wrapping_mul(2_654_435_761)).as_bytes()).unwrap())
            .collect();
        let mut tree = Tree::new();
        for name in &names {
            tree.put(key(name), Node::new(name.as_ref(), &[]));
        }
        let mut sorted = names.clone();
        sorted.sort();
        assert!((0..5000).all(|rank| tree.at(rank).unwrap().owner() == sorted[rank].as_ref()));
        for (gone, name) in names.iter().enumerate() {
            tree.remove(key(name));
            assert_eq!(tree.len(), 4999 - gone);
            assert!(!tree.seek(key(name)).exact);
        }
        assert!(tree.0.first().is_none());
    }
}
