//! Local training: minibatch SGD with heavy-ball momentum (v = m*v + g; w = w - lr*v).
//!
//! The result depends on base model, shard, hyper-parameters and seed alone, for one build on one
//! machine. The loop over minibatches allocates nothing but what the matrix product packs.

use ndarray::ArrayView2;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{TrainingError, expect};
use crate::model::{Batch, BatchMetrics, Model};
use crate::seed::{Stream, rng};

/// How a contributor trains in one round. Unknown fields are refused when read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hyperparameters {
    /// Passes over the shard, 1..=1,000.
    pub epochs: u32,
    /// Samples a step, 1..=65,536; the last of an epoch may be smaller.
    pub batch_size: u32,
    /// Step size, above 0 and at most 100.
    pub learning_rate: f32,
    /// Share of the last step kept, at least 0 and below 1.
    pub momentum: f32,
    /// Weight of the logit adjustment, 0 (none) to 10: the loss adds this multiple of the logarithm of a
    /// class's share in the shard to the class's logit. At 1, contributors with skewed labels agree
    /// far better on the direction, which is what robust rules live on. Menon et al., "Long-Tail Learning
    /// via Logit Adjustment" (ICLR 2021); Zhang et al., "Federated Learning with Label
    /// Distribution Skew via Logits Calibration" (ICML 2022).
    pub logit_adjustment: f32,
}

/// What makes one local training's randomness its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingSeed {
    /// The task's seed.
    pub seed: u64,
    /// The contributor's index.
    pub contributor: u64,
    /// The round.
    pub round: u64,
}

/// What a contributor sends in a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Local minus base parameters; finite, in the order of the manifest.
    pub delta: Vec<f32>,
    /// Samples in the shard.
    pub samples: u64,
    /// Mean cross-entropy over the last epoch in nats, each minibatch before its step.
    pub loss: f64,
    /// Share of correct predictions over the last epoch, each minibatch before its step.
    pub accuracy: f64,
}

impl Hyperparameters {
    /// Checks the ranges.
    ///
    /// # Errors
    /// If a value is out of range.
    pub fn validate(&self) -> Result<(), TrainingError> {
        if !(1..=1_000).contains(&self.epochs) {
            return Err(TrainingError::out_of_range(
                "epochs",
                self.epochs,
                "1..=1000",
            ));
        }
        check_batch_size(self.batch_size)?;
        if !(self.learning_rate > 0.0 && self.learning_rate <= 100.0) {
            let allowed = "above 0, at most 100";
            return Err(TrainingError::out_of_range(
                "learning_rate",
                self.learning_rate,
                allowed,
            ));
        }
        check_momentum(self.momentum)?;
        check_logit_adjustment(self.logit_adjustment)
    }
}

pub(crate) fn check_batch_size(size: u32) -> Result<(), TrainingError> {
    match (1..=65_536).contains(&size) {
        true => Ok(()),
        false => Err(TrainingError::out_of_range("batch_size", size, "1..=65536")),
    }
}

pub(crate) fn check_momentum(momentum: f32) -> Result<(), TrainingError> {
    let allowed = "at least 0, below 1";
    match (0.0..1.0).contains(&momentum) {
        true => Ok(()),
        false => Err(TrainingError::out_of_range("momentum", momentum, allowed)),
    }
}

pub(crate) fn check_logit_adjustment(weight: f32) -> Result<(), TrainingError> {
    let allowed = "0..=10";
    match (0.0..=10.0).contains(&weight) {
        true => Ok(()),
        false => Err(TrainingError::out_of_range(
            "logit_adjustment",
            weight,
            allowed,
        )),
    }
}

/// Trains `model` from `base` on `shard`.
///
/// # Errors
/// If base, shard and model do not fit together, a value of the base or a hyper-parameter is out of
/// range, or training diverges.
pub fn train(
    model: &dyn Model,
    base: &[f32],
    shard: &Dataset,
    hyper: &Hyperparameters,
    seed: TrainingSeed,
) -> Result<Update, TrainingError> {
    hyper.validate()?;
    check_fit(model, base, shard)?;
    if let Some(index) = base.iter().position(|value| !value.is_finite()) {
        let found = format!("{} at {index}", base[index]);
        return Err(TrainingError::out_of_range(
            "base parameter",
            found,
            "a finite number",
        ));
    }
    let batch_size = (hyper.batch_size as usize).min(shard.len());
    let features = shard.features();

    let offsets = logit_offsets(shard, hyper.logit_adjustment);
    let mut params = base.to_vec();
    let mut velocity = vec![0.0; base.len()];
    let mut gradient = vec![0.0; base.len()];
    let mut scratch = model.scratch(batch_size);
    let mut batch_features = vec![0.0; batch_size * features];
    let mut batch_labels = vec![0; batch_size];
    let mut order: Vec<u32> = (0..shard.len() as u32).collect();
    let mut rng = rng(seed.seed, Stream::Sgd, seed.contributor, seed.round);
    let mut last_epoch = BatchMetrics::default();
    let mut steps = 0;

    for _ in 0..hyper.epochs {
        order.shuffle(&mut rng);
        last_epoch = BatchMetrics::default();
        for indices in order.chunks(batch_size) {
            let rows = &mut batch_features[..indices.len() * features];
            let labels = &mut batch_labels[..indices.len()];
            shard.gather(indices, rows, labels);
            let rows = ArrayView2::from_shape((indices.len(), features), &*rows)
                .expect("the length is rows * columns");
            let batch = Batch {
                features: rows,
                labels,
                logit_offsets: &offsets,
            };
            let metrics = model.loss_and_gradient(&params, batch, &mut scratch, &mut gradient);
            last_epoch.loss_sum += metrics.loss_sum;
            last_epoch.correct += metrics.correct;
            step(&mut params, &mut velocity, &gradient, hyper);
            steps += 1;
        }
    }

    for (param, base) in params.iter_mut().zip(base) {
        *param -= base;
    }
    if let Some(index) = params.iter().position(|value| !value.is_finite()) {
        return Err(TrainingError::Diverged { index, steps });
    }
    let samples = shard.len() as f64;
    Ok(Update {
        delta: params,
        samples: shard.len() as u64,
        loss: last_epoch.loss_sum / samples,
        accuracy: last_epoch.correct as f64 / samples,
    })
}

/// `weight * ln(share of the class in the shard)`: minus infinity for a class that is not in it, zeros for
/// weight zero.
pub(crate) fn logit_offsets(shard: &Dataset, weight: f32) -> Vec<f32> {
    let mut counts = vec![0_u32; shard.classes()];
    for &label in shard.labels() {
        counts[usize::from(label)] += 1;
    }
    let offset = |count: u32| weight * (count as f32 / shard.len() as f32).ln();
    counts
        .into_iter()
        .map(|count| if weight == 0.0 { 0.0 } else { offset(count) })
        .collect()
}

fn step(params: &mut [f32], velocity: &mut [f32], gradient: &[f32], hyper: &Hyperparameters) {
    for ((param, velocity), gradient) in params.iter_mut().zip(velocity).zip(gradient) {
        *velocity = hyper.momentum * *velocity + gradient;
        *param -= hyper.learning_rate * *velocity;
    }
}

/// Checks that parameters and data have the model's sizes and that there is data at all.
pub(crate) fn check_fit(
    model: &dyn Model,
    params: &[f32],
    data: &Dataset,
) -> Result<(), TrainingError> {
    expect(
        "number of parameters",
        params.len() as u64,
        model.parameter_count() as u64,
    )?;
    expect(
        "features of a sample",
        data.features() as u64,
        model.features() as u64,
    )?;
    expect("classes", data.classes() as u64, model.classes() as u64)?;
    if data.is_empty() {
        return Err(TrainingError::out_of_range(
            "number of samples",
            0,
            "at least 1",
        ));
    }
    Ok(())
}
