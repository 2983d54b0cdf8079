//! Geometric median by the smoothed Weiszfeld algorithm, a fixed number of steps.
//!
//! **Definition.** From `z = 0`, in every step `z ← Σ w_i x_i / Σ w_i` with `w_i = 1 / max(ν, ‖x_i -
//! z‖)`. The result is z after the last step. z is kept as its coefficients in f64; distances are
//! those of true differences, sums are in row order.
//!
//! **Paper.** Pillutla, Kakade and Harchaoui, *Robust Aggregation for Federated Learning*, IEEE
//! Transactions on Signal Processing 70, 2022 (RFA), algorithm 2.
//!
//! **Breakdown point.** 1/2: with fewer than n/2 arbitrary updates the geometric median stays within
//! `2(n-f)/(n-2f)` times the honest radius of the honest ones, and it has no parameter f. A few steps give an
//! approximation; after each, updates far away count with the inverse of their distance. All within ν of
//! z count equally, so ν has to be small against honest distances.
//!
//! **Cost.** One pass for each step and a last one, 2n multiply-adds per coordinate: bound by memory
//! bandwidth. Memory: the blocks.
//!
//! **Use.** When f is not known and contributors' data are alike.

use crate::aggregate::Plan;
use crate::error::AggregationError;
use crate::params::from_ppm;
use crate::radial::{squared_distances, squared_norms};
use crate::tiles::Inputs;

pub(super) fn plan(inputs: &Inputs<'_>, nu_ppm: u64, steps: u32) -> Result<Plan, AggregationError> {
    let nu = from_ppm(nu_ppm);
    let mut weights: Vec<f64> = Vec::new();
    for step in 0..steps {
        let squares = match step {
            0 => squared_norms(inputs)?,
            _ => squared_distances(inputs, &weights)?,
        };
        weights = squares
            .iter()
            .map(|square| 1.0 / square.sqrt().max(nu))
            .collect();
        let total: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= total;
        }
    }
    Ok(Plan::sum(weights, 1.0))
}
