//! Squared Euclidean norms of all rows, or their distances from one weighted sum of them, in one
//! pass: n multiply-adds per coordinate (twice that with a centre).
//!
//! Arithmetic and the shape of the sums are those of [`distances`](crate::distances): eight lanes in a
//! block, blocks, tiles, segments. A centre `Σ weights[i] · row i` is summed in f64 in row order and
//! never rounded to f32, so a distance is that of true differences, whatever the scale of the rows.

use crate::distances::SEGMENT;
use crate::error::AggregationError;
use crate::tiles::{BLOCK, Inputs, Pool, Scratch, TILE, slot_count, walk};

const LANES: usize = 8;

/// The squared norm of every row.
pub(crate) fn squared_norms(inputs: &Inputs<'_>) -> Result<Vec<f64>, AggregationError> {
    measure(inputs, None)
}

/// The squared distance of every row from `Σ weights[i] · row i`.
pub(crate) fn squared_distances(
    inputs: &Inputs<'_>,
    weights: &[f64],
) -> Result<Vec<f64>, AggregationError> {
    measure(inputs, Some(weights))
}

fn measure(inputs: &Inputs<'_>, weights: Option<&[f64]>) -> Result<Vec<f64>, AggregationError> {
    let n = inputs.count();
    let slots = slot_count(n * size_of::<f64>()).min(inputs.len().div_ceil(TILE));
    let mut slots = vec![vec![0.0; n]; slots];
    let scratches = Pool::new();
    let mut total = vec![0.0; n];
    let mut segment = vec![0.0; n];
    walk(
        inputs.len(),
        &mut slots,
        |sums, tile| {
            sums.fill(0.0);
            scratches.with(
                || Scratch::<f64>::new(inputs),
                |scratch| {
                    inputs.for_each_block(tile, scratch, |rows, _| {
                        let mut centre = [0.0_f64; BLOCK];
                        if let Some(weights) = weights {
                            weighted_sum(rows, weights, &mut centre);
                        }
                        for (row, sum) in rows.iter().zip(sums.iter_mut()) {
                            *sum += squared_distance(row, &centre);
                        }
                    })
                },
            )
        },
        |sums, tile| {
            add(&mut segment, sums);
            if tile.end.is_multiple_of(SEGMENT) || tile.end == inputs.len() {
                add(&mut total, &segment);
                segment.fill(0.0);
            }
            Ok(())
        },
    )?;
    Ok(total)
}

fn add(sums: &mut [f64], more: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(more) {
        *sum += value;
    }
}

fn weighted_sum(rows: &[[f64; BLOCK]], weights: &[f64], sums: &mut [f64; BLOCK]) {
    for (row, weight) in rows.iter().zip(weights) {
        if *weight != 0.0 {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += weight * x;
            }
        }
    }
}

fn squared_distance(row: &[f64; BLOCK], centre: &[f64; BLOCK]) -> f64 {
    let mut l = [0.0_f64; LANES];
    let (row, centre) = (row.as_chunks::<LANES>().0, centre.as_chunks::<LANES>().0);
    for (x, y) in row.iter().zip(centre) {
        for k in 0..LANES {
            let difference = x[k] - y[k];
            l[k] += difference * difference;
        }
    }
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distances::Distances;
    use crate::source::VectorSource;

    #[test]
    fn norms_and_distances_have_the_bits_of_pairwise_distances() {
        let len = SEGMENT + TILE + 77;
        let vector = |i: usize| -> Vec<f32> {
            (0..len)
                .map(|k| ((k * (2 * i + 3) + i) % 1013) as f32 / 7.0)
                .collect()
        };
        let mut vectors: Vec<Vec<f32>> = (1..5).map(vector).collect();
        vectors.push(vec![0.0; len]);
        let inputs = Inputs::new(vectors.iter().map(|v| v as &dyn VectorSource)).unwrap();
        let pairs = Distances::compute(&inputs).unwrap();
        let norms = squared_norms(&inputs).unwrap();
        let from_two = squared_distances(&inputs, &[0.0, 0.0, 1.0, 0.0, 0.0]).unwrap();
        for i in 0..5 {
            assert_eq!(norms[i], pairs.get(i, 4));
            assert_eq!(from_two[i], pairs.get(i, 2));
        }
    }
}
