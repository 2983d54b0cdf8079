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

use crate::network::{Finish, SelectionNetwork};
use crate::rules::Kernel;
use crate::simd::Simd;
use crate::tiles::{Ahead, BLOCK};

/// The mean of every coordinate without its f smallest and f largest values.
pub(crate) struct TrimmedMean {
    network: SelectionNetwork,
    f: usize,
}

impl TrimmedMean {
    /// For `n >= 2f + 1` updates.
    pub(crate) fn new(n: usize, f: usize) -> Self {
        let network = SelectionNetwork::new(n, f..n - f);
        Self { network, f }
    }
}

impl Kernel for TrimmedMean {
    fn reduce(&self, rows: &mut [[f32; BLOCK]], ahead: &mut Ahead<'_>, out: &mut [f32; BLOCK]) {
        self.network.finish(rows, ahead, Middle { f: self.f }, out);
    }
}

/// The mean without the first and last `f` ranks, summed in f64 from the smallest.
struct Middle {
    f: usize,
}

impl Finish for Middle {
    const KNOWN_RANKS: bool = false;

    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, n: usize, rank: impl Fn(usize) -> S::F32) -> S::F32 {
        let mut sums = [simd.splat64(0.0); 2];
        for kept in self.f..n - self.f {
            let values = simd.widen(rank(kept));
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = simd.add64(*sum, value);
            }
        }
        let count = simd.splat64((n - 2 * self.f) as f64);
        let [low, high] = sums;
        simd.narrow([simd.div64(low, count), simd.div64(high, count)])
    }
}
