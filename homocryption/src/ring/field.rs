//! The prime field of secret sharing, modulo the Mersenne prime 2^31 - 1: an element is 4 bytes, a product one multiplication.

use zeroize::{DefaultIsZeroes, Zeroize};

use super::keystream::Stream;

const PRIME: u32 = (1 << 31) - 1;

/// An element, always below 2^31 - 1. Like the key that it may be a share of, it does not print.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fe(u32);

impl DefaultIsZeroes for Fe {}

impl Fe {
    pub(super) const ZERO: Self = Self(0);
    pub(super) const ONE: Self = Self(1);

    /// None for what is not below the prime.
    pub(super) const fn from_canonical(value: u32) -> Option<Self> {
        if value < PRIME {
            Some(Self(value))
        } else {
            None
        }
    }

    pub(super) const fn from_signed(value: i32) -> Self {
        Self((value as i64).rem_euclid(PRIME as i64) as u32)
    }

    /// The point of evaluation of validator `index`.
    pub(super) const fn point(index: usize) -> Self {
        Self((index as u32 + 1) % PRIME)
    }

    /// The representative nearest to zero.
    pub(super) const fn to_signed(self) -> i32 {
        if self.0 > PRIME / 2 {
            self.0 as i32 - PRIME as i32
        } else {
            self.0 as i32
        }
    }

    pub(super) const fn value(self) -> u32 {
        self.0
    }

    /// Uniform from 31 bits of the stream: the one excluded value, 2^31 - 1, is drawn again.
    pub(super) fn draw(stream: &mut Stream) -> Self {
        loop {
            if let Some(element) = Self::from_canonical(stream.next_u32() >> 1) {
                return element;
            }
        }
    }

    /// As [`Fe::draw`] for each element of `out`, a block of the stream at a time.
    pub(super) fn draw_all(stream: &mut Stream, out: &mut [Self]) {
        let mut bytes = [[0; 4]; 256];
        for out in out.chunks_mut(256) {
            let bytes = &mut bytes[..out.len()];
            stream.fill(bytes.as_flattened_mut());
            for (element, bytes) in out.iter_mut().zip(bytes) {
                let word = u32::from_le_bytes(*bytes) >> 1;
                *element = Self::from_canonical(word).unwrap_or_else(|| Self::draw(stream));
            }
        }
        bytes.zeroize();
    }

    /// The inverse; zero for zero.
    pub(super) fn inverse(self) -> Self {
        let (mut base, mut exponent, mut out) = (self, PRIME - 2, Self::ONE);
        while exponent > 0 {
            if exponent & 1 == 1 {
                out = out * base;
            }
            base = base * base;
            exponent >>= 1;
        }
        out
    }
}

/// `value mod 2^31 - 1` for any sum of up to four products.
const fn reduce(value: u64) -> u32 {
    let folded = (value & PRIME as u64) + (value >> 31);
    let folded = (folded & PRIME as u64) + (folded >> 31);
    let folded = folded as u32;
    if folded >= PRIME {
        folded - PRIME
    } else {
        folded
    }
}

impl std::ops::Add for Fe {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let sum = self.0 + other.0;
        Self(if sum >= PRIME { sum - PRIME } else { sum })
    }
}

impl std::ops::Sub for Fe {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + Self(if other.0 == 0 { 0 } else { PRIME - other.0 })
    }
}

impl std::ops::Mul for Fe {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self(reduce(u64::from(self.0) * u64::from(other.0)))
    }
}

/// `sum of left[i] * right[i]`.
pub(super) fn dot(left: &[Fe], right: &[Fe]) -> Fe {
    // Products are below 2^62; folded once they are below 2^32, of which a 64-bit sum holds more than there is memory for.
    let sum: u64 = left
        .iter()
        .zip(right)
        .map(|(a, b)| {
            let product = u64::from(a.0) * u64::from(b.0);
            (product & u64::from(PRIME)) + (product >> 31)
        })
        .sum();
    Fe(reduce(sum))
}

/// `row += factor * other`, element by element.
pub(super) fn add_scaled(row: &mut [Fe], factor: Fe, other: &[Fe]) {
    for (sum, value) in row.iter_mut().zip(other) {
        *sum = *sum + factor * *value;
    }
}

/// Weights w with `f(at) = sum of w[i] f(points[i])` for every polynomial of a degree below the number of points, which differ.
pub(super) fn lagrange(points: &[Fe], at: Fe) -> Vec<Fe> {
    points
        .iter()
        .enumerate()
        .map(|(i, own)| {
            let (mut above, mut below) = (Fe::ONE, Fe::ONE);
            for (j, other) in points.iter().enumerate() {
                if i != j {
                    above = above * (at - *other);
                    below = below * (*own - *other);
                }
            }
            above * below.inverse()
        })
        .collect()
}

/// The value at `at` of the polynomial with these coefficients, lowest first.
pub(super) fn evaluate(coefficients: &[Fe], at: Fe) -> Fe {
    coefficients
        .iter()
        .rev()
        .fold(Fe::ZERO, |sum, coefficient| sum * at + *coefficient)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0..PRIME, Just(0), Just(1), Just(PRIME - 1)]
    }

    fn modulo(value: i128) -> Fe {
        Fe(value.rem_euclid(i128::from(PRIME)) as u32)
    }

    proptest! {
        #[test]
        fn arithmetic_is_modulo_the_prime(a in number(), b in number()) {
            let (a, b) = (Fe(a), Fe(b));
            let (x, y) = (i128::from(a.0), i128::from(b.0));
            prop_assert!(a + b == modulo(x + y) && a - b == modulo(x - y) && a * b == modulo(x * y));
            prop_assert!(a == Fe::ZERO || a * a.inverse() == Fe::ONE);
            prop_assert!(Fe::from_signed(a.to_signed()) == a);
        }

        #[test]
        fn dot_is_the_sum_of_products(pairs in proptest::collection::vec((number(), number()), 0..50)) {
            let (left, right): (Vec<_>, Vec<_>) = pairs.into_iter().map(|(a, b)| (Fe(a), Fe(b))).unzip();
            let expected = left.iter().zip(&right).fold(Fe::ZERO, |sum, (a, b)| sum + *a * *b);
            prop_assert!(dot(&left, &right) == expected);
        }

        #[test]
        fn lagrange_interpolates(coefficients in proptest::collection::vec(number(), 1..12), at in number()) {
            let coefficients: Vec<Fe> = coefficients.into_iter().map(Fe).collect();
            let at = Fe(at);
            let points: Vec<Fe> = (0..coefficients.len()).map(Fe::point).collect();
            let values: Vec<Fe> = points.iter().map(|point| evaluate(&coefficients, *point)).collect();
            prop_assert!(dot(&lagrange(&points, at), &values) == evaluate(&coefficients, at));
        }
    }
}
