//! Local training of one contributor on its shard, honest or not. CPU work: run it where blocking
//! is allowed.

use bytes::Bytes;
use cifer_aggregation::attacks::{Defence, Knowledge};
use cifer_aggregation::{Attack, Pipeline};
use cifer_chain::{Metrics, RoundId};
use cifer_genesis::document::Task;
use cifer_training::{Dataset, FederatedTask, TaskSpec};

use crate::error::ClientError;

/// What one contributor trains and how.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainerConfig {
    /// Data, partition, model and hyper-parameters, the same for all contributors.
    pub spec: TaskSpec,
    /// Which shard is this contributor's.
    pub index: usize,
    /// What it does to its update; [`Attack::None`] for an honest contributor.
    pub attack: Attack,
    /// How many of the contributors attack: the ones with the highest indices. Omniscient attacks
    /// recompute what the others will send.
    pub byzantine: usize,
}

/// A trainer with its data loaded.
#[derive(Debug)]
pub struct Trainer {
    config: TrainerConfig,
    task: FederatedTask,
    shard: Dataset,
    /// Index and shard of the honest contributors; only for attacks that look at them.
    honest: Vec<(usize, Dataset)>,
    /// What the validators run; optimised attacks try their strength on it.
    defence: Option<Pipeline>,
}

/// What training gave.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedUpdate {
    /// The payload: every coordinate, f32 little endian.
    pub payload: Bytes,
    /// Samples trained on.
    pub samples: u64,
    /// Mean loss over the last epoch, in nats.
    pub loss: f64,
    /// Training accuracy over the last epoch, 0..=1.
    pub accuracy: f64,
}

impl Trainer {
    /// Loads the data and checks that the model is the task's.
    ///
    /// # Errors
    /// [`ClientError::Training`] for unusable settings, [`ClientError::Config`] for another model
    /// than the task's.
    pub fn new(config: TrainerConfig, task: &Task) -> Result<Self, ClientError> {
        let federated = FederatedTask::new(config.spec.clone())?;
        check_manifest(&federated, task)?;
        let mut shard = federated.shard(config.index)?;
        if config.attack.flips_labels() {
            shard = shard.with_flipped_labels();
        }
        let others = if config.attack.sees_honest() {
            honest_count(&config)
        } else {
            0
        };
        let honest = (0..others).map(|index| Ok((index, federated.shard(index)?)));
        let honest = honest.collect::<Result<_, ClientError>>()?;
        Ok(Self {
            config,
            task: federated,
            shard,
            honest,
            defence: defence(task),
        })
    }

    /// The task trained, for example to evaluate a model.
    #[must_use]
    pub const fn task(&self) -> &FederatedTask {
        &self.task
    }

    /// What this contributor sends for a round that starts from `base`.
    ///
    /// # Errors
    /// [`ClientError::Training`], above all when training diverges, and [`ClientError::Attack`].
    pub fn update(&self, round: RoundId, base: &[f32]) -> Result<TrainedUpdate, ClientError> {
        let own = self
            .task
            .train(&self.shard, self.config.index, round.0, base)?;
        let honest = self
            .honest
            .iter()
            .map(|(index, shard)| Ok(self.task.train(shard, *index, round.0, base)?.delta))
            .collect::<Result<Vec<_>, ClientError>>()?;
        let known = Knowledge {
            own: &own.delta,
            honest: &honest,
            n: self.config.spec.contributors,
            f: self.config.byzantine,
            seed: self.attack_seed(round),
            defence: self.defence.as_ref().map(|p| p as &dyn Defence),
        };
        let sent = self.config.attack.forge(&known)?;
        let payload: Vec<u8> = sent.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(TrainedUpdate {
            payload: payload.into(),
            samples: own.samples,
            loss: own.loss,
            accuracy: own.accuracy,
        })
    }

    /// Different for each contributor and round.
    fn attack_seed(&self, round: RoundId) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("cifer/client/attack-seed/v1");
        for value in [self.config.spec.seed, self.config.index as u64, round.0] {
            hasher.update(&value.to_le_bytes());
        }
        let mut seed = [0; 8];
        hasher.finalize_xof().fill(&mut seed);
        u64::from_le_bytes(seed)
    }
}

impl TrainedUpdate {
    /// The metrics as they are signed: saturating, in parts per million.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        // `as` saturates, and makes zero of NaN.
        let ppm = |value: f64| (value * 1e6) as u64;
        let accuracy_ppm = u32::try_from(ppm(self.accuracy)).unwrap_or(u32::MAX);
        Metrics {
            loss_ppm: ppm(self.loss),
            accuracy_ppm,
        }
    }
}

/// The task's rule as the aggregation crate has it: both crates have the same text form. `None` is what
/// an attack takes for an unknown rule.
fn defence(task: &Task) -> Option<Pipeline> {
    task.rule.to_string().parse().ok()
}

const fn honest_count(config: &TrainerConfig) -> usize {
    config.spec.contributors.saturating_sub(config.byzantine)
}

fn check_manifest(federated: &FederatedTask, task: &Task) -> Result<(), ClientError> {
    let ours: Vec<_> = federated
        .manifest()
        .into_iter()
        .map(|tensor| {
            (
                tensor.name,
                tensor.shape.iter().map(|d| *d as u64).collect::<Vec<_>>(),
            )
        })
        .collect();
    let theirs: Vec<_> = task
        .tensors
        .iter()
        .map(|t| (t.name.clone(), t.shape.clone()))
        .collect();
    if ours == theirs {
        return Ok(());
    }
    let spec = federated.spec();
    let value = format!("{} on {}", spec.model, spec.dataset);
    let reason = format!("has tensors {ours:?}, task {} has {theirs:?}", task.id);
    Err(ClientError::config("model", value, reason))
}
