//! What operations cost in bootstrappings: nearly all of their time, and all of their failure probability.
//!
//! One test in a process of its own, since tfhe counts them in one place for the whole process.

#![cfg(feature = "tfhe")]

use cifer_homocryption::majority::{Direction, SignSum, majority};
use cifer_homocryption::{
    add, decrypt, encrypt, generate_keys, mul, mul_scalar, mul_small, relinearize,
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
    assert_eq!(decrypt(&private, &clean).unwrap(), -66);
    assert_eq!(count, 137);
    // What is clean already costs nothing.
    assert_eq!(counted(|| relinearize(&clean, &relin).unwrap()).0, 0);

    // The largest integer whose square fits.
    let largest = 3_037_000_499;
    let (count, product) = counted(|| mul(&fresh(-largest), &fresh(largest), &relin).unwrap());
    assert_eq!(count, 2309);
    assert_eq!(decrypt(&private, &product).unwrap(), -largest * largest);
    // A public factor within the budget is no multiplication.
    assert_eq!(counted(|| mul_scalar(&clean, 5, &relin).unwrap()).0, 0);

    let votes = SignSum::encrypt(&public, &[true, false, true, true, false]).unwrap();
    let (count, outcome) = counted(|| majority(&votes, &relin).unwrap());
    assert_eq!(count, 5, "one a parameter");
    let outcome = outcome.decrypt(&private).unwrap();
    assert_eq!(outcome[..2], [Direction::Up, Direction::Down]);
}
