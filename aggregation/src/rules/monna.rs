//! MoNNA: the mean of the nearest neighbours of one trusted update.
//!
//! **Definition.** The mean of the n - f updates closest to the update `pivot`, itself included, by
//! Euclidean distance; equal distances go to the lower index.
//!
//! **Paper.** Farhadkhani et al., *Robust Collaborative Learning with Linear Gradient Overhead*, ICML
//! 2023, algorithm 1 (there every node takes its own update as the pivot).
//!
//! **Breakdown point.** Needs n ≥ 2f + 1 and an honest pivot: then the result is within twice the honest
//! diameter. With a Byzantine pivot it promises nothing.
//!
//! **Cost.** Two passes, n multiply-adds per coordinate each. The cheapest
//! rule that filters.
//!
//! **Use.** When one contributor is run by the operator, such as a holder of a clean data set.

use crate::aggregate::Plan;
use crate::error::AggregationError;
use crate::pre::nnm::nearest;
use crate::radial::squared_distances;
use crate::tiles::Inputs;

pub(super) fn plan(inputs: &Inputs<'_>, f: usize, pivot: usize) -> Result<Plan, AggregationError> {
    let n = inputs.count();
    let mut weights = vec![0.0; n];
    weights[pivot] = 1.0;
    let squares = squared_distances(inputs, &weights)?;
    Ok(Plan::mean_of(&nearest(n, n - f, |j| squares[j]), n))
}
