//! The mean of updates that are clipped to a norm.
//!
//! **Definition.** `(1/n) Σ x_i · min(1, r / ‖x_i‖)`, factors and sum in f64, rounded to f32 once.
//!
//! **Paper.** Sun et al., *Can You Really Backdoor Federated Learning?*, 2019 (arXiv:1911.07963),
//! section 4.1.
//!
//! **Breakdown point.** f updates move the result by at most `2 r f/n`, however large they are; it does
//! not tell honest from Byzantine.
//!
//! **Cost.** Two passes, n multiply-adds per coordinate each.
//!
//! **Use.** Against model replacement by a few, where a robust rule costs too much accuracy; and as
//! the first half of differential privacy. `clip` before `fedavg` is the same with weights.

use crate::aggregate::Plan;
use crate::error::AggregationError;
use crate::params::from_ppm;
use crate::pre::clip::clipping_factors;
use crate::radial::squared_norms;
use crate::tiles::Inputs;

pub(super) fn plan(inputs: &Inputs<'_>, radius_ppm: u64) -> Result<Plan, AggregationError> {
    let factors = clipping_factors(&squared_norms(inputs)?, from_ppm(radius_ppm));
    Ok(Plan::sum(factors, inputs.count() as f64))
}
