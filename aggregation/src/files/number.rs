//! The kinds of numbers in files, and their values as f32.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::encoding::{bf16_to_f32, f16_to_f32};

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

    /// The value of one number's bytes, exactly; of integers the nearest f64.
    fn value(self, word: &[u8]) -> f64 {
        let bits = bits(word);
        match self {
            Self::F64 => f64::from_bits(bits),
            Self::F32 => f64::from(f32::from_bits(bits as u32)),
            Self::Bf16 => f64::from(bf16_to_f32([word[0], word[1]])),
            Self::F16 => f64::from(f16_to_f32([word[0], word[1]])),
            Self::Integer { size, signed } => match signed {
                true => sign_extended(bits, size) as f64,
                false => bits as f64,
            },
        }
    }

    /// The value when it is a whole number from 0 to 2^53.
    pub(super) fn whole(self, word: &[u8]) -> Option<u64> {
        if let Self::Integer { size, signed } = self {
            let bits = bits(word);
            let negative = signed && sign_extended(bits, size) < 0;
            return (!negative && bits <= MAX_WHOLE).then_some(bits);
        }
        let value = self.value(word);
        let whole = (0.0..=MAX_WHOLE as f64).contains(&value) && value.trunc() == value;
        whole.then_some(value as u64)
    }
}

/// Up to here every integer is an f64.
const MAX_WHOLE: u64 = 1 << 53;

/// Little endian, at most eight bytes.
fn bits(word: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..word.len()].copy_from_slice(word);
    u64::from_le_bytes(bytes)
}

/// Shifted up and back down: the sign comes along.
const fn sign_extended(bits: u64, size: u64) -> i64 {
    let unused = 64 - 8 * size as u32;
    (bits << unused) as i64 >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let long = Number::Integer {
            size: 8,
            signed: false,
        };
        let limit = 1_u64 << 53;
        assert_eq!(long.whole(&limit.to_le_bytes()), Some(limit));
        // As an f64 this is 2^53.
        assert_eq!(long.whole(&(limit + 1).to_le_bytes()), None);
        assert_eq!(Number::F64.whole(&3.0_f64.to_le_bytes()), Some(3));
        assert_eq!(Number::F64.whole(&3.5_f64.to_le_bytes()), None);
        assert_eq!(Number::F32.whole(&f32::NAN.to_le_bytes()), None);
        assert_eq!(Number::F64.whole(&1e300_f64.to_le_bytes()), None);
    }
}
