//! CAF, the covariance-bound agnostic filter.
//!
//! **Definition.** Weights c start at one. While `Σ c_i > n - 2f`: take the weighted mean μ, and the
//! largest eigenvalue λ of the weighted covariance with its eigenvector v; with `τ_i = ⟨x_i - μ, v⟩²`, scale
//! `c_i` by `1 - τ_i / max τ`, the maximum over the updates that still have weight. The result is the
//! μ that had the smallest λ (the first of equals). All of it follows from the pairwise distances, in f64;
//! eigenvalues are found to within 3 parts in a million.
//!
//! **Paper.** Allouah, Guerraoui and Stephan, *Towards Trustworthy Federated Learning with Untrusted
//! Participants*, ICML 2025, algorithm 2.
//!
//! **Breakdown point.** Needs n ≥ 2f + 1. Its error is of the order of f/n times the largest eigenvalue
//! of the honest covariance, as that of [SMEA](super::smea), without a search over subsets.
//!
//! **Cost.** Two passes: the [distances](crate::distances), then one read of the updates. Each step
//! takes the weight of one update at least, costs O(n³), and there are at most n; refused for n > 128.
//! Memory n² f64.
//!
//! **Use.** In high dimension, and with noise added for privacy.

use crate::aggregate::Plan;
use crate::distances::Distances;
use crate::eigen::dominant;
use crate::error::AggregationError;
use crate::tiles::Inputs;

pub(super) fn plan(inputs: &Inputs<'_>, f: usize) -> Result<Plan, AggregationError> {
    let n = inputs.count();
    let distances = Distances::exact(inputs)?;
    let least = (n - 2 * f) as f64;
    let mut weights = vec![1.0; n];
    let mut best = (f64::INFINITY, vec![]);
    loop {
        // Updates without weight would only hide the others' deviations behind their own.
        let members: Vec<usize> = (0..n).filter(|&i| weights[i] > 0.0).collect();
        let total: f64 = weights.iter().sum();
        let parts: Vec<f64> = members.iter().map(|&i| weights[i] / total).collect();
        let gram = centred_gram(&distances, &members, &parts);
        let (eigenvalue, deviations) = principal(&gram, &parts);
        if eigenvalue < best.0 {
            best = (eigenvalue, weights.clone());
        }
        let largest = deviations.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            break; // All that have weight are equal.
        }
        for (member, deviation) in members.iter().zip(&deviations) {
            weights[*member] *= 1.0 - deviation / largest;
        }
        if weights.iter().sum::<f64>() <= least {
            break;
        }
    }
    let total = best.1.iter().sum();
    Ok(Plan::sum(best.1, total))
}

/// `⟨x_i - μ, x_j - μ⟩` for the members, row after row, where `μ = Σ parts[i] · x_i` and the parts sum to one:
/// half of `r_i + r_j - D_ij - Σ parts · r` with `r_i = Σ parts[j] · D_ij`.
pub(super) fn centred_gram(distances: &Distances, members: &[usize], parts: &[f64]) -> Vec<f64> {
    let square = |i: usize, j: usize| distances.get(members[i], members[j]);
    let k = members.len();
    let radii: Vec<f64> = (0..k)
        .map(|i| (0..k).map(|j| parts[j] * square(i, j)).sum())
        .collect();
    let mean: f64 = radii.iter().zip(parts).map(|(r, p)| r * p).sum();
    let entry = |i: usize, j: usize| 0.5 * ((radii[i] + radii[j]) - (square(i, j) + mean));
    (0..k * k).map(|at| entry(at / k, at % k)).collect()
}

/// The largest eigenvalue of the covariance with these parts, and every member's squared deviation
/// along its eigenvector.
fn principal(gram: &[f64], parts: &[f64]) -> (f64, Vec<f64>) {
    let k = parts.len();
    let roots: Vec<f64> = parts.iter().map(|part| part.sqrt()).collect();
    let scaled: Vec<f64> = (0..k * k)
        .map(|at| roots[at / k] * gram[at] * roots[at % k])
        .collect();
    // v = Σ √part_j u_j (x_j - μ) / √λ for the unit eigenvector u.
    let (eigenvalue, u) = dominant(&scaled, k);
    if eigenvalue <= 0.0 {
        return (0.0, vec![0.0; k]);
    }
    let along: Vec<f64> = roots.iter().zip(&u).map(|(root, u)| root * u).collect();
    let squared = |row: &[f64]| {
        let product: f64 = row.iter().zip(&along).map(|(x, y)| x * y).sum();
        product * product / eigenvalue
    };
    (eigenvalue, gram.chunks_exact(k).map(squared).collect())
}
