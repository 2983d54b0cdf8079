//! Everything that needs the evaluation key.

#![cfg(feature = "tfhe")]

use std::sync::LazyLock;

use cifer_homocryption::majority::{Direction, Majority, SignSum, majority};
use cifer_homocryption::{
    Error, Frame, PrivateKey, PublicKey, RelinKey, Scalar, add, add_scalar, decrypt, encrypt,
    generate_keys, mul, mul_scalar, mul_small, relinearize, sub,
};

type Keys = (PublicKey, PrivateKey, RelinKey);

static KEYS: LazyLock<Keys> = LazyLock::new(|| generate_keys().unwrap());

/// SplitMix64: choices that are the same in every run, so that a failure can be looked at again.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as i64
    }
}

fn overflows(private: &PrivateKey, value: &Scalar) -> bool {
    matches!(decrypt(private, value), Err(Error::Overflow { .. }))
}

/// The example of the README: the seed of this project asks for exactly these calls.
fn the_example((public, private, relin): &Keys) {
    let data = [42, 123, 256];
    let encrypted: Vec<_> = data.iter().map(|v| encrypt(public, *v).unwrap()).collect();
    let sum = add(&encrypted[0], &encrypted[1]).unwrap();
    let sum = relinearize(&sum, relin).unwrap();
    assert_eq!(decrypt(private, &sum).unwrap(), 165);
}

/// Additions for ever, with a relinearization whenever the budget says so.
fn a_long_chain((public, private, relin): &Keys) {
    let mut choices = Choices(1);
    let (mut sum, mut exact, mut resets) = (encrypt(public, 0).unwrap(), 0_i64, 0);
    for step in 0..11 {
        let value = choices.next() >> 8;
        let fresh = encrypt(public, value).unwrap();
        let apply = |sum: &Scalar| {
            if step % 3 == 2 {
                sub(sum, &fresh)
            } else {
                add(sum, &fresh)
            }
        };
        exact += if step % 3 == 2 { -value } else { value };
        sum = match apply(&sum) {
            Ok(sum) => sum,
            Err(Error::Noise { .. }) => {
                resets += 1;
                apply(&relinearize(&sum, relin).unwrap()).expect("room after a reset")
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(decrypt(private, &sum).unwrap(), exact, "step {step}");
    }
    assert!(resets >= 2, "{resets} resets");
}

/// Blocks at 15, the largest that can be relinearized, and signs at the ends of the range.
fn the_edges_of_the_budget((public, private, relin): &Keys) {
    let all_threes = encrypt(public, -1).unwrap();
    let full = mul_small(&all_threes, 5).unwrap();
    let clean = relinearize(&full, relin).unwrap();
    assert_eq!(clean.weight(), 1);
    assert_eq!(decrypt(private, &clean).unwrap(), -5);
    for edge in [i64::MIN, i64::MAX] {
        let edge = encrypt(public, edge).unwrap();
        let back = sub(&add(&edge, &edge).unwrap(), &edge).unwrap();
        let clean = relinearize(&back, relin).unwrap();
        assert_eq!(
            decrypt(private, &clean).unwrap(),
            decrypt(private, &edge).unwrap()
        );
    }
}

/// Once out of range, everything computed from it stays refused.
fn overflow_is_sticky((public, private, relin): &Keys) {
    let max = encrypt(public, i64::MAX).unwrap();
    let min = encrypt(public, i64::MIN).unwrap();
    let one = encrypt(public, 1).unwrap();
    let low = relinearize(&mul_small(&min, 5).unwrap(), relin).unwrap();
    assert!(overflows(private, &low));
    let high = relinearize(&add(&max, &one).unwrap(), relin).unwrap();
    assert!(overflows(private, &high));
    // The numbers are back in range, the flag stays.
    let back = sub(&high, &max).unwrap();
    assert!(overflows(private, &back));
    assert!(overflows(private, &relinearize(&back, relin).unwrap()));
    assert!(overflows(private, &mul_small(&high, 0).unwrap()));
}

/// The range of products, with ciphertexts without a mask: bootstrapping takes the same steps on them in the clear, and a
/// product costs milliseconds in place of a minute. `bootstraps.rs` and [`public_factors`] have real ones.
fn products_are_exact_or_refused((public, private, relin): &Keys) {
    let nothing = mul_small(&encrypt(public, 0).unwrap(), 0).unwrap();
    let known = |value: i64| add_scalar(&nothing, value).unwrap();
    let largest = 3_037_000_499; // The largest integer whose square fits.
    let mut pairs = vec![
        (largest, largest),
        (largest + 1, largest + 1),
        (largest + 1, -largest - 1),
        // Zero in the 68 bits in which it is computed, and far outside `i64`.
        (1 << 62, 1 << 6),
        (i64::MIN, i64::MIN),
        (i64::MIN, -1),
        (i64::MIN, 1),
        (i64::MAX, -1),
        // Lengths of 66, 67 and 68 bits.
        ((1 << 33) - 1, -(1 << 32)),
        ((1 << 33) - 1, (1 << 34) - 1),
        (-(1 << 33), (1 << 34) - 1),
    ];
    let mut choices = Choices(3);
    pairs
        .extend((0..12).map(|bits| (choices.next() >> (20 + bits), choices.next() >> (40 - bits))));
    for (left, right) in pairs {
        let product = mul(&known(left), &known(right), relin).unwrap();
        match left.checked_mul(right) {
            Some(exact) => assert_eq!(decrypt(private, &product).unwrap(), exact),
            None => assert!(overflows(private, &product), "{left} * {right}"),
        }
    }
}

/// A sum that spent its budget, by public numbers beyond the budget and within it.
fn public_factors((public, private, relin): &Keys) {
    let five = mul_small(&encrypt(public, -1000).unwrap(), 5).unwrap();
    let product = mul_scalar(&five, 123_456_789, relin).unwrap();
    assert_eq!(decrypt(private, &product).unwrap(), -5000 * 123_456_789);
    let nothing = mul_scalar(&five, 0, relin).unwrap();
    assert_eq!(decrypt(private, &nothing).unwrap(), 0);
}

fn evaluated_values_come_back_from_bytes((public, private, relin): &Keys) {
    let sum = mul_small(&encrypt(public, -21).unwrap(), 2).unwrap();
    let clean = relinearize(&sum, relin).unwrap();
    let again = Scalar::from_bytes(&clean.to_bytes()).unwrap();
    assert_eq!(again, clean);
    // A bootstrapped value and fresh ones mix.
    let mixed = add(&encrypt(public, 50).unwrap(), &again).unwrap();
    let mixed = sub(&mixed, &encrypt(public, 5).unwrap()).unwrap();
    assert_eq!(decrypt(private, &mixed).unwrap(), 3);
}

/// Replaces the digest by one that fits, as an attacker would.
fn seal_again(bytes: &mut [u8]) {
    let end = bytes.len() - 32;
    let digest = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(digest.as_bytes());
}

/// Blocks that nobody encrypted, with every counter at its limit: no operation panics on them.
fn forged_values_do_no_harm((public, private, relin): &Keys) {
    let spent = mul_small(&encrypt(public, -1).unwrap(), 5).unwrap();
    let good = relinearize(&spent, relin).unwrap().to_bytes();
    let words = 36 + 38;
    let mut header = good[..words].to_vec();
    header[36..].fill(15);
    (header[36], header[37]) = (1, 5);
    let forged = |word: &mut dyn FnMut(usize) -> u64| {
        let mut bytes = header.clone();
        for index in 0..35 * 2049 {
            bytes.extend_from_slice(&word(index).to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 32]);
        seal_again(&mut bytes);
        Scalar::from_bytes(&bytes).unwrap()
    };
    // No masks, which tfhe computes with in the clear, and plaintexts that no block can hold.
    let mut choices = Choices(7);
    let open = forged(&mut |index| match index % 2049 {
        2048 => choices.next() as u64,
        _ => 0,
    });
    let _ = decrypt(private, &open);
    let _ = decrypt(private, &relinearize(&open, relin).unwrap());
    let _ = decrypt(private, &mul(&open, &open, relin).unwrap());
    let noise = forged(&mut |_| choices.next() as u64);
    assert!(matches!(
        decrypt(private, &noise),
        Err(Error::Ciphertext(_))
    ));
    let _ = decrypt(private, &relinearize(&noise, relin).unwrap());
}

fn majorities_are_those_of_the_clear_votes((public, private, relin): &Keys) {
    let mut choices = Choices(1);
    // Few parameters: each is a bootstrapping.
    for (voters, parameters) in [(1_usize, 4_usize), (2, 12), (5, 12), (14, 20), (15, 12)] {
        let mut ups = vec![0_usize; parameters];
        let mut sum: Option<SignSum> = None;
        for _ in 0..voters {
            let update: Vec<f32> = (0..parameters).map(|_| choices.next() as f32).collect();
            for (ups, change) in ups.iter_mut().zip(&update) {
                *ups += usize::from(*change > 0.0);
            }
            let vote = SignSum::encrypt_update(public, &update).unwrap();
            match &mut sum {
                None => sum = Some(vote),
                Some(sum) => sum.add_assign(&vote).unwrap(),
            }
        }
        let sum = sum.unwrap();
        assert_eq!(usize::from(sum.voters()), voters);
        let outcome = majority(&sum, relin).unwrap();
        let outcome = Majority::from_bytes(&outcome.to_bytes()).unwrap();
        let expected: Vec<_> = ups
            .iter()
            .map(|ups| match (2 * ups).cmp(&voters) {
                std::cmp::Ordering::Less => Direction::Down,
                std::cmp::Ordering::Equal => Direction::Tie,
                std::cmp::Ordering::Greater => Direction::Up,
            })
            .collect();
        assert_eq!(outcome.decrypt(private).unwrap(), expected);
    }
}

fn sums_of_fifteen_extremes_and_one_voter_more((public, private, relin): &Keys) {
    let vote = SignSum::encrypt(public, &[true, false, true]).unwrap();
    let mut sum = vote.clone();
    for _ in 1..15 {
        sum.add_assign(&vote).unwrap();
    }
    let outcome = majority(&sum, relin).unwrap().decrypt(private).unwrap();
    assert_eq!(outcome, [Direction::Up, Direction::Down, Direction::Up]);
    assert!(matches!(
        sum.add_assign(&vote),
        Err(Error::Voters {
            used: 16,
            limit: 15
        })
    ));
    assert_eq!(sum.voters(), 15);

    let shorter = SignSum::encrypt(public, &[true]).unwrap();
    assert!(matches!(
        sum.add_assign(&shorter),
        Err(Error::Length { left: 3, right: 1 })
    ));
}

// Few tests with much in each, since keys take seconds and a process of the test runner makes its own.

#[test]
fn sums() {
    the_example(&KEYS);
    the_edges_of_the_budget(&KEYS);
    a_long_chain(&KEYS);
    overflow_is_sticky(&KEYS);
    evaluated_values_come_back_from_bytes(&KEYS);
    forged_values_do_no_harm(&KEYS);
}

#[test]
fn products() {
    products_are_exact_or_refused(&KEYS);
    public_factors(&KEYS);
}

#[test]
fn votes() {
    majorities_are_those_of_the_clear_votes(&KEYS);
    sums_of_fifteen_extremes_and_one_voter_more(&KEYS);
}

#[test]
fn evaluation_keys_come_back_from_bytes_and_foreign_ones_are_refused() {
    let (public, private, relin) = &*KEYS;
    let good = relin.to_bytes();
    let again = RelinKey::from_bytes(&good).unwrap();
    let sum = mul_small(&encrypt(public, 33).unwrap(), 5).unwrap();
    let clean = relinearize(&sum, &again).unwrap();
    assert_eq!(decrypt(private, &clean).unwrap(), 165);

    // Damage, everywhere and with a digest that fits in the part that describes the key.
    for at in [36, 40, 60, 100, good.len() / 2, good.len() - 33] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        assert!(RelinKey::from_bytes(&bytes).is_err());
    }
    assert!(RelinKey::from_bytes(&good[..good.len() - 1]).is_err());
    for at in (36..36 + 200).step_by(25) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x80;
        seal_again(&mut bytes);
        // Refused, or a seed or a word of the key was hit; a panic would end the test.
        let _ = RelinKey::from_bytes(&bytes);
    }

    let (other, _) = cifer_homocryption::generate_key_pair().unwrap();
    let foreign = encrypt(&other, 1).unwrap();
    assert!(matches!(
        relinearize(&foreign, relin),
        Err(Error::Key { .. })
    ));
    assert!(matches!(
        mul(&foreign, &foreign, relin),
        Err(Error::Key { .. })
    ));
    let votes = SignSum::encrypt(&other, &[true]).unwrap();
    assert!(matches!(majority(&votes, relin), Err(Error::Key { .. })));
}
