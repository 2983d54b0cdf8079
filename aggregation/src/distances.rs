//! Squared Euclidean distances between all pairs of updates, in one pass over the data.
//!
//! Coordinates are subtracted, squared and added in f64: the difference of two f32 never overflows
//! there, nor does the sum of its squares over any vector that exists. The shape of the sum is fixed:
//!
//! 1. eight lanes per block of 256 coordinates (lane l takes the coordinates l, l + 8, …), folded as
//!    `((l0+l4)+(l2+l6)) + ((l1+l5)+(l3+l7))`; a short last block is padded with zeros;
//! 2. the blocks of a tile of [`TILE`] coordinates in order;
//! 3. the tiles of a segment of [`SEGMENT`] coordinates in order;
//! 4. the segments in order.
//!
//! So the pairwise sums of a segment can be computed anywhere (by another thread, by a committee
//! that has only that part of the updates) and added up to the same bits.

use crate::error::AggregationError;
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::{BLOCK, Inputs, Pool, Scratch, TILE, slot_count, walk};

/// Coordinates of the largest part that is summed on its own: 256 tiles.
pub const SEGMENT: usize = 256 * TILE;

/// Independent partial sums of one pair; a full vector of AVX-512, and two or four registers of less.
const LANES: usize = 8;

/// The distances of n updates, each pair once.
pub(crate) struct Distances {
    n: usize,
    /// (0,1), (0,2), …, (0,n-1), (1,2), …
    pairs: Vec<f64>,
}

impl Distances {
    /// Reads all inputs once. Takes n(n-1)/2 subtractions and multiply-adds per coordinate.
    pub(crate) fn compute(inputs: &Inputs<'_>) -> Result<Self, AggregationError> {
        let n = inputs.count();
        let count = n * n.saturating_sub(1) / 2;
        let slots = slot_count(count * size_of::<f64>()).min(inputs.len().div_ceil(TILE));
        let mut slots = vec![vec![0.0; count]; slots];
        let scratches = Pool::new();

        let mut total = vec![0.0; count];
        let mut segment = vec![0.0; count];
        walk(
            inputs.len(),
            &mut slots,
            |pairs, tile| {
                pairs.fill(0.0);
                scratches.with(
                    || Scratch::new(inputs),
                    |scratch| {
                        inputs.for_each_block(tile, scratch, |rows, _| {
                            dispatch(AddBlock { rows, pairs });
                        })
                    },
                )
            },
            |pairs, tile| {
                add(&mut segment, pairs);
                if tile.end.is_multiple_of(SEGMENT) || tile.end == inputs.len() {
                    add(&mut total, &segment);
                    segment.fill(0.0);
                }
                Ok(())
            },
        )?;
        Ok(Self { n, pairs: total })
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

fn add(sums: &mut [f64], more: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(more) {
        *sum += value;
    }
}

/// Adds the squared distances within one block to the sums of all pairs.
struct AddBlock<'a> {
    rows: &'a [[f64; BLOCK]],
    pairs: &'a mut [f64],
}

impl Op for AddBlock<'_> {
    type Output = ();

    /// Two rows against two others at a time: every vector that is loaded serves two pairs, and the
    /// eight lanes of four pairs just fit the registers of AVX2.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, pairs } = self;
        let n = rows.len();
        let mut add = |i: usize, j: usize, sum: f64| pairs[pair(n, i, j)] += sum;
        let even = n - n % 2;
        for i in (0..even).step_by(2) {
            let [[sum]] = squared_distances(simd, [&rows[i]], [&rows[i + 1]]);
            add(i, i + 1, sum);
            for j in (i + 2..even).step_by(2) {
                let [[a, b], [c, d]] =
                    squared_distances(simd, [&rows[i], &rows[i + 1]], [&rows[j], &rows[j + 1]]);
                add(i, j, a);
                add(i, j + 1, b);
                add(i + 1, j, c);
                add(i + 1, j + 1, d);
            }
            if even < n {
                let [[a], [b]] = squared_distances(simd, [&rows[i], &rows[i + 1]], [&rows[even]]);
                add(i, even, a);
                add(i + 1, even, b);
            }
        }
    }
}

/// Position of the pair `i < j` of `n`.
fn pair(n: usize, i: usize, j: usize) -> usize {
    i * (2 * n - i - 1) / 2 + j - i - 1
}

/// The squared distances of each of A rows to each of B others over one block.
#[inline(always)]
fn squared_distances<S: Simd, const A: usize, const B: usize>(
    simd: S,
    rows: [&[f64; BLOCK]; A],
    others: [&[f64; BLOCK]; B],
) -> [[f64; B]; A] {
    let mut sums = [[simd.zero64x8(); B]; A];
    let rows = rows.map(|row| simd.f64x8s(row));
    let others = others.map(|other| simd.f64x8s(other));
    for c in 0..BLOCK / LANES {
        for (row, sums) in rows.iter().zip(&mut sums) {
            for (other, sum) in others.iter().zip(sums) {
                let difference = simd.zip64x8(row[c], other[c], |x, y| simd.sub64(x, y));
                *sum = simd.zip64x8(*sum, difference, |sum, d| simd.add64(sum, simd.mul64(d, d)));
            }
        }
    }
    // Not `map`, which is a call that is not compiled for `S`.
    let mut folded = [[0.0; B]; A];
    for (folded, sums) in folded.iter_mut().zip(&sums) {
        for (folded, lanes) in folded.iter_mut().zip(sums) {
            *folded = fold(simd.lanes64(*lanes));
        }
    }
    folded
}

/// The sum of eight lanes.
#[inline(always)]
fn fold(l: [f64; LANES]) -> f64 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::VectorSource;

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

    #[test]
    fn the_largest_values_do_not_overflow() {
        let (a, b) = (vec![f32::MAX; 3], vec![f32::MIN; 3]);
        let inputs = Inputs::new([&a as &dyn VectorSource, &b].into_iter()).unwrap();
        assert!(Distances::compute(&inputs).unwrap().get(1, 0).is_finite());
    }
}
