use curve25519_dalek::constants::EIGHT_TORSION;
use data_encoding::HEXLOWER;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

type Dealt = (FrostPublic, Vec<FrostSecret>, ChaCha20Rng);

fn dealt(replicas: usize) -> Dealt {
    let mut rng = ChaCha20Rng::from_seed([replicas as u8; 32]);
    let (public, secrets) = deal(&Committee::new(replicas).unwrap(), &mut rng);
    (public, secrets, rng)
}

fn signed(dealt: &mut Dealt, signers: &[u8], message: &[u8]) -> (Commitments, BTreeMap<ReplicaId, FrostShare>) {
    let (_, secrets, rng) = dealt;
    let mut nonces = BTreeMap::new();
    let mut commitments = Commitments::new();
    for id in signers.iter().copied().map(ReplicaId) {
        let (nonce, commitment) = commit(&secrets[0], rng);
        nonces.insert(id, nonce);
        commitments.insert(id, commitment.check().unwrap());
    }
    let share =
        |(id, nonce): (ReplicaId, Nonce)| (id, sign(&secrets[id.index()], nonce, &commitments, message).unwrap());
    let shares = nonces.into_iter().map(share).collect();
    (commitments, shares)
}

#[test]
fn any_kernel_makes_a_signature_that_plain_ed25519_verifies() {
    for (replicas, signers) in [(4, vec![0, 3]), (4, vec![1, 2]), (7, vec![6, 2, 4]), (7, vec![0, 1, 2, 3])] {
        let mut dealt = dealt(replicas);
        let (commitments, shares) = signed(&mut dealt, &signers, b"a record set");
        let signature = aggregate(&dealt.0, &commitments, b"a record set", &shares).unwrap();
        assert!(dealt.0.public_key().verify(b"a record set", &signature));
    }
}

#[test]
fn bad_shares_name_exactly_their_authors() {
    let mut dealt = dealt(7);
    let (commitments, shares) = signed(&mut dealt, &[1, 3, 5], b"m");
    for bad in [[0xff; 32], [0; 32], [1; 32], shares[&ReplicaId(1)].0] {
        let mut forged = shares.clone();
        forged.insert(ReplicaId(3), FrostShare(bad));
        assert_eq!(aggregate(&dealt.0, &commitments, b"m", &forged), Err(vec![ReplicaId(3)]));
        forged.insert(ReplicaId(5), FrostShare(bad));
        assert_eq!(aggregate(&dealt.0, &commitments, b"m", &forged), Err(vec![ReplicaId(3), ReplicaId(5)]));
    }
    // Shares of another message.
    assert_eq!(aggregate(&dealt.0, &commitments, b"n", &shares), Err([1, 3, 5].map(ReplicaId).to_vec()));
}

#[test]
fn what_is_remembered_is_what_would_be_computed_and_bad_shares_stay_bad() {
    let mut dealt = dealt(7);
    let (commitments, shares) = signed(&mut dealt, &[1, 3, 5], b"m");
    let remembering = dealt.0.clone().remembering(&FrostMemory::default());
    let mut forged = shares.clone();
    forged.insert(ReplicaId(3), shares[&ReplicaId(1)]);
    let bad = NonceCommitment { hiding: [0; 32], binding: [0; 32] };
    for _ in 0..2 {
        for (message, shares) in [(b"m", &shares), (b"m", &forged), (b"n", &shares)] {
            let plain = aggregate(&dealt.0, &commitments, message, shares);
            assert_eq!(aggregate(&remembering, &commitments, message, shares), plain);
        }
        assert_eq!(remembering.check(bad), bad.check());
        for commitment in commitments.values() {
            assert_eq!(remembering.check(commitment.bytes()).as_ref(), Ok(commitment));
        }
    }
}

#[test]
fn a_missing_share_is_its_signers_and_a_foreign_one_is_nobodys() {
    let mut dealt = dealt(7);
    let (commitments, mut shares) = signed(&mut dealt, &[1, 3, 5], b"m");
    let taken = shares.remove(&ReplicaId(3)).unwrap();
    assert_eq!(aggregate(&dealt.0, &commitments, b"m", &shares), Err(vec![ReplicaId(3)]));
    assert!(!verify_share(&dealt.0, &commitments, b"m", ReplicaId(6), &taken));
    assert!(!verify_share(&dealt.0, &commitments, b"m", ReplicaId(60), &taken));
    assert!(verify_share(&dealt.0, &commitments, b"m", ReplicaId(3), &taken));
}

#[test]
fn hostile_commitments_are_refused_before_they_are_used() {
    let (_, commitment) = commit(&dealt(4).1[0], &mut ChaCha20Rng::from_seed([9; 32]));
    let mut identity = [0; 32];
    identity[0] = 1;
    // y = p is a second encoding of y = 0, a point of order 4; y = p + 1 one of the identity; y = 2 is not on the
    // curve. Ten of the encodings above p are second ones of points of mixed order.
    let mut y_is_p = [0xff; 32];
    (y_is_p[0], y_is_p[31]) = (0xed, 0x7f);
    let mut y_is_p_plus_1 = y_is_p;
    y_is_p_plus_1[0] = 0xee;
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    let above_p = (0xef..=0xff).map(|low| {
        let mut y = y_is_p;
        y[0] = low;
        y
    });
    let decoded = above_p.clone().filter(|y| curve25519_dalek::edwards::CompressedEdwardsY(*y).decompress().is_some());
    assert_eq!(decoded.count(), 10);
    let small = EIGHT_TORSION.map(|point| point.compress().to_bytes());
    let known = [identity, [0; 32], y_is_p, y_is_p_plus_1, off_curve, [0xff; 32]];
    for bad in known.into_iter().chain(small).chain(above_p) {
        assert_eq!(NonceCommitment { hiding: bad, ..commitment }.check(), Err(FrostError::BadPoint));
        assert_eq!(NonceCommitment { binding: bad, ..commitment }.check(), Err(FrostError::BadPoint));
    }
}

/// Signer 1 of two adds a point of small order to one or both of its own, and answers as if it had not.
#[test]
fn a_commitment_of_mixed_order_makes_no_signature_and_is_pinned_on_its_author() {
    let (public, secrets, mut rng) = dealt(4);
    let (mut signed, mut refused) = (0, 0);
    for hiding in 0..8 {
        for binding in 0..8 {
            let (honest, good) = commit(&secrets[0], &mut rng);
            let hostile = commit(&secrets[1], &mut rng).0.of_mixed_order(hiding, binding);
            let mixed = hostile.commitment();
            let commitments: Commitments =
                [(ReplicaId(0), good.check().unwrap()), (ReplicaId(1), mixed.check().unwrap())].into();
            let first = sign(&secrets[0], honest, &commitments, b"m").unwrap();
            let second = sign(&secrets[1], hostile, &commitments, b"m").unwrap();
            assert!(verify_share(&public, &commitments, b"m", ReplicaId(0), &first));
            match aggregate(&public, &commitments, b"m", &[(ReplicaId(0), first), (ReplicaId(1), second)].into()) {
                // The parts of small order cancelled out.
                Ok(signature) => {
                    assert!(public.public_key().verify(b"m", &signature));
                    signed += 1;
                }
                Err(culprits) => {
                    assert_eq!(culprits, [ReplicaId(1)]);
                    refused += 1;
                }
            }
        }
    }
    assert!(signed < 24 && refused >= 40, "{signed} {refused}");
}

/// What two of three signers added is each other's opposite. Their shares are not owed, the sum is.
#[test]
fn parts_of_small_order_of_two_signers_that_cancel_out_leave_a_signature_and_blame_no_third() {
    let (public, secrets, mut rng) = dealt(7);
    for small in 1..8 {
        let nonces = [(0, 0), (1, small), (2, 8 - small)]
            .map(|(id, small)| (ReplicaId(id), commit(&secrets[0], &mut rng).0.of_mixed_order(small, 0)));
        let commitments = nonces.iter().map(|(id, nonce)| (*id, nonce.commitment().check().unwrap())).collect();
        let share =
            |(id, nonce): (ReplicaId, Nonce)| (id, sign(&secrets[id.index()], nonce, &commitments, b"m").unwrap());
        let mut shares: BTreeMap<_, _> = nonces.into_iter().map(share).collect();
        let owed = |(id, share): (&ReplicaId, &FrostShare)| verify_share(&public, &commitments, b"m", *id, share);
        assert_eq!(shares.iter().map(owed).collect::<Vec<_>>(), [true, false, false]);
        let signature = aggregate(&public, &commitments, b"m", &shares).unwrap();
        assert!(public.public_key().verify(b"m", &signature));
        // As soon as they need the blame to fall on somebody, it falls on them.
        shares.insert(ReplicaId(2), FrostShare([0; 32]));
        assert_eq!(aggregate(&public, &commitments, b"m", &shares), Err([1, 2].map(ReplicaId).to_vec()));
    }
}

#[test]
fn shares_and_signatures_are_what_the_library_makes() {
    for (replicas, signers) in [(4, vec![0, 3]), (7, vec![6, 2, 4]), (7, vec![0, 1, 2, 3])] {
        let (public, secrets, mut rng) = dealt(replicas);
        let (mut nonces, mut commitments, mut theirs) = (BTreeMap::new(), Commitments::new(), BTreeMap::new());
        for id in signers.iter().copied().map(ReplicaId) {
            let same = &mut rng.clone();
            let (nonce, commitment) = commit(&secrets[0], &mut rng);
            let (library, points) = round1::commit(secrets[0].share.signing_share(), same);
            assert_eq!(point_bytes(points.hiding().serialize()), commitment.hiding);
            assert_eq!(point_bytes(points.binding().serialize()), commitment.binding);
            theirs.insert(identifier(id), points);
            nonces.insert(id, (nonce, library));
            commitments.insert(id, commitment.check().unwrap());
        }
        let package = frost::SigningPackage::new(theirs, b"m");
        let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
        for (id, (nonce, library)) in nonces {
            let secret = &secrets[id.index()];
            let share = frost::round2::sign(&package, &library, &secret.share).unwrap();
            ours.insert(id, sign(secret, nonce, &commitments, b"m").unwrap());
            assert_eq!(share.serialize(), ours[&id].0);
            theirs.insert(identifier(id), share);
        }
        let signature = frost::aggregate(&package, &theirs, &public.package).unwrap();
        let bytes = aggregate(&public, &commitments, b"m", &ours).unwrap().to_bytes();
        assert_eq!(signature.serialize().unwrap(), bytes);
    }
}

#[test]
fn a_signer_refuses_a_package_that_does_not_hold_its_own_commitment() {
    let (_, secrets, mut rng) = dealt(4);
    let (nonce, _) = commit(&secrets[0], &mut rng);
    let others = [0, 1].map(|id| (ReplicaId(id), commit(&secrets[0], &mut rng).1.check().unwrap()));
    assert_eq!(sign(&secrets[0], nonce, &Commitments::from(others), b"m"), Err(FrostError::BadPackage));
    let (nonce, mine) = commit(&secrets[0], &mut rng);
    let alone = Commitments::from([(ReplicaId(0), mine.check().unwrap())]);
    assert_eq!(sign(&secrets[0], nonce, &alone, b"m"), Err(FrostError::BadPackage));
}

#[test]
fn opposite_commitments_do_not_cancel_out() {
    let (public, secrets, mut rng) = dealt(4);
    let (_, a) = commit(&secrets[0], &mut rng);
    let mut negated = a;
    negated.hiding[31] ^= 0x80;
    negated.binding[31] ^= 0x80;
    let commitments = [(ReplicaId(0), a.check().unwrap()), (ReplicaId(1), negated.check().unwrap())].into();
    // The binding factors differ, so the sum is not the identity after all: RFC 9591 is immune to this.
    let zero = [0, 1].map(|id| (ReplicaId(id), FrostShare([0; 32])));
    assert_eq!(aggregate(&public, &commitments, b"m", &zero.into()), Err(vec![ReplicaId(0), ReplicaId(1)]));
}

#[test]
fn keys_round_trip_and_foreign_secrets_are_refused() {
    let (public, secrets, _) = dealt(4);
    let decoded: FrostPublic = codec::decode(&codec::encode(&public), 1000).unwrap();
    assert_eq!(decoded, public);
    let bytes = secrets[2].to_bytes();
    assert_eq!(FrostSecret::from_bytes(ReplicaId(2), &bytes, &public).unwrap().to_bytes(), bytes);
    assert_eq!(FrostSecret::from_bytes(ReplicaId(1), &bytes, &public).unwrap_err(), FrostError::WrongSecret);
    assert_eq!(FrostSecret::from_bytes(ReplicaId(2), &[0xff; 32], &public).unwrap_err(), FrostError::BadScalar);
    let (other, _) = deal(&Committee::new(4).unwrap(), &mut ChaCha20Rng::from_seed([77; 32]));
    assert_eq!(FrostSecret::from_bytes(ReplicaId(2), &bytes, &other).unwrap_err(), FrostError::WrongSecret);
    assert!(codec::decode::<FrostPublic>(&codec::encode(&(1u16, [0u8; 32], vec![[0u8; 32]; 4])), 1000).is_err());
}

#[test]
fn secrets_show_nothing_in_debug() {
    let (_, secrets, mut rng) = dealt(4);
    let (nonce, _) = commit(&secrets[0], &mut rng);
    assert_eq!(format!("{:?} {nonce:?}", secrets[0]), "FrostSecret([redacted]) Nonce([redacted])");
}

fn scalar(hex: &str) -> [u8; 32] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

/// RFC 9591 Appendix E.1, FROST(Ed25519, SHA-512): shares and signature of participants 1 and 3.
#[test]
fn the_test_vectors_of_rfc_9591_hold() {
    let group = scalar("15d21ccd7ee42959562fc8aa63224c8851fb3ec85a3faf66040d380fb9738673");
    let shares = [
        "929dcc590407aae7d388761cddb0c0db6f5627aea8e217f4a033f2ec83d93509",
        "a91e66e012e4364ac9aaa405fcafd370402d9859f7b6685c07eed76bf409e80d",
        "d3cb090a075eb154e82fdb4b3cb507f110040905468bb9c46da8bdea643a9a02",
    ]
    .map(|hex| keys::SigningShare::deserialize(&scalar(hex)).unwrap());
    let verifying_shares = shares
        .iter()
        .enumerate()
        .map(|(index, &share)| (identifier(ReplicaId(index as u8)), keys::VerifyingShare::from(share)));
    let group = frost::VerifyingKey::deserialize(&group).unwrap();
    let package = keys::PublicKeyPackage::new(verifying_shares.collect(), group, Some(2));
    let public = FrostPublic::new(package, 2);

    let nonce = |hiding: &str, binding: &str| {
        let [hiding, binding] = [hiding, binding].map(|hex| Scalar::from_canonical_bytes(scalar(hex)).unwrap());
        let nonce = Nonce::new(hiding, binding);
        let commitment = nonce.commitment;
        (nonce, commitment)
    };
    let (nonce_1, commitment_1) = nonce(
        "ef6599dea4010581a72b3018c37c29a4341d7cab0773e8687ca74dcf14009701",
        "2baadfa0c69aa60d517ad4751de372a73f9d89cfc39026601f18458cdec12605",
    );
    let (nonce_3, commitment_3) = nonce(
        "80f8d9a4b8f9366e1a0b618107c907cd3ee29fa9bb40b4691cc1bde696240005",
        "2610b664a5a187b4855e87d2ff485bebdf043dc2f161fcd4854cd01dc0276404",
    );
    assert_eq!(commitment_1.hiding, scalar("9b116f12589591a7e23fe8048059ab10ab48e67739e7a2fb3890f61a7999478c"));
    let (one, three) = (ReplicaId(0), ReplicaId(2));
    let commitments = [(one, commitment_1.check().unwrap()), (three, commitment_3.check().unwrap())].into();
    let secret = |id: ReplicaId| {
        let share = shares[id.index()];
        let share = keys::KeyPackage::new(identifier(id), share, share.into(), group, 2);
        FrostSecret { id, group: public.public_key(), share }
    };
    let share_1 = sign(&secret(one), nonce_1, &commitments, b"test").unwrap();
    let share_3 = sign(&secret(three), nonce_3, &commitments, b"test").unwrap();
    assert_eq!(share_1.0, scalar("60997f0142e43e8005027fe5ab7447dac00d22c2d7ddd9571a02613ba7d81c08"));
    assert_eq!(share_3.0, scalar("79390e78bc59699c7af831f8f5fb478ec871a85f561a8641b5670ac4443f720f"));
    let signature = aggregate(&public, &commitments, b"test", &[(one, share_1), (three, share_3)].into()).unwrap();
    assert_eq!(
        HEXLOWER.encode(&signature.to_bytes()),
        "154fb694ee7fcb37bf2381d94488c2a84b03b3352ad085feca81ad26d45852b7\
         ecfe971ce4da95c4a95db93ac376b053897fca212ef85f99cf696bffeb178f07"
    );
    assert!(public.public_key().verify(b"test", &signature));
}
