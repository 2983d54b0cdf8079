//! Coins with exactly a rational probability, or exactly `exp` of minus one.
//!
//! No floating point: a coin compares the binary digits of its probability with random ones, 32 at a time, until they differ.

use rand_core::RngCore;

/// Largest denominator of [`coin`]: a remainder below it can be shifted by 32 bits.
pub(crate) const MAX_DENOMINATOR: u128 = 1 << 96;

/// True with probability `numerator / denominator`, which is at most 1.
pub(crate) fn coin(numerator: u128, denominator: u128, rng: &mut impl RngCore) -> bool {
    debug_assert!(numerator <= denominator && (1..=MAX_DENOMINATOR).contains(&denominator));
    if numerator == denominator {
        return true;
    }
    // Most coins are small, and a division of 64 bits is many times faster than one of 128.
    match (u32::try_from(numerator), u32::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) => small_coin(numerator, denominator, rng),
        _ => large_coin(numerator, denominator, rng),
    }
}

fn small_coin(numerator: u32, denominator: u32, rng: &mut impl RngCore) -> bool {
    let (mut rest, denominator) = (u64::from(numerator), u64::from(denominator));
    loop {
        let shifted = rest << 32;
        let (digits, random) = (shifted / denominator, u64::from(rng.next_u32()));
        if random != digits {
            return random < digits;
        }
        rest = shifted % denominator;
    }
}

fn large_coin(mut rest: u128, denominator: u128, rng: &mut impl RngCore) -> bool {
    loop {
        let shifted = rest << 32;
        let (digits, random) = (shifted / denominator, u128::from(rng.next_u32()));
        if random != digits {
            return random < digits;
        }
        rest = shifted % denominator;
    }
}

/// True with probability `exp(-numerator / denominator)`: algorithm 1 of Canonne, Kamath, Steinke 2020.
pub(crate) fn exp_coin(numerator: u128, denominator: u128, rng: &mut impl RngCore) -> bool {
    let mut whole = numerator / denominator;
    while whole > 0 {
        if !exp_one_coin(rng) {
            return false;
        }
        whole -= 1;
    }
    exp_fraction_coin(numerator % denominator, denominator, rng)
}

/// As [`exp_coin`] for at most 1. The coin of probability `(numerator / denominator) / k` is thrown as two.
pub(crate) fn exp_fraction_coin(
    numerator: u128,
    denominator: u128,
    rng: &mut impl RngCore,
) -> bool {
    let mut k = 1_u32;
    while (k == 1 || small_coin(1, k, rng)) && coin(numerator, denominator, rng) {
        k += 1;
    }
    k % 2 == 1
}

/// True with probability `exp(-1)`.
pub(crate) fn exp_one_coin(rng: &mut impl RngCore) -> bool {
    let mut k = 2_u32;
    while small_coin(1, k, rng) {
        k += 1;
    }
    k % 2 == 1
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    /// Heads of 400,000 throws lie within five standard deviations.
    #[track_caller]
    fn frequency(probability: f64, mut throw: impl FnMut(&mut ChaCha20Rng) -> bool) {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let throws = 400_000;
        let heads = (0..throws).filter(|_| throw(&mut rng)).count();
        let (mean, deviation) = (
            probability * f64::from(throws),
            (f64::from(throws) * probability * (1.0 - probability)).sqrt(),
        );
        assert!(
            (heads as f64 - mean).abs() <= 5.0 * deviation,
            "{heads} {mean} {deviation}"
        );
    }

    #[test]
    fn coins_have_their_probability() {
        for (n, d) in [(0, 1), (1, 1), (1, 2), (2, 3), (999, 1000), (1, 97)] {
            frequency(n as f64 / d as f64, |rng| coin(n, d, rng));
            frequency(n as f64 / d as f64, |rng| coin(n << 80, d << 80, rng));
        }
    }

    #[test]
    fn exponential_coins_have_their_probability() {
        for (n, d) in [(0, 1), (1, 1), (1, 3), (7, 2), (5, 1), (200, 100)] {
            let exact = (-(n as f64) / d as f64).exp();
            frequency(exact, |rng| exp_coin(n, d, rng));
            frequency(exact, |rng| exp_coin(n << 70, d << 70, rng));
        }
        frequency((-1.0_f64).exp(), exp_one_coin);
    }

    /// Random words that are given; the digits of a third are 0x55555555 for ever.
    struct Words<'a>(&'a [u32]);

    impl RngCore for Words<'_> {
        fn next_u32(&mut self) -> u32 {
            let (first, rest) = self.0.split_first().expect("no more words are asked for");
            self.0 = rest;
            *first
        }
        fn next_u64(&mut self) -> u64 {
            unreachable!("coins take 32 bits")
        }
        fn fill_bytes(&mut self, _: &mut [u8]) {
            unreachable!("coins take 32 bits")
        }
        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), rand_core::Error> {
            unreachable!("coins take 32 bits")
        }
    }

    #[test]
    fn equal_digits_are_followed_by_more() {
        let same = 0x5555_5555;
        for shift in [0, 90] {
            let third = |words: &[u32]| coin(1 << shift, 3 << shift, &mut Words(words));
            assert!(third(&[same - 1]));
            assert!(!third(&[same + 1]));
            assert!(third(&[same, same, same - 1]));
            assert!(!third(&[same, same, same + 1]));
        }
    }
}
