//! One training of the matrix, and how it ended.

use cifer_aggregation::{Attack, Pipeline};
use cifer_training::{DatasetKind, ModelKind, Partition, WorkerSettings};
use serde::{Deserialize, Serialize};

use crate::attack::AttackSpec;
use crate::error::LabError;
use crate::history::History;

/// Everything that one training depends on. Two cells with equal fields give equal outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The data.
    pub dataset: DatasetKind,
    /// The model.
    pub model: ModelKind,
    /// How the training set is spread over the honest contributors.
    pub partition: Partition,
    /// Honest contributors, 1..=100; each has a shard.
    pub honest: u32,
    /// Attackers beside them, fewer than the honest ones; they have no data of their own.
    pub byzantine: u32,
    /// The f that the pipeline is made for; normally the number of attackers.
    pub tolerated: u32,
    /// What the validators run, parameters as far as they are not the defaults for n and f.
    pub pipeline: String,
    /// What they do with earlier rounds before that.
    pub history: History,
    /// What the attackers do.
    pub attack: AttackSpec,
    /// How the contributors train.
    pub training: Training,
    /// Decides partition, initial model and minibatches.
    pub seed: u64,
}

/// How the contributors train, and how often somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Rounds, each one step of the model, 1..=100,000.
    pub rounds: u32,
    /// Samples of a minibatch, 1..=65,536.
    pub batch_size: u32,
    /// Step size of the model, above 0 and at most 100.
    pub learning_rate: f32,
    /// Share of the average that is kept each round, 0..1; see [`cifer_training::MomentumWorker`].
    pub momentum: f32,
    /// Weight decay: each step also takes this share of the parameters times the step size, 0..=1.
    pub weight_decay: f32,
    /// As in [`cifer_training::Hyperparameters::logit_adjustment`], 0..=10.
    pub logit_adjustment: f32,
    /// Looks are at an exponential average of the models of all rounds that keeps this share each round,
    /// 0..1; 0 is the model of the last round. Polyak and Juditsky, "Acceleration of Stochastic
    /// Approximation by Averaging" (1992); training itself goes on from the last model.
    pub averaging: f32,
    /// Rounds between two looks at the test set, at least 1; the first look is before round 0 and the last
    /// after the last round.
    pub evaluate_every: u32,
    /// Rounds between two searches of an optimised attack, at least 1.
    pub search_every: u32,
    /// Coordinates on which they search, a new sample each time; 0 for all.
    pub search_coordinates: u32,
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Accuracy on the test set at every look, 0..=1; 0 from the round on in which a model was no
    /// longer finite. Empty when the pipeline refuses the numbers.
    pub accuracy: Vec<f64>,
    /// Why there is no accuracy, or why it is 0 from some round on.
    pub remark: Option<String>,
    /// Wall time from the beginning of the training to its end. While it waits for its contributors, its
    /// thread takes other work of the pool, so parts of other cells are in it.
    pub seconds: f64,
}

impl Outcome {
    /// The best accuracy at any look, which is what ByzFL's tables hold.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.accuracy.iter().copied().reduce(f64::max)
    }

    /// The accuracy after the last round, which is what a network would have.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.accuracy.last().copied()
    }
}

impl Training {
    /// What concerns one contributor.
    pub(crate) fn worker(&self) -> WorkerSettings {
        WorkerSettings {
            batch_size: self.batch_size,
            momentum: self.momentum,
            logit_adjustment: self.logit_adjustment,
        }
    }
}

impl Cell {
    /// Checks the settings, so that none ends a run of many cells in the middle, and no number that is not
    /// finite, which JSON does not have, gets into a file of results. The size of the model and the target
    /// of `mimic` are left to those who use them.
    ///
    /// # Errors
    /// The first setting that is out of range, or what is wrong with the pipeline's text. A pipeline that
    /// refuses the numbers is an outcome.
    pub fn validate(&self) -> Result<(), LabError> {
        let check = |name, found: String, allowed, holds: bool| match holds {
            true => Ok(()),
            false => Err(LabError::OutOfRange {
                name,
                found,
                allowed,
            }),
        };
        let Self {
            honest, training, ..
        } = self;
        let (attackers, tolerated) = (self.byzantine, self.tolerated);
        check(
            "honest",
            honest.to_string(),
            "1..=100",
            (1..=100).contains(honest),
        )?;
        let fewer = "fewer than the honest contributors";
        check(
            "byzantine",
            attackers.to_string(),
            fewer,
            attackers < *honest,
        )?;
        check(
            "tolerated",
            tolerated.to_string(),
            fewer,
            tolerated < *honest,
        )?;
        let Training {
            rounds,
            learning_rate: rate,
            weight_decay: decay,
            averaging,
            evaluate_every,
            search_every,
            ..
        } = *training;
        check(
            "rounds",
            rounds.to_string(),
            "1..=100000",
            (1..=100_000).contains(&rounds),
        )?;
        let positive = rate > 0.0 && rate <= 100.0;
        check(
            "learning rate",
            rate.to_string(),
            "above 0, at most 100",
            positive,
        )?;
        check(
            "weight decay",
            decay.to_string(),
            "0..=1",
            (0.0..=1.0).contains(&decay),
        )?;
        let share = (0.0..1.0).contains(&averaging);
        check(
            "averaging",
            averaging.to_string(),
            "at least 0, below 1",
            share,
        )?;
        check(
            "evaluate every",
            evaluate_every.to_string(),
            "1 or more",
            evaluate_every > 0,
        )?;
        check(
            "search every",
            search_every.to_string(),
            "1 or more",
            search_every > 0,
        )?;
        training.worker().validate()?;
        self.partition.validate()?;
        self.attack.validate()?;
        self.history.validate()?;
        self.pipeline().map(drop)
    }

    /// Attackers whose updates reach the validators. What is not finite is refused by every node, and
    /// whoever sent it is one attacker less.
    pub(crate) fn attackers(&self) -> u32 {
        self.byzantine - self.refused()
    }

    /// What the validators run, for as many contributors and attackers as reach them.
    pub(crate) fn pipeline(&self) -> Result<Pipeline, LabError> {
        let n = self.honest + self.attackers();
        let f = self.tolerated.saturating_sub(self.refused());
        Pipeline::for_numbers(&self.pipeline, n, f).map_err(|source| LabError::Pipeline {
            pipeline: self.pipeline.clone(),
            source,
        })
    }

    fn refused(&self) -> u32 {
        match self.attack.attack() {
            Attack::Nan => self.byzantine,
            _ => 0,
        }
    }
}
