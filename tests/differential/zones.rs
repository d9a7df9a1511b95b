//! Random zones with all that answers depend on, as master files.

use std::collections::BTreeSet;
use std::fmt::Write;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// A master file, and the names that are worth asking for.
pub struct Zone {
    pub apex: String,
    pub text: String,
    pub names: BTreeSet<String>,
}

pub struct Dice(ChaCha20Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Labels that sort, escape and look in ways of their own.
const LABELS: [&str; 13] =
    ["a", "b", "www", "mail", "ns", "x--y", "_443", "_tcp", "0", "z-9", "a\\.b", "\\000", "\\255x"];

/// The zone of this number, and one beneath it that the same server has.
pub fn zones(number: u64) -> [Zone; 2] {
    let mut dice = Dice::new(number);
    let apex = format!("z{number}.test.");
    let child = format!("child.{apex}");
    let mut parent = Writer::new(&apex, &mut dice);
    parent.fill();
    parent.record("child", "NS", "ns.child");
    parent.record("ns.child", "A", "192.0.2.77");
    let parent = parent.zone;
    let mut inner = Writer::new(&child, &mut dice);
    inner.record("ns", "A", "192.0.2.77");
    inner.fill();
    [parent, inner.zone]
}

struct Writer<'d> {
    dice: &'d mut Dice,
    zone: Zone,
    /// Owners with a CNAME or DNAME, or that are cuts: nothing else may stand at them.
    closed: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl<'d> Writer<'d> {
    fn new(apex: &str, dice: &'d mut Dice) -> Self {
        let minimum = [60, 300, 7200][dice.below(3)];
        let mut text = format!("$ORIGIN {apex}\n$TTL 3600\n@ SOA ns hostmaster 7 3h 1h 1w {minimum}\n@ NS ns\n");
        if dice.one_in(2) {
            text += "@ NS ns.elsewhere.example.\n@ MX 10 mail\n@ TXT \"apex\"\n";
        }
        let zone = Zone { apex: apex.to_string(), text, names: [apex.to_string()].into() };
        Self { dice, zone, closed: BTreeSet::new(), used: BTreeSet::new() }
    }

    fn record(&mut self, owner: &str, rtype: &str, data: &str) {
        writeln!(self.zone.text, "{owner} {rtype} {data}").unwrap();
        self.used.insert(owner.to_ascii_lowercase());
        self.note(owner);
    }

    /// The name and its ancestors in the zone.
    fn note(&mut self, owner: &str) {
        let labels = split(owner);
        for from in 0..labels.len() {
            self.zone.names.insert(format!("{}.{}", labels[from..].join("."), self.zone.apex));
        }
    }

    fn owner(&mut self) -> String {
        let depth = 1 + self.dice.below(4);
        (0..depth).map(|_| *self.dice.pick(&LABELS)).collect::<Vec<_>>().join(".")
    }

    /// An owner at which nothing stands yet, and which hides nothing that stands.
    fn fresh(&mut self) -> Option<String> {
        let owner = self.owner();
        let taken = self.used.contains(&owner.to_ascii_lowercase()) || self.is_closed(&owner);
        (!taken).then_some(owner)
    }

    fn is_closed(&self, owner: &str) -> bool {
        let labels = split(owner);
        (0..labels.len()).any(|from| self.closed.contains(&labels[from..].join(".").to_ascii_lowercase()))
    }

    fn fill(&mut self) {
        if !self.used.contains("ns") {
            self.record("ns", "A", "192.0.2.53");
        }
        let names = 12 + self.dice.below(25);
        for _ in 0..names {
            let Some(owner) = self.fresh() else { continue };
            match self.dice.below(12) {
                0 | 1 => self.alias(&owner),
                2 => self.redirection(&owner),
                3 | 4 => self.cut(&owner),
                5 | 6 => self.wildcard(&owner),
                _ => self.host(&owner),
            }
        }
    }

    fn host(&mut self, owner: &str) {
        const DATA: [(&str, &str); 9] = [
            ("A", "192.0.2.1"),
            ("A", "192.0.2.2"),
            ("AAAA", "2001:db8::1"),
            ("TXT", "\"some text\" \"and more\""),
            ("MX", "10 mail"),
            ("SRV", "1 2 443 www"),
            ("CAA", "0 issue \"ca.example\""),
            ("HTTPS", "1 . alpn=h2"),
            ("TYPE65280", "\\# 3 010203"),
        ];
        for _ in 0..1 + self.dice.below(4) {
            let (rtype, data) = *self.dice.pick(&DATA);
            self.record(owner, rtype, data);
        }
    }

    fn target(&mut self) -> String {
        match self.dice.below(6) {
            0 => "www.elsewhere.example.".into(),
            1 => format!("nowhere-{}", self.dice.below(100)),
            2 => format!("deep.under.{}", self.owner()),
            3 => self.owner(),
            _ => {
                let names: Vec<&String> = self.zone.names.iter().collect();
                (*self.dice.pick(&names)).clone()
            }
        }
    }

    fn alias(&mut self, owner: &str) {
        let target = self.target();
        self.record(owner, "CNAME", &target);
    }

    fn redirection(&mut self, owner: &str) {
        if self.hides(owner) {
            return;
        }
        let target = self.target();
        self.record(owner, "DNAME", &target);
        if self.dice.one_in(2) {
            self.record(owner, "TXT", "\"beside a DNAME\"");
        }
        self.closed.insert(owner.to_ascii_lowercase());
    }

    fn cut(&mut self, owner: &str) {
        if self.hides(owner) {
            return;
        }
        if self.dice.one_in(2) {
            self.record(owner, "DS", "12345 15 2 5D1F7A1BDC3C9D3E9D4B2C4A1E0F99887766554433221100AABBCCDDEEFF0011");
        }
        self.record(owner, "NS", &format!("ns.{owner}"));
        self.record(&format!("ns.{owner}"), "A", "192.0.2.99");
        if self.dice.one_in(2) {
            self.record(&format!("ns.{owner}"), "AAAA", "2001:db8::99");
        }
        match self.dice.below(3) {
            0 => self.record(owner, "NS", "ns"),
            1 => self.record(owner, "NS", "ns.elsewhere.example."),
            _ => {}
        }
        self.closed.insert(owner.to_ascii_lowercase());
    }

    fn wildcard(&mut self, owner: &str) {
        let owner = format!("*.{owner}");
        if self.used.contains(&owner.to_ascii_lowercase()) {
            return;
        }
        match self.dice.below(4) {
            0 => self.alias(&owner),
            1 => self.record(&format!("beneath.{owner}"), "A", "192.0.2.5"),
            _ => self.host(&owner),
        }
    }

    /// Whether something stands beneath it already.
    fn hides(&self, owner: &str) -> bool {
        let suffix = format!(".{}", owner.to_ascii_lowercase());
        self.used.iter().any(|used| used.ends_with(&suffix))
    }
}

/// Labels of a name in presentation form; an escaped dot ends none.
fn split(owner: &str) -> Vec<&str> {
    let (mut labels, mut begin, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in owner.bytes().enumerate() {
        if byte == b'.' && !escaped {
            labels.push(&owner[begin..at]);
            begin = at + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    if begin < owner.len() {
        labels.push(&owner[begin..]);
    }
    labels
}
