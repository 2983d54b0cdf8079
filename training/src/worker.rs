//! Distributed SGD with momentum at the workers: one minibatch gradient a round, averaged over the
//! rounds by its own contributor.
//!
//! A contributor sends `m(t) = beta * m(t-1) + (1 - beta) * g(t)` in place of the gradient `g(t)`. What
//! differs between honest contributors by the luck of their minibatches shrinks by about
//! `(1 - beta) / (1 + beta)`, and robust rules live on how close the honest vectors are. Karimireddy, He
//! and Jaggi, "Learning from History for Byzantine Robust Optimization" (ICML 2021); Farhadkhani et al.,
//! "Byzantine Machine Learning Made Easy by Resilient Averaging of Momentums" (ICML 2022).
//!
//! Minibatches go through the shard in an order that is shuffled anew whenever it is used up.

use ndarray::ArrayView2;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use crate::dataset::Dataset;
use crate::error::TrainingError;
use crate::model::{Batch, BatchMetrics, Model, Scratch};
use crate::seed::{Stream, rng};
use crate::sgd::{
    check_batch_size, check_fit, check_logit_adjustment, check_momentum, logit_offsets,
};

/// How a [`MomentumWorker`] computes what it sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerSettings {
    /// Samples a step, 1..=65,536; never more than the shard has.
    pub batch_size: u32,
    /// The beta above, at least 0 (plain gradients) and below 1.
    pub momentum: f32,
    /// As in [`crate::Hyperparameters::logit_adjustment`], 0..=10.
    pub logit_adjustment: f32,
}

/// A contributor's shard, its place in it, and its momentum.
#[derive(Debug)]
pub struct MomentumWorker {
    shard: Dataset,
    settings: WorkerSettings,
    offsets: Vec<f32>,
    order: Vec<u32>,
    next: usize,
    rng: ChaCha20Rng,
    momentum: Vec<f32>,
    gradient: Vec<f32>,
    scratch: Scratch,
    rows: Vec<f32>,
    labels: Vec<u8>,
}

impl WorkerSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// If a value is out of range.
    pub fn validate(&self) -> Result<(), TrainingError> {
        check_batch_size(self.batch_size)?;
        check_momentum(self.momentum)?;
        check_logit_adjustment(self.logit_adjustment)
    }
}

impl MomentumWorker {
    /// Contributor `contributor` of a task with `seed`, before its first step.
    ///
    /// # Errors
    /// If the shard does not fit the model, or a setting is out of range.
    pub fn new(
        model: &dyn Model,
        shard: Dataset,
        settings: WorkerSettings,
        seed: u64,
        contributor: u64,
    ) -> Result<Self, TrainingError> {
        settings.validate()?;
        let parameters = model.parameter_count();
        let momentum = vec![0.0; parameters];
        check_fit(model, &momentum, &shard)?;
        let batch = (settings.batch_size as usize).min(shard.len());
        Ok(Self {
            settings,
            offsets: logit_offsets(&shard, settings.logit_adjustment),
            order: (0..shard.len() as u32).collect(),
            // Used up, so that the first step shuffles.
            next: shard.len(),
            rng: rng(seed, Stream::Worker, contributor, 0),
            momentum,
            gradient: vec![0.0; parameters],
            scratch: model.scratch(batch),
            rows: vec![0.0; batch * shard.features()],
            labels: vec![0; batch],
            shard,
        })
    }

    /// Takes the gradient of one minibatch at `params` into the momentum, and returns that: the direction
    /// of ascent, which a server subtracts.
    ///
    /// # Errors
    /// If `params` does not fit the model, or the momentum is no longer finite.
    pub fn step(
        &mut self,
        model: &dyn Model,
        params: &[f32],
    ) -> Result<(&[f32], BatchMetrics), TrainingError> {
        check_fit(model, params, &self.shard)?;
        let batch = self.labels.len();
        if self.order.len() - self.next < batch {
            self.order.shuffle(&mut self.rng);
            self.next = 0;
        }
        let indices = &self.order[self.next..self.next + batch];
        self.next += batch;
        self.shard.gather(indices, &mut self.rows, &mut self.labels);
        let rows = ArrayView2::from_shape((batch, self.shard.features()), &self.rows)
            .expect("the length is rows * columns");
        let metrics = model.loss_and_gradient(
            params,
            Batch {
                features: rows,
                labels: &self.labels,
                logit_offsets: &self.offsets,
            },
            &mut self.scratch,
            &mut self.gradient,
        );
        let beta = self.settings.momentum;
        for (kept, new) in self.momentum.iter_mut().zip(&self.gradient) {
            *kept = beta * *kept + (1.0 - beta) * new;
        }
        match self.momentum.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(TrainingError::Diverged { index, steps: 1 }),
            None => Ok((&self.momentum, metrics)),
        }
    }
}
