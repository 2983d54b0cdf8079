//! Local training for federated learning: what a contributor does between two rounds.
//!
//! A [`FederatedTask`] fixes data set, partition, model and hyper-parameters from one seed, so that
//! every process of a network derives the same shards and the same initial model by itself. Below it
//! are the parts: [`Dataset`]s, [`Partition`]s over contributors, [`Model`]s whose parameters are one
//! flat `f32` vector, [`train`] (SGD with momentum) and [`evaluate`].
//!
//! Nothing here is consensus-critical. Data sets, splits and initial models are bit-identical on
//! every machine (integers and correctly rounded operations only); trained updates and Dirichlet
//! partitions are reproducible for one build on one machine, since they use `exp` and `ln` and a
//! matrix product chosen by CPU features.

mod dataset;
mod digits;
mod dirichlet;
mod error;
mod evaluate;
mod mlp;
mod mnist;
mod model;
mod partition;
mod seed;
mod sgd;
mod softmax;
mod task;
mod worker;

pub use dataset::{Dataset, Split};
pub use digits::{decode_digits, digits};
pub use error::TrainingError;
pub use evaluate::{Evaluation, evaluate};
pub use mlp::Mlp;
pub use mnist::{decode_mnist_images, decode_mnist_labels, load_mnist};
pub use model::{Batch, BatchMetrics, Model, ModelKind, Scratch, TensorSpec};
pub use partition::{MIN_SHARD_SAMPLES, Partition};
pub use sgd::{Hyperparameters, TrainingSeed, Update, train};
pub use softmax::SoftmaxRegression;
pub use task::{DatasetKind, FederatedTask, TaskSpec};
pub use worker::{MomentumWorker, WorkerSettings};
