//! Bulyan: repeated Krum, then the mean around the median.
//!
//! **Definition.** θ = n - 2f rows are selected one after the other: of the r rows that are left, the one
//! with the lowest [Krum](super::krum) score among them, the sum of its r - f - 2 smallest squared
//! distances (of one at least, as long as there is another row); ties go to the lower index. Then in
//! every coordinate the θ - 2f selected values closest to their median are averaged, as
//! [MeaMed](super::meamed) does it.
//!
//! **Paper.** El Mhamdi, Guerraoui and Rouault, *The Hidden Vulnerability of Distributed Learning in
//! Byzantium*, ICML 2018, algorithm 1.
//!
//! **Breakdown point.** Needs n ≥ 4f + 3: selected are at least 2f + 3, of which at most f are not
//! honest, so every coordinate of the result lies among values around honest ones. It closes the gap
//! that Krum has in high dimension: a large change of a few coordinates does not survive.
//!
//! **Cost.** Two passes: the [distances](crate::distances), then a sorting network over the θ
//! selected rows. O(n³) additions for the selection. Memory n² f64 and the sorted neighbours.
//!
//! **Use.** When attackers are few (below a quarter) and models are large.

use crate::aggregate::Plan;
use crate::distances::Distances;
use crate::error::AggregationError;
use crate::rules::krum;
use crate::rules::meamed::MeanAroundMedian;
use crate::tiles::Inputs;

pub(super) fn plan(inputs: &Inputs<'_>, f: usize) -> Result<Plan, AggregationError> {
    let n = inputs.count();
    let distances = Distances::compute(inputs)?;
    let scores = krum::scores(&distances, n, f);
    let selected = select(&distances, n, f);
    let theta = selected.len();
    let kernel = Box::new(MeanAroundMedian::new(theta, theta - 2 * f));
    Ok(Plan::coordinatewise(selected, kernel).with_scores(scores))
}

/// The θ rows, ascending.
fn select(distances: &Distances, n: usize, f: usize) -> Vec<usize> {
    // Other rows by distance; sorted once, of those that are left the order stays.
    let neighbours: Vec<Vec<usize>> = (0..n)
        .map(|i| {
            let mut others: Vec<usize> = (0..n).filter(|&j| j != i).collect();
            others.sort_by(|&a, &b| distances.get(i, a).total_cmp(&distances.get(i, b)));
            others
        })
        .collect();
    let mut left = vec![true; n];
    let mut selected = Vec::with_capacity(n - 2 * f);
    while selected.len() < n - 2 * f {
        let rest = n - selected.len();
        let count = rest.saturating_sub(f + 2).max(1);
        let score = |i: usize| -> f64 {
            let near = neighbours[i].iter().filter(|&&j| left[j]).take(count);
            near.map(|&j| distances.get(i, j)).sum()
        };
        let scores = (0..n).filter(|&i| left[i]).map(|i| (score(i), i));
        // Strictly less: a tie stays with the lower index.
        let best = scores.reduce(|best, next| if next.0 < best.0 { next } else { best });
        let Some((_, winner)) = best else { break };
        left[winner] = false;
        selected.push(winner);
    }
    selected.sort_unstable();
    selected
}
