//! Pipelines as data: pre-aggregators and then one rule, with their text and serde forms.
//!
//! In text the stages are separated by commas: `clip:radius=2,nnm:f=3,multi-krum:f=3,m=7`. A piece
//! with `=` and no colon before it belongs to the stage on its left, every other piece begins a stage.
//! A pipeline without pre-aggregators is written as its rule. In serde formats it is the rule's
//! table with the pre-aggregators in a list: `{ name = "trimmed-mean", f = 3, pre = [{ name =
//! "clip", radius_ppm = 2000000 }, { name = "nnm", f = 3 }] }`.
//!
//! A [`Template`] is a pipeline in which parameters may be missing, such as `clip,nnm,trimmed-mean`; they
//! are filled in for n updates and f attackers ([`Pipeline::for_numbers`]).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::AggregationError;
use crate::params::{Params, ParseRuleError, StageName, Table, read_stage};
use crate::pre::{PreAggregator, PreName};
use crate::rule::{Rule, RuleName};
use crate::tiles::MAX_UPDATES;

/// Most pre-aggregators of a pipeline: each may be a pass over all updates.
pub const MAX_PRE_AGGREGATORS: usize = 8;

/// Pre-aggregators, in the order in which they are applied, and the rule that follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PipelineTable", into = "PipelineTable")]
#[cfg_attr(
    feature = "borsh",
    derive(borsh::BorshSerialize, borsh::BorshDeserialize)
)]
pub struct Pipeline {
    /// At most [`MAX_PRE_AGGREGATORS`].
    pub pre: Vec<PreAggregator>,
    /// What makes one vector of the rows.
    pub rule: Rule,
}

impl Pipeline {
    /// Parses names, with or without parameters, and fills in what is missing for `n` updates of
    /// which `f` may be Byzantine: `for_numbers("clip,nnm,trimmed-mean", 10, 3)`.
    ///
    /// # Errors
    /// Text that is no pipeline. Whether the numbers hold says [`check`](Self::check).
    pub fn for_numbers(text: &str, n: u32, f: u32) -> Result<Self, ParseRuleError> {
        text.parse::<Template>()?.for_numbers(n, f)
    }

    /// Names of its stages in order.
    pub fn names(&self) -> Vec<StageName> {
        let pre = self.pre.iter().map(|stage| stage.name().into());
        pre.chain([self.rule.name().into()]).collect()
    }

    /// Rows that reach the rule when there are `n` updates.
    pub fn rows(&self, n: usize) -> usize {
        self.pre.iter().fold(n, |rows, stage| stage.rows(rows))
    }

    /// Byzantine updates that all stages promise to tolerate; `None` when no stage has a parameter for
    /// it, see [`Rule::tolerated`].
    pub fn tolerated(&self) -> Option<u32> {
        let pre = self.pre.iter().filter_map(PreAggregator::tolerated);
        pre.chain(self.rule.tolerated()).min()
    }

    /// Whether every stage has its guarantee when there are `n` updates.
    ///
    /// # Errors
    /// Those of [`Rule::check`] with the stage and the numbers that reach it, and
    /// [`AggregationError::TooManyStages`].
    pub fn check(&self, n: usize) -> Result<(), AggregationError> {
        if n > MAX_UPDATES {
            return Err(AggregationError::TooManyUpdates {
                count: n,
                limit: MAX_UPDATES,
            });
        }
        if self.pre.len() > MAX_PRE_AGGREGATORS {
            return Err(AggregationError::TooManyStages {
                count: self.pre.len(),
                limit: MAX_PRE_AGGREGATORS,
            });
        }
        let mut rows = n;
        for stage in &self.pre {
            stage.check(rows)?;
            rows = stage.rows(rows);
        }
        self.rule.check(rows)
    }

    /// The numbers of updates for which [`check`](Self::check) passes; `None` when there are none.
    pub fn updates(&self) -> Option<RangeInclusive<usize>> {
        let passes = |n: &usize| self.check(*n).is_ok();
        let least = (1..=MAX_UPDATES).find(passes)?;
        // Every condition is a lower or an upper bound of n, so there is no gap between.
        let most = (least..=MAX_UPDATES).rev().find(passes)?;
        Some(least..=most)
    }
}

impl From<Rule> for Pipeline {
    fn from(rule: Rule) -> Self {
        Self { pre: vec![], rule }
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in &self.pre {
            write!(out, "{stage},")?;
        }
        write!(out, "{}", self.rule)
    }
}

impl FromStr for Pipeline {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        text.parse::<Template>()?.complete(|_, _| {})
    }
}

/// A pipeline of which parameters may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pre: Vec<(PreName, Params)>,
    rule: (RuleName, Params),
}

impl Template {
    /// The pipeline for `n` updates of which `f` may be Byzantine.
    ///
    /// # Errors
    /// Parameters that a stage does not have.
    pub fn for_numbers(&self, n: u32, f: u32) -> Result<Pipeline, ParseRuleError> {
        let mut rows = n as usize;
        self.complete(|stage, params| match stage {
            StageName::Pre(name) => {
                params.fill(name.for_numbers(f).params());
                // A stage that cannot be read is refused right after this.
                if let Ok(stage) = PreAggregator::from_params(name, params.clone()) {
                    rows = stage.rows(rows);
                }
            }
            StageName::Rule(name) => {
                let rows = u32::try_from(rows).unwrap_or(u32::MAX);
                params.fill(name.for_numbers(rows, f).params());
            }
            StageName::Optimizer(_) => {}
        })
    }

    /// Name of the rule.
    pub fn rule(&self) -> RuleName {
        self.rule.0
    }

    fn complete(
        &self,
        mut fill: impl FnMut(StageName, &mut Params),
    ) -> Result<Pipeline, ParseRuleError> {
        let mut pre = Vec::with_capacity(self.pre.len());
        for (name, params) in &self.pre {
            let mut params = params.clone();
            fill((*name).into(), &mut params);
            pre.push(PreAggregator::from_params(*name, params)?);
        }
        let (name, mut params) = self.rule.clone();
        fill(name.into(), &mut params);
        let rule = Rule::from_params(name, params)?;
        Ok(Pipeline { pre, rule })
    }
}

impl From<RuleName> for Template {
    fn from(name: RuleName) -> Self {
        Self {
            text: name.to_string(),
            pre: vec![],
            rule: (name, Params::default()),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Template {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let mut stages: Vec<(StageName, Params)> = Vec::new();
        for piece in text.split(',') {
            let continues = match (piece.find('='), piece.find(':')) {
                (Some(equals), Some(colon)) => equals < colon,
                (Some(_), None) => true,
                _ => false,
            };
            match stages.last_mut() {
                Some((_, params)) if continues => params.add(piece)?,
                _ => stages.push(read_stage(piece)?),
            }
            check_stages(stages.len().saturating_sub(1))?;
        }
        let mut pre = Vec::new();
        let mut rule = None;
        for (name, params) in stages {
            match (name, &rule) {
                (StageName::Pre(stage), None) => pre.push((stage, params)),
                (StageName::Rule(name), None) => rule = Some((name, params)),
                _ => return Err(ParseRuleError::Order(name, "stands behind the rule")),
            }
        }
        match (rule, pre.last()) {
            (Some(rule), _) => Ok(Self {
                text: text.to_owned(),
                pre,
                rule,
            }),
            (None, Some((last, _))) => Err(ParseRuleError::Order(
                (*last).into(),
                "is not followed by a rule",
            )),
            // Not reachable: text has at least one piece, and a piece is a stage or an error.
            (None, None) => Err(ParseRuleError::UnknownStage(String::new())),
        }
    }
}

fn check_stages(count: usize) -> Result<(), ParseRuleError> {
    let limit = MAX_PRE_AGGREGATORS;
    match count <= limit {
        true => Ok(()),
        false => Err(ParseRuleError::TooManyStages { count, limit }),
    }
}

/// The serde form: the rule's table with a list of tables in it.
#[derive(Serialize, Deserialize)]
struct PipelineTable {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pre: Vec<PreAggregator>,
    #[serde(flatten)]
    rule: Table<RuleName>,
}

impl From<Pipeline> for PipelineTable {
    fn from(pipeline: Pipeline) -> Self {
        Self {
            rule: pipeline.rule.into(),
            pre: pipeline.pre,
        }
    }
}

impl TryFrom<PipelineTable> for Pipeline {
    type Error = ParseRuleError;

    fn try_from(table: PipelineTable) -> Result<Self, ParseRuleError> {
        check_stages(table.pre.len())?;
        Ok(Self {
            pre: table.pre,
            rule: table.rule.try_into()?,
        })
    }
}
