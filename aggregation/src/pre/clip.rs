//! Static clipping: no row is longer than a radius.
//!
//! **Definition.** `y_i = min(1, r / ‖x_i‖) · x_i` with the Euclidean norm, in f64.
//!
//! **Paper.** Clipping to a constant is common; with robust rules it is studied in Allouah et al.,
//! *The Vital Role of Gradient Clipping in Byzantine-Resilient Distributed Learning*, 2024
//! (arXiv:2405.14432), section 3.
//!
//! **Breakdown point.** Alone it tolerates nothing and bounds everything: an update counts with at
//! most the radius. Before a rule it keeps an honest but extreme update from being all that
//! attackers need. A radius below the honest norms also shortens honest updates.
//!
//! **Cost.** One pass for the norms, n multiply-adds per coordinate; rows are scaled as they are
//! read.
//!
//! **Use.** First in a pipeline, when the scale of honest updates is known; [`arc`](super::arc) finds
//! the radius by itself.

use crate::error::AggregationError;
use crate::params::from_ppm;
use crate::radial::squared_norms;
use crate::tiles::Inputs;

pub(super) fn apply<'a>(
    rows: &Inputs<'a>,
    radius_ppm: u64,
) -> Result<Inputs<'a>, AggregationError> {
    let factors = clipping_factors(&squared_norms(rows)?, from_ppm(radius_ppm));
    Ok(rows.scaled(&factors))
}

/// `min(1, radius / norm)` for each squared norm; 1 for a norm of zero.
pub(crate) fn clipping_factors(squared_norms: &[f64], radius: f64) -> Vec<f64> {
    let factor = |square: &f64| {
        let norm = square.sqrt();
        if norm > radius { radius / norm } else { 1.0 }
    };
    squared_norms.iter().map(factor).collect()
}
