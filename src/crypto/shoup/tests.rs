use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crypto_bigint::{Odd, Uint};
use crypto_primes::{Flavor, is_prime};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::number::{LIMBS, Number};
use super::prime::all_fixture_primes;
use super::*;
use crate::codec;
use crate::committee::{Committee, ReplicaId};
use crate::limits::{MAX_REPLICAS, MAX_RSA_PUBLIC_BYTES, RSA_SHARE_BYTES};

const MESSAGE: &[u8] = b"to be signed";

type Shares = BTreeMap<ReplicaId, RsaShare>;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([7; 32])
}

fn dealt(n: usize) -> (RsaPublic, Vec<RsaSecret>) {
    let (p, q) = fixture_primes();
    deal(&Committee::new(n).unwrap(), p, q, &mut rng()).unwrap()
}

fn all_shares(public: &RsaPublic, secrets: &[RsaSecret], message: &[u8]) -> Shares {
    secrets.iter().map(|secret| (secret.owner(), secret.share(public, message, &mut rng()).unwrap())).collect()
}

/// Every subset of `shares` with `size` members.
fn subsets(shares: &Shares, size: usize) -> Vec<Shares> {
    let members: Vec<_> = shares.iter().collect();
    (0u32..1 << members.len())
        .filter(|bits| bits.count_ones() as usize == size)
        .map(|bits| {
            let chosen = members.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
            chosen.map(|(_, (who, share))| (**who, (*share).clone())).collect()
        })
        .collect()
}

/// x^d mod N, made from the primes as a plain RSA key would.
fn plain_signature(message: &[u8]) -> Vec<u8> {
    let (p, q) = fixture_primes();
    let order: Uint<LIMBS> = p.0.shr_vartime(1).concatenating_mul(&q.0.shr_vartime(1)).shl_vartime(1);
    let d = Uint::<LIMBS>::from(EXPONENT).invert_mod(&order.to_nz().unwrap()).unwrap();
    let modulus: Uint<LIMBS> = p.0.concatenating_mul(&*q.0);
    let ring = super::number::Ring::new(Odd::new(modulus).unwrap());
    ring.message(message).pow(&d).retrieve().to_be_bytes().as_ref().to_vec()
}

fn openssl(directory: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl is installed")
}

#[test]
fn any_kernel_of_shares_makes_the_signature_of_a_plain_rsa_key() {
    let plain = plain_signature(MESSAGE);
    for n in [4, 7] {
        let (public, secrets) = dealt(n);
        let shares = all_shares(&public, &secrets, MESSAGE);
        for subset in subsets(&shares, public.threshold()) {
            let combined = public.combine(MESSAGE, &subset).unwrap();
            assert_eq!(combined.signature[..], plain[..], "n = {n}, {:?}", subset.keys());
            assert_eq!(combined.culprits, []);
        }
        assert!(public.verify(MESSAGE, &plain));
        assert!(!public.verify(b"another", &plain));
    }
}

#[test]
fn fewer_than_a_kernel_of_shares_make_nothing() {
    let (public, secrets) = dealt(7);
    for subset in subsets(&all_shares(&public, &secrets, MESSAGE), 2) {
        let error = public.combine(MESSAGE, &subset).unwrap_err();
        assert_eq!(error, CombineError { culprits: vec![], usable: 2, needed: 3 });
    }
    assert!(public.combine(MESSAGE, &Shares::new()).is_err());
}

#[test]
fn every_committee_size_signs() {
    let plain = plain_signature(MESSAGE);
    for n in [5, 13, 31, MAX_REPLICAS] {
        let (public, secrets) = dealt(n);
        // The last kernel, whose coefficients are the largest.
        let first = n - public.threshold();
        let shares = all_shares(&public, &secrets[first..], MESSAGE);
        assert_eq!(public.combine(MESSAGE, &shares).unwrap().signature[..], plain[..], "n = {n}");
    }
}

#[test]
fn openssl_verifies_a_combined_signature_under_the_public_key() {
    let (public, secrets) = dealt(4);
    let signature = public.combine(MESSAGE, &all_shares(&public, &secrets, MESSAGE)).unwrap().signature;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    write("key.der", &public.spki_der());
    write("signature", &signature);
    write("message", MESSAGE);
    write("another", b"another");
    let verify = |message| {
        let arguments =
            ["dgst", "-sha256", "-verify", "key.der", "-keyform", "DER", "-signature", "signature", message];
        openssl(directory.path(), &arguments)
    };
    let output = verify("message");
    assert!(output.status.success(), "{output:?}");
    assert!(!verify("another").status.success());
    // The same key written by openssl is the same bytes.
    let output = openssl(directory.path(), &["pkey", "-pubin", "-inform", "DER", "-in", "key.der", "-outform", "DER"]);
    assert_eq!(output.stdout, public.spki_der());
}

/// openssl takes the dealer's primes as a plain key, and signs.
#[test]
fn openssl_makes_the_same_bytes_with_the_same_key() {
    let (public, secrets) = dealt(4);
    let signature = public.combine(MESSAGE, &all_shares(&public, &secrets, MESSAGE)).unwrap().signature;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key.cnf"), private_key_description()).unwrap();
    std::fs::write(directory.path().join("message"), MESSAGE).unwrap();
    let output = openssl(directory.path(), &["asn1parse", "-genconf", "key.cnf", "-noout", "-out", "key.der"]);
    assert!(output.status.success(), "{output:?}");
    let output = openssl(directory.path(), &["dgst", "-sha256", "-sign", "key.der", "-keyform", "DER", "message"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, signature);
}

/// RSAPrivateKey (RFC 8017 §A.1.2) of the fixture primes, in the language of `openssl asn1parse -genconf`.
fn private_key_description() -> String {
    let (p, q) = fixture_primes();
    let wide = |number: &Uint<{ LIMBS / 2 }>| number.resize::<LIMBS>();
    let order: Uint<LIMBS> = p.0.shr_vartime(1).concatenating_mul(&q.0.shr_vartime(1)).shl_vartime(1);
    let d = Uint::<LIMBS>::from(EXPONENT).invert_mod(&order.to_nz().unwrap()).unwrap();
    let modulo = |prime: &Uint<{ LIMBS / 2 }>| d.rem_vartime(&wide(prime).wrapping_sub(&Uint::ONE).to_nz().unwrap());
    let inverse = q.0.invert_mod(&p.0.to_nz().unwrap()).unwrap();
    let numbers = [
        p.0.concatenating_mul(&*q.0),
        Uint::from(EXPONENT),
        d,
        wide(&p.0),
        wide(&q.0),
        modulo(&p.0),
        modulo(&q.0),
        wide(&inverse),
    ];
    let mut text = "asn1=SEQUENCE:key\n[key]\nversion=INTEGER:0\n".to_string();
    for (at, number) in numbers.iter().enumerate() {
        text += &format!("n{at}=INTEGER:0x{number:x}\n");
    }
    text
}

#[test]
fn a_wrong_share_names_its_maker_and_the_others_still_sign() {
    let (public, secrets) = dealt(4);
    let mut shares = all_shares(&public, &secrets, MESSAGE);
    let liar = ReplicaId(0);
    let value = shares[&liar].value.0.wrapping_add(&Uint::ONE);
    shares.get_mut(&liar).unwrap().value = Number(value);
    assert!(!public.verify_share(liar, MESSAGE, &shares[&liar]));
    let combined = public.combine(MESSAGE, &shares).unwrap();
    assert_eq!(combined.culprits, [liar]);
    assert!(public.verify(MESSAGE, &combined.signature));

    shares.retain(|&who, _| who == liar || who == ReplicaId(2));
    let error = public.combine(MESSAGE, &shares).unwrap_err();
    assert_eq!(error, CombineError { culprits: vec![liar], usable: 1, needed: 2 });
}

#[test]
fn a_share_of_another_message_replica_or_key_is_refused() {
    let (public, secrets) = dealt(4);
    let share = secrets[1].share(&public, MESSAGE, &mut rng()).unwrap();
    assert!(public.verify_share(ReplicaId(1), MESSAGE, &share));
    assert!(!public.verify_share(ReplicaId(1), b"another", &share));
    for other in [0, 2, 3, 4, 63, 64, 255] {
        assert!(!public.verify_share(ReplicaId(other), MESSAGE, &share));
    }
    let redealt = {
        let (p, q) = fixture_primes();
        deal(&Committee::new(4).unwrap(), p, q, &mut ChaCha20Rng::from_seed([8; 32])).unwrap().0
    };
    assert!(!redealt.verify_share(ReplicaId(1), MESSAGE, &share));
    assert!(!secrets[1].belongs_to(&redealt));
    let fault = secrets[1].share(&redealt, MESSAGE, &mut rng());
    assert_eq!(fault, Err(ShareError::Fault(ReplicaId(1))));
}

#[test]
fn every_changed_bit_of_a_share_is_refused() {
    let (public, secrets) = dealt(4);
    let bytes = codec::encode(&secrets[1].share(&public, MESSAGE, &mut rng()).unwrap());
    assert_eq!(bytes.len(), RSA_SHARE_BYTES);
    for at in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let share = codec::decode::<RsaShare>(&changed, RSA_SHARE_BYTES).unwrap();
        assert!(!public.verify_share(ReplicaId(1), MESSAGE, &share), "byte {at}");
    }
}

/// The proof alone admits −x_i, since it speaks of x_i²; the challenge covers x_i and settles it.
#[test]
fn the_negative_of_a_share_is_another_statement() {
    let (public, secrets) = dealt(4);
    let mut share = secrets[1].share(&public, MESSAGE, &mut rng()).unwrap();
    share.value = Number(public.modulus.0.wrapping_sub(&share.value.0));
    assert!(!public.verify_share(ReplicaId(1), MESSAGE, &share));
}

#[test]
fn shares_that_are_zero_too_large_or_not_invertible_are_culprits_and_nothing_panics() {
    let (public, secrets) = dealt(4);
    let honest = all_shares(&public, &secrets, MESSAGE);
    let (p, _) = fixture_primes();
    let modulus = public.modulus.0;
    let crafted = [
        Uint::ZERO,
        Uint::ONE,
        modulus.wrapping_sub(&Uint::ONE),
        modulus,
        modulus.wrapping_add(&Uint::ONE),
        Uint::MAX,
        p.0.resize(),
    ];
    // Replicas 0 and 1 have coefficients of different signs.
    for (value, culprit) in crafted.into_iter().flat_map(|value| [(value, ReplicaId(0)), (value, ReplicaId(1))]) {
        let mut shares = honest.clone();
        shares.get_mut(&culprit).unwrap().value = Number(value);
        assert!(!public.verify_share(culprit, MESSAGE, &shares[&culprit]));
        let combined = public.combine(MESSAGE, &shares).unwrap();
        assert_eq!(combined.culprits, [culprit]);
        assert!(public.verify(MESSAGE, &combined.signature));
    }
    let mut strangers = honest.clone();
    for stranger in [4, 64, 255] {
        strangers.insert(ReplicaId(stranger), honest[&ReplicaId(0)].clone());
    }
    let combined = public.combine(MESSAGE, &strangers).unwrap();
    assert_eq!(combined.culprits, [4, 64, 255].map(ReplicaId));
}

/// Reliability K13: a bit flipped in the secret or in the making of a share is never released.
#[test]
fn a_faulty_share_is_not_released() {
    let (public, secrets) = dealt(4);
    for bit in [0, 1, 777, 2040] {
        let mut bytes = secrets[2].to_bytes();
        let last = bytes.len() - 1;
        bytes[last - bit / 8] ^= 1 << (bit % 8);
        let faulty = RsaSecret::from_bytes(&bytes).unwrap();
        assert!(!faulty.belongs_to(&public));
        assert_eq!(faulty.share(&public, MESSAGE, &mut rng()), Err(ShareError::Fault(ReplicaId(2))));
    }
}

/// Were r the same for two messages, z − z' would be s_i (c − c') and tell s_i.
#[test]
fn a_repeated_generator_does_not_repeat_the_nonce() {
    const MODULUS: usize = 256;
    let (public, secrets) = dealt(4);
    let share = |message| codec::encode(&secrets[0].share(&public, message, &mut rng()).unwrap());
    let number = |bytes: &[u8]| Uint::<40>::from_be_slice(&[&vec![0; 320 - bytes.len()][..], bytes].concat());
    let (first, second) = (share(MESSAGE), share(b"another"));
    assert_eq!(first, share(MESSAGE), "a share is a function of its arguments");
    let challenge = |share: &[u8]| number(&share[MODULUS..MODULUS + 32]);
    let response = |share: &[u8]| number(&share[MODULUS + 32..]);
    let exponent = number(&secrets[0].to_bytes()[1..]);
    let nonce = |share: &[u8]| response(share).wrapping_sub(&exponent.wrapping_mul(&challenge(share)));
    assert_ne!(nonce(&first), nonce(&second));
    // What is left is below 2^2559, so z did not wrap.
    assert!(nonce(&first).bits() < 2560 && nonce(&first).bits() > 2500);
}

#[test]
fn secrets_come_back_from_their_bytes() {
    let (public, secrets) = dealt(4);
    for secret in &secrets {
        assert!(secret.belongs_to(&public));
        let back = RsaSecret::from_bytes(&secret.to_bytes()).unwrap();
        assert_eq!(back.owner(), secret.owner());
        assert!(back.belongs_to(&public));
    }
    assert_eq!(RsaSecret::from_bytes(&[0; 256]).unwrap_err(), KeyError::Secret);
    assert_eq!(RsaSecret::from_bytes(&[]).unwrap_err(), KeyError::Secret);
}

#[test]
fn secrets_show_nothing_in_debug() {
    let (_, secrets) = dealt(4);
    let (p, _) = fixture_primes();
    assert_eq!(format!("{:?}", secrets[3]), "RsaSecret([redacted] of replica-3)");
    assert_eq!(format!("{p:?}"), "SafePrime([redacted])");
}

#[test]
fn a_public_key_has_one_encoding_and_a_text_form() {
    for n in [4, MAX_REPLICAS] {
        let (public, _) = dealt(n);
        let bytes = codec::encode(&public);
        assert!(bytes.len() <= MAX_RSA_PUBLIC_BYTES);
        assert_eq!(codec::decode::<RsaPublic>(&bytes, MAX_RSA_PUBLIC_BYTES).unwrap(), public);
        let text = serde_json::to_string(&public).unwrap();
        assert_eq!(serde_json::from_str::<RsaPublic>(&text).unwrap(), public);
    }
}

/// Reliability K8: what no honest dealer makes is refused, on reading or by the check.
#[test]
fn bad_parameters_are_refused() {
    let (good, _) = dealt(4);
    assert_eq!(good.check(), Ok(()));
    let refused = |change: &dyn Fn(&mut RsaPublic)| {
        let mut public = good.clone();
        change(&mut public);
        match codec::decode::<RsaPublic>(&codec::encode(&public), MAX_RSA_PUBLIC_BYTES) {
            Ok(read) => read.check().is_err(),
            Err(_) => true,
        }
    };
    let number = |value: Uint<LIMBS>| Number(value);
    let modulus = good.modulus.0;
    assert!(!refused(&|_| ()));
    assert!(refused(&|key| key.threshold = 1));
    assert!(refused(&|key| key.threshold = 3));
    assert!(refused(&|key| key.threshold = 255));
    assert!(refused(&|key| key.verification.truncate(3)));
    assert!(refused(&|key| key.verification.resize(65, good.verification[0])));
    assert!(refused(&|key| key.modulus = number(modulus.wrapping_add(&Uint::ONE))));
    assert!(refused(&|key| key.modulus = number(modulus.wrapping_add(&Uint::from(12u8)))));
    assert!(refused(&|key| key.modulus = number(modulus.shr_vartime(1))));
    assert!(refused(&|key| key.modulus = number(Uint::ZERO)));
    assert!(refused(&|key| key.modulus = number(Uint::MAX)));
    for value in [Uint::ZERO, Uint::ONE, modulus.wrapping_sub(&Uint::ONE), modulus, Uint::MAX, Uint::from(5u8)] {
        assert!(refused(&|key| key.generator = number(value)));
        assert!(refused(&|key| key.verification[2] = number(value)));
    }
    assert!(refused(&|key| key.verification.swap(0, 1)));
    assert!(refused(&|key| key.verification[3] = key.verification[0]));
    assert!(refused(&|key| key.generator = key.verification[0]));
    // Shares of something else than 1/e: everything squared but the generator.
    assert!(refused(&|key| {
        let ring = key.ring();
        for verification in &mut key.verification {
            *verification = number(ring.element(verification).square().retrieve());
        }
    }));
    assert_eq!(good.ring().one().retrieve(), Uint::ONE);
}

#[test]
fn the_dealer_refuses_primes_of_the_wrong_size_or_too_close() {
    let committee = Committee::new(4).unwrap();
    let small = || generate_safe_prime(128, &mut rng(), &mut |_| ()).unwrap();
    let (p, q) = fixture_primes();
    assert_eq!(deal(&committee, p, small(), &mut rng()).unwrap_err(), DealError::PrimeSize { bits: 128 });
    assert_eq!(deal(&committee, small(), q, &mut rng()).unwrap_err(), DealError::PrimeSize { bits: 128 });
    let (p, same) = (fixture_primes().0, fixture_primes().0);
    assert_eq!(deal(&committee, p, same, &mut rng()).unwrap_err(), DealError::PrimesTooClose);
    for bits in [0, 127, 1025, u32::MAX] {
        assert_eq!(generate_safe_prime(bits, &mut rng(), &mut |_| ()).unwrap_err(), DealError::PrimeSize { bits });
    }
}

#[test]
fn the_fixture_is_of_safe_primes() {
    assert_eq!(all_fixture_primes().count(), 6);
    for prime in all_fixture_primes() {
        assert_eq!(prime.0.bits(), 1024);
        assert!(is_prime(Flavor::Safe, &*prime.0));
    }
}

#[test]
fn a_generated_prime_is_safe_and_its_two_highest_bits_are_set() {
    let mut reported = 0;
    let prime = generate_safe_prime(512, &mut rng(), &mut |candidates| {
        assert_eq!(candidates, reported + 1);
        reported = candidates;
    })
    .unwrap();
    assert!(reported > 0);
    assert_eq!(prime.0.bits(), 512);
    assert!(prime.0.bit_vartime(510));
    assert!(is_prime(Flavor::Safe, &*prime.0));
}

/// The ceremony as it is done, at full size.
#[test]
fn a_key_of_freshly_made_primes_signs() {
    let prime = |seed| generate_safe_prime(1024, &mut ChaCha20Rng::from_seed([seed; 32]), &mut |_| ()).unwrap();
    let (public, secrets) = deal(&Committee::new(4).unwrap(), prime(1), prime(2), &mut rng()).unwrap();
    let shares = all_shares(&public, &secrets[..2], MESSAGE);
    assert!(public.verify(MESSAGE, &public.combine(MESSAGE, &shares).unwrap().signature));
}

/// RFC 8017 §9.2: 00 01, at least eight FF, 00, DigestInfo.
#[test]
fn the_encoded_message_is_that_of_rfc_8017() {
    let block = encode_pkcs1v15_sha256(b"abc");
    let info = "3031300d060960864801650304020105000420";
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected = format!("0001{}00{info}{digest}", "ff".repeat(202));
    assert_eq!(data_encoding::HEXLOWER.encode(&block), expected);
}

/// Stored and sent bytes, frozen: a change here is a change of protocol.
#[test]
fn keys_shares_and_signatures_are_the_frozen_ones() {
    let (public, secrets) = dealt(4);
    let share = secrets[1].share(&public, MESSAGE, &mut rng()).unwrap();
    let signature = public.combine(MESSAGE, &all_shares(&public, &secrets, MESSAGE)).unwrap().signature;
    let lines = [
        ("public", codec::encode(&public)),
        ("secret", secrets[1].to_bytes().to_vec()),
        ("share", codec::encode(&share)),
        ("signature", signature.to_vec()),
    ];
    let text: String =
        lines.iter().map(|(name, bytes)| format!("{name} {}\n", data_encoding::HEXLOWER.encode(bytes))).collect();
    assert_eq!(text, include_str!("../../../tests/golden/shoup.hex"));
}
