//! Samples of the symmetric Dirichlet distribution: normalised Gamma variates.
//!
//! Gamma by G. Marsaglia and W. W. Tsang, "A Simple Method for Generating Gamma Variables" (ACM
//! TOMS 26(3), 2000): squeeze-free acceptance for shapes of at least 1, and their boost
//! `Gamma(a) = Gamma(a + 1) * U^(1/a)` below. Normal variates by Marsaglia's polar method.

use rand::Rng;

/// `k` proportions that are not negative and sum to 1, from Dirichlet(alpha, …, alpha).
pub(crate) fn dirichlet(alpha: f64, k: usize, rng: &mut impl Rng) -> Vec<f64> {
    let mut proportions: Vec<f64> = (0..k).map(|_| gamma(alpha, rng)).collect();
    let sum: f64 = proportions.iter().sum();
    if sum > 0.0 && sum.is_finite() {
        proportions
            .iter_mut()
            .for_each(|proportion| *proportion /= sum);
    } else {
        // A tiny alpha can underflow every variate; its limit puts all the mass on one.
        let chosen = rng.gen_range(0..k);
        proportions.fill(0.0);
        proportions[chosen] = 1.0;
    }
    proportions
}

fn gamma(shape: f64, rng: &mut impl Rng) -> f64 {
    if shape < 1.0 {
        let boost = rng.gen_range(f64::MIN_POSITIVE..1.0).powf(1.0 / shape);
        return gamma(shape + 1.0, rng) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = standard_normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v <= 0.0 {
            continue;
        }
        let u: f64 = rng.gen_range(f64::MIN_POSITIVE..1.0);
        if u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

fn standard_normal(rng: &mut impl Rng) -> f64 {
    loop {
        let x: f64 = rng.gen_range(-1.0..1.0);
        let y: f64 = rng.gen_range(-1.0..1.0);
        let s = x * x + y * y;
        if s > 0.0 && s < 1.0 {
            return x * (-2.0 * s.ln() / s).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Stream, rng};

    /// Mean and variance of Gamma(a, 1) are both a.
    #[test]
    fn gamma_has_its_moments() {
        let mut rng = rng(1, Stream::Partition, 0, 0);
        for shape in [0.3, 1.0, 4.5] {
            let draws: Vec<f64> = (0..20_000).map(|_| gamma(shape, &mut rng)).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance =
                draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            assert!(
                (mean / shape - 1.0).abs() < 0.05,
                "shape {shape}: mean {mean}"
            );
            assert!(
                (variance / shape - 1.0).abs() < 0.1,
                "shape {shape}: variance {variance}"
            );
        }
    }

    #[test]
    fn proportions_sum_to_one_even_where_gamma_underflows() {
        let mut rng = rng(2, Stream::Partition, 0, 0);
        for alpha in [1e-6, 0.01, 1.0, 1e6] {
            let proportions = dirichlet(alpha, 10, &mut rng);
            let sum: f64 = proportions.iter().sum();
            assert!((sum - 1.0).abs() < 1e-9 && proportions.iter().all(|&p| p >= 0.0));
        }
    }
}
