//! FedAvg: the weighted mean.
//!
//! **Definition.** `Σ w_i x_i / Σ w_i` with `w_i = min(samples_i, weight_cap)`. The numerator is
//! summed in f64 in the order of the updates, divided in f64 and rounded to f32 once.
//!
//! **Paper.** McMahan et al., *Communication-Efficient Learning of Deep Networks from Decentralized
//! Data*, AISTATS 2017, algorithm 1. The cap is ours: sample counts are claims that nobody can
//! check, and without a bound one contributor claims the whole weight.
//!
//! **Breakdown point.** 0: one update moves the result anywhere. It is here as the baseline, and for
//! networks in which contributors trust each other.
//!
//! **Cost.** One pass, n multiply-adds per coordinate: bound by memory bandwidth.

use crate::error::AggregationError;
use crate::rules::Kernel;
use crate::tiles::BLOCK;

/// The weighted mean of all rows.
pub(crate) struct Mean {
    weights: Vec<f64>,
    total: f64,
}

impl Mean {
    /// # Errors
    /// [`AggregationError::ZeroWeight`].
    pub(crate) fn new(weights: &[u64]) -> Result<Self, AggregationError> {
        // At most 1024 weights of 64 bits: no overflow.
        let total: u128 = weights.iter().map(|&w| u128::from(w)).sum();
        if total == 0 {
            return Err(AggregationError::ZeroWeight {
                count: weights.len(),
            });
        }
        Ok(Self {
            weights: weights.iter().map(|&w| w as f64).collect(),
            total: total as f64,
        })
    }
}

impl Kernel for Mean {
    fn reduce(&self, rows: &mut [[f32; BLOCK]], out: &mut [f32; BLOCK]) {
        weighted_mean(rows, &self.weights, self.total, out);
    }
}

/// `Σ weights[i] * rows[i] / total`, summed in f64 in row order.
pub(super) fn weighted_mean(
    rows: &[[f32; BLOCK]],
    weights: &[f64],
    total: f64,
    out: &mut [f32; BLOCK],
) {
    let mut sums = [0.0_f64; BLOCK];
    // Four rows per visit of the sums; the additions keep their order.
    let (row_quads, last_rows) = rows.as_chunks::<4>();
    let (weight_quads, last_weights) = weights.as_chunks::<4>();
    for ([a, b, c, d], w) in row_quads.iter().zip(weight_quads) {
        for (k, sum) in sums.iter_mut().enumerate() {
            *sum = *sum
                + w[0] * f64::from(a[k])
                + w[1] * f64::from(b[k])
                + w[2] * f64::from(c[k])
                + w[3] * f64::from(d[k]);
        }
    }
    for (row, w) in last_rows.iter().zip(last_weights) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += w * f64::from(*x);
        }
    }
    for (out, sum) in out.iter_mut().zip(&sums) {
        *out = (sum / total) as f32;
    }
}
