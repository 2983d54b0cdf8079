//! Options that describe a task, for `testnet generate` and `genesis new`.

use std::path::PathBuf;

use cifer_aggregation::Template;
use cifer_node::testnet::{
    DEFAULT_CLIP_NORM, DEFAULT_DEADLINE_MS, NoiseOptions, PrivateOptions, TaskOptions,
};
use cifer_training::{DatasetKind, ModelKind};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Task")]
pub(crate) struct TaskArgs {
    /// Name of the task [default: the data set]
    #[arg(long, value_name = "NAME")]
    task_name: Option<String>,
    /// A rule, such as multi-krum, trimmed-mean, median or fedavg, or a pipeline, such as
    /// clip,nnm,trimmed-mean or clip:radius=2,nnm,trimmed-mean; docs/rules.md has all of them
    #[arg(long, default_value = "multi-krum")]
    rule: Template,
    /// Byzantine contributors that the rule tolerates [default: as many as it can]
    #[arg(long, value_name = "F")]
    f: Option<u64>,
    /// Updates that multi-krum averages [default: all but F]
    #[arg(long, value_name = "M")]
    m: Option<u64>,
    /// Largest weight of one contributor under fedavg, in samples
    #[arg(long, value_name = "SAMPLES")]
    weight_cap: Option<u64>,
    /// Fewest updates that may be aggregated
    #[arg(long, value_name = "N")]
    min_updates: Option<u64>,
    /// Updates that close a round at once [default: one from each contributor]
    #[arg(long, value_name = "N")]
    max_updates: Option<u64>,
    /// Block time after which a round closes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_DEADLINE_MS)]
    deadline_ms: u64,
    /// Rounds to run; 0 is for ever
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_rounds: u64,
    /// Server step: the new model is the old one plus this times the aggregate
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    server_lr: f64,
    /// Data that the model is for: digits or mnist
    #[arg(long, default_value = "digits")]
    dataset: DatasetKind,
    /// softmax, mlp or mlp:HIDDEN_UNITS
    #[arg(long, default_value = "softmax")]
    model: ModelKind,
    /// Folder of the MNIST files
    #[arg(long, value_name = "DIR")]
    mnist_dir: Option<PathBuf>,
    /// Seed of the initial model
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Encrypt updates: nobody sees one, only the mean of each random group is opened
    #[arg(long)]
    private: bool,
    /// Contributors of a group of a private task
    #[arg(long, value_name = "N", default_value_t = 3, requires = "private")]
    group_size: u64,
    /// Fewest updates of a group that are opened together
    #[arg(long, value_name = "N", default_value_t = 2, requires = "private")]
    min_cohort: u64,
    /// Largest magnitude of a coordinate of a private update [default: 0.25, with --noise what it needs]
    #[arg(long, value_name = "X", requires = "private")]
    clip: Option<f64>,
    /// Differential privacy: standard deviation of the noise that contributors add to a private update, over its
    /// largest norm; `genesis validate` prints the epsilon
    #[arg(long, value_name = "X", requires = "private")]
    noise: Option<f64>,
    /// L2 norm that updates are clipped to before noise is added
    #[arg(long, value_name = "X", default_value_t = DEFAULT_CLIP_NORM, requires = "noise")]
    clip_norm: f64,
    /// Members of a group whose noise is counted
    #[arg(long, value_name = "N", default_value_t = 1, requires = "noise")]
    honest: u64,
    /// The guarantee is stated at delta = 10^-N
    #[arg(long, value_name = "N", default_value_t = 6, requires = "noise")]
    delta_exponent: u64,
}

impl TaskArgs {
    pub(crate) fn into_options(self) -> TaskOptions {
        TaskOptions {
            name: self.task_name.unwrap_or_else(|| self.dataset.to_string()),
            rule: self.rule,
            f: self.f,
            m: self.m,
            weight_cap: self.weight_cap,
            min_updates: self.min_updates,
            max_updates: self.max_updates,
            deadline_ms: self.deadline_ms,
            max_rounds: self.max_rounds,
            server_lr: self.server_lr,
            dataset: self.dataset,
            model: self.model,
            mnist_dir: self.mnist_dir,
            seed: self.seed,
            private: self.private.then_some(PrivateOptions {
                group_size: self.group_size,
                min_cohort: self.min_cohort,
                clip: self.clip,
                noise: self.noise.map(|multiplier| NoiseOptions {
                    multiplier,
                    clip_norm: self.clip_norm,
                    honest: self.honest,
                    delta_exponent: self.delta_exponent,
                }),
            }),
        }
    }
}
