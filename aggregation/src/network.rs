//! Selection networks: sorting rows against each other, coordinate by coordinate.
//!
//! A sorting network is a fixed list of comparators, so the same minimum and maximum can be taken
//! over whole vectors at once, and no branch depends on data. The list is Batcher's odd-even merge
//! sort (Batcher 1968; Knuth, TAOCP 3, 5.2.2 and 5.3.4): networks of a power of two of rows, without the
//! comparators that touch rows beyond the last (as if those held the largest values, which such
//! comparators leave where they are). Up to [`GROUP`] rows are sorted in registers, one unrolled
//! kernel for each size. More rows are first sorted in such groups and then merged by a list of comparators, without
//! those that no wanted rank depends on.
//!
//! The order of n numbers is unique, so a network cannot change a result: only the time.

use std::ops::Range;

use crate::simd::{Op, Simd, dispatch};
use crate::tiles::{Ahead, BLOCK};

/// Most rows that are sorted in registers: as many as AVX2 has.
const GROUP: usize = 16;

/// Comparators of the network for [`GROUP`] rows.
const GROUP_COMPARATORS: usize = 63;

/// Which outputs of a comparator something later depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Both,
    Low,
    High,
}

#[derive(Clone, Copy, Debug)]
struct Comparator {
    low: u32,
    high: u32,
    keep: Keep,
}

/// What is made of the sorted values of every coordinate.
pub(crate) trait Finish {
    /// Whether the ranks that [`of`](Self::of) asks for follow from `n` alone. Then the compiler knows them: values stay in
    /// registers, and what nothing depends on is not computed.
    const KNOWN_RANKS: bool;

    /// One value for some coordinates; `rank(0)` to `rank(n - 1)` are theirs in ascending order, those that are wanted.
    fn of<S: Simd>(&self, simd: S, n: usize, rank: impl Fn(usize) -> S::F32) -> S::F32;
}

/// Brings the wanted ranks of n rows into their places; the other rows end up unspecified.
#[derive(Debug)]
pub(crate) struct SelectionNetwork {
    /// What remains after groups of [`GROUP`] rows have been sorted.
    merges: Vec<Comparator>,
}

impl SelectionNetwork {
    /// A network for `n` rows that puts the ranks `wanted` (0 is the smallest) where they belong.
    pub(crate) fn new(n: usize, wanted: Range<usize>) -> Self {
        let mut live = vec![false; n];
        live[wanted].fill(true);
        let mut merges = Vec::new();
        for (low, high) in merges_above(GROUP, n).into_iter().rev() {
            let keep = match (live[low], live[high]) {
                (false, false) => continue,
                (true, true) => Keep::Both,
                (true, false) => Keep::Low,
                (false, true) => Keep::High,
            };
            live[low] = true;
            live[high] = true;
            merges.push(Comparator {
                low: low as u32,
                high: high as u32,
                keep,
            });
        }
        merges.reverse();
        Self { merges }
    }

    /// Runs the network on `rows`, every coordinate on its own.
    ///
    /// Values must be ordered by `<` alone: no NaN, no negative zero.
    pub(crate) fn sort(&self, rows: &mut [[f32; BLOCK]], ahead: &mut Ahead<'_>) {
        for group in rows.chunks_mut(GROUP) {
            dispatch(SortGroup(group, ahead, Keeping));
        }
        if !self.merges.is_empty() {
            dispatch(Merge(&self.merges, rows));
        }
    }

    /// The same, and then `finish` of every coordinate. Leaves `rows` unspecified.
    pub(crate) fn finish<F: Finish>(
        &self,
        rows: &mut [[f32; BLOCK]],
        ahead: &mut Ahead<'_>,
        finish: F,
        out: &mut [f32; BLOCK],
    ) {
        match rows.len() {
            ..=GROUP => dispatch(SortGroup(rows, ahead, Finishing(finish, out))),
            _ => {
                self.sort(rows, ahead);
                dispatch(FinishRows(rows, finish, out));
            }
        }
    }
}

/// Batcher's odd-even merges of sorted runs of `run` rows (a power of two) until all `n` are one.
fn merges_above(run: usize, n: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut p = run;
    while p < n {
        merge_runs(p, n, |low, high| pairs.push((low, high)));
        p *= 2;
    }
    pairs
}

/// Merges neighbouring sorted runs of `p` rows.
fn merge_runs(p: usize, n: usize, mut comparator: impl FnMut(usize, usize)) {
    let mut k = p;
    while k > 0 {
        for j in (k % p..n.saturating_sub(k)).step_by(2 * k) {
            for i in j..(j + k).min(n - k) {
                // Only within one pair of runs.
                if i / (2 * p) == (i + k) / (2 * p) {
                    comparator(i, i + k);
                }
            }
        }
        k /= 2;
    }
}

/// The network for up to [`GROUP`] rows as constants, so that a kernel can be unrolled from it.
struct Unrolled<const N: usize>;

impl<const N: usize> Unrolled<N> {
    /// The comparators and how many of them there are.
    const NETWORK: ([(usize, usize); GROUP_COMPARATORS], usize) = {
        let mut list = [(0, 0); GROUP_COMPARATORS];
        let mut count = 0;
        let mut p = 1;
        while p < N {
            let mut k = p;
            while k > 0 {
                // The pairs of `merge_runs`; constants have neither iterators nor closures.
                let mut i = k % p;
                while i + k < N {
                    let in_first_half = (i - k % p) % (2 * k) < k;
                    if in_first_half && i / (2 * p) == (i + k) / (2 * p) {
                        list[count] = (i, i + k);
                        count += 1;
                    }
                    i += 1;
                }
                k /= 2;
            }
            p *= 2;
        }
        (list, count)
    };
}

/// What happens to the sorted columns of at most [`GROUP`] rows; `aside` is memory for as many values.
trait Sorted {
    fn take<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        rows: &mut [[f32; BLOCK]; N],
        column: usize,
        values: [S::F32; N],
        aside: &mut [S::F32; N],
    );
}

/// They become the rows.
struct Keeping;

impl Sorted for Keeping {
    #[inline(always)]
    fn take<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        rows: &mut [[f32; BLOCK]; N],
        column: usize,
        values: [S::F32; N],
        _: &mut [S::F32; N],
    ) {
        for (row, sorted) in rows.iter_mut().zip(values) {
            simd.f32s_mut(row)[column] = sorted;
        }
    }
}

/// Something is made of them.
struct Finishing<'a, F>(F, &'a mut [f32; BLOCK]);

impl<F: Finish> Sorted for Finishing<'_, F> {
    #[inline(always)]
    fn take<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        _: &mut [[f32; BLOCK]; N],
        column: usize,
        values: [S::F32; N],
        aside: &mut [S::F32; N],
    ) {
        let Self(finish, out) = self;
        simd.f32s_mut(out)[column] = match F::KNOWN_RANKS {
            true => finish.of(simd, N, |rank| values[rank]),
            false => {
                // An array that is indexed by a variable lies in memory, and would while it is sorted.
                for (aside, value) in aside.iter_mut().zip(values) {
                    *aside = value;
                }
                finish.of(simd, N, |rank| aside[rank])
            }
        };
    }
}

/// Sorts at most [`GROUP`] rows completely.
struct SortGroup<'a, 'v, T>(&'a mut [[f32; BLOCK]], &'a mut Ahead<'v>, T);

impl<T: Sorted> Op for SortGroup<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(rows, ahead, sorted) = self;
        macro_rules! sizes {
            ($($n:literal)*) => {
                match rows.len() {
                    $($n => sort::<S, T, $n>(simd, rows.first_chunk_mut(), ahead, sorted),)*
                    _ => {}
                }
            };
        }
        sizes!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }
}

#[inline(always)]
fn sort<S: Simd, T: Sorted, const N: usize>(
    simd: S,
    rows: Option<&mut [[f32; BLOCK]; N]>,
    ahead: &mut Ahead<'_>,
    mut sorted: T,
) {
    let Some(rows) = rows else { return };
    let columns = simd.f32s(&rows[0]).len();
    let mut aside = [simd.splat(0.0); N];
    for c in 0..columns {
        if c % (columns / GROUP) == 0 {
            ahead.next_row(simd);
        }
        let mut v: [S::F32; N] = std::array::from_fn(|i| simd.f32s(&rows[i])[c]);
        macro_rules! comparators {
            ($($at:literal)*) => {$(
                if const { $at < Unrolled::<N>::NETWORK.1 } {
                    let (low, high) = const { Unrolled::<N>::NETWORK.0[$at] };
                    (v[low], v[high]) = (simd.min(v[low], v[high]), simd.max(v[low], v[high]));
                }
            )*};
        }
        comparators!(
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
            32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60
            61 62
        );
        sorted.take(simd, rows, c, v, &mut aside);
    }
}

/// `finish` of sorted rows.
struct FinishRows<'a, F>(&'a [[f32; BLOCK]], F, &'a mut [f32; BLOCK]);

impl<F: Finish> Op for FinishRows<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(rows, finish, out) = self;
        for (c, out) in simd.f32s_mut(out).iter_mut().enumerate() {
            *out = finish.of(simd, rows.len(), |rank| simd.f32s(&rows[rank])[c]);
        }
    }
}

/// Runs comparators over whole rows.
struct Merge<'a>(&'a [Comparator], &'a mut [[f32; BLOCK]]);

impl Op for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for comparator in self.0 {
            let (head, tail) = self.1.split_at_mut(comparator.high as usize);
            let low = simd.f32s_mut(&mut head[comparator.low as usize]);
            let high = simd.f32s_mut(&mut tail[0]);
            match comparator.keep {
                Keep::Both => {
                    for (low, high) in low.iter_mut().zip(high) {
                        (*low, *high) = (simd.min(*low, *high), simd.max(*low, *high));
                    }
                }
                Keep::Low => {
                    for (low, high) in low.iter_mut().zip(high) {
                        *low = simd.min(*low, *high);
                    }
                }
                Keep::High => {
                    for (low, high) in low.iter().zip(high) {
                        *high = simd.max(*low, *high);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of one rank.
    struct Pick(usize);

    impl Finish for Pick {
        const KNOWN_RANKS: bool = false;

        #[inline(always)]
        fn of<S: Simd>(&self, _: S, _: usize, rank: impl Fn(usize) -> S::F32) -> S::F32 {
            rank(self.0)
        }
    }

    /// By the zero-one principle a network that sorts all vectors of zeros and ones sorts everything.
    #[test]
    fn every_network_selects_all_zero_one_vectors() {
        for n in 1..=16_usize {
            for wanted in [
                0..n,
                n / 2..n / 2 + 1,
                (n - 1) / 2..n / 2 + 1,
                n / 4..n - n / 4,
            ] {
                let network = SelectionNetwork::new(n, wanted.clone());
                for first in (0..1_usize << n).step_by(BLOCK) {
                    let bit = |i: usize, k: usize| ((first + k) >> i & 1) as f32;
                    let mut rows: Vec<[f32; BLOCK]> =
                        (0..n).map(|i| std::array::from_fn(|k| bit(i, k))).collect();
                    let mut picked = [0.0; BLOCK];
                    let middle = (wanted.start + wanted.end - 1) / 2;
                    let mut copy = rows.clone();
                    network.finish(&mut copy, &mut Ahead::none(), Pick(middle), &mut picked);
                    network.sort(&mut rows, &mut Ahead::none());
                    assert_eq!(picked, rows[middle], "n {n}, vectors from {first}");
                    for rank in wanted.clone() {
                        let expected: [f32; BLOCK] = std::array::from_fn(|k| {
                            let zeros = (0..n).filter(|&i| bit(i, k) == 0.0).count();
                            if rank < zeros { 0.0 } else { 1.0 }
                        });
                        assert_eq!(rows[rank], expected, "n {n}, vectors from {first}, {rank}");
                    }
                }
            }
        }
    }

    /// An odd-even merge sort of zeros and ones is right for all inputs when each merge is right
    /// for all pairs of sorted runs: that is all there is to test for sizes with too many vectors.
    #[test]
    fn every_merge_of_two_sorted_runs_is_right() {
        for n in 1..=130_usize {
            let mut p = 1;
            while p < n {
                let mut pairs = Vec::new();
                merge_runs(p, n, |low, high| pairs.push((low, high)));
                for start in (0..n).step_by(2 * p) {
                    let first = start..(start + p).min(n);
                    let second = first.end..(start + 2 * p).min(n);
                    for a in 0..=first.len() {
                        for b in 0..=second.len() {
                            let mut v = vec![1; n];
                            v[first.clone()][..a].fill(0);
                            v[second.clone()][..b].fill(0);
                            for &(low, high) in &pairs {
                                if v[low] > v[high] {
                                    v.swap(low, high);
                                }
                            }
                            assert!(v[first.start..second.end].is_sorted(), "{n} {p} {start}");
                        }
                    }
                }
                p *= 2;
            }
        }
    }

    #[test]
    fn large_networks_sort_and_stay_within_their_size() {
        for n in [
            17, 21, 24, 29, 31, 32, 33, 63, 64, 65, 96, 100, 129, 1000, 1024,
        ] {
            for wanted in [0..n, n / 2..n / 2 + 1, n / 5..n - n / 5] {
                let network = SelectionNetwork::new(n, wanted.clone());
                assert!(network.merges.len() <= 20_031, "{}", network.merges.len());
                let value = |i: usize, k: usize| ((i * 7919 + k * 104_729) % 1009) as f32;
                let mut rows: Vec<[f32; BLOCK]> = (0..n)
                    .map(|i| std::array::from_fn(|k| value(i, k)))
                    .collect();
                network.sort(&mut rows, &mut Ahead::none());
                for k in 0..BLOCK {
                    let mut expected: Vec<f32> = (0..n).map(|i| value(i, k)).collect();
                    expected.sort_by(f32::total_cmp);
                    let column = rows.iter().map(|row| row[k]);
                    let column: Vec<f32> = column.collect();
                    assert_eq!(column[wanted.clone()], expected[wanted.clone()], "{n}, {k}");
                }
            }
        }
    }

    #[test]
    fn unrolled_networks_have_the_comparators_of_the_list() {
        assert_eq!(Unrolled::<GROUP>::NETWORK.1, GROUP_COMPARATORS);
        let (list, count) = Unrolled::<13>::NETWORK;
        assert_eq!(list[..count], merges_above(1, 13));
    }

    #[test]
    fn selecting_the_median_leaves_comparators_out() {
        let all = SelectionNetwork::new(64, 0..64).merges.len();
        let middle = SelectionNetwork::new(64, 31..33).merges.len();
        assert_eq!(all, 291);
        assert!(middle < all);
    }
}
