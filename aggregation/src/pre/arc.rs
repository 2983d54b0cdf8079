//! ARC, adaptive robust clipping: the longest rows are clipped to the norm of the next longest.
//!
//! **Definition.** With `k = ⌊2f(n - f)/n⌋`, sort the norms; the k rows with the largest norms are
//! scaled down to the (k+1)-largest norm. Factors are f64.
//!
//! **Paper.** Allouah et al., *The Vital Role of Gradient Clipping in Byzantine-Resilient
//! Distributed Learning*, 2024 (arXiv:2405.14432), algorithm 2.
//!
//! **Breakdown point.** Needs n ≥ 2f + 1. It keeps the guarantee of the rule behind it (theorem 5 of
//! the paper) and no row exceeds the largest honest norm, whatever f updates say.
//!
//! **Cost.** One pass for the norms, n multiply-adds per coordinate; rows are scaled as they are
//! read.
//!
//! **Use.** First in a pipeline, before [`nnm`](super::nnm): a clipping that needs no radius.

use crate::error::AggregationError;
use crate::pre::clip::clipping_factors;
use crate::radial::squared_norms;
use crate::tiles::Inputs;

pub(super) fn apply<'a>(rows: &Inputs<'a>, f: usize) -> Result<Inputs<'a>, AggregationError> {
    Ok(rows.scaled(&factors(&squared_norms(rows)?, f)))
}

/// The factor of every row.
fn factors(squared_norms: &[f64], f: usize) -> Vec<f64> {
    let n = squared_norms.len();
    let mut sorted = squared_norms.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    // n >= 2f + 1, so that at most half of the rows are clipped and one is left.
    let threshold = sorted[n - 1 - 2 * f * (n - f) / n];
    // Rows at the threshold keep the factor 1, so that ties need no order.
    clipping_factors(squared_norms, threshold.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_clipped_as_the_definition_says() {
        // n = 10, f = 3: k = floor(4.2) = 4, threshold is the fifth largest norm, 6.
        let squares: Vec<f64> = (1..=10).map(|x| f64::from(x * x)).collect();
        let expected = [
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            6.0 / 7.0,
            6.0 / 8.0,
            6.0 / 9.0,
            0.6,
        ];
        assert_eq!(factors(&squares, 3), expected);
        assert_eq!(factors(&squares, 0), [1.0; 10]);
        assert_eq!(factors(&[9.0, 9.0, 9.0], 1), [1.0; 3]);
        assert_eq!(factors(&[0.0, 0.0, 9.0], 1), [1.0, 1.0, 0.0]);
        assert_eq!(factors(&[4.0], 0), [1.0]);
    }
}
