//! What the rounds of tasks with noise cost, for people and as JSON.

use cifer_client::{Cost, TaskNoise};
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
                    epsilon(cost.replaced),
                    epsilon(cost.zeroed),
                    epsilon(cost.replaced_alone),
                ]
            }),
        ));
        text.push('\n');
    }
    Ok(text)
}

/// Two digits, rounded up: a guarantee is not shortened to a better one.
fn epsilon(value: Option<f64>) -> String {
    value.map_or_else(
        || "none".to_owned(),
        |epsilon| format!("{:.2}", (epsilon * 100.0).ceil() / 100.0),
    )
}

#[cfg(test)]
mod tests {
    use super::epsilon;

    #[test]
    fn epsilons_are_rounded_up() {
        assert_eq!(epsilon(Some(5.2215)), "5.23");
        assert_eq!(epsilon(Some(0.001)), "0.01");
        assert_eq!(epsilon(Some(0.0)), "0.00");
        assert_eq!(epsilon(None), "none");
    }
}
