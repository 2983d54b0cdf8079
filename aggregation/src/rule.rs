//! Rules as data: names, parameters, the numbers they need, and their text and serde forms.
//!
//! In text a rule is its name, and its parameters after a colon: `fedavg`, `fedavg:weight_cap=500`,
//! `median`, `trimmed-mean:f=3`, `krum:f=3`, `multi-krum:f=3,m=7`. In serde formats it is a table:
//! `{ name = "multi-krum", f = 3, m = 7 }`. Parameters that a rule does not have are refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::AggregationError;
use crate::tiles::MAX_UPDATES;

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
}

impl RuleName {
    /// All rules.
    pub const ALL: [Self; 5] = [
        Self::FedAvg,
        Self::Median,
        Self::TrimmedMean,
        Self::Krum,
        Self::MultiKrum,
    ];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FedAvg => "fedavg",
            Self::Median => "median",
            Self::TrimmedMean => "trimmed-mean",
            Self::Krum => "krum",
            Self::MultiKrum => "multi-krum",
        }
    }

    /// The rule of this name for `n` updates of which `f` may be Byzantine: no weight cap, and
    /// m = n - f (at least 1). [`Rule::check`] says whether the numbers hold.
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
        known.ok_or_else(|| ParseRuleError::UnknownRule(text.chars().take(40).collect()))
    }
}

/// Why text or a table is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseRuleError {
    /// No rule has this name.
    #[error("unknown rule {0:?}: expected fedavg, median, trimmed-mean, krum or multi-krum")]
    UnknownRule(String),
    /// A parameter is missing.
    #[error("{rule} needs the parameter {parameter}")]
    Missing {
        /// The rule.
        rule: RuleName,
        /// The parameter's name.
        parameter: &'static str,
    },
    /// The rule does not have this parameter.
    #[error("{rule} has no parameter {parameter:?}")]
    Unexpected {
        /// The rule.
        rule: RuleName,
        /// The parameter's name.
        parameter: String,
    },
    /// Not `parameter=number`, or given twice.
    #[error("{0:?} is not one parameter=number")]
    Malformed(String),
}

/// A rule and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
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
        }
    }

    /// Byzantine updates that the parameters promise to tolerate; the median tolerates any minority
    /// and has no parameter for it.
    pub fn tolerated(&self) -> Option<u32> {
        match *self {
            Self::FedAvg { .. } => Some(0),
            Self::Median => None,
            Self::TrimmedMean { f } | Self::Krum { f } | Self::MultiKrum { f, .. } => Some(f),
        }
    }

    /// Fewest updates for which [`check`](Self::check) can pass.
    pub fn min_updates(&self) -> u64 {
        match *self {
            Self::FedAvg { .. } | Self::Median => 1,
            Self::TrimmedMean { f } => 2 * u64::from(f) + 1,
            Self::Krum { f } => 2 * u64::from(f) + 3,
            Self::MultiKrum { f, m } => (2 * u64::from(f) + 3).max(u64::from(m) + u64::from(f)),
        }
    }

    /// Whether the rule's guarantee holds for `n` updates.
    ///
    /// # Errors
    /// [`AggregationError::Infeasible`] with the inequality and the numbers in it, or
    /// [`AggregationError::TooManyUpdates`].
    pub fn check(&self, n: usize) -> Result<(), AggregationError> {
        let infeasible = |inequality, instance| {
            Err(AggregationError::Infeasible {
                rule: self.name(),
                inequality,
                instance,
            })
        };
        let count = n as u64;
        let at_least = |inequality, f: Option<u32>, least: u64| {
            let f = f.map(|f| format!(", f = {f}")).unwrap_or_default();
            infeasible(inequality, format!("n = {n}{f} gives {n} < {least}"))
        };
        if n > MAX_UPDATES {
            return Err(AggregationError::TooManyUpdates {
                count: n,
                limit: MAX_UPDATES,
            });
        }
        match *self {
            Self::FedAvg { weight_cap: 0 } => {
                infeasible("weight_cap >= 1", "weight_cap = 0 gives 0 < 1".into())
            }
            Self::FedAvg { .. } | Self::Median if n == 0 => at_least("n >= 1", None, 1),
            Self::TrimmedMean { f } if count < 2 * u64::from(f) + 1 => {
                at_least("n >= 2f+1", Some(f), 2 * u64::from(f) + 1)
            }
            Self::Krum { f } | Self::MultiKrum { f, .. } if count < 2 * u64::from(f) + 3 => {
                at_least("n >= 2f+3", Some(f), 2 * u64::from(f) + 3)
            }
            Self::MultiKrum { m: 0, .. } => infeasible("m >= 1", "m = 0 gives 0 < 1".into()),
            Self::MultiKrum { f, m } if u64::from(m) > count - u64::from(f) => {
                let most = count - u64::from(f);
                infeasible(
                    "m <= n-f",
                    format!("n = {n}, f = {f}, m = {m} gives {m} > {most}"),
                )
            }
            _ => Ok(()),
        }
    }
}

/// A rule as a table with a name and optional parameters: the serde form, and the parsed text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: RuleName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    f: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight_cap: Option<u64>,
}

impl From<Rule> for Fields {
    fn from(rule: Rule) -> Self {
        let mut fields = Self {
            name: rule.name(),
            f: None,
            m: None,
            weight_cap: None,
        };
        match rule {
            Rule::FedAvg {
                weight_cap: u64::MAX,
            }
            | Rule::Median => {}
            Rule::FedAvg { weight_cap } => fields.weight_cap = Some(weight_cap),
            Rule::TrimmedMean { f } | Rule::Krum { f } => fields.f = Some(f),
            Rule::MultiKrum { f, m } => (fields.f, fields.m) = (Some(f), Some(m)),
        }
        fields
    }
}

impl TryFrom<Fields> for Rule {
    type Error = ParseRuleError;

    fn try_from(fields: Fields) -> Result<Self, ParseRuleError> {
        let Fields {
            name: rule,
            mut f,
            mut m,
            mut weight_cap,
        } = fields;
        let missing = |parameter| ParseRuleError::Missing { rule, parameter };
        let parsed = match rule {
            RuleName::FedAvg => Self::FedAvg {
                weight_cap: weight_cap.take().unwrap_or(u64::MAX),
            },
            RuleName::Median => Self::Median,
            RuleName::TrimmedMean => Self::TrimmedMean {
                f: f.take().ok_or(missing("f"))?,
            },
            RuleName::Krum => Self::Krum {
                f: f.take().ok_or(missing("f"))?,
            },
            RuleName::MultiKrum => Self::MultiKrum {
                f: f.take().ok_or(missing("f"))?,
                m: m.take().ok_or(missing("m"))?,
            },
        };
        let left = [
            ("f", f.is_some()),
            ("m", m.is_some()),
            ("weight_cap", weight_cap.is_some()),
        ];
        match left.into_iter().find(|(_, given)| *given) {
            Some((parameter, _)) => Err(ParseRuleError::Unexpected {
                rule,
                parameter: parameter.into(),
            }),
            None => Ok(parsed),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::FedAvg {
                weight_cap: u64::MAX,
            }
            | Self::Median => write!(out, "{name}"),
            Self::FedAvg { weight_cap } => write!(out, "{name}:weight_cap={weight_cap}"),
            Self::TrimmedMean { f } | Self::Krum { f } => write!(out, "{name}:f={f}"),
            Self::MultiKrum { f, m } => write!(out, "{name}:f={f},m={m}"),
        }
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let (name, parameters) = match text.split_once(':') {
            Some((name, parameters)) => (name, Some(parameters)),
            None => (text, None),
        };
        let name: RuleName = name.parse()?;
        let mut fields = Fields {
            name,
            f: None,
            m: None,
            weight_cap: None,
        };
        for item in parameters.into_iter().flat_map(|list| list.split(',')) {
            let malformed = || ParseRuleError::Malformed(item.chars().take(40).collect());
            let (parameter, number) = item.split_once('=').ok_or_else(malformed)?;
            let number: u64 = number.parse().map_err(|_| malformed())?;
            let small = || u32::try_from(number).map_err(|_| malformed());
            let before = match parameter {
                "f" => fields.f.replace(small()?).is_some(),
                "m" => fields.m.replace(small()?).is_some(),
                "weight_cap" => fields.weight_cap.replace(number).is_some(),
                _ => {
                    let parameter = parameter.chars().take(40).collect();
                    return Err(ParseRuleError::Unexpected {
                        rule: name,
                        parameter,
                    });
                }
            };
            if before {
                return Err(malformed());
            }
        }
        fields.try_into()
    }
}
