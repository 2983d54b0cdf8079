//! What rounds cost: Rényi divergences of sums of discrete Gaussians, composed, as epsilon at a delta.
//!
//! **One round.** The sum of h independent discrete Gaussians of variance `sigma^2 >= 1/4` in d coordinates, moved by an integer
//! vector of norm D, has Rényi divergence of order a of at most
//!
//! ```text
//! min( a D^2 / (2 h sigma^2) + tau d,  a/2 (D / (sqrt(h) sigma) + tau sqrt(d))^2 )
//! tau = 10 sum_{k=1}^{h-1} exp(-2 pi^2 sigma^2 k / (k + 1))
//! ```
//!
//! (Kairouz, Liu, Steinke 2021, Theorem 1; its third term, which has the L1 norm, is the second one for the L1 norms that are possible
//! here.) Noise of the other members only adds to it, whatever they add: it is independent of the protected update.
//!
//! **Rounds** add up, also when each depends on the results of those before it. A contributor is in one group a round.
//!
//! **Epsilon.** For every order a > 1, a divergence R(a) gives (epsilon, delta) with
//! `epsilon = R(a) + ln((a-1)/a) - (ln(delta) + ln(a)) / (a-1)` (Canonne, Kamath, Steinke 2020, Proposition 12; Balle et al. 2020,
//! Theorem 21). Each order gives a valid epsilon, so a search that misses the best order overstates it and never understates it.
//!
//! **The cut.** Noise is cut at a magnitude T, with probability at most `2 exp(-T^2 / (2 sigma^2))` a sample: the discrete Gaussian is
//! sub-Gaussian with its own parameter (Canonne, Kamath, Steinke 2020). A run differs from one without cuts with probability p, the sum over all
//! samples of honest members; that costs `(1 + exp(epsilon)) p` of delta, which has to be below `delta / 2^20`.

use crate::{error::PrivacyError, mechanism::Mechanism, variance::Variance};

/// Whom the adversary cannot tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// A contributor's update, or any other one in its place. Sums differ by twice the norm.
    Replaced,
    /// A contributor's update, or zero in its place: the contributor sends noise only. Sums differ by the norm. This is what
    /// papers mostly report.
    Zeroed,
}

/// One round as it looks to who sees the group's sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Squared norm that the sums of neighbours differ by, in squared steps.
    sensitivity_squared: f64,
    coordinates: f64,
    variance: f64,
    honest: u32,
    /// How far the sum of discrete Gaussians is from a discrete Gaussian.
    tau: f64,
    /// Where noise is cut, if it is.
    tail: Option<u32>,
}

/// Most honest members that can be counted.
const MAX_HONEST: u32 = 1 << 16;

impl Round {
    /// A round of `mechanism` in which the noise of `honest` members of the group is counted, the protected one among them.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`].
    pub fn new(
        mechanism: &Mechanism,
        honest: u32,
        neighbours: Neighbours,
    ) -> Result<Self, PrivacyError> {
        let parameters = mechanism.parameters();
        let norm_squared = mechanism.squared_norm() as f64;
        let factor = match neighbours {
            Neighbours::Replaced => 4.0,
            Neighbours::Zeroed => 1.0,
        };
        let round = Self::of(
            factor * norm_squared,
            parameters.coordinates,
            parameters.variance,
            honest,
        )?;
        Ok(Self {
            tail: Some(parameters.tail),
            ..round
        })
    }

    /// A round of plain numbers, without a cut: for comparison with others.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`].
    pub fn uncut(
        sensitivity: f64,
        coordinates: u64,
        variance: Variance,
        honest: u32,
    ) -> Result<Self, PrivacyError> {
        if !(sensitivity.is_finite() && (0.0..=1e12).contains(&sensitivity)) {
            return Err(PrivacyError::range(
                "sensitivity",
                sensitivity,
                "0 <= x <= 1e12",
            ));
        }
        Self::of(sensitivity * sensitivity, coordinates, variance, honest)
    }

    fn of(
        sensitivity_squared: f64,
        coordinates: u64,
        variance: Variance,
        honest: u32,
    ) -> Result<Self, PrivacyError> {
        if !(1..=MAX_HONEST).contains(&honest) {
            let limit = format!("1 <= x <= {MAX_HONEST}");
            return Err(PrivacyError::range("honest members", honest, limit));
        }
        let variance = variance.to_f64();
        let exponent = -2.0 * std::f64::consts::PI.powi(2) * variance;
        let terms = (1..honest).map(|k| (exponent * f64::from(k) / f64::from(k + 1)).exp());
        Ok(Self {
            sensitivity_squared,
            coordinates: coordinates as f64,
            variance,
            honest,
            tau: 10.0 * terms.sum::<f64>(),
            tail: None,
        })
    }

    /// Rényi divergence of order `order`, in nats.
    #[must_use]
    pub fn divergence(&self, order: f64) -> f64 {
        let noise = f64::from(self.honest) * self.variance;
        let ratio_squared = self.sensitivity_squared / noise;
        let tau = self.tau;
        let additive = order * ratio_squared / 2.0 + tau * self.coordinates;
        let shift = ratio_squared.sqrt() + tau * self.coordinates.sqrt();
        additive.min(order / 2.0 * shift * shift)
    }

    /// Most that a cut at `tail` changes the distribution of one round by.
    fn cut(&self, tail: u32) -> f64 {
        let tail = f64::from(tail);
        let sample = 2.0 * (-tail * tail / (2.0 * self.variance)).exp();
        sample * self.coordinates * f64::from(self.honest)
    }
}

/// So many rounds, one after another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ledger {
    round: Round,
    rounds: u64,
}

/// Most rounds: exact in f64.
const MAX_ROUNDS: u64 = 1 << 53;

/// Part of delta that cut noise may cost.
const CUT_SHARE: f64 = 1.0 / 1_048_576.0;

impl Ledger {
    /// # Errors
    /// [`PrivacyError::OutOfRange`].
    pub fn new(round: Round, rounds: u64) -> Result<Self, PrivacyError> {
        if !(1..=MAX_ROUNDS).contains(&rounds) {
            let limit = format!("1 <= x <= {MAX_ROUNDS}");
            return Err(PrivacyError::range("rounds", rounds, limit));
        }
        Ok(Self { round, rounds })
    }

    /// The epsilon that all rounds together cost at this delta.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`] for a delta that is not between 0 and 1, [`PrivacyError::Tail`] for one that is too small for the
    /// mechanism's cut.
    pub fn epsilon(&self, delta: f64) -> Result<f64, PrivacyError> {
        check_delta(delta)?;
        let rounds = self.rounds as f64;
        let epsilon = epsilon_of(
            |order| rounds * self.round.divergence(order),
            delta * (1.0 - CUT_SHARE),
        )?;
        let Some(tail) = self.round.tail else {
            return Ok(epsilon);
        };
        let cost = (1.0 + epsilon.exp()) * self.round.cut(tail) * rounds;
        let limit = delta * CUT_SHARE;
        if cost.is_nan() || cost > limit {
            return Err(PrivacyError::Tail {
                epsilon,
                delta,
                tail,
                cost,
                limit,
            });
        }
        Ok(epsilon)
    }
}

/// Epsilon of rho-zero-concentrated differential privacy at this delta, by the same conversion.
///
/// # Errors
/// [`PrivacyError::OutOfRange`].
pub fn zero_concentrated(rho: f64, delta: f64) -> Result<f64, PrivacyError> {
    if !(0.0..=1e12).contains(&rho) {
        return Err(PrivacyError::range("rho", rho, "0 <= x <= 1e12"));
    }
    epsilon_of(|order| rho * order, delta)
}

/// Epsilon of a Rényi divergence that is given for all orders above 1.
///
/// # Errors
/// [`PrivacyError::OutOfRange`] for a delta that is not between 0 and 1.
pub fn epsilon_of(divergence: impl Fn(f64) -> f64, delta: f64) -> Result<f64, PrivacyError> {
    check_delta(delta)?;
    // x is the logarithm of the order less one, which is what has a scale.
    let at = |x: f64| {
        let above = x.exp();
        let order = 1.0 + above;
        divergence(order) + (above / order).ln() - (delta.ln() + order.ln()) / above
    };
    let grid = (-200..=300).map(|step| f64::from(step) * 0.1);
    let (mut best, mut epsilon) = (0.0, f64::INFINITY);
    for x in grid {
        let found = at(x);
        if found < epsilon {
            (best, epsilon) = (x, found);
        }
    }
    // Golden sections around the best: the curve has one minimum there, or the grid's is kept.
    let golden = 0.618_033_988_749_894_9;
    let (mut low, mut high) = (best - 0.1, best + 0.1);
    for _ in 0..60 {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        let (at_left, at_right) = (at(left), at(right));
        epsilon = epsilon.min(at_left).min(at_right);
        if at_left < at_right {
            high = right;
        } else {
            low = left;
        }
    }
    Ok(epsilon.max(0.0))
}

fn check_delta(delta: f64) -> Result<(), PrivacyError> {
    if delta > 0.0 && delta < 1.0 {
        Ok(())
    } else {
        Err(PrivacyError::range("delta", delta, "0 < x < 1"))
    }
}
