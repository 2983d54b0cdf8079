//! How fast updates are noised: `cargo run -p cifer-privacy --example speed [COORDINATES]`.

use std::time::Instant;

use cifer_privacy::{Gaussian, Mechanism, Parameters, Variance};
use rand_chacha::{ChaCha12Rng, ChaCha20Rng, rand_core::SeedableRng};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let coordinates: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 1_000_000,
    };
    let update = vec![1e-3_f32; coordinates];
    for (numerator, denominator) in [
        (1, 1),
        (400, 1),
        (40_000, 1),
        (6_000_000, 1),
        (6_000_001, 7),
    ] {
        let variance = Variance::new(numerator, denominator)?;
        let sampler = Gaussian::new(variance);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let start = Instant::now();
        let mut sum = 0_i64;
        for _ in 0..coordinates {
            sum += sampler.sample(&mut rng);
        }
        let sampled = start.elapsed();
        let mechanism = Mechanism::new(Parameters {
            coordinates: coordinates as u64,
            steps_per_unit: 1000.0,
            norm: 3000 << 16,
            variance,
            tail: (12.0 * variance.to_f64().sqrt()).ceil() as u32,
        })?;
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let start = Instant::now();
        let noised = mechanism.perturb(&update, &mut rng)?;
        let perturbed = start.elapsed();
        let nanos = |time: std::time::Duration| time.as_nanos() as f64 / coordinates as f64;
        println!(
            "variance {numerator}/{denominator}: a sample {:.0} ns (mean {:.2}), clip, round and noise {:.0} ns a coordinate, {}",
            nanos(sampled),
            sum as f64 / coordinates as f64,
            nanos(perturbed),
            noised.len(),
        );
    }
    Ok(())
}
