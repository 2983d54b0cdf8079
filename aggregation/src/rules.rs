//! The rules, one file each. Each makes a [`Plan`] of the rows: a coordinate-wise rule is a `Kernel`, all
//! others end in a weighted sum of rows, whatever they had to measure before.

use crate::aggregate::Plan;
use crate::error::AggregationError;
use crate::pre::Rows;
use crate::rule::Rule;
use crate::tiles::{Ahead, BLOCK};

pub mod bulyan;
pub mod caf;
pub mod centered_clipping;
pub mod geometric_median;
pub mod krum;
pub mod mda;
pub mod meamed;
pub mod mean;
pub mod median;
pub mod monna;
pub mod norm_clipped_mean;
pub mod sign_majority;
pub mod smea;
pub mod trimmed_mean;

/// A rule that treats every coordinate on its own.
pub(crate) trait Kernel: Sync {
    /// Reduces one block, n rows of [`BLOCK`] coordinates, to one row. May use `rows` as scratch, and asks for what is
    /// [`Ahead`] in the meantime.
    ///
    /// Values are finite and have no negative zero; rows come in the order of the updates.
    fn reduce(&self, rows: &mut [[f32; BLOCK]], ahead: &mut Ahead<'_>, out: &mut [f32; BLOCK]);
}

/// Measures the rows as the rule asks and says what the last pass has to do. The numbers have been
/// checked.
pub(crate) fn plan(rule: &Rule, rows: &Rows<'_>) -> Result<Plan, AggregationError> {
    let (inputs, n) = (&rows.inputs, rows.inputs.count());
    let all = |kernel| Ok(Plan::coordinatewise((0..n).collect(), kernel));
    match *rule {
        Rule::FedAvg { .. } => mean::plan(&rows.weights),
        Rule::Median => all(Box::new(median::Median::new(n))),
        Rule::TrimmedMean { f } => all(Box::new(trimmed_mean::TrimmedMean::new(n, f as usize))),
        Rule::Meamed { f } => all(Box::new(meamed::MeanAroundMedian::new(n, n - f as usize))),
        Rule::SignMajority => all(Box::new(sign_majority::SignMajority)),
        Rule::Krum { f } => krum::plan(inputs, f as usize, 1),
        Rule::MultiKrum { f, m } => krum::plan(inputs, f as usize, m as usize),
        Rule::Bulyan { f } => bulyan::plan(inputs, f as usize),
        Rule::GeometricMedian { nu_ppm, steps } => geometric_median::plan(inputs, nu_ppm, steps),
        Rule::CenteredClipping { radius_ppm, steps } => {
            centered_clipping::plan(inputs, radius_ppm, steps)
        }
        Rule::Mda { f } => mda::plan(inputs, f as usize),
        Rule::Monna { f, pivot } => monna::plan(inputs, f as usize, pivot as usize),
        Rule::Caf { f } => caf::plan(inputs, f as usize),
        Rule::Smea { f } => smea::plan(inputs, f as usize),
        Rule::NormClippedMean { radius_ppm } => norm_clipped_mean::plan(inputs, radius_ppm),
    }
}
