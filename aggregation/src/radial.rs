//! Squared Euclidean norms of all rows, or their distances from one weighted sum of them, in one
//! pass: n multiply-adds per coordinate (twice that with a centre).
//!
//! Coordinates are subtracted, squared and added in f64. Within a block of 256 coordinates there are eight lanes
//! (lane l takes the coordinates l, l + 8, …), [folded](fold) at its end; blocks are added up as
//! [`sums`](crate::sums) says. A centre `Σ weights[i] · row i` is summed in f64 in row order and
//! never rounded to f32, so a distance is that of true differences, whatever the scale of the rows.

use crate::error::AggregationError;
use crate::simd::{Op, Simd, dispatch};
use crate::sums::{fold, over_coordinates};
use crate::tiles::{Ahead, BLOCK, Inputs};
use crate::weighted::add_weighted;

const LANES: usize = 8;

/// The squared norm of every row.
pub(crate) fn squared_norms(inputs: &Inputs<'_>) -> Result<Vec<f64>, AggregationError> {
    measure(inputs, &[])
}

/// The squared distance of every row from `Σ weights[i] · row i`.
pub(crate) fn squared_distances(
    inputs: &Inputs<'_>,
    weights: &[f64],
) -> Result<Vec<f64>, AggregationError> {
    measure(inputs, weights)
}

fn measure(inputs: &Inputs<'_>, weights: &[f64]) -> Result<Vec<f64>, AggregationError> {
    over_coordinates(inputs, inputs.count(), |rows, ahead, sums| {
        dispatch(AddBlock {
            rows,
            ahead,
            weights,
            sums,
        });
    })
}

/// Adds the squared distances from the centre within one block; without weights the centre is zero.
struct AddBlock<'a, 'v> {
    rows: &'a [[f32; BLOCK]],
    ahead: &'a mut Ahead<'v>,
    weights: &'a [f64],
    sums: &'a mut [f64],
}

impl Op for AddBlock<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut centre = [0.0_f64; BLOCK];
        // The rows are those of a block, which lies in cache.
        add_weighted::<S, _, false>(simd, self.rows, 0, self.weights, &mut centre);
        for (row, sum) in self.rows.iter().zip(self.sums) {
            self.ahead.next_row(simd);
            *sum += squared_distance(row, &centre);
        }
        self.ahead.rest(simd);
    }
}

#[inline(always)]
fn squared_distance(row: &[f32; BLOCK], centre: &[f64; BLOCK]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (row, centre) = (row.as_chunks::<LANES>().0, centre.as_chunks::<LANES>().0);
    for (x, y) in row.iter().zip(centre) {
        for k in 0..LANES {
            let difference = f64::from(x[k]) - y[k];
            lanes[k] += difference * difference;
        }
    }
    fold(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distances::{Distances, SEGMENT};
    use crate::source::VectorSource;
    use crate::tiles::TILE;

    #[test]
    fn norms_and_distances_have_the_bits_of_exact_pairwise_distances() {
        let len = SEGMENT + TILE + 77;
        let vector = |i: usize| -> Vec<f32> {
            (0..len)
                .map(|k| ((k * (2 * i + 3) + i) % 1013) as f32 / 7.0)
                .collect()
        };
        let mut vectors: Vec<Vec<f32>> = (1..5).map(vector).collect();
        vectors.push(vec![0.0; len]);
        let inputs = Inputs::new(vectors.iter().map(|v| v as &dyn VectorSource)).unwrap();
        let pairs = Distances::exact(&inputs).unwrap();
        let norms = squared_norms(&inputs).unwrap();
        let from_two = squared_distances(&inputs, &[0.0, 0.0, 1.0, 0.0, 0.0]).unwrap();
        for i in 0..5 {
            assert_eq!(norms[i], pairs.get(i, 4));
            assert_eq!(from_two[i], pairs.get(i, 2));
        }
    }
}
