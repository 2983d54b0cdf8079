//! Krum and Multi-Krum: the update (or the mean of the m updates) with the closest neighbours.
//!
//! **Definition.** The score of update i is the sum of its n - f - 2 smallest squared Euclidean
//! distances to the other updates. Krum's result is the update with the lowest score; Multi-Krum's
//! is the unweighted mean of the m updates with the lowest scores (summed in index order in f64,
//! rounded to f32). A score is summed in ascending order of the distances; equal scores go to the
//! lower index.
//!
//! **Paper.** Blanchard et al., *Machine Learning with Adversaries: Byzantine Tolerant Gradient
//! Descent*, NeurIPS 2017, which defines both.
//!
//! **Breakdown point.** Needs n ≥ 2f + 3 (in the paper: 2f + 2 < n). Krum follows
//! one honest update and so keeps its whole variance; Multi-Krum with m ≤ n - f averages it. In
//! high dimension an attacker can hide a large change of few coordinates in the distance: combine
//! with clipping, or take a coordinate-wise rule.
//!
//! **Cost.** Two passes: n(n-1)/2 multiply-adds per coordinate for the
//! [distances](crate::distances), then one read of the selected updates. Memory n(n-1)/2 f64,
//! whatever the length.

use crate::aggregate::Plan;
use crate::distances::Distances;
use crate::error::AggregationError;
use crate::tiles::Inputs;

/// Selects `m` of the rows. The rule's inequalities hold already.
pub(super) fn plan(inputs: &Inputs<'_>, f: usize, m: usize) -> Result<Plan, AggregationError> {
    let n = inputs.count();
    let distances = Distances::compute(inputs)?;
    let scores = scores(&distances, n, f);
    let mut order: Vec<usize> = (0..n).collect();
    // A stable sort: equal scores stay in index order.
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order.truncate(m);
    Ok(Plan::mean_of(&order, n).with_scores(scores))
}

/// The score of every row.
pub(super) fn scores(distances: &Distances, n: usize, f: usize) -> Vec<f64> {
    let mut row = Vec::with_capacity(n - 1);
    (0..n)
        .map(|i| {
            row.clear();
            row.extend((0..n).filter(|&j| j != i).map(|j| distances.get(i, j)));
            row.sort_unstable_by(f64::total_cmp);
            row[..n - f - 2].iter().sum()
        })
        .collect()
}
