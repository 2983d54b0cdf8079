//! How the coordinates of an update lie in a file: f32, f16, bf16, or int8 with a scale per block.
//!
//! Everything is little-endian and nothing else is in the file: no header, no padding. Decoding is exact
//! arithmetic or one rounded multiplication, so it gives the same bits everywhere.
//!
//! | encoding | bytes of d coordinates | value of a coordinate |
//! |---|---|---|
//! | [`Encoding::F32`] | 4 d | IEEE-754 binary32 |
//! | [`Encoding::F16`] | 2 d | IEEE-754 binary16, widened exactly |
//! | [`Encoding::Bf16`] | 2 d | the upper half of a binary32, widened exactly |
//! | [`Encoding::Int8`] | d + 4 ⌈d / 64⌉ | `scale * q`, rounded to f32 once |
//!
//! # Block-scaled int8
//! A block is [`INT8_BLOCK`] = 64 coordinates (the last one of a vector has 1 to 64): its scale, an
//! f32, and then one signed byte `q` for each coordinate. That is 8.5 bits a coordinate. A scale is
//! positive or `+0.0`, and at most the largest f32 whose product with 127 is finite (2.679e36); `q` is from -127 to 127. Files
//! that say otherwise (negative, NaN or infinite scales, `-0.0`, -128) are refused when that block is
//! read, with the coordinate. The blocks are interleaved with their scales so that any part of a vector is
//! read with one access.

use crate::error::{AggregationError, Malformed, Origin};
use crate::simd::{Op, Simd, dispatch};

/// Coordinates that share a scale in [`Encoding::Int8`].
pub const INT8_BLOCK: usize = 64;

const SCALE_BYTES: usize = 4;
const INT8_BLOCK_BYTES: usize = SCALE_BYTES + INT8_BLOCK;

/// The largest magnitude of a byte in [`Encoding::Int8`].
const INT8_MAX: f32 = 127.0;

/// The largest scale: 127 times it is finite, which does not hold for the next f32.
const SCALE_MAX: f32 = (f32::MAX / INT8_MAX).next_down();

/// A layout of coordinates in bytes, see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// binary32.
    F32,
    /// binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// Blocks of 64 bytes behind an f32 that scales them.
    Int8,
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Int8];

    /// Bytes of a vector of `len` coordinates; `None` when they exceed 64 bits.
    pub fn size_bytes(self, len: u64) -> Option<u64> {
        match self {
            Self::F32 => len.checked_mul(4),
            Self::F16 | Self::Bf16 => len.checked_mul(2),
            Self::Int8 => {
                let scales = len.div_ceil(INT8_BLOCK as u64) * SCALE_BYTES as u64;
                len.checked_add(scales)
            }
        }
    }

    /// Coordinates of a vector of this many bytes; `None` when no vector has that size.
    pub fn len_of(self, size_bytes: u64) -> Option<u64> {
        let len = match self {
            Self::F32 => size_bytes / 4,
            Self::F16 | Self::Bf16 => size_bytes / 2,
            Self::Int8 => {
                let block = INT8_BLOCK_BYTES as u64;
                let rest = (size_bytes % block).saturating_sub(SCALE_BYTES as u64);
                size_bytes / block * INT8_BLOCK as u64 + rest
            }
        };
        (self.size_bytes(len) == Some(size_bytes)).then_some(len)
    }

    /// Decodes the coordinates from `offset` on out of `bytes`, which is a whole vector.
    ///
    /// The caller has checked that they exist.
    ///
    /// # Errors
    /// [`AggregationError::Malformed`]. Values that are not finite are not looked for, except in scales.
    pub(crate) fn decode(
        self,
        bytes: &[u8],
        offset: usize,
        out: &mut [f32],
    ) -> Result<(), AggregationError> {
        let end = offset + out.len();
        let words = |size: usize| &bytes[offset * size..end * size];
        match self {
            Self::F32 => {
                for (to, word) in out.iter_mut().zip(words(4).as_chunks().0) {
                    *to = f32::from_le_bytes(*word);
                }
                Ok(())
            }
            Self::F16 => {
                let words = words(2).as_chunks().0;
                dispatch(Halves(words, out, f16_to_f32));
                Ok(())
            }
            Self::Bf16 => {
                let words = words(2).as_chunks().0;
                dispatch(Halves(words, out, bf16_to_f32));
                Ok(())
            }
            Self::Int8 => dispatch(ScaledBlocks { bytes, offset, out }),
        }
    }

    /// The bytes of `values`, each rounded to the nearest that the encoding has (ties to even).
    ///
    /// # Errors
    /// [`AggregationError::NonFinite`] for a value that is not finite, or whose rounding is not.
    pub fn encode(self, values: &[f32]) -> Result<Vec<u8>, AggregationError> {
        let bytes: Vec<u8> = match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => values
                .iter()
                .flat_map(|x| f32_to_f16(*x).to_le_bytes())
                .collect(),
            Self::Bf16 => values
                .iter()
                .flat_map(|x| f32_to_bf16(*x).to_le_bytes())
                .collect(),
            Self::Int8 => values.chunks(INT8_BLOCK).flat_map(scaled_block).collect(),
        };
        let is_lost = |k: usize| match self {
            Self::F32 | Self::Int8 => !values[k].is_finite(),
            Self::F16 => !f16_to_f32([bytes[2 * k], bytes[2 * k + 1]]).is_finite(),
            Self::Bf16 => !bf16_to_f32([bytes[2 * k], bytes[2 * k + 1]]).is_finite(),
        };
        match (0..values.len()).find(|&k| is_lost(k)) {
            None => Ok(bytes),
            Some(coordinate) => Err(AggregationError::NonFinite {
                origin: Origin::Vector,
                coordinate,
                value: values[coordinate],
            }),
        }
    }
}

/// Words of two bytes, and what makes an f32 of one: a loop that the compiler turns into vectors.
struct Halves<'a, F>(&'a [[u8; 2]], &'a mut [f32], F);

impl<F: Fn([u8; 2]) -> f32> Op for Halves<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (to, word) in self.1.iter_mut().zip(self.0) {
            *to = (self.2)(*word);
        }
    }
}

#[inline(always)]
pub(crate) fn bf16_to_f32(word: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(word)) << 16)
}

/// Without a branch, and without arithmetic on subnormals, which some processors are slow at.
#[inline(always)]
pub(crate) fn f16_to_f32(word: [u8; 2]) -> f32 {
    /// Difference of the exponents' biases, in place.
    const REBIAS: u32 = (127 - 15) << 23;
    /// The f32 with the exponent of an f16's subnormals.
    const SMALLEST_NORMAL: u32 = REBIAS + (1 << 23);
    let half = u32::from(u16::from_le_bytes(word));
    let magnitude = (half & 0x7fff) << 13;
    let normal = magnitude + REBIAS;
    // The mantissa of a subnormal has no leading one: put one in front and subtract it.
    let subnormal = f32::from_bits(SMALLEST_NORMAL | magnitude) - f32::from_bits(SMALLEST_NORMAL);
    let bits = match magnitude >> 23 {
        0 => subnormal.to_bits(),
        31 => normal + REBIAS,
        _ => normal,
    };
    f32::from_bits(bits | (half & 0x8000) << 16)
}

fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    // Half a unit, less one bit when the kept part is even, so that ties go there.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn f32_to_f16(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16 & 0x8000) as u16;
    let magnitude = x.abs();
    if magnitude.is_nan() {
        return sign | 0x7e00;
    }
    // Half a unit above the largest f16, where rounding goes to infinity.
    if magnitude >= 65_520.0 {
        return sign | 0x7c00;
    }
    let bits = magnitude.to_bits();
    const SMALLEST_NORMAL: f32 = 1.0 / 16_384.0;
    if magnitude < SMALLEST_NORMAL {
        // In this range f32 with an exponent of zero (0.5..1) ends where f16 does: the addition rounds.
        let rounded = magnitude + 0.5;
        return sign | (rounded.to_bits() - 0.5_f32.to_bits()) as u16;
    }
    let rounded = bits + 0x0fff + (bits >> 13 & 1);
    sign | ((rounded - ((127 - 15) << 23)) >> 13) as u16
}

/// A block of at most 64 values: the scale is the largest magnitude over 127.
fn scaled_block(values: &[f32]) -> Vec<u8> {
    let largest = values.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let scale = (largest / INT8_MAX).min(SCALE_MAX);
    let quantised = values.iter().map(|x| {
        // Subnormal scales are coarse, and an all-zero block has none: the quotient may be anything.
        let q = match scale > 0.0 {
            true => (x / scale).round_ties_even(),
            false => 0.0,
        };
        // Saturates, and NaN becomes 0; the caller refuses those.
        (q.clamp(-INT8_MAX, INT8_MAX) as i8).to_le_bytes()[0]
    });
    scale.to_le_bytes().into_iter().chain(quantised).collect()
}

struct ScaledBlocks<'a> {
    bytes: &'a [u8],
    offset: usize,
    out: &'a mut [f32],
}

impl Op for ScaledBlocks<'_> {
    type Output = Result<(), AggregationError>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        let Self { bytes, offset, out } = self;
        let mut done = 0;
        while done < out.len() {
            let coordinate = offset + done;
            let (block, skipped) = (coordinate / INT8_BLOCK, coordinate % INT8_BLOCK);
            let (head, body) = bytes[block * INT8_BLOCK_BYTES..].split_at(SCALE_BYTES);
            let scale = f32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            if !is_scale(scale) {
                let what = Malformed::Scale(scale);
                return Err(malformed(block * INT8_BLOCK, what));
            }
            let count = (INT8_BLOCK - skipped).min(out.len() - done);
            let body = &body[skipped..skipped + count];
            let mut is_bad = false;
            for (to, byte) in out[done..done + count].iter_mut().zip(body) {
                let q = i8::from_le_bytes([*byte]);
                is_bad |= q == i8::MIN;
                *to = scale * f32::from(q);
            }
            if is_bad {
                let at = body.iter().position(|byte| *byte == 0x80).unwrap_or(0);
                return Err(malformed(coordinate + at, Malformed::Byte));
            }
            done += count;
        }
        Ok(())
    }
}

/// From `+0.0` to the largest; not `-0.0`, and not NaN.
#[inline(always)]
fn is_scale(x: f32) -> bool {
    x.to_bits() <= SCALE_MAX.to_bits()
}

fn malformed(coordinate: usize, what: Malformed) -> AggregationError {
    AggregationError::Malformed {
        origin: Origin::Vector,
        coordinate,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
        let len = encoding.len_of(bytes.len() as u64).unwrap() as usize;
        let mut out = vec![0.0; len];
        encoding.decode(bytes, 0, &mut out).unwrap();
        out
    }

    /// The definition of binary16, in f64, where it is exact.
    fn f16_by_definition(word: u16) -> f64 {
        let (exponent, mantissa) = (i32::from(word >> 10 & 31), f64::from(word & 1023));
        let magnitude = match exponent {
            0 => mantissa * 2_f64.powi(-24),
            31 if mantissa == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + mantissa) * 2_f64.powi(exponent - 25),
        };
        if word >> 15 == 1 {
            -magnitude
        } else {
            magnitude
        }
    }

    #[test]
    fn every_f16_is_decoded_by_definition_and_encoded_back() {
        for word in 0..=u16::MAX {
            let expected = f16_by_definition(word);
            let found = f16_to_f32(word.to_le_bytes());
            if expected.is_nan() {
                assert!(found.is_nan(), "{word:#x}");
                continue;
            }
            assert_eq!(f64::from(found).to_bits(), expected.to_bits(), "{word:#x}");
            assert_eq!(f32_to_f16(found), word, "{word:#x}");
        }
    }

    #[test]
    fn every_bf16_is_decoded_by_definition_and_encoded_back() {
        for word in 0..=u16::MAX {
            let found = bf16_to_f32(word.to_le_bytes());
            assert_eq!(found.to_bits(), u32::from(word) << 16);
            if !found.is_nan() {
                assert_eq!(f32_to_bf16(found), word);
            }
        }
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_ties_to_even() {
        for word in 0..0x7bff_u16 {
            let (low, high) = (f16_by_definition(word), f16_by_definition(word + 1));
            let middle = ((low + high) / 2.0) as f32;
            let even = word + (word & 1);
            assert_eq!(f32_to_f16(middle), even, "{word:#x}");
            assert_eq!(f32_to_f16(middle.next_down()), word);
            assert_eq!(f32_to_f16(middle.next_up()), word + 1);
        }
        for word in 0..0x7f7f_u16 {
            let middle = f32::from_bits(u32::from(word) << 16 | 0x8000);
            assert_eq!(f32_to_bf16(middle), word + (word & 1));
            assert_eq!(f32_to_bf16(middle.next_down()), word);
            assert_eq!(f32_to_bf16(middle.next_up()), word + 1);
        }
    }

    #[test]
    fn int8_has_the_bytes_of_its_definition() {
        let mut values = vec![0.0_f32; 66];
        (values[0], values[1], values[63]) = (-63.5, 0.25, 1.0);
        values[65] = 12.7;
        let bytes = Encoding::Int8.encode(&values).unwrap();
        assert_eq!(bytes.len(), 4 + 64 + 4 + 2);
        assert_eq!(bytes[..4], 0.5_f32.to_le_bytes());
        // 0.25 / 0.5 is a tie and goes to the even 0.
        assert_eq!(bytes[4..7], [0x81, 0, 0]);
        assert_eq!(bytes[67], 2);
        assert_eq!(bytes[68..72], (12.7_f32 / 127.0).to_le_bytes());
        assert_eq!(bytes[72..], [0, 127]);
        let back = decode(Encoding::Int8, &bytes);
        assert_eq!((back[0], back[1], back[63]), (-63.5, 0.0, 1.0));
    }

    #[test]
    fn what_cannot_be_encoded_is_refused_with_its_coordinate() {
        for encoding in Encoding::ALL {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let error = encoding.encode(&[1.0, bad, 2.0]).unwrap_err();
                assert!(error.to_string().contains("coordinate 1 is"), "{error}");
            }
        }
        assert!(Encoding::F16.encode(&[65_519.0]).is_ok());
        assert!(Encoding::F16.encode(&[65_520.0]).is_err());
        assert!(Encoding::Bf16.encode(&[f32::MAX]).is_err());
        let largest = decode(Encoding::Int8, &Encoding::Int8.encode(&[f32::MAX]).unwrap());
        assert!(largest[0].is_finite() && largest[0] > 3.4e38);
        assert_eq!(INT8_MAX * SCALE_MAX.next_up(), f32::INFINITY);
    }
}
