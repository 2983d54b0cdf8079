//! The discrete Gaussian over the integers, sampled exactly.
//!
//! Rejection from a discrete Laplace distribution (Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential
//! Privacy", NeurIPS 2020, algorithms 2 and 3), in integers. The only inexactness is that candidates of a magnitude above 2^32 are
//! refused, so that squares fit 128 bits: they come with a probability below `exp(-65,000)`.
//!
//! The number of random words and the time of a sample depend on the sample. A contributor samples on its own machine; who can
//! measure single samples there learns something of the noise.

use rand_core::{CryptoRng, RngCore};

use crate::{
    bernoulli::{coin, exp_coin, exp_fraction_coin, exp_one_coin},
    variance::Variance,
};

/// Sampler of integers x with probability proportional to `exp(-x^2 / (2 sigma^2))`.
#[derive(Debug, Clone, Copy)]
pub struct Gaussian {
    /// Scale t of the Laplace distribution, `floor(sigma) + 1`.
    scale: u64,
    /// With `sigma^2 = a / b`: a.
    center: u64,
    /// `b t`.
    factor: u64,
    /// `2 a b t^2`.
    denominator: u128,
}

impl Gaussian {
    /// A sampler for this variance.
    #[must_use]
    pub const fn new(variance: Variance) -> Self {
        let (a, b) = variance.parts();
        let scale = variance.deviation_floor() + 1;
        // a <= 2^32 b, b <= 2^15, t <= 2^16 + 1: a product below 2^96.
        let factor = b * scale;
        Self {
            scale,
            center: a,
            factor,
            denominator: 2 * a as u128 * factor as u128 * scale as u128,
        }
    }

    /// One sample. A generator that is slow to ask (the operating system's) should seed a stream cipher instead.
    pub fn sample(&self, rng: &mut (impl RngCore + CryptoRng)) -> i64 {
        loop {
            let (negative, magnitude) = self.laplace(rng);
            // Accept with exp(-(|y| - sigma^2 / t)^2 / (2 sigma^2)), over the common denominator.
            let distance = u128::from(magnitude) * u128::from(self.factor);
            let distance = distance.abs_diff(u128::from(self.center));
            if magnitude > MAX_CANDIDATE || !self.accept(distance, rng) {
                continue;
            }
            let magnitude = magnitude as i64;
            return if negative { -magnitude } else { magnitude };
        }
    }

    fn accept(&self, distance: u128, rng: &mut impl RngCore) -> bool {
        exp_coin(distance * distance, self.denominator, rng)
    }

    /// Sign and magnitude with probability proportional to `exp(-|y| / t)`.
    fn laplace(&self, rng: &mut impl RngCore) -> (bool, u64) {
        let t = u128::from(self.scale);
        loop {
            let low = below(self.scale, rng);
            if !exp_fraction_coin(u128::from(low), t, rng) {
                continue;
            }
            let mut magnitude = low;
            while exp_one_coin(rng) {
                magnitude = magnitude.saturating_add(self.scale);
            }
            let negative = coin(1, 2, rng);
            if negative && magnitude == 0 {
                continue;
            }
            return (negative, magnitude);
        }
    }
}

/// Largest magnitude that is not refused. Times `b t < 2^32` it is below 2^64, and its square fits.
const MAX_CANDIDATE: u64 = 1 << 32;

/// Uniform below `n`, which is 1 to 2^17, without bias.
fn below(n: u64, rng: &mut impl RngCore) -> u64 {
    let zone = (1 << 32) - (1 << 32) % n;
    loop {
        let random = u64::from(rng.next_u32());
        if random < zone {
            return random % n;
        }
    }
}
