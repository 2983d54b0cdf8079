//! Inner-product manipulation: `-tau * mean of the honest updates`.

use super::Knowledge;
use super::honest::{mean, per_coordinate};

pub(super) fn forge(known: &Knowledge<'_>, tau: f64) -> Vec<f32> {
    per_coordinate(known, |values| (-tau * mean(values)) as f32).collect()
}
