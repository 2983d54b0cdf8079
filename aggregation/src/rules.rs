//! The rules, one file each. A coordinate-wise rule is a `Kernel`; a rule that first selects
//! updates (Krum) ends in the mean of the selected ones.

use crate::tiles::BLOCK;

pub mod krum;
pub mod mean;
pub mod median;
pub mod trimmed_mean;

/// A rule that treats every coordinate on its own.
pub(crate) trait Kernel: Sync {
    /// Reduces one block, n rows of [`BLOCK`] coordinates, to one row. May use `rows` as scratch.
    ///
    /// Values are finite and have no negative zero; rows come in the order of the updates.
    fn reduce(&self, rows: &mut [[f32; BLOCK]], out: &mut [f32; BLOCK]);
}
