//! What one contributor does to its update before it encrypts it.

use rand_core::{CryptoRng, RngCore};

use crate::{
    error::PrivacyError,
    gaussian::Gaussian,
    rounding::{Bound, clip_factor, round},
    variance::Variance,
};

/// Parameters of a [`Mechanism`]. A task's documents fix them for all of its contributors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Coordinates of an update, 1 to 2^32.
    pub coordinates: u64,
    /// Steps of the grid in 1.0.
    pub steps_per_unit: f64,
    /// L2 norm that updates are clipped to, in 2^-16 steps of the grid: 1 to 2^40, so at most 2^24 steps.
    pub norm: u64,
    /// Variance of one contributor's noise, in squared steps.
    pub variance: Variance,
    /// Largest magnitude of noise in steps, 1 to 2^24. What is larger is cut; the accountant charges delta for it.
    pub tail: u32,
}

/// Clipping, rounding and noise. Its output is what the accountant speaks of.
#[derive(Debug, Clone, Copy)]
pub struct Mechanism {
    parameters: Parameters,
    bound: Bound,
    noise: Gaussian,
}

const MAX_COORDINATES: u64 = 1 << 32;
const MAX_NORM: u64 = 1 << 40;
const MAX_TAIL: u32 = 1 << 24;

impl Mechanism {
    /// # Errors
    /// [`PrivacyError::OutOfRange`].
    pub fn new(parameters: Parameters) -> Result<Self, PrivacyError> {
        let Parameters {
            coordinates,
            steps_per_unit,
            norm,
            variance,
            tail,
        } = parameters;
        for (field, value, limit) in [
            ("coordinates", coordinates, MAX_COORDINATES),
            ("norm in 2^-16 steps", norm, MAX_NORM),
            ("tail", u64::from(tail), u64::from(MAX_TAIL)),
        ] {
            if !(1..=limit).contains(&value) {
                return Err(PrivacyError::range(
                    field,
                    value,
                    format!("1 <= x <= {limit}"),
                ));
            }
        }
        // With f32 coordinates products stay far inside of f64.
        if !(1e-100..=1e100).contains(&steps_per_unit) {
            return Err(PrivacyError::range(
                "steps per unit",
                steps_per_unit,
                "1e-100 <= x <= 1e100",
            ));
        }
        Ok(Self {
            parameters,
            bound: Bound::new(norm, coordinates),
            noise: Gaussian::new(variance),
        })
    }

    /// Clips, rounds and adds noise: integers of a magnitude of at most [`Self::reach`].
    ///
    /// Every call draws fresh noise, and every result that leaves the machine is a release of its own: call it once a
    /// round.
    ///
    /// # Errors
    /// [`PrivacyError::Length`], [`PrivacyError::NotFinite`]; [`PrivacyError::Rounding`] with a probability below 2^-71.
    pub fn perturb(
        &self,
        update: &[f32],
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Vec<i32>, PrivacyError> {
        let (got, expected) = (update.len() as u64, self.parameters.coordinates);
        if got != expected {
            return Err(PrivacyError::Length { got, expected });
        }
        let norm = self.parameters.norm as f64 / 65_536.0;
        let factor = clip_factor(update, self.parameters.steps_per_unit, norm)?;
        let mut integers = round(update, factor, self.bound, rng)?;
        let tail = i64::from(self.parameters.tail);
        for integer in &mut integers {
            // Both below 2^25.
            *integer += self.noise.sample(rng).clamp(-tail, tail) as i32;
        }
        Ok(integers)
    }

    /// The parameters.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Largest squared norm of what noise is added to, in squared steps.
    #[must_use]
    pub const fn squared_norm(&self) -> u64 {
        self.bound.squared
    }

    /// Largest magnitude of a result.
    #[must_use]
    pub const fn reach(&self) -> u32 {
        self.bound.magnitude + self.parameters.tail
    }
}
