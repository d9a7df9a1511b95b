//! The coins of the rounds, drawn from the shares in the blocks of four rounds later.
//!
//! A share is no part of a block's validity (a deviation from Mahi-Mahi and from our own first design, where a block with a
//! bad share was no block): checked one by one, shares were the dearest part of a round. They are checked when blocks of a
//! quorum are there, all those that are still needed in one batch, and no more than needed. Only if the batch fails is each
//! checked alone: a bad one is a fault of its author with its signed block as evidence; the block stays where it is,
//! and the next share takes its place. What is not needed is not checked, so a bad share may go unnoticed where it
//! changes nothing. A replica's own shares come from itself; they are not checked.
//!
//! **Replicas agree.** A coin has one value, whichever quorum of valid shares it is drawn from ([`crate::crypto::coin`]),
//! so what was looked at, when, and who was caught lying changes nothing but when a replica knows the coin.
//!
//! **Every coin comes.** That correct replicas are a quorum is not enough: a slow one jumps over rounds that the others
//! have finished, and a coin's shares are in the blocks of one round only. With f bad shares among the blocks that
//! finished the round, its coin would never come. Hence a round counts as finished, for making a block of the next,
//! only when the coin that it carries is known ([`Coins::finished`]), and a block has as parents those twins whose
//! shares were good. Then, for a block of round R by a correct replica, there is a quorum of valid shares in its past
//! at every round below R: at R − 1 among its parents; one of these is by a correct replica, which had them at R − 2,
//! and so on. Let R be the highest round with a block of a correct replica, and a round due. The block reaches all; so
//! all know the coins carried below R, none is kept from a block of round R, and all make one. Theirs are a quorum of
//! valid shares at R, and R + 1 follows: against the choice of R. What a corrupt replica puts on top, with parents
//! whose shares are bad, holds nobody up: joining goes no further than finished rounds allow
//! ([`super::Order::next_round`]). A replica that starts again has forgotten which shares were bad in rounds whose
//! coins it needs no more, and may make a block of such a round with a bad twin as parent. The last coin it has was
//! drawn from blocks of a round as high or higher; one of them is by a correct replica, and has the quorum in its past
//! instead.
//!
//! When a coin may be known does not change: shares are released with the same blocks as before.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use super::dag::{Dag, Handle};
use super::public::{OrderPublic, share_offset};
use crate::committee::{ReplicaId, ReplicaSet};
use crate::crypto::coin::{CoinBase, CoinName, CoinShare, CoinValue, Recombination, VerifiedShares};
use crate::limits::MAX_RECOMBINATIONS;
use crate::mutants::{Mutant, planted};

pub(super) struct Coins {
    known: BTreeMap<u64, CoinValue>,
    /// The first round whose coin is not known yet. Coins are drawn in turn.
    next: u64,
    /// Of that coin.
    verified: Vec<VerifiedShares>,
    /// Blocks whose share is bad.
    bad: BTreeSet<Handle>,
    /// Of the coin that a share was last made of or checked: first comes the own share, then those of others.
    base: Option<CoinBase>,
    /// Of quorums that coins were drawn from.
    recombinations: BTreeMap<ReplicaSet, Recombination>,
    /// Coins that a simulator draws without shares.
    pub drawn: Option<Box<dyn Fn(u64) -> CoinValue + Send>>,
}

impl Coins {
    /// Coins below round `next` are not needed any more.
    pub fn new(next: u64) -> Self {
        Self {
            known: BTreeMap::new(),
            next,
            verified: Vec::new(),
            bad: BTreeSet::new(),
            base: None,
            recombinations: BTreeMap::new(),
            drawn: None,
        }
    }

    pub fn get(&self, round: u64) -> Option<&CoinValue> {
        self.known.get(&round)
    }

    /// The highest round with blocks of a quorum whose coin, if it carries one, is known.
    pub fn finished(&self, dag: &Dag) -> u64 {
        if planted(Mutant::RoundBeforeCoin) {
            return dag.quorum_round();
        }
        dag.quorum_round().min(self.next + share_offset() - 1)
    }

    /// The first block of a slot whose share is not known to be bad; the first of all if there is none.
    pub fn first_good(&self, dag: &Dag, round: u64, author: ReplicaId) -> Option<Handle> {
        let mut twins = dag.twins(round, author);
        twins.find(|twin| !self.bad.contains(twin)).or_else(|| dag.twins(round, author).next())
    }

    /// Draws the next coin, if there is a quorum of valid shares of it. `me` made its own shares itself. Shares found to be
    /// bad go to `faults`.
    pub fn draw(
        &mut self,
        public: &OrderPublic,
        dag: &Dag,
        me: ReplicaId,
        faults: &mut Vec<Fault>,
    ) -> Option<(u64, CoinValue)> {
        let round = self.next;
        if let Some(drawn) = &self.drawn {
            let carried = public.committee.is_quorum(dag.authors(round + share_offset()));
            self.next += u64::from(carried);
            return carried.then(|| (round, *self.known.entry(round).or_insert_with(|| drawn(round))));
        }
        let name = public.coin_name(round);
        while !public.committee.is_quorum(self.authors()) {
            let needed = self.needed(public, dag, me)?;
            self.check(public, dag, me, &name, &needed, faults);
        }
        let coin = self.combine(public, &name);
        self.known.insert(round, coin);
        self.next += 1;
        Some((round, coin))
    }

    pub fn base(&mut self, name: &CoinName) -> CoinBase {
        let base = self.base.filter(|base| base.name() == name).unwrap_or_else(|| name.into());
        *self.base.insert(base)
    }

    /// The coin of the verified shares, which are those of a quorum.
    fn combine(&mut self, public: &OrderPublic, name: &CoinName) -> CoinValue {
        let (authors, shares) = (self.authors(), std::mem::take(&mut self.verified));
        if self.recombinations.len() >= MAX_RECOMBINATIONS && !self.recombinations.contains_key(&authors) {
            self.recombinations.clear();
        }
        let of_quorum = "verified shares of a quorum combine";
        let recombination =
            self.recombinations.entry(authors).or_insert_with(|| public.coin.recombination(authors).expect(of_quorum));
        public.coin.combine_with(recombination, name, &shares).expect(of_quorum)
    }

    /// Whose valid shares of the next coin are here.
    fn authors(&self) -> ReplicaSet {
        self.verified.iter().map(VerifiedShares::author).collect()
    }

    /// Blocks whose shares, were they all valid, would complete the quorum; `None` if there are too few.
    fn needed(&self, public: &OrderPublic, dag: &Dag, me: ReplicaId) -> Option<Vec<Handle>> {
        let carriers = self.next + share_offset();
        let mut authors = self.authors();
        let others = dag.authors(carriers).difference(authors);
        let own_first =
            others.iter().filter(|&author| author == me).chain(others.iter().filter(|&author| author != me));
        let mut needed = Vec::new();
        for author in own_first {
            if public.committee.is_quorum(authors) {
                break;
            }
            let unjudged = |twin: &Handle| !self.bad.contains(twin) && shares_in(dag, *twin).is_some();
            if let Some(block) = dag.twins(carriers, author).find(unjudged) {
                needed.push(block);
                authors.insert(author);
            }
        }
        public.committee.is_quorum(authors).then_some(needed)
    }

    fn check(
        &mut self,
        public: &OrderPublic,
        dag: &Dag,
        me: ReplicaId,
        name: &CoinName,
        blocks: &[Handle],
        faults: &mut Vec<Fault>,
    ) {
        let (own, others): (Vec<Handle>, Vec<Handle>) = blocks.iter().partition(|block| block.author == me);
        let base = self.base(name);
        let shares = others.iter().filter_map(|&block| Some((block.author, shares_in(dag, block)?)));
        let batch = public.coin.verify_all(base, &shares.collect::<Vec<_>>());
        let alone = if batch.is_some() { own } else { [own, others].concat() };
        self.verified.extend(batch.into_iter().flatten());
        for block in alone {
            let judged = shares_in(dag, block).and_then(|shares| {
                if block.author == me || planted(Mutant::CoinUnchecked) {
                    public.coin.trust(block.author, name, shares)
                } else {
                    public.coin.verify(block.author, base, shares)
                }
            });
            if judged.is_none() {
                self.bad.insert(block);
                faults.extend(dag.block(block).cloned().map(|block| Fault::CoinShare { block }));
            }
            self.verified.extend(judged);
        }
    }

    /// Forgets coins below `round`, and blocks up to `floor`.
    pub fn collect_garbage(&mut self, round: u64, floor: u64) {
        self.known = self.known.split_off(&round);
        self.bad = self.bad.split_off(&Handle::first_of(floor + 1));
    }
}

fn shares_in(dag: &Dag, block: Handle) -> Option<&[CoinShare]> {
    Some(&dag.block(block)?.header().coin)
}
