//! Centered clipping: a few steps, in each of which every update pulls with a bounded force.
//!
//! **Definition.** From `v = 0`, in every step `v ← v + (1/n) Σ (x_i - v) · min(1, τ / ‖x_i - v‖)`. v is
//! kept as its coefficients in f64; distances are those of true differences, sums are in row order.
//!
//! **Paper.** Karimireddy, He and Jaggi, *Learning from History for Byzantine Robust Optimization*,
//! ICML 2021, algorithm 1 (there v starts from the last aggregate, here from zero: what is aggregated
//! are changes of the model, and the state of a round is its updates alone).
//!
//! **Breakdown point.** f updates move the result by at most `steps · τ · f/n`, however large they
//! are. Where honest updates are farther than τ from zero, it takes more steps to reach them.
//!
//! **Cost.** One pass for each step and a last one, 2n multiply-adds per coordinate: bound by memory
//! bandwidth. Memory: the blocks.
//!
//! **Use.** When the scale of honest updates is known and contributors keep momentum.

use crate::aggregate::Plan;
use crate::error::AggregationError;
use crate::params::from_ppm;
use crate::pre::clip::clipping_factors;
use crate::radial::{squared_distances, squared_norms};
use crate::tiles::Inputs;

pub(super) fn plan(
    inputs: &Inputs<'_>,
    radius_ppm: u64,
    steps: u32,
) -> Result<Plan, AggregationError> {
    let radius = from_ppm(radius_ppm);
    let n = inputs.count() as f64;
    let mut weights = vec![0.0; inputs.count()];
    for step in 0..steps {
        let squares = match step {
            0 => squared_norms(inputs)?,
            _ => squared_distances(inputs, &weights)?,
        };
        let factors = clipping_factors(&squares, radius);
        // v (1 - Σ factor / n) + Σ factor x / n: coefficients stay at least zero and sum to at most 1.
        let kept = 1.0 - factors.iter().sum::<f64>() / n;
        for (weight, factor) in weights.iter_mut().zip(&factors) {
            *weight = *weight * kept + factor / n;
        }
    }
    Ok(Plan::sum(weights, 1.0))
}
