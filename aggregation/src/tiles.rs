//! The walk over the coordinates that all rules share: who reads what, in which order, into which
//! buffers.
//!
//! A vector is cut into **tiles** of [`TILE`] coordinates. A tile is computed by one thread from
//! start to end and its outcome is taken in tile order, so the schedule cannot change a result.
//! Inside a tile the updates are read in **spans** (as long as fits [`SPAN_BYTES`]) and brought,
//! checked, into a compact **block** of n rows by [`BLOCK`] coordinates that stays in cache while a
//! rule works on it. A window of tiles is in flight at a time, one **slot** of buffers each.
//!
//! # Memory
//! With n updates a slot holds
//!
//! - the span: `n * 4 * span` bytes, at most max([`SPAN_BYTES`], 1 KiB * n) = 1 MiB at n = 1024;
//! - the block: 1 KiB * n as f32 (1 MiB at n = 1024), twice that as f64 (for distances);
//! - either one tile of output and one of the base model (32 KiB), or the n(n-1)/2 partial
//!   distances as f64 (4 MiB at n = 1024).
//!
//! That is 2 MiB a slot for coordinate-wise rules and 7 MiB for distances at n = 1024, and as many
//! slots are used as fit [`WINDOW_BYTES`] = 32 MiB. Distances need two more sums of n(n-1)/2 f64 (8
//! MiB) and a sorting network has at most 24,063 comparators of 12 bytes, so the whole stays near
//! 40 MiB.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{AggregationError, Origin};
use crate::source::VectorSource;

/// Most updates that one aggregation takes: the buffers are laid out for it, and the n² distances
/// of a round stay small.
pub const MAX_UPDATES: usize = 1024;

/// Coordinates of the unit of work, of output and of reduction.
pub const TILE: usize = 4096;

/// Coordinates that a rule works on at once: 16 rows of it are 16 KiB, half of a small L1 cache.
pub(crate) const BLOCK: usize = 256;

/// Bytes of all spans of one slot, unless n updates of one block are more: half of a small L2.
const SPAN_BYTES: usize = 256 * 1024;

/// Bytes of all slots together.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// Slots per thread: enough that threads seldom wait for the slowest of a window, few enough that
/// the buffers stay in cache.
const SLOTS_PER_THREAD: usize = 4;

/// The updates of one pass, checked to have the same length, with the index each is known by.
pub(crate) struct Inputs<'a> {
    rows: Vec<(usize, &'a dyn VectorSource)>,
    len: usize,
}

impl<'a> Inputs<'a> {
    /// All updates, known by their position.
    pub(crate) fn new(
        sources: impl Iterator<Item = &'a dyn VectorSource>,
    ) -> Result<Self, AggregationError> {
        let rows: Vec<_> = sources.enumerate().collect();
        if rows.len() > MAX_UPDATES {
            return Err(AggregationError::TooManyUpdates {
                count: rows.len(),
                limit: MAX_UPDATES,
            });
        }
        let expected = rows.first().map_or(0, |(_, source)| source.len());
        for (contributor, source) in &rows {
            if source.len() != expected {
                let (contributor, len) = (*contributor, source.len());
                return Err(AggregationError::LengthMismatch {
                    contributor,
                    len,
                    expected,
                });
            }
        }
        if expected == 0 {
            return Err(AggregationError::Empty);
        }
        Ok(Self {
            rows,
            len: expected,
        })
    }

    /// The updates at these positions, known by the index they had before.
    pub(crate) fn subset(&self, positions: &[usize]) -> Self {
        Self {
            rows: positions.iter().map(|&p| self.rows[p]).collect(),
            len: self.len,
        }
    }

    /// Number of updates.
    pub(crate) fn count(&self) -> usize {
        self.rows.len()
    }

    /// Length of each update in coordinates.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Coordinates per read: a multiple of [`BLOCK`], at most a tile.
    fn span(&self) -> usize {
        let fits = SPAN_BYTES / (size_of::<f32>() * self.count());
        (fits / BLOCK * BLOCK).clamp(BLOCK, TILE)
    }

    /// Calls `work` for each block of `tile` in order, with n full rows and the coordinates they
    /// stand for. Rows beyond the end of the vector are padded with zero.
    pub(crate) fn for_each_block<T: From<f32> + Copy>(
        &self,
        tile: Range<usize>,
        scratch: &mut Scratch<T>,
        mut work: impl FnMut(&mut [[T; BLOCK]], Range<usize>),
    ) -> Result<(), AggregationError> {
        let span = self.span();
        let Scratch { raw, block } = scratch;
        for start in tile.clone().step_by(span) {
            let end = tile.end.min(start + span);
            for ((_, source), row) in self.rows.iter().zip(raw.chunks_exact_mut(span)) {
                if source.as_slice().is_none() {
                    source.read(start, &mut row[..end - start])?;
                }
            }
            for from in (start..end).step_by(BLOCK) {
                let part = from..end.min(from + BLOCK);
                for (i, (index, source)) in self.rows.iter().enumerate() {
                    let values = match source.as_slice() {
                        Some(all) => &all[part.clone()],
                        None => &raw[i * span + from - start..][..part.len()],
                    };
                    fill_row(values, &mut block[i]).map_err(|at| AggregationError::NonFinite {
                        origin: Origin::Update(*index),
                        coordinate: from + at,
                        value: values[at],
                    })?;
                }
                work(block, part);
            }
        }
        Ok(())
    }
}

/// The buffers through which one slot reads its inputs.
pub(crate) struct Scratch<T> {
    raw: Vec<f32>,
    block: Vec<[T; BLOCK]>,
}

impl<T: From<f32> + Copy> Scratch<T> {
    /// Buffers for these inputs. Memory in which a source already lies is not reserved again.
    pub(crate) fn new(inputs: &Inputs<'_>) -> Self {
        let n = inputs.count();
        Self {
            raw: vec![0.0; n * inputs.span()],
            block: vec![[T::from(0.0); BLOCK]; n],
        }
    }

    /// Bytes that `new` takes.
    pub(crate) fn size_bytes(inputs: &Inputs<'_>) -> usize {
        inputs.count() * (inputs.span() * size_of::<f32>() + BLOCK * size_of::<T>())
    }
}

/// Copies `values` to the front of `row` and zeroes the rest; `-0.0` becomes `+0.0`, so that
/// comparisons order all values. `Err` holds the first position that is not finite.
fn fill_row<T: From<f32> + Copy>(values: &[f32], row: &mut [T; BLOCK]) -> Result<(), usize> {
    const MAGNITUDE: u32 = 0x7fff_ffff;
    const INFINITY: u32 = 0x7f80_0000;
    let (head, tail) = row.split_at_mut(values.len());
    let mut bad = 0_u32;
    for (to, &x) in head.iter_mut().zip(values) {
        bad |= u32::from(x.to_bits() & MAGNITUDE >= INFINITY);
        *to = T::from(x + 0.0);
    }
    tail.fill(T::from(0.0));
    match bad {
        0 => Ok(()),
        _ => Err(values.iter().position(|x| !x.is_finite()).unwrap_or(0)),
    }
}

/// As many slots as are useful to the current thread pool and fit the memory bound.
pub(crate) fn slot_count(slot_bytes: usize) -> usize {
    slot_count_for(slot_bytes, rayon::current_num_threads())
}

fn slot_count_for(slot_bytes: usize, threads: usize) -> usize {
    (WINDOW_BYTES / slot_bytes.max(1)).clamp(1, SLOTS_PER_THREAD * threads.max(1))
}

/// Computes all tiles of a vector of `len` coordinates, `slots.len()` at a time in parallel, and
/// hands each finished slot to `take` in tile order.
///
/// # Errors
/// The error of the lowest tile that has one.
pub(crate) fn walk<S: Send>(
    len: usize,
    slots: &mut [S],
    compute: impl Fn(&mut S, Range<usize>) -> Result<(), AggregationError> + Sync,
    mut take: impl FnMut(&mut S, Range<usize>) -> Result<(), AggregationError>,
) -> Result<(), AggregationError> {
    let window = slots.len() * TILE;
    for first in (0..len).step_by(window) {
        let tile = |k: usize| first + k * TILE..len.min(first + (k + 1) * TILE);
        let used = (len - first).div_ceil(TILE).min(slots.len());
        let outcomes: Vec<Result<(), AggregationError>> = slots[..used]
            .par_iter_mut()
            .with_max_len(1)
            .enumerate()
            .map(|(k, slot)| compute(slot, tile(k)))
            .collect();
        for (k, (outcome, slot)) in outcomes.into_iter().zip(slots.iter_mut()).enumerate() {
            outcome?;
            take(slot, tile(k))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_stay_below_64_mib_for_every_number_of_updates_and_threads() {
        let vector = vec![0.0_f32; 8];
        for n in 1..=MAX_UPDATES {
            let rows = (0..n).map(|_| &vector as &dyn VectorSource);
            let inputs = Inputs::new(rows).unwrap();
            let pairs = n * (n - 1) / 2 * 8;
            let coordinatewise = Scratch::<f32>::size_bytes(&inputs) + 2 * TILE * 4;
            let distances = Scratch::<f64>::size_bytes(&inputs) + pairs;
            for threads in [1, 2, 16, 512] {
                let one = slot_count_for(coordinatewise, threads) * coordinatewise;
                let two = slot_count_for(distances, threads) * distances + 2 * pairs;
                assert!(
                    one.max(two) < 64 << 20,
                    "n = {n}, threads = {threads}: {one}, {two}"
                );
            }
        }
    }

    #[test]
    fn a_row_is_checked_padded_and_loses_its_negative_zero() {
        let mut row = [7.0_f32; BLOCK];
        fill_row(&[1.0, -0.0, -2.5], &mut row).unwrap();
        assert_eq!(
            row[..4].iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            [1.0_f32.to_bits(), 0, (-2.5_f32).to_bits(), 0]
        );
        assert!(row[3..].iter().all(|x| x.to_bits() == 0));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(fill_row(&[0.0, f32::MAX, bad, bad], &mut row), Err(2));
        }
        assert_eq!(
            fill_row(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45], &mut row),
            Ok(())
        );
    }
}
