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
//! - All arithmetic is IEEE-754 addition, subtraction, multiplication, division and comparison;
//!   there is no fused multiply-add and no call into libm.
//! - Sums over contributors run in f64, in the stated order of the rule, and are rounded to f32 once.
//! - Sums over coordinates (distances) have a fixed shape, see [`distances`].
//! - `-0.0` is read as `+0.0`; NaN and infinities are refused with contributor and coordinate.
//! - Ties go to the lower index. The caller brings the updates into a canonical order.
//!
//! **Little memory.** A rule never holds whole updates. Inputs are [`VectorSource`]s read by
//! position, the result leaves through a [`Sink`] tile after tile, and all buffers together stay
//! below 64 MiB on 8 threads for up to [`MAX_UPDATES`] updates of any length (3 MiB more for each
//! further thread at that bound; the arithmetic is in `tiles.rs`).
//!
//! **Hostile inputs.** Numbers of updates for which the rule's guarantee is void are refused with
//! the inequality ([`Rule::check`]); lengths and values are checked while they are read.
//!
//! | rule | tolerates | passes over the data | work per coordinate |
//! |---|---|---|---|
//! | [`rules::mean`] (`fedavg`) | 0 | 1 | n multiply-adds |
//! | [`rules::median`] | f < n/2 | 1 | O(n log² n) min/max |
//! | [`rules::trimmed_mean`] | f < n/2 | 1 | O(n log² n) min/max |
//! | [`rules::krum`] (`krum`, `multi-krum`) | f ≤ (n-3)/2 | 2 | n(n-1)/2 multiply-adds, then 1 or m reads |
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
pub mod encoding;
mod error;
mod finite;
mod mapped;
mod network;
mod quantile;
mod rule;
pub mod rules;
pub mod simd;
mod sink;
mod source;
mod tiles;

pub use aggregate::{Report, Update, aggregate, aggregate_step};
pub use attacks::{Attack, AttackError};
pub use encoding::Encoding;
pub use error::{AggregationError, Malformed, Origin};
pub use finite::check_finite;
pub use mapped::MappedSource;
pub use rule::{ParseRuleError, Rule, RuleName};
pub use sink::{FileDigest, FileSink, Sink};
pub use source::{FileSource, VectorSource};
pub use tiles::{MAX_UPDATES, TILE};
