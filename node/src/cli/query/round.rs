//! `cifer query round` and `cifer query rounds`.

use cifer_chain::{RoundId, TaskId};
use cifer_client::{PhaseView, RoundSummaryView, RoundView};

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{fields, or_dash, print, short, show, table, time, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct OneArgs {
    /// The round; the current one by default
    round: Option<RoundId>,
    /// Task
    #[arg(long, value_name = "ID", default_value_t = TaskId(0))]
    task: TaskId,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManyArgs {
    /// Task
    #[arg(long, value_name = "ID", default_value_t = TaskId(0))]
    task: TaskId,
    /// How many, the newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run_one(global: &Global, args: OneArgs) -> eyre::Result<()> {
    let (task, round) = (args.task, args.round);
    let round = super::ask(global, &args.client, |c| async move {
        Ok(c.round(task, round).await?)
    })?;
    show(global.json, &round, as_text)
}

pub(crate) fn run_many(global: &Global, args: ManyArgs) -> eyre::Result<()> {
    let (task, limit) = (args.task, args.limit);
    let rounds = super::ask(global, &args.client, |c| async move {
        Ok(c.rounds(task, limit).await?)
    })?;
    if global.json {
        return rounds
            .iter()
            .try_for_each(|round| print(serde_json::to_string(round)?));
    }
    print(as_table(&rounds).trim_end())
}

fn phase(phase: PhaseView) -> String {
    format!("{phase:?}").to_lowercase()
}

/// Only a round that takes updates has a deadline.
fn deadline(round: &RoundSummaryView) -> String {
    if round.phase == PhaseView::Open {
        time(round.deadline_ms)
    } else {
        "-".to_owned()
    }
}

fn as_text(round: &RoundView) -> String {
    let summary = &round.summary;
    let mut text = fields([
        ("task", summary.task.to_string()),
        ("round", summary.round.to_string()),
        ("phase", phase(summary.phase)),
        ("starts from", summary.base_root.to_string()),
        ("ended with", or_dash(summary.model_root)),
        ("deadline", deadline(summary)),
        ("update set", or_dash(round.update_set_root)),
        ("signed by", format!("{} validators", round.signers.len())),
        (
            "answer",
            format!("{} ({})", trust(round.verified), round.gateway),
        ),
    ]);
    if !round.updates.is_empty() {
        text.push('\n');
        let rows = round.updates.iter().map(|update| {
            [
                short(update.contributor),
                update.samples.to_string(),
                format!("{:.3}", update.loss_ppm as f64 / 1e6),
                format!("{:.1} %", f64::from(update.accuracy_ppm) / 1e4),
                update.height.to_string(),
                update.update_id.to_string(),
            ]
        });
        let header = [
            "accepted from",
            "samples",
            "loss",
            "accuracy",
            "height",
            "update",
        ];
        text.push_str(&table(header, rows));
    }
    if !round.rejections.is_empty() {
        text.push('\n');
        let rows = round.rejections.iter().map(|rejection| {
            [
                short(rejection.contributor),
                rejection.reason.to_owned(),
                rejection.height.to_string(),
                rejection.update_id.to_string(),
            ]
        });
        text.push_str(&table(
            ["rejected from", "reason", "height", "update"],
            rows,
        ));
    }
    text
}

fn as_table(rounds: &[RoundSummaryView]) -> String {
    let header = [
        "round", "phase", "accepted", "rejected", "opened", "ended", "model",
    ];
    table(
        header,
        rounds.iter().map(|round| {
            [
                round.round.to_string(),
                phase(round.phase),
                round.accepted.to_string(),
                round.rejected.to_string(),
                round.opened_height.to_string(),
                or_dash(round.ended_height),
                or_dash(round.model_root),
            ]
        }),
    )
}
