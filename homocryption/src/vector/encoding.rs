//! How numbers become slots: balanced digits of 14 bits, and fixed point.

use std::fmt;

use crate::error::Error;
use crate::params::SLOT_SHIFT;

/// Bits of a limb.
pub(super) const LIMB_BITS: u32 = 14;
/// Limbs that hold every `i64`.
pub(super) const MAX_LIMBS: u8 = 5;
/// Largest scale: 2^40 is far beyond the 24 bits of precision of an f32 of ordinary size.
pub(super) const MAX_SCALE: u8 = 40;

/// How numbers become slots. Vectors are added only to vectors of the same encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub(super) limbs: u8,
    pub(super) scale_bits: Option<u8>,
}

impl Encoding {
    /// Integers of `limbs` limbs, 1 to 5: 14, 28, 42, 56 bits, or every `i64`.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] for another number of limbs.
    pub fn integers(limbs: u8) -> Result<Self, Error> {
        if (1..=MAX_LIMBS).contains(&limbs) {
            return Ok(Self {
                limbs,
                scale_bits: None,
            });
        }
        let limit = format!("1 to {MAX_LIMBS}");
        Err(Error::Limit {
            field: "limbs",
            value: u64::from(limbs),
            limit,
        })
    }

    /// f32 as multiples of `2^-scale_bits`, 0 to 40, in `limbs` limbs. Two limbs with a scale of
    /// 20 bits hold numbers up to 127 in steps of a millionth.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] for another number of limbs or bits.
    pub fn fixed_point(limbs: u8, scale_bits: u8) -> Result<Self, Error> {
        if scale_bits > MAX_SCALE {
            let limit = format!("0 to {MAX_SCALE}");
            return Err(Error::Limit {
                field: "scale bits",
                value: u64::from(scale_bits),
                limit,
            });
        }
        Ok(Self {
            scale_bits: Some(scale_bits),
            ..Self::integers(limbs)?
        })
    }

    /// The bits after the point, or `None` for integers.
    pub fn scale_bits(self) -> Option<u8> {
        self.scale_bits
    }

    /// Smallest and largest integer of this many balanced digits.
    pub(super) fn range(self) -> (i128, i128) {
        let ones = (0..u32::from(self.limbs))
            .map(|limb| 1_i128 << (LIMB_BITS * limb))
            .sum::<i128>();
        let half = 1 << (LIMB_BITS - 1);
        (-half * ones, (half - 1) * ones)
    }

    /// The integers as slots, limb after limb.
    pub(super) fn encode(self, values: &[i64]) -> Result<Vec<u64>, Error> {
        let (lowest, highest) = self.range();
        let outside = |value: &i64| !(lowest..=highest).contains(&i128::from(*value));
        if let Some(index) = values.iter().position(outside) {
            let limit = match self.scale_bits {
                None => format!("{lowest} to {highest}, the range of {} limbs", self.limbs),
                Some(bits) => format!("the range of {} limbs at scale 2^-{bits}", self.limbs),
            };
            return Err(Error::Value {
                index,
                value: values[index].to_string(),
                limit,
            });
        }
        let mut slots = vec![0; values.len() * usize::from(self.limbs)];
        for (index, value) in values.iter().enumerate() {
            let mut rest = i128::from(*value);
            for limb in 0..usize::from(self.limbs) {
                let spare = i128::BITS - LIMB_BITS;
                let digit = rest << spare >> spare;
                slots[limb * values.len() + index] = (digit as u64) << SLOT_SHIFT;
                rest = (rest - digit) >> LIMB_BITS;
            }
        }
        Ok(slots)
    }

    /// Refuses an encoding of the other sort.
    pub(super) fn expect_integers(self, integers: bool) -> Result<(), Error> {
        if self.scale_bits.is_none() == integers {
            return Ok(());
        }
        let asked = if integers { "integers" } else { "fixed point" };
        Err(Error::Encoding {
            left: self.to_string(),
            right: format!("{asked}, asked for"),
        })
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scale_bits {
            None => write!(f, "integers in {} limbs", self.limbs),
            Some(bits) => write!(f, "fixed point at scale 2^-{bits} in {} limbs", self.limbs),
        }
    }
}
