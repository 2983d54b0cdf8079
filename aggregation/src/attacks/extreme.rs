//! Values at the edge of f32: what every node must refuse, and the largest that it may not.

/// Refused before it counts, as infinities are.
pub(super) const NAN: f32 = f32::NAN;

/// The largest finite value: two of them overflow f32, and their square is still exact enough in f64.
pub(super) const LARGEST: f32 = f32::MAX;
