//! A line search for the strength that moves the network's rule farthest from the honest mean.
//!
//! The search of ByzFL (class `Optimal_InnerProductManipulation`, its default numbers): from 0 a step of 10
//! is doubled while the damage grows, then shrinks by 0.8, 20 aggregations in all. The
//! damage is the Euclidean distance between the rule's result, with f copies of the forged vector
//! behind the honest updates, and the mean of the honest updates.

use super::honest::{mean, per_coordinate};
use super::{AttackError, Defence, Knowledge};
use crate::error::AggregationError;

const EVALUATIONS: usize = 20;
const FIRST_STEP: f64 = 10.0;
const SHRINK: f64 = 0.8;

/// The vector of `forge` with the strength that does the most damage.
pub(super) fn strongest(
    attack: &'static str,
    known: &Knowledge<'_>,
    forge: impl Fn(&Knowledge<'_>, f64) -> Vec<f32>,
) -> Result<Vec<f32>, AttackError> {
    let defence = known.defence.ok_or(AttackError::NoDefence(attack))?;
    let honest_mean: Vec<f64> = per_coordinate(known, mean).collect();
    let damage = |strength| {
        let forged = forge(known, strength);
        damage(defence, known, &forged, &honest_mean)
    };
    let refused = |error: AggregationError| AttackError::Defence {
        attack,
        cause: error.to_string(),
    };

    // With strength 0 the forged vector is harmless: what is refused now is refused for other reasons.
    let (mut best, mut most) = (0.0, damage(0.0).map_err(refused)?);
    let (mut step, mut growing) = (FIRST_STEP, true);
    for _ in 1..EVALUATIONS {
        let next = best + step;
        // A vector that overflows is refused by the network, and does no damage.
        let done = damage(next).unwrap_or(0.0);
        let better = done > most;
        if better {
            (best, most) = (next, done);
        }
        growing &= better;
        step *= if growing { 2.0 } else { SHRINK };
    }
    Ok(forge(known, best))
}

fn damage(
    defence: &dyn Defence,
    known: &Knowledge<'_>,
    forged: &[f32],
    honest_mean: &[f64],
) -> Result<f64, AggregationError> {
    let mut updates: Vec<&[f32]> = known.honest.iter().map(Vec::as_slice).collect();
    updates.extend(std::iter::repeat_n(forged, known.f));
    let result = defence.defend(&updates)?;
    let squares = result.iter().zip(honest_mean).map(|(x, mean)| {
        let off = f64::from(*x) - mean;
        off * off
    });
    Ok(squares.sum::<f64>().sqrt())
}
