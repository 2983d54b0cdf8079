//! Chunks of bodies: 2048 coefficients below q as 6 bytes each, all low 32 bits first, then all high 16 bits, little endian.
//! Planar, so that adding streams through memory in whole registers.

use pulp::Arch;

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

/// Adds one chunk of each body to `sums` without reduction. False where any coefficient is not below q.
pub(super) fn accumulate<const K: usize>(
    sums: &mut [u64; DEGREE],
    chunks: [&[u8; CHUNK_BYTES]; K],
) -> bool {
    let planes = chunks.map(split);
    Arch::new().dispatch(|| {
        let mut excess = 0_u64;
        for i in 0..DEGREE {
            let mut sum = sums[i];
            for (low, high) in &planes {
                let value = u64::from(u32::from_le_bytes(low[i]))
                    | u64::from(u16::from_le_bytes(high[i])) << 32;
                // Bit 63 is set where value >= q.
                excess |= (MODULUS - 1).wrapping_sub(value);
                sum += value;
            }
            sums[i] = sum;
        }
        excess >> 63 == 0
    })
}

/// The planes as arrays, whose length the compiler knows: no access in the loops is checked.
fn split(chunk: &[u8; CHUNK_BYTES]) -> (&[[u8; 4]; DEGREE], &[[u8; 2]; DEGREE]) {
    let (low, high) = chunk.split_at(LOW);
    let planes = (
        low.as_chunks::<4>().0.first_chunk(),
        high.as_chunks::<2>().0.first_chunk(),
    );
    // The lengths are constants that add up; the other arm is for the compiler.
    if let (Some(low), Some(high)) = planes {
        (low, high)
    } else {
        (&[[0; 4]; DEGREE], &[[0; 2]; DEGREE])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_chunks_add_up_and_large_coefficients_are_seen() {
        let values: [u64; DEGREE] =
            std::array::from_fn(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % MODULUS);
        let mut chunk = [0; CHUNK_BYTES];
        store(&values, &mut chunk);
        let mut sums = [0; DEGREE];
        assert!(accumulate(&mut sums, [&chunk, &chunk, &chunk]));
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
            assert_eq!(accumulate(&mut sums, [&chunk]), good);
        }
    }
}
