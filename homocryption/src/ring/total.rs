//! Sums of bodies, and what they open to under the sum of the keys. Public computations: bit-identical for everybody.

use std::io::Write;

use rayon::prelude::*;

use super::body::{Bodies, BodyHeader};
use super::context::GroupContext;
use super::error::RingError;
use super::key::KeySum;
use super::layout::Layout;
use super::mask::{Mask, MaskScratch};
use super::params::{CHUNK_BYTES, DEGREE, MODULUS};
use super::planes;
use super::quantise::Scale;
use super::transform::KeyTransform;

/// Chunks that one thread adds and writes at once, at most: 96 KiB of the result, which stay in its cache.
const PIECE_CHUNKS: usize = 8;
/// Pieces that are added or wait to be written, for each thread.
const SLOTS_PER_THREAD: usize = 2;
/// Chunks that are opened at once: their values are 2 to 3 MB.
const OPENED_CHUNKS: usize = 64;

/// Adds bodies (of contributors, or sums of them) and writes the body of the sum, on threads of rayon's pool: a sink that waits for
/// somebody holds up one of them, and it must not use the pool itself.
///
/// # Errors
/// [`RingError::Mismatch`], [`RingError::TooManyBodies`], a coefficient that is not below q, and I/O.
pub fn sum_bodies(
    bodies: &mut impl Bodies,
    mut sink: impl Write + Send,
) -> Result<BodyHeader, RingError> {
    let header = BodyHeader::sum(bodies.headers())?;
    sink.write_all(&header.to_bytes())?;
    let threads = rayon::current_num_threads();
    let mut slots = vec![Vec::new(); SLOTS_PER_THREAD * threads];
    let mut chunk = 0;
    while chunk < header.chunks() {
        let count = (header.chunks() - chunk).min(bodies.batch() as u64) as usize;
        let chunks = bodies.next(count)?;
        let piece_chunks = (count / (4 * threads)).clamp(1, PIECE_CHUNKS);
        cifer_ordered::walk(
            count.div_ceil(piece_chunks),
            &mut slots,
            |slot, piece| {
                slot.clear();
                for place in piece * piece_chunks..count.min((piece + 1) * piece_chunks) {
                    let (mut sums, mut output) = ([0; DEGREE], [0; CHUNK_BYTES]);
                    add(&chunks, place, &mut sums)?;
                    planes::reduce(&mut sums);
                    planes::store(&sums, &mut output);
                    slot.push(output);
                }
                Ok(())
            },
            |slot, _| Ok::<_, RingError>(sink.write_all(slot.as_flattened())?),
        )?;
        chunk += count as u64;
    }
    bodies.finish()?;
    Ok(header)
}

/// Adds chunk `place` of every body to `sums`, which stay below 2^48 times the largest cohort.
fn add(
    bodies: &[&[[u8; CHUNK_BYTES]]],
    place: usize,
    sums: &mut [u64; DEGREE],
) -> Result<(), RingError> {
    let (fours, rest) = bodies.as_chunks::<4>();
    let last = 4 * fours.len();
    let mut canonical = true;
    for (index, four) in fours.iter().enumerate() {
        canonical &= add_some(bodies, 4 * index, *four, place, sums);
    }
    canonical &= match *rest {
        [a] => add_some(bodies, last, [a], place, sums),
        [a, b] => add_some(bodies, last, [a, b], place, sums),
        [a, b, c] => add_some(bodies, last, [a, b, c], place, sums),
        _ => true,
    };
    if canonical {
        Ok(())
    } else {
        Err(RingError::malformed(
            "body",
            "a coefficient is not below the modulus",
        ))
    }
}

/// Adds chunk `place` of `some`, which are those from `first` on. The chunks whose turn comes four later are asked for meanwhile.
fn add_some<const K: usize>(
    bodies: &[&[[u8; CHUNK_BYTES]]],
    first: usize,
    some: [&[[u8; CHUNK_BYTES]]; K],
    place: usize,
    sums: &mut [u64; DEGREE],
) -> bool {
    let chunks = some.map(|body| &body[place]);
    let ahead = std::array::from_fn(|k| {
        let turn = first + k + 4;
        let body = bodies[turn % bodies.len()];
        body.get(place + turn / bodies.len()).unwrap_or(chunks[k])
    });
    planes::accumulate(sums, chunks, ahead)
}

/// Opens the sum of `bodies`, and writes the sum of each value (u64, little endian).
///
/// # Errors
/// [`RingError::Mismatch`] where the key sum is not of this group's number of bodies or the bodies are not of this group,
/// [`RingError::Spoiled`] where the sum is none of honest bodies, and those of [`sum_bodies`].
pub fn open_sum(
    group: &GroupContext,
    key: &KeySum,
    bodies: &mut impl Bodies,
    mut sink: impl Write,
) -> Result<BodyHeader, RingError> {
    let mut bytes = Vec::new();
    open_with(group, key, bodies, |_, sums| {
        bytes.clear();
        bytes.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
        Ok(sink.write_all(&bytes)?)
    })
}

/// Opens the sum of `bodies`, and writes the (weighted) mean of each value (f32, little endian).
///
/// # Errors
/// See [`open_sum`]; also [`RingError::Mismatch`] where the bodies were not made with `scale`.
pub fn open_mean(
    group: &GroupContext,
    key: &KeySum,
    scale: &Scale,
    bodies: &mut impl Bodies,
    mut sink: impl Write,
) -> Result<BodyHeader, RingError> {
    let header = BodyHeader::sum(bodies.headers())?;
    if (header.layout.value_max(), header.weighted) != (scale.value_max(), scale.is_weighted()) {
        return Err(RingError::Mismatch {
            field: "largest value or weight",
            left: "bodies".to_owned(),
            right: "scale".to_owned(),
        });
    }
    let mut weights = u64::from(header.summed);
    let mut bytes = Vec::new();
    open_with(group, key, bodies, |start, mut sums| {
        if start == 0 && scale.is_weighted() {
            weights = sums[0];
            if !scale.weights(header.summed).contains(&weights) {
                return Err(RingError::Spoiled { index: 0 });
            }
            sums = &sums[1..];
        }
        bytes.clear();
        for (place, sum) in sums.iter().enumerate() {
            let mean = scale.mean(*sum, weights);
            let mean = mean.ok_or(RingError::Spoiled {
                index: start + place as u64,
            })?;
            bytes.extend_from_slice(&mean.to_le_bytes());
        }
        Ok(sink.write_all(&bytes)?)
    })
}

/// Hands the opened slots to `take` in order, each time with the index of the first.
fn open_with(
    group: &GroupContext,
    key: &KeySum,
    bodies: &mut impl Bodies,
    mut take: impl FnMut(u64, &[u64]) -> Result<(), RingError>,
) -> Result<BodyHeader, RingError> {
    let header = BodyHeader::sum(bodies.headers())?;
    let opener = Opener::new(group, key, &header)?;
    let length = header.layout.chunk_values();
    let batch = bodies.batch().min(OPENED_CHUNKS);
    let mut slots = vec![0; length * batch];
    let mut chunk = 0;
    while chunk < header.chunks() {
        let count = (header.chunks() - chunk).min(batch as u64) as usize;
        let chunks = bodies.next(count)?;
        slots[..count * length]
            .par_chunks_exact_mut(length)
            .enumerate()
            .try_for_each_init(OpenScratch::new, |scratch, (place, slots)| {
                scratch.sums.fill(0);
                add(&chunks, place, &mut scratch.sums)?;
                opener.chunk(chunk + place as u64, scratch, slots)
            })?;
        let start = chunk * length as u64;
        let used = (header.used() - start).min((count * length) as u64) as usize;
        let padding = &slots[used..count * length];
        if let Some(place) = padding.iter().position(|slot| *slot != 0) {
            return Err(RingError::Spoiled {
                index: start + (used + place) as u64,
            });
        }
        take(start, &slots[..used])?;
        chunk += count as u64;
    }
    bodies.finish()?;
    Ok(header)
}

struct Opener {
    layout: Layout,
    limit: u64,
    mask: Mask,
    key: KeyTransform,
}

struct OpenScratch {
    mask: MaskScratch,
    product: Box<[u64; DEGREE]>,
    sums: Box<[u64; DEGREE]>,
}

impl OpenScratch {
    fn new() -> Self {
        Self {
            mask: MaskScratch::new(),
            product: Box::new([0; DEGREE]),
            sums: Box::new([0; DEGREE]),
        }
    }
}

impl Opener {
    fn new(group: &GroupContext, key: &KeySum, header: &BodyHeader) -> Result<Self, RingError> {
        if group.digest() != header.group {
            return Err(RingError::Mismatch {
                field: "group",
                left: "bodies".to_owned(),
                right: "the group to open".to_owned(),
            });
        }
        if key.contributors != header.summed {
            return Err(RingError::Mismatch {
                field: "number of contributors",
                left: format!("key sum ({})", key.contributors),
                right: format!("sum of bodies ({})", header.summed),
            });
        }
        let limit = u64::from(header.summed) * u64::from(header.layout.value_max());
        Ok(Self {
            layout: header.layout,
            limit,
            mask: Mask::new(group),
            key: KeyTransform::of(&key.coefficients),
        })
    }

    /// The slots of chunk `index` from the sum of its coefficients.
    fn chunk(
        &self,
        index: u64,
        scratch: &mut OpenScratch,
        slots: &mut [u64],
    ) -> Result<(), RingError> {
        self.mask.chunk(index, &mut scratch.mask);
        self.key
            .product(&mut scratch.mask.residues, &mut scratch.product);
        let (modulus, spread, radix) = (
            Divisor::new(MODULUS),
            Divisor::new(self.layout.spread()),
            Divisor::new(self.layout.radix()),
        );
        let offset = MODULUS + self.layout.half();
        let mut good = true;
        for (i, (sum, product)) in scratch.sums.iter().zip(&scratch.product[..]).enumerate() {
            let (_, centred) = modulus.divide(sum + offset - product);
            let (mut rest, _) = spread.divide(centred);
            for slot in 0..self.layout.slots() {
                let (next, digit) = radix.divide(rest);
                slots[slot * DEGREE + i] = digit;
                good &= digit <= self.limit;
                rest = next;
            }
            good &= rest == 0;
        }
        if good {
            Ok(())
        } else {
            Err(RingError::Spoiled {
                index: index * slots.len() as u64,
            })
        }
    }
}

/// Division by a number that is not known at compile time, by its reciprocal.
struct Divisor {
    divisor: u64,
    reciprocal: u64,
}

impl Divisor {
    const fn new(divisor: u64) -> Self {
        Self {
            divisor,
            reciprocal: u64::MAX / divisor,
        }
    }

    /// Quotient and remainder.
    #[inline(always)]
    fn divide(&self, value: u64) -> (u64, u64) {
        // The reciprocal is at most one unit short, so the estimate is at most one short.
        let quotient = ((u128::from(value) * u128::from(self.reciprocal)) >> 64) as u64;
        let rest = value - quotient * self.divisor;
        let short = u64::from(rest >= self.divisor);
        (quotient + short, rest - short * self.divisor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn division_is_exact(value in any::<u64>(), divisor in 2_u64..) {
            let found = Divisor::new(divisor).divide(value);
            prop_assert_eq!(found, (value / divisor, value % divisor));
        }

        #[test]
        fn division_is_exact_at_multiples(factor in 0_u64..1 << 30, divisor in 2_u64..1 << 34, off in 0_u64..3) {
            let value = (factor * divisor + off).saturating_sub(1);
            let found = Divisor::new(divisor).divide(value);
            prop_assert_eq!(found, (value / divisor, value % divisor));
        }
    }
}
