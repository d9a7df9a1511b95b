//! The answer path: one query parsed and answered, in a signed zone of 100,000 names.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use torrens::directory::name::Name;
use torrens::directory::name_ref::NameBuffer;
use torrens::directory::rrset::{Rrset, Rtype};
use torrens::directory::zone::{SignedRrset, SignedZone};
use torrens::dns::query::parse;
use torrens::dns::{Client, Settings, Transport, answer, fetch, respond};
use torrens::store::view::View;

const NAMES: usize = 100_000;

fn signed(rtype: Rtype, rdata: Vec<u8>) -> SignedRrset {
    // The RRSIG of an Ed25519 signature in this zone: 18 bytes, the signer's name, 64 bytes.
    SignedRrset { rrset: Rrset::new(rtype, 3600, vec![rdata]), rrsig: Some(vec![0x5a; 18 + 15 + 64]) }
}

fn view() -> View {
    let apex = Name::parse("names.example.", None).unwrap();
    let mut names: Vec<Name> = (0..NAMES).map(|n| apex.child(label(n).as_bytes()).unwrap()).collect();
    names.push(apex.clone());
    names.sort();
    let mut zone = SignedZone::new(apex.clone());
    for (position, name) in names.iter().enumerate() {
        let next = &names[(position + 1) % names.len()];
        zone.put(name, signed(Rtype::A, vec![192, 0, 2, 1]));
        zone.put(name, signed(Rtype::NSEC, [next.as_wire(), &[0, 6, 0x40, 0, 0, 0, 0, 3]].concat()));
    }
    zone.put(&apex, signed(Rtype::SOA, [apex.as_wire(), apex.as_wire(), &[0; 20]].concat()));
    View { zones: [(apex, Arc::new(zone))].into(), ..View::default() }
}

/// Spreads neighbouring numbers over the zone.
fn label(number: usize) -> String {
    format!("n{:08x}", (number as u32).wrapping_mul(2_654_435_761))
}

fn query(label: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, label.len() as u8];
    message.extend_from_slice(label.as_bytes());
    message.extend_from_slice(b"\x05names\x07example\x00\x00\x01\x00\x01");
    message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    message
}

fn bench(criterion: &mut Criterion) {
    let view = view();
    let mut out = Vec::with_capacity(1232);
    let settings = Settings::new("bench", [7; 16]);
    let transport = Transport::Udp { max: 1232 };
    let client = Client::new(transport, [192, 0, 2, 1].into(), 1_000_000, &settings);
    let mut group = criterion.benchmark_group("answer");
    for (what, suffix) in [("positive", ""), ("nxdomain", "x")] {
        let queries: Vec<Vec<u8>> = (0..NAMES).map(|n| query(&(label(n) + suffix))).collect();
        let mut next = 0;
        group.bench_function(what, |bencher| {
            bencher.iter(|| {
                next = (next + 7919) % NAMES;
                respond(&view, black_box(&queries[next]), &client, &mut out)
            });
        });
    }
    group.finish();

    // As a UDP worker does it.
    const BATCH: usize = 32;
    let mut group = criterion.benchmark_group("batch of 32 answers");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (what, suffix) in [("positive", ""), ("nxdomain", "x")] {
        let queries: Vec<Vec<u8>> = (0..NAMES).map(|n| query(&(label(n) + suffix))).collect();
        let (mut next, mut names) = (0, vec![NameBuffer::default(); BATCH]);
        group.bench_function(what, |bencher| {
            bencher.iter(|| {
                let mut parsed = Vec::with_capacity(BATCH);
                for name in &mut names {
                    next = (next + 7919) % NAMES;
                    parsed.push(parse(black_box(&queries[next]), name));
                }
                fetch(&view, &parsed);
                parsed.iter().flatten().filter(|query| answer(&view, query, &client, &mut out)).count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
