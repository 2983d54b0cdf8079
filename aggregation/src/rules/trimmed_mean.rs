//! Coordinate-wise trimmed mean.
//!
//! **Definition.** In every coordinate the f smallest and the f largest of the n values are dropped
//! and the n - 2f others averaged: summed in f64 in ascending order, divided in f64, rounded to
//! f32.
//!
//! **Paper.** Yin et al., *Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates*,
//! ICML 2018, definition 2 (with β = f/n).
//!
//! **Breakdown point.** Needs n ≥ 2f + 1; then every coordinate of the result lies between the
//! smallest and the largest honest value, whatever f updates say. With f = 0 it is the plain mean.
//!
//! **Cost.** One pass; a selection network of O(n log² n) min/max per coordinate (63 at n = 16), then
//! n - 2f additions. Unweighted: sample counts are not used.

use crate::network::SelectionNetwork;
use crate::rules::Kernel;
use crate::rules::mean::weighted_mean;
use crate::tiles::BLOCK;

/// The mean of every coordinate without its f smallest and f largest values.
pub(crate) struct TrimmedMean {
    network: SelectionNetwork,
    f: usize,
    ones: Vec<f64>,
}

impl TrimmedMean {
    /// For `n >= 2f + 1` updates.
    pub(crate) fn new(n: usize, f: usize) -> Self {
        Self {
            network: SelectionNetwork::new(n, f..n - f),
            f,
            ones: vec![1.0; n - 2 * f],
        }
    }
}

impl Kernel for TrimmedMean {
    fn reduce(&self, rows: &mut [[f32; BLOCK]], out: &mut [f32; BLOCK]) {
        self.network.apply(rows);
        let kept = &rows[self.f..][..self.ones.len()];
        // A weight of one changes no bit of a product.
        weighted_mean(kept, &self.ones, self.ones.len() as f64, out);
    }
}
