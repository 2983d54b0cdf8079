//! The matrix that turns updates into the rows that a rule sees, see [`pre`](crate::pre).

use crate::tiles::BLOCK;

/// For each row its coefficients: pairs of a source's position and a factor, positions ascending.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mixing {
    rows: Vec<Vec<(usize, f64)>>,
}

impl Mixing {
    /// Rows that are the sources.
    pub(crate) fn identity(n: usize) -> Self {
        Self {
            rows: (0..n).map(|i| vec![(i, 1.0)]).collect(),
        }
    }

    /// Number of rows.
    pub(crate) fn count(&self) -> usize {
        self.rows.len()
    }

    /// Row i times `factors[i]`.
    pub(crate) fn scaled(&self, factors: &[f64]) -> Self {
        let scale = |(row, factor): (&Vec<(usize, f64)>, &f64)| {
            row.iter().map(|(at, x)| (*at, x * factor)).collect()
        };
        Self {
            rows: self.rows.iter().zip(factors).map(scale).collect(),
        }
    }

    /// The mean of each group of rows. Groups are ascending and not empty.
    pub(crate) fn averaged(&self, groups: &[Vec<usize>], sources: usize) -> Self {
        let mut weights = vec![0.0; self.count()];
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
        Self {
            rows: groups.iter().map(mean).collect(),
        }
    }

    /// The rows at these positions.
    pub(crate) fn subset(&self, positions: &[usize]) -> Self {
        Self {
            rows: positions.iter().map(|&p| self.rows[p].clone()).collect(),
        }
    }

    /// Coefficients of all sources in `Σ weights[i] · row i`, summed in row order.
    pub(crate) fn combined(&self, weights: &[f64], sources: usize) -> Vec<f64> {
        let mut sums = vec![0.0; sources];
        for (row, weight) in self.rows.iter().zip(weights) {
            if *weight != 0.0 {
                for (at, factor) in row {
                    sums[*at] += weight * factor;
                }
            }
        }
        sums
    }

    /// Positions of the sources that the rows depend on, ascending.
    pub(crate) fn support(&self, sources: usize) -> Vec<usize> {
        let mut used = vec![false; sources];
        for (at, factor) in self.rows.iter().flatten() {
            used[*at] |= *factor != 0.0;
        }
        (0..sources).filter(|&at| used[at]).collect()
    }

    /// Fills `rows` with the combinations of one block of the sources. Each is summed in f64 in the
    /// order of the sources, rounded to f32, and loses its negative zero.
    pub(crate) fn apply<T: From<f32> + Into<f64> + Copy>(
        &self,
        sources: &[[T; BLOCK]],
        rows: &mut [[T; BLOCK]],
    ) {
        for (coefficients, row) in self.rows.iter().zip(rows) {
            let mut sums = [0.0_f64; BLOCK];
            for (at, factor) in coefficients {
                for (sum, x) in sums.iter_mut().zip(&sources[*at]) {
                    *sum += factor * (*x).into();
                }
            }
            for (to, sum) in row.iter_mut().zip(&sums) {
                *to = T::from(*sum as f32 + 0.0);
            }
        }
    }
}
