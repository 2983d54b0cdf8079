//! Chunks of bodies: 2048 coefficients below q as 6 bytes each, all low 32 bits first, then all high 16 bits, little endian.
//! Planar, so that adding streams through memory in whole registers.
//!
//! # Safety
//! There is one `unsafe` block: asking for a cache line, for which Rust has no safe function. It is given a reference, reads nothing and
//! decides no result.

use pulp::{Arch, NullaryFnOnce};

use super::params::{CHUNK_BYTES, DEGREE, MODULUS};

const LOW: usize = DEGREE * 4;

/// Writes coefficients below q.
pub(super) fn store(coefficients: &[u64; DEGREE], chunk: &mut [u8; CHUNK_BYTES]) {
    let (low, high) = chunk.split_at_mut(LOW);
    let (low, high) = (low.as_chunks_mut::<4>().0, high.as_chunks_mut::<2>().0);
    Arch::new().dispatch(|| {
        for ((low, high), value) in low.iter_mut().zip(high).zip(coefficients) {
            *low = (*value as u32).to_le_bytes();
            *high = ((*value >> 32) as u16).to_le_bytes();
        }
    });
}

/// Coefficients whose planes are asked for at once.
const STRIP: usize = 64;
const STRIPS: usize = DEGREE / STRIP;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Adds one chunk of each body to `sums` without reduction, and asks the memory for the chunks in `ahead` meanwhile: the planes of
/// several bodies are more streams than the processor follows by itself. False where any coefficient is not below q.
pub(super) fn accumulate<const K: usize>(
    sums: &mut [u64; DEGREE],
    chunks: [&[u8; CHUNK_BYTES]; K],
    ahead: [&[u8; CHUNK_BYTES]; K],
) -> bool {
    Arch::new().dispatch(Accumulate {
        sums,
        planes: chunks.map(split),
        ahead: ahead.map(split),
    })
}

/// A closure would be compiled apart, for the plainest of processors, once it is this long.
struct Accumulate<'a, const K: usize> {
    sums: &'a mut [u64; DEGREE],
    planes: [Planes<'a>; K],
    ahead: [Planes<'a>; K],
}

impl<const K: usize> NullaryFnOnce for Accumulate<'_, K> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let mut excess = 0_u64;
        let (sums, _) = self.sums.as_chunks_mut::<STRIP>();
        // There are no more; the compiler is told, so that no access below is checked.
        for (strip, sums) in sums.iter_mut().enumerate().take(STRIPS) {
            for (low, high) in &self.ahead {
                low[strip].iter().step_by(LINE / 4).for_each(prefetch);
                high[strip].iter().step_by(LINE / 2).for_each(prefetch);
            }
            for i in 0..STRIP {
                let mut sum = sums[i];
                for (low, high) in &self.planes {
                    let value = u64::from(u32::from_le_bytes(low[strip][i]))
                        | u64::from(u16::from_le_bytes(high[strip][i])) << 32;
                    // Bit 63 is set where value >= q.
                    excess |= (MODULUS - 1).wrapping_sub(value);
                    sum += value;
                }
                sums[i] = sum;
            }
        }
        excess >> 63 == 0
    }
}

/// Asks for the cache line of some bytes.
#[inline(always)]
fn prefetch<const N: usize>(bytes: &[u8; N]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        #[expect(unsafe_code, reason = "there is no safe prefetch")]
        // SAFETY: part of SSE, and so of x86-64; it reads nothing and changes nothing but the caches.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(bytes).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Reduces any numbers modulo q, all lanes alike: q is so close below 2^48 that what is above folds down.
pub(super) fn reduce(sums: &mut [u64; DEGREE]) {
    Arch::new().dispatch(|| {
        for sum in sums.iter_mut() {
            // Below 2^56 after the first fold, and below 2q after the second.
            let twice = fold(fold(*sum));
            // Where nothing is to be taken off, the difference wraps around and is the larger one.
            *sum = twice.min(twice.wrapping_sub(MODULUS));
        }
    });
}

/// A smaller number that is the same modulo q.
#[inline(always)]
const fn fold(value: u64) -> u64 {
    const ABOVE: u64 = (1 << 48) - MODULUS;
    (value & ((1 << 48) - 1)) + (value >> 48) * ABOVE
}

// The bounds that `reduce` relies on: fold grows with the bits above 2^48, so its largest value is below that of all ones.
const _: () = assert!(fold(u64::MAX) < 1 << 56 && fold((1 << 56) - 1) < 2 * MODULUS);

/// Strips of one plane.
type Plane<const N: usize> = [[[u8; N]; STRIP]; STRIPS];
type Planes<'a> = (&'a Plane<4>, &'a Plane<2>);

/// The planes as arrays, whose length the compiler knows: no access in the loops is checked.
fn split(chunk: &[u8; CHUNK_BYTES]) -> Planes<'_> {
    let (low, high) = chunk.split_at(LOW);
    let planes = (
        low.as_chunks().0.as_chunks().0.first_chunk(),
        high.as_chunks().0.as_chunks().0.first_chunk(),
    );
    // The lengths are constants that add up; the other arm is for the compiler.
    if let (Some(low), Some(high)) = planes {
        (low, high)
    } else {
        (&[[[0; 4]; STRIP]; STRIPS], &[[[0; 2]; STRIP]; STRIPS])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reduction_is_that_of_division(values in prop::collection::vec(any::<u64>(), DEGREE)) {
            let mut sums: [u64; DEGREE] = values.clone().try_into().expect("as many");
            reduce(&mut sums);
            for (sum, value) in sums.iter().zip(values) {
                prop_assert_eq!(*sum, value % MODULUS);
            }
        }
    }

    #[test]
    fn reduction_is_exact_at_its_borders() {
        let around = |value: u64| [value.wrapping_sub(1), value, value.wrapping_add(1)];
        let borders = [
            0,
            MODULUS,
            2 * MODULUS,
            1000 * MODULUS,
            1 << 48,
            1 << 57,
            u64::MAX,
        ];
        let values: Vec<u64> = borders.into_iter().flat_map(around).collect();
        let mut sums = [0; DEGREE];
        sums[..values.len()].copy_from_slice(&values);
        reduce(&mut sums);
        for (sum, value) in sums.iter().zip(values) {
            assert_eq!(*sum, value % MODULUS, "{value}");
        }
    }

    #[test]
    fn stored_chunks_add_up_and_large_coefficients_are_seen() {
        let values: [u64; DEGREE] =
            std::array::from_fn(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % MODULUS);
        let mut chunk = [0; CHUNK_BYTES];
        store(&values, &mut chunk);
        let mut sums = [0; DEGREE];
        let three = [&chunk, &chunk, &chunk];
        assert!(accumulate(&mut sums, three, three));
        for (sum, value) in sums.iter().zip(values) {
            assert_eq!(*sum, 3 * value);
        }
        for (place, value, good) in [
            (0, MODULUS - 1, true),
            (DEGREE - 1, MODULUS, false),
            (5, (1 << 48) - 1, false),
        ] {
            let mut values = values;
            values[place] = value;
            store(&values, &mut chunk);
            assert_eq!(accumulate(&mut sums, [&chunk], [&chunk]), good);
        }
    }
}
