//! Weighted sums of rows, coordinate by coordinate: `Σ weights[i] · row i` in f64, from zero and in row order.
//!
//! Four rows are added at a time so that the sums are loaded and stored a quarter as often; each is still
//! added on its own, one after the other. The loops are plain: within an [`Op`](crate::simd::Op) the compiler makes the
//! vectors of each instruction set of them.

use crate::simd::{Op, Simd};
use crate::tiles::LINE;

/// Coordinates whose sums stay in the smallest first-level cache (8 KiB) while all rows are added to them.
const PART: usize = 1024;

/// Coordinates of a row that are asked for at once.
const STRETCH: usize = 64;

/// `Σ weights[i] · row i / total`, rounded to f32 once. Says whether all inputs were finite: products of weights below 2⁶⁴ and
/// f32 do not overflow an f64, so a sum is finite when all of its terms are, and otherwise not, whatever the weights.
pub(crate) struct WeightedMean<'a, R> {
    pub(crate) rows: &'a [R],
    pub(crate) weights: &'a [f64],
    pub(crate) total: f64,
    /// Not longer than the rows.
    pub(crate) out: &'a mut [f32],
}

impl<R: AsRef<[f32]>> Op for WeightedMean<'_, R> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let mut all_finite = true;
        let mut sums = [0.0_f64; PART];
        for (k, out) in self.out.chunks_mut(PART).enumerate() {
            let sums = &mut sums[..out.len()];
            sums.fill(0.0);
            add_weighted::<S, R, true>(simd, self.rows, k * PART, self.weights, sums);
            for (out, sum) in out.iter_mut().zip(&*sums) {
                all_finite &= sum.abs() < f64::INFINITY;
                *out = (sum / self.total) as f32;
            }
        }
        all_finite
    }
}

/// Adds `weights[i] · rows[i]` to `sums`, which begin at coordinate `from` of the rows. With `AHEAD` the rows lie in memory: the
/// next four, or the next part of the first four, are asked for meanwhile.
#[inline(always)]
pub(crate) fn add_weighted<S: Simd, R: AsRef<[f32]>, const AHEAD: bool>(
    simd: S,
    rows: &[R],
    from: usize,
    weights: &[f64],
    sums: &mut [f64],
) {
    let used = rows.len().min(weights.len());
    let (rows, weights) = (&rows[..used], &weights[..used]);
    let (fours, rest) = rows.as_chunks::<4>();
    let (weight_fours, weight_rest) = weights.as_chunks::<4>();
    for (place, (four, weights)) in fours.iter().zip(weight_fours).enumerate() {
        let next = match fours.get(place + 1) {
            _ if !AHEAD => None,
            Some(next) => Some((next, from)),
            None => Some((&fours[0], from + sums.len())),
        };
        for (k, sums) in sums.chunks_mut(STRETCH).enumerate() {
            let at = k * STRETCH;
            if let Some((next, from)) = next {
                for row in next {
                    let stretch = row.as_ref().get(from + at..).unwrap_or_default();
                    for line in stretch[..stretch.len().min(STRETCH)].chunks(LINE) {
                        simd.prefetch(&line[0]);
                    }
                }
            }
            let [a, b, c, d] = four;
            add_some([a, b, c, d], from + at, *weights, sums);
        }
    }
    for (row, weight) in rest.iter().zip(weight_rest) {
        add_some([row], from, [*weight], sums);
    }
}

#[inline(always)]
fn add_some<R: AsRef<[f32]>, const N: usize>(
    rows: [&R; N],
    from: usize,
    weights: [f64; N],
    sums: &mut [f64],
) {
    let mut values: [&[f32]; N] = [&[]; N];
    for (values, row) in values.iter_mut().zip(rows) {
        *values = &row.as_ref()[from..][..sums.len()];
    }
    for (k, total) in sums.iter_mut().enumerate() {
        let mut sum = *total;
        for (values, weight) in values.iter().zip(weights) {
            sum += weight * f64::from(values[k]);
        }
        *total = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, dispatch, limit};

    fn mean(rows: &[Vec<f32>], weights: &[f64], total: f64) -> (Vec<f32>, bool) {
        let mut out = vec![7.0; rows.first().map_or(0, Vec::len)];
        let finite = dispatch(WeightedMean {
            rows,
            weights,
            total,
            out: &mut out,
        });
        (out, finite)
    }

    #[test]
    fn sums_are_in_row_order_for_every_number_of_rows_and_length() {
        let weights = [3.0, 0.0, 1e18, 0.1, 7.0, 1.0, 2.5, 1e-9, 11.0];
        for n in 1..=weights.len() {
            for len in [1, 3, 8, 17, PART - 1, PART, 2 * PART + 5] {
                let value = |i: usize, k: usize| ((k * (i + 3) + i) % 1013) as f32 / 7.0 - 50.0;
                let rows: Vec<Vec<f32>> = (0..n)
                    .map(|i| (0..len).map(|k| value(i, k)).collect())
                    .collect();
                let expected: Vec<u32> = (0..len)
                    .map(|k| {
                        let terms = rows.iter().zip(weights);
                        let sum = terms.fold(0.0, |sum, (row, w)| sum + w * f64::from(row[k]));
                        ((sum / 13.0) as f32).to_bits()
                    })
                    .collect();
                for level in Level::available() {
                    limit(level);
                    let (out, finite) = mean(&rows, &weights[..n], 13.0);
                    let out: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                    assert!(finite && out == expected, "n = {n}, d = {len}, {level:?}");
                }
                limit(Level::Avx512);
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_found_whatever_its_weight() {
        let largest = 2.0_f64.powi(64);
        for len in [1, 9, PART + 3] {
            let fine = vec![
                vec![f32::MAX; len],
                vec![f32::MIN; len],
                vec![f32::MAX; len],
            ];
            assert!(mean(&fine, &[largest; 3], largest).1);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, len - 1] {
                    for weight in [0.0, 1.0, largest] {
                        let mut rows = fine.clone();
                        rows[1][at] = bad;
                        assert!(!mean(&rows, &[1.0, weight, 0.0], 1.0).1);
                        // Infinities that cancel.
                        rows[0][at] = -bad;
                        assert!(!mean(&rows, &[weight, weight, 1.0], 1.0).1);
                    }
                }
            }
        }
    }
}
