//! MeaMed: the coordinate-wise mean around the median.
//!
//! **Definition.** In every coordinate the n - f values closest to the [median](super::median)
//! are averaged. They are n - f neighbours in the sorted order; a tie goes to the lower value. Median and
//! differences are f64; the sum starts with the values below the window's common part, is
//! f64 and is rounded to f32 once.
//!
//! **Paper.** Xie, Koyejo and Gupta, *Generalized Byzantine-Tolerant SGD*, 2018 (arXiv:1802.10116),
//! definition 7.
//!
//! **Breakdown point.** Needs n ≥ 2f + 1. Every value that is averaged is no farther from the median
//! than the farthest honest value, and the median lies among honest values; so every coordinate of
//! the result is within the honest range widened by its own width on each side. Less is dropped
//! than by [trimmed mean](super::trimmed_mean), so that the honest variance is averaged better; in
//! exchange values just outside of the honest range can enter.
//!
//! **Cost.** One pass; a sorting network of O(n log² n) min/max per coordinate, then f comparisons
//! and n - f additions. Memory: the blocks. Unweighted.
//!
//! **Use.** In place of trimmed mean when attacks are rare and variance is what hurts.

use crate::network::SelectionNetwork;
use crate::rules::Kernel;
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::{Ahead, BLOCK};

/// The mean of the `keep` values of every coordinate that are closest to the median.
pub(crate) struct MeanAroundMedian {
    network: SelectionNetwork,
    keep: usize,
}

impl MeanAroundMedian {
    /// For `1 <= keep <= n`.
    pub(crate) fn new(n: usize, keep: usize) -> Self {
        let network = SelectionNetwork::new(n, 0..n);
        Self { network, keep }
    }
}

impl Kernel for MeanAroundMedian {
    fn reduce(&self, rows: &mut [[f32; BLOCK]], ahead: &mut Ahead<'_>, out: &mut [f32; BLOCK]) {
        self.network.sort(rows, ahead);
        let keep = self.keep;
        dispatch(Window { rows, keep, out });
    }
}

/// The mean of the `keep` closest to the median of sorted rows.
struct Window<'a> {
    rows: &'a [[f32; BLOCK]],
    keep: usize,
    out: &'a mut [f32; BLOCK],
}

impl Op for Window<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { rows, keep, out } = self;
        let n = rows.len();
        let mut median = [0.0_f64; BLOCK];
        let middle = rows[(n - 1) / 2].iter().zip(&rows[n / 2]);
        for (median, (low, high)) in median.iter_mut().zip(middle) {
            *median = (f64::from(*low) + f64::from(*high)) * 0.5;
        }
        // A window of `keep` neighbours holds one row of every remainder modulo `keep`. It starts
        // above row i where row i is farther from the median than row i + keep; from there on
        // that row stands in for row i. True for the first rows and then no more, because
        // the left side falls with i and the right side rises.
        let mut sums = [0.0_f64; BLOCK];
        for first in 0..keep {
            let mut chosen = rows[first];
            for i in (first..n - keep).step_by(keep) {
                let (low, high) = (&rows[i], &rows[i + keep]);
                for k in 0..BLOCK {
                    let below = median[k] - f64::from(low[k]);
                    let above = f64::from(high[k]) - median[k];
                    chosen[k] = if below > above { high[k] } else { chosen[k] };
                }
            }
            for (sum, x) in sums.iter_mut().zip(&chosen) {
                *sum += f64::from(*x);
            }
        }
        let count = keep as f64;
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = (sum / count) as f32;
        }
    }
}
