//! Noise that contributors of a private task add to their updates before they encrypt them, as data.
//!
//! A document has whole numbers only. [`Noise::on_grid`] turns them into the integers that contributors work with, rounding
//! always towards more noise; the epsilon that follows is computed elsewhere, in floating point, and is no part
//! of the document. `docs/differential-privacy.md` says what it protects from whom.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::privacy::Privacy;

/// Stands in front of the noise in a task's canonical bytes, after the terms of privacy; no rule has that number.
pub const NOISE_TAG: u8 = 0xfe;

/// How much noise, and for which guarantee.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// L2 norm that a contributor clips its update to, in parts per million (1,000,000 is 1.0).
    pub clip_norm_ppm: u64,
    /// Standard deviation of the noise of `honest` members together over the clip norm, in parts per million.
    pub multiplier_ppm: u64,
    /// Members of a cohort whose noise is counted, the protected one among them: 1 to `min_cohort`. With 1 everybody
    /// adds all the noise that it needs, and need trust nobody for it.
    #[serde(default = "default_honest")]
    pub honest: u64,
    /// The guarantee is stated at delta = 10^-`delta_exponent`.
    #[serde(default = "default_delta_exponent")]
    pub delta_exponent: u64,
}

const fn default_honest() -> u64 {
    1
}

const fn default_delta_exponent() -> u64 {
    6
}

/// Noise in steps of the grid that coordinates are rounded to: `clip_ppm / levels` millionths are one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseGrid {
    /// Largest magnitude of a coordinate: `2^(value_bits - 1) - 1`.
    pub levels: u64,
    /// Norm that updates are clipped to, in 2^-16 steps, rounded up.
    pub norm: u64,
    /// Variance of one contributor's noise, rounded up, at least 1.
    pub variance: u64,
    /// Where noise is cut: twelve standard deviations, rounded up.
    pub tail: u64,
}

/// Standard deviations at which noise is cut. More is drawn with a probability below 2^-102 a coordinate.
pub const TAIL_FACTOR: u64 = 12;

impl Noise {
    /// The noise on the grid of these terms. Numbers that no valid document leads to saturate.
    #[must_use]
    pub fn on_grid(&self, terms: &Privacy) -> NoiseGrid {
        let bits = terms.value_bits.clamp(1, 32);
        let levels = (1_u64 << (bits - 1)) - 1;
        // At most 2^64 * 2^31 * 2^16, then products of two 64-bit numbers: nothing overflows 128 bits.
        let norm = ratio(
            (u128::from(self.clip_norm_ppm) * u128::from(levels)) << 16,
            u128::from(terms.clip_ppm),
        );
        let deviation = ratio(
            u128::from(norm) * u128::from(self.multiplier_ppm),
            1_000_000,
        );
        let squared = u128::from(deviation) * u128::from(deviation);
        let variance = ratio(squared, u128::from(self.honest) << 32).max(1);
        let tail_squared = u128::from(TAIL_FACTOR * TAIL_FACTOR) * u128::from(variance);
        let tail = tail_squared.isqrt();
        let tail = tail + u128::from(tail * tail < tail_squared);
        NoiseGrid {
            levels,
            norm,
            variance,
            tail: saturate(tail),
        }
    }
}

impl NoiseGrid {
    /// Largest magnitude of a noised coordinate; at most [`Self::levels`] in a valid document.
    #[must_use]
    pub const fn reach(&self) -> u64 {
        self.norm.div_ceil(1 << 16).saturating_add(self.tail)
    }
}

/// The quotient rounded up.
fn ratio(numerator: u128, denominator: u128) -> u64 {
    if denominator == 0 {
        return u64::MAX;
    }
    saturate(numerator.div_ceil(denominator))
}

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
