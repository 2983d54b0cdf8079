//! Packed vectors: exact sums up to the budget, and refusals that name what does not match.

#![cfg(feature = "tfhe")]

use std::sync::LazyLock;

use cifer_homocryption::params::VECTOR_WEIGHT;
use cifer_homocryption::{Encoding, Error, PackedVector, PrivateKey, PublicKey, generate_key_pair};
use proptest::prelude::*;

static KEYS: LazyLock<(PublicKey, PrivateKey)> = LazyLock::new(|| generate_key_pair().unwrap());

fn encrypt(encoding: Encoding, values: &[i64]) -> PackedVector {
    PackedVector::encrypt(&KEYS.0, encoding, values).unwrap()
}

/// Largest and smallest integer of balanced base 2^14.
fn range(limbs: u8) -> (i64, i64) {
    if limbs == 5 {
        return (i64::MIN, i64::MAX);
    }
    let ones: i64 = (0..u32::from(limbs)).map(|limb| 1 << (14 * limb)).sum();
    (-8192 * ones, 8191 * ones)
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<i64>),
    Sub(Vec<i64>),
    Double,
    Mul(i32),
}

fn case() -> impl Strategy<Value = (u8, Vec<i64>, Vec<Step>)> {
    (1_u8..=5, 1_usize..6).prop_flat_map(|(limbs, len)| {
        let (low, high) = range(limbs);
        let number = prop_oneof![Just(low), Just(high), Just(0), low..=high];
        let values = prop::collection::vec(number, len);
        let step = prop_oneof![
            4 => values.clone().prop_map(Step::Add),
            3 => values.clone().prop_map(Step::Sub),
            2 => Just(Step::Double),
            1 => (-40_i32..40).prop_map(Step::Mul),
        ];
        (Just(limbs), values, prop::collection::vec(step, 1..24))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_chain_decrypts_right_or_is_refused((limbs, first, steps) in case()) {
        let encoding = Encoding::integers(limbs).unwrap();
        let mut sum = encrypt(encoding, &first);
        let mut exact: Vec<i128> = first.iter().map(|v| i128::from(*v)).collect();
        let wide = |values: &[i64], f: &dyn Fn(i128, i128) -> i128, exact: &[i128]| -> Vec<i128> {
            exact.iter().zip(values).map(|(e, v)| f(*e, i128::from(*v))).collect()
        };
        for step in &steps {
            let (result, next) = match step {
                Step::Add(v) => (sum.add(&encrypt(encoding, v)), wide(v, &|e, v| e + v, &exact)),
                Step::Sub(v) => (sum.sub(&encrypt(encoding, v)), wide(v, &|e, v| e - v, &exact)),
                Step::Double => (sum.add(&sum), exact.iter().map(|e| 2 * e).collect()),
                Step::Mul(f) => {
                    (sum.mul_small(*f), exact.iter().map(|e| e * i128::from(*f)).collect())
                }
            };
            match result {
                Ok(result) => (sum, exact) = (result, next),
                Err(Error::VectorNoise { used, limit }) => prop_assert!(used > limit),
                Err(other) => prop_assert!(false, "{other}"),
            }
            let outside = exact.iter().position(|e| i64::try_from(*e).is_err());
            match (sum.decrypt(&KEYS.1), outside) {
                (Ok(found), None) => {
                    let found: Vec<i128> = found.into_iter().map(i128::from).collect();
                    prop_assert_eq!(&found, &exact);
                }
                (Err(Error::Overflow { place, .. }), Some(index)) => {
                    prop_assert_eq!(place, format!("at index {index}"));
                }
                (found, _) => prop_assert!(false, "{:?} for {:?}", found, exact),
            }
        }
    }

    #[test]
    fn fixed_point_sums_are_the_sums_of_the_rounded_numbers(
        columns in prop::collection::vec(prop::collection::vec(-100.0_f32..100.0, 7), 1..6),
        scale_bits in 0_u8..=20,
    ) {
        let encoding = Encoding::fixed_point(2, scale_bits).unwrap();
        let scale = f64::from(1 << scale_bits);
        let mut exact = [0.0_f64; 7];
        let mut sum: Option<PackedVector> = None;
        for column in &columns {
            let ct = PackedVector::encrypt_f32(&KEYS.0, encoding, column).unwrap();
            sum = Some(match sum { None => ct, Some(sum) => sum.add(&ct).unwrap() });
            for (exact, x) in exact.iter_mut().zip(column) {
                *exact += (f64::from(*x) * scale).round();
            }
        }
        let found = sum.unwrap().decrypt_f32(&KEYS.1).unwrap();
        let exact: Vec<f32> = exact.iter().map(|e| (e / scale) as f32).collect();
        prop_assert_eq!(found, exact);
    }
}

#[test]
fn the_whole_budget_decrypts_right_and_one_more_is_refused() {
    let (public, private) = &*KEYS;
    let (low, high) = range(1);
    let values = [low, high, 0, -1, 1];
    let encoding = Encoding::integers(1).unwrap();
    // The same ciphertext 1023 times is the worst case: its errors all point the same way.
    let once = encrypt(encoding, &values);
    let coherent = once.mul_small(VECTOR_WEIGHT as i32).unwrap();
    let mut fresh = once.clone();
    for _ in 1..VECTOR_WEIGHT {
        fresh
            .add_assign(&PackedVector::encrypt(public, encoding, &values).unwrap())
            .unwrap();
    }
    let expected = values.map(|v| v * i64::from(VECTOR_WEIGHT));
    for full in [&coherent, &fresh] {
        assert_eq!(full.weight(), VECTOR_WEIGHT);
        assert_eq!(full.decrypt(private).unwrap(), expected);
        let error = full.add(&once).unwrap_err();
        assert!(
            error.to_string().starts_with("noise budget spent"),
            "{error}"
        );
    }
}

#[test]
fn long_vectors_cross_the_chunks() {
    let (public, private) = &*KEYS;
    let values: Vec<i64> = (0..5000).map(|i| (i * 7919) % 100_000 - 50_000).collect();
    let encoding = Encoding::integers(2).unwrap();
    let sum = PackedVector::encrypt(public, encoding, &values).unwrap();
    let sum = sum
        .sub(&PackedVector::encrypt(public, encoding, &values).unwrap())
        .unwrap();
    assert_eq!(sum.decrypt(private).unwrap(), vec![0; 5000]);
    let twice = encrypt(encoding, &values).mul_small(2).unwrap();
    assert_eq!(
        twice.decrypt(private).unwrap(),
        values.iter().map(|v| 2 * v).collect::<Vec<_>>()
    );
}

#[test]
fn what_does_not_match_is_named() {
    let (public, private) = &*KEYS;
    let (other_public, other_private) = generate_key_pair().unwrap();
    let integers = Encoding::integers(1).unwrap();
    let fixed = |bits| Encoding::fixed_point(1, bits).unwrap();
    let ours = encrypt(integers, &[1, 2]);
    let theirs = PackedVector::encrypt(&other_public, integers, &[1, 2]).unwrap();
    let scaled = PackedVector::encrypt_f32(public, fixed(4), &[1.0, 2.0]).unwrap();
    let finer = PackedVector::encrypt_f32(public, fixed(5), &[1.0, 2.0]).unwrap();
    let starts = |error: Error, text: &str| {
        assert!(error.to_string().starts_with(text), "{error}");
    };
    starts(ours.add(&theirs).unwrap_err(), "keys differ");
    starts(ours.decrypt(&other_private).unwrap_err(), "keys differ");
    starts(
        ours.add(&encrypt(integers, &[1, 2, 3])).unwrap_err(),
        "lengths differ: 2 and 3",
    );
    starts(scaled.add(&finer).unwrap_err(), "scales differ");
    starts(ours.add(&scaled).unwrap_err(), "scales differ");
    starts(scaled.decrypt(private).unwrap_err(), "scales differ");
    starts(ours.decrypt_f32(private).unwrap_err(), "scales differ");
    starts(
        PackedVector::encrypt(public, fixed(4), &[1]).unwrap_err(),
        "scales differ",
    );
}

#[test]
fn numbers_that_the_encoding_cannot_hold_are_refused_with_their_index() {
    let (public, _) = &*KEYS;
    for limbs in 1..5 {
        let encoding = Encoding::integers(limbs).unwrap();
        let (low, high) = range(limbs);
        assert!(PackedVector::encrypt(public, encoding, &[low, high]).is_ok());
        for outside in [low - 1, high + 1] {
            let error = PackedVector::encrypt(public, encoding, &[0, outside]).unwrap_err();
            assert!(matches!(error, Error::Value { index: 1, .. }), "{error}");
        }
    }
    let widest = Encoding::fixed_point(5, 0).unwrap();
    let largest_below = f32::from_bits((i64::MAX as f32).to_bits() - 1);
    assert!(PackedVector::encrypt_f32(public, widest, &[largest_below, i64::MIN as f32]).is_ok());
    for outside in [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        i64::MAX as f32,
        f32::MAX,
    ] {
        let error = PackedVector::encrypt_f32(public, widest, &[0.0, outside]).unwrap_err();
        assert!(matches!(error, Error::Value { index: 1, .. }), "{error}");
    }
    assert!(matches!(
        encrypt_none(),
        Error::Limit {
            field: "numbers",
            value: 0,
            ..
        }
    ));
    assert!(Encoding::integers(0).is_err() && Encoding::integers(6).is_err());
    assert!(Encoding::fixed_point(1, 41).is_err());
}

fn encrypt_none() -> Error {
    PackedVector::encrypt(&KEYS.0, Encoding::integers(1).unwrap(), &[]).unwrap_err()
}
