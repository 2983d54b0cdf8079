//! Encrypted integers without an evaluation key: every chain of operations decrypts right or is refused.

#![cfg(feature = "tfhe")]

use std::sync::LazyLock;

use cifer_homocryption::{
    Error, PrivateKey, PublicKey, Scalar, add, add_scalar, decrypt, encrypt, generate_key_pair,
    mul_small, neg, sub, sub_scalar,
};
use proptest::prelude::*;

static KEYS: LazyLock<(PublicKey, PrivateKey)> = LazyLock::new(|| generate_key_pair().unwrap());

/// Values whose digits are all 0, all 3, or at the ends of the range, and any others.
fn value() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(-1),
        Just(i64::MIN),
        Just(i64::MAX),
        Just(i64::MIN + 1),
        -1000_i64..1000,
        any::<i64>(),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Add(i64),
    Sub(i64),
    SubFrom(i64),
    Neg,
    Double,
    AddScalar(i64),
    SubScalar(i64),
    MulSmall(i8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => value().prop_map(Step::Add),
        3 => value().prop_map(Step::Sub),
        2 => value().prop_map(Step::SubFrom),
        1 => Just(Step::Neg),
        1 => Just(Step::Double),
        2 => value().prop_map(Step::AddScalar),
        1 => value().prop_map(Step::SubScalar),
        1 => any::<i8>().prop_map(Step::MulSmall),
        1 => (-5_i8..=5).prop_map(Step::MulSmall),
    ]
}

/// The step under encryption, and the exact result that it stands for.
fn apply(step: &Step, ct: &Scalar, exact: i128) -> (Result<Scalar, Error>, i128) {
    let public = &KEYS.0;
    let fresh = |v: i64| encrypt(public, v).unwrap();
    match *step {
        Step::Add(v) => (add(ct, &fresh(v)), exact + i128::from(v)),
        Step::Sub(v) => (sub(ct, &fresh(v)), exact - i128::from(v)),
        Step::SubFrom(v) => (sub(&fresh(v), ct), i128::from(v) - exact),
        Step::Neg => (neg(ct), -exact),
        Step::Double => (add(ct, ct), 2 * exact),
        Step::AddScalar(v) => (add_scalar(ct, v), exact + i128::from(v)),
        Step::SubScalar(v) => (sub_scalar(ct, v), exact - i128::from(v)),
        Step::MulSmall(v) => (mul_small(ct, v), exact * i128::from(v)),
    }
}

fn check(ct: &Scalar, exact: i128) -> Result<(), TestCaseError> {
    match (decrypt(&KEYS.1, ct), i64::try_from(exact)) {
        (Ok(found), Ok(exact)) => prop_assert_eq!(found, exact),
        (Err(Error::Overflow { .. }), Err(_)) => {}
        (found, _) => prop_assert!(false, "{:?} for {}", found, exact),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_chain_decrypts_right_or_is_refused(
        first in value(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (mut ct, mut exact) = (encrypt(&KEYS.0, first).unwrap(), i128::from(first));
        for step in &steps {
            match apply(step, &ct, exact) {
                (Ok(next), result) => (ct, exact) = (next, result),
                (Err(Error::Noise { used, limit, .. }), _) => prop_assert!(used > limit),
                // The negation of i64::MIN as a public number.
                (Err(Error::Value { .. }), _) => {}
                (Err(other), _) => prop_assert!(false, "{other}"),
            }
            check(&ct, exact)?;
        }
    }
}

#[test]
fn a_thousand_additions_stop_at_the_budget_with_a_message_that_says_what_to_do() {
    let (public, private) = &*KEYS;
    let one = encrypt(public, -1).unwrap();
    let mut sum = one.clone();
    let mut added = 0;
    for _ in 0..1000 {
        match add(&sum, &one) {
            Ok(next) => {
                sum = next;
                added += 1;
            }
            Err(error) => assert!(
                error
                    .to_string()
                    .contains("noise budget spent, relinearize")
            ),
        }
        assert_eq!(decrypt(private, &sum).unwrap(), -1 - added);
    }
    assert_eq!(added, 4, "five encryptions fit");
    assert_eq!(sum.weight(), 5);
}

#[test]
fn overflow_is_an_error_and_not_a_wrapped_number() {
    let (public, private) = &*KEYS;
    let max = encrypt(public, i64::MAX).unwrap();
    let min = encrypt(public, i64::MIN).unwrap();
    for too_large in [
        add_scalar(&max, 1).unwrap(),
        add(&max, &max).unwrap(),
        add(&min, &min).unwrap(),
        neg(&min).unwrap(),
        sub(&min, &max).unwrap(),
        mul_small(&max, 5).unwrap(),
        mul_small(&min, 5).unwrap(),
    ] {
        assert!(matches!(
            decrypt(private, &too_large),
            Err(Error::Overflow { .. })
        ));
    }
    // Back in range, the result is exact again: nothing was lost.
    let back = sub(&add(&max, &max).unwrap(), &max).unwrap();
    assert_eq!(decrypt(private, &back).unwrap(), i64::MAX);
}

#[test]
fn values_of_other_keys_are_refused_by_name() {
    let (public, private) = &*KEYS;
    let (other_public, other_private) = generate_key_pair().unwrap();
    let ours = encrypt(public, 1).unwrap();
    let theirs = encrypt(&other_public, 1).unwrap();
    for error in [
        add(&ours, &theirs).unwrap_err(),
        sub(&theirs, &ours).unwrap_err(),
        decrypt(private, &theirs).unwrap_err(),
        decrypt(&other_private, &ours).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Key { .. }), "{error}");
        assert!(error.to_string().starts_with("keys differ"));
    }
}

#[test]
fn two_encryptions_of_a_value_have_nothing_in_common() {
    use cifer_homocryption::Frame;
    let (public, _) = &*KEYS;
    let first = encrypt(public, 7).unwrap().payload();
    let second = encrypt(public, 7).unwrap().payload();
    let words = |bytes: &[u8]| -> Vec<[u8; 8]> { bytes[38..].as_chunks::<8>().0.to_vec() };
    let same = words(&first)
        .iter()
        .zip(&words(&second))
        .filter(|(a, b)| a == b)
        .count();
    assert_eq!(same, 0);
}
