//! From floats to integers of a bounded norm: L2 clipping and conditional randomised rounding.
//!
//! Randomised rounding has no bias, but the rounded vector may be longer than the clipped one. Kairouz, Liu, Steinke 2021
//! (Proposition 22 with beta = exp(-1/2)): for a vector of norm c and d coordinates, the squared norm after rounding is
//! at most `c^2 + d/4 + c + sqrt(d)/2` with probability at least 0.39, and never above `(c + sqrt(d))^2`. Rounding is
//! repeated until that holds, and the bound is what the accountant calls sensitivity.
//!
//! Invariant: integers that leave this module have a squared norm of at most [`Bound::squared`] and magnitudes of at most
//! [`Bound::magnitude`], whatever the floats were. Both are checked in integers.

use rand_core::RngCore;

use crate::error::PrivacyError;

/// Tries before an update is refused: by the proposition all fail with a probability below `0.61^100 < 2^-71`.
pub(crate) const ATTEMPTS: u32 = 100;

/// What rounded updates are bounded by, in steps of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Largest squared norm.
    pub(crate) squared: u64,
    /// Largest magnitude of a coordinate.
    pub(crate) magnitude: u32,
}

impl Bound {
    /// For updates of norm `norm / 2^16` steps with this many coordinates.
    pub(crate) fn new(norm: u64, coordinates: u64) -> Self {
        let (c, d) = (norm as f64 / 65_536.0, coordinates as f64);
        let likely = c * c + d / 4.0 + c + d.sqrt() / 2.0;
        let certain = (c + d.sqrt()) * (c + d.sqrt());
        Self {
            squared: likely.min(certain).floor() as u64,
            magnitude: norm.div_ceil(1 << 16) as u32,
        }
    }
}

/// Factor that brings an update onto the grid and its norm to at most `norm` steps. Sums are of f64 products.
///
/// # Errors
/// [`PrivacyError::NotFinite`].
pub(crate) fn clip_factor(
    update: &[f32],
    steps_per_unit: f64,
    norm: f64,
) -> Result<f64, PrivacyError> {
    let mut squared = 0.0_f64;
    for value in update {
        squared += f64::from(*value) * f64::from(*value);
    }
    // The largest f32 squared, 2^32 times, is far below the largest f64: only a coordinate can be infinite.
    if !squared.is_finite() {
        let found = update.iter().position(|value| !value.is_finite());
        let index = found.unwrap_or(0);
        let value = update.get(index).copied().unwrap_or(f32::NAN);
        return Err(PrivacyError::NotFinite { index, value });
    }
    let length = squared.sqrt() * steps_per_unit;
    Ok(if length > norm {
        steps_per_unit * (norm / length)
    } else {
        steps_per_unit
    })
}

/// Rounds every coordinate up with the probability of its fraction, until the bound holds.
///
/// # Errors
/// [`PrivacyError::Rounding`].
pub(crate) fn round(
    update: &[f32],
    factor: f64,
    bound: Bound,
    rng: &mut impl RngCore,
) -> Result<Vec<i32>, PrivacyError> {
    let mut rounded = vec![0; update.len()];
    for _ in 0..ATTEMPTS {
        if round_once(update, factor, bound, &mut rounded, rng) {
            return Ok(rounded);
        }
    }
    Err(PrivacyError::Rounding {
        attempts: ATTEMPTS,
        bound: bound.squared,
    })
}

fn round_once(
    update: &[f32],
    factor: f64,
    bound: Bound,
    rounded: &mut [i32],
    rng: &mut impl RngCore,
) -> bool {
    let limit = i64::from(bound.magnitude);
    let mut squared = 0_u64;
    for (out, value) in rounded.iter_mut().zip(update) {
        let scaled = f64::from(*value) * factor;
        let floor = scaled.floor();
        let up = f64::from(rng.next_u32()) < (scaled - floor) * TWO_POW_32;
        // A clipped coordinate is at most the norm, so only an error of the float's last digit is cut here.
        let integer = (floor as i64 + i64::from(up)).clamp(-limit, limit);
        // Below 2^46 each, and never more than one above a bound below 2^63.
        squared += integer.unsigned_abs() * integer.unsigned_abs();
        if squared > bound.squared {
            return false;
        }
        *out = integer as i32;
    }
    true
}

const TWO_POW_32: f64 = 4_294_967_296.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn rounded(update: &[f32], steps: f64, norm: u64, seed: u64) -> (Vec<i32>, Bound) {
        let bound = Bound::new(norm << 16, update.len() as u64);
        let factor = clip_factor(update, steps, norm as f64).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        (round(update, factor, bound, &mut rng).unwrap(), bound)
    }

    #[test]
    fn the_bound_is_the_propositions() {
        // 100 + 64/4 + 10 + 8/2 and (10 + 8)^2.
        let bound = Bound::new(10 << 16, 64);
        assert_eq!((bound.squared, bound.magnitude), (130, 10));
        // One coordinate, small norm: (1/4 + 1)^2 against 1/16 + 1/4 + 1/4 + 1/2.
        let bound = Bound::new(1 << 14, 1);
        assert_eq!((bound.squared, bound.magnitude), (1, 1));
    }

    #[test]
    fn whole_steps_stay_as_they_are() {
        let (integers, _) = rounded(&[3.0, -4.0, 0.0], 1.0, 5, 1);
        assert_eq!(integers, [3, -4, 0]);
        // Norm 5 clipped to norm 1 on a grid of 10.
        let (integers, _) = rounded(&[3.0, -4.0, 0.0], 10.0, 10, 1);
        assert!([5, 6, 7].contains(&integers[0]) && [-7, -8, -9].contains(&integers[1]));
    }

    #[test]
    fn rounding_has_no_bias_to_speak_of() {
        let update = vec![0.3_f32; 40_000];
        let (integers, _) = rounded(&update, 1.0, 100, 2);
        let mean = integers.iter().map(|x| f64::from(*x)).sum::<f64>() / 40_000.0;
        // Standard deviation 0.0023.
        assert!((mean - 0.3).abs() < 0.0115, "{mean}");
    }

    #[test]
    fn what_is_not_finite_is_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = clip_factor(&[0.0, bad, 1.0], 1.0, 1.0).unwrap_err();
            let PrivacyError::NotFinite { index: 1, value } = found else {
                panic!("{found}");
            };
            assert_eq!(value.to_bits(), bad.to_bits());
        }
        assert_eq!(
            clip_factor(&[f32::MAX; 4], 1.0, 0.5).map(|f| f > 0.0),
            Ok(true)
        );
    }

    #[test]
    fn a_bound_that_cannot_hold_is_an_error_and_not_a_longer_vector() {
        let bound = Bound {
            squared: 8,
            magnitude: 5,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let found = round(&[3.0], 1.0, bound, &mut rng);
        assert_eq!(
            found,
            Err(PrivacyError::Rounding {
                attempts: 100,
                bound: 8
            })
        );
    }

    proptest! {
        #[test]
        fn bounds_hold_for_any_update(
            update in prop::collection::vec(prop_oneof![-1e3_f32..1e3, -1.0_f32..1.0, prop::num::f32::NORMAL], 1..300),
            steps in 1e-3_f64..1e4, norm in 1_u64..5_000, seed in any::<u64>(),
        ) {
            let (integers, bound) = rounded(&update, steps, norm, seed);
            let squared: u64 = integers.iter().map(|x| i64::from(*x).pow(2) as u64).sum();
            prop_assert!(squared <= bound.squared);
            prop_assert!(integers.iter().all(|x| x.unsigned_abs() <= bound.magnitude));
            // Short updates are not scaled: every integer is a neighbour of its value.
            let length = update.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() * steps;
            if length < 0.99 * norm as f64 {
                for (integer, value) in integers.iter().zip(&update) {
                    prop_assert!((f64::from(*integer) - f64::from(*value) * steps).abs() <= 1.0);
                }
            }
        }
    }
}
