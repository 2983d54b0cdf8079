//! What the rounds of tasks with noise cost, for people and as JSON.

use cifer_client::{Cost, TaskNoise, epsilon_text};
use cifer_genesis::{Genesis, document::Task};
use serde_json::{Value, json};

use crate::cli::output::table;

/// Task, its noise and its costs, of each task that has noise.
fn tasks(genesis: &Genesis) -> eyre::Result<Vec<(&Task, TaskNoise, Vec<Cost>)>> {
    let mut found = Vec::new();
    for task in &genesis.tasks {
        if let Some(noise) = TaskNoise::of(task)? {
            found.push((task, noise, noise.costs()?));
        }
    }
    Ok(found)
}

pub(super) fn as_json(genesis: &Genesis) -> eyre::Result<Vec<Value>> {
    let tasks = tasks(genesis)?.into_iter();
    Ok(tasks
        .map(|(task, noise, costs)| {
            json!({
                "task": task.id, "delta": noise.delta(), "honest": noise.honest(),
                "sigma_steps": (noise.grid().variance as f64).sqrt(), "costs": costs,
            })
        })
        .collect())
}

/// A paragraph and a table a task; nothing without noise.
pub(super) fn in_brief(genesis: &Genesis) -> eyre::Result<String> {
    let mut text = String::new();
    for (task, noise, costs) in tasks(genesis)? {
        text.push_str(&format!(
            "\ntask {}: epsilon at delta = {:e}, counting the noise of {} of a group's members\n",
            task.id,
            noise.delta(),
            noise.honest()
        ));
        text.push_str(&table(
            [
                "rounds",
                "update replaced",
                "update zeroed",
                "replaced, all others collude",
            ],
            costs.iter().map(|cost| {
                [
                    cost.rounds.to_string(),
                    epsilon_text(cost.replaced),
                    epsilon_text(cost.zeroed),
                    epsilon_text(cost.replaced_alone),
                ]
            }),
        ));
        text.push('\n');
    }
    Ok(text)
}
