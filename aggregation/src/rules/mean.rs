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
