//! Selection networks: sorting rows against each other, coordinate by coordinate.
//!
//! A sorting network is a fixed list of comparators, so the same minimum and maximum can be taken
//! over whole rows at once, which compilers turn into vector instructions and which has no branch
//! that data could steer. The list is Batcher's merge exchange (Batcher 1968; Knuth, TAOCP 3,
//! 5.2.2, algorithm M), which exists for every n; comparators that no wanted rank depends on are left out.

use std::ops::Range;

use crate::tiles::BLOCK;

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

/// Brings the wanted ranks of n rows into their places; the other rows end up unspecified.
#[derive(Debug)]
pub(crate) struct SelectionNetwork {
    comparators: Vec<Comparator>,
}

impl SelectionNetwork {
    /// A network for `n` rows that puts the ranks `wanted` (0 is the smallest) where they belong.
    pub(crate) fn new(n: usize, wanted: Range<usize>) -> Self {
        let mut live = vec![false; n];
        live[wanted].fill(true);
        let mut comparators = Vec::new();
        for (low, high) in merge_exchange(n).into_iter().rev() {
            let keep = match (live[low], live[high]) {
                (false, false) => continue,
                (true, true) => Keep::Both,
                (true, false) => Keep::Low,
                (false, true) => Keep::High,
            };
            live[low] = true;
            live[high] = true;
            comparators.push(Comparator {
                low: low as u32,
                high: high as u32,
                keep,
            });
        }
        comparators.reverse();
        Self { comparators }
    }

    /// Runs the network on `rows`, every coordinate on its own.
    ///
    /// Values must be ordered by `<` alone: no NaN, no negative zero.
    pub(crate) fn apply(&self, rows: &mut [[f32; BLOCK]]) {
        for comparator in &self.comparators {
            let (head, tail) = rows.split_at_mut(comparator.high as usize);
            let low = &mut head[comparator.low as usize];
            let high = &mut tail[0];
            match comparator.keep {
                Keep::Both => {
                    for (low, high) in low.iter_mut().zip(high) {
                        (*low, *high) = (min(*low, *high), max(*low, *high));
                    }
                }
                Keep::Low => {
                    for (low, high) in low.iter_mut().zip(high) {
                        *low = min(*low, *high);
                    }
                }
                Keep::High => {
                    for (low, high) in low.iter_mut().zip(high) {
                        *high = max(*low, *high);
                    }
                }
            }
        }
    }
}

// Compare and select, not f32::min: its treatment of NaN costs instructions that are not needed here.
fn min(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

fn max(a: f32, b: f32) -> f32 {
    if b < a { a } else { b }
}

/// Batcher's merge exchange for any n, in order of execution.
fn merge_exchange(n: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            pairs.extend(
                (0..n.saturating_sub(d))
                    .filter(|i| i & p == r)
                    .map(|i| (i, i + d)),
            );
            if q == p {
                break;
            }
            d = q - p;
            q /= 2;
            r = p;
        }
        p /= 2;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the zero-one principle a network that sorts all vectors of zeros and ones sorts everything.
    #[test]
    fn every_network_selects_all_zero_one_vectors() {
        for n in 1..=12_usize {
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
                    network.apply(&mut rows);
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

    #[test]
    fn large_networks_sort_and_stay_within_their_size() {
        for n in [31, 32, 33, 100, 1000, 1024] {
            let network = SelectionNetwork::new(n, 0..n);
            assert!(
                network.comparators.len() <= 24_063,
                "{}",
                network.comparators.len()
            );
            let value = |i: usize, k: usize| ((i * 7919 + k * 104_729) % 1009) as f32;
            let mut rows: Vec<[f32; BLOCK]> = (0..n)
                .map(|i| std::array::from_fn(|k| value(i, k)))
                .collect();
            network.apply(&mut rows);
            let column = |k: usize| rows.iter().map(move |row| row[k]);
            for k in 0..BLOCK {
                let mut expected: Vec<f32> = (0..n).map(|i| value(i, k)).collect();
                expected.sort_by(f32::total_cmp);
                assert!(column(k).eq(expected), "n {n}, coordinate {k}");
            }
        }
    }

    #[test]
    fn selecting_the_median_leaves_comparators_out() {
        let all = SelectionNetwork::new(16, 0..16).comparators.len();
        let middle = SelectionNetwork::new(16, 7..9).comparators.len();
        assert_eq!(all, 63);
        assert!(middle < all);
    }
}
