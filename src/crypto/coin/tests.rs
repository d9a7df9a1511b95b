use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::committee::FailProne;

fn dealt(n: usize) -> (CoinPublic, Vec<CoinSecret>) {
    deal(&Committee::new(n).unwrap(), &mut ChaCha20Rng::seed_from_u64(n as u64))
}

fn name(round: u64) -> CoinName {
    CoinName::new(&hash("test network", &[]), 0, round)
}

fn value(public: &CoinPublic, secrets: &[CoinSecret], round: u64, chosen: &[usize]) -> Option<CoinValue> {
    let shares: Vec<_> = chosen.iter().map(|&i| secrets[i].shares(&name(round))).collect();
    let of: Vec<_> = chosen.iter().zip(&shares).map(|(&i, of)| (secrets[i].index(), of.as_slice())).collect();
    public.combine(&name(round), &public.verify_all(&name(round), &of).unwrap())
}

#[test]
fn any_quorum_gives_the_same_value_and_fewer_give_none() {
    let (public, secrets) = dealt(7);
    let expected = value(&public, &secrets, 3, &[0, 1, 2, 3, 4]).unwrap();
    for chosen in [[6, 5, 4, 3, 2].as_slice(), &[0, 2, 4, 5, 6], &[0, 1, 2, 3, 4, 5, 6]] {
        assert_eq!(value(&public, &secrets, 3, chosen), Some(expected));
    }
    assert_eq!(value(&public, &secrets, 3, &[0, 1, 2, 3]), None);
    assert_eq!(value(&public, &secrets, 3, &[0, 1, 2, 3, 3]), None);
    assert_ne!(value(&public, &secrets, 4, &[0, 1, 2, 3, 4]), Some(expected));
}

#[test]
fn a_share_of_another_index_round_epoch_network_or_key_is_refused() {
    let (public, secrets) = dealt(4);
    let share = secrets[1].shares(&name(9));
    assert!(public.verify(ReplicaId(1), &name(9), &share).is_some());
    assert!(public.verify(ReplicaId(2), &name(9), &share).is_none());
    assert!(public.verify(ReplicaId(4), &name(9), &share).is_none());
    assert!(public.verify(ReplicaId(1), &name(10), &share).is_none());
    assert!(public.verify(ReplicaId(1), &CoinName::new(&hash("test network", &[]), 1, 9), &share).is_none());
    assert!(public.verify(ReplicaId(1), &CoinName::new(&Digest::ZERO, 0, 9), &share).is_none());
    let (other, _) = deal(&Committee::new(4).unwrap(), &mut ChaCha20Rng::seed_from_u64(99));
    assert!(other.verify(ReplicaId(1), &name(9), &share).is_none());
}

#[test]
fn a_share_with_any_byte_changed_is_refused() {
    let (public, secrets) = dealt(4);
    let bytes = crate::codec::encode(&secrets[0].shares(&name(1))[0]);
    assert_eq!(bytes.len(), 128);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x41;
        let share: CoinShare = crate::codec::decode(&bytes, 128).unwrap();
        assert!(public.verify(ReplicaId(0), &name(1), &[share]).is_none(), "byte {at}");
    }
}

#[test]
fn a_batch_verifies_if_all_its_shares_do() {
    let (public, secrets) = dealt(7);
    let shares: Vec<_> = secrets.iter().map(|secret| secret.shares(&name(2))).collect();
    let good: Vec<_> = secrets.iter().zip(&shares).map(|(secret, of)| (secret.index(), of.as_slice())).collect();
    for count in 0..=7 {
        let verified = public.verify_all(&name(2), &good[..count]).unwrap();
        assert!(verified.iter().map(VerifiedShares::author).eq(good[..count].iter().map(|(author, _)| *author)));
    }
    for bad in 0..7 {
        let with = |author, share: &[CoinShare]| {
            let mut shares = good.clone();
            shares[bad] = (author, share);
            public.verify_all(&name(2), &shares).is_none()
        };
        assert!(with(good[bad].0, &secrets[bad].shares(&name(3))));
        assert!(with(good[bad].0, &[]));
        assert!(with(good[bad].0, &[good[bad].1, good[bad].1].concat()));
        assert!(with(good[bad].0, good[(bad + 1) % 7].1));
        assert!(with(ReplicaId(7), good[bad].1));
    }
}

#[test]
fn false_shares_do_not_cancel_out() {
    let (public, secrets) = dealt(4);
    let shifted = |secret: &CoinSecret, by: Scalar| {
        let share = secret.shares(&name(1))[0];
        let response: Scalar = Option::from(Scalar::from_canonical_bytes(share.response)).unwrap();
        (secret.index(), [CoinShare { response: (response + by).to_bytes(), ..share }])
    };
    let one = Scalar::ONE;
    let refused = |shares: [&(ReplicaId, [CoinShare; 1]); 2]| {
        public.verify_all(&name(1), &shares.map(|(author, shares)| (*author, shares.as_slice()))).is_none()
    };
    assert!(refused([&shifted(&secrets[0], one), &shifted(&secrets[1], -one)]));
    let twice = shifted(&secrets[0], one);
    assert!(refused([&twice, &twice]));
}

#[test]
fn shares_of_different_coins_do_not_combine() {
    let (public, secrets) = dealt(4);
    let share =
        |secret: &CoinSecret, round| public.verify(secret.index(), &name(round), &secret.shares(&name(round))).unwrap();
    let mixed = [share(&secrets[0], 1), share(&secrets[1], 1), share(&secrets[2], 2)];
    assert_eq!(public.combine(&name(1), &mixed), None);
}

#[test]
fn keys_come_back_from_their_bytes() {
    let (public, secrets) = dealt(4);
    let again: CoinPublic = crate::codec::decode(&crate::codec::encode(&public), 1000).unwrap();
    assert_eq!(again, public);
    let secret = CoinSecret::from_bytes(&secrets[2].to_bytes()[..]).unwrap();
    assert!(public.matches(&secret));
    assert_eq!(secret.shares(&name(5)), secrets[2].shares(&name(5)));
    assert_eq!(secret.to_bytes().len(), 33);
    assert!(CoinSecret::from_bytes(&[0xff; 33]).is_none());
    assert!(CoinSecret::from_bytes(&[0; 32]).is_none());
    assert!(format!("{secret:?}").contains("[redacted]"));
}

#[test]
fn the_scheme_is_frozen() {
    let (public, secrets) = dealt(4);
    let share = data_encoding::HEXLOWER.encode(&crate::codec::encode(&secrets[0].shares(&name(1))[0]));
    let value = value(&public, &secrets, 1, &[0, 1, 2]).unwrap();
    assert_eq!(
        share,
        "86e58dc3d18b6fb5ad958e9c1646d1fd0bbcdf62d6e197945edc17e36dc2ea6e986f41c2e3a03064470cea9577711ddb884dbd6b98fbcffeed3be55e26404519ea63d3ebc770e8467398f294f41f8e7fb41e77bdc1efdef29b12075279eee829c41082ab56ebb518a05f35a39ad6ca50f5f8a81b5b867b33f43be7796840a60d"
    );
    assert_eq!(
        data_encoding::HEXLOWER.encode(&value.0),
        "627653234c951925e8b14fad6f10dcd276cc046aa3ba8752a1e2fe10d463b28f"
    );
}

#[test]
fn under_a_structure_every_quorum_gives_the_value_and_nothing_less_does() {
    let family = "any 2 replicas or any 1 of [0 1 2 3, 4 5, 6 7, 8]";
    let committee = Committee::general(9, FailProne::parse(family, &|_| None).unwrap()).unwrap();
    let (public, secrets) = deal(&committee, &mut ChaCha20Rng::seed_from_u64(9));
    assert!(secrets.iter().all(|secret| secret.rows.len() == 2 && public.matches(secret)));
    assert!(!public.matches(&CoinSecret::from_bytes(&secrets[0].to_bytes()[..33]).unwrap()));
    let shares: Vec<_> = secrets.iter().map(|secret| secret.shares(&name(1))).collect();
    let of: Vec<_> = secrets.iter().zip(&shares).map(|(secret, of)| (secret.index(), of.as_slice())).collect();
    let verified = public.verify_all(&name(1), &of).unwrap();
    let value = public.combine(&name(1), &verified);
    assert!(value.is_some());
    for bits in 0..1u32 << 9 {
        let some: Vec<_> = (0..9).filter(|at| bits >> at & 1 == 1).map(|at| verified[at].clone()).collect();
        let is_quorum = committee.is_quorum(some.iter().map(VerifiedShares::author).collect());
        assert_eq!(public.combine(&name(1), &some), value.filter(|_| is_quorum));
    }
    let swapped = [shares[0][1], shares[0][0]];
    assert!(public.verify(ReplicaId(0), &name(1), &swapped).is_none());
    let again: CoinPublic = crate::codec::decode(&crate::codec::encode(&public), 2000).unwrap();
    assert_eq!(again, public);
}

#[test]
fn every_replica_comes_first_about_equally_often() {
    let committee = Committee::new(4).unwrap();
    let mut first = [0; 4];
    for i in 0u32..4000 {
        let coin = CoinValue(hash("test coin", &[&i.to_be_bytes()]).0);
        first[coin.permutation("test", &committee)[0].index()] += 1;
    }
    assert!(first.iter().all(|count| (900..1100).contains(count)), "{first:?}");
}
