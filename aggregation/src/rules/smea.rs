//! SMEA, smallest maximum eigenvalue averaging.
//!
//! **Definition.** Of all sets of n - f updates the one whose covariance has the smallest largest
//! eigenvalue; of several such sets the lexicographically first. The result is their mean. The
//! covariance of a set has the eigenvalues of its centred Gram matrix, which follows
//! from the pairwise distances; they are found to within 3 parts in a million.
//!
//! **Paper.** Allouah et al., *Distributed Learning with Curious and Adversarial Machines*, ICML 2023,
//! section 4 (equation 4).
//!
//! **Breakdown point.** Needs n ≥ 2f + 1. Its error is of the order of f/n times the largest eigenvalue
//! of the honest covariance, not of the trace: in high dimension the smallest error of all rules here.
//!
//! **Cost.** Two passes: the [distances](crate::distances), then one read of the selected updates. The
//! search looks at all (n choose f) sets with O((n-f)³) work each, so it is refused above 20,000 of
//! them and for n > 64. Memory n² f64 and the list of sets.
//!
//! **Use.** With few contributors and noise added for privacy. [CAF](super::caf) has nearly its
//! guarantee at a cost that is polynomial.

use rayon::prelude::*;

use crate::aggregate::Plan;
use crate::distances::Distances;
use crate::eigen::dominant;
use crate::error::AggregationError;
use crate::rules::caf::centred_gram;
use crate::subsets::subsets;
use crate::tiles::Inputs;

pub(super) fn plan(inputs: &Inputs<'_>, f: usize) -> Result<Plan, AggregationError> {
    let n = inputs.count();
    let distances = Distances::exact(inputs)?;
    let sets = subsets(n, n - f);
    let eigenvalues: Vec<f64> = sets
        .par_iter()
        .map(|set| {
            let equal = vec![1.0 / set.len() as f64; set.len()];
            let gram = centred_gram(&distances, set, &equal);
            dominant(&gram, set.len()).0
        })
        .collect();
    // Strictly less: a tie stays with the first set.
    let best = (1..sets.len()).fold(0, |best, i| match eigenvalues[i] < eigenvalues[best] {
        true => i,
        false => best,
    });
    Ok(Plan::mean_of(&sets[best], n))
}
