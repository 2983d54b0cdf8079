//! The numbers of a stage by name: what rules and pre-aggregators are read from and written to.
//!
//! Every parameter is an unsigned integer, so that a pipeline can be compared, hashed and put into a
//! ledger. A fraction is kept in millionths under a name that ends in `_ppm`; in text it may be
//! written without that ending as a decimal: `radius=2.5` is `radius_ppm=2500000`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::optimizer::OptimizerName;
use crate::pre::PreName;
use crate::rule::RuleName;

/// One millionth's reciprocal.
pub(crate) const MILLION: u64 = 1_000_000;

/// Ending of the names of parameters in millionths.
const PPM: &str = "_ppm";

/// Longest part of foreign text that an error repeats.
const SHOWN: usize = 40;

/// A parameter in millionths as a number. Exact up to 2^53 millionths, rounded once above.
pub(crate) fn from_ppm(ppm: u64) -> f64 {
    ppm as f64 / MILLION as f64
}

/// Parameters that text may give as decimals.
const DECIMALS: [&str; 6] = ["radius", "nu", "beta", "beta1", "beta2", "tau"];

/// The name of a rule, of a pre-aggregator or of a server optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageName {
    /// A stage before the rule.
    Pre(PreName),
    /// The rule at the end.
    Rule(RuleName),
    /// What the server does with the result.
    Optimizer(OptimizerName),
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pre(name) => name.fmt(f),
            Self::Rule(name) => name.fmt(f),
            Self::Optimizer(name) => name.fmt(f),
        }
    }
}

/// Stages of a pipeline only; an optimiser is none.
impl FromStr for StageName {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let pre = text.parse().map(Self::Pre);
        pre.or_else(|_| text.parse().map(Self::Rule))
            .map_err(|_| ParseRuleError::UnknownStage(shorten(text)))
    }
}

impl From<RuleName> for StageName {
    fn from(name: RuleName) -> Self {
        Self::Rule(name)
    }
}

impl From<PreName> for StageName {
    fn from(name: PreName) -> Self {
        Self::Pre(name)
    }
}

impl From<OptimizerName> for StageName {
    fn from(name: OptimizerName) -> Self {
        Self::Optimizer(name)
    }
}

/// Why text or a table is no rule, pipeline or optimiser.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseRuleError {
    /// No rule has this name.
    #[error("unknown rule {0:?}: expected one of {names}", names = list(RuleName::ALL))]
    UnknownRule(String),
    /// No pre-aggregator has this name.
    #[error("unknown pre-aggregator {0:?}: expected one of {names}", names = list(PreName::ALL))]
    UnknownPre(String),
    /// No optimiser has this name.
    #[error("unknown optimizer {0:?}: expected one of {names}", names = list(OptimizerName::ALL))]
    UnknownOptimizer(String),
    /// Neither a rule nor a pre-aggregator has this name.
    #[error(
        "unknown stage {0:?}: expected a rule ({rules}) or a pre-aggregator ({pres})",
        rules = list(RuleName::ALL), pres = list(PreName::ALL)
    )]
    UnknownStage(String),
    /// A parameter is missing.
    #[error("{stage} needs the parameter {parameter}")]
    Missing {
        /// The stage.
        stage: StageName,
        /// The parameter's name.
        parameter: &'static str,
    },
    /// The stage does not have this parameter.
    #[error("{stage} has no parameter {parameter:?}")]
    Unexpected {
        /// The stage.
        stage: StageName,
        /// The parameter's name.
        parameter: String,
    },
    /// Not `parameter=number`, or given twice.
    #[error("{0:?} is not one parameter=number")]
    Malformed(String),
    /// A pipeline without a rule, with two, or with a pre-aggregator behind the rule.
    #[error("a pipeline is pre-aggregators and then one rule: {0} {1}")]
    Order(StageName, &'static str),
    /// More pre-aggregators than are accepted.
    #[error("{count} pre-aggregators exceed the limit of {limit}")]
    TooManyStages {
        /// Pre-aggregators given.
        count: usize,
        /// Most that are accepted.
        limit: usize,
    },
}

fn list<N: fmt::Display>(names: impl IntoIterator<Item = N>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.join(", ")
}

/// Reads `name` or `name:parameter=number,…`.
///
/// # Errors
/// An unknown name, and an item that is not one new parameter.
pub(crate) fn read_stage<N>(text: &str) -> Result<(N, Params), ParseRuleError>
where
    N: FromStr<Err = ParseRuleError>,
{
    let (name, parameters) = match text.split_once(':') {
        Some((name, parameters)) => (name, Some(parameters)),
        None => (text, None),
    };
    let name = name.parse()?;
    let mut params = Params::default();
    for item in parameters.into_iter().flat_map(|list| list.split(',')) {
        params.add(item)?;
    }
    Ok((name, params))
}

/// The front of foreign text, for an error.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Parameters that have been given and not yet been asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, u64>);

impl Params {
    /// Parses `f=3` or `radius=2.5` and adds it.
    pub(crate) fn add(&mut self, item: &str) -> Result<(), ParseRuleError> {
        let malformed = || ParseRuleError::Malformed(shorten(item));
        let (name, number) = item.split_once('=').ok_or_else(malformed)?;
        let (name, number) = match DECIMALS.contains(&name) {
            true => (format!("{name}{PPM}"), parse_millionths(number)),
            false => (name.to_owned(), parse_integer(number)),
        };
        let number = number.ok_or_else(malformed)?;
        match self.0.insert(name, number) {
            None => Ok(()),
            Some(_) => Err(malformed()),
        }
    }

    /// Fills in parameters that have not been given.
    pub(crate) fn fill(&mut self, defaults: impl IntoIterator<Item = (&'static str, u64)>) {
        for (name, value) in defaults {
            self.0.entry(name.to_owned()).or_insert(value);
        }
    }

    pub(crate) fn optional(&mut self, name: &'static str) -> Option<u64> {
        self.0.remove(name)
    }

    pub(crate) fn long(
        &mut self,
        stage: impl Into<StageName>,
        parameter: &'static str,
    ) -> Result<u64, ParseRuleError> {
        let stage = stage.into();
        self.optional(parameter)
            .ok_or(ParseRuleError::Missing { stage, parameter })
    }

    pub(crate) fn count(
        &mut self,
        stage: impl Into<StageName>,
        parameter: &'static str,
    ) -> Result<u32, ParseRuleError> {
        let value = self.long(stage, parameter)?;
        u32::try_from(value).map_err(|_| ParseRuleError::Malformed(format!("{parameter}={value}")))
    }

    /// Refuses what nobody asked for.
    pub(crate) fn finish(self, stage: impl Into<StageName>) -> Result<(), ParseRuleError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(parameter) => Err(ParseRuleError::Unexpected {
                stage: stage.into(),
                parameter: shorten(&parameter),
            }),
        }
    }
}

impl FromIterator<(&'static str, u64)> for Params {
    fn from_iter<I: IntoIterator<Item = (&'static str, u64)>>(given: I) -> Self {
        let mut params = Self::default();
        params.fill(given);
        params
    }
}

/// Digits only: no sign, no blank.
fn parse_integer(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// A decimal with at most six places, in millionths.
fn parse_millionths(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    if places.len() > 6 {
        return None;
    }
    let millionths = parse_integer(places)? * 10_u64.pow(6 - places.len() as u32);
    parse_integer(whole)?
        .checked_mul(MILLION)?
        .checked_add(millionths)
}

/// Writes `name`, or `name:a=1,b=2`.
pub(crate) fn write_stage(
    out: &mut fmt::Formatter<'_>,
    stage: impl fmt::Display,
    params: &[(&'static str, u64)],
) -> fmt::Result {
    write!(out, "{stage}")?;
    for (i, (name, value)) in params.iter().enumerate() {
        let mark = if i == 0 { ':' } else { ',' };
        match name.strip_suffix(PPM) {
            None => write!(out, "{mark}{name}={value}")?,
            Some(name) => {
                let places = format!("{:06}", value % MILLION);
                let places = places.trim_end_matches('0');
                let point = if places.is_empty() { "" } else { "." };
                write!(out, "{mark}{name}={}{point}{places}", value / MILLION)?;
            }
        }
    }
    Ok(())
}

/// A stage as a table: its name and its parameters. The serde form.
#[derive(Serialize, Deserialize)]
pub(crate) struct Table<N> {
    pub(crate) name: N,
    #[serde(flatten)]
    params: BTreeMap<String, u64>,
}

impl<N> Table<N> {
    pub(crate) fn new(name: N, params: &[(&'static str, u64)]) -> Self {
        let params = params
            .iter()
            .map(|(name, value)| (name.to_string(), *value));
        Self {
            name,
            params: params.collect(),
        }
    }

    pub(crate) fn into_parts(self) -> (N, Params) {
        (self.name, Params(self.params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millionths_are_exact_both_ways() {
        let cases = [
            ("0", 0),
            ("2", 2_000_000),
            ("2.5", 2_500_000),
            ("0.000001", 1),
            ("18446744073709.551615", u64::MAX),
        ];
        for (text, value) in cases {
            assert_eq!(parse_millionths(text), Some(value), "{text}");
            let shown = format!("{}", Shown(value));
            assert_eq!(shown, format!("x:radius={text}"));
        }
        for bad in [
            "",
            ".",
            ".5",
            "1.",
            "-1",
            "+1",
            "1e3",
            "0.0000001",
            "18446744073709.551616",
            "1.2.3",
            " 1",
        ] {
            assert_eq!(parse_millionths(bad), None, "{bad}");
        }
    }

    struct Shown(u64);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_stage(f, "x", &[("radius_ppm", self.0)])
        }
    }
}
