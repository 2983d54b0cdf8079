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
use crate::tiles::{BLOCK, Inputs, Scratch, TILE, slot_count, walk};

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
        struct Slot {
            scratch: Scratch<f64>,
            pairs: Vec<f64>,
        }
        let n = inputs.count();
        let count = n * n.saturating_sub(1) / 2;
        let slot_bytes = Scratch::<f64>::size_bytes(inputs) + count * size_of::<f64>();
        let mut slots: Vec<Slot> = (0..slot_count(slot_bytes).min(inputs.len().div_ceil(TILE)))
            .map(|_| Slot {
                scratch: Scratch::new(inputs),
                pairs: vec![0.0; count],
            })
            .collect();

        let mut total = vec![0.0; count];
        let mut segment = vec![0.0; count];
        walk(
            inputs.len(),
            &mut slots,
            |Slot { scratch, pairs }, tile| {
                pairs.fill(0.0);
                inputs.for_each_block(tile, scratch, |rows, _| add_block(rows, pairs))
            },
            |slot, tile| {
                add(&mut segment, &slot.pairs);
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
            false => self.pairs[low * (2 * self.n - low - 1) / 2 + high - low - 1],
        }
    }
}

fn add(sums: &mut [f64], more: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(more) {
        *sum += value;
    }
}

/// Adds the squared distances within one block to `pairs`.
fn add_block(rows: &[[f64; BLOCK]], pairs: &mut [f64]) {
    let mut pairs = pairs;
    for (i, row) in rows.iter().enumerate() {
        let others = &rows[i + 1..];
        let (sums, rest) = pairs.split_at_mut(others.len());
        pairs = rest;
        // Two at a time: the row is loaded once for both, and eight lanes of each fit the registers.
        let (twos, last) = others.as_chunks::<2>();
        let (sums_of_twos, sum_of_last) = sums.as_chunks_mut::<2>();
        for (two, sums) in twos.iter().zip(sums_of_twos) {
            let [a, b] = squared_distances(row, [&two[0], &two[1]]);
            sums[0] += a;
            sums[1] += b;
        }
        for (other, sum) in last.iter().zip(sum_of_last) {
            let [a] = squared_distances(row, [other]);
            *sum += a;
        }
    }
}

/// The squared distances of `row` to K others over one block.
fn squared_distances<const K: usize>(row: &[f64; BLOCK], others: [&[f64; BLOCK]; K]) -> [f64; K] {
    let mut lanes = [[0.0_f64; LANES]; K];
    let row = row.as_chunks::<LANES>().0;
    let others = others.map(|other| other.as_chunks::<LANES>().0);
    for (c, x) in row.iter().enumerate() {
        for (lanes, other) in lanes.iter_mut().zip(&others) {
            let y = &other[c];
            for l in 0..LANES {
                let difference = x[l] - y[l];
                lanes[l] += difference * difference;
            }
        }
    }
    lanes.map(|l| ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])))
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
