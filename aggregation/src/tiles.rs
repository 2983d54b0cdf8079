//! The walk over the coordinates that all rules share: who reads what, in which order, into which
//! buffers.
//!
//! A vector is cut into **tiles** of [`TILE`] coordinates. A tile is computed by one thread from
//! start to end and its outcome is taken in tile order, so the schedule cannot change a result.
//! Inside a tile the updates are read in **spans** (as long as fits [`SPAN_BYTES`]): a weighted sum works on these, and
//! for everything else they are brought, checked, into a compact **block** of n rows by [`BLOCK`] coordinates that stays
//! in cache while a rule works on it. What a tile leaves behind (output, or partial distances) lies in its **slot**;
//! there are some for each thread, as far as they fit [`WINDOW_BYTES`], and a slot is used again when its tile was taken.
//!
//! # Memory
//! With n updates each thread holds
//!
//! - the span: `n * 4 * span` bytes, at most max([`SPAN_BYTES`], 1 KiB * n) = 1 MiB at n = 1024; it is
//!   not touched where the updates lie in memory as f32 anyway;
//! - the block: 1 KiB * n (1 MiB at n = 1024);
//! - one tile of the base model (16 KiB);
//!
//! and a slot is one tile of output (16 KiB; three with an optimiser's state), or the n(n-1)/2 partial
//! distances as f64 (4 MiB at n = 1024). Distances need two more sums of n(n-1)/2 f64 (8 MiB) and a
//! sorting network has at most 20,031 comparators of 12 bytes. So the whole is below 40 MiB plus 2 MiB
//! a thread at n = 1024, and at n = 32 it is 2 MiB plus 0.4 MiB a thread.
//!
//! Where [pre-aggregators](crate::pre) mix the updates there is a second block for the mixed rows, of
//! the same size at most, and the coefficients are at most n² of 10 bytes (10 MiB at n = 1024,
//! twice that between two passes, when there are no slots).

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::error::{AggregationError, Origin};
use crate::mixing::Mixing;
use crate::simd::{Op, Simd, dispatch};
use crate::source::VectorSource;
use crate::weighted::WeightedMean;

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

/// Slots per thread: enough that threads seldom wait for the slowest.
const SLOTS_PER_THREAD: usize = 8;

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

    /// Calls `work` for each span of `tile` in order, with a slice of every update and the coordinates they
    /// stand for: of the update itself where it lies in memory (then up to its end), else of `raw`. Nothing is checked.
    fn for_each_span(
        &self,
        tile: Range<usize>,
        raw: &mut [f32],
        mut work: impl FnMut(&[&[f32]], Range<usize>) -> Result<(), AggregationError>,
    ) -> Result<(), AggregationError> {
        let span = self.span();
        for start in tile.clone().step_by(span) {
            let part = start..tile.end.min(start + span);
            let mut values = Vec::with_capacity(self.sources.len());
            for ((index, source), row) in self.sources.iter().zip(raw.chunks_exact_mut(span)) {
                values.push(match source.as_slice() {
                    Some(all) => &all[start..],
                    None => {
                        let row = &mut row[..part.len()];
                        let read = source.read(start, row);
                        read.map_err(|error| error.in_update(*index))?;
                        &*row
                    }
                });
            }
            work(&values, part)?;
        }
        Ok(())
    }

    /// Calls `work` for each block of `tile` in order, with n full rows and the coordinates they
    /// stand for. Rows beyond the end of the vector are padded with zero.
    pub(crate) fn for_each_block(
        &self,
        tile: Range<usize>,
        scratch: &mut Scratch,
        mut work: impl FnMut(&mut [[f32; BLOCK]], &mut Ahead<'_>, Range<usize>),
    ) -> Result<(), AggregationError> {
        let Scratch { raw, block, mixed } = scratch;
        self.for_each_span(tile, raw, |values, part| {
            for from in (0..part.len()).step_by(BLOCK) {
                let within = from..part.len().min(from + BLOCK);
                let finite = dispatch(FillBlock {
                    values,
                    within: within.clone(),
                    block,
                });
                if !finite {
                    self.finite(values, &part)?;
                }
                let coordinates = part.start + within.start..part.start + within.end;
                let mut ahead = Ahead::new(values, within.end);
                match &self.mixing {
                    Some(mixing) => {
                        mixing.apply(block, &mut ahead, mixed);
                        work(mixed, &mut ahead, coordinates);
                    }
                    None => work(block, &mut ahead, coordinates),
                }
            }
            Ok(())
        })
    }

    /// `Σ weights[i] · update i / total` over `tile`: summed in f64 in the order of the updates and rounded to f32 once. For
    /// updates that nothing was mixed of; a weight of zero takes part, and hides nothing that is not finite.
    pub(crate) fn weighted_sum(
        &self,
        tile: Range<usize>,
        scratch: &mut Scratch,
        weights: &[f64],
        total: f64,
        out: &mut [f32],
    ) -> Result<(), AggregationError> {
        debug_assert!(self.mixing.is_none() && weights.len() == self.count());
        let begin = tile.start;
        self.for_each_span(tile, &mut scratch.raw, |values, part| {
            let finite = dispatch(WeightedMean {
                rows: values,
                weights,
                total,
                out: &mut out[part.start - begin..part.end - begin],
            });
            match finite {
                true => Ok(()),
                false => self.finite(values, &part),
            }
        })
    }

    /// The error for what is not finite in one span: the first block that has such a value, there the first update, and
    /// of that the first coordinate.
    fn finite(&self, values: &[&[f32]], part: &Range<usize>) -> Result<(), AggregationError> {
        for from in (0..part.len()).step_by(BLOCK) {
            for ((index, _), row) in self.sources.iter().zip(values) {
                let block = &row[from..part.len().min(from + BLOCK)];
                if let Some(at) = block.iter().position(|x| !x.is_finite()) {
                    return Err(AggregationError::NonFinite {
                        origin: Origin::Update(*index),
                        coordinate: part.start + from + at,
                        value: block[at],
                    });
                }
            }
        }
        Ok(())
    }
}

/// The block behind the one that is worked on. Whoever works asks for it, row after row while it computes, so that it lies
/// in cache when it is its turn: memory would stand still otherwise until the block is done, and the processor
/// until the next one is there. Rows that are read through a buffer lie in cache anyway.
pub(crate) struct Ahead<'a> {
    values: &'a [&'a [f32]],
    from: usize,
}

/// Numbers in a cache line.
pub(crate) const LINE: usize = 64 / size_of::<f32>();

impl<'a> Ahead<'a> {
    fn new(values: &'a [&'a [f32]], from: usize) -> Self {
        Self { values, from }
    }

    /// Nothing to ask for.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::new(&[], 0)
    }

    /// Asks for the next row, when there is one.
    #[inline(always)]
    pub(crate) fn next_row<S: Simd>(&mut self, simd: S) {
        if let Some((row, rest)) = self.values.split_first() {
            self.values = rest;
            let block = row.get(self.from..).unwrap_or_default();
            let block = &block[..block.len().min(BLOCK)];
            for line in block.chunks(LINE) {
                simd.prefetch(&line[0]);
            }
        }
    }

    /// Asks for the rows that are left.
    #[inline(always)]
    pub(crate) fn rest<S: Simd>(&mut self, simd: S) {
        while !self.values.is_empty() {
            self.next_row(simd);
        }
    }
}

/// The buffers through which one slot reads its inputs.
pub(crate) struct Scratch {
    raw: Vec<f32>,
    block: Vec<[f32; BLOCK]>,
    /// Empty when rows are updates.
    mixed: Vec<[f32; BLOCK]>,
}

impl Scratch {
    /// Buffers for these inputs. Of sources that lie in memory `raw` is not touched.
    pub(crate) fn new(inputs: &Inputs<'_>) -> Self {
        let n = inputs.sources.len();
        let mixed = inputs.mixing.as_ref().map_or(0, Mixing::count);
        Self {
            raw: vec![0.0; n * inputs.span()],
            block: vec![[0.0; BLOCK]; n],
            mixed: vec![[0.0; BLOCK]; mixed],
        }
    }

    /// Bytes that `new` takes.
    #[cfg(test)]
    pub(crate) fn size_bytes(inputs: &Inputs<'_>) -> usize {
        let mixed = inputs.mixing.as_ref().map_or(0, Mixing::count);
        let row = BLOCK * size_of::<f32>();
        inputs.sources.len() * (inputs.span() * size_of::<f32>() + row) + mixed * row
    }
}

/// Copies the part `within` of all rows to the front of the block's rows and zeroes the rest; `-0.0` becomes `+0.0`, so that
/// comparisons order all values. Says whether all values were finite.
struct FillBlock<'a> {
    values: &'a [&'a [f32]],
    within: Range<usize>,
    block: &'a mut [[f32; BLOCK]],
}

impl Op for FillBlock<'_> {
    type Output = bool;

    /// Plain loops, which the compiler turns into the vectors of each instruction set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        const MAGNITUDE: u32 = 0x7fff_ffff;
        const INFINITY: u32 = 0x7f80_0000;
        let mut largest = 0_u32;
        for (values, row) in self.values.iter().zip(self.block) {
            let values = &values[self.within.clone()];
            let (head, tail) = row.split_at_mut(values.len());
            for (to, &x) in head.iter_mut().zip(values) {
                largest = largest.max(x.to_bits() & MAGNITUDE);
                *to = x + 0.0;
            }
            tail.fill(0.0);
        }
        largest < INFINITY
    }
}

/// As many slots as are useful to the current thread pool and fit the memory bound.
pub(crate) fn slot_count(slot_bytes: usize) -> usize {
    slot_count_for(slot_bytes, rayon::current_num_threads())
}

fn slot_count_for(slot_bytes: usize, threads: usize) -> usize {
    (WINDOW_BYTES / slot_bytes.max(1)).clamp(1, SLOTS_PER_THREAD * threads.max(1))
}

/// Computes all tiles of a vector of `len` coordinates in parallel, and hands each finished slot to `take` in tile order.
/// See [`cifer_ordered::walk`].
///
/// # Errors
/// The error of the lowest tile that has one.
pub(crate) fn walk<S: Send>(
    len: usize,
    slots: &mut [S],
    compute: impl Fn(&mut S, Range<usize>) -> Result<(), AggregationError> + Sync,
    mut take: impl FnMut(&mut S, Range<usize>) -> Result<(), AggregationError> + Send,
) -> Result<(), AggregationError> {
    let range = |tile: usize| tile * TILE..len.min((tile + 1) * TILE);
    cifer_ordered::walk(
        len.div_ceil(TILE),
        slots,
        |slot, tile| compute(slot, range(tile)),
        |slot, tile| take(slot, range(tile)),
    )
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
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = lock().pop();
        let mut buffer = spare.unwrap_or_else(make);
        let outcome = work(&mut buffer);
        lock().push(buffer);
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
                let scratch = Scratch::size_bytes(&inputs);
                let coordinatewise = scratch + TILE * 4;
                let one = slot_count_for(TILE * 4, threads) * TILE * 4 + threads * coordinatewise;
                let two = (slot_count_for(pairs, threads) + 2) * pairs + threads * scratch;
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
    fn a_block_is_checked_padded_and_loses_its_negative_zero() {
        let fill = |values: &[f32], block: &mut [[f32; BLOCK]]| {
            let values: &[&[f32]] = &[&[0.5; 5], values];
            let within = 1..values[1].len();
            dispatch(FillBlock {
                values,
                within,
                block,
            })
        };
        let mut block = [[7.0_f32; BLOCK]; 2];
        assert!(fill(&[9.0, 1.0, -0.0, -2.5], &mut block));
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let expected = [1.0_f32.to_bits(), 0, (-2.5_f32).to_bits(), 0];
        assert_eq!(bits(&block[1][..4]), expected);
        assert_eq!(block[0][..4], [0.5, 0.5, 0.5, 0.0]);
        assert!(
            block
                .iter()
                .all(|row| row[3..].iter().all(|x| x.to_bits() == 0))
        );
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!fill(&[0.0, 0.0, f32::MAX, bad, bad], &mut block));
            // Outside of the part.
            assert!(fill(&[bad, 0.0], &mut block));
        }
        let finite = [0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45];
        assert!(fill(&finite, &mut block));
    }
}
