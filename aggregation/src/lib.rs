//! Byzantine-robust aggregation of model updates, for validators that must all get the same bits.
//!
//! A round ends with `n` updates of `d` f32 coordinates. A [`Rule`] turns them into one vector, and
//! every validator of the network runs it on the same updates and signs the hash of the result. So
//! this crate is numbers only (no network, no ledger, no clock) and keeps three promises.
//!
//! **The same bits everywhere.** The result of a rule is a function of the updates in the order
//! they are given, and of nothing else: not of the thread count, the kind of source, the instruction
//! set or the machine's memory. What makes it so is part of the specification:
//!
//! - All arithmetic is IEEE-754 addition, subtraction, multiplication, division, square root and
//!   comparison; there is no fused multiply-add and no call into libm.
//! - Sums over contributors run in f64, in the stated order of the rule, and are rounded to f32 once.
//! - Sums over coordinates (distances, norms) have a fixed shape, see [`distances`].
//! - `-0.0` is read as `+0.0`; NaN and infinities are refused with contributor and coordinate.
//! - Ties go to the lower index. The caller brings the updates into a canonical order.
//!
//! **Little memory.** A rule never holds whole updates. Inputs are [`VectorSource`]s read by
//! position, the result leaves through a [`Sink`] tile after tile, and all buffers together stay
//! below 64 MiB on 8 threads for up to [`MAX_UPDATES`] updates of any length (3 MiB more for each
//! further thread at that bound; the arithmetic is in `tiles.rs`). Behind pre-aggregators they take up to 2 MiB
//! more for each thread and 16 MiB for the coefficients.
//!
//! **Hostile inputs.** Numbers of updates for which the rule's guarantee is void are refused with
//! the inequality ([`Rule::check`]); lengths and values are checked while they are read.
//!
//! A [`Pipeline`] puts [pre-aggregators](pre) before a rule. Rules, with n updates (or rows):
//!
//! | rule | tolerates | passes over the data | work per coordinate |
//! |---|---|---|---|
//! | [`rules::mean`] (`fedavg`) | 0 | 1 | n multiply-adds |
//! | [`rules::norm_clipped_mean`] | bounded influence | 2 | n multiply-adds |
//! | [`rules::median`] | f < n/2 | 1 | O(n log² n) min/max |
//! | [`rules::trimmed_mean`] | f < n/2 | 1 | O(n log² n) min/max |
//! | [`rules::meamed`] | f < n/2 | 1 | O(n log² n) min/max, n - f additions |
//! | [`rules::sign_majority`] | f < n/2 | 1 | n comparisons |
//! | [`rules::geometric_median`] | f < n/2 | steps + 1 | 2n multiply-adds |
//! | [`rules::centered_clipping`] | bounded influence | steps + 1 | 2n multiply-adds |
//! | [`rules::monna`] | f < n/2, one trusted | 2 | 2n multiply-adds |
//! | [`rules::krum`] (`krum`, `multi-krum`) | f ≤ (n-3)/2 | 2 | n(n-1)/2 multiply-adds, then 1 or m reads |
//! | [`rules::bulyan`] | f ≤ (n-3)/4 | 2 | n(n-1)/2 multiply-adds, then O(n log² n) min/max |
//! | [`rules::mda`] | f < n/2, (n choose f) ≤ 10⁶ | 2 | n(n-1)/2 multiply-adds |
//! | [`rules::smea`] | f < n/2, (n choose f) ≤ 20,000 | 2 | n(n-1)/2 multiply-adds |
//! | [`rules::caf`] | f < n/2, n ≤ 128 | 2 | n(n-1)/2 multiply-adds |
//!
//! ```
//! use cifer_aggregation::{aggregate, Rule, Update};
//!
//! let honest = [vec![1.0_f32, 2.0], vec![1.5, 2.5], vec![2.0, 3.0]];
//! let lie = vec![1e30_f32, -1e30];
//! let mut updates: Vec<Update<'_>> =
//!     honest.iter().map(|v| Update { source: v, weight: 1 }).collect();
//! updates.push(Update { source: &lie, weight: 1 });
//!
//! let mut out = Vec::new();
//! let report = aggregate(&Rule::TrimmedMean { f: 1 }, &updates, &mut out)?;
//! assert_eq!(out, [1.75, 2.25]);
//! assert_eq!(report.len, 2);
//! # Ok::<(), cifer_aggregation::AggregationError>(())
//! ```
//!
//! Work runs on the current rayon pool; a caller that must keep cores free installs its own.

mod aggregate;
pub mod attacks;
pub mod distances;
mod eigen;
pub mod encoding;
mod error;
#[cfg(feature = "files")]
pub mod files;
mod finite;
mod mapped;
mod mixing;
mod network;
pub mod optimizer;
mod params;
mod pipeline;
pub mod pre;
mod quantile;
mod radial;
mod rule;
pub mod rules;
pub mod simd;
mod sink;
mod source;
mod subsets;
mod sums;
mod tiles;
mod weighted;

pub use aggregate::{
    Report, ServerStep, Update, aggregate, aggregate_optimized, aggregate_pipeline,
    aggregate_pipeline_step, aggregate_step,
};
pub use attacks::{Attack, AttackError};
pub use encoding::Encoding;
pub use error::{AggregationError, Malformed, Origin};
pub use finite::check_finite;
pub use mapped::MappedSource;
pub use optimizer::{Optimizer, OptimizerName};
pub use params::{ParseRuleError, StageName};
pub use pipeline::{MAX_PRE_AGGREGATORS, Pipeline, Template};
pub use pre::{PreAggregator, PreName};
pub use rule::{
    MAX_FILTERED, MAX_MDA_SUBSETS, MAX_SMEA, MAX_SMEA_SUBSETS, MAX_STEPS, Rule, RuleName,
};
pub use sink::{FileDigest, FileSink, Sink};
pub use source::{FileSource, VectorSource};
pub use tiles::{MAX_UPDATES, TILE};
