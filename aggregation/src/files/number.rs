//! The kinds of numbers in files, and their values as f32.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at a time, on the stack.
const BUFFER: usize = 16 * 1024;

/// A kind of number, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Number {
    /// IEEE-754 binary32.
    F32,
    /// binary64, rounded to the nearest f32.
    F64,
    /// binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// Integers, for weights only.
    Integer {
        /// Bytes of one: 1, 2, 4 or 8.
        size: u64,
        /// Two's complement.
        signed: bool,
    },
}

impl Number {
    /// Bytes of one number.
    pub fn size(self) -> u64 {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Integer { size, .. } => size,
        }
    }

    /// Fills `out` from the file.
    pub(super) fn read(self, file: &File, position: u64, out: &mut [f32]) -> io::Result<()> {
        let mut buffer = [0_u8; BUFFER];
        let size = self.size() as usize;
        let mut position = position;
        for part in out.chunks_mut(BUFFER / size) {
            let bytes = &mut buffer[..part.len() * size];
            file.read_exact_at(bytes, position)?;
            for (value, word) in part.iter_mut().zip(bytes.chunks_exact(size)) {
                *value = self.value(word) as f32;
            }
            position += bytes.len() as u64;
        }
        Ok(())
    }

    /// The value of one number's bytes. Exact but for integers above 2^53.
    fn value(self, word: &[u8]) -> f64 {
        let mut bytes = [0; 8];
        bytes[..word.len()].copy_from_slice(word);
        let bits = u64::from_le_bytes(bytes);
        match self {
            Self::F64 => f64::from_bits(bits),
            Self::F32 => f64::from(f32::from_bits(bits as u32)),
            Self::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
            Self::F16 => half(bits as u16),
            Self::Integer { size, signed } => {
                let unused = 64 - 8 * size as u32;
                match signed {
                    // Shifted up and back down: the sign comes along.
                    true => ((bits << unused) as i64 >> unused) as f64,
                    false => bits as f64,
                }
            }
        }
    }

    /// The value when it is a whole number from 0 to 2^53.
    pub(super) fn whole(self, word: &[u8]) -> Option<u64> {
        let value = self.value(word);
        let limit = (1_u64 << 53) as f64;
        ((0.0..=limit).contains(&value) && value.trunc() == value).then_some(value as u64)
    }
}

/// The value of a binary16.
fn half(word: u16) -> f64 {
    let (exponent, fraction) = (word >> 10 & 0x1f, f64::from(word & 0x3ff));
    let magnitude = match exponent {
        0 => fraction / f64::from(1 << 24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        // (1024 + fraction) * 2^(exponent - 25), both factors exact.
        _ => (1024.0 + fraction) * (f64::from(1_u32 << exponent) / f64::from(1_u32 << 25)),
    };
    if word >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_their_values() {
        for (word, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x03ff, 6.097_555_160_522_461e-5),
            (0x0400, 6.103_515_625e-5),
            (0x7bff, 65_504.0),
            (0x3555, 0.333_251_953_125),
            (0x7c00, f64::INFINITY),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(word), value, "{word:#x}");
        }
        assert!(half(0x7e00).is_nan());
        assert!(half(0x8000).is_sign_negative());
    }

    #[test]
    fn whole_numbers_are_told_from_others() {
        let signed = Number::Integer {
            size: 4,
            signed: true,
        };
        assert_eq!(signed.whole(&7_i32.to_le_bytes()), Some(7));
        assert_eq!(signed.whole(&(-1_i32).to_le_bytes()), None);
        let byte = Number::Integer {
            size: 1,
            signed: false,
        };
        assert_eq!(byte.whole(&[255]), Some(255));
        assert_eq!(Number::F64.whole(&3.0_f64.to_le_bytes()), Some(3));
        assert_eq!(Number::F64.whole(&3.5_f64.to_le_bytes()), None);
        assert_eq!(Number::F32.whole(&f32::NAN.to_le_bytes()), None);
        assert_eq!(Number::F64.whole(&1e300_f64.to_le_bytes()), None);
    }
}
