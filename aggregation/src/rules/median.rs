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
use crate::simd::{Op, Simd, dispatch};
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
        dispatch(Midpoint {
            low: &rows[self.middle.0],
            high: &rows[self.middle.1],
            out,
        });
    }
}

/// `(low + high) / 2`. For odd n this is `(a + a) / 2 = a`, exactly.
struct Midpoint<'a> {
    low: &'a [f32; BLOCK],
    high: &'a [f32; BLOCK],
    out: &'a mut [f32; BLOCK],
}

impl Op for Midpoint<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let half = simd.splat64(0.5);
        let columns = simd.f32s(self.low).iter().zip(simd.f32s(self.high));
        for ((low, high), out) in columns.zip(simd.f32s_mut(self.out)) {
            let (low, high) = (simd.widen(*low), simd.widen(*high));
            let middle = |h: usize| simd.mul64(simd.add64(low[h], high[h]), half);
            *out = simd.narrow([middle(0), middle(1)]);
        }
    }
}
