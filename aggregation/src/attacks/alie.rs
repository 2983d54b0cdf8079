//! A little is enough: `mean - z * deviation`, coordinate by coordinate.

use super::honest::{mean_and_deviation, per_coordinate};
use super::{AttackError, Knowledge};
use crate::quantile::normal_quantile;

pub(super) fn forge(known: &Knowledge<'_>, z: f64) -> Vec<f32> {
    let forge = |values: &[f64]| {
        let (mean, deviation) = mean_and_deviation(values);
        (mean - z * deviation) as f32
    };
    per_coordinate(known, forge).collect()
}

/// The paper's `z_max`: the attackers need `s = ⌊n/2 + 1⌋ - f` honest supporters, so z is where a
/// share `(n - f - s) / (n - f)` of the honest values lies below.
pub(super) fn largest_z(n: usize, f: usize) -> Result<f64, AttackError> {
    let honest = n.checked_sub(f).filter(|&honest| honest > 0);
    let honest = honest.ok_or(AttackError::Numbers { n, f })?;
    // Attackers in the majority need nobody; one supporter keeps z finite.
    let supporters = (n / 2 + 1).saturating_sub(f).clamp(1, honest);
    let share = (honest - supporters) as f64 / honest as f64;
    Ok(normal_quantile(share.max(1e-6)))
}
