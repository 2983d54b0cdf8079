//! The check that a validator makes when a payload arrives, before it signs a receipt.

use crate::error::{AggregationError, Origin};
use crate::source::VectorSource;
use crate::tiles::TILE;

/// Reads `source` once and refuses NaN, infinities and magnitudes above `max_abs`. Holds one tile.
///
/// # Errors
/// [`AggregationError::NonFinite`] or [`AggregationError::OutOfRange`] with the first such
/// coordinate, or what the source reports.
pub fn check_finite(source: &dyn VectorSource, max_abs: f32) -> Result<(), AggregationError> {
    let len = source.len();
    let mut buffer = vec![0.0; TILE.min(len)];
    for start in (0..len).step_by(TILE) {
        let tile = &mut buffer[..TILE.min(len - start)];
        source.read(start, tile)?;
        // The common case is one vectorised comparison; NaN fails it like everything above.
        let good = tile
            .iter()
            .fold(true, |good, x| good & (x.abs() <= max_abs) & x.is_finite());
        if !good {
            first_bad(tile, start, max_abs)?;
        }
    }
    Ok(())
}

fn first_bad(tile: &[f32], start: usize, limit: f32) -> Result<(), AggregationError> {
    for (i, &value) in tile.iter().enumerate() {
        let coordinate = start + i;
        if !value.is_finite() {
            return Err(AggregationError::NonFinite {
                origin: Origin::Vector,
                coordinate,
                value,
            });
        }
        // Written so that a NaN limit refuses everything.
        if !matches!(
            value.abs().partial_cmp(&limit),
            Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
        ) {
            return Err(AggregationError::OutOfRange {
                coordinate,
                value,
                limit,
            });
        }
    }
    Ok(())
}
