//! The typed settings of a contributor.

use std::path::PathBuf;

use cifer_aggregation::Attack;
use cifer_genesis::TaskId;
use cifer_training::{DatasetKind, ModelKind, Partition};

use super::error::ConfigError;
use super::layers::Effective;
use super::node::path;
use crate::home::Home;

/// What a contributor does.
#[derive(Debug, Clone, PartialEq)]
pub struct ContributeConfig {
    /// URLs, at least one.
    pub gateways: Vec<String>,
    /// PEM file of the authority that gateways must show.
    pub tls_ca: Option<PathBuf>,
    /// PEM files of this client's certificate and key.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Task to train.
    pub task: TaskId,
    /// Rounds to take part in; none is until the task ends.
    pub rounds: Option<u64>,
    /// The data.
    pub dataset: DatasetKind,
    /// Folder of the MNIST files.
    pub mnist_dir: Option<PathBuf>,
    /// The model.
    pub model: ModelKind,
    /// Shards that the data is split into.
    pub contributors: usize,
    /// Which of them is ours.
    pub index: usize,
    /// How the data is split.
    pub partition: Partition,
    /// Seed of split, partition and minibatches.
    pub seed: u64,
    /// Local training where it differs from what is tuned for the data.
    pub training: TrainingOverrides,
    /// What is sent instead of an honest update.
    pub attack: Attack,
    /// Attackers among the contributors, the last ones.
    pub byzantine: usize,
}

/// Hyper-parameters that are given; the others are those tuned for the data.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TrainingOverrides {
    /// Step size.
    pub learning_rate: Option<f32>,
    /// Share of the last step kept.
    pub momentum: Option<f32>,
    /// Passes over the shard in a round.
    pub local_epochs: Option<u32>,
    /// Samples of a minibatch.
    pub batch_size: Option<u32>,
    /// Correction for skewed labels.
    pub logit_adjustment: Option<f32>,
}

pub(super) fn read(values: &Effective, home: &Home) -> Result<ContributeConfig, ConfigError> {
    let gateways = values.list("contribute.gateways");
    let is_address = |text: &String| text.contains(':') && !text.contains(char::is_whitespace);
    if gateways.is_empty() || !gateways.iter().all(is_address) {
        let expected = "one or more URLs like http://127.0.0.1:26652".to_owned();
        return Err(values.refuse("contribute.gateways", expected));
    }
    let tls_identity = match (
        path(values, home, "contribute.tls_cert"),
        path(values, home, "contribute.tls_key"),
    ) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            return Err(ConfigError::Conflict(
                "contribute.tls_cert and contribute.tls_key go together",
            ));
        }
    };
    let contributors = values.integer("contribute.contributors", 1)?;
    let index = values.integer("contribute.index", 0)?;
    if index >= contributors {
        return Err(values.refuse(
            "contribute.index",
            format!("less than the {contributors} contributors"),
        ));
    }
    let rounds = values.integer("contribute.rounds", 0)?;
    Ok(ContributeConfig {
        gateways,
        tls_ca: path(values, home, "contribute.tls_ca"),
        tls_identity,
        task: TaskId(values.integer("contribute.task", 0)?),
        rounds: (rounds > 0).then_some(rounds),
        dataset: values.parse("contribute.dataset", "digits or mnist")?,
        mnist_dir: path(values, home, "contribute.mnist_dir"),
        model: values.parse("contribute.model", "softmax, mlp or mlp:HIDDEN_UNITS")?,
        contributors,
        index,
        partition: values.parse(
            "contribute.alpha",
            "iid, a number, similarity:GAMMA or extreme",
        )?,
        seed: values.integer("contribute.seed", 0)?,
        training: TrainingOverrides {
            learning_rate: float(values, "contribute.learning_rate"),
            momentum: float(values, "contribute.momentum"),
            local_epochs: values.optional_integer("contribute.local_epochs", 1)?,
            batch_size: values.optional_integer("contribute.batch_size", 1)?,
            logit_adjustment: float(values, "contribute.logit_adjustment"),
        },
        attack: attack(values)?,
        byzantine: values.integer("contribute.byzantine", 0)?,
    })
}

fn attack(values: &Effective) -> Result<Attack, ConfigError> {
    let attack: Attack = values.parse("contribute.attack", "the name of an attack")?;
    Ok(match values.float("contribute.attack_scale") {
        Some(scale) => attack.with_scale(scale),
        None => attack,
    })
}

#[allow(clippy::cast_possible_truncation)] // Training is in f32; its own checks see what it gets.
fn float(values: &Effective, key: &'static str) -> Option<f32> {
    values.float(key).map(|number| number as f32)
}
