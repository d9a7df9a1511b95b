use super::*;
use crate::ca::testing::{P256_KEY, P384_KEY, RSA_KEY};

fn modulus_of(spki: &[u8]) -> U4224 {
    let parsed = SubjectPublicKeyInfoRef::from_der(spki).unwrap();
    let (modulus, _) = rsa_integers(parsed.subject_public_key.as_bytes().unwrap()).unwrap();
    let mut padded = [0; U4224::BYTES];
    padded[U4224::BYTES - modulus.len()..].copy_from_slice(modulus);
    U4224::from_be_slice(&padded)
}

fn kind_of(spki: &[u8]) -> Result<KeyType, BadKey> {
    check_public_key(spki).map(|key| key.key_type())
}

fn rsa(modulus: &U4224, exponent: u32) -> Result<KeyType, BadKey> {
    kind_of(&rsa_public_key_info(&modulus.to_be_bytes()[..], exponent))
}

#[test]
fn good_keys_are_good() {
    assert_eq!(kind_of(&RSA_KEY), Ok(KeyType::Rsa));
    assert_eq!(kind_of(&P256_KEY), Ok(KeyType::P256));
    assert_eq!(kind_of(&P384_KEY), Ok(KeyType::P384));
}

#[test]
fn an_rsa_key_has_one_encoding() {
    let modulus = modulus_of(&RSA_KEY);
    assert_eq!(rsa_public_key_info(&modulus.to_be_bytes()[..], 65537), *RSA_KEY);
}

#[test]
fn rsa_keys_are_of_2048_to_4096_bits_in_whole_bytes() {
    let odd = |bits: u32| U4224::ONE.shl_vartime(bits - 1).wrapping_add(&U4224::ONE);
    for bits in [17, 1024, 2040, 2047, 2049, 2052, 4095, 4104] {
        assert_eq!(rsa(&odd(bits), 65537), Err(BadKey::RsaSize(bits)));
    }
    assert_eq!(rsa(&U4224::ZERO, 65537), Err(BadKey::RsaSize(0)));
}

#[test]
fn the_rsa_exponent_is_65537() {
    for exponent in [0, 1, 2, 3, 17, 65536, 65538, 65539, u32::MAX] {
        assert_eq!(rsa(&modulus_of(&RSA_KEY), exponent), Err(BadKey::RsaExponent), "{exponent}");
    }
}

#[test]
fn a_modulus_that_a_small_prime_divides_is_refused() {
    let modulus = modulus_of(&RSA_KEY);
    assert_eq!(rsa(&modulus.wrapping_add(&U4224::ONE), 65537), Err(BadKey::RsaWeak("a small prime divides it")));
    let of_751 = modulus.wrapping_sub(&U4224::from(remainder(&modulus, 751)));
    assert_eq!(rsa(&of_751, 65537), Err(BadKey::RsaWeak("a small prime divides it")));
}

#[test]
fn a_modulus_of_close_primes_is_refused() {
    // Factors need not be prime for the check: (m − d)(m + d), free of small primes.
    let root = modulus_of(&RSA_KEY).shr_vartime(1024);
    let mut found = 0;
    for shift in 0..5000u64 {
        let m = root.wrapping_add(&U4224::from(shift));
        let modulus = m.wrapping_mul(&m).wrapping_sub(&U4224::from(90u64 * 90));
        if !has_small_factor(&modulus) {
            assert!(has_close_primes(&modulus));
            found += 1;
        }
    }
    assert!(found > 0);
    assert!(has_close_primes(&root.wrapping_mul(&root)), "a square");
    assert!(!has_close_primes(&modulus_of(&RSA_KEY)));
}

#[test]
fn a_modulus_with_the_roca_fingerprint_is_refused() {
    // A power of 65537 modulo the product of the primes up to 167, and a multiple of that product.
    let primes: [u16; 39] = [
        2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
        109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    let product = primes.iter().fold(U4224::ONE, |m, &p| m.wrapping_mul(&U4224::from(p)));
    let mut fingerprint = U4224::from(65537u32).wrapping_add(&product.wrapping_mul(&U4224::ONE.shl_vartime(1828)));
    let weak = loop {
        fingerprint = fingerprint.wrapping_add(&product);
        if !has_small_factor(&fingerprint) {
            break fingerprint;
        }
    };
    assert_eq!(weak.bits_vartime(), 2048);
    assert_eq!(rsa(&weak, 65537), Err(BadKey::RsaWeak("CVE-2017-15361")));
    assert!(!is_roca(&modulus_of(&RSA_KEY)));
}

#[test]
fn a_point_off_its_curve_is_refused() {
    for key in [&*P256_KEY, &*P384_KEY] {
        for byte in [30, key.len() - 40, key.len() - 1] {
            let mut off = key.to_vec();
            off[byte] ^= 1;
            assert_eq!(kind_of(&off), Err(BadKey::Point));
        }
    }
    // (0, 0), and a coordinate that is not reduced.
    let mut zero = P256_KEY.to_vec();
    zero[27..].fill(0);
    assert_eq!(kind_of(&zero), Err(BadKey::Point));
    zero[27..59].copy_from_slice(&P256.p.to_be_bytes()[..]);
    assert_eq!(kind_of(&zero), Err(BadKey::Point));
}

#[test]
fn compressed_points_and_other_curves_are_refused() {
    let mut compressed = P256_KEY[..59].to_vec();
    compressed[1] = 57;
    compressed[24] = 34;
    compressed[26] = 2;
    assert_eq!(kind_of(&compressed), Err(BadKey::Point));
    let mut other_curve = P256_KEY.to_vec();
    other_curve[22] ^= 1;
    assert_eq!(kind_of(&other_curve), Err(BadKey::Algorithm));
}

#[test]
fn ed25519_is_refused_with_its_reason() {
    let mut key = data_encoding::HEXLOWER.decode(b"302a300506032b6570032100").unwrap();
    key.extend([7; 32]);
    assert_eq!(kind_of(&key), Err(BadKey::Ed25519));
}

#[test]
fn hostile_bytes_are_malformed_and_never_a_panic() {
    for key in [&*RSA_KEY, &*P256_KEY] {
        for length in 0..key.len() {
            assert!(check_public_key(&key[..length]).is_err());
        }
        assert_eq!(kind_of(&[&key[..], &[0]].concat()), Err(BadKey::Malformed), "trailing byte");
        for at in 0..key.len() {
            for bit in 0..8 {
                let mut changed = key.to_vec();
                changed[at] ^= 1 << bit;
                let _ = check_public_key(&changed);
            }
        }
    }
    assert_eq!(kind_of(&vec![0x30; MAX_SPKI + 1]), Err(BadKey::Malformed));
    // NULL parameters left out, as some programs do.
    let mut no_null = RSA_KEY.to_vec();
    no_null.drain(17..19);
    no_null[3] -= 2;
    no_null[5] -= 2;
    assert_eq!(kind_of(&no_null), Err(BadKey::Malformed));
}
