//! Independent normal noise, the same for a seed on every machine.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::Knowledge;
use crate::quantile::normal_quantile;

pub(super) fn forge(known: &Knowledge<'_>, sigma: f64) -> Vec<f32> {
    let mut rng = ChaCha12Rng::seed_from_u64(known.seed);
    let noise = known.own.iter().map(|_| (sigma * normal(&mut rng)) as f32);
    noise.collect()
}

/// One standard normal number, by inversion of a uniform one.
fn normal(rng: &mut ChaCha12Rng) -> f64 {
    normal_quantile((f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0)
}
