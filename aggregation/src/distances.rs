//! Squared Euclidean distances between all pairs of updates, in one pass over the data.
//!
//! Always sums of squares of true differences, never inner products: nothing cancels that is large in both updates.
//! What a block of 256 coordinates gives for a pair is
//!
//! 1. in f32: sixteen lanes (lane l takes the coordinates l, l + 16, … and adds `(x - y)²` in this order); lane l and lane
//!    l + 8 are added in f32, and the eight sums are [folded](fold) in f64. All terms are positive, so this is within
//!    20 units of 2⁻²⁴, 1.2e-6, of the exact sum, and errors of many blocks even out;
//! 2. unless that is below [`LEAST`] or infinite, where f32 has no room for squares: then in f64, in eight lanes that are folded
//!    the same way. The difference of two f32 never overflows there, nor does the sum of its squares over
//!    any vector that exists.
//!
//! The blocks are added up as [`sums`](crate::sums) says: blocks of a tile of [`TILE`](crate::TILE) coordinates in order, tiles
//! of a segment of [`SEGMENT`] coordinates, segments. So the pairwise sums of a segment can be computed anywhere (by another
//! thread, by a committee that has only that part of the updates) and added up to the same bits.
//!
//! Rules that subtract distances from each other (CAF, SMEA) ask for [`Distances::exact`]: f64 in every block.

use std::hint::black_box;

use crate::error::AggregationError;
use crate::simd::{Op, Simd, dispatch};
pub use crate::sums::SEGMENT;
use crate::sums::{fold, over_coordinates};
use crate::tiles::{Ahead, BLOCK, Inputs};

/// The smallest sum of a block that is taken from f32, 2⁻¹⁰⁰: what squares lose below the smallest f32 is then less than
/// 2⁻⁴⁰ of it.
pub const LEAST: f64 = f64::from_bits((1023 - 100) << 52);

/// Partial sums of one pair in f32: a full vector of AVX-512.
const LANES: usize = 16;

/// Partial sums of one pair in f64.
const EXACT_LANES: usize = 8;

/// The distances of n updates, each pair once.
pub(crate) struct Distances {
    n: usize,
    /// (0,1), (0,2), …, (0,n-1), (1,2), …
    pairs: Vec<f64>,
}

impl Distances {
    /// Reads all inputs once. Takes n(n-1)/2 subtractions and multiply-adds per coordinate.
    pub(crate) fn compute(inputs: &Inputs<'_>) -> Result<Self, AggregationError> {
        Self::with(inputs, |rows, ahead, pairs| {
            dispatch(AddBlock { rows, ahead, pairs });
        })
    }

    /// The same in f64 throughout, at a quarter of the speed.
    pub(crate) fn exact(inputs: &Inputs<'_>) -> Result<Self, AggregationError> {
        Self::with(inputs, |rows, ahead, pairs| {
            dispatch(AddExactly { rows, ahead, pairs });
        })
    }

    fn with(
        inputs: &Inputs<'_>,
        add_block: impl Fn(&[[f32; BLOCK]], &mut Ahead<'_>, &mut [f64]) + Sync,
    ) -> Result<Self, AggregationError> {
        let n = inputs.count();
        let pairs = over_coordinates(inputs, n * n.saturating_sub(1) / 2, add_block)?;
        Ok(Self { n, pairs })
    }

    /// The squared distance of updates `i` and `j`, zero when they are the same.
    pub(crate) fn get(&self, i: usize, j: usize) -> f64 {
        let (low, high) = (i.min(j), i.max(j));
        match low == high {
            true => 0.0,
            false => self.pairs[pair(self.n, low, high)],
        }
    }
}

/// Position of the pair `i < j` of `n`.
fn pair(n: usize, i: usize, j: usize) -> usize {
    i * (2 * n - i - 1) / 2 + j - i - 1
}

/// Adds the squared distances within one block to the sums of all pairs.
struct AddBlock<'a, 'v> {
    rows: &'a [[f32; BLOCK]],
    ahead: &'a mut Ahead<'v>,
    pairs: &'a mut [f64],
}

/// Pairs of the first four rows with the two behind them, and with one: as many as fit the registers of AVX2
/// together with their rows.
const FOUR_BY_TWO: [(usize, usize); 8] = [
    (0, 4),
    (1, 4),
    (2, 4),
    (3, 4),
    (0, 5),
    (1, 5),
    (2, 5),
    (3, 5),
];
const FOUR_BY_ONE: [(usize, usize); 4] = [(0, 4), (1, 4), (2, 4), (3, 4)];
/// All pairs among rows.
const AMONG_FOUR: [(usize, usize); 6] = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
const AMONG_THREE: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];
const AMONG_TWO: [(usize, usize); 1] = [(0, 1)];

impl Op for AddBlock<'_, '_> {
    type Output = ();

    /// Four rows at a time: the pairs among them, and with all rows behind them.
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let n = self.rows.len();
        for i in (0..n).step_by(4) {
            match n - i {
                1 => {}
                2 => self.add(simd, [i, i + 1], AMONG_TWO),
                3 => self.add(simd, [i, i + 1, i + 2], AMONG_THREE),
                _ => {
                    let [a, b, c, d] = [i, i + 1, i + 2, i + 3];
                    self.add(simd, [a, b, c, d], AMONG_FOUR);
                    for j in (i + 4..n).step_by(2) {
                        match n - j {
                            1 => self.add(simd, [a, b, c, d, j], FOUR_BY_ONE),
                            _ => self.add(simd, [a, b, c, d, j, j + 1], FOUR_BY_TWO),
                        }
                    }
                }
            }
        }
        self.ahead.rest(simd);
    }
}

impl AddBlock<'_, '_> {
    /// Adds the distances of `pairs` of the rows `at`.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        at: [usize; R],
        pairs: [(usize, usize); P],
    ) {
        self.ahead.next_row(simd);
        let mut rows = [&self.rows[0]; R];
        for (row, at) in rows.iter_mut().zip(at) {
            *row = &self.rows[at];
        }
        let sums = squared_distances(simd, rows, pairs);
        for ((i, j), sum) in pairs.into_iter().zip(sums) {
            let sum = match (LEAST..f64::INFINITY).contains(&sum) {
                true => sum,
                false => exactly(rows[i], rows[j]),
            };
            self.pairs[pair(self.rows.len(), at[i], at[j])] += sum;
        }
    }
}

/// The squared distances of pairs of rows over one block, from f32.
#[inline(always)]
fn squared_distances<S: Simd, const R: usize, const P: usize>(
    simd: S,
    rows: [&[f32; BLOCK]; R],
    pairs: [(usize, usize); P],
) -> [f64; P] {
    // Loops and not `map`, which is a call that is not compiled for `S`.
    let mut sixteens: [&[S::F32x16]; R] = [&[]; R];
    for (sixteens, row) in sixteens.iter_mut().zip(rows) {
        *sixteens = simd.f32x16s(row);
    }
    let mut sums = [simd.zero16(); P];
    for part in 0..S::PARTS {
        // One loop for all parts: side by side the compiler keeps sums of one in registers that another needs.
        let part = black_box(part) % S::PARTS;
        let mut lanes = [simd.splat(0.0); P];
        for c in 0..BLOCK / LANES {
            let mut values = [simd.splat(0.0); R];
            for (value, sixteens) in values.iter_mut().zip(sixteens) {
                *value = sixteens[c].as_ref()[part];
            }
            for (lanes, (i, j)) in lanes.iter_mut().zip(pairs) {
                let difference = simd.sub(values[i], values[j]);
                *lanes = simd.add(*lanes, simd.mul(difference, difference));
            }
        }
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            sum.as_mut()[part] = lanes;
        }
    }
    let mut folded = [0.0; P];
    for (folded, sum) in folded.iter_mut().zip(sums) {
        *folded = simd.fold16(sum);
    }
    folded
}

/// The squared distance of two rows over one block, from f64.
#[cold]
fn exactly(a: &[f32; BLOCK], b: &[f32; BLOCK]) -> f64 {
    dispatch(Exactly(a, b))
}

struct Exactly<'a>(&'a [f32; BLOCK], &'a [f32; BLOCK]);

impl Op for Exactly<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let Self(a, b) = self;
        let (eights, others) = (
            a.as_chunks::<EXACT_LANES>().0,
            b.as_chunks::<EXACT_LANES>().0,
        );
        let mut lanes = [0.0_f64; EXACT_LANES];
        for (x, y) in eights.iter().zip(others) {
            for k in 0..EXACT_LANES {
                let difference = f64::from(x[k]) - f64::from(y[k]);
                lanes[k] += difference * difference;
            }
        }
        fold(lanes)
    }
}

/// [`AddBlock`] with f64 in every block.
struct AddExactly<'a, 'v> {
    rows: &'a [[f32; BLOCK]],
    ahead: &'a mut Ahead<'v>,
    pairs: &'a mut [f64],
}

impl Op for AddExactly<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut sums = self.pairs.iter_mut();
        for (i, row) in self.rows.iter().enumerate() {
            self.ahead.next_row(simd);
            for (other, sum) in self.rows[i + 1..].iter().zip(&mut sums) {
                *sum += Exactly(row, other).run(simd);
            }
        }
        self.ahead.rest(simd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::VectorSource;
    use crate::tiles::TILE;

    #[test]
    fn distances_agree_with_the_definition_over_several_segments() {
        let len = 2 * SEGMENT + TILE + 77;
        let vectors: Vec<Vec<f32>> = (0..5)
            .map(|i| {
                (0..len)
                    .map(|k| ((k * (i + 3) + i) % 101) as f32 - 50.0)
                    .collect()
            })
            .collect();
        let inputs = Inputs::new(vectors.iter().map(|v| v as &dyn VectorSource)).unwrap();
        let distances = Distances::compute(&inputs).unwrap();
        for i in 0..5 {
            for j in 0..5 {
                // Small integers: every order of summation is exact.
                let exact: f64 = vectors[i]
                    .iter()
                    .zip(&vectors[j])
                    .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                    .sum();
                assert_eq!(distances.get(i, j), exact, "pair {i}, {j}");
            }
        }
    }

    /// The distance in f64, in the order of the coordinates.
    fn plain(a: &[f32], b: &[f32]) -> f64 {
        let pairs = a.iter().zip(b);
        pairs
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum()
    }

    fn close(found: f64, expected: f64, relative: f64) -> bool {
        (found - expected).abs() <= relative * expected
    }

    fn numbers(seed: usize, len: usize) -> Vec<f32> {
        let mut state = seed as u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as i32 as f32 / 2_147_483_648.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Every number of rows has its own tiles of pairs, and every scale its own arithmetic: the smallest and
    /// largest values, what is left of squares near 2⁻¹⁰⁰ and below f32, and rows that share a large offset.
    #[test]
    fn distances_are_right_for_every_number_of_rows_and_every_scale() {
        let scales = [
            1.0, 1e-45, 1e-40, 1e-25, 3e-20, 1e-17, 1e-15, 1e-10, 1e10, 1e18, 3e19, 1e25, 3e38,
        ];
        for n in 2..=21 {
            let vector = |i: usize| -> Vec<f32> {
                let scale = scales[i % scales.len()];
                let numbers = numbers(i, 2 * BLOCK + 9);
                // Rows with the same scale in different blocks only.
                let at = |k: usize| scale * if k / BLOCK == i % 3 { 1.0 } else { 0.25 };
                (numbers.iter().enumerate())
                    .map(|(k, x)| at(k) * x)
                    .collect()
            };
            let vectors: Vec<Vec<f32>> = (0..n).map(vector).collect();
            let inputs = Inputs::new(vectors.iter().map(|v| v as &dyn VectorSource)).unwrap();
            let distances = Distances::compute(&inputs).unwrap();
            let exact = Distances::exact(&inputs).unwrap();
            for (i, a) in vectors.iter().enumerate() {
                for (j, b) in vectors.iter().enumerate() {
                    let expected = plain(a, b);
                    let (found, exact) = (distances.get(i, j), exact.get(i, j));
                    assert!(
                        close(found, expected, 1.3e-6),
                        "{n}: {i}, {j}: {found}, {expected}"
                    );
                    assert!(
                        close(exact, expected, 1e-13),
                        "{n}: {i}, {j}: {exact}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn neither_the_largest_nor_the_smallest_differences_are_lost() {
        let distance = |x: f32, y: f32, len: usize| {
            let (a, b) = (vec![x; len], vec![y; len]);
            let inputs = Inputs::new([&a as &dyn VectorSource, &b].into_iter()).unwrap();
            Distances::compute(&inputs).unwrap().get(1, 0)
        };
        for (x, y) in [
            (f32::MAX, f32::MIN),
            (f32::MAX, 0.0),
            (1e-45, 0.0),
            (f32::MIN_POSITIVE, 1e-45),
            (1.0, 1.0 + f32::EPSILON),
        ] {
            for len in [1, 3, BLOCK, 3 * BLOCK + 1] {
                let expected = len as f64 * (f64::from(x) - f64::from(y)).powi(2);
                let found = distance(x, y, len);
                assert!(
                    close(found, expected, 1e-12),
                    "{x} {y} {len}: {found}, {expected}"
                );
            }
        }
        assert_eq!(distance(7.5, 7.5, 1000).to_bits(), 0.0_f64.to_bits());
    }

    /// The bound of the module's documentation, where rounding has one direction: terms that all round up.
    #[test]
    fn a_block_stays_within_the_bound_of_its_lanes() {
        for seed in 0..200 {
            let a: Vec<f32> = numbers(seed, BLOCK).iter().map(|x| x.abs()).collect();
            let b: Vec<f32> = numbers(seed + 999, BLOCK)
                .iter()
                .map(|x| -x.abs())
                .collect();
            let inputs = Inputs::new([&a as &dyn VectorSource, &b].into_iter()).unwrap();
            let found = Distances::compute(&inputs).unwrap().get(0, 1);
            assert!(close(found, plain(&a, &b), 20.0 / 16_777_216.0), "{seed}");
        }
    }
}
