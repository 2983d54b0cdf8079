//! Coordinate-wise median.
//!
//! **Definition.** In every coordinate the middle one of the n values; for even n the mean of the
//! two middle ones, `(a + b) / 2` in f64, rounded to f32.
//!
//! **Paper.** Yin et al., *Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates*,
//! ICML 2018, definition 1.
//!
//! **Breakdown point.** With f < n/2 arbitrary updates every coordinate of the result lies between
//! the smallest and the largest honest value. The honest variance is not averaged away as well as
//! by [trimmed mean](super::trimmed_mean), and a median of skewed data is biased.
//!
//! **Cost.** One pass; a selection network of O(n log² n) min/max per coordinate (about 50 at n =
//! 16). Unweighted: sample counts are not used.

use crate::network::SelectionNetwork;
use crate::rules::Kernel;
use crate::tiles::BLOCK;

/// The median of every coordinate.
pub(crate) struct Median {
    network: SelectionNetwork,
    /// Ranks of the two middle values; equal when n is odd.
    middle: (usize, usize),
}

impl Median {
    /// For `n >= 1` updates.
    pub(crate) fn new(n: usize) -> Self {
        let middle = ((n - 1) / 2, n / 2);
        Self {
            network: SelectionNetwork::new(n, middle.0..middle.1 + 1),
            middle,
        }
    }
}

impl Kernel for Median {
    fn reduce(&self, rows: &mut [[f32; BLOCK]], out: &mut [f32; BLOCK]) {
        self.network.apply(rows);
        let (low, high) = (&rows[self.middle.0], &rows[self.middle.1]);
        for (out, (a, b)) in out.iter_mut().zip(low.iter().zip(high)) {
            // For odd n this is (a + a) / 2 = a, exactly.
            *out = ((f64::from(*a) + f64::from(*b)) * 0.5) as f32;
        }
    }
}
