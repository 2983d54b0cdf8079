//! One definition of a federated task, shared by whoever starts a network and whoever trains in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Split};
use crate::digits::digits;
use crate::error::TrainingError;
use crate::evaluate::{Evaluation, evaluate};
use crate::mnist::{default_mnist_dir, load_mnist};
use crate::model::{Model, ModelKind, TensorSpec};
use crate::partition::Partition;
use crate::sgd::{Hyperparameters, TrainingSeed, Update, train};

/// The data sets this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetKind {
    /// UCI optical digits, 1,797 images of 8x8, embedded. Split 80/20 by the task's seed.
    Digits,
    /// MNIST, 70,000 images of 28x28, from a folder. Keeps its own test set of 10,000.
    Mnist,
}

/// Everything that defines a [`FederatedTask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// The data.
    pub dataset: DatasetKind,
    /// The model.
    pub model: ModelKind,
    /// How the training set is spread.
    pub partition: Partition,
    /// Over how many contributors.
    pub contributors: usize,
    /// Decides split, partition, initial model and the order of minibatches.
    pub seed: u64,
    /// Local training; none means [`Hyperparameters::tuned`].
    #[serde(default)]
    pub hyperparameters: Option<Hyperparameters>,
    /// Folder of the MNIST files; none means where `scripts/fetch-mnist` puts them. Unused for digits.
    #[serde(default)]
    pub mnist_dir: Option<PathBuf>,
}

/// A federated task with its data loaded.
#[derive(Debug)]
pub struct FederatedTask {
    spec: TaskSpec,
    hyperparameters: Hyperparameters,
    model: Box<dyn Model>,
    data: Split,
    shards: Vec<Vec<u32>>,
}

impl FederatedTask {
    /// Loads the data, partitions it and builds the model.
    ///
    /// # Errors
    /// If the data cannot be loaded or a setting is out of range.
    pub fn new(spec: TaskSpec) -> Result<Self, TrainingError> {
        let hyperparameters = spec
            .hyperparameters
            .unwrap_or_else(|| Hyperparameters::tuned(spec.dataset, spec.model));
        hyperparameters.validate()?;
        let data = spec.dataset.load(spec.seed, spec.mnist_dir.as_deref())?;
        let hidden = spec.dataset.default_hidden();
        let model = spec
            .model
            .build(data.train.features(), data.train.classes(), hidden)?;
        let shards = spec
            .partition
            .assign(data.train.labels(), spec.contributors, spec.seed)?;
        Ok(Self {
            spec,
            hyperparameters,
            model,
            data,
            shards,
        })
    }

    /// What the task was made from.
    #[must_use]
    pub const fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    /// The hyper-parameters in force.
    #[must_use]
    pub const fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyperparameters
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &dyn Model {
        &*self.model
    }

    /// Names and shapes of the model's tensors.
    #[must_use]
    pub fn manifest(&self) -> Vec<TensorSpec> {
        self.model.manifest()
    }

    /// The parameters that round 0 starts from.
    #[must_use]
    pub fn initial_model(&self) -> Vec<f32> {
        self.model.init(self.spec.seed)
    }

    /// The held-out data.
    #[must_use]
    pub const fn test_set(&self) -> &Dataset {
        &self.data.test
    }

    /// A copy of what contributor `index` holds.
    ///
    /// # Errors
    /// If there is no such contributor.
    pub fn shard(&self, index: usize) -> Result<Dataset, TrainingError> {
        let indices = self.shards.get(index).ok_or_else(|| {
            let allowed = format!("0..{}", self.shards.len());
            TrainingError::out_of_range("contributor index", index, allowed)
        })?;
        Ok(self.data.train.select(indices))
    }

    /// Trains on `shard` as contributor `index` does in `round`.
    ///
    /// # Errors
    /// If `base` or `shard` does not fit the model, or training diverges.
    pub fn train(
        &self,
        shard: &Dataset,
        index: usize,
        round: u64,
        base: &[f32],
    ) -> Result<Update, TrainingError> {
        let seed = TrainingSeed {
            seed: self.spec.seed,
            contributor: index as u64,
            round,
        };
        train(self.model(), base, shard, &self.hyperparameters, seed)
    }

    /// Scores `params` on the test set.
    ///
    /// # Errors
    /// If `params` does not fit the model.
    pub fn evaluate(&self, params: &[f32]) -> Result<Evaluation, TrainingError> {
        evaluate(self.model(), params, self.test_set())
    }
}

impl DatasetKind {
    /// Loads it; `seed` splits the digits, `mnist_dir` is as in [`TaskSpec::mnist_dir`].
    ///
    /// # Errors
    /// If the files are missing or not what they should be.
    pub fn load(self, seed: u64, mnist_dir: Option<&Path>) -> Result<Split, TrainingError> {
        match (self, mnist_dir) {
            (Self::Digits, _) => Ok(digits()?.split(seed)),
            (Self::Mnist, Some(dir)) => load_mnist(dir),
            (Self::Mnist, None) => {
                let dir = default_mnist_dir().ok_or_else(|| {
                    TrainingError::out_of_range(
                        "MNIST folder",
                        "not set",
                        "a folder, or XDG_DATA_HOME or HOME in the environment",
                    )
                })?;
                load_mnist(&dir)
            }
        }
    }

    /// Hidden units of an MLP that names none.
    #[must_use]
    pub const fn default_hidden(self) -> u32 {
        match self {
            Self::Digits => 64,
            Self::Mnist => 128,
        }
    }
}

impl Hyperparameters {
    /// Defaults for ten contributors of which three attack; `examples/simulate.rs` prints the
    /// accuracies that they were chosen by.
    #[must_use]
    pub const fn tuned(dataset: DatasetKind, model: ModelKind) -> Self {
        match (dataset, model) {
            (DatasetKind::Digits, ModelKind::Softmax) => Self {
                epochs: 3,
                batch_size: 16,
                learning_rate: 0.3,
                momentum: 0.0,
                logit_adjustment: 1.0,
            },
            (DatasetKind::Digits, ModelKind::Mlp { .. }) => Self {
                epochs: 3,
                batch_size: 16,
                learning_rate: 0.1,
                momentum: 0.0,
                logit_adjustment: 1.0,
            },
            (DatasetKind::Mnist, _) => Self {
                epochs: 1,
                batch_size: 32,
                learning_rate: 0.2,
                momentum: 0.0,
                logit_adjustment: 1.0,
            },
        }
    }
}

impl FromStr for DatasetKind {
    type Err = TrainingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "digits" => Ok(Self::Digits),
            "mnist" => Ok(Self::Mnist),
            _ => Err(TrainingError::Unknown {
                what: "data set",
                found: text.to_owned(),
                known: "`digits`, `mnist`",
            }),
        }
    }
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
        })
    }
}
