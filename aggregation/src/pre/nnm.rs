//! NNM, nearest-neighbour mixing: every row becomes the mean of its neighbourhood.
//!
//! **Definition.** `y_i` is the mean of the n - f rows that are closest to `x_i`, itself included, by
//! Euclidean distance; equal distances go to the lower index.
//!
//! **Paper.** Allouah et al., *Fixing by Mixing: A Recipe for Optimal Byzantine ML under
//! Heterogeneity*, AISTATS 2023, algorithm 2.
//!
//! **Breakdown point.** Needs n ≥ 2f + 1. It lowers the error of any rule behind it to the order
//! of f/n of the honest variance (lemma 1 of the paper), which is optimal; the error that
//! heterogeneous data force on [Krum](crate::rules::krum), [median](crate::rules::median) or
//! [trimmed mean](crate::rules::trimmed_mean) becomes as small as it can be.
//!
//! **Cost.** One pass of n(n-1)/2 multiply-adds per coordinate for the
//! [distances](crate::distances), then n(n - f) multiply-adds per coordinate in every pass that
//! reads the rows. Memory n² coefficients.
//!
//! **Use.** Before a robust rule when contributors' data differ; after [`clip`](super::clip) or
//! [`arc`](super::arc).

use crate::distances::Distances;
use crate::error::AggregationError;
use crate::tiles::Inputs;

pub(super) fn apply<'a>(rows: &Inputs<'a>, f: usize) -> Result<Inputs<'a>, AggregationError> {
    let n = rows.count();
    let distances = Distances::compute(rows)?;
    let groups: Vec<Vec<usize>> = (0..n)
        .map(|i| nearest(n, n - f, |j| distances.get(i, j)))
        .collect();
    Ok(rows.averaged(&groups))
}

/// The `k` of `0..n` with the smallest distance, ascending; ties go to the lower index.
pub(crate) fn nearest(n: usize, k: usize, distance: impl Fn(usize) -> f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    // A stable sort: equal distances stay in index order.
    order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    order.truncate(k);
    order.sort_unstable();
    order
}
