use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use threshold_crypto::group::{CurveAffine, EncodedPoint};
use threshold_crypto::{G1Affine, G2Affine};

use super::group;
use super::heads::{self, HeadPublic, HeadSecret, HeadShare};
use super::sealing::{self, Ciphertext, DecryptionShare, NotOpened, SealingKey, SealingPublic, SealingSecret};

const SECRET_BYTES: usize = 33;
use crate::codec;
use crate::committee::{Committee, FailProne, ReplicaId};
use crate::crypto::digest::Digest;

const HEAD: Digest = Digest([7; 32]);

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn head_key(n: usize) -> (HeadPublic, Vec<HeadSecret>) {
    heads::deal(&Committee::new(n).unwrap(), &mut rng(1))
}

fn sealing_key(n: usize) -> (SealingPublic, Vec<SealingSecret>) {
    sealing::deal(&Committee::new(n).unwrap(), &mut rng(2))
}

fn signed(secrets: &[HeadSecret], by: &[usize]) -> Vec<(ReplicaId, HeadShare)> {
    by.iter().map(|&at| (secrets[at].index(), secrets[at].sign(&HEAD))).collect()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[test]
fn keys_signatures_and_ciphertexts_are_frozen() {
    let (heads, head_secrets) = head_key(4);
    let (sealing, sealing_secrets) = sealing_key(4);
    let signature = heads.combine(&HEAD, &signed(&head_secrets, &[0, 1, 2])).unwrap();
    let ciphertext = sealing.key().seal(b"register alice.example", &mut rng(3));
    let checked = ciphertext.clone().check().unwrap();
    let lines = [
        hex(&codec::encode(&heads)),
        hex(head_secrets[3].to_bytes().as_slice()),
        hex(&codec::encode(&head_secrets[0].sign(&HEAD))),
        hex(&signature.to_bytes()),
        hex(&codec::encode(&sealing)),
        hex(sealing_secrets[3].to_bytes().as_slice()),
        hex(&sealing.key().to_bytes()),
        hex(&ciphertext.to_bytes()),
        hex(&codec::encode(&sealing_secrets[0].share(&checked))),
    ];
    assert_eq!(lines.join("\n"), include_str!("../../../tests/golden/bls.txt").trim_end());
}

#[test]
fn every_quorum_gives_the_same_signature_and_less_gives_none() {
    for n in [4, 7] {
        let (public, secrets) = head_key(n);
        let quorum = public.committee().quorum_threshold();
        let first: Vec<usize> = (0..quorum).collect();
        let last: Vec<usize> = (n - quorum..n).collect();
        let signature = public.combine(&HEAD, &signed(&secrets, &first)).unwrap();
        assert_eq!(public.combine(&HEAD, &signed(&secrets, &last)), Some(signature));
        assert!(public.verify(&HEAD, &signature));
        assert!(!public.verify(&Digest([8; 32]), &signature));
        assert_eq!(public.combine(&HEAD, &signed(&secrets, &first[1..])), None);
        let mut twice = signed(&secrets, &first[1..]);
        twice.push(twice[0]);
        assert_eq!(public.combine(&HEAD, &twice), None, "one replica counts once");
    }
}

#[test]
fn a_bad_share_of_a_signature_is_told_from_a_good_one() {
    let (public, secrets) = head_key(4);
    let mut shares = signed(&secrets, &[0, 1, 2]);
    for (author, share) in &shares {
        assert!(public.verify_share(*author, &HEAD, share));
        assert!(!public.verify_share(ReplicaId(3), &HEAD, share));
        assert!(!public.verify_share(ReplicaId(4), &HEAD, share));
    }
    shares[1].1 = secrets[1].sign(&Digest([8; 32]));
    assert!(!public.verify_share(ReplicaId(1), &HEAD, &shares[1].1));
    assert_eq!(public.combine(&HEAD, &shares), None);
}

#[test]
fn a_signature_is_the_crates_under_our_domain() {
    let (public, secrets) = head_key(4);
    let signature = public.combine(&HEAD, &signed(&secrets, &[1, 2, 3])).unwrap();
    let message = crate::crypto::digest::hash("torrens v1 head signature", &[&HEAD.0]);
    let encoded = codec::encode(&public);
    let (_, rest) = encoded.split_at(codec::encode(public.committee()).len());
    let key = threshold_crypto::PublicKey::from_bytes(*rest.first_chunk::<48>().unwrap()).unwrap();
    assert!(key.verify(&threshold_crypto::Signature::from_bytes(signature.to_bytes()).unwrap(), message.0));
}

#[test]
fn any_kernel_opens_and_less_does_not() {
    for n in [4, 7] {
        let (public, secrets) = sealing_key(n);
        let kernel = public.committee().kernel_threshold();
        for message in [&b""[..], b"short", &[9; 700]] {
            let sealed = public.key().seal(message, &mut rng(4)).check().unwrap();
            let shares: Vec<_> = secrets.iter().map(|secret| (secret.index(), secret.share(&sealed))).collect();
            assert_eq!(public.open(&sealed, &shares[..kernel]).as_deref(), Ok(message));
            assert_eq!(public.open(&sealed, &shares[n - kernel..]).as_deref(), Ok(message));
            assert_eq!(public.open(&sealed, &shares[..kernel - 1]), Err(NotOpened::TooFew));
            assert_eq!(public.open(&sealed, &[shares[0].clone(), shares[0].clone()]), Err(NotOpened::TooFew));
        }
    }
}

#[test]
fn bad_decryption_shares_name_their_authors() {
    let (public, secrets) = sealing_key(7);
    let (sealed, other) = (public.key().seal(b"one", &mut rng(5)), public.key().seal(b"other", &mut rng(6)));
    let (sealed, other) = (sealed.check().unwrap(), other.check().unwrap());
    let mut shares: Vec<_> = secrets[..3].iter().map(|secret| (secret.index(), secret.share(&sealed))).collect();
    shares[2].1 = secrets[2].share(&other);
    assert_eq!(public.open(&sealed, &shares), Err(NotOpened::Bad(vec![ReplicaId(2)])));
    shares[0].1 = codec::decode(&[&[1][..], &[0xff; 48]].concat(), 49).unwrap();
    assert_eq!(public.open(&sealed, &shares), Err(NotOpened::Bad(vec![ReplicaId(0), ReplicaId(2)])));
}

#[test]
fn a_ciphertext_cannot_be_changed() {
    let key = sealing_key(4).0.key();
    let sealed = key.seal(b"register alice.example", &mut rng(7)).to_bytes();
    let other = key.seal(b"register alice.example", &mut rng(8)).to_bytes();
    let mut mauled = vec![sealed[..sealed.len() - 1].to_vec(), [&sealed[..], &[0]].concat()];
    for at in 144..sealed.len() {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        mauled.push(bytes);
    }
    // Each part of another valid ciphertext in place of its own.
    for part in [0..48, 48..144, 144..sealed.len()] {
        let mut bytes = sealed.clone();
        bytes[part.clone()].copy_from_slice(&other[part]);
        mauled.push(bytes);
    }
    let parsed: Vec<Ciphertext> = mauled.iter().map(|bytes| Ciphertext::from_bytes(bytes).unwrap()).collect();
    assert!(Ciphertext::check_all(parsed).iter().all(Option::is_none));
}

#[test]
fn many_ciphertexts_are_checked_as_each_of_them() {
    let key = sealing_key(4).0.key();
    let mut sealed: Vec<_> = (0..5).map(|at| key.seal(&[at; 30], &mut rng(u64::from(at)))).collect();
    assert_eq!(Ciphertext::check_all(sealed.clone()).iter().filter(|valid| valid.is_some()).count(), 5);
    let mut bytes = sealed[3].to_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    sealed[3] = Ciphertext::from_bytes(&bytes).unwrap();
    // Two errors that cancel each other in a plain sum: W of one and of the other, exchanged.
    let (first, second) = (sealed[0].to_bytes(), sealed[1].to_bytes());
    let exchanged = [&first[..48], &second[48..144], &first[144..]].concat();
    let back = [&second[..48], &first[48..144], &second[144..]].concat();
    sealed[0] = Ciphertext::from_bytes(&exchanged).unwrap();
    sealed[1] = Ciphertext::from_bytes(&back).unwrap();
    let valid: Vec<bool> = Ciphertext::check_all(sealed.clone()).iter().map(Option::is_some).collect();
    assert_eq!(valid, [false, false, true, false, true]);
    assert!(Ciphertext::check_all(Vec::new()).is_empty());
}

#[test]
fn our_check_is_the_crates() {
    let key = sealing_key(4).0.key();
    for length in [0, 1, 48, 64, 65, 300] {
        let mut bytes = key.seal(&vec![5; length], &mut rng(9)).to_bytes();
        for change in [0, 1] {
            if let Some(last) = bytes.last_mut() {
                *last ^= change * u8::from(length > 0);
            }
            let ours = Ciphertext::from_bytes(&bytes).unwrap();
            assert_eq!(ours.crates().verify(), ours.check().is_some(), "{length}, {change}");
        }
    }
}

/// A point of the curve outside the subgroup: almost every point is one.
fn outside<P: CurveAffine>() -> Vec<u8> {
    (1u8..)
        .find_map(|x| {
            let mut compressed = P::Compressed::empty();
            compressed.as_mut()[0] = 0x80;
            *compressed.as_mut().last_mut().unwrap() = x;
            compressed.into_affine_unchecked().ok().filter(|_| compressed.into_affine().is_err())?;
            Some(compressed.as_ref().to_vec())
        })
        .unwrap()
}

/// Bytes that no correct party makes in place of a point of `length` bytes.
fn hostile(sound: &[u8], outside: Vec<u8>) -> Vec<Vec<u8>> {
    let length = sound.len();
    let with = |first: u8, rest: u8| [vec![first], vec![rest; length - 1]].concat();
    let flagged = |flag: u8| [&[sound[0] ^ flag], &sound[1..]].concat();
    vec![
        outside,
        with(0xc0, 0), // the identity
        with(0xe0, 0), // the identity with a sign
        with(0xc0, 1),
        with(0x9f, 0xff), // not reduced
        with(0xbf, 0xff),
        with(0, 0),
        flagged(0x80), // not compressed
        flagged(0x40),
    ]
}

#[test]
fn points_outside_the_group_and_the_identity_are_refused() {
    let key = sealing_key(4).0;
    let sound = key.key().seal(b"message", &mut rng(10)).to_bytes();
    for u in hostile(&sound[..48], outside::<G1Affine>()) {
        assert!(Ciphertext::from_bytes(&[&u, &sound[48..]].concat()).is_none(), "{}", hex(&u));
        assert!(SealingKey::from_bytes(u.as_slice().try_into().unwrap()).is_none());
        assert!(group::decode::<G1Affine>(&u).is_none());
    }
    for w in hostile(&sound[48..144], outside::<G2Affine>()) {
        assert!(Ciphertext::from_bytes(&[&sound[..48], &w, &sound[144..]].concat()).is_none(), "{}", hex(&w));
        assert!(group::decode::<G2Affine>(&w).is_none());
    }
    for length in 0..144 {
        assert!(Ciphertext::from_bytes(&sound[..length]).is_none());
    }
    let too_long = vec![0; crate::limits::MAX_SEALED_MESSAGE + 1];
    assert!(Ciphertext::from_bytes(&[&sound[..144], &too_long].concat()).is_none());
}

#[test]
fn under_a_structure_every_kernel_opens_and_quorums_sign() {
    let family = "any 2 replicas or any 1 of [0 1 2 3, 4 5, 6 7, 8]";
    let committee = Committee::general(9, FailProne::parse(family, &|_| None).unwrap()).unwrap();
    let (public, secrets) = sealing::deal(&committee, &mut rng(2));
    let again: SealingPublic = codec::decode(&codec::encode(&public), 2000).unwrap();
    assert_eq!(again, public);
    assert_eq!(secrets[0].to_bytes().len(), 1 + 64, "two rows");
    assert!(secrets.iter().all(|secret| public.matches(secret)));
    let sealed = public.key().seal(b"message", &mut rng(3)).check().unwrap();
    let shares: Vec<_> = secrets.iter().map(|secret| (secret.index(), secret.share(&sealed))).collect();
    assert!(shares.iter().all(|(author, share)| public.verify_share(*author, &sealed, share)));
    let opened = |by: &[usize]| public.open(&sealed, &by.iter().map(|&at| shares[at].clone()).collect::<Vec<_>>());
    for kernel in [&[0, 1, 4][..], &[4, 6, 8], &[8, 7, 5, 0], &[0, 1, 2, 3, 8]] {
        assert_eq!(opened(kernel).as_deref(), Ok(&b"message"[..]), "{kernel:?}");
    }
    for failed in [&[0, 1, 2, 3][..], &[0, 8], &[4, 5], &[]] {
        assert_eq!(opened(failed), Err(NotOpened::TooFew), "{failed:?}");
    }
    // One of two points of a share wrong, or one left out.
    let mut lying = [0, 1, 4].map(|at| shares[at].clone());
    let halves = |at: usize| codec::encode(&shares[at].1)[1..].to_vec();
    let wrong = [&[2], &halves(4)[..48], &halves(0)[48..]].concat();
    for bytes in [wrong, [&[1], &halves(4)[..48]].concat(), vec![0]] {
        lying[2].1 = codec::decode(&bytes, 97).unwrap();
        assert_eq!(public.open(&sealed, &lying), Err(NotOpened::Bad(vec![ReplicaId(4)])));
    }
    assert!(codec::decode::<DecryptionShare>(&[&[200][..], &[1; 200 * 48]].concat(), 10_000).is_err());

    let (public, secrets) = heads::deal(&committee, &mut rng(1));
    assert!(public.combine(&HEAD, &signed(&secrets, &[4, 5, 6, 7, 8])).is_some(), "a whole class is silent");
    assert!(public.combine(&HEAD, &signed(&secrets, &[0, 1, 2, 3])).is_none(), "a whole class is corrupt");
}

#[test]
fn shares_that_are_no_points_are_bad_shares() {
    let (heads, secrets) = head_key(4);
    let sound = codec::encode(&secrets[0].sign(&HEAD));
    for bytes in hostile(&sound, outside::<G2Affine>()) {
        let share: HeadShare = codec::decode(&bytes, 96).unwrap();
        assert!(!heads.verify_share(ReplicaId(0), &HEAD, &share));
        let mut shares = signed(&secrets, &[0, 1, 2]);
        shares[0].1 = share;
        assert_eq!(heads.combine(&HEAD, &shares), None);
    }
    let (sealing, secrets) = sealing_key(4);
    let sealed = sealing.key().seal(b"message", &mut rng(11)).check().unwrap();
    let sound = codec::encode(&secrets[0].share(&sealed));
    for bytes in hostile(&sound[1..], outside::<G1Affine>()) {
        let share = codec::decode(&[&[1], bytes.as_slice()].concat(), 49).unwrap();
        let shares = [(ReplicaId(0), share), (ReplicaId(1), secrets[1].share(&sealed))];
        assert_eq!(sealing.open(&sealed, &shares), Err(NotOpened::Bad(vec![ReplicaId(0)])));
    }
}

#[test]
fn public_keys_whose_shares_do_not_belong_together_are_refused() {
    let sound = codec::encode(&head_key(4).0);
    assert!(codec::decode::<HeadPublic>(&sound, 1000).is_ok());
    // Where the points begin: the last five times 48 bytes, with the number of shares after the first.
    let key = sound.len() - 5 * 48 - 1;
    let first = key + 49;
    let mut exchanged = sound.clone();
    exchanged[first..first + 96].rotate_left(48);
    let mut other_key = sound.clone();
    other_key.copy_within(first..first + 48, key);
    let mut last = sound.clone();
    last.copy_within(first..first + 48, first + 3 * 48);
    for bytes in [exchanged, other_key, last] {
        assert!(codec::decode::<HeadPublic>(&bytes, 1000).is_err());
    }
    // Dealt for kernels, not for quorums.
    assert!(codec::decode::<HeadPublic>(&codec::encode(&sealing_key(4).0), 1000).is_err());
    assert!(codec::decode::<SealingPublic>(&sound, 1000).is_err());
}

#[test]
fn secrets_come_back_from_their_bytes_and_show_themselves_to_nobody() {
    let (public, secrets) = head_key(4);
    for secret in &secrets {
        let bytes = secret.to_bytes();
        let back = HeadSecret::from_bytes(bytes.as_slice()).unwrap();
        assert!(public.matches(&back) && back.to_bytes() == bytes);
        assert_eq!(format!("{back:?}"), format!("HeadSecret([redacted] of {})", secret.index()));
    }
    let other = heads::deal(&Committee::new(4).unwrap(), &mut rng(99)).1;
    assert!(!public.matches(&other[0]));
    let order = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";
    let order = data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap();
    let sealing = sealing_key(4).1;
    assert_eq!(format!("{:?}", sealing[1]), "SealingSecret([redacted] of replica-1)");
    for bytes in [vec![0; SECRET_BYTES], [&[0][..], &order].concat(), vec![1; SECRET_BYTES - 1], vec![1; 34], vec![]] {
        assert!(SealingSecret::from_bytes(&bytes).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(ciphertext) = Ciphertext::from_bytes(&bytes) {
            prop_assert_eq!(ciphertext.to_bytes(), bytes);
        }
    }
}
