//! Packed vectors: 2048 numbers a ring ciphertext, added without a key.
//!
//! A number is an integer in balanced base 2^14, one limb a digit (`-2^13..2^13`), so one limb holds 14 bits, two
//! 28, five every `i64`. A limb is a slot modulo 2^24, and [`VECTOR_WEIGHT`] (1023) vectors can be summed:
//! their digits stay under 2^23 and the worst-case error under half a slot. Not a probability: no sum that
//! is not refused can decrypt wrong. One counter, `weight`, is the sum of the absolute coefficients of all encryptions
//! in a vector, and decides.
//!
//! There is no relinearization for packed vectors. A spent sum is decrypted, and another started.
//!
//! Fixed point: an f32 `x` is the integer nearest to `x * 2^scale_bits`, ties away from zero. Sums of those
//! integers are exact; the only roundings are that one and the one to f32 when the sum is decrypted.

mod encoding;
mod wire;

use rayon::prelude::*;

pub use encoding::Encoding;
use encoding::LIMB_BITS;

use crate::error::Error;
use crate::format::Frame;
use crate::keys::{KeyId, PrivateKey, PublicKey};
use crate::lattice::{List, round};
use crate::params::{FRESH_NOISE, MAX_VALUES, SLOT_SHIFT, VECTOR_WEIGHT};

/// An encrypted vector. 16 bytes a number and limb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedVector {
    key_id: KeyId,
    encoding: Encoding,
    weight: u32,
    len: usize,
    /// A list for every limb, so that a mask never serves two limbs.
    limbs: Vec<List>,
}

impl PackedVector {
    /// Encrypts integers under the public key.
    ///
    /// # Errors
    ///
    /// [`Error::Encoding`] for a fixed-point encoding, [`Error::Value`] for a number that it cannot
    /// hold, [`Error::Limit`] for an empty vector or more than 2^24 numbers.
    pub fn encrypt(public: &PublicKey, encoding: Encoding, values: &[i64]) -> Result<Self, Error> {
        encoding.expect_integers(true)?;
        Self::encrypt_integers(public, encoding, values)
    }

    /// Encrypts f32 under the public key, rounded to multiples of the encoding's scale.
    ///
    /// # Errors
    ///
    /// As [`PackedVector::encrypt`]; [`Error::Value`] also for a NaN or an infinity.
    pub fn encrypt_f32(
        public: &PublicKey,
        encoding: Encoding,
        values: &[f32],
    ) -> Result<Self, Error> {
        encoding.expect_integers(false)?;
        let scale = (1_u64 << encoding.scale_bits.unwrap_or(0)) as f64;
        let (lowest, highest) = encoding.range();
        let (lowest, highest) = (lowest.max(i64::MIN.into()), highest.min(i64::MAX.into()));
        let integers = values.iter().enumerate().map(|(index, value)| {
            // Exact: 24 bits of precision times a power of two.
            let scaled = (f64::from(*value) * scale).round();
            let limit = || format!("the range of {encoding}");
            // i64::MAX as f64 rounds up to 2^63; `as i64` below cannot saturate under a strict comparison.
            let inside = scaled >= lowest as f64 && scaled < (highest as f64) + 1.0;
            if inside && scaled < i64::MAX as f64 {
                return Ok(scaled as i64);
            }
            Err(Error::Value {
                index,
                value: value.to_string(),
                limit: limit(),
            })
        });
        Self::encrypt_integers(public, encoding, &integers.collect::<Result<Vec<_>, _>>()?)
    }

    fn encrypt_integers(
        public: &PublicKey,
        encoding: Encoding,
        values: &[i64],
    ) -> Result<Self, Error> {
        if !(1..=MAX_VALUES).contains(&values.len()) {
            let limit = format!("1 to {MAX_VALUES}");
            return Err(Error::Limit {
                field: "numbers",
                value: values.len() as u64,
                limit,
            });
        }
        let slots = encoding.encode(values)?;
        let limbs = slots
            .chunks(values.len())
            .map(|limb| List::encrypt(public, limb.to_vec()));
        Ok(Self {
            key_id: public.key_id(),
            encoding,
            weight: 1,
            len: values.len(),
            limbs: limbs.collect(),
        })
    }

    /// Adds two vectors, without a key.
    ///
    /// # Errors
    ///
    /// [`Error::Key`], [`Error::Encoding`] or [`Error::Length`] when they do not match,
    /// [`Error::VectorNoise`] when the sum could decrypt wrong.
    pub fn add(&self, other: &Self) -> Result<Self, Error> {
        let mut sum = self.clone();
        sum.add_assign(other)?;
        Ok(sum)
    }

    /// Adds to this vector; unchanged when refused.
    ///
    /// # Errors
    ///
    /// As [`PackedVector::add`].
    pub fn add_assign(&mut self, other: &Self) -> Result<(), Error> {
        self.key_id.expect("the second vector", other.key_id)?;
        if self.encoding != other.encoding {
            let (left, right) = (self.encoding.to_string(), other.encoding.to_string());
            return Err(Error::Encoding { left, right });
        }
        if self.len != other.len {
            return Err(Error::Length {
                left: self.len,
                right: other.len,
            });
        }
        self.weight = budget(u64::from(self.weight) + u64::from(other.weight))?;
        for (left, right) in self.limbs.iter_mut().zip(&other.limbs) {
            left.add_assign(right);
        }
        Ok(())
    }

    /// Subtracts `other`, without a key.
    ///
    /// # Errors
    ///
    /// As [`PackedVector::add`].
    pub fn sub(&self, other: &Self) -> Result<Self, Error> {
        self.add(&other.mul_small(-1)?)
    }

    /// Multiplies every number by a public integer, without a key. Weighs as many encryptions as its
    /// absolute value.
    ///
    /// # Errors
    ///
    /// [`Error::VectorNoise`] when the product could decrypt wrong.
    pub fn mul_small(&self, factor: i32) -> Result<Self, Error> {
        let mut product = self.clone();
        let weight = u64::from(self.weight) * u64::from(factor.unsigned_abs());
        product.weight = budget(weight)?.max(1);
        product
            .limbs
            .iter_mut()
            .for_each(|limb| limb.scale(i64::from(factor)));
        Ok(product)
    }

    /// Decrypts integers, exactly.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a vector of other keys, [`Error::Encoding`] for a fixed-point one, [`Error::Overflow`] with the
    /// index of the first sum that does not fit `i64`, [`Error::Ciphertext`] for a damaged one.
    pub fn decrypt(&self, private: &PrivateKey) -> Result<Vec<i64>, Error> {
        self.encoding.expect_integers(true)?;
        let convert = |(index, value): (usize, i128)| {
            i64::try_from(value).map_err(|_| Error::Overflow {
                place: format!("at index {index}"),
                range: "a signed 64-bit integer",
            })
        };
        self.decrypt_exact(private)?
            .into_iter()
            .enumerate()
            .map(convert)
            .collect()
    }

    /// Decrypts fixed-point numbers: the exact sum, rounded to f32.
    ///
    /// # Errors
    ///
    /// As [`PackedVector::decrypt`], and [`Error::Encoding`] for integers.
    pub fn decrypt_f32(&self, private: &PrivateKey) -> Result<Vec<f32>, Error> {
        self.encoding.expect_integers(false)?;
        let scale = (1_u64 << self.encoding.scale_bits.unwrap_or(0)) as f64;
        let exact = self.decrypt_exact(private)?;
        Ok(exact
            .into_iter()
            .map(|value| (value as f64 / scale) as f32)
            .collect())
    }

    fn decrypt_exact(&self, private: &PrivateKey) -> Result<Vec<i128>, Error> {
        private.key_id().expect("the vector", self.key_id)?;
        let noise = u64::from(self.weight) * FRESH_NOISE;
        let largest = i64::from(self.weight) << (LIMB_BITS - 1);
        let mut values = vec![0_i128; self.len];
        for (limb, list) in self.limbs.iter().enumerate() {
            let add = |(value, phase): (&mut i128, u64)| {
                let (slot, error) = round(phase, SLOT_SHIFT);
                // Slots are modulo 2^24; the sign is in the top bit.
                let digit = (slot << SLOT_SHIFT) as i64 >> SLOT_SHIFT;
                if error > noise {
                    return Err(Error::Ciphertext(
                        "a slot has more noise than its weight explains",
                    ));
                }
                if !(-largest..=largest).contains(&digit) {
                    return Err(Error::Ciphertext(
                        "a slot is larger than its weight explains",
                    ));
                }
                *value += i128::from(digit) << (LIMB_BITS as usize * limb);
                Ok(())
            };
            let phases = list.phases(private);
            values.par_iter_mut().zip(phases).try_for_each(add)?;
        }
        Ok(values)
    }

    /// Numbers in the vector.
    #[allow(clippy::len_without_is_empty, reason = "a vector is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Encryptions in this sum, of at most [`VECTOR_WEIGHT`].
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// How its numbers are encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}

fn budget(weight: u64) -> Result<u32, Error> {
    match u32::try_from(weight) {
        Ok(weight) if weight <= VECTOR_WEIGHT => Ok(weight),
        _ => Err(Error::VectorNoise {
            used: weight,
            limit: u64::from(VECTOR_WEIGHT),
        }),
    }
}
