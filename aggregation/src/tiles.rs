//! The walk over the coordinates that all rules share: who reads what, in which order, into which
//! buffers.
//!
//! A vector is cut into **tiles** of [`TILE`] coordinates. A tile is computed by one thread from
//! start to end and its outcome is taken in tile order, so the schedule cannot change a result.
//! Inside a tile the updates are read in **spans** (as long as fits [`SPAN_BYTES`]) and brought,
//! checked, into a compact **block** of n rows by [`BLOCK`] coordinates that stays in cache while a
//! rule works on it. What a tile leaves behind (output, or partial distances) lies in its **slot**;
//! as many slots are used as fit [`WINDOW_BYTES`], and while one half of them is computed the other is
//! taken.
//!
//! # Memory
//! With n updates each thread holds
//!
//! - the span: `n * 4 * span` bytes, at most max([`SPAN_BYTES`], 1 KiB * n) = 1 MiB at n = 1024; it is
//!   not touched where the updates lie in memory as f32 anyway;
//! - the block: 1 KiB * n as f32 (1 MiB at n = 1024), twice that as f64 (for distances);
//! - one tile of the base model (16 KiB);
//!
//! and a slot is one tile of output (16 KiB; three with an optimiser's state), or the n(n-1)/2 partial
//! distances as f64 (4 MiB at n = 1024). Distances need two more sums of n(n-1)/2 f64 (8 MiB) and a
//! sorting network has at most 20,031 comparators of 12 bytes. So the whole is below 40 MiB plus 3 MiB
//! a thread at n = 1024, and at n = 32 it is 2 MiB plus 0.4 MiB a thread.
//!
//! Where [pre-aggregators](crate::pre) mix the updates there is a second block for the mixed rows, of
//! the same size at most, and the coefficients are at most n² pairs of 16 bytes (16 MiB at n = 1024,
//! twice that between two passes, when there are no slots).

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::error::{AggregationError, Origin};
use crate::mixing::Mixing;
use crate::simd::{Op, Simd, dispatch};
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

/// Slots per thread: half of them are in flight at a time, enough that threads seldom wait for the
/// slowest.
const SLOTS_PER_THREAD: usize = 32;

/// The rows of one pass: updates, checked to have the same length, with the index each is known by;
/// or mixtures of them, made while they are read.
pub(crate) struct Inputs<'a> {
    sources: Vec<(usize, &'a dyn VectorSource)>,
    mixing: Option<Mixing>,
    len: usize,
}

impl<'a> Inputs<'a> {
    /// All updates, known by their position.
    pub(crate) fn new(
        sources: impl Iterator<Item = &'a dyn VectorSource>,
    ) -> Result<Self, AggregationError> {
        let sources: Vec<_> = sources.enumerate().collect();
        if sources.len() > MAX_UPDATES {
            return Err(AggregationError::TooManyUpdates {
                count: sources.len(),
                limit: MAX_UPDATES,
            });
        }
        let expected = sources.first().map_or(0, |(_, source)| source.len());
        for (contributor, source) in &sources {
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
            sources,
            mixing: None,
            len: expected,
        })
    }

    /// The rows at these positions; updates are known by the index they had before.
    pub(crate) fn subset(&self, positions: &[usize]) -> Self {
        match &self.mixing {
            Some(mixing) => self.mixed(mixing.subset(positions)),
            None => self.sources_at(positions),
        }
    }

    /// The updates at these positions, whatever was mixed of them.
    pub(crate) fn sources_at(&self, positions: &[usize]) -> Self {
        Self {
            sources: positions.iter().map(|&p| self.sources[p]).collect(),
            mixing: None,
            len: self.len,
        }
    }

    /// Row i times `factors[i]`.
    pub(crate) fn scaled(&self, factors: &[f64]) -> Self {
        match factors.iter().all(|factor| *factor == 1.0) {
            true => self.mixed_or_plain(self.mixing.clone()),
            false => self.mixed(self.mixing().scaled(factors)),
        }
    }

    /// The means of these groups of rows; groups are ascending and not empty.
    pub(crate) fn averaged(&self, groups: &[Vec<usize>]) -> Self {
        self.mixed(self.mixing().averaged(groups, self.sources.len()))
    }

    fn mixing(&self) -> Mixing {
        let identity = || Mixing::identity(self.sources.len());
        self.mixing.clone().unwrap_or_else(identity)
    }

    fn mixed(&self, mixing: Mixing) -> Self {
        self.mixed_or_plain(Some(mixing))
    }

    fn mixed_or_plain(&self, mixing: Option<Mixing>) -> Self {
        Self {
            sources: self.sources.clone(),
            mixing,
            len: self.len,
        }
    }

    /// Number of rows.
    pub(crate) fn count(&self) -> usize {
        let mixed = self.mixing.as_ref().map(Mixing::count);
        mixed.unwrap_or(self.sources.len())
    }

    /// Whether rows are something else than updates.
    pub(crate) fn is_mixed(&self) -> bool {
        self.mixing.is_some()
    }

    /// Coefficient of every update in `Σ weights[i] · row i`.
    pub(crate) fn coefficients(&self, weights: &[f64]) -> Vec<f64> {
        match &self.mixing {
            Some(mixing) => mixing.combined(weights, self.sources.len()),
            None => weights.to_vec(),
        }
    }

    /// Indices of the updates that the rows depend on, ascending.
    pub(crate) fn support(&self) -> Vec<usize> {
        let positions = match &self.mixing {
            Some(mixing) => mixing.support(self.sources.len()),
            None => (0..self.sources.len()).collect(),
        };
        positions.into_iter().map(|p| self.sources[p].0).collect()
    }

    /// Length of each update in coordinates.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Coordinates per read: a multiple of [`BLOCK`], at most a tile.
    fn span(&self) -> usize {
        let fits = SPAN_BYTES / (size_of::<f32>() * self.sources.len());
        (fits / BLOCK * BLOCK).clamp(BLOCK, TILE)
    }

    /// Calls `work` for each block of `tile` in order, with n full rows and the coordinates they
    /// stand for. Rows beyond the end of the vector are padded with zero.
    pub(crate) fn for_each_block<T: From<f32> + Into<f64> + Copy>(
        &self,
        tile: Range<usize>,
        scratch: &mut Scratch<T>,
        mut work: impl FnMut(&mut [[T; BLOCK]], Range<usize>),
    ) -> Result<(), AggregationError> {
        let span = self.span();
        let Scratch { raw, block, mixed } = scratch;
        for start in tile.clone().step_by(span) {
            let end = tile.end.min(start + span);
            for ((index, source), row) in self.sources.iter().zip(raw.chunks_exact_mut(span)) {
                if source.as_slice().is_none() {
                    let read = source.read(start, &mut row[..end - start]);
                    read.map_err(|error| error.in_update(*index))?;
                }
            }
            for from in (start..end).step_by(BLOCK) {
                let part = from..end.min(from + BLOCK);
                for (i, (index, source)) in self.sources.iter().enumerate() {
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
                match &self.mixing {
                    Some(mixing) => {
                        mixing.apply(block, mixed);
                        work(mixed, part);
                    }
                    None => work(block, part),
                }
            }
        }
        Ok(())
    }
}

/// The buffers through which one slot reads its inputs.
pub(crate) struct Scratch<T> {
    raw: Vec<f32>,
    block: Vec<[T; BLOCK]>,
    /// Empty when rows are updates.
    mixed: Vec<[T; BLOCK]>,
}

impl<T: From<f32> + Copy> Scratch<T> {
    /// Buffers for these inputs. Of sources that lie in memory `raw` is not touched.
    pub(crate) fn new(inputs: &Inputs<'_>) -> Self {
        let n = inputs.sources.len();
        let mixed = inputs.mixing.as_ref().map_or(0, Mixing::count);
        Self {
            raw: vec![0.0; n * inputs.span()],
            block: vec![[T::from(0.0); BLOCK]; n],
            mixed: vec![[T::from(0.0); BLOCK]; mixed],
        }
    }

    /// Bytes that `new` takes.
    #[cfg(test)]
    pub(crate) fn size_bytes(inputs: &Inputs<'_>) -> usize {
        let mixed = inputs.mixing.as_ref().map_or(0, Mixing::count);
        let row = BLOCK * size_of::<T>();
        inputs.sources.len() * (inputs.span() * size_of::<f32>() + row) + mixed * row
    }
}

/// Copies `values` to the front of `row` and zeroes the rest; `-0.0` becomes `+0.0`, so that
/// comparisons order all values. `Err` holds the first position that is not finite.
fn fill_row<T: From<f32> + Copy>(values: &[f32], row: &mut [T; BLOCK]) -> Result<(), usize> {
    match dispatch(FillRow { values, row }) {
        true => Ok(()),
        false => Err(values.iter().position(|x| !x.is_finite()).unwrap_or(0)),
    }
}

/// Whether all values were finite.
struct FillRow<'a, T> {
    values: &'a [f32],
    row: &'a mut [T; BLOCK],
}

impl<T: From<f32> + Copy> Op for FillRow<'_, T> {
    type Output = bool;

    /// Plain loops, which the compiler turns into the vectors of each instruction set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        const MAGNITUDE: u32 = 0x7fff_ffff;
        const INFINITY: u32 = 0x7f80_0000;
        let (head, tail) = self.row.split_at_mut(self.values.len());
        let mut bad = 0_u32;
        for (to, &x) in head.iter_mut().zip(self.values) {
            bad |= u32::from(x.to_bits() & MAGNITUDE >= INFINITY);
            *to = T::from(x + 0.0);
        }
        tail.fill(T::from(0.0));
        bad == 0
    }
}

/// As many slots as are useful to the current thread pool and fit the memory bound.
pub(crate) fn slot_count(slot_bytes: usize) -> usize {
    slot_count_for(slot_bytes, rayon::current_num_threads())
}

fn slot_count_for(slot_bytes: usize, threads: usize) -> usize {
    (WINDOW_BYTES / slot_bytes.max(1)).clamp(1, SLOTS_PER_THREAD * threads.max(1))
}

/// Computes all tiles of a vector of `len` coordinates in parallel, and hands each finished slot to
/// `take` in tile order: one half of the slots is taken while the other half is computed.
///
/// # Errors
/// The error of the lowest tile that has one.
pub(crate) fn walk<S: Send>(
    len: usize,
    slots: &mut [S],
    compute: impl Fn(&mut S, Range<usize>) -> Result<(), AggregationError> + Sync,
    mut take: impl FnMut(&mut S, Range<usize>) -> Result<(), AggregationError> + Send,
) -> Result<(), AggregationError> {
    let tile = |first: usize, k: usize| first + k * TILE..len.min(first + (k + 1) * TILE);
    let compute_window = |window: &mut [S], first: usize| -> Vec<Result<(), AggregationError>> {
        let used = (len - first).div_ceil(TILE).min(window.len());
        window[..used]
            .par_iter_mut()
            .with_max_len(1)
            .enumerate()
            .map(|(k, slot)| compute(slot, tile(first, k)))
            .collect()
    };
    let mut take_window = |window: &mut [S], first: usize, outcomes: Vec<_>| {
        for (k, (outcome, slot)) in outcomes.into_iter().zip(window).enumerate() {
            outcome?;
            take(slot, tile(first, k))?;
        }
        Ok(())
    };

    let half = slots.len().div_ceil(2);
    // With a single slot the other half is empty, and there is nothing to overlap.
    let (mut next, mut done) = match slots.len() {
        1 => (slots, &mut [][..]),
        _ => slots.split_at_mut(half),
    };
    let (mut first, mut finished, mut outcomes) = (0, 0, Vec::new());
    while first < len {
        let start = first;
        first = len.min(first + next.len() * TILE);
        let (taken, computed) = rayon::join(
            || take_window(done, finished, outcomes),
            || compute_window(next, start),
        );
        taken?;
        match done.is_empty() {
            true => {
                take_window(next, start, computed)?;
                outcomes = Vec::new();
            }
            false => {
                outcomes = computed;
                finished = start;
                std::mem::swap(&mut next, &mut done);
            }
        }
    }
    take_window(done, finished, outcomes)
}

/// Buffers that whoever computes a tile borrows, so that there are as many as threads and not as
/// tiles in flight, and the one that was used last, which is still in cache, is used next.
pub(crate) struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Calls `work` with a buffer that nobody else has, made by `make` when there is none.
    pub(crate) fn with<R>(&self, make: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        // What lies in the pool is never looked at, so a panic elsewhere leaves nothing half done.
        let idle = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = idle().pop();
        let mut buffer = spare.unwrap_or_else(make);
        let outcome = work(&mut buffer);
        idle().push(buffer);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_stay_below_64_mib_for_every_number_of_updates() {
        let vector = vec![0.0_f32; 8];
        for n in 1..=MAX_UPDATES {
            let rows = (0..n).map(|_| &vector as &dyn VectorSource);
            let inputs = Inputs::new(rows).unwrap();
            let pairs = n * (n - 1) / 2 * 8;
            for threads in [1, 2, 8] {
                let coordinatewise = Scratch::<f32>::size_bytes(&inputs) + TILE * 4;
                let one = slot_count_for(TILE * 4, threads) * TILE * 4 + threads * coordinatewise;
                let distances = Scratch::<f64>::size_bytes(&inputs);
                let two = (slot_count_for(pairs, threads) + 2) * pairs + threads * distances;
                assert!(
                    one.max(two) < 64 << 20,
                    "n = {n}, threads = {threads}: {one}, {two}"
                );
            }
        }
    }

    #[test]
    fn tiles_are_taken_in_order_and_errors_surface_with_the_lowest_tile() {
        for (len, slots) in [
            (1, 1),
            (TILE, 4),
            (7 * TILE + 5, 1),
            (40 * TILE + 1, 3),
            (64 * TILE, 6),
        ] {
            for failing in [None, Some(0), Some(3 * TILE), Some(4 * TILE)] {
                let mut slots = vec![0..0; slots];
                let (mut end, mut seen) = (0, 0);
                let outcome = walk(
                    len,
                    &mut slots,
                    |slot, tile| {
                        *slot = tile.clone();
                        // Two tiles fail, later ones perhaps first.
                        let fails =
                            failing.is_some_and(|at| tile.start == at || tile.start == 2 * at);
                        match fails {
                            true => Err(AggregationError::ZeroWeight { count: tile.start }),
                            false => Ok(()),
                        }
                    },
                    |slot, tile| {
                        assert_eq!((slot.start, slot.clone()), (end, tile.clone()));
                        (end, seen) = (tile.end, seen + 1);
                        Ok(())
                    },
                );
                match failing.filter(|at| *at < len) {
                    None => assert_eq!((end, seen), (len, len.div_ceil(TILE))),
                    Some(at) => {
                        assert_eq!(end, at, "{len}, {failing:?}");
                        let expected = AggregationError::ZeroWeight { count: at }.to_string();
                        assert_eq!(outcome.unwrap_err().to_string(), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_pool_has_as_many_buffers_as_were_used_at_once() {
        let pool = Pool::new();
        let used = pool.with(|| vec![1], |a| pool.with(|| vec![2], |b| [a[0], b[0]]));
        assert_eq!(used, [1, 2]);
        // The one that came back last is warm, and nothing new is made.
        assert_eq!(pool.with(Vec::new, |a| a.clone()), [1]);
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
