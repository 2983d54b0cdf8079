//! The variance parameter of a discrete Gaussian, a rational number.

use crate::error::PrivacyError;

/// `sigma^2` of the discrete Gaussian with weights `exp(-x^2 / (2 sigma^2))`, as a fraction.
///
/// Invariant: `1/4 <= sigma^2 <= 2^32` and the denominator is at most 2^15. The lower limit is that of the theorem which the
/// accountant stands on; with the upper ones every product of the sampler fits 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variance {
    numerator: u64,
    denominator: u64,
}

/// Largest denominator.
const MAX_DENOMINATOR: u64 = 1 << 15;

/// Largest variance: a standard deviation of 65,536.
const MAX_VARIANCE: u64 = 1 << 32;

impl Variance {
    /// `numerator / denominator`.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`].
    pub fn new(numerator: u64, denominator: u64) -> Result<Self, PrivacyError> {
        if !(1..=MAX_DENOMINATOR).contains(&denominator) {
            let limit = format!("1 <= x <= {MAX_DENOMINATOR}");
            return Err(PrivacyError::range(
                "denominator of the variance",
                denominator,
                limit,
            ));
        }
        if numerator > MAX_VARIANCE * denominator || numerator.saturating_mul(4) < denominator {
            return Err(PrivacyError::range(
                "variance",
                format!("{numerator}/{denominator}"),
                format!("1/4 <= x <= {MAX_VARIANCE}"),
            ));
        }
        Ok(Self {
            numerator,
            denominator,
        })
    }

    /// Numerator and denominator, as given.
    #[must_use]
    pub const fn parts(self) -> (u64, u64) {
        (self.numerator, self.denominator)
    }

    /// The nearest f64, for the accountant.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// Largest integer whose square is at most the variance.
    pub(crate) const fn deviation_floor(self) -> u64 {
        (self.numerator / self.denominator).isqrt()
    }
}
