//! MDA, minimum diameter averaging: the mean of the tightest n - f updates.
//!
//! **Definition.** Of all sets of n - f updates the one whose largest Euclidean distance between two
//! members is smallest; of several such sets the lexicographically first. The result is their mean.
//!
//! **Paper.** El Mhamdi et al., *Genuinely Distributed Byzantine Machine Learning*, PODC 2020,
//! section 3.2; the idea is Rousseeuw's, *Multivariate Estimation with High Breakdown Point*, 1985.
//!
//! **Breakdown point.** Needs n ≥ 2f + 1. The set shares an honest update with any other and is no
//! wider than the honest ones, so the result is within the honest diameter of an honest update.
//!
//! **Cost.** Two passes: the [distances](crate::distances), then one read of the selected updates. The
//! search is exact and looks at up to (n choose f) sets, so it is refused above 1,000,000 of them and
//! for n > 128. Memory n² f64.
//!
//! **Use.** With few contributors, in place of Krum: it averages n - f updates and needs only n ≥ 2f + 1.

use crate::aggregate::Plan;
use crate::distances::Distances;
use crate::error::AggregationError;
use crate::tiles::Inputs;

pub(super) fn plan(inputs: &Inputs<'_>, f: usize) -> Result<Plan, AggregationError> {
    let n = inputs.count();
    let distances = Distances::compute(inputs)?;
    let mut search = Search {
        distances: &distances,
        n,
        keep: n - f,
        members: Vec::with_capacity(n),
        best: vec![],
        diameter: f64::INFINITY,
    };
    search.extend(0, 0.0);
    Ok(Plan::mean_of(&search.best, n))
}

/// Sets in lexicographic order, left as soon as they are no tighter than the best one.
struct Search<'a> {
    distances: &'a Distances,
    n: usize,
    keep: usize,
    members: Vec<usize>,
    best: Vec<usize>,
    /// Of `best`, squared.
    diameter: f64,
}

impl Search<'_> {
    /// All sets that continue `members`, of this diameter, with rows from `next` on.
    fn extend(&mut self, next: usize, diameter: f64) {
        if self.members.len() == self.keep {
            self.best.clone_from(&self.members);
            self.diameter = diameter;
            return;
        }
        // Enough rows must be left. At most n ≤ 128 calls deep.
        for row in next..=self.n + self.members.len() - self.keep {
            let distances = self.members.iter().map(|&m| self.distances.get(m, row));
            let wider = distances.fold(diameter, f64::max);
            if wider < self.diameter {
                self.members.push(row);
                self.extend(row + 1, wider);
                self.members.pop();
            }
        }
    }
}
