//! What a devnet run consists of.

use std::path::PathBuf;

use cifer_aggregation::{Attack, Pipeline, Rule, Template};
use cifer_training::{DatasetKind, ModelKind, Partition, TaskSpec};

use crate::DevnetError;

/// Most processes that a devnet starts: each is a node of 50 to 100 MB.
const MAX_VALIDATORS: usize = 31;
/// Most contributors, each a process of its own.
const MAX_CONTRIBUTORS: usize = 200;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

/// What a devnet run consists of.
#[derive(Debug, Clone)]
pub struct DevnetOptions {
    /// The binary to run; normally the running one.
    pub binary: PathBuf,
    /// Validators; 1 is centralised federated learning on one trusted node.
    pub validators: usize,
    /// Contributors.
    pub contributors: usize,
    /// Attackers among them, the last ones.
    pub byzantine: usize,
    /// What they do.
    pub attack: Attack,
    /// Strength of the attack where it is not the default; already in `attack`.
    pub attack_scale: Option<f64>,
    /// The rule, maybe behind pre-aggregators; parameters that it leaves open follow from the numbers of
    /// contributors and attackers.
    pub rule: Template,
    /// Rounds.
    pub rounds: u64,
    /// How the data is spread.
    pub partition: Partition,
    /// The data.
    pub dataset: DatasetKind,
    /// The model.
    pub model: ModelKind,
    /// Seed of data split, partition and training.
    pub seed: u64,
    /// How results are printed.
    pub output: Output,
    /// Keep the network's folder here instead of in a temporary one.
    pub keep: Option<PathBuf>,
    /// Folder of the MNIST files.
    pub mnist_dir: Option<PathBuf>,
    /// Contributors of a group, when updates are encrypted.
    pub private: Option<usize>,
    /// Noise that contributors add before they encrypt: its standard deviation over the norm.
    pub noise: Option<f64>,
    /// L2 norm that updates are clipped to before noise is added, where it is not the default.
    pub clip_norm: Option<f64>,
}

impl DevnetOptions {
    /// The rule with its parameters, for as many updates as contributors and as many Byzantine ones
    /// as the rule is told to bear.
    ///
    /// # Errors
    /// [`DevnetError::Options`] for a parameter that the rule does not have.
    pub fn pipeline(&self) -> Result<Pipeline, DevnetError> {
        let n = u32::try_from(self.inputs()).unwrap_or(u32::MAX);
        let f = u32::try_from(self.byzantine).unwrap_or(u32::MAX);
        let filled = self.rule.for_numbers(n, f);
        let mut pipeline = filled
            .map_err(|error| DevnetError::Options(format!("--rule {}: {error}", self.rule)))?;
        // One less than could be averaged, so that a round ends without its slowest contributor.
        if let Rule::MultiKrum { f, m } = &mut pipeline.rule
            && *f > 0
            && *m > 1
        {
            *m -= 1;
        }
        Ok(pipeline)
    }

    /// What the rule sees: updates, or the means of groups.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match self.private {
            Some(group_size) => self.contributors / group_size.max(1),
            None => self.contributors,
        }
    }

    /// Updates that a round needs at least: what the rule needs, so that a crashed contributor does
    /// not stop the task.
    ///
    /// # Errors
    /// Those of [`pipeline`](Self::pipeline).
    pub fn min_updates(&self) -> Result<u64, DevnetError> {
        let range = self.pipeline()?.updates();
        let least = range.map_or(1, |range| *range.start());
        Ok(least.min(self.contributors) as u64)
    }

    /// The task as the trainers know it.
    #[must_use]
    pub fn task_spec(&self) -> TaskSpec {
        TaskSpec {
            dataset: self.dataset,
            model: self.model,
            partition: self.partition,
            contributors: self.contributors,
            seed: self.seed,
            hyperparameters: None,
            mnist_dir: self.mnist_dir.clone(),
        }
    }

    /// Refuses numbers that cannot work before anything is started.
    ///
    /// # Errors
    /// [`DevnetError::Options`] with the inequality.
    pub fn check(&self) -> Result<(), DevnetError> {
        let refuse = |text: String| Err(DevnetError::Options(text));
        if !(1..=MAX_VALIDATORS).contains(&self.validators) {
            return refuse(format!(
                "--validators {}: 1 to {MAX_VALIDATORS}",
                self.validators
            ));
        }
        if !(1..=MAX_CONTRIBUTORS).contains(&self.contributors) {
            return refuse(format!(
                "--contributors {}: 1 to {MAX_CONTRIBUTORS}",
                self.contributors
            ));
        }
        if self.byzantine >= self.contributors {
            return refuse(format!(
                "--byzantine {} must be less than --contributors {}",
                self.byzantine, self.contributors
            ));
        }
        if self.rounds == 0 {
            return refuse("--rounds 0: at least 1".to_owned());
        }
        self.pipeline()?.check(self.inputs())?;
        Ok(())
    }
}
