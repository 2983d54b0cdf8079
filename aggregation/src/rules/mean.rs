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

use crate::aggregate::Plan;
use crate::error::AggregationError;
use crate::rules::Kernel;
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::BLOCK;

/// The plan for these weights, capped already.
pub(super) fn plan(weights: &[u64]) -> Result<Plan, AggregationError> {
    // At most 1024 weights of 64 bits: no overflow.
    let total: u128 = weights.iter().map(|&w| u128::from(w)).sum();
    if total == 0 {
        let count = weights.len();
        return Err(AggregationError::ZeroWeight { count });
    }
    let weights = weights.iter().map(|&w| w as f64).collect();
    Ok(Plan::first_sum(weights, total as f64))
}

/// A weighted sum of all rows, divided by a total. All rules but the coordinate-wise ones end in it.
pub(crate) struct Mean {
    weights: Vec<f64>,
    total: f64,
}

impl Mean {
    pub(crate) fn new(weights: Vec<f64>, total: f64) -> Self {
        Self { weights, total }
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
    dispatch(WeightedMean {
        rows,
        weights,
        total,
        out,
    });
}

struct WeightedMean<'a> {
    rows: &'a [[f32; BLOCK]],
    weights: &'a [f64],
    total: f64,
    out: &'a mut [f32; BLOCK],
}

impl Op for WeightedMean<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let total = simd.splat64(self.total);
        for (c, out) in simd.f32s_mut(self.out).iter_mut().enumerate() {
            let mut sums = [simd.splat64(0.0); 2];
            for (row, weight) in self.rows.iter().zip(self.weights) {
                let weight = simd.splat64(*weight);
                let values = simd.widen(simd.f32s(row)[c]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = simd.add64(*sum, simd.mul64(weight, value));
                }
            }
            let [low, high] = sums;
            *out = simd.narrow([simd.div64(low, total), simd.div64(high, total)]);
        }
    }
}
