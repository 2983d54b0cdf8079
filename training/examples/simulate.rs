//! Federated learning on digits in one process, without a network: the accuracies that the default
//! hyper-parameters were chosen by.
//!
//! ```text
//! cargo run -p cifer-training --example simulate                        # one run, round by round
//! cargo run -p cifer-training --example simulate -- table 10            # every attack, seeds 1 to 10
//! cargo run -p cifer-training --example simulate -- table 10 2 16 0.1 0.5 1   # other settings
//! ```

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use cifer_training::{FederatedTask, Hyperparameters, ModelKind, Partition};
use common::{Attack, ROUNDS, Rule, simulate, task};

const MODELS: [ModelKind; 2] = [ModelKind::Softmax, ModelKind::Mlp { hidden: None }];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| {
        arguments
            .get(index)
            .map(|text| text.parse::<f32>().expect("a number"))
    };
    let hyperparameters = number(2).map(|epochs| Hyperparameters {
        epochs: epochs as u32,
        batch_size: number(3).expect("a batch size") as u32,
        learning_rate: number(4).expect("a learning rate"),
        momentum: number(5).expect("a momentum"),
        logit_adjustment: number(6).expect("a logit adjustment"),
    });
    if arguments.first().is_some_and(|command| command == "table") {
        table(number(1).unwrap_or(10.0) as u64, hyperparameters);
    } else {
        curves();
    }
}

/// Seed 7 with label skew, no attack, FedAvg: accuracy after each round, and the cost of a training.
fn curves() {
    for model in MODELS {
        let task = task(model, Partition::Dirichlet { alpha: 1.0 }, 7, None);
        println!(
            "{model}: FedAvg, {:?}, {}",
            task.hyperparameters(),
            shard_sizes(&task)
        );
        for (round, accuracy) in simulate(&task, Rule::FedAvg, Attack::None, ROUNDS)
            .iter()
            .enumerate()
        {
            println!("  round {:2}  {:.2} %", round + 1, 100.0 * accuracy);
        }
        let (base, shard) = (task.initial_model(), task.shard(0).unwrap());
        let start = Instant::now();
        for round in 0..100 {
            task.train(&shard, 0, round, &base).unwrap();
        }
        println!(
            "  one local training of {} samples: {:?}",
            shard.len(),
            start.elapsed() / 100
        );
    }
}

fn shard_sizes(task: &FederatedTask) -> String {
    let sizes: Vec<usize> = (0..common::CONTRIBUTORS)
        .map(|i| task.shard(i).unwrap().len())
        .collect();
    format!("shards {sizes:?}")
}

/// Final accuracies: for each attack the mean over the seeds, and for Multi-Krum the mean and the worst loss
/// against its own run without attackers, in points.
fn table(seeds: u64, hyperparameters: Option<Hyperparameters>) {
    for partition in [Partition::Dirichlet { alpha: 1.0 }, Partition::Iid] {
        for model in MODELS {
            let tasks: Vec<_> = (1..=seeds)
                .map(|seed| task(model, partition, seed, hyperparameters))
                .collect();
            println!(
                "{model}, partition {partition}, {:?}",
                tasks[0].hyperparameters()
            );
            let finals = |rule, attack| -> Vec<f64> {
                tasks
                    .iter()
                    .map(|t| 100.0 * *simulate(t, rule, attack, ROUNDS).last().unwrap())
                    .collect()
            };
            for attack in [Attack::None, Attack::SignFlip] {
                println!(
                    "  FedAvg     {attack:<12} {}",
                    summary(&finals(Rule::FedAvg, attack))
                );
            }
            let clean = finals(Rule::MultiKrum, Attack::None);
            println!("  Multi-Krum {:<12} {}", Attack::None, summary(&clean));
            for attack in Attack::REQUIRED.into_iter().chain(Attack::EXTRA) {
                let attacked = finals(Rule::MultiKrum, attack);
                let losses: Vec<f64> = clean.iter().zip(&attacked).map(|(a, b)| a - b).collect();
                println!(
                    "  Multi-Krum {attack:<12} {}  loss mean {:5.2} worst {:5.2}",
                    summary(&attacked),
                    losses.iter().sum::<f64>() / losses.len() as f64,
                    losses.iter().copied().fold(f64::MIN, f64::max),
                );
            }
        }
    }
}

fn summary(values: &[f64]) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let min = values.iter().copied().fold(f64::MAX, f64::min);
    format!("mean {mean:6.2}  min {min:6.2}")
}
