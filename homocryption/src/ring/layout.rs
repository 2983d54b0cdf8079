//! How values sit in coefficients, and the proof that their sum still fits.
//!
//! A coefficient holds `slots` values of one contributor as digits of radix `R = contributors * value_max + 1`, so that a sum of
//! that many never carries into the next digit, times `spread`, the room for the error. Digits of a chunk are planar: slot k of
//! coefficient i of chunk c is value `(c * slots + k) * N + i`.

use super::error::RingError;
use super::params::{
    CHUNK_BYTES, DEGREE, MAX_CONTRIBUTORS, MAX_VALUES, MODULUS, NOISE_SQUARED, TAIL,
};

/// Packing of non-negative integers up to `value_max`, for sums of up to `contributors` bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    contributors: u32,
    value_max: u32,
    radix: u64,
    slots: usize,
    half: u64,
}

impl Layout {
    /// # Errors
    /// [`RingError::OutOfRange`] for a cohort of none or more than [`MAX_CONTRIBUTORS`] or a largest value of 0, and
    /// [`RingError::NoiseBudget`] where not even one value fits a coefficient with its error.
    pub fn new(contributors: u32, value_max: u32) -> Result<Self, RingError> {
        if !(1..=MAX_CONTRIBUTORS).contains(&contributors) {
            return Err(RingError::range(
                "contributors",
                contributors,
                format!("1 to {MAX_CONTRIBUTORS}"),
            ));
        }
        if value_max == 0 {
            return Err(RingError::range("largest value", value_max, "at least 1"));
        }
        let radix = u64::from(contributors) * u64::from(value_max) + 1;
        // No sum of n samples exceeds n * TAIL; from eight contributors on the probabilistic bound is the smaller one.
        let certain = u64::from(contributors) * TAIL.unsigned_abs() as u64;
        let likely = (NOISE_SQUARED * u64::from(contributors)).isqrt();
        let half = certain.min(likely) + 1;
        let room = MODULUS / (2 * half);
        let mut slots = 0;
        let mut messages = 1_u64;
        // The largest coefficient is radix^slots - 1 messages, and `room` of them fit below the modulus.
        while let Some(next) = messages.checked_mul(radix).filter(|next| *next <= room) {
            messages = next;
            slots += 1;
        }
        if slots == 0 {
            return Err(RingError::NoiseBudget {
                contributors,
                value_max,
            });
        }
        Ok(Self {
            contributors,
            value_max,
            radix,
            slots,
            half,
        })
    }

    /// Bodies that a sum may hold.
    #[must_use]
    pub const fn contributors(&self) -> u32 {
        self.contributors
    }

    /// Largest value of one contributor.
    #[must_use]
    pub const fn value_max(&self) -> u32 {
        self.value_max
    }

    /// Values in one coefficient.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Values in one chunk.
    #[must_use]
    pub const fn chunk_values(&self) -> usize {
        self.slots * DEGREE
    }

    /// Chunks for `values` values.
    #[must_use]
    pub const fn chunks(&self, values: u64) -> u64 {
        values.div_ceil(self.chunk_values() as u64)
    }

    /// Bytes of a body with `values` values, its header included.
    ///
    /// # Errors
    /// [`RingError::OutOfRange`] for no values, or more than [`MAX_VALUES`].
    pub fn body_bytes(&self, values: u64) -> Result<u64, RingError> {
        check_values(values)?;
        Ok(super::body::HEADER_BYTES as u64 + self.chunks(values) * CHUNK_BYTES as u64)
    }

    pub(super) const fn radix(&self) -> u64 {
        self.radix
    }

    /// Half of the spread: errors of a sum lie strictly inside of it on both sides.
    pub(super) const fn half(&self) -> u64 {
        self.half
    }

    pub(super) const fn spread(&self) -> u64 {
        2 * self.half
    }
}

pub(super) fn check_values(values: u64) -> Result<(), RingError> {
    if !(1..=MAX_VALUES).contains(&values) {
        return Err(RingError::range(
            "values",
            values,
            format!("1 to {MAX_VALUES}"),
        ));
    }
    Ok(())
}
