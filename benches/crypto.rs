//! What the threshold schemes cost on one core. `cargo bench --bench crypto`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use torrens::committee::{Committee, ReplicaId};
use torrens::crypto::bls::{Ciphertext, heads, sealing};
use torrens::crypto::digest::Digest;
use torrens::crypto::frost;
use torrens::crypto::shoup::{RsaPublic, RsaSecret, RsaShare, deal, generate_safe_prime};

const MESSAGE: &[u8] = b"to be signed";

/// Shoup's threshold RSA, 2 of 4, 2048 bits.
fn shoup(criterion: &mut Criterion) {
    let (public, secrets) = rsa_key();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let shares: BTreeMap<ReplicaId, RsaShare> = secrets
        .iter()
        .map(|secret| (secret.owner(), secret.share(&public, MESSAGE, &mut rng).expect("a dealt share")))
        .collect();
    let mut lying = shares.clone();
    lying.insert(ReplicaId(0), secrets[0].share(&public, b"another", &mut rng).expect("a dealt share"));
    let signature = public.combine(MESSAGE, &shares).expect("good shares").signature;

    let mut group = criterion.benchmark_group("shoup");
    group.bench_function("share", |bencher| bencher.iter(|| secrets[0].share(&public, black_box(MESSAGE), &mut rng)));
    group.bench_function("verify_share", |bencher| {
        bencher.iter(|| public.verify_share(ReplicaId(1), black_box(MESSAGE), &shares[&ReplicaId(1)]))
    });
    group.bench_function("combine", |bencher| bencher.iter(|| public.combine(black_box(MESSAGE), &shares)));
    group.bench_function("combine_with_a_bad_share", |bencher| {
        bencher.iter(|| public.combine(black_box(MESSAGE), &lying))
    });
    group.bench_function("verify_signature", |bencher| bencher.iter(|| public.verify(black_box(MESSAGE), &signature)));
    group.bench_function("check_key", |bencher| bencher.iter(|| public.check()));
}

/// The search for a safe prime of 1024 bits, of which a key takes two. Times vary as those of any such search.
fn safe_prime(criterion: &mut Criterion) {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let mut group = criterion.benchmark_group("shoup");
    group.sampling_mode(SamplingMode::Flat).sample_size(15).warm_up_time(Duration::from_millis(1));
    group
        .bench_function("safe_prime_1024", |bencher| bencher.iter(|| generate_safe_prime(1024, &mut rng, &mut |_| ())));
}

/// Sealed operations, 2 of 4, and heads, 3 of 4.
fn bls(criterion: &mut Criterion) {
    let committee = Committee::new(4).expect("four replicas are a committee");
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let (public, secrets) = sealing::deal(&committee, &mut rng);
    let sealed: Vec<Ciphertext> = (0..16).map(|at| public.key().seal(&[at; 512], &mut rng)).collect();
    let bytes = sealed[0].to_bytes();
    let checked = sealed[0].clone().check().expect("a fresh ciphertext");
    let shares: Vec<_> = secrets.iter().map(|secret| (secret.index(), secret.share(&checked))).collect();

    let mut group = criterion.benchmark_group("sealing");
    group.bench_function("seal", |bencher| bencher.iter(|| public.key().seal(black_box(MESSAGE), &mut rng)));
    group.bench_function("decode", |bencher| bencher.iter(|| Ciphertext::from_bytes(black_box(&bytes))));
    for count in [1, 4, 16] {
        group.bench_function(format!("check_{count}"), |bencher| {
            bencher.iter(|| Ciphertext::check_all(black_box(sealed[..count].to_vec())))
        });
    }
    group.bench_function("share", |bencher| bencher.iter(|| secrets[0].share(black_box(&checked))));
    group.bench_function("open", |bencher| bencher.iter(|| public.open(black_box(&checked), &shares[..2])));
    group.finish();

    let (public, secrets) = heads::deal(&committee, &mut ChaCha20Rng::from_seed([6; 32]));
    let head = Digest([7; 32]);
    let shares: Vec<_> = secrets.iter().map(|secret| (secret.index(), secret.sign(&head))).collect();
    let signature = public.combine(&head, &shares).expect("good shares");
    let mut group = criterion.benchmark_group("heads");
    group.bench_function("share", |bencher| bencher.iter(|| secrets[0].sign(black_box(&head))));
    group.bench_function("combine", |bencher| bencher.iter(|| public.combine(black_box(&head), &shares)));
    group.bench_function("verify", |bencher| bencher.iter(|| public.verify(black_box(&head), &signature)));
}

/// Signatures in zones, 2 of 4.
fn frost(criterion: &mut Criterion) {
    let committee = Committee::new(4).expect("four replicas are a committee");
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let (public, secrets) = frost::deal(&committee, &mut rng);
    let mut committed = |at: u8| (ReplicaId(at), frost::commit(&secrets[0], &mut rng));
    let fresh = [committed(0), committed(1)];
    let check = |commitment: frost::NonceCommitment| commitment.check().expect("a fresh commitment");
    let commitments: frost::Commitments = fresh.iter().map(|(id, (_, it))| (*id, check(*it))).collect();
    let bytes = fresh[0].1.1;
    let sign = |(id, (nonce, _)): (ReplicaId, (frost::Nonce, _))| {
        (id, frost::sign(&secrets[id.index()], nonce, &commitments, MESSAGE).expect("a whole package"))
    };
    let shares: BTreeMap<ReplicaId, frost::FrostShare> = fresh.into_iter().map(sign).collect();

    let mut group = criterion.benchmark_group("frost");
    group.bench_function("commit", |bencher| bencher.iter(|| frost::commit(&secrets[0], &mut rng)));
    group.bench_function("check", |bencher| bencher.iter(|| black_box(bytes).check()));
    group.bench_function("sign", |bencher| {
        // The nonce has to be one of the package.
        let with_fresh = |rng: &mut ChaCha20Rng| {
            let (nonce, commitment) = frost::commit(&secrets[0], rng);
            let mut commitments = commitments.clone();
            commitments.insert(ReplicaId(0), check(commitment));
            (nonce, commitments)
        };
        bencher.iter_batched(
            || with_fresh(&mut rng),
            |(nonce, commitments)| frost::sign(&secrets[0], nonce, &commitments, black_box(MESSAGE)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("aggregate", |bencher| {
        bencher.iter(|| frost::aggregate(&public, &commitments, black_box(MESSAGE), &shares))
    });
}

fn rsa_key() -> (RsaPublic, Vec<RsaSecret>) {
    let prime = |seed| {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        generate_safe_prime(1024, &mut rng, &mut |_| ()).expect("1024 bits are allowed")
    };
    let committee = Committee::new(4).expect("four replicas are a committee");
    deal(&committee, prime(1), prime(2), &mut ChaCha20Rng::from_seed([0; 32])).expect("safe primes")
}

criterion_group!(benches, shoup, safe_prime, bls, frost);
criterion_main!(benches);
