//! What a round costs one replica: the coin, the verification of a block, and a whole round with everything but the disk
//! and the network.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use torrens::committee::{Committee, ReplicaId};
use torrens::crypto::coin::{self, CoinName, CoinSecret};
use torrens::crypto::digest::hash;
use torrens::crypto::ed25519::SecretKey;
use torrens::directory::Timestamp;
use torrens::order::startup::Outcome;
use torrens::order::{Effect, Order, OrderPublic, Recovered, VerifiedBlock};

fn cluster(n: usize) -> (Arc<OrderPublic>, Vec<Order>) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let committee = Committee::new(n).expect("4 to 64 replicas");
    let identities: Vec<_> = committee.ids().map(|_| Arc::new(SecretKey::generate(&mut rng))).collect();
    let (coin, secrets) = coin::deal(&committee, &mut rng);
    let keys = identities.iter().map(|identity| identity.public()).collect();
    let public =
        OrderPublic::new(committee.clone(), hash("bench network", &[]), 0, keys, coin).expect("keys of one dealing");
    let public = Arc::new(public);
    let start = |((id, identity), secret): ((ReplicaId, Arc<SecretKey>), CoinSecret)| {
        let (mut order, _) = Order::new(Arc::clone(&public), id, identity, secret, Recovered::empty());
        order.start(Outcome::GoOn { last: 0 });
        order
    };
    let orders = committee.ids().zip(identities).zip(secrets).map(start).collect();
    (public, orders)
}

/// One round of everybody; returns the commits of the first replica.
fn round(public: &OrderPublic, orders: &mut [Order], now: u64, payload: &[u8]) -> usize {
    let mut sent = Vec::new();
    for order in orders.iter_mut() {
        let Some(Effect::Persist(block)) = order.propose(Timestamp(now), payload) else { panic!("a round is due") };
        black_box(order.persisted(block.round()));
        sent.push(block);
    }
    let mut commits = 0;
    for (receiver, order) in orders.iter_mut().enumerate() {
        for block in sent.iter().filter(|block| block.author().index() != receiver) {
            let verified = VerifiedBlock::verify(public, block.bytes().to_vec()).expect("made by a correct replica");
            let effects = order.receive(block.author(), verified);
            commits += effects.iter().filter(|effect| receiver == 0 && matches!(effect, Effect::Commit(_))).count();
        }
    }
    commits
}

fn coins(criterion: &mut Criterion) {
    let committee = Committee::new(4).expect("four replicas");
    let (public, secrets) = coin::deal(&committee, &mut ChaCha20Rng::seed_from_u64(1));
    let name = CoinName::new(&hash("bench network", &[]), 0, 7);
    let dealt: Vec<_> = secrets.iter().map(|secret| (secret.index(), secret.shares(&name))).collect();
    let shares: Vec<_> = dealt.iter().map(|(author, shares)| (*author, shares.as_slice())).collect();
    criterion.bench_function("coin/share", |bench| bench.iter(|| secrets[0].shares(black_box(&name))));
    criterion.bench_function("coin/verify", |bench| {
        bench.iter(|| assert!(public.verify(shares[1].0, black_box(&name), shares[1].1).is_some()));
    });
    criterion.bench_function("coin/verify 2 at once", |bench| {
        bench.iter(|| assert!(public.verify_all(black_box(&name), &shares[1..3]).is_some()));
    });
    let verified = public.verify_all(&name, &shares[..3]).expect("dealt shares");
    criterion.bench_function("coin/combine of 4", |bench| bench.iter(|| public.combine(black_box(&name), &verified)));
}

/// Divide by the number of replicas for what a round costs one of them.
fn rounds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round of all replicas");
    for n in [4, 10, 16] {
        let (public, mut orders) = cluster(n);
        let mut now = 0;
        for _ in 0..100 {
            now += 1;
            round(&public, &mut orders, now, &[7; 300]);
        }
        group.bench_function(BenchmarkId::from_parameter(n), |bench| {
            bench.iter(|| {
                now += 1;
                round(&public, &mut orders, now, &[7; 300])
            });
        });
    }
    group.finish();
}

criterion_group!(benches, coins, rounds);
criterion_main!(benches);
