//! `cifer query model`: what a model is made of, and its bytes. With a genesis document at hand the
//! root is checked against its certificate, and every byte against the root.

use std::path::PathBuf;

use cifer_chain::{ModelRoot, RoundId, TaskId};
use cifer_client::{Client, ManifestView, ModelSelector, ModelTarget, VerifiedModel};
use serde_json::json;

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{fields, or_dash, show, table, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Task
    #[arg(long, value_name = "ID", default_value_t = TaskId(0))]
    task: TaskId,
    /// The model that this round ended with [default: the newest]
    #[arg(long, value_name = "ROUND", conflicts_with = "root")]
    round: Option<RoundId>,
    /// The model of this root
    #[arg(long, value_name = "HASH")]
    root: Option<ModelRoot>,
    /// Write the verified bytes here: tensors in order, row-major, f32 little endian
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only say what the model is made of; nothing is verified
    #[arg(long, conflicts_with_all = ["output", "round", "root"])]
    manifest: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let args = &args;
    let (manifest, model) = super::ask(global, &args.client, |client| async move {
        let manifest = client.manifest(args.task).await?;
        let wanted = args.output.is_some() || args.round.is_some() || args.root.is_some();
        // Without a genesis document the client refuses to fetch, and says so.
        let fetch = wanted || (client.network().is_some() && !args.manifest);
        let model = if fetch {
            Some(fetch_model(&client, args).await?)
        } else {
            None
        };
        Ok((manifest, model))
    })?;
    let model_json = model.as_ref().map(|model| {
        json!({
            "verified": true, "root": model.root, "length_bytes": model.length_bytes,
            "round": model.round(), "gateway": model.gateway, "file": args.output,
        })
    });
    let mut result = serde_json::to_value(&manifest)?;
    result["model"] = json!(model_json);
    show(global.json, &result, |_| as_text(&manifest, model.as_ref()))
}

/// Fetches and verifies; the bytes go to the file that was asked for, or away.
async fn fetch_model(client: &Client, args: &Args) -> eyre::Result<VerifiedModel> {
    let selector = match (args.round, args.root) {
        (Some(round), _) => ModelSelector::Round(round),
        (_, Some(root)) => ModelSelector::Root(root),
        _ => ModelSelector::Newest,
    };
    // A file, because a model may be larger than memory.
    let scratch = tempfile::tempdir()?;
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| scratch.path().join("model"));
    Ok(client
        .fetch_model(args.task, selector, ModelTarget::File(path))
        .await?)
}

fn as_text(manifest: &ManifestView, model: Option<&VerifiedModel>) -> String {
    let task = &manifest.task;
    let mut text = fields([
        ("task", format!("{} ({})", task.task, task.name)),
        ("rule", task.rule.to_string()),
        (
            "round",
            format!("{}, {:?}", task.current_round, task.phase).to_lowercase(),
        ),
        ("newest model", task.model_root.to_string()),
        ("initial model", manifest.initial_root.to_string()),
        ("answer", format!("{} ({})", trust(false), manifest.gateway)),
    ]);
    text.push('\n');
    let rows = manifest.tensors.iter().map(|tensor| {
        let shape: Vec<_> = tensor.shape.iter().map(u64::to_string).collect();
        [tensor.name.clone(), tensor.dtype.clone(), shape.join(" x ")]
    });
    text.push_str(&table(["tensor", "type", "shape"], rows));
    if let Some(model) = model {
        text.push('\n');
        text.push_str(&fields([
            ("model", model.root.to_string()),
            ("bytes", model.length_bytes.to_string()),
            ("of round", or_dash(model.round())),
            ("answer", format!("{} ({})", trust(true), model.gateway)),
        ]));
    }
    text
}
