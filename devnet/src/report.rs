//! What a run prints: a table for people, JSON lines for programs.

use std::{io::Write, time::Duration};

use cifer_client::{TaskNoise, epsilon_text};
use serde::Serialize;

use crate::{DevnetOptions, Output, processes::Layout};

/// One finished round.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Round.
    pub round: u64,
    /// Height of the block that ended it.
    pub height: u64,
    /// Root of the model after it.
    pub model_root: String,
    /// Share of held-out samples that this model gets right.
    pub accuracy: f64,
    /// Updates aggregated.
    pub accepted: usize,
    /// Updates that the validators rejected.
    pub rejected: usize,
    /// Whether the round ended without a new model.
    pub aborted: bool,
    /// Time from the end of the last round to the end of this one.
    pub wall_ms: f64,
    /// The part of it that the slowest contributor spent training.
    pub train_ms: f64,
}

/// How one node ended.
#[derive(Debug, Clone, Serialize)]
pub struct NodeSummary {
    /// Name.
    pub name: String,
    /// Height at which the nodes are compared.
    pub height: u64,
    /// Hash of the block there.
    pub block_hash: String,
    /// Root of the state there.
    pub state_root: String,
    /// Root of the final model.
    pub model_root: String,
    /// Resident memory.
    pub rss_mb: f64,
}

/// How the run ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Accuracy of the final model.
    pub final_accuracy: f64,
    /// Accuracy of plain FedAvg under the same attack, simulated without a network.
    pub fedavg_accuracy: f64,
    /// Whether all nodes have the same block, state and model.
    pub roots_agree: bool,
    /// Rounds that ended.
    pub rounds: u64,
    /// Whole run.
    pub wall_ms: f64,
    /// Time between blocks, median.
    pub block_interval_ms_p50: f64,
    /// Time between blocks, 95th percentile.
    pub block_interval_ms_p95: f64,
    /// Round time without training, median.
    pub round_overhead_ms_p50: f64,
    /// Round time without training, 95th percentile.
    pub round_overhead_ms_p95: f64,
    /// The nodes.
    pub nodes: Vec<NodeSummary>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Round(&'a Row),
    Summary(&'a Summary),
}

/// Prints. A closed standard output is no error: the run goes on.
pub(crate) struct Printer {
    output: Output,
    options: DevnetOptions,
}

/// What the noise of a task is worth, for people.
fn noise(layout: &Layout) -> Vec<String> {
    let known = layout.genesis.tasks.iter().filter_map(|task| {
        let noise = TaskNoise::of(task).ok()??;
        let cost = noise.costs().ok()?.pop()?;
        let epsilon = epsilon_text(cost.replaced);
        Some(format!(
            "noise added before encryption; epsilon of {} rounds at delta {:e}: {epsilon}",
            cost.rounds,
            noise.delta()
        ))
    });
    known.collect()
}

impl Printer {
    pub(crate) fn new(options: &DevnetOptions) -> Self {
        Self {
            output: options.output,
            options: options.clone(),
        }
    }

    pub(crate) fn header(&mut self, layout: &Layout) {
        if self.output == Output::Json {
            return;
        }
        let options = &self.options;
        line(&format!(
            "{} validator{}, {} contributors, {} of them Byzantine ({}), rule {}",
            options.validators,
            if options.validators == 1 { "" } else { "s" },
            options.contributors,
            options.byzantine,
            options.attack.name(),
            options.pipeline().map_or_else(
                |_| options.rule.to_string(),
                |pipeline| pipeline.to_string()
            ),
        ));
        if let Some(group_size) = options.private {
            line(&format!(
                "updates encrypted; the rule runs over the means of {} groups of {group_size} or more",
                options.inputs(),
            ));
        }
        for text in noise(layout) {
            line(&text);
        }
        line(&format!(
            "chain {}, genesis {}",
            layout.genesis.chain_id, layout.genesis_hash
        ));
        line(&format!("logs and home folders: {}", layout.dir.display()));
        line("");
        line(" round  height  accuracy  accepted  rejected  model root          ms  training ms");
    }

    pub(crate) fn row(&mut self, row: &Row) {
        if self.output == Output::Json {
            return json(&Line::Round(row));
        }
        line(&format!(
            "{:>6}  {:>6}  {:>7.2}%  {:>8}  {:>8}  {:<12}  {:>10.1}  {:>11.1}{}",
            row.round,
            row.height,
            row.accuracy * 100.0,
            row.accepted,
            row.rejected,
            row.model_root.get(..12).unwrap_or(&row.model_root),
            row.wall_ms,
            row.train_ms,
            if row.aborted { "  aborted" } else { "" },
        ));
    }

    pub(crate) fn summary(&mut self, summary: &Summary) {
        if self.output == Output::Json {
            return json(&Line::Summary(summary));
        }
        line("");
        line(" node            height  block         state         model         memory");
        for node in &summary.nodes {
            line(&format!(
                " {:<14}  {:>6}  {:<12}  {:<12}  {:<12}  {:>5.0} MB",
                node.name,
                node.height,
                short(&node.block_hash),
                short(&node.state_root),
                short(&node.model_root),
                node.rss_mb,
            ));
        }
        line("");
        line(if summary.roots_agree {
            "All nodes agree on block, state and model."
        } else {
            "THE NODES DISAGREE."
        });
        line(&format!(
            "Accuracy {:.2} %; plain FedAvg under the same attack: {:.2} % (simulated on the same data).",
            summary.final_accuracy * 100.0,
            summary.fedavg_accuracy * 100.0,
        ));
        line(&format!(
            "Block interval {:.0} ms (p95 {:.0}), round overhead {:.0} ms (p95 {:.0}), {} in all.",
            summary.block_interval_ms_p50,
            summary.block_interval_ms_p95,
            summary.round_overhead_ms_p50,
            summary.round_overhead_ms_p95,
            seconds(Duration::from_secs_f64(summary.wall_ms / 1_000.0)),
        ));
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn json(value: &Line<'_>) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => tracing::error!(%error, "result cannot be written as JSON"),
    }
}

fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
