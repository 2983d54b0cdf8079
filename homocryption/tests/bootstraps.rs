//! What operations cost in bootstrappings: nearly all of their time, and all of their failure probability.
//!
//! One test in a process of its own, since tfhe counts them in one place for the whole process.

#![cfg(feature = "tfhe")]

use cifer_homocryption::majority::{Direction, SignSum, majority};
use cifer_homocryption::{
    Error, add, decrypt, encrypt, generate_keys, mul, mul_scalar, mul_small, relinearize,
};
use tfhe::{get_pbs_count, reset_pbs_count};

/// The bootstrappings that `work` makes, and what it returns.
fn counted<T>(work: impl FnOnce() -> T) -> (u64, T) {
    reset_pbs_count();
    let result = work();
    (get_pbs_count(), result)
}

#[test]
fn operations_are_right_and_cost_what_is_documented() {
    let (public, private, relin) = generate_keys().unwrap();
    let fresh = |value: i64| encrypt(&public, value).unwrap();

    // Nothing without the evaluation key bootstraps.
    let (count, full) = counted(|| mul_small(&add(&fresh(-40), &fresh(7)).unwrap(), 2).unwrap());
    assert_eq!(count, 0);

    let (count, clean) = counted(|| relinearize(&full, &relin).unwrap());
    println!("relinearize: {count}");
    assert_eq!(decrypt(&private, &clean).unwrap(), -66);
    assert!((1..=150).contains(&count), "{count}");
    // What is clean already costs nothing.
    assert_eq!(counted(|| relinearize(&clean, &relin).unwrap()).0, 0);

    // The product of these is zero in the 68 bits in which it is computed, and far outside `i64`.
    let (count, product) = counted(|| mul(&fresh(1 << 62), &fresh(1 << 6), &relin).unwrap());
    println!("mul: {count}");
    assert!((1..=2500).contains(&count), "{count}");
    assert!(matches!(
        decrypt(&private, &product),
        Err(Error::Overflow { .. })
    ));
    // A public factor within the budget is no multiplication.
    assert_eq!(counted(|| mul_scalar(&clean, 5, &relin).unwrap()).0, 0);

    let votes = SignSum::encrypt(&public, &[true, false, true, true, false]).unwrap();
    let (count, outcome) = counted(|| majority(&votes, &relin).unwrap());
    assert_eq!(count, 5, "one a parameter");
    let outcome = outcome.decrypt(&private).unwrap();
    assert_eq!(outcome[..2], [Direction::Up, Direction::Down]);
}
