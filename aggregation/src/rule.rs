//! Rules as data: names, parameters, the numbers they need, and their text and serde forms.
//!
//! In text a rule is its name, and its parameters after a colon: `fedavg`, `fedavg:weight_cap=500`,
//! `median`, `trimmed-mean:f=3`, `multi-krum:f=3,m=7`, `centered-clipping:radius=2.5,steps=3`. In
//! serde formats it is a table: `{ name = "multi-krum", f = 3, m = 7 }`, with fractions in
//! millionths: `radius_ppm = 2500000`. Parameters that a rule does not have are refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::AggregationError;
use crate::params::{MILLION, Params, ParseRuleError, Table, read_stage, shorten, write_stage};
use crate::subsets::binomial;
use crate::tiles::MAX_UPDATES;

/// Most steps of an iterative rule: each is a pass over all updates.
pub const MAX_STEPS: u32 = 64;

/// Most updates for MDA and CAF, whose work grows faster than n².
pub const MAX_FILTERED: usize = 128;

/// Most updates for SMEA, which finds an eigenvalue for every subset.
pub const MAX_SMEA: usize = 64;

/// Most subsets of n - f updates among which MDA searches.
pub const MAX_MDA_SUBSETS: u64 = 1_000_000;

/// Most subsets of n - f updates among which SMEA searches.
pub const MAX_SMEA_SUBSETS: u64 = 20_000;

/// The name of a rule, without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RuleName {
    /// `fedavg`
    #[serde(rename = "fedavg")]
    FedAvg,
    /// `median`
    Median,
    /// `trimmed-mean`
    TrimmedMean,
    /// `krum`
    Krum,
    /// `multi-krum`
    MultiKrum,
    /// `meamed`
    Meamed,
    /// `bulyan`
    Bulyan,
    /// `geometric-median`
    GeometricMedian,
    /// `centered-clipping`
    CenteredClipping,
    /// `mda`
    Mda,
    /// `monna`
    Monna,
    /// `caf`
    Caf,
    /// `smea`
    Smea,
    /// `norm-clipped-mean`
    NormClippedMean,
    /// `sign-majority`
    SignMajority,
}

impl RuleName {
    /// All rules.
    pub const ALL: [Self; 15] = [
        Self::FedAvg,
        Self::Median,
        Self::TrimmedMean,
        Self::Krum,
        Self::MultiKrum,
        Self::Meamed,
        Self::Bulyan,
        Self::GeometricMedian,
        Self::CenteredClipping,
        Self::Mda,
        Self::Monna,
        Self::Caf,
        Self::Smea,
        Self::NormClippedMean,
        Self::SignMajority,
    ];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FedAvg => "fedavg",
            Self::Median => "median",
            Self::TrimmedMean => "trimmed-mean",
            Self::Krum => "krum",
            Self::MultiKrum => "multi-krum",
            Self::Meamed => "meamed",
            Self::Bulyan => "bulyan",
            Self::GeometricMedian => "geometric-median",
            Self::CenteredClipping => "centered-clipping",
            Self::Mda => "mda",
            Self::Monna => "monna",
            Self::Caf => "caf",
            Self::Smea => "smea",
            Self::NormClippedMean => "norm-clipped-mean",
            Self::SignMajority => "sign-majority",
        }
    }

    /// The rule of this name for `n` updates of which `f` may be Byzantine.
    ///
    /// What n and f do not say is: no weight cap, m = n - f (at least 1), eight steps with ν = 10⁻⁶ for
    /// the geometric median, three steps with radius 10 for centered clipping, radius 2 for the
    /// norm-clipped mean, pivot 0 for MoNNA. [`Rule::check`] says whether the numbers hold.
    pub fn for_numbers(self, n: u32, f: u32) -> Rule {
        match self {
            Self::FedAvg => Rule::FedAvg {
                weight_cap: u64::MAX,
            },
            Self::Median => Rule::Median,
            Self::TrimmedMean => Rule::TrimmedMean { f },
            Self::Krum => Rule::Krum { f },
            Self::MultiKrum => Rule::MultiKrum {
                f,
                m: n.saturating_sub(f).max(1),
            },
            Self::Meamed => Rule::Meamed { f },
            Self::Bulyan => Rule::Bulyan { f },
            Self::GeometricMedian => Rule::GeometricMedian {
                nu_ppm: 1,
                steps: 8,
            },
            Self::CenteredClipping => Rule::CenteredClipping {
                radius_ppm: 10 * MILLION,
                steps: 3,
            },
            Self::Mda => Rule::Mda { f },
            Self::Monna => Rule::Monna { f, pivot: 0 },
            Self::Caf => Rule::Caf { f },
            Self::Smea => Rule::Smea { f },
            Self::NormClippedMean => Rule::NormClippedMean {
                radius_ppm: 2 * MILLION,
            },
            Self::SignMajority => Rule::SignMajority,
        }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RuleName {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let known = Self::ALL.into_iter().find(|name| name.as_str() == text);
        known.ok_or_else(|| ParseRuleError::UnknownRule(shorten(text)))
    }
}

/// A rule and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Table<RuleName>", into = "Table<RuleName>")]
#[cfg_attr(
    feature = "borsh",
    derive(borsh::BorshSerialize, borsh::BorshDeserialize)
)]
#[non_exhaustive]
pub enum Rule {
    /// Mean weighted by samples, see [`crate::rules::mean`].
    FedAvg {
        /// Most samples that an update is believed to have; `u64::MAX` for no cap.
        weight_cap: u64,
    },
    /// Coordinate-wise median, see [`crate::rules::median`].
    Median,
    /// Coordinate-wise trimmed mean, see [`crate::rules::trimmed_mean`].
    TrimmedMean {
        /// Byzantine updates tolerated; as many values are dropped at each end.
        f: u32,
    },
    /// The update with the closest neighbours, see [`crate::rules::krum`].
    Krum {
        /// Byzantine updates tolerated.
        f: u32,
    },
    /// The mean of the m updates with the closest neighbours, see [`crate::rules::krum`].
    MultiKrum {
        /// Byzantine updates tolerated.
        f: u32,
        /// Updates selected.
        m: u32,
    },
    /// Coordinate-wise mean around the median, see [`crate::rules::meamed`].
    Meamed {
        /// Byzantine updates tolerated; as many values are dropped.
        f: u32,
    },
    /// Repeated Krum, then the mean around the median, see [`crate::rules::bulyan`].
    Bulyan {
        /// Byzantine updates tolerated.
        f: u32,
    },
    /// Smoothed geometric median, see [`crate::rules::geometric_median`].
    GeometricMedian {
        /// Distance below which an update's weight grows no more, in millionths.
        nu_ppm: u64,
        /// Weiszfeld steps from the origin.
        steps: u32,
    },
    /// Centered clipping from the origin, see [`crate::rules::centered_clipping`].
    CenteredClipping {
        /// Longest pull of one update in one step, in millionths.
        radius_ppm: u64,
        /// Steps.
        steps: u32,
    },
    /// Minimum diameter averaging, see [`crate::rules::mda`].
    Mda {
        /// Byzantine updates tolerated.
        f: u32,
    },
    /// The mean of the neighbours of a trusted update, see [`crate::rules::monna`].
    Monna {
        /// Byzantine updates tolerated.
        f: u32,
        /// Index of the trusted update.
        pivot: u32,
    },
    /// Covariance-bound agnostic filter, see [`crate::rules::caf`].
    Caf {
        /// Byzantine updates tolerated.
        f: u32,
    },
    /// Smallest maximum eigenvalue averaging, see [`crate::rules::smea`].
    Smea {
        /// Byzantine updates tolerated.
        f: u32,
    },
    /// The mean of updates clipped to a norm, see [`crate::rules::norm_clipped_mean`].
    NormClippedMean {
        /// Largest norm, in millionths.
        radius_ppm: u64,
    },
    /// The majority of signs in every coordinate, see [`crate::rules::sign_majority`].
    SignMajority,
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> RuleName {
        match self {
            Self::FedAvg { .. } => RuleName::FedAvg,
            Self::Median => RuleName::Median,
            Self::TrimmedMean { .. } => RuleName::TrimmedMean,
            Self::Krum { .. } => RuleName::Krum,
            Self::MultiKrum { .. } => RuleName::MultiKrum,
            Self::Meamed { .. } => RuleName::Meamed,
            Self::Bulyan { .. } => RuleName::Bulyan,
            Self::GeometricMedian { .. } => RuleName::GeometricMedian,
            Self::CenteredClipping { .. } => RuleName::CenteredClipping,
            Self::Mda { .. } => RuleName::Mda,
            Self::Monna { .. } => RuleName::Monna,
            Self::Caf { .. } => RuleName::Caf,
            Self::Smea { .. } => RuleName::Smea,
            Self::NormClippedMean { .. } => RuleName::NormClippedMean,
            Self::SignMajority => RuleName::SignMajority,
        }
    }

    /// Byzantine updates that the parameters promise to tolerate. `None` for the rules that have no
    /// parameter for it: median, geometric median and sign majority bear any minority; clipping to a
    /// fixed radius bounds what each update can do, however many there are.
    pub fn tolerated(&self) -> Option<u32> {
        match *self {
            Self::FedAvg { .. } => Some(0),
            Self::Median
            | Self::GeometricMedian { .. }
            | Self::CenteredClipping { .. }
            | Self::NormClippedMean { .. }
            | Self::SignMajority => None,
            Self::TrimmedMean { f }
            | Self::Krum { f }
            | Self::MultiKrum { f, .. }
            | Self::Meamed { f }
            | Self::Bulyan { f }
            | Self::Mda { f }
            | Self::Monna { f, .. }
            | Self::Caf { f }
            | Self::Smea { f } => Some(f),
        }
    }

    /// Fewest updates for which [`check`](Self::check) can pass.
    pub fn min_updates(&self) -> u64 {
        let least = self.least_for_f();
        match *self {
            Self::MultiKrum { f, m } => least.max(u64::from(m) + u64::from(f)),
            Self::Monna { pivot, .. } => least.max(u64::from(pivot) + 1),
            _ => least,
        }
    }

    /// What f alone asks of n.
    fn least_for_f(&self) -> u64 {
        let f = u64::from(self.tolerated().unwrap_or(0));
        match self {
            Self::Krum { .. } | Self::MultiKrum { .. } => 2 * f + 3,
            Self::Bulyan { .. } => 4 * f + 3,
            _ => 2 * f + 1,
        }
    }

    /// Whether the rule's guarantee holds for `n` updates, and its work stays bounded.
    ///
    /// # Errors
    /// [`AggregationError::Infeasible`] with the inequality and the numbers in it, or
    /// [`AggregationError::TooManyUpdates`].
    pub fn check(&self, n: usize) -> Result<(), AggregationError> {
        if n > MAX_UPDATES {
            return Err(AggregationError::TooManyUpdates {
                count: n,
                limit: MAX_UPDATES,
            });
        }
        self.check_parameters()?;
        let (count, least) = (n as u64, self.least_for_f());
        if count < least {
            let inequality = match self {
                Self::Krum { .. } | Self::MultiKrum { .. } => "n >= 2f+3",
                Self::Bulyan { .. } => "n >= 4f+3",
                _ if self.promised().is_none() => "n >= 1",
                _ => "n >= 2f+1",
            };
            let f = self.promised().map(|f| format!(", f = {f}"));
            let f = f.unwrap_or_default();
            return self.infeasible(inequality, format!("n = {n}{f} gives {n} < {least}"));
        }
        match *self {
            Self::MultiKrum { f, m } if u64::from(m) > count - u64::from(f) => {
                let most = count - u64::from(f);
                let instance = format!("n = {n}, f = {f}, m = {m} gives {m} > {most}");
                self.infeasible("m <= n-f", instance)
            }
            Self::Monna { pivot, .. } if u64::from(pivot) >= count => self.infeasible(
                "pivot < n",
                format!("pivot = {pivot}, n = {n} gives {pivot} >= {n}"),
            ),
            Self::Caf { .. } => self.at_most(n, MAX_FILTERED, "n <= 128"),
            Self::Mda { f } => {
                self.at_most(n, MAX_FILTERED, "n <= 128")?;
                let inequality = "(n choose f) <= 1000000";
                self.few_subsets(count, f, MAX_MDA_SUBSETS, inequality)
            }
            Self::Smea { f } => {
                self.at_most(n, MAX_SMEA, "n <= 64")?;
                self.few_subsets(count, f, MAX_SMEA_SUBSETS, "(n choose f) <= 20000")
            }
            _ => Ok(()),
        }
    }

    /// The f that a message may speak of: not that of FedAvg, which promises nothing.
    fn promised(&self) -> Option<u32> {
        match self {
            Self::FedAvg { .. } => None,
            _ => self.tolerated(),
        }
    }

    /// Parameters that have no meaning for any n.
    fn check_parameters(&self) -> Result<(), AggregationError> {
        let zero = |name: &str| format!("{name} = 0 gives 0 < 1");
        match *self {
            Self::FedAvg { weight_cap: 0 } => {
                self.infeasible("weight_cap >= 1", zero("weight_cap"))
            }
            Self::MultiKrum { m: 0, .. } => self.infeasible("m >= 1", zero("m")),
            Self::GeometricMedian { nu_ppm: 0, .. } => {
                self.infeasible("nu_ppm >= 1", zero("nu_ppm"))
            }
            Self::CenteredClipping { radius_ppm: 0, .. }
            | Self::NormClippedMean { radius_ppm: 0 } => {
                self.infeasible("radius_ppm >= 1", zero("radius_ppm"))
            }
            Self::GeometricMedian { steps, .. } | Self::CenteredClipping { steps, .. }
                if !(1..=MAX_STEPS).contains(&steps) =>
            {
                self.infeasible("1 <= steps <= 64", format!("steps = {steps}"))
            }
            _ => Ok(()),
        }
    }

    fn infeasible(
        &self,
        inequality: &'static str,
        instance: String,
    ) -> Result<(), AggregationError> {
        Err(AggregationError::Infeasible {
            stage: self.name().into(),
            inequality,
            instance,
        })
    }

    fn at_most(
        &self,
        n: usize,
        limit: usize,
        inequality: &'static str,
    ) -> Result<(), AggregationError> {
        match n <= limit {
            true => Ok(()),
            false => self.infeasible(inequality, format!("n = {n} gives {n} > {limit}")),
        }
    }

    fn few_subsets(
        &self,
        n: u64,
        f: u32,
        limit: u64,
        inequality: &'static str,
    ) -> Result<(), AggregationError> {
        let subsets = binomial(n, u64::from(f));
        match subsets <= limit {
            true => Ok(()),
            false => self.infeasible(
                inequality,
                format!("n = {n}, f = {f} gives {subsets} > {limit}"),
            ),
        }
    }

    /// The parameters by name, those that say nothing left out.
    pub(crate) fn params(&self) -> Vec<(&'static str, u64)> {
        let long = u64::from;
        match *self {
            Self::FedAvg {
                weight_cap: u64::MAX,
            }
            | Self::Median
            | Self::SignMajority => vec![],
            Self::FedAvg { weight_cap } => vec![("weight_cap", weight_cap)],
            Self::TrimmedMean { f }
            | Self::Krum { f }
            | Self::Meamed { f }
            | Self::Bulyan { f }
            | Self::Mda { f }
            | Self::Caf { f }
            | Self::Smea { f } => vec![("f", long(f))],
            Self::MultiKrum { f, m } => vec![("f", long(f)), ("m", long(m))],
            Self::Monna { f, pivot } => vec![("f", long(f)), ("pivot", long(pivot))],
            Self::GeometricMedian { nu_ppm, steps } => {
                vec![("nu_ppm", nu_ppm), ("steps", long(steps))]
            }
            Self::CenteredClipping { radius_ppm, steps } => {
                vec![("radius_ppm", radius_ppm), ("steps", long(steps))]
            }
            Self::NormClippedMean { radius_ppm } => vec![("radius_ppm", radius_ppm)],
        }
    }

    /// The rule of this name with these parameters and no others.
    pub(crate) fn from_params(name: RuleName, mut p: Params) -> Result<Self, ParseRuleError> {
        let rule = match name {
            RuleName::FedAvg => Self::FedAvg {
                weight_cap: p.optional("weight_cap").unwrap_or(u64::MAX),
            },
            RuleName::Median => Self::Median,
            RuleName::SignMajority => Self::SignMajority,
            RuleName::MultiKrum => Self::MultiKrum {
                f: p.count(name, "f")?,
                m: p.count(name, "m")?,
            },
            RuleName::Monna => Self::Monna {
                f: p.count(name, "f")?,
                pivot: p.count(name, "pivot")?,
            },
            RuleName::GeometricMedian => Self::GeometricMedian {
                nu_ppm: p.long(name, "nu_ppm")?,
                steps: p.count(name, "steps")?,
            },
            RuleName::CenteredClipping => Self::CenteredClipping {
                radius_ppm: p.long(name, "radius_ppm")?,
                steps: p.count(name, "steps")?,
            },
            RuleName::NormClippedMean => Self::NormClippedMean {
                radius_ppm: p.long(name, "radius_ppm")?,
            },
            RuleName::TrimmedMean
            | RuleName::Krum
            | RuleName::Meamed
            | RuleName::Bulyan
            | RuleName::Mda
            | RuleName::Caf
            | RuleName::Smea => name.for_numbers(0, p.count(name, "f")?),
        };
        p.finish(name)?;
        Ok(rule)
    }
}

impl From<Rule> for Table<RuleName> {
    fn from(rule: Rule) -> Self {
        Self::new(rule.name(), &rule.params())
    }
}

impl TryFrom<Table<RuleName>> for Rule {
    type Error = ParseRuleError;

    fn try_from(table: Table<RuleName>) -> Result<Self, ParseRuleError> {
        let (name, params) = table.into_parts();
        Self::from_params(name, params)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_stage(out, self.name(), &self.params())
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let (name, params) = read_stage(text)?;
        Self::from_params(name, params)
    }
}
