//! From numbers to slot values at the contributor, and from their sum to the mean for everybody.

use pulp::Arch;
use rand_core::{CryptoRng, RngCore};
use zeroize::Zeroize;

use super::error::RingError;
use super::keystream::{Purpose, StreamKey};

/// How a contributor's values become slot values in `0..=value_max`.
pub trait Encoder: Sync {
    /// Largest slot value that this encoder makes; the layout is made for it.
    fn value_max(&self) -> u32;

    /// The contributor's weight, where the mean is a weighted one. It takes a slot of its own before the values.
    fn weight(&self) -> Option<u32> {
        None
    }

    /// Encodes 4-byte little-endian values, of which the first has index `start`. Both slices are of one length.
    ///
    /// # Errors
    /// A value that has no encoding.
    fn encode(&self, start: u64, values: &[[u8; 4]], slots: &mut [u32]) -> Result<(), RingError>;
}

/// Integers (u32) as they are, none above `max`.
#[derive(Clone, Copy, Debug)]
pub struct Integers {
    /// Largest value.
    pub max: u32,
}

impl Encoder for Integers {
    fn value_max(&self) -> u32 {
        self.max
    }

    fn encode(&self, start: u64, values: &[[u8; 4]], slots: &mut [u32]) -> Result<(), RingError> {
        for (place, (slot, value)) in slots.iter_mut().zip(values).enumerate() {
            *slot = u32::from_le_bytes(*value);
            if *slot > self.max {
                let (index, value) = (start + place as u64, u64::from(*slot));
                return Err(RingError::ValueTooLarge {
                    index,
                    value,
                    max: self.max,
                });
            }
        }
        Ok(())
    }
}

/// Fixed point for values in `[-clip, clip]`, agreed on by a whole task.
///
/// x stands as the integer nearest to `x * levels / clip`, with `levels = 2^(bits-1) - 1`, offset by `levels` and
/// multiplied by the contributor's weight. 0.0 is exact; larger magnitudes are clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    clip: f32,
    levels: u32,
    max_weight: u32,
    weighted: bool,
}

impl Scale {
    /// `bits` from 2 to 24, `clip` positive and finite.
    ///
    /// # Errors
    /// [`RingError::OutOfRange`].
    pub fn new(bits: u32, clip: f32) -> Result<Self, RingError> {
        if !(2..=24).contains(&bits) {
            return Err(RingError::range("bits of a value", bits, "2 to 24"));
        }
        if !(clip.is_finite() && clip >= f32::MIN_POSITIVE) {
            return Err(RingError::range(
                "clip bound (bits of the f32)",
                clip.to_bits(),
                "positive, normal and finite",
            ));
        }
        Ok(Self {
            clip,
            levels: (1 << (bits - 1)) - 1,
            max_weight: 1,
            weighted: false,
        })
    }

    /// The same with weights from 1 to `max_weight`.
    ///
    /// # Errors
    /// [`RingError::OutOfRange`] where a weighted value would not fit 32 bits.
    pub fn weighted(self, max_weight: u32) -> Result<Self, RingError> {
        let limit = u32::MAX / (2 * self.levels);
        if !(1..=limit).contains(&max_weight) {
            return Err(RingError::range(
                "largest weight",
                max_weight,
                format!("1 to {limit}"),
            ));
        }
        Ok(Self {
            max_weight,
            weighted: true,
            ..self
        })
    }

    /// Largest slot value: that of [`super::Layout::new`].
    #[must_use]
    pub const fn value_max(&self) -> u32 {
        2 * self.levels * self.max_weight
    }

    /// Whether bodies carry a weight.
    #[must_use]
    pub const fn is_weighted(&self) -> bool {
        self.weighted
    }

    /// The mean that a sum of slot values stands for: an exact integer, one product, one division, one rounding to f32.
    /// `weights` is the sum of weights, or the number of contributors. None where no such contributors exist.
    pub(super) fn mean(&self, sum: u64, weights: u64) -> Option<f32> {
        let levels = u64::from(self.levels);
        if sum > 2 * levels * weights {
            return None;
        }
        let signed = sum as i64 - (levels * weights) as i64;
        let mean = (signed as f64 * f64::from(self.clip)) / (levels * weights) as f64;
        Some(mean as f32)
    }

    /// Range of the sum of weights of `contributors`.
    pub(super) fn weights(&self, contributors: u32) -> std::ops::RangeInclusive<u64> {
        u64::from(contributors)..=u64::from(contributors) * u64::from(self.max_weight)
    }
}

/// What happens to the fraction of a value.
enum Rounding {
    Nearest,
    Stochastic(StreamKey),
}

/// A contributor's [`Encoder`] of f32 values.
pub struct Quantiser {
    scale: Scale,
    weight: u32,
    rounding: Rounding,
}

/// Values that share one stream of rounding bits.
const BLOCK: u64 = 1024;

/// `1.5 * 2^52`: adding it rounds to an integer, ties to even, which then sits in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

impl Quantiser {
    /// Rounds to the nearest integer, ties to even. A `weight` of 1 where the scale has no weights.
    ///
    /// # Errors
    /// [`RingError::OutOfRange`] for a weight that the scale does not allow.
    pub fn nearest(scale: Scale, weight: u32) -> Result<Self, RingError> {
        Self::new(scale, weight, Rounding::Nearest)
    }

    /// Rounds up with the probability of the fraction, so that the mean over contributors has no bias.
    ///
    /// # Errors
    /// See [`Quantiser::nearest`].
    pub fn stochastic(
        scale: Scale,
        weight: u32,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Self, RingError> {
        Self::new(scale, weight, Rounding::Stochastic(StreamKey::fresh(rng)))
    }

    fn new(scale: Scale, weight: u32, rounding: Rounding) -> Result<Self, RingError> {
        if !(1..=scale.max_weight).contains(&weight) {
            return Err(RingError::range(
                "weight",
                weight,
                format!("1 to {}", scale.max_weight),
            ));
        }
        Ok(Self {
            scale,
            weight,
            rounding,
        })
    }

    /// `offsets` are added before rounding to nearest. Returns whether all values are finite.
    #[inline(always)]
    fn quantise(
        &self,
        values: &[[u8; 4]],
        slots: &mut [u32],
        offset: impl Fn(usize) -> f64,
    ) -> bool {
        let factor = f64::from(self.scale.levels) / f64::from(self.scale.clip);
        let levels = f64::from(self.scale.levels);
        let mut finite = true;
        for (place, (slot, value)) in slots.iter_mut().zip(values).enumerate() {
            let value = f32::from_le_bytes(*value);
            finite &= value.abs() < f32::INFINITY;
            let scaled = (f64::from(value) * factor).max(-levels).min(levels);
            let rounded = (scaled + offset(place) + ROUND).to_bits() as u32;
            *slot = rounded
                .wrapping_add(self.scale.levels)
                .wrapping_mul(self.weight);
        }
        finite
    }

    fn stochastic_blocks(
        &self,
        key: &StreamKey,
        start: u64,
        values: &[[u8; 4]],
        slots: &mut [u32],
    ) -> bool {
        let mut bytes = [[0; 4]; BLOCK as usize];
        let mut finite = true;
        let mut done = 0;
        while done < values.len() {
            let index = start + done as u64;
            let skip = (index % BLOCK) as usize;
            let length = (values.len() - done).min(BLOCK as usize - skip);
            key.stream(Purpose::Rounding, index / BLOCK)
                .fill(bytes.as_flattened_mut());
            let bits = &bytes[skip..skip + length];
            let uniform = |place: usize| {
                (f64::from(u32::from_le_bytes(bits[place])) + 0.5) * 2f64.powi(-32) - 0.5
            };
            let (values, slots) = (
                &values[done..done + length],
                &mut slots[done..done + length],
            );
            finite &= Arch::new().dispatch(|| self.quantise(values, slots, uniform));
            done += length;
        }
        bytes.zeroize();
        finite
    }
}

impl Encoder for Quantiser {
    fn value_max(&self) -> u32 {
        self.scale.value_max()
    }

    fn weight(&self) -> Option<u32> {
        self.scale.weighted.then_some(self.weight)
    }

    fn encode(&self, start: u64, values: &[[u8; 4]], slots: &mut [u32]) -> Result<(), RingError> {
        let finite = match &self.rounding {
            Rounding::Nearest => Arch::new().dispatch(|| self.quantise(values, slots, |_| 0.0)),
            Rounding::Stochastic(key) => self.stochastic_blocks(key, start, values, slots),
        };
        if finite {
            return Ok(());
        }
        let place = values
            .iter()
            .position(|value| !f32::from_le_bytes(*value).is_finite());
        Err(RingError::NotFinite {
            index: start + place.unwrap_or(0) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_core::SeedableRng;

    use super::*;

    fn slots(encoder: &impl Encoder, values: &[f32]) -> Result<Vec<u32>, RingError> {
        let bytes: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
        let mut out = vec![0; values.len()];
        encoder.encode(0, &bytes, &mut out)?;
        Ok(out)
    }

    #[test]
    fn nearest_ties_and_clipping() {
        let scale = Scale::new(8, 127.0).unwrap();
        let quantiser = Quantiser::nearest(scale, 1).unwrap();
        let values = [0.0, -0.0, 0.5, 1.5, -0.5, -1.5, 126.6, 1e30, -1e30, -127.0];
        let expected = [127, 127, 127, 129, 127, 125, 254, 254, 0, 0];
        assert_eq!(slots(&quantiser, &values).unwrap(), expected);
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let quantiser = Quantiser::nearest(Scale::new(8, 1.0).unwrap(), 1).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = slots(&quantiser, &[0.0, 1.0, bad, 0.0]);
            assert!(matches!(found, Err(RingError::NotFinite { index: 2 })));
        }
    }

    #[test]
    fn stochastic_rounding_has_the_right_mean_and_does_not_depend_on_the_split() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(5);
        let quantiser = Quantiser::stochastic(Scale::new(8, 127.0).unwrap(), 1, &mut rng).unwrap();
        let values = vec![3.25_f32; 40_000];
        let whole = slots(&quantiser, &values).unwrap();
        let mean = whole
            .iter()
            .map(|slot| f64::from(*slot) - 127.0)
            .sum::<f64>()
            / 40_000.0;
        // Standard deviation of the mean: 0.0022.
        assert!((mean - 3.25).abs() < 0.011, "{mean}");
        assert!(whole.iter().all(|slot| [130, 131].contains(slot)));
        let bytes: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
        let mut part = vec![0; 3_000];
        quantiser
            .encode(1_500, &bytes[1_500..4_500], &mut part)
            .unwrap();
        assert_eq!(part, whole[1_500..4_500]);
        let edge = slots(&quantiser, &[127.0, -127.0, 0.0]).unwrap();
        assert_eq!(edge, [254, 0, 127]);
    }

    proptest! {
        #[test]
        fn one_value_survives_to_half_a_level(bits in 2_u32..=24, clip in 1e-6_f32..1e6, x in -2.0_f32..2.0, weight in 1_u32..=64) {
            let scale = Scale::new(bits, clip).unwrap().weighted(64).unwrap();
            let quantiser = Quantiser::nearest(scale, weight).unwrap();
            let slot = slots(&quantiser, &[x * clip]).unwrap()[0];
            prop_assert!(slot <= scale.value_max());
            let back = scale.mean(u64::from(slot), u64::from(weight)).unwrap();
            let level = f64::from(clip) / f64::from((1_u32 << (bits - 1)) - 1);
            let expected = f64::from((x * clip).clamp(-clip, clip));
            prop_assert!((f64::from(back) - expected).abs() <= level * 0.5 + f64::from(clip) * 1e-6);
        }
    }

    #[test]
    fn impossible_sums_have_no_mean() {
        let scale = Scale::new(8, 1.0).unwrap();
        assert_eq!(scale.mean(2 * 127 * 3, 3), Some(1.0));
        assert_eq!(scale.mean(127 * 3, 3), Some(0.0));
        assert_eq!(scale.mean(2 * 127 * 3 + 1, 3), None);
    }

    #[test]
    fn bounds_are_named() {
        assert!(Scale::new(1, 1.0).is_err() && Scale::new(25, 1.0).is_err());
        assert!(
            Scale::new(8, 0.0).is_err()
                && Scale::new(8, f32::NAN).is_err()
                && Scale::new(8, -1.0).is_err()
        );
        let scale = Scale::new(16, 1.0).unwrap();
        assert!(scale.weighted(0).is_err() && scale.weighted(70_000).is_err());
        assert!(Quantiser::nearest(scale, 2).is_err());
    }
}
