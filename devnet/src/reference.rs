//! The comparison: plain FedAvg on the same data, with the same trainers, seeds and attackers, but
//! without the network. A payload with NaN breaks such a mean, as it would a server that does not
//! look; that is the point of showing it.

use cifer_aggregation::{Attack, Rule, attacks::Knowledge};
use cifer_training::{Dataset, FederatedTask};

use crate::{DevnetError, DevnetOptions};

/// Final accuracy of plain FedAvg under the attack; 0 when the model is no longer finite.
pub(crate) fn fedavg_under_attack(
    options: &DevnetOptions,
    task: &FederatedTask,
) -> Result<f64, DevnetError> {
    let mut shards = Vec::with_capacity(options.contributors);
    let honest_count = options.contributors - options.byzantine;
    for index in 0..options.contributors {
        let shard = task.shard(index)?;
        let flips = index >= honest_count && options.attack.flips_labels();
        shards.push(if flips {
            shard.with_flipped_labels()
        } else {
            shard
        });
    }
    let mut model = task.initial_model();
    for round in 0..options.rounds {
        step(options, task, &shards, &mut model, round)?;
        if !model.iter().all(|value| value.is_finite()) {
            return Ok(0.0);
        }
    }
    Ok(task.evaluate(&model)?.accuracy)
}

fn step(
    options: &DevnetOptions,
    task: &FederatedTask,
    shards: &[Dataset],
    model: &mut [f32],
    round: u64,
) -> Result<(), DevnetError> {
    let honest_count = options.contributors - options.byzantine;
    let mut updates = Vec::with_capacity(shards.len());
    for (index, shard) in shards.iter().enumerate() {
        // A model wrecked by the attack can make training diverge; such a contributor sends nothing.
        if let Ok(update) = task.train(shard, index, round, model) {
            updates.push((index, update));
        }
    }
    let honest: Vec<Vec<f32>> = updates
        .iter()
        .filter(|(index, _)| *index < honest_count)
        .map(|(_, update)| update.delta.clone())
        .collect();
    // The model is wrecked beyond training, and attackers have nobody to look at: it stays as it is.
    if honest.is_empty() {
        return Ok(());
    }
    let (mut sum, mut weight) = (vec![0.0_f64; model.len()], 0.0_f64);
    for (index, update) in updates {
        let delta = if index >= honest_count && options.attack != Attack::None {
            options.attack.forge(&Knowledge {
                own: &update.delta,
                honest: &honest,
                n: options.contributors,
                f: options.byzantine,
                seed: options.seed ^ (round << 16) ^ index as u64,
                defence: Some(&Rule::FedAvg { weight_cap: 1 }),
            })?
        } else {
            update.delta
        };
        weight += update.samples as f64;
        for (sum, value) in sum.iter_mut().zip(&delta) {
            *sum += f64::from(*value) * update.samples as f64;
        }
    }
    if weight > 0.0 {
        for (value, sum) in model.iter_mut().zip(&sum) {
            *value += (sum / weight) as f32;
        }
    }
    Ok(())
}
