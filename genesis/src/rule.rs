//! How a rule is read and written, and what its parameters demand.
//!
//! Serde's tagged enums let unknown fields pass beside variants without fields (`median` with an
//! `f`), so rules go through one flat struct that refuses them. Pre-aggregators are a list in the
//! rule's table. In text a pipeline is `clip:radius=2,nnm:f=3,trimmed-mean:f=3`, as the aggregation crate
//! reads and writes it.

use std::fmt;
use std::io;

use borsh::BorshDeserialize;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::document::{PipelineSpec, PreSpec, RuleSpec};

const MILLION: u64 = 1_000_000;

/// Every parameter that any rule has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFields {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_cap: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    radius_ppm: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nu_ppm: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pre: Vec<PreSpec>,
}

/// Every parameter that any pre-aggregator has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreFields {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    radius_ppm: Option<u64>,
}

/// Why the fields are not a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    #[error(
        "unknown rule {0:?}; known are fedavg, median, trimmed-mean, krum, multi-krum, meamed, \
         bulyan, geometric-median, centered-clipping, mda, caf, smea, norm-clipped-mean, \
         sign-majority"
    )]
    Unknown(String),
    #[error("unknown pre-aggregator {0:?}; known are clip, arc, nnm, bucketing")]
    UnknownPre(String),
    #[error("rule monna needs a contributor whom everybody trusts, and a ledger knows none")]
    NeedsTrust,
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

/// Parameters that were given and not yet taken.
struct Parameters {
    of: String,
    given: Vec<(&'static str, Option<u64>)>,
}

impl Parameters {
    fn take(&mut self, parameter: &'static str) -> Result<u64, RuleError> {
        let given = self.given.iter_mut().find(|(name, _)| *name == parameter);
        let value = given.and_then(|(_, value)| value.take());
        value.ok_or_else(|| RuleError::Missing {
            rule: self.of.clone(),
            parameter,
        })
    }

    fn refuse_the_rest(self) -> Result<(), RuleError> {
        match self.given.into_iter().find(|(_, value)| value.is_some()) {
            Some((parameter, _)) => Err(RuleError::Superfluous {
                rule: self.of,
                parameter,
            }),
            None => Ok(()),
        }
    }
}

fn excerpt(name: &str) -> String {
    name.chars().take(64).collect()
}

impl TryFrom<RuleFields> for RuleSpec {
    type Error = RuleError;

    fn try_from(fields: RuleFields) -> Result<Self, RuleError> {
        let mut p = Parameters {
            of: excerpt(&fields.name),
            given: vec![
                ("f", fields.f),
                ("m", fields.m),
                ("weight_cap", fields.weight_cap),
                ("radius_ppm", fields.radius_ppm),
                ("nu_ppm", fields.nu_ppm),
                ("steps", fields.steps),
            ],
        };
        let rule = match fields.name.as_str() {
            "fedavg" => Self::Fedavg {
                weight_cap: p.take("weight_cap")?,
            },
            "median" => Self::Median,
            "trimmed-mean" => Self::TrimmedMean { f: p.take("f")? },
            "krum" => Self::Krum { f: p.take("f")? },
            "multi-krum" => Self::MultiKrum {
                f: p.take("f")?,
                m: p.take("m")?,
            },
            "meamed" => Self::Meamed { f: p.take("f")? },
            "bulyan" => Self::Bulyan { f: p.take("f")? },
            "geometric-median" => Self::GeometricMedian {
                nu_ppm: p.take("nu_ppm")?,
                steps: p.take("steps")?,
            },
            "centered-clipping" => Self::CenteredClipping {
                radius_ppm: p.take("radius_ppm")?,
                steps: p.take("steps")?,
            },
            "mda" => Self::Mda { f: p.take("f")? },
            "caf" => Self::Caf { f: p.take("f")? },
            "smea" => Self::Smea { f: p.take("f")? },
            "norm-clipped-mean" => Self::NormClippedMean {
                radius_ppm: p.take("radius_ppm")?,
            },
            "sign-majority" => Self::SignMajority,
            "monna" => return Err(RuleError::NeedsTrust),
            other => return Err(RuleError::Unknown(excerpt(other))),
        };
        p.refuse_the_rest()?;
        Ok(Self::pipeline(fields.pre, rule))
    }
}

impl TryFrom<PreFields> for PreSpec {
    type Error = RuleError;

    fn try_from(fields: PreFields) -> Result<Self, RuleError> {
        let mut p = Parameters {
            of: excerpt(&fields.name),
            given: vec![
                ("f", fields.f),
                ("s", fields.s),
                ("radius_ppm", fields.radius_ppm),
            ],
        };
        let stage = match fields.name.as_str() {
            "clip" => Self::Clip {
                radius_ppm: p.take("radius_ppm")?,
            },
            "arc" => Self::Arc { f: p.take("f")? },
            "nnm" => Self::Nnm { f: p.take("f")? },
            "bucketing" => Self::Bucketing { s: p.take("s")? },
            other => return Err(RuleError::UnknownPre(excerpt(other))),
        };
        p.refuse_the_rest()?;
        Ok(stage)
    }
}

impl From<RuleSpec> for RuleFields {
    fn from(rule: RuleSpec) -> Self {
        let mut fields = Self {
            name: rule.name().to_owned(),
            pre: rule.pre().to_vec(),
            ..Self::default()
        };
        for (name, value) in rule.last().parameters() {
            match name {
                "f" => fields.f = Some(value),
                "m" => fields.m = Some(value),
                "weight_cap" => fields.weight_cap = Some(value),
                "radius_ppm" => fields.radius_ppm = Some(value),
                "nu_ppm" => fields.nu_ppm = Some(value),
                _ => fields.steps = Some(value),
            }
        }
        fields
    }
}

impl From<PreSpec> for PreFields {
    fn from(stage: PreSpec) -> Self {
        let mut fields = Self {
            name: stage.name().to_owned(),
            ..Self::default()
        };
        match stage {
            PreSpec::Clip { radius_ppm } => fields.radius_ppm = Some(radius_ppm),
            PreSpec::Arc { f } | PreSpec::Nnm { f } => fields.f = Some(f),
            PreSpec::Bucketing { s } => fields.s = Some(s),
        }
        fields
    }
}

impl BorshDeserialize for PipelineSpec {
    /// Refuses what [`RuleSpec::pipeline`] never makes: no stages, and a pipeline in a pipeline, which
    /// would let foreign bytes choose how deep the decoder recurses.
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let pre = Vec::<PreSpec>::deserialize_reader(reader)?;
        if pre.is_empty() {
            return Err(bad("a pipeline without pre-aggregators"));
        }
        let tag = u8::deserialize_reader(reader)?;
        if tag == PIPELINE_TAG {
            return Err(bad("a pipeline in a pipeline"));
        }
        let rule = <RuleSpec as borsh::de::EnumExt>::deserialize_variant(reader, tag)?;
        let rule = Box::new(rule);
        Ok(Self { pre, rule })
    }
}

/// Place of [`RuleSpec::Pipeline`] among the variants.
const PIPELINE_TAG: u8 = 14;

impl PreSpec {
    /// The name that documents use.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Clip { .. } => "clip",
            Self::Arc { .. } => "arc",
            Self::Nnm { .. } => "nnm",
            Self::Bucketing { .. } => "bucketing",
        }
    }

    /// Rows that are left of `n` updates.
    #[must_use]
    pub fn rows(&self, n: u64) -> u64 {
        match self {
            Self::Bucketing { s } => n.div_ceil((*s).max(1)),
            _ => n,
        }
    }

    /// Fewest updates of which at least `rows` rows are left and with which the stage has a meaning.
    fn updates_for(&self, rows: u64) -> u64 {
        match self {
            Self::Clip { .. } => rows,
            Self::Arc { f } | Self::Nnm { f } => rows.max(majority_minimum(*f)),
            Self::Bucketing { s } => {
                let full = rows.saturating_sub(1).saturating_mul(*s);
                full.saturating_add(1).max(*s)
            }
        }
    }

    fn after_rejections(&self, rejected: u64) -> Self {
        match *self {
            Self::Arc { f } => Self::Arc {
                f: f.saturating_sub(rejected),
            },
            Self::Nnm { f } => Self::Nnm {
                f: f.saturating_sub(rejected),
            },
            Self::Clip { .. } | Self::Bucketing { .. } => self.clone(),
        }
    }
}

impl RuleSpec {
    /// The rule behind pre-aggregators: itself where there are none, and never a pipeline in a
    /// pipeline.
    #[must_use]
    pub fn pipeline(mut pre: Vec<PreSpec>, rule: Self) -> Self {
        match rule {
            Self::Pipeline(inner) => {
                pre.extend(inner.pre);
                Self::pipeline(pre, *inner.rule)
            }
            rule if pre.is_empty() => rule,
            rule => Self::Pipeline(PipelineSpec {
                pre,
                rule: Box::new(rule),
            }),
        }
    }

    /// The pre-aggregators, in the order in which they are applied.
    #[must_use]
    pub fn pre(&self) -> &[PreSpec] {
        match self {
            Self::Pipeline(pipeline) => &pipeline.pre,
            _ => &[],
        }
    }

    /// The rule behind the pre-aggregators.
    #[must_use]
    pub fn last(&self) -> &Self {
        match self {
            Self::Pipeline(pipeline) => &pipeline.rule,
            rule => rule,
        }
    }

    /// The name that documents use; of a pipeline that of its rule.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fedavg { .. } => "fedavg",
            Self::Median => "median",
            Self::TrimmedMean { .. } => "trimmed-mean",
            Self::Krum { .. } => "krum",
            Self::MultiKrum { .. } => "multi-krum",
            Self::Meamed { .. } => "meamed",
            Self::Bulyan { .. } => "bulyan",
            Self::GeometricMedian { .. } => "geometric-median",
            Self::CenteredClipping { .. } => "centered-clipping",
            Self::Mda { .. } => "mda",
            Self::Caf { .. } => "caf",
            Self::Smea { .. } => "smea",
            Self::NormClippedMean { .. } => "norm-clipped-mean",
            Self::SignMajority => "sign-majority",
            Self::Pipeline(pipeline) => pipeline.rule.name(),
        }
    }

    /// The parameters of the rule itself by name, in the order of documents.
    fn parameters(&self) -> Vec<(&'static str, u64)> {
        match *self {
            Self::Fedavg { weight_cap } => vec![("weight_cap", weight_cap)],
            Self::Median | Self::SignMajority => vec![],
            Self::TrimmedMean { f }
            | Self::Krum { f }
            | Self::Meamed { f }
            | Self::Bulyan { f }
            | Self::Mda { f }
            | Self::Caf { f }
            | Self::Smea { f } => vec![("f", f)],
            Self::MultiKrum { f, m } => vec![("f", f), ("m", m)],
            Self::GeometricMedian { nu_ppm, steps } => vec![("nu_ppm", nu_ppm), ("steps", steps)],
            Self::CenteredClipping { radius_ppm, steps } => {
                vec![("radius_ppm", radius_ppm), ("steps", steps)]
            }
            Self::NormClippedMean { radius_ppm } => vec![("radius_ppm", radius_ppm)],
            Self::Pipeline(ref pipeline) => pipeline.rule.parameters(),
        }
    }

    /// Byzantine contributors that the rule is set up to withstand, the least of all stages. `None`
    /// where there is no such parameter: median, geometric median and sign majority withstand any
    /// minority of the updates they get, clipping to a fixed radius bounds what each can do.
    #[must_use]
    pub fn tolerated(&self) -> Option<u64> {
        let rule = match *self.last() {
            Self::Fedavg { .. } => Some(0),
            Self::TrimmedMean { f }
            | Self::Krum { f }
            | Self::MultiKrum { f, .. }
            | Self::Meamed { f }
            | Self::Bulyan { f }
            | Self::Mda { f }
            | Self::Caf { f }
            | Self::Smea { f } => Some(f),
            _ => None,
        };
        let pre = self.pre().iter().filter_map(|stage| match stage {
            PreSpec::Arc { f } | PreSpec::Nnm { f } => Some(*f),
            PreSpec::Clip { .. } | PreSpec::Bucketing { .. } => None,
        });
        pre.chain(rule).min()
    }

    /// The rule as it runs on `accepted` updates of a round in which `rejected` contributors were
    /// proven Byzantine by certified rejections. Those count against every `f`: the stages run with
    /// `f - rejected`, and Multi-Krum averages at most what is left after that. `None` when even so
    /// there are too few updates.
    #[must_use]
    pub fn after_rejections(&self, accepted: u64, rejected: u64) -> Option<Self> {
        let less = |f: u64| f.saturating_sub(rejected);
        let pre = self.pre().iter();
        let pre: Vec<PreSpec> = pre.map(|stage| stage.after_rejections(rejected)).collect();
        let rows = pre.iter().fold(accepted, |rows, stage| stage.rows(rows));
        let rule = match *self.last() {
            Self::TrimmedMean { f } => Self::TrimmedMean { f: less(f) },
            Self::Krum { f } => Self::Krum { f: less(f) },
            Self::MultiKrum { f, m } => Self::MultiKrum {
                f: less(f),
                m: m.min(rows.saturating_sub(less(f))),
            },
            Self::Meamed { f } => Self::Meamed { f: less(f) },
            Self::Bulyan { f } => Self::Bulyan { f: less(f) },
            Self::Mda { f } => Self::Mda { f: less(f) },
            Self::Caf { f } => Self::Caf { f: less(f) },
            Self::Smea { f } => Self::Smea { f: less(f) },
            ref rule => rule.clone(),
        };
        let rule = Self::pipeline(pre, rule);
        (accepted >= rule.min_updates_needed()).then_some(rule)
    }

    /// Fewest updates `n` that the rule works with, saturating: `2f + 1` for most rules with an f, `2f + 3`
    /// for Krum and Multi-Krum (Blanchard et al. 2017, proposition 1, `2f + 2 < n`), `4f + 3` for
    /// Bulyan, and `m + f` for Multi-Krum, so that it never averages a suspect. Behind bucketing these are
    /// numbers of buckets.
    #[must_use]
    pub fn min_updates_needed(&self) -> u64 {
        let rule = match self.last() {
            Self::MultiKrum { f, m } => krum_minimum(*f).max(m.saturating_add(*f)),
            rule => rule.minimum_for_f().1,
        };
        let pre = self.pre().iter().rev();
        pre.fold(rule, |rows, stage| stage.updates_for(rows))
    }

    /// What the rule's f asks of the rows that reach it: in symbols, and as a number.
    pub(crate) fn minimum_for_f(&self) -> (&'static str, u64) {
        match *self.last() {
            Self::Krum { f } | Self::MultiKrum { f, .. } => ("2f + 3", krum_minimum(f)),
            Self::Bulyan { f } => ("4f + 3", f.saturating_mul(4).saturating_add(3)),
            Self::TrimmedMean { f }
            | Self::Meamed { f }
            | Self::Mda { f }
            | Self::Caf { f }
            | Self::Smea { f } => ("2f + 1", majority_minimum(f)),
            _ => ("1", 1),
        }
    }

    /// Most rows that the rule takes, and why there is a limit: the work of MDA, CAF and SMEA grows so fast
    /// with n that validators must not be made to do it.
    pub(crate) fn most_rows(&self) -> Option<(&'static str, u64)> {
        let (limit, subsets, inequality, f) = match *self.last() {
            Self::Caf { .. } => return Some(("n <= 128", 128)),
            Self::Mda { f } => (128, 1_000_000, "n <= 128 and (n choose f) <= 1000000", f),
            Self::Smea { f } => (64, 20_000, "n <= 64 and (n choose f) <= 20000", f),
            _ => return None,
        };
        let most = (1..=limit).rev().find(|n| binomial(*n, f) <= subsets);
        Some((inequality, most.unwrap_or(0)))
    }

    /// Most updates `n` that the rule works with.
    #[must_use]
    pub fn max_updates_allowed(&self) -> u64 {
        let rows = |n: u64| self.pre().iter().fold(n, |rows, stage| stage.rows(rows));
        match self.most_rows() {
            None => bounds::MAX_UPDATES,
            Some((_, most)) => {
                let fits = |n: &u64| rows(*n) <= most;
                (1..=bounds::MAX_UPDATES).rev().find(fits).unwrap_or(0)
            }
        }
    }
}

impl fmt::Display for RuleSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in self.pre() {
            let parameter = match *stage {
                PreSpec::Clip { radius_ppm } => ("radius_ppm", radius_ppm),
                PreSpec::Arc { f } | PreSpec::Nnm { f } => ("f", f),
                PreSpec::Bucketing { s } => ("s", s),
            };
            write_stage(out, stage.name(), &[parameter])?;
            out.write_str(",")?;
        }
        write_stage(out, self.name(), &self.parameters())
    }
}

/// `name:a=1,radius=2.5`.
fn write_stage(
    out: &mut fmt::Formatter<'_>,
    name: &str,
    parameters: &[(&'static str, u64)],
) -> fmt::Result {
    out.write_str(name)?;
    for (i, (parameter, value)) in parameters.iter().enumerate() {
        let mark = if i == 0 { ':' } else { ',' };
        match parameter.strip_suffix("_ppm") {
            None => write!(out, "{mark}{parameter}={value}")?,
            Some(parameter) => {
                let places = format!(".{:06}", value % MILLION);
                let places = places.trim_end_matches('0').trim_end_matches('.');
                write!(out, "{mark}{parameter}={}{places}", value / MILLION)?;
            }
        }
    }
    Ok(())
}

/// `2f + 1`, saturating.
const fn majority_minimum(f: u64) -> u64 {
    f.saturating_mul(2).saturating_add(1)
}

/// `2f + 3`, saturating.
pub(crate) const fn krum_minimum(f: u64) -> u64 {
    f.saturating_mul(2).saturating_add(3)
}

/// n choose k for n ≤ 128; `u64::MAX` when it is larger.
fn binomial(n: u64, k: u64) -> u64 {
    if k > n {
        return 0;
    }
    let mut result = 1_u128;
    for i in 0..k.min(n - k) {
        // Exact: a product of i + 1 consecutive numbers is divisible by (i + 1)!.
        result = result * u128::from(n - i) / u128::from(i + 1);
        if result > u128::from(u64::MAX) {
            return u64::MAX;
        }
    }
    // At most u64::MAX, as just checked.
    u64::try_from(result).unwrap_or(u64::MAX)
}
