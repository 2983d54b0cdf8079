//! The sampler against exact probabilities. Seeds are fixed: a run finds what the last one found.

use cifer_privacy::{Gaussian, Variance};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

const SAMPLES: usize = 300_000;

fn samples(numerator: u64, denominator: u64, seed: u64) -> Vec<i64> {
    let sampler = Gaussian::new(Variance::new(numerator, denominator).unwrap());
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..SAMPLES).map(|_| sampler.sample(&mut rng)).collect()
}

/// Small and large, whole and broken; the last ones need 128 bits for every coin.
const VARIANCES: [(u64, u64); 9] = [
    (1, 4),
    (1, 1),
    (3, 2),
    (81, 4),
    (100, 1),
    (46_655, 1),
    (12_000_000, 1),
    (123_456_789_012, 32_767),
    (1 << 32, 1),
];

/// Probabilities of -limit..=limit, which hold all but 1e-30.
fn exact(variance: f64) -> (i64, Vec<f64>) {
    let limit = (12.0 * variance.sqrt()).ceil() as i64 + 1;
    let weights: Vec<f64> = (-limit..=limit)
        .map(|x| (-(x as f64) * (x as f64) / (2.0 * variance)).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    (limit, weights.into_iter().map(|w| w / total).collect())
}

#[test]
fn frequencies_are_the_exact_ones() {
    for (seed, (numerator, denominator)) in VARIANCES.into_iter().enumerate() {
        let variance = numerator as f64 / denominator as f64;
        let (limit, probabilities) = exact(variance);
        let width = (variance.sqrt() / 8.0).ceil() as usize;
        let bins = probabilities.len().div_ceil(width);
        let mut expected = vec![0.0; bins];
        for (place, probability) in probabilities.iter().enumerate() {
            expected[place / width] += probability * SAMPLES as f64;
        }
        let mut found = vec![0.0; bins];
        for x in samples(numerator, denominator, seed as u64) {
            found[(x + limit) as usize / width] += 1.0;
        }
        // Bins with few expected samples are one bin.
        let (mut chi, mut degrees) = (0.0, -1.0);
        let (mut rare, mut rare_found) = (0.0, 0.0);
        for (expected, found) in expected.iter().zip(&found) {
            if *expected < 20.0 {
                (rare, rare_found) = (rare + expected, rare_found + found);
            } else {
                chi += (found - expected) * (found - expected) / expected;
                degrees += 1.0;
            }
        }
        if rare >= 5.0 {
            chi += (rare_found - rare) * (rare_found - rare) / rare;
            degrees += 1.0;
        } else {
            assert!(rare_found <= 20.0, "{variance}: {rare_found} for {rare}");
        }
        let limit = degrees + 4.0 * (2.0_f64 * degrees).sqrt() + 8.0;
        assert!(
            degrees >= 2.0 && chi < limit,
            "{variance}: chi-square {chi}, {degrees} degrees"
        );
    }
}

#[test]
fn moments_are_the_exact_ones() {
    for (seed, (numerator, denominator)) in VARIANCES.into_iter().enumerate() {
        let sigma_squared = numerator as f64 / denominator as f64;
        let (limit, probabilities) = exact(sigma_squared);
        let squares = (-limit..=limit).map(|x| (x as f64) * (x as f64));
        let variance: f64 = squares.zip(&probabilities).map(|(x, p)| x * p).sum();
        // The discrete Gaussian is no wider than its parameter.
        assert!(variance <= sigma_squared * (1.0 + 1e-9));

        let found = samples(numerator, denominator, 100 + seed as u64);
        let count = SAMPLES as f64;
        let mean = found.iter().map(|x| *x as f64).sum::<f64>() / count;
        let second = found.iter().map(|x| (*x as f64) * (*x as f64)).sum::<f64>() / count;
        assert!(
            mean.abs() <= 5.0 * (variance / count).sqrt(),
            "{sigma_squared}: mean {mean}"
        );
        // The fourth moment is at most a little above three squares of the variance.
        let error = 5.0 * variance * (3.0 / count).sqrt();
        assert!(
            (second - variance).abs() <= error,
            "{sigma_squared}: {second} {variance}"
        );
        let positive = found.iter().filter(|x| **x > 0).count() as f64;
        let negative = found.iter().filter(|x| **x < 0).count() as f64;
        let error = 5.0 * (positive + negative).sqrt();
        assert!(
            (positive - negative).abs() <= error,
            "{positive} {negative}"
        );
    }
}

#[test]
fn a_seed_gives_the_same_samples() {
    assert_eq!(samples(100, 1, 7)[..16], samples(100, 1, 7)[..16]);
    assert_ne!(samples(100, 1, 7)[..16], samples(100, 1, 8)[..16]);
}

#[test]
fn variances_out_of_range_are_named() {
    for (numerator, denominator) in [(0, 1), (1, 5), ((1 << 32) + 1, 1), (u64::MAX, 1)] {
        let error = Variance::new(numerator, denominator).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "variance = {numerator}/{denominator} is out of range: 1/4 <= x <= 4294967296 must hold"
            )
        );
    }
    for denominator in [0, 32_769, u64::MAX] {
        let error = Variance::new(1, denominator).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "denominator of the variance = {denominator} is out of range: 1 <= x <= 32768 must hold"
            )
        );
    }
    assert!(Variance::new(1, 4).is_ok() && Variance::new(1 << 47, 1 << 15).is_ok());
}
