//! One round's aggregate: every payload of the committed set from our store (fetched first where
//! missing), through the task's rule, into a new model in our store.
//!
//! Memory is bounded by the aggregation crate (64 MiB) whatever the model's size: payloads are read
//! by position from their files, the result is written and hashed as it comes.

use cifer_aggregation::{FileSink, FileSource, Rule};
use cifer_chain::{AggregateStatement, BlobHash, ModelRoot, Phase, RoundId, TaskId, Update};
use cifer_genesis::document::{RuleSpec, Task};

use super::Node;

/// Why a round could not be aggregated now. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComputeError {
    /// The chain moved on.
    #[error("task {0} is not waiting for the aggregate of round {1}")]
    NotClosed(TaskId, RoundId),
    /// A payload or the base model could not be had from anybody.
    #[error("blob {0} is missing: {1}")]
    Missing(BlobHash, String),
    /// The numbers.
    #[error(transparent)]
    Aggregation(#[from] cifer_aggregation::AggregationError),
    /// Our own disk.
    #[error("storage: {0}")]
    Storage(String),
}

/// The rule of a task, for the aggregation crate. Genesis validation has bounded the parameters.
fn rule(spec: &RuleSpec) -> Rule {
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    match *spec {
        RuleSpec::Fedavg { weight_cap } => Rule::FedAvg { weight_cap },
        RuleSpec::Median => Rule::Median,
        RuleSpec::TrimmedMean { f } => Rule::TrimmedMean { f: small(f) },
        RuleSpec::Krum { f } => Rule::Krum { f: small(f) },
        RuleSpec::MultiKrum { f, m } => Rule::MultiKrum {
            f: small(f),
            m: small(m),
        },
    }
}

/// The server step's learning rate. Division of two integers that are exact in f64, rounded to f32
/// once: the same bits everywhere.
fn server_lr(task: &Task) -> f32 {
    (task.server_lr_ppm as f64 / 1_000_000.0) as f32
}

/// Computes the round's result and stores the model.
pub(crate) async fn compute(
    node: &Node,
    task: TaskId,
    round: RoundId,
) -> Result<AggregateStatement, ComputeError> {
    let state = node.state();
    let not_closed = || ComputeError::NotClosed(task, round);
    let current = state
        .tasks
        .get(&task)
        .filter(|t| t.round == round)
        .ok_or_else(not_closed)?;
    let Phase::Closed(closed) = &current.phase else {
        return Err(not_closed());
    };
    let updates: Vec<Update> = closed
        .updates
        .iter()
        .map(|turn| turn.update.clone())
        .collect();
    let (base, mut definition) = (current.model, current.task.clone());
    // What rejections have proven counts against the rule's tolerance.
    definition.rule = current.effective_rule().ok_or_else(not_closed)?;

    let model_bytes = definition.payload_bytes();
    need(node, base.into(), model_bytes).await?;
    for update in &updates {
        need(node, update.payload, update.payload_bytes).await?;
    }

    let worker = node.clone();
    let model =
        tokio::task::spawn_blocking(move || run_rule(&worker, &definition, &updates, base, round))
            .await
            .map_err(|error| ComputeError::Storage(error.to_string()))??;
    current.statement(model).ok_or_else(not_closed)
}

/// Makes sure that a blob is in our store.
async fn need(node: &Node, hash: BlobHash, len: u64) -> Result<(), ComputeError> {
    let blob = super::blob(hash);
    if node.blobs().contains(&blob) {
        return Ok(());
    }
    node.plane()
        .fetch(blob, len, node.holders())
        .await
        .map(|_| ())
        .map_err(|error| ComputeError::Missing(hash, error.to_string()))
}

fn path_of(node: &Node, hash: BlobHash) -> Result<std::path::PathBuf, ComputeError> {
    let missing = || ComputeError::Missing(hash, "removed meanwhile".to_owned());
    node.blobs().path(&super::blob(hash)).ok_or_else(missing)
}

/// Runs on a blocking thread: reads, aggregates, writes.
fn run_rule(
    node: &Node,
    definition: &Task,
    updates: &[Update],
    base: ModelRoot,
    round: RoundId,
) -> Result<ModelRoot, ComputeError> {
    let storage = |error: &dyn std::fmt::Display| ComputeError::Storage(error.to_string());
    let coordinates = usize::try_from(definition.coordinates()).map_err(|error| storage(&error))?;
    let open = |hash: BlobHash| {
        FileSource::open(path_of(node, hash)?, coordinates).map_err(ComputeError::from)
    };
    let base = open(base.into())?;
    let sources: Vec<FileSource> = updates
        .iter()
        .map(|update| open(update.payload))
        .collect::<Result<_, _>>()?;
    let inputs: Vec<_> = sources
        .iter()
        .zip(updates)
        .map(|(source, update)| cifer_aggregation::Update {
            source,
            weight: update.samples,
        })
        .collect();
    let scratch = node.scratch_path(definition.id, round);
    let mut sink = FileSink::create(&scratch)?;
    cifer_aggregation::aggregate_step(
        &rule(&definition.rule),
        &inputs,
        &base,
        server_lr(definition),
        &mut sink,
    )?;
    let digest = sink.finish()?;
    let model = ModelRoot::from_bytes(*digest.hash.as_bytes());
    // Before it is stored, so that no sweep takes it for garbage.
    node.set_computed(model.into());
    node.blobs()
        .import_file(&scratch, super::blob(model.into()))
        .map_err(|error| storage(&error))?;
    Ok(model)
}
