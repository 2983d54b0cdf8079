//! Federated learning in one process: plain FedAvg and Multi-Krum against attackers, as small as can be.
//! It exists to tune hyper-parameters and to check them; the network's rules live in another crate.
#![allow(dead_code, reason = "each test and the example use a part")]

use std::fmt;

use cifer_training::{
    Dataset, DatasetKind, FederatedTask, Hyperparameters, ModelKind, Partition, TaskSpec,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub(crate) const CONTRIBUTORS: usize = 10;
pub(crate) const BYZANTINE: usize = 3;
pub(crate) const ROUNDS: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    FedAvg,
    MultiKrum,
}

/// What the last three contributors send. ALIE and IPM know the honest updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Attack {
    None,
    SignFlip,
    Alie,
    Ipm,
    Gaussian,
    LabelFlip,
    Nan,
    /// ALIE with z = 1.
    StrongAlie,
    /// The same with what the three attackers would have computed honestly as all they know.
    BlindAlie,
    BlindIpm,
    /// Noise as long as an honest update.
    SmallGaussian,
}

impl Attack {
    pub(crate) const REQUIRED: [Self; 6] = [
        Self::SignFlip,
        Self::Alie,
        Self::Ipm,
        Self::Gaussian,
        Self::LabelFlip,
        Self::Nan,
    ];
    pub(crate) const EXTRA: [Self; 4] = [
        Self::StrongAlie,
        Self::BlindAlie,
        Self::BlindIpm,
        Self::SmallGaussian,
    ];
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::SignFlip => "sign-flip",
            Self::Alie => "alie",
            Self::Ipm => "ipm",
            Self::Gaussian => "gaussian",
            Self::LabelFlip => "label-flip",
            Self::Nan => "nan",
            Self::StrongAlie => "alie-strong",
            Self::BlindAlie => "alie-blind",
            Self::BlindIpm => "ipm-blind",
            Self::SmallGaussian => "gauss-small",
        })
    }
}

pub(crate) fn spec(model: ModelKind, partition: Partition, seed: u64) -> TaskSpec {
    TaskSpec {
        dataset: DatasetKind::Digits,
        model,
        partition,
        contributors: CONTRIBUTORS,
        seed,
        hyperparameters: None,
        mnist_dir: None,
    }
}

pub(crate) fn task(
    model: ModelKind,
    partition: Partition,
    seed: u64,
    hyperparameters: Option<Hyperparameters>,
) -> FederatedTask {
    FederatedTask::new(TaskSpec {
        hyperparameters,
        ..spec(model, partition, seed)
    })
    .unwrap()
}

/// Test accuracy after each round; a model that is no longer finite scores 0 from then on.
pub(crate) fn simulate(task: &FederatedTask, rule: Rule, attack: Attack, rounds: u64) -> Vec<f64> {
    let honest = CONTRIBUTORS - BYZANTINE;
    let shards: Vec<Dataset> = (0..CONTRIBUTORS)
        .map(|index| {
            let shard = task.shard(index).unwrap();
            let flips = attack == Attack::LabelFlip && index >= honest;
            if flips {
                shard.with_flipped_labels()
            } else {
                shard
            }
        })
        .collect();
    let mut model = task.initial_model();
    let mut accuracies = Vec::new();
    for round in 0..rounds {
        let updates: Result<Vec<_>, _> = (0..CONTRIBUTORS)
            .map(|index| Ok(task.train(&shards[index], index, round, &model)?.delta))
            .collect::<Result<_, cifer_training::TrainingError>>();
        let Ok(mut updates) = updates else {
            accuracies.resize(rounds as usize, 0.0);
            return accuracies;
        };
        poison(&mut updates, attack, task.spec().seed * 1_000 + round);
        // What is not finite is refused, and whoever sent it is one attacker less to tolerate.
        updates.retain(|update| update.iter().all(|value| value.is_finite()));
        let refused = CONTRIBUTORS - updates.len();
        let aggregate = match rule {
            Rule::FedAvg => mean(&updates),
            Rule::MultiKrum => multi_krum(&updates, BYZANTINE - refused),
        };
        for (param, value) in model.iter_mut().zip(&aggregate) {
            *param += *value as f32;
        }
        accuracies.push(task.evaluate(&model).unwrap().accuracy);
    }
    accuracies
}

fn poison(updates: &mut [Vec<f32>], attack: Attack, seed: u64) {
    let (honest, byzantine) = updates.split_at_mut(CONTRIBUTORS - BYZANTINE);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    match attack {
        Attack::None | Attack::LabelFlip => {}
        Attack::SignFlip => {
            byzantine
                .iter_mut()
                .flatten()
                .for_each(|value| *value *= -4.0);
        }
        Attack::Nan => byzantine
            .iter_mut()
            .flatten()
            .for_each(|value| *value = f32::NAN),
        Attack::Gaussian => byzantine
            .iter_mut()
            .flatten()
            .for_each(|value| *value = normal(&mut rng)),
        Attack::SmallGaussian => {
            let length = honest[0].iter().map(|v| v * v).sum::<f32>().sqrt();
            let scale = length / (honest[0].len() as f32).sqrt();
            byzantine
                .iter_mut()
                .flatten()
                .for_each(|value| *value = scale * normal(&mut rng));
        }
        Attack::Alie => byzantine.fill(alie(honest, ALIE_Z)),
        Attack::StrongAlie => byzantine.fill(alie(honest, 1.0)),
        Attack::Ipm => byzantine.fill(ipm(honest)),
        Attack::BlindAlie => byzantine.fill(alie(byzantine, ALIE_Z)),
        Attack::BlindIpm => byzantine.fill(ipm(byzantine)),
    }
}

/// For n = 10 and f = 3, s = floor(n/2 + 1) - f = 3 supporters are needed, and z is the
/// (n - f - s) / (n - f) = 4/7 quantile of the normal distribution.
const ALIE_Z: f64 = 0.180_012;

/// Baruch, Baruch and Goldberg, "A Little Is Enough" (NeurIPS 2019): mean - z * deviation.
fn alie(known: &[Vec<f32>], z: f64) -> Vec<f32> {
    let mean = mean(known);
    (0..mean.len())
        .map(|i| {
            let square = |update: &Vec<f32>| (f64::from(update[i]) - mean[i]).powi(2);
            let variance = known.iter().map(square).sum::<f64>() / known.len() as f64;
            (mean[i] - z * variance.sqrt()) as f32
        })
        .collect()
}

/// Xie, Koyejo and Gupta, "Fall of Empires" (UAI 2019): -tau * mean, tau = 3.
fn ipm(known: &[Vec<f32>]) -> Vec<f32> {
    mean(known)
        .iter()
        .map(|&value| (-3.0 * value) as f32)
        .collect()
}

fn normal(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * rng.gen_range(f32::MIN_POSITIVE..1.0).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.gen_range(0.0..1.0f32)).cos()
}

fn mean(updates: &[Vec<f32>]) -> Vec<f64> {
    (0..updates[0].len())
        .map(|i| {
            updates
                .iter()
                .map(|update| f64::from(update[i]))
                .sum::<f64>()
                / updates.len() as f64
        })
        .collect()
}

/// Blanchard et al., "Machine Learning with Adversaries" (NIPS 2017), the mean of the n - f best scores.
fn multi_krum(updates: &[Vec<f32>], f: usize) -> Vec<f64> {
    let n = updates.len();
    assert!(n >= 2 * f + 3);
    let square = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let mut scored: Vec<(f64, usize)> = (0..n)
        .map(|i| {
            let mut distances: Vec<f64> = (0..n)
                .filter(|&j| j != i)
                .map(|j| square(&updates[i], &updates[j]))
                .collect();
            distances.sort_by(f64::total_cmp);
            (distances[..n - f - 2].iter().sum(), i)
        })
        .collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let chosen: Vec<Vec<f32>> = scored[..CONTRIBUTORS - BYZANTINE]
        .iter()
        .map(|&(_, i)| updates[i].clone())
        .collect();
    mean(&chosen)
}
