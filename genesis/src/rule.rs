//! How a rule is read from TOML, and what its parameters demand.
//!
//! Serde's tagged enums let unknown fields pass beside variants without fields (`median` with an
//! `f`), so rules are read through one flat struct that refuses them.

use serde::Deserialize;

use crate::document::RuleSpec;

/// Every parameter that any rule has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFields {
    name: String,
    f: Option<u64>,
    m: Option<u64>,
    weight_cap: Option<u64>,
}

/// Why the fields are not a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("unknown rule {0:?}; known are fedavg, median, trimmed-mean, krum, multi-krum")]
    Unknown(String),
    #[error("rule {rule} needs the parameter `{parameter}`")]
    Missing {
        rule: String,
        parameter: &'static str,
    },
    #[error("rule {rule} has no parameter `{parameter}`")]
    Superfluous {
        rule: String,
        parameter: &'static str,
    },
}

impl TryFrom<RuleFields> for RuleSpec {
    type Error = RuleError;

    fn try_from(mut fields: RuleFields) -> Result<Self, RuleError> {
        let rule = match fields.name.as_str() {
            "fedavg" => Self::Fedavg {
                weight_cap: fields.take_weight_cap()?,
            },
            "median" => Self::Median,
            "trimmed-mean" => Self::TrimmedMean {
                f: fields.take_f()?,
            },
            "krum" => Self::Krum {
                f: fields.take_f()?,
            },
            "multi-krum" => Self::MultiKrum {
                f: fields.take_f()?,
                m: fields.take_m()?,
            },
            other => return Err(RuleError::Unknown(other.chars().take(64).collect())),
        };
        fields.refuse_the_rest()?;
        Ok(rule)
    }
}

impl RuleFields {
    fn missing(&self, parameter: &'static str) -> RuleError {
        RuleError::Missing {
            rule: self.name.clone(),
            parameter,
        }
    }

    fn take_f(&mut self) -> Result<u64, RuleError> {
        self.f.take().ok_or_else(|| self.missing("f"))
    }

    fn take_m(&mut self) -> Result<u64, RuleError> {
        self.m.take().ok_or_else(|| self.missing("m"))
    }

    fn take_weight_cap(&mut self) -> Result<u64, RuleError> {
        self.weight_cap
            .take()
            .ok_or_else(|| self.missing("weight_cap"))
    }

    fn refuse_the_rest(self) -> Result<(), RuleError> {
        let parameters = [
            ("f", self.f),
            ("m", self.m),
            ("weight_cap", self.weight_cap),
        ];
        match parameters.into_iter().find(|(_, value)| value.is_some()) {
            Some((parameter, _)) => Err(RuleError::Superfluous {
                rule: self.name,
                parameter,
            }),
            None => Ok(()),
        }
    }
}

impl RuleSpec {
    /// The name that documents use.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fedavg { .. } => "fedavg",
            Self::Median => "median",
            Self::TrimmedMean { .. } => "trimmed-mean",
            Self::Krum { .. } => "krum",
            Self::MultiKrum { .. } => "multi-krum",
        }
    }

    /// Byzantine contributors that the rule is set up to withstand. `None` for the median, which
    /// withstands any minority of the updates it gets.
    #[must_use]
    pub const fn tolerated(&self) -> Option<u64> {
        match self {
            Self::Fedavg { .. } => Some(0),
            Self::Median => None,
            Self::TrimmedMean { f } | Self::Krum { f } | Self::MultiKrum { f, .. } => Some(*f),
        }
    }

    /// The rule as it runs on `accepted` updates of a round in which `rejected` contributors were
    /// proven Byzantine by certified rejections. Those count against `f`: the rule runs with
    /// `f - rejected`, and Multi-Krum averages at most what is left after that. `None` when even so
    /// there are too few updates.
    #[must_use]
    pub fn after_rejections(&self, accepted: u64, rejected: u64) -> Option<Self> {
        let rule = match *self {
            Self::Fedavg { .. } | Self::Median => self.clone(),
            Self::TrimmedMean { f } => Self::TrimmedMean {
                f: f.saturating_sub(rejected),
            },
            Self::Krum { f } => Self::Krum {
                f: f.saturating_sub(rejected),
            },
            Self::MultiKrum { f, m } => {
                let f = f.saturating_sub(rejected);
                Self::MultiKrum {
                    f,
                    m: m.min(accepted.saturating_sub(f)),
                }
            }
        };
        (accepted >= rule.min_updates_needed()).then_some(rule)
    }

    /// Fewest updates `n` that the rule works with, saturating: `2f + 1` for the trimmed mean (Yin
    /// et al. 2018, section 4.2), `2f + 3` for Krum and Multi-Krum (Blanchard et al. 2017, proposition 1,
    /// `2f + 2 < n`), and `m + f` for Multi-Krum, so that it never averages a suspect.
    #[must_use]
    pub const fn min_updates_needed(&self) -> u64 {
        match self {
            Self::Fedavg { .. } | Self::Median => 1,
            Self::TrimmedMean { f } => f.saturating_mul(2).saturating_add(1),
            Self::Krum { f } => krum_minimum(*f),
            Self::MultiKrum { f, m } => {
                let (by_krum, by_selection) = (krum_minimum(*f), m.saturating_add(*f));
                if by_krum > by_selection {
                    by_krum
                } else {
                    by_selection
                }
            }
        }
    }
}

/// `2f + 3`, saturating.
pub(crate) const fn krum_minimum(f: u64) -> u64 {
    f.saturating_mul(2).saturating_add(3)
}
