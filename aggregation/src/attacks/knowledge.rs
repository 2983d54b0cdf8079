//! What attackers know.

use std::fmt;

use crate::aggregate::{Update, aggregate_pipeline};
use crate::error::AggregationError;
use crate::pipeline::Pipeline;
use crate::rule::Rule;

/// What the attackers know and how many they are.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// The update that this contributor would send if it were honest.
    pub own: &'a [f32],
    /// Updates of honest contributors, or the attackers' estimate of them; for attacks that
    /// [see them](crate::Attack::sees_honest).
    pub honest: &'a [Vec<f32>],
    /// Contributors in all.
    pub n: usize,
    /// Byzantine ones among them.
    pub f: usize,
    /// Seed of random attacks; different for each attacker and round.
    pub seed: u64,
    /// What the network does with the updates; for attacks that
    /// [see it](crate::Attack::sees_defence).
    pub defence: Option<&'a dyn Defence>,
}

/// What turns the updates of a round into one vector, as an attacker can run it at home.
pub trait Defence: fmt::Debug + Sync {
    /// The aggregate of updates of equal weight.
    ///
    /// # Errors
    /// What the rule refuses.
    fn defend(&self, updates: &[&[f32]]) -> Result<Vec<f32>, AggregationError>;
}

impl Defence for Rule {
    fn defend(&self, updates: &[&[f32]]) -> Result<Vec<f32>, AggregationError> {
        Pipeline::from(*self).defend(updates)
    }
}

/// What bucketing draws is not known to attackers: they try one draw.
impl Defence for Pipeline {
    fn defend(&self, updates: &[&[f32]]) -> Result<Vec<f32>, AggregationError> {
        let updates: Vec<Update<'_>> = updates
            .iter()
            .map(|source| Update { source, weight: 1 })
            .collect();
        let mut out = Vec::new();
        aggregate_pipeline(self, &[0; 32], &updates, &mut out)?;
        Ok(out)
    }
}
