//! Pre-aggregators: what happens to the updates before the rule sees them.
//!
//! Every one of them replaces the n updates by rows that are linear combinations of them, with
//! coefficients that are at least zero and sum to at most one. So nothing is written out: the
//! coefficients of all stages are folded into one matrix in f64, and whoever reads a row
//! gets `Σ coefficient · update`, summed in f64 in the order of the updates and rounded to f32 once.
//! Norms and distances are always measured on the rows themselves, by true differences, never by
//! inner products of the inputs: an attacker's huge values cancel nothing.
//!
//! | pre-aggregator | rows | tolerates | passes | work per coordinate |
//! |---|---|---|---|---|
//! | [`clip`] | n | any f | 1 | n multiply-adds |
//! | [`arc`] | n | f < n/2 | 1 | n multiply-adds |
//! | [`nnm`] | n | f < n/2 | 1 | n(n-1)/2 multiply-adds, then n(n-f) when rows are read |
//! | [`bucketing`] | ⌈n/s⌉ | f < n/(2s) | 0 | n when rows are read |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::AggregationError;
use crate::params::{MILLION, Params, ParseRuleError, Table, shorten, write_stage};
use crate::tiles::Inputs;

pub mod arc;
pub mod bucketing;
pub mod clip;
pub mod nnm;

/// The name of a pre-aggregator, without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PreName {
    /// `clip`
    Clip,
    /// `arc`
    Arc,
    /// `nnm`
    Nnm,
    /// `bucketing`
    Bucketing,
}

impl PreName {
    /// All pre-aggregators.
    pub const ALL: [Self; 4] = [Self::Clip, Self::Arc, Self::Nnm, Self::Bucketing];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Arc => "arc",
            Self::Nnm => "nnm",
            Self::Bucketing => "bucketing",
        }
    }

    /// The pre-aggregator of this name when `f` updates may be Byzantine; radius 2 for clipping and
    /// buckets of 2.
    pub fn for_numbers(self, f: u32) -> PreAggregator {
        match self {
            Self::Clip => PreAggregator::Clip {
                radius_ppm: 2 * MILLION,
            },
            Self::Arc => PreAggregator::Arc { f },
            Self::Nnm => PreAggregator::Nnm { f },
            Self::Bucketing => PreAggregator::Bucketing { s: 2 },
        }
    }
}

impl fmt::Display for PreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PreName {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let known = Self::ALL.into_iter().find(|name| name.as_str() == text);
        known.ok_or_else(|| ParseRuleError::UnknownPre(shorten(text)))
    }
}

/// What a stage takes and gives: rows, and the samples that each stands for (of a bucket: the sum).
pub(crate) struct Rows<'a> {
    pub(crate) inputs: Inputs<'a>,
    pub(crate) weights: Vec<u64>,
}

/// A pre-aggregator and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Table<PreName>", into = "Table<PreName>")]
#[cfg_attr(
    feature = "borsh",
    derive(borsh::BorshSerialize, borsh::BorshDeserialize)
)]
#[non_exhaustive]
pub enum PreAggregator {
    /// Static clipping, see [`clip`].
    Clip {
        /// Largest norm, in millionths.
        radius_ppm: u64,
    },
    /// Adaptive robust clipping, see [`arc`].
    Arc {
        /// Byzantine updates tolerated.
        f: u32,
    },
    /// Nearest-neighbour mixing, see [`nnm`].
    Nnm {
        /// Byzantine updates tolerated.
        f: u32,
    },
    /// Means of random buckets, see [`bucketing`].
    Bucketing {
        /// Updates in a bucket.
        s: u32,
    },
}

impl PreAggregator {
    /// Its name.
    pub fn name(&self) -> PreName {
        match self {
            Self::Clip { .. } => PreName::Clip,
            Self::Arc { .. } => PreName::Arc,
            Self::Nnm { .. } => PreName::Nnm,
            Self::Bucketing { .. } => PreName::Bucketing,
        }
    }

    /// Byzantine updates that the parameters promise to tolerate, where there is such a parameter.
    pub fn tolerated(&self) -> Option<u32> {
        match *self {
            Self::Arc { f } | Self::Nnm { f } => Some(f),
            Self::Clip { .. } | Self::Bucketing { .. } => None,
        }
    }

    /// Rows that it makes of `n` updates.
    pub fn rows(&self, n: usize) -> usize {
        match *self {
            Self::Bucketing { s } => n.div_ceil((s as usize).max(1)),
            _ => n,
        }
    }

    /// Whether it has a meaning for `n` updates.
    ///
    /// # Errors
    /// [`AggregationError::Infeasible`] with the inequality and the numbers in it.
    pub fn check(&self, n: usize) -> Result<(), AggregationError> {
        let infeasible = |inequality, instance| {
            Err(AggregationError::Infeasible {
                stage: self.name().into(),
                inequality,
                instance,
            })
        };
        match *self {
            Self::Clip { radius_ppm: 0 } => {
                infeasible("radius_ppm >= 1", "radius_ppm = 0 gives 0 < 1".into())
            }
            Self::Bucketing { s: 0 } => infeasible("s >= 1", "s = 0 gives 0 < 1".into()),
            Self::Bucketing { s } if s as usize > n => {
                infeasible("s <= n", format!("s = {s}, n = {n} gives {s} > {n}"))
            }
            Self::Arc { f } | Self::Nnm { f } if (n as u64) < 2 * u64::from(f) + 1 => {
                let least = 2 * u64::from(f) + 1;
                infeasible("n >= 2f+1", format!("n = {n}, f = {f} gives {n} < {least}"))
            }
            Self::Clip { .. } if n == 0 => infeasible("n >= 1", "n = 0 gives 0 < 1".into()),
            _ => Ok(()),
        }
    }

    /// The rows after this stage. `place` is its position in the pipeline. What
    /// [`check`](Self::check) checks holds already.
    pub(crate) fn apply<'a>(
        &self,
        rows: Rows<'a>,
        seed: &[u8; 32],
        place: usize,
    ) -> Result<Rows<'a>, AggregationError> {
        let Rows { inputs, weights } = rows;
        let inputs = match *self {
            Self::Clip { radius_ppm } => clip::apply(&inputs, radius_ppm)?,
            Self::Arc { f } => arc::apply(&inputs, f as usize)?,
            Self::Nnm { f } => nnm::apply(&inputs, f as usize)?,
            Self::Bucketing { s } => {
                let buckets = bucketing::buckets(inputs.count(), s as usize, seed, place);
                let total = |bucket: &Vec<usize>| {
                    let members = bucket.iter().map(|&i| weights[i]);
                    members.fold(0, u64::saturating_add)
                };
                return Ok(Rows {
                    inputs: inputs.averaged(&buckets),
                    weights: buckets.iter().map(total).collect(),
                });
            }
        };
        Ok(Rows { inputs, weights })
    }

    /// The parameters by name.
    pub(crate) fn params(&self) -> Vec<(&'static str, u64)> {
        match *self {
            Self::Clip { radius_ppm } => vec![("radius_ppm", radius_ppm)],
            Self::Arc { f } | Self::Nnm { f } => vec![("f", u64::from(f))],
            Self::Bucketing { s } => vec![("s", u64::from(s))],
        }
    }

    /// The pre-aggregator of this name with these parameters and no others.
    pub(crate) fn from_params(name: PreName, mut p: Params) -> Result<Self, ParseRuleError> {
        let stage = match name {
            PreName::Clip => Self::Clip {
                radius_ppm: p.long(name, "radius_ppm")?,
            },
            PreName::Arc => Self::Arc {
                f: p.count(name, "f")?,
            },
            PreName::Nnm => Self::Nnm {
                f: p.count(name, "f")?,
            },
            PreName::Bucketing => Self::Bucketing {
                s: p.count(name, "s")?,
            },
        };
        p.finish(name)?;
        Ok(stage)
    }
}

impl From<PreAggregator> for Table<PreName> {
    fn from(stage: PreAggregator) -> Self {
        Self::new(stage.name(), &stage.params())
    }
}

impl TryFrom<Table<PreName>> for PreAggregator {
    type Error = ParseRuleError;

    fn try_from(table: Table<PreName>) -> Result<Self, ParseRuleError> {
        let (name, params) = table.into_parts();
        Self::from_params(name, params)
    }
}

impl fmt::Display for PreAggregator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_stage(out, self.name(), &self.params())
    }
}
