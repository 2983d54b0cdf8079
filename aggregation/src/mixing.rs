//! The matrix that turns updates into the rows that a rule sees, see [`pre`](crate::pre).

use std::collections::BTreeMap;

use crate::simd::{Op, Simd, dispatch};
use crate::tiles::{Ahead, BLOCK};

/// Rows that are made together, so that a source is loaded and widened once for all of them: their sums in f64 and a
/// source just fit the registers of AVX2.
const GROUP: usize = 4;

/// The coefficients of some rows: the sources that any of them needs, ascending, each with its factor in every row. A
/// factor of zero is as good as none: sums begin at +0.0, which no product of zero changes.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    sources: Vec<(usize, [f64; GROUP])>,
}

/// For each row its coefficients, [`GROUP`] rows at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mixing {
    groups: Vec<Group>,
    count: usize,
}

impl Mixing {
    /// Rows that are the sources.
    pub(crate) fn identity(n: usize) -> Self {
        Self::from_rows((0..n).map(|i| vec![(i, 1.0)]))
    }

    /// From pairs of a source's position and a factor.
    fn from_rows(rows: impl Iterator<Item = Vec<(usize, f64)>>) -> Self {
        let (mut groups, mut count) = (vec![], 0);
        let mut sources = BTreeMap::new();
        let mut finish = |sources: &mut BTreeMap<usize, [f64; GROUP]>| {
            let sources = std::mem::take(sources).into_iter().collect();
            groups.push(Group { sources });
        };
        for row in rows {
            if count > 0 && count % GROUP == 0 {
                finish(&mut sources);
            }
            for (at, factor) in row {
                sources.entry(at).or_insert([0.0; GROUP])[count % GROUP] = factor;
            }
            count += 1;
        }
        finish(&mut sources);
        Self { groups, count }
    }

    /// The coefficients of row `i` that are not zero.
    fn row(&self, i: usize) -> impl Iterator<Item = (usize, f64)> {
        let factors = self.groups[i / GROUP].sources.iter();
        factors
            .map(move |(at, factors)| (*at, factors[i % GROUP]))
            .filter(|(_, factor)| *factor != 0.0)
    }

    /// Number of rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Row i times `factors[i]`.
    pub(crate) fn scaled(&self, factors: &[f64]) -> Self {
        let scale = |i: usize| self.row(i).map(|(at, x)| (at, x * factors[i])).collect();
        Self::from_rows((0..self.count).map(scale))
    }

    /// The mean of each group of rows. Groups are ascending and not empty.
    pub(crate) fn averaged(&self, groups: &[Vec<usize>], sources: usize) -> Self {
        let mut weights = vec![0.0; self.count];
        let mean = |group: &Vec<usize>| {
            weights.fill(0.0);
            for &member in group {
                weights[member] = 1.0;
            }
            let total = group.len() as f64;
            let sums = self.combined(&weights, sources).into_iter().enumerate();
            sums.filter(|(_, sum)| *sum != 0.0)
                .map(|(at, sum)| (at, sum / total))
                .collect()
        };
        Self::from_rows(groups.iter().map(mean))
    }

    /// The rows at these positions.
    pub(crate) fn subset(&self, positions: &[usize]) -> Self {
        Self::from_rows(positions.iter().map(|&p| self.row(p).collect()))
    }

    /// Coefficients of all sources in `Σ weights[i] · row i`, summed in row order.
    pub(crate) fn combined(&self, weights: &[f64], sources: usize) -> Vec<f64> {
        let mut sums = vec![0.0; sources];
        for (i, weight) in weights.iter().enumerate() {
            if *weight != 0.0 {
                for (at, factor) in self.row(i) {
                    sums[at] += weight * factor;
                }
            }
        }
        sums
    }

    /// Positions of the sources that the rows depend on, ascending.
    pub(crate) fn support(&self, sources: usize) -> Vec<usize> {
        let mut used = vec![false; sources];
        for (at, factors) in self.groups.iter().flat_map(|group| &group.sources) {
            used[*at] |= factors.iter().any(|factor| *factor != 0.0);
        }
        (0..sources).filter(|&at| used[at]).collect()
    }

    /// Fills `rows` with the combinations of one block of the sources. Each is summed in f64 in the
    /// order of the sources, rounded to f32, and loses its negative zero.
    pub(crate) fn apply(
        &self,
        sources: &[[f32; BLOCK]],
        ahead: &mut Ahead<'_>,
        rows: &mut [[f32; BLOCK]],
    ) {
        dispatch(Apply {
            groups: &self.groups,
            sources,
            ahead,
            rows,
        });
    }
}

struct Apply<'a, 'v> {
    groups: &'a [Group],
    sources: &'a [[f32; BLOCK]],
    ahead: &'a mut Ahead<'v>,
    rows: &'a mut [[f32; BLOCK]],
}

impl Op for Apply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let zero = simd.splat(0.0);
        for (group, rows) in self.groups.iter().zip(self.rows.chunks_mut(GROUP)) {
            for _ in 0..GROUP {
                self.ahead.next_row(simd);
            }
            for c in 0..BLOCK / (size_of::<S::F32>() / size_of::<f32>()) {
                let mut sums = [[simd.splat64(0.0); 2]; GROUP];
                for (at, factors) in &group.sources {
                    let values = simd.widen(simd.f32s(&self.sources[*at])[c]);
                    for (sums, factor) in sums.iter_mut().zip(factors) {
                        let factor = simd.splat64(*factor);
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = simd.add64(*sum, simd.mul64(factor, value));
                        }
                    }
                }
                for (row, sums) in rows.iter_mut().zip(sums) {
                    simd.f32s_mut(row)[c] = simd.add(simd.narrow(sums), zero);
                }
            }
        }
        self.ahead.rest(simd);
    }
}
