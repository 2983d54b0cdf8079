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

use crate::network::{Finish, SelectionNetwork};
use crate::rules::Kernel;
use crate::simd::Simd;
use crate::tiles::{Ahead, BLOCK};

/// The median of every coordinate.
pub(crate) struct Median {
    network: SelectionNetwork,
}

impl Median {
    /// For `n >= 1` updates.
    pub(crate) fn new(n: usize) -> Self {
        let network = SelectionNetwork::new(n, (n - 1) / 2..n / 2 + 1);
        Self { network }
    }
}

impl Kernel for Median {
    fn reduce(&self, rows: &mut [[f32; BLOCK]], ahead: &mut Ahead<'_>, out: &mut [f32; BLOCK]) {
        self.network.finish(rows, ahead, Midpoint, out);
    }
}

/// `(low + high) / 2` of the two middle ranks. For odd n this is `(a + a) / 2 = a`, exactly.
struct Midpoint;

impl Finish for Midpoint {
    const KNOWN_RANKS: bool = true;

    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, n: usize, rank: impl Fn(usize) -> S::F32) -> S::F32 {
        let half = simd.splat64(0.5);
        let (low, high) = (simd.widen(rank((n - 1) / 2)), simd.widen(rank(n / 2)));
        simd.narrow([
            simd.mul64(simd.add64(low[0], high[0]), half),
            simd.mul64(simd.add64(low[1], high[1]), half),
        ])
    }
}
